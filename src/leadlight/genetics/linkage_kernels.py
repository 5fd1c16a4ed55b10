"""r and r² of pairs of variants on bare arrays of calls: of counts, and of haplotypes."""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from leadlight.genetics.genotypes import Calls

Floats = npt.NDArray[np.float64]
_EXACT_IN_SINGLE = 1 << 22  # people


def correlation(first: Calls, second: Calls, weights: Floats | None = None) -> Floats:
    """(first, second) Pearson correlations over the people with both calls.

    first, second: (variant, person) counts (int8, negative = missing) or dosages (NaN = missing);
    weights: (person,), None for 1. NaN where a variant is constant among the people of the pair.
    """
    kind = precision(first, second, weights)
    a, a_there = values_of(first, kind)
    b, b_there = (a, a_there) if second is first else values_of(second, kind)
    w = None if weights is None else weights.astype(kind)
    aw = a if w is None else a * w
    cross = product(aw, b)
    if a_there is None and b_there is None:
        ones = np.ones((1, first.shape[1]), dtype=kind)
        count: Any = float(first.shape[1]) if weights is None else float(weights.sum())
        sum_a, sum_b = product(aw, ones), product(ones if w is None else ones * w, b)
        square_a, square_b = product(aw * a, ones), product(ones if w is None else ones * w, b**2)
    else:
        a_in = np.ones_like(a) if a_there is None else a_there
        b_in = np.ones_like(b) if b_there is None else b_there
        a_in = a_in if w is None else a_in * w
        count = product(a_in, b_in)
        sum_a, sum_b = product(aw, b_in), product(a_in, b)
        square_a, square_b = product(aw * a, b_in), product(a_in, b**2)
    covariance = count * cross - sum_a * sum_b
    spread_a, spread_b = count * square_a - sum_a**2, count * square_b - sum_b**2
    # Dosages' rounding may leave a constant variant a spread of its last digits.
    known = (spread_a > 1e-9 * count * square_a) & (spread_b > 1e-9 * count * square_b)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = covariance / np.sqrt(spread_a * spread_b)
    return np.asarray(np.where(known, np.clip(r, -1, 1), np.nan))


def haplotype_correlation(first: Calls, second: Calls, weights: Floats | None = None) -> Floats:
    """(first, second) signed r of the likeliest haplotype frequencies; see `correlation`.

    first, second: (variant, person) int8 counts, negative = missing; weights: ½ for a person with
    one chromosome. The likelihood's maximum is a root of a cubic (Gaunt et al., BMC Bioinformatics
    8:428, 2007); of several in range the likeliest is taken.
    """
    kind = precision(first, second, weights)
    w = None if weights is None else weights.astype(kind)

    def parts(calls: Calls) -> tuple[Any, Any, Any]:
        return (calls == 1).astype(kind), (calls == 2).astype(kind), (calls >= 0).astype(kind)

    a1, a2, a_in = parts(first)
    b1, b2, b_in = parts(second)
    if w is not None:
        a1, a2, a_in = a1 * w, a2 * w, a_in * w
    return _haplotype_r(
        2 * product(a2, b2) + product(a2, b1) + product(a1, b2),
        product(a1, b1),
        2 * product(a_in, b_in),
        2 * product(a2, b_in) + product(a1, b_in),
        2 * product(a_in, b2) + product(a_in, b1),
    )


@njit(nogil=True, cache=True)
def count_pairs(one: Any, others: Any, tables: Any) -> None:
    """tables: (variant, 9) people by calls, 3 × that of `one` (person,) + that of others."""
    for v in range(len(others)):
        row, table = others[v], tables[v]
        for i in range(len(one)):
            if one[i] >= 0 and row[i] >= 0:
                table[3 * one[i] + row[i]] += 1


def r2_of_tables(tables: npt.NDArray[np.int64], measure: str) -> Floats:
    """(variant,) r² from tables of calls; see `count_pairs`."""
    cells = tables.reshape(-1, 3, 3).astype(np.float64)
    n, calls = cells.sum(axis=(1, 2)), np.arange(3.0)
    rows, columns = cells.sum(axis=2), cells.sum(axis=1)
    first, second = rows @ calls, columns @ calls
    if measure == "haplotypes":
        both = 2 * cells[:, 2, 2] + cells[:, 2, 1] + cells[:, 1, 2]
        return _haplotype_r(both, cells[:, 1, 1], 2 * n, first, second) ** 2
    cross = np.einsum("vij,i,j->v", cells, calls, calls)
    spread = (n * (rows @ calls**2) - first**2) * (n * (columns @ calls**2) - second**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        r2 = (n * cross - first * second) ** 2 / spread
    return np.asarray(np.where(spread > 0, r2, np.nan))


def _haplotype_r(
    both: Floats, double: Floats, chromosomes: Floats, first: Floats, second: Floats
) -> Floats:
    """both: haplotypes of both effect alleles among people who are not doubly heterozygous;
    double: people who are; first, second: copies of the two alleles. All of one shape.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        p, q = first / chromosomes, second / chromosomes
        known, unknown = both / chromosomes, double / chromosomes
        x = _likeliest_haplotype(known, unknown, p, q)
        d = x - p * q
        r = d / np.sqrt(p * (1 - p) * q * (1 - q))
    usable = (p > 0) & (p < 1) & (q > 0) & (q < 1)
    return np.asarray(np.where(usable, np.clip(np.where(np.abs(d) < 1e-12, 0, r), -1, 1), np.nan))


def _likeliest_haplotype(known: Floats, unknown: Floats, p: Floats, q: Floats) -> Floats:
    """Frequency of the haplotype of both effect alleles.

    known: its share from people who are not doubly heterozygous; unknown: the doubly heterozygous,
    per chromosome; p, q: frequencies of the two alleles. All of one shape.
    """
    s, pq = p + q, p * q
    # 2x³ + bx² + cx + d = 0, from x = known + unknown · P(AB/ab | doubly heterozygous, x).
    b = (1 - 2 * s) - 2 * known - unknown
    c = pq - known * (1 - 2 * s) - unknown * (1 - s)
    d = -known * pq
    low, high = known, known + unknown
    best = np.where(unknown > 0, np.nan, known)
    best_log = np.full(np.shape(p), -np.inf)
    k12, k21 = p - known - unknown, q - known - unknown
    k22 = 1 - s + known
    for root in (*_cubic_roots(b / 2, c / 2, d / 2), low, high):
        x = np.clip(root, low, high)
        f12, f21, f22 = p - x, q - x, 1 - s + x
        log = unknown * _log(x * f22 + f12 * f21)
        for share, frequency in ((known, x), (k12, f12), (k21, f21), (k22, f22)):
            log = log + np.where(share > 1e-12, share * _log(frequency), 0.0)
        better = np.isfinite(root) & (log > best_log + 1e-15)
        best = np.where(better & (unknown > 0), x, best)
        best_log = np.where(better, log, best_log)
    return np.asarray(best)


def _cubic_roots(b: Floats, c: Floats, d: Floats) -> tuple[Floats, Floats, Floats]:
    """Real roots of x³ + bx² + cx + d; NaN where there is only one."""
    shift = b / 3
    p = c - b * b / 3
    q = 2 * b**3 / 27 - b * c / 3 + d
    discriminant = (q / 2) ** 2 + (p / 3) ** 3
    single = discriminant > 0
    root = np.sqrt(np.maximum(discriminant, 0))
    alone = np.cbrt(-q / 2 + root) + np.cbrt(-q / 2 - root) - shift
    radius = 2 * np.sqrt(np.maximum(-p / 3, 0))
    ratio = np.where(radius > 0, 3 * q / np.where(p * radius == 0, 1.0, p * radius), 0.0)
    angle = np.arccos(np.clip(ratio, -1, 1)) / 3
    three = [radius * np.cos(angle - 2 * np.pi * k / 3) - shift for k in range(3)]
    return (
        np.where(single, alone, three[0]),
        np.where(single, np.nan, three[1]),
        np.where(single, np.nan, three[2]),
    )


def _log(values: Floats) -> Floats:
    return np.asarray(np.log(np.maximum(values, 1e-300)))


def precision(first: Calls, second: Calls, weights: Floats | None) -> type[Any]:
    """Single where sums of products are exact in it, otherwise double."""
    whole = np.issubdtype(first.dtype, np.integer) and np.issubdtype(second.dtype, np.integer)
    halves = weights is None or bool(np.all(np.mod(2 * weights, 1) == 0))
    exact = whole and halves and first.shape[1] < _EXACT_IN_SINGLE
    return np.float32 if exact else np.float64


def values_of(calls: Calls, kind: type[Any]) -> tuple[Any, Any]:
    """Values with 0 for missing calls, and 1 where there is a call (None: everywhere)."""
    there = calls >= 0 if np.issubdtype(calls.dtype, np.integer) else ~np.isnan(calls)
    if there.all():
        return calls.astype(kind), None
    return np.where(there, calls, 0).astype(kind), there.astype(kind)


def product(a: Any, b: Any) -> Floats:
    """a bᵀ in double precision, multiplied in the arrays' own."""
    return np.asarray(a @ b.T, dtype=np.float64)
