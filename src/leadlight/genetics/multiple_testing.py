"""Corrections for many tests on −log10 p, so that nothing underflows."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def neg_log_10_q(neg_log_10_p: Floats) -> Floats:
    """−log10 of Benjamini and Hochberg's q values of one family (any shape); NaN stays NaN.

    Journal of the Royal Statistical Society B 57:289, 1995. NaN is no test: it does not count.
    """
    out = np.full(neg_log_10_p.shape, np.nan)
    known = np.isfinite(neg_log_10_p)
    p = neg_log_10_p[known]
    order = np.argsort(-p, kind="stable")  # smallest p first
    raw = p[order] + np.log10(np.arange(1, len(p) + 1)) - np.log10(max(len(p), 1))
    # q of a rank is the least over the larger ranks: in −log10, the greatest.
    stepped = np.maximum.accumulate(raw[::-1])[::-1]
    q = np.empty(len(p))
    q[order] = np.maximum(stepped, 0.0)
    out[known] = q
    return out


def bonferroni_threshold(tests: int, level: float = 0.05) -> float:
    """−log10 of the p that holds the family-wise error of so many tests at `level`."""
    return float(np.log10(max(tests, 1)) - np.log10(level))
