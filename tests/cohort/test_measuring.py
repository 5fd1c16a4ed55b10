"""Measuring a cohort: every record once, whatever happens on the way."""

import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import xarray as xr

from leadlight.cohort import measured_records, measuring
from leadlight.cohort.beats import open_beats
from leadlight.cohort.measured_records import FIDUCIALS_SCHEMA, MEASUREMENTS_SCHEMA
from leadlight.cohort.measuring import measure_cohort
from leadlight.cohort.store import open_cohort, write_cohort
from leadlight.ecg.delineation import AskedStrip
from leadlight.ecg.formats import read_recording
from leadlight.ecg.leads import LEADS, as_leads
from leadlight.ecg.measurements import QUANTITIES, MeasuredRecording, measure_recording
from leadlight.ecg.recording import Recording
from leadlight.errors import LeadlightError
from leadlight.simulate.population import simulate_recordings

PEOPLE = 7
FLAT = "flat"


def recordings() -> Iterator[tuple[Recording, None]]:
    for number, one in enumerate(
        simulate_recordings(PEOPLE, seed=11, rate_hz=400.0, duration_s=6.0)
    ):
        yield one.recording, None
        if number == 3:
            empty = as_leads(np.zeros((12, 2400), dtype=np.float32))
            yield replace(one.recording, record_id=FLAT, signal_mv=empty), None


@pytest.fixture
def study(tmp_path: Path) -> Path:
    write_cohort(tmp_path, recordings())
    return tmp_path


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measured")
    write_cohort(folder, recordings())
    measure_cohort(folder, shard_records=3)
    return folder


def tables(study: Path) -> tuple[pl.DataFrame, pl.DataFrame, np.ndarray]:
    return (
        pl.read_parquet(study / "measurements.parquet"),
        pl.read_parquet(study / "fiducials.parquet"),
        open_beats(study)["median_beat"].values,
    )


def assert_same(one: Path, other: Path) -> None:
    for mine, theirs in zip(tables(one)[:2], tables(other)[:2], strict=True):
        assert mine.equals(theirs)
    assert np.array_equal(tables(one)[2], tables(other)[2], equal_nan=True)


def test_every_record_has_its_row_in_the_cohorts_order(measured: Path) -> None:
    table = tables(measured)[0]
    assert table["record_id"].to_list() == open_cohort(measured).records["record_id"].to_list()
    assert table.schema == pl.Schema(MEASUREMENTS_SCHEMA)
    assert set(QUANTITIES) < set(table.columns)


def test_the_row_is_what_the_recording_gives(measured: Path) -> None:
    recording = open_cohort(measured).recording(1)
    found = measure_recording(recording.signal_mv, recording.rate_hz)
    row = tables(measured)[0].row(1, named=True)
    for name, value in found.measurements.values.items():
        assert (row[name] is None) == bool(np.isnan(value)), name
        assert row[name] is None or row[name] == pytest.approx(value), name
    assert row["n_beats"] == found.beat.n_found
    assert row["failure"] is None


def test_one_bad_record_gets_a_reason_and_stops_nothing(measured: Path) -> None:
    table, fiducials, beats = tables(measured)
    bad = table.filter(pl.col("record_id") == FLAT)
    assert bad["failure"].to_list() == ["No beat is found."]
    assert bad["qt_ms"].null_count() == 1
    assert table["failure"].null_count() == PEOPLE
    assert FLAT not in fiducials["record_id"].to_list()
    row = table["record_id"].to_list().index(FLAT)
    assert np.isnan(beats[row]).all()
    assert np.isfinite(np.delete(beats, row, axis=0)).all()


def test_fiducials_are_in_samples_of_the_recordings_own_rate(measured: Path) -> None:
    fiducials = tables(measured)[1]
    assert fiducials.schema == pl.Schema(FIDUCIALS_SCHEMA)
    assert set(fiducials["lead"].unique()) == {*LEADS, "global"}
    assert set(fiducials["wave"].unique()) == {"P", "QRS", "T"}
    recording = open_cohort(measured).recording(0)
    found = measure_recording(recording.signal_mv, recording.rate_hz).fiducials
    stored = fiducials.filter(
        (pl.col("record_id") == recording.record_id)
        & (pl.col("lead") == "global")
        & (pl.col("wave") == "QRS")
    )
    assert stored["beat"].to_list() == list(range(len(found.r_peaks)))
    assert stored["onset"].to_numpy() == pytest.approx(
        found.global_.sel(wave="QRS", point="onset").values, nan_ok=True
    )
    inside = (stored["onset"].to_numpy() < found.r_peaks) & (
        found.r_peaks < stored["offset"].to_numpy()
    )
    assert inside[1:-1].all()


def test_the_beats_open_with_xarray_in_millivolt(measured: Path) -> None:
    beats = xr.open_zarr(measured / "beats.zarr", consolidated=False)
    assert beats["median_beat"].dims == ("record", "lead", "sample")
    assert beats["median_beat"].shape == (PEOPLE + 1, 12, 600)
    assert beats["lead"].values.tolist() == list(LEADS)
    assert beats["time_ms"].values[225] == 0
    recording = open_cohort(measured).recording(0)
    own = measure_recording(recording.signal_mv, recording.rate_hz).beat
    assert np.abs(beats["median_beat"][0].values - own.beat_mv.values).max() <= 0.000501
    assert int(beats["n_beats"][0]) == own.n_beats


def test_shards_do_not_change_the_result(study: Path, measured: Path) -> None:
    measure_cohort(study)
    assert_same(study, measured)


@pytest.mark.slow
def test_workers_do_not_change_the_result(study: Path, measured: Path) -> None:
    measure_cohort(study, workers=2)
    assert_same(study, measured)


def test_a_killed_run_goes_on_where_it_was(
    study: Path, measured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def dying(
        signal_mv: xr.DataArray, rate_hz: float, asked: AskedStrip | None
    ) -> MeasuredRecording:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt
        return measure_recording(signal_mv, rate_hz, asked)

    monkeypatch.setattr(measured_records, "measure_recording", dying)
    with pytest.raises(KeyboardInterrupt):
        measure_cohort(study, shard_records=3)
    assert not (study / "measurements.parquet").exists()
    assert not (study / "beats.zarr").exists()
    summary = measure_cohort(study, shard_records=3)
    assert summary.n_resumed == 3
    assert calls == 5 + (PEOPLE + 1 - 3)
    assert_same(study, measured)


def test_a_run_cut_between_two_moves_is_mended(
    study: Path, measured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(measuring, "_publish", lambda folder, study: None)
        with pytest.raises(FileNotFoundError):
            measure_cohort(study, shard_records=3)
    (study / measuring.PARTIAL / "beats.zarr").replace(study / "beats.zarr")
    summary = measure_cohort(study, shard_records=3)
    assert summary.n_resumed == PEOPLE + 1
    assert not (study / measuring.PARTIAL).exists()
    assert_same(study, measured)


def test_an_unfinished_run_of_another_cohort_is_not_gone_on_with(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(measuring, "_join", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            measure_cohort(study, shard_records=3)
    write_cohort(study, list(recordings())[5:7], overwrite=True)
    summary = measure_cohort(study, shard_records=3)
    assert (summary.n_resumed, summary.n_records) == (0, 2)
    named = open_cohort(study).records["record_id"].to_list()
    assert tables(study)[0]["record_id"].to_list() == named


def test_results_are_not_overwritten_unasked(measured: Path) -> None:
    with pytest.raises(LeadlightError, match="already exists"):
        measure_cohort(measured)


def test_a_study_without_cohort_or_beats_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LeadlightError, match="no cohort"):
        measure_cohort(tmp_path)
    with pytest.raises(LeadlightError, match="no median beats"):
        open_beats(tmp_path)


def test_an_unforeseen_fault_of_one_record_stops_nothing(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(
        signal_mv: xr.DataArray, rate_hz: float, asked: AskedStrip | None
    ) -> MeasuredRecording:
        raise ZeroDivisionError("secret content")

    monkeypatch.setattr(measured_records, "measure_recording", faulty)
    summary = measure_cohort(study)
    assert summary.n_failed == PEOPLE + 1
    assert list(summary.failures) == ["measuring failed: ZeroDivisionError"]


def test_provenance_says_what_delineated(measured: Path) -> None:
    made = json.loads((measured / "measure-provenance.json").read_text())
    assert made["verb"] == "measure"
    assert len(made["parameters"]["delineator_sha256"]) == 64
    assert "records.parquet" in made["inputs"]


def test_the_table_of_fiducials_and_the_qrs_duration_say_the_same(measured: Path) -> None:
    table, fiducials, _ = tables(measured)
    rates = dict(zip(*open_cohort(measured).records["record_id", "rate_hz"], strict=True))
    qrs = fiducials.filter((pl.col("lead") == "global") & (pl.col("wave") == "QRS"))
    for row in table.filter(pl.col("failure").is_null()).iter_rows(named=True):
        own = qrs.filter(pl.col("record_id") == row["record_id"]).drop_nans()
        wide_ms = (own["offset"] - own["onset"]).to_numpy() / rates[row["record_id"]] * 1000
        if row["n_beats_averaged"] == row["n_beats"]:
            assert np.median(wide_ms) == pytest.approx(row["qrs_ms"], abs=3.0)
        assert (own["onset"] < own["peak"]).all()
        assert (own["peak"] < own["offset"]).all()


def test_a_second_run_in_one_study_is_refused_and_a_killed_one_does_not_block(study: Path) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl, sys, time; lock = open(sys.argv[1], 'w'); "
            "fcntl.flock(lock, fcntl.LOCK_EX); print('held', flush=True); time.sleep(60)",
            str(study / measuring.LOCK),
        ],
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(LeadlightError, match="Another run is measuring"):
        measure_cohort(study)
    holder.kill()
    holder.communicate()
    assert measure_cohort(study).n_records == PEOPLE + 1
    with (study / measuring.LOCK).open("w") as lock:  # free again
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_carts_own_median_is_taken_where_asked(tmp_path: Path, shared_data: Path) -> None:
    path = shared_data / "formats" / "cardiosoft" / "ukb_ecg_demo_20205_2_0.xml"
    given = read_recording(path)
    plain = replace(given, record_id="plain", median_beat_mv=None)
    write_cohort(tmp_path, [(given, None), (plain, None)])
    found = {}
    for medians in ("own", "cart"):
        measure_cohort(tmp_path, medians=medians, overwrite=True)  # type: ignore[arg-type]
        found[medians] = tables(tmp_path)
    assert found["own"][0]["median_beat"].to_list() == ["strip", "strip"]
    assert found["cart"][0]["median_beat"].to_list() == ["cart", "strip"]
    own, cart = found["own"][2], found["cart"][2]
    assert np.array_equal(own[1], cart[1])
    assert not np.array_equal(own[0], cart[0])
    # The cart's beat is laid on ours: the same QRS at the same samples.
    for lead in range(12):
        assert np.corrcoef(own[0, lead, 200:260], cart[0, lead, 200:260])[0, 1] > 0.99
    ours, theirs = (found[medians][0].row(0, named=True) for medians in ("own", "cart"))
    assert theirs["qrs_ms"] == pytest.approx(ours["qrs_ms"], abs=6)
    assert theirs["noise_uv"] is None
    beat = open_cohort(tmp_path).recording(0).median_beat_mv
    assert beat is not None
    sizes = np.ptp(beat.values, axis=1)
    assert np.ptp(cart[0], axis=1) == pytest.approx(sizes, rel=0.02)
