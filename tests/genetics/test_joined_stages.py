"""The command of the association with joint tests, the background and binary traits."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import chi2

from leadlight.errors import LeadlightError
from leadlight.genetics import block_runs, joint_stage
from leadlight.genetics.background_stage import Background
from leadlight.genetics.binary import associate_binary, null_model
from leadlight.genetics.designs import orthonormal_basis
from leadlight.genetics.joint_tests import joint_null, joint_tests, trait_correlation
from leadlight.genetics.linear_blocks import LinearBlocks
from leadlight.genetics.stage import run_gwas
from leadlight.genetics.traits import as_cases


def _families(rng: np.random.Generator, variants: int, pairs: int, children: int) -> np.ndarray:
    """(variant, person) int8: parents, and children who get a gamete of each."""
    frequency = rng.uniform(0.1, 0.5, (variants, 1))
    haplotypes = rng.random((2, variants, 2 * pairs)) < frequency

    def gamete(parents: np.ndarray) -> np.ndarray:
        side = rng.integers(2, size=(variants, len(parents)))
        return np.where(side == 0, haplotypes[0][:, parents], haplotypes[1][:, parents])

    mothers, fathers = np.arange(pairs), np.arange(pairs, 2 * pairs)
    born = [gamete(mothers).astype(np.int8) + gamete(fathers) for _ in range(children)]
    return np.concatenate([haplotypes.sum(axis=0), *born], axis=1).astype(np.int8)


def _table(path: Path) -> pl.DataFrame:
    return pl.read_parquet(path)


@pytest.fixture(scope="session")
def relatives() -> dict[str, Any]:
    rng = np.random.default_rng(4)
    calls = _families(rng, 2400, 70, 4)
    chromosomes = np.repeat(["1", "2", "3", "4", "5", "6"], 400)
    odd = np.isin(chromosomes, ["1", "3", "5"])
    genes = calls[odd].T @ rng.standard_normal((1200, 12))
    genes = (genes - genes.mean(axis=0)) / genes.std(axis=0)
    traits = np.sqrt(0.6) * genes + np.sqrt(0.4) * rng.standard_normal(genes.shape)
    return {"calls": calls, "chromosomes": chromosomes, "odd": odd, "traits": traits}


def _inflation(folder: Path, chromosomes: list[str], count: int) -> float:
    found = []
    for trait in range(count):
        table = _table(folder / f"t{trait}.parquet").filter(pl.col("chromosome").is_in(chromosomes))
        t = (table["beta"] / table["standard_error"]).to_numpy()
        found.append(np.median(t**2) / chi2.ppf(0.5, 1))
    return float(np.mean(found))


def test_relatives_inflate_the_plain_test_and_not_that_without_their_background(
    relatives, write_genotypes, write_table, tmp_path
):
    prefix = write_genotypes(relatives["calls"], chromosomes=relatives["chromosomes"])
    names = [f"t{k}" for k in range(12)]
    phenotypes = write_table("traits.tsv", names, relatives["traits"])
    run_gwas(prefix, phenotypes, tmp_path / "plain", workers=1)
    run_gwas(prefix, phenotypes, tmp_path / "wg", workers=1, whole_genome=True, joint=True)
    null = ["2", "4", "6"]
    assert _inflation(tmp_path / "plain", null, 12) > 1.2
    assert abs(_inflation(tmp_path / "wg", null, 12) - 1) < 0.08
    joint = _table(tmp_path / "wg" / "joint.parquet").filter(pl.col("chromosome").is_in(null))
    for name in ("omnibus", "least", "variance_component"):
        p = 10 ** -joint[f"neg_log_10_p_{name}"].to_numpy()
        assert abs((p < 0.5).mean() - 0.5) < 0.1, name
    assert (tmp_path / "wg" / "whole_genome.zarr").is_dir()


def test_a_killed_run_with_a_background_goes_on_to_the_same_bytes(
    relatives, write_genotypes, write_table, tmp_path, monkeypatch
):
    monkeypatch.setattr(block_runs, "_CHECKPOINT_S", 0.0)
    calls = relatives["calls"][::4]
    prefix = write_genotypes(calls, chromosomes=relatives["chromosomes"][::4])
    phenotypes = write_table("traits.tsv", ["a", "b"], relatives["traits"][:, :2])
    options: dict[str, Any] = {"workers": 1, "whole_genome": True, "joint": True}
    run_gwas(prefix, phenotypes, tmp_path / "whole", **options)
    work, done = LinearBlocks.work, []

    def dies(self: Any, number: int) -> Any:
        done.append(number)
        if len(done) > 3:
            raise KeyboardInterrupt
        return work(self, number)

    monkeypatch.setattr(LinearBlocks, "work", dies)
    with pytest.raises(KeyboardInterrupt):
        run_gwas(prefix, phenotypes, tmp_path / "cut", **options)
    monkeypatch.setattr(LinearBlocks, "work", work)
    assert run_gwas(prefix, phenotypes, tmp_path / "cut", **options).resumed_blocks == 3
    for name in ("a.parquet", "b.parquet", "joint.parquet"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_run_killed_while_it_writes_is_not_stopped_by_its_own_tables(
    write_genotypes, write_table, tmp_path, monkeypatch
):
    rng = np.random.default_rng(1)
    prefix = write_genotypes(rng.binomial(2, 0.3, (30, 80)).astype(np.int8))
    phenotypes = write_table("traits.tsv", ["a", "b"], rng.standard_normal((80, 2)))
    from leadlight.genetics import association

    monkeypatch.setattr(association, "_write", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_gwas(prefix, phenotypes, tmp_path / "out", joint=True)
    monkeypatch.undo()
    assert (tmp_path / "out" / "joint.parquet").exists()
    assert run_gwas(prefix, phenotypes, tmp_path / "out", joint=True).resumed_blocks == 1
    with pytest.raises(LeadlightError, match="already"):
        run_gwas(prefix, phenotypes, tmp_path / "out", joint=True)


@pytest.mark.parametrize("gaps", [False, True])
def test_the_joint_table_holds_the_joint_tests_of_the_single_ones(
    write_genotypes, write_table, tmp_path, monkeypatch, gaps
):
    monkeypatch.setattr(joint_stage, "ROWS_PER_GROUP", 16)
    rng = np.random.default_rng(2)
    calls = rng.binomial(2, 0.4, (50, 300)).astype(np.int8)
    calls[11, :40] = -9
    order = rng.permutation(50)
    shared = rng.standard_normal((300, 1))
    traits = shared + rng.standard_normal((300, 3)) + 0.9 * calls[7][:, None]
    if gaps:
        traits[rng.random(traits.shape) < 0.1] = np.nan
    covariates = rng.standard_normal((300, 2))
    prefix = write_genotypes(calls, positions=(order + 1).tolist())
    run_gwas(
        prefix,
        write_table("traits.tsv", ["a", "b", "c"], traits),
        tmp_path / "out",
        covariates=write_table("covariates.tsv", ["x", "y"], covariates),
        joint=True,
    )
    joint = _table(tmp_path / "out" / "joint.parquet")
    assert joint["base_pair_location"].is_sorted()
    assert joint["rsid"][joint["neg_log_10_p_value"].arg_max()] == "rs7"
    single = {name: _table(tmp_path / "out" / f"{name}.parquet") for name in "abc"}
    x = np.column_stack([np.ones(300), covariates])
    left = np.full_like(traits, np.nan)
    for k in range(3):
        known = np.isfinite(traits[:, k])
        left[known, k] = (
            traits[known, k] - x[known] @ np.linalg.lstsq(x[known], traits[known, k], rcond=None)[0]
        )
    null = joint_null(trait_correlation(left))
    assert single["c"]["rsid"].to_list() == joint["rsid"].to_list()
    row = joint["rsid"].to_list().index("rs7")
    t = np.array([[(s["beta"] / s["standard_error"])[row] for s in single.values()]])
    if gaps:
        from leadlight.genetics.log_tails import LN10, deviate

        p = np.array([[s["neg_log_10_p_value"][row] for s in single.values()]])
        expected = joint_tests(np.sign(t) * deviate(-LN10 * p), null)
    else:
        expected = joint_tests(t, null, 300 - 3 - 1)
        # Hotelling's F is that of the variant regressed on all traits.
        whole = np.column_stack([x, traits])
        g = calls[7].astype(float)
        rss = [
            float(np.sum((g - m @ np.linalg.lstsq(m, g, rcond=None)[0]) ** 2)) for m in (x, whole)
        ]
        f = (rss[0] - rss[1]) / 3 / (rss[1] / (300 - 6))
        assert joint["omnibus_statistic"][row] == pytest.approx(f, rel=1e-5)
    assert joint["neg_log_10_p_omnibus"][row] == pytest.approx(expected.omnibus[0], rel=1e-6)
    assert joint["neg_log_10_p_value"][row] == pytest.approx(expected.adaptive[0], rel=1e-6)
    assert joint["neg_log_10_p_least"][row] == pytest.approx(expected.least_p[0], rel=1e-6)
    assert joint["strongest_trait"][row] == "abc"[int(np.abs(t).argmax())]


def test_binary_traits_get_the_score_and_firth_tests_in_either_coding(
    write_genotypes, write_table, tmp_path
):
    rng = np.random.default_rng(3)
    sex = np.array([1 + i % 2 for i in range(400)])
    calls = rng.binomial(2, 0.3, (60, 400)).astype(np.int8)
    chromosomes = ["1"] * 40 + ["X"] * 20
    calls[40:] = np.where(sex == 1, calls[40:] // 2 * 2, calls[40:])
    cases = (rng.random(400) < 1 / (1 + np.exp(1.5 - 0.9 * calls[3]))).astype(float)
    plink = np.where(rng.random(400) < 0.05, -9, cases + 1)
    covariates = rng.standard_normal((400, 1))
    prefix = write_genotypes(calls, chromosomes=chromosomes, sex=sex.tolist())
    phenotypes = write_table("traits.tsv", ["af", "lbbb"], np.column_stack([cases, plink]))
    run_gwas(
        prefix,
        phenotypes,
        tmp_path / "out",
        covariates=write_table("covariates.tsv", ["age"], covariates),
        binary=True,
        text=True,
    )
    af, lbbb = (_table(tmp_path / "out" / f"{name}.parquet") for name in ("af", "lbbb"))
    assert af["rsid"][af["neg_log_10_p_value"].arg_max()] == "rs3"
    assert set(af["method"].to_list()) == {"score", "firth"}
    assert (af["n_cases"] == int(cases.sum())).all()
    assert (lbbb["n_cases"] + lbbb["n_controls"] == int((plink != -9).sum())).all()
    basis = orthonormal_basis(covariates)
    expected = associate_binary(calls[:40], [null_model(cases, basis)])
    autosomal = af.filter(pl.col("chromosome") == "1")
    np.testing.assert_allclose(autosomal["beta"], expected.beta[:, 0], rtol=1e-5)
    np.testing.assert_allclose(
        autosomal["neg_log_10_p_value"], expected.neg_log_10_p[:, 0], rtol=1e-5, atol=1e-6
    )
    with_sex = orthonormal_basis(np.column_stack([covariates, sex == 2]))
    on_x = associate_binary(calls[40:], [null_model(cases, with_sex)])
    of_x = af.filter(pl.col("chromosome") == "X")
    np.testing.assert_allclose(of_x["beta"], on_x.beta[:, 0], rtol=1e-5)
    alleles = np.where(sex == 1, 1, 2)
    counted = (calls[40] * alleles / 2).sum() / alleles.sum()
    assert of_x["effect_allele_frequency"][0] == pytest.approx(counted, rel=1e-6)


def test_offsets_of_the_background_enter_the_tests_of_binary_traits(
    relatives, write_genotypes, write_table, tmp_path
):
    calls, chromosomes = relatives["calls"][::3], relatives["chromosomes"][::3]
    cases = (relatives["traits"][:, :1] > 0.8).astype(float)
    prefix = write_genotypes(calls, chromosomes=chromosomes)
    phenotypes = write_table("traits.tsv", ["af"], cases)
    options: dict[str, Any] = {"binary": True, "workers": 1}
    run_gwas(prefix, phenotypes, tmp_path / "wg", whole_genome=True, **options)
    from leadlight.genetics.whole_genome import STORE, open_predictions

    names = tuple(f"p{i}" for i in range(calls.shape[1]))
    found = Background(open_predictions(tmp_path / "wg" / STORE), names, "")
    offset = found.offsets(["af"], "2")[:, 0]
    null = null_model(cases[:, 0], orthonormal_basis(np.zeros((len(cases), 0))), offset)
    expected = associate_binary(calls[chromosomes == "2"], [null])
    table = _table(tmp_path / "wg" / "af.parquet").filter(pl.col("chromosome") == "2")
    np.testing.assert_allclose(table["beta"], expected.beta[:, 0], rtol=1e-5)
    assert offset.std() > 0.05


def test_values_that_are_neither_cases_nor_controls_are_refused():
    traits = np.array([[0.0, 1.0], [1.0, 2.0], [np.nan, 0.0], [-9.0, 1.0]])
    np.testing.assert_array_equal(
        as_cases(["a", "b"], traits), [[0, 0], [1, 1], [np.nan, np.nan], [np.nan, 0]]
    )
    with pytest.raises(LeadlightError, match="lbbb has the value 3"):
        as_cases(["lbbb"], np.array([[1.0], [3.0]]))


def test_options_that_exclude_each_other_are_refused(write_genotypes, write_table, tmp_path):
    rng = np.random.default_rng(1)
    prefix = write_genotypes(rng.binomial(2, 0.3, (30, 80)).astype(np.int8))
    one = write_table("one.tsv", ["a"], rng.standard_normal((80, 1)))
    with pytest.raises(LeadlightError, match="Joint tests of 1 trait"):
        run_gwas(prefix, one, tmp_path / "out", joint=True)
    with pytest.raises(LeadlightError, match="no joint tests"):
        run_gwas(prefix, one, tmp_path / "out", joint=True, binary=True)
    with pytest.raises(LeadlightError, match="does not take the whole-genome"):
        run_gwas(prefix, one, tmp_path / "out", sex_interaction=True, whole_genome=True)
    listed = tmp_path / "ids"
    listed.write_text("rs1\nrs2\n")
    with pytest.raises(LeadlightError, match="variants are left for the whole-genome"):
        run_gwas(prefix, one, tmp_path / "out", whole_genome=True, whole_genome_variants=listed)
