import math

import numpy as np
import pytest
import torch
from torch import distributions

from leadlight.latent.objective import (
    Objective,
    beta_at,
    equivalents,
    kl_nats,
    log_likelihood,
    squared_correlations,
    total_correlation,
)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_gaussian_likelihood_is_torchs_summed_over_own_samples() -> None:
    truth, decoded = drawn(3, 2, 10), drawn(3, 2, 10, seed=1)
    own = torch.zeros(3, 10, dtype=torch.bool)
    own[:, 2:7] = True
    found = log_likelihood(truth, decoded, own, Objective(noise_mv=0.5))
    expected = distributions.Normal(decoded, 0.5).log_prob(truth)[:, :, 2:7].sum(dim=(1, 2))
    torch.testing.assert_close(found, expected)


def test_the_hyperbolic_likelihood_is_a_density() -> None:
    at = torch.linspace(-4, 4, 40001)[:, None, None]
    own = torch.ones(len(at), 1, dtype=torch.bool)
    settings = Objective(likelihood="hyperbolic", noise_mv=0.1)
    density = log_likelihood(at, torch.zeros_like(at), own, settings).exp()
    assert float(density.sum() * 8 / 40000) == pytest.approx(1.0, abs=1e-4)


def test_kl_is_torchs() -> None:
    mean, log_variance = drawn(5, 3), drawn(5, 3, seed=1)
    posterior = distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = distributions.kl_divergence(posterior, distributions.Normal(0.0, 1.0))
    torch.testing.assert_close(kl_nats(mean, log_variance), expected)


def test_total_correlation_tells_dependent_from_independent_latents() -> None:
    apart = drawn(2000, 2)
    together = apart.clone()
    together[:, 1] = 0.9 * apart[:, 0] + math.sqrt(1 - 0.81) * apart[:, 1]
    tight = torch.full_like(apart, math.log(0.05))
    noise = drawn(2000, 2, seed=1) * math.sqrt(0.05)
    of_apart = float(total_correlation(apart + noise, apart, tight, 2000))
    of_together = float(total_correlation(together + noise, together, tight, 2000))
    r = 0.9 / 1.05
    assert of_together - of_apart == pytest.approx(-0.5 * math.log(1 - r**2), abs=0.15)


def test_chance_correlations_cost_nothing() -> None:
    cost = [float(squared_correlations(drawn(64, 24, seed=seed))) for seed in range(30)]
    assert abs(np.mean(cost)) < 3 * np.std(cost) / math.sqrt(30)
    tied = drawn(64, 24)
    tied[:, 1] = tied[:, 0]
    assert float(squared_correlations(tied)) > 0.5


def test_cyclical_beta_climbs_and_holds() -> None:
    settings = Objective(beta=4.0, cycles=2)
    found = [beta_at(epoch, 8, settings) for epoch in range(1, 9)]
    assert found == [0.0, 2.0, 4.0, 4.0, 0.0, 2.0, 4.0, 4.0]


def test_equivalents_weigh_the_kl_as_other_conventions_do() -> None:
    settings = Objective(beta=3.0, noise_mv=0.02)
    found = equivalents(settings, points=4800, latents=24)
    # −log p + βKL, times 2σ², is the summed squared error + (2σ²β) KL.
    assert found["beside_summed_squared_error"] == pytest.approx(2 * 0.02**2 * 3)
    assert found["beside_mean_squared_error"] == pytest.approx(2 * 0.02**2 * 3 / 4800)
    assert found["normalised"] == pytest.approx(3 * 24 / 4800)
