"""Averages by patient: one pass, any order, any split, and intervals that cover."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from leadlight.errors import LeadlightError
from leadlight.explain.averages import PatientMoments, mean_interval, patient_means

records = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.floats(-100, 100), st.booleans()),
    min_size=1, max_size=25,
)  # fmt: skip


def value(number: float, first_missing: bool) -> np.ndarray:
    return np.array([[np.nan if first_missing else number, number**2], [1.0, -number]])


def plainly(all_records) -> tuple[np.ndarray, np.ndarray]:
    """(mean over patients of the patients' means, their standard error) the long way."""
    patients = {}
    for who, number, missing in all_records:
        patients.setdefault(who, []).append(value(number, missing))
    each = []
    for values in patients.values():
        stacked = np.stack(values)
        known = np.isfinite(stacked)
        total = np.where(known, stacked, 0).sum(axis=0)
        each.append(np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan))
    stacked = np.stack(each)
    n = np.isfinite(stacked).sum(axis=0)
    mean = np.full((2, 2), np.nan)
    error = np.full((2, 2), np.nan)
    for place in np.ndindex(2, 2):
        known = stacked[(slice(None), *place)]
        known = known[np.isfinite(known)]
        if n[place]:
            mean[place] = known.mean()
        if n[place] > 1:
            error[place] = known.std(ddof=1) / np.sqrt(n[place])
    return mean, error


@settings(max_examples=60, deadline=None)
@given(records, st.randoms(use_true_random=False), st.integers(1, 4))
def test_any_order_and_any_division_give_the_average_over_patients(all_records, random, n_parts):
    records_of = Counter(who for who, _, _ in all_records)
    mean, error = plainly(all_records)
    shuffled = random.sample(all_records, len(all_records))
    parts = [PatientMoments((2, 2), records_of) for _ in range(n_parts)]
    for who, number, missing in shuffled:
        random.choice(parts).add(who, value(number, missing))
    random.shuffle(parts)
    whole = parts[0]
    for part in parts[1:]:
        whole.merge(part)
    found = whole.interval()
    np.testing.assert_allclose(found.mean, mean, rtol=1e-9, atol=1e-7)
    with np.errstate(invalid="ignore"):
        reach = stats.t.ppf(0.975, np.maximum(found.n_patients - 1, 1)) * error
    np.testing.assert_allclose(found.high - found.mean, reach, rtol=1e-6, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(records, st.integers(0, 25))
def test_going_on_from_a_saved_state_gives_the_same_to_the_bit(all_records, cut):
    records_of = Counter(who for who, _, _ in all_records)
    straight, first = (PatientMoments((2, 2), records_of) for _ in range(2))
    for who, number, missing in all_records:
        straight.add(who, value(number, missing))
    for who, number, missing in all_records[:cut]:
        first.add(who, value(number, missing))
    second = PatientMoments.from_state(first.state(), records_of)
    for who, number, missing in all_records[cut:]:
        second.add(who, value(number, missing))
    np.testing.assert_array_equal(straight.interval().mean, second.interval().mean)
    np.testing.assert_array_equal(straight.interval().low, second.interval().low)


def test_ten_records_of_one_patient_weigh_as_much_as_one_of_another():
    moments = PatientMoments((1,), {"a": 10, "b": 1})
    for _ in range(10):
        moments.add("a", np.array([1.0]))
    moments.add("b", np.array([3.0]))
    found = moments.interval()
    assert found.mean[0] == pytest.approx(2.0)
    assert found.n_patients[0] == 2


def test_a_skipped_record_closes_its_patient_without_counting():
    moments = PatientMoments((1,), {"a": 2, "b": 1})
    moments.add("a", np.array([4.0]))
    moments.skip("a")
    moments.skip("b")
    assert moments.state()["open_names"].size == 0
    found = moments.interval()
    assert (found.mean[0], found.n_patients[0]) == (4.0, 1)
    assert np.isnan(found.low[0])


def test_memory_holds_one_patient_when_records_come_by_patient():
    records_of = {f"p{n}": 2 for n in range(50)}
    moments = PatientMoments((3,), records_of)
    for who in records_of:
        for _ in range(2):
            assert moments.state()["open_names"].size <= 1
            moments.add(who, np.ones(3))


def test_one_record_more_than_said_is_refused():
    moments = PatientMoments((1,), {"a": 1})
    moments.add("a", np.array([1.0]))
    with pytest.raises(LeadlightError, match="Patient a"):
        moments.add("a", np.array([1.0]))


def test_patients_are_the_units_of_patient_means():
    values = np.array([[1.0], [3.0], [10.0], [np.nan]])
    np.testing.assert_allclose(patient_means(values, ["x", "x", "y", "y"]), [[2.0], [10.0]])


def test_the_interval_covers_the_truth_19_times_in_20_though_patients_differ():
    rng = np.random.default_rng(0)
    inside = 0
    trials = 1500
    for _ in range(trials):
        n = 8
        people = rng.normal(2.0, 1.0, n)
        sizes = rng.integers(1, 6, n)
        names = np.repeat(np.arange(n).astype(str), sizes)
        values = (np.repeat(people, sizes) + rng.normal(0, 0.5, sizes.sum()))[:, None]
        found = mean_interval(patient_means(values, names.tolist()))
        inside += found.low[0] <= 2.0 <= found.high[0]
    assert 0.93 <= inside / trials <= 0.97
