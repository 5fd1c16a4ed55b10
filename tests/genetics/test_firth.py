"""Firth's and plain logistic regression of variants against generic optimisers and statsmodels."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.optimize import minimize

from leadlight.genetics.firth import fit_single_effects, fit_variants


def _data(seed=0, people=150, variants=4, rate=0.2):
    rng = np.random.default_rng(seed)
    dosages = rng.binomial(2, rng.uniform(0.05, 0.4, (variants, 1)), (variants, people)).astype(
        float
    )
    design = np.c_[np.ones(people), rng.normal(size=(people, 2))]
    offset = rng.normal(size=people) * 0.3
    odds = np.log(rate / (1 - rate)) + design[:, 1] * 0.5 + dosages[0] * 0.7 + offset
    cases = (rng.random(people) < 1 / (1 + np.exp(-odds))).astype(float)
    return dosages, design, cases, offset


def _penalised(beta, columns, cases, offset, firth=True):
    odds = offset + columns @ beta
    chance = 1 / (1 + np.exp(-odds))
    value = np.sum(cases * odds - np.logaddexp(0, odds))
    if firth:
        information = (columns * (chance * (1 - chance))[:, None]).T @ columns
        value += 0.5 * np.linalg.slogdet(information)[1]
    return value


def _maximum(columns, cases, offset, fixed=()):
    free = [at for at in range(columns.shape[1]) if at not in fixed]

    def loss(part):
        beta = np.zeros(columns.shape[1])
        beta[free] = part
        return -_penalised(beta, columns, cases, offset)

    found = minimize(loss, np.zeros(len(free)), method="BFGS", options={"gtol": 1e-9})
    beta = np.zeros(columns.shape[1])
    beta[free] = found.x
    return beta, -found.fun


def test_firth_effects_and_likelihood_ratios_are_those_of_a_generic_optimiser():
    dosages, design, cases, offset = _data()
    found = fit_variants(dosages, design, cases, offset, firth=True)
    for at, calls in enumerate(dosages):
        columns = np.c_[design, calls]
        beta, value = _maximum(columns, cases, offset)
        _, null = _maximum(columns, cases, offset, fixed=(3,))
        assert found.beta[at] == pytest.approx(beta[3], abs=2e-5)
        assert found.chi_squared[at] == pytest.approx(2 * (value - null), abs=2e-6)
        chance = 1 / (1 + np.exp(-offset - columns @ beta))
        covariance = np.linalg.inv((columns * (chance * (1 - chance))[:, None]).T @ columns)
        assert found.standard_error[at] == pytest.approx(covariance[3, 3] ** 0.5, rel=1e-4)


def test_maximum_likelihood_is_statsmodels_logit():
    dosages, design, cases, _ = _data(people=400)
    found = fit_variants(dosages, design, cases, np.zeros(400), firth=False)
    for at, calls in enumerate(dosages):
        columns = np.c_[design, calls]
        fitted = sm.Logit(cases, columns).fit(disp=0, tol=1e-12)
        null = sm.Logit(cases, design).fit(disp=0, tol=1e-12)
        assert found.beta[at] == pytest.approx(fitted.params[3], rel=1e-7)
        assert found.standard_error[at] == pytest.approx(fitted.bse[3], rel=1e-7)
        assert found.chi_squared[at] == pytest.approx(2 * (fitted.llf - null.llf), abs=1e-8)


def test_an_absent_call_leaves_the_person_out():
    dosages, design, cases, offset = _data(people=300)
    present = np.random.default_rng(4).random(dosages.shape) > 0.1
    spoilt = np.where(present, dosages, 1.234)
    found = fit_variants(spoilt, design, cases, offset, firth=True, present=present)
    for at in range(len(dosages)):
        here = present[at]
        alone = fit_variants(
            dosages[[at]][:, here], design[here], cases[here], offset[here], firth=True
        )
        assert found.beta[at] == pytest.approx(alone.beta[0], rel=1e-8)
        assert found.chi_squared[at] == pytest.approx(alone.chi_squared[0], rel=1e-7)


def test_separation_stops_maximum_likelihood_and_not_firth():
    rng = np.random.default_rng(1)
    design = np.c_[np.ones(200), rng.normal(size=200)]
    cases = (np.arange(200) < 20).astype(float)
    dosages = np.zeros((1, 200))
    dosages[0, :6] = 1  # carriers are all cases
    plain = fit_variants(dosages, design, cases, np.zeros(200), firth=False)
    firth = fit_variants(dosages, design, cases, np.zeros(200), firth=True)
    assert not plain.converged[0]
    assert np.isnan(plain.beta[0])
    assert firth.converged[0]
    assert 2 < firth.beta[0] < 8
    assert firth.chi_squared[0] > 10


def test_a_variant_without_carriers_fails_alone():
    dosages, design, cases, offset = _data()
    dosages[2] = 0
    for found in (
        fit_variants(dosages, design, cases, offset, firth=True),
        fit_single_effects(dosages, cases, offset),
    ):
        assert found.converged.tolist() == [True, True, False, True]
        assert np.isnan(found.beta[2])


def test_single_effects_are_the_exact_fit_when_all_else_is_in_the_offset():
    dosages, _, cases, offset = _data(people=500)
    found = fit_single_effects(dosages, cases, offset)
    for at, calls in enumerate(dosages):
        beta, value = _maximum(calls[:, None], cases, offset)
        null = _penalised(np.zeros(1), calls[:, None], cases, offset)
        assert found.beta[at] == pytest.approx(beta[0], abs=1e-5)
        assert found.chi_squared[at] == pytest.approx(2 * (value - null), abs=1e-7)
