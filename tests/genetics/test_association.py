"""The linear model against least squares, one variant and trait at a time."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

from leadlight.errors import LeadlightError
from leadlight.genetics import association, block_runs
from leadlight.genetics.gwas_summary import GwasSummary
from leadlight.genetics.stage import run_gwas
from leadlight.genetics.variant_filters import VariantFilter

Fit = Callable[[np.ndarray, np.ndarray], tuple[Any, Any, int]]
PEOPLE, VARIANTS = 301, 60


@pytest.fixture
def study(write_genotypes: Callable[..., Path], write_table: Callable[..., Path]) -> dict[str, Any]:
    """Calls with gaps, on an autosome, X, Y and MT; traits and covariates with gaps."""
    rng = np.random.default_rng(3)
    frequency = rng.uniform(0.03, 0.97, VARIANTS)[:, None]
    calls = rng.binomial(2, frequency, (VARIANTS, PEOPLE)).astype(np.int8)
    chromosomes = np.array(["1"] * 30 + ["X"] * 15 + ["Y"] * 5 + ["MT"] * 10)
    male = np.arange(PEOPLE) % 2 == 0
    by_sex = np.isin(chromosomes, ["X", "Y", "MT"])
    haploid = by_sex[:, None] & (male[None, :] | (chromosomes == "MT")[:, None])
    calls[haploid] = 2 * (calls[haploid] > 0)
    calls[rng.random(calls.shape) < 0.03] = -9
    calls[7] = -9 * (rng.random(PEOPLE) < 0.6)
    calls[7][calls[7] == 0] = 1
    calls[7, :40] = 2
    sex = np.where(male, 1, 2)
    sex[:3] = 0
    covariates = rng.standard_normal((PEOPLE, 3))
    covariates[rng.random(PEOPLE) < 0.02, 1] = np.nan
    traits = rng.standard_normal((PEOPLE, 5)) * [1, 50, 1, 1, 0.01] + [0, 400, 0, 0, 3]
    traits += np.where(calls[3] < 0, 0, calls[3])[:, None] * [0.4, 30, 3, 0, 0.001]
    traits[rng.random(PEOPLE) < 0.04, 1] = np.nan
    traits[rng.random(PEOPLE) < 0.04, 2] = np.nan
    traits[rng.random(PEOPLE) < 0.6, 3] = np.nan
    prefix = write_genotypes(calls, chromosomes, sex=sex)
    names = [f"y{k}" for k in range(5)]
    return {
        "calls": calls,
        "chromosomes": chromosomes,
        "male": male,
        "sex": sex,
        "covariates": covariates,
        "traits": traits,
        "genotypes": prefix,
        "phenotypes": write_table("traits.tsv", names, traits),
        "covariate_file": write_table("covariates.tsv", ["a", "b", "c"], covariates),
    }


def run(study: dict[str, Any], out: Path, **settings: Any) -> GwasSummary:
    return run_gwas(
        study["genotypes"], study["phenotypes"], out, covariates=study["covariate_file"], **settings
    )


@pytest.mark.parametrize("precision", ["double", "single"])
def test_effects_and_p_are_those_of_least_squares_on_the_people_who_have_everything(
    study: dict[str, Any], tmp_path: Path, least_squares: Fit, precision: str
) -> None:
    run(study, tmp_path / "out", precision=precision)
    tolerance = 1e-6 if precision == "double" else 1e-5
    checked = 0
    for k in range(5):
        table = pl.read_parquet(tmp_path / "out" / f"y{k}.parquet")
        assert table["base_pair_location"].n_unique() == table.height
        for row in table.iter_rows(named=True):
            v = row["base_pair_location"] // 100 - 1
            chromosome = study["chromosomes"][v]
            assert row["chromosome"] == chromosome
            g = study["calls"][v].astype(float)
            covariates = study["covariates"]
            keep = (g >= 0) & np.isfinite(covariates).all(axis=1)
            keep &= np.isfinite(study["traits"][:, k])
            male = study["male"]
            if chromosome == "X":
                keep &= study["sex"] > 0
                covariates = np.column_stack([covariates, male])
            if chromosome == "Y":
                keep &= study["sex"] == 1
            copies = g / 2 if chromosome in ("Y", "MT") else g
            x = np.column_stack([copies, np.ones(PEOPLE), covariates])[keep]
            beta, error, degrees = least_squares(study["traits"][keep, k], x)
            assert row["n"] == keep.sum()
            assert row["beta"] == pytest.approx(beta[0], abs=tolerance * error[0], rel=2e-7)
            assert row["standard_error"] == pytest.approx(error[0], rel=tolerance)
            p = -(np.log10(2) + stats.t.logsf(abs(beta[0] / error[0]), degrees) / np.log(10))
            assert row["neg_log_10_p_value"] == pytest.approx(p, abs=2 * tolerance, rel=1e-6)
            alleles = np.where(male & (chromosome == "X"), 1, 2)[keep]
            counted = np.where(male & (chromosome == "X"), g / 2, g)[keep]
            frequency = counted.sum() / alleles.sum()
            assert row["effect_allele_frequency"] == pytest.approx(frequency, rel=1e-6)
            checked += 1
    assert checked > 280


def test_a_killed_run_goes_on_to_byte_identical_results(
    study: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(association, "_CALLS_PER_BLOCK", 16 * PEOPLE)
    monkeypatch.setattr(block_runs, "_CHECKPOINT_S", 0.0)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run(study, whole, workers=2)
    done = 0
    work = association.LinearBlocks.work

    def dies(self: Any, task: Any) -> Any:
        nonlocal done
        done += 1
        if done > 4:
            raise KeyboardInterrupt
        return work(self, task)

    monkeypatch.setattr(association.LinearBlocks, "work", dies)
    with pytest.raises(KeyboardInterrupt):
        run(study, broken, workers=1)
    assert not list(broken.glob("*.parquet"))
    monkeypatch.setattr(association.LinearBlocks, "work", work)
    summary = run(study, broken, workers=1)
    assert summary.resumed_blocks >= 1
    for file in ["summary.json", *(f"y{k}.parquet" for k in range(5))]:
        ours = (broken / file).read_bytes().replace(b'"broken"', b'"whole"')
        assert ours == (whole / file).read_bytes()
    assert not (broken / association.PARTIAL).exists()


def test_a_partial_run_of_other_data_is_not_gone_on_with(
    study: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    write = association._write
    monkeypatch.setattr(association, "_write", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(study, out)
    monkeypatch.setattr(association, "_write", write)
    assert run(study, out, transform="rank-normal").resumed_blocks == 0
    assert (out / "y0.parquet").exists()


def test_results_are_not_replaced_unless_told(study: dict[str, Any], tmp_path: Path) -> None:
    run(study, tmp_path / "out")
    with pytest.raises(LeadlightError, match="already exists"):
        run(study, tmp_path / "out")
    run(study, tmp_path / "out", overwrite=True)


def test_what_is_left_out_is_named_and_counted(
    write_genotypes: Callable[..., Path], write_table: Callable[..., Path], tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    calls = rng.binomial(2, 0.4, (6, 80)).astype(np.int8)
    calls[0] = 0
    calls[1] = 2
    calls[2] = 0
    calls[2, 5] = 1
    calls[3, :30] = -9
    values = rng.standard_normal((80, 3))
    values[:, 1] = 7
    values[3:, 2] = np.nan
    more = rng.standard_normal((80, 4))
    more[:, 2] = more[:, 0] - 2 * more[:, 1]
    more[:, 3] = 1
    out = tmp_path / "out"
    summary = run_gwas(
        write_genotypes(calls),
        write_table("traits.tsv", ["good", "flat", "rare"], values),
        out,
        covariates=write_table("cov.tsv", ["a", "b", "sum", "one"], more),
        variant_filter=VariantFilter(min_mac=5, max_missing=0.1),
    )
    assert summary.dropped == {
        "flat": "constant",
        "rare": "only 3 people have it",
        "sum": "covariate collinear with those before it",
        "one": "constant covariate",
    }
    assert summary.variants == {
        "in the genotypes": 6,
        "left out: monomorphic": 2,
        "left out: minor allele count": 1,
        "left out: missing calls": 1,
        "tested": 2,
    }
    assert summary.traits == {"good": 2}
    assert json.loads((out / "summary.json").read_text())["traits"] == {"good": 2}
    provenance = json.loads((out / "provenance.json").read_text())
    assert provenance["parameters"]["covariates"] == ["a", "b"]


def test_order_of_people_and_number_of_threads_do_not_matter(
    study: dict[str, Any], tmp_path: Path, write_table: Callable[..., Path]
) -> None:
    run(study, tmp_path / "one", workers=1)
    mixed = np.random.default_rng(0).permutation(PEOPLE)
    ids = [f"p{i}" for i in mixed]
    study["phenotypes"] = write_table(
        "mixed.tsv", [f"y{k}" for k in range(5)], study["traits"][mixed], ids
    )
    run(study, tmp_path / "two", workers=3)
    for k in range(5):
        name = f"y{k}.parquet"
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_variants_out_of_order_come_out_sorted(
    write_genotypes: Callable[..., Path], write_table: Callable[..., Path], tmp_path: Path
) -> None:
    rng = np.random.default_rng(2)
    calls = rng.binomial(2, 0.4, (5, 60)).astype(np.int8)
    prefix = write_genotypes(calls, ["X", "10", "2", "2", "1"], [5, 7, 900, 20, 3])
    run_gwas(prefix, write_table("t.tsv", ["y"], rng.standard_normal((60, 1))), tmp_path / "out")
    table = pl.read_parquet(tmp_path / "out" / "y.parquet")
    assert table["chromosome"].cast(pl.String).to_list() == ["1", "2", "2", "10", "X"]
    assert table["base_pair_location"].to_list() == [3, 20, 900, 7, 5]
    assert table["rsid"].to_list() == ["rs4", "rs3", "rs2", "rs1", "rs0"]


def test_null_traits_give_uniform_p(
    write_genotypes: Callable[..., Path], write_table: Callable[..., Path], tmp_path: Path
) -> None:
    rng = np.random.default_rng(11)
    frequency = rng.uniform(0.05, 0.5, (1500, 1))
    calls = rng.binomial(2, frequency, (1500, 200)).astype(np.int8)
    traits = write_table("t.tsv", ["a", "b"], rng.standard_t(8, (200, 2)))
    run_gwas(write_genotypes(calls), traits, tmp_path / "out", transform="rank-normal")
    p = np.concatenate(
        [
            10 ** -pl.read_parquet(tmp_path / "out" / f"{name}.parquet")["neg_log_10_p_value"]
            for name in ("a", "b")
        ]
    )
    assert stats.kstest(p, "uniform").pvalue > 0.001


def test_dosages_are_used_as_they_are(
    write_genotypes: Callable[..., Path],
    write_table: Callable[..., Path],
    tmp_path: Path,
    least_squares: Fit,
) -> None:
    rng = np.random.default_rng(4)
    dosages = np.round(rng.uniform(0, 2, (8, 150)) * 16384) / 16384
    dosages[2, :9] = -9
    y = rng.standard_normal((150, 1))
    run_gwas(write_genotypes(dosages), write_table("t.tsv", ["y"], y), tmp_path / "out")
    table = pl.read_parquet(tmp_path / "out" / "y.parquet")
    assert table.height == 8
    for v, row in enumerate(table.iter_rows(named=True)):
        keep = dosages[v] >= 0
        x = np.column_stack([dosages[v], np.ones(150)])[keep]
        beta, error, _ = least_squares(y[keep, 0], x)
        assert row["beta"] == pytest.approx(beta[0], rel=1e-5)
        assert row["standard_error"] == pytest.approx(error[0], rel=1e-5)
        assert row["n"] == keep.sum()
