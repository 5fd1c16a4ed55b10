"""The Manhattan plot of many traits: the genome's peaks above, whose they are below.

Above: all traits laid over each other. Below: a row per trait with a mark at each of its hits.
Points are thinned to what a pixel shows; from the suggestive line on, none is left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from leadlight.errors import LeadlightError
from leadlight.report.colours import CASE, CONTROL, INK, MUTED
from leadlight.report.figures import blank_figure, tidy_axes

GENOME_WIDE = -np.log10(5e-8)
SUGGESTIVE = 5.0
_COLUMNS, _ROWS = 1600, 240  # what the upper panel resolves
_HITS = LinearSegmentedColormap.from_list("hits", ["#f0b48a", CASE, "#5c1d02"])
_CHROMOSOMES = (*map(str, range(1, 23)), "X", "Y", "MT")


@dataclass(frozen=True)
class Genome:
    """Where chromosomes begin on one axis. starts: chromosome → first place; end: the whole."""

    starts: Mapping[str, float]
    end: float


@dataclass(frozen=True)
class Points:
    """What is drawn of one trait. x: place on the genome's axis; y: −log10 p."""

    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    chromosome: npt.NDArray[np.str_]


def read_points(path: Path) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.int64], npt.NDArray]:  # type: ignore[type-arg]
    """(chromosome, position, −log10 p) of one trait's table."""
    columns = ["chromosome", "base_pair_location", "neg_log_10_p_value"]
    table = pq.read_table(path, columns=columns)
    if not table.num_rows:
        raise LeadlightError(f"{path} has no variant.", advice="Nothing can be drawn.")
    return (
        np.array(table["chromosome"].to_pylist()),
        table["base_pair_location"].to_numpy(),
        table["neg_log_10_p_value"].to_numpy().astype(np.float64),
    )


def thinned(points: Points, end: float, top: float) -> npt.NDArray[np.int64]:
    """Numbers of the points to draw: one per pixel below the suggestive line, all from it on."""
    column = (points.x / end * _COLUMNS).astype(np.int64)
    row = (points.y / top * _ROWS).astype(np.int64)
    _, first = np.unique(column * (_ROWS + 1) + row, return_index=True)
    hits = np.flatnonzero(points.y >= SUGGESTIVE)
    return np.union1d(first, hits)


def manhattan(
    tables: Mapping[str, Path], *, threshold: float = GENOME_WIDE, title: str = ""
) -> Figure:
    """Draw the tables (trait → Parquet of `leadlight gwas`) of one study.

    threshold: −log10 p of the line drawn across, and of a hit. Raises LeadlightError where there is
    nothing to draw.
    """
    if not tables:
        raise LeadlightError("No trait was given.", advice="Give the tables of leadlight gwas.")
    read = {trait: read_points(path) for trait, path in tables.items()}
    genome = _genome([(names, places) for names, places, _ in read.values()])
    points = {
        trait: Points(_on_axis(genome, names, places), y, names)
        for trait, (names, places, y) in read.items()
    }
    top = max(threshold * 1.15, *(1.04 * one.y.max() for one in points.values()))
    rows = len(points)
    figure = blank_figure(11, 3.6 + 0.22 * rows)
    upper, lower = figure.subplots(
        2, 1, sharex=True, gridspec_kw={"height_ratios": [3.2, 0.3 + 0.22 * rows]}
    )
    for one in points.values():
        drawn = thinned(one, genome.end, top)
        odd = np.array([list(genome.starts).index(c) % 2 for c in one.chromosome[drawn]])
        hit = one.y[drawn] >= threshold
        for colour, chosen in (
            ("#9aa3ad", ~hit & (odd == 0)),
            ("#c3c9d0", ~hit & (odd == 1)),
            (CASE, hit),
        ):
            upper.scatter(
                one.x[drawn][chosen],
                one.y[drawn][chosen],
                s=np.where(hit[chosen], 7, 2.5),
                c=colour,
                linewidths=0,
                zorder=3 if colour == CASE else 2,
                rasterized=True,
            )
    upper.axhline(threshold, color=CONTROL, lw=0.8, zorder=1)
    upper.set(ylabel="−log₁₀ p", ylim=(0, top), xlim=(0, genome.end), title=title)
    tidy_axes(upper)
    for number, (_, one) in enumerate(points.items()):
        lower.axhline(number, color="#e3e6e9", lw=0.6, zorder=1)
        hits = np.flatnonzero(one.y >= threshold)
        hits = hits[np.argsort(one.y[hits])]
        lower.scatter(
            one.x[hits],
            np.full(len(hits), number),
            s=22,
            marker="|",
            c=np.minimum(one.y[hits], 4 * threshold),
            cmap=_HITS,
            vmin=threshold,
            vmax=4 * threshold,
            linewidths=1.4,
            zorder=2,
        )
    lower.set(ylim=(rows - 0.4, -0.6), xlabel="chromosome")
    lower.set_yticks(range(rows), list(points))
    _label_chromosomes(lower, genome)
    tidy_axes(lower)
    lower.tick_params(axis="y", length=0, labelcolor=INK)
    for start in list(genome.starts.values())[1:]:
        lower.axvline(start, color="#e3e6e9", lw=0.6, zorder=0)
    return figure


def _genome(places: Sequence[tuple[npt.NDArray[np.str_], npt.NDArray[np.int64]]]) -> Genome:
    """Chromosomes in their order, each as long as the last variant that any trait has there."""
    last: dict[str, float] = {}
    for names, positions in places:
        for name in np.unique(names):
            length = float(positions[names == name].max())
            last[str(name)] = max(length, last.get(str(name), 1.0))
    order = [name for name in _CHROMOSOMES if name in last]
    order += sorted(set(last) - set(order))
    gap = 0.006 * sum(last.values()) if len(order) > 1 else 0.0
    starts, at = {}, 0.0
    for name in order:
        starts[name] = at
        at += last[name] + gap
    return Genome(starts, max(at - gap, 1.0) * 1.0005)


def _on_axis(
    genome: Genome, names: npt.NDArray[np.str_], positions: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    known, index = np.unique(names, return_inverse=True)
    return np.array([genome.starts[str(name)] for name in known])[index] + positions


def _label_chromosomes(axes: object, genome: Genome) -> None:
    starts = list(genome.starts.values())
    ends = [*starts[1:], genome.end]
    middles = [(a + b) / 2 for a, b in zip(starts, ends, strict=True)]
    narrow = [(b - a) / genome.end < 0.016 for a, b in zip(starts, ends, strict=True)]
    shown, hidden_before = [], False
    for name, slim in zip(genome.starts, narrow, strict=True):
        hide = slim and not hidden_before and name.isdigit() and int(name) % 2 == 0
        shown.append("" if hide else name)
        hidden_before = hide
    axes.set_xticks(middles, shown)  # type: ignore[attr-defined]
    axes.tick_params(axis="x", length=0, colors=MUTED)  # type: ignore[attr-defined]
