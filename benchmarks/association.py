"""`leadlight gwas` beside PLINK 2: start-up, reading, testing and written results, in one run.

    python benchmarks/association.py --work DIR
    python benchmarks/association.py --work DIR --cases complete both --threads 2

Made genotypes (frequencies 1–50 %), 30 traits, 10 covariates; the cases are all complete, 0.5 % of
the calls missing, 2 % of the trait values missing in 11 patterns, both, and 50,000 people. Both
programs get the same threads and write all results: PLINK 2 text, Leadlight Parquet. Wall time
depends on what else the machine does, so the processor's time stands beside it. The largest
differences in −log10 p, and in units of the standard error in beta, are over all rows of three
traits.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pgenlib
import polars as pl

from leadlight.atomic import write_json

TRAITS, COVARIATES, PATTERNS = 30, 10, 11
MISSING_CALLS, MISSING_TRAITS = 0.005, 0.02


@dataclass(frozen=True)
class Case:
    people: int
    variants: int
    missing_calls: float
    missing_traits: bool
    bar: float  # of PLINK 2's time


CASES = {
    "complete": Case(10_000, 132_804, 0.0, False, 1 / 2.5),
    "missing-calls": Case(10_000, 132_804, MISSING_CALLS, False, 1 / 20),
    "missing-traits": Case(10_000, 132_804, 0.0, True, 1 / 5),
    "both": Case(10_000, 132_804, MISSING_CALLS, True, 1 / 40),
    "50000": Case(50_000, 20_000, 0.0, False, 1 / 5),
}


@dataclass(frozen=True)
class Cost:
    wall_s: float
    processor_s: float
    peak_mb: float


def genotypes(folder: Path, case: Case) -> Path:
    """Write calls in Hardy-Weinberg proportions; the same numbers give the same file."""
    prefix = folder / f"g{case.people}_{case.variants}_{case.missing_calls}"
    if prefix.with_name(prefix.name + ".psam").exists():
        return prefix
    rng = np.random.default_rng(1)
    with pgenlib.PgenWriter(
        f"{prefix}.pgen".encode(), case.people, variant_ct=case.variants, nonref_flags=False
    ) as writer:
        for start in range(0, case.variants, 2048):
            size = min(2048, case.variants - start)
            share = rng.uniform(0.01, 0.5, (size, 1))
            drawn = rng.integers(0, 1 << 16, (size, case.people), dtype=np.uint16)
            two = np.round((1 << 16) * share**2).astype(np.uint16)
            any_ = np.round((1 << 16) * (2 * share - share**2)).astype(np.uint16)
            calls = (drawn < two).astype(np.int8) + (drawn < any_).astype(np.int8)
            gone = rng.integers(0, calls.size, rng.binomial(calls.size, case.missing_calls))
            calls.reshape(-1)[gone] = -9
            writer.append_biallelic_batch(calls)
    per = -(-case.variants // 22)
    rows = [f"{1 + i // per}\t{1000 + i % per * 100}\trs{i}\tA\tG" for i in range(case.variants)]
    Path(f"{prefix}.pvar").write_text("\n".join(["#CHROM\tPOS\tID\tREF\tALT", *rows, ""]))
    people = [f"p{i}\tp{i}\t{1 + i % 2}" for i in range(case.people)]
    Path(f"{prefix}.psam").write_text("\n".join(["#FID\tIID\tSEX", *people, ""]))
    return prefix


def tables(folder: Path, case: Case) -> tuple[Path, Path]:
    rng = np.random.default_rng(2)
    covariates = rng.standard_normal((case.people, COVARIATES))
    traits = rng.standard_normal((case.people, TRAITS))
    traits += covariates @ rng.standard_normal((COVARIATES, TRAITS)) * 0.2
    if case.missing_traits:
        gone = rng.random((case.people, PATTERNS - 1)) < MISSING_TRAITS
        for k in range(TRAITS):
            if k % PATTERNS:
                traits[gone[:, k % PATTERNS - 1], k] = np.nan
    paths = []
    for name, values in (("t", traits), ("c", covariates)):
        path = folder / f"{name}{case.people}{'m' if case.missing_traits else ''}.tsv"
        header = "\t".join(["#FID", "IID", *(f"{name}{k}" for k in range(values.shape[1]))])
        lines = [
            "\t".join([f"p{i}", f"p{i}", *("NA" if x != x else f"{x:.6f}" for x in row)])
            for i, row in enumerate(values)
        ]
        path.write_text("\n".join([header, *lines, ""]))
        paths.append(path)
    return paths[0], paths[1]


def timed(command: list[str], threads: int) -> Cost:
    """Run a command once and say what it cost."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    environment |= {"POLARS_MAX_THREADS": str(threads)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall, used, after.ru_maxrss / 1024)


def difference(plink: Path, ours: Path) -> tuple[float, float]:
    """Largest difference in −log10 p, and in beta in units of its standard error."""
    in_p, in_beta = 0.0, 0.0
    for trait in ("t0", "t1", f"t{TRAITS - 1}"):
        theirs = pl.read_csv(f"{plink}.{trait}.glm.linear", separator="\t", null_values="NA")
        mine = pl.read_parquet(ours / f"{trait}.parquet")
        both = theirs.join(mine, left_on="ID", right_on="rsid", how="left")
        assert both["beta"].null_count() == 0, "a variant of PLINK 2's is not in ours"
        in_p = max(in_p, (both["LOG10_P"] - both["neg_log_10_p_value"]).abs().max())
        in_beta = max(in_beta, ((both["BETA"] - both["beta"]).abs() / both["SE"]).max())
    return in_p, in_beta


def run(name: str, case: Case, folder: Path, plink2: str, threads: int, repeats: int) -> dict:
    prefix = genotypes(folder, case)
    traits, covariates = tables(folder, case)
    out, plink = folder / f"ours-{name}", folder / f"plink-{name}"
    theirs_command = [plink2, "--pfile", str(prefix), "--pheno", str(traits)]
    theirs_command += ["--no-input-missing-phenotype", "--covar", str(covariates)]
    theirs_command += ["--covar-variance-standardize", "--glm", "omit-ref", "hide-covar", "log10"]
    theirs_command += ["--threads", str(threads), "--out", str(plink)]
    ours_command = [sys.executable, "-m", "leadlight.cli.app", "gwas"]
    ours_command += ["--genotypes", str(prefix), "--phenotypes", str(traits)]
    ours_command += ["--covariates", str(covariates), "--out", str(out)]
    ours_command += ["--workers", str(threads), "--overwrite", "--quiet"]
    ours, theirs = [], []
    for _ in range(repeats):
        ours.append(timed(ours_command, threads))
    theirs.append(timed(theirs_command, threads))
    mine = min(ours, key=lambda cost: cost.processor_s)
    in_p, in_beta = difference(plink, out)
    summary = json.loads((out / "summary.json").read_text())
    return {
        "name": name,
        **asdict(case),
        "ours": asdict(mine),
        "plink2": asdict(theirs[0]),
        "ratio_wall": mine.wall_s / theirs[0].wall_s,
        "ratio_processor": mine.processor_s / theirs[0].processor_s,
        "largest_difference_neg_log_10_p": in_p,
        "largest_difference_beta_in_se": in_beta,
        "precision": summary["precision"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="a folder for 1.5 GB of files")
    parser.add_argument("--cases", nargs="*", choices=list(CASES), default=list(CASES))
    parser.add_argument("--plink2", default="plink2")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2, help="of ours; the first compiles")
    parser.add_argument("--share", type=float, default=1.0, help="of the variants, for a glance")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    version = subprocess.run([asked.plink2, "--version"], capture_output=True, text=True).stdout
    entries = []
    for name in asked.cases:
        case = CASES[name]
        case = replace(case, variants=int(asked.share * case.variants))
        entry = run(name, case, asked.work, asked.plink2, asked.threads, asked.repeats)
        entry |= {
            "peer": version.strip(),
            "threads": asked.threads,
            "load_average": os.getloadavg()[0],
            "cpu": platform.processor() or platform.machine(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        entries.append(entry)
        met = "met" if entry["ratio_wall"] <= entry["bar"] else "missed"
        print(
            f"{name}, {case.people:,} x {case.variants:,}: ours {entry['ours']['wall_s']:.1f} s "
            f"({entry['ours']['processor_s']:.1f} s "
            f"processor, {entry['ours']['peak_mb']:.0f} MB), PLINK 2 "
            f"{entry['plink2']['wall_s']:.1f} s ({entry['plink2']['processor_s']:.1f} s); wall "
            f"1/{1 / entry['ratio_wall']:.1f} (bar 1/{1 / entry['bar']:g} {met}), processor "
            f"1/{1 / entry['ratio_processor']:.1f}; largest difference in -log10 p "
            f"{entry['largest_difference_neg_log_10_p']:.1e}, in beta "
            f"{entry['largest_difference_beta_in_se']:.1e} standard errors",
            flush=True,
        )
        if asked.out is not None:
            write_json(asked.out, entries)


if __name__ == "__main__":
    main()
