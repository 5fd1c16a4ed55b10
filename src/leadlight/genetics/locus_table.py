"""From hits of many scans to one table of loci: clumps of each trait, merged where they meet."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.compute as pc

from leadlight.genetics.association import chromosomes_of
from leadlight.genetics.clumping import ClumpRule, clump, counted
from leadlight.genetics.genotypes import GenotypeSource
from leadlight.genetics.linkage import Linkage
from leadlight.genetics.scan_files import ScanFile
from leadlight.progress import track

Integers = npt.NDArray[np.int64]
_ORDER = {name: i for i, name in enumerate([*map(str, range(1, 23)), "X", "Y", "MT"])}
BINS = ("total", "not_significant", "p_05", "p_01", "p_001", "p_0001")


@dataclass(frozen=True)
class Locus:
    """A stretch of a chromosome that clumps of one or more traits make together.

    number: from 1, by place; clumps: rows of the table of clumps.
    """

    number: int
    chromosome: str
    start: int
    end: int
    clumps: tuple[int, ...]


class VariantIndex:
    """Finds the variants of a genotype source by place and alleles."""

    def __init__(self, source: GenotypeSource) -> None:
        table = source.variants.table
        names = chromosomes_of(source)
        positions = table["base_pair_location"].to_numpy()
        self._effect = table["effect_allele"]
        self._other = table["other_allele"]
        self._usable = ~source.variants.multiallelic
        self._of: dict[str, tuple[Integers, Integers]] = {}
        for name in dict.fromkeys(names.tolist()):
            numbers = np.flatnonzero(names == name)
            numbers = numbers[np.argsort(positions[numbers], kind="stable")]
            self._of[name] = (numbers, positions[numbers])

    def between(self, chromosome: str, first: int, last: int) -> Integers:
        """Numbers of the variants between two places, both included, by place."""
        if chromosome not in self._of:
            return np.zeros(0, dtype=np.int64)
        known, places = self._of[chromosome]
        return known[np.searchsorted(places, first) : np.searchsorted(places, last, side="right")]

    def match(self, chromosome: str, rows: pl.DataFrame) -> tuple[Integers, Integers]:
        """(row,) numbers in the source, −1 where it lacks the variant, and the sign of r: −1 where
        its effect allele is the other one.

        rows: base_pair_location, effect_allele, other_allele, all of one chromosome.
        """
        numbers = np.full(rows.height, -1, dtype=np.int64)
        signs = np.ones(rows.height, dtype=np.int64)
        if chromosome not in self._of or not rows.height:
            return numbers, signs
        known, places = self._of[chromosome]
        asked_places = rows["base_pair_location"].to_numpy()
        first, last = asked_places.min(), asked_places.max()
        span = slice(np.searchsorted(places, first), np.searchsorted(places, last, side="right"))
        usable = self._usable[known[span]]
        here = known[span][usable]
        theirs = pl.DataFrame(
            {
                "number": here,
                "base_pair_location": places[span][usable],
                "one": pc.cast(self._effect.take(here), "string").to_pylist(),
                "two": pc.cast(self._other.take(here), "string").to_pylist(),
            },
            schema_overrides={"one": pl.String, "two": pl.String},
        )
        asked = rows.select(
            pl.col("base_pair_location"),
            pl.col("effect_allele").alias("one"),
            pl.col("other_allele").alias("two"),
        ).with_row_index("row")
        for sign in (1, -1):
            found = asked.join(theirs, on=["base_pair_location", "one", "two"], how="inner")
            found = found.unique("row", keep="first", maintain_order=True)
            at = found["row"].to_numpy()
            new = numbers[at] < 0
            numbers[at[new]] = found["number"].to_numpy()[new]
            signs[at[new]] = sign
            theirs = theirs.rename({"one": "two", "two": "one"})
        return numbers, signs


def clumps_of(
    scans: Sequence[ScanFile],
    rule: ClumpRule,
    index: VariantIndex | None = None,
    linkage: Linkage | None = None,
) -> pl.DataFrame:
    """The clumps of each scan by itself: the lead's row, PLINK's counts, `members` (ids with p <
    p2), and `start` and `end` of the stretch that lead and members span.

    Without linkage, or for leads that the genotypes lack, distance alone decides. Genotypes are
    read once for all scans.
    """
    hits = [scan.hits(-np.log10(rule.p1) - 1e-12) for scan in scans]
    places = [own.select("chromosome", "base_pair_location") for own in hits if own.height]
    if not places:
        return pl.DataFrame()
    together = pl.concat(places).unique().sort("chromosome", "base_pair_location")
    made = []
    stretches = list(_stretches(together, rule.radius))
    for chromosome, first, last in track(stretches, "clumps", len(stretches)):
        if linkage is not None and index is not None:
            linkage.hold(index.between(chromosome, first, last))
        inside = (pl.col("chromosome") == chromosome) & pl.col("base_pair_location").is_between(
            first, last
        )
        for scan, own in zip(scans, hits, strict=True):
            if own.filter(inside).height:
                made.append(_clumped(scan, chromosome, first, last, rule, index, linkage))
    return pl.concat(made)


def merge_loci(clumps: pl.DataFrame, *, within: int) -> list[Locus]:
    """Join clumps of all traits that overlap or lie at most `within` base pairs apart."""
    if not clumps.height:
        return []
    starts, ends = clumps["start"].to_list(), clumps["end"].to_list()
    names = clumps["chromosome"].to_list()
    order = sorted(range(clumps.height), key=lambda i: (_rank(names[i]), names[i], starts[i]))
    found: list[tuple[str, int, int, list[int]]] = []
    for i in order:
        if found and found[-1][0] == names[i] and starts[i] - found[-1][2] <= within:
            name, start, end, own = found[-1]
            found[-1] = (name, start, max(end, ends[i]), [*own, i])
        else:
            found.append((names[i], starts[i], ends[i], [i]))
    return [
        Locus(number, name, start, end, tuple(own))
        for number, (name, start, end, own) in enumerate(found, 1)
    ]


def _clumped(
    scan: ScanFile,
    chromosome: str,
    first: int,
    last: int,
    rule: ClumpRule,
    index: VariantIndex | None,
    linkage: Linkage | None,
) -> pl.DataFrame:
    rows = scan.region(chromosome, first, last)
    positions = rows["base_pair_location"].to_numpy()
    strength = rows["neg_log_10_p_value"].to_numpy()
    owner = np.full(len(positions), -1, dtype=np.int64)
    numbers = None
    if linkage is not None and index is not None:
        numbers, _ = index.match(chromosome, rows)
        owner = clump(positions, strength, rule, numbers, linkage)
        alone = numbers < 0
    else:
        alone = np.ones(len(positions), dtype=np.bool_)
    if alone.any():  # among themselves by distance, and none near a lead that linkage knows
        leads = np.flatnonzero(owner == np.arange(len(owner)))
        near = np.zeros(len(positions), dtype=np.bool_)
        for lead in leads:
            near |= np.abs(positions - positions[lead]) <= rule.radius
        some = np.flatnonzero(alone & ~near)
        own = clump(positions[some], strength[some], rule)
        owner[some[own >= 0]] = some[own[own >= 0]]
    told = counted(owner, strength, rule)
    ids = rows["rsid"].to_numpy()
    leads = told["lead"]
    spans = [
        (min(positions[[lead, *members]]), max(positions[[lead, *members]]))
        for lead, members in zip(leads, told["members"], strict=True)
    ]
    chosen: pl.DataFrame = rows[leads.tolist()]
    return chosen.with_columns(
        pl.lit(scan.label).alias("label"),
        pl.lit(scan.trait).alias("trait"),
        pl.Series("start", [a for a, _ in spans], dtype=pl.Int64),
        pl.Series("end", [b for _, b in spans], dtype=pl.Int64),
        *(pl.Series(name, told[name], dtype=pl.Int64) for name in BINS),
        pl.Series("members", [ids[m].tolist() for m in told["members"]], dtype=pl.List(pl.String)),
        pl.Series(
            "by_linkage",
            [numbers is not None and bool(numbers[lead] >= 0) for lead in leads],
            dtype=pl.Boolean,
        ),
    )


def _stretches(hits: pl.DataFrame, radius: int) -> Iterator[tuple[str, int, int]]:
    """Chromosome, first and last place of what hits reach, joined where they meet."""
    for (name,), own in hits.group_by("chromosome", maintain_order=True):
        places: Sequence[int] = own["base_pair_location"].sort().to_list()
        start, end = places[0], places[0]
        for place in places[1:]:
            if place - end > 2 * radius:
                yield str(name), start - radius, end + radius
                start = place
            end = place
        yield str(name), start - radius, end + radius


def _rank(chromosome: str) -> int:
    return _ORDER.get(chromosome, len(_ORDER))
