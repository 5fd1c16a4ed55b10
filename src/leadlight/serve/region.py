"""A stretch of a chromosome on demand: all its variants in one trait's table."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight.report.association_sets import AssociationSet
from leadlight.serve.folder import StudyFolder, chosen, unmoved
from leadlight.serve.refusals import Refusal
from leadlight.serve.tables import reading

MOST_BP = 20_000_000
MOST_POINTS = 20_000
TOP = 60
GENOME_WIDE = float(-np.log10(5e-8))
_KEPT = 3.0  # −log10 p from which points are never thinned while there is room
_COLUMNS, _ROWS_PER_UNIT = 1400, 24.0
_PLACE = re.compile(r"(?:chr)?([A-Za-z0-9_.*-]{1,40}):([\d,]{1,15})(?:-([\d,]{1,15}))?", re.ASCII)
_READ = (
    "chromosome", "base_pair_location", "rsid", "effect_allele", "other_allele", "beta",
    "standard_error", "effect_allele_frequency", "neg_log_10_p_value", "n", "strongest_trait",
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """A stretch of a chromosome, both ends included."""

    chromosome: str
    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.chromosome}:{self.first}-{self.last}"

    def moved(self, by: float) -> "Place":
        """The stretch beside it: `by` times its length to the right."""
        step = round(by * (self.last - self.first + 1))
        step = max(step, 1 - self.first)
        return Place(self.chromosome, self.first + step, self.last + step)

    def scaled(self, by: float) -> "Place":
        """The stretch around the same middle, `by` times as long."""
        middle = (self.first + self.last) // 2
        half = max(50, round(by * (self.last - self.first + 1) / 2))
        half = min(half, MOST_BP // 2 - 1)
        return Place(self.chromosome, max(1, middle - half), middle + half)


def read_place(text: str) -> Place:
    """ "1:1000-2000" or "chr1:1,000-2,000" as a place; "1:1000" is that base alone.

    Raises:
        Refusal: it is none, ends before it begins, or is longer than `MOST_BP`.
    """
    found = _PLACE.fullmatch(text.strip().replace("–", "-"))
    if found is None:
        raise Refusal(
            "This is no place on a chromosome.", advice="Write it like 3:38600000-38700000."
        )
    first, last = (int(one.replace(",", "") or 0) for one in (found[2], found[3] or found[2]))
    if last < first:
        raise Refusal("The region ends before it begins.")
    if last - first >= MOST_BP:
        raise Refusal(
            f"A region may have {MOST_BP // 10**6} million base pairs.", advice="Ask for less."
        )
    return Place(found[1], first, last)


def region(study: StudyFolder, place: Place, label: str = "", trait: str = "") -> dict[str, Any]:
    """All variants of a region in one trait's table, JSON-ready.

    Args:
        study: with associations in `gwas/`.
        place: the region.
        label: of the set; the first where empty.
        trait: its joint test where empty, else its first trait.

    Returns:
        `place`, `set`, `trait`, `traits`, `sets`; `total` variants; `drawn`, how many points are
        given: `position`, `neg_log_10_p`, `id`, `effect` and `other` allele (at most
        `MOST_POINTS`: below −log10 p = 3 one stands for those it hides); `top`: the strongest with
        all their columns; `loci` and `credible` (id → probability) that lie in it.

    Raises:
        NotThere: the study has no such set or trait.
        Refusal: its table cannot be read.
    """
    sets = study.sets()
    label = chosen(sets, label, "set of results")
    one = sets[label]
    tables = tables_of(one)
    trait = chosen(tables, trait, "trait")
    path = tables[trait]
    loci = study.path / "loci"
    needed = [path, loci / "loci.parquet", loci / "credible_sets.parquet"]

    def work() -> dict[str, Any]:
        table = variants_in(one, trait, place)
        return {
            "place": {"chromosome": place.chromosome, "first": place.first, "last": place.last},
            "set": label, "trait": trait, "sets": list(sets), "traits": list(tables),
            "genome_wide": GENOME_WIDE, "total": table.height,
            **_points(table), "top": _top(table),
            "loci": _loci(study, place), "credible": _credible(study, place, label, trait),
        }  # fmt: skip

    found: dict[str, Any] = unmoved(study, needed, work)
    return found


def tables_of(one: AssociationSet) -> Mapping[str, Any]:
    """Trait → table, the joint test first."""
    return ({"joint": one.joint} if one.joint else {}) | one.tables


def variants_in(one: AssociationSet, trait: str, place: Place) -> pl.DataFrame:
    """The rows of a trait's table in a region, by place; reads its row groups only.

    Columns that a table lacks are null.
    """
    path = tables_of(one)[trait]
    with reading(path):
        there = pl.read_parquet_schema(path)
        for name in ("chromosome", "base_pair_location", "neg_log_10_p_value"):
            if name not in there:
                raise Refusal(f"{path.name} has no column {name}.")
        # Row groups elsewhere are left out by their statistics, and of the rest only the places are
        # decoded for rows that are not wanted.
        table = (
            pl.scan_parquet(path)
            .select(name for name in _READ if name in there)
            .filter(
                pl.col("base_pair_location").is_between(place.first, place.last),
                pl.col("chromosome").cast(pl.String) == place.chromosome,
            )
            .collect()
        )
    text = ("chromosome", "rsid", "effect_allele", "other_allele", "strongest_trait")
    return table.select(
        (pl.col(name) if name in table.columns else pl.lit(None))
        .cast(pl.String if name in text else pl.Int64 if name.startswith("base") else pl.Float64)
        .alias(name)
        for name in _READ
    ).sort("base_pair_location", maintain_order=True)


def variant_rows(table: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows of `variants_in`, JSON-ready: NaN and infinity are null."""
    floats = pl.selectors.float()
    clean = table.with_columns(
        pl.when(floats.is_finite()).then(floats.round_sig_figs(6)).otherwise(None)
    )
    return clean.to_dicts()


def _top(table: pl.DataFrame) -> list[dict[str, Any]]:
    strongest = table.filter(pl.col("neg_log_10_p_value").is_finite()).top_k(
        TOP, by="neg_log_10_p_value"
    )
    return variant_rows(strongest.sort("neg_log_10_p_value", descending=True))


def _points(table: pl.DataFrame) -> dict[str, Any]:
    known = table.filter(pl.col("neg_log_10_p_value").is_finite())
    x = known["base_pair_location"].to_numpy()
    y = known["neg_log_10_p_value"].to_numpy()
    shown = known[_drawn(x, y).tolist()]
    return {
        "drawn": shown.height,
        "position": shown["base_pair_location"].to_list(),
        "neg_log_10_p": shown["neg_log_10_p_value"].round(3).to_list(),
        "id": shown["rsid"].to_list(),
        "effect": shown["effect_allele"].to_list(),
        "other": shown["other_allele"].to_list(),
    }


def _drawn(x: npt.NDArray[np.int64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Numbers of the points that are given: all where they are few, else as a screen shows them."""
    if len(x) <= MOST_POINTS:
        return np.arange(len(x))
    strong = np.flatnonzero(y >= _KEPT)
    if len(strong) > MOST_POINTS // 2:
        strong = strong[np.argsort(-y[strong], kind="stable")[: MOST_POINTS // 2]]
    column = ((x - x.min()) / max(int(np.ptp(x)), 1) * _COLUMNS).astype(np.int64)
    row = (y * _ROWS_PER_UNIT).astype(np.int64)
    _, first = np.unique(column * 100_000 + row, return_index=True)
    rest = first[: MOST_POINTS - len(strong)]
    return np.union1d(strong, rest)


def _loci(study: StudyFolder, place: Place) -> list[dict[str, Any]]:
    path = study.path / "loci" / "loci.parquet"
    names = ("chromosome", "start", "end", "lead_variant", "lead_position", "nearest_gene")
    if not path.is_file() or not set(names) <= set(pl.read_parquet_schema(path)):
        return []
    here = (
        pl.scan_parquet(path)
        .select(names)
        .filter(
            pl.col("chromosome").cast(pl.String) == place.chromosome,
            pl.max_horizontal("end", "lead_position") >= place.first,
            pl.min_horizontal("start", "lead_position") <= place.last,
        )
    )
    return here.collect().to_dicts()


def _credible(study: StudyFolder, place: Place, label: str, trait: str) -> dict[str, float]:
    path = study.path / "loci" / "credible_sets.parquet"
    names = ("label", "trait", "rsid", "chromosome", "base_pair_location", "pip", "in_set")
    if not path.is_file() or not set(names) <= set(pl.read_parquet_schema(path)):
        return {}
    wanted = pl.col("base_pair_location").is_between(place.first, place.last) & (
        pl.col("chromosome").cast(pl.String) == place.chromosome
    )
    wanted &= (pl.col("label") == label) & pl.col("in_set")
    if trait != "joint":
        wanted &= pl.col("trait") == trait
    found = pl.scan_parquet(path).filter(wanted).select("rsid", "pip").collect()
    best = found.group_by("rsid").agg(pl.col("pip").max()).sort("pip", descending=True).head(500)
    return {str(name): round(float(pip), 4) for name, pip in best.iter_rows()}
