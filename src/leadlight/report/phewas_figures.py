"""Figures of a phenome scan: volcano, forest, and all outcomes by category.

Direction is said by place or shape and by colour: orange and upward triangles where more of the
exposure goes with more of the outcome, blue and downward ones where it goes with less.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import blended_transform_factory

from leadlight.errors import LeadlightError
from leadlight.genetics.multiple_testing import bonferroni_threshold
from leadlight.report.colours import CASE, CONTROL, INK, MUTED
from leadlight.report.figures import WrittenFigure, blank_figure, literal, tidy_axes, write_figure
from leadlight.report.label_places import place_labels

_QUIET = "#b3bac1"
_SHAPES = {"factor": "o", "locus": "D", "score": "s"}
_TITLES = {
    "predicts": "What the exposures predict",
    "looks": "How those with the disease look",
}
_MODELS = {
    "linear": "linear", "logistic": "logistic", "firth": "Firth's logistic", "cox": "Cox",
    "cox-firth": "Firth's Cox", "welch": "Welch",
}  # fmt: skip
_RATIOS = {"log odds": "odds ratio", "log hazard": "hazard ratio"}
_LONGEST = 38
_BEYOND = 6.0  # times the line: from here on the axis of −log10 p is a square root


def write_phewas_figures(folder: Path) -> list[WrittenFigure]:
    """Draw `folder/phewas.parquet` into `folder/figures`: a PNG and the rows drawn, each.

    For each direction `<direction>_volcano`, `<direction>_forest` and `<direction>_manhattan`.
    """
    path = folder / "phewas.parquet"
    if not path.is_file():
        raise LeadlightError(f"{path} does not exist.", advice="Run leadlight phewas first.")
    results = pl.read_parquet(path)
    written = []
    for direction in _TITLES:
        part = results.filter(pl.col("direction") == direction).drop_nulls("neg_log_10_p_value")
        if not part.height:
            continue
        for name, draw in (
            ("volcano", draw_volcano),
            ("forest", draw_forest),
            ("manhattan", draw_outcomes),
        ):
            figure, rows = draw(part)
            written.append(write_figure(figure, rows, folder / "figures", f"{direction}_{name}"))
    return written


def draw_volcano(results: pl.DataFrame, *, labels: int = 24) -> tuple[Figure, pl.DataFrame]:
    """Effects and −log10 p, a panel per unit of the effect; the best `labels` numbered and named.

    results: rows of one direction of `phewas.parquet`.
    """
    line = bonferroni_threshold(results.height)
    units = results["unit"].unique().sort().to_list()
    named = _named(results, line, labels)
    room = _key_width(named)
    figure = blank_figure(3.5 * len(units) + room, 4.6)
    *panels, key = figure.subplots(
        1, len(units) + 1, gridspec_kw={"width_ratios": [*(3.3,) * len(units), room]}
    )
    drawn = []
    for axes, unit in zip(panels, units, strict=True):
        part = results.filter(pl.col("unit") == unit).sort("neg_log_10_p_value", descending=True)
        drawn.append(part)
        x, y = _numbers(part, "beta"), _numbers(part, "neg_log_10_p_value")
        for kind, shape in _SHAPES.items():
            own = (part["exposure_kind"] == kind).to_numpy()
            colours = np.where(y[own] < line, _QUIET, np.where(x[own] > 0, CASE, CONTROL))
            size = np.where(y[own] < line, 9, 20)
            axes.scatter(
                x[own], y[own], s=size, c=colours, marker=shape, linewidths=0.3,
                edgecolors="white", zorder=3,
            )  # fmt: skip
        axes.axvline(0, color="#c9ced3", lw=0.7, zorder=1)
        reach = 1.2 * max(float(np.abs(x).max()), 1e-6)
        axes.set(xlim=(-reach, reach), xlabel=_effect_name(part))
        _scale_p(axes, float(y.max()), line)
        models = part["model"].unique().sort(descending=True).to_list()
        tidy_axes(axes, title=", ".join(_MODELS[model] for model in models))
    panels[0].set_ylabel("−log₁₀ p")
    figure.suptitle(_title(results), fontsize=10, color=INK, x=0.01, ha="left")
    _kinds_legend(figure, results)
    _write_key(key, named)
    for axes, part in zip(panels, drawn, strict=True):
        mine = named.filter(pl.col("unit") == part["unit"][0])
        hits = part.filter(pl.col("neg_log_10_p_value") >= line)
        _write_numbers(axes, mine, _numbers(mine, "beta"), _numbers(hits, "beta"), hits)
    return figure, pl.concat(drawn)


def draw_forest(results: pl.DataFrame, *, rows: int = 24) -> tuple[Figure, pl.DataFrame]:
    """The `rows` best associations with their 95 % intervals, a panel per unit of the effect.

    What is filled is below 0.05 after Bonferroni. On the right the effect as it is usually told:
    odds and hazard ratios, or SDs, with n, or cases among n.
    """
    line = bonferroni_threshold(results.height)
    best = results.sort("neg_log_10_p_value", descending=True).head(rows)
    units = [unit for unit in results["unit"].unique().sort().to_list() if unit in best["unit"]]
    counts = [best.filter(pl.col("unit") == unit).height for unit in units]
    figure = blank_figure(9.2, 0.9 * len(units) + 0.235 * sum(counts) + 0.6)
    panels = figure.subplots(
        len(units), 1, squeeze=False, gridspec_kw={"height_ratios": [k + 2.2 for k in counts]}
    )[:, 0]
    parts = []
    for axes, unit in zip(panels, units, strict=True):
        part = best.filter(pl.col("unit") == unit).sort(
            ["exposure", "neg_log_10_p_value"], descending=[False, True]
        )
        parts.append(part)
        place = np.arange(part.height)
        beta, low, high = (_numbers(part, name) for name in ("beta", "low", "high"))
        passed = _numbers(part, "neg_log_10_p_value") >= line
        colours = np.where(beta > 0, CASE, CONTROL)
        axes.axvline(0, color="#c9ced3", lw=0.8, zorder=1)
        axes.hlines(place, low, high, colors=colours, lw=1.3, zorder=2)
        axes.scatter(
            beta, place, s=24, c=np.where(passed, colours, "white"), edgecolors=colours,
            linewidths=1.1, zorder=3,
        )  # fmt: skip
        axes.set(ylim=(part.height - 0.4, -0.6), xlabel=_effect_name(part))
        axes.set_yticks(place, [_pair(row) for row in part.iter_rows(named=True)])
        tidy_axes(axes)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        beside = blended_transform_factory(axes.transAxes, axes.transData)
        for at, row in enumerate(part.iter_rows(named=True)):
            axes.text(1.02, at, _told(row), transform=beside, fontsize=7.5, va="center", color=INK)
    figure.suptitle(
        f"{_title(results)}: the {best.height} strongest, with 95 % intervals",
        fontsize=10, color=INK, x=0.01, ha="left",
    )  # fmt: skip
    return figure, pl.concat(parts)


def draw_outcomes(results: pl.DataFrame, *, labels: int = 24) -> tuple[Figure, pl.DataFrame]:
    """−log10 p of every outcome by category, a mark per exposure; triangles say the direction."""
    line = bonferroni_threshold(results.height)
    order = (
        results.select("category", "outcome").unique().sort("category", "outcome")
    ).with_row_index("place")
    data = results.join(order, on=["category", "outcome"]).with_columns(
        pl.col("place").cast(pl.Float64)
    )
    categories = order.group_by("category", maintain_order=True).agg(
        pl.col("place").min().alias("first"), pl.col("place").max().alias("last")
    )
    count = order.height
    width = float(np.clip(4 + 0.09 * count, 6.0, 11))
    room = _key_width(_named(results, line, labels))
    figure = blank_figure(width + room + 0.4, 4.8)
    axes, key = figure.subplots(1, 2, gridspec_kw={"width_ratios": [width, room]})
    x, y, beta = (_numbers(data, name) for name in ("place", "neg_log_10_p_value", "beta"))
    number = {name: at for at, name in enumerate(categories["category"].to_list())}
    odd = np.array([number[name] % 2 for name in data["category"].to_list()])
    hit = y >= line
    shift = _beside(data) * 0.7  # exposures of one outcome stand beside each other
    for positive, shape in ((True, "^"), (False, "v")):
        own = (beta > 0) == positive
        for chosen, colour, size in (
            (own & ~hit & (odd == 0), "#8d96a0", 9),
            (own & ~hit & (odd == 1), "#bfc6cd", 9),
            (own & hit, CASE if positive else CONTROL, 24),
        ):
            axes.scatter(
                (x + shift)[chosen], y[chosen], s=size, marker=shape, c=colour, linewidths=0,
                zorder=3 if size > 9 else 2,
            )  # fmt: skip
    for row in categories.iter_rows(named=True):
        if number[row["category"]] % 2:
            axes.axvspan(row["first"] - 0.5, row["last"] + 0.5, color="#f4f6f8", zorder=0)
    axes.set_xlim(-0.7, count - 0.3)
    middles = (categories["first"] + categories["last"]).to_numpy() / 2
    tidy_axes(axes)
    few = count <= (60 if categories.height == 1 else 30) and categories.height <= 2
    if few:
        names = [_short(name) for name in _described(results, order)]
        steep = {"rotation": 40 if count <= 16 else 75, "rotation_mode": "anchor"}
        axes.set_xticks(np.arange(count), names, ha="right", **steep)
    else:
        axes.set_xticks(
            middles, [_short(name) for name in categories["category"].to_list()],
            rotation=35, ha="right",
        )  # fmt: skip
    axes.tick_params(axis="x", length=0, labelcolor=INK)
    _scale_p(axes, float(y.max()), line)
    axes.set_ylabel("−log₁₀ p")
    figure.suptitle(_title(results), fontsize=10, color=INK, x=0.01, ha="left")
    named = _named(data.with_columns(pl.Series("shifted", x + shift)), line, labels, by="shifted")
    _write_key(key, named)
    hits = data.filter(pl.Series(hit))
    _write_numbers(axes, named, _numbers(named, "shifted"), (x + shift)[hit], hits)
    return figure, data.drop("place")


def _numbers(table: pl.DataFrame, column: str) -> npt.NDArray[np.float64]:
    return table[column].to_numpy().astype(np.float64)


def _named(results: pl.DataFrame, line: float, most: int, by: str = "") -> pl.DataFrame:
    """The best tests above the line with a number each, which rises with the column `by`."""
    best = results.filter(pl.col("neg_log_10_p_value") >= line)
    best = best.sort("neg_log_10_p_value", descending=True).head(most)
    best = best.sort(by) if by else best.sort("unit", maintain_order=True)
    return best.with_columns(pl.int_range(1, best.height + 1).alias("number"))


def _key_width(named: pl.DataFrame) -> float:
    """Inches that the key's longest line takes."""
    longest = max((len(_pair(row)) for row in named.iter_rows(named=True)), default=0)
    return 0.45 + 0.057 * longest


def _write_key(axes: Axes, named: pl.DataFrame) -> None:
    """What the numbers stand for, in a column."""
    axes.set_axis_off()
    axes.set(xlim=(0, _key_width(named)), ylim=(max(named.height, 24) + 0.5, -0.5))
    for at, row in enumerate(named.iter_rows(named=True)):
        axes.text(0.12, at, str(row["number"]), fontsize=7, ha="right", va="center", color=MUTED)
        colour = CASE if row["beta"] > 0 else CONTROL
        axes.text(0.19, at, "▲" if row["beta"] > 0 else "▼", fontsize=5, va="center", color=colour)
        axes.text(0.33, at, _pair(row), fontsize=7, va="center", color=INK)


def _write_numbers(
    axes: Axes,
    named: pl.DataFrame,
    x: npt.NDArray[np.float64],
    hits_x: npt.NDArray[np.float64],
    hits: pl.DataFrame,
) -> None:
    """The numbers of the key beside their points, clear of all hits."""
    order = np.argsort(-_numbers(named, "neg_log_10_p_value"))
    y = _numbers(named, "neg_log_10_p_value")
    place_labels(
        axes,
        [(float(x[at]), float(y[at])) for at in order],
        [str(named["number"][int(at)]) for at in order],
        avoid=np.column_stack([hits_x, _numbers(hits, "neg_log_10_p_value")]),
        size=6.5,
    )


def _beside(data: pl.DataFrame) -> npt.NDArray[np.float64]:
    """(row,) from −½ to ½, the place of its exposure among all."""
    names = sorted(data["exposure"].unique().to_list())
    place = {name: at for at, name in enumerate(names)}
    spread = max(len(names) - 1, 1)
    return np.array([place[name] / spread - 0.5 for name in data["exposure"].to_list()])


def _described(results: pl.DataFrame, order: pl.DataFrame) -> list[str]:
    shown = dict(zip(results["outcome"], results["description"], strict=True))
    return [str(shown[name]) for name in order["outcome"].to_list()]


def _scale_p(axes: Axes, top: float, line: float) -> None:
    """From 0 up, as square roots where the largest dwarfs the line, which is drawn and named."""
    top = max(1.18 * top, 1.3 * line)
    if top > _BEYOND * line:
        axes.set_yscale(
            "function", functions=(lambda v: np.sqrt(np.maximum(v, 0)), lambda v: np.square(v))
        )
        ticks = [0.0]
        for one in (5000, 2000, 1000, 500, 200, 100, 50, 20, 10, 5, 2, 1):
            if one <= top and all(abs(one**0.5 - t**0.5) > 0.06 * top**0.5 for t in ticks):
                ticks.append(float(one))
        axes.set_yticks(ticks)
    axes.set_ylim(0, top)
    axes.axhline(line, color=MUTED, lw=0.8, ls=(0, (4, 3)), zorder=1)


def _effect_name(part: pl.DataFrame) -> str:
    if part["direction"][0] == "looks":
        return "cases less controls, in SD of the exposure"
    per = sorted(part["per"].unique().to_list())
    return f"{part['unit'][0]} per {' or '.join(per)}"


def _title(results: pl.DataFrame) -> str:
    title = _TITLES.get(str(results["direction"][0]), "")
    return f"{title} ({results.height:,} tests; line: 0.05 after Bonferroni)"


def _pair(row: dict[str, object]) -> str:
    label = _short(str(row["exposure_label"]), 26)
    return f"{label} · {_short(str(row['description']), _LONGEST - 4)}"


def _short(text: str, longest: int = _LONGEST) -> str:
    return literal(text if len(text) <= longest else text[: longest - 1].rstrip() + "…")


def _told(row: dict[str, object]) -> str:
    """The effect in the words of its model, and how many people are behind it."""
    values = [float(str(row[name])) for name in ("beta", "low", "high")]
    ratio = _RATIOS.get(str(row["unit"]))
    if ratio is not None:
        values = [float(np.exp(min(one, 700.0))) for one in values]
    unit = "" if ratio else " SD"
    said = f"{_digits(values[0])}{unit} ({_digits(values[1])} to {_digits(values[2])})"
    n, cases = int(str(row["n"])), row["n_cases"]
    people = f"n {n:,}" if cases is None else f"{int(str(cases)):,} of {n:,}"
    return f"{ratio} {said}, {people}" if ratio else f"{said}, {people}"


def _digits(value: float) -> str:
    return (f"{value:.2f}" if abs(value) < 100 else f"{value:.3g}").replace("-", "−")


def _kinds_legend(figure: Figure, results: pl.DataFrame) -> None:
    kinds = [kind for kind in _SHAPES if kind in results["exposure_kind"]]
    if len(kinds) < 2:
        return
    axes = figure.axes[0]
    marks = [
        axes.scatter([], [], marker=_SHAPES[kind], c=MUTED, s=20, label=kind) for kind in kinds
    ]
    axes.legend(handles=marks, fontsize=7, frameon=False, loc="lower left", labelcolor=INK)
