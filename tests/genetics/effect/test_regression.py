import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from leadlight.errors import LeadlightError
from leadlight.genetics.effect.regression import adjust, regress, regress_each


def _people(n: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    exposure = rng.binomial(2, 0.3, n).astype(float)
    covariates = np.column_stack([rng.standard_normal(n), rng.random(n)])
    outcomes = rng.standard_normal((n, 3)) * (1 + exposure)[:, None]
    return exposure, covariates, outcomes + 0.4 * exposure[:, None] + covariates[:, :1]


def test_effects_and_errors_are_those_of_statsmodels_hc3() -> None:
    exposure, covariates, outcomes = _people()
    found = regress(adjust(exposure, covariates, "x"), outcomes)
    design = sm.add_constant(np.column_stack([exposure, covariates]))
    for place in range(3):
        peer = sm.OLS(outcomes[:, place], design).fit(cov_type="HC3")
        assert found.beta[place] == pytest.approx(peer.params[1], rel=1e-9)
        assert found.standard_error[place] == pytest.approx(peer.bse[1], rel=1e-9)


def test_the_covariance_is_that_of_repeated_samples() -> None:
    rng = np.random.default_rng(1)
    mixing = np.array([[1.0, 0.0], [0.8, 0.6]])
    betas, stated = [], []
    for _ in range(1500):
        exposure = rng.binomial(2, 0.3, 200).astype(float)
        outcomes = rng.standard_normal((200, 2)) @ mixing.T
        found = regress(adjust(exposure, rng.standard_normal((200, 1)), "x"), outcomes)
        betas.append(found.beta)
        stated.append(found.covariance)
    real, said = np.cov(np.array(betas).T), np.mean(stated, axis=0)
    assert np.diag(said) == pytest.approx(np.diag(real), rel=0.12)
    assert said[0, 1] == pytest.approx(real[0, 1], rel=0.2)


@pytest.mark.parametrize("carriers", [12, 40, 400])
def test_intervals_cover_at_their_rate_for_rare_and_common_exposures(carriers: int) -> None:
    rng = np.random.default_rng(carriers)
    covered = 0
    rounds = 800
    for _ in range(rounds):
        exposure = np.zeros(1000)
        exposure[rng.permutation(1000)[:carriers]] = 1
        found = regress(
            adjust(exposure, rng.standard_normal((1000, 2)), "x"), rng.standard_normal((1000, 1))
        )
        covered += bool(abs(found.beta[0]) <= found.critical * found.standard_error[0])
    low, high = stats.binom.interval(0.999, rounds, 0.95)
    assert low <= covered <= high + 0.015 * rounds


def test_a_rare_exposure_has_about_as_many_degrees_of_freedom_as_carriers() -> None:
    exposure = np.zeros(5000)
    exposure[:25] = 1
    found = adjust(exposure, np.zeros((5000, 0)), "x")
    assert found.degrees == pytest.approx(25, rel=0.1)


def test_an_exposure_that_the_covariates_say_already_is_refused_by_name() -> None:
    exposure, covariates, _ = _people()
    with pytest.raises(LeadlightError, match="rs1"):
        adjust(exposure, np.column_stack([covariates, exposure]), "rs1")


def test_each_outcome_counts_the_people_who_have_it() -> None:
    exposure, covariates, outcomes = _people()
    outcomes[:100, 1] = np.nan
    outcomes[20:, 2] = np.nan
    beta, error, critical, n = regress_each(exposure, covariates, outcomes, "x")
    assert n.tolist() == [300, 200, 20]
    known = regress(adjust(exposure[100:], covariates[100:], "x"), outcomes[100:, 1:2])
    assert (beta[1], error[1]) == (known.beta[0], known.standard_error[0])
    assert np.isnan([beta[2], error[2], critical[2]]).all()
