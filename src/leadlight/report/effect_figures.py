"""Drawings of an effect on the ECG: the difference with its band, and the mean beats of groups.

A difference is a thousandth of a beat, so it has a scale of its own, in microvolts, the same in all
leads; the beat it belongs to stands behind it in grey, and R is at 0 ms. The paper's small squares
are 20 ms wide there, its large ones 100 ms.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator, MultipleLocator

from leadlight.ecg.leads import LEADS
from leadlight.report.colours import CASE, INK, MUTED
from leadlight.report.figures import blank_figure

Floats = npt.NDArray[np.float64]

PAPER, FINE, BOLD = "#fffdfa", "#f7e9e3", "#eccfc4"
BEAT = "#c4c8cd"
SHRUNKEN = "#5c1d02"
DECODED = "#2f6f9f"
# Groups in order, distinct in colour, lightness and dash (from Okabe and Ito's set, 2008).
GROUP_STYLES = (("#2f6f9f", "-"), ("#7a7f86", (0, (5, 1.5))), ("#c4500c", "-"))
_COLUMNS = (("I", "II", "III"), ("aVR", "aVL", "aVF"), ("V1", "V2", "V3"), ("V4", "V5", "V6"))
_SHOWN_MS = (-330.0, 450.0)


def draw_effect(
    tables: Mapping[str, pl.DataFrame], summary: Mapping[str, Any]
) -> tuple[Figure, pl.DataFrame]:
    """The ECG difference per step of an exposure on twelve leads, with its 95 % bands.

    Args:
        tables: "effect", as `leadlight effect` writes it.
        summary: its `summary.json`.
    """
    figure = blank_figure(11.5, 6.6)
    figure.set_facecolor("white")
    effect_on(figure, tables["effect"], summary)
    return figure, tables["effect"].filter(pl.col("shown"))


def effect_on(figure: Figure | SubFigure, effect: pl.DataFrame, summary: Mapping[str, Any]) -> None:
    """`draw_effect` on a figure or a part of one."""
    shown = effect.filter(pl.col("shown") & pl.col("time_ms").is_between(*_SHOWN_MS))
    axes = figure.subplots(3, 4, sharex=True, sharey=True)
    limit = _microvolt_limit(shown)
    beat = shown["reference_mv"].to_numpy()
    # The beat's own scale: as tall as the panel's middle 90 %.
    scale = 0.82 * limit / max(float(np.abs(beat).max()), 1e-9)
    first = summary.get("estimate") == "direct"
    for column, leads in enumerate(_COLUMNS):
        for row, lead in enumerate(leads):
            panel: Axes = axes[row, column]
            own = shown.filter(pl.col("lead") == lead)
            time = own["time_ms"].to_numpy()
            paper(panel, limit)
            panel.plot(time, own["reference_mv"].to_numpy() * scale, color=BEAT, lw=1.1, zorder=2)
            panel.fill_between(
                time, own["low_everywhere_uv"], own["high_everywhere_uv"], color=CASE, alpha=0.13,
                lw=0, zorder=3,
            )  # fmt: skip
            panel.fill_between(
                time, own["low_uv"], own["high_uv"], color=CASE, alpha=0.30, lw=0, zorder=4
            )
            if first and own["decoded_uv"].null_count() == 0:
                panel.plot(time, own["decoded_uv"], color=DECODED, lw=0.9, ls=(0, (4, 1.5)),
                           zorder=5)  # fmt: skip
            panel.plot(time, own["difference_uv"], color=CASE, lw=1.5, zorder=6)
            panel.plot(time, own["shrunken_uv"], color=SHRUNKEN, lw=0.8, ls=(0, (1, 1)), zorder=7)
            panel.text(0.02, 0.97, lead, transform=panel.transAxes, va="top", fontsize=10,
                       fontweight="bold", color=INK, zorder=9)  # fmt: skip
            if column == 0:
                panel.set_ylabel("µV", fontsize=8, color=MUTED)
            if row == 2:
                panel.set_xlabel("ms from R", fontsize=8, color=MUTED)
    axes[0, 0].set_xlim(*_SHOWN_MS)
    axes[0, 0].set_ylim(-limit, limit)
    _effect_legend(figure, axes[0, 0], first, scale)


def paper(panel: Axes, limit: float) -> None:
    """Grid and frame of a panel that is `limit` µV high to either side of zero."""
    panel.set_facecolor(PAPER)
    step = nice_step(limit / 3)
    panel.xaxis.set_major_locator(MultipleLocator(200))
    panel.yaxis.set_major_locator(MultipleLocator(step))
    # Lines of our own: ticks for each of them would take most of the time of drawing.
    high = np.arange(0, limit * 1.0001, step)
    fine = np.arange(0, limit * 1.0001, step / 5)
    _rule(panel, np.arange(-1000, 1001, 20), np.unique([-fine, fine]), limit, FINE, 0.35)
    _rule(panel, np.arange(-1000, 1001, 100), np.unique([-high, high]), limit, BOLD, 0.6)
    panel.axhline(0, color="#8c8c8c", lw=0.7, zorder=1)
    panel.set_axisbelow(True)
    for side in panel.spines.values():
        side.set_color("#d8c9c2")
        side.set_linewidth(0.6)
    panel.tick_params(which="both", labelsize=7.5, colors=MUTED, length=0)


def _rule(
    panel: Axes,
    times_ms: npt.NDArray[np.integer],
    heights_uv: npt.NDArray[np.floating],
    limit: float,
    colour: str,
    width: float,
) -> None:
    """Upright lines at some times and level ones at some heights."""
    lines = [[(at, -limit), (at, limit)] for at in times_ms]
    lines += [[(times_ms[0], at), (times_ms[-1], at)] for at in heights_uv]
    ruled = LineCollection(lines, colors=colour, linewidths=width, zorder=0)
    panel.add_collection(ruled, autolim=False)


def nice_step(size: float) -> float:
    """The 1, 2 or 5 with some power of ten that is next to `size` from below."""
    power = 10.0 ** np.floor(np.log10(max(size, 1e-9)))
    return float(power * max(one for one in (1, 2, 5) if one * power <= size * 1.0001))


def draw_groups(
    tables: Mapping[str, pl.DataFrame], summary: Mapping[str, Any]
) -> tuple[Figure, pl.DataFrame]:
    """Mean beats of the groups on twelve leads, and below each what they differ by, enlarged."""
    figure = blank_figure(11.5, 8.4)
    groups_on(figure, tables["groups"], summary)
    return figure, tables["groups"]


def groups_on(
    figure: Figure | SubFigure,
    groups: pl.DataFrame,
    summary: Mapping[str, Any],
    leads: Sequence[str] = LEADS,
) -> None:
    """`draw_groups` on a figure or a part of one, for some leads."""
    shown = groups.filter(pl.col("time_ms").is_between(*_SHOWN_MS) & pl.col("lead").is_in(leads))
    names = [name for name in summary["group_names"] if name in shown["group"].unique()]
    by_group = {
        name: shown.filter(pl.col("group") == name).sort("lead", "time_ms") for name in names
    }
    counts = {name: int(table["n"][0]) for name, table in by_group.items()}
    base = max(counts, key=lambda name: counts[name] if name == names[0] else counts[name] / 1e6)
    difference = {
        name: 1e3 * (table["mean_mv"] - by_group[base]["mean_mv"]).to_numpy()
        for name, table in by_group.items()
    }
    spread = {
        name: 1e3 * np.hypot(table["standard_error_mv"].to_numpy(),
                             by_group[base]["standard_error_mv"].to_numpy())
        for name, table in by_group.items()
    }  # fmt: skip
    others = [name for name in names if name != base]
    largest = max((float(np.abs(difference[one]).max()) for one in others), default=1.0)
    limit = 1.25 * max(largest, 1e-6)
    columns = min(4, len(leads))
    rows = -(-len(leads) // columns)
    heights = [1.35, 1.0] * rows
    axes = figure.subplots(2 * rows, columns, sharex=True, squeeze=False,
                           gridspec_kw={"height_ratios": heights})  # fmt: skip
    order = (
        [lead for row in range(3) for lead in (column[row] for column in _COLUMNS)]
        if len(leads) == len(LEADS)
        else list(leads)
    )
    size = max(float(np.abs(table["mean_mv"].to_numpy()).max()) for table in by_group.values())
    for place, lead in enumerate(order):
        upper, lower = axes[2 * (place // columns) : 2 * (place // columns) + 2, place % columns]
        _millivolt_paper(upper)
        paper(lower, limit)
        for number, name in enumerate(names):
            at = (by_group[name]["lead"] == lead).to_numpy()
            time = by_group[name].filter(at)["time_ms"].to_numpy()
            colour, dash = _group_style(number, len(names))
            upper.plot(time, by_group[name].filter(at)["mean_mv"], color=colour, ls=dash, lw=1.1)
            if name == base:
                continue
            line, error = difference[name][at], spread[name][at]
            lower.fill_between(time, line - 1.96 * error, line + 1.96 * error, color=colour,
                               alpha=0.18, lw=0)  # fmt: skip
            lower.plot(time, line, color=colour, ls=dash, lw=1.2)
        upper.text(0.02, 0.96, lead, transform=upper.transAxes, va="top", fontsize=9.5,
                   fontweight="bold", color=INK)  # fmt: skip
        upper.set_ylim(-1.05 * size, 1.05 * size)
        lower.set_ylim(-limit, limit)
        if place % columns == 0:
            upper.set_ylabel("mV", fontsize=8, color=MUTED)
            lower.set_ylabel(f"µV, minus\n{base}", fontsize=7.5, color=MUTED)
        if place // columns == rows - 1:
            lower.set_xlabel("ms from R", fontsize=8, color=MUTED)
    for panel in axes.ravel()[: 2 * rows * columns]:
        panel.set_xlim(*_SHOWN_MS)
    handles = [
        axes[0, 0].plot([], [], color=_group_style(k, len(names))[0],
                        ls=_group_style(k, len(names))[1], lw=1.6,
                        label=f"{name} (n = {counts[name]:,})")[0]
        for k, name in enumerate(names)
    ]  # fmt: skip
    figure.legend(
        handles=handles, loc="outside upper left", ncols=3, frameon=False, fontsize=8.5,
        labelcolor=INK,
    )  # fmt: skip


def _group_style(number: int, count: int) -> tuple[str, Any]:
    return GROUP_STYLES[number if count == 3 else (0 if number == 0 else 2)]


def _millivolt_paper(panel: Axes) -> None:
    panel.set_facecolor(PAPER)
    panel.yaxis.set_major_locator(MaxNLocator(3))
    panel.grid(axis="y", color=BOLD, lw=0.6)
    for at in range(-1000, 1001, 100):
        panel.axvline(at, color=BOLD, lw=0.5, zorder=0)
    panel.set_axisbelow(True)
    for side in panel.spines.values():
        side.set_color("#d8c9c2")
        side.set_linewidth(0.6)
    panel.tick_params(which="both", labelsize=7.5, colors=MUTED, length=0)


def _microvolt_limit(shown: pl.DataFrame) -> float:
    """High enough for the line and nearly all of its pointwise band."""
    line = float(shown["difference_uv"].abs().max() or 0.0)  # type: ignore[arg-type]
    edges = np.abs(np.concatenate([shown["low_uv"].to_numpy(), shown["high_uv"].to_numpy()]))
    return float(max(1.15 * line, 1.1 * np.quantile(edges, 0.995), 1e-3))


def _effect_legend(
    figure: Figure | SubFigure, panel: Axes, decoded: bool, scale_uv_per_mv: float
) -> None:
    handles = [
        panel.plot([], [], color=CASE, lw=1.8, label="difference" if decoded else
                   "difference (decoder)")[0],
        panel.fill_between([], [], [], color=CASE, alpha=0.43, lw=0, label="95 %, each sample"),
        panel.fill_between([], [], [], color=CASE, alpha=0.13, lw=0, label="95 %, whole beat"),
        panel.plot([], [], color=SHRUNKEN, lw=1, ls=(0, (1, 1)), label="shrunken")[0],
    ]  # fmt: skip
    if decoded:
        handles.append(
            panel.plot([], [], color=DECODED, lw=1, ls=(0, (4, 1.5)), label="through factors")[0]
        )
    handles.append(
        panel.plot([], [], color=BEAT, lw=1.6,
                   label=f"mean beat (1 mV = {float(f'{scale_uv_per_mv:.2g}'):g} µV)")[0]
    )  # fmt: skip
    figure.legend(
        handles=handles, loc="outside upper left",
        ncols=len(handles), frameon=False, fontsize=8.5, labelcolor=INK, handlelength=1.8,
        columnspacing=1.4,
    )  # fmt: skip
