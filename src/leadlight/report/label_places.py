"""Labels beside points so that none lies on another label or leaves the panel."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Annotation

from leadlight.report.colours import INK, MUTED

Floats = npt.NDArray[np.float64]
# Directions in which a label is tried, right and left first; distances in points.
_ANGLES = np.deg2rad([20, 160, -20, 200, 55, 125, -55, 235, 90, 270])
_DISTANCES = (5, 9, 14, 20, 28)
_LINE_FROM = 9  # points: nearer labels need no line
_GAP = 2.0  # pixels between two labels


def place_labels(
    axes: Axes,
    points: Sequence[tuple[float, float]],
    texts: Sequence[str],
    *,
    avoid: Floats | None = None,
    size: float = 7,
) -> list[Annotation]:
    """Label `points` (x, y in data), the most important first; a thin line leads to far labels.

    Meant for numbers and short words. A label that finds no room is left out. avoid: (point, 2)
    other points that labels should not cover, where that can be had. Call it last, when limits and
    layout are settled: the figure is drawn once to measure, and its layout is then fixed.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    figure.set_layout_engine("none")
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    room = axes.get_window_extent(renderer)
    scale = figure.dpi / 72
    marks = axes.transData.transform(np.array(points, dtype=np.float64).reshape(-1, 2))
    others = marks if avoid is None or not len(avoid) else axes.transData.transform(avoid)
    taken: list[tuple[float, float, float, float]] = []
    placed = []
    line = {"arrowstyle": "-", "color": MUTED, "lw": 0.5, "shrinkA": 0, "shrinkB": 2}
    for place, (x, y), text in zip(marks, points, texts, strict=True):
        shown = axes.text(x, y, text, fontsize=size)
        box = shown.get_window_extent(renderer)
        shown.remove()
        best, cost = None, np.inf
        for step, distance in enumerate(_DISTANCES):
            for angle in _ANGLES:
                dx, dy = distance * scale * np.cos(angle), distance * scale * np.sin(angle)
                left = place[0] + dx - (0 if dx > 1 else box.width if dx < -1 else box.width / 2)
                low = place[1] + dy - box.height / 2
                spot = left, low, left + box.width, low + box.height
                inside = (
                    spot[0] >= room.x0 and spot[1] >= room.y0
                    and spot[2] <= room.x1 and spot[3] <= room.y1
                )  # fmt: skip
                if not inside or any(_overlap(spot, other) for other in taken):
                    continue
                covered = np.sum(
                    (others[:, 0] > spot[0] - _GAP) & (others[:, 0] < spot[2] + _GAP)
                    & (others[:, 1] > spot[1] - _GAP) & (others[:, 1] < spot[3] + _GAP)
                )  # fmt: skip
                price = step + 1.5 * float(covered)
                if price < cost:
                    best, cost = (spot, dx, dy), price
            if best is not None and cost <= step:
                break
        if best is None:
            continue
        spot, dx, dy = best
        taken.append(spot)
        side = "left" if dx > 1 else "right" if dx < -1 else "center"
        placed.append(
            axes.annotate(
                text,
                (x, y),
                xytext=(dx / scale, dy / scale),
                textcoords="offset points",
                ha=side,
                va="center",
                fontsize=size,
                color=INK,
                arrowprops=line if np.hypot(dx, dy) > (_LINE_FROM + 0.1) * scale else None,
                zorder=6,
            )
        )
    return placed


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    apart = a[2] + _GAP < b[0] or b[2] + _GAP < a[0] or a[3] + _GAP < b[1] or b[3] + _GAP < a[1]
    return not apart
