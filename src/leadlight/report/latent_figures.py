"""Figures of the factors: what each does to the beat, where the encoder looks, maps of two."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from leadlight.ecg.leads import DERIVED_FROM_I_II, LEADS
from leadlight.report.colours import CASE, CONTROL, INK, MUTED
from leadlight.report.figures import blank_figure, tidy_axes

# From low to high values of a factor; the middle is the mean beat.
_STEPS = LinearSegmentedColormap.from_list("steps", [CONTROL, "#b9bdc2", CASE])
_GRID = (3, 4)


def draw_factor(results: xr.Dataset, factor: str) -> tuple[Figure, pl.DataFrame]:
    """A factor alone over its range, all twelve leads, with where the encoder looks below each.

    The grey band under a lead is the mean absolute relevance of its samples for the factor; derived
    leads have none of their own.
    """
    beats = results["beat_mv"].sel(factor=factor)
    looks = results["sensitivity"].sel(factor=factor)
    time = results["time_ms"].values
    figure = blank_figure(10.5, 6.3)
    axes = figure.subplots(*_GRID, sharex=True)
    steps = beats["step_sd"].values
    most = float(looks.max()) or 1.0
    for place, lead in enumerate(LEADS):
        panel = axes[place % 3, place // 3]
        traces = beats.sel(lead=lead).values
        for step, trace in zip(steps, traces, strict=True):
            width = 1.6 if step == 0 else 1.0
            colour = INK if step == 0 else _STEPS((step - steps[0]) / (steps[-1] - steps[0]))
            panel.plot(time, trace, color=colour, linewidth=width, zorder=2 + (step == 0))
        _lead_title(panel, lead)
        if lead not in DERIVED_FROM_I_II:
            _band(panel, time, looks.sel(independent_lead=lead).values / most)
    _share_scale(axes.ravel().tolist(), beats.values)
    for panel in axes[-1]:
        panel.set_xlabel("ms from R")
    axes[1, 0].set_ylabel("mV")
    rows = beats.to_dataframe(name="mv").reset_index()[["step_sd", "lead", "sample", "mv"]]
    return figure, pl.DataFrame({name: rows[name].to_numpy() for name in rows})


def draw_deciles(results: xr.Dataset, factor: str) -> tuple[Figure, pl.DataFrame]:
    """Means of real beats in the lowest and highest tenth, with the decoder's beats dashed."""
    found = results["decile_mv"].sel(factor=factor)
    time = results["time_ms"].values
    figure = blank_figure(10.5, 5.2)
    axes = figure.subplots(*_GRID, sharex=True)
    colours = {"lowest tenth": CONTROL, "highest tenth": CASE}
    for place, lead in enumerate(LEADS):
        panel = axes[place % 3, place // 3]
        for end, colour in colours.items():
            for source, style in (("real", "-"), ("drawn", "--")):
                trace = found.sel(end=end, source=source, lead=lead).values
                panel.plot(time, trace, style, color=colour, linewidth=1.1)
        _lead_title(panel, lead)
    _share_scale(axes.ravel().tolist(), found.values)
    for panel in axes[-1]:
        panel.set_xlabel("ms from R")
    rows = found.to_dataframe(name="mv").reset_index()
    names = ["end", "source", "lead", "sample", "mv"]
    return figure, pl.DataFrame({name: rows[name].to_numpy() for name in names})


def draw_map(
    results: xr.Dataset, leads: Sequence[str] = ("II", "V1", "V5")
) -> tuple[Figure, pl.DataFrame]:
    """Two factors together: a grid of beats, some leads in each cell."""
    found = results["map_mv"]
    time = results["time_ms"].values
    first, second = (str(name) for name in results["factor"].values[:2])
    k = found.sizes["step_a"]
    figure = blank_figure(9.0, 6.8)
    axes = figure.subplots(k, k, sharex=True, sharey=True)
    colours = {"II": INK, "V1": CONTROL, "V5": CASE}
    for a, step_a in enumerate(found["step_a"].values):
        for b, step_b in enumerate(found["step_b"].values):
            panel = axes[k - 1 - a, b]
            for lead in leads:
                trace = found.isel(step_a=a, step_b=b).sel(lead=lead).values
                panel.plot(time, trace, color=colours.get(lead, MUTED), linewidth=1.1, label=lead)
            tidy_axes(panel, title=f"{first} {step_a:+.0f}, {second} {step_b:+.0f} SD", size=8)
    axes[0, -1].legend(frameon=False, fontsize=7.5, loc="upper right")
    rows = found.sel(lead=list(leads)).to_dataframe(name="mv").reset_index()
    names = ["step_a", "step_b", "lead", "sample", "mv"]
    return figure, pl.DataFrame({name: rows[name].to_numpy() for name in names})


def draw_class(results: xr.Dataset, class_name: str) -> tuple[Figure, pl.DataFrame]:
    """The ECG difference that goes with a class of the classifier."""
    found = results["class_mv"].sel({"class": class_name})
    time = results["time_ms"].values
    figure = blank_figure(10.5, 4.8)
    axes = figure.subplots(*_GRID, sharex=True)
    for place, lead in enumerate(LEADS):
        panel = axes[place % 3, place // 3]
        panel.axhline(0, color=MUTED, linewidth=0.5)
        panel.plot(time, found.sel(lead=lead).values, color=CASE, linewidth=1.2)
        _lead_title(panel, lead)
    _share_scale(axes.ravel().tolist(), found.values)
    for panel in axes[-1]:
        panel.set_xlabel("ms from R")
    rows = found.to_dataframe(name="mv").reset_index()
    return figure, pl.DataFrame({name: rows[name].to_numpy() for name in ("lead", "sample", "mv")})


def draw_information(factors: pl.DataFrame) -> tuple[Figure, pl.DataFrame]:
    """Information of each factor in nats, and how sure the posterior is."""
    figure = blank_figure(7.5, 2.8)
    left, right = figure.subplots(1, 2)
    place = np.arange(factors.height) + 1
    left.bar(place, factors["kl_nats"].to_numpy(), color=CONTROL, width=0.7)
    tidy_axes(left, title="information, nats")
    right.bar(place, factors["uncertainty"].to_numpy(), color=CASE, width=0.7)
    tidy_axes(right, title="posterior SD, in SD of the factor")
    for panel in (left, right):
        panel.set_xlabel("factor")
    return figure, factors.select("name", "kl_nats", "uncertainty")


def _lead_title(panel: Axes, lead: str) -> None:
    tidy_axes(panel, title=lead, size=8)


def _band(panel: Axes, time: npt.NDArray[Any], share: npt.NDArray[Any]) -> None:
    twin = panel.twinx()
    twin.fill_between(time, share, color="#cfd4da", linewidth=0)
    twin.set_ylim(0, 3)
    twin.set_yticks([])
    twin.set_zorder(panel.get_zorder() - 1)
    panel.patch.set_visible(False)
    for side in twin.spines.values():
        side.set_visible(False)


def _share_scale(panels: Sequence[Axes], values: npt.NDArray[Any]) -> None:
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    room = 0.05 * (high - low)
    for panel in panels:
        panel.set_ylim(low - room, high + room)
