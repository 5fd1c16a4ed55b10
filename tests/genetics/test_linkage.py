"""r and r² of counts and haplotypes: against plain formulas, slow EM, PLINK 1.9 and PLINK 2."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadlight.errors import LeadlightError
from leadlight.genetics.designs import orthonormal_basis
from leadlight.genetics.genotypes import open_genotypes
from leadlight.genetics.linkage import Linkage, founders, residual_products
from leadlight.genetics.linkage_kernels import correlation, haplotype_correlation


@pytest.fixture(scope="module")
def plink1() -> str:
    found = shutil.which("plink1.9") or shutil.which("plink")
    if found is None:
        pytest.skip("PLINK 1.9 is not installed")
    return found


def linked_calls(
    rng: np.random.Generator, variants: int, people: int, missing: float = 0.0
) -> np.ndarray:
    """(variant, person) int8 calls of neighbours in linkage."""
    calls = np.zeros((variants, people), dtype=np.int8)
    for _ in range(2):
        latent = rng.standard_normal((variants, people))
        for v in range(1, variants):
            latent[v] = 0.8 * latent[v - 1] + 0.6 * latent[v]
        calls += (latent > rng.normal(0, 0.8, (variants, 1))).astype(np.int8)
    calls[rng.random(calls.shape) < missing] = -9
    return calls


def by_the_formula(first: np.ndarray, second: np.ndarray) -> float:
    both = (first >= 0) & (second >= 0)
    a, b = first[both].astype(float), second[both].astype(float)
    if not len(a) or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.02, 0.3]))
def test_r_is_pearsons_over_the_people_with_both_calls(seed: int, missing: float) -> None:
    calls = linked_calls(np.random.default_rng(seed), 6, 40, missing)
    expected = [[by_the_formula(a, b) for b in calls] for a in calls]
    np.testing.assert_allclose(correlation(calls, calls), expected, atol=1e-12)


def test_dosages_and_whole_counts_agree() -> None:
    calls = linked_calls(np.random.default_rng(1), 8, 60, 0.1)
    dosages = np.where(calls < 0, np.nan, calls).astype(np.float32)
    np.testing.assert_allclose(correlation(dosages, dosages), correlation(calls, calls), atol=1e-12)


def test_half_weight_counts_a_man_as_one_chromosome() -> None:
    """One chromosome written as 0 or 2 with weight ½ is a haplotype; two are a woman's sum."""
    rng = np.random.default_rng(2)
    haplotypes = rng.integers(0, 2, (2, 400))
    haplotypes[1, :250] = haplotypes[0, :250]
    women = haplotypes[:, :200].reshape(2, 100, 2).sum(axis=2)
    men = 2 * haplotypes[:, 200:]
    calls = np.concatenate([women, men], axis=1).astype(np.int8)
    weights = np.concatenate([np.ones(100), np.full(200, 0.5)])
    covariance = np.cov(calls.astype(float), aweights=weights)
    expected = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
    assert correlation(calls[:1], calls[1:], weights)[0, 0] == pytest.approx(expected, abs=1e-12)
    # Of men alone the haplotypes are known, and both measures are their correlation.
    only = np.full(200, 0.5)
    known = np.corrcoef(haplotypes[:, 200:])[0, 1]
    own = men.astype(np.int8)
    assert correlation(own[:1], own[1:], only)[0, 0] == pytest.approx(known, abs=1e-12)
    assert haplotype_correlation(own[:1], own[1:], only)[0, 0] == pytest.approx(known, abs=1e-12)


def expectation_maximisation(a: np.ndarray, b: np.ndarray) -> float:
    """r² of haplotypes by the slow way, started from many places, the likeliest kept."""
    both = (a >= 0) & (b >= 0)
    a, b = a[both].astype(int), b[both].astype(int)
    n = len(a)
    p, q = a.mean() / 2, b.mean() / 2
    if not (0 < p < 1 and 0 < q < 1):
        return float("nan")
    table = np.zeros((3, 3))
    np.add.at(table, (a, b), 1)
    known = 2 * table[2, 2] + table[2, 1] + table[1, 2]
    best, value = -np.inf, 0.0
    for start in np.linspace(0.02, 0.98, 9):
        x = max(p + q - 1, 0) + start * (min(p, q) - max(p + q - 1, 0))
        for _ in range(3000):
            coupled, repelled = x * (1 - p - q + x), (p - x) * (q - x)
            share = coupled / (coupled + repelled) if coupled + repelled > 0 else 0.5
            x = (known + table[1, 1] * share) / (2 * n)
        four = np.array([[1 - p - q + x, q - x], [p - x, x]])
        likelihood = 0.0
        for i in range(3):
            for j in range(3):
                chance = sum(
                    four[s, t] * four[i - s, j - t]
                    for s in (0, 1)
                    for t in (0, 1)
                    if 0 <= i - s <= 1 and 0 <= j - t <= 1
                )
                if table[i, j]:
                    likelihood += table[i, j] * np.log(max(chance, 1e-300))
        if likelihood > best + 1e-9:
            best, value = likelihood, (x - p * q) ** 2 / (p * (1 - p) * q * (1 - q))
    return float(value)


def test_haplotype_r2_is_that_of_the_likeliest_frequencies() -> None:
    calls = linked_calls(np.random.default_rng(3), 6, 80, 0.05)
    found = haplotype_correlation(calls, calls) ** 2
    for i in range(6):
        for j in range(i):
            assert found[i, j] == pytest.approx(
                expectation_maximisation(calls[i], calls[j]), abs=1e-6
            )


def test_a_constant_variant_has_no_linkage(write_genotypes: Callable[..., Path]) -> None:
    calls = linked_calls(np.random.default_rng(4), 4, 50)
    calls[2] = 1
    source = open_genotypes(write_genotypes(calls))
    with Linkage(source) as linkage:
        r = linkage.r(np.arange(4), np.arange(4))
        assert np.isnan(r[2]).all()
        whole = linkage.matrix(np.arange(4), size=3)
    assert whole[2, 2] == 1
    assert whole[2, 0] == 0


@pytest.mark.parametrize("measure", ["counts", "haplotypes"])
def test_a_lead_with_the_variants_held_is_a_row_of_r(
    write_genotypes: Callable[..., Path], measure: str
) -> None:
    calls = linked_calls(np.random.default_rng(5), 20, 90, 0.03)
    source = open_genotypes(write_genotypes(calls))
    numbers = np.arange(3, 18)
    with Linkage(source, measure=measure) as linkage:
        expected = linkage.r(np.array([7]), numbers)[0] ** 2
        linkage.hold(numbers)
        some = linkage.r2_with(7, np.array([0, 5, 9]))
        np.testing.assert_allclose(some, expected[[0, 5, 9]], atol=1e-12)
        np.testing.assert_allclose(
            linkage.r2_with(7, np.arange(len(numbers))), expected, atol=1e-12
        )


def test_children_are_left_out(tmp_path: Path, write_genotypes: Callable[..., Path]) -> None:
    calls = linked_calls(np.random.default_rng(6), 3, 5)
    prefix = write_genotypes(calls)
    rows = ["#FID\tIID\tPAT\tMAT\tSEX", "f\ta\t0\t0\t1", "f\tb\t0\t0\t2", "f\tc\ta\tb\t1"]
    rows += ["f\td\t0\tb\t2", "f\te\t0\t0\t0"]
    Path(f"{prefix}.psam").write_text("\n".join([*rows, ""]))
    assert founders(open_genotypes(prefix)).tolist() == [0, 1, 4]


def test_linkage_among_nobody_is_refused(write_genotypes: Callable[..., Path]) -> None:
    source = open_genotypes(write_genotypes(linked_calls(np.random.default_rng(7), 3, 5)))
    with pytest.raises(LeadlightError, match="Linkage among 1 people"):
        Linkage(source, np.array([2], dtype=np.uint32))


def test_linkage_after_covariates_is_that_of_residuals(
    write_genotypes: Callable[..., Path],
) -> None:
    rng = np.random.default_rng(8)
    calls = linked_calls(rng, 12, 200)
    source = open_genotypes(write_genotypes(calls))
    covariates = np.column_stack([rng.standard_normal(200), calls[0] + rng.standard_normal(200)])
    basis = orthonormal_basis(covariates)
    trait = rng.standard_normal(200)
    trait -= basis @ (basis.T @ trait)
    trait /= np.sqrt(trait @ trait)
    made = residual_products(
        source, np.arange(200, dtype=np.uint32), np.arange(12), basis, trait[:, None]
    )
    left = calls - (calls @ basis) @ basis.T
    np.testing.assert_allclose(made.r, np.corrcoef(left), atol=1e-6)
    np.testing.assert_allclose(made.squares, (left**2).sum(axis=1), rtol=1e-6)
    np.testing.assert_allclose(made.products[:, 0], left @ trait, atol=1e-6)
    assert made.complete


def test_r2_of_europeans_is_plink_1s(shared_data: Path, plink1: str, tmp_path: Path) -> None:
    prefix = shared_data / "genotypes" / "kg_eur_489_bed" / "1000G.subset.15"
    words = [plink1, "--bfile", str(prefix), "--r2", "square", "bin", "--threads", "1"]
    subprocess.run([*words, "--out", str(tmp_path / "p")], check=True, capture_output=True)
    source = open_genotypes(prefix)
    count = len(source.variants)
    theirs = np.fromfile(tmp_path / "p.ld.bin").reshape(count, count)
    with Linkage(source) as linkage:
        ours = np.concatenate(
            [
                linkage.r(np.arange(s, min(s + 400, count)), np.arange(count))
                for s in range(0, count, 400)
            ]
        )
    known = np.isfinite(ours)
    assert np.array_equal(known, np.isfinite(theirs))
    assert np.abs(ours[known] ** 2 - theirs[known]).max() < 1e-9


@pytest.mark.parametrize("chromosome", ["21", "X"])
def test_r_with_missing_calls_and_on_x_is_plink_1s(
    shared_data: Path, plink1: str, tmp_path: Path, chromosome: str
) -> None:
    prefix = shared_data / "genotypes" / "hapmap3_957_bed" / "data"
    source = open_genotypes(prefix)
    names = np.array(source.variants.table["chromosome"].to_pylist())
    numbers = np.flatnonzero((names == chromosome) & (source.variants.kind == (chromosome == "X")))
    # On X PLINK 1.9 can count men as 0 or 2, but not with half the weight.
    words = [plink1, "--bfile", str(prefix), "--r", "square", "bin", "--ld-xchr", "2"]
    words += ["--chr", "23" if chromosome == "X" else chromosome, "--out", str(tmp_path / "p")]
    subprocess.run(words, check=True, capture_output=True)
    theirs = np.fromfile(tmp_path / "p.ld.bin").reshape(len(numbers), len(numbers))
    with Linkage(source, np.arange(len(source.people), dtype=np.uint32)) as linkage:
        calls = linkage.read(numbers)
    assert (calls < 0).any()
    ours = correlation(calls, calls)
    known = np.isfinite(ours) & np.isfinite(theirs)
    assert known.mean() > 0.95
    assert np.abs(np.abs(ours[known]) - np.abs(theirs[known])).max() < 1e-6


def test_haplotype_r2_is_plink_2s(shared_data: Path, plink2: str, tmp_path: Path) -> None:
    prefix = shared_data / "genotypes" / "kg_eur_489_bed" / "1000G.subset.22"
    source = open_genotypes(prefix)
    ids = source.variants.table["rsid"].to_pylist()
    for i, j in ((10, 12), (100, 109), (400, 401), (900, 950), (1500, 1523)):
        said = subprocess.run(
            [plink2, "--bfile", str(prefix), "--ld", ids[i], ids[j], "--out", str(tmp_path / "p")],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        theirs = [float(word) for word in re.findall(r"r\^2 = (\S+)", said)]
        with Linkage(source, measure="haplotypes") as linkage:
            ours = linkage.r(np.array([i]), np.array([j]))[0, 0] ** 2
        assert min(abs(ours - value) for value in theirs) < 1e-5
