"""What the page's QQ plots draw: expected and observed −log10 p of every set's joint test."""

from pathlib import Path
from typing import Any

import numpy as np

from leadlight.report.association_sets import association_sets, inflation_of, p_values
from leadlight.report.qq import drawn_ranks, expected_and_band
from leadlight.report.sentences import with_interval


def qq_data(study: Path) -> list[dict[str, Any]] | None:
    """JSON-ready, one a joint test: `label, null, inflation` (in words), and of the ranks drawn
    `expected, low, high` (the band of independent tests) and `observed`, all −log10 p.

    None where the study has no joint test.
    """
    found = []
    for one in association_sets(study):
        if one.joint is None:
            continue
        values = p_values(one.joint)
        observed = np.sort(values[np.isfinite(values)])[::-1]
        if not len(observed):
            continue
        ranks = drawn_ranks(len(observed))
        expected, low, high, _ = expected_and_band(len(observed), ranks)
        inflation = inflation_of(one.joint)
        found.append(
            {
                "label": one.label, "null": one.is_null, "variants": len(observed),
                "inflation": with_interval(
                    inflation.lambda_gc, inflation.low, inflation.high, decimals=3
                ) if inflation else "n/a",
                **{name: [round(float(v), 3) for v in column] for name, column in
                   (("expected", expected), ("low", low), ("high", high),
                    ("observed", observed[ranks - 1]))},
            }
        )  # fmt: skip
    return found or None
