import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from leadlight.errors import LeadlightError
from leadlight.genetics.designs import (
    make_designs,
    orthonormal_basis,
    rank_normal,
    with_usable_traits,
)
from leadlight.genetics.traits import Matched
from leadlight.genetics.variant_tables import DIPLOID, X_LINKED, Y_LINKED


def matched(traits: np.ndarray, covariates: np.ndarray, sex: np.ndarray | None = None) -> Matched:
    n = len(traits)
    return Matched(
        np.arange(n, dtype=np.uint32),
        np.ones(n, np.int8) if sex is None else sex.astype(np.int8),
        tuple(f"y{k}" for k in range(traits.shape[1])),
        traits,
        tuple(f"c{k}" for k in range(covariates.shape[1])),
        covariates,
        {},
    )


def test_rank_normal_scores_keep_the_order_and_are_normal() -> None:
    values = np.random.default_rng(0).exponential(size=500)
    values[3] = np.nan
    scores = rank_normal(values)
    there = np.isfinite(values)
    assert np.isnan(scores[3])
    assert np.array_equal(np.argsort(scores[there]), np.argsort(values[there]))
    assert stats.kstest(scores[there], "norm").pvalue > 0.99
    assert (
        rank_normal(np.array([5.0, 5.0, 1.0]))[:2].tolist()
        == [pytest.approx(stats.norm.ppf(2.125 / 3.25))] * 2
    )


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_the_basis_is_orthonormal_and_spans_the_covariates(seed: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    covariates = rng.standard_normal((40, columns)) * 10.0 ** rng.integers(-6, 7, columns)
    covariates += rng.integers(-5, 5, columns)
    basis = orthonormal_basis(np.column_stack([covariates, covariates[:, 0] + 1]))
    assert basis.shape == (40, columns + 1)
    assert np.allclose(basis.T @ basis, np.eye(columns + 1), atol=1e-10)
    assert np.ptp(basis[:, 0]) == 0
    left = covariates - basis @ (basis.T @ covariates)
    assert (np.abs(left).max(axis=0) <= 1e-8 * np.abs(covariates).max(axis=0)).all()


def test_traits_that_miss_the_same_people_are_one_pattern() -> None:
    rng = np.random.default_rng(1)
    traits = rng.standard_normal((100, 5))
    traits[:4, [1, 3]] = np.nan
    traits[10, 2] = np.nan
    traits[:60, 4] = np.nan
    designs = make_designs(matched(traits, rng.standard_normal((100, 2))), DIPLOID)
    assert [design.traits for design in designs] == [(0, 1, 3, 2), (4,)]
    assert designs[0].trait_first.tolist() == [0, 1, 3, 4]
    assert designs[0].pattern_people.tolist() == [0, 1, 2, 3, 10]
    assert len(designs[1]) == 40


def test_a_pattern_whose_people_make_covariates_collinear_stands_alone() -> None:
    rng = np.random.default_rng(2)
    traits = rng.standard_normal((100, 2))
    group = np.zeros((100, 1))
    group[:5] = 1
    traits[:5, 1] = np.nan  # whoever is in the group
    designs = make_designs(matched(traits, group), DIPLOID)
    assert [(design.traits, design.q, len(design)) for design in designs] == [
        ((0,), 2, 100),
        ((1,), 1, 95),
    ]


def test_x_has_sex_as_covariate_and_y_has_men_only() -> None:
    rng = np.random.default_rng(3)
    sex = np.array([0] * 10 + [1] * 40 + [2] * 50)
    data = matched(rng.standard_normal((100, 1)), np.zeros((100, 0)), sex)
    on_x, on_y = make_designs(data, X_LINKED)[0], make_designs(data, Y_LINKED)[0]
    assert (len(on_x), on_x.q) == (90, 2)
    assert (len(on_y), on_y.q) == (40, 1)
    assert on_x.male.sum() == 40
    assert make_designs(matched(data.traits, data.covariates, np.zeros(100)), X_LINKED) == []


def test_no_usable_trait_is_refused_by_name() -> None:
    with pytest.raises(LeadlightError, match="y0 is left out"):
        with_usable_traits(matched(np.full((50, 1), 3.0), np.zeros((50, 0))))
