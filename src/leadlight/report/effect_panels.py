"""Small panels of an effect: changes with intervals, the factors, logits and their origin."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm

from leadlight.ecg.leads import LEADS
from leadlight.report.colours import CASE, CONTROL, INK, MUTED
from leadlight.report.figures import tidy_axes
from leadlight.report.locus_figures import HEAT

WAVES = ("P", "PR", "QRS", "ST", "T", "TP")
WORDS = {
    "heart_rate_bpm": ("rate", "/min", 1), "p_duration_ms": ("P", "ms", 1),
    "pr_ms": ("PR", "ms", 1), "qrs_ms": ("QRS", "ms", 1), "qt_ms": ("QT", "ms", 1),
    "qtc_fridericia_ms": ("QTc", "ms", 1), "jt_ms": ("JT", "ms", 1),
    "t_peak_end_ms": ("T peak–end", "ms", 1), "p_axis_deg": ("P axis", "°", 1),
    "qrs_axis_deg": ("QRS axis", "°", 1), "t_axis_deg": ("T axis", "°", 1),
    "qrs_t_angle_deg": ("QRS–T angle", "°", 1), "sokolow_lyon_mv": ("Sokolow–Lyon", "µV", 1000),
    "cornell_mv": ("Cornell", "µV", 1000),
}  # fmt: skip


def changes_on(axes: Axes, measurements: pl.DataFrame) -> None:
    """Intervals, axes and voltage sums: each change with its interval, in its own standard errors.

    The place says how sure a change is, the words at the right how large it is.
    """
    rows = [row for row in measurements.to_dicts() if row["quantity"] in WORDS]
    _rows_on(
        axes,
        [WORDS[row["quantity"]][0] for row in rows],
        np.array([row["change"] / row["standard_error"] for row in rows]),
        [said(row) for row in rows],
        reach=np.array(
            [(row["high"] - row["low"]) / 2 / max(row["standard_error"], 1e-12) for row in rows]
        ),
    )
    tidy_axes(axes, title="What changes", size=8.5)
    axes.tick_params(axis="y", labelcolor=INK, length=0)
    axes.set_xlabel("change in standard errors", fontsize=8, color=MUTED)


def said(row: Mapping[str, Any]) -> str:
    """ "+3.1 ms [1.9, 4.3]"."""
    _, unit, scale = WORDS[row["quantity"]]
    change, low, high = (scale * row[name] for name in ("change", "low", "high"))
    digits = 0 if max(abs(low), abs(high)) >= 20 else 1 if max(abs(low), abs(high)) >= 2 else 2
    space = "" if unit.startswith(("°", "/")) else " "
    text = f"{change:+.{digits}f}{space}{unit} [{low:.{digits}f}, {high:.{digits}f}]"
    return text.replace("-", "−")


def factors_on(axes: Axes, factors: pl.DataFrame, most: int = 14) -> None:
    """z of the factors that move most, the rest left out, with what each follows."""
    chosen = factors.sort(pl.col("z").abs(), descending=True).head(most)
    chosen = chosen.sort("factor")
    names = [
        f"{row['factor'].removeprefix('factor_')} {follows(row['follows'])}"
        for row in chosen.to_dicts()
    ]
    z = chosen["z"].to_numpy()
    place = np.arange(len(z))
    axes.barh(place, z, color=np.where(z > 0, CASE, CONTROL), height=0.66, zorder=2)
    axes.axvline(0, color="#8c8c8c", lw=0.8)
    limit = 1.1 * max(float(np.abs(z).max(initial=0)), 5.0)
    for at in (-1.96, 1.96):
        axes.axvline(at, color="#b5bac0", lw=0.7, ls=(0, (3, 2)), zorder=1)
    axes.set_xlim(-limit, limit)
    axes.set_yticks(place, names)
    axes.set_ylim(len(z) - 0.4, -0.6)
    left_out = factors.height - chosen.height
    tidy_axes(axes, title="Shift of the factors", size=8.5)
    axes.tick_params(axis="y", length=0, labelcolor=INK, labelsize=7.2)
    axes.set_xlabel(f"z{f' ({left_out} smaller ones left out)' if left_out else ''}", fontsize=8,
                    color=MUTED)  # fmt: skip


def logits_on(axes: Axes, logits: pl.DataFrame, summary: Mapping[str, Any]) -> None:
    """Change of each class's logit in people with interval; diamonds: of the strip, per step."""
    strip = {row["class"]: row["change"] / summary["strip_steps"] for row in summary["strip"]}
    names = list(strip)
    place = np.arange(len(names))
    known = {row["class"]: row for row in logits.to_dicts()}
    axes.axvline(0, color="#8c8c8c", lw=0.8, zorder=1)
    for at, name in enumerate(names):
        row = known.get(name)
        if row is not None and row["change"] is not None:
            axes.plot([row["low"], row["high"]], [at, at], color=CASE, lw=2.2, zorder=3,
                      solid_capstyle="butt")  # fmt: skip
            axes.plot(row["change"], at, "o", color=CASE, ms=5, zorder=4)
        axes.plot(strip[name], at + 0.27, "D", color=CONTROL, ms=4, zorder=4)
    handles = [axes.plot([], [], "D", color=CONTROL, ms=4, label="mean beat's strip")[0]]
    if known:
        handles.insert(0, axes.plot([], [], "o-", color=CASE, ms=5, lw=2.2, label="people")[0])
    axes.legend(handles=handles, fontsize=7.2, frameon=False, labelcolor=INK, loc="best")
    axes.set_yticks(place, names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    tidy_axes(axes, title="Classifier: change of the logit", size=8.5)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_xlabel("logit per step", fontsize=8, color=MUTED)


def relevance_on(
    axes: Axes, relevance: pl.DataFrame, summary: Mapping[str, Any], name: str
) -> None:
    """Which lead and wave the change of a class's logit on the strip comes from."""
    own = relevance.filter(pl.col("class") == name)
    values = np.zeros((len(LEADS), len(WAVES)))
    for row in own.to_dicts():
        values[LEADS.index(row["lead"]), WAVES.index(row["wave"])] = row["relevance"]
    limit = max(float(np.abs(values).max()), 1e-9)
    axes.imshow(values, cmap=HEAT, norm=TwoSlopeNorm(0, -limit, limit), aspect="auto")
    axes.set_xticks(range(len(WAVES)), WAVES)
    axes.set_yticks(range(len(LEADS)), LEADS)
    _cell_numbers(axes, values, limit)
    tidy_axes(axes, size=8.5)
    error = next(row["completeness_error"] for row in summary["strip"] if row["class"] == name)
    change = next(row["change"] for row in summary["strip"] if row["class"] == name)
    axes.set_title(f"{name}: where {change:+.3f} lies".replace("-", "−"),
                   fontsize=9, color=INK, loc="left", fontweight="bold")  # fmt: skip
    missed = "unknown" if error is None else f"{100 * error:.1g} %"
    axes.set_xlabel(f"logit × 1000; completeness error {missed}", fontsize=8, color=MUTED)
    axes.tick_params(length=0, labelcolor=INK, labelsize=7.5)
    for side in axes.spines.values():
        side.set_visible(False)


def strongest_class(logits: pl.DataFrame, summary: Mapping[str, Any]) -> str:
    """The class whose logit changes most surely in people; without people, most on the strip."""
    known = logits.drop_nulls() if logits.height else logits
    if known.height:
        sure = known.with_columns(z=(pl.col("change") / pl.col("standard_error")).abs())
        return str(sure.sort("z", descending=True)["class"][0])
    return str(max(summary["strip"], key=lambda row: abs(row["change"]))["class"])


def _rows_on(
    axes: Axes,
    names: list[str],
    z: npt.NDArray[np.float64],
    words: list[str],
    reach: npt.NDArray[np.float64],
) -> None:
    place = np.arange(len(names))
    axes.axvline(0, color="#8c8c8c", lw=0.8, zorder=1)
    for at in range(len(names)):
        sure = abs(z[at]) > reach[at]
        colour = CASE if sure else MUTED
        axes.plot([z[at] - reach[at], z[at] + reach[at]], [at, at], color=colour, lw=1.8, zorder=2,
                  solid_capstyle="butt")  # fmt: skip
        axes.plot(z[at], at, "o", color=colour, ms=4.5, zorder=3)
        axes.text(1.02, at, words[at], transform=axes.get_yaxis_transform(), fontsize=7.8,
                  color=INK if sure else MUTED, va="center", fontweight="bold" if sure else None,
                  clip_on=False)  # fmt: skip
    limit = max(4.0, float((np.abs(z) + reach).max(initial=0)) * 1.05)
    axes.set_xlim(-limit, limit)
    axes.set_yticks(place, names)
    axes.set_ylim(len(names) - 0.4, -0.6)


def _cell_numbers(axes: Axes, values: npt.NDArray[np.float64], limit: float) -> None:
    for row, in_row in enumerate(values.tolist()):
        for column, value in enumerate(in_row):
            if abs(value) > 0.12 * limit:
                colour = "white" if abs(value) > 0.6 * limit else INK
                text = f"{1e3 * value:.1f}".replace("-", "−")
                axes.text(column, row, text, ha="center", va="center", fontsize=6.3, color=colour)


def follows(name: str) -> str:
    """What a factor follows, short enough for an axis."""
    return (
        name.replace("_mv_", " ").replace("_duration_ms", " duration").replace("_ms", "")
        .replace("_deg", "").replace("_mv", "").replace("_prime", "′").replace("_", " ")
    )  # fmt: skip
