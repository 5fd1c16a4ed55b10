import numpy as np
import pytest
from scipy.stats import special_ortho_group

from leadlight.latent.disentanglement import (
    independence,
    mutual_information,
    probe_r2,
    recovery,
)


def truth(n: int = 600, k: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, k))


def test_factors_that_are_the_traits_score_one_and_a_mixture_scores_less() -> None:
    traits = truth()
    noise = 0.01 * truth(seed=1)
    names = list("abcd")
    apart = recovery(traits + noise, traits, names)
    mixed = recovery(traits @ special_ortho_group.rvs(4, random_state=0) + noise, traits, names)
    assert apart.disentanglement > 0.97
    assert apart.completeness > 0.97
    assert apart.mig > 0.7
    assert mixed.disentanglement < 0.7 * apart.disentanglement
    assert mixed.mig < 0.5 * apart.mig
    # A rotation loses nothing for a linear probe.
    assert (apart.r2 > 0.99).all()
    assert (mixed.r2 > 0.99).all()


def test_a_probe_of_noise_explains_nothing() -> None:
    assert abs(probe_r2(truth(), truth(k=1, seed=9)[:, 0])) < 0.05


def test_a_probe_keeps_a_patient_in_one_fold() -> None:
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(40), 5)
    # Each patient has a fingerprint and an unrelated answer: only a leak can predict it.
    values = rng.standard_normal((40, 30))[patient] + 0.01 * rng.standard_normal((200, 30))
    answer = rng.standard_normal(40)[patient]
    apart = probe_r2(values, answer, groups=[str(one) for one in patient])
    leaking = probe_r2(values, answer)
    assert leaking > 0.4
    assert apart < 0.2


def test_mutual_information_of_two_normals_is_the_known_one() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(3000)
    y = 0.8 * x + 0.6 * rng.standard_normal(3000)
    assert mutual_information(x, y) == pytest.approx(-0.5 * np.log(1 - 0.64), abs=0.06)
    assert mutual_information(x, rng.standard_normal(3000)) < 0.05


def test_independent_factors_look_independent_and_tied_ones_do_not() -> None:
    free = independence(truth(400, 10))
    assert free.largest_r == pytest.approx(free.expected_largest_r, abs=0.06)
    assert free.root_mean_square_r < 0.03
    tied = truth(400, 10)
    tied[:, 1] = tied[:, 0] + tied[:, 1]
    found = independence(tied)
    assert found.largest_r == pytest.approx(np.sqrt(0.5), abs=0.05)
    assert found.gaussian_total_correlation > 0.2


def test_one_outlier_moves_pearson_but_not_the_rank_correlation() -> None:
    values = truth(200, 6)
    values[0] = 60.0
    found = independence(values)
    assert found.largest_r > 0.8
    assert found.largest_rank_r < 0.3
