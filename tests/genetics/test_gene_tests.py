"""Burden, SKAT, SKAT-O and ACAT-V against slow implementations that see everybody's genotypes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats
from scipy.integrate import quad

from leadlight.errors import LeadlightError
from leadlight.genetics.carriers import Carriers
from leadlight.genetics.designs import make_designs
from leadlight.genetics.gene_burden import burden_column
from leadlight.genetics.gene_calibration import combination_corrections
from leadlight.genetics.gene_drivers import leave_one_out
from leadlight.genetics.gene_tests import (
    GeneSettings,
    combined,
    gene_designs,
    gene_results,
    named,
    prepare_gene,
)
from leadlight.genetics.masks import Gene
from leadlight.genetics.traits import Matched
from leadlight.genetics.variance_tests import RHO
from leadlight.genetics.variant_tables import DIPLOID

N = 240
MASKS = {"lof": frozenset({"lof"}), "all_kinds": frozenset({"lof", "missense"})}


def carriers_of(calls: np.ndarray) -> Carriers:
    """calls: (person, variant)."""
    columns, count = sparse.csc_array(calls.astype(float)), calls.sum(axis=0).astype(float)
    n = len(calls)
    return Carriers(
        columns,
        columns,
        count / (2 * n),
        count,
        np.minimum(count, 2 * n - count),
        (calls > 0).sum(axis=0),
        np.zeros(calls.shape[1], dtype=np.int64),
    )


def people(traits: np.ndarray, covariates: np.ndarray) -> Matched:
    rows = np.arange(len(traits), dtype=np.uint32)
    return Matched(
        rows,
        np.ones(len(traits), dtype=np.int8),
        tuple(f"t{i}" for i in range(traits.shape[1])),
        traits,
        tuple(f"c{i}" for i in range(covariates.shape[1])),
        covariates,
        {},
    )


@pytest.fixture(scope="module")
def study():
    """A gene of 12 variants, three traits (the last with gaps), two covariates."""
    rng = np.random.default_rng(5)
    frequency = np.array([0.06, 0.05, 0.045, 0.04, 0.03, 0.03, 0.01, 0.006, 0.004, 0.004, 0.1, 0.2])
    calls = rng.binomial(2, frequency, (N, 12))
    calls[:3, 8] = [1, 0, 0]
    covariates = np.column_stack([rng.standard_normal(N), rng.random(N) < 0.4]).astype(float)
    traits = rng.standard_normal((N, 3)) + covariates @ rng.standard_normal((2, 3))
    traits[:, 1] += 0.9 * calls[:, 0] - 0.8 * calls[:, 1]
    traits[:, 0] += 0.5 * calls[:, :4].sum(axis=1)
    traits[::7, 2] = np.nan
    gene = Gene("G", "1", 1, 12, np.arange(12), ("lof", "missense") * 6, ("",) * 12)
    return calls, covariates, traits, gene


@pytest.fixture(scope="module")
def tested(study):
    calls, covariates, traits, gene = study
    matched = people(traits, covariates)
    designs = gene_designs(make_designs(matched, DIPLOID, shared=False), matched.rows)
    made = GeneSettings((0.08, 0.5), rule="sum")
    prepared = prepare_gene(gene, MASKS, carriers_of(calls), made)
    results = gene_results(prepared, designs, 3, made)
    return prepared, designs, {(one.mask, one.bin): one for one in named(prepared, results)}, made


def slow_columns(calls: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(person, column) tested and each one's frequency: the very rare ones are one."""
    count = calls[:, chosen].sum(axis=0)
    rare = chosen[count <= 10]
    columns = [calls[:, i].astype(float) for i in chosen[count > 10]]
    if len(rare) > 1:
        columns.append(calls[:, rare].max(axis=1).astype(float))
    elif len(rare):
        columns = [calls[:, i].astype(float) for i in chosen]
    stacked = np.stack(columns, axis=1)
    return stacked, stacked.mean(axis=0) / 2


def slow_skat(y, covariates, columns, weights, rho=0.0) -> float:
    """P of the quadratic form: eigenvalues of a matrix of all people, Imhof's integral."""
    design = np.column_stack([np.ones(len(y)), covariates])
    project = np.eye(len(y)) - design @ np.linalg.pinv(design)
    kernel = (1 - rho) * np.eye(len(weights)) + rho
    weighted = columns * weights
    form = project @ weighted @ kernel @ weighted.T @ project
    ratio = y @ form @ y / (y @ project @ y)
    sizes = np.linalg.eigvalsh(form - ratio * project)
    sizes = sizes[np.abs(sizes) > 1e-9 * np.abs(sizes).max()] / np.abs(sizes).max()

    def integrand(u):
        angle = 0.5 * np.sum(np.arctan(sizes * u))
        return np.sin(angle) / u * np.exp(-0.25 * np.sum(np.log1p((sizes * u) ** 2)))

    value = quad(integrand, 0, np.inf, limit=1000, epsabs=1e-12, epsrel=1e-10)[0]
    return 0.5 + value / np.pi


def weights_of(frequency):
    return stats.beta.pdf(np.minimum(frequency, 1 - frequency), 1, 25)


@pytest.mark.parametrize("trait", [0, 1, 2])
@pytest.mark.parametrize("mask", ["lof", "all_kinds"])
@pytest.mark.parametrize("limit", [0.08, 0.5])
def test_burden_and_skat_are_those_of_all_people(study, tested, least_squares, trait, mask, limit):
    calls, covariates, traits, gene = study
    there = np.isfinite(traits[:, trait])
    y, x, g = traits[there, trait], covariates[there], calls[there]
    fits = np.array([kind in MASKS[mask] for kind in gene.categories])
    chosen = np.flatnonzero(fits & (calls.mean(axis=0) / 2 <= limit) & (calls.sum(axis=0) > 0))
    result = tested[2][mask, f"{limit:g}"]
    np.testing.assert_array_equal(result.variants, chosen)
    assert result.n_people[trait] == there.sum()
    assert result.n_carriers[trait] == (g[:, chosen].sum(axis=1) > 0).sum()

    burden = g[:, chosen].sum(axis=1)
    beta, error, degrees = least_squares(y, np.column_stack([burden, np.ones(len(y)), x]))
    assert result.beta[trait] == pytest.approx(beta[0], rel=1e-9)
    assert result.standard_error[trait] == pytest.approx(error[0], rel=1e-9)
    p = 2 * stats.t.sf(abs(beta[0] / error[0]), degrees)
    assert 10 ** -result.neg_log_10_p["burden"][trait] == pytest.approx(p, rel=1e-6)

    whole, frequency = slow_columns(calls, chosen)
    columns, weights = whole[there], weights_of(frequency)
    found = 10 ** -result.neg_log_10_p["skat"][trait]
    assert found == pytest.approx(slow_skat(y, x, columns, weights), rel=1e-6, abs=1e-9)

    kernels = [slow_skat(y, x, columns, weights, rho) for rho in RHO]
    optimal = 10 ** -result.neg_log_10_p["skat-o"][trait]
    assert min(kernels) * (1 - 1e-6) <= optimal <= min(1, len(RHO) * min(kernels))

    singles = []
    for column in columns.T:
        beta, error, degrees = least_squares(y, np.column_stack([column, np.ones(len(y)), x]))
        singles.append(2 * stats.t.sf(abs(beta[0] / error[0]), degrees))
    share = weights**2 * frequency * (1 - frequency)
    cauchy = np.sum(share * np.tan(np.pi * (0.5 - np.array(singles)))) / share.sum()
    p = 0.5 - np.arctan(cauchy) / np.pi
    assert 10 ** -result.neg_log_10_p["acat-v"][trait] == pytest.approx(p, rel=1e-6)


def test_bins_and_singletons_hold_the_variants_up_to_their_limit(study, tested):
    calls = study[0]
    prepared = tested[0]
    frequency = calls.mean(axis=0) / 2
    for (_, mask, name), at in prepared.names.items():
        inside = frequency[prepared.sets[at].variants]
        if name == "singleton":
            assert (inside * 2 * N == 1).all()
        else:
            assert inside.max() <= float(name)
        assert mask in MASKS


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_the_rules_of_burdens_are_ordered_and_agree_on_single_carriers(seed):
    rng = np.random.default_rng(seed)
    calls = sparse.csc_array(rng.binomial(2, 0.15, (30, 4)).astype(float))
    most, both, total = (
        burden_column(calls, rule).toarray()[:, 0] for rule in ("max", "comphet", "sum")
    )
    dense = calls.toarray()
    np.testing.assert_array_equal(most, dense.max(axis=1))
    np.testing.assert_array_equal(total, dense.sum(axis=1))
    np.testing.assert_array_equal(both, np.minimum(total, 2))
    once = (dense > 0).sum(axis=1) <= 1
    np.testing.assert_array_equal(most[once], total[once])
    with pytest.raises(LeadlightError, match="no rule"):
        burden_column(calls, "mean")


def test_one_variant_gives_one_answer_whatever_the_test(study):
    calls, covariates, traits, _ = study
    matched = people(traits[:, :2], covariates)
    designs = gene_designs(make_designs(matched, DIPLOID, shared=False), matched.rows)
    made = GeneSettings((0.5,), singletons=False)
    gene = Gene("G", "1", 1, 1, np.array([0]), ("lof",), ("",))
    prepared = prepare_gene(gene, MASKS, carriers_of(calls[:, :1]), made)
    result = gene_results(prepared, designs, 2, made)[0]
    for test, p in result.neg_log_10_p.items():
        np.testing.assert_allclose(p, result.neg_log_10_p["burden"], rtol=1e-9, err_msg=test)
    np.testing.assert_allclose(
        combined(prepared.sets, [result.neg_log_10_p]), result.neg_log_10_p["burden"], rtol=1e-9
    )


def test_many_traits_at_once_are_the_same_as_few(study):
    calls, covariates, _, gene = study
    traits = np.random.default_rng(8).standard_normal((N, 90))
    traits[:, 0] += 1.2 * calls[:, 0]
    made = GeneSettings((0.5,))
    prepared = prepare_gene(gene, MASKS, carriers_of(calls), made)

    def p(columns):
        matched = people(traits[:, columns], covariates)
        designs = gene_designs(make_designs(matched, DIPLOID, shared=False), matched.rows)
        return gene_results(prepared, designs, len(columns), made)[-1].neg_log_10_p

    many, few = p(list(range(90))), p(list(range(20)))
    for test in ("burden", "skat", "acat-v"):
        np.testing.assert_allclose(many[test][:20], few[test], rtol=1e-9)
    # Beyond 60 traits the last step of SKAT-O is interpolated.
    np.testing.assert_allclose(many["skat-o"][:20], few["skat-o"], rtol=2e-4, atol=2e-5)


def test_the_causal_variant_drives_the_gene_and_leaving_it_out_is_testing_without_it(study, tested):
    calls, covariates, traits, gene = study
    prepared, designs, _, made = tested
    number = prepared.names["all", "all_kinds", "0.08"]
    drivers = list(leave_one_out(prepared, number, designs[0], 1, made))
    variants = prepared.sets[number].variants
    assert [one.place for one in drivers] == variants.tolist()
    falls = {one.place: one.without["skat"] for one in drivers}
    assert sorted(falls, key=falls.__getitem__)[:2] in ([0, 1], [1, 0])

    rest = np.delete(variants, 0)
    matched = people(traits, covariates)
    own = Gene("G", "1", 1, 2, rest, tuple(gene.categories[i] for i in rest), ("",) * len(rest))
    alone = prepare_gene(own, MASKS, carriers_of(calls[:, rest]), made)
    again = gene_designs(make_designs(matched, DIPLOID, shared=False), matched.rows)
    expected = gene_results(alone, again, 3, made)[alone.names["all", "all_kinds", "0.08"]]
    for test, p in drivers[0].without.items():
        assert p == pytest.approx(expected.neg_log_10_p[test][1], rel=1e-9), test


@pytest.mark.slow
def test_all_tests_hold_their_level_on_drawn_traits(study):
    calls, covariates, _, gene = study
    rng = np.random.default_rng(11)
    calls = np.concatenate([calls, rng.binomial(2, 0.02, (N, 8))], axis=1)
    gene = Gene("G", "1", 1, 20, np.arange(20), ("lof", "missense") * 10, ("",) * 20)
    matched = people(rng.standard_normal((N, 8000)), covariates)
    designs = gene_designs(make_designs(matched, DIPLOID, shared=False), matched.rows)
    made = GeneSettings((0.03, 0.5))
    prepared = prepare_gene(gene, MASKS, carriers_of(calls), made)
    results = gene_results(prepared, designs, 8000, made)
    corrections = combination_corrections([prepared], designs[0], made, draws=10_000, seed=3)
    at = max(range(len(results)), key=lambda k: len(results[k].variants))
    p = dict(results[at].neg_log_10_p)
    p["acat-o"] = corrections.of_set(len(prepared.sets[at].tested)).apply(p["acat-o"])
    together = combined(prepared.sets, [one.neg_log_10_p for one in results])
    p["gene"] = corrections.of_genes.apply(together)
    for test, values in p.items():
        for level in (0.2, 0.05, 0.01):
            low, high = stats.binom.interval(0.9999, 8000, level)
            assert low <= (10**-values < level).sum() <= high, (test, level)
