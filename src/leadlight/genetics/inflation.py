"""λGC: how much larger than expected the median test statistic is, with its interval."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import chdtri

from leadlight.errors import LeadlightError

MEDIAN_CHI_SQUARED = 0.4549364231195724  # of one degree of freedom
_BLOCKS = 200


@dataclass(frozen=True)
class Inflation:
    """λGC and its 95 % interval, from n variants."""

    lambda_gc: float
    low: float
    high: float
    n: int


def genomic_inflation(neg_log_10_p: npt.ArrayLike, blocks: int = _BLOCKS) -> Inflation:
    """λGC of p-values in the order of the genome (Devlin & Roeder, Biometrics 55:997, 1999).

    The interval is a jackknife's over contiguous blocks, so it is as wide as linkage makes it.
    Raises LeadlightError where there are fewer variants than two a block.
    """
    values = np.asarray(neg_log_10_p, dtype=np.float64)
    values = values[np.isfinite(values)]
    if len(values) < 2 * blocks:
        raise LeadlightError(
            f"λGC of {len(values)} variants has no meaning.", advice=f"Give {2 * blocks} or more."
        )
    whole = _of_median(float(np.median(values)))
    # The median without a block: of the sorted values, those of the block are skipped.
    order = np.argsort(values, kind="stable")
    owner = (np.arange(len(values)) * blocks // len(values))[order]
    ordered = values[order]
    left_out = np.empty(blocks)
    for block in range(blocks):
        left_out[block] = _of_median(float(np.median(ordered[owner != block])))
    spread = np.sqrt((blocks - 1) / blocks * ((left_out - left_out.mean()) ** 2).sum())
    return Inflation(whole, whole - 1.96 * spread, whole + 1.96 * spread, len(values))


def _of_median(neg_log_10_p: float) -> float:
    return float(chdtri(1, 10.0**-neg_log_10_p)) / MEDIAN_CHI_SQUARED
