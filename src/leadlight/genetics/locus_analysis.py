"""One locus over all traits: its lead, who shares it, signals, sets, genes, what is known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight.genetics.association_people import AssociationPeople
from leadlight.genetics.gene_table import GeneTable
from leadlight.genetics.genotypes import GenotypeSource
from leadlight.genetics.known_loci import Catalogue
from leadlight.genetics.linkage import Linkage, residual_products
from leadlight.genetics.locus_signals import (
    FineMapRule,
    Individual,
    TraitAtLocus,
    trait_at_locus,
)
from leadlight.genetics.locus_table import Locus, VariantIndex
from leadlight.genetics.scan_files import ScanFile, ScanSet
from leadlight.genetics.summary_signals import Moments

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LocusRule:
    """merge_kb: clumps that lie nearer are one locus; pad_kb: on each side of it for signals and
    sets; known_kb: how near a published variant makes it known; max_variants: in one fine-mapping.
    """

    merge_kb: float = 250.0
    pad_kb: float = 250.0
    known_kb: float = 500.0
    max_variants: int = 5000


@dataclass(frozen=True)
class LocusContext:
    """All that the analysis of a locus needs."""

    sets: Sequence[ScanSet]
    source: GenotypeSource | None
    people: Mapping[str, AssociationPeople]
    rule: LocusRule
    fine_map: FineMapRule
    catalogue: Catalogue
    genes: GeneTable | None
    index: VariantIndex | None
    founders: npt.NDArray[np.uint32] | None


@dataclass
class LocusTables:
    """A locus's row of `loci`, and its rows of the other tables."""

    locus: dict[str, Any]
    traits: list[dict[str, Any]] = field(default_factory=list)
    signals: list[dict[str, Any]] = field(default_factory=list)
    sets: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    difference: float | None = None


def analyse_locus(locus: Locus, clumps: pl.DataFrame, context: LocusContext) -> LocusTables:
    """clumps: those of the locus, in any order."""
    clumps = clumps.sort("neg_log_10_p_value", descending=True, maintain_order=True)
    pad = round(context.rule.pad_kb * 1000)
    first, last = max(locus.start - pad, 1), locus.end + pad
    regions = {
        (scan.label, scan.trait): scan.region(locus.chromosome, first, last)
        for one in context.sets
        for scan in one.scans
    }
    out = LocusTables(_locus_row(locus, clumps, context))
    lead = clumps.row(0, named=True)
    linked = _Linked(locus, clumps, context)
    for one in context.sets:
        for scan in one.scans:
            rows = regions[scan.label, scan.trait]
            own = clumps.filter((pl.col("label") == scan.label) & (pl.col("trait") == scan.trait))
            out.traits += _trait_row(locus, scan, rows, lead, own)
            if not own.height or scan.is_joint:
                continue
            made, span = _signals_of(one, scan, rows, own, linked, context)
            about = {"locus": locus.number, "label": scan.label, "trait": scan.trait}
            out.signals += [about | row for row in made.signals]
            out.sets += [about | row for row in made.sets]
            where = f"Locus {locus.number}, {scan.label} {scan.trait}"
            out.notes += [f"{where}: {note}." for note in [*made.notes, *span]]
            if made.difference is not None:
                out.difference = max(out.difference or 0.0, made.difference)
    shared = [row for row in out.traits if row["significant"]]
    if shared:
        for row, r2 in zip(shared, linked.r2(pl.DataFrame(shared), lead), strict=True):
            row["r2_with_lead"] = r2
    _mark_primary(out, clumps)
    return out


@dataclass(frozen=True)
class _Products:
    """r: (variant, variant); moments: trait → exact sums of squares, of traits and calls without
    a gap."""

    r: Floats
    moments: dict[str, Moments] = field(default_factory=dict)


class _Linked:
    """Linkage of a locus's variants, worked out once for each group of people that is asked for."""

    def __init__(self, locus: Locus, clumps: pl.DataFrame, context: LocusContext) -> None:
        self._chromosome, self._context = locus.chromosome, context
        self._leads = clumps["base_pair_location"].to_numpy()
        self._made: dict[tuple[bytes, bytes], _Products] = {}

    def match(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, Integers, str | None]:
        """Rows that the genotypes have, effects of the counted allele, their numbers, and a note.

        Variants of one kind alone; at most as many as the rule allows, the nearest to the leads.
        """
        context = self._context
        assert context.source is not None
        assert context.index is not None
        numbers, signs = context.index.match(self._chromosome, rows)
        keep = numbers >= 0
        if keep.any():
            kinds = context.source.variants.kind[np.maximum(numbers, 0)]
            kind = np.bincount(kinds[keep]).argmax()
            keep &= kinds == kind
        note = None
        most = context.rule.max_variants
        if keep.sum() > most:
            places = rows["base_pair_location"].to_numpy()
            away = np.abs(places[:, None] - self._leads).min(axis=1)
            away = np.where(keep, away, np.iinfo(np.int64).max)
            limit = np.sort(away)[most - 1]
            note = f"fine-mapped within {limit / 1000:.0f} kb of its leads ({most} variants)"
            keep &= away <= limit
        at = np.flatnonzero(keep)
        own = rows[at.tolist()]
        swapped = pl.Series("swapped", signs[at] < 0)
        effect, other = pl.col("effect_allele"), pl.col("other_allele")
        frequency_name = "effect_allele_frequency"
        frequency = pl.col(frequency_name)
        own = own.with_columns(swapped).with_columns(
            pl.when("swapped").then(other).otherwise(effect).alias("effect_allele"),
            pl.when("swapped").then(effect).otherwise(other).alias("other_allele"),
            pl.when("swapped").then(-pl.col("beta")).otherwise(pl.col("beta")).alias("beta"),
            pl.when("swapped").then(1 - frequency).otherwise(frequency).alias(frequency_name),
        )  # fmt: skip
        return own.drop("swapped"), numbers[at], note

    def products(self, one: ScanSet, numbers: Integers) -> _Products:
        """Linkage for a set of results: of its own people after its covariates where they are
        known, otherwise of everybody in the genotypes (founders)."""
        context = self._context
        assert context.source is not None
        people = context.people.get(one.label)
        if people is None:
            key = (numbers.tobytes(), b"")
            if key not in self._made:
                with self._open() as linkage:
                    self._made[key] = _Products(linkage.matrix(numbers))
            return self._made[key]
        kind = int(context.source.variants.kind[numbers[0]]) if len(numbers) else 0
        matched = people.on(self._chromosome)
        keep, basis = people.design(kind)
        values = matched.traits[keep]
        whole = np.isfinite(values).all(axis=0)
        values = values[:, whole] - basis @ (basis.T @ values[:, whole])
        length = np.sqrt((values**2).sum(axis=0))
        key = (numbers.tobytes(), one.label.encode())
        if key not in self._made:
            made = residual_products(
                context.source, matched.rows[keep], numbers, basis, values / length
            )
            names = np.array(matched.trait_names)[whole].tolist()
            at = {name: i for i, name in enumerate(names)} if made.complete else {}
            n = np.full(len(numbers), float(keep.sum()))
            known = np.isfinite(made.squares)
            self._made[key] = _Products(
                made.r,
                {
                    name: Moments(
                        np.where(known, made.squares, 1.0),
                        np.where(known, made.products[:, i], 0.0),
                        made.r,
                        n,
                        basis.shape[1] + 1,
                        float(length[i]),
                    )
                    for name, i in at.items()
                },
            )
        return self._made[key]

    def r2(self, one: pl.DataFrame, lead: dict[str, Any]) -> list[float | None]:
        """r² of variants of scans with the locus's lead; None where the genotypes lack one."""
        context = self._context
        out: list[float | None] = [None] * one.height
        if context.source is None or context.index is None or not one.height:
            return out
        alleles = ["base_pair_location", "effect_allele", "other_allele"]
        asked = pl.concat([pl.DataFrame([lead]).select(alleles), one.select(alleles)])
        numbers, _ = context.index.match(self._chromosome, asked)
        if numbers[0] < 0:
            return out
        kinds = context.source.variants.kind
        some = np.flatnonzero((numbers >= 0) & (kinds[numbers] == kinds[numbers[0]]))[1:]
        if len(some):
            with self._open() as linkage:
                r = linkage.r(numbers[:1], numbers[some])[0]
            for at, value in zip(some - 1, r, strict=True):
                same = numbers[at + 1] == numbers[0]
                out[at] = 1.0 if same else None if np.isnan(value) else float(value**2)
        return out

    def _open(self) -> Linkage:
        context = self._context
        assert context.source is not None
        return Linkage(context.source, context.founders)


def _signals_of(
    one: ScanSet,
    scan: ScanFile,
    rows: pl.DataFrame,
    own: pl.DataFrame,
    linked: _Linked,
    context: LocusContext,
) -> tuple[TraitAtLocus, list[str]]:
    binary = bool(one.settings.get("binary"))
    notes: list[str] = []
    if context.source is None or not own["by_linkage"].any():
        return trait_at_locus(rows, context.fine_map, binary=binary), notes
    matched, numbers, note = linked.match(rows.filter(pl.col("beta").is_finite()))
    if note is not None:
        notes.append(note)
    people = context.people.get(scan.label)
    individual = exact = None
    products = linked.products(one, numbers)
    if people is not None and scan.trait in people.matched.trait_names:
        calibration = people.calibration(scan.trait)
        individual = Individual(context.source, people.on(str(own["chromosome"][0])), calibration)
        exact = products.moments.get(scan.trait) if calibration == 1.0 else None
    made = trait_at_locus(
        matched,
        context.fine_map,
        numbers=numbers,
        r=products.r,
        own_linkage=people is not None,
        individual=individual,
        exact=exact,
        trait=scan.trait,
        spent=2 + len(one.settings.get("covariates", ())),
        binary=binary,
    )
    return made, notes


def _locus_row(locus: Locus, clumps: pl.DataFrame, context: LocusContext) -> dict[str, Any]:
    lead = clumps.row(0, named=True)
    labels = [one.label for one in context.sets]
    found = [label for label in labels if label in set(clumps["label"])]
    row: dict[str, Any] = {
        "locus": locus.number,
        "chromosome": locus.chromosome,
        "start": locus.start,
        "end": locus.end,
        "lead_variant": lead["rsid"],
        "lead_position": lead["base_pair_location"],
        "lead_label": lead["label"],
        "lead_trait": lead["trait"],
        "lead_neg_log_10_p_value": lead["neg_log_10_p_value"],
        "traits": list(dict.fromkeys(clumps["trait"].to_list())),
        "labels": found,
        "only": found[0] if len(labels) > 1 and len(found) == 1 else None,
        "clumps": clumps.height,
    }
    for label in labels if len(labels) > 1 else []:
        own = clumps.filter(pl.col("label") == label)
        row[f"traits_{label}"] = list(dict.fromkeys(own["trait"].to_list()))
    row |= _genes(locus, lead["base_pair_location"], context)
    within = round(context.rule.known_kb * 1000)
    near = context.catalogue.near(locus.chromosome, locus.start, locus.end, within=within)
    at = lead["base_pair_location"]
    of_lead = context.catalogue.near(locus.chromosome, at, at, within=within)
    return row | {
        "known": of_lead is not None,
        "known_traits": [] if near is None else list(near.traits),
        "known_references": [] if near is None else list(near.references),
        "known_genes": [] if near is None else list(near.genes),
        "nearest_published": None if of_lead is None else of_lead.nearest_rsid,
        "nearest_published_trait": None if of_lead is None else of_lead.nearest_trait,
        "nearest_published_reference": None if of_lead is None else of_lead.nearest_reference,
        "nearest_published_distance": None if of_lead is None else of_lead.distance,
    }


def _genes(locus: Locus, position: int, context: LocusContext) -> dict[str, Any]:
    """From the user's genes; without them, the name that the nearest published result gives."""
    if context.genes is not None:
        names, distance = context.genes.nearest(locus.chromosome, np.array([position]))
        known = np.isfinite(distance[0])
        return {
            "nearest_gene": names[0],
            "nearest_gene_distance": int(distance[0]) if known else None,
            "genes": context.genes.overlapping(locus.chromosome, locus.start, locus.end),
            "gene_source": "genes",
        }
    within = round(context.rule.known_kb * 1000)
    near = context.catalogue.near(locus.chromosome, position, position, within=within)
    named = near is not None and bool(near.genes)
    return {
        "nearest_gene": near.genes[0] if near is not None and near.genes else None,
        "nearest_gene_distance": None,
        "genes": [],
        "gene_source": "catalogue" if named else None,
    }


def _trait_row(
    locus: Locus,
    scan: ScanFile,
    rows: pl.DataFrame,
    lead: dict[str, Any],
    own: pl.DataFrame,
) -> list[dict[str, Any]]:
    """A trait's own best variant in the locus, and what the locus's lead does to it."""
    inside = rows.filter(
        pl.col("base_pair_location").is_between(locus.start, locus.end)
        & pl.col("neg_log_10_p_value").is_finite()
    )
    if not inside.height:
        return []
    best = inside.row(int(inside["neg_log_10_p_value"].arg_max() or 0), named=True)
    if own.height:
        best = own.sort("neg_log_10_p_value", descending=True).row(0, named=True)
    at = rows.filter(
        (pl.col("base_pair_location") == lead["base_pair_location"])
        & (pl.col("rsid") == lead["rsid"])
    )
    effect = at.row(0, named=True) if at.height else dict.fromkeys(rows.columns)
    same = effect["effect_allele"] == lead["effect_allele"]
    beta = effect["beta"]
    return [
        {
            "locus": locus.number,
            "label": scan.label,
            "trait": scan.trait,
            "significant": bool(own.height),
            "chromosome": locus.chromosome,
            "rsid": best["rsid"],
            "base_pair_location": best["base_pair_location"],
            "effect_allele": best["effect_allele"],
            "other_allele": best["other_allele"],
            "beta": best["beta"],
            "standard_error": best["standard_error"],
            "neg_log_10_p_value": best["neg_log_10_p_value"],
            "n": best["n"],
            "r2_with_lead": None,
            "lead_variant": lead["rsid"],
            "lead_effect_allele": lead["effect_allele"],
            "lead_beta": beta if beta is None or same else -beta,
            "lead_standard_error": effect["standard_error"],
            "lead_neg_log_10_p_value": effect["neg_log_10_p_value"],
        }
    ]


def _mark_primary(out: LocusTables, clumps: pl.DataFrame) -> None:
    """Of each locus, the sets to draw: the strongest trait's, SuSiE's if there are any."""
    chosen: tuple[str, str, str] | None = None
    for label, trait in clumps.select("label", "trait").iter_rows():
        methods = {
            row["method"] for row in out.sets if (row["label"], row["trait"]) == (label, trait)
        }
        if methods:
            chosen = (label, trait, "susie" if "susie" in methods else "single-effect")
            break
    for row in out.sets:
        row["primary"] = (row["label"], row["trait"], row["method"]) == chosen
