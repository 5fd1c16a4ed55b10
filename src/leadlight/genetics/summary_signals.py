"""Independent signals of a locus from summary statistics and linkage, without individual data.

The joint model is rebuilt from what summary statistics hold (Yang et al., Nature Genetics 44:369,
2012): a variant's sum of squares follows from its effect, error and n; products of two variants
from their linkage. With the linkage of the same people (after the covariates) and one n, the
result is the regression's on individual data.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from leadlight.errors import LeadlightError
from leadlight.genetics.conditional import Signals
from leadlight.genetics.tail_probability import neg_log_10_p

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Moments:
    """Sums of squares of a scan, in units in which the trait's is 1.

    squares: (variant,) of each variant; products: (variant,) with the trait; r: (variant, variant)
    correlations; n: (variant,) people; unit: what the trait's unit length is in its own
    units, which effects are told in.
    """

    squares: Floats
    products: Floats
    r: Floats
    n: Floats
    removed: int
    unit: float = 1.0


def moments(
    beta: Floats, standard_error: Floats, n: Floats, r: Floats, *, removed: int = 2
) -> Moments:
    """Rebuild sums of squares and products from a scan.

    beta, standard_error, n: (variant,); r: (variant, variant) correlations of the effect alleles;
    removed: degrees of freedom that a single-variant test spends (the constant, the covariates and
    the variant). From se² = (1 − xβ²)/(n − removed)/x: x = 1/(β² + (n − removed) se²).
    """
    count = len(beta)
    if r.shape != (count, count) or len(standard_error) != count or len(n) != count:
        raise LeadlightError(
            f"{count} effects and linkage of {r.shape[0]} × {r.shape[1]} variants don't fit."
        )
    if not (np.isfinite(beta).all() and (standard_error > 0).all() and (n > removed).all()):
        raise LeadlightError("An effect is missing, an error is not positive, or n is too small.")
    squares = 1 / (beta**2 + (n - removed) * standard_error**2)
    return Moments(squares, beta * squares, r, n.astype(np.float64), removed)


def joint_fit(given: Moments, chosen: Sequence[int]) -> tuple[Floats, Floats, Floats]:
    """Effects, errors and −log10 p of the variants `chosen` in one model."""
    at = np.asarray(chosen, dtype=np.int64)
    size = np.sqrt(given.squares[at])
    gram = given.r[np.ix_(at, at)] * np.outer(size, size)
    beta = np.linalg.solve(gram, given.products[at])
    degrees = float(given.n[at].min()) - given.removed - len(at) + 1
    left = max((1 - beta @ given.products[at]) / degrees, 1e-300)
    error = np.sqrt(left * np.diag(np.linalg.inv(gram)))
    strength = neg_log_10_p(beta / error, degrees)
    return beta * given.unit, error * given.unit, strength


def conditional_fit(given: Moments, conditions: Sequence[int]) -> tuple[Floats, Floats, Floats]:
    """Every variant's effect, error and −log10 p in the model with `conditions` beside it.

    NaN where the conditions explain all but 1e-6 of a variant, and for the conditions themselves.
    """
    at = np.asarray(conditions, dtype=np.int64)
    size = np.sqrt(given.squares)
    if not len(at):
        degrees = given.n - given.removed
        beta = given.products / given.squares
        error = np.sqrt((1 - given.products * beta) / degrees / given.squares)
        return beta * given.unit, error * given.unit, neg_log_10_p(beta / error, degrees)
    gram = given.r[np.ix_(at, at)] * np.outer(size[at], size[at])
    cross = given.r[at] * np.outer(size[at], size)
    inverse = np.linalg.inv(gram)
    solved = inverse @ cross
    squares = given.squares - np.einsum("cv,cv->v", cross, solved)
    products = given.products - given.products[at] @ solved
    total = 1 - given.products[at] @ inverse @ given.products[at]
    good = squares > 1e-6 * given.squares
    good[at] = False
    degrees = np.minimum(given.n, given.n[at].min()) - given.removed - len(at)
    with np.errstate(invalid="ignore", divide="ignore"):
        beta = np.where(good, products / squares, np.nan)
        left = np.maximum(total - products * beta, 1e-300) / degrees
        error = np.where(good, np.sqrt(left / squares), np.nan)
    return beta * given.unit, error * given.unit, neg_log_10_p(beta / error, degrees)


def summary_signals(
    given: Moments, *, p: float = 5e-8, max_r2: float = 0.9, max_signals: int = 10
) -> Signals:
    """Stepwise signals; see `conditional.stepwise_signals`."""
    chosen: list[int] = []
    entered: list[tuple[float, float, float]] = []
    while len(chosen) < max_signals:
        beta, error, strength = conditional_fit(given, chosen)
        strength = np.where(np.isfinite(strength), strength, -1.0)
        if chosen:
            block = given.r[np.ix_(chosen, chosen)]
            cross = given.r[chosen]
            shared = np.einsum("cv,cv->v", cross, np.linalg.solve(block, cross))
            strength[shared > max_r2] = -1.0
        best = int(strength.argmax())
        if strength[best] < -np.log10(p):
            break
        chosen.append(best)
        entered.append((float(beta[best]), float(error[best]), float(strength[best])))
    while len(chosen) > 1:
        _, _, strength = joint_fit(given, chosen)
        weakest = int(strength.argmin())
        if strength[weakest] >= -np.log10(p):
            break
        del chosen[weakest], entered[weakest]
    if not chosen:
        return Signals(np.zeros(0, dtype=np.int64), *[np.zeros(0)] * 6)
    beta, error, strength = (np.array(column) for column in zip(*entered, strict=True))
    return Signals(
        np.array(chosen, dtype=np.int64), beta, error, strength, *joint_fit(given, chosen)
    )
