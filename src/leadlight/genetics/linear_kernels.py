"""The linear model of many traits on one variant each, as compiled kernels on bare arrays.

Notation. Q: (person, q) orthonormal basis of the constant (first column, 1/√n) and the covariates.
Y: (person, trait) traits as residuals on Q, of unit length, zero where missing. W = [Q | Y], padded
with zero columns. g: the counts of one variant's effect allele, zero where the call is missing.
P = gᵀW. Without missing values, s = g·g − |P_Q|², r² = P_Y²/s, t² = df·r²/(1 − r²).

People who are missing, in the call or in the trait, are taken out exactly by downdating: over the
people that remain, QᵀQ is A = I − Q_SᵀQ_S (S: the people taken out) and Qᵀy is −Q_Sᵀy_S, so that
with w = A⁻¹Qᵀg the residual products are s = g·g − w·Qᵀg, x = g·y + w·Q_Sᵀy_S and
|y|² = 1 − y_S·y_S − (Q_Sᵀy_S)ᵀA⁻¹(Q_Sᵀy_S).
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from leadlight.genetics.tail_probability import two_sided_neg_log_10_p

Array = npt.NDArray[Any]

# Columns of the per-variant counts that `prepare_calls` returns.
N_CALLED, SUM, SUM_OF_SQUARES, N_HETEROZYGOUS, MALE_SUM, MALE_CALLED = range(6)
# Share of a variant's variance below which covariates are taken to explain all of it.
COLLINEAR = 1e-6
_CHUNK = 32


@njit(nogil=True, cache=True)
def prepare_calls(
    calls: Array, male: Array, by_sex: bool, out: Array, counts: Array, flipped: Array, first: Array
) -> Array:
    """Make a block of calls ready for the product with W; returns the missing people of all rows.

    calls: (variant, person) int8 or float32, negative = missing; male: (person,) uint8, used if
    by_sex. Fills out: (variant, person) float, missing 0, and 2 − g where the effect allele is the
    commoner one (flipped: (variant,) uint8), which keeps the residual sum of squares from
    cancelling; counts: (variant, 6) float64 as named above, of g before flipping; first:
    (variant + 1,) int64, where a variant's missing people start in the returned (entry,) int32.
    """
    n_variants, n = calls.shape
    missing = np.empty(1024, dtype=np.int32)
    n_missing = 0
    first[0] = 0
    for v in range(n_variants):
        row, target = calls[v], out[v]
        absent = 0
        total, squares, heterozygous = 0.0, 0.0, 0
        for start in range(0, n, 4096):
            stop = min(start + 4096, n)
            a, z, h = 0, 0, 0
            t, q = row[start] * 0, row[start] * 0
            for i in range(start, stop):
                g = row[i]
                here = g >= 0
                a += not here
                h += g == 1
                z += 0
                value = g if here else row[start] * 0
                t += value
                q += value * value
            absent += a
            heterozygous += h
            total += t
            squares += q
        called = n - absent
        male_total, male_called = 0.0, 0
        if by_sex:
            for i in range(n):
                if male[i] and row[i] >= 0:
                    male_total += row[i]
                    male_called += 1
        counts[v, N_CALLED] = called
        counts[v, SUM] = total
        counts[v, SUM_OF_SQUARES] = squares
        counts[v, N_HETEROZYGOUS] = heterozygous
        counts[v, MALE_SUM] = male_total
        counts[v, MALE_CALLED] = male_called
        flip = total > called
        flipped[v] = flip
        if flip:
            for i in range(n):
                target[i] = 2 - row[i] if row[i] >= 0 else 0
        elif absent:
            for i in range(n):
                target[i] = row[i] if row[i] >= 0 else 0
        else:
            for i in range(n):
                target[i] = row[i]
        if absent:
            if n_missing + absent > len(missing):
                grown = np.empty(2 * (n_missing + absent), dtype=np.int32)
                grown[:n_missing] = missing[:n_missing]
                missing = grown
            for start in range(0, n, _CHUNK):
                stop = min(start + _CHUNK, n)
                some = 0
                for i in range(start, stop):
                    some += row[i] < 0
                if some:
                    for i in range(start, stop):
                        if row[i] < 0:
                            missing[n_missing] = i
                            n_missing += 1
        first[v + 1] = n_missing
    return missing[:n_missing]


@njit(nogil=True, cache=True, fastmath={"contract"})
def linear_statistics(
    product: Array,
    dosages: Array,
    counts: Array,
    flipped: Array,
    first: Array,
    missing: Array,
    design: Array,
    q: int,
    male: Array,
    by_sex: bool,
    pattern_people: Array,
    pattern_first: Array,
    pattern_size: Array,
    pattern_gram: Array,
    pattern_factor: Array,
    is_absent: Array,
    trait_first: Array,
    trait_norm: Array,
    scale: float,
    out: Array,
    out_frequency: Array,
    out_n: Array,
) -> None:
    """Effect, standard error and −log10 p of every trait on every variant of a block.

    product: (variant, column) gᵀW; dosages: (variant, person), counts, flipped, first, missing as
    `prepare_calls` made them; design: (person, column) W.
    Traits with the same missing people are one pattern and stand beside each other: those of
    pattern k are trait_first[k] … trait_first[k + 1]. pattern_people, pattern_first: the missing
    people of all patterns and where each begins; pattern_gram: (pattern, q, q) Q_SᵀQ_S;
    pattern_factor: (pattern, q, q) lower Cholesky factor of I − Q_SᵀQ_S; pattern_size: (pattern,)
    people who have the traits; is_absent: (person, pattern) uint8, who has not.
    trait_norm: (trait,) length of the residual trait. scale: 2 where two copies count as one.
    Fills out: (3, trait, variant), NaN where nothing can be said; out_frequency: (pattern, variant)
    frequency of the effect allele; out_n: (pattern, variant) people.
    """
    n_variants = product.shape[0]
    n_patterns = len(trait_first) - 1
    n_traits = len(trait_norm)
    n = dosages.shape[1]
    root_n = 1.0 / float(design[0, 0])
    columns = q + n_traits
    taken = np.zeros((q, design.shape[1]), dtype=design.dtype)
    squares = np.zeros(design.shape[1], dtype=design.dtype)
    gathered = np.zeros(design.shape[1], dtype=design.dtype)
    projected = np.zeros(q)
    solved = np.zeros(q)
    factor = np.zeros((q, q))
    column = np.zeros(q)
    n_male = 0
    for i in range(n):
        n_male += male[i]
    for v in range(n_variants):
        start, stop = first[v], first[v + 1]
        sign = -1.0 if flipped[v] else 1.0
        called = counts[v, N_CALLED]
        total, squared = counts[v, SUM], counts[v, SUM_OF_SQUARES]
        male_total, male_called = counts[v, MALE_SUM], counts[v, MALE_CALLED]
        if flipped[v]:
            squared += 4.0 * (called - total)
            total = 2.0 * called - total
            male_total = 2.0 * male_called - male_total
        if stop > start:
            taken[:] = 0
            squares[:] = 0
            for entry in range(start, stop):
                person = design[missing[entry]]
                for i in range(q):
                    factor_i = person[i]
                    for j in range(columns):
                        taken[i, j] += factor_i * person[j]
                for j in range(columns):
                    squares[j] += person[j] * person[j]
        for k in range(n_patterns):
            people_left = float(pattern_size[k])
            males_left = float(n_male)
            sum_left, squares_left, male_left = total, squared, male_total
            for i in range(q):
                projected[i] = product[v, i]
            projected[0] = total / root_n
            if pattern_first[k + 1] > pattern_first[k]:
                gathered[:] = 0
                for entry in range(pattern_first[k], pattern_first[k + 1]):
                    who = pattern_people[entry]
                    g = dosages[v, who]
                    sum_left -= g
                    squares_left -= g * g
                    person = design[who]
                    for i in range(q):
                        gathered[i] += g * person[i]
                    if by_sex and male[who]:
                        male_left -= g
                        males_left -= 1.0
                for i in range(1, q):
                    projected[i] -= gathered[i]
                projected[0] = sum_left / root_n
            if stop > start:
                for i in range(q):
                    for j in range(i + 1):
                        factor[i, j] = -pattern_gram[k, i, j] - taken[i, j]
                    factor[i, i] += 1.0
                for entry in range(start, stop):
                    who = missing[entry]
                    if is_absent[who, k]:
                        for i in range(q):
                            for j in range(i + 1):
                                factor[i, j] += design[who, i] * design[who, j]
                    else:
                        people_left -= 1.0
                        males_left -= male[who]
                _cholesky(factor)
            else:
                factor[:, :] = pattern_factor[k]
            _solve_lower(factor, projected, solved)
            explained = 0.0
            for i in range(q):
                explained += solved[i] * solved[i]
            residual = squares_left - explained
            degrees = people_left - q - 1.0
            alleles = 2.0 * people_left
            counted = sum_left
            if by_sex:
                alleles -= males_left
                counted -= 0.5 * male_left
            share = counted / alleles if alleles > 0 else math.nan
            out_frequency[k, v] = 1.0 - share if flipped[v] else share
            out_n[k, v] = people_left
            usable = degrees > 0 and residual > COLLINEAR * squares_left and squares_left > 0
            if usable and stop > start:
                _solve_upper(factor, solved)
            for trait in range(trait_first[k], trait_first[k + 1]):
                if not usable:
                    out[0, trait, v] = math.nan
                    out[1, trait, v] = math.nan
                    out[2, trait, v] = math.nan
                    continue
                x = float(product[v, q + trait])
                length = 1.0
                if stop > start:
                    for i in range(q):
                        value = float(taken[i, q + trait])
                        x += solved[i] * value
                        for j in range(i):
                            value -= factor[i, j] * column[j]
                        value /= factor[i, i]
                        column[i] = value
                        length -= value * value
                    length -= squares[q + trait]
                slope = x / residual
                left_over = (length - x * slope) / degrees
                if left_over <= 0:
                    left_over = math.nan
                spread = left_over / residual
                out[0, trait, v] = sign * scale * trait_norm[trait] * slope
                out[1, trait, v] = scale * trait_norm[trait] * math.sqrt(spread)
                out[2, trait, v] = two_sided_neg_log_10_p(slope * slope / spread, degrees)


@njit(nogil=True, cache=True, inline="always")
def _cholesky(matrix: Array) -> None:
    """Replace the lower triangle by its Cholesky factor; NaN where it is not positive definite."""
    size = len(matrix)
    for j in range(size):
        value = matrix[j, j]
        for i in range(j):
            value -= matrix[j, i] * matrix[j, i]
        # Not a number spreads to every statistic that rests on it.
        root = math.sqrt(value) if value > 1e-9 else math.nan
        matrix[j, j] = root
        for i in range(j + 1, size):
            value = matrix[i, j]
            for m in range(j):
                value -= matrix[i, m] * matrix[j, m]
            matrix[i, j] = value / root


@njit(nogil=True, cache=True, inline="always")
def _solve_lower(factor: Array, right: Array, out: Array) -> None:
    for i in range(len(factor)):
        value = right[i]
        for j in range(i):
            value -= factor[i, j] * out[j]
        out[i] = value / factor[i, i]


@njit(nogil=True, cache=True, inline="always")
def _solve_upper(factor: Array, vector: Array) -> None:
    """Solve with the transposed lower factor, in place."""
    for i in range(len(factor) - 1, -1, -1):
        value = vector[i]
        for j in range(i + 1, len(factor)):
            value -= factor[j, i] * vector[j]
        vector[i] = value / factor[i, i]
