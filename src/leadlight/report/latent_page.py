"""The page of factors: every factor's drawing, numbers and limits in one HTML file."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import xarray as xr

from leadlight.atomic import refuse_overwrite, write_text, written_whole
from leadlight.errors import LeadlightError
from leadlight.progress import track
from leadlight.report.figures import write_figure
from leadlight.report.latent_figures import (
    draw_class,
    draw_deciles,
    draw_factor,
    draw_information,
    draw_map,
)
from leadlight.report.rendering import inline_png, render

# What is said of a factor's effect: quantities that change by more than this per SD.
_WORTH_SAYING = {"_ms": 2.0, "_deg": 3.0, "_mv": 0.02}
_MOST_SAID = 6


def write_latent_page(home: Path, *, overwrite: bool = False) -> Path:
    """Write `report/index.html` and its figures from `traversal/` and, where there, `evaluation/`.

    Args:
        home: `latent/<model>/` of a study.
        overwrite: replace a page that is there.

    Returns:
        The path of the page.

    Raises:
        LeadlightError: there is no traversal, or a page is there already.
    """
    source = home / "traversal"
    if not (source / "traversal.nc").exists():
        raise LeadlightError(
            f"{home} holds no traversals.", advice="Make them: leadlight latent traverse."
        )
    folder = home / "report"
    refuse_overwrite(folder, overwrite)
    with xr.open_dataset(source / "traversal.nc", engine="scipy") as opened:
        results = opened.load()
    effects = pl.read_parquet(source / "effects.parquet")
    factors = pl.read_parquet(source / "factors.parquet")
    summary = json.loads((source / "summary.json").read_text(encoding="utf-8"))
    measured = _evaluation(home / "evaluation")
    with written_whole(folder) as partial:
        figures = partial / "figures"
        sections = []
        for row in track(factors.to_dicts(), "Drawing factors"):
            name = row["name"]
            drawn = write_figure(*draw_factor(results, name), figures, name)
            real = write_figure(*draw_deciles(results, name), figures, f"{name}-deciles")
            sections.append(
                {
                    **row,
                    "picture": inline_png(drawn.png),
                    "deciles": inline_png(real.png),
                    "effects": _said(effects.filter(pl.col("factor") == name)),
                    "icc": measured["icc"].get(name),
                    "completeness": float(results["completeness_error"].sel(factor=name)),
                }
            )
        classes = [
            {
                "name": str(name),
                "picture": inline_png(
                    write_figure(*draw_class(results, str(name)), figures, f"class-{name}").png
                ),
                "share": measured["shares"].get(str(name)),
            }
            for name in (results["class"].values if "class_mv" in results else ())
        ]
        text = render(
            "latent.html",
            study=home.resolve().parents[1].name,
            model=summary["model"],
            summary=summary,
            evaluation=measured["rows"],
            sections=sections,
            classes=classes,
            information=inline_png(
                write_figure(*draw_information(factors), figures, "information").png
            ),
            two=inline_png(write_figure(*draw_map(results), figures, "two-factors").png),
        )
        write_text(partial / "index.html", text)
    return folder / "index.html"


def _said(effects: pl.DataFrame) -> list[str]:
    """The largest changes per SD, in words, relative to what is worth saying of their unit."""
    found = []
    rows = effects.unique(["quantity"], maintain_order=True)
    for row in rows.to_dicts():
        kind = next(unit for unit in _WORTH_SAYING if unit in row["quantity"])
        size = abs(row["per_sd"]) / _WORTH_SAYING[kind] if row["per_sd"] is not None else 0.0
        if size >= 1:
            found.append((size, row["quantity"], row["per_sd"], kind))
    units = {"_ms": "ms", "_deg": "°", "_mv": "mV"}
    return [
        f"{name.replace('_', ' ')} {value:+.{2 if kind == '_mv' else 1}f} {units[kind]}"
        for _, name, value, kind in sorted(found, reverse=True)[:_MOST_SAID]
    ]


def _evaluation(folder: Path) -> dict[str, Any]:
    """What the page shows of an evaluation; empty where there is none."""
    found: dict[str, Any] = {"rows": [], "icc": {}, "shares": {}}
    if not (folder / "summary.json").exists():
        return found
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    linear = summary.get("principal_components", {})
    rows = [
        ("Records (patients)", f"{summary['records']} ({summary['patients']})"),
        ("Mean absolute error, own samples", _interval(summary["mae_uv"], "µV")),
        ("The same over the whole window", _interval(summary["mae_uv_whole_window"], "µV")),
        ("Correlation, mean over leads", _interval(summary["r"], "", 3)),
    ]
    if linear:
        rows += [
            ("Principal components: error", _interval(linear["mae_uv"], "µV")),
            ("Error less than theirs by", _interval(linear["mae_uv_less_with_factors"], "µV")),
        ]
    free = summary["independence"]
    rows += [
        ("Largest |r| between factors", f"{free['largest_r']:.2f}"),
        ("The same after rank normalisation", f"{free['largest_rank_r']:.2f}"),
        ("Largest |r| of independent factors in as many records",
         f"{free['expected_largest_r']:.2f}"),
        ("Root mean square r, freed of chance", f"{free['root_mean_square_r']:.3f}"),
    ]  # fmt: skip
    if "repeatability" in summary:
        repeat = summary["repeatability"]
        rows += [
            ("Median ICC of the strip's halves", f"{repeat['median_icc']:.3f}"),
            ("Noise floor of the median beat", _interval(repeat["noise_floor_mae_uv"], "µV")),
        ]
        table = pl.read_parquet(folder / "repeatability.parquet")
        found["icc"] = {
            row["factor"]: f"{row['icc']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
            for row in table.to_dicts()
        }
    if (folder / "classifier.parquet").exists():
        table = pl.read_parquet(folder / "classifier.parquet").unique(["class"])
        found["shares"] = {
            row["class"]: f"{100 * row['share']:.0f} % ({100 * row['share_low']:.0f} to "
            f"{100 * row['share_high']:.0f} %)"
            for row in table.to_dicts()
        }
    found["rows"] = rows
    return found


def _interval(values: list[float | None], unit: str, digits: int = 1) -> str:
    value, low, high = values
    if value is None:
        return "unknown"
    text = f"{value:.{digits}f}"
    if low is not None and high is not None:
        text += f" ({low:.{digits}f} to {high:.{digits}f})"
    return f"{text} {unit}".strip()
