"""What the page says of associations: loci in words and a table, factors by loci, calibration."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from leadlight.report.association_sets import (
    AssociationSet,
    association_sets,
    inflation_of,
    inflation_sentence,
    median_inflation,
)
from leadlight.report.factor_words import spoken
from leadlight.report.heat import HeatMap, heat_map
from leadlight.report.locus_data import MOST_LOCI, loci_table, locus_facts
from leadlight.report.sentences import number, with_interval

_MOST_MAPPED = 60
_Z_DARKEST = 10.0


def loci_section(study: Path, facts: list[dict[str, Any]] | None = None) -> dict[str, Any] | None:
    """What the template shows of `loci/`, `effects/` and `gwas/`; None where there are no loci.

    Args:
        study: the study folder.
        facts: of `locus_facts`, where they were read already.

    Raises:
        LeadlightError: the table of loci cannot be read or lacks columns.
    """
    table = loci_table(study)
    if table is None:
        return None
    sets = association_sets(study)
    section: dict[str, Any] = {"rows": [], "map": None, "left_out": 0}
    if not table.height:
        return section | {"sentences": ["No variant reaches the threshold.", *calibration(sets)]}
    facts = locus_facts(study) if facts is None else facts
    section["rows"] = [_row(one) for one in facts]
    section["map"] = loci_by_factors(facts)
    section["left_out"] = max(0, table.height - MOST_LOCI)
    section["sentences"] = [*locus_sentences(table), *calibration(sets)]
    return section


def association_section(study: Path) -> dict[str, Any] | None:
    """What was associated, and how calibrated it is; None where there is no association.

    Returns:
        `sets` (label, people, variants, traits, null), `sentences`, and `inflation`: trait by trait
        the λGC of every set.
    """
    sets = association_sets(study)
    if not sets:
        return None
    return {
        "sets": [
            {"label": one.label, "people": one.people, "variants": one.variants,
             "traits": len(one.tables), "joint": one.joint is not None, "null": one.is_null}
            for one in sets
        ],
        "sentences": calibration(sets),
        "inflation": [
            {"label": one.label, "trait": trait, "lambda": number(median_inflation(path), 4)}
            for one in sets
            for trait, path in one.all_tables().items()
        ],
        "has_null": any(one.is_null for one in sets),
    }  # fmt: skip


def calibration(sets: list[AssociationSet]) -> list[str]:
    """λGC with its interval of each set's joint test, where the study made it."""
    said = []
    for one in sets:
        found = inflation_of(one.joint) if one.joint else None
        if found is not None:
            said.append(inflation_sentence(one.label, found))
    return said


def locus_sentences(table: pl.DataFrame) -> list[str]:
    """How many loci, how many of them published, and who sees them."""
    known = int(table["known"].sum())
    new = table.height - known
    said = [f"{table.height} loci; {known} lie near a published ECG locus, {new} do not."]
    labels = sorted({label for row in table["labels"].to_list() for label in row})
    if len(labels) > 1:
        for label in labels:
            alone = int((table["only"].cast(pl.String) == label).sum())
            seen = sum(label in row for row in table["labels"].to_list())
            said.append(f"Seen by {label}: {seen}, {alone} of them by nothing else.")
    return said


def loci_by_factors(facts: list[dict[str, Any]]) -> HeatMap | None:
    """Signed z of every factor at the loci's lead variants; None where factors were not tested."""
    rows = []
    for one in facts:
        shifts = {s["trait"]: s["beta"] / s["error"] for s in one["shifts"]
                  if s["trait"].startswith("factor_")}  # fmt: skip
        if shifts:
            rows.append((f"{one['name']} ({one['lead']})", shifts))
    if not rows:
        return None
    factors = sorted({trait for _, shifts in rows for trait in shifts})
    shown = rows[:_MOST_MAPPED]
    return heat_map(
        "Signed z of each factor per copy of the lead variant’s effect allele"
        + (f"; the {len(shown)} strongest of {len(rows)} loci" if len(shown) < len(rows) else ""),
        "Locus", [name for name, _ in shown], [f.removeprefix("factor_") for f in factors],
        [[shifts.get(factor) for factor in factors] for _, shifts in shown],
        limit=_Z_DARKEST, decimals=1,
    )  # fmt: skip


def effect_text(shift: Mapping[str, Any]) -> str:
    """ "pr_ms −0.132 [−0.150, −0.114] SD"."""
    beta, error = shift["beta"], shift["error"]
    told = with_interval(beta, beta - 1.96 * error, beta + 1.96 * error, decimals=3)
    return f"{told} {shift['unit']}"


def clear_changes(effect: Mapping[str, Any] | None, most: int = 2) -> list[dict[str, Any]]:
    """The changes of intervals, axes and voltages that are most standard errors off zero."""
    if effect is None:
        return []
    clear = [one for one in effect["changes"] if one["clear"]]
    return sorted(clear, key=lambda one: -abs(one["z"]))[:most]


def _row(one: Mapping[str, Any]) -> dict[str, Any]:
    strongest = one["strongest"]
    return {
        "locus": one["locus"],
        "place": f"{one['chromosome']}:{one['position']:,}",
        "lead": one["lead"],
        "p": f"{one['p']:.1f}",
        "trait": f"{one['trait']} ({one['label']})",
        "labels": ", ".join(one["labels"]),
        "gene": one["gene"] or "–",
        "known": "known" if one["known"] else "new",
        "single": f"{spoken(strongest['trait'])}, {strongest['allele']}" if strongest else "–",
        "effect": effect_text(strongest) if strongest else "–",
        "change": "; ".join(f"{c['name']} {c['text']}" for c in clear_changes(one["effect"]))
        or "–",
        "card": one["card"],
    }
