"""What lies around a variant: association, linkage with it, credible set, genes, recombination."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from leadlight.errors import LeadlightError
from leadlight.genetics.effect.shift import trait_files
from leadlight.genetics.genotypes import GenotypeSource
from leadlight.genetics.linkage_kernels import correlation
from leadlight.genetics.results import read_region

FLANK_BP = 250_000
JOINT = "joint"


@dataclass(frozen=True)
class Locus:
    """A stretch of a chromosome around a place.

    Attributes:
        chromosome, first, last: where.
        lead: id of the variant in the middle; "" for a gene.
        trait: whose association is drawn.
        variants: `rsid, base_pair_location, neg_log_10_p_value, r2` (null where not known), `pip`,
            `in_set` (null without fine mapping).
        genes: `gene, start, end, strand`.
        recombination: `position, rate` in cM/Mb; empty where not given.
    """

    chromosome: str
    first: int
    last: int
    lead: str
    trait: str
    variants: pl.DataFrame
    genes: pl.DataFrame
    recombination: pl.DataFrame


def read_locus(
    gwas: Path,
    chromosome: str,
    position: int,
    lead: str,
    *,
    trait: str | None = None,
    source: GenotypeSource | None = None,
    loci: Path | None = None,
    genes: Path | None = None,
    recombination: Path | None = None,
    flank_bp: int = FLANK_BP,
) -> Locus:
    """Gather a locus.

    Args:
        gwas: folder of associations.
        chromosome, position: the middle.
        lead: the variant that linkage is with; "" for none.
        trait: its table is drawn; the joint tests, or else the first table, where None.
        source: genotypes for r².
        loci: folder of `leadlight loci` with `credible_sets.parquet`.
        genes: BED file with names in the fourth column.
        recombination: text with columns of position and rate, as HapMap's maps have.
        flank_bp: to either side.
    """
    name, path = _table(gwas, trait)
    first, last = max(1, position - flank_bp), position + flank_bp
    wanted = ["rsid", "base_pair_location", "neg_log_10_p_value"]
    table = pl.DataFrame(pl.from_arrow(read_region(path, chromosome, first, last, wanted)))
    table = table.select(
        pl.col("rsid").cast(pl.String),
        pl.col("base_pair_location").cast(pl.Int64),
        pl.col("neg_log_10_p_value").cast(pl.Float64),
    )
    table = table.with_columns(_r2(source, table["rsid"], lead))
    table = _with_credible_set(table, loci, chromosome, first, last)
    return Locus(
        chromosome, first, last, lead, name, table,
        read_bed(genes, chromosome, first, last),
        _recombination(recombination, chromosome, first, last),
    )  # fmt: skip


def read_bed(path: Path | None, chromosome: str, first: int, last: int) -> pl.DataFrame:
    """`gene, start, end, strand` of the genes of a BED file that reach into a stretch."""
    schema = {"gene": pl.String, "start": pl.Int64, "end": pl.Int64, "strand": pl.String}
    if path is None:
        return pl.DataFrame(schema=schema)
    if not path.is_file():
        raise LeadlightError(f"{path} does not exist.")
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split("\t") if "\t" in line else line.split()
        if not words or line.startswith(("#", "track", "browser")):
            continue
        if len(words) < 4 or not (words[1].isdigit() and words[2].isdigit()):
            raise LeadlightError(
                f"{path}, line {number}: {line[:40]!r} is no row of a BED file with names.",
                advice="Expected chromosome, start, end, name.",
            )
        start, end = int(words[1]) + 1, int(words[2])
        if words[0].removeprefix("chr") == chromosome and end >= first and start <= last:
            rows.append((words[3], start, end, words[5] if len(words) > 5 else "."))
    return pl.DataFrame(rows, schema=schema, orient="row").sort("start")


def _table(gwas: Path, trait: str | None) -> tuple[str, Path]:
    if trait is None:
        joint = gwas / f"{JOINT}.parquet"
        if joint.is_file():
            return "all traits together", joint
        files = sorted(path for path in gwas.glob("*.parquet") if ".sex." not in path.name)
        if not files:
            raise LeadlightError(f"{gwas} has no table of an association.")
        return files[0].stem, files[0]
    found = trait_files(gwas, [trait])
    if trait not in found:
        raise LeadlightError(f"{gwas} has no table of {trait}.")
    return trait, found[trait]


def _r2(source: GenotypeSource | None, ids: pl.Series, lead: str) -> pl.Series:
    values = np.full(len(ids), np.nan)
    if source is not None and lead:
        rsid = source.variants.table["rsid"].combine_chunks()
        numbers = pc.index_in(pa.array(ids.to_list(), pa.string()), value_set=rsid)
        at = numbers.to_numpy(zero_copy_only=False).astype(np.float64)
        own = pc.index_in(pa.array([lead]), value_set=rsid)[0].as_py()
        known = np.flatnonzero(np.isfinite(at))
        if own is not None and len(known):
            values[known] = _linkage(source, at[known].astype(np.int64), int(own))
    return pl.Series("r2", values).fill_nan(None)


def _linkage(
    source: GenotypeSource, numbers: npt.NDArray[np.int64], own: int
) -> npt.NDArray[np.float64]:
    order = np.argsort(numbers)
    out = np.zeros(len(numbers))
    with source.reader(None) as reader:
        lead = reader.read(np.array([own]))
        for low in range(0, len(order), 500):
            rows = order[low : low + 500]
            out[rows] = correlation(reader.read(numbers[rows]), lead)[:, 0] ** 2
    return out


def _with_credible_set(
    table: pl.DataFrame, loci: Path | None, chromosome: str, first: int, last: int
) -> pl.DataFrame:
    absent = [pl.lit(None, dtype=pl.Float64).alias("pip"), pl.lit(None, pl.Boolean).alias("in_set")]
    path = None if loci is None else loci / "credible_sets.parquet"
    if path is None or not path.is_file():
        return table.with_columns(absent)
    sets = pl.read_parquet(path)
    needed = {"rsid", "chromosome", "base_pair_location", "pip", "in_set"}
    if not needed <= set(sets.columns):
        return table.with_columns(absent)
    here = sets.filter(
        (pl.col("chromosome").cast(pl.String) == chromosome)
        & pl.col("base_pair_location").is_between(first, last)
    )
    if "primary" in here.columns:  # one way and one trait of those that see the locus
        here = here.filter(pl.col("primary"))
    best = here.group_by("rsid").agg(
        pl.col("pip").cast(pl.Float64).max(), pl.col("in_set").cast(pl.Boolean).any()
    )
    return table.join(best, on="rsid", how="left", maintain_order="left")


def _recombination(path: Path | None, chromosome: str, first: int, last: int) -> pl.DataFrame:
    schema = {"position": pl.Int64, "rate": pl.Float64}
    if path is None:
        return pl.DataFrame(schema=schema)
    if not path.is_file():
        raise LeadlightError(f"{path} does not exist.")
    with path.open(encoding="utf-8") as stream:
        mark = "\t" if "\t" in stream.readline() else " "
    table = pl.read_csv(path, separator=mark, infer_schema_length=1000)
    names = {name.lower().split("(")[0].strip().replace(" ", "_"): name for name in table.columns}
    place = next((names[n] for n in ("position", "pos", "bp") if n in names), None)
    rate = next((names[n] for n in ("rate", "combined_rate", "recombination_rate") if n in names),
                None)  # fmt: skip
    if place is None or rate is None:
        raise LeadlightError(
            f"{path} has no columns of position and rate.", advice="As in HapMap's maps."
        )
    own = next((names[n] for n in ("chromosome", "chr", "chrom") if n in names), None)
    if own is not None:
        name = pl.col(own).cast(pl.String).str.replace("^chr", "")
        table = table.filter(name == chromosome)
    table = table.select(
        pl.col(place).cast(pl.Int64).alias("position"), pl.col(rate).cast(pl.Float64).alias("rate")
    )
    return table.filter(pl.col("position").is_between(first, last)).sort("position")
