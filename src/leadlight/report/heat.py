"""Heat maps as tables: each cell says its number and has one of eleven shades, by a class.

A table needs no script, scrolls and prints, is read aloud, and follows the colour scheme.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from leadlight.report.sentences import number

_SHADES = 5


@dataclass(frozen=True)
class HeatMap:
    """What the template draws.

    Attributes:
        caption: what a cell is.
        corner: head of the column of row names.
        columns: heads.
        rows: name, and cells as (text, shade class).
    """

    caption: str
    corner: str
    columns: list[str]
    rows: list[dict[str, Any]]


def heat_map(
    caption: str, corner: str, names: Sequence[str], columns: Sequence[str],
    values: Sequence[Sequence[float | None]], *, limit: float, decimals: int,
) -> HeatMap:  # fmt: skip
    """A map of values (row, column); `limit` has the darkest shade on either side of zero."""
    rows = [
        {"name": name, "cells": [cell(value, limit, decimals) for value in row]}
        for name, row in zip(names, values, strict=True)
    ]
    return HeatMap(caption, corner, list(columns), rows)


def cell(value: float | None, limit: float, decimals: int) -> tuple[str, str]:
    """Text and class of a cell: "heat-p5" … "heat-0" … "heat-n5"; no number has neither."""
    if value is None or not math.isfinite(value):
        return "–", "heat-none"
    shade = max(-_SHADES, min(_SHADES, round(value / limit * _SHADES)))
    sign = "p" if shade > 0 else "n" if shade < 0 else ""
    text = f"{value:.{decimals}f}".replace("-", "−")
    if float(f"{value:.{decimals}f}") == 0:
        text = number(0.0)
    return text, f"heat-{sign}{abs(shade)}"
