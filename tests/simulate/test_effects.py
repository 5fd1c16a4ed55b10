"""What genes do, in a population of 1,500 with short chromosomes (see conftest)."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from leadlight.simulate import covariates, effects
from leadlight.simulate.genome import NULL_CHROMOSOMES
from leadlight.simulate.traits import TRAIT_NAMES


def _alternative_counts(population, variants: list[str]) -> np.ndarray:
    row = {name: place for place, name in enumerate(population.truth["variants"]["id"])}
    return population.calls[[row[name] for name in variants]].astype(float)


def _design(population) -> np.ndarray:
    """Covariates with the true subpopulation: so short a genome has no components of ancestry."""
    table = population.covariates
    recorded = [table[name] for name in table.columns[1:] if not name.startswith("PC")]
    south = population.truth["people"]["subpopulation"] == "south"
    return np.column_stack([np.ones(table.height), south, *recorded])


def _background(population, outcome: str) -> np.ndarray:
    """(person,) what the polygenic variants add; in so short a genome all are linked to planted."""
    rows = population.truth["effects"].filter(
        (pl.col("kind") == "polygenic") & (pl.col("outcome") == outcome)
    )
    return rows["beta"].to_numpy() @ _alternative_counts(population, rows["variant"].to_list())


def _planted(population) -> pl.DataFrame:
    return population.truth["effects"].filter(
        ~pl.col("kind").is_in(["polygenic", "rare"]) & ~pl.col("outcome").is_in(effects.DIAGNOSES)
    )


def test_each_traits_genes_explain_its_stated_heritability(population) -> None:
    people = population.truth["people"]
    for outcome, share in effects.HERITABILITY.items():
        assert people[f"genetic_{outcome}"].var() == pytest.approx(share, rel=0.01), outcome


def test_every_trait_has_unit_variance_and_holds_its_genetic_part(population) -> None:
    people = population.truth["people"]
    for column, outcome in enumerate(effects.OUTCOMES):
        if outcome in effects.DIAGNOSES:
            continue
        values = population.phenotypes[outcome].to_numpy()
        # Genes and residual are independent draws: their sample covariance is not quite 0.
        assert values.var() == pytest.approx(1.0, abs=0.15)
        np.testing.assert_allclose(values, population.made.people.z[:, column])
        slope = np.polyfit(people[f"genetic_{outcome}"], values, 1)[0]
        spread = np.sqrt(1.0 / (len(values) * effects.HERITABILITY[outcome]))
        assert abs(slope - 1.0) < 4.5 * spread


def test_planted_effects_are_estimated_with_honest_errors(population) -> None:
    score = []
    design = _design(population)
    for (outcome,), rows in _planted(population).group_by("outcome", maintain_order=True):
        both = rows.filter(pl.col("sex").is_null())
        calls = _alternative_counts(population, both["variant"].to_list())
        x = np.column_stack([calls.T, design])
        y = population.phenotypes[str(outcome)].to_numpy() - _background(population, str(outcome))
        inverse = np.linalg.pinv(x.T @ x)
        beta = inverse @ x.T @ y
        error = np.sqrt(np.sum((y - x @ beta) ** 2) / (len(y) - x.shape[1]) * np.diag(inverse))
        score += ((beta - np.pad(both["beta"], (0, design.shape[1]))) / error)[
            : len(calls)
        ].tolist()
    assert len(score) >= 6
    assert stats.chi2.sf(np.sum(np.square(score)), len(score)) > 1e-3
    assert np.mean(np.abs(score) < 1.96) >= 0.6


def test_the_chi_squares_of_planted_variants_are_those_that_the_truth_table_promises(
    population,
) -> None:
    design = np.linalg.qr(_design(population))[0]
    found, promised = [], []
    for row in _planted(population).filter(pl.col("sex").is_null()).iter_rows(named=True):
        y = population.phenotypes[row["outcome"]].to_numpy()
        y = y - _background(population, row["outcome"])
        (g,) = _alternative_counts(population, [row["variant"]])
        y, g = y - design @ (design.T @ y), g - design @ (design.T @ g)
        r = y @ g / np.sqrt((y @ y) * (g @ g))
        found.append((len(y) - design.shape[1] - 1) * r**2 / (1 - r**2))
        promised.append(row["non_centrality"])
    assert sum(promised) > 20
    total = stats.ncx2(len(found), sum(promised))
    assert 1e-3 < total.cdf(sum(found)) < 1 - 1e-3


def test_a_region_holds_two_signals_without_linkage_between_them(population) -> None:
    pair = _planted(population).filter(pl.col("signal").is_in(["NOS1AP first", "NOS1AP second"]))
    assert pair.height == 2
    one, two = _alternative_counts(population, pair["variant"].to_list())
    assert np.corrcoef(one, two)[0, 1] ** 2 < 0.01
    assert 15_000 <= abs(pair["position"][0] - pair["position"][1]) <= 300_000


def test_rare_effects_are_in_two_genes_only_and_their_carriers_show_it(population) -> None:
    table = population.truth["effects"].filter(pl.col("kind") == "rare")
    assert set(table["gene"]) == {"SCN5A", "MYH6"}
    frequency = table["effect_allele_frequency"].to_numpy()
    assert np.minimum(frequency, 1 - frequency).max() < 0.005
    kinds = table.join(
        population.truth["variants"].select("id", "consequence"), left_on="variant", right_on="id"
    )["consequence"]
    assert set(kinds) <= {"missense", "loss_of_function"}
    for gene, of_gene in effects.RARE_VARIANCE.items():
        for outcome in of_gene:
            rows = table.filter((pl.col("gene") == gene) & (pl.col("outcome") == outcome))
            calls = _alternative_counts(population, rows["variant"].to_list())
            burden = rows["beta"].to_numpy() @ calls
            y = population.phenotypes[outcome].to_numpy()
            slope = stats.linregress(burden, y)
            assert abs(slope.slope - 1.0) < 4.5 * slope.stderr
            # Clipping at two standard deviations may take a little of what was asked.
            assert 0.3 * abs(of_gene[outcome]) < burden.var() < 1.4 * abs(of_gene[outcome])


def test_nothing_acts_on_the_null_chromosomes(population) -> None:
    table = population.truth["effects"]
    assert not set(table["chromosome"]) & set(NULL_CHROMOSOMES)
    assert set(table["chromosome"]) == {1, 3, 14}


def test_null_chromosomes_give_nothing_and_the_others_do(population) -> None:
    unrelated = population.truth["people"]["unrelated"].to_numpy()
    design = np.linalg.qr(_design(population)[unrelated])[0]
    null = population.truth["variants"]["chromosome"].is_in(NULL_CHROMOSOMES).to_numpy()
    n_directions = 60
    total = {}
    for name, chosen in (("null", null), ("acting", ~null)):
        g = population.calls[chosen][:, unrelated].astype(float)
        g -= (g @ design) @ design.T
        # Each direction of the genotypes is worth one chi-square, whatever the linkage.
        size, vectors = np.linalg.eigh(g @ g.T)
        directions = (vectors[:, -n_directions:] / np.sqrt(size[-n_directions:])).T @ g
        total[name] = 0.0
        for outcome in TRAIT_NAMES:
            y = population.phenotypes[outcome].to_numpy()[unrelated]
            y = y - design @ (design.T @ y)
            freedom = len(y) - design.shape[1]
            total[name] += freedom * float(((directions @ y) ** 2).sum() / (y @ y))
    expected = stats.chi2(n_directions * len(TRAIT_NAMES))
    assert 1e-3 < expected.cdf(total["null"]) < 1 - 1e-3
    assert expected.sf(total["acting"]) < 1e-12


def test_a_diagnosis_has_its_prevalence_and_follows_its_liability(population) -> None:
    people = population.truth["people"]
    for column, (name, prevalence) in enumerate(effects.DIAGNOSES.items()):
        affected = population.phenotypes[name].to_numpy().astype(bool)
        assert affected.mean() == pytest.approx(prevalence, abs=0.001)
        liability = people[f"liability_{name}"].to_numpy()
        assert liability[affected].min() >= liability[~affected].max()
        np.testing.assert_array_equal(affected, population.made.excess[:, column] > 0)
    age = population.covariates["age"].to_numpy()
    fibrillating = population.phenotypes["AF"].to_numpy() == 1
    assert age[fibrillating].mean() > age[~fibrillating].mean() + 5


def test_subpopulation_confounds_until_it_is_adjusted_for(population) -> None:
    people = population.truth["people"]
    south = (people["subpopulation"] == "south").to_numpy().astype(float)
    y = population.phenotypes[covariates.CONFOUNDED].to_numpy()
    assert stats.pearsonr(y, south).pvalue < 1e-6
    sites = population.covariates.select("site_b", "site_c").to_numpy()
    x = np.column_stack([np.ones(len(y)), south, sites])
    left = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    assert stats.pearsonr(left, people["genetic_heart_rate"]).pvalue > 1e-3
    # The subpopulations differ in frequencies, and mildly.
    p, q = (population.calls[:, south == one].mean(axis=1) / 2 for one in (0, 1))
    common = (p + q > 0.1) & (p + q < 1.9)
    mean = (p + q)[common] / 2
    n = np.array([(south == one).sum() for one in (0, 1)]) * 2
    noise = (mean * (1 - mean) * (1 / n[0] + 1 / n[1])).mean()
    fst = (((p - q)[common] ** 2).mean() - noise) / (2 * (mean * (1 - mean)).mean())
    assert 0.0005 < fst < 0.02


def test_null_traits_follow_neither_genes_nor_covariates(population) -> None:
    design = _design(population)[:, 1:]
    genetic = population.truth["people"].select("^genetic_.*$").to_numpy()
    p_values = [
        stats.pearsonr(population.phenotypes[name], column).pvalue
        for name in covariates.NULL_TRAITS
        for column in np.column_stack([design, genetic]).T
    ]
    assert min(p_values) > 1e-5
