"""Cox's model against statsmodels and against the likelihood written out person by person."""

import numpy as np
import pytest
from scipy.optimize import minimize
from statsmodels.duration.hazard_regression import PHReg

from leadlight.errors import LeadlightError
from leadlight.genetics.cox import fit_cox, risk_sets


def _people(seed=0, n=400, ties=False, late=False):
    rng = np.random.default_rng(seed)
    covariates = rng.normal(size=(n, 2)) * [1, 30] + [0, 60]
    exposures = np.stack([rng.normal(size=n), rng.binomial(2, 0.2, n).astype(float)])
    entry = rng.uniform(0, 3, n) if late else np.zeros(n)
    hazard = np.exp(0.5 * exposures[0] + 0.01 * covariates[:, 1] - 0.6)
    event_at = entry + rng.exponential(8 / hazard)
    stop = entry + rng.uniform(1, 12, n)
    left = np.minimum(event_at, stop)
    if ties:
        left = np.ceil(left)
    return exposures, covariates, entry, left, event_at <= stop


def _log_likelihood(beta, x, entry, left, event):
    """Efron's, over risk sets one after the other."""
    odds = x @ beta
    weight, total = np.exp(odds), 0.0
    for time in np.unique(left[event]):
        at_risk = (entry < time) & (left >= time)
        dies = event & (left == time)
        total += odds[dies].sum()
        for k in range(dies.sum()):
            total -= np.log(weight[at_risk].sum() - k / dies.sum() * weight[dies].sum())
    return total


def test_effects_errors_and_likelihood_ratios_are_those_of_statsmodels():
    exposures, covariates, entry, left, event = _people(ties=True)
    found = fit_cox(exposures, covariates, risk_sets(entry, left, event))
    null = PHReg(left, covariates, status=event.astype(int), ties="efron").fit()
    for at, exposure in enumerate(exposures):
        x = np.column_stack([covariates, exposure])
        peer = PHReg(left, x, status=event.astype(int), ties="efron").fit()
        assert found.beta[at] == pytest.approx(peer.params[-1], abs=1e-6)
        assert found.standard_error[at] == pytest.approx(peer.bse[-1], rel=1e-5)
        assert found.chi_squared[at] == pytest.approx(2 * (peer.llf - null.llf), abs=1e-6)


def test_people_who_enter_late_are_at_risk_only_from_then_on():
    exposures, covariates, entry, left, event = _people(late=True)
    found = fit_cox(exposures, covariates, risk_sets(entry, left, event))
    for at, exposure in enumerate(exposures):
        x = np.column_stack([covariates, exposure])
        peer = PHReg(left, x, status=event.astype(int), entry=entry).fit()
        assert found.beta[at] == pytest.approx(peer.params[-1], abs=1e-6)
        assert found.standard_error[at] == pytest.approx(peer.bse[-1], rel=1e-5)


def test_ties_with_late_entry_are_efrons_likelihood_written_out():
    exposures, covariates, entry, left, event = _people(n=150, ties=True, late=True)
    entry = np.floor(entry)
    covariates = (covariates - covariates.mean(axis=0)) / covariates.std(axis=0)
    found = fit_cox(exposures[:1], covariates, risk_sets(entry, left, event))
    best, null = [
        minimize(lambda b, x=x: -_log_likelihood(b, x, entry, left, event), np.zeros(x.shape[1]))
        for x in (np.column_stack([covariates, exposures[0]]), covariates)
    ]
    assert found.beta[0] == pytest.approx(best.x[-1], abs=1e-4)
    assert found.chi_squared[0] == pytest.approx(2 * (null.fun - best.fun), abs=1e-4)


def test_the_check_of_proportional_hazards_is_the_score_test_of_a_drifting_effect():
    exposures, covariates, entry, left, event = _people(n=150, ties=True)
    covariates = (covariates - covariates.mean(axis=0)) / covariates.std(axis=0)
    found = fit_cox(exposures[:1], covariates, risk_sets(entry, left, event))
    x = np.column_stack([covariates, exposures[0]])
    beta = minimize(lambda b: -_log_likelihood(b, x, entry, left, event), np.zeros(3), tol=1e-10).x
    times = np.unique(left[event])
    counts = np.array([(event & (left == time)).sum() for time in times])
    ranks = np.cumsum(counts) - (counts - 1) / 2
    clock = dict(zip(times, ranks - (ranks * counts).sum() / counts.sum(), strict=True))

    def drifting(theta, at):
        """The log likelihood with the exposure's effect drifting by theta."""
        total = 0.0
        for time, drift in clock.items():
            odds = x @ at + theta * drift * x[:, -1]
            weight = np.exp(odds)
            at_risk, dies = left >= time, event & (left == time)
            total += odds[dies].sum()
            for k in range(dies.sum()):
                total -= np.log(weight[at_risk].sum() - k / dies.sum() * weight[dies].sum())
        return total

    def second(f, h):
        """Hessian by central differences."""
        size = len(h)
        out = np.empty((size, size))
        for i in range(size):
            for j in range(size):
                steps = [np.zeros(size) for _ in range(4)]
                for step, (a, b) in zip(steps, ((1, 1), (1, -1), (-1, 1), (-1, -1)), strict=True):
                    step[i] += a * h[i]
                    step[j] += b * h[j]
                values = [f(step) for step in steps]
                out[i, j] = (values[0] - values[1] - values[2] + values[3]) / (4 * h[i] * h[j])
        return out

    h = np.array([1e-3, 1e-3, 1e-3, 1e-5])
    information = -second(lambda s: drifting(s[3], beta + s[:3]), h)
    score = (drifting(1e-6, beta) - drifting(-1e-6, beta)) / 2e-6
    cross = information[:3, 3]
    spread = information[3, 3] - cross @ np.linalg.solve(information[:3, :3], cross)
    assert found.drift_chi_squared[0] == pytest.approx(score**2 / spread, rel=1e-3)


def test_an_effect_that_turns_with_time_is_called_drifting():
    rng = np.random.default_rng(3)
    n = 2000
    exposure = rng.normal(size=n)
    early = rng.exponential(np.exp(-1.0 * exposure))
    late = 0.5 + rng.exponential(np.exp(1.0 * exposure))
    time = np.where(early < 0.5, early, late)
    found = fit_cox(
        exposure[None], np.zeros((n, 0)), risk_sets(np.zeros(n), time, np.ones(n, bool))
    )
    assert found.drift_chi_squared[0] > 50


def test_who_leaves_before_entering_is_refused():
    with pytest.raises(LeadlightError, match="1 people leave"):
        risk_sets(np.array([0.0, 2.0]), np.array([1.0, 2.0]), np.array([True, False]))
    with pytest.raises(LeadlightError, match="Nobody has the event"):
        risk_sets(np.zeros(2), np.ones(2), np.zeros(2, bool))


def _penalised(beta, x, left, event):
    """Efron's log likelihood plus half the logarithm of the information's determinant."""
    odds = x @ beta
    weight, total = np.exp(odds), 0.0
    information = np.zeros((len(beta), len(beta)))
    for time in np.unique(left[event]):
        at_risk, dies = left >= time, event & (left == time)
        total += odds[dies].sum()
        for k in range(dies.sum()):
            own = weight * (at_risk - k / dies.sum() * dies)
            total -= np.log(own.sum())
            mean = own @ x / own.sum()
            information += (x - mean).T @ ((x - mean) * own[:, None]) / own.sum()
    return total + 0.5 * np.linalg.slogdet(information)[1]


def test_firths_likelihood_is_the_penalised_one_written_out():
    exposures, covariates, entry, left, event = _people(seed=2, n=120, ties=True)
    event &= np.arange(120) % 3 == 0  # few events
    covariates = (covariates - covariates.mean(axis=0)) / covariates.std(axis=0)
    found = fit_cox(
        exposures, covariates, risk_sets(entry, left, event), firth=np.array([True, True])
    )
    for at, exposure in enumerate(exposures):
        x = np.column_stack([covariates, exposure])
        best = minimize(lambda b, x=x: -_penalised(b, x, left, event), np.zeros(3), tol=1e-9)
        null = minimize(
            lambda b, x=x: -_penalised(np.append(b, 0), x, left, event), np.zeros(2), tol=1e-9
        )
        assert found.beta[at] == pytest.approx(best.x[-1], abs=1e-4)
        assert found.chi_squared[at] == pytest.approx(2 * (null.fun - best.fun), abs=1e-5)


def test_neither_units_nor_the_order_of_people_change_firths_fit():
    exposures, covariates, entry, left, event = _people(seed=4, n=200, late=True)
    few = np.array([True, True])
    found = fit_cox(exposures, covariates, risk_sets(entry, left, event), firth=few)
    order = np.random.default_rng(0).permutation(200)
    again = fit_cox(
        exposures[:, order] * 7 + 2,
        covariates[order] * 3,
        risk_sets(entry[order] * 365, left[order] * 365, event[order]),
        firth=few,
    )
    assert again.beta * 7 == pytest.approx(found.beta, rel=1e-6)
    assert again.chi_squared == pytest.approx(found.chi_squared, rel=1e-6)


def test_an_exposure_that_no_case_has_is_left_to_firth():
    exposures, covariates, entry, left, event = _people()
    never = np.zeros(len(left))
    never[np.flatnonzero(~event)[:20]] = 1
    found = fit_cox(
        np.stack([exposures[0], never, np.ones(len(left))]),
        covariates,
        risk_sets(entry, left, event),
    )
    assert found.converged.tolist() == [True, True, False]
    assert found.firth.tolist()[:2] == [False, True]
    assert -6 < found.beta[1] < 0
