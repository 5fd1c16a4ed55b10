"""From a genotype source to traits without their background."""

import numpy as np
import pytest

from leadlight.errors import LeadlightError
from leadlight.genetics.background_stage import (
    regress_background,
    usable_variants,
    without_background,
)
from leadlight.genetics.genotypes import open_genotypes
from leadlight.genetics.traits import Matched


def _study(write_genotypes):
    rng = np.random.default_rng(0)
    calls = rng.binomial(2, rng.uniform(0.1, 0.5, (300, 1)), (300, 420)).astype(np.int8)
    calls[7] = 0
    calls[8, :100] = -9
    chromosomes = ["1"] * 100 + ["2"] * 150 + ["X"] * 50
    source = open_genotypes(write_genotypes(calls, chromosomes=chromosomes))
    rows = np.arange(10, 410, dtype=np.uint32)
    genes = np.maximum(calls[:250, 10:410], 0).T @ rng.normal(size=(250, 2))
    traits = 3 * genes / genes.std(axis=0) + rng.normal(size=genes.shape)
    traits[5, 1] = np.nan
    matched = Matched(
        rows,
        np.zeros(400, dtype=np.int8),
        ("one", "two"),
        traits,
        ("age",),
        rng.normal(size=(400, 1)),
        {},
    )
    return source, matched, [source.people.person_ids[row] for row in rows]


def test_only_autosomal_variants_within_the_limits_are_used(write_genotypes):
    source, matched, _ = _study(write_genotypes)
    numbers = usable_variants(source, matched, None, 0.01, 0.1)
    assert numbers.max() == 249
    assert set(range(250)) - set(numbers.tolist()) == {7, 8}
    some = usable_variants(source, matched, np.arange(0, 250, 2), 0.01, 0.1)
    assert set(some.tolist()) == set(range(0, 250, 2)) - {8}
    with pytest.raises(LeadlightError, match="1 variants are left"):
        usable_variants(source, matched, np.array([1]), 0.01, 0.1)


def test_traits_lose_variance_to_their_background_and_keep_their_gaps(write_genotypes, tmp_path):
    source, matched, names = _study(write_genotypes)
    found = regress_background(source, matched, tmp_path / "wg", block_size=50, workers=1)
    assert found["person"].values.tolist() == names
    left = without_background(matched, found, "X", names)
    assert np.nanvar(left.traits[:, 0]) < 0.9 * np.nanvar(matched.traits[:, 0])
    assert np.isnan(left.traits).sum() == 1
    one = without_background(matched, found, "1", names)
    assert not np.allclose(one.traits[:, 0], left.traits[:, 0])
    other = Matched(**{**vars(matched), "trait_names": ("one", "three")})
    with pytest.raises(LeadlightError, match="no whole-genome prediction of three"):
        without_background(other, found, "1", names)
