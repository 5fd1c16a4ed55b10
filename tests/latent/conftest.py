"""Beats of simulated people, and a small model of them, shared by the tests of factors."""

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from latent_settings import small_settings

from leadlight.latent.beats import Beats, save_beats
from leadlight.latent.simulated import simulate_beats
from leadlight.latent.training import Trained, train


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def healthy() -> tuple[Beats, npt.NDArray[np.float64]]:
    """Beats of healthy simulated people with the scores of their traits."""
    return simulate_beats(400, seed=3, severities={})


@pytest.fixture(scope="session")
def beats_folder(
    healthy: tuple[Beats, npt.NDArray[np.float64]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("beats") / "hearts"
    save_beats(healthy[0], folder)
    return folder


@pytest.fixture(scope="session")
def trained(beats_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train([beats_folder], tmp_path_factory.mktemp("model") / "small", small_settings())
