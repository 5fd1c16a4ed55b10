"""Maximum likelihood of one 0/1 outcome on many exposures, each with the same covariates.

All exposures start from the covariates' own fit and take Newton steps with the information of that
fit, which is the same for all but for one row: a step then costs two thin matrix products instead
of a new information for each exposure. One exact step at the end makes the answer Newton's own.
Large effects change the information too much for that: they go to `firth.fit_variants`.
"""

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from leadlight.genetics.firth import VALUES_AT_ONCE, VariantFits, fit_variants

Floats = npt.NDArray[np.float64]
_STEPS = 14
_CLOSE = 1e-6  # of a step, in standard errors: the exact step then leaves about its square
_SLOW = 0.6  # a step that is not shorter than this share of the last one converges too slowly


def fit_logistic_many(
    exposures: Floats, design: Floats, cases: Floats, log_odds: Floats
) -> VariantFits:
    """Fit each exposure (exposure, person) jointly with the design (person, column).

    cases: (person,) 0 or 1; log_odds: (person,) of the design's own maximum-likelihood fit. The
    same as `fit_variants` without penalty and with that fit as its offset.
    """
    chance = expit(log_odds)
    weight = chance * (1 - chance)
    weighted = design * weight[:, None]
    inverse = np.linalg.inv(design.T @ weighted)
    null = float(cases @ log_odds - np.logaddexp(0, log_odds).sum())
    count = len(exposures)
    beta, se, chi = (np.full(count, np.nan) for _ in range(3))
    done = np.zeros(count, dtype=np.bool_)
    batch = max(1, VALUES_AT_ONCE // len(cases))
    for start in range(0, count, batch):
        rows = np.arange(start, min(start + batch, count))
        found, odds = _approach(exposures[rows], design, cases, log_odds, weighted, weight, inverse)
        for at, row, effect in zip(range(len(rows)), rows, found, strict=True):
            if np.isfinite(effect):
                done[row], beta[row], se[row], value = _exact_step(
                    exposures[row], design, cases, odds[at], effect
                )
                chi[row] = max(2 * (value - null), 0.0)
    rest = np.flatnonzero(~done)
    if rest.size:
        slow = fit_variants(exposures[rest], design, cases, log_odds, firth=False)
        beta[rest], se[rest], chi[rest] = slow.beta, slow.standard_error, slow.chi_squared
        done[rest] = slow.converged
    return VariantFits(beta, se, chi, done)


def _approach(
    x: Floats,
    design: Floats,
    cases: Floats,
    log_odds: Floats,
    weighted: Floats,
    weight: Floats,
    inverse: Floats,
) -> tuple[Floats, Floats]:
    """(exposure,) effects close to the maximum, NaN where it is not reached, and log odds."""
    cross = x @ weighted
    lever = cross @ inverse
    left = (x**2) @ weight - np.einsum("ec,ec->e", lever, cross)
    root = np.sqrt(np.maximum(left, 0))
    effect, last = np.zeros(len(x)), np.full(len(x), np.inf)
    odds = np.broadcast_to(log_odds, x.shape).copy()
    open_ = np.flatnonzero(left > 1e-10)
    effect[left <= 1e-10] = np.nan
    for _ in range(_STEPS):
        if not open_.size:
            return effect, odds
        residual = cases - expit(odds[open_])
        gradient = residual @ design
        own = np.einsum("ep,ep->e", residual, x[open_])
        step = (own - np.einsum("ec,ec->e", lever[open_], gradient)) / left[open_]
        others = (gradient - step[:, None] * cross[open_]) @ inverse
        size = np.abs(step) * root[open_]
        size = np.maximum(size, np.sqrt(np.maximum(np.einsum("ec,ec->e", gradient @ inverse,
                                                             gradient), 0)))  # fmt: skip
        slow = size > _SLOW * last[open_]
        effect[open_] += step
        odds[open_] += step[:, None] * x[open_] + others @ design.T
        last[open_] = size
        effect[open_[slow]] = np.nan
        open_ = open_[~slow & (size > _CLOSE)]
    effect[open_] = np.nan
    return effect, odds


def _exact_step(
    x: Floats, design: Floats, cases: Floats, odds: Floats, effect: float
) -> tuple[bool, float, float, float]:
    """Newton's last step: whether it was as short as it should be, beta, its error, likelihood."""
    chance = expit(odds)
    weight = chance * (1 - chance)
    columns = np.column_stack([design, x])
    information = (columns * weight[:, None]).T @ columns
    covariance = np.linalg.inv(information)
    step = covariance @ (columns.T @ (cases - chance))
    odds = odds + columns @ step
    value = float(cases @ odds - np.logaddexp(0, odds).sum())
    spread = np.sqrt(np.diag(information))
    short = bool(np.abs(step * spread).max() < 100 * _CLOSE)
    return short, effect + float(step[-1]), float(np.sqrt(covariance[-1, -1])), value
