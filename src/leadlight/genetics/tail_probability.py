"""Minus the decimal logarithm of two-sided p-values, without underflow.

Compiled kernels on bare numbers; `neg_log_10_p` takes arrays.
"""

import math

import numpy as np
import numpy.typing as npt
from numba import njit

_LN10 = math.log(10.0)
# Where Hill's expansion is not exact to 1e-9: few degrees of freedom, or a large t.
_FEW_DEGREES = 60.0
_LARGE_T_SQUARED = 36.0
_TINY = 1e-300


def neg_log_10_p(
    t: npt.NDArray[np.float64] | float, degrees_of_freedom: npt.NDArray[np.float64] | float
) -> npt.NDArray[np.float64]:
    """Two-sided −log10 p of t statistics; infinite degrees of freedom give the normal's.

    Exact to 1e-9 at any size. Up to |t| = 6, from 60 degrees of freedom on, t is mapped to a normal
    deviate by Hill's expansion (Communications of the ACM 13:617, 1970); elsewhere p is the
    incomplete beta function's continued fraction, in logarithms.
    """
    deviates, degrees = np.broadcast_arrays(
        np.asarray(t, dtype=np.float64), np.asarray(degrees_of_freedom, dtype=np.float64)
    )
    flat = _many(deviates.ravel(), degrees.ravel())
    return flat.reshape(deviates.shape)


@njit(nogil=True, cache=True)
def _many(t: npt.NDArray[np.float64], degrees: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    out = np.empty(len(t))
    for i in range(len(t)):
        out[i] = two_sided_neg_log_10_p(t[i] * t[i], degrees[i])
    return out


@njit(nogil=True, cache=True)
def two_sided_neg_log_10_p(t_squared: float, degrees: float) -> float:
    """−log10 p of one t statistic, given its square; NaN stays NaN."""
    if math.isinf(degrees):
        return -_log_erfc(math.sqrt(0.5 * t_squared)) / _LN10
    if degrees < _FEW_DEGREES or t_squared > _LARGE_T_SQUARED:
        return -_log_beta_tail(t_squared, degrees) / _LN10
    a = degrees - 0.5
    b = 48.0 * a * a
    y = a * math.log1p(t_squared / degrees)
    series = (((-0.4 * y - 3.3) * y - 24.0) * y - 85.5) / (0.8 * y * y + 100.0 + b)
    z = math.sqrt(y) * ((series + y + 3.0) / b + 1.0)
    return -_log_erfc(z * math.sqrt(0.5)) / _LN10


@njit(nogil=True, cache=True)
def _log_erfc(x: float) -> float:
    if x < 5.0:
        return math.log(math.erfc(x))
    w = 0.5 / (x * x)
    series = 1.0 - w * (1.0 - 3.0 * w * (1.0 - 5.0 * w * (1.0 - 7.0 * w * (1.0 - 9.0 * w))))
    return -x * x - math.log(x * math.sqrt(math.pi)) + math.log(series)


@njit(nogil=True, cache=True)
def _log_beta_tail(t_squared: float, degrees: float) -> float:
    """Logarithm of I_x(df/2, 1/2) at x = df/(df + t²), the two-sided p."""
    a, b = 0.5 * degrees, 0.5
    x = degrees / (degrees + t_squared)
    if math.isnan(x) or t_squared == 0.0:
        return 0.0 * x if math.isnan(x) else 0.0
    log_front = (
        math.lgamma(a + b)
        - math.lgamma(a)
        - math.lgamma(b)
        - a * math.log1p(t_squared / degrees)
        + b * math.log(t_squared / (degrees + t_squared))
    )
    if x < (a + 1.0) / (a + b + 2.0):
        return log_front + math.log(_beta_fraction(a, b, x) / a)
    return math.log1p(-math.exp(log_front) * _beta_fraction(b, a, 1.0 - x) / b)


@njit(nogil=True, cache=True)
def _beta_fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of the incomplete beta function (Lentz's method)."""
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if abs(d) > _TINY else _TINY)
    value = d
    for m in range(1, 500):
        up = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        d = 1.0 + up * d
        c = 1.0 + up / c
        d = 1.0 / (d if abs(d) > _TINY else _TINY)
        c = c if abs(c) > _TINY else _TINY
        value *= d * c
        down = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        d = 1.0 + down * d
        c = 1.0 + down / c
        d = 1.0 / (d if abs(d) > _TINY else _TINY)
        c = c if abs(c) > _TINY else _TINY
        value *= d * c
        if abs(d * c - 1.0) < 1e-14:
            break
    return value
