"""Cases against controls: agreement with scipy and with counting, and calibration on nulls."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from leadlight.explain.averages import patient_means
from leadlight.explain.comparison import benjamini_hochberg, cliffs_delta, compare, rank_test

groups = st.lists(st.integers(-5, 5), min_size=2, max_size=12)


def column(values) -> np.ndarray:
    return np.array(values, dtype=float)[:, None]


@settings(max_examples=80, deadline=None)
@given(groups, groups)
def test_cliffs_delta_is_the_share_of_pairs_above_less_those_below(x, y):
    pairs = np.sign(np.subtract.outer(x, y))
    found = cliffs_delta(column(x), column(y))
    assert found.delta[0] == pytest.approx(pairs.mean(), abs=1e-12)
    u = stats.mannwhitneyu(x, y).statistic
    assert found.delta[0] == pytest.approx(2 * u / (len(x) * len(y)) - 1, abs=1e-12)
    assert -1 <= found.low[0] <= found.delta[0] <= found.high[0] <= 1


@settings(max_examples=40, deadline=None)
@given(groups, groups)
def test_swapping_the_groups_turns_the_sign(x, y):
    there, back = cliffs_delta(column(x), column(y)), cliffs_delta(column(y), column(x))
    np.testing.assert_allclose(there.delta, -back.delta, atol=1e-12)
    np.testing.assert_allclose(there.low, -back.high, atol=1e-9)


def test_the_variance_of_delta_is_cliffs_unbiased_one():
    x, y = np.array([3.0, 1, 4, 1, 5]), np.array([2.0, 7, 1, 8])
    d = np.sign(np.subtract.outer(x, y))
    n, m, delta = 5, 4, d.mean()
    unbiased = (
        m**2 * ((d.mean(axis=1) - delta) ** 2).sum()
        + n**2 * ((d.mean(axis=0) - delta) ** 2).sum()
        - ((d - delta) ** 2).sum()
    ) / (n * m * (n - 1) * (m - 1))
    z = stats.t.ppf(0.975, n + m - 2)
    scale = 1 - delta**2 + z**2 * unbiased
    reach = z * np.sqrt(unbiased) * np.sqrt((1 - delta**2) ** 2 + z**2 * unbiased)
    found = cliffs_delta(column(x), column(y))
    assert found.low[0] == pytest.approx(max(-1, (delta - delta**3 - reach) / scale))
    assert found.high[0] == pytest.approx((delta - delta**3 + reach) / scale)


def test_the_delta_interval_covers_the_truth_also_for_unequal_groups():
    rng = np.random.default_rng(1)
    shift = 0.8
    truth = 2 * stats.norm.cdf(shift / np.sqrt(1 + 2**2)) - 1
    case, control = rng.normal(shift, 1, (15, 2000)), rng.normal(0, 2, (40, 2000))
    found = cliffs_delta(case, control)
    inside = (found.low <= truth) & (truth <= found.high)
    assert 0.93 <= inside.mean() <= 0.97


def test_groups_that_do_not_overlap_keep_a_wide_interval_when_small():
    few = cliffs_delta(column([5, 6, 7]), column([1, 2, 3]))
    many = cliffs_delta(column(np.arange(100) + 200), column(np.arange(100)))
    assert few.delta[0] == many.delta[0] == few.high[0] == 1
    assert few.low[0] < 0.2 < 0.9 < many.low[0]


def test_p_is_scipys_and_a_missing_lead_is_left_out():
    rng = np.random.default_rng(2)
    case, control = rng.normal(size=(9, 3)), rng.normal(0.5, 1, (30, 3))
    case[4, 1] = np.nan
    found = rank_test(case, control)
    for k in range(3):
        known = case[np.isfinite(case[:, k]), k]
        assert found[k] == stats.mannwhitneyu(known, control[:, k]).pvalue


def test_p_of_null_leads_is_uniform_when_patients_have_several_records():
    rng = np.random.default_rng(3)
    p = []
    for _ in range(40):
        groups = []
        for n in (25, 40):
            sizes = rng.integers(1, 5, n)
            names = np.repeat(np.arange(n).astype(str), sizes).tolist()
            people = np.repeat(rng.normal(size=(n, 25)), sizes, axis=0)
            values = people + rng.normal(0, 0.3, people.shape)
            groups.append(patient_means(values, names))
        p.append(rank_test(*groups))
    p = np.concatenate(p)
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert 0.03 < (p < 0.05).mean() < 0.07


def test_counting_records_instead_of_patients_would_not_be_calibrated():
    # The reason for patient_means: the same null, records as if they were people.
    rng = np.random.default_rng(4)
    p = []
    for _ in range(20):
        groups = [np.repeat(rng.normal(size=(12, 25)), 5, axis=0) for _ in range(2)]
        p.append(rank_test(*groups))
    assert (np.concatenate(p) < 0.05).mean() > 0.2


def test_q_values_are_benjamini_hochbergs_and_nan_is_no_test():
    p = np.array([0.01, 0.04, np.nan, 0.03, 0.5])
    q = benjamini_hochberg(p)
    # p(i) * 4 / i, made monotone from the largest down.
    np.testing.assert_allclose(q, [0.04, 0.16 / 3, np.nan, 0.16 / 3, 0.5])


def test_the_difference_of_means_has_welchs_interval():
    rng = np.random.default_rng(5)
    case, control = rng.normal(1, 2, (12, 4)), rng.normal(0, 1, (30, 4))
    found = compare(case, control)
    welch = stats.ttest_ind(case, control, equal_var=False).confidence_interval()
    np.testing.assert_allclose(found.difference_low, welch.low)
    np.testing.assert_allclose(found.difference_high, welch.high)


def test_an_empty_or_single_group_gives_no_test_and_no_interval():
    empty = compare(np.zeros((0, 2)), np.ones((5, 2)))
    assert np.isnan(empty.p_value).all()
    assert np.isnan(empty.cliffs_delta.delta).all()
    assert np.isnan(empty.case.mean).all()
    single = compare(np.ones((1, 2)), np.arange(10.0).reshape(5, 2))
    assert np.isnan(single.cliffs_delta.low).all()
    assert np.isnan(single.case.low).all()
    assert np.isfinite(single.cliffs_delta.delta).all()
