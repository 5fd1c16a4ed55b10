"""Binary traits: a score test for every variant, Firth's test where it matters.

The null model (covariates, and the whole-genome prediction as an offset) is fitted once per trait;
the score test of all variants is then a few matrix products. Below a threshold of p the effect is
fitted by Firth's penalised likelihood, whose test keeps its level when cases are few or alleles
rare (the design of REGENIE step 2; Mbatchou et al., Nature Genetics 53:1097, 2021).

Missing calls take the variant's mean here; `complete_case` fits PLINK 2's model instead, without
the people whose call is missing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from leadlight.errors import LeadlightError
from leadlight.genetics.firth import Floats, VariantFits, fit_single_effects, fit_variants
from leadlight.genetics.tail_probability import neg_log_10_p

Calls = npt.NDArray[np.int8] | npt.NDArray[np.floating]
Firth = Literal["approximate", "exact", "none"]
# How a test was made (`method` of the results).
SCORE, FIRTH, WALD, FAILED = range(4)
METHODS = ("score", "firth", "wald", "failed")
VARIANTS_AT_ONCE = 256


@dataclass(frozen=True)
class LogisticFit:
    """coefficients: (column,); log_odds: (person,), for everybody, with the offset."""

    coefficients: Floats
    log_odds: Floats


@dataclass(frozen=True)
class NullModel:
    """One binary trait without the variant; arrays over all people, zero where it is missing.

    cases, residual, weight: (person,); basis: (person, covariate), orthonormal after weighting by
    the square root of `weight`; design: (person, covariate); offset, firth_log_odds: (person,).
    """

    known: npt.NDArray[np.bool_]
    cases: Floats
    design: Floats
    offset: Floats
    residual: Floats
    weight: Floats
    basis: Floats
    firth_log_odds: Floats


@dataclass(frozen=True)
class BinaryResults:
    """All arrays (variant, trait). beta: log odds ratio per effect allele; method: see METHODS.

    n, n_cases: people and cases behind a test; frequency_cases, frequency_controls: of the effect
    allele. The score test's beta and standard error are its one-step approximation.
    """

    beta: Floats
    standard_error: Floats
    chi_squared: Floats
    neg_log_10_p: Floats
    method: npt.NDArray[np.int8]
    n: npt.NDArray[np.int64]
    n_cases: npt.NDArray[np.int64]
    frequency_cases: Floats
    frequency_controls: Floats


def fit_logistic(
    design: Floats, cases: Floats, offset: Floats | None = None, *, firth: bool = False
) -> LogisticFit:
    """Logistic regression of cases (person,), NaN left out, on design (person, column).

    Raises LeadlightError when it does not converge (covariates that separate the cases).
    """
    shift = np.zeros(len(cases)) if offset is None else offset
    known = np.isfinite(cases) & np.isfinite(shift)
    size = np.sqrt(np.mean(design**2, axis=0))
    columns, base, case = design[known] / size, shift[known], cases[known]
    beta = np.zeros(design.shape[1])

    def evaluate(at: Floats) -> tuple[float, Floats, Floats]:
        odds = base + columns @ at
        chance = expit(odds)
        weight = chance * (1 - chance)
        information = (columns * weight[:, None]).T @ columns
        value = float(case @ odds - np.logaddexp(0, odds).sum())
        left = case - chance
        if firth:
            sign, log_determinant = np.linalg.slogdet(information)
            value += 0.5 * log_determinant if sign > 0 else -np.inf
            inverse = np.linalg.pinv(information)
            leverage = weight * np.einsum("pi,ij,pj->p", columns, inverse, columns)
            left = left + leverage * (0.5 - chance)
        return value, columns.T @ left, information

    value, score, information = evaluate(beta)
    for _ in range(100):
        step = np.linalg.lstsq(information, score, rcond=None)[0]
        step *= min(1, 5 / max(np.abs(step).max(), 1e-300))
        for _ in range(30):
            tried = evaluate(beta + step)
            if tried[0] >= value - 1e-12 * abs(value):
                break
            step = step / 2
        beta = beta + step
        value, score, information = tried
        if np.abs(step * np.sqrt(np.diag(information))).max() < 1e-9:
            if np.linalg.eigvalsh(information)[0] < 1e-9 * len(case):
                break  # separation: nothing is left to weigh the coefficients by
            return LogisticFit(beta / size, shift + design @ (beta / size))
    raise LeadlightError(
        "Logistic regression on the covariates does not converge.",
        advice="A covariate may separate cases from controls: leave it out.",
    )


def null_model(cases: Floats, basis: Floats, offset: Floats | None = None) -> NullModel:
    """Fit one trait on the covariates alone.

    cases: (person,) 0, 1 or NaN. basis: (person, covariate) with the constant in its span and no
    collinear columns (`designs.orthonormal_basis`). offset: (person,) log odds of the
    whole-genome prediction without the chromosome in question; NaN leaves the person out. Raises
    LeadlightError where cases or controls are absent.
    """
    shift = np.zeros(len(cases)) if offset is None else np.asarray(offset, dtype=np.float64)
    known = np.isfinite(cases) & np.isfinite(shift)
    if not np.isin(cases[known], (0, 1)).all():
        raise LeadlightError("A binary trait has values other than 0 and 1.")
    n_cases = int(cases[known].sum())
    if n_cases == 0 or n_cases == known.sum():
        raise LeadlightError(
            f"A binary trait has {n_cases} cases among {known.sum()} people.",
            advice="It needs both cases and controls.",
        )
    given = np.where(known, shift, np.nan)
    # Firth's fit is there when covariates separate the cases; it is the null of Firth's test.
    firth = fit_logistic(basis, cases, given, firth=True)
    try:
        fitted = fit_logistic(basis, cases, given)
    except LeadlightError:
        fitted = firth
    chance = expit(np.where(known, fitted.log_odds, 0))
    weight = np.where(known, chance * (1 - chance), 0)
    orthonormal, _ = np.linalg.qr(basis * np.sqrt(weight)[:, None])
    return NullModel(
        known,
        np.where(known, cases, 0),
        basis,
        np.where(known, shift, 0),
        np.where(known, np.nan_to_num(cases) - chance, 0),
        weight,
        orthonormal,
        np.where(known, firth.log_odds, 0),
    )


def associate_binary(
    calls: Calls,
    nulls: Sequence[NullModel],
    *,
    firth: Firth = "approximate",
    threshold: float = 0.05,
    weighted: bool = True,
) -> BinaryResults:
    """Test a block of variants on all binary traits.

    calls: (variant, person), int8 with negative values missing, or floats with NaN. Where the
    score test's p < threshold, Firth's test replaces it: `approximate` takes the covariates'
    effects from the null model as they are, `exact` fits them with the variant. For the
    approximate test the covariates are projected out of the dosages under the null model's
    weights, which makes the two orthogonal; `weighted=False` projects without, as early versions
    of REGENIE did.
    """
    parts = [
        _associate(dosages, present, nulls, firth, threshold, weighted)
        for dosages, present in _dosage_pieces(calls)
    ]
    return _stacked(parts)


def complete_case(
    calls: Calls, nulls: Sequence[NullModel], *, firth: Literal["always", "fallback"] = "fallback"
) -> BinaryResults:
    """PLINK 2's logistic regression: maximum likelihood and Wald's test on complete cases.

    `fallback` refits by Firth's likelihood where maximum likelihood does not converge, `always`
    everywhere (still with Wald's test, as `--glm firth`). Costs far more than `associate_binary`.
    """
    parts = []
    for dosages, present in _dosage_pieces(calls):
        shape = len(dosages), len(nulls)
        beta, se, method = np.zeros(shape), np.zeros(shape), np.zeros(shape, dtype=np.int8)
        for at, null in enumerate(nulls):
            beta[:, at], se[:, at], method[:, at] = _complete(dosages, present, null, firth)
        z = beta / se
        parts.append(
            BinaryResults(
                beta,
                se,
                z**2,
                neg_log_10_p(np.abs(z), np.inf),
                method,
                *_counts(dosages, present, nulls),
            )
        )
    return _stacked(parts)


def _associate(
    dosages: Floats,
    present: npt.NDArray[np.bool_] | None,
    nulls: Sequence[NullModel],
    firth: Firth,
    threshold: float,
    weighted: bool,
) -> BinaryResults:
    shape = len(dosages), len(nulls)
    beta, se, chi = (np.full(shape, np.nan) for _ in range(3))
    method = np.full(shape, SCORE, dtype=np.int8)
    squares = dosages**2
    for at, null in enumerate(nulls):
        score = dosages @ null.residual
        loadings = dosages @ (null.basis * np.sqrt(null.weight)[:, None])
        raw = squares @ null.weight
        variance = raw - np.einsum("vc,vc->v", loadings, loadings)
        with np.errstate(invalid="ignore", divide="ignore"):
            good = variance > 1e-9 * np.maximum(raw, 1e-9)
            beta[:, at] = np.where(good, score / variance, np.nan)
            se[:, at] = np.where(good, variance**-0.5, np.nan)
            chi[:, at] = np.where(good, score**2 / variance, np.nan)
        method[~good, at] = FAILED
    p = neg_log_10_p(np.sqrt(chi), np.inf)
    if firth != "none":
        for at, null in enumerate(nulls):
            rows = np.flatnonzero(p[:, at] > -np.log10(threshold))
            if not rows.size:
                continue
            fits = _firth(dosages[rows], null, firth == "exact", weighted)
            beta[rows, at], se[rows, at] = fits.beta, fits.standard_error
            chi[rows, at] = fits.chi_squared
            p[rows, at] = neg_log_10_p(np.sqrt(fits.chi_squared), np.inf)
            method[rows, at] = np.where(fits.converged, FIRTH, FAILED)
    return BinaryResults(beta, se, chi, p, method, *_counts(dosages, present, nulls))


def _firth(dosages: Floats, null: NullModel, exact: bool, weighted: bool) -> VariantFits:
    known = null.known
    calls, cases, design = dosages[:, known], null.cases[known], null.design[known]
    if exact:
        return fit_variants(calls, design, cases, null.offset[known], firth=True)
    if weighted:
        root = np.sqrt(null.weight[known])
        basis = null.basis[known]
        free = calls - ((calls * root) @ basis) @ basis.T / root
    else:
        basis, _ = np.linalg.qr(design)
        free = calls - (calls @ basis) @ basis.T
    return fit_single_effects(free, cases, null.firth_log_odds[known])


def _complete(
    dosages: Floats,
    present: npt.NDArray[np.bool_] | None,
    null: NullModel,
    firth: Literal["always", "fallback"],
) -> tuple[Floats, Floats, npt.NDArray[np.int8]]:
    known = null.known
    calls, design = dosages[:, known], null.design[known]
    mask = None if present is None else present[:, known]
    given = design, null.cases[known], null.offset[known]
    method = np.full(len(calls), WALD, dtype=np.int8)
    fits = fit_variants(calls, *given, firth=firth == "always", test=False, present=mask)
    beta, se, done = fits.beta.copy(), fits.standard_error.copy(), fits.converged
    if firth == "always":
        method[:] = FIRTH
    elif not done.all():
        rows = np.flatnonzero(~done)
        some = None if mask is None else mask[rows]
        again = fit_variants(calls[rows], *given, firth=True, test=False, present=some)
        beta[rows], se[rows] = again.beta, again.standard_error
        method[rows] = FIRTH
        done = done.copy()
        done[rows] = again.converged
    method[~done] = FAILED
    return beta, se, method


def _counts(
    dosages: Floats, present: npt.NDArray[np.bool_] | None, nulls: Sequence[NullModel]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats, Floats]:
    known = np.stack([null.known for null in nulls], axis=1).astype(np.float64)
    cases = np.stack([null.cases for null in nulls], axis=1)
    if present is None:
        n = np.broadcast_to(known.sum(axis=0), (len(dosages), len(nulls)))
        n_cases = np.broadcast_to(cases.sum(axis=0), n.shape)
        alleles, of_cases = dosages @ known, dosages @ cases
    else:
        here = present.astype(np.float64)
        n, n_cases = here @ known, here @ cases
        counted = dosages * here
        alleles, of_cases = counted @ known, counted @ cases
    with np.errstate(invalid="ignore", divide="ignore"):
        in_cases = of_cases / (2 * n_cases)
        in_controls = (alleles - of_cases) / (2 * (n - n_cases))
    return n.astype(np.int64), n_cases.astype(np.int64), in_cases, in_controls


def _dosage_pieces(calls: Calls) -> Iterator[tuple[Floats, npt.NDArray[np.bool_] | None]]:
    """Pieces of (variant, person) float64 dosages, missing ones at the mean, and what is there."""
    for first in range(0, len(calls), VARIANTS_AT_ONCE):
        part = calls[first : first + VARIANTS_AT_ONCE]
        dosages = part.astype(np.float64)
        present = part >= 0 if np.issubdtype(part.dtype, np.integer) else ~np.isnan(part)
        if present.all():
            yield dosages, None
            continue
        dosages[~present] = 0
        means = dosages.sum(axis=1) / np.maximum(present.sum(axis=1), 1)
        dosages += ~present * means[:, None]
        yield dosages, present


def _stacked(parts: Sequence[BinaryResults]) -> BinaryResults:
    names = BinaryResults.__dataclass_fields__
    return BinaryResults(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    )
