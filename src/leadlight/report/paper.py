"""The 12-lead ECG on ECG paper, at true size, optionally coloured by relevance.

Conventions: 25 mm/s, 10 mm/mV, a grid of 1 and 5 mm, a calibration pulse of 1 mV for 200 ms
(Kligfield et al., AHA/ACC/HRS recommendations for the standardization and interpretation of the
electrocardiogram, part I, Circulation 2007). The figure is one set of axes in millimetres, so a
print at the figure's size measures right with a ruler.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from matplotlib.patheffects import withStroke
from scipy.ndimage import gaussian_filter1d

from leadlight.ecg.leads import LEADS
from leadlight.report.colours import INK, MUTED, RELEVANCE_MAP, coloured_line, symmetric_limit

MM_PER_S = 25.0
MM_PER_MV = 10.0
MM_PER_INCH = 25.4
Layout = Literal["3x4", "12x1"]

_MARGIN_MM = 5.0
_PULSE_MM = 10.0  # width kept free at the left of each row for the calibration pulse
_HEADER_MM, _FOOTER_MM = 10.0, 10.0
_UP_MM, _DOWN_MM = (9.0, 24.0), (6.0, 20.0)  # least and most room above and below a row's baseline
_ROWS_3X4 = (
    ("I", "aVR", "V1", "V4"),
    ("II", "aVL", "V2", "V5"),
    ("III", "aVF", "V3", "V6"),
)
_PAPER = "#fffdfa"
_GRID, _GRID_UNDER_COLOUR = ("#f6e3dc", "#e9bfb1"), ("#efede9", "#d9d5ce")  # fine, bold


@dataclass(frozen=True)
class _Strip:
    """One lead's stretch of one row: `samples` of the lead, drawn from `x_mm` to the right."""

    lead: str
    x_mm: float
    samples: slice


def draw_ecg(
    signal_mv: xr.DataArray,
    rate_hz: float,
    *,
    relevance: xr.DataArray | None = None,
    layout: Layout = "3x4",
    rhythm_lead: str = "II",
    start_s: float = 0.0,
    duration_s: float = 10.0,
    title: str = "",
    unit: str = "logit per sample",
    limit: float | None = None,
    percentile: float = 99.0,
    smoothing_ms: float = 0.0,
    dpi: float = 150.0,
) -> Figure:
    """Draw a 12-lead ECG at true size: 25 mm/s and 10 mm/mV, whatever the dpi.

    Each lead is placed by its median over the drawn time, so that a constant offset of the
    electrode does not push it out of its row; nothing else is filtered.

    Args:
        signal_mv: (lead, sample) millivolt with lead names as coordinate, in any order. A lead that
            is not there, or is NaN throughout, is marked "missing".
        rate_hz: samples per second of `signal_mv` and of `relevance`.
        relevance: (lead, sample) on the same samples; the trace takes its colour. Leads by name.
        layout: "3x4" is four columns of a quarter of the time each, over a whole rhythm strip;
            "12x1" is every lead over the whole time.
        rhythm_lead: the lead of the rhythm strip.
        start_s: where drawing starts.
        duration_s: how much is drawn; the paper is as wide as this says, also where the recording
            is shorter.
        title: one line above the ECG.
        unit: of the relevance, for the colour bar.
        limit: colours run from −limit to +limit; None takes the `percentile` of |relevance|.
        percentile: see `limit`; written under the colour bar.
        smoothing_ms: standard deviation of a Gaussian that smooths the relevance for the eye only;
            written under the colour bar when not zero. A tenth of a millimetre is 4 ms.
        dpi: the figure's resolution.

    Raises:
        ValueError: `relevance` does not lie on the samples of `signal_mv`, or the layout's name is
            unknown.
    """
    if relevance is not None and relevance.sizes["sample"] != signal_mv.sizes["sample"]:
        raise ValueError(
            f"relevance has {relevance.sizes['sample']} samples, the signal "
            f"{signal_mv.sizes['sample']}"
        )
    first = round(start_s * rate_hz)
    last = min(signal_mv.sizes["sample"], first + round(duration_s * rate_hz))
    present = [str(name) for name in signal_mv["lead"].values]
    traces = {
        lead: _placed(np.asarray(signal_mv.sel(lead=lead).values[first:last], dtype=np.float64))
        for lead in LEADS
        if lead in present
    }
    colours = _colours(relevance, first, last, rate_hz, smoothing_ms)
    rows = _rows(layout, rhythm_lead, rate_hz, duration_s, last - first)
    baselines, height_mm = _baselines(rows, traces)
    width_mm = 2 * _MARGIN_MM + _PULSE_MM + duration_s * MM_PER_S
    grid_colours = _GRID if relevance is None else _GRID_UNDER_COLOUR
    figure, axes = _sheet(width_mm, height_mm, dpi, grid_colours)

    if relevance is not None and limit is None:
        limit = symmetric_limit(np.concatenate(list(colours.values())), percentile)
        limit_text = f"colour ends at the {percentile:g}th percentile of |relevance|"
    else:
        limit_text = "colour ends at the stated limit"
    for row, baseline_mm in zip(rows, baselines, strict=True):
        _pulse(axes, baseline_mm)
        for strip in row:
            _draw_strip(axes, strip, baseline_mm, traces, colours, limit, rate_hz)

    scale = "25 mm/s · 10 mm/mV"
    axes.text(_MARGIN_MM, _MARGIN_MM, scale, fontsize=8, color=MUTED, va="bottom")
    if title:
        top = height_mm - _MARGIN_MM
        axes.text(
            _MARGIN_MM, top, title, fontsize=9.5, color=INK, va="top", fontweight="bold",
            parse_math=False,
        )  # fmt: skip
    if relevance is not None and limit is not None:
        note = limit_text + (f"; smoothed by {smoothing_ms:g} ms" if smoothing_ms else "")
        _colour_bar(axes, width_mm, limit, unit, note)
    return figure


def _placed(trace_mv: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    finite = trace_mv[np.isfinite(trace_mv)]
    return trace_mv - np.median(finite) if finite.size else trace_mv


def _colours(
    relevance: xr.DataArray | None, first: int, last: int, rate_hz: float, smoothing_ms: float
) -> dict[str, npt.NDArray[np.float64]]:
    if relevance is None:
        return {}
    values = np.nan_to_num(np.asarray(relevance.transpose("lead", "sample").values, np.float64))
    if smoothing_ms:
        values = gaussian_filter1d(values, smoothing_ms / 1000 * rate_hz, axis=1, mode="constant")
    return {
        str(lead): row[first:last]
        for lead, row in zip(relevance["lead"].values, values, strict=True)
    }


def _rows(
    layout: Layout, rhythm_lead: str, rate_hz: float, duration_s: float, n_samples: int
) -> list[list[_Strip]]:
    left = _MARGIN_MM + _PULSE_MM
    whole = slice(0, n_samples)
    if layout == "12x1":
        return [[_Strip(lead, left, whole)] for lead in LEADS]
    if layout != "3x4":
        raise ValueError(f"no layout is called {layout!r}; there are '3x4' and '12x1'")
    edges = [round(column * duration_s / 4 * rate_hz) for column in range(5)]
    rows = [
        [
            _Strip(
                lead,
                left + edges[column] / rate_hz * MM_PER_S,
                slice(min(edges[column], n_samples), min(edges[column + 1] + 1, n_samples)),
            )
            for column, lead in enumerate(leads)
        ]
        for leads in _ROWS_3X4
    ]
    return [*rows, [_Strip(rhythm_lead, left, whole)]]


def _baselines(
    rows: list[list[_Strip]], traces: dict[str, npt.NDArray[np.float64]]
) -> tuple[list[float], float]:
    """The height of each row's zero line, and of the sheet, in mm: tall leads get more room."""
    rooms = []
    for row in rows:
        up, down = _UP_MM[0], _DOWN_MM[0]
        for strip in row:
            part = traces.get(strip.lead, np.zeros(0))[strip.samples] * MM_PER_MV
            part = part[np.isfinite(part)]
            if part.size:
                up = max(up, float(part.max()) + 3)
                down = max(down, float(-part.min()) + 2)
        rooms.append((min(up, _UP_MM[1]), min(down, _DOWN_MM[1])))
    height = _HEADER_MM + _FOOTER_MM + sum(up + down for up, down in rooms)
    height = float(np.ceil(height / 5) * 5)
    baselines, top = [], height - _HEADER_MM
    for up, down in rooms:
        baselines.append(top - up)
        top -= up + down
    return baselines, height


def _sheet(
    width_mm: float, height_mm: float, dpi: float, grid_colours: tuple[str, str]
) -> tuple[Figure, Axes]:
    figure = Figure(
        figsize=(width_mm / MM_PER_INCH, height_mm / MM_PER_INCH), dpi=dpi, facecolor=_PAPER
    )
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width_mm)
    axes.set_ylim(0, height_mm)
    axes.axis("off")
    for step, colour, width in zip((1, 5), grid_colours, (0.35, 0.6), strict=True):
        across = np.arange(0, width_mm + 0.5, step)
        up = np.arange(0, height_mm + 0.5, step)
        ends = [((x, 0.0), (x, height_mm)) for x in across]
        ends += [((0.0, y), (width_mm, y)) for y in up]
        grid = Outline(
            np.array(ends).reshape(-1, 2), np.tile([Outline.MOVETO, Outline.LINETO], len(ends))
        )
        # As an artist: as a patch it would be measured for limits that are set already.
        axes.add_artist(PathPatch(grid, edgecolor=colour, linewidth=width, zorder=0, fill=False))
    return figure, axes


def _pulse(axes: Axes, baseline_mm: float) -> None:
    """1 mV for 200 ms: 10 mm high, 5 mm wide."""
    x = _MARGIN_MM + np.array([0, 1.5, 1.5, 6.5, 6.5, 8])
    y = baseline_mm + np.array([0, 0, 1, 1, 0, 0]) * MM_PER_MV
    axes.plot(x, y, color=INK, linewidth=0.8, solid_joinstyle="miter", gid="calibration")


def _draw_strip(
    axes: Axes,
    strip: _Strip,
    baseline_mm: float,
    traces: dict[str, npt.NDArray[np.float64]],
    colours: dict[str, npt.NDArray[np.float64]],
    limit: float | None,
    rate_hz: float,
) -> None:
    left, first = strip.x_mm + 0.8, strip.x_mm == _MARGIN_MM + _PULSE_MM
    # Names lie off the traces: under the pulse, or where a column begins with a thin rim of paper
    # that keeps the name legible over a tall R wave.
    axes.text(
        _MARGIN_MM if first else left, baseline_mm + (-5 if first else 5.2), strip.lead,
        fontsize=9, fontweight="bold", color=INK, zorder=4,
        path_effects=[withStroke(linewidth=2.2, foreground=_PAPER)],
    )  # fmt: skip
    trace = traces.get(strip.lead)
    if trace is None or not np.isfinite(trace).any():
        axes.text(left, baseline_mm, "missing", fontsize=9, color=MUTED, style="italic")
        return
    if not first:  # where one lead ends and the next begins
        ends = [baseline_mm - 3, baseline_mm + 3]
        axes.plot([strip.x_mm] * 2, ends, color=MUTED, linewidth=0.6, gid="lead-change")
    y = baseline_mm + trace[strip.samples] * MM_PER_MV
    x = strip.x_mm + np.arange(len(y)) / rate_hz * MM_PER_S
    relevance = colours.get(strip.lead)
    name = f"lead-{strip.lead}"
    if relevance is None or limit is None or len(y) < 2:
        axes.plot(x, y, color=INK, linewidth=0.8, gid=name, solid_joinstyle="round")
    else:
        coloured_line(axes, x, y, relevance[strip.samples], limit, zorder=3, gid=name)


def _colour_bar(axes: Axes, width_mm: float, limit: float, unit: str, note: str) -> None:
    right, y = width_mm - _MARGIN_MM, _MARGIN_MM
    left = right - 50
    axes.pcolormesh(
        np.linspace(left, right, 65),
        [y, y + 2],
        np.linspace(-limit, limit, 64)[None, :],
        cmap=RELEVANCE_MAP,
        zorder=3,
        gid="colour-bar",
    )
    style: dict[str, Any] = {"fontsize": 7.5, "color": INK, "va": "bottom", "zorder": 4}
    for at, text in ((left, f"{-limit:.2g}"), (left + 25, "0"), (right, f"+{limit:.2g}")):
        side = "left" if at == left else "right" if at == right else "center"
        axes.text(at, y + 2.4, text.replace("-", "−"), ha=side, **style)
    label = f"relevance ({unit}); {note}"
    axes.text(left - 3, y - 0.2, label, ha="right", **(style | {"color": MUTED}))
