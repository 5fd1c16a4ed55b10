"""Polygenic scores: weights against their equations, and what scores explain."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from leadlight.errors import LeadlightError
from leadlight.genetics.genotypes import open_genotypes
from leadlight.genetics.linkage_blocks import LinkageBlocks, write_linkage_blocks
from leadlight.genetics.phewas_loci import ScoreSettings, locus_exposures, score_exposures
from leadlight.genetics.polygenic_scores import make_weights, read_weights, score_people
from leadlight.genetics.score_weights import (
    Marginal,
    heritability,
    infinitesimal,
    sparse,
)

PEOPLE, VARIANTS = 1600, 240


def _haplotypes(rng, people, variants):
    """Counts with linkage that decays along the chromosome."""
    out = np.zeros((variants, people), dtype=np.int8)
    for _ in range(2):
        latent = np.empty((variants, people))
        latent[0] = rng.normal(size=people)
        for v in range(1, variants):
            keep = 0.0 if v % 60 == 0 else 0.9
            latent[v] = keep * latent[v - 1] + np.sqrt(1 - keep**2) * rng.normal(size=people)
        out += (latent < -0.4).astype(np.int8)
    return out


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory):
    """A pgen, a trait with six causal variants, a null trait; first half for training."""
    import pgenlib

    folder = tmp_path_factory.mktemp("scores")
    rng = np.random.default_rng(11)
    calls = _haplotypes(rng, PEOPLE, VARIANTS)
    with pgenlib.PgenWriter(
        str(folder / "g.pgen").encode(), PEOPLE, variant_ct=VARIANTS, nonref_flags=False
    ) as writer:
        writer.append_biallelic_batch(calls)
    rows = [f"{1 + v // 120}\t{1000 * (v + 1)}\trs{v}\tA\tG" for v in range(VARIANTS)]
    (folder / "g.pvar").write_text("\n".join(["#CHROM\tPOS\tID\tREF\tALT", *rows, ""]))
    (folder / "g.psam").write_text("#IID\tSEX\n" + "".join(f"p{i}\t1\n" for i in range(PEOPLE)))
    z = (calls - calls.mean(axis=1)[:, None]) / calls.std(axis=1)[:, None]
    genetic = np.sqrt(0.3 / 6) * z[[10, 50, 90, 130, 170, 210]].T @ np.array([1, -1, 1, 1, -1, 1])
    trait = genetic + np.sqrt(0.7) * rng.normal(size=PEOPLE)
    null = rng.normal(size=PEOPLE)
    paths = {}
    train = np.arange(PEOPLE) < PEOPLE // 2
    for name, y in (("trait", trait), ("null", null)):
        g, own = z[:, train], y[train] - y[train].mean()
        n, xx = own.size, (g**2).sum(axis=1)
        beta = (g - g.mean(axis=1)[:, None]) @ own / xx
        se = np.sqrt(((own @ own) - beta**2 * xx) / (n - 2) / xx)
        sd = calls.std(axis=1)
        paths[name] = folder / f"{name}.parquet"
        pl.DataFrame(
            {
                "chromosome": [str(1 + v // 120) for v in range(VARIANTS)],
                "base_pair_location": [1000 * (v + 1) for v in range(VARIANTS)],
                # Every third table row counts the other allele.
                "effect_allele": ["A" if v % 3 == 0 else "G" for v in range(VARIANTS)],
                "other_allele": ["G" if v % 3 == 0 else "A" for v in range(VARIANTS)],
                "beta": np.where(np.arange(VARIANTS) % 3 == 0, -beta, beta) / sd,
                "standard_error": se / sd,
                "effect_allele_frequency": calls.mean(axis=1) / 2,
                "neg_log_10_p_value": (beta / se) ** 2 / 4.6,
                "rsid": [f"rs{v}" for v in range(VARIANTS)],
                "n": [n] * VARIANTS,
            }
        ).write_parquet(paths[name])
    return folder, calls, trait, null, paths


def _identity(m: int, folder: Path) -> LinkageBlocks:
    np.eye(m, dtype=np.float32).tofile(folder / "eye")
    return LinkageBlocks(
        np.arange(m), np.array([0, m]), np.full(m, 0.6), np.full(m, 0.7), 10**7, folder / "eye"
    )


def test_without_linkage_infinitesimal_weights_are_the_effects_shrunk_alike(tmp_path):
    effects = np.random.default_rng(0).normal(size=50) * 0.02
    marginal = Marginal(effects, 10_000)
    found = infinitesimal(_identity(50, tmp_path), [marginal], [0.2])[0]
    assert found.weights == pytest.approx(effects / (1 + 50 / (10_000 * 0.2)))


def test_with_linkage_infinitesimal_weights_are_the_ridge_regressions_of_the_people_themselves(
    cohort, tmp_path
):
    folder, calls, trait, _, _ = cohort
    source = open_genotypes(folder / "g")
    blocks = write_linkage_blocks(
        source, np.arange(120), np.arange(PEOPLE, dtype=np.uint32), tmp_path / "b"
    )
    z = (calls[:120] - blocks.mean[:, None]) / blocks.sd[:, None]
    y = (trait - trait.mean()) / trait.std()
    marginal = Marginal(z @ y / PEOPLE, PEOPLE)
    found = infinitesimal(blocks, [marginal], [0.25])[0]
    ridge = np.linalg.solve(z @ z.T + np.eye(120) * 120 / 0.25, z @ y)
    assert len(blocks) == 1
    assert found.weights == pytest.approx(ridge, abs=1e-5)


def test_blocks_hold_the_correlations_and_cut_where_linkage_is_broken(cohort, tmp_path):
    folder, calls, _, _, _ = cohort
    source = open_genotypes(folder / "g")
    people = np.arange(0, PEOPLE, 2, dtype=np.uint32)
    blocks = write_linkage_blocks(source, np.arange(VARIANTS), people, tmp_path / "b", largest=80)
    assert blocks.first.tolist() == [0, 60, 120, 180, 240]
    for rows, matrix in blocks.matrices():
        own = np.corrcoef(calls[rows][:, people])
        assert np.asarray(matrix) == pytest.approx(own, abs=1e-4)


def test_the_heritability_of_the_trait_is_found_and_that_of_the_null_is_not(cohort, tmp_path):
    folder, calls, trait, null, _ = cohort
    blocks = write_linkage_blocks(
        open_genotypes(folder / "g"), np.arange(VARIANTS), np.arange(PEOPLE, dtype=np.uint32),
        tmp_path / "b",
    )  # fmt: skip
    z = (calls - blocks.mean[:, None]) / blocks.sd[:, None]
    scores = blocks.linkage_scores()
    found = [
        heritability(Marginal(z @ (y - y.mean()) / y.std() / PEOPLE, PEOPLE), scores)
        for y in (trait, null)
    ]
    assert 0.15 < found[0] < 0.5
    assert abs(found[1]) < 0.1


def test_sparse_weights_find_the_few_variants_that_act(tmp_path):
    rng = np.random.default_rng(2)
    truth = np.zeros(200)
    truth[[5, 80, 150]] = [0.2, -0.15, 0.1]
    effects = truth + rng.normal(size=200) / np.sqrt(5000)
    marginal = Marginal(effects, 5000)
    found = sparse(_identity(200, tmp_path), marginal, seed=1, burn_in=50, samples=100)
    assert found.weights[[5, 80, 150]] == pytest.approx([0.2, -0.15, 0.1], abs=0.04)
    assert np.abs(np.delete(found.weights, [5, 80, 150])).max() < 0.02
    assert found.settings["share_with_effect"] < 0.1
    again = sparse(_identity(200, tmp_path), marginal, seed=1, burn_in=50, samples=100)
    assert (again.weights == found.weights).all()


def test_thresholding_keeps_one_variant_of_those_linked(cohort, tmp_path):
    folder, _, _, _, paths = cohort
    source = open_genotypes(folder / "g")
    made = make_weights(
        {"t": paths["trait"]}, source, tmp_path / "b", method="threshold", p_threshold=1e-3
    )[0]
    chosen = made.numbers[made.weight != 0]
    assert 3 <= len(chosen) <= 15
    with source.reader() as reader:
        r = np.corrcoef(reader.read(chosen))
    assert (r - np.eye(len(r))).max() ** 2 < 0.1
    with pytest.raises(LeadlightError, match="no variant with a weight"):
        score_exposures(
            source, [paths["null"]], (), tmp_path / "c",
            settings=ScoreSettings("threshold", 1e-9), trained_on=set(),
        )  # fmt: skip


@pytest.mark.parametrize("method", ["infinitesimal", "sparse", "threshold"])
def test_a_score_explains_its_trait_in_people_it_did_not_see_and_a_null_one_nothing(
    cohort, tmp_path, method
):
    folder, _, trait, null, paths = cohort
    source = open_genotypes(folder / "g")
    tables = [paths["trait"]] + ([paths["null"]] if method == "infinitesimal" else [])
    exposures, _ = score_exposures(
        source, tables, (), tmp_path / "b", settings=ScoreSettings(method, 1e-4, seed=3),
        trained_on={f"p{i}" for i in range(PEOPLE // 2)},
    )  # fmt: skip
    half = slice(PEOPLE // 2, None)
    assert np.isnan(exposures.values[: PEOPLE // 2]).all()
    assert np.corrcoef(exposures.values[half, 0], trait[half])[0, 1] ** 2 > 0.15
    if len(tables) == 2:
        assert np.corrcoef(exposures.values[half, 1], null[half])[0, 1] ** 2 < 0.01


def test_alleles_are_matched_so_swapping_a_table_changes_no_score(cohort, tmp_path):
    folder, _, _, _, paths = cohort
    source = open_genotypes(folder / "g")
    table = pl.read_parquet(paths["trait"])
    swapped = table.with_columns(
        effect_allele="other_allele", other_allele="effect_allele", beta=-pl.col("beta")
    )
    turned = swapped.with_columns(
        pl.col("effect_allele", "other_allele").replace({"A": "T", "G": "C"})
    )
    turned.write_parquet(tmp_path / "turned.parquet")
    scores = []
    for path in (paths["trait"], tmp_path / "turned.parquet"):
        made = make_weights({"s": path}, source, tmp_path / "b")
        scores.append(score_people(source, made, None)[:, 0])
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)


def test_given_weights_make_the_sum_of_counts(cohort, tmp_path):
    folder, calls, _, _, _ = cohort
    source = open_genotypes(folder / "g")
    pl.DataFrame(
        {
            "chromosome": ["1", "2", "9"],
            "base_pair_location": [5000, 130000, 1],
            "effect_allele": ["G", "A", "A"],
            "other_allele": ["A", "G", "C"],
            "weight": [0.5, 2.0, 1.0],
        }
    ).write_parquet(tmp_path / "w.parquet")
    (made,) = read_weights(tmp_path / "w.parquet", source)
    assert made.name == "w"
    assert made.warnings == ("1 of 3 variants are not in the genotypes",)
    score = score_people(source, [made], None)[:, 0]
    by_hand = 0.5 * calls[4] - 2.0 * calls[129]
    assert score == pytest.approx(by_hand - by_hand.mean(), abs=1e-5)


def test_results_of_a_score_whose_training_is_not_known_say_so(cohort, tmp_path):
    folder, _, _, _, paths = cohort
    source = open_genotypes(folder / "g")
    settings = ScoreSettings()
    exposures, _ = score_exposures(
        source, [paths["trait"]], (), tmp_path / "b", settings=settings, trained_on=None
    )
    assert "not known" in exposures.notes["trait_score"]
    with pytest.raises(LeadlightError, match="saw everybody"):
        score_exposures(
            source, [paths["trait"]], (), tmp_path / "c", settings=settings,
            trained_on={f"p{i}" for i in range(PEOPLE)},
        )  # fmt: skip


def test_a_locus_counts_the_allele_that_is_asked_for(cohort, tmp_path):
    folder, calls, _, _, _ = cohort
    source = open_genotypes(folder / "g")
    (tmp_path / "lead.tsv").write_text("rsid\teffect_allele\tgene\nrs7\tA\tNOS1AP\nrs3\tG\t\n")
    found = locus_exposures(source, tmp_path / "lead.tsv")
    assert (found.values[:, 0] == 2 - calls[7]).all()
    assert (found.values[:, 1] == calls[3]).all()
    assert found.labels["rs7"] == "NOS1AP rs7-A"
    (tmp_path / "ids.txt").write_text("rs3\nrs7\n")
    assert locus_exposures(source, tmp_path / "ids.txt").names == ("rs3", "rs7")
    (tmp_path / "none.txt").write_text("rs999\n")
    with pytest.raises(LeadlightError, match="rs999, which the genotypes lack"):
        locus_exposures(source, tmp_path / "none.txt")
