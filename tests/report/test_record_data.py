"""Relevance stands on the very sample that the model saw, whatever the rate, crop and padding."""

import base64
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "browser"))
from drawn_study import COMPLETENESS, plain_card, recording, write_record_study

from leadlight.errors import LeadlightError
from leadlight.report.examples import draw_example
from leadlight.report.record_data import fold, record_data, stored_records
from leadlight.report.results import read_results


def _signal_mv(found):
    counts = np.frombuffer(base64.b64decode(found["signal"]), "<i2").astype(float)
    counts[counts == -32768] = np.nan
    return counts.reshape(len(found["leads"]), found["n_samples"]) * found["unit_uv"] / 1e3


def _relevance(found, name):
    one = next(each for each in found["classes"] if each["name"] == name)["relevance"]
    counts = np.frombuffer(base64.b64decode(one["values"]), "<i2").astype(float)
    return one, counts.reshape(len(found["leads"]), found["n_samples"]) * one["scale"]


CASES = {
    "padded on both sides": (plain_card(250.0, 2560), {"rate_hz": 500.0, "seconds": 10.0}),
    "padded at the start": (
        plain_card(200.0, 2400, padding="start"), {"rate_hz": 1000.0, "seconds": 8.0},
    ),
    "cut in the middle": (plain_card(250.0, 1000), {"rate_hz": 500.0, "seconds": 10.0}),
    "cut at the end": (plain_card(100.0, 600, crop="start"), {"rate_hz": 250.0, "seconds": 9.0}),
    "empty at first": (
        plain_card(250.0, 1500), {"rate_hz": 500.0, "seconds": 10.0, "empty_s": 1.3},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_relevance_that_is_the_input_is_the_signal_where_it_stands(case, tmp_path):
    card, about = CASES[case]
    seen = write_record_study(tmp_path / "s", [recording("one", **about)], card)["one"]
    found = record_data(tmp_path / "s", "one")
    json.dumps(found, allow_nan=False)
    assert found["rate_hz"] == card.input.rate_hz
    one, relevance = _relevance(found, "AF")
    inside = slice(one["first"], one["end"])
    assert one["end"] - one["first"] == seen.n_valid
    # The signal is whole microvolts, relevance has ten bits of mantissa.
    np.testing.assert_allclose(relevance[:, inside], _signal_mv(found)[:, inside], atol=2e-3)
    assert not relevance[:, : one["first"]].any()
    assert not relevance[:, one["end"] :].any()
    start_s = found["start_s"] + one["first"] / found["rate_hz"]
    assert start_s == pytest.approx(seen.start_s, abs=1e-6)
    np.testing.assert_array_equal(_relevance(found, "LBBB")[1], -relevance)


def test_the_viewer_and_the_drawing_on_paper_show_the_same_numbers(tmp_path):
    card, about = CASES["empty at first"]
    write_record_study(tmp_path / "s", [recording("one", **about)], card)
    results = read_results(tmp_path / "s")
    stored = results.relevance.isel(record=0)
    attributes = {**stored["relevance"].attrs} | {
        name: stored[name].item() for name in ("first_valid", "n_valid", "start_s")
    }
    _, drawn = draw_example(
        results.cohort.recording(0), stored["relevance"].sel({"class": "AF"}), attributes, "one"
    )
    found = record_data(results, "one")
    one, relevance = _relevance(found, "AF")
    for place, lead in enumerate(found["leads"]):
        mine = drawn.filter(drawn["lead"] == lead)
        inside = slice(one["first"], one["end"])
        np.testing.assert_allclose(relevance[place, inside], mine["relevance"], atol=one["scale"])
        np.testing.assert_allclose(_signal_mv(found)[place, inside], mine["mv"], atol=6e-4)


def test_a_model_faster_than_the_page_is_folded_and_sums_are_kept(tmp_path):
    card = plain_card(400.0, 4096)
    seen = write_record_study(tmp_path / "s", [recording("o", rate_hz=500.0, seconds=10.0)], card)
    found = record_data(tmp_path / "s", "o")
    assert found["rate_hz"] == 200.0
    one, relevance = _relevance(found, "AF")
    assert one["input_samples"] == 2
    whole = seen["o"].values.values.astype(float)
    np.testing.assert_allclose(relevance.sum(axis=1), whole.sum(axis=1), atol=0.3)
    # A drawn sample has twice the input's value there; spikes are where the signal has them. The
    # last drawn sample also has what lies behind it.
    signal, relevance = _signal_mv(found)[:, 1:-1], relevance[:, 1:-1]
    for lead in range(12):
        assert np.corrcoef(signal[lead], relevance[lead])[0, 1] > 0.998
        assert abs(int(np.argmax(signal[lead])) - int(np.argmax(relevance[lead]))) <= 1


@pytest.mark.parametrize("each", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("n", [1, 7, 4096])
def test_folding_keeps_sums_and_puts_an_impulse_on_the_nearest_sample(each, n):
    drawn = max(1, round(n / each))
    values = np.random.default_rng(n).normal(size=(2, n))
    np.testing.assert_allclose(fold(values, each, drawn).sum(axis=1), values.sum(axis=1))
    for at in {0, n // 2, n - 1}:
        impulse = np.zeros((1, n))
        impulse[0, at] = 1.0
        out = fold(impulse, each, drawn)[0]
        centre = float((out * np.arange(drawn)).sum())
        assert abs(centre - min(at / each, drawn - 1)) <= 0.5


def test_facts_of_each_class_come_along_and_relevance_only_where_asked(tmp_path):
    card, about = CASES["padded on both sides"]
    write_record_study(tmp_path / "s", [recording("one", **about)], card)
    results = read_results(tmp_path / "s")
    assert stored_records(results) == ["one"]
    found = record_data(results, "one", classes=["AF"])
    facts = {one["name"]: one for one in found["classes"]}
    assert list(facts) == ["AF", "LBBB", "SB"]
    assert facts["AF"]["completeness_error"] == COMPLETENESS
    assert facts["AF"]["probability"] == 0.9
    assert facts["AF"]["threshold"] == pytest.approx(0.7995, abs=1e-3)
    assert facts["AF"]["relevance"] is not None
    assert facts["LBBB"]["relevance"] is None
    assert facts["SB"]["relevance"] is None
    assert found["simulated"] is True
    assert found["labels"] == ["AF"]


def test_missing_leads_are_absent_and_gaps_are_marked(tmp_path):
    one = recording("one", rate_hz=250.0, seconds=10.0)
    one.signal_mv.values[4] = np.nan
    one.signal_mv.values[7, 100:103] = np.nan
    write_record_study(tmp_path / "s", [one], plain_card(250.0, 2560))
    found = record_data(tmp_path / "s", "one")
    assert "aVL" not in found["leads"]
    assert len(found["leads"]) == 11
    gap = _signal_mv(found)[found["leads"].index("V2")]
    assert np.flatnonzero(np.isnan(gap)).tolist() == [100, 101, 102]


def test_a_record_without_relevance_is_shown_and_a_long_one_is_cut(tmp_path):
    write_record_study(tmp_path / "s", [recording("one", rate_hz=500.0, seconds=80.0)],
                       plain_card(250.0, 2560))  # fmt: skip
    found = record_data(tmp_path / "s", "one")
    one, relevance = _relevance(found, "AF")
    assert found["n_samples"] == 15_000
    assert found["start_s"] == pytest.approx(10.0)
    assert found["duration_s"] == 80.0
    inside = slice(one["first"], one["end"])
    np.testing.assert_allclose(relevance[:, inside], _signal_mv(found)[:, inside], atol=2e-3)
    shutil.rmtree(tmp_path / "s" / "relevance.zarr")
    bare = record_data(tmp_path / "s", "one", most_s=10.0)
    assert bare["n_samples"] == 2500
    assert all(each["relevance"] is None for each in bare["classes"])
    with pytest.raises(LeadlightError, match="no record 'two'"):
        record_data(tmp_path / "s", "two")
