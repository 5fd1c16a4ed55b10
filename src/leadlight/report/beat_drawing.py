"""Wave limits drawn: a recording on ECG paper with its P, QRS and T, and the median beat.

Waves are told apart by colour and by name; onset and offset are ticks across the trace, peaks are
dots. Ticks are drawn where the delineator read them, without rounding.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from leadlight.ecg.delineation import Fiducials
from leadlight.ecg.leads import LEADS
from leadlight.ecg.median_beat import R_SAMPLE, RATE_HZ, SAMPLES, MedianBeat
from leadlight.report.colours import INK, MUTED
from leadlight.report.paper import MM_PER_S, Layout, draw_ecg

# From Okabe and Ito's set (2008): distinct for colour-blind eyes, and in lightness.
WAVE_COLOURS = {"P": "#0072b2", "QRS": "#b3460a", "T": "#00765a"}

_TICK_MM = 1.6
_BEAT_ROWS = (
    ("I", "aVR", "V1", "V4"),
    ("II", "aVL", "V2", "V5"),
    ("III", "aVF", "V3", "V6"),
)
# What the title of the median beat says, in this order, where it was measured.
_SAID = (
    ("heart_rate_bpm", "rate", "/min"),
    ("pr_ms", "PR", " ms"),
    ("qrs_ms", "QRS", " ms"),
    ("qt_ms", "QT", " ms"),
    ("qtc_fridericia_ms", "QTc (Fridericia)", " ms"),
    ("qrs_axis_deg", "QRS axis", "°"),
)


def draw_delineated_ecg(
    signal_mv: xr.DataArray,
    rate_hz: float,
    fiducials: Fiducials,
    *,
    layout: Layout = "3x4",
    rhythm_lead: str = "II",
    start_s: float = 0.0,
    duration_s: float = 10.0,
    title: str = "",
    dpi: float = 150.0,
) -> Figure:
    """The recording on ECG paper (see `paper.draw_ecg`), every wave in its colour, in every lead.

    Each lead shows its own reading, so leads may differ; a wave that was not found in a lead is
    left as plain ink.

    Args:
        signal_mv: (lead, sample) millivolt with lead names.
        rate_hz: of the signal.
        fiducials: of this signal, in samples at the same rate.
        layout, rhythm_lead, start_s, duration_s, title, dpi: as `paper.draw_ecg` takes them.
    """
    figure = draw_ecg(
        signal_mv, rate_hz, layout=layout, rhythm_lead=rhythm_lead, start_s=start_s,
        duration_s=duration_s, title=title, dpi=dpi,
    )  # fmt: skip
    axes = figure.axes[0]
    read = [str(lead) for lead in fiducials.per_lead["lead"].values]
    traces = [line for line in axes.get_lines() if str(line.get_gid()).startswith("lead-")]
    traces = [line for line in traces if str(line.get_gid()) != "lead-change"]
    # All strips of a sheet share one clock: x is the margin plus the time since `start_s`.
    left_mm = min((float(np.asarray(line.get_xdata())[0]) for line in traces), default=0.0)
    mm_per_sample = MM_PER_S / rate_hz
    for line in traces:
        lead = str(line.get_gid()).removeprefix("lead-")
        if lead not in read:
            continue
        x, y = (np.asarray(d, dtype=np.float64) for d in (line.get_xdata(), line.get_ydata()))
        for wave, colour in WAVE_COLOURS.items():
            samples = fiducials.per_lead.sel(lead=lead, wave=wave).values.astype(np.float64)
            at_mm = left_mm + (samples - start_s * rate_hz) * mm_per_sample
            _draw_waves(axes, x, y, at_mm, colour, name=f"{wave}-{lead}")
    _draw_legend(axes)
    return figure


def draw_median_beat(
    beat: MedianBeat,
    limits: xr.DataArray,
    *,
    values: Mapping[str, float] | None = None,
    title: str = "",
    from_ms: float = -400.0,
    to_ms: float = 600.0,
    dpi: float = 150.0,
) -> Figure:
    """The median beat lead by lead with its limits over all leads, and all leads on one another.

    Each lead has its own scale, in millivolt; the number beside its name is the standard error of
    the average.

    Args:
        beat: the median beat.
        limits: (wave, point) in its samples, as `beat_limits.limits_on_median` gives them.
        values: measurements by name; those that the title has room for are said.
        title: before the measurements.
        from_ms, to_ms: what is drawn, from R.
        dpi: the figure's resolution.
    """
    first = max(0, R_SAMPLE + round(from_ms / 1000 * RATE_HZ))
    last = min(SAMPLES, R_SAMPLE + round(to_ms / 1000 * RATE_HZ) + 1)
    time_ms = (np.arange(first, last) - R_SAMPLE) * 1000 / RATE_HZ
    figure = Figure(figsize=(11.0, 8.6), dpi=dpi, facecolor="#fffdfa", layout="constrained")
    grid = figure.add_gridspec(4, 4, height_ratios=(1, 1, 1, 1.15))
    panels: list[Axes] = []
    for row, leads in enumerate(_BEAT_ROWS):
        for column, lead in enumerate(leads):
            axes = figure.add_subplot(grid[row, column], sharex=panels[0] if panels else None)
            panels.append(axes)
            trace = beat.beat_mv.sel(lead=lead).values[first:last]
            axes.set_title(lead, loc="left", fontsize=9, fontweight="bold", color=INK, pad=2)
            if not np.isfinite(trace).any():
                axes.text(0.5, 0.5, "missing", transform=axes.transAxes, ha="center", color=MUTED)
            else:
                _plot_beat(axes, time_ms, trace, limits)
                noise = float(beat.noise_uv.sel(lead=lead))
                if np.isfinite(noise):
                    axes.set_title(f"± {noise:.0f} µV", loc="right", fontsize=7, color=MUTED, pad=2)
            axes.tick_params(labelbottom=row == 2, labelsize=7, colors=MUTED)
            axes.margins(y=0.12)
            if column == 0:
                axes.set_ylabel("mV", fontsize=8, color=MUTED)
    together = figure.add_subplot(grid[3, :])
    for lead in LEADS:
        trace = beat.beat_mv.sel(lead=lead).values[first:last]
        together.plot(time_ms, trace, color=INK, linewidth=0.7, alpha=0.75, gid=f"all-{lead}")
    _mark_limits(together, limits, named=True)
    together.set_xlabel("ms from R", fontsize=8, color=MUTED)
    together.set_ylabel("mV", fontsize=8, color=MUTED)
    together.tick_params(labelsize=7, colors=MUTED)
    together.set_title("All leads", loc="left", fontsize=9, fontweight="bold", color=INK, pad=14)
    for axes in (*panels, together):
        axes.set_xlim(time_ms[0], time_ms[-1])
        axes.set_facecolor("#fffdfa")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#f0e4de", linewidth=0.5)
    said = [
        f"{label} {values[name]:.0f}{unit}"
        for name, label, unit in _SAID
        if values is not None and np.isfinite(values.get(name, np.nan))
    ]
    made = f"{beat.n_beats} of {beat.n_found} beats" if beat.source == "strip" else "the cart's own"
    heading = " · ".join(filter(None, [title, *said, made]))
    figure.suptitle(heading, x=0.01, ha="left", fontsize=10, fontweight="bold", color=INK)
    return figure


def _draw_waves(
    axes: Axes,
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    at_mm: npt.NDArray[np.float64],
    colour: str,
    name: str,
) -> None:
    """Colour the trace (x, y) inside each wave; `at_mm`: (beat, point of onset, peak, offset)."""
    if len(x) < 2:
        return
    ticks_x: list[float] = []
    ticks_y: list[float] = []
    inside = np.zeros(len(x), dtype=bool)
    for onset, peak, offset in at_mm:
        inside |= (x >= onset) & (x <= offset)
        for edge in (onset, offset):
            if x[0] <= edge <= x[-1]:
                middle = float(np.interp(edge, x, y))
                ticks_x += [edge, edge, np.nan]
                ticks_y += [middle - _TICK_MM, middle + _TICK_MM, np.nan]
        if x[0] <= peak <= x[-1]:
            axes.plot(
                [peak], [float(np.interp(peak, x, y))], "o", color=colour, markersize=2.2, zorder=5
            )
    if inside.any():
        axes.plot(
            x,
            np.where(inside, y, np.nan),
            color=colour,
            linewidth=1.3,
            zorder=4,
            gid=f"wave-{name}",
        )
    if ticks_x:
        axes.plot(ticks_x, ticks_y, color=colour, linewidth=0.8, zorder=5, gid=f"limits-{name}")


def _draw_legend(axes: Axes) -> None:
    right, y = axes.get_xlim()[1] - 5.0, 5.0
    for place, (wave, colour) in enumerate(reversed(WAVE_COLOURS.items())):
        x = right - 22.0 * place
        axes.plot([x - 16, x - 9], [y + 1.2] * 2, color=colour, linewidth=2.2, gid=f"legend-{wave}")
        axes.text(x - 8, y, wave, fontsize=8, color=INK, va="bottom")


def _plot_beat(
    axes: Axes,
    time_ms: npt.NDArray[np.float64],
    trace_mv: npt.NDArray[np.float32],
    limits: xr.DataArray,
) -> None:
    axes.plot(time_ms, trace_mv, color=INK, linewidth=0.9, zorder=2)
    for wave, colour in WAVE_COLOURS.items():
        onset, offset = _span_ms(limits, wave)
        inside = (time_ms >= onset) & (time_ms <= offset)
        axes.plot(
            time_ms, np.where(inside, trace_mv, np.nan), color=colour, linewidth=1.5, zorder=3
        )
    _mark_limits(axes, limits, named=False)


def _mark_limits(axes: Axes, limits: xr.DataArray, *, named: bool) -> None:
    for wave, colour in WAVE_COLOURS.items():
        span = _span_ms(limits, wave)
        for point, at in zip(("onset", "offset"), span, strict=True):
            if np.isfinite(at):
                axes.axvline(at, color=colour, linewidth=0.7, zorder=1, gid=f"{wave}-{point}")
        onset, offset = span
        if np.isfinite(onset + offset):
            axes.axvspan(onset, offset, color=colour, alpha=0.08, linewidth=0, zorder=0)
            if named:
                axes.text(
                    (onset + offset) / 2, 1.02, f"{wave} {offset - onset:.0f} ms", fontsize=8,
                    color=colour, ha="center", va="bottom", transform=axes.get_xaxis_transform(),
                )  # fmt: skip


def _span_ms(limits: xr.DataArray, wave: str) -> tuple[float, float]:
    onset, offset = (
        (float(limits.sel(wave=wave, point=point)) - R_SAMPLE) * 1000 / RATE_HZ
        for point in ("onset", "offset")
    )
    return onset, offset
