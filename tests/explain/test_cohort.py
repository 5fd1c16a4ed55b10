"""A study from records to findings, with what must never change the numbers."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
import xarray as xr
from polars.testing import assert_frame_equal

from leadlight.classify.models import Model
from leadlight.classify.prepare import prepare
from leadlight.cohort.store import open_cohort
from leadlight.ecg.leads import as_leads
from leadlight.ecg.recording import Recording
from leadlight.errors import LeadlightError
from leadlight.explain import cohort as cohort_stage
from leadlight.explain import relevance_store
from leadlight.explain.averages import mean_interval, patient_means
from leadlight.explain.cohort import explain_cohort, explain_part
from leadlight.explain.comparison import compare

TABLES = ("records", "leads", "beats", "classes")
OPTIONS = {"most_per_group": 12, "max_steps": 18}


@pytest.fixture(scope="session")
def explained(study: Path, small_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that is explained. Read only."""
    folder = tmp_path_factory.mktemp("explained") / "study"
    shutil.copytree(study, folder)
    explain_cohort(folder, small_model, **OPTIONS)
    return folder


def tables(study: Path) -> dict[str, pl.DataFrame]:
    return {name: pl.read_parquet(study / "findings" / f"{name}.parquet") for name in TABLES}


def relevance(study: Path) -> xr.DataArray:
    return xr.open_zarr(study / "relevance.zarr", chunks=None)["relevance"]


def assert_same_results(one: Path, other: Path, exact: bool) -> None:
    for name, table in tables(one).items():
        tolerance = {} if exact else {"rel_tol": 2e-3, "abs_tol": 1e-6}
        assert_frame_equal(table, tables(other)[name], check_exact=exact, **tolerance)
    if exact:
        np.testing.assert_array_equal(relevance(one).values, relevance(other).values)


def test_relevance_of_every_record_sums_to_its_logit_less_the_baselines(
    explained: Path, small_model: Model
):
    cohort, stored = open_cohort(explained), relevance(explained)
    zeros = torch.zeros(1, 12, 1024)
    rows = tables(explained)["records"].filter(pl.col("model") == "trained")
    for place, record_id in enumerate(stored["record_id"].values):
        recording = cohort.recording(cohort.row_of(str(record_id)))
        values = torch.from_numpy(prepare(recording, small_model.card).values.values)[None]
        with torch.no_grad():
            logit = small_model.network(values)[0]
            baseline = small_model.network(zeros)[0]
        for column, name in ((4, "AF"), (2, "LBBB")):
            row = rows.filter(
                (pl.col("record_id") == str(record_id)) & (pl.col("class") == name)
            ).row(0, named=True)
            assert row["logit"] == pytest.approx(float(logit[column]), abs=1e-4)
            difference = float(logit[column] - baseline[column])
            summed = float(stored[place].sel({"class": name}).sum(dtype=np.float64))
            missed = row["completeness_error"] * abs(difference)
            assert abs(summed - difference) <= missed + 2e-3 * abs(summed) + 1e-3
            assert row["total_relevance"] == pytest.approx(summed, abs=2e-3)


def test_lead_findings_are_what_the_stored_relevance_gives(explained: Path, small_model: Model):
    stored = relevance(explained)
    rows = tables(explained)["records"].filter(
        (pl.col("model") == "trained") & (pl.col("class") == "AF")
    )
    ids = [str(one) for one in stored["record_id"].values]
    dataset = xr.open_zarr(explained / "relevance.zarr", chunks=None)
    groups = {}
    for group in ("AF", "NORM"):
        of = rows.filter(pl.col("group") == group)
        places = [ids.index(record_id) for record_id in of["record_id"]]
        field = stored.sel({"class": "AF"}).values[places]
        share = np.abs(field).sum(axis=2) / np.abs(field).sum(axis=(1, 2))[:, None]
        mean = field.sum(axis=2) / dataset["n_valid"].values[places][:, None]
        patients = of["patient_id"].to_list()
        groups[group] = (patient_means(share, patients), patient_means(mean, patients))
    for measure, place in (("absolute_share", 0), ("mean_relevance", 1)):
        expected = compare(groups["AF"][place], groups["NORM"][place])
        found = tables(explained)["leads"].filter(
            (pl.col("model") == "trained") & (pl.col("class") == "AF")
            & (pl.col("measure") == measure)
        )  # fmt: skip
        assert found["lead"].to_list() == list(small_model.card.input.leads)
        np.testing.assert_allclose(found["mean_case"], expected.case.mean, rtol=5e-3, atol=1e-6)
        np.testing.assert_allclose(found["cliffs_delta"], expected.cliffs_delta.delta, atol=0.05)
        shares = found["mean_case"].sum()
        assert measure != "absolute_share" or shares == pytest.approx(1.0, abs=1e-4)
        assert found["n_case_patients"][0] == groups["AF"][place].shape[0]
        assert found["n_case_patients"][0] < found["n_case_records"][0]


def test_what_goes_beyond_the_random_network_is_the_difference_of_the_shares(explained: Path):
    leads = tables(explained)["leads"]
    share = leads.filter(pl.col("measure") == "absolute_share")
    keys = ["class", "lead"]
    trained = share.filter(pl.col("model") == "trained").sort(keys)["mean_case"]
    random = share.filter(pl.col("model") == "random").sort(keys)["mean_case"]
    beyond = leads.filter(pl.col("measure") == "absolute_share_beyond_random").sort(keys)
    assert set(beyond["model"]) == {"trained"}
    np.testing.assert_allclose(beyond["mean_case"], trained - random, atol=1e-6)
    assert abs(beyond.filter(pl.col("class") == "AF")["mean_case"].sum()) < 1e-5


def test_the_average_beat_has_r_at_zero_and_an_interval_by_patient(explained: Path):
    beats = tables(explained)["beats"].filter(
        (pl.col("model") == "trained") & (pl.col("class") == "AF") & (pl.col("group") == "NORM")
    )
    size = beats.group_by("time_ms").agg(pl.col("mean_mv").abs().sum()).sort("mean_mv")
    assert abs(size["time_ms"][-1]) <= 20
    assert (beats["mv_low"] <= beats["mean_mv"]).all()
    assert (beats["relevance_high"] >= beats["mean_relevance"]).all()
    records = tables(explained)["records"].filter(
        (pl.col("model") == "trained") & (pl.col("class") == "AF") & (pl.col("group") == "NORM")
    )
    assert beats["n_patients"][0] == records["patient_id"].n_unique()
    assert beats["n_beats"][0] == records["n_beats"].sum()
    assert beats["mean_absolute_share"].sum() == pytest.approx(1.0)


def test_mean_relevance_follows_the_logit_for_the_random_network_too(explained: Path):
    classes = tables(explained)["classes"]
    for network in ("trained", "random"):
        part = classes.filter(pl.col("model") == network)
        assert (part["correlation_with_logit"] > 0.98).all()
        assert part["note"].str.contains("no evidence").all()
    records = tables(explained)["records"].filter(
        (pl.col("model") == "random") & (pl.col("class") == "LBBB") & (pl.col("group") == "LBBB")
    )
    row = classes.filter(
        (pl.col("model") == "random") & (pl.col("class") == "LBBB") & (pl.col("group") == "LBBB")
    ).row(0, named=True)
    means = patient_means(
        records["mean_relevance"].to_numpy()[:, None], records["patient_id"].to_list()
    )
    assert row["mean_relevance"] == pytest.approx(float(means.mean()))
    assert row["mean_relevance_low"] == pytest.approx(float(mean_interval(means).low[0]))


def test_outcomes_follow_the_cards_threshold(explained: Path):
    rows = tables(explained)["records"]
    for row in rows.iter_rows(named=True):
        threshold = 0.4 if row["class"] == "AF" else 0.5
        called = row["probability"] >= threshold
        truth = row["class"] in row["labels"]
        expected = {(1, 1): "TP", (1, 0): "FN", (0, 1): "FP", (0, 0): "TN"}[truth, called]
        assert row["outcome"] == expected
        assert row["probability"] == pytest.approx(1 / (1 + np.exp(-row["logit"])))


def test_the_summary_counts_what_the_tables_hold(explained: Path):
    summary = json.loads((explained / "findings" / "summary.json").read_text())
    rows = tables(explained)["records"]
    assert summary["counts"]["used"] == rows["record_id"].n_unique()
    assert summary["groups"]["AF"]["records"] == 12
    errors = rows.filter(pl.col("model") == "trained")["completeness_error"]
    assert summary["completeness_error"]["trained"]["median"] == pytest.approx(errors.median())
    assert (explained / "findings" / "provenance.json").is_file()
    assert not (explained / ".explain.partial").exists()


def test_less_memory_gives_the_same_numbers(
    explained: Path, study: Path, small_model: Model, tmp_path: Path
):
    folder = tmp_path / "study"
    shutil.copytree(study, folder)
    explain_cohort(folder, small_model, memory_mb=4.0, **OPTIONS)
    assert_same_results(explained, folder, exact=False)


SCRIPT = """
import sys, torch
torch.set_num_threads(1)
from pathlib import Path
from leadlight.classify.models import load_model
from leadlight.explain import cohort as cohort_stage
from leadlight.explain import relevance_store
from leadlight.explain.cohort import explain_cohort, explain_part
relevance_store.SHARD_RECORDS = 8
explain_cohort(Path(sys.argv[1]), load_model(sys.argv[2]), most_per_group=12, max_steps=18)
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_with_the_same_numbers(
    study: Path, small_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(relevance_store, "SHARD_RECORDS", 8)
    torch.set_num_threads(1)
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    for folder in (straight, killed):
        shutil.copytree(study, folder)
    explain_cohort(straight, small_model, **OPTIONS)
    command = [sys.executable, "-c", SCRIPT, str(killed), str(small_model.source)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    saved = killed / ".explain.partial" / "rows-00000.parquet"
    deadline = time.monotonic() + 120
    while not saved.is_file() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert saved.is_file()
    assert not (killed / "findings").exists()
    assert not (killed / "relevance.zarr").exists()
    explain_cohort(killed, small_model, **OPTIONS)
    assert_same_results(straight, killed, exact=True)


def test_what_was_finished_is_not_computed_again(
    study: Path, small_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import leadlight.explain.cohort as module

    monkeypatch.setattr(relevance_store, "SHARD_RECORDS", 8)
    folder = tmp_path / "study"
    shutil.copytree(study, folder)
    seen: list[int] = []
    real = module.explain_batch

    def counting(work, rows, recordings, kept):
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(len(rows))
        return real(work, rows, recordings, kept)

    monkeypatch.setattr(module, "explain_batch", counting)
    with pytest.raises(KeyboardInterrupt):
        explain_cohort(folder, small_model, **OPTIONS)
    seen.append(-1)
    explain_cohort(folder, small_model, **OPTIONS)
    used = tables(folder)["records"]["record_id"].n_unique()
    assert sum(seen) + 1 == used


def test_other_settings_do_not_go_on_from_an_unfinished_run(
    study: Path, small_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import leadlight.explain.cohort as module

    folder = tmp_path / "study"
    shutil.copytree(study, folder)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_write_findings", lambda *_: (_ for _ in ()).throw(OSError("full")))
        with pytest.raises(OSError, match="full"):
            explain_cohort(folder, small_model, most_per_group=3, max_steps=18)
    found = explain_cohort(
        folder, small_model, most_per_group=3, max_steps=18, random_control=False
    )
    assert set(tables(folder)["records"]["model"]) == {"trained"}
    assert found.summary["settings"]["random_control"] is False


def test_findings_are_not_replaced_unasked(explained: Path, small_model: Model):
    before = relevance(explained).values
    with pytest.raises(LeadlightError, match="already exists"):
        explain_cohort(explained, small_model, **OPTIONS)
    np.testing.assert_array_equal(relevance(explained).values, before)


def test_a_record_that_the_model_cannot_take_is_counted_and_the_rest_goes_on(
    write_study: Callable[..., Path], small_model: Model, tmp_path: Path
):
    def change(number, heart):
        if number % 10 != 0:
            return {}
        signal = heart.recording.signal_mv.values.copy()
        signal[2, 500:700] = np.nan
        broken = Recording(
            as_leads(signal), heart.recording.rate_hz, heart.recording.record_id, f"b{number}"
        )
        return {"recording": broken}

    folder = write_study(tmp_path / "study", change)
    found = explain_cohort(folder, small_model, max_steps=18, random_control=False)
    assert found.summary["counts"]["refused_by_model"] > 0
    assert "gap" in found.summary["refused"][0]
    gone = set(relevance(folder)["record_id"].values.tolist()) - set(
        tables(folder)["records"]["record_id"]
    )
    assert len(gone) == found.summary["counts"]["refused_by_model"]
    stored = relevance(folder)
    empty = np.isnan(stored.values).all(axis=(1, 2, 3))
    assert set(stored["record_id"].values[empty].tolist()) == gone
    beats = tables(folder)["beats"].filter(pl.col("class") == "AF")
    assert beats["n_patients"].max() <= tables(folder)["records"]["patient_id"].n_unique()


def test_a_study_without_controls_is_explained_without_comparison(
    write_study: Callable[..., Path], small_model: Model, tmp_path: Path
):
    def change(number, heart):
        return {"labels": tuple(label for label in heart.labels if label != "NORM")}

    folder = write_study(tmp_path / "study", change)
    found = explain_cohort(
        folder, small_model, classes=["AF"], max_steps=18, random_control=False, most_per_group=5
    )
    assert found.summary["groups"]["NORM"]["records"] == 0
    leads = tables(folder)["leads"]
    assert leads["p_value"].is_null().all()
    assert leads["mean_case"].is_not_null().all()


def test_parts_explained_apart_are_taken_over_and_give_the_same_averages(
    study: Path, small_model: Model, explained: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    """Two of three parts are done elsewhere, the last is left to the run that joins them."""
    monkeypatch.setattr(relevance_store, "SHARD_RECORDS", 8)
    folder = tmp_path / "study"
    shutil.copytree(study, folder)
    for part in (1, 0):
        assert explain_part(folder, small_model, part, 3, **OPTIONS) in (8, 16)
    computed = []
    whole = cohort_stage.explain_batch

    def counted(work, rows, *rest):
        computed.extend(rows)
        return whole(work, rows, *rest)

    monkeypatch.setattr(cohort_stage, "explain_batch", counted)
    done = explain_cohort(folder, small_model, **OPTIONS)
    n_records = sum(group["records"] for group in done.summary["groups"].values())
    assert 0 < len(computed) <= n_records / 2
    assert not list(folder.glob(".explain*"))
    for name, table in tables(explained).items():
        assert_frame_equal(table, tables(folder)[name], rel_tol=1e-9, abs_tol=1e-12)
    np.testing.assert_array_equal(relevance(explained).values, relevance(folder).values)
    with pytest.raises(LeadlightError, match="parts 0 to 2"):
        explain_part(folder, small_model, 3, 3, **OPTIONS)
