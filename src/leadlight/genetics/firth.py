"""Logistic regression of one binary trait on many variants, by maximum or Firth's likelihood.

Firth's penalty (half the logarithm of the information's determinant; Biometrika 80:27, 1993) keeps
effects finite where a genotype separates cases from controls, and its likelihood-ratio test holds
its level with few cases (Heinze & Schemper, Statistics in Medicine 21:2409, 2002).

All variants of a block take their Newton steps together: what differs between them are weights, so
every sum over people is a matrix product.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

VALUES_AT_ONCE = 2_000_000  # variants × people of one batch: about ten such arrays live at a time
TOLERANCE = 1e-9  # of a Newton step, in standard errors
LARGEST_STEP = 5.0
LAST_STEP = 1e-3
ITERATIONS = 50
HALVINGS = 8


@dataclass(frozen=True)
class VariantFits:
    """Fits of one variant each. All arrays: (variant,).

    beta: log odds per allele; standard_error: from the information without the penalty; chi_squared
    of the likelihood-ratio test on one degree of freedom (NaN where it was not asked for);
    converged: where False, the other values are NaN (separation, or no variance).
    """

    beta: Floats
    standard_error: Floats
    chi_squared: Floats
    converged: Booleans


def fit_variants(
    dosages: Floats,
    design: Floats,
    cases: Floats,
    offset: Floats,
    *,
    firth: bool,
    test: bool = True,
    present: Booleans | None = None,
) -> VariantFits:
    """Fit each variant jointly with the covariates.

    dosages: (variant, person). design: (person, covariate), with the constant. cases: (person,)
    0 or 1. offset: (person,) log odds. firth: the penalised likelihood. test: also fit without the
    variant's effect (under the same penalty) for the likelihood-ratio test; Wald's test needs none.
    present: (variant, person), False leaves a person out of that variant's fit (a missing call;
    None: all are there).
    """
    count = _batch(design.shape[0])
    # Columns of unit size, so that a step of a coefficient is one of the log odds.
    design = design / np.sqrt(np.mean(design**2, axis=0))
    parts = []
    for first in range(0, len(dosages), count):
        rows = slice(first, first + count)
        mask = None if present is None else present[rows]
        parts.append(_fit_batch(dosages[rows], design, cases, offset, firth, test, mask))
    return _joined(parts)


def fit_single_effects(dosages: Floats, cases: Floats, offset: Floats) -> VariantFits:
    """Firth's fit of the variant's effect alone, all else being in the offset.

    dosages: (variant, person), already free of the covariates. offset: (person,) log odds from
    covariates and background. This is REGENIE's approximate Firth test: one unknown per variant.
    """
    count = _batch(cases.size)
    return _joined(
        [
            _fit_single_batch(dosages[first : first + count], cases, offset)
            for first in range(0, len(dosages), count)
        ]
    )


def _fit_single_batch(dosages: Floats, cases: Floats, offset: Floats) -> VariantFits:
    squares = dosages**2

    def evaluate(beta: Floats, rows: npt.NDArray[np.intp]) -> tuple[Floats, Floats, Floats]:
        """Penalised log likelihood, penalised score and information of some variants."""
        odds = offset + beta[:, None] * dosages[rows]
        chance = expit(odds)
        weight = chance * (1 - chance)
        information = np.einsum("vp,vp->v", weight, squares[rows])
        likelihood = np.sum(cases * odds - np.logaddexp(0, odds), axis=1)
        pull = weight * squares[rows] / information[:, None] * (0.5 - chance)
        score = np.einsum("vp,vp->v", cases - chance + pull, dosages[rows])
        return likelihood + 0.5 * np.log(information), score, information

    n = len(dosages)
    usable = squares.sum(axis=1) > 1e-9
    rows = np.flatnonzero(usable)
    beta, se = np.full(n, np.nan), np.full(n, np.nan)
    chi, converged = np.full(n, np.nan), np.zeros(n, dtype=np.bool_)
    beta[rows] = 0
    value, score, information = evaluate(beta[rows], rows)
    null = np.full(n, np.nan)
    null[rows] = value
    for _ in range(ITERATIONS):
        if not rows.size:
            break
        step = np.clip(score / information, -LARGEST_STEP, LARGEST_STEP)
        new = beta[rows] + step
        tried = evaluate(new, rows)
        for _ in range(HALVINGS):
            worse = np.flatnonzero(~(tried[0] >= value - 1e-12 * np.abs(value)))
            if not worse.size:
                break
            step[worse] /= 2
            new[worse] = beta[rows][worse] + step[worse]
            again = evaluate(new[worse], rows[worse])
            for mine, theirs in zip(tried, again, strict=True):
                mine[worse] = theirs
        beta[rows] = new
        value, score, information = tried
        done = np.abs(step) * np.sqrt(information) < TOLERANCE
        finished = rows[done]
        se[finished] = information[done] ** -0.5
        chi[finished] = np.maximum(2 * (value[done] - null[finished]), 0)
        converged[finished] = True
        rows, value = rows[~done], value[~done]
        score, information = score[~done], information[~done]
    beta[~converged] = np.nan
    return VariantFits(beta, se, chi, converged)


def _fit_batch(
    dosages: Floats,
    design: Floats,
    cases: Floats,
    offset: Floats,
    firth: bool,
    test: bool,
    present: Booleans | None,
) -> VariantFits:
    joint = _Joint(dosages, design, cases, offset, firth, present)
    start = np.zeros((len(dosages), design.shape[1] + 1))
    beta, value, information, converged = joint.maximise(start, effect=True)
    chi = np.full(len(dosages), np.nan)
    if test:
        restricted = beta.copy()
        restricted[:, -1] = 0
        restricted[~converged] = 0
        _, null, _, also = joint.maximise(restricted, effect=False)
        converged = converged & also
        chi[converged] = np.maximum(2 * (value[converged] - null[converged]), 0)
    with np.errstate(invalid="ignore"):
        se = np.sqrt(_inverse(information)[:, -1, -1])
    bad = ~converged | ~np.isfinite(se)
    return VariantFits(
        np.where(bad, np.nan, beta[:, -1]),
        np.where(bad, np.nan, se),
        np.where(bad, np.nan, chi),
        ~bad,
    )


@dataclass(frozen=True)
class _Joint:
    """Covariates and one variant each: the last coefficient is the variant's."""

    dosages: Floats
    design: Floats
    cases: Floats
    offset: Floats
    firth: bool
    present: Booleans | None

    def maximise(
        self, start: Floats, effect: bool
    ) -> tuple[Floats, Floats, Floats, npt.NDArray[np.bool_]]:
        """Newton's method from `start` (variant, coefficient); without `effect` the last is fixed.

        Returns coefficients, log likelihood, information (variant, coefficient, coefficient) and
        whether it converged. Half steps where the likelihood would fall.
        """
        beta = start.copy()
        free = beta.shape[1] - (0 if effect else 1)
        rows = np.arange(len(beta))
        converged = np.zeros(len(beta), dtype=np.bool_)
        value, score, information = self.evaluate(beta, rows)
        final = value.copy(), information.copy()
        for _ in range(ITERATIONS):
            if not rows.size:
                break
            inverse = _inverse(information[:, :free, :free])
            step = np.einsum("vij,vj->vi", inverse, score[:, :free])
            solved = np.isfinite(step).all(axis=1)
            if not solved.all():  # no variance left: nothing to estimate
                rows, step, value = rows[solved], step[solved], value[solved]
                if not rows.size:
                    break
            longest = np.abs(step).max(axis=1, keepdims=True)
            step *= np.minimum(1, LARGEST_STEP / np.maximum(longest, 1e-300))
            new = beta[rows]
            new[:, :free] += step
            tried = self.evaluate(new, rows)
            for _ in range(HALVINGS):
                worse = np.flatnonzero(~(tried[0] >= value - 1e-12 * np.abs(value)))
                if not worse.size:
                    break
                step[worse] /= 2
                new[worse, :free] = beta[rows[worse], :free] + step[worse]
                again = self.evaluate(new[worse], rows[worse])
                for mine, theirs in zip(tried, again, strict=True):
                    mine[worse] = theirs
            beta[rows] = new
            value, score, information = tried
            final[0][rows], final[1][rows] = value, information
            spread = np.sqrt(np.einsum("vii->vi", information)[:, :free])
            moved = np.abs(step * spread).max(axis=1)
            # Under separation the information vanishes while the steps stay large.
            done = (moved < TOLERANCE) & (np.abs(step).max(axis=1) < LAST_STEP)
            converged[rows[done]] = True
            lost = ~np.isfinite(moved) | (np.abs(new).max(axis=1) > 1e3)
            stay = ~(done | lost)
            rows, value = rows[stay], value[stay]
            score, information = score[stay], information[stay]
        return beta, final[0], final[1], converged

    def evaluate(self, beta: Floats, rows: npt.NDArray[np.intp]) -> tuple[Floats, Floats, Floats]:
        """Log likelihood, score (variant, coefficient) and information of the variants `rows`."""
        calls, n_covariates = self.dosages[rows], self.design.shape[1]
        odds = self.offset + beta[:, :-1] @ self.design.T + beta[:, -1:] * calls
        chance = expit(odds)
        weight = chance * (1 - chance)
        terms = self.cases * odds - np.logaddexp(0, odds)
        left = self.cases - chance
        if self.present is not None:
            here = self.present[rows]
            weight, terms, left = weight * here, terms * here, left * here
        value = terms.sum(axis=1)
        one, other = np.tril_indices(n_covariates)
        pairs = self.design[:, one] * self.design[:, other]
        information = np.empty((len(rows), n_covariates + 1, n_covariates + 1))
        information[:, one, other] = information[:, other, one] = weight @ pairs
        weighted = weight * calls
        information[:, -1, :-1] = information[:, :-1, -1] = weighted @ self.design
        information[:, -1, -1] = np.einsum("vp,vp->v", weighted, calls)
        if self.firth:
            inverse = _inverse(information)
            sign, log_determinant = np.linalg.slogdet(information)
            value = np.where(sign > 0, value + 0.5 * log_determinant, -np.inf)
            twice = np.where(one == other, 1.0, 2.0)
            leverage = (inverse[:, one, other] * twice) @ pairs.T
            leverage += 2 * calls * (inverse[:, -1, :-1] @ self.design.T)
            leverage += inverse[:, -1, -1:] * calls**2
            left = left + weight * leverage * (0.5 - chance)
        score = np.concatenate(
            [left @ self.design, np.einsum("vp,vp->v", left, calls)[:, None]], axis=1
        )
        return value, score, information


def _inverse(matrices: Floats) -> Floats:
    """Inverses of (variant, row, row); NaN where a matrix is singular."""
    try:
        return np.asarray(np.linalg.inv(matrices))
    except np.linalg.LinAlgError:
        out = np.full(matrices.shape, np.nan)
        for at, matrix in enumerate(matrices):
            if np.isfinite(matrix).all() and np.linalg.matrix_rank(matrix) == len(matrix):
                out[at] = np.linalg.inv(matrix)
        return out


def _batch(people: int) -> int:
    return max(1, VALUES_AT_ONCE // max(people, 1))


def _joined(parts: list[VariantFits]) -> VariantFits:
    if not parts:
        empty = np.zeros(0)
        return VariantFits(empty, empty, empty, np.zeros(0, dtype=np.bool_))
    names = VariantFits.__dataclass_fields__
    return VariantFits(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    )
