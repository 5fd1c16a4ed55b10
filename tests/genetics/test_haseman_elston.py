"""Haseman–Elston regression: the moments of dense matrices, and planted heritabilities."""

import numpy as np
import pytest

from leadlight.errors import LeadlightError
from leadlight.genetics.designs import orthonormal_basis
from leadlight.genetics.genotypes import open_genotypes
from leadlight.genetics.haseman_elston import haseman_elston

N, M = 500, 1200


@pytest.fixture
def people(write_genotypes):
    rng = np.random.default_rng(4)
    calls = rng.binomial(2, rng.uniform(0.1, 0.5, (M, 1)), (M, N)).astype(np.int8)
    source = open_genotypes(write_genotypes(calls))
    z = (calls - calls.mean(axis=1, keepdims=True)) / calls.std(axis=1, keepdims=True)
    covariates = rng.standard_normal((N, 2))
    genetic = z.T @ rng.standard_normal((M, 40)) / np.sqrt(M)
    return source, z.astype(float), covariates, genetic, rng


def residuals(traits, basis):
    return traits - basis @ (basis.T @ traits)


def test_the_estimate_is_that_of_dense_matrices(people):
    source, z, covariates, genetic, rng = people
    basis = orthonormal_basis(covariates)
    traits = residuals(genetic[:, :3] + rng.standard_normal((N, 3)) + covariates[:, :1], basis)
    traits /= np.sqrt((traits**2).sum(axis=0) / (N - 3))
    kernel = residuals(residuals(z.T @ z / M, basis).T, basis)
    left = np.array([[np.sum(kernel**2), np.trace(kernel)], [np.trace(kernel), N - 3]])
    rows = np.arange(N, dtype=np.uint32)
    found = haseman_elston(source, rows, np.arange(M), traits, basis, vectors=600, blocks=20)
    for at, trait in enumerate(traits.T):
        genes, rest = np.linalg.solve(left, [trait @ kernel @ trait, trait @ trait])
        assert found.h2[at] == pytest.approx(genes / (genes + rest), rel=0.05)
    assert found.covariance[0, 1] == pytest.approx(found.covariance[1, 0])
    assert (found.n_people, found.n_variants) == (N, M)


def test_planted_heritabilities_are_within_their_intervals(people):
    source, _, covariates, genetic, rng = people
    basis = orthonormal_basis(covariates)
    noise = rng.standard_normal((N, 40))
    share = np.where(np.arange(40) < 20, 0.6, 0.0)
    traits = np.sqrt(share) * genetic + np.sqrt(1 - share) * noise
    rows = np.arange(N, dtype=np.uint32)
    found = haseman_elston(source, rows, np.arange(M), residuals(traits, basis), basis, blocks=60)
    assert (np.abs(found.h2 - share) < 2 * found.h2_se).sum() >= 33
    assert found.h2[:20].mean() == pytest.approx(0.6, abs=0.15)
    assert found.h2[20:].mean() == pytest.approx(0, abs=0.15)


def test_a_handful_of_variants_is_refused(people):
    source, _, covariates, genetic, _ = people
    basis = orthonormal_basis(covariates)
    rows = np.arange(N, dtype=np.uint32)
    with pytest.raises(LeadlightError, match="50 variants are too few"):
        haseman_elston(source, rows, np.arange(50), residuals(genetic[:, :1], basis), basis)
