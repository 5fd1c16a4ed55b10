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


def prepare_calls(
    calls: Array, male: Array, by_sex: bool, out: Array, counts: Array, flipped: Array, first: Array
) -> Array:
    """Make a block of calls ready for the product with W; returns the missing people of all rows.

    calls: (variant, person) int8 (0, 1, 2) or float32 dosages, negative = missing; male: (person,)
    uint8, used if by_sex. Fills out: (variant, person) float, missing 0, and 2 − g where the effect
    allele is the commoner one (flipped: (variant,) uint8), which keeps the residual sum of squares
    from cancelling; counts: (variant, 6) float64 as named above, of g before flipping; first:
    (variant + 1,) int64, where a variant's missing people start in the returned (entry,) int32.
    """
    n = calls.shape[1]
    if calls.dtype == np.int8:
        flat = calls.reshape(-1)
        start = -flat.ctypes.data % 8
        words = flat[start : start + (len(flat) - start) // 8 * 8].view(np.uint64)
        _count_calls(flat, words, start, n, counts)
    else:
        _count_dosages(calls, counts)
    if by_sex:
        _count_males(calls, male, counts)
    np.greater(counts[:, SUM], counts[:, N_CALLED], out=flipped, casting="unsafe")
    _as_floats(calls, flipped, out)
    absent = n - counts[:, N_CALLED].astype(np.int64)
    first[0] = 0
    np.cumsum(absent, out=first[1:])
    missing = np.empty(first[-1], dtype=np.int32)
    if len(missing) and calls.dtype == np.int8:
        _list_missing_calls(flat, words, start, n, first, missing)
    elif len(missing):
        _list_missing(calls, first, missing)
    return missing


@njit(nogil=True, cache=True)
def _count_calls(flat: Array, words: Array, offset: int, n: int, counts: Array) -> None:
    """Count int8 calls eight at a time.

    flat: (variant · person,); words: its aligned middle part as uint64, from entry `offset` on.
    Two is the only call with bit 1 and not bit 0; a missing call has bit 7. Bytes of a word of such
    bits are counters, emptied before they can overflow.
    """
    ones = np.uint64(0x0101010101010101)
    low = np.uint64(0x00FF00FF00FF00FF)
    for v in range(len(counts)):
        begin, end = v * n, (v + 1) * n
        first_word = max(0, (begin - offset + 7) // 8)
        last_word = min(len(words), (end - offset) // 8)
        if last_word < first_word:
            first_word, last_word = 0, 0
        absent, heterozygous, homozygous = 0, 0, 0
        for start in range(first_word, last_word, 255):
            a, h, t = np.uint64(0), np.uint64(0), np.uint64(0)
            for i in range(start, min(start + 255, last_word)):
                word = words[i]
                gone = (word >> np.uint64(7)) & ones
                bit = word & ones
                a += gone
                h += bit & ~gone
                t += (word >> np.uint64(1)) & ones & ~bit
            for counter, which in ((a, 0), (h, 1), (t, 2)):
                pairs = (counter & low) + ((counter >> np.uint64(8)) & low)
                total: Any = 0
                for shift in (0, 16, 32, 48):
                    total += np.int64((pairs >> np.uint64(shift)) & np.uint64(0xFFFF))
                if which == 0:
                    absent += total
                elif which == 1:
                    heterozygous += total
                else:
                    homozygous += total
        middle = offset + 8 * first_word if last_word > first_word else end
        after = offset + 8 * last_word if last_word > first_word else end
        for i in range(begin, min(middle, end)):
            absent += flat[i] < 0
            heterozygous += flat[i] == 1
            homozygous += flat[i] == 2
        for i in range(after, end):
            absent += flat[i] < 0
            heterozygous += flat[i] == 1
            homozygous += flat[i] == 2
        counts[v, N_CALLED] = n - absent
        counts[v, SUM] = heterozygous + 2 * homozygous
        counts[v, SUM_OF_SQUARES] = heterozygous + 4 * homozygous
        counts[v, N_HETEROZYGOUS] = heterozygous


@njit(nogil=True, cache=True)
def _count_dosages(calls: Array, counts: Array) -> None:
    for v in range(len(calls)):
        called, heterozygous, total, squares = 0, 0, 0.0, 0.0
        for g in calls[v]:
            if g >= 0:
                called += 1
                heterozygous += g == 1
                total += g
                squares += np.float64(g) * np.float64(g)
        counts[v, N_CALLED] = called
        counts[v, SUM] = total
        counts[v, SUM_OF_SQUARES] = squares
        counts[v, N_HETEROZYGOUS] = heterozygous


@njit(nogil=True, cache=True)
def _count_males(calls: Array, male: Array, counts: Array) -> None:
    for v in range(len(calls)):
        total, called = 0.0, 0
        for i in range(calls.shape[1]):
            if male[i] and calls[v, i] >= 0:
                total += calls[v, i]
                called += 1
        counts[v, MALE_SUM] = total
        counts[v, MALE_CALLED] = called


@njit(nogil=True, cache=True)
def _as_floats(calls: Array, flipped: Array, out: Array) -> None:
    for v in range(len(calls)):
        row, target = calls[v], out[v]
        if flipped[v]:
            for i in range(len(row)):
                value = np.float32(2) - np.float32(row[i])
                target[i] = value if row[i] >= 0 else np.float32(0)
        else:
            for i in range(len(row)):
                value = np.float32(row[i])
                target[i] = value if row[i] >= 0 else np.float32(0)


@njit(nogil=True, cache=True)
def _list_missing(calls: Array, first: Array, missing: Array) -> None:
    for v in range(len(calls)):
        entry = first[v]
        if first[v + 1] == entry:
            continue
        for i in range(calls.shape[1]):
            if calls[v, i] < 0:
                missing[entry] = i
                entry += 1


@njit(nogil=True, cache=True)
def _list_missing_calls(
    flat: Array, words: Array, offset: int, n: int, first: Array, missing: Array
) -> None:
    """The missing people of int8 calls, eight calls looked at at a time; see `_count_calls`."""
    signs = np.uint64(0x8080808080808080)
    for v in range(len(first) - 1):
        entry, stop = first[v], first[v + 1]
        if stop == entry:
            continue
        begin, end = v * n, (v + 1) * n
        i = begin
        while entry < stop:
            word = (i - offset) >> 3
            if offset + 8 * word == i and word < len(words) and not words[word] & signs:
                i += 8
                continue
            last = min(end, i + 8 - ((i - offset) & 7))
            while i < last:
                if flat[i] < 0:
                    missing[entry] = i - begin
                    entry += 1
                i += 1


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def gather_people(ready: Array, people: Array, out: Array, total: Array, squares: Array) -> None:
    """Copy chosen columns of ready (variant, person) to out (variant, chosen); sums, squares."""
    for v in range(len(ready)):
        row, target = ready[v], out[v]
        for i in range(len(people)):
            target[i] = row[people[i]]
        added, squared = 0.0, 0.0
        for g in target:
            added += g
            squared += g * g
        total[v] = added
        squares[v] = squared


@njit(nogil=True, cache=True, fastmath={"contract"})
def linear_statistics(
    product: Array,
    counts: Array,
    flipped: Array,
    first: Array,
    missing: Array,
    design: Array,
    q: int,
    male: Array,
    by_sex: bool,
    pattern_product: Array,
    pattern_squares: Array,
    pattern_males: Array,
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

    product: (variant, column) gᵀW; counts, flipped, first, missing as `prepare_calls` made them;
    design: (person, column) W.
    Traits with the same missing people are one pattern and stand beside each other: those of
    pattern k are trait_first[k] … trait_first[k + 1]. Of the people S without these traits:
    pattern_product: (pattern, variant, q) g_SᵀQ_S; pattern_squares: (pattern, variant) g_S·g_S;
    pattern_males: (pattern, variant) their men's sum of g; pattern_gram: (pattern, q, q) Q_SᵀQ_S;
    pattern_factor: (pattern, q, q) lower Cholesky factor of I − Q_SᵀQ_S; pattern_size: (pattern,)
    people who have the traits; is_absent: (person, pattern) uint8, who has not.
    trait_norm: (trait,) length of the residual trait. scale: 2 where two copies count as one.
    Fills out: (3, trait, variant), NaN where nothing can be said; out_frequency: (pattern, variant)
    frequency of the effect allele; out_n: (pattern, variant) people.
    """
    n_variants = product.shape[0]
    n_patterns = len(trait_first) - 1
    n_traits = len(trait_norm)
    n = len(design)
    root_n = 1.0 / float(design[0, 0])
    columns = q + n_traits
    taken = np.zeros((q, design.shape[1]), dtype=design.dtype)
    squares = np.zeros(design.shape[1], dtype=design.dtype)
    projected = np.zeros(q)
    solved = np.zeros(q)
    factor = np.zeros((q, q))
    column = np.zeros(q)
    n_male = 0
    pattern_absent_men = np.zeros(n_patterns)
    for i in range(n):
        n_male += male[i]
        if by_sex and male[i]:
            for k in range(n_patterns):
                pattern_absent_men[k] += is_absent[i, k]
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
            if pattern_size[k] < n:
                sum_left -= pattern_product[k, v, 0] * root_n
                squares_left -= pattern_squares[k, v]
                male_left -= pattern_males[k, v]
                males_left -= pattern_absent_men[k]
                for i in range(1, q):
                    projected[i] -= pattern_product[k, v, i]
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
