"""Making a genotyped study: time by stage, memory, calibration, and likeness to real genotypes.

    python benchmarks/simulate.py --study /tmp/biobank                    # make it, then look at it
    python benchmarks/simulate.py --study /tmp/biobank --only-check --real 1000G.subset

Making runs the command line as its own process and watches it from outside: CPU seconds and
resident memory are of all its processes together, stages are told by what has appeared in the study
folder. A study that is there unfinished is gone on with.

Looking gives, in unrelated people with covariates and principal components: lambda GC on the null
chromosomes (an own linear scan for all traits and many more null traits, and plink2 --glm for the
study's own), estimates of planted effects against their truth, KING kinship by relationship,
linkage by distance, and allele frequencies; the last two beside real Europeans where --real names
PLINK 1 files (`PREFIX.1.bed` to `PREFIX.22.bed`).
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pgenlib
import polars as pl
from scipy import stats

from leadlight.simulate.covariates import CONFOUNDED, NULL_TRAITS
from leadlight.simulate.genome import NULL_CHROMOSOMES
from leadlight.simulate.genotype_files import read_blocks
from leadlight.simulate.traits import TRAIT_NAMES

PAGE, TICKS = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
STAGES = ("chromosomes", "effects and tables", "genotype files", "recordings")


def make(study: Path, people: int, variants: int, seed: int, workers: int) -> None:
    """Run `leadlight simulate`, and print time, CPU seconds and memory by stage."""
    command = [sys.executable, "-m", "leadlight.cli.app", "simulate", "--study", str(study),
               "--people", str(people), "--variants", str(variants), "--seed", str(seed),
               "--workers", str(workers), "--quiet"]  # fmt: skip
    print("$ leadlight " + " ".join(command[3:]))
    started = time.monotonic()
    process = subprocess.Popen(command)
    partial = study / ".simulate.partial"
    marks: list[tuple[str, float, float]] = []
    cpu_s, peak = 0.0, dict.fromkeys(STAGES, 0)
    stage = _stage(partial)
    while process.poll() is None:
        now = _stage(partial)
        if now != stage:
            marks.append((stage, time.monotonic() - started, cpu_s))
            stage = now
        cpu, resident = _tree(process.pid)
        cpu_s = max(cpu_s, cpu)
        peak[stage] = max(peak[stage], resident)
        time.sleep(0.1)
    marks.append((stage, time.monotonic() - started, cpu_s))
    if process.returncode:
        sys.exit(process.returncode)
    wall_before, cpu_before = 0.0, 0.0
    for name, wall, cpu in marks:
        print(
            f"{name:<20}{wall - wall_before:>8.0f} s wall{cpu - cpu_before:>8.0f} s CPU"
            f"{peak[name] / 1e9:>7.2f} GB at most"
        )
        wall_before, cpu_before = wall, cpu
    print(
        f"{'together':<20}{wall_before:>8.0f} s wall{cpu_before:>8.0f} s CPU"
        f"{max(peak.values()) / 1e9:>7.2f} GB at most; load {os.getloadavg()[1]:.1f}"
    )
    size = sum(path.stat().st_size for path in study.rglob("*") if path.is_file())
    print(f"the study takes {size / 1e9:.2f} GB")


def _stage(partial: Path) -> str:
    if (partial / "genotypes").exists() or (partial / "ready").exists():
        return STAGES[3]
    if (partial / "tables").exists():
        return STAGES[2]
    hidden = [path.name for path in partial.glob(".tables*")] if partial.exists() else []
    return STAGES[1] if hidden else STAGES[0]


def _tree(root: int) -> tuple[float, int]:
    """CPU seconds (children that ended included) and resident bytes of a process and its own."""
    parents, found = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(") ")[2].split()
                resident = int((entry / "statm").read_text().split()[1]) * PAGE
            except (OSError, IndexError):
                continue
            parents[int(entry.name)] = int(fields[1])
            found[int(entry.name)] = (sum(map(int, fields[11:15])) / TICKS, resident)
    members, grew = {root}, True
    while grew:
        more = {pid for pid, parent in parents.items() if parent in members} - members
        members |= more
        grew = bool(more)
    mine = [found[pid] for pid in members if pid in found]
    return sum(cpu for cpu, _ in mine), sum(resident for _, resident in mine)


def check(study: Path, real: Path | None, extra_nulls: int) -> None:
    """Print what the study's genotypes and traits look like."""
    truth = {path.stem: pl.read_parquet(path) for path in (study / "truth").glob("*.parquet")}
    people, variants = truth["people"], truth["variants"]
    phenotypes = pl.read_parquet(study / "phenotypes.parquet")
    recorded = pl.read_parquet(study / "covariates.parquet")
    unrelated = people["unrelated"].to_numpy()
    print(f"{people.height} people ({unrelated.sum()} unrelated), {variants.height} variants")
    south = (people["subpopulation"] == "south").to_numpy()
    r = np.corrcoef(recorded["PC1"].to_numpy(), south)[0, 1]
    print(f"PC1 and subpopulation: r = {abs(r):.3f}")
    design = np.column_stack(
        [np.ones(people.height), *(recorded[name] for name in recorded.columns[1:])]
    )[unrelated]
    _calibration(study, phenotypes, variants, unrelated, design, extra_nulls)
    _planted(study, phenotypes, truth["effects"], variants, unrelated, design)
    if shutil.which("plink2"):
        _plink(study, phenotypes, recorded, unrelated)
        _kinship(study, truth["relatives"], people)
    _linkage_and_frequencies(study, variants, np.flatnonzero(unrelated), real)


def _calibration(
    study: Path,
    phenotypes: pl.DataFrame,
    variants: pl.DataFrame,
    unrelated: np.ndarray,
    design: np.ndarray,
    extra_nulls: int,
) -> None:
    rows = np.flatnonzero(variants["chromosome"].is_in(NULL_CHROMOSOMES).to_numpy())
    if not len(rows):
        print("no null chromosome was simulated")
        return
    rng = np.random.default_rng(0)
    groups = {
        "null traits of the study": phenotypes.select(NULL_TRAITS).to_numpy()[unrelated],
        f"{extra_nulls} more null traits": rng.standard_normal((unrelated.sum(), extra_nulls)),
        "the heart's traits": phenotypes.select(TRAIT_NAMES).to_numpy()[unrelated],
        "the confounded trait": phenotypes.select(CONFOUNDED).to_numpy()[unrelated],
    }
    everything = np.concatenate(list(groups.values()), axis=1)
    components = design.shape[1] - 10  # columns before the principal components
    for name, columns in (("with PCs", design), ("without PCs", design[:, :components])):
        chi2, minor = _scan(study, rows, unrelated, everything, columns)
        print(f"lambda GC on {len(rows)} variants of null chromosomes, {name}:")
        start = 0
        for group, values in groups.items():
            part = chi2[:, start : start + values.shape[1]]
            start += values.shape[1]
            for what, chosen in (("MAF >= 1 %", minor >= 0.01), ("rarer", minor < 0.01)):
                found = np.median(part[chosen], axis=0) / stats.chi2.median(1)
                error = found.std(ddof=1) / np.sqrt(len(found)) if len(found) > 1 else np.nan
                print(
                    f"  {group:<28}{what:<11}{found.mean():.4f} "
                    f"(95 % {found.mean() - 1.96 * error:.4f} to {found.mean() + 1.96 * error:.4f};"
                    f" one trait's SD {found.std():.3f})"
                )


def _scan(
    study: Path, rows: np.ndarray, unrelated: np.ndarray, traits: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(variant, trait) chi-squares of the linear model, and minor allele frequencies."""
    basis = np.linalg.qr(columns)[0].astype(np.float32)
    y = traits - basis @ (basis.T @ traits)
    y = (y / np.linalg.norm(y, axis=0)).astype(np.float32)
    freedom = len(y) - basis.shape[1] - 1
    chi2, minor = [], []
    for calls in read_blocks(study / "genotypes" / "genotypes.pgen", rows.tolist()):
        g = calls[:, unrelated].astype(np.float32)
        mean = g.mean(axis=1) / 2
        along = g @ basis
        left = np.maximum((g**2).sum(axis=1) - (along**2).sum(axis=1), 1e-3)
        r2 = (g @ y) ** 2 / left[:, None]
        chi2.append(freedom * r2 / (1 - r2))
        minor.append(np.minimum(mean, 1 - mean))
    return np.concatenate(chi2), np.concatenate(minor)


def _planted(
    study: Path,
    phenotypes: pl.DataFrame,
    effects: pl.DataFrame,
    variants: pl.DataFrame,
    unrelated: np.ndarray,
    design: np.ndarray,
) -> None:
    chosen = effects.filter(
        ~pl.col("kind").is_in(["polygenic", "rare"])
        & pl.col("sex").is_null()
        & pl.col("outcome").is_in(TRAIT_NAMES)
    )
    place = {name: row for row, name in enumerate(variants["id"])}
    basis = np.linalg.qr(design)[0]
    covered, found, promised = [], [], []
    for (outcome,), rows in chosen.group_by("outcome", maintain_order=True):
        calls = np.concatenate(
            [
                next(read_blocks(study / "genotypes" / "genotypes.pgen", [place[name]]))
                for name in rows["variant"]
            ]
        )[:, unrelated].astype(float)
        y = phenotypes[str(outcome)].to_numpy()[unrelated]
        y, g = y - basis @ (basis.T @ y), calls - (calls @ basis) @ basis.T
        inverse = np.linalg.inv(g @ g.T)  # all signals of the trait together
        beta = inverse @ (g @ y)
        left = ((y - beta @ g) ** 2).sum() / (len(y) - basis.shape[1] - len(g))
        error = np.sqrt(left * np.diag(inverse))
        covered += (np.abs(beta - rows["beta"].to_numpy()) < 1.96 * error).tolist()
        found += ((beta / error) ** 2).tolist()
        promised += (rows["non_centrality"] * len(y) / len(unrelated) + 1).to_list()
    print(
        f"planted effects of both sexes: {sum(covered)} of {len(covered)} within their 95 % "
        f"interval; sum of chi-squares {sum(found):.0f}, promised {sum(promised):.0f} +- "
        f"{1.96 * np.sqrt(2 * (2 * sum(promised) - len(promised))):.0f}"
    )


def _plink(
    study: Path, phenotypes: pl.DataFrame, recorded: pl.DataFrame, unrelated: np.ndarray
) -> None:
    keep = phenotypes["IID"].to_numpy()[unrelated]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "keep.txt").write_text("\n".join(["#IID", *keep]) + "\n")
        phenotypes.select("IID", *NULL_TRAITS, "r_progression", CONFOUNDED).write_csv(
            folder / "y.txt", separator="\t"
        )
        recorded.write_csv(folder / "c.txt", separator="\t")
        # fmt: off
        command = ["plink2", "--pfile", str(study / "genotypes" / "genotypes"),
                   "--keep", "keep.txt",
                   "--pheno", "y.txt", "--covar", "c.txt", "--covar-variance-standardize",
                   "--chr", ",".join(map(str, NULL_CHROMOSOMES)), "--maf", "0.01",
                   "--glm", "hide-covar", "cols=chrom,pos,tz", "--out", "g",
                   "--threads", "1"]
        # fmt: on
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        print("plink2 --glm on the same people, MAF >= 1 %:")
        for path in sorted(folder.glob("g.*.glm.linear")):
            t = pl.read_csv(path, separator="\t", null_values="NA")["T_STAT"].drop_nulls()
            print(
                f"  {path.name.split('.')[1]:<16}lambda GC "
                f"{float(np.median(t.to_numpy() ** 2)) / stats.chi2.median(1):.4f}"
            )


def _kinship(study: Path, relatives: pl.DataFrame, people: pl.DataFrame) -> None:
    alone = people.filter(~pl.col("IID").is_in([*relatives["first"], *relatives["second"]]))
    keep = sorted({*relatives["first"], *relatives["second"], *alone["IID"][:500]})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "keep.txt").write_text("\n".join(["#IID", *keep]) + "\n")
        # fmt: off
        subprocess.run(
            ["plink2", "--pfile", str(study / "genotypes" / "genotypes"), "--keep", "keep.txt",
             "--maf", "0.05", "--make-king-table", "--out", "k", "--threads", "1"],
            cwd=folder, check=True, capture_output=True,
        )
        # fmt: on
        table = pl.read_csv(folder / "k.kin0", separator="\t")
    first, second = (pl.col(table.columns[0]), pl.col("IID2" if "IID2" in table.columns else "ID2"))
    table = table.select(
        pl.min_horizontal(first, second).alias("first"),
        pl.max_horizontal(first, second).alias("second"),
        "KINSHIP",
    )
    joined = table.join(relatives, on=["first", "second"], how="left").with_columns(
        pl.col("relationship").fill_null("none"), pl.col("kinship").fill_null(0.0)
    )
    print(f"KING kinship (plink2, MAF >= 5 %) of {table.height} pairs:")
    for name, count, kinship, mean, spread in (
        joined.group_by("relationship")
        .agg(pl.len(), pl.col("kinship").first(), pl.col("KINSHIP").mean().alias("m"),
             pl.col("KINSHIP").std().alias("s"))
        .sort("kinship", descending=True)
        .rows()
    ):  # fmt: skip
        print(
            f"  {name:<18}{count:>8} pairs, pedigree {kinship:.4f}, "
            f"KING {mean:+.4f} SD {spread:.4f}"
        )


_DISTANCES_KB = (0, 1, 5, 10, 20, 50, 100, 200, 400, 800)
_FREQUENCIES = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)


def _linkage_and_frequencies(
    study: Path, variants: pl.DataFrame, unrelated: np.ndarray, real: Path | None
) -> None:
    sources = {}
    chosen = np.sort(np.random.default_rng(0).choice(unrelated, min(489, len(unrelated)), False))
    blocks = []
    for number in variants["chromosome"].unique(maintain_order=True):
        rows = np.flatnonzero((variants["chromosome"] == number).to_numpy())
        calls = np.concatenate(
            [
                b[:, chosen]
                for b in read_blocks(study / "genotypes" / "genotypes.pgen", rows.tolist())
            ]
        )
        blocks.append((calls, variants["position"].to_numpy()[rows]))
    sources["simulated"] = blocks
    if real is not None:
        sources["real"] = [_real_block(real, number) for number in range(1, 23)]
    print(f"mean r2 by distance, MAF >= 5 %, {len(chosen)} simulated people:")
    labels = [f"{a}-{b}" for a, b in pairwise(_DISTANCES_KB)]
    print(f"  {'kb':<12}" + "".join(f"{label:>9}" for label in labels))
    for name, found in sources.items():
        by_chromosome = np.array([_decay(calls, positions) for calls, positions in found])
        print(f"  {name:<12}" + "".join(f"{x:>9.3f}" for x in np.nanmean(by_chromosome, axis=0)))
    print("share of variants by minor allele frequency, among those of 1 % and more:")
    labels = [f"{a:g}-{b:g}" for a, b in pairwise(_FREQUENCIES)]
    print(f"  {'':<12}" + "".join(f"{label:>10}" for label in labels))
    for name, found in sources.items():
        minor = np.concatenate([_minor(calls) for calls, _ in found])
        counts = np.histogram(minor, _FREQUENCIES)[0]
        print(f"  {name:<12}" + "".join(f"{x:>10.3f}" for x in counts / counts.sum()))


def _real_block(prefix: Path, number: int) -> tuple[np.ndarray, np.ndarray]:
    stem = prefix.with_name(f"{prefix.name}.{number}")
    people = len(stem.with_name(stem.name + ".fam").read_text().splitlines())
    lines = stem.with_name(stem.name + ".bim").read_text().splitlines()
    positions = np.array([int(line.split()[3]) for line in lines])
    calls = np.empty((len(lines), people), dtype=np.int8)
    bed = str(stem.with_name(stem.name + ".bed")).encode()
    with pgenlib.PgenReader(bed, raw_sample_ct=people, variant_ct=len(lines)) as reader:
        reader.read_range(0, len(lines), calls)
    return calls, positions


def _minor(calls: np.ndarray) -> np.ndarray:
    known = calls >= 0
    p = np.where(known, calls, 0).sum(axis=1) / np.maximum(2 * known.sum(axis=1), 1)
    return np.minimum(p, 1 - p)


def _decay(calls: np.ndarray, positions: np.ndarray) -> list[float]:
    common = np.flatnonzero(_minor(calls) >= 0.05)[:2000]
    g = np.where(calls[common] < 0, 0, calls[common]).astype(np.float32)
    g -= g.mean(axis=1, keepdims=True)
    g /= np.linalg.norm(g, axis=1, keepdims=True)
    r2 = (g @ g.T) ** 2
    at = positions[common]
    apart = np.abs(at[:, None] - at[None, :]) / 1e3
    upper = np.triu(np.ones_like(r2, dtype=bool), 1)
    return [
        float(r2[upper & (apart >= a) & (apart < b)].mean())
        if (upper & (apart >= a) & (apart < b)).any()
        else np.nan
        for a, b in pairwise(_DISTANCES_KB)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--study", type=Path, required=True)
    parser.add_argument("--people", type=int, default=20_000)
    parser.add_argument("--variants", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only-check", action="store_true", help="look at a study that is there")
    parser.add_argument("--real", type=Path, help="PLINK 1 files of real people, one a chromosome")
    parser.add_argument("--null-traits", type=int, default=100, help="drawn beside the study's own")
    given = parser.parse_args()
    given.study = given.study.resolve()
    if not given.only_check:
        make(given.study, given.people, given.variants, given.seed, given.workers)
    check(given.study, given.real, given.null_traits)


if __name__ == "__main__":
    main()
