"""Relevance per lead: cases against controls, the trained network beside random weights."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from leadlight.ecg.leads import LEADS
from leadlight.report.colours import CASE, CONTROL, INK, MUTED, RANDOM, TRAINED
from leadlight.report.figures import MODEL_NAMES, MODELS, blank_figure, literal, tidy_axes

MEASURES = {
    "absolute_share": "share of absolute relevance (%)",
    "mean_relevance": "mean relevance (logit per sample)",
}
# The lead that the first paper shows for a class, which cardiologists consult for it first.
# Bender et al., IEEE JBHI 28(4):1848-1859 (2024): V1 for AF, aVL for LBBB.
HIGHLIGHTED_LEAD = {"AF": "V1", "LBBB": "aVL"}


def draw_leads(
    leads: pl.DataFrame, class_name: str, measure: str, control: str = "NORM"
) -> tuple[Figure, pl.DataFrame]:
    """One measure of relevance per lead, with 95 % intervals by patient, effect size and q.

    Left and middle: the mean of cases and of controls under the trained network and under random
    weights, each on its own scale where the measure is signed. Right: Cliff's delta of both, with
    the Benjamini–Hochberg q of the trained network.

    Args:
        leads: `findings/leads.parquet`.
        class_name: the explained class, which is also the case group.
        measure: a key of `MEASURES`.
        control: the control group's name, for the legend.
    """
    data = leads.filter((pl.col("class") == class_name) & (pl.col("measure") == measure))
    models = [m for m in MODELS if m in data["model"]]
    figure = blank_figure(10.0, 4.6)
    widths = [1.25] * len(models) + [1.15]
    panels = figure.subplots(1, len(widths), width_ratios=widths, sharey=True, squeeze=False)[0]
    for axes, model in zip(panels, models, strict=False):
        _means(axes, data.filter(pl.col("model") == model), measure)
        tidy_axes(axes, title=MODEL_NAMES[model])
    _effects(panels[-1], data, class_name, control)
    tidy_axes(panels[-1], title="effect size")
    _legend(figure, data, class_name, control)
    first = panels[0]
    first.set_yticks(range(len(LEADS)), LEADS)
    first.set_ylim(len(LEADS) - 0.4, -0.6)
    highlighted = HIGHLIGHTED_LEAD.get(class_name)
    for axes in panels:
        axes.tick_params(axis="y", length=0)
        if highlighted:
            row = LEADS.index(highlighted)
            axes.axhspan(row - 0.5, row + 0.5, color="#fbf3d9", zorder=0, linewidth=0)
    for label in first.get_yticklabels():
        label.set(color=INK, fontsize=9)
    if measure == "absolute_share":
        top = max((axes.get_xlim()[1] for axes in panels[:-1]), default=1.0)
        for axes in panels[:-1]:
            axes.set_xlim(0, top)
    order = {lead: row for row, lead in enumerate(LEADS)}
    return figure, data.sort(pl.col("lead").replace_strict(order, default=99), "model")


def _means(axes: Axes, rows: pl.DataFrame, measure: str) -> None:
    scale = 100.0 if measure == "absolute_share" else 1.0
    for kind, colour, marker, shift in (
        ("case", CASE, "o", -0.14),
        ("control", CONTROL, "s", 0.14),
    ):
        column = f"mean_{kind}"
        for row in rows.iter_rows(named=True):
            if row["lead"] not in LEADS or row[column] is None:
                continue
            y = LEADS.index(row["lead"]) + shift
            low, high = row[f"{column}_low"], row[f"{column}_high"]
            if low is not None and high is not None:
                axes.plot([low * scale, high * scale], [y, y], color=colour, linewidth=1.5)
            axes.plot(row[column] * scale, y, marker, color=colour, markersize=4.5)
    if measure != "absolute_share":
        axes.axvline(0, color="#b5bac0", linewidth=0.7, zorder=0)
    axes.set_xlabel(MEASURES[measure])


def _count(counts: dict[str, object], kind: str) -> str:
    records, patients = counts.get(f"n_{kind}_records"), counts.get(f"n_{kind}_patients")
    return f"{records} records, {patients} people"


def _effects(axes: Axes, data: pl.DataFrame, class_name: str, control: str) -> None:
    axes.axvline(0, color="#b5bac0", linewidth=0.7, zorder=0)
    for model, colour, face, shift in (
        ("random", RANDOM, "white", 0.16),
        ("trained", TRAINED, TRAINED, -0.16),
    ):
        for row in data.filter(pl.col("model") == model).iter_rows(named=True):
            delta = row["cliffs_delta"]
            if row["lead"] not in LEADS or delta is None or not np.isfinite(delta):
                continue
            y = LEADS.index(row["lead"]) + shift
            low, high = row["cliffs_delta_low"], row["cliffs_delta_high"]
            if low is not None and high is not None:
                axes.plot([low, high], [y, y], color=colour, linewidth=1.3)
            axes.plot(delta, y, "D", color=colour, markerfacecolor=face, markersize=4)
            if model == "trained" and row["q_value"] is not None:
                axes.text(1.08, y + 0.16, q_text(row["q_value"]), fontsize=7.5, color=MUTED,
                          va="center", clip_on=False)  # fmt: skip
    axes.set_xlim(-1.05, 1.05)
    axes.set_xlabel(f"Cliff's delta, {literal(class_name)} against {literal(control)}")


def _legend(figure: Figure, data: pl.DataFrame, class_name: str, control: str) -> None:
    counts = data.row(0, named=True) if data.height else {}
    marks: list[tuple[str, str, str, str]] = [
        ("o", CASE, CASE, f"{literal(class_name)} ({_count(counts, 'case')})"),
        ("s", CONTROL, CONTROL, f"{literal(control)} ({_count(counts, 'control')})"),
        ("D", TRAINED, TRAINED, "trained network"),
        ("D", RANDOM, "white", "random weights"),
    ]
    handles = [
        Line2D([], [], marker=marker, color=edge, markerfacecolor=face, markersize=5, label=label)
        for marker, edge, face, label in marks
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=4, fontsize=8, frameon=False,
        labelcolor=INK, handletextpad=0.5, columnspacing=2,
    )  # fmt: skip


def q_text(q: float) -> str:
    """A q value for people: two digits, and "< 0.0001" below that."""
    return "q < 0.0001" if q < 1e-4 else f"q = {q:.2g}"
