"""Files that would run code or fill the memory when opened without care."""

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from leadlight.classify.keras_weights import convert_keras
from leadlight.classify.models import load_model
from leadlight.errors import LeadlightError
from leadlight.explain.checkpoint import Checkpoint
from leadlight.genetics.results import PartialResults
from leadlight.latent.model import load_latent_model

SHIPPED = Path(__file__).parents[2] / "src" / "leadlight"


class Trap:
    """Unpickled, it makes the folder `sprung` in the current one."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("sprung",)


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A pickle that is seen to have been opened."""
    monkeypatch.chdir(tmp_path)
    data = pickle.dumps(Trap())
    pickle.loads(data)
    assert (tmp_path / "sprung").is_dir()  # it works
    (tmp_path / "sprung").rmdir()
    return data


def test_a_pickle_under_the_name_of_safetensors_is_not_opened(tmp_path: Path, trap: bytes) -> None:
    for room, name, load in (
        ("classify", "leadlight-ecg-6", load_model),
        ("latent", "leadlight-factors", load_latent_model),
    ):
        folder = tmp_path / name
        shutil.copytree(SHIPPED / room / "shipped" / name, folder)
        for weights in folder.glob("*.safetensors"):
            weights.write_bytes(trap)
        card = folder / "card.toml"
        lines = [
            'weights_sha256 = ""' if line.startswith("weights_sha256") else line
            for line in card.read_text(encoding="utf-8").splitlines()
        ]
        card.write_text("\n".join(lines), encoding="utf-8")
        with pytest.raises(LeadlightError):
            load(card)
    assert not (tmp_path / "sprung").exists()


def test_a_pickle_under_the_name_of_hdf5_is_not_opened(tmp_path: Path, trap: bytes) -> None:
    (tmp_path / "model.hdf5").write_bytes(trap)
    with pytest.raises(LeadlightError):
        convert_keras(tmp_path / "model.hdf5")
    assert not (tmp_path / "sprung").exists()


def test_pickled_arrays_in_unfinished_work_are_not_opened(tmp_path: Path, trap: bytes) -> None:
    objects = np.array([Trap()], dtype=object)
    results = PartialResults(tmp_path / "partial", {"a": 1}, 2, 10, 3)
    results.done[:] = True
    results.checkpoint()
    np.save(tmp_path / "partial" / "done.npy", objects, allow_pickle=True)
    assert not PartialResults(tmp_path / "partial", {"a": 1}, 2, 10, 3).done.any()

    Checkpoint(tmp_path, {"b": 2}).release()
    np.savez(tmp_path / ".explain.partial" / "averages.npz", n_shards=objects)
    taken = Checkpoint(tmp_path, {"b": 2})
    taken.release()
    assert taken.n_shards == 0
    assert not (tmp_path / "sprung").exists()
