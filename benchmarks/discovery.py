"""What an association of simulated people finds of what was planted, and what of nothing.

    python benchmarks/discovery.py --study STUDY --gwas factors=DIR --gwas conventional=DIR
        [--null permuted=DIR]

STUDY was made by `leadlight simulate` with genomes; each DIR by `leadlight gwas --joint` of traits
of its people. A planted signal counts as found where its own variant passes 5e-8, divided by the
number of traits where the best single trait is asked, so that all ways have equal false positives.
Signals are the common ones whose power for the heart's true score is 95 % or more; what a trait
that sees only part of that score can do is less. False positives: variants on the chromosomes on
which nothing acts (for --null, permuted traits, on all), pruned to r² <= 0.2, MAF >= 1 %.
Intervals are binomial, 95 %; variants in weak linkage make them a little too narrow.
"""

import argparse
from pathlib import Path

import numpy as np
import polars as pl
from scipy.stats import binomtest

from leadlight.atomic import write_json
from leadlight.genetics.genotypes import open_genotypes
from leadlight.genetics.principal_components import pruned_variants
from leadlight.simulate.traits import HEART_TRAITS

GENOME_WIDE = 5e-8
LEVELS = (0.05, 1e-3, 1e-4)
FIRST_NULL_CHROMOSOME = 15
JOINT = {
    "omnibus": "neg_log_10_p_omnibus",
    "least p": "neg_log_10_p_least",
    "variance component": "neg_log_10_p_variance_component",
    "adaptive": "neg_log_10_p_value",
}
BEST = "best single trait"


def traits_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.parquet") if path.name != "joint.parquet")


def statistics(folder: Path) -> pl.DataFrame:
    """One row per variant: rsid, chromosome, the least single p and every joint p, as −log10."""
    joint = pl.read_parquet(folder / "joint.parquet").select(
        "rsid", pl.col("chromosome").cast(pl.String), "strongest_trait", *JOINT.values()
    )
    best: pl.DataFrame | None = None
    for path in traits_of(folder):
        one = pl.read_parquet(path, columns=["rsid", "neg_log_10_p_value"])
        if best is None:
            best = one.rename({"neg_log_10_p_value": BEST})
        else:
            best = (
                best.join(one, on="rsid", how="full", coalesce=True)
                .with_columns(pl.max_horizontal(BEST, "neg_log_10_p_value").alias(BEST))
                .drop("neg_log_10_p_value")
            )
    assert best is not None
    return joint.join(best, on="rsid", how="left")


def signals(study: Path) -> pl.DataFrame:
    """The planted common signals: variant, signal, outcomes, whether only shapes are moved."""
    shapes = [trait.name for trait in HEART_TRAITS if trait.kind == "shape"]
    effects = pl.read_parquet(study / "truth" / "effects.parquet")
    return (
        effects.filter(
            ~pl.col("kind").is_in(["polygenic", "rare"])
            & (pl.col("power") >= 0.95)
            & ~pl.col("outcome").is_in(["AF", "LBBB", "RBBB"])
        )
        .group_by("variant")
        .agg(
            pl.col("signal").first(),
            pl.col("outcome").sort().str.join(", "),
            pl.col("outcome").is_in(shapes).all().alias("shape"),
            pl.col("non_centrality").max(),
        )
        .sort("variant")
    )


def interval(count: int, total: int) -> str:
    low, high = binomtest(count, total).proportion_ci(0.95, "exact")
    return f"{count}/{total} = {count / total:.4g} ({low:.4g} to {high:.4g})"


def power(study: Path, label: str, folder: Path) -> list[dict[str, object]]:
    found = statistics(folder)
    n_traits = len(traits_of(folder))
    planted = signals(study).join(found, left_on="variant", right_on="rsid", how="left")
    bars = {BEST: -np.log10(GENOME_WIDE / n_traits)} | dict.fromkeys(JOINT, -np.log10(GENOME_WIDE))
    columns = {BEST: BEST} | JOINT
    print(f"\n{label}: {n_traits} traits, {planted.height} planted signals")
    rows: list[dict[str, object]] = []
    for name, column in columns.items():
        hit = planted[column].fill_null(0).to_numpy() >= bars[name]
        shape = planted["shape"].to_numpy()
        print(
            f"  {name:<20} found {interval(int(hit.sum()), len(hit))}; "
            f"of those on shapes alone {int(hit[shape].sum())}/{int(shape.sum())}"
        )
        rows.append({"set": label, "test": name, "found": int(hit.sum()), "of": len(hit)})
    table = planted.select(
        "signal",
        "outcome",
        pl.col("non_centrality").round(0),
        pl.col(BEST).round(1),
        pl.col(JOINT["omnibus"]).round(1).alias("omnibus"),
        pl.col(JOINT["adaptive"]).round(1).alias("adaptive"),
        "strongest_trait",
    )
    with pl.Config(tbl_rows=60, tbl_cols=10, tbl_width_chars=160, fmt_str_lengths=45):
        print(table)
    return rows


def false_positives(
    label: str, folder: Path, independent: frozenset[str], everywhere: bool
) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    found = statistics(folder)
    if not everywhere:
        found = found.filter(pl.col("chromosome").cast(pl.Int64) >= FIRST_NULL_CHROMOSOME)
    few = found.filter(pl.col("rsid").is_in(list(independent)))
    print(f"\n{label}: nothing acts on {found.height} variants, {few.height} of them pruned")
    n_traits = len(traits_of(folder))
    chance = GENOME_WIDE * found.height
    for name, column in JOINT.items():
        values = few[column].to_numpy()
        for level in LEVELS:
            count = int((values >= -np.log10(level)).sum())
            print(f"  {name:<20} p <= {level:<6g} {interval(count, len(values))}")
            rows.append({"set": label, "test": name, "level": level, "count": count,
                         "of": len(values)})  # fmt: skip
        hits = int((found[column] >= -np.log10(GENOME_WIDE)).sum())
        print(f"  {name:<20} p <= 5e-8 {hits} of {found.height} ({chance:.3f} expected)")
    hits = int((found[BEST] >= -np.log10(GENOME_WIDE / n_traits)).sum())
    print(f"  {BEST:<20} p <= 5e-8 / {n_traits}: {hits} of {found.height}")
    levels = {level: [0, 0] for level in LEVELS}
    keep = set(few["rsid"].to_list())
    for path in traits_of(folder):
        one = pl.read_parquet(path, columns=["rsid", "neg_log_10_p_value"])
        values = one.filter(pl.col("rsid").is_in(keep))["neg_log_10_p_value"].to_numpy()
        for level, counted in levels.items():
            counted[0] += int((values >= -np.log10(level)).sum())
            counted[1] += len(values)
    for level, (count, total) in levels.items():
        print(f"  {'all single traits':<20} p <= {level:<6g} {interval(count, total)}")
        rows.append({"set": label, "test": "single traits", "level": level, "count": count,
                     "of": total})  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", type=Path, required=True)
    parser.add_argument("--gwas", action="append", default=[], metavar="LABEL=DIR")
    parser.add_argument("--null", action="append", default=[], metavar="LABEL=DIR")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    source = open_genotypes(asked.study / "genotypes" / "genotypes")
    rows = np.arange(0, len(source.people), 5, dtype=np.uint32)  # linkage does not need them all
    kept = pruned_variants(source, rows)
    independent = frozenset(np.array(source.variants.table["rsid"].to_pylist())[kept].tolist())
    found: list[dict[str, object]] = []
    for given, everywhere in ((asked.gwas, False), (asked.null, True)):
        for text in given:
            label, _, folder = text.partition("=")
            if not everywhere:
                found += power(asked.study, label, Path(folder))
            found += false_positives(label, Path(folder), independent, everywhere)
    if asked.out:
        write_json(asked.out, found)


if __name__ == "__main__":
    main()
