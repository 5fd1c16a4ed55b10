"""Clumps are PLINK's, and the same whether traits are clumped alone or together."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from leadlight.errors import LeadlightError
from leadlight.genetics.clumping import ClumpRule, clump, counted
from leadlight.genetics.genotypes import open_genotypes
from leadlight.genetics.linkage import Linkage
from leadlight.genetics.locus_table import VariantIndex, clumps_of, merge_loci
from leadlight.genetics.scan_files import ScanFile


@pytest.fixture(scope="module")
def plink1() -> str:
    found = shutil.which("plink1.9") or shutil.which("plink")
    if found is None:
        pytest.skip("PLINK 1.9 is not installed")
    return found


def plink_clumps(path: Path) -> dict[str, tuple[tuple[int, ...], set[str]]]:
    found = {}
    for line in path.read_text().splitlines()[1:]:
        words = line.split()
        if len(words) > 10:
            named = set() if words[11] == "NONE" else {w[:-3] for w in words[11].split(",")}
            found[words[2]] = (tuple(int(w) for w in words[5:11]), named)
    return found


@pytest.mark.parametrize(
    ("chromosome", "rule"),
    [
        ("1", ClumpRule(0.01, 0.05, 0.2, 100)),
        ("15", ClumpRule(0.001, 0.01, 0.5, 250)),
        ("21", ClumpRule(1e-2, 1e-2, 0.05, 1000)),
    ],
)
def test_clumps_are_plinks_down_to_every_member(
    shared_data: Path, plink1: str, tmp_path: Path, chromosome: str, rule: ClumpRule
) -> None:
    prefix = shared_data / "genotypes" / "kg_eur_489_bed" / f"1000G.subset.{chromosome}"
    source = open_genotypes(prefix)
    ids = source.variants.table["rsid"].to_pylist()
    positions = source.variants.table["base_pair_location"].to_numpy()
    # Two digits: many ties, and values that are the thresholds.
    rng = np.random.default_rng(int(chromosome))
    p = np.array([float(f"{10 ** -rng.exponential(1):.1g}") for _ in ids])
    report = tmp_path / "scan.txt"
    rows = [f"{ids[i]} {p[i]:.10g}" for i in rng.permutation(len(ids))]
    report.write_text("\n".join(["SNP P", *rows, ""]))
    words = [plink1, "--bfile", str(prefix), "--clump", str(report), "--threads", "1"]
    words += ["--clump-p1", str(rule.p1), "--clump-p2", str(rule.p2), "--clump-r2", str(rule.r2)]
    words += ["--clump-kb", str(rule.kb), "--out", str(tmp_path / "c")]
    subprocess.run(words, check=True, capture_output=True)
    theirs = plink_clumps(tmp_path / "c.clumped")
    strength = -np.log10(p)
    with Linkage(source, measure="haplotypes") as linkage:
        owner = clump(positions, strength, rule, np.arange(len(ids)), linkage)
    told = counted(owner, strength, rule)
    bins = ("total", "not_significant", "p_05", "p_01", "p_001", "p_0001")
    ours = {
        ids[lead]: (tuple(int(told[b][k]) for b in bins), {ids[m] for m in told["members"][k]})
        for k, lead in enumerate(told["lead"])
    }
    assert len(theirs) > 20
    assert ours == theirs
    assert list(ours) == list(theirs)


def test_by_distance_the_strongest_takes_all_that_is_near() -> None:
    positions = np.array([1_000, 2_000, 101_500, 250_000, 251_000])
    strength = np.array([9.0, 12.0, 8.0, 2.0, 10.0])
    owner = clump(positions, strength, ClumpRule(1e-5, 1e-2, 0.1, 100))
    assert owner.tolist() == [1, 1, 1, 4, 4]
    # 100 kb away is not nearer than 100 kb.
    owner = clump(np.array([0, 100_000]), np.array([9.0, 8.0]), ClumpRule(1e-5, 1, 0.1, 100))
    assert owner.tolist() == [0, 1]


def test_variants_without_genotypes_join_no_clump_of_linkage(
    write_genotypes: Callable[..., Path],
) -> None:
    rng = np.random.default_rng(1)
    one = rng.integers(0, 3, 100)
    calls = np.stack([one, one, one]).astype(np.int8)
    source = open_genotypes(write_genotypes(calls))
    positions, strength = np.arange(4) * 100, np.array([9.0, 8.0, 7.5, 7.0])
    with Linkage(source) as linkage:
        owner = clump(positions, strength, ClumpRule(), np.array([0, -1, 1, 2]), linkage)
    assert owner.tolist() == [0, -1, 0, 0]


def scan_table(path: Path, chromosome: list[str], places: list[int], p: list[float]) -> ScanFile:
    pl.DataFrame(
        {
            "chromosome": chromosome,
            "base_pair_location": places,
            "effect_allele": ["G"] * len(places),
            "other_allele": ["A"] * len(places),
            "beta": [0.1] * len(places),
            "standard_error": [0.01] * len(places),
            "effect_allele_frequency": [0.3] * len(places),
            "neg_log_10_p_value": p,
            "rsid": [f"v{chromosome[i]}_{places[i]}" for i in range(len(places))],
            "n": [100] * len(places),
        }
    ).write_parquet(path)
    return ScanFile("set", path.stem, path)


def test_traits_clumped_together_are_as_clumped_alone(
    tmp_path: Path, write_genotypes: Callable[..., Path]
) -> None:
    rng = np.random.default_rng(2)
    calls = np.repeat(rng.integers(0, 3, (20, 200)), 3, axis=0).astype(np.int8)
    calls[rng.random(calls.shape) < 0.1] = 0
    places = (1000 * (1 + np.arange(60))).tolist()
    source = open_genotypes(write_genotypes(calls, positions=places))
    scans = [
        scan_table(tmp_path / f"t{k}.parquet", ["1"] * 60, places, rng.exponential(4, 60).tolist())
        for k in range(3)
    ]
    index, rule = VariantIndex(source), ClumpRule(1e-4, 0.01, 0.2, 8)
    with Linkage(source) as linkage:
        together = clumps_of(scans, rule, index, linkage)
        alone = pl.concat([clumps_of([scan], rule, index, linkage) for scan in scans])
    columns = ["trait", "rsid", "total", "start", "end", "members"]
    key = ["trait", "base_pair_location"]
    assert together.height > 5
    assert together.sort(key).select(columns).equals(alone.sort(key).select(columns))
    assert together["by_linkage"].all()


def test_clumps_of_all_traits_that_lie_near_are_one_locus() -> None:
    clumps = pl.DataFrame(
        {
            "chromosome": ["2", "10", "2", "2"],
            "start": [500_000, 1, 100_000, 900_000],
            "end": [600_000, 5, 300_000, 950_000],
        }
    )
    found = merge_loci(clumps, within=250_000)
    assert [(one.number, one.chromosome, one.start, one.end, one.clumps) for one in found] == [
        (1, "2", 100_000, 600_000, (2, 0)),
        (2, "2", 900_000, 950_000, (3,)),
        (3, "10", 1, 5, (1,)),
    ]


def test_alleles_written_the_other_way_round_are_found(
    write_genotypes: Callable[..., Path],
) -> None:
    calls = np.random.default_rng(3).integers(0, 3, (3, 20)).astype(np.int8)
    source = open_genotypes(write_genotypes(calls))
    rows = pl.DataFrame(
        {
            "base_pair_location": [100, 200, 300, 400],
            "effect_allele": ["G", "A", "C", "G"],
            "other_allele": ["A", "G", "A", "A"],
        }
    )
    numbers, signs = VariantIndex(source).match("1", rows)
    assert numbers.tolist() == [0, 1, -1, -1]
    assert signs[:2].tolist() == [1, -1]


@pytest.mark.parametrize("words", [{"p1": 0}, {"r2": 1}, {"kb": 0}, {"p2": 2}])
def test_rules_that_make_no_sense_are_refused(words: dict[str, float]) -> None:
    with pytest.raises(LeadlightError):
        ClumpRule(**words)
