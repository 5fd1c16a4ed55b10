"""Conditioning on individual data is PLINK 2's, and on summary statistics the same model's."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from leadlight.errors import LeadlightError
from leadlight.genetics.conditional import conditional_scan, explained, stepwise_signals
from leadlight.genetics.designs import orthonormal_basis
from leadlight.genetics.genotypes import GenotypeSource, open_genotypes
from leadlight.genetics.linkage import residual_products
from leadlight.genetics.summary_signals import (
    conditional_fit,
    joint_fit,
    moments,
    summary_signals,
)
from leadlight.genetics.traits import Matched, match_people, read_person_table


def study(
    source: GenotypeSource, tmp_path: Path, y: np.ndarray, covariates: np.ndarray
) -> tuple[Matched, Path, Path]:
    """The matched people, and the tables they came from."""
    paths = []
    for name, prefix, values in (("ph", "y", y[:, None]), ("cv", "c", covariates)):
        lines = ["\t".join(["#FID", "IID", *(f"{prefix}{k}" for k in range(values.shape[1]))])]
        for i in range(len(values)):
            shown = ["NA" if np.isnan(v) else repr(float(v)) for v in values[i]]
            lines.append(
                "\t".join([source.people.family_ids[i], source.people.person_ids[i], *shown])
            )
        paths.append(tmp_path / f"{name}.tsv")
        paths[-1].write_text("\n".join([*lines, ""]))
    tables = [read_person_table(path) for path in paths]
    return match_people(source.people, *tables), paths[0], paths[1]


def assert_same_as_plink(
    plink2: str,
    tmp_path: Path,
    words: list[str],
    source: GenotypeSource,
    made: tuple[Matched, Path, Path],
    numbers: np.ndarray,
    conditions: list[int],
) -> None:
    matched, phenotypes, covariates = made
    ids = source.variants.table["rsid"].to_pylist()
    listed = tmp_path / "conditions.txt"
    listed.write_text("\n".join([*(ids[c] for c in conditions), ""]))
    command = [
        plink2,
        *words,
        "--pheno",
        str(phenotypes),
        "--pheno-name",
        "y0",
        "--covar",
        str(covariates),
    ]
    command += ["--glm", "omit-ref", "hide-covar", "log10", "--condition-list", str(listed)]
    command += ["--no-input-missing-phenotype", "--threads", "1", "--vif", "1e9", "--max-corr", "1"]
    subprocess.run([*command, "--out", str(tmp_path / "p")], check=True, capture_output=True)
    theirs = pl.read_csv(tmp_path / "p.y0.glm.linear", separator="\t", infer_schema=False)
    theirs = theirs.filter(pl.col("ERRCODE") == ".")
    ours = conditional_scan(source, matched, "y0", numbers, conditions)
    at = {ids[number]: k for k, number in enumerate(numbers)}
    rows = theirs.filter(pl.col("ID").is_in([ids[k] for k in numbers]))
    where = np.array([at[name] for name in rows["ID"]])
    assert len(where) > 100
    beta, error = (rows[name].cast(float).to_numpy() for name in ("BETA", "SE"))
    strength, n = rows["LOG10_P"].cast(float).to_numpy(), rows["OBS_CT"].cast(int).to_numpy()
    # Where the conditions leave next to nothing, PLINK's digits end.
    fine = np.isfinite(ours.beta[where]) & (error < 50 * np.median(error))
    assert fine.sum() > 100
    where = where[fine]
    np.testing.assert_allclose(ours.beta[where], beta[fine], rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(ours.standard_error[where], error[fine], rtol=2e-5)
    np.testing.assert_allclose(ours.neg_log_10_p[where], strength[fine], rtol=2e-5, atol=1e-5)
    assert np.array_equal(ours.n[where], n[fine])


@pytest.mark.parametrize("conditions", [[700], [700, 1203, 1500]])
def test_conditional_results_are_plink_2s(
    shared_data: Path, plink2: str, tmp_path: Path, conditions: list[int]
) -> None:
    prefix = shared_data / "genotypes" / "kg_eur_489_bed" / "1000G.subset.9"
    source = open_genotypes(prefix)
    rng = np.random.default_rng(1)
    with source.reader() as reader:
        calls = reader.read(np.array([700, 1203])).astype(float)
    covariates = rng.standard_normal((489, 3))
    y = 0.5 * calls[0] - 0.4 * calls[1] + covariates[:, 0] + rng.standard_normal(489)
    y[rng.random(489) < 0.05] = np.nan
    covariates[rng.random(489) < 0.02, 1] = np.nan
    made = study(source, tmp_path, y, covariates)
    numbers = np.arange(500, 1400)
    words = ["--bfile", str(prefix), "--mac", "1"]
    assert_same_as_plink(plink2, tmp_path, words, source, made, numbers, conditions)


def test_conditional_results_with_missing_calls_are_plink_2s(
    shared_data: Path, plink2: str, tmp_path: Path
) -> None:
    prefix = shared_data / "genotypes" / "hapmap3_957_bed" / "data"
    source = open_genotypes(prefix)
    rng = np.random.default_rng(2)
    names = np.array(source.variants.table["chromosome"].to_pylist())
    numbers = np.flatnonzero(names == "2")
    y, covariates = rng.standard_normal(957), rng.standard_normal((957, 2))
    made = study(source, tmp_path, y, covariates)
    with source.reader() as reader:
        gaps = (reader.read(numbers) < 0).sum(axis=1)
    conditions = numbers[np.argsort(-gaps)[:2]].tolist()
    assert gaps.max() > 5
    words = ["--bfile", str(prefix), "--chr", "2"]
    assert_same_as_plink(plink2, tmp_path, words, source, made, numbers, conditions)


@pytest.fixture
def two_signals(tmp_path: Path, write_genotypes: Callable[..., Path]) -> Any:
    """Forty variants in linkage; 8 and 25 act, and 9 is nearly a copy of 8."""
    rng = np.random.default_rng(3)
    latent = rng.standard_normal((2, 40, 800))
    for v in range(1, 40):
        latent[:, v] = 0.9 * latent[:, v - 1] + np.sqrt(1 - 0.81) * latent[:, v]
    calls = (latent > 0.4).sum(axis=0).astype(np.int8)
    calls[9] = calls[8]
    calls[9, :3] = 2 - calls[9, :3]
    covariates = rng.standard_normal((800, 2))
    y = 0.7 * calls[8] + 0.5 * calls[25] + covariates[:, 0] + rng.standard_normal(800)
    source = open_genotypes(write_genotypes(calls))
    matched, *_ = study(source, tmp_path, y, covariates)
    return source, matched, calls, y, covariates


def test_both_signals_of_a_locus_are_found_and_no_third(two_signals: Any) -> None:
    source, matched, *_ = two_signals
    found, scans = stepwise_signals(source, matched, "y0", np.arange(40), p=1e-6)
    assert sorted(found.variants.tolist()) == [8, 25]
    assert len(scans) == 3
    assert np.nanmax(scans[2].neg_log_10_p) < 6


def test_the_joint_model_is_least_squares(two_signals: Any, least_squares: Any) -> None:
    source, matched, calls, y, covariates = two_signals
    found, _ = stepwise_signals(source, matched, "y0", np.arange(40), p=1e-6)
    design = np.column_stack([np.ones(800), covariates, calls[found.variants].T])
    beta, error, _ = least_squares(y, design)
    np.testing.assert_allclose(found.joint_beta, beta[3:], rtol=1e-9)
    np.testing.assert_allclose(found.joint_error, error[3:], rtol=1e-9)


def test_a_copy_of_a_signal_is_no_second_one(two_signals: Any) -> None:
    source, matched, *_ = two_signals
    assert explained(source, matched, 9, [8]) > 0.95
    found, _ = stepwise_signals(source, matched, "y0", np.array([8, 9]), p=0.999)
    assert len(found) == 1


def test_summary_statistics_hold_the_regression_where_nothing_is_missing(
    two_signals: Any,
) -> None:
    source, matched, _, y, covariates = two_signals
    scan = conditional_scan(source, matched, "y0", np.arange(40))
    basis = orthonormal_basis(covariates)
    left = y - basis @ (basis.T @ y)
    made = residual_products(source, matched.rows, np.arange(40), basis, left[:, None])
    given = moments(scan.beta, scan.standard_error, scan.n.astype(float), made.r, removed=4)
    found = summary_signals(given, p=1e-6)
    own, _ = stepwise_signals(source, matched, "y0", np.arange(40), p=1e-6)
    assert np.array_equal(found.variants, own.variants)
    for name in ("conditional", "joint"):
        for what in ("beta", "error", "neg_log_10_p"):
            ours, theirs = getattr(found, f"{name}_{what}"), getattr(own, f"{name}_{what}")
            np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    beta, error, strength = conditional_fit(given, [8, 25])
    exact = conditional_scan(source, matched, "y0", np.arange(40), [8, 25])
    some = np.isfinite(beta) & np.isfinite(exact.beta)
    assert some.sum() >= 37
    np.testing.assert_allclose(beta[some], exact.beta[some], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(error[some], exact.standard_error[some], rtol=1e-4)
    np.testing.assert_allclose(strength[some], exact.neg_log_10_p[some], rtol=1e-3, atol=1e-4)


def test_one_variant_alone_is_as_in_the_scan() -> None:
    beta, error, n = np.array([0.3, -0.2]), np.array([0.05, 0.04]), np.array([500.0, 500.0])
    given = moments(beta, error, n, np.eye(2))
    for fit in (joint_fit(given, [0]), conditional_fit(given, [])):
        np.testing.assert_allclose(fit[0][0] / fit[1][0], 0.3 / 0.05, rtol=1e-12)


def test_no_signal_is_no_signal() -> None:
    given = moments(np.full(5, 0.01), np.full(5, 0.05), np.full(5, 400.0), np.eye(5))
    assert len(summary_signals(given)) == 0


def test_sums_that_cannot_be_are_refused() -> None:
    with pytest.raises(LeadlightError, match="don't fit"):
        moments(np.zeros(3), np.ones(3), np.full(3, 100.0), np.eye(2))
    with pytest.raises(LeadlightError, match="error is not positive"):
        moments(np.zeros(2), np.zeros(2), np.full(2, 100.0), np.eye(2))
