"""Which variants of a locus carry the effect: credible sets of single effects and of their sum.

`single_effect` is Wakefield's approximate Bayes factor (Genetic Epidemiology 33:79, 2009) under
exactly one causal variant. `susie` is the sum of single effects (Wang et al., Journal of the Royal
Statistical Society B 82:1273, 2020), from sums of squares; `susie_from_z` from z-scores and
linkage (Zou et al., PLOS Genetics 18:e1010299, 2022).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from leadlight.errors import LeadlightError

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
PRIOR_SD = 0.15  # of an effect, in standard deviations of the trait (Wakefield's choice)
_NO_EFFECT = 1e-9  # prior variance below which an effect counts as none
_PURITY_VARIANTS = 100


@dataclass(frozen=True)
class CredibleSet:
    """Variants that hold the effect with at least the coverage asked for.

    variants: places, the most probable first; coverage: their probability; purity: the smallest
    |r| between two of them (1 for one variant); log_bayes_factor: natural, of the effect against
    none; effect: its number in the model.
    """

    variants: Integers
    coverage: float
    purity: float
    log_bayes_factor: float
    effect: int


@dataclass(frozen=True)
class FineMapping:
    """pip: (variant,) probability that a variant is causal; probabilities: (effect, variant).

    sets: by their Bayes factors, the strongest first. variances: (effect,) prior variances of the
    effects, 0 for one that is not needed; residual_variance: share of the trait's.
    """

    pip: Floats
    probabilities: Floats
    mean: Floats
    sets: tuple[CredibleSet, ...]
    variances: Floats
    residual_variance: float
    converged: bool
    iterations: int


def log_bayes_factors(beta: Floats, standard_error: Floats, prior_sd: float) -> Floats:
    """(variant,) natural logarithm of Wakefield's factor for an effect ~ N(0, prior_sd²)."""
    ratio = prior_sd**2 / (prior_sd**2 + standard_error**2)
    return np.asarray(0.5 * (np.log1p(-ratio) + (beta / standard_error) ** 2 * ratio))


def single_effect(
    beta: Floats,
    standard_error: Floats,
    *,
    prior_sd: float,
    coverage: float = 0.95,
    r: Floats | None = None,
) -> FineMapping:
    """The credible set if exactly one variant is causal, all alike beforehand.

    beta, standard_error: (variant,), NaN for untested variants (probability 0); prior_sd: in the
    trait's unit, `PRIOR_SD` times its SD; r: linkage, for the purity (NaN without).
    """
    known = np.isfinite(beta) & (standard_error > 0)
    if not known.any():
        raise LeadlightError("No variant of the locus has an effect and an error.")
    factors = np.full(len(beta), -np.inf)
    factors[known] = log_bayes_factors(beta[known], standard_error[known], prior_sd)
    probability = _shares(factors)
    total = float(_log_sum(factors) - np.log(known.sum()))
    found = _set_of(probability, coverage, r, total, 0)
    shrunk = np.zeros(len(beta))
    ratio = prior_sd**2 / (prior_sd**2 + standard_error[known] ** 2)
    shrunk[known] = probability[known] * beta[known] * ratio
    return FineMapping(
        probability,
        probability[None],
        shrunk,
        (found,),
        np.array([prior_sd**2]),
        1.0,
        converged=True,
        iterations=1,
    )


def susie_from_z(
    z: Floats,
    r: Floats,
    n: float,
    *,
    effects: int = 10,
    coverage: float = 0.95,
    min_purity: float = 0.5,
    estimate_residual: bool = True,
    max_iterations: int = 500,
) -> FineMapping:
    """SuSiE from z-scores (variant,), linkage (variant, variant) and the number of people.

    r should be of the same people after the covariates; then the answer is that of `susie` on
    individual data. With the linkage of others give estimate_residual=False. Effects are in SDs of
    the trait per SD of the variant's counts.
    """
    if not np.isfinite(z).all():
        raise LeadlightError("A z-score is missing.", advice="Leave those variants out.")
    if r.shape != (len(z), len(z)):
        raise LeadlightError(f"{len(z)} z-scores and linkage of {len(r)} variants don't fit.")
    # z → r of trait and variant, so that large effects count fully.
    scaled = z / np.sqrt(z**2 + n - 2)
    return susie(
        r * (n - 1),
        scaled * (n - 1),
        n - 1,
        n,
        effects=effects,
        coverage=coverage,
        min_purity=min_purity,
        estimate_residual=estimate_residual,
        max_iterations=max_iterations,
    )


def susie(
    xtx: Floats,
    xty: Floats,
    yty: float,
    n: float,
    *,
    effects: int = 10,
    coverage: float = 0.95,
    min_purity: float = 0.5,
    estimate_residual: bool = True,
    max_iterations: int = 500,
    tolerance: float = 1e-4,
) -> FineMapping:
    """The sum of at most `effects` single effects, from sums of squares of residuals.

    xtx: (variant, variant) XᵀX; xty: (variant,); yty: yᵀy, all after the covariates; n: people.
    Each effect's prior variance, and the residual variance unless told not to, is estimated. Sets
    whose variants' smallest |r| is below `min_purity` are left out. Fitted by coordinate ascent
    until the evidence's bound changes by less than `tolerance`.
    """
    count = len(xty)
    diagonal = np.diag(xtx).copy()
    if count == 0 or not (diagonal > 0).all():
        raise LeadlightError("A variant of the locus is constant.", advice="Leave it out.")
    effects = min(effects, count)
    variance_y = yty / (n - 1)
    scale = np.sqrt(diagonal / (n - 1))
    probability = np.full((effects, count), 1 / count)
    mean = np.zeros((effects, count))
    square = np.zeros((effects, count))
    variances = np.full(effects, 0.2 * variance_y)
    residual = variance_y
    fitted = np.zeros((effects, count))  # XᵀX b of each effect
    total = np.zeros(count)
    divergence, factor = np.zeros(effects), np.zeros(effects)
    # On standardised variants, whose effects are alike beforehand.
    gram, product = xtx / np.outer(scale, scale), xty / scale
    length = float(n - 1)
    before, converged, iterations = -np.inf, False, 0
    while iterations < max_iterations and not converged:
        iterations += 1
        for one in range(effects):
            total -= fitted[one]
            left = product - total
            variance, log_factor = _best_variance(left, length, residual, variances[one])
            variances[one] = variance
            if variance <= _NO_EFFECT:
                probability[one], mean[one], square[one] = 1 / count, 0.0, 0.0
                fitted[one], divergence[one], factor[one] = 0.0, 0.0, 0.0
                continue
            probability[one] = _shares(log_factor)
            spread = 1 / (1 / variance + length / residual)
            mean[one] = spread / residual * left
            square[one] = spread + mean[one] ** 2
            effect = probability[one] * mean[one]
            fitted[one] = _times(gram, effect)
            total += fitted[one]
            factor[one] = _log_sum(log_factor) - np.log(count)
            # KL(q‖prior) = E[log-likelihood of the residual] − the single effect's evidence.
            expected = (
                -0.5 / residual * (-2 * effect @ left + length * (probability[one] @ square[one]))
            )
            divergence[one] = expected - factor[one]
        effect_sum = (probability * mean).sum(axis=0)
        error = (
            yty
            - 2 * effect_sum @ product
            + effect_sum @ total
            - sum(float((probability[k] * mean[k]) @ fitted[k]) for k in range(effects))
            + length * float((probability * square).sum())
        )
        bound = -0.5 * n * np.log(2 * np.pi * residual) - 0.5 * error / residual - divergence.sum()
        converged, before = abs(bound - before) < tolerance, bound
        if estimate_residual and not converged:
            residual = max(error / n, 1e-6 * variance_y)
    r = gram / length
    there = variances > _NO_EFFECT
    pip = 1 - np.prod(1 - probability[there], axis=0) if there.any() else np.zeros(count)
    return FineMapping(
        pip,
        probability,
        (probability * mean).sum(axis=0) / scale,
        _sets(probability, there, factor, coverage, min_purity, r),
        np.where(there, variances, 0.0),
        residual / variance_y,
        converged,
        iterations,
    )


def linkage_mismatch(z: Floats, r: Floats) -> float:
    """How little the linkage explains the z-scores: s of z ~ N(0, (1 − s) R + s I), 0 to 1.

    Near 0 where the linkage is that of the scan's own people; larger where alleles are swapped, or
    the reference is of other ancestry or too few people (Zou et al. 2022).
    """
    values, vectors = np.linalg.eigh(r)
    values = np.maximum(values, 0)
    squared = (vectors.T @ z) ** 2

    def loss(s: float) -> float:
        spread = (1 - s) * values + s
        return float(np.sum(np.log(spread) + squared / spread))

    found = minimize_scalar(loss, bounds=(1e-6, 1 - 1e-6), method="bounded")
    return float(found.x)


def _best_variance(
    left: Floats, length: float, residual: float, start: float
) -> tuple[float, Floats]:
    """Prior variance with the largest evidence of a single effect, and the log factors with it."""
    estimate, error = left / length, residual / length
    squared = estimate**2 / error

    def factors(variance: float) -> Floats:
        ratio = variance / (variance + error)
        return np.asarray(0.5 * (np.log1p(-ratio) + squared * ratio))

    def evidence(variance: float) -> float:
        return float(_log_sum(factors(variance)) - np.log(len(left)))

    top = max(float(squared.max()), 1.0) * error * 4
    found = minimize_scalar(
        lambda log: -evidence(float(np.exp(log))),
        bounds=(np.log(error * 1e-3), np.log(top)),
        method="bounded",
        options={"xatol": 1e-3},
    )
    variance = float(np.exp(found.x))
    if start > _NO_EFFECT and evidence(start) > -found.fun:
        variance = start
    # No effect at all is the simpler explanation unless the evidence is for one.
    if evidence(variance) <= 0:
        return 0.0, np.zeros(len(left))
    return variance, factors(variance)


def _log_sum(logs: Floats) -> float:
    """log Σ exp, without overflow."""
    top = float(logs.max())
    return top + float(np.log(np.exp(logs - top).sum()))


def _shares(logs: Floats) -> Floats:
    """exp(logs), scaled to a sum of 1."""
    scaled = np.exp(logs - logs.max())
    return np.asarray(scaled / scaled.sum())


def _times(gram: Floats, effect: Floats) -> Floats:
    """gram @ effect; an effect that sits on few variants needs few columns."""
    size = np.abs(effect)
    some = np.flatnonzero(size > 1e-10 * size.max(initial=0.0))
    if len(some) * 4 < len(effect):
        return np.asarray(effect[some] @ gram[some])
    return np.asarray(gram @ effect)


def _sets(
    probability: Floats,
    there: npt.NDArray[np.bool_],
    factor: Floats,
    coverage: float,
    min_purity: float,
    r: Floats,
) -> tuple[CredibleSet, ...]:
    found: dict[tuple[int, ...], CredibleSet] = {}
    for one in np.flatnonzero(there):
        made = _set_of(probability[one], coverage, r, float(factor[one]), int(one))
        key = tuple(sorted(made.variants.tolist()))
        same = found.get(key)
        if made.purity >= min_purity and (
            same is None or made.log_bayes_factor > same.log_bayes_factor
        ):
            found[key] = made
    return tuple(sorted(found.values(), key=lambda made: -made.log_bayes_factor))


def _set_of(
    probability: Floats, coverage: float, r: Floats | None, log_factor: float, effect: int
) -> CredibleSet:
    order = np.argsort(-probability, kind="stable")
    held = np.cumsum(probability[order])
    size = min(int(np.searchsorted(held, coverage - 1e-12)) + 1, len(order))
    variants = order[:size].astype(np.int64)
    purity = np.nan
    if r is not None:
        # Of a large set, variants of all probabilities: pairs grow with the square.
        few = variants[np.unique(np.linspace(0, size - 1, min(size, _PURITY_VARIANTS)).astype(int))]
        purity = float(np.abs(r[np.ix_(few, few)]).min()) if size > 1 else 1.0
    return CredibleSet(variants, float(held[size - 1]), purity, log_factor, effect)
