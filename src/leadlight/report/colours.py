"""The colours of the house: signed relevance, groups and outcomes, safe for colour-blind eyes.

Relevance runs from blue (speaks against the class) through grey (says nothing) to red (speaks for
it). Grey is dark enough to be read as a trace on white, so a beat stays legible where relevance is
zero. Blue and red differ for every common form of colour blindness; line width repeats the size.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap

RELEVANCE_MAP = LinearSegmentedColormap.from_list(
    "relevance",
    [
        (0.0, "#053a9e"),
        (0.22, "#1f6fdb"),
        (0.40, "#7f9dc0"),
        (0.5, "#8c8c8c"),
        (0.60, "#c98f6c"),
        (0.78, "#de4a1a"),
        (1.0, "#9c0f0f"),
    ],
)
# From Okabe and Ito's set (2008), chosen to keep their order of lightness when printed in grey.
CASE = "#c4500c"
CONTROL = "#2f6f9f"
TRAINED = "#222222"
RANDOM = "#8a8a8a"
INK = "#1f2328"
MUTED = "#5b636b"
# Outcome at the card's threshold: colour and marker both say it.
OUTCOMES = {
    "TP": ("#c4500c", "o", "true positive"),
    "FN": ("#7a2a83", "v", "false negative"),
    "FP": ("#d19a00", "^", "false positive"),
    "TN": ("#2f6f9f", "s", "true negative"),
}
_LEVELS = 16  # colour steps on either side of zero: runs of one level become one line


def symmetric_limit(relevance: npt.ArrayLike, percentile: float = 99.0) -> float:
    """The stated percentile of |relevance|, for colours that run from −limit to +limit.

    Never zero, so that a relevance of zero everywhere is drawn in grey.
    """
    size = np.abs(np.asarray(relevance, dtype=np.float64))
    size = size[np.isfinite(size)]
    limit = float(np.percentile(size, percentile)) if size.size else 0.0
    if limit == 0.0 and size.size:
        limit = float(size.max())
    return limit or 1.0


def coloured_line(
    axes: Axes,
    x: npt.NDArray[Any],
    y: npt.NDArray[Any],
    relevance: npt.NDArray[Any],
    limit: float,
    *,
    widths: tuple[float, float] = (0.8, 2.2),
    **line: Any,
) -> LineCollection:
    """Draw y over x (both (sample,)) coloured by signed relevance (sample,), and return the lines.

    Samples of one colour step are joined into one path, which is many times faster than a segment
    per sample. Where y is NaN nothing is drawn; NaN relevance is drawn as zero.
    Lines go from `widths[0]` at zero to `widths[1]` at the limit, strong ones on top.
    """
    share = np.nan_to_num(np.asarray(relevance, dtype=np.float64) / limit)
    level = np.rint(np.clip((share[:-1] + share[1:]) / 2, -1, 1) * _LEVELS).astype(np.int64)
    drawn = np.isfinite(y[:-1]) & np.isfinite(y[1:])
    # A run ends where the level changes or where a gap begins or ends.
    ends = np.flatnonzero((np.diff(level) != 0) | (np.diff(drawn.astype(np.int8)) != 0)) + 1
    starts = np.concatenate(([0], ends))
    stops = np.concatenate((ends, [len(level)]))
    keep = drawn[starts] if len(level) else np.zeros(0, dtype=bool)
    starts, stops = starts[keep], stops[keep]
    points, gap = np.column_stack([x, y]), np.full((1, 2), np.nan)
    # All runs of a step are one path with gaps: tens of paths, not thousands. Strong ones last.
    steps = sorted(np.unique(level[starts]).tolist(), key=abs)
    paths = [
        np.concatenate(
            [part for run in np.flatnonzero(level[starts] == step)
             for part in (points[starts[run] : stops[run] + 1], gap)]
        )
        for step in steps
    ]  # fmt: skip
    levels = np.array(steps, dtype=np.int64)
    thin, thick = widths
    lines = LineCollection(
        paths,
        colors=RELEVANCE_MAP(0.5 + levels / (2 * _LEVELS)),
        linewidths=thin + (thick - thin) * np.abs(levels) / _LEVELS,
        capstyle="round",
        joinstyle="round",
        **line,
    )
    axes.add_collection(lines, autolim=True)
    return lines
