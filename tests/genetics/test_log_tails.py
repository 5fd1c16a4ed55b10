"""Logarithms of tails: scipy's where those do not underflow, closed forms and series beyond."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import gammaln

from leadlight.genetics.log_tails import (
    deviate,
    log_cauchy_combination,
    log_chi_squared_tail,
    log_f_tail,
    log_mixture_tail,
    log_sidak,
    log_two_sided,
)

X = np.array([0.0, 1e-3, 0.4, 1.0, 5.0, 30.0, 200.0, 600.0])


@pytest.mark.parametrize("degrees", [1, 2, 3, 8, 21, 60])
def test_chi_squared_is_scipys_and_goes_on_beyond(degrees):
    np.testing.assert_allclose(
        np.exp(log_chi_squared_tail(X, degrees)), stats.chi2.sf(X, degrees), rtol=1e-12
    )
    # Far out, Q(a, y) = y^(a−1) e^(−y) / Γ(a) · (1 + (a−1)/y + …).
    y, a = 1e5, degrees / 2
    series = 1 + (a - 1) / y + (a - 1) * (a - 2) / y**2
    expected = (a - 1) * np.log(y) - y - gammaln(a) + np.log(series)
    assert log_chi_squared_tail(np.array(2 * y), degrees) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("degrees", [1, 2, 5, 20])
@pytest.mark.parametrize("residual", [7.0, 150.0, 9970.0])
def test_f_is_scipys_and_tends_to_chi_squared(degrees, residual):
    f = X[1:6]
    np.testing.assert_allclose(
        np.exp(log_f_tail(f, degrees, residual)), stats.f.sf(f, degrees, residual), rtol=1e-9
    )
    limit = log_chi_squared_tail(degrees * f, degrees)
    np.testing.assert_allclose(log_f_tail(f, degrees, 1e9), limit, rtol=1e-5, atol=1e-6)
    assert -2e4 < log_f_tail(np.array(2000.0), degrees, 9970.0) < -900


@pytest.mark.parametrize("count", [1, 2, 3, 20])
def test_a_mixture_of_equal_weights_is_chi_squared(count):
    q = np.array([0.1, 1.0, 5.0, 25.0, 90.0, 1500.0, 20_000.0])
    np.testing.assert_allclose(
        log_mixture_tail(np.full(count, 2.5))(2.5 * q),
        log_chi_squared_tail(q, count),
        atol=1e-4,
        rtol=1e-6,
    )


def test_a_mixture_of_two_pairs_is_its_closed_form():
    # w₁χ²₂ + w₂χ²₂ is a sum of two exponentials.
    one, two = 3.0, 0.5
    q = np.array([0.05, 0.5, 3.5, 10.0, 100.0, 3000.0])
    expected = np.log(one / (one - two)) - q / (2 * one)
    expected += np.log1p(-two / one * np.exp(-q / (2 * two) + q / (2 * one)))
    found = log_mixture_tail(np.array([one, one, two, two]))(q)
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-6)


def test_a_mixtures_tail_is_the_share_of_draws_beyond():
    weights = np.array([4, 2, 1, 0.5, 0.2, 0.01])
    draws = np.random.default_rng(0).chisquare(1, (1_000_000, 6)) @ weights
    tail = log_mixture_tail(weights)
    for level in (0.99, 0.5, 0.05, 1e-3):
        cut = np.quantile(draws, 1 - level)
        assert np.exp(tail(cut)) == pytest.approx(level, abs=4 * np.sqrt(level / 1e6))


@given(st.floats(-5000, -1e-9))
def test_deviate_inverts_the_normal_tail(log_p):
    assert log_two_sided(deviate(np.array(log_p))) == pytest.approx(log_p, rel=1e-8, abs=1e-12)


@given(st.floats(-3000, -1e-6), st.floats(1, 1000))
def test_sidak_lies_between_one_test_and_bonferroni(log_p, tests):
    found = log_sidak(np.array(log_p), tests)
    assert log_p - 1e-9 <= found <= min(log_p + np.log(tests) + 1e-9, 0)


def test_the_cauchy_combination_is_its_formula_and_survives_underflow():
    p = np.random.default_rng(0).random((200, 3)) * 0.98
    direct = 0.5 - np.arctan(np.tan(np.pi * (0.5 - p)).mean(axis=1)) / np.pi
    np.testing.assert_allclose(np.exp(log_cauchy_combination(np.log(p))), direct, rtol=1e-10)
    far = log_cauchy_combination(np.array([[-5000.0, -1.0, -0.3], [-40.0, -40.0, -40.0]]))
    np.testing.assert_allclose(far, [-5000 + np.log(3), -40], atol=1e-6)
    # No step where the arithmetic changes over.
    near = log_cauchy_combination(np.array([[-29.999, -29, -2.0], [-30.001, -29, -2.0]]))
    assert abs(near[0] - near[1]) < 2e-3
