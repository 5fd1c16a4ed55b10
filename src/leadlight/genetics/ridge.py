"""The two levels of whole-genome ridge regression, as kernels on bare arrays.

Level 0 turns a block of variants into a few cross-validated predictions per trait; level 1 stacks
the predictions of all blocks into one (Mbatchou et al., Nature Genetics 53:1097, 2021).

Person i belongs to fold i modulo the number of folds. So relatives who stand beside each other in a
file are in different folds, and a family's shared background is seen by its members' predictions.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import blas, lapack
from scipy.special import expit

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Calls = npt.NDArray[np.int8] | npt.NDArray[np.floating]
ReadPeople = Callable[[int, int], Singles]  # first, last -> (predictor, person)

PEOPLE_AT_ONCE = 16_384
KEPT_IN_MEMORY = 256 << 20  # bytes of decoded calls that are kept between the two passes of a block
LOGISTIC_VARIANCE = np.pi**2 / 3  # of the residual of a logistic model, on the log-odds scale


def shrinkages(heritabilities: Sequence[float], predictors: int) -> Floats:
    """Ridge penalties under which `predictors` unit-variance columns explain each heritability."""
    shares = np.asarray(heritabilities, dtype=np.float64)
    return predictors * (1 - shares) / shares


def block_predictions(
    dosages: Calls, basis: Singles, traits: Singles, penalties: Floats, folds: int
) -> tuple[Singles, Floats]:
    """Level 0: cross-validated ridge predictions of all traits from one block of variants.

    dosages: (variant, person), int8 with negative values missing, or floats with NaN missing;
    missing calls take the variant's mean. basis: (person, covariate) orthonormal, spanning the
    constant and the covariates. traits: (person, trait), residuals on the basis, missing = 0.
    penalties: (penalty,). Variants are residualised on the basis and scaled to unit variance;
    those without variance are left out. Returns predictions (trait, penalty, person) float32, each
    person's from the people of the other folds; and (trait + 1,): the sum over variants of each
    trait's squared product with the unit-variance variant, and last the number of variants.

    The residualised Gram matrix of each fold follows from the calls as they are and from their
    products with the basis, so no residualised copy of the calls is made. A Cholesky factor per
    fold and penalty costs less than one eigendecomposition per fold while penalties are few.
    """
    variants, people = dosages.shape
    n_basis = basis.shape[1]
    columns = np.concatenate([basis, traits], axis=1)
    fill = means_where_missing(dosages)
    pieces = [list(_pieces(people, folds, fold)) for fold in range(folds)]
    kept: dict[tuple[int, int], Singles] = {}

    def calls(fold: int, piece: int) -> Singles:
        if (fold, piece) in kept:
            return kept[fold, piece]
        block = decoded(dosages[:, pieces[fold][piece]], fill)
        if people * variants * 4 <= KEPT_IN_MEMORY:
            kept[fold, piece] = block
        return block

    grams = np.zeros((folds, variants, variants), dtype=np.float32)
    products = np.zeros((folds, variants, columns.shape[1]), dtype=np.float32)
    for fold in range(folds):
        for piece, rows in enumerate(pieces[fold]):
            block = calls(fold, piece)
            grams[fold] += block @ block.T
            products[fold] += block @ columns[rows]
    loadings = products[:, :, :n_basis].sum(axis=0, dtype=np.float64)
    responses = np.empty((folds, variants, traits.shape[1]))
    for fold in range(folds):
        of_fold = columns[fold::folds].astype(np.float64)
        overlap = of_fold[:, :n_basis].T @ of_fold
        responses[fold] = products[fold, :, n_basis:] - loadings @ overlap[:, n_basis:]
        half = products[fold, :, :n_basis] - loadings @ (overlap[:, :n_basis] / 2)
        _subtract_symmetric(grams[fold], half, loadings)
    total = grams.sum(axis=0)
    scale = _inverse_scales(total.diagonal(), people - n_basis)
    total *= scale[:, None] * scale
    scaled_loadings = (loadings * scale[:, None]).astype(np.float32)
    response = (responses.sum(axis=0) * scale[:, None]).astype(np.float32)

    predictions = np.empty((traits.shape[1], len(penalties), people), dtype=np.float32)
    for fold in range(folds):
        gram = grams[fold]
        gram *= -(scale[:, None] * scale)
        gram += total
        left = response - (responses[fold] * scale[:, None]).astype(np.float32)
        weights = np.concatenate([_ridge(gram, left, float(p)) for p in penalties], axis=1)
        by_basis = scaled_loadings.T @ weights
        weights *= scale[:, None]
        for piece, rows in enumerate(pieces[fold]):
            fitted = weights.T @ calls(fold, piece) - by_basis.T @ basis[rows].T
            predictions[:, :, rows] = fitted.reshape(len(penalties), -1, fitted.shape[1]).swapaxes(
                0, 1
            )
    power = np.append(np.sum(response.astype(np.float64) ** 2, axis=0), np.count_nonzero(scale))
    return predictions, power


@dataclass(frozen=True)
class Stack:
    """Level 1 of one trait: weights per fold of the raw predictors, and how well they predict.

    A person of fold k is predicted by weights[k] · (predictors − means). weights: (fold,
    predictor); means: (predictor,); heritability: the chosen grid value; score: the
    cross-validated squared correlation (linear), or the share of the null model's deviance that is
    explained (logistic); losses: (penalty,) cross-validated loss per person.
    """

    weights: Floats
    means: Floats
    heritability: float
    score: float
    losses: Floats


def stack_linear(
    read: ReadPeople, trait: Floats, heritabilities: Sequence[float], folds: int
) -> Stack:
    """Level 1 of a quantitative trait: ridge over block predictions, penalty by cross-validation.

    read(first, last): (predictor, person) predictions of those people. trait: (person,), residuals
    of about unit variance, NaN where missing: those people are left out. Predictors are centred
    and scaled to unit variance. One pass over the people.
    """
    moments = _fold_moments(read, trait, folds)
    n_predictors = moments.shape[1] - 2
    total = moments.sum(axis=0)
    count = total[-2, -2]
    mean = total[:n_predictors, -2] / count
    spread = np.sqrt(np.maximum(total.diagonal()[:n_predictors] / count - mean**2, 0))
    scale = np.where(spread > 1e-9, 1 / np.maximum(spread, 1e-300), 0)
    # Row operations on the moments centre and scale the predictors and centre the trait.
    change = np.zeros((n_predictors + 1, n_predictors + 2))
    change[:n_predictors, :n_predictors] = np.diag(scale)
    change[:n_predictors, -2] = -mean * scale
    change[-1, -2], change[-1, -1] = -total[-1, -2] / count, 1
    standard = change @ moments @ change.T
    whole = standard.sum(axis=0)
    weights = np.empty((len(heritabilities), folds, n_predictors))
    losses = np.zeros(len(heritabilities))
    for fold in range(folds):
        left = whole - standard[fold]
        for at, penalty in enumerate(shrinkages(heritabilities, max(n_predictors, 1))):
            weights[at, fold] = _solve(left[:-1, :-1], left[:-1, -1], penalty)
            residual = np.append(-weights[at, fold], 1)
            losses[at] += residual @ standard[fold] @ residual / count
    best = int(np.argmin(losses))
    score = _squared_correlation(standard, weights[best])
    return Stack(weights[best] * scale, mean, float(heritabilities[best]), score, losses)


def stack_logistic(
    read: ReadPeople,
    cases: Floats,
    offset: Floats,
    heritabilities: Sequence[float],
    folds: int,
    iterations: int = 30,
) -> Stack:
    """Level 1 of a binary trait: logistic ridge over block predictions, with an offset.

    cases: (person,) 0, 1 or NaN. offset: (person,) log odds by the covariates alone. The penalty is
    that of the linear stack times π²/3, the logistic residual's variance. Newton's method, one
    pass over the people for each step of all folds.
    """
    moments = _fold_moments(read, cases, folds).sum(axis=0)
    n_predictors = moments.shape[0] - 2
    count = moments[-2, -2]
    mean = moments[:n_predictors, -2] / count
    spread = np.sqrt(np.maximum(moments.diagonal()[:n_predictors] / count - mean**2, 0))
    scale = np.where(spread > 1e-9, 1 / np.maximum(spread, 1e-300), 0)
    weights = np.zeros((len(heritabilities), folds, n_predictors + 1))
    losses = np.zeros(len(heritabilities))
    penalties = shrinkages(heritabilities, max(n_predictors, 1)) * LOGISTIC_VARIANCE

    def standardised(first: int, last: int) -> Floats:
        values = (read(first, last).astype(np.float64) - mean[:, None]) * scale[:, None]
        return np.concatenate([values, np.ones((1, last - first))])

    # From the strongest penalty to the weakest, each starting where the last one ended.
    order = np.argsort(-penalties)
    current = np.zeros((folds, n_predictors + 1))
    for at in order:
        ridge = np.append(np.full(n_predictors, penalties[at]), 1e-9)
        for _ in range(iterations):
            gradient = -ridge * current
            hessian = np.repeat(np.diag(ridge)[None], folds, axis=0)
            for first, last in _stretches(cases.size):
                rows = np.arange(first, last)
                values = standardised(first, last)
                known = np.isfinite(cases[first:last])
                for fold in range(folds):
                    use = known & (rows % folds != fold)
                    taken = values[:, use]
                    chance = expit(offset[first:last][use] + current[fold] @ taken)
                    gradient[fold] += taken @ (cases[first:last][use] - chance)
                    hessian[fold] += (taken * (chance * (1 - chance))) @ taken.T
            step = np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0]
            current = current + step
            if np.abs(step).max() < 1e-6:
                break
        weights[at] = current
    null = 0.0
    for first, last in _stretches(cases.size):
        values, rows = standardised(first, last), np.arange(first, last)
        known = np.isfinite(cases[first:last])
        case, base = cases[first:last], offset[first:last]
        null += _deviance(case[known], base[known]) / count
        for at in range(len(penalties)):
            for fold in range(folds):
                use = known & (rows % folds == fold)
                odds = base[use] + weights[at, fold] @ values[:, use]
                losses[at] += _deviance(case[use], odds) / count
    best = int(np.argmin(losses))
    score = float(1 - losses[best] / null)
    raw = weights[best, :, :-1] * scale
    return Stack(raw, mean, float(heritabilities[best]), score, losses)


def predict(
    read: ReadPeople, stack: Stack, used: Sequence[npt.NDArray[np.bool_]], people: int
) -> Floats:
    """(row, person): each row the prediction by the predictors that `used` marks."""
    out = np.empty((len(used), people))
    for first, last in _stretches(people):
        values = read(first, last).astype(np.float64) - stack.means[:, None]
        for fold, weights in enumerate(stack.weights):
            mine = slice((fold - first) % len(stack.weights), None, len(stack.weights))
            chosen = np.stack([weights * marks for marks in used])
            out[:, first:last][:, mine] = chosen @ values[:, mine]
    return out


def _deviance(cases: Floats, log_odds: Floats) -> float:
    return float(2 * np.sum(np.logaddexp(0, log_odds) - cases * log_odds))


def _fold_moments(read: ReadPeople, trait: Floats, folds: int) -> Floats:
    """Sums of products of [predictors, 1, trait] over the people with a trait: (fold, row, row)."""
    moments: Floats | None = None
    for first, last in _stretches(trait.size):
        part = trait[first:last]
        known = np.isfinite(part)
        rows = np.concatenate(
            [read(first, last), known[None], np.where(known, part, 0)[None]]
        ).astype(np.float64)
        rows[:-1] *= known
        if moments is None:
            moments = np.zeros((folds, rows.shape[0], rows.shape[0]))
        for fold in range(folds):
            of_fold = rows[:, (fold - first) % folds :: folds]
            moments[fold] += of_fold @ of_fold.T
    if moments is None:
        raise ValueError("no people")
    return moments


def _squared_correlation(standard: Floats, weights: Floats) -> float:
    """Of held-out predictions with the trait, over all folds."""
    crossed = sum(float(w @ s[:-1, -1]) for w, s in zip(weights, standard, strict=True))
    power = sum(float(w @ s[:-1, :-1] @ w) for w, s in zip(weights, standard, strict=True))
    if power <= 0:
        return 0.0
    return float(np.sign(crossed) * crossed**2 / (power * standard[:, -1, -1].sum()))


def _stretches(people: int) -> Iterator[tuple[int, int]]:
    for first in range(0, people, PEOPLE_AT_ONCE):
        yield first, min(first + PEOPLE_AT_ONCE, people)


def _pieces(people: int, folds: int, fold: int) -> Iterator[slice]:
    """The people of one fold, in slices of at most PEOPLE_AT_ONCE."""
    stride = PEOPLE_AT_ONCE * folds
    for first in range(fold, people, stride):
        yield slice(first, min(first + stride, people), folds)


def means_where_missing(dosages: Calls) -> Singles | None:
    """(variant,) means of the calls that are there, or None where all calls are."""
    if np.issubdtype(dosages.dtype, np.integer):
        if not dosages.size or dosages.min() >= 0:
            return None
        present = dosages.shape[1] - np.count_nonzero(dosages < 0, axis=1)
        sums = np.maximum(dosages, 0).sum(axis=1, dtype=np.int64)
    else:
        if not np.isnan(np.sum(dosages)):
            return None
        present = np.count_nonzero(~np.isnan(dosages), axis=1)
        sums = np.nansum(dosages, axis=1, dtype=np.float64)
    return np.asarray(sums / np.maximum(present, 1), dtype=np.float32)


def decoded(dosages: Calls, fill: Singles | None) -> Singles:
    """(variant, person) float32 of some people's calls, missing ones filled."""
    calls = dosages.astype(np.float32)
    if fill is not None:
        missing = calls < 0 if np.issubdtype(dosages.dtype, np.integer) else np.isnan(calls)
        variant, person = np.nonzero(missing)
        calls[variant, person] = fill[variant]
    return calls


def _subtract_symmetric(gram: Singles, half: Floats, loadings: Floats) -> None:
    """gram −= half loadingsᵀ + loadings halfᵀ, in place."""
    one, other = half.astype(np.float32), loadings.astype(np.float32)
    both = np.concatenate([one, other], axis=1), np.concatenate([other, one], axis=1)
    done = blas.sgemm(-1.0, both[0], both[1], beta=1.0, c=gram.T, trans_b=True, overwrite_c=True)
    if done.base is not gram and not np.shares_memory(done, gram):
        gram[...] = done.T


def _inverse_scales(sums_of_squares: Singles, freedom: int) -> Singles:
    """(variant,) one over the residual SD; 0 where (next to) nothing is left after covariates."""
    variance = sums_of_squares.astype(np.float64) / max(freedom, 1)
    good = variance > 1e-6
    return np.where(good, 1 / np.sqrt(np.where(good, variance, 1)), 0).astype(np.float32)


def _ridge(gram: Singles, response: Singles, penalty: float) -> Singles:
    """(variant, trait): (gram + penalty I)⁻¹ response."""
    shifted = gram.copy()
    shifted[np.diag_indices_from(shifted)] += np.float32(penalty)
    factor, fault = lapack.spotrf(shifted.T, lower=True, clean=False, overwrite_a=True)
    if fault:  # rounding made a tiny penalty indefinite
        solved = _solve(gram.astype(np.float64), response.astype(np.float64), penalty)
        return np.asarray(solved, dtype=np.float32)
    solved, _ = lapack.spotrs(factor, response, lower=True)
    return np.asarray(solved, dtype=np.float32)


def _solve(gram: Floats, response: Floats, penalty: float) -> Floats:
    shifted = gram + penalty * np.eye(len(gram))
    return np.asarray(np.linalg.solve(shifted, response), dtype=np.float64)
