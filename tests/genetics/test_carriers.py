"""Sparse reading of rare variants: the same numbers as everybody's calls."""

import numpy as np
import pytest

from leadlight.genetics.carriers import read_carriers
from leadlight.genetics.genotypes import open_genotypes
from leadlight.genetics.variant_tables import DIPLOID, X_LINKED


@pytest.fixture
def calls():
    rng = np.random.default_rng(3)
    calls = rng.binomial(2, 0.03, (40, 200)).astype(np.int8)
    calls[rng.random(calls.shape) < 0.02] = -9
    return calls


def test_columns_are_the_calls_with_missing_ones_at_the_mean(calls, write_genotypes):
    source = open_genotypes(write_genotypes(calls))
    numbers = np.array([0, 3, 7, 8, 39])
    found = read_carriers(source.reader(), numbers, DIPLOID, source.people.sex)
    chosen = calls[numbers].astype(float)
    chosen[chosen < 0] = np.nan
    mean = np.nanmean(chosen, axis=1)
    filled = np.where(np.isnan(chosen), mean[:, None], chosen)
    np.testing.assert_allclose(found.dosages.toarray().T, filled)
    np.testing.assert_allclose(found.called.toarray().T, np.nan_to_num(chosen))
    np.testing.assert_allclose(found.frequency, mean / 2)
    np.testing.assert_array_equal(found.n_missing, np.isnan(chosen).sum(axis=1))
    np.testing.assert_array_equal(found.n_carriers, (np.nan_to_num(chosen) > 0).sum(axis=1))


def test_dosages_are_read_as_they_are(write_genotypes):
    rng = np.random.default_rng(4)
    dosages = np.round(np.where(rng.random((5, 60)) < 0.1, rng.uniform(0, 2, (5, 60)), 0), 2)
    dosages[0, 7] = np.nan
    source = open_genotypes(write_genotypes(np.nan_to_num(dosages, nan=-9)))
    found = read_carriers(source.reader(), np.arange(5), DIPLOID, source.people.sex)
    np.testing.assert_allclose(found.called.toarray().T, np.nan_to_num(dosages), atol=1e-4)
    assert found.n_missing.tolist() == [1, 0, 0, 0, 0]


def test_on_x_a_man_counts_one_allele(write_genotypes):
    calls = np.array([[2, 0, 0, 1]], dtype=np.int8)  # one man of two carries it, a woman once
    source = open_genotypes(write_genotypes(calls, chromosomes=["X"], sex=[1, 1, 2, 2]))
    found = read_carriers(source.reader(), np.array([0]), X_LINKED, source.people.sex)
    assert found.frequency[0] == pytest.approx(2 / 6)
    assert found.allele_count[0] == 2
    assert found.n_carriers[0] == 2
