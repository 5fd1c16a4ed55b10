"""The calibration of residuals: no more than 1 where nobody is related, and what families need."""

import numpy as np
import pytest

from leadlight.genetics.background_calibration import explained, interpolated, jobs, simulate_traits
from leadlight.genetics.designs import orthonormal_basis
from leadlight.genetics.ridge import block_predictions, shrinkages
from leadlight.genetics.whole_genome import whole_genome_regression

CHROMOSOMES = np.repeat(["1", "2", "3", "4"], 150)
BLOCKS = [(0, 150), (150, 300), (300, 450), (450, 600)]


def _families(count, children, seed=0):
    """(variant, person) of parents and their children, all variants unlinked."""
    rng = np.random.default_rng(seed)
    frequency = rng.uniform(0.2, 0.5, (600, 1, 1))
    parents = (rng.random((600, 2 * count, 2)) < frequency).astype(np.int8)
    born = []
    for at in range(0, 2 * count, 2):
        for _ in range(children):
            one, two = rng.integers(2, size=(2, 600))
            rows = np.arange(600)
            born.append(parents[rows, at, one] + parents[rows, at + 1, two])
    return np.c_[parents.sum(axis=2), np.array(born).reshape(-1, 600).T].astype(np.int8)


def _calibration(folder, calls, share=0.6):
    rng = np.random.default_rng(1)
    genes = calls.T @ rng.normal(size=(600, 3))
    traits = np.sqrt(share) * genes / genes.std(axis=0)
    traits += np.sqrt(1 - share) * rng.normal(size=genes.shape)
    found = whole_genome_regression(
        lambda first, last: calls[first:last],
        CHROMOSOMES.tolist(),
        traits,
        np.zeros((calls.shape[1], 0)),
        folder,
        trait_names=["a", "b", "c"],
        person_ids=[str(at) for at in range(calls.shape[1])],
        block_size=150,
        workers=1,
    )
    return found["calibration"].values


def test_strangers_need_next_to_none_and_families_do(tmp_path):
    strangers = _calibration(tmp_path / "strangers", _families(600, 0))
    families = _calibration(tmp_path / "families", _families(200, 4))
    assert strangers.mean() == pytest.approx(1, abs=0.06)
    assert families.mean() < strangers.mean() - 0.03


def test_simulated_traits_are_orthogonal_to_covariates_with_unit_variance_and_fixed_by_the_seed():
    calls = _families(150, 1)
    basis = orthonormal_basis(np.random.default_rng(0).normal(size=(calls.shape[1], 2)))

    def made(seed):
        return simulate_traits(lambda a, b: calls[a:b], CHROMOSOMES, BLOCKS, basis, seed)

    one = made(5)
    assert np.abs(basis.T @ one.values).max() < 1e-8
    np.testing.assert_allclose((one.values**2).sum(axis=0), len(basis) - basis.shape[1])
    np.testing.assert_array_equal(one.values, made(5).values)
    assert not np.array_equal(one.values, made(6).values)


def test_a_polygenic_traits_heritability_is_found():
    calls = _families(400, 2)
    people = calls.shape[1]
    basis = orthonormal_basis(np.zeros((people, 0)))
    simulated = simulate_traits(lambda a, b: calls[a:b], CHROMOSOMES, BLOCKS, basis, 1)
    rng = np.random.default_rng(2)
    z = (calls - calls.mean(axis=1, keepdims=True)) / calls.std(axis=1, keepdims=True)
    genes = z.T @ rng.normal(size=(600, 12)) / np.sqrt(600)
    traits = np.sqrt(0.4) * genes + np.sqrt(0.6) * rng.normal(size=genes.shape)
    traits -= traits.mean(axis=0)
    traits /= traits.std(axis=0, ddof=1)
    columns = np.c_[traits, simulated.values].astype(np.float32)
    penalties = shrinkages([0.5], 600)
    powers = [
        block_predictions(calls[a:b], basis.astype(np.float32), columns, penalties, 5)[1]
        for a, b in BLOCKS
    ]
    shares = explained(np.sum(powers, axis=0), 12, people - 1)
    assert shares.mean() == pytest.approx(0.4, abs=0.06)


def test_the_ratio_is_one_at_no_heritability_and_interpolated_between():
    wanted = jobs()
    ratios = [1 - 0.2 * share for share, _, _ in wanted]
    np.testing.assert_allclose(
        interpolated(np.array([0.0, 0.2, 0.35, 0.8, 1.0]), ratios), [1, 0.96, 0.93, 0.84, 0.84]
    )
