import numpy as np
import torch

from leadlight.latent.beats import Beats
from leadlight.latent.linear import principal_components
from leadlight.latent.network import FactorNetwork, varimax


def flat(beats: Beats) -> np.ndarray:
    return beats.millivolts(slice(None))[0]


def test_principal_components_are_those_of_an_exact_decomposition(
    healthy: tuple[Beats, np.ndarray],
) -> None:
    values = flat(healthy[0]).reshape(len(healthy[0]), -1).astype(np.float64)
    found = principal_components([flat(healthy[0])[:150], flat(healthy[0])[150:]], 6)
    centred = values - values.mean(axis=0)
    _, sizes, vectors = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(found.spread, sizes[:6] / np.sqrt(len(values)), rtol=1e-3)
    overlap = np.abs((found.basis * vectors[:6]).sum(axis=1))
    assert (overlap > 0.999).all()


def test_an_untrained_network_is_a_principal_component_analysis(
    healthy: tuple[Beats, np.ndarray],
) -> None:
    found = principal_components([flat(healthy[0])], 20)
    loadings = (found.spread[:5, None] * found.basis[:5]).T
    rotation = varimax(loadings)
    network = FactorNetwork(latents=5, components=20, hidden=16).eval()
    network.start_linear(found.basis, found.centre, found.spread, rotation)
    with torch.no_grad():
        drawn = network.decode(network.encode(torch.from_numpy(flat(healthy[0])))[0]).numpy()
    linear = found.first(5)
    np.testing.assert_allclose(drawn, linear.decode(linear.encode(flat(healthy[0]))), atol=2e-4)


def test_varimax_is_a_rotation_that_makes_loadings_simpler() -> None:
    rng = np.random.default_rng(0)
    simple = np.kron(np.eye(3), np.ones((20, 1))) * rng.uniform(0.5, 1.5, (60, 3))
    mixing, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    mixed = simple @ mixing
    rotation = varimax(mixed)
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-9)
    found = np.abs(mixed @ rotation)
    # Every variable loads on one factor again.
    assert (np.sort(found, axis=1)[:, :2] < 0.02 * found.max()).all()
