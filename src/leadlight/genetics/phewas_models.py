"""The regressions of a phenome scan, each for many exposures at once.

Quantitative outcomes: the linear model, with all exposures and outcomes of one set of people as one
matrix product. 0/1 outcomes: logistic regression, Firth's where cases are few. Times to an event:
Cox's model. The other way round, who has the disease looks how: Welch's comparison of the exposure
between cases and controls, given the covariates.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from leadlight.errors import LeadlightError
from leadlight.genetics.binary import fit_logistic
from leadlight.genetics.cox import fit_cox, risk_sets
from leadlight.genetics.designs import orthonormal_basis
from leadlight.genetics.firth import fit_variants
from leadlight.genetics.logistic_scan import fit_logistic_many
from leadlight.genetics.tail_probability import neg_log_10_p

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

NORMAL_95 = 1.959963984540054
# Below so many cases (or controls) likelihood ratios of plain logistic regression run high.
FIRTH_BELOW = 200
# Up to this multiple of it, Firth's test is made where the plain one finds p below `SUSPECT`.
UP_TO, SUSPECT = 5, 0.1
# An allele that so few of the rarer group are expected to carry: likewise.
FEWEST_COPIES = 20
LINEAR, LOGISTIC, COX, WELCH = "linear", "logistic", "cox", "welch"
FIRTH, COX_FIRTH = "firth", "cox-firth"


@dataclass(frozen=True)
class Fits:
    """Effects of exposures on one outcome. All arrays (exposure,), NaN where there is no estimate.

    beta per unit of the exposure; low, high: 95 % interval; drift: −log10 p of the check of
    proportional hazards; r2, r2_low, r2_high: the share of a quantitative outcome's variance (less
    the covariates') that goes with the exposure, with its 95 % interval. model: the model's name.
    """

    beta: Floats
    standard_error: Floats
    low: Floats
    high: Floats
    neg_log_10_p: Floats
    drift: Floats
    r2: Floats
    r2_low: Floats
    r2_high: Floats
    model: tuple[str, ...]


def fit_linear(exposures: Floats, outcomes: Floats, covariates: Floats) -> list[Fits]:
    """Least squares of each outcome on each exposure with the covariates, exact t tests.

    exposures: (person, exposure); outcomes: (person, outcome); covariates: (person, covariate); no
    value is missing. One `Fits` per outcome. A constant or collinear exposure has no estimate.
    """
    basis = orthonormal_basis(covariates)
    x, size = _residuals(exposures, basis)
    y, length = _residuals(outcomes, basis)
    degrees = len(x) - basis.shape[1] - 1
    if degrees < 2:
        raise LeadlightError(f"{len(x)} people are too few for {basis.shape[1]} covariates.")
    with np.errstate(divide="ignore", invalid="ignore"):
        x /= size
        y /= length
        r = x.T @ y
        # 1 − r² loses digits where an outcome is nearly a copy of the exposure.
        rest = np.maximum(1 - r**2, 1e-15)
        t = r * np.sqrt(degrees / rest)
        beta = r * length / size[:, None]
        se = np.abs(beta / t)
        se = np.where(r == 0, length / size[:, None] / np.sqrt(degrees), se)
    reach = float(student.ppf(0.975, degrees))
    p = neg_log_10_p(t, float(degrees))
    # Fisher's transform; an interval of r that crosses 0 begins at no variance.
    around, half = np.arctanh(np.clip(r, -1 + 1e-15, 1 - 1e-15)), NORMAL_95 / np.sqrt(degrees - 1)
    ends = np.tanh(around - half), np.tanh(around + half)
    least = np.where(ends[0] * ends[1] < 0, 0.0, np.minimum(ends[0] ** 2, ends[1] ** 2))
    none = np.full(len(r), np.nan)
    return [
        Fits(
            beta[:, k],
            se[:, k],
            beta[:, k] - reach * se[:, k],
            beta[:, k] + reach * se[:, k],
            p[:, k],
            none,
            r[:, k] ** 2,
            least[:, k],
            np.maximum(ends[0] ** 2, ends[1] ** 2)[:, k],
            (LINEAR,) * len(r),
        )
        for k in range(outcomes.shape[1])
    ]


def fit_logistic_scan(
    exposures: Floats,
    cases: Floats,
    covariates: Floats,
    *,
    copies: Booleans | None = None,
    firth_below: int = FIRTH_BELOW,
) -> Fits:
    """Logistic regression of cases (person,), 0 or 1, on each exposure with the covariates.

    exposures: (person, exposure), no value missing; copies: (exposure,) whether it counts an
    allele. Firth's likelihood takes over where the rarer group has fewer than `firth_below` people
    (five times as many where p < 0.1) or is expected to carry fewer than 20 copies of the rarer
    allele, or where maximum likelihood does not converge. p is of the likelihood-ratio test, the
    interval Wald's.
    """
    design = orthonormal_basis(covariates)
    count = exposures.shape[1]
    centred = exposures - exposures.mean(axis=0)
    spread = np.sqrt(np.mean(centred**2, axis=0))
    usable = spread > 1e-12 * (1 + np.abs(exposures).max(axis=0))
    x = (centred / np.where(usable, spread, 1.0)).T
    rarer = min(cases.sum(), len(cases) - cases.sum())
    few = np.full(count, rarer < firth_below)
    if copies is not None:
        mean = exposures.mean(axis=0)
        few |= copies & (np.minimum(mean, 2 - mean) * rarer < FEWEST_COPIES)
    try:
        offset = fit_logistic(design, cases).log_odds
    except LeadlightError:  # covariates separate the cases
        offset = fit_logistic(design, cases, firth=True).log_odds
        few[:] = True
    beta, se, chi = (np.full(count, np.nan) for _ in range(3))
    model = np.where(few, FIRTH, LOGISTIC)
    # With the covariates' own fit as the offset, their coefficients start close to the answer.
    plain = np.flatnonzero(usable & ~few)
    if plain.size:
        found = fit_logistic_many(x[plain], design, cases, offset)
        beta[plain], se[plain], chi[plain] = found.beta, found.standard_error, found.chi_squared
        doubtful = ~found.converged
        if rarer < UP_TO * firth_below:
            doubtful |= neg_log_10_p(np.sqrt(found.chi_squared), np.inf) > -np.log10(SUSPECT)
        model[plain[doubtful]] = FIRTH
    penalised = np.flatnonzero(usable & (model == FIRTH))
    if penalised.size:
        found = fit_variants(x[penalised], design, cases, offset, firth=True)
        beta[penalised], se[penalised] = found.beta, found.standard_error
        chi[penalised] = found.chi_squared
    scale = np.where(usable, spread, 1.0)
    return _wald(beta / scale, se / scale, chi, np.full(count, np.nan), model.tolist())


def fit_cox_scan(
    exposures: Floats, entry: Floats, exit_: Floats, event: Booleans, covariates: Floats
) -> Fits:
    """Cox's model of the time to an event on each exposure (person, exposure) with the covariates.

    Firth's likelihood takes over where maximum likelihood does not converge. p is of the
    likelihood-ratio test, the interval Wald's. With few events the ratio runs high; it is read as
    that of a linear model with as many people as there are events, whose t is known exactly. (That
    brings the level from 0.055 to 0.050 at 100 events; with many it changes nothing.)
    """
    at_risk = risk_sets(entry, exit_, event)
    basis = orthonormal_basis(covariates)
    found = fit_cox(exposures.T, basis[:, 1:], at_risk)
    drift = neg_log_10_p(np.sqrt(found.drift_chi_squared), np.inf)
    model = np.where(found.firth, COX_FIRTH, COX).tolist()
    fits = _wald(found.beta, found.standard_error, found.chi_squared, drift, model)
    events = at_risk.n_events
    degrees = float(max(events - basis.shape[1], 1))
    t = np.sqrt(degrees * np.expm1(np.minimum(found.chi_squared / events, 700.0)))
    return replace(fits, neg_log_10_p=neg_log_10_p(t, degrees))


def fit_welch(exposures: Floats, cases: Floats, covariates: Floats) -> Fits:
    """How far cases' exposures lie from controls', given the covariates.

    The linear model of each exposure (person, exposure) on cases (person,), 0 or 1. Cases may vary
    more or less than controls: the variance is the one that allows for it (HC2, MacKinnon & White,
    Journal of Econometrics 29:305, 1985), with Satterthwaite's degrees of freedom from the two
    groups. Without covariates it is Welch's test.
    """
    basis = orthonormal_basis(covariates)
    ill, size = _residuals(cases[:, None], basis)
    count = exposures.shape[1]
    none = np.full(count, np.nan)
    if not size[0] > 0:
        return Fits(*(none,) * 9, (WELCH,) * count)
    d = ill[:, 0]
    beta = d @ exposures / size[0] ** 2
    left = exposures - np.outer(d, beta)
    left -= basis @ (basis.T @ left)
    leverage = np.einsum("pc,pc->p", basis, basis) + d**2 / size[0] ** 2
    part = (d / size[0] ** 2)[:, None] ** 2 * left**2
    part /= np.maximum(1 - leverage, 1e-9)[:, None]
    has = cases == 1
    of_cases, of_controls = part[has].sum(axis=0), part[~has].sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = of_cases + of_controls
        se = np.sqrt(variance)
        degrees = variance**2 / (
            of_cases**2 / max(has.sum() - 1, 1) + of_controls**2 / max((~has).sum() - 1, 1)
        )
        p = neg_log_10_p(beta / se, degrees)
        reach = student.ppf(0.975, degrees) * se
    empty = ~(se > 0)
    beta, se, p = (np.where(empty, np.nan, one) for one in (beta, se, p))
    return Fits(beta, se, beta - reach, beta + reach, p, none, none, none, none, (WELCH,) * count)


def _wald(beta: Floats, se: Floats, chi: Floats, drift: Floats, model: Sequence[str]) -> Fits:
    low, high = beta - NORMAL_95 * se, beta + NORMAL_95 * se
    p, none = neg_log_10_p(np.sqrt(chi), np.inf), np.full(len(beta), np.nan)
    return Fits(beta, se, low, high, p, drift, none, none, none, tuple(model))


def _residuals(values: Floats, basis: Floats) -> tuple[Floats, Floats]:
    """Columns off the basis and their lengths, NaN where nothing is left of a column."""
    left = values - values.mean(axis=0)
    whole = np.sqrt((left**2).sum(axis=0))
    left -= basis @ (basis.T @ left)
    left -= basis @ (basis.T @ left)
    length = np.sqrt((left**2).sum(axis=0))
    scale = np.maximum(np.abs(values).max(axis=0, initial=0.0), 1e-300) * np.sqrt(len(values))
    gone = ~((length > 1e-7 * whole) & (whole > 1e-12 * scale))
    return left, np.where(gone, np.nan, length)
