import numpy as np
import pytest

from leadlight.genetics.effect.decoding import decode_shift, mean_slope, reference_places
from leadlight.genetics.effect.shift import FactorShift
from leadlight.latent.model import LatentModel
from leadlight.latent.traversal import algebra_residual


@pytest.fixture(scope="module")
def places(latent: LatentModel) -> np.ndarray:
    return reference_places(len(latent.names), 80, seed=1)


def _shift(latent: LatentModel, size: float) -> FactorShift:
    rng = np.random.default_rng(2)
    k = len(latent.names)
    root = 0.02 * rng.standard_normal((k, k)) / np.sqrt(k)
    return FactorShift(latent.names, size * rng.standard_normal(k), root @ root.T, 1000)


def test_no_shift_draws_nothing(latent: LatentModel, places: np.ndarray) -> None:
    k = len(latent.names)
    nothing = FactorShift(latent.names, np.zeros(k), 1e-4 * np.eye(k), 1000)
    found = decode_shift(latent, nothing, places, draws=20)
    assert np.abs(found.difference_mv).max() < 1e-6
    assert (found.error_mv > 0).all()


def test_draws_and_slope_give_the_same_errors(latent: LatentModel, places: np.ndarray) -> None:
    found = decode_shift(latent, _shift(latent, 0.05), places, draws=150)
    assert abs(found.disagreement) < 0.1


def test_a_small_shift_is_its_slope(latent: LatentModel, places: np.ndarray) -> None:
    shift = _shift(latent, 0.03)
    found = decode_shift(latent, shift, places, draws=5)
    linear = np.einsum("f,flt->lt", shift.beta, mean_slope(latent, places))
    assert np.abs(found.difference_mv - linear).max() < 0.05 * np.abs(linear).max()


def test_the_difference_obeys_the_lead_algebra(latent: LatentModel, places: np.ndarray) -> None:
    found = decode_shift(latent, _shift(latent, 0.2), places, draws=5)
    assert algebra_residual(found.difference_mv) < 1e-12
