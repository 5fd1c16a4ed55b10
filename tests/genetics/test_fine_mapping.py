"""Credible sets: against integrals, a slow SuSiE on residuals, and the truth that was planted."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from leadlight.errors import LeadlightError
from leadlight.genetics.fine_mapping import (
    linkage_mismatch,
    log_bayes_factors,
    single_effect,
    susie,
    susie_from_z,
)


def linked(rng: np.random.Generator, people: int, variants: int, memory: float) -> np.ndarray:
    """(person, variant) standardised counts of neighbours in linkage."""
    latent = rng.standard_normal((2, people, variants))
    for v in range(1, variants):
        latent[:, :, v] = memory * latent[:, :, v - 1] + np.sqrt(1 - memory**2) * latent[:, :, v]
    counts = (latent > rng.uniform(-0.5, 1.0, variants)).sum(axis=0).astype(float)
    return (counts - counts.mean(axis=0)) / counts.std(axis=0)


def z_scores(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    rho = x.T @ (y - y.mean()) / len(y) / y.std()
    return rho * np.sqrt((len(y) - 2) / (1 - rho**2))


@pytest.mark.parametrize(("beta", "error", "prior"), [(0.2, 0.05, 0.15), (-0.02, 0.1, 0.3)])
def test_the_bayes_factor_is_the_ratio_of_two_integrals(
    beta: float, error: float, prior: float
) -> None:
    with_effect, _ = quad(
        lambda b: norm.pdf(beta, b, error) * norm.pdf(b, 0, prior),
        -3,
        3,
        points=[0, beta],
        limit=200,
    )
    found = log_bayes_factors(np.array([beta]), np.array([error]), prior)[0]
    assert found == pytest.approx(np.log(with_effect / norm.pdf(beta, 0, error)), abs=1e-7)


def test_a_single_effects_set_is_the_smallest_that_holds_enough() -> None:
    z = np.array([5.0, 5.2, 1.0, 4.0, 0.0, np.nan])
    found = single_effect(z * 0.02, np.full(6, 0.02), prior_sd=0.15, coverage=0.9)
    own = found.sets[0]
    assert found.pip.sum() == pytest.approx(1)
    assert found.pip[5] == 0
    assert own.coverage >= 0.9
    assert own.coverage - found.pip[own.variants[-1]] < 0.9
    assert own.variants[0] == 1
    order = found.pip[own.variants]
    assert (np.diff(order) <= 0).all()


def slow_susie(x: np.ndarray, y: np.ndarray, effects: int) -> np.ndarray:
    """The model's own words, on residual vectors, until nothing moves: pip (variant,)."""
    people, count = x.shape
    alpha, mean = np.full((effects, count), 1 / count), np.zeros((effects, count))
    square, prior = np.zeros((effects, count)), np.full(effects, 0.2 * y.var(ddof=1))
    sigma2 = y.var(ddof=1)
    d = (x**2).sum(axis=0)

    def evidence(variance: float, rest: np.ndarray) -> float:
        error = sigma2 / d
        estimate = x.T @ rest / d
        log = norm.logpdf(estimate, 0, np.sqrt(error + variance)) - norm.logpdf(
            estimate, 0, np.sqrt(error)
        )
        return float(np.log(np.mean(np.exp(log - log.max()))) + log.max())

    for _ in range(60):
        for k in range(effects):
            others = sum(x @ (alpha[j] * mean[j]) for j in range(effects) if j != k)
            rest = y - others
            best = minimize_scalar(
                lambda v, rest=rest: -evidence(np.exp(v), rest), bounds=(-12, 4), method="bounded"
            )
            prior[k] = np.exp(best.x) if -best.fun > 0 else 0.0
            if prior[k] == 0:
                alpha[k], mean[k], square[k] = 1 / count, 0, 0
                continue
            error, estimate = sigma2 / d, x.T @ rest / d
            log = norm.logpdf(estimate, 0, np.sqrt(error + prior[k])) - norm.logpdf(
                estimate, 0, np.sqrt(error)
            )
            alpha[k] = np.exp(log - log.max()) / np.exp(log - log.max()).sum()
            spread = 1 / (1 / prior[k] + d / sigma2)
            mean[k] = spread / sigma2 * (x.T @ rest)
            square[k] = spread + mean[k] ** 2
        fitted = sum(x @ (alpha[j] * mean[j]) for j in range(effects))
        expected = ((y - fitted) ** 2).sum()
        for j in range(effects):
            expected += d @ (alpha[j] * square[j]) - ((x @ (alpha[j] * mean[j])) ** 2).sum()
        sigma2 = expected / people
    kept = alpha[prior > 0]
    return 1 - np.prod(1 - kept, axis=0)


@pytest.mark.parametrize("signals", [[12], [12, 31]])
def test_sums_of_squares_give_the_susie_of_residual_vectors(signals: list[int]) -> None:
    rng = np.random.default_rng(4)
    x = linked(rng, 400, 45, 0.85)
    y = x[:, signals] @ np.full(len(signals), 0.35) + rng.standard_normal(400)
    y -= y.mean()
    found = susie(x.T @ x, x.T @ y, float(y @ y), 400, effects=3, tolerance=1e-8)
    assert found.converged
    np.testing.assert_allclose(found.pip, slow_susie(x, y, 3), atol=2e-3)
    assert len(found.sets) == len(signals)
    for signal in signals:
        assert any(signal in made.variants for made in found.sets)


def test_z_scores_and_linkage_hold_what_individual_data_do() -> None:
    rng = np.random.default_rng(5)
    x = linked(rng, 300, 60, 0.8)
    y = 0.4 * x[:, 20] + rng.standard_normal(300)
    y -= y.mean()
    one = susie(x.T @ x, x.T @ y, float(y @ y), 300)
    two = susie_from_z(z_scores(x, y), x.T @ x / 300, 300)
    np.testing.assert_allclose(two.pip, one.pip, atol=1e-8)
    assert two.residual_variance == pytest.approx(one.residual_variance, rel=1e-6)


def test_the_units_of_variants_and_trait_do_not_matter() -> None:
    rng = np.random.default_rng(6)
    x = linked(rng, 300, 40, 0.8)
    y = 0.4 * x[:, 20] + rng.standard_normal(300)
    y -= y.mean()
    one = susie(x.T @ x, x.T @ y, float(y @ y), 300, tolerance=1e-10)
    scale = rng.uniform(0.1, 3, 40)
    other, trait = x * scale, 250 * y
    two = susie(other.T @ other, other.T @ trait, float(trait @ trait), 300, tolerance=1e-10)
    np.testing.assert_allclose(two.pip, one.pip, atol=1e-4)
    np.testing.assert_allclose(two.mean, one.mean * 250 / scale, atol=1e-2)


def test_noise_has_no_set() -> None:
    rng = np.random.default_rng(7)
    x = linked(rng, 500, 80, 0.8)
    r = x.T @ x / 500
    sets = [
        len(susie_from_z(z_scores(x, rng.standard_normal(500)), r, 500).sets) for _ in range(20)
    ]
    assert sum(sets) <= 1


def test_a_set_of_unlinked_variants_is_no_set() -> None:
    """Two unlinked variants that are equally likely say that something is there, not where."""
    rng = np.random.default_rng(8)
    x = linked(rng, 500, 2, 0.0)
    z = np.array([3.0, 3.0])
    r = x.T @ x / 500
    loose = susie_from_z(z, r, 500, effects=1, min_purity=0.0)
    assert len(loose.sets) == 1
    assert loose.sets[0].purity < 0.2
    assert not susie_from_z(z, r, 500, effects=1).sets


def test_alleles_counted_the_wrong_way_show_as_mismatch() -> None:
    rng = np.random.default_rng(9)
    x = linked(rng, 800, 100, 0.9)
    r = x.T @ x / 800
    y = 0.3 * x[:, 50] + rng.standard_normal(800)
    z = z_scores(x, y)
    swapped = z * np.where(rng.random(100) < 0.3, -1, 1)
    assert linkage_mismatch(z, r) < 0.1
    assert linkage_mismatch(swapped, r) > 0.2


def test_what_cannot_be_fine_mapped_is_refused() -> None:
    with pytest.raises(LeadlightError, match="z-score is missing"):
        susie_from_z(np.array([1.0, np.nan]), np.eye(2), 100)
    with pytest.raises(LeadlightError, match="don't fit"):
        susie_from_z(np.zeros(3), np.eye(2), 100)
    with pytest.raises(LeadlightError, match="constant"):
        susie(np.diag([1.0, 0.0]), np.zeros(2), 1.0, 50)
    with pytest.raises(LeadlightError, match="No variant"):
        single_effect(np.array([np.nan]), np.array([1.0]), prior_sd=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("signals", [1, 2])
def test_sets_hold_the_planted_variants_as_often_as_they_say(signals: int) -> None:
    rng = np.random.default_rng(10)
    held, made, found = 0, 0, 0
    for _ in range(60):
        x = linked(rng, 500, 120, 0.95)
        chosen = rng.choice(120, signals, replace=False)
        y = x[:, chosen] @ rng.choice([-0.3, 0.3], signals) + rng.standard_normal(500)
        sets = susie_from_z(z_scores(x, y), x.T @ x / 500, 500).sets
        made += len(sets)
        held += sum(bool(np.isin(chosen, one.variants).any()) for one in sets)
        found += sum(any(c in one.variants for one in sets) for c in chosen)
    assert found > 0.6 * 60 * signals
    # Three binomial standard errors below 95 %.
    assert held / made > 0.95 - 3 * np.sqrt(0.95 * 0.05 / made)
