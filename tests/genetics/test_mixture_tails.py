"""Tails of weighted chi-squares: closed forms, and Imhof's integral by plain quadrature."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad

from leadlight.genetics.log_tails import log_chi_squared_tail
from leadlight.genetics.mixture_tails import (
    _many,
    log_optimal_tail,
    log_ratio_tails,
    log_tails,
    quantiles,
)


def imhof(weights: np.ndarray, q: float) -> float:
    """P(Σ wᵢ χ²₁ > q), Imhof, Biometrika 48:419, 1961."""

    def integrand(u: float) -> float:
        angle = 0.5 * np.sum(np.arctan(weights * u)) - 0.5 * q * u
        return float(np.sin(angle) / (u * np.prod((1 + (weights * u) ** 2) ** 0.25)))

    value = quad(integrand, 0, np.inf, limit=400, epsabs=1e-10, epsrel=1e-9)[0]
    return 0.5 + value / np.pi


@pytest.mark.parametrize("count", [1, 2, 3, 20, 300])
def test_equal_weights_are_chi_squared_at_any_size(count):
    q = np.array([1e-6, 1e-3, 0.1, 1.0, 5.0, 25.0, 90.0, 1500.0, 20_000.0])
    np.testing.assert_allclose(
        log_tails(np.full(count, 2.5), 2.5 * q), log_chi_squared_tail(q, count), atol=1e-9
    )


@settings(max_examples=8, deadline=None)
@given(st.lists(st.floats(0.3, 3), min_size=6, max_size=9), st.floats(0.2, 4))
def test_any_weights_are_imhofs_integral(weights, size):
    values = np.array(weights)
    q = size * values.sum()
    found = np.exp(log_tails(values, np.array([q]))[0])
    assert found == pytest.approx(imhof(values, q), abs=1e-8)


def test_a_share_of_a_random_direction_is_beta():
    for count, degrees, ratios in (
        (1, 30, [0.01, 0.5, 0.9]),
        (3, 30, [0.1, 0.9]),
        (4, 5000, [1e-3, 0.01, 0.1]),
    ):
        expected = stats.beta.logsf(ratios, count / 2, (degrees - count) / 2)
        found = log_ratio_tails(np.ones(count), np.array(ratios), degrees)
        np.testing.assert_allclose(found, expected, atol=1e-9, rtol=1e-9)


def test_with_many_degrees_the_ratio_is_the_mixture():
    weights, q = np.array([3.0, 1.0, 0.2]), np.array([1.0, 8.0, 40.0])
    ratio = log_ratio_tails(weights, q / 1e9, 1e9)
    np.testing.assert_allclose(ratio, log_tails(weights, q), rtol=1e-6)


def test_a_shifted_square_is_noncentral():
    weight, shift = 1.7, 2.3
    q = np.array([0.5, 3.0, 12.0, 60.0])
    found = _many(np.array([weight]), np.ones(1), np.array([shift]), q)
    expected = stats.ncx2.logsf(q / weight, 1, shift / weight)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_a_constant_moves_the_mixture():
    weights, q = np.array([1.0, 0.4, 0.0]), np.array([2.0, 9.0])
    moved = _many(weights, np.ones(3), np.array([0.0, 0.0, 1.5]), q)
    np.testing.assert_allclose(moved, log_tails(weights[:2], q - 1.5), atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0.01, 3), min_size=1, max_size=6), st.floats(-2000, -0.01))
def test_quantiles_invert_tails(weights, log_p):
    values = np.array(weights)
    q = quantiles(values, np.array([log_p, log_p / 2]))
    np.testing.assert_allclose(log_tails(values, q), [log_p, log_p / 2], rtol=1e-8, atol=1e-10)


def test_the_best_of_a_burden_and_a_skat_is_counted_as_draws_count_it():
    rng = np.random.default_rng(1)
    root = rng.standard_normal((5, 5))
    covariance = root @ root.T
    rho = np.array([0.0, 0.3, 1.0])
    total = covariance.sum()
    along = covariance.sum(axis=0) / np.sqrt(total)
    sizes, vectors = np.linalg.eigh(covariance - np.outer(along, along))
    keep = sizes > 1e-9
    shifts = (along @ vectors) ** 2
    kernels = [(1 - r) * np.eye(5) + r * np.ones((5, 5)) for r in rho]
    draws = root @ rng.standard_normal((5, 400_000))
    for level in (0.3, 0.02):
        log_p = np.array([np.log(level)])
        limits = []
        for kernel in kernels:
            axes = np.linalg.eigvals(covariance @ kernel).real
            limits.append(quantiles(axes[axes > 1e-9], log_p))
        found = log_optimal_tail(
            log_p,
            rho,
            np.array(limits),
            np.append(sizes[keep], 0),
            np.append(shifts[keep], shifts[~keep].sum()),
            total,
        )
        beyond = np.zeros(draws.shape[1], dtype=bool)
        for kernel, limit in zip(kernels, limits, strict=True):
            beyond |= np.einsum("id,ij,jd->d", draws, kernel, draws) > limit
        share = beyond.mean()
        assert np.exp(found[0]) == pytest.approx(share, abs=4 * np.sqrt(share / 400_000))
