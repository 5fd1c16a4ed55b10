"""An import: every file becomes a record or a reject, and a cut run goes on."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from typer import Typer
from typer.testing import CliRunner, Result

from leadlight.cli.import_ import import_
from leadlight.cohort import importing, journal, reading
from leadlight.cohort.importing import import_cohort
from leadlight.cohort.reading import Outcome, read_all
from leadlight.cohort.store import open_cohort
from leadlight.ecg.leads import LEADS
from leadlight.ecg.recording import Recording
from leadlight.errors import LeadlightError

REJECT_CAUSES = ("empty.hea", "truncated.hea", "unknown.xml", "no_leads.hea")


def write_wfdb(
    folder: Path, name: str, seconds: float = 2.0, codes: str = "", seed: int = 0
) -> Path:
    """A WFDB record of beats, 500 Hz, 1 µV per bit, with CinC comments."""
    folder.mkdir(parents=True, exist_ok=True)
    time_s = np.arange(int(seconds * 500)) / 500
    phase = (time_s + 0.01 * seed) % 0.8 - 0.4
    wave = np.exp(-((phase / 0.012) ** 2)) + 0.2 * np.exp(-(((phase - 0.25) / 0.05) ** 2))
    one, two = 0.6 * wave, 1.0 * wave
    limb = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    chest = [factor * wave for factor in (-0.7, -0.3, 0.4, 1.2, 1.1, 0.8)]
    values = np.random.default_rng(seed).normal(0, 5, (12, len(time_s)))
    stored = (np.stack([*limb, *chest]) * 1000 + values).astype("<i2")
    stored.T.tofile(folder / f"{name}.dat")
    lines = [f"{name} 12 500 {len(time_s)}"]
    lines += [f"{name}.dat 16 1000/mV 16 0 {stored[n][0]} 0 0 {lead}"
              for n, lead in enumerate(LEADS)]  # fmt: skip
    lines += [f"#Dx: {codes}"] if codes else []
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n")
    return folder / f"{name}.hea"


def write_broken(folder: Path) -> None:
    (folder / "empty.hea").write_text("")
    (folder / "unknown.xml").write_text("<cake/>")
    broken = write_wfdb(folder, "truncated")
    samples = broken.with_suffix(".dat").read_bytes()
    broken.with_suffix(".dat").write_bytes(samples[: len(samples) // 2])
    nameless = write_wfdb(folder, "no_leads")
    text = nameless.read_text()
    nameless.write_text(
        "\n".join(line.rpartition(" ")[0] + " resp" if "dat 16" in line else line
                  for line in text.splitlines())
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(12):
        codes = "426783006" if number % 2 else "164889003,59118001"
        write_wfdb(tmp_path / "ecgs", f"r{number:02d}", codes=codes, seed=number)
    write_broken(tmp_path / "ecgs")
    return tmp_path / "ecgs"


def contents(study: Path) -> dict[str, bytes]:
    store = study / "cohort.zarr"
    return {str(p.relative_to(store)): p.read_bytes() for p in store.rglob("*") if p.is_file()}


def test_good_files_become_records_and_bad_ones_rejects_with_advice(
    folder: Path, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    summary = import_cohort([folder], study)
    cohort = open_cohort(study)
    assert cohort.records["record_id"].to_list() == [f"r{n:02d}" for n in range(12)]
    assert (summary.n_sources, summary.n_imported, summary.n_rejected) == (16, 12, 4)
    rejects = pl.read_parquet(study / "rejects.parquet")
    assert {Path(source).name for source in rejects["source"]} == set(REJECT_CAUSES)
    assert all(rejects["reason"].str.len_chars() > 10)
    assert all(rejects["advice"].str.len_chars() > 10)
    assert sum(summary.reject_reasons.values()) == 4
    assert not any("/" in reason for reason in summary.reject_reasons)
    assert summary.label_counts | {"SB": 0} == {
        "1dAVb": 0, "RBBB": 6, "LBBB": 0, "SB": 0, "AF": 6, "ST": 0, "NORM": 6,
    }  # fmt: skip
    assert summary.n_labelled == 12
    assert sum(summary.split_counts.values()) == 12
    assert not summary.failed


def test_the_result_does_not_depend_on_the_number_of_workers(folder: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    import_cohort([folder], one, shard_records=5)
    import_cohort([folder], two, workers=2, shard_records=5)
    assert contents(one) == contents(two)
    for table in ("records.parquet", "rejects.parquet"):
        assert_frame_equal(pl.read_parquet(one / table), pl.read_parquet(two / table))


def test_an_unexpected_fault_of_a_reader_is_a_reject_and_not_a_traceback(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = reading.read_recording

    def reads(path: Path) -> Recording:
        if path.name == "r03.hea":
            raise ZeroDivisionError("a bug")
        return sound(path)

    monkeypatch.setattr(reading, "read_recording", reads)
    summary = import_cohort([folder], tmp_path / "study")
    assert summary.n_imported == 11
    assert summary.reject_reasons["reader failed: ZeroDivisionError"] == 1


DEADLY = """
import os, time
from leadlight.cohort.reading import Outcome

def read(path):
    if path.name.startswith("deadly"):
        os._exit(11)
    return Outcome(path, reason="read")
"""


def test_a_file_that_kills_its_reader_costs_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deadly_reader.py").write_text(DEADLY)
    monkeypatch.syspath_prepend(str(tmp_path))
    import deadly_reader  # type: ignore[import-not-found]

    paths = [Path(f"{'deadly' if n in (3, 17) else 'sound'}{n}") for n in range(24)]
    outcomes = list(read_all(paths, 2, deadly_reader.read))
    assert [outcome.path for outcome in outcomes] == paths
    died = [n for n, outcome in enumerate(outcomes) if "its process died" in outcome.reason]
    assert died == [3, 17]
    assert {outcome.reason for n, outcome in enumerate(outcomes) if n not in died} == {"read"}


def test_reading_in_processes_stays_a_bounded_number_of_files_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "noting_reader.py").write_text(
        "from leadlight.cohort.reading import Outcome\n"
        "def read(path):\n    path.write_text('')\n    return Outcome(path)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import noting_reader  # type: ignore[import-not-found]

    paths = [tmp_path / f"note{n:03d}" for n in range(60)]
    outcomes = read_all(paths, 2, noting_reader.read)
    next(outcomes)
    time.sleep(0.3)
    assert sum(path.exists() for path in paths) <= 9
    assert len(list(outcomes)) == 59


def test_nothing_imported_is_an_error_and_leaves_no_study(tmp_path: Path) -> None:
    (tmp_path / "bad.hea").write_text("")
    with pytest.raises(LeadlightError, match="No record was added"):
        import_cohort([tmp_path / "bad.hea"], tmp_path / "study")
    assert not (tmp_path / "study/cohort.zarr").exists()
    assert not (tmp_path / "study/records.parquet").exists()


def test_files_of_one_name_keep_what_tells_them_apart_and_it_is_said(tmp_path: Path) -> None:
    for where in ("a", "b"):
        write_wfdb(tmp_path / where, "same", seed=ord(where))
    write_wfdb(tmp_path / "a", "other", seed=ord("a"))
    summary = import_cohort([tmp_path / "a", tmp_path / "b"], tmp_path / "study")
    assert open_cohort(tmp_path / "study").records["record_id"].to_list() == [
        "other", "a/same", "b/same",
    ]  # fmt: skip
    assert summary.collisions == ("same",)
    assert summary.n_same_signal == 1


def test_a_users_table_is_the_only_word_on_labels(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text(
        "record_id,labels,patient_id,age,sex,split\n"
        "r00,SB,p,50,F,test\nr01,other,q,,,\nr02,,p,,,\nnowhere,AF,,,,\n"
    )
    summary = import_cohort([folder], tmp_path / "study", labels=table)
    records = {
        row["record_id"]: row for row in open_cohort(tmp_path / "study").records.rows(named=True)
    }
    assert records["r00"]["labels"] == ["SB"]
    assert (records["r00"]["age"], records["r00"]["sex"]) == (50.0, "F")
    assert records["r01"]["labels"] == []
    assert records["r02"]["labels"] is None
    assert records["r03"]["labels"] is None
    # r02 has no split of its own: it goes where its patient is.
    assert records["r02"]["split"] == "test"
    assert summary.n_labelled == 2
    assert summary.n_unmatched_rows == 1
    assert any("1 of 4 rows name no recording found (the first is nowhere)" in note
               for note in summary.notes)  # fmt: skip


def test_a_table_that_names_no_file_is_refused_before_any_work(
    folder: Path, tmp_path: Path
) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("record_id,labels\nr00.hea,AF\n")
    with pytest.raises(LeadlightError, match="names none of the 16 recordings"):
        import_cohort([folder], tmp_path / "study", labels=table)
    assert not (tmp_path / "study").exists()


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_all_records_of_a_patient_land_in_one_split(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whichever records the table knows, and in whatever order the files come."""
    here = tmp_path_factory.mktemp("patients")
    patients = data.draw(st.lists(st.sampled_from("abcd"), min_size=3, max_size=7))
    split_of = {p: data.draw(st.sampled_from(["train", "test", ""])) for p in "abcd"}
    lines = ["record_id,patient_id,split"]
    for number, patient in enumerate(patients):
        write_wfdb(here, f"r{number}", seconds=1.0, seed=number)
        lines.append(f"r{number},{patient},{split_of[patient] if data.draw(st.booleans()) else ''}")
    (here / "t.csv").write_text("\n".join(lines))
    import_cohort([here], here / "study", labels=here / "t.csv")
    records = open_cohort(here / "study").records
    assert records.group_by("patient_id").agg(pl.col("split").n_unique())["split"].max() == 1
    stated = {line.split(",")[1]: line.split(",")[2] for line in lines[1:] if line[-1] != ","}
    for patient, split in stated.items():
        assert records.filter(pl.col("patient_id") == patient)["split"][0] == split


# Reads with a delay and notes every file read, so that a kill hits a known place.
RUN = """
import sys, time
from pathlib import Path
from leadlight.cohort import importing, reading
sound = reading.read_recording
def noted(path):
    with open(sys.argv[3], "a") as log:
        log.write(f"{path}\\n")
    time.sleep(0.01)
    return sound(path)
reading.read_recording = noted
importing.import_cohort([Path(sys.argv[1])], Path(sys.argv[2]), shard_records=8)
"""


@pytest.mark.slow
def test_a_killed_import_goes_on_and_ends_as_if_never_killed(tmp_path: Path) -> None:
    ecgs = tmp_path / "ecgs"
    for number in range(60):
        seconds = 12.0 if number == 30 else 1.0
        write_wfdb(ecgs, f"r{number:02d}", seconds, seed=number)
    write_broken(ecgs)
    import_cohort([ecgs], tmp_path / "whole", shard_records=8)

    study, log, chance = tmp_path / "study", tmp_path / "log", random.Random()
    command = [sys.executable, "-c", RUN, str(ecgs), str(study), str(log)]
    kills = 0
    while kills < 3:
        log.unlink(missing_ok=True)
        done_before = finished(study)
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        wait_for_more(study, len(done_before), process)
        time.sleep(chance.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (study / "records.parquet").exists()
        assert not (study / "cohort.zarr").exists()
        assert not done_before & set(log.read_text().splitlines())
        kills += 1
    log.unlink()
    done_before = finished(study)
    assert len(done_before) >= 3 * 8
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    assert not done_before & set(log.read_text().splitlines())

    assert contents(study) == contents(tmp_path / "whole")
    for table in ("records.parquet", "rejects.parquet"):
        assert_frame_equal(
            pl.read_parquet(study / table), pl.read_parquet(tmp_path / "whole" / table)
        )
    assert {path.name for path in study.iterdir()} == {
        "cohort.zarr", "records.parquet", "rejects.parquet", "cohort-provenance.json",
    }  # fmt: skip


def finished(study: Path) -> set[str]:
    parts = (study / ".cohort.partial").glob("records-*.parquet")
    return {source for part in parts for source in pl.read_parquet(part)["source"]}


def wait_for_more(study: Path, before: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while len(finished(study)) <= before:
        assert process.poll() is None, "the import ended before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.005)


def test_an_interrupted_run_says_what_it_goes_on_from(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tmp_path / "study"
    sound = importing.read_all

    def stops(*arguments: object) -> Iterator[Outcome]:
        for number, outcome in enumerate(sound(*arguments)):  # type: ignore[arg-type]
            if number == 11:
                raise KeyboardInterrupt
            yield outcome

    with monkeypatch.context() as patch:
        patch.setattr(importing, "read_all", stops)
        with pytest.raises(KeyboardInterrupt):
            import_cohort([folder], study, shard_records=4)
    summary = import_cohort([folder], study, shard_records=4)
    assert summary.n_resumed >= 8
    assert summary.n_imported == 12
    assert summary.n_rejected == 4


def test_a_full_disk_is_one_sentence_and_the_finished_shards_stay(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, sound = tmp_path / "study", journal.signals.write_shard

    def full(array: object, shard: int, *rest: object) -> None:
        if shard == 2:
            raise OSError(28, "No space left on device")
        sound(array, shard, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(journal.signals, "write_shard", full)
        with pytest.raises(LeadlightError, match="the disk is full"):
            import_cohort([folder], study, shard_records=4)
    assert import_cohort([folder], study, shard_records=4).n_resumed >= 8


def test_a_changed_file_is_not_taken_for_the_one_of_the_unfinished_import(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stops(*_: object) -> Iterator[Outcome]:
        raise KeyboardInterrupt
        yield

    with monkeypatch.context() as patch:
        patch.setattr(importing, "read_all", stops)
        with pytest.raises(KeyboardInterrupt):
            import_cohort([folder], tmp_path / "study")
    write_wfdb(folder, "new")
    with pytest.raises(LeadlightError, match="unfinished import of other sources"):
        import_cohort([folder], tmp_path / "study")
    assert import_cohort([folder], tmp_path / "study", overwrite=True).n_imported == 13


def test_the_real_sets_import_with_the_labels_that_their_readme_counts(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Labels do not depend on quality, which takes most of an import's time.
    monkeypatch.setattr(reading, "quality_flags", lambda recording: ())
    names = [f"{n:05d}_hr.hea" for n in (1, 2, 3, 8, 17, 26, 32)]
    ptbxl = [shared_data / "ptbxl/records500/00000" / name for name in names]
    summary = import_cohort([shared_data / "cinc", *ptbxl], tmp_path / "study")
    records = open_cohort(tmp_path / "study").records
    cinc = records.filter(pl.col("source").str.contains("/cinc/"))
    counts = {
        label: sum(label in (labels or ()) for labels in cinc["labels"].to_list())
        for label in summary.label_counts
    }
    assert cinc.height == 166
    assert counts == {
        "1dAVb": 4, "RBBB": 10, "LBBB": 3, "SB": 25, "AF": 31, "ST": 19, "NORM": 24,
    }  # fmt: skip
    table = pl.read_csv(shared_data / "ptbxl/ptbxl_database.csv")
    for row in records.filter(~pl.col("source").str.contains("/cinc/")).rows(named=True):
        truth = table.row(by_predicate=pl.col("ecg_id") == int(row["record_id"][:5]), named=True)
        assert row["patient_id"] == str(int(truth["patient_id"]))
        assert (row["age"], row["fold"]) == (truth["age"], truth["strat_fold"])


def run_cli(*arguments: str) -> Result:
    app = Typer()
    app.command()(import_)
    return CliRunner().invoke(app, list(arguments))


def test_the_command_prints_counts_and_a_last_line_for_machines(
    folder: Path, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    said = run_cli(str(folder), "--study", str(study), "--json")
    assert said.exit_code == 0, said.output
    assert "imported" in said.stdout
    summary = json.loads(said.stdout.splitlines()[-1])
    assert (summary["n_imported"], summary["n_rejected"]) == (12, 4)
    again = run_cli(str(folder), "--study", str(study))
    assert isinstance(again.exception, LeadlightError)
    strict = run_cli(str(folder), "--study", str(study), "--overwrite", "--strict", "--quiet")
    assert strict.exit_code == 1
    assert strict.stdout == ""
    for name in REJECT_CAUSES:
        for file in folder.glob(f"{Path(name).stem}.*"):
            file.unlink()
    shutil.rmtree(study)
    assert run_cli(str(folder), "--study", str(study), "--strict").exit_code == 0
