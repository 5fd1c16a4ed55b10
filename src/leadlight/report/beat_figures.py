"""The average beat of each lead, coloured by its mean relevance, with intervals by patient."""

from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from leadlight.report.colours import (
    CASE,
    CONTROL,
    INK,
    MUTED,
    RELEVANCE_MAP,
    coloured_line,
    symmetric_limit,
)
from leadlight.report.figures import MODEL_NAMES, MODELS, blank_figure, literal, tidy_axes

LIMIT_PERCENTILE = 99.0
# The order in which cardiologists read a 3 × 4 sheet.
_GRID = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))


def draw_beats(
    beats: pl.DataFrame, class_name: str, model: str, control: str = "NORM"
) -> tuple[Figure, pl.DataFrame]:
    """All twelve leads under one network: each a beat of the cases over one of the controls.

    The beats are the mean in millivolt, R at 0 ms, coloured by mean relevance; below them the mean
    relevance of both groups with its 95 % interval by patient. All leads share one colour scale,
    which ends at the 99th percentile of |mean relevance| in this figure, and one scale of
    relevance; millivolt are the same in all leads.

    Args:
        beats: `findings/beats.parquet`.
        class_name: the explained class, which is also the case group.
        model: "trained" or "random".
        control: the control group.
    """
    data = beats.filter(
        (pl.col("class") == class_name)
        & (pl.col("model") == model)
        & pl.col("group").is_in([class_name, control])
    ).sort("lead", "group", "time_ms")
    groups = ((class_name, CASE), (control, CONTROL))
    limit = symmetric_limit(data["mean_relevance"].to_numpy(), LIMIT_PERCENTILE)
    figure = blank_figure(11.0, 8.2)
    figure.set_layout_engine("none")  # 24 panels that touch in pairs: placed by hand
    grid = figure.add_gridspec(
        3, 4, left=0.05, right=0.9, top=0.905, bottom=0.055, hspace=0.2, wspace=0.07
    )
    offset_mv, span_mv = _room(data, class_name, control)
    relevance_range = _range(data, "relevance_low", "relevance_high")
    for r, row in enumerate(_GRID):
        for c, lead in enumerate(row):
            cell = grid[r, c].subgridspec(2, 1, height_ratios=(1.7, 1), hspace=0)
            upper, lower = figure.add_subplot(cell[0]), figure.add_subplot(cell[1])
            for group, colour in groups:
                part = data.filter((pl.col("lead") == lead) & (pl.col("group") == group))
                shift = 0.0 if group == class_name else -offset_mv
                _beat(upper, part, limit, shift)
                _relevance(lower, part, colour)
            for axes in (upper, lower):
                tidy_axes(axes, size=7.5)
            upper.set_ylim(*span_mv)
            lower.set_ylim(*relevance_range)
            _share_time(upper, lower, data)
            upper.set_title(lead, fontsize=9, fontweight="bold", loc="left", color=INK, pad=2)
            upper.set_yticks([])
            upper.spines["left"].set_visible(False)
            _scale_bar(upper)
            lower.yaxis.get_offset_text().set_visible(c == 0)
            if c:
                lower.tick_params(labelleft=False)
            if r == 2:
                lower.set_xlabel("ms from R")
            if not data.filter(pl.col("lead") == lead).height:
                upper.text(0.5, 0.5, "missing", transform=upper.transAxes, color=MUTED,
                           ha="center", fontsize=8, style="italic")  # fmt: skip
    _legend(figure, data, groups, f"{literal(class_name)}, {MODEL_NAMES[model]}")
    _colour_bar(figure, limit, figure.add_axes((0.915, 0.055, 0.012, 0.85)))
    return figure, data


def draw_lead_beats(
    beats: pl.DataFrame, class_name: str, lead: str, control: str = "NORM"
) -> tuple[Figure, pl.DataFrame]:
    """One lead, large: cases beside controls, the trained network over random weights.

    In each panel the mean beat with its interval (grey) coloured by mean relevance, and below it
    the mean relevance with its 95 % interval by patient. Colours and scales of relevance are those
    of the network in the row, since random weights give relevance of another size.

    Args:
        beats: `findings/beats.parquet`.
        class_name: the explained class, which is also the case group.
        lead: the lead's name.
        control: the control group.
    """
    data = beats.filter(
        (pl.col("class") == class_name)
        & (pl.col("lead") == lead)
        & pl.col("group").is_in([class_name, control])
    ).sort("model", "group", "time_ms")
    models = [m for m in MODELS if m in data["model"]]
    figure = blank_figure(10.0, 3.9 * max(len(models), 1))
    bands = figure.subfigures(max(len(models), 1), 1, squeeze=False)[:, 0]
    for model, band in zip(models, bands, strict=False):
        rows = data.filter(pl.col("model") == model)
        limit = symmetric_limit(rows["mean_relevance"].to_numpy(), LIMIT_PERCENTILE)
        panels = band.subplots(2, 2, height_ratios=(1.6, 1), sharex=True, sharey="row")
        for column, (group, colour) in enumerate(((class_name, CASE), (control, CONTROL))):
            part = rows.filter(pl.col("group") == group)
            upper, lower = panels[0, column], panels[1, column]
            if part.height:
                time_ms = part["time_ms"].to_numpy()
                upper.fill_between(
                    time_ms, part["mv_low"].to_numpy(), part["mv_high"].to_numpy(),
                    color="#d9dde1", linewidth=0,
                )  # fmt: skip
            _beat(upper, part, limit, 0.0, widths=(1.2, 4.0))
            _relevance(lower, part, colour)
            tidy_axes(upper, title=f"{literal(group)}, {_numbers(part)}")
            tidy_axes(lower)
            for axes in (upper, lower):
                axes.axvline(0, color="#d0d4d8", linewidth=0.7, zorder=0)
            lower.set_xlabel("ms from R")
            if column == 0:
                upper.set_ylabel(f"{lead} (mV)")
                lower.set_ylabel("mean relevance\n(logit per sample)")
        if rows.height:
            panels[0, 0].set_xlim(float(rows["time_ms"].min()), float(rows["time_ms"].max()))  # type: ignore[arg-type]
        band.suptitle(
            MODEL_NAMES[model], fontsize=10, fontweight="bold", color=INK, x=0.01, ha="left"
        )
        _colour_bar(band, limit)
    return figure, data


def _beat(
    axes: Axes,
    part: pl.DataFrame,
    limit: float,
    shift_mv: float,
    widths: tuple[float, float] = (0.9, 3.0),
) -> None:
    if part.height:
        coloured_line(
            axes,
            part["time_ms"].to_numpy(),
            part["mean_mv"].to_numpy() + shift_mv,
            part["mean_relevance"].to_numpy(),
            limit,
            widths=widths,
            zorder=3,
        )
        axes.autoscale_view()


def _relevance(axes: Axes, part: pl.DataFrame, colour: str) -> None:
    axes.axhline(0, color="#b5bac0", linewidth=0.7, zorder=0)
    if not part.height:
        return
    time_ms = part["time_ms"].to_numpy()
    low, high = part["relevance_low"].to_numpy(), part["relevance_high"].to_numpy()
    axes.fill_between(time_ms, low, high, color=colour, alpha=0.25, linewidth=0)
    axes.plot(time_ms, part["mean_relevance"].to_numpy(), color=colour, linewidth=1)


def _room(data: pl.DataFrame, class_name: str, control: str) -> tuple[float, tuple[float, float]]:
    """How far the controls' beats lie below the cases', and the range that holds both, in mV."""
    if not data.height:
        return 1.0, (-1.0, 1.0)
    ends = {
        group: data.filter(pl.col("group") == group)["mean_mv"].to_numpy()
        for group in (class_name, control)
    }
    low_case = float(np.nanmin(ends[class_name], initial=0.0))
    high_control = float(np.nanmax(ends[control], initial=0.0))
    # Half of the sum: R and S peaks of the two rarely meet in one lead, and beats stay large.
    offset = 0.6 * (high_control - low_case) + 0.3
    top = float(np.nanmax(ends[class_name], initial=0.0)) + 0.1
    bottom = float(np.nanmin(ends[control], initial=0.0)) - offset - 0.1
    return offset, (min(bottom, low_case - 0.1), max(top, high_control - offset + 0.1))


def _range(data: pl.DataFrame, low: str, high: str) -> tuple[float, float]:
    values = np.concatenate([data[low].to_numpy(), data[high].to_numpy()]).astype(np.float64)
    values = values[np.isfinite(values)]
    if not values.size or np.ptp(values) == 0:
        return (-1.0, 1.0)
    # Of the bands the outermost thousandth may be cut; of the means nothing.
    bottom, top = np.percentile(values, (0.1, 99.9))
    means = data["mean_relevance"].drop_nulls().drop_nans().to_numpy()
    bottom, top = min(bottom, means.min(), 0.0), max(top, means.max(), 0.0)
    room = 0.08 * (top - bottom)
    return float(bottom - room), float(top + room)


def _share_time(upper: Axes, lower: Axes, data: pl.DataFrame) -> None:
    if data.height:
        times = data["time_ms"].to_numpy()
        upper.set_xlim(times.min(), times.max())
    lower.set_xlim(upper.get_xlim())
    upper.tick_params(labelbottom=False, bottom=False)
    upper.spines["bottom"].set_visible(False)
    for axes in (upper, lower):
        axes.axvline(0, color="#d0d4d8", linewidth=0.6, zorder=0)


def _scale_bar(axes: Axes) -> None:
    left, right = axes.get_xlim()
    bottom, top = axes.get_ylim()
    x, y = right - 0.03 * (right - left), top - 0.08 * (top - bottom)
    axes.plot([x, x], [y, y - 0.5], color=INK, linewidth=1.2, solid_capstyle="butt")
    axes.text(x - 0.015 * (right - left), y - 0.25, "0.5 mV", fontsize=6.5, color=MUTED,
              ha="right", va="center")  # fmt: skip


def _legend(
    figure: Figure, data: pl.DataFrame, groups: tuple[tuple[str, str], ...], what: str
) -> None:
    handles = []
    for place, (group, colour) in zip(("upper", "lower"), groups, strict=True):
        part = data.filter(pl.col("group") == group)
        label = f"{literal(group)}, {place} beat: {_numbers(part)}"
        handles.append(Line2D([], [], color=colour, linewidth=2, label=label))
    legend = figure.legend(
        handles=handles, loc="upper left", ncols=2, fontsize=8.5, frameon=False,
        labelcolor=INK, title=what, alignment="left",
    )  # fmt: skip
    legend.get_title().set(fontsize=10, fontweight="bold", color=INK)


def _numbers(part: pl.DataFrame) -> str:
    if not part.height:
        return "none"
    row = part.row(0, named=True)
    if not row["n_records"]:
        return "none"
    return f"{row['n_beats']} beats of {row['n_records']} records of {row['n_patients']} people"


def _colour_bar(figure: Any, limit: float, into: Axes | None = None) -> None:
    colours = ScalarMappable(Normalize(-limit, limit), RELEVANCE_MAP)
    where: dict[str, Any] = {"ax": figure.get_axes(), "fraction": 0.02, "aspect": 40, "pad": 0.01}
    bar = figure.colorbar(colours, **({"cax": into} if into else where))
    bar.set_ticks([-limit, 0, limit], labels=[f"−{limit:.2g}", "0", f"+{limit:.2g}"])
    bar.ax.tick_params(labelsize=7.5, colors=INK, length=2)
    bar.set_label(
        f"mean relevance (logit per sample), ends at the {LIMIT_PERCENTILE:g}th percentile",
        fontsize=7.5,
        color=MUTED,
    )
    bar.outline.set_visible(False)
