"""Joint tests: against regression on all traits, scipy's normal integrals, and null levels."""

import numpy as np
import polars as pl
import pytest
from scipy import stats
from scipy.stats import binom, multivariate_normal

from leadlight.errors import LeadlightError
from leadlight.genetics.joint_tests import (
    aligned_z,
    joint_null,
    joint_tests,
    null_correlation,
    trait_correlation,
)

PVALUES = ("omnibus", "least_p", "variance_component", "adaptive")


def _correlation(count=6, seed=0):
    loadings = np.random.default_rng(seed).normal(size=(count, 2))
    covariance = loadings @ loadings.T + np.eye(count)
    scale = np.sqrt(np.diag(covariance))
    return covariance / scale / scale[:, None]


def test_the_omnibus_of_t_statistics_is_the_f_test_of_the_regression_on_all_traits():
    rng = np.random.default_rng(1)
    n, count = 120, 5
    covariates = np.c_[np.ones(n), rng.normal(size=(n, 2))]
    traits = rng.normal(size=(n, 2)) @ rng.normal(size=(2, count)) + rng.normal(size=(n, count))
    variant = rng.binomial(2, 0.3, n) + 0.2 * traits[:, 1]
    basis = np.linalg.qr(covariates)[0]
    left, own = (x - basis @ (basis.T @ x) for x in (traits, variant))
    df = n - 3 - 1
    r = left.T @ own / np.sqrt((left**2).sum(axis=0) * (own @ own))
    t = r * np.sqrt(df / (1 - r**2))
    found = joint_tests(t[None], joint_null(trait_correlation(left)), df)

    def squares(columns):
        fitted = columns @ np.linalg.lstsq(columns, variant, rcond=None)[0]
        return np.sum((variant - fitted) ** 2)

    whole, alone = squares(np.c_[covariates, traits]), squares(covariates)
    f = (alone - whole) / count / (whole / (n - 3 - count))
    assert found.omnibus_statistic[0] == pytest.approx(f, rel=1e-9)
    assert 10 ** -found.omnibus[0] == pytest.approx(stats.f.sf(f, count, n - 3 - count), rel=1e-9)
    assert found.omnibus_degrees[0] == count
    assert found.strongest_trait[0] == np.argmax(np.abs(t))


def test_the_omnibus_of_z_is_chi_squared_of_the_decorrelated():
    correlation = _correlation()
    z = np.random.default_rng(2).normal(size=(50, 6)) * 3
    found = joint_tests(z, joint_null(correlation))
    expected = np.einsum("vi,ij,vj->v", z, np.linalg.inv(correlation), z)
    np.testing.assert_allclose(found.omnibus_statistic, expected)
    np.testing.assert_allclose(10**-found.omnibus, stats.chi2.sf(expected, 6), rtol=1e-9)


def test_the_least_p_is_the_normal_integral_over_the_box():
    correlation = _correlation(4)
    null = joint_null(correlation)
    for z in (0.8, 1.6, 2.4, 3.2):
        box = multivariate_normal(np.zeros(4), correlation, abseps=1e-6, releps=1e-5).cdf(
            np.full(4, z), lower_limit=np.full(4, -z)
        )
        found = joint_tests(np.array([[z, 0, 0, 0]]), null).least_p[0]
        assert 10**-found == pytest.approx(1 - box, rel=0.015)


def test_far_out_the_least_p_is_bonferroni_and_nothing_underflows():
    found = joint_tests(np.array([[0.5, 90.0, 0, 0, 1, 0]]), joint_null(_correlation()))
    single = -(np.log(2) + stats.norm.logsf(90)) / np.log(10)
    assert found.least_p[0] == pytest.approx(single - np.log10(6), abs=0.01)
    for name in PVALUES:
        assert 300 < getattr(found, name)[0] < 1e5


def test_one_trait_is_its_own_test():
    found = joint_tests(np.array([[2.5], [-0.3]]), joint_null(np.eye(1)))
    for name in (*PVALUES, "least_p_effective"):
        np.testing.assert_allclose(
            10 ** -getattr(found, name), 2 * stats.norm.sf([2.5, 0.3]), rtol=1e-4
        )


def test_a_copy_of_a_trait_adds_no_degree_of_freedom():
    correlation = _correlation(3)
    at = [0, 1, 2, 0]
    doubled = correlation[np.ix_(at, at)]
    z = np.random.default_rng(0).normal(size=(20, 3))
    one = joint_tests(z, joint_null(correlation))
    two = joint_tests(z[:, at], joint_null(doubled))
    assert (two.omnibus_degrees == 3).all()
    np.testing.assert_allclose(two.omnibus, one.omnibus, rtol=1e-6)
    np.testing.assert_allclose(two.least_p, one.least_p, atol=0.01)


def test_a_variant_that_misses_traits_is_tested_on_the_others():
    correlation, rng = _correlation(), np.random.default_rng(4)
    z = rng.normal(size=(30, 6)) * 2
    z[10:20, [1, 4]] = np.nan
    z[29] = np.nan
    found = joint_tests(z, joint_null(correlation))
    kept = [0, 2, 3, 5]
    alone = joint_tests(z[10:20][:, kept], joint_null(correlation[np.ix_(kept, kept)]))
    for name in PVALUES:
        np.testing.assert_allclose(getattr(found, name)[10:20], getattr(alone, name))
    assert found.n_traits.tolist() == [6] * 10 + [4] * 10 + [6] * 9 + [0]
    assert (found.strongest_trait[10:20] == np.array(kept)[alone.strongest_trait]).all()
    assert np.isnan(found.adaptive[29])
    assert found.strongest_trait[29] == -1


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_flipping_a_traits_sign_changes_nothing(sign):
    correlation = _correlation()
    flip = np.array([1, sign, 1, sign, 1, 1])
    z = np.random.default_rng(5).normal(size=(10, 6)) * 2
    one = joint_tests(z, joint_null(correlation))
    two = joint_tests(z * flip, joint_null(correlation * flip * flip[:, None]))
    np.testing.assert_allclose(two.omnibus, one.omnibus, rtol=1e-8)
    np.testing.assert_allclose(two.variance_component, one.variance_component, rtol=1e-5)
    np.testing.assert_allclose(two.least_p, one.least_p, atol=0.02)


def test_the_traits_correlation_counts_common_people():
    rng = np.random.default_rng(6)
    people, variants = 800, 6000
    traits = rng.normal(size=(people, 1)) + rng.normal(size=(people, 3))
    traits[:500, 0] = np.nan
    traits[400:, 1] = np.nan  # traits 0 and 1 have nobody in common
    expected = trait_correlation(traits)
    assert expected[0, 1] == 0
    calls = rng.binomial(2, 0.3, (variants, people)).astype(float)
    z = np.empty((variants, 3))
    for at in range(3):
        known = np.isfinite(traits[:, at])
        left, own = traits[known, at], calls[:, known]
        left = (left - left.mean()) / left.std()
        own = (own - own.mean(axis=1, keepdims=True)) / own.std(axis=1, keepdims=True)
        z[:, at] = own @ left / np.sqrt(known.sum())
    np.testing.assert_allclose(np.corrcoef(z.T), expected, atol=0.05)


def test_the_null_correlation_is_found_beside_real_effects_and_inflation():
    correlation, rng = _correlation(), np.random.default_rng(7)
    z = rng.multivariate_normal(np.zeros(6), correlation, 40_000) * 1.05
    z[:400] += np.array([6, 6, -6, 0, 6, 0])
    found = null_correlation(z)
    np.testing.assert_allclose(found, correlation, atol=0.02)
    naive = np.corrcoef(z.T)
    assert np.abs(naive - correlation).max() > 3 * np.abs(found - correlation).max()


@pytest.mark.parametrize(
    ("correlation", "said"),
    [
        (np.array([[1, 0.2, 0.1], [0.2, 1, 0.3]]), "not square"),
        (np.array([[1, np.nan], [np.nan, 1]]), "gaps"),
        (np.array([[2, 0.1], [0.1, 1]]), "gaps, or not 1"),
        (np.array([[1, 0.5], [0.1, 1]]), "not symmetric"),
    ],
)
def test_what_is_no_correlation_is_refused(correlation, said):
    with pytest.raises(LeadlightError, match=said):
        joint_null(correlation)


def test_too_few_variants_for_a_correlation_and_constant_traits_are_refused():
    with pytest.raises(LeadlightError, match="too few"):
        null_correlation(np.zeros((20, 6)))
    with pytest.raises(LeadlightError, match="Trait number 2 is constant"):
        trait_correlation(np.c_[np.arange(9.0), np.ones(9)])
    with pytest.raises(LeadlightError, match="the correlation is of 6"):
        joint_tests(np.zeros((2, 3)), joint_null(_correlation()))


def _table(rows):
    names = ["chromosome", "base_pair_location", "effect_allele", "other_allele", "beta"]
    return pl.DataFrame(rows, schema=names, orient="row").with_columns(
        pl.lit(0.5).alias("standard_error")
    )


def test_summary_statistics_are_joined_by_variant_and_allele():
    one = _table([("1", 10, "A", "C", 1.0), ("1", 20, "A", "T", 2.0), ("2", 5, "AT", "A", 3.0)])
    two = _table(
        [
            ("1", 10, "C", "A", 4.0),  # swapped
            ("1", 20, "A", "T", 5.0),  # looks the same from both strands: taken as written
            ("2", 5, "A", "AT", 6.0),  # an insertion, swapped
            ("3", 7, "G", "A", 7.0),  # only here
        ]
    )
    three = _table(
        [
            ("1", 10, "T", "G", 8.0),  # the other strand of A/C
            ("1", 10, "A", "G", 9.0),  # other alleles: another variant
            ("3", 7, "T", "C", 1.0),  # the other strand of G/A, swapped
        ]
    )
    variants, z = aligned_z({"one": one, "two": two, "three": three})
    found = {row[:4]: values.tolist() for row, values in zip(variants.rows(), z, strict=True)}
    none = pytest.approx(np.nan, nan_ok=True)
    assert found[("1", 10, "A", "C")] == [2, -8, 16]
    assert found[("1", 20, "A", "T")] == [4, 10, none]
    assert found[("2", 5, "AT", "A")] == [6, -12, none]
    assert found[("3", 7, "G", "A")] == [none, 14, -2]
    assert found[("1", 10, "A", "G")] == [none, none, 18]


def test_broken_summary_statistics_are_refused():
    one = _table([("1", 10, "A", "C", 1.0)])
    with pytest.raises(LeadlightError, match="no column beta"):
        aligned_z({"one": one.drop("beta")})
    with pytest.raises(LeadlightError, match="twice"):
        aligned_z({"one": pl.concat([one, one])})
    with pytest.raises(LeadlightError, match="No summary"):
        aligned_z({})


@pytest.mark.parametrize("kind", ["independent", "two shared factors", "chain", "near copies"])
def test_null_levels_of_every_test(kind):
    count, n = 12, 100_000
    apart = np.abs(np.subtract.outer(np.arange(count), np.arange(count)))
    correlation = {
        "independent": np.eye(count),
        "two shared factors": _correlation(count),
        "chain": 0.6**apart,
        "near copies": 0.97**apart,
    }[kind]
    rng = np.random.default_rng(9)
    z = rng.standard_normal((n, count)) @ np.linalg.cholesky(correlation).T
    found = joint_tests(z, joint_null(correlation))
    for name in PVALUES:
        for level in (0.05, 1e-3, 1e-4):
            seen = int((getattr(found, name) > -np.log10(level)).sum())
            # 48 such counts: each within its 99.95 % interval, and 3 % more, to which the draws of
            # `joint_null` are exact.
            low, high = binom.ppf(2.5e-4, n, 0.97 * level), binom.ppf(0.99975, n, 1.03 * level)
            assert low <= seen <= high, (name, level, seen)


@pytest.mark.slow
def test_null_levels_from_people_with_missing_values_and_heavy_tails():
    """From dosages to joint p-values: correlated traits, a fifth missing, t-distributed errors."""
    rng = np.random.default_rng(10)
    people, count, variants = 2000, 8, 20_000
    shared = rng.standard_normal((people, 2)) @ rng.normal(size=(2, count))
    traits = shared + rng.standard_t(4, (people, count))
    ranks = traits.argsort(axis=0).argsort(axis=0)
    traits = stats.norm.ppf((ranks + 0.5) / people)
    traits[rng.random(traits.shape) < 0.2] = np.nan
    z = np.empty((variants, count))
    frequency = rng.uniform(0.02, 0.5, (variants, 1))
    calls = (rng.random((variants, people), dtype=np.float32) < frequency).astype(np.float32)
    for at in range(count):
        known = np.isfinite(traits[:, at])
        own, left = calls[:, known], traits[known, at] - traits[known, at].mean()
        own = own - own.mean(axis=1, keepdims=True)
        r = own @ left / np.sqrt((own**2).sum(axis=1) * (left @ left))
        z[:, at] = r * np.sqrt((known.sum() - 2) / (1 - r**2))
    given = joint_tests(z, joint_null(trait_correlation(traits)))
    estimated = joint_tests(z, joint_null(null_correlation(z)))
    for found in (given, estimated):
        for name in PVALUES:
            for level in (0.05, 1e-3, 1e-4):
                seen = int((getattr(found, name) > -np.log10(level)).sum())
                low, high = binom.ppf([5e-4, 0.9995], variants, level)
                assert low <= seen <= high + 1, (name, level, seen)
