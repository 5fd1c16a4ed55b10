import math
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadlight.errors import LeadlightError
from leadlight.genetics.genotypes import open_genotypes
from leadlight.genetics.linear_kernels import prepare_calls
from leadlight.genetics.variant_filters import REASONS, VariantFilter, hwe_exact_p
from leadlight.genetics.variant_tables import X_LINKED


def exact(heterozygous: int, one: int, two: int) -> float:
    """The definition, in fractions: all heterozygote counts no likelier than the observed one."""
    n, rare = heterozygous + one + two, heterozygous + 2 * min(one, two)
    ways = {}
    for h in range(rare % 2, rare + 1, 2):
        a = (rare - h) // 2
        b = n - h - a
        if b >= 0:
            down = math.factorial(a) * math.factorial(h) * math.factorial(b)
            ways[h] = Fraction(2**h * math.factorial(n), down)
    total = sum(ways.values())
    return float(sum(w for w in ways.values() if w <= ways[heterozygous]) / total)


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_the_hardy_weinberg_p_is_the_exact_sum(h: int, a: int, b: int) -> None:
    if h + a + b:
        got = hwe_exact_p(np.array([h]), np.array([a]), np.array([b]))[0]
        assert got == pytest.approx(exact(h, a, b), rel=1e-9)


def counts_of(calls: np.ndarray, male: np.ndarray, by_sex: bool) -> np.ndarray:
    counts = np.empty((len(calls), 6))
    out, flipped = np.empty(calls.shape), np.empty(len(calls), dtype=np.uint8)
    first = np.empty(len(calls) + 1, dtype=np.int64)
    prepare_calls(calls, male, by_sex, out, counts, flipped, first)
    return counts


@pytest.mark.parametrize(("chromosomes", "min_hwe_p"), [("1-22", 1e-10), ("X", 0.0)])
def test_filters_are_plink_2s(
    shared_data: Path, plink2: str, tmp_path: Path, chromosomes: str, min_hwe_p: float
) -> None:
    """But for Hardy-Weinberg on X: PLINK 2 looks at men's allele counts too, this at women."""
    prefix = shared_data / "genotypes" / "hapmap3_957_bed" / "data"
    words = ["--maf", "0.08", "--geno", "0.002", "--hwe", str(min_hwe_p), "--chr", chromosomes]
    command = [plink2, "--bfile", str(prefix), *words, "--write-snplist"]
    subprocess.run([*command, "--out", str(tmp_path / "p")], check=True, capture_output=True)
    source = open_genotypes(prefix)
    table = source.variants.table
    on_x = np.array(table["chromosome"].to_pylist()) == "X"
    by_sex = chromosomes == "X"
    numbers = np.flatnonzero(source.variants.kind == X_LINKED if by_sex else ~on_x)
    numbers = numbers[np.array(table["chromosome"].to_pylist())[numbers] != "MT"]
    with source.reader() as reader:
        male = (source.people.sex == 1).astype(np.uint8)
        counts = counts_of(reader.read(numbers), male, by_sex)
    failed = VariantFilter(min_maf=0.08, max_missing=0.002, min_hwe_p=min_hwe_p).failed(
        counts, len(male), by_sex=by_sex, dosages=np.zeros(len(numbers), dtype=bool)
    )
    assert len(set(failed.tolist())) >= 3
    theirs = set((tmp_path / "p.snplist").read_text().split())
    assert set(table["rsid"].take(numbers[failed < 0]).to_pylist()) == theirs


def test_info_is_the_variance_that_calling_left() -> None:
    rng = np.random.default_rng(0)
    sure = rng.binomial(2, 0.3, 4000).astype(np.float32)
    blurred = (0.5 * sure + 0.3).astype(np.float32)  # a quarter of the variance, the same mean
    counts = counts_of(np.stack([sure, blurred]), np.zeros(4000, np.uint8), False)
    failed = VariantFilter(min_info=0.5).failed(
        counts, 4000, by_sex=False, dosages=np.array([True, True])
    )
    assert failed.tolist() == [-1, REASONS.index("INFO")]


@pytest.mark.parametrize("values", [{"min_maf": 2}, {"max_missing": -0.1}, {"min_mac": -1}])
def test_thresholds_that_make_no_sense_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(LeadlightError, match=next(iter(values))):
        VariantFilter(**values)
