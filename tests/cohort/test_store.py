"""The store: what is written is what is read, and nothing half-written has a final name."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import wfdb
import xarray as xr

from leadlight.cohort.signals import CHUNK_SAMPLES, open_signal
from leadlight.cohort.store import RECORDS_SCHEMA, CohortWriter, open_cohort, write_cohort
from leadlight.ecg.formats import read_recording
from leadlight.ecg.leads import LEADS, as_leads
from leadlight.ecg.recording import Recording
from leadlight.errors import LeadlightError

LENGTHS = (5000, 700, 12_500, 5000, 30_001, 1, 5000)


def noise(name: str, length: int = 1000, seed: int = 0, **about: object) -> Recording:
    values = np.random.default_rng(seed).normal(0, 0.7, (12, length)).astype(np.float32)
    return Recording(as_leads(values), 500.0, name, **about)  # type: ignore[arg-type]


def of_all_lengths() -> list[Recording]:
    return [noise(f"r{n}", length, n) for n, length in enumerate(LENGTHS)]


def assert_same(stored: Recording, given: Recording) -> None:
    assert stored.record_id == given.record_id
    assert stored.signal_mv.dtype == np.float32
    assert stored.signal_mv.dims == ("lead", "sample")
    assert stored.n_samples == given.n_samples
    np.testing.assert_allclose(stored.signal_mv, given.signal_mv, rtol=0, atol=0.000504)


def test_records_of_any_length_come_back_whole_and_in_any_order(tmp_path: Path) -> None:
    given = of_all_lengths()
    with CohortWriter(tmp_path, shard_records=3) as writer:
        for recording in given:
            writer.add(recording)
    cohort = open_cohort(tmp_path)
    assert len(cohort) == len(given)
    for row, recording in enumerate(given):
        assert_same(cohort.recording(row), recording)
    for order in (range(7), [6, 0, 4, 4, 1], [5]):
        streamed = list(cohort.stream(list(order)))
        for recording, row in zip(streamed, order, strict=True):
            assert_same(recording, given[row])
    assert [r.record_id for r in cohort.stream()] == [f"r{n}" for n in range(7)]
    assert list(cohort.stream([])) == []
    with pytest.raises(IndexError):
        cohort.recording(7)
    with pytest.raises(IndexError):
        list(cohort.stream([-1]))


def test_what_a_recording_says_comes_back(tmp_path: Path) -> None:
    said = noise(
        "x",
        patient_id="p",
        age_years=61.5,
        sex="F",
        codes=("426783006", "59118001"),
        derived_leads=("III",),
        missing_leads=("V6",),
        source_format="wfdb",
    )
    with CohortWriter(tmp_path) as writer:
        writer.add(said, ("RBBB",), "test", ("flat:V3",), "a/x.hea", fold=10)
        writer.add(noise("y"))
    cohort = open_cohort(tmp_path)
    back = cohort.recording(0)
    for name in (
        "patient_id", "age_years", "sex", "codes", "derived_leads", "missing_leads",
        "source_format", "rate_hz",
    ):  # fmt: skip
        assert getattr(back, name) == getattr(said, name), name
    assert dict(cohort.records.schema) == RECORDS_SCHEMA
    first, second = cohort.records.rows(named=True)
    assert (first["labels"], first["split"], first["fold"]) == (["RBBB"], "test", 10)
    assert (first["flags"], first["source"]) == (["flat:V3"], "a/x.hea")
    assert second["labels"] is None
    assert second["patient_id"] == "y"
    assert cohort.row_of("y") == 1
    with pytest.raises(LeadlightError, match="no record 'z'"):
        cohort.row_of("z")


def test_unlabelled_and_labelled_with_none_of_ours_stay_apart(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, [(noise("a"), None), (noise("b"), ()), (noise("c"), ("AF",))])
    assert cohort.records["labels"].to_list() == [None, [], ["AF"]]


@pytest.mark.filterwarnings("error")
def test_xarray_opens_the_store_as_millivolt_with_names(tmp_path: Path) -> None:
    given = of_all_lengths()
    values = given[1].signal_mv.values.copy()
    values[3, 5] = np.nan
    given[1] = Recording(as_leads(values), 500.0, "r1")
    write_cohort(tmp_path, [(recording, None) for recording in given])
    with xr.open_zarr(tmp_path / "cohort.zarr") as opened:
        assert opened.signal.dims == ("record", "lead", "sample")
        assert opened.signal.attrs["units"] == "mV"
        assert np.issubdtype(opened.signal.dtype, np.floating)
        assert opened.record_id.values.tolist() == [f"r{n}" for n in range(7)]
        assert opened.lead.values.tolist() == list(LEADS)
        one = opened.signal.isel(record=1).load()
        np.testing.assert_allclose(
            one.sel(lead="V2").values[:700], given[1].signal_mv.sel(lead="V2"), atol=0.000504
        )
        assert np.isnan(one.sel(lead="aVR").values[5])
        assert np.isnan(one.values[:, 700:]).all()


def test_ten_seconds_without_a_value_take_no_room(tmp_path: Path) -> None:
    write_cohort(tmp_path, [(recording, None) for recording in of_all_lengths()])
    signal = open_signal(tmp_path / "cohort.zarr")
    assert signal.chunks == (1, 12, CHUNK_SAMPLES)
    # 30001 samples need seven blocks; only r4 has values in blocks 3 to 6, so their files are
    # about a seventh of block 0, in which all records but one have (parts of) their values.
    files = {p.name: p.stat().st_size for p in (tmp_path / "cohort.zarr/signal/c/0/0").iterdir()}
    assert sorted(files) == [str(block) for block in range(7)]
    assert files["3"] < files["0"] / 3
    assert files["6"] < 6_000


def test_a_real_recording_is_what_the_wfdb_library_reads(tmp_path: Path, shared_data: Path) -> None:
    path = shared_data / "ptbxl/records500/00000/00001_hr"
    reference = wfdb.rdrecord(str(path))
    values = reference.p_signal.T.astype(np.float32)
    cohort = write_cohort(tmp_path, [(Recording(as_leads(values), 500.0, "00001_hr"), None)])
    stored = np.asarray(cohort.signal[0])
    # PTB-XL states 1 µV per bit, so its samples are ours to the last bit.
    assert np.array_equal(stored, np.rint(reference.p_signal.T * 1000).astype(np.int16))


def test_values_beyond_the_range_are_flagged(tmp_path: Path) -> None:
    values = np.zeros((12, 100), dtype=np.float32)
    values[0, 7] = 55.0
    cohort = write_cohort(tmp_path, [(Recording(as_leads(values), 500.0, "loud"), None)])
    assert cohort.records["flags"].to_list() == [["clipped"]]
    assert float(cohort.recording(0).signal_mv.sel(lead="I")[7]) == pytest.approx(32.767)


def test_a_failed_write_leaves_nothing_under_a_final_name(tmp_path: Path) -> None:
    def breaks() -> Iterator[tuple[Recording, None]]:
        yield noise("a"), None
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError):
        write_cohort(tmp_path, breaks())
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(LeadlightError, match="holds no cohort"):
        open_cohort(tmp_path)


def test_a_cohort_is_replaced_only_when_told_and_stays_whole_meanwhile(tmp_path: Path) -> None:
    write_cohort(tmp_path, [(noise("old"), None)])
    with pytest.raises(LeadlightError, match="already exists"):
        write_cohort(tmp_path, [(noise("new"), None)])
    with CohortWriter(tmp_path, overwrite=True) as writer:
        writer.add(noise("new", seed=5))
        assert open_cohort(tmp_path).recording(0).record_id == "old"
    assert_same(open_cohort(tmp_path).recording(0), noise("new", seed=5))
    names = {"cohort.zarr", "records.parquet", "rejects.parquet", "cohort-provenance.json"}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_no_record_is_no_cohort(tmp_path: Path) -> None:
    with pytest.raises(LeadlightError, match="No record was added"):
        write_cohort(tmp_path, [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("recording", "arguments", "fault"),
    [
        (noise("a"), {}, "Two records are named a"),
        (noise("b"), {"labels": ("AFIB",)}, "unknown labels: AFIB"),
        (noise("b"), {"split": "dev"}, "unknown split 'dev'"),
        (noise("b", patient_id="a"), {"split": "test"}, "in two splits"),
        (noise("b", length=0), {}, "no samples"),
        (Recording(as_leads(np.zeros((12, 5))), float("nan"), "b"), {}, "rate of nan Hz"),
        (
            Recording(as_leads(np.zeros((12, 5))).drop_sel(lead="V4"), 500.0, "b"),
            {},
            "lacks the leads V4",
        ),
    ],
)
def test_a_record_that_would_spoil_the_cohort_is_refused_by_name(
    tmp_path: Path, recording: Recording, arguments: dict[str, object], fault: str
) -> None:
    with CohortWriter(tmp_path) as writer:
        writer.add(noise("a"), split="train")
        with pytest.raises(LeadlightError, match=fault):
            writer.add(recording, **arguments)  # type: ignore[arg-type]
    assert len(open_cohort(tmp_path)) == 1


def test_only_one_process_writes_a_study(tmp_path: Path) -> None:
    with CohortWriter(tmp_path, made_from={"files": 1}) as writer:
        writer.add(noise("a"))
        with pytest.raises(LeadlightError, match="Another run is importing"):
            CohortWriter(tmp_path, made_from={"files": 1})


def test_an_unfinished_import_of_something_else_is_not_mixed_in(tmp_path: Path) -> None:
    writer = CohortWriter(tmp_path, made_from={"n": 1})
    writer.add(noise("a"))
    writer.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    with pytest.raises(LeadlightError, match="unfinished import of other sources"):
        CohortWriter(tmp_path, made_from={"n": 2})
    with pytest.raises(LeadlightError, match="unfinished import"):
        open_cohort(tmp_path)
    with CohortWriter(tmp_path, made_from={"n": 2}, overwrite=True) as writer:
        writer.add(noise("b"))
    assert open_cohort(tmp_path).records["record_id"].to_list() == ["b"]


def test_a_kill_between_two_final_renames_is_mended_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cohort(tmp_path, [(noise("old"), None)])
    replace = Path.replace

    def dies_at_the_table(self: Path, target: Path) -> Path:
        if self.name == "records.parquet" and target.parent == tmp_path:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dies_at_the_table)
        writer = CohortWriter(tmp_path, overwrite=True, made_from={"n": 1})
        writer.add(noise("new"), source="s")
        with pytest.raises(KeyboardInterrupt):
            writer.close()
        writer._journal.abandon()
    # New signals are in place, the table is not: this must not pass for a cohort.
    with pytest.raises(LeadlightError, match="unfinished"):
        open_cohort(tmp_path)
    with CohortWriter(tmp_path, made_from={"n": 1}) as again:
        assert again.done_sources == {"s"}
    cohort = open_cohort(tmp_path)
    assert cohort.records["record_id"].to_list() == ["new"]
    assert_same(cohort.recording(0), noise("new"))


def test_a_table_of_another_import_is_noticed(tmp_path: Path) -> None:
    write_cohort(tmp_path, [(noise("a"), None), (noise("b"), None)])
    table = pl.read_parquet(tmp_path / "records.parquet")
    table.head(1).write_parquet(tmp_path / "records.parquet")
    with pytest.raises(LeadlightError, match="lists 1 records"):
        open_cohort(tmp_path)


def test_provenance_names_the_verb_and_fingerprints_the_table(tmp_path: Path) -> None:
    write_cohort(tmp_path, [(noise("a"), None)], verb="simulate", parameters={"seed": 3})
    said = json.loads((tmp_path / "cohort-provenance.json").read_text())
    assert (said["verb"], said["parameters"]) == ("simulate", {"seed": 3})
    assert said["inputs"]["records.parquet"].startswith("sha256:")


def test_a_carts_own_median_beat_and_measurements_are_kept(
    tmp_path: Path, shared_data: Path
) -> None:
    path = shared_data / "formats" / "cardiosoft" / "ukb_ecg_demo_20205_2_0.xml"
    given = read_recording(path)
    assert given.median_beat_mv is not None
    plain = dataclasses.replace(
        given,
        record_id="plain",
        median_beat_mv=None,
        median_beat_rate_hz=None,
        cart_measurements={},
    )
    cohort = write_cohort(tmp_path, [(plain, None), (given, None)])
    streamed = list(cohort.stream())
    for found in (cohort.recording(1), streamed[1]):
        assert found.median_beat_mv is not None
        assert found.median_beat_mv.shape == (12, 600)
        assert found.median_beat_rate_hz == 500.0
        apart = found.median_beat_mv.values - given.median_beat_mv.sel(lead=list(LEADS)).values
        assert np.abs(apart).max() <= 0.000501
        assert dict(found.cart_measurements) == dict(given.cart_measurements)
        assert "median_t_offset_ms" in found.cart_measurements
    for without in (cohort.recording(0), streamed[0]):
        assert without.median_beat_mv is None
        assert without.cart_measurements == {}


def test_an_import_that_was_cut_keeps_the_carts_beats(tmp_path: Path, shared_data: Path) -> None:
    path = shared_data / "formats" / "cardiosoft" / "ukb_ecg_demo_20205_2_0.xml"
    given = read_recording(path)
    made_from = {"files": 3}
    cut = CohortWriter(tmp_path, made_from=made_from, shard_records=2)
    for name in "ab":
        cut.add(dataclasses.replace(given, record_id=name))
    cut.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    with CohortWriter(tmp_path, made_from=made_from, shard_records=2) as writer:
        assert writer.done_sources == {"a", "b"}
        writer.add(dataclasses.replace(given, record_id="c", median_beat_mv=None))
    beats = [each.median_beat_mv for each in open_cohort(tmp_path).stream()]
    assert beats[0] is not None
    assert beats[1] is not None
    assert beats[2] is None
    assert np.array_equal(beats[0].values, beats[1].values)


def test_a_cohort_without_carts_has_no_array_for_them_and_an_older_one_opens(
    tmp_path: Path,
) -> None:
    signal = as_leads(np.zeros((12, 500), dtype=np.float32))
    write_cohort(tmp_path, [(Recording(signal, 500.0, "one"), None)])
    assert not (tmp_path / "cohort.zarr" / "cart_beat").exists()
    table = pl.read_parquet(tmp_path / "records.parquet")
    older = table.drop("cart_beat_rate_hz", "cart_beat_samples", "cart_measurements")
    older.write_parquet(tmp_path / "records.parquet")
    assert open_cohort(tmp_path).recording(0).median_beat_mv is None
