"""The locus card: where it is, what it moves, the ECG of it, and what a network makes of that."""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from matplotlib.figure import Figure

from leadlight.atomic import refuse_overwrite, write_text, written_whole
from leadlight.report.colours import INK, MUTED
from leadlight.report.effect_figures import draw_effect, draw_groups, effect_on, groups_on
from leadlight.report.effect_panels import (
    WORDS,
    changes_on,
    factors_on,
    logits_on,
    relevance_on,
    said,
    strongest_class,
)
from leadlight.report.figures import blank_figure, png_bytes, write_figure
from leadlight.report.locus_figures import draw_locus, locus_on
from leadlight.report.rendering import inline_png, render

CARD, PAGE = "card.png", "card.html"
_CARD_LEADS = ("II", "V1", "V3", "V5")


@dataclass(frozen=True)
class LocusView:
    """What `locus_figures.locus_on` draws; see there."""

    variants: pl.DataFrame
    genes: pl.DataFrame
    recombination: pl.DataFrame
    chromosome: str
    span: tuple[int, int]
    lead: str
    trait: str
    mark: tuple[int, int] | None = None

    def parts(self) -> dict[str, Any]:
        """As arguments."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def write_card(
    out: Path,
    tables: Mapping[str, pl.DataFrame],
    summary: Mapping[str, Any],
    locus: LocusView | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Draw everything into `out`: `card.png`, `card.html` (self-contained), `figures/`.

    Args:
        out: folder of the effect.
        tables: by name, as `leadlight effect` writes them.
        summary: its `summary.json`.
        locus: the surroundings, where there are any.
        overwrite: replace what is there.

    Returns:
        The path of the page.
    """
    refuse_overwrite(out / PAGE, overwrite)
    figures = out / "figures"
    pictures = {"effect": write_figure(*draw_effect(tables, summary), figures, "effect").png}
    if tables["groups"].height:
        drawn = draw_groups(tables, summary)
        pictures["groups"] = write_figure(*drawn, figures, "groups").png
    if locus is not None:
        drawn = draw_locus(**locus.parts())
        pictures["locus"] = write_figure(*drawn, figures, "locus").png
    card = draw_card(tables, summary, locus)
    with written_whole(out / CARD) as partial:
        partial.write_bytes(png_bytes(card))
    pictures["card"] = out / CARD
    write_text(out / PAGE, _page(tables, summary, pictures))
    return out / PAGE


def draw_card(
    tables: Mapping[str, pl.DataFrame],
    summary: Mapping[str, Any],
    locus: LocusView | None = None,
) -> Figure:
    """The card as one picture."""
    with_groups = tables["groups"].height > 0
    heights = [0.62, 4.3, 6.6, 4.6 if with_groups else 3.9, 1.25]
    figure = blank_figure(13.5, sum(heights))
    figure.set_layout_engine("constrained", w_pad=0.10, h_pad=0.07)
    rows: Any = figure.subfigures(5, 1, height_ratios=heights)
    head, top, middle, bottom, foot = rows
    name, facts = headline(summary)
    head.text(0.012, 0.93, name, fontsize=19, fontweight="bold", color=INK, va="top",
              parse_math=False)  # fmt: skip
    head.text(0.012, 0.30, facts, fontsize=10, color=MUTED, va="top", parse_math=False)
    widths = [1.25, 0.8, 1.15] if locus is not None else [1.0, 1.15]
    parts = list(top.subfigures(1, len(widths), width_ratios=widths))
    if locus is not None:
        locus_on(parts.pop(0), **locus.parts())
    if tables["factors"].height:
        factors_on(parts[0].subplots(), tables["factors"])
    panel = parts[1].subplots(gridspec_kw={"right": 0.62})
    changes_on(panel, tables["measurements"])
    effect_on(middle, tables["effect"], summary)
    lower = bottom.subfigures(1, 2, width_ratios=[1.35, 1.0] if with_groups else [0.02, 1.0])
    if with_groups:
        groups_on(lower[0], tables["groups"], summary, _CARD_LEADS)
    left, right = lower[1].subplots(1, 2, gridspec_kw={"width_ratios": [1.0, 1.25]})
    logits_on(left, tables["logits"], summary)
    relevance_on(right, tables["relevance"], summary, strongest_class(tables["logits"], summary))
    lines = [part for line in notes(summary) for part in textwrap.wrap(line, 215)]
    foot.text(0.012, 0.95, "\n".join(lines), fontsize=7.8, color=MUTED, va="top",
              linespacing=1.45, parse_math=False)  # fmt: skip
    return figure


def headline(summary: Mapping[str, Any]) -> tuple[str, str]:
    """Name, and the line of facts below it."""
    about = summary.get("about", {})
    facts = [f"per {summary['step']}" if summary["kind"] != "trait" else f"with {summary['step']}"]
    if "chromosome" in about:
        place = f"chr {about['chromosome']}:{about['base_pair_location']:,}"
        facts.append(place)
    if about.get("effect_allele"):
        facts.append(f"{about['other_allele']} → {about['effect_allele']}")
        frequency = about.get("effect_allele_frequency")
        if frequency is not None:
            facts.append(f"frequency {frequency:.3f}")
    if "carriers" in about:
        facts.append(
            f"{about['carriers']:,} carriers of {about['variants']} rare variants ({about['mask']})"
        )
    facts.append(f"{summary['n']:,} people")
    if summary.get("neg_log_10_p") is not None:
        facts.append(f"all factors: −log₁₀ p = {summary['neg_log_10_p']:.1f}")
    if summary["beyond_chance"] == 0:
        facts.append("no sample of the beat differs beyond chance")
    else:
        facts.append(f"expected r with the truth {summary['expected_correlation']:.2f}")
    return str(summary["name"]), "  ·  ".join(facts)


def notes(summary: Mapping[str, Any]) -> list[str]:
    """How to read the card, as lines."""
    direct = summary["estimate"] == "direct"
    widened = any("widened" in note for note in summary.get("notes", []))
    first = (
        "Line and bands: regression of every sample of the median beat on the exposure and "
        f"{len(summary.get('covariates', []))} covariates, heteroscedasticity-robust. Dotted: "
        "shrunken by empirical Bayes, the better guess where the locus is weak. Dashed: what the "
        "factors carry."
        if direct
        else "Line and bands: the shift of the factors through the decoder (delta method). What "
        "the factors do not hold of the ECG is not in it, and the bands "
        + ("are widened for that." if widened else "do not cover that.")
    )
    second = {
        "trait": "People with and without differ by more than this: covariates take out what they "
        "know of, and the rest is no cause.",
        "score": "A score also stands for what its variants do elsewhere, and fits best the people "
        "whom its weights were made on.",
    }.get(
        summary["kind"],
        "An effect that was picked for being significant is too large on average (winner’s curse): "
        "read the drawing in people who were not in the scan, or trust the shrunken line. A "
        "variant also stands for its neighbours in linkage.",
    )
    third = (
        "Classifier: logits of these people regressed on the exposure; diamonds and the table: the "
        f"mean beat as a strip without and with {summary['strip_steps']:g} × the shrunken "
        "difference, integrated gradients from the one to the other. Research software, not a "
        "medical device."
    )
    return [first, second, third]


def _page(
    tables: Mapping[str, pl.DataFrame], summary: Mapping[str, Any], pictures: Mapping[str, Path]
) -> str:
    name, facts = headline(summary)
    rows = [
        (WORDS[row["quantity"]][0], said(row), f"{row['n']:,}", row["source"])
        for row in tables["measurements"].to_dicts()
        if row["quantity"] in WORDS
    ]
    factors = [
        (row["factor"], row["follows"], f"{row['beta']:+.4f}", f"{row['standard_error']:.4f}",
         f"{row['z']:+.2f}")
        for row in tables["factors"].to_dicts()
    ]  # fmt: skip
    logits = [
        (row["class"], f"{row['change']:+.4f} [{row['low']:.4f}, {row['high']:.4f}]",
         f"{row['n']:,}")
        for row in tables["logits"].to_dicts()
    ]  # fmt: skip
    return render(
        "locus.html", name=name, facts=facts,
        notes=[*notes(summary), *summary.get("notes", [])],
        pictures={key: inline_png(path) for key, path in pictures.items()}, rows=rows,
        factors=factors, logits=logits, counts=summary.get("counts", {}),
    )  # fmt: skip
