"""QQ plots of many traits, each with its λGC and interval."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import betaincinv

from leadlight.errors import LeadlightError
from leadlight.genetics.inflation import genomic_inflation
from leadlight.report.colours import CASE, INK, MUTED
from leadlight.report.figures import blank_figure, tidy_axes

_DRAWN = 400  # points beyond the smallest hundred p-values, evenly on the logarithmic axis


def qq(tables: Mapping[str, Path], *, columns: int = 5) -> Figure:
    """One panel per trait (trait → Parquet of `leadlight gwas`): observed and expected −log10 p.

    The band holds 95 % of each order statistic of independent tests. λGC stands with its jackknife
    interval where there are enough variants. Raises LeadlightError where nothing is given.
    """
    if not tables:
        raise LeadlightError("No trait was given.", advice="Give the tables of leadlight gwas.")
    columns = min(columns, len(tables))
    rows = -(-len(tables) // columns)
    figure = blank_figure(2.2 * columns + 0.4, 2.3 * rows + 0.2)
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes in panels.ravel()[len(tables) :]:
        axes.set_visible(False)
    for axes, (trait, path) in zip(panels.ravel(), tables.items(), strict=False):
        column = pq.read_table(path, columns=["neg_log_10_p_value"])["neg_log_10_p_value"]
        _panel(axes, trait, column.to_numpy().astype(np.float64))
    for axes in panels[:, 0]:
        axes.set_ylabel("observed −log₁₀ p")
    for axes in panels.ravel()[max(0, len(tables) - columns) : len(tables)]:
        axes.set_xlabel("expected −log₁₀ p")
    return figure


def expected_and_band(n: int, ranks: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """(4, rank) −log10 of: expected p, its 2.5 % and 97.5 % quantiles, and p = (rank − ½)/n.

    ranks: from 1, of n independent uniform p-values: the k-th smallest is Beta(k, n − k + 1).
    """
    k = ranks.astype(np.float64)
    low, high = (betaincinv(k, n - k + 1, share) for share in (0.025, 0.975))
    with np.errstate(divide="ignore"):
        return np.asarray(-np.log10(np.stack([k / (n + 1), high, low, (k - 0.5) / n])))


def drawn_ranks(n: int) -> npt.NDArray[np.int64]:
    """Ranks to draw: the hundred smallest p-values, then evenly on the logarithmic axis."""
    spread = np.geomspace(1, n, _DRAWN).round().astype(np.int64)
    return np.unique(np.concatenate([np.arange(1, min(n, 100) + 1), spread]))


def _panel(axes: Axes, trait: str, neg_log_10_p: npt.NDArray[np.float64]) -> None:
    in_order = neg_log_10_p[np.isfinite(neg_log_10_p)]
    n = len(in_order)
    if not n:
        raise LeadlightError(f"{trait} has no variant.", advice="Nothing can be drawn.")
    observed = np.sort(in_order)[::-1]
    ranks = drawn_ranks(n)
    expected, low, high, _ = expected_and_band(n, ranks)
    axes.fill_between(expected, low, high, color="#dde2e7", lw=0)
    axes.plot([0, expected[0]], [0, expected[0]], color=MUTED, lw=0.7)
    axes.scatter(expected, observed[ranks - 1], s=5, c=CASE, linewidths=0, zorder=3)
    try:
        found = genomic_inflation(in_order)
        said = f"λ {found.lambda_gc:.3f} ({found.low:.3f}–{found.high:.3f})"
    except LeadlightError:
        said = f"{n} variants"
    axes.text(0.04, 0.93, said, transform=axes.transAxes, fontsize=7, color=INK, va="top")
    axes.set(xlim=(0, None), ylim=(0, None))
    tidy_axes(axes, title=trait, size=8)
