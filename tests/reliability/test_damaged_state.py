"""What a lost machine or a bad disk may leave of unfinished work: mended, or said in one line."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from comparing import differences
from runner import Runner

import leadlight.classify.predict
import leadlight.cohort.journal
import leadlight.cohort.measuring
import leadlight.explain.cohort
import leadlight.genetics.association
from leadlight.study.running import run_study


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "7", '{"measure": 1}', '{"measure": {}}', '"\\ud800"', "\x00" * 100],
)
def test_a_damaged_run_json_is_one_line_and_overwriting_mends_it(
    runner: Runner, at_stage: Callable[[str], Path], text: str
) -> None:
    study_file = at_stage("measure")
    state = study_file.parent / "study" / "run.json"
    state.write_text(text, encoding="utf-8", errors="surrogatepass")
    code, told = runner.run("run", study_file, "--dry-run")
    assert code == 1
    assert told.strip().splitlines() == [
        f"leadlight: {state} is damaged. Delete it and run again with --overwrite; stages are then "
        "done again."
    ]
    state.unlink()
    code, told = runner.run("run", study_file, "--overwrite", "--dry-run")
    assert code == 0, told


def test_a_run_json_of_another_version_has_all_done_again(
    runner: Runner, at_stage: Callable[[str], Path]
) -> None:
    study_file = at_stage("latent")
    state = study_file.parent / "study" / "run.json"
    state.write_text(state.read_text().replace('"key": "', '"key": "0'))
    code, told = runner.run("run", study_file, "--dry-run")
    assert code == 0
    assert "leave" not in told


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _garbage(path: Path) -> None:
    path.write_bytes(b"\x00\xff garbage" * 20)


class _Cut(BaseException):
    """The end of a process, as far as the process can tell."""


# Stage, what is called when all is computed, and the file of the unfinished work that is harmed.
CASES = {
    "import-journal": ("import", (leadlight.cohort.journal.signals, "finish"),
                       ".cohort.partial/journal.json", _garbage),
    "measure-part": ("measure", (leadlight.cohort.measuring, "_join"),
                     ".measure.partial/measurements-00000.parquet", _truncate),
    "classify-part": ("classify", (leadlight.classify.predict, "write_predictions"),
                      ".classify.partial/leadlight-ecg-6/part-00000.parquet", _truncate),
    "explain-averages": ("explain", (leadlight.explain.cohort, "_write_findings"),
                         ".explain.partial/averages.npz", _truncate),
    "gwas-manifest": ("gwas", (leadlight.genetics.association, "_write"),
                      "gwas/factors/.gwas-partial/manifest.json", _truncate),
    "gwas-done": ("gwas", (leadlight.genetics.association, "_write"),
                  "gwas/factors/.gwas-partial/done.npy", _truncate),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_damaged_unfinished_work_is_done_anew(
    whole: Path, at_stage: Callable[[str], Path], case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, (module, name), harmed, harm = CASES[case]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the run that is compared with: sums hang on it
    study_file = at_stage(stage)
    study = study_file.parent / "study"

    def cut(*_: object, **__: object) -> None:
        raise _Cut

    with monkeypatch.context() as patch:
        patch.setattr(module, name, cut)
        with pytest.raises(_Cut):
            run_study(study_file, only=[stage])
    harm(study / harmed)
    run_study(study_file, only=[stage])
    torch.set_num_threads(threads)
    assert differences(study, whole / "study", finished=False) == []
    assert not [path for path in study.iterdir() if path.name.startswith(".")]


def test_damaged_records_of_an_unfinished_import_are_one_line(
    runner: Runner, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from leadlight.cohort.importing import import_cohort
    from leadlight.errors import LeadlightError

    monkeypatch.setattr(leadlight.cohort.journal.signals, "finish", _raise_cut)
    ecgs = [whole / "inputs" / "ecgs"]
    with pytest.raises(_Cut):
        import_cohort(ecgs, tmp_path / "study", shard_records=4)
    _truncate(tmp_path / "study" / ".cohort.partial" / "records-00001.parquet")
    with pytest.raises(
        LeadlightError, match=r"unfinished import is damaged\. Delete it and import"
    ):
        import_cohort(ecgs, tmp_path / "study", shard_records=4)


def _raise_cut(*_: object, **__: object) -> None:
    raise _Cut


def test_what_a_dead_process_left_is_swept_and_what_a_living_one_writes_is_not(
    tmp_path: Path,
) -> None:
    import os
    import subprocess
    import sys

    from leadlight import atomic

    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    here = atomic._HERE
    left = [f".table.parquet.partial-{here}-{int(dead.stdout)}",
            f".store.zarr.before-{here}-{int(dead.stdout)}"]  # fmt: skip
    kept = [f".table.parquet.partial-{here}-{os.getppid()}",
            f".table.parquet.partial-0a1b2c-{int(dead.stdout)}", ".hidden"]  # fmt: skip
    for name in [*left, *kept]:
        (tmp_path / name).mkdir() if "zarr" in name else (tmp_path / name).touch()
    atomic.write_text(tmp_path / "note.txt", "whole")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {*kept, "note.txt"}


def test_the_lock_file_of_a_dead_process_blocks_nobody(tmp_path: Path) -> None:
    from leadlight.errors import LeadlightError
    from leadlight.locking import only_one

    lock = tmp_path / ".measure.lock"
    lock.write_text("4711")
    with only_one(lock, "measuring"):
        assert lock.exists()
        with pytest.raises(LeadlightError, match="Another run is measuring"), \
                only_one(lock, "measuring"):  # fmt: skip
            pass
    assert not lock.exists()


def test_a_folder_is_replaced_in_two_steps_and_never_half(tmp_path: Path) -> None:
    """Whatever can be seen under the name, between any two steps, is all of the old or the new."""
    from leadlight.atomic import written_whole

    folder = tmp_path / "store"
    for number in range(2):
        with written_whole(folder) as partial:
            partial.mkdir()
            for file in range(5):
                np.save(partial / f"{file}.npy", np.full(10, number))
            if number:
                assert {int(np.load(p)[0]) for p in folder.iterdir()} == {0}
        assert {int(np.load(p)[0]) for p in folder.iterdir()} == {number}
    with pytest.raises(FileNotFoundError), written_whole(folder) as partial:
        (partial / "absent" / "file").touch()
    assert {int(np.load(p)[0]) for p in folder.iterdir()} == {1}
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_table_of_no_loci_has_all_columns(whole: Path) -> None:
    from leadlight.genetics.loci_schema import loci_schema

    found = pl.read_parquet_schema(whole / "study" / "loci" / "loci.parquet")
    assert dict(found) == loci_schema(["factors", "measurements"])
