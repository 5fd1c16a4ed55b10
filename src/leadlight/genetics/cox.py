"""Cox's model of one time-to-event outcome for many exposures, each with the same covariates.

Late entry, Efron's handling of ties (Journal of the American Statistical Association 72:557, 1977),
the likelihood-ratio test, and a check of proportional hazards: does the exposure's effect drift
with time? The check is the score test of Grambsch and Therneau (Biometrika 81:515, 1994) with its
exact variance, on the ranks of the event times. Firth's penalised likelihood keeps effects finite
where nobody with the exposure has the event (Heinze & Schemper, Biometrics 57:114, 2001).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from leadlight.errors import LeadlightError
from leadlight.genetics.cox_kernels import drift, evaluate, firth_gradient

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

TOLERANCE = 1e-9  # of the last Newton step, in standard errors
LARGEST_STEP, LAST_STEP = 5.0, 1e-3
ITERATIONS, HALVINGS = 40, 12


@dataclass(frozen=True)
class RiskSets:
    """Who is at risk when: one outcome's people and times, sorted once for all exposures.

    order: (person,) the people given, by time of exit, last first; all else refers to this order.
    times: (time,) at which events happen, last first; the other arrays as in
    `cox_kernels.evaluate`.
    """

    order: Integers
    times: Floats
    joined: Integers
    late: Integers
    not_yet: Integers
    deaths: Integers
    first: Integers
    at_exit: Integers
    at_entry: Integers
    own_time: Integers

    @property
    def n_events(self) -> int:
        """How many events happen."""
        return len(self.deaths)

    def arrays(self) -> tuple[Integers, ...]:
        """What the kernels take."""
        return (
            self.joined, self.late, self.not_yet, self.deaths, self.first, self.at_exit,
            self.at_entry, self.own_time,
        )  # fmt: skip


@dataclass(frozen=True)
class CoxFits:
    """One fit per exposure. All arrays: (exposure,).

    beta: log hazard ratio per unit; standard_error; chi_squared of the likelihood-ratio test;
    drift_chi_squared of the check of proportional hazards, both on 1 degree of freedom; firth:
    whether the likelihood was penalised; converged: where False, all numbers are NaN.
    """

    beta: Floats
    standard_error: Floats
    chi_squared: Floats
    drift_chi_squared: Floats
    firth: npt.NDArray[np.bool_]
    converged: npt.NDArray[np.bool_]


def risk_sets(entry: Floats, exit_: Floats, event: npt.NDArray[np.bool_]) -> RiskSets:
    """Sort one outcome. All arguments (person,); a person is at risk after entry, until exit.

    Raises LeadlightError where somebody leaves before entering or nobody has the event.
    """
    if not (np.isfinite(entry).all() and np.isfinite(exit_).all()):
        raise LeadlightError("A time of entry or exit is missing.")
    if not (exit_ > entry).all():
        raise LeadlightError(
            f"{int((exit_ <= entry).sum())} people leave at or before their entry.",
            advice="Leave them out: they are never at risk.",
        )
    if not event.any():
        raise LeadlightError("Nobody has the event.")
    order = np.argsort(-exit_, kind="stable")
    leaves, enters, happens = exit_[order], entry[order], event[order]
    times = np.unique(leaves[happens])[::-1]
    joined = np.searchsorted(-leaves, -times, side="right")  # how many have exit ≥ time
    late = np.argsort(-enters, kind="stable")
    not_yet = np.searchsorted(-enters[late], -times, side="right")  # entry ≥ time: not at risk
    deaths = np.flatnonzero(happens)  # by time, last first, as people are
    rising = times[::-1]
    last_before = len(times) - np.searchsorted(rising, leaves, side="right")
    own = np.where(happens, last_before, -1)
    first = np.searchsorted(own[deaths], np.arange(len(times) + 1))
    return RiskSets(
        order,
        times,
        joined.astype(np.int64),
        late.astype(np.int64),
        not_yet.astype(np.int64),
        deaths.astype(np.int64),
        first.astype(np.int64),
        last_before.astype(np.int64),
        (len(times) - np.searchsorted(rising, enters, side="right")).astype(np.int64),
        own.astype(np.int64),
    )


def fit_cox(
    exposures: Floats,
    covariates: Floats,
    at_risk: RiskSets,
    *,
    firth: npt.NDArray[np.bool_] | None = None,
) -> CoxFits:
    """Fit each exposure with the covariates.

    exposures: (exposure, person), without missing values. covariates: (person, covariate), without
    a constant and not collinear. Both in the order of the people given to `risk_sets`. firth:
    (exposure,) which are fitted by the penalised likelihood; the others are where maximum
    likelihood does not converge. Raises LeadlightError where the covariates alone cannot be fitted.
    """
    count, q = len(exposures), covariates.shape[1]
    scale = np.where(covariates.std(axis=0) > 0, covariates.std(axis=0), 1.0)
    columns = ((covariates - covariates.mean(axis=0)) / scale)[at_risk.order]
    x = np.ascontiguousarray(np.column_stack([columns, np.zeros(len(columns))]))
    null = _maximise(x, np.zeros(q + 1), q, at_risk)
    penalised = np.zeros(count, dtype=np.bool_) if firth is None else firth.copy()
    if null is None:  # the covariates determine who has the event
        penalised[:] = True
    clock = _clock(at_risk)
    beta, se, chi, moves = (np.full(count, np.nan) for _ in range(4))
    converged = np.zeros(count, dtype=np.bool_)
    for at, exposure in enumerate(exposures):
        spread = exposure.std()
        if not spread > 1e-12 * (1 + np.abs(exposure).max()):
            continue
        x[:, q] = ((exposure - exposure.mean()) / spread)[at_risk.order]
        start = np.zeros(q + 1) if null is None else null.beta
        found, without = None, null
        if not penalised[at]:
            found = _maximise(x, start, q + 1, at_risk)
        if found is None or np.linalg.eigvalsh(found.information)[0] < 1e-8:
            penalised[at] = True
            found = _maximise(x, start, q + 1, at_risk, firth=True)
            without = _maximise(x, start, q, at_risk, firth=True)
        if found is None or without is None:
            continue
        converged[at] = True
        beta[at] = found.beta[q] / spread
        se[at] = np.sqrt(np.linalg.inv(found.information)[q, q]) / spread
        chi[at] = max(2 * (found.value - without.value), 0.0)
        moves[at] = _drift(x, found, clock, at_risk)
    return CoxFits(beta, se, chi, moves, penalised, converged)


@dataclass(frozen=True)
class _Maximum:
    """beta, gradient: (p,); value: log likelihood; information: (p, p); means: (death, p)."""

    beta: Floats
    value: float
    gradient: Floats
    information: Floats
    means: Floats


def _maximise(
    x: Floats, start: Floats, free: int, at_risk: RiskSets, *, firth: bool = False
) -> _Maximum | None:
    """Newton's method on the first `free` coefficients; None where it does not converge.

    A coefficient runs away where, say, nobody with the exposure has the event. firth: the value is
    the penalised likelihood's, with the information of all coefficients, free or not.
    """
    beta = start.copy()
    here = _evaluate(x, beta, at_risk, firth)
    for _ in range(ITERATIONS if free else 0):
        if here is None:
            return None
        part = here.information[:free, :free]
        spread = np.sqrt(np.diag(part))
        if not (spread > 1e-5).all():
            return None
        step = np.linalg.lstsq(part, here.gradient[:free], rcond=None)[0]
        step *= min(1.0, LARGEST_STEP / max(np.abs(step).max(), 1e-300))
        moved = np.abs(step * spread).max()
        new = None
        for _ in range(HALVINGS):
            tried = beta.copy()
            tried[:free] += step
            new = _evaluate(x, tried, at_risk, firth)
            if new is not None and new.value >= here.value - 1e-12 * abs(here.value):
                break
            step = step / 2
        beta, here = tried, new
        if moved < TOLERANCE and np.abs(step).max() < LAST_STEP:
            return here
    return None if free else here


def _evaluate(x: Floats, beta: Floats, at_risk: RiskSets, firth: bool) -> _Maximum | None:
    odds, arrays = x @ beta, at_risk.arrays()
    value, gradient, information, means = evaluate(x, odds, *arrays)
    if firth:
        sign, log_determinant = np.linalg.slogdet(information)
        if not sign > 0 or not np.isfinite(log_determinant):
            return None
        inverse = np.linalg.inv(information)
        spread = np.einsum("ij,ij->i", x @ inverse, x)
        more = firth_gradient(x, odds, spread, means, means @ inverse, *arrays)
        value, gradient = value + 0.5 * log_determinant, gradient + 0.5 * more
    return _Maximum(beta, value, gradient, information, means)


def _drift(x: Floats, found: _Maximum, clock: Floats, at_risk: RiskSets) -> float:
    """χ² (1 degree of freedom) of whether the last column's effect drifts with the clock."""
    score, own, cross = drift(
        x, x @ found.beta, found.means, clock, at_risk.joined, at_risk.late, at_risk.not_yet,
        at_risk.deaths, at_risk.first,
    )  # fmt: skip
    variance = own - cross @ np.linalg.solve(found.information, cross)
    return float(score**2 / variance) if variance > 1e-10 * own else np.nan


def _clock(at_risk: RiskSets) -> Floats:
    """(time,) mean ranks of the events' times, centred over the events."""
    ranks = np.asarray(rankdata(at_risk.times[at_risk.own_time[at_risk.deaths]]))
    return np.asarray((ranks - ranks.mean())[at_risk.first[:-1]])
