"""Tails of weighted sums of chi-squares, exact and in logarithms: kernels on bare numbers.

X = Σ wᵢ χ²(kᵢ) + shifts: the sum of (√wᵢ Zᵢ + mᵢ)² has the cumulant generating function
K(s) = Σ −kᵢ/2 log(1 − 2 s wᵢ) + s cᵢ/(1 − 2 s wᵢ), cᵢ = mᵢ², also where wᵢ is 0 or (without
shift) negative. P(X > q) is its inversion integral along a path through the saddlepoint that bends
to where the integrand falls (Rice, SIAM Journal on Scientific Computing 1:438, 1980): the factor
before the integral carries the size of p, so that nothing underflows. The trapezoidal rule in v,
s = s₀ + i width sinh(v) + …, converges exponentially: relative error of p below 1e-9 where p < 0.5,
absolute above. `log_tails.log_mixture_tail` is the same, tabulated once for very many q.
"""

import math

import numpy as np
import numpy.typing as npt
from numba import njit

Floats = npt.NDArray[np.float64]
_STEP = 0.1  # of v
_LAST = 16.0  # of v: the path's end where q is next to 0
_LARGE, _SMALL = 1e120, 1e-120
# Gauss-Legendre nodes of the pieces of SKAT-O's integral, by the piece's length.
_X8, _W8 = np.polynomial.legendre.leggauss(8)
_X16, _W16 = np.polynomial.legendre.leggauss(16)
_X32, _W32 = np.polynomial.legendre.leggauss(32)


def log_tails(weights: Floats, q: Floats) -> Floats:
    """log P(Σ wᵢ χ²₁ > q) for each of q (value,); weights: (component,), the largest positive."""
    weights = np.ascontiguousarray(weights, dtype=np.float64)
    ones, zeros = np.ones_like(weights), np.zeros_like(weights)
    return np.asarray(_many(weights, ones, zeros, np.ascontiguousarray(q, dtype=np.float64)))


def log_ratio_tails(weights: Floats, ratios: Floats, degrees: float) -> Floats:
    """log P(Σ wᵢ uᵢ² > r) for each of r (value,), u being a random direction in `degrees` axes.

    That is the null of yᵀAy / yᵀy for normal y: exact where a variance is estimated from the same
    residuals. weights: (component,) the positive eigenvalues of A, fewer than `degrees`.
    """
    weights = np.ascontiguousarray(weights, dtype=np.float64)
    return np.asarray(
        _many_ratios(weights, np.ascontiguousarray(ratios, dtype=np.float64), float(degrees))
    )


def quantiles(weights: Floats, log_p: Floats) -> Floats:
    """q at which log P(Σ wᵢ χ²₁ > q) is log_p, (value,); weights: (component,) positive."""
    order = np.argsort(-log_p, kind="stable")
    out = np.empty(len(log_p))
    weights = np.ascontiguousarray(weights, dtype=np.float64)
    out[order] = _quantiles(weights, np.ascontiguousarray(log_p[order], dtype=np.float64))
    return out


def log_optimal_tail(
    log_least: Floats,
    rho: Floats,
    thresholds: Floats,
    weights: Floats,
    shifts: Floats,
    total: float,
) -> Floats:
    """log P(any of the kernels' p ≤ the least) of SKAT-O, (value,), without approximation.

    The scores s ~ N(0, A) have Q(ρ) = (1 − ρ) Σs² + ρ (Σs)². Given Σs = η √total, Σs² is a shifted
    mixture; its tail beyond the lowest of the kernels' limits is integrated over η ~ N(0, 1). (Lee
    et al., Biostatistics 13:762, 2012, match its moments instead.)

    rho: (kernel,) ascending, the last 1. thresholds: (kernel, value) the quantile of each Q(ρ) at
    the least p. weights: (component,) eigenvalues of the covariance of s given Σs; shifts:
    (component,) squared shifts of its directions at η = 1.
    """
    return np.asarray(
        _optimal(
            np.ascontiguousarray(log_least, dtype=np.float64),
            np.ascontiguousarray(rho, dtype=np.float64),
            np.ascontiguousarray(thresholds, dtype=np.float64),
            np.ascontiguousarray(weights, dtype=np.float64),
            np.ascontiguousarray(shifts, dtype=np.float64),
            float(total),
        )
    )


@njit(nogil=True, cache=True)
def _many(weights: Floats, counts: Floats, shifts: Floats, q: Floats) -> Floats:
    out = np.empty(len(q))
    for i in range(len(q)):
        out[i] = _log_tail(weights, counts, shifts, q[i])[0]
    return out


@njit(nogil=True, cache=True)
def _many_ratios(weights: Floats, ratios: Floats, degrees: float) -> Floats:
    m = len(weights)
    counts, shifts = np.ones(m + 1), np.zeros(m + 1)
    counts[m] = degrees - m
    moved = np.empty(m + 1)
    out = np.empty(len(ratios))
    for i in range(len(ratios)):
        moved[:m] = weights - ratios[i]
        moved[m] = -ratios[i]
        out[i] = _log_tail(moved, counts, shifts, 0.0)[0]
    return out


@njit(nogil=True, cache=True)
def _quantiles(weights: Floats, log_p: Floats) -> Floats:
    """Newton's method on log p, which is concave in q: from above it comes down without a jump."""
    counts, shifts = np.ones_like(weights), np.zeros_like(weights)
    out = np.empty(len(log_p))
    q = np.sum(weights)
    for i in range(len(log_p)):
        low, high = 0.0, np.inf
        for _ in range(60):
            value, slope = _log_tail(weights, counts, shifts, q)
            if value > log_p[i]:
                low = q
            else:
                high = q
            step = (log_p[i] - value) / slope
            new = q + step
            if not new > low or new >= high:
                new = 2 * q if math.isinf(high) else 0.5 * (low + high)
            moved = abs(new - q)
            q = new
            if moved < 1e-11 * q:
                break
        out[i] = q
    return out


@njit(nogil=True, cache=True)
def _log_tail(weights: Floats, counts: Floats, shifts: Floats, q: float) -> tuple[float, float]:
    """log P(X > q) and its derivative by q."""
    m = len(weights)
    top, bottom, mean, variance, least = 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(m):
        top, bottom = max(top, weights[i]), min(bottom, weights[i])
        mean += counts[i] * weights[i] + shifts[i]
        variance += 2 * counts[i] * weights[i] ** 2 + 4 * shifts[i] * weights[i]
        if weights[i] == 0:
            least += shifts[i]
    if top <= 0:
        return -np.inf, 0.0
    if bottom == 0 and q <= least:
        return 0.0, 0.0
    # Off the pole at 0, which lies at the mean: right of it is the upper tail, left the lower.
    upper = q >= mean
    if upper:
        start = min(0.7 / math.sqrt(variance), 0.25 / top)
        low, high = start, 0.5 / top
    else:
        start = -0.7 / math.sqrt(variance)
        low, high = -np.inf, start
        if bottom < 0:
            start = max(start, 0.25 / bottom)
            low, high = 0.5 / bottom, start
    first, second, third = _slopes(weights, counts, shifts, start)
    if (first < q) == upper:
        for _ in range(200):
            if abs(first - q) < 1e-3 * math.sqrt(second):
                break
            if first < q:
                low = start
            else:
                high = start
            new = start - (first - q) / second
            if not (low < new < high):
                new = 2 * start if math.isinf(low) else 0.5 * (low + high)
            start = new
            first, second, third = _slopes(weights, counts, shifts, start)
    generating = 0.0
    factor, pull = np.empty(m), np.empty(m)
    shifted = False
    for i in range(m):
        inverse = 1 / (1 - 2 * start * weights[i])
        generating += 0.5 * counts[i] * math.log(inverse) + start * shifts[i] * inverse
        factor[i] = 2 * weights[i] * inverse
        pull[i] = shifts[i] * inverse * inverse
        shifted = shifted or shifts[i] > 0
    width = 1 / math.sqrt(second)
    bend = max(third / (6 * second), 0.0)
    total, density = 0.0, 0.0
    v = 0.5 * _STEP
    while v < _LAST:
        u = width * math.sinh(v)
        dr, di = bend * u * u, u  # s − start
        # The product of 1 − factor (s − start), with its turns around 0 counted.
        pr, pi, scale, turns = 1.0, 0.0, 0.0, 0
        er, ei = -dr * q, -di * q
        kr, ki = 0.0, 0.0
        for i in range(m):
            fr, fi = 1 - factor[i] * dr, -factor[i] * di
            if counts[i] == 1.0:
                new_r = pr * fr - pi * fi
                new_i = pr * fi + pi * fr
                if fi < 0:
                    if pi < 0 and new_i >= 0:
                        turns -= 1
                elif fi > 0 and pi > 0 and new_i <= 0:
                    turns += 1
                pr, pi = new_r, new_i
                size = abs(pr) + abs(pi)
                if size > _LARGE or size < _SMALL:
                    scale += math.log(size)
                    pr, pi = pr / size, pi / size
            else:
                er -= 0.25 * counts[i] * math.log(fr * fr + fi * fi)
                ei -= 0.5 * counts[i] * math.atan2(fi, fr)
            if shifted and pull[i] > 0:
                size = pull[i] / (fr * fr + fi * fi)
                kr += size * fr
                ki -= size * fi
        er += dr * kr - di * ki - 0.5 * (scale + 0.5 * math.log(pr * pr + pi * pi))
        ei += dr * ki + di * kr - 0.5 * (math.atan2(pi, pr) + 2 * math.pi * turns)
        size = math.exp(er) * width * math.cosh(v)
        # exp(exponent) (2 bend u + i), and that over s
        re = size * (math.cos(ei) * 2 * bend * u - math.sin(ei))
        im = size * (math.sin(ei) * 2 * bend * u + math.cos(ei))
        sr, si = start + dr, di
        part = (im * sr - re * si) / (sr * sr + si * si)
        total += part
        density += im
        if size < 1e-15 * abs(density) and size < 1e-15 * abs(total) * math.hypot(sr, si):
            break
        v += _STEP
    total *= _STEP / math.pi
    density *= _STEP / math.pi
    size = generating - start * q
    if not upper:
        p = 1 + math.exp(size) * total
        return math.log(p), -math.exp(size) * density / p
    if total <= 0:
        return -np.inf, 0.0
    return min(size + math.log(total), 0.0), -density / total


@njit(nogil=True, cache=True)
def _slopes(
    weights: Floats, counts: Floats, shifts: Floats, s: float
) -> tuple[float, float, float]:
    """The first three derivatives of the cumulant generating function."""
    first, second, third = 0.0, 0.0, 0.0
    for i in range(len(weights)):
        inverse = 1 / (1 - 2 * s * weights[i])
        r = weights[i] * inverse
        c = shifts[i] * inverse * inverse
        first += counts[i] * r + c
        second += 2 * counts[i] * r * r + 4 * c * r
        third += 8 * counts[i] * r * r * r + 24 * c * r * r
    return first, second, third


@njit(nogil=True, cache=True)
def _optimal(
    log_least: Floats,
    rho: Floats,
    thresholds: Floats,
    weights: Floats,
    shifts: Floats,
    total: float,
) -> Floats:
    kernels = len(rho)
    counts = np.ones_like(weights)
    out = np.empty(len(log_least))
    level, fall = np.empty(kernels - 1), np.empty(kernels - 1)
    for i in range(len(log_least)):
        end = thresholds[kernels - 1, i] / total
        for k in range(kernels - 1):
            level[k] = thresholds[k, i] / (1 - rho[k])
            fall[k] = rho[k] * total / (1 - rho[k])
        # Beyond η² = end the last kernel has it; before, the lowest of straight lines in η².
        log_p = log_least[i]
        x = 0.0
        while x < end:
            lowest = 0
            for k in range(1, kernels - 1):
                if level[k] - fall[k] * x <= level[lowest] - fall[lowest] * x:
                    lowest = k
            stop = end
            for k in range(kernels - 1):
                if fall[k] > fall[lowest]:
                    cross = (level[k] - level[lowest]) / (fall[k] - fall[lowest])
                    if cross > x and cross < stop:
                        stop = cross
            left, right = math.sqrt(x), math.sqrt(stop)
            half = 0.5 * (right - left)
            nodes, sizes = _X32, _W32
            if half < 0.15:
                nodes, sizes = _X8, _W8
            elif half < 0.75:
                nodes, sizes = _X16, _W16
            for j in range(len(nodes)):
                eta = left + half * (1 + nodes[j])
                limit = level[lowest] - fall[lowest] * eta * eta
                tail = _log_tail(weights, counts, shifts * (eta * eta), limit)[0]
                # Both signs of η: twice the normal density.
                term = tail - 0.5 * eta * eta + math.log(2 * half * sizes[j])
                term -= 0.5 * math.log(2 * math.pi)
                high = max(log_p, term)
                log_p = high + math.log(math.exp(log_p - high) + math.exp(term - high))
            x = stop
        out[i] = min(log_p, 0.0)
    return out
