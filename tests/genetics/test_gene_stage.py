"""`leadlight genes` from files to files."""

import json

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from leadlight.cli.app import app
from leadlight.errors import LeadlightError
from leadlight.genetics import gene_calibration
from leadlight.genetics.gene_stage import run_genes
from leadlight.genetics.gene_tests import GeneSettings

N, GENES, EACH = 600, 6, 15


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch):
    monkeypatch.setattr(gene_calibration, "DRAWS", 1500)


@pytest.fixture
def files(tmp_path, write_genotypes, write_table):
    """Six genes on chromosomes 1 and X; gene g1's loss of function moves trait a."""
    rng = np.random.default_rng(2)
    frequency = rng.uniform(0.001, 0.02, GENES * EACH)
    calls = rng.binomial(2, frequency[:, None], (GENES * EACH, N)).astype(np.int8)
    sex = 1 + np.arange(N) % 2
    on_x = np.repeat(np.arange(GENES) == 5, EACH)
    calls[np.ix_(on_x, sex == 1)] = 2 * np.minimum(calls[np.ix_(on_x, sex == 1)], 1)
    kinds = np.tile(["lof", "missense", "silent"], GENES * EACH // 3)
    harmful = (kinds == "lof") & (np.repeat(np.arange(GENES), EACH) == 1)
    covariates = rng.standard_normal((N, 2))
    traits = rng.standard_normal((N, 3)) + covariates[:, :1]
    traits[:, 0] += 1.8 * calls[harmful].max(axis=0)
    traits[::9, 2] = np.nan
    prefix = write_genotypes(calls, chromosomes=np.where(on_x, "X", "1"), sex=sex, alternate="T")
    names = [f"rs{i}" for i in range(GENES * EACH)]
    paths = {}
    for name, lines in {
        "annotations": [f"{v} g{i // EACH} {kinds[i]}" for i, v in enumerate(names)],
        "sets": [
            f"g{g} {'X' if g == 5 else 1} {g} {','.join(names[g * EACH : (g + 1) * EACH])}"
            for g in range(GENES)
        ],
        "masks": ["LOF lof", "damaging lof,missense", "silent silent"],
    }.items():
        paths[name] = tmp_path / f"{name}.txt"
        paths[name].write_text("\n".join(lines) + "\n")
    return {
        "genotypes": prefix,
        "phenotypes": write_table("y.tsv", ["a", "b", "c"], traits),
        "covariates": write_table("c.tsv", ["u", "v"], covariates),
        **paths,
    }


def words_of(out) -> pl.DataFrame:
    table = pl.read_parquet(out / "genes.parquet")
    return table.with_columns(pl.col(pl.Categorical).cast(pl.String))


def test_the_planted_gene_is_found_by_its_own_mask_and_no_other(files, tmp_path):
    out = tmp_path / "out"
    summary = run_genes(**files, out=out, settings=GeneSettings((0.05, 0.005)), drivers_below=1e-4)
    table = words_of(out)
    gene = table.filter(pl.col("test") == "gene")
    assert gene.height == GENES * 3
    best = gene.sort("neg_log_10_p_value", descending=True)
    assert best.row(0, named=True)["gene"] == "g1"
    assert best.row(0, named=True)["trait"] == "a"
    assert best["neg_log_10_p_value"][0] > 8
    assert best["neg_log_10_p_value"][1] < 4
    own = table.filter((pl.col("gene") == "g1") & (pl.col("trait") == "a"))
    p = {(r["mask"], r["aaf_bin"], r["test"]): r["neg_log_10_p_value"] for r in own.to_dicts()}
    assert p["LOF", "0.05", "burden"] > 8
    assert p["silent", "0.05", "burden"] < 4
    burden = own.filter((pl.col("test") == "burden") & (pl.col("mask") == "LOF"))
    row = burden.filter(pl.col("aaf_bin") == "0.05").row(0, named=True)
    assert row["beta"] == pytest.approx(1.8, abs=3 * row["standard_error"])
    assert own.filter(pl.col("test") != "burden")["beta"].is_null().all()
    drivers = pl.read_parquet(out / "drivers.parquet")
    assert drivers["gene"].unique().to_list() == ["g1"]
    assert drivers["mask"].unique().to_list() == ["LOF"]
    strongest = drivers.sort("burden_without").row(0, named=True)
    assert strongest["burden_without"] < strongest["burden_neg_log_10_p"]
    assert summary.strongest["a"]["gene"] == "g1"
    assert json.loads((out / "provenance.json").read_text())["verb"] == "genes"
    assert not (out / ".genes-partial").exists()


def test_workers_and_a_kill_change_nothing(files, tmp_path, monkeypatch):
    from leadlight.genetics import gene_stage
    from leadlight.genetics.gene_run import GeneRun

    monkeypatch.setattr(gene_stage, "_GENES_AT_ONCE", 2)
    run_genes(**files, out=tmp_path / "one", workers=1)
    test = GeneRun.test

    def dies(self, genes):
        if genes[0].name == "g2":
            raise KeyboardInterrupt
        return test(self, genes)

    monkeypatch.setattr(GeneRun, "test", dies)
    with pytest.raises(KeyboardInterrupt):
        run_genes(**files, out=tmp_path / "two", workers=1)
    monkeypatch.setattr(GeneRun, "test", test)
    summary = run_genes(**files, out=tmp_path / "two", workers=3)
    assert 2 <= summary.resumed_genes < GENES
    one, two = (pl.read_parquet(tmp_path / name / "genes.parquet") for name in ("one", "two"))
    assert one.equals(two)


def test_a_trait_with_gaps_is_tested_on_its_own_people(files, tmp_path, write_table):
    run_genes(**files, out=tmp_path / "together")
    whole = pl.read_parquet(tmp_path / "together" / "genes.parquet")
    table = pl.read_csv(files["phenotypes"], separator="\t", null_values="NA")
    kept = table.filter(pl.col("c").is_not_null())
    alone = write_table("alone.tsv", ["c"], kept.select("c").to_numpy(), ids=kept["IID"].to_list())
    run_genes(**files | {"phenotypes": alone}, out=tmp_path / "alone")
    own = pl.read_parquet(tmp_path / "alone" / "genes.parquet")
    keys = ["gene", "mask", "aaf_bin", "test"]
    words = pl.col("mask", "aaf_bin", "test", "trait").cast(pl.String)
    both = (
        whole.with_columns(words)
        .filter((pl.col("trait") == "c") & (pl.col("test") == "burden"))
        .join(own.with_columns(words), on=keys, how="inner", suffix="_own")
        .filter(pl.col("n_variants") == pl.col("n_variants_own"))
    )
    # Bins follow the frequencies of all people of the study: some sets differ.
    assert both.height > 10
    same = both.filter(pl.col("n_carriers") == pl.col("n_carriers_own"))
    difference = (same["neg_log_10_p_value"] - same["neg_log_10_p_value_own"]).abs()
    assert (difference < 1e-9).mean() > 0.9
    assert (both["n"] == both["n_own"]).all()


def test_binary_traits_get_firths_burden_and_acat_v(files, tmp_path, write_table):
    rng = np.random.default_rng(6)
    table = pl.read_csv(files["phenotypes"], separator="\t", null_values="NA")
    liability = table["a"].to_numpy() * 1.5 + rng.standard_normal(N)
    cases = (liability > np.quantile(liability, 0.85)).astype(float)[:, None]
    phenotypes = write_table("cases.tsv", ["ill"], cases)
    out = tmp_path / "cases"
    run_genes(**files | {"phenotypes": phenotypes}, out=out, binary=True)
    found = words_of(out)
    assert set(found["test"].unique()) == {"burden", "acat-v", "acat-o", "gene"}
    best = found.filter(pl.col("test") == "gene").sort("neg_log_10_p_value", descending=True)
    assert best["gene"][0] == "g1"
    burden = found.filter(
        (pl.col("gene") == "g1") & (pl.col("mask") == "LOF") & (pl.col("test") == "burden")
    ).row(0, named=True)
    assert burden["beta"] > 1


def test_the_background_of_other_chromosomes_can_be_taken_away(files, tmp_path):
    out = tmp_path / "background"
    run_genes(**files, out=out, whole_genome=True, traits=["a", "b"])
    table = words_of(out)
    best = table.filter(pl.col("test") == "gene").sort("neg_log_10_p_value", descending=True)
    assert best["gene"][0] == "g1"
    assert best["neg_log_10_p_value"][0] > 8
    plain = tmp_path / "plain"
    run_genes(**files, out=plain, traits=["a", "b"])
    both = table.join(words_of(plain), on=["gene", "mask", "aaf_bin", "test", "trait"])
    assert both.height == table.height
    assert not table["neg_log_10_p_value"].equals(words_of(plain)["neg_log_10_p_value"])
    burden = both.filter(pl.col("test") == "burden")
    assert np.corrcoef(burden["beta"], burden["beta_right"])[0, 1] > 0.9


def test_a_skewed_trait_is_warned_of_unless_it_is_transformed(files, tmp_path, write_table):
    skewed = np.random.default_rng(1).exponential(size=(N, 1))
    phenotypes = write_table("skewed.tsv", ["long"], skewed)
    words = files | {"phenotypes": phenotypes, "genes": ["g0"]}
    assert "rank-normal" in run_genes(**words, out=tmp_path / "as_is").warnings["long"]
    transformed = run_genes(**words, out=tmp_path / "transformed", transform="rank-normal")
    assert not transformed.warnings


def test_results_are_not_overwritten_and_bad_words_are_refused(files, tmp_path):
    run_genes(**files, out=tmp_path / "out", genes=["g0"])
    with pytest.raises(LeadlightError, match="already exists"):
        run_genes(**files, out=tmp_path / "out")
    with pytest.raises(LeadlightError, match="no gene g9"):
        run_genes(**files, out=tmp_path / "other", genes=["g9"])
    with pytest.raises(LeadlightError, match="no rule"):
        GeneSettings(rule="mean")
    with pytest.raises(LeadlightError, match="no frequency limits"):
        GeneSettings(limits=(1.5,))


def test_the_command_says_what_it_did(files, tmp_path):
    words = ["genes", "--out", str(tmp_path / "cli"), "--genes", "g0,g1", "--json", "--quiet"]
    for name, path in files.items():
        words += [f"--{name}", str(path)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["genes"]["genes tested"] == 2
    assert said["people"]["people analysed"] == N
