import numpy as np
import pytest

from leadlight.simulate.lead_field import independent_from_electrodes, twelve_from_independent
from leadlight.simulate.noise import NoiseLevels, make_noise


@pytest.mark.parametrize(("wander_mv", "muscle_mv"), [(0.05, 0.0), (0.0, 0.02)])
def test_noise_has_the_stated_strength(wander_mv: float, muscle_mv: float) -> None:
    levels = NoiseLevels(wander_mv, muscle_mv, 0.0, 50.0, 0.0)
    limb = [
        make_noise(np.random.default_rng(seed), levels, 5000, 500.0)[0].std() for seed in range(40)
    ]
    # Lead I is the difference of two electrodes: its variance is theirs added.
    expected = np.sqrt(2) * wander_mv if wander_mv else np.sqrt(2) * muscle_mv * np.exp(0.25)
    assert np.sqrt(np.mean(np.square(limb))) == pytest.approx(expected, rel=0.2)


def test_electrode_potentials_common_to_all_vanish_in_every_lead() -> None:
    common = np.ones((9, 4)) * np.arange(4)
    np.testing.assert_allclose(independent_from_electrodes(common), 0.0, atol=1e-12)


def test_twelve_leads_follow_from_eight() -> None:
    twelve = twelve_from_independent(np.arange(8.0)[:, None])
    assert twelve.shape == (12, 1)
    assert twelve[2, 0] == 1.0  # III = II - I
