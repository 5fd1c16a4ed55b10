"""A locus up close: association with linkage in colours, credible set, recombination and genes; and
the map of factors by loci.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import (
    BoundaryNorm,
    LinearSegmentedColormap,
    ListedColormap,
    TwoSlopeNorm,
    to_rgba,
)
from matplotlib.figure import Figure, SubFigure
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import pdist

from leadlight.report.colours import CASE, CONTROL, INK, MUTED
from leadlight.report.figures import blank_figure, tidy_axes
from leadlight.report.manhattan import GENOME_WIDE

# Linkage from none to full: one hue from pale to dark, so that order survives in grey and for
# colour-blind eyes (cividis-like).
R2_EDGES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
R2_COLOURS = ("#cfd4d9", "#9db7cc", "#5f93bd", "#e0913f", "#b3380a")
UNKNOWN = "#e6e8ea"
_MOST_ROWS = 5
_LABEL_SHARE = 0.012


def draw_locus(
    variants: pl.DataFrame,
    genes: pl.DataFrame,
    recombination: pl.DataFrame,
    *,
    chromosome: str,
    span: tuple[int, int],
    lead: str,
    trait: str,
    mark: tuple[int, int] | None = None,
) -> tuple[Figure, pl.DataFrame]:
    """The locus zoom; see `locus_on`."""
    figure = blank_figure(8.2, 5.4)
    locus_on(figure, variants, genes, recombination, chromosome=chromosome, span=span, lead=lead,
             trait=trait, mark=mark)  # fmt: skip
    return figure, variants


def locus_on(
    figure: Figure | SubFigure,
    variants: pl.DataFrame,
    genes: pl.DataFrame,
    recombination: pl.DataFrame,
    *,
    chromosome: str,
    span: tuple[int, int],
    lead: str,
    trait: str,
    mark: tuple[int, int] | None = None,
) -> None:
    """−log10 p by place, coloured by r² with the lead variant, over a track of genes.

    Args:
        figure: or a part of one.
        variants: `rsid, base_pair_location, neg_log_10_p_value, r2, pip, in_set`.
        genes: `gene, start, end, strand`; may be empty.
        recombination: `position, rate`; may be empty.
        chromosome, span: the stretch.
        lead: the diamond; "" for none.
        trait: whose p-values these are.
        mark: a stretch to be shaded, such as the gene whose burden is meant.
    """
    tracks = _gene_rows(genes, span)
    heights = [4.0, 0.35 + 0.32 * max(1, len(tracks))] if not genes.is_empty() else [1.0]
    axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False,
                           gridspec_kw={"height_ratios": heights})[:, 0]  # fmt: skip
    upper: Axes = axes[0]
    y = variants["neg_log_10_p_value"].to_numpy()
    x = variants["base_pair_location"].to_numpy() / 1e6
    top = 1.12 * max(float(np.nanmax(y)) if len(y) else 1.0, GENOME_WIDE)
    if not recombination.is_empty():
        _recombination_on(upper, recombination)
    if mark is not None:
        upper.axvspan(mark[0] / 1e6, mark[1] / 1e6, color=CASE, alpha=0.12, lw=0, zorder=0)
    known = variants["r2"].is_not_null().to_numpy()
    r2 = variants["r2"].fill_null(0.0).to_numpy()
    palette = ListedColormap(R2_COLOURS)
    bins = BoundaryNorm(R2_EDGES, palette.N)
    is_lead = (variants["rsid"] == lead).to_numpy() if lead else np.zeros(len(x), dtype=bool)
    order = np.argsort(r2, kind="stable")
    colours = np.where(known[:, None], palette(bins(r2)), to_rgba(UNKNOWN))
    dots = order[~is_lead[order]]
    upper.scatter(x[dots], y[dots], s=17, c=colours[dots], edgecolors="#4a5057", linewidths=0.25,
                  zorder=3, rasterized=True)  # fmt: skip
    chosen = variants["in_set"].fill_null(False).to_numpy() & ~is_lead
    upper.scatter(x[chosen], y[chosen], s=52, facecolors="none", edgecolors=INK, linewidths=1.0,
                  zorder=4)  # fmt: skip
    if is_lead.any():
        upper.scatter(x[is_lead], y[is_lead], s=62, marker="D", c=CASE, edgecolors="black",
                      linewidths=0.8, zorder=6)  # fmt: skip
        right = x[is_lead][0] > np.mean(span) / 1e6
        upper.annotate(
            lead, (x[is_lead][0], y[is_lead][0]), (-9 if right else 9, 3),
            textcoords="offset points", fontsize=8.5, color=INK, ha="right" if right else "left",
            fontweight="bold", zorder=7, parse_math=False,
        )  # fmt: skip
    upper.axhline(GENOME_WIDE, color=CONTROL, lw=0.8, ls=(0, (4, 2)), zorder=1)
    upper.set(ylim=(0, top), xlim=(span[0] / 1e6, span[1] / 1e6), ylabel="−log₁₀ p")
    tidy_axes(upper, title=f"{trait}", size=8.5)
    _r2_key(upper, bool(known.any()), bool(chosen.any()))
    if len(axes) > 1:
        _genes_on(axes[1], tracks, span)
    axes[-1].set_xlabel(f"chromosome {chromosome}, Mb", fontsize=8.5, color=INK)
    axes[-1].ticklabel_format(axis="x", useOffset=False, style="plain")


def draw_heat_map(
    z: npt.NDArray[np.float64],
    q: npt.NDArray[np.float64],
    loci: list[str],
    factors: list[str],
    *,
    labels: list[str] | None = None,
) -> tuple[Figure, pl.DataFrame]:
    """Signed z of each factor at each locus, both clustered; dots mark what passes the FDR.

    Args:
        z: (locus, factor), each locus's sign free.
        q: (locus, factor) Benjamini–Hochberg values over the whole table.
        loci: names.
        factors: names.
        labels: what stands at the factors' axis instead of their names.
    """
    shown = labels or factors
    signed = z * np.where(z[np.arange(len(z)), np.abs(z).argmax(axis=1)] < 0, -1, 1)[:, None]
    rows, columns = _leaf_order(signed), _leaf_order(signed.T)
    image = signed[rows][:, columns]
    figure = blank_figure(3.4 + 0.30 * len(factors), 2.2 + 0.24 * len(loci))
    axes = figure.subplots()
    limit = max(6.0, float(np.quantile(np.abs(image), 0.99)))
    drawn = axes.imshow(image, cmap=HEAT, norm=TwoSlopeNorm(0, -limit, limit), aspect="auto",
                        interpolation="nearest")  # fmt: skip
    row, column = np.nonzero(q[rows][:, columns] < 0.05)
    strong = np.abs(image[row, column]) > 0.55 * limit
    axes.scatter(column, row, s=11, c=np.where(strong, "white", INK), linewidths=0)
    axes.set_xticks(range(len(factors)), [shown[k] for k in columns], rotation=55, ha="right",
                    rotation_mode="anchor")  # fmt: skip
    axes.set_yticks(range(len(loci)), [loci[k] for k in rows])
    axes.tick_params(labelsize=8, colors=INK, length=0)
    axes.set_xticks(np.arange(-0.5, len(factors)), minor=True)
    axes.set_yticks(np.arange(-0.5, len(loci)), minor=True)
    axes.grid(which="minor", color="white", lw=1.2)
    axes.tick_params(which="minor", length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    bar = figure.colorbar(drawn, ax=axes, shrink=0.5, aspect=22, pad=0.015, extend="both")
    bar.set_label("z (sign: the strongest factor of a locus is positive)", fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=7.5, colors=MUTED, length=2)
    bar.outline.set_visible(False)
    axes.set_title("Factors by loci; a dot: false discovery rate below 5 %", fontsize=9.5,
                   color=INK, loc="left", fontweight="bold")  # fmt: skip
    table = pl.DataFrame(
        {
            "locus": [loci[k] for k in rows for _ in columns],
            "factor": [factors[k] for _ in rows for k in columns],
            "z": image.ravel(),
            "q": q[rows][:, columns].ravel(),
        }
    )
    return figure, table


# The ends of the map of relevance with white between them: an empty cell says nothing.
HEAT = LinearSegmentedColormap.from_list(
    "heat",
    ["#053a9e", "#1f6fdb", "#a9c8ef", "#f8f8f8", "#f5c6af", "#de4a1a", "#9c0f0f"],
)


def _leaf_order(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    if len(values) < 3:
        return np.arange(len(values))
    scaled = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-9)
    # What is alike up to the sign belongs together.
    distance = 1 - np.abs(scaled @ scaled.T)
    upper = distance[np.triu_indices(len(values), 1)]
    assert len(upper) == len(pdist(scaled))
    return np.asarray(leaves_list(linkage(np.maximum(upper, 0), "average", optimal_ordering=True)))


def _recombination_on(axes: Axes, recombination: pl.DataFrame) -> None:
    twin = axes.twinx()
    place, rate = recombination["position"].to_numpy() / 1e6, recombination["rate"].to_numpy()
    twin.fill_between(place, rate, step="post", color="#d7e3ec", lw=0)
    twin.set_ylim(0, max(60.0, 1.4 * float(rate.max())))
    twin.set_ylabel("recombination, cM/Mb", fontsize=7.5, color="#6f8ea6")
    twin.tick_params(labelsize=7, colors="#6f8ea6", length=2)
    for side in ("top", "left"):
        twin.spines[side].set_visible(False)
    twin.spines["right"].set_color("#c3d3df")
    twin.set_zorder(axes.get_zorder() - 1)
    axes.patch.set_visible(False)


def _r2_key(axes: Axes, known: bool, with_set: bool) -> None:
    handles: list[Any] = []
    if known:
        for low, high, colour in zip(R2_EDGES[:-1], R2_EDGES[1:], R2_COLOURS, strict=True):
            handles.append(
                axes.scatter(
                    [],
                    [],
                    s=22,
                    c=colour,
                    edgecolors="#4a5057",
                    linewidths=0.3,
                    label=f"r² {low:.1f}–{high:.1f}",
                )
            )
        handles.reverse()
    if with_set:
        handles.append(axes.scatter([], [], s=46, facecolors="none", edgecolors=INK,
                                    label="credible set"))  # fmt: skip
    if handles:
        axes.legend(handles=handles, fontsize=7.2, frameon=True, framealpha=0.85,
                    edgecolor="none", labelcolor=INK, loc="upper left", handletextpad=0.2,
                    borderpad=0.3, labelspacing=0.3)  # fmt: skip


def _gene_rows(genes: pl.DataFrame, span: tuple[int, int]) -> list[list[dict[str, Any]]]:
    """Genes on as few rows as keep their names apart."""
    width = span[1] - span[0]
    rows: list[list[dict[str, Any]]] = []
    ends: list[float] = []
    for gene in genes.sort("start").to_dicts():
        start, end = max(gene["start"], span[0]), min(gene["end"], span[1])
        name_end = start + _LABEL_SHARE * width * (len(gene["gene"]) + 2)
        place = next((k for k, taken in enumerate(ends) if taken < start), len(ends))
        if place == len(ends):
            if place == _MOST_ROWS:
                continue
            rows.append([])
            ends.append(0.0)
        rows[place].append({**gene, "start": start, "end": end})
        ends[place] = max(end, name_end) + 0.01 * width
    return rows


def _genes_on(axes: Axes, rows: list[list[dict[str, Any]]], span: tuple[int, int]) -> None:
    for place, row in enumerate(rows):
        for gene in row:
            axes.plot([gene["start"] / 1e6, gene["end"] / 1e6], [-place] * 2, color=CONTROL, lw=3.2,
                      solid_capstyle="butt")  # fmt: skip
            arrow = {"+": " →", "-": " ←"}.get(gene["strand"], "")
            axes.text(gene["start"] / 1e6, -place + 0.2, gene["gene"] + arrow, fontsize=7.5,
                      color=INK, style="italic", va="bottom", parse_math=False)  # fmt: skip
    if not rows:
        axes.text(0.5, 0.5, "no gene here", transform=axes.transAxes, ha="center", va="center",
                  fontsize=8, color=MUTED)  # fmt: skip
    axes.set_ylim(-len(rows) + 0.5, 0.9)
    axes.set_yticks([])
    tidy_axes(axes)
    axes.spines["left"].set_visible(False)
