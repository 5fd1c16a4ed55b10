import numpy as np
import polars as pl
import pytest

from leadlight.errors import LeadlightError
from leadlight.latent.choosing import (
    Latents,
    Rule,
    choose_factors,
    largest_correlation,
    match_factors,
)
from leadlight.latent.disentanglement import rank_normal


def latents(n: int = 500, seed: int = 0) -> Latents:
    """Two correlated informative latents, one copy of the first, one empty, one unsure."""
    rng = np.random.default_rng(seed)
    a, b, c = rng.standard_normal((3, n))
    mean = np.stack([a, 0.4 * a + b, a + 0.1 * c, 0.02 * c, c], axis=1)
    log_variance = np.log(np.tile([0.01, 0.02, 0.03, 0.99, 0.7], (n, 1)))
    return Latents(mean, log_variance)


def test_kept_factors_are_uncorrelated_and_ordered_by_information() -> None:
    given = latents()
    choice = choose_factors(given, Rule(most_correlation=0.9))
    factors = (given.mean - choice.offset) @ choice.to_factors.T
    assert [factor.latent for factor in choice.factors] == [0, 1]
    assert largest_correlation(rank_normal(factors)) < 0.01
    np.testing.assert_allclose(factors.std(axis=0), 1, rtol=1e-9)
    kl = [factor.kl_nats for factor in choice.factors]
    assert kl == sorted(kl, reverse=True)


def test_a_few_extreme_hearts_do_not_decide_what_is_uncorrelated() -> None:
    given = latents()
    given.mean[:3, :2] = 30.0
    choice = choose_factors(given, Rule(most_correlation=0.999))
    factors = (given.mean - choice.offset) @ choice.to_factors.T
    kept = [factor.latent for factor in choice.factors]
    assert kept[:2] == [0, 1]
    usual = factors[3:, :2]
    assert abs(np.corrcoef(usual.T)[0, 1]) < 0.25


def test_every_latent_that_is_not_kept_has_its_reason() -> None:
    choice = choose_factors(latents(), Rule(most_correlation=0.9))
    assert "with latent 0" in choice.dropped[2]
    assert "nats" in choice.dropped[3]
    assert "posterior variance" in choice.dropped[4]


def test_factors_and_latents_lead_back_to_each_other() -> None:
    choice = choose_factors(latents(), Rule(most_correlation=0.9))
    np.testing.assert_allclose(choice.to_factors @ choice.from_factors, np.eye(2), atol=1e-9)


def test_a_factor_is_named_and_signed_by_what_it_follows() -> None:
    given = latents()
    measured = pl.DataFrame({"pr_ms": 160 - 20 * given.mean[:, 0], "qrs_ms": [90.0] * 500})
    choice = choose_factors(given, Rule(most_correlation=0.9), measured)
    first = choice.factors[0]
    assert first.follows == "pr_ms"
    assert first.correlation > 0.9
    factors = (given.mean - choice.offset) @ choice.to_factors.T
    assert np.corrcoef(factors[:, 0], measured["pr_ms"].to_numpy())[0, 1] > 0.9


def test_too_few_records_are_refused() -> None:
    with pytest.raises(LeadlightError, match="too few"):
        choose_factors(latents(8), Rule())


def test_matching_finds_a_permutation_with_its_signs() -> None:
    rng = np.random.default_rng(1)
    first = rng.standard_normal((300, 5))
    order, signs = np.array([3, 0, 4, 1, 2]), np.array([1, -1, 1, -1, 1])
    second = np.zeros_like(first)
    second[:, order] = first * signs + 0.05 * rng.standard_normal((300, 5))
    partner, r = match_factors(first, second)
    assert partner.tolist() == order.tolist()
    assert np.sign(r).tolist() == signs.tolist()
    assert (np.abs(r) > 0.99).all()
