"""SKAT, SKAT-O and ACAT-V of one set of variants, for all traits at once.

The traits' residuals have length 1, so a statistic depends on their direction alone; under normal
residuals that direction is uniform, and the p-values of SKAT and of each kernel of SKAT-O are exact
at any number of people (`mixture_tails.log_ratio_tails`).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator

from leadlight.genetics.gene_burden import linear_tests
from leadlight.genetics.log_tails import LN10, log_cauchy_combination
from leadlight.genetics.mixture_tails import log_optimal_tail, log_ratio_tails, quantiles

Floats = npt.NDArray[np.float64]
# Between SKAT (0) and the burden test (1): the grid of SKAT-O in R's SKAT and in REGENIE.
RHO = np.array([0, 0.1**2, 0.2**2, 0.3**2, 0.4**2, 0.5**2, 0.5, 1])
LARGEST_P = 1 - 1e-9  # of single variants in ACAT-V: continuous, so never 1
_SMALLEST_SHARE = 1e-10  # of an eigenvalue in the largest
_MOST_DIRECT = 60  # traits; with more, SKAT-O's last step is interpolated between so many points


@dataclass(frozen=True)
class VarianceTests:
    """Natural log p of each test, (trait,). rho: (trait,) that with the least p in SKAT-O."""

    skat: Floats
    skat_o: Floats
    acat_v: Floats
    rho: Floats


def variance_tests(
    scores: Floats,
    covariance: Floats,
    weights: Floats,
    frequencies: Floats,
    degrees: float,
    *,
    optimal: bool = True,
) -> VarianceTests:
    """Test a set of variants.

    scores: (variant, trait) products of dosages and residual traits of length 1. covariance:
    (variant, variant) products of the dosages' residuals on the covariates. weights: (variant,) of
    SKAT. frequencies: (variant,) of the rarer allele, for ACAT-V's weights. degrees: people less
    the covariates and the constant. Variants without variance have no say; NaN where none has any.
    Without `optimal`, SKAT-O is NaN and its time saved.
    """
    usable = np.diag(covariance) > 1e-9
    if not usable.any():
        none = np.full(scores.shape[1], np.nan)
        return VarianceTests(none, none, none, none)
    scores, covariance = scores[usable], covariance[np.ix_(usable, usable)]
    weights, frequencies = weights[usable], frequencies[usable]
    single = linear_tests(scores, np.diag(covariance), np.ones(scores.shape[1]), degrees)
    log_single = -LN10 * single.neg_log_10_p
    weighted = weights[:, None] * scores
    spread = weights[:, None] * covariance * weights
    scale = np.trace(spread)
    if _one_axis(spread):
        strongest = log_single[np.diag(spread).argmax()]
        acat = _acat_v(log_single, weights, frequencies)
        return VarianceTests(strongest, strongest, acat, np.zeros(scores.shape[1]))
    weighted, spread = weighted / np.sqrt(scale), spread / scale
    squares, burden = np.sum(weighted**2, axis=0), weighted.sum(axis=0) ** 2
    if not optimal:
        skat = log_ratio_tails(_axes(spread, 0.0), squares, degrees)
        none = np.full(scores.shape[1], np.nan)
        return VarianceTests(skat, none, _acat_v(log_single, weights, frequencies), none)
    axes = [_axes(spread, rho) for rho in RHO]
    log_p = np.stack(
        [
            log_ratio_tails(own, (1 - rho) * squares + rho * burden, degrees)
            for own, rho in zip(axes, RHO, strict=True)
        ]
    )
    return VarianceTests(
        log_p[0],
        _optimal(log_p.min(axis=0), spread, axes),
        _acat_v(log_single, weights, frequencies),
        RHO[log_p.argmin(axis=0)],
    )


def beta_weights(frequencies: Floats, shape: tuple[float, float] = (1.0, 25.0)) -> Floats:
    """Beta density at the rarer allele's frequency (Wu et al., AJHG 89:82, 2011)."""
    from scipy.stats import beta

    return np.asarray(beta.pdf(np.clip(frequencies, 1e-12, 0.5), *shape))


def _acat_v(log_single: Floats, weights: Floats, frequencies: Floats) -> Floats:
    """Cauchy combination with weights w² f (1 − f) (Liu et al., AJHG 104:410, 2019)."""
    share = weights**2 * frequencies * (1 - frequencies)
    return log_cauchy_combination(log_single.T, share, LARGEST_P)


def _axes(spread: Floats, rho: float) -> Floats:
    """Positive eigenvalues of the kernel's quadratic form, the covariance being `spread`."""
    if rho == 1:
        return np.array([spread.sum()])
    m = len(spread)
    # (1 − ρ) I + ρ 11ᵀ is the square of a I + b 11ᵀ.
    a = np.sqrt(1 - rho)
    b = (np.sqrt(1 - rho + m * rho) - a) / m
    rows = spread.sum(axis=0)
    both = a * a * spread + a * b * (rows[:, None] + rows) + b * b * rows.sum()
    sizes = np.linalg.eigvalsh(both)
    return np.asarray(sizes[sizes > _SMALLEST_SHARE * sizes[-1]])


def _one_axis(spread: Floats) -> bool:
    """Whether the variants' residuals are multiples of each other: all tests are then the same."""
    return bool(np.sum(spread**2) > (1 - 1e-9) * np.trace(spread) ** 2)


def _optimal(log_least: Floats, spread: Floats, axes: list[Floats]) -> Floats:
    """log p of SKAT-O, from the least log p of its kernels."""
    total = float(spread.sum())
    if total <= 1e-12 * len(spread):  # the weighted burden has no variance
        return log_least
    along = spread.sum(axis=0) / np.sqrt(total)
    sizes, vectors = np.linalg.eigh(spread - np.outer(along, along))
    shifts = (along @ vectors) ** 2
    keep = sizes > _SMALLEST_SHARE * max(sizes[-1], 1 / len(sizes))
    if not keep.any():
        return log_least
    weights = np.append(sizes[keep], 0.0)
    shifts = np.append(shifts[keep], shifts[~keep].sum())

    def at(values: Floats) -> Floats:
        thresholds = np.stack([quantiles(own, values) for own in axes])
        return log_optimal_tail(values, RHO, thresholds, weights, shifts, total)

    if len(log_least) <= _MOST_DIRECT:
        return at(log_least)
    # p and the least p differ by a smooth factor between 1 and the number of kernels.
    place = np.log(-log_least)
    nodes = np.linspace(place.min(), place.max(), _MOST_DIRECT)
    values = -np.exp(nodes)
    factor = PchipInterpolator(nodes, at(values) - values)
    return np.asarray(np.minimum(log_least + factor(place), 0.0))
