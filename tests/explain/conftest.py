"""A study of simulated hearts and a small network with a card, for the whole way."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from leadlight.classify.cards import card_from_tables
from leadlight.classify.models import Model, build_network, load_model, save_model
from leadlight.classify.prepare import prepare
from leadlight.cohort.store import CohortWriter
from leadlight.simulate.population import SimulatedRecording, simulate_recordings

PEOPLE = 150
TABLES = {
    "model": {
        "name": "small",
        "architecture_settings": {"stem_filters": 6, "filters": [8, 8], "kernel": 8, "strides": 4},
    },
    "input": {"rate_hz": 100.0, "samples": 1024, "unit_scale": 2.0, "leads": [
        "V1", "V2", "V3", "V4", "V5", "V6", "I", "II", "III", "aVR", "aVL", "aVF"]},
    "output": {"classes": ["1dAVb", "RBBB", "LBBB", "SB", "AF", "ST"], "thresholds": {"AF": 0.4}},
}  # fmt: skip


@pytest.fixture(scope="session")
def hearts() -> list[SimulatedRecording]:
    return list(simulate_recordings(PEOPLE, seed=5, rate_hz=250.0))


@pytest.fixture(scope="session")
def write_study(hearts: list[SimulatedRecording]) -> Callable[..., Path]:
    """Write the hearts as a study; of each kind, every third record is of the patient before."""

    def write(study: Path, change: Callable[[int, SimulatedRecording], dict] | None = None) -> Path:
        seen: Counter[tuple[str, ...]] = Counter()
        with CohortWriter(study) as writer:
            for number, heart in enumerate(hearts):
                seen[heart.labels] += 1
                person = seen[heart.labels] - (seen[heart.labels] % 3 == 0)
                patient = f"{'+'.join(heart.labels)}-{person}"
                options = {"labels": heart.labels, "flags": ()}
                recording = replace(heart.recording, patient_id=patient)
                if change is not None:
                    options |= change(number, heart)
                    recording = options.pop("recording", recording)
                writer.add(recording, **options)
        return study

    return write


@pytest.fixture(scope="session")
def study(write_study: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only: copy it before writing results into it."""
    return write_study(tmp_path_factory.mktemp("cohort") / "study")


@pytest.fixture(scope="session")
def small_model(
    hearts: list[SimulatedRecording], tmp_path_factory: pytest.TempPathFactory
) -> Model:
    """Random weights, batch norm fitted to some hearts by a forward pass in training mode."""
    card = card_from_tables(TABLES, "the test")
    network = build_network(card, torch.Generator().manual_seed(3))
    network.dense.bias.data.normal_(generator=torch.Generator().manual_seed(4))
    inputs = [torch.from_numpy(prepare(h.recording, card).values.values) for h in hearts[:32]]
    for norm in network.modules():
        if isinstance(norm, torch.nn.BatchNorm1d):
            norm.momentum = None
    with torch.no_grad():
        network.train()(torch.stack(inputs))
    folder = tmp_path_factory.mktemp("model")
    save_model(network.eval(), card, folder, half=False)
    return load_model(folder)
