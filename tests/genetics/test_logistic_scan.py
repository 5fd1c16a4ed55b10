"""Many exposures at once by maximum likelihood: the answers are those of one at a time."""

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from leadlight.genetics.binary import fit_logistic
from leadlight.genetics.firth import fit_variants
from leadlight.genetics.logistic_scan import fit_logistic_many


def _data(seed, people=500, rate=0.2, effects=(0.0, 0.3, 1.5, 4.0)):
    rng = np.random.default_rng(seed)
    design = np.c_[np.ones(people), rng.normal(size=(people, 3))]
    exposures = rng.normal(size=(len(effects), people))
    exposures[1] = rng.binomial(2, 0.1, people)
    odds = np.log(rate / (1 - rate)) + design @ [0, 0.8, -0.3, 0] + np.array(effects) @ exposures
    cases = (rng.random(people) < 1 / (1 + np.exp(-odds))).astype(float)
    return exposures, design, cases


def test_effects_errors_and_likelihood_ratios_are_statsmodels_small_and_large():
    exposures, design, cases = _data(0)
    null = fit_logistic(design, cases)
    found = fit_logistic_many(exposures, design, cases, null.log_odds)
    without = sm.Logit(cases, design).fit(disp=0, tol=1e-12)
    for at, exposure in enumerate(exposures):
        peer = sm.Logit(cases, np.c_[design, exposure]).fit(disp=0, tol=1e-12)
        assert found.beta[at] == pytest.approx(peer.params[-1], rel=1e-8, abs=1e-10)
        assert found.standard_error[at] == pytest.approx(peer.bse[-1], rel=1e-4)
        assert found.chi_squared[at] == pytest.approx(2 * (peer.llf - without.llf), abs=1e-7)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 0.5))
def test_the_answers_are_those_of_newtons_method_for_each_alone(seed, rate):
    exposures, design, cases = _data(seed, people=200, rate=rate)
    null = fit_logistic(design, cases)
    found = fit_logistic_many(exposures, design, cases, null.log_odds)
    alone = fit_variants(exposures, design, cases, null.log_odds, firth=False)
    assert (found.converged == alone.converged).all()
    fine = found.converged
    assert found.beta[fine] == pytest.approx(alone.beta[fine], rel=1e-6, abs=1e-8)
    assert found.standard_error[fine] == pytest.approx(alone.standard_error[fine], rel=1e-3)
    assert found.chi_squared[fine] == pytest.approx(alone.chi_squared[fine], rel=1e-6, abs=1e-7)


def test_separation_and_constants_do_not_converge_and_spoil_no_other():
    exposures, design, cases = _data(3)
    odd = np.stack([exposures[0], cases, np.ones(500), design[:, 1] * 2])
    null = fit_logistic(design, cases)
    found = fit_logistic_many(odd, design, cases, null.log_odds)
    assert found.converged.tolist() == [True, False, False, False]
