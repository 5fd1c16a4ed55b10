"""The regressions of a phenome scan against scipy and statsmodels."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.duration.hazard_regression import PHReg

from leadlight.genetics.phewas_models import (
    fit_cox_scan,
    fit_linear,
    fit_logistic_scan,
    fit_welch,
)


def _data(seed=0, n=300):
    rng = np.random.default_rng(seed)
    covariates = np.column_stack([rng.normal(50, 10, n), rng.integers(1, 3, n)])
    exposures = rng.normal(size=(n, 3)) + 0.02 * covariates[:, :1]
    return rng, covariates, exposures


def test_the_linear_model_is_ordinary_least_squares_with_the_exact_t_test():
    rng, covariates, exposures = _data()
    outcomes = np.column_stack([exposures[:, 0] * 0.3 + rng.normal(size=300), rng.normal(size=300)])
    found = fit_linear(exposures, outcomes, covariates)
    for k in range(2):
        for e in range(3):
            x = sm.add_constant(np.column_stack([covariates, exposures[:, e]]))
            peer = sm.OLS(outcomes[:, k], x).fit()
            assert found[k].beta[e] == pytest.approx(peer.params[-1], rel=1e-9)
            assert found[k].standard_error[e] == pytest.approx(peer.bse[-1], rel=1e-9)
            assert found[k].neg_log_10_p[e] == pytest.approx(-np.log10(peer.pvalues[-1]), abs=1e-8)
            low, high = peer.conf_int()[-1]
            assert (found[k].low[e], found[k].high[e]) == pytest.approx((low, high), rel=1e-8)


def test_the_variance_explained_is_the_gain_of_r_squared_over_the_covariates():
    rng, covariates, exposures = _data(n=2000)
    outcome = exposures[:, 0] * 0.5 + 0.1 * covariates[:, 0] + rng.normal(size=2000)
    found = fit_linear(exposures[:, :1], outcome[:, None], covariates)[0]
    without = sm.OLS(outcome, sm.add_constant(covariates)).fit().rsquared
    both = np.column_stack([covariates, exposures[:, 0]])
    gain = sm.OLS(outcome, sm.add_constant(both)).fit().rsquared - without
    assert found.r2[0] == pytest.approx(gain / (1 - without), rel=1e-9)
    assert found.r2_low[0] < found.r2[0] < found.r2_high[0]


def test_no_variance_explained_lies_in_the_interval_of_a_null_exposure():
    rng, covariates, exposures = _data(5)
    found = fit_linear(exposures, rng.normal(size=(300, 1)), covariates)[0]
    assert (found.neg_log_10_p < 1.3).all()
    assert (found.r2_low == 0).all()
    assert (found.r2_high < 0.06).all()


def test_a_constant_or_collinear_exposure_has_no_estimate():
    _, covariates, exposures = _data()
    odd = np.column_stack([np.ones(300), covariates[:, 0] * 3 - 2, exposures[:, 0]])
    found = fit_linear(odd, exposures[:, 1:2], covariates)[0]
    assert np.isnan(found.beta).tolist() == [True, True, False]


def test_logistic_regression_of_many_cases_is_statsmodels_logit():
    rng, covariates, exposures = _data(n=1500)
    chance = 1 / (1 + np.exp(-(exposures[:, 0] * 0.5 - 2)))
    cases = (rng.random(1500) < chance).astype(float)
    found = fit_logistic_scan(exposures, cases, covariates, firth_below=30)
    null = sm.Logit(cases, sm.add_constant(covariates)).fit(disp=0)
    for e in range(3):
        x = sm.add_constant(np.column_stack([covariates, exposures[:, e]]))
        peer = sm.Logit(cases, x).fit(disp=0, tol=1e-12)
        assert found.beta[e] == pytest.approx(peer.params[-1], rel=1e-5)
        assert found.standard_error[e] == pytest.approx(peer.bse[-1], rel=1e-5)
        chi = 2 * (peer.llf - null.llf)
        assert 10 ** -found.neg_log_10_p[e] == pytest.approx(stats.chi2.sf(chi, 1), rel=1e-4)
    assert set(found.model) == {"logistic"}


def test_few_cases_rare_alleles_and_separation_are_firths():
    rng, covariates, _ = _data(n=600)
    common, rare = rng.binomial(2, 0.3, 600), np.zeros(600)
    cases = np.zeros(600)
    cases[:250] = 1
    rare[:3] = 1  # three carriers, all cases
    only_cases = np.zeros(600)
    only_cases[100:130] = 1
    exposures = np.column_stack([common, rare, only_cases])
    copies = np.array([True, True, False])
    found = fit_logistic_scan(exposures, cases, covariates, copies=copies)
    assert found.model == ("logistic", "firth", "firth")
    assert np.isfinite(found.beta).all()
    assert 0.5 < found.beta[1] < 5
    few = fit_logistic_scan(exposures[:, :1], cases, covariates, firth_below=300)
    assert few.model == ("firth",)


def test_welchs_comparison_without_covariates_is_scipys():
    rng = np.random.default_rng(2)
    cases = (rng.random(200) < 0.15).astype(float)
    exposures = rng.normal(size=(200, 2)) * np.where(cases == 1, 3.0, 1.0)[:, None]
    found = fit_welch(exposures, cases, np.zeros((200, 0)))
    for e in range(2):
        peer = stats.ttest_ind(exposures[cases == 1, e], exposures[cases == 0, e], equal_var=False)
        assert found.beta[e] / found.standard_error[e] == pytest.approx(peer.statistic, rel=1e-9)
        assert found.neg_log_10_p[e] == pytest.approx(-np.log10(peer.pvalue), rel=1e-7)
        span = peer.confidence_interval()
        assert (found.low[e], found.high[e]) == pytest.approx((span.low, span.high), rel=1e-9)


def test_welchs_comparison_keeps_its_level_where_cases_vary_more_and_the_t_test_does_not():
    rng = np.random.default_rng(8)
    n, nulls = 200, 4000
    covariates = rng.normal(size=(n, 2))
    cases = np.zeros(n)
    cases[:25] = 1
    noise = rng.normal(size=(n, nulls)) * np.where(cases == 1, 3.0, 1.0)[:, None]
    found = fit_welch(noise + covariates[:, :1], cases, covariates)
    low, high = stats.binom.interval(0.999, nulls, 0.05)
    assert low <= (found.neg_log_10_p > -np.log10(0.05)).sum() <= high
    plain = fit_linear(cases[:, None], noise, covariates)
    assert sum(one.neg_log_10_p[0] > -np.log10(0.05) for one in plain) > 2 * high


def test_with_some_hundred_cases_what_looks_like_a_finding_is_tested_by_firth():
    rng, covariates, exposures = _data(n=1500)
    cases = (rng.random(1500) < 1 / (1 + np.exp(2 - exposures[:, 0]))).astype(float)
    assert 200 < cases.sum() < 1000
    found = fit_logistic_scan(exposures, cases, covariates)
    small = found.neg_log_10_p > 1
    assert small[0]
    assert [model == "firth" for model in found.model] == small.tolist()


def test_coxs_likelihood_ratio_of_few_events_is_read_as_a_t_of_as_many_people():
    rng, covariates, exposures = _data(n=200)
    time, end = rng.exponential(5, 200), rng.uniform(0, 2, 200)
    event, left = time <= end, np.minimum(time, end)
    found = fit_cox_scan(exposures, np.zeros(200), left, event, covariates)
    peer = [
        PHReg(left, x, status=event.astype(int)).fit().llf
        for x in (covariates, np.column_stack([covariates, exposures[:, 0]]))
    ]
    chi, d = 2 * (peer[1] - peer[0]), event.sum()
    # Of a linear model of d people, chi = d log(1 + t² / degrees).
    t = np.sqrt((d - 3) * np.expm1(chi / d))
    assert 10 ** -found.neg_log_10_p[0] == pytest.approx(2 * stats.t.sf(t, d - 3), rel=1e-4)
    many = 2 * stats.t.sf(np.sqrt(1e6 * np.expm1(9 / 1e6)), 1e6)
    assert many == pytest.approx(stats.chi2.sf(9, 1), rel=1e-3)
