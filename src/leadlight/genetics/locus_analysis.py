"""One locus over all traits: its lead, who shares it, signals, sets, genes, what is known."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from leadlight.genetics.locus_linkage import LocusContext, LocusLinkage
from leadlight.genetics.locus_signals import Individual, TraitAtLocus, trait_at_locus
from leadlight.genetics.locus_table import Locus, merge_loci
from leadlight.genetics.scan_files import ScanFile, ScanSet


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
    linked = LocusLinkage(locus, context)
    for one in context.sets:
        for scan in one.scans:
            rows = regions[scan.label, scan.trait]
            own = clumps.filter((pl.col("label") == scan.label) & (pl.col("trait") == scan.trait))
            out.traits += _trait_row(locus, scan, rows, lead, own)
            if not own.height or scan.is_joint:
                continue
            about = {"locus": locus.number, "label": scan.label, "trait": scan.trait}
            made = _signals_of(one, scan, rows, own, linked, context)
            out.signals += [about | row for row in made.signals]
            out.sets += [about | row for row in made.sets]
            where = f"Locus {locus.number}, {scan.label} {scan.trait}"
            out.notes += [f"{where}: {note}." for note in made.notes]
            if made.difference is not None:
                out.difference = max(out.difference or 0.0, made.difference)
    shared = [row for row in out.traits if row["significant"]]
    if shared:
        for row, r2 in zip(shared, linked.r2(pl.DataFrame(shared), lead), strict=True):
            row["r2_with_lead"] = r2
    _mark_primary(out, clumps)
    return out


def _signals_of(
    one: ScanSet,
    scan: ScanFile,
    rows: pl.DataFrame,
    own: pl.DataFrame,
    linked: LocusLinkage,
    context: LocusContext,
) -> TraitAtLocus:
    """A trait's signals and sets, stretch by stretch of its own clumps, numbered through.

    What other traits make of the locus changes nothing: a locus that many traits share may be
    far longer than one trait's part of it.
    """
    pad = round(context.rule.pad_kb * 1000)
    out = TraitAtLocus()
    for stretch in merge_loci(own, within=round(context.rule.merge_kb * 1000)):
        near = pl.col("base_pair_location").is_between(stretch.start - pad, stretch.end + pad)
        clumps = own[list(stretch.clumps)]
        made = _signals_near(one, scan, rows.filter(near), clumps, linked, context)
        made.signals = [row | {"stretch": stretch.number} for row in made.signals]
        out.add(made)
    return out


def _signals_near(
    one: ScanSet,
    scan: ScanFile,
    rows: pl.DataFrame,
    clumps: pl.DataFrame,
    linked: LocusLinkage,
    context: LocusContext,
) -> TraitAtLocus:
    binary = bool(one.settings.get("binary"))
    if context.source is None or not clumps["by_linkage"].any():
        return trait_at_locus(rows, context.fine_map, binary=binary)
    leads = clumps["base_pair_location"].to_numpy()
    matched, numbers, note = linked.match(rows.filter(pl.col("beta").is_finite()), leads)
    people = context.people.get(scan.label)
    individual = None
    r, exact = linked.products(one, scan.trait, numbers)
    if people is not None and scan.trait in people.matched.trait_names:
        calibration = people.calibration(scan.trait)
        chromosome = str(clumps["chromosome"][0])
        individual = Individual(context.source, people.on(chromosome), calibration)
        exact = exact if calibration == 1.0 else None
    made = trait_at_locus(
        matched,
        context.fine_map,
        numbers=numbers,
        r=r,
        own_linkage=people is not None,
        individual=individual,
        exact=exact,
        trait=scan.trait,
        spent=2 + len(one.settings.get("covariates", ())),
        binary=binary,
    )
    if note is not None:
        made.notes.append(note)
    return made


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
