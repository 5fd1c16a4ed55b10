"""Natural logarithms of tail probabilities, exact where the probability itself underflows."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator
from scipy.special import betaln, gammaln, log_ndtr, ndtri_exp

from leadlight.genetics.tail_probability import neg_log_10_p

Floats = npt.NDArray[np.float64]
LN10 = float(np.log(10))


def log_two_sided(z: Floats) -> Floats:
    """log P(|Z| > |z|) of a standard normal Z."""
    return np.asarray(np.minimum(np.log(2) + log_ndtr(-np.abs(z)), 0))


def deviate(log_p: Floats) -> Floats:
    """|z| whose two-sided log p is given: the inverse of `log_two_sided`."""
    return np.asarray(-ndtri_exp(np.minimum(log_p, 0) - np.log(2)))


def log_chi_squared_tail(x: Floats, degrees: int) -> Floats:
    """log P(χ² > x) for a whole number of degrees of freedom.

    Q(a + 1) = Q(a) + xᵃ e⁻ˣ / Γ(a + 1) at half of x, from a = ½ (the normal) or 1: sums of positive
    terms, so nothing cancels and nothing underflows.
    """
    half = np.maximum(np.asarray(x, dtype=np.float64), 0) / 2
    a = 0.5 if degrees % 2 else 1.0
    total = log_two_sided(np.sqrt(2 * half)) if degrees % 2 else -half
    with np.errstate(divide="ignore"):
        log_half = np.log(half)
    while a < degrees / 2:
        total = np.logaddexp(total, a * log_half - half - gammaln(a + 1))
        a += 1
    return np.asarray(np.minimum(total, 0))


def log_f_tail(f: Floats, degrees: int, residual_degrees: float) -> Floats:
    """log P(F > f) for a whole number of numerator degrees of freedom.

    The same recurrence for the incomplete beta function: I_x(a, b + 1) = I_x(a, b) +
    xᵃ (1 − x)ᵇ / (b B(a, b)), from b = ½ (Student's t) or 1.
    """
    a = residual_degrees / 2
    ratio = degrees * np.maximum(np.asarray(f, dtype=np.float64), 0) / residual_degrees
    log_x = -np.log1p(ratio)
    with np.errstate(divide="ignore"):
        log_rest = np.log(ratio) + log_x
    if degrees % 2:
        b = 0.5
        total = -LN10 * neg_log_10_p(np.sqrt(ratio * residual_degrees), residual_degrees)
    else:
        b = 1.0
        total = a * log_x
    while b < degrees / 2:
        total = np.logaddexp(total, a * log_x + b * log_rest - np.log(b) - betaln(a, b))
        b += 1
    return np.asarray(np.minimum(total, 0))


def log_mixture_tail(weights: Floats) -> Callable[[Floats], Floats]:
    """log P(Σ wᵢ χ²₁ > q) as a function of q ≥ 0; weights: positive.

    The inversion integral of the moment generating function along a path through the saddlepoint,
    bent to where the integrand falls (Rice, SIAM Journal on Scientific Computing 1:438, 1980): the
    factor before it carries the size, so the tail is exact however small. It is tabulated once; q
    between the points is interpolated (relative error of p below 1e-4).
    """
    sizes = np.asarray(weights, dtype=np.float64)
    top = sizes.max()
    # Where the saddlepoint s sits: 1 − 2 s w_max runs from 1e6 (q near 0) to 1e-6 (the far tail).
    gap = np.geomspace(1e6, 1e-6, 1201)
    saddle = (1 - gap) / (2 * top)
    q = np.sum(sizes / (1 - 2 * saddle[:, None] * sizes), axis=1)
    # Off the pole at 0, which lies at the mean: any path to its right gives the upper tail.
    start = np.maximum(saddle, min(0.7 / np.sqrt(2 * np.sum(sizes**2)), 0.25 / top))
    ratio = sizes / (1 - 2 * start[:, None] * sizes)
    curvature, skew = 2 * np.sum(ratio**2, axis=1), 8 * np.sum(ratio**3, axis=1)
    generating = 0.5 * np.sum(np.log(ratio / sizes), axis=1)
    width, bend = 1 / np.sqrt(curvature), skew / (6 * curvature)
    u = np.arange(0.025, 40, 0.05) * width[:, None]
    s = start[:, None] + bend[:, None] * u**2 + 1j * u
    exponent = -(s - start[:, None]) * q[:, None] - generating[:, None]
    for size in sizes:
        exponent -= 0.5 * np.log(1 - 2 * s * size)
    integrand = np.exp(exponent) / s * (2 * bend[:, None] * u + 1j)
    integral = integrand.imag.sum(axis=1) * 0.05 * width / np.pi
    log_p = np.minimum(generating - start * q + np.log(np.maximum(integral, 1e-300)), -1e-15)
    known = log_p < -1e-9  # below, p is 1 but for rounding
    curve = PchipInterpolator(np.log(q[known]), np.log(-log_p[known]))
    low, high = q[known][0], q[-1]

    def tail(values: Floats) -> Floats:
        given = np.asarray(values, dtype=np.float64)
        inside = -np.exp(curve(np.log(np.clip(given, low, high))))
        return np.asarray(np.where(given < low, 0.0, inside))

    return tail


def log_sidak(log_p: Floats, tests: float) -> Floats:
    """log(1 − (1 − p)^tests)."""
    p = np.exp(np.minimum(log_p, 0))
    with np.errstate(divide="ignore"):
        exact = np.log(-np.expm1(tests * np.log1p(-np.minimum(p, 1 - 1e-16))))
    return np.asarray(np.minimum(np.where(log_p < -30, log_p + np.log(tests), exact), 0))


def log_cauchy_combination(
    log_p: Floats, weights: Floats | None = None, largest_p: float = 0.99
) -> Floats:
    """log p of the Cauchy combination over the last axis; weights (last axis): None are equal.

    Liu & Xie (Journal of the American Statistical Association 115:393, 2020). A p above `largest_p`
    is taken as that, or a p of 1 would outweigh any evidence. Where every p is continuous, a value
    next to 1 keeps the combination of independent ones exact.
    """
    share = np.full(log_p.shape[-1], 1.0) if weights is None else np.asarray(weights)
    share = share / share.sum(axis=-1, keepdims=True)
    least = log_p.min(axis=-1)
    p = np.minimum(np.exp(log_p), largest_p)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        scaled = np.sum(
            share
            * np.where(
                log_p < -30,
                np.exp(least[..., None] - log_p) / np.pi,
                np.exp(least)[..., None] / np.tan(np.pi * np.where(log_p < -30, 0.5, p)),
            ),
            axis=-1,
        )
        far = least - np.log(np.pi * scaled)
        near = np.log(np.arctan2(np.exp(least), scaled) / np.pi)
    # Far out the angle is the ratio, unless the least p has next to no weight.
    straight = (least < -30) & (scaled > 1e3 * np.exp(least))
    return np.asarray(np.minimum(np.where(straight, far, near), 0))
