"""`leadlight heritability` from files to files."""

import json

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from leadlight.cli.app import app
from leadlight.errors import LeadlightError
from leadlight.genetics.heritability_stage import run_heritability
from leadlight.genetics.results import COLUMNS
from leadlight.genetics.summary_statistics import write_summary_statistics

N, M = 800, 2000


@pytest.fixture
def study(tmp_path, write_genotypes, write_table):
    """Three traits: a and b share half of their genes, c has none. b counts the other allele."""
    rng = np.random.default_rng(9)
    # Stretches of 100 variants with more and less linkage.
    parts = []
    for stretch in range(M // 100):
        width = (1, 4, 12, 30)[stretch % 4]
        hidden = rng.standard_normal((100 + width - 1, 2 * N))
        smooth = sum(hidden[k : k + 100] for k in range(width)) / np.sqrt(width)
        parts.append((smooth[:, :N] > 0.6).astype(np.int8) + (smooth[:, N:] > 0.6))
    calls = np.concatenate(parts).astype(np.int8)
    z = (calls - calls.mean(axis=1, keepdims=True)) / calls.std(axis=1, keepdims=True)
    effects = rng.standard_normal((M, 2)) / np.sqrt(M)
    effects[:, 1] = (effects[:, 0] + effects[:, 1]) / np.sqrt(2)
    genetic = z.T @ effects
    traits = np.column_stack([genetic * np.sqrt(0.7 / genetic.var(axis=0)), np.zeros(N)])
    traits += np.sqrt([0.3, 0.3, 1.0]) * rng.standard_normal((N, 3))
    traits -= traits.mean(axis=0)
    positions = [20_000 * i + 1 for i in range(M)]
    folder = tmp_path / "gwas"
    folder.mkdir()
    for at, name in enumerate("abc"):
        sign = -1.0 if name == "b" else 1.0
        r = z @ traits[:, at] / N / traits[:, at].std()
        alleles = ("A", "G") if name == "b" else ("G", "A")
        table = pl.DataFrame(
            {
                "chromosome": ["1"] * M,
                "base_pair_location": positions,
                "effect_allele": [alleles[0]] * M,
                "other_allele": [alleles[1]] * M,
                "beta": sign * r,
                "standard_error": np.sqrt((1 - r**2) / (N - 2)),
                "effect_allele_frequency": np.full(M, 0.3),
                "neg_log_10_p_value": np.full(M, 0.5),
                "rsid": [f"rs{i}" for i in range(M)],
                "n": np.full(M, N),
            }
        )
        write_summary_statistics(table.select(COLUMNS), folder / f"{name}.parquet", "leadlight")
    return {
        "gwas": folder,
        "genotypes": write_genotypes(calls, positions=positions),
        "phenotypes": write_table("y.tsv", ["a", "b", "c"], traits),
    }


def test_scores_from_genotypes_estimates_checks_and_warnings(study, tmp_path):
    out = tmp_path / "out"
    summary = run_heritability(
        [study["gwas"]],
        out,
        genotypes=study["genotypes"],
        phenotypes=study["phenotypes"],
        window_kb=600,
        common=False,
    )
    table = pl.read_parquet(out / "heritability.parquet")
    assert table["trait"].to_list() == ["a", "b", "c"]
    row = {r["trait"]: r for r in table.to_dicts()}
    for name in ("a", "b"):
        assert row[name]["h2"] == pytest.approx(0.7, abs=3 * row[name]["h2_se"])
        assert row[name]["he_h2"] == pytest.approx(0.7, abs=3 * row[name]["he_se"])
        assert row[name]["h2"] > 2 * row[name]["h2_se"]
    assert abs(row["c"]["h2"]) < 3 * row["c"]["h2_se"]
    assert any("fewer than 200,000" in one for one in summary.warnings["a"])
    assert any("below 4" in one for one in summary.warnings["c"])
    pairs = pl.read_parquet(out / "genetic_correlations.parquet").to_dicts()
    first = next(one for one in pairs if (one["trait_1"], one["trait_2"]) == ("a", "b"))
    # b's alleles are swapped in its file: a sign that was not turned would make this negative.
    assert first["correlation"] == pytest.approx(0.7, abs=3 * first["correlation_se"])
    assert first["correlation"] > 0.3
    assert json.loads((out / "provenance.json").read_text())["verb"] == "heritability"

    # Scores that were written are read back to the same answer.
    again = run_heritability(
        [study["gwas"] / "a.parquet"], tmp_path / "again", scores=out / "ld_scores", common=False
    )
    assert again.traits["a"]["h2"] == pytest.approx(row["a"]["h2"], rel=1e-3)


def test_variants_of_a_huge_effect_are_left_out_and_counted(study, tmp_path):
    path = study["gwas"] / "c.parquet"
    table = pl.read_parquet(path)
    huge = table.with_row_index().with_columns(
        pl.when(pl.col("index") < 5)
        .then(12 * pl.col("standard_error"))
        .otherwise("beta")
        .alias("beta")
    )
    write_summary_statistics(huge.select(COLUMNS), tmp_path / "huge.parquet", "leadlight")
    words = {"genotypes": study["genotypes"], "window_kb": 600, "common": False}
    summary = run_heritability([tmp_path / "huge.parquet"], tmp_path / "out", **words)
    assert pl.read_parquet(tmp_path / "out" / "heritability.parquet")["n_removed"].to_list() == [5]
    assert any(one.startswith("5 variants") for one in summary.warnings["huge"])


def test_what_does_not_fit_together_is_refused(study, tmp_path):
    path = study["gwas"] / "a.parquet"
    with pytest.raises(LeadlightError, match="Neither LD scores nor genotypes"):
        run_heritability([path], tmp_path / "out")
    other = tmp_path / "other.l2.ldscore"
    other.write_text("CHR SNP BP L2\n1 nobody 5 3.0\n")
    with pytest.raises(LeadlightError, match="has an LD score"):
        run_heritability([path], tmp_path / "out", scores=other)
    with pytest.raises(LeadlightError, match="needs genotypes"):
        run_heritability([path], tmp_path / "out", scores=other, phenotypes=study["phenotypes"])


def test_the_command_says_what_it_found(study, tmp_path):
    words = [
        "heritability",
        str(study["gwas"] / "a.parquet"),
        "--genotypes",
        str(study["genotypes"]),
    ]
    words += ["--window-kb", "600", "--all-variants", "--out", str(tmp_path / "cli"), "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["traits"]["a"]["h2"] > 0
    assert said["scores"]["variants"] == M
