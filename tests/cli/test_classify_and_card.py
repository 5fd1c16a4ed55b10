"""The verbs as a user calls them, by typer's own runner."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from leadlight.classify.cards import card_from_tables, read_card
from leadlight.classify.models import build_network, save_model
from leadlight.cli.card import card_app
from leadlight.cli.classify import classify
from leadlight.cohort.store import CohortWriter
from leadlight.ecg.leads import as_leads
from leadlight.ecg.recording import Recording
from leadlight.errors import LeadlightError

app = typer.Typer()
app.command("classify")(classify)
app.add_typer(card_app, name="card")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    with CohortWriter(tmp_path / "study") as writer:
        for place in range(24):
            signal = rng.normal(size=(12, 1000), scale=0.2).astype(np.float32)
            rec = Recording(as_leads(signal), 200.0, f"r{place}", f"p{place}")
            writer.add(rec, ("AF",) if place % 2 else (), "test")
    return tmp_path / "study"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    card = card_from_tables(
        {
            "model": {
                "name": "small",
                "architecture_settings": {"stem_filters": 3, "filters": [4], "kernel": 4},
            },
            "input": {"samples": 1024, "rate_hz": 200.0},
            "output": {"classes": ["AF"], "thresholds": {"AF": 0.4}},
        },
        "here",
    )
    network = build_network(card, torch.Generator().manual_seed(0)).eval()
    save_model(network, card, tmp_path / "model")
    return tmp_path / "model"


def run(*words: object) -> tuple[str, dict[str, object]]:
    """What a command prints, and the summary on its last line."""
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output, json.loads(result.stdout.splitlines()[-1])


def test_classify_writes_results_and_a_summary(study: Path, model: Path) -> None:
    _, summary = run("classify", "--study", study, "--model", model, "--bootstrap", 20, "--json")
    assert summary["predicted"] == 24
    assert summary["scored"] is True
    assert (study / "classify" / "small" / "scores.json").is_file()


def test_classify_with_a_model_that_is_not_there_is_a_sentence(study: Path) -> None:
    with pytest.raises(LeadlightError, match='no model "unheard-of"'):
        run("classify", "--study", study, "--model", "unheard-of")


def test_show_prints_the_card_and_check_loads_the_weights(model: Path) -> None:
    text, card = run("card", "show", model, "--json")
    assert 'name = "small"' in text
    assert card["output"]["classes"] == ["AF"]  # type: ignore[index]
    _, checked = run("card", "check", model, "--json")
    assert checked["n_parameters"] == sum(
        [3 * 12 * 4 + 4 * 3, 4 * 3 * 4 + 4 * 4, 4 * 4 * 4 + 3 * 4 + 4 * 4, 256 * 4 + 1]
    )
    (model / "weights.safetensors").write_bytes(b"")
    with pytest.raises(LeadlightError, match="SHA-256"):
        run("card", "check", model)


def test_fit_writes_the_table_and_the_model(study: Path, model: Path, tmp_path: Path) -> None:
    words = ("card", "fit", model, "--study", study, "--bootstrap", 100, "--quiet", "--json")
    out, table = tmp_path / "fitted", tmp_path / "fit.csv"
    _, summary = run(*words, "--out", out, "--table", table)
    assert len(table.read_text().splitlines()) == 1 + 6 * 3 * 2
    assert read_card(out).input.model_dump(mode="json") == summary["card"]
    # The labels have nothing to do with the records.
    assert summary["decided"] is False
    with pytest.raises(LeadlightError, match="already exists"):
        run(*words, "--out", out)


def test_convert_writes_a_model_that_loads(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shapes = {
        "conv1d": (16, 12, 4), "conv1d_1": (1, 4, 5), "conv1d_2": (16, 4, 5),
        "conv1d_3": (16, 5, 5), "dense": (16 * 5, 6),
    }  # fmt: skip
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        norms = {"batch_normalization": 4, "batch_normalization_1": 5, "batch_normalization_2": 5}
        file.attrs["layer_names"] = [name.encode() for name in (*shapes, *norms)]
        for name, shape in shapes.items():
            arrays = {"kernel": rng.normal(size=shape)}
            if name == "dense":
                arrays["bias"] = np.zeros(6)
            store(file, name, arrays)
        for name, n in norms.items():
            keys = ("gamma", "beta", "moving_mean", "moving_variance")
            store(file, name, {key: np.ones(n) for key in keys})
    out = tmp_path / "ribeiro"
    order = "I,II,III,AVF,AVL,AVR,V1,V2,V3,V4,V5,V6"
    _, summary = run(
        "card", "convert", tmp_path / "weights.h5", "--out", out, "--leads", order,
        "--unit-scale", 10, "--padding", "end", "--json",
    )  # fmt: skip
    card = read_card(out)
    assert card.input.leads[3:6] == ("aVF", "aVL", "aVR")
    assert (card.input.unit_scale, card.input.padding, card.input.samples) == (10.0, "end", 64)
    assert card.model.weights_sha256 == summary["weights_sha256"]
    run("card", "check", out, "--json")


def store(file: h5py.File, name: str, arrays: dict[str, np.ndarray]) -> None:
    group = file.create_group(name)
    group.attrs["weight_names"] = [f"{name}/{key}:0".encode() for key in arrays]
    for key, values in arrays.items():
        group[f"{name}/{key}:0"] = values.astype(np.float32)
