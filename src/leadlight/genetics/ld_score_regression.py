"""LD score regression: heritability and genetic correlation from summary statistics.

A variant's χ² grows with its LD score: E χ² = N h² ℓ/M + intercept, and for two traits E z₁z₂ =
√(N₁N₂) ρ ℓ/M + intercept (Bulik-Sullivan et al., Nature Genetics 47:291 and 47:1236, 2015). What
relatives, structure and shared people add is in the intercept, because it does not grow with ℓ.

Weights: one over ℓ (linked variants say the same thing) and over the variance that the fit expects,
worked out again twice. The intercept comes from variants with χ² < 30 (two steps); the slope then
from all. Standard errors: block jackknife over contiguous variants, each block with an intercept of
its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from leadlight.errors import LeadlightError
from leadlight.genetics.inflation import MEDIAN_CHI_SQUARED

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
_Weights = Callable[[float, float, npt.NDArray[np.bool_]], Floats]  # of slope, intercept, variants
BLOCKS = 200
SHORTEST_BLOCK_BP = 1_000_000  # blocks shorter than linkage would be no independent samples
FIRST_STEP_BELOW = 30.0  # χ² of the variants that the intercept comes from
_REWEIGHTED = 2


@dataclass(frozen=True)
class Heritability:
    """Of one trait on the observed scale.

    ratio: (intercept − 1)/(mean χ² − 1), what share of the inflation is not polygenic (NaN where
    the mean is below 1). deleted: (block,) heritability without each block.
    """

    h2: float
    h2_se: float
    intercept: float
    intercept_se: float
    mean_chi_squared: float
    lambda_gc: float
    ratio: float
    ratio_se: float
    n_variants: int
    n_blocks: int
    deleted: Floats

    @property
    def z(self) -> float:
        """h² over its standard error."""
        return self.h2 / self.h2_se if self.h2_se > 0 else np.nan


@dataclass(frozen=True)
class GeneticCorrelation:
    """Of two traits; the correlation is NaN where a heritability is not positive."""

    correlation: float
    correlation_se: float
    covariance: float
    covariance_se: float
    intercept: float
    intercept_se: float
    n_variants: int


def too_large(n: Floats) -> Floats:
    """(variant,) χ² above which a variant is left out: max(0.001 N, 80)."""
    return np.maximum(0.001 * n, 80.0)


def jackknife_blocks(
    chromosome: npt.NDArray[Any], position: Integers, blocks: int = BLOCKS
) -> Integers:
    """(variant,) the block of each; variants are sorted by place.

    chromosome: (variant,) names or numbers.

    At most `blocks` of equal numbers of variants, and fewer where they would span less than a
    megabase on average: linked blocks are no independent samples.
    """
    first = np.flatnonzero(np.append(True, chromosome[1:] != chromosome[:-1]))
    last = np.append(first[1:], len(position)) - 1
    span = int(np.sum(position[last] - position[first]))
    count = int(np.clip(span // SHORTEST_BLOCK_BP, 2, blocks))
    return np.asarray(np.arange(len(position)) * count // max(len(position), 1))


def heritability(
    chi_squared: Floats,
    n: Floats,
    scores: Floats,
    m: float,
    blocks: Integers,
    *,
    weight_scores: Floats | None = None,
    intercept: float | None = None,
) -> Heritability:
    """Fit one trait. All arrays (variant,), sorted by place.

    m: number of variants that the scores sum over (and the heritability is of). weight_scores:
    scores over the variants of the regression alone; None: `scores`. intercept: fixed there.
    Raises LeadlightError with fewer than 200 variants.
    """
    if len(scores) < 200:
        raise LeadlightError(
            f"{len(scores)} variants have a statistic and an LD score.",
            advice="LD score regression needs some ten thousand. Compare the ids (rsid) of both.",
        )
    x = n * scores / m
    linked = 1 / np.maximum(scores if weight_scores is None else weight_scores, 1)

    def weights(slope: float, level: float, rows: npt.NDArray[np.bool_]) -> Floats:
        expected = level + np.clip(slope, 0, 1) * np.maximum(x[rows], 0)
        return np.asarray(linked[rows] / (2 * np.maximum(expected, 1e-3) ** 2))

    start = float((chi_squared.mean() - 1) / x.mean())
    fit = _two_steps(x, chi_squared, blocks, chi_squared < FIRST_STEP_BELOW, weights, start, 1.0,
                     intercept)  # fmt: skip
    mean = float(chi_squared.mean())
    excess = mean - 1 if mean > 1 else np.nan
    return Heritability(
        fit.slope,
        _jackknife_se(fit.slope, fit.slopes),
        fit.level,
        0.0 if intercept is not None else _jackknife_se(fit.level, fit.levels),
        mean,
        float(np.median(chi_squared)) / MEDIAN_CHI_SQUARED,
        (fit.level - 1) / excess,
        (0.0 if intercept is not None else _jackknife_se(fit.level, fit.levels)) / excess,
        len(scores),
        len(fit.slopes),
        fit.slopes,
    )


def genetic_correlation(
    z: tuple[Floats, Floats],
    n: tuple[Floats, Floats],
    scores: Floats,
    m: float,
    blocks: Integers,
    *,
    weight_scores: Floats | None = None,
    intercept: float | None = None,
    intercepts: tuple[float | None, float | None] = (None, None),
) -> GeneticCorrelation:
    """Fit two traits on the same variants, z of the same effect alleles. Arrays (variant,).

    intercept: of the covariance, fixed there (0: no people in common); intercepts: of the traits.
    """
    own = [
        heritability(
            z[i] ** 2, n[i], scores, m, blocks, weight_scores=weight_scores, intercept=intercepts[i]
        )
        for i in range(2)
    ]
    x = np.sqrt(n[0] * n[1]) * scores / m
    linked = 1 / np.maximum(scores if weight_scores is None else weight_scores, 1)
    variances = [
        np.maximum(one.intercept + np.clip(one.h2, 0, 1) * np.maximum(k * scores / m, 0), 1e-3)
        for one, k in zip(own, n, strict=True)
    ]

    def weights(slope: float, level: float, rows: npt.NDArray[np.bool_]) -> Floats:
        expected = level + np.clip(slope, -1, 1) * x[rows]
        return np.asarray(linked[rows] / (variances[0][rows] * variances[1][rows] + expected**2))

    product = z[0] * z[1]
    small = (z[0] ** 2 < FIRST_STEP_BELOW) & (z[1] ** 2 < FIRST_STEP_BELOW)
    start = float(product.mean() / x.mean())
    fit = _two_steps(x, product, blocks, small, weights, start, 0.0, intercept)
    scale = own[0].h2 * own[1].h2
    correlation, error = np.nan, np.nan
    if own[0].h2 > 0 and own[1].h2 > 0:
        correlation = fit.slope / np.sqrt(scale)
        with np.errstate(invalid="ignore"):
            deleted = fit.slopes / np.sqrt(own[0].deleted * own[1].deleted)
        if np.isfinite(deleted).all():
            error = _jackknife_se(correlation, deleted)
    return GeneticCorrelation(
        correlation,
        error,
        fit.slope,
        _jackknife_se(fit.slope, fit.slopes),
        fit.level,
        0.0 if intercept is not None else _jackknife_se(fit.level, fit.levels),
        len(scores),
    )


@dataclass(frozen=True)
class _Fit:
    """slopes, levels: (block,) without each block."""

    slope: float
    level: float
    slopes: Floats
    levels: Floats


def _two_steps(
    x: Floats,
    y: Floats,
    blocks: Integers,
    first: npt.NDArray[np.bool_],
    weights: _Weights,
    slope: float,
    level: float,
    fixed: float | None,
) -> _Fit:
    """Intercept from the variants `first`, then the slope from all at that intercept."""
    count = int(blocks.max()) + 1
    levels = np.full(count, level if fixed is None else fixed)
    if fixed is None:
        w = weights(slope, level, first)
        for _ in range(_REWEIGHTED):
            sums = _sums(w, x[first], y[first], blocks[first], count)
            step_slope, level = _line(sums.sum(axis=1))
            w = weights(step_slope, level, first)
        sums = _sums(w, x[first], y[first], blocks[first], count)
        whole = sums.sum(axis=1)
        _, level = _line(whole)
        levels = np.array([_line(whole - one)[1] for one in sums.T])
    else:
        level = fixed
    everything = np.ones(len(x), dtype=np.bool_)
    w = weights(slope, level, everything)
    for _ in range(_REWEIGHTED):
        slope = float(np.sum(w * x * (y - level)) / np.sum(w * x * x))
        w = weights(slope, level, everything)
    sums = _sums(w, x, y, blocks, count)
    whole = sums.sum(axis=1)
    rest = whole[:, None] - sums
    return _Fit(
        float((whole[4] - level * whole[1]) / whole[2]),
        float(level),
        (rest[4] - levels * rest[1]) / rest[2],
        levels,
    )


def _sums(w: Floats, x: Floats, y: Floats, blocks: Integers, count: int) -> Floats:
    """(5, block) sums of w, wx, wx², wy, wxy."""
    return np.stack(
        [
            np.bincount(blocks, values, minlength=count)
            for values in (w, w * x, w * x * x, w * y, w * x * y)
        ]
    )


def _line(sums: Floats) -> tuple[float, float]:
    """Slope and intercept of weighted least squares."""
    w, wx, wxx, wy, wxy = sums
    slope = (w * wxy - wx * wy) / (w * wxx - wx * wx)
    return float(slope), float((wy - slope * wx) / w)


def _jackknife_se(whole: float, deleted: Floats) -> float:
    count = len(deleted)
    pseudo = count * whole - (count - 1) * deleted
    return float(np.sqrt(pseudo.var(ddof=1) / count))
