"""Shards joined are the study that one run makes."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import xarray as xr
from typer.testing import CliRunner
from ward_files import tables_differ, write_ward

import leadlight.cohort.measuring
from leadlight.cli.app import app
from leadlight.cohort.joining import join_cohorts
from leadlight.cohort.store import CohortWriter, open_cohort, write_cohort
from leadlight.ecg.leads import as_leads
from leadlight.ecg.recording import Recording
from leadlight.errors import LeadlightError
from leadlight.study.running import plan_study, run_study
from leadlight.study.shards import cut_study, join_shards, read_plan, run_shard

FILE = """\
[study]
folder = "study"
seed = 1
[import]
sources = ["ecgs", "unreadable"]
labels = "labels.csv"
[measure]
[classify]
[latent]
"""


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that one run made; its file's path."""
    file = write_ward(tmp_path_factory.mktemp("ward"), FILE, genotypes=False)
    run_study(file)
    return file


@pytest.fixture(scope="session")
def joined(whole: Path) -> Path:
    """The same files in four shards, the last of broken files alone; the study's folder."""
    file = whole.with_name("in-shards.toml")
    file.write_text(FILE.replace('"study"', '"joined"', 1))
    plan = cut_study(file, 14)
    assert len(plan) == 4
    for number in range(len(plan)):
        run_shard(file, number)
    join_shards(file)
    return whole.parent / "joined"


def test_what_is_joined_is_what_one_run_makes_to_the_bit(whole: Path, joined: Path) -> None:
    one = whole.parent / "study"
    for name in ("records", "rejects", "measurements"):
        assert not tables_differ(one, joined, f"{name}.parquet")
    for store in ("cohort.zarr", "beats.zarr"):
        a, b = (xr.open_zarr(folder / store, consolidated=False) for folder in (one, joined))
        assert a.identical(b), store
    assert open_cohort(joined).records.height == 36
    assert pl.read_parquet(joined / "rejects.parquet").height == 6 + 12


def test_networks_give_the_same_up_to_the_batch_that_a_record_was_in(
    whole: Path, joined: Path
) -> None:
    one = whole.parent / "study"
    for name in ("logits", "probabilities", "refused"):
        assert not tables_differ(one, joined, f"classify/leadlight-ecg-6/{name}.parquet",
                                 within=1e-4)  # fmt: skip
    assert not tables_differ(one, joined, "latent/leadlight-factors/factors.parquet", within=1e-3)
    assert not tables_differ(one, joined, "fiducials.parquet", within=1e-3)
    a, b = (
        json.loads((folder / "classify/leadlight-ecg-6/scores.json").read_text())
        for folder in (one, joined)
    )
    assert a["splits"].keys() == b["splits"].keys()
    assert a["n_records_excluded"] == b["n_records_excluded"]


def test_a_person_whose_records_are_in_two_shards_is_in_one_split(joined: Path) -> None:
    records = open_cohort(joined).records
    twice = records.filter(pl.col("patient_id").is_duplicated())
    assert twice.height == 12
    assert set(twice["split"]) == {"test"}


def test_joined_stages_count_as_done_and_a_run_goes_on_behind_them(joined: Path) -> None:
    file = joined.parent / "in-shards.toml"
    _, steps = plan_study(file)
    assert {step.action for step in steps} == {"leave"}
    again = file.with_name("with-report.toml")
    again.write_text(file.read_text() + "[report]\n")
    _, steps = plan_study(again)
    assert [step.stage.name for step in steps if step.action == "run"] == ["report"]


def test_cutting_again_leaves_what_is_the_same_and_refuses_another_cut(
    whole: Path, joined: Path
) -> None:
    file = whole.with_name("in-shards.toml")
    before = (joined / "shards" / "00001" / "study.toml").stat().st_mtime_ns
    assert cut_study(file, 14) == read_plan(joined)
    assert (joined / "shards" / "00001" / "study.toml").stat().st_mtime_ns == before
    with pytest.raises(LeadlightError, match="cut otherwise"):
        cut_study(file, 20)
    with pytest.raises(LeadlightError, match="4 shards"):
        run_shard(file, 4)


def test_an_unfinished_shard_is_named(whole: Path) -> None:
    file = whole.with_name("unfinished.toml")
    file.write_text(FILE.replace('"study"', '"unfinished"', 1))
    runner = CliRunner()
    done = runner.invoke(app, ["shards", "cut", str(file), "--records", "30", "--json", "--quiet"])
    assert json.loads(done.output.strip().splitlines()[-1])["shards"] == 2
    failed = runner.invoke(app, ["shards", "join", str(file)])
    assert isinstance(failed.exception, LeadlightError)
    assert "2 of 2 shards are not finished, the first 00000" in str(failed.exception)


def test_a_shard_that_was_cut_off_goes_on(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its import is not done again, and it is joined only when it is whole."""
    file = whole.with_name("killed.toml")
    text = FILE.replace('"study"', '"killed"', 1).replace('"ecgs", "unreadable"', '"ecgs"')
    file.write_text(text.replace("[classify]\n[latent]\n", ""))
    cut_study(file, 100)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(leadlight.cohort.measuring, "measure_cohort", killed)
        with pytest.raises(KeyboardInterrupt):
            run_shard(file, 0)
    shard = whole.parent / "killed" / "shards" / "00000"
    imported = (shard / "records.parquet").stat().st_mtime_ns
    with pytest.raises(LeadlightError, match="1 of 1 shards are not finished"):
        join_shards(file)
    assert run_shard(file, 0)["records"] == 36
    assert (shard / "records.parquet").stat().st_mtime_ns == imported
    assert join_shards(file)["records"] == 36
    assert not tables_differ(whole.parent / "study", whole.parent / "killed",
                             "measurements.parquet")  # fmt: skip


def noise(name: str, length: int, cart: int | None = None, patient: str = "") -> Recording:
    rng = np.random.default_rng(length)
    values = rng.normal(0, 0.7, (12, length)).astype(np.float32)
    median = None if cart is None else as_leads(values[:, :cart])
    return Recording(
        as_leads(values), 500.0, name, patient_id=patient or name, median_beat_mv=median,
        median_beat_rate_hz=None if cart is None else 500.0,
    )  # fmt: skip


def test_records_of_any_length_and_carts_beats_are_joined_across_the_files_of_a_store(
    tmp_path: Path,
) -> None:
    lengths = [700, 5000, 12_500, 300, 5000, 5001, 20]
    given = [noise(f"r{n}", length, cart=min(length, 60) if n in (1, 5) else None)
             for n, length in enumerate(lengths)]  # fmt: skip
    write_cohort(tmp_path / "whole", [(one, None) for one in given])
    parts = []
    for low, high in ((0, 3), (3, 4), (4, 7)):
        parts.append(tmp_path / f"part{low}")
        with CohortWriter(parts[-1], shard_records=2) as writer:
            for one in given[low:high]:
                writer.add(one)
    assert join_cohorts(parts, tmp_path / "joined", workers=2) == 7
    one, other = (
        xr.open_zarr(tmp_path / name / "cohort.zarr", consolidated=False)
        for name in ("whole", "joined")
    )
    assert one.identical(other)
    stored = open_cohort(tmp_path / "joined")
    assert stored.recording(5).median_beat_mv is not None
    assert stored.recording(4).median_beat_mv is None
    with pytest.raises(LeadlightError, match="already exists"):
        join_cohorts(parts, tmp_path / "joined")
    with pytest.raises(LeadlightError, match="Two parts have a record r0"):
        join_cohorts([parts[0], parts[0]], tmp_path / "twice")


def test_the_first_split_of_a_patient_counts_where_parts_disagree(tmp_path: Path) -> None:
    for part, split in (("a", "validation"), ("b", "test")):
        with CohortWriter(tmp_path / part) as writer:
            writer.add(noise(f"{part}1", 50, patient="same"), split=split)
            writer.add(noise(f"{part}2", 50), split="train")
    join_cohorts([tmp_path / "a", tmp_path / "b"], tmp_path / "joined")
    splits = open_cohort(tmp_path / "joined").records["split"].to_list()
    assert splits == ["validation", "train", "validation", "train"]
