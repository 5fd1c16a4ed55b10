"""Figures of relevance per record, and how every figure of the report is made and written.

A figure function takes a findings table and returns the figure and the rows that it draws, so that
every picture lies beside its numbers. Figures are built on the Agg canvas, without pyplot and its
global state: any number can be drawn in one process, in any thread.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter
from PIL import Image

from leadlight.atomic import written_whole
from leadlight.report.colours import CASE, CONTROL, INK, MUTED, OUTCOMES

MODELS = ("trained", "random")
MODEL_NAMES = {"trained": "trained network", "random": "random weights (control)"}
DPI = 150
_PNG_COLOURS = 256  # a drawing has few colours: a palette keeps it a third of the size
_MANY = 500  # above this many records a strip of single ticks is a smear
# Fewer records are shown as ticks only: their histogram would be a row of towers.
_FEWEST_IN_HISTOGRAM = 5
_BINS = 30


@dataclass(frozen=True)
class WrittenFigure:
    """A figure on disk: the picture and the rows that it draws."""

    png: Path
    csv: Path


def blank_figure(width_in: float, height_in: float) -> Figure:
    """A white figure on the Agg canvas, laid out so that labels do not collide."""
    figure = Figure(figsize=(width_in, height_in), dpi=DPI, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def tidy_axes(axes: Axes, *, title: str = "", size: float = 8.5) -> None:
    """The plain look of all charts: no box, quiet ticks, powers of ten instead of long decimals."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#b5bac0")
    axes.tick_params(labelsize=size - 0.5, colors=MUTED, length=3, width=0.6)
    axes.xaxis.label.set(fontsize=size, color=INK)
    axes.yaxis.label.set(fontsize=size, color=INK)
    for axis in (axes.xaxis, axes.yaxis):
        if isinstance(axis.get_major_formatter(), ScalarFormatter):
            formatter = ScalarFormatter(useMathText=True)
            formatter.set_powerlimits((-3, 4))
            axis.set_major_formatter(formatter)
            axis.get_offset_text().set(fontsize=size - 1, color=MUTED)
    if title:
        axes.set_title(title, fontsize=size + 0.5, color=INK, loc="left", fontweight="bold")


def write_figure(figure: Figure, data: pl.DataFrame, folder: Path, name: str) -> WrittenFigure:
    """Write `name.png` and `name.csv` into `folder`, each whole or not at all.

    The picture is stored with a palette of 256 colours. Numbers in the CSV have 6 digits; columns
    that hold lists are left out.
    """
    png, csv = folder / f"{name}.png", folder / f"{name}.csv"
    with written_whole(png) as partial:
        partial.write_bytes(png_bytes(figure))
    flat = data.select(c for c, kind in data.schema.items() if not kind.is_nested())
    rounded = flat.with_columns(pl.selectors.float().round_sig_figs(6))
    with written_whole(csv) as partial:
        rounded.write_csv(partial)
    return WrittenFigure(png=png, csv=csv)


def png_bytes(figure: Figure) -> bytes:
    """The figure as a PNG of few colours, at the figure's own size and resolution."""
    # The canvas is drawn once; savefig would draw twice, and layout is half of the work.
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    picture = Image.fromarray(pixels[..., :3].copy())
    picture = picture.quantize(
        _PNG_COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE
    )
    out = io.BytesIO()
    picture.save(out, "PNG", dpi=(figure.dpi, figure.dpi))
    return out.getvalue()


def draw_identity(records: pl.DataFrame, class_name: str) -> tuple[Figure, pl.DataFrame]:
    """Mean relevance per record against the probability, with the line that it cannot leave.

    Relevance sums to z(x) − z(0), so its mean is (logit(p) − z(0)) / (leads × samples). The line
    is drawn from the records' own baseline logit, where that is the same for all.

    Args:
        records: `findings/records.parquet`.
        class_name: the explained class.
    """
    data = records.filter(pl.col("class") == class_name).select(
        "record_id", "class", "model", "group", "outcome", "probability", "logit",
        "baseline_logit", "total_relevance", "mean_relevance", "completeness_error",
    )  # fmt: skip
    models = [m for m in MODELS if m in data["model"]]
    figure = blank_figure(9.0, 4.1)
    for column, model in enumerate(models):
        axes = figure.add_subplot(1, max(len(models), 1), column + 1)
        rows = data.filter(pl.col("model") == model)
        _identity_line(axes, rows)
        axes.axhline(0, color="#d0d4d8", linewidth=0.7, zorder=0)
        # The rarest outcomes are drawn last, so that they are not buried.
        for outcome, part in sorted(
            ((o, rows.filter(pl.col("outcome") == o)) for o in OUTCOMES), key=lambda p: -p[1].height
        ):
            colour, marker, name = OUTCOMES[outcome]
            axes.scatter(
                part["probability"].to_numpy(),
                part["mean_relevance"].to_numpy(),
                s=20 if rows.height <= _MANY else 9,
                c=colour,
                marker=marker,
                edgecolors="white",
                linewidths=0.4,
                alpha=0.85,
                label=f"{name} ({part.height})",
                rasterized=True,
            )
        axes.set_xlabel(f"probability of {literal(class_name)}")
        if column == 0:
            axes.set_ylabel("mean relevance of a record (logit per sample)")
        tidy_axes(axes, title=MODEL_NAMES[model])
        if rows["probability"].n_unique() > 1 and model == "trained":
            axes.set_xlim(-0.03, 1.03)
        axes.legend(fontsize=7.5, frameon=False, labelcolor=INK, loc="best", handletextpad=0.3)
    return figure, data


def _identity_line(axes: Axes, rows: pl.DataFrame) -> None:
    mean, total = rows["mean_relevance"].to_numpy(), rows["total_relevance"].to_numpy()
    some = np.abs(mean) > 0
    baseline = rows["baseline_logit"].to_numpy()
    if not some.any() or np.ptp(baseline) > 1e-3 * max(1.0, float(np.abs(baseline).max())):
        return
    n_values = float(np.median(total[some] / mean[some]))
    probability = rows["probability"].to_numpy()
    low, high = float(probability.min()), float(probability.max())
    p = np.linspace(max(low, 1e-4), min(high, 1 - 1e-4), 400)
    line = (np.log(p / (1 - p)) - float(np.median(baseline))) / n_values
    axes.plot(p, line, color=MUTED, linewidth=1, zorder=1, label="identity: (z(x) − z(0)) / n")


def draw_distributions(records: pl.DataFrame, class_name: str) -> tuple[Figure, pl.DataFrame]:
    """Mean relevance per record by group: histograms of shares, and one tick per record.

    Args:
        records: `findings/records.parquet`.
        class_name: the explained class; it is the case group, all other groups are compared.
    """
    data = records.filter(pl.col("class") == class_name).select(
        "record_id", "class", "model", "group", "outcome", "mean_relevance"
    )
    models = [m for m in MODELS if m in data["model"]]
    groups = sorted(data["group"].unique().to_list(), key=lambda g: (g != class_name, g))
    figure = blank_figure(9.0, 3.6)
    panels = figure.subplots(
        2, max(len(models), 1), height_ratios=(4, 1), sharex="col", squeeze=False
    )
    for column, model in enumerate(models):
        upper, lower = panels[:, column]
        rows = data.filter(pl.col("model") == model)
        values = rows["mean_relevance"].drop_nulls().to_numpy()
        edges = np.histogram_bin_edges(values, bins=_BINS) if values.size else np.linspace(0, 1, 2)
        for row, group in enumerate(groups):
            part = rows.filter(pl.col("group") == group)["mean_relevance"].drop_nulls().to_numpy()
            colour = group_colour(group, class_name)
            if not part.size:
                continue
            _strip(lower, part, row, colour)
            if len(part) < _FEWEST_IN_HISTOGRAM:
                continue
            share = np.histogram(part, edges)[0] / len(part) * 100
            label = f"{literal(group)} ({len(part)} records)"
            upper.stairs(share, edges, color=colour, linewidth=1.3, label=label)
            upper.stairs(share, edges, color=colour, fill=True, alpha=0.15)
        lower.set_ylim(len(groups) - 0.4, -0.6)
        for axes in (upper, lower):
            axes.axvline(0, color="#b5bac0", linewidth=0.7, zorder=0)
        tidy_axes(upper, title=MODEL_NAMES[model])
        tidy_axes(lower)
        upper.tick_params(bottom=False)
        lower.spines["left"].set_visible(False)
        lower.set_yticks(range(len(groups)), [literal(g) for g in groups] if column == 0 else [])
        lower.tick_params(axis="y", length=0)
        lower.set_xlabel("mean relevance of a record (logit per sample)")
        if column == 0:
            upper.set_ylabel("share of the group (%)")
        if upper.get_legend_handles_labels()[0]:
            upper.legend(fontsize=7.5, frameon=False, labelcolor=INK, loc="best")
    return figure, data


def _strip(axes: Axes, values: npt.NDArray[np.float64], row: int, colour: str) -> None:
    """One tick per record; for many records a box from the 5th to the 95th percentile."""
    if len(values) <= _MANY:
        ticks = np.full(len(values), row)
        axes.scatter(values, ticks, marker="|", s=40, c=colour, linewidths=0.7)
        return
    low, left, middle, right, high = np.percentile(values, (5, 25, 50, 75, 95))
    axes.plot([low, high], [row, row], color=colour, linewidth=1)
    axes.plot([left, right], [row, row], color=colour, linewidth=5, solid_capstyle="butt")
    axes.plot(middle, row, "|", color="white", markersize=6)


def literal(text: str) -> str:
    """The text as it is: a dollar sign in a name must not begin a formula."""
    return text.replace("$", r"\$")


def group_colour(group: str, class_name: str) -> str:
    """Cases are orange, controls blue, everyone else grey."""
    if group == class_name:
        return CASE
    return CONTROL if group == "NORM" else MUTED
