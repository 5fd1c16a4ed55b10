import hashlib
import os
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch

from leadlight.classify.cards import ModelCard, card_from_tables, read_card, write_card
from leadlight.classify.models import (
    DEFAULT_MODEL,
    Model,
    build_network,
    calibrate_batch_norm,
    check_model,
    load_model,
    random_twin,
    save_model,
    shipped_models,
)
from leadlight.errors import LeadlightError, ModelMismatch


def small_card(**output: object) -> ModelCard:
    return card_from_tables(
        {
            "model": {
                "name": "small",
                "architecture_settings": {"stem_filters": 4, "filters": [6, 8], "kernel": 8},
            },
            "input": {"samples": 512, "leads": ["I", "II", "V1"]},
            "output": {"classes": ["AF", "LBBB"], **output},
        },
        "the test's card",
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    card = small_card()
    network = build_network(card, torch.Generator().manual_seed(1))
    calibrate_batch_norm(network, [inputs(seed=9)])
    save_model(network.eval(), card, tmp_path / "small")
    return tmp_path / "small"


def inputs(n: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 3, 512, generator=torch.Generator().manual_seed(seed))


def rewrite(folder: Path, **changes: object) -> None:
    """Change weights on disk and let the card agree with their hash."""
    path = folder / "weights.safetensors"
    tensors = safetensors.torch.load(path.read_bytes())
    for name, value in changes.items():
        key = name.replace("__", ".")
        if value is None:
            del tensors[key]
        else:
            assert isinstance(value, torch.Tensor)
            tensors[key] = value
    content = safetensors.torch.save(tensors)
    path.write_bytes(content)
    card = read_card(folder)
    digest = hashlib.sha256(content).hexdigest()
    model = card.model.model_copy(update={"weights_sha256": digest})
    write_card(card.model_copy(update={"model": model}), folder / "card.toml")


def test_a_saved_model_gives_the_same_logits_after_loading(folder: Path) -> None:
    card = small_card()
    network = build_network(card, torch.Generator().manual_seed(1))
    calibrate_batch_norm(network, [inputs(seed=9)])
    expected = network.eval()(inputs())
    loaded = load_model(folder)
    assert not loaded.network.training
    assert not any(p.requires_grad for p in loaded.network.parameters())
    # Half precision on disk: a relative error of 2^-11 per weight.
    assert torch.allclose(loaded.network(inputs()), expected, atol=5e-3)
    save_model(network, card, folder, half=False, overwrite=True)
    assert torch.equal(load_model(folder).network(inputs()), expected)


def test_half_precision_on_disk_is_single_precision_in_memory(folder: Path) -> None:
    on_disk = safetensors.torch.load((folder / "weights.safetensors").read_bytes())
    assert on_disk["stem.weight"].dtype == torch.float16
    assert on_disk["stem_norm.running_var"].dtype == torch.float32
    assert {p.dtype for p in load_model(folder).network.parameters()} == {torch.float32}


def test_a_model_is_found_by_card_by_folder_and_by_text(folder: Path) -> None:
    for name in (folder, folder / "card.toml", str(folder)):
        assert load_model(name).card.model.name == "small"


def test_saving_does_not_replace_a_model_unless_told(folder: Path) -> None:
    with pytest.raises(LeadlightError, match="already exists"):
        save_model(build_network(small_card()), small_card(), folder)


def test_saving_a_network_that_is_not_the_cards_is_refused(tmp_path: Path) -> None:
    other = small_card().with_input(leads=["I"])
    with pytest.raises(ModelMismatch, match=r"\(4, 3, 8\).*\(4, 1, 8\)"):
        save_model(build_network(small_card()), other, tmp_path / "m")
    assert not (tmp_path / "m" / "card.toml").exists()


def test_weights_that_are_not_those_of_the_card_are_refused(folder: Path) -> None:
    path = folder / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    recorded = read_card(folder).model.weights_sha256
    with pytest.raises(ModelMismatch, match=recorded):
        load_model(folder)


@pytest.mark.parametrize(
    ("section", "change", "found", "expected"),
    [
        ("input", {"leads": ["I", "II"]}, r"\(4, 3, 8\)", r"\(4, 2, 8\)"),
        ("input", {"samples": 1024}, r"\(2, 256\)", r"\(2, 512\)"),
        ("output", {"classes": ["AF"], "thresholds": {}}, r"\(2, 256\)", r"\(1, 256\)"),
    ],
)
def test_a_card_that_disagrees_with_the_weights_is_refused_with_both_values(
    folder: Path, section: str, change: dict[str, object], found: str, expected: str
) -> None:
    card = read_card(folder)
    write = card.with_input if section == "input" else card.with_output
    write_card(write(**change), folder / "card.toml")
    with pytest.raises(ModelMismatch, match=f"{found}.*{expected}"):
        load_model(folder)


def test_missing_and_unknown_tensors_are_named(folder: Path) -> None:
    rewrite(folder, dense__bias=None)
    with pytest.raises(ModelMismatch, match=r"no dense\.bias.*\(2,\)"):
        load_model(folder)
    rewrite(folder, dense__bias=torch.zeros(2), extra=torch.zeros(3))
    with pytest.raises(ModelMismatch, match="extra, unknown"):
        load_model(folder)


def test_weights_that_are_not_numbers_are_refused(folder: Path) -> None:
    rewrite(folder, dense__bias=torch.tensor([1.0, float("nan")]))
    with pytest.raises(LeadlightError, match=r"dense\.bias.*not finite"):
        load_model(folder)


def test_a_network_said_to_give_probabilities_is_refused(folder: Path) -> None:
    write_card(read_card(folder).with_output(kind="probability"), folder / "card.toml")
    with pytest.raises(ModelMismatch, match=r"probabilities.*logits"):
        load_model(folder)


def test_a_pickle_is_refused_without_being_opened(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    for name in ("model.pt", "model.pkl", "model.ckpt"):
        (tmp_path / name).write_bytes(pickle.dumps(Trap()))
        with pytest.raises(LeadlightError, match="pickle"):
            load_model(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


def test_other_weights_files_come_with_advice(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(LeadlightError, match="leadlight card convert"):
        load_model(tmp_path / "model.hdf5")
    with pytest.raises(LeadlightError, match=r"card\.toml"):
        load_model(folder / "weights.safetensors")
    (folder / "weights.safetensors").write_bytes(b"no tensors")
    card = read_card(folder)
    bare = card.model.model_copy(update={"weights_sha256": ""})
    write_card(card.model_copy(update={"model": bare}), folder / "card.toml")
    with pytest.raises(LeadlightError, match="no safetensors file"):
        load_model(folder)


def test_weights_that_are_a_link_out_of_the_folder_are_refused(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "weights.safetensors").rename(tmp_path / "elsewhere.safetensors")
    (folder / "weights.safetensors").symlink_to(tmp_path / "elsewhere.safetensors")
    with pytest.raises(LeadlightError, match="outside its folder"):
        load_model(folder)
    (folder / "weights.safetensors").unlink()
    with pytest.raises(LeadlightError, match="are not there"):
        load_model(folder)


def test_a_model_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(LeadlightError, match='no model "unheard-of"'):
        load_model("unheard-of")
    with pytest.raises(LeadlightError, match=r"holds no card\.toml"):
        load_model(tmp_path)
    for name in shipped_models():
        assert check_model(load_model(name)).n_parameters > 0
    assert DEFAULT_MODEL == "leadlight-ecg-6"


def test_a_random_twin_differs_in_weights_only_and_is_repeatable(folder: Path) -> None:
    model = load_model(folder)
    twin, again, other = (random_twin(model, seed) for seed in (0, 0, 1))
    assert twin.card.input == model.card.input
    assert twin.card.output == model.card.output
    assert twin.card.model.name == "small-random-0"
    assert torch.equal(twin.network(inputs()), again.network(inputs()))
    assert not torch.allclose(twin.network(inputs()), other.network(inputs()))
    assert not torch.allclose(twin.network(inputs()), model.network(inputs()))


def test_calibration_gives_a_twin_activations_of_unit_variance(folder: Path) -> None:
    model = load_model(folder)
    data = 30 * inputs(64)  # a scale for which default statistics are far off
    outputs: dict[str, torch.Tensor] = {}

    def watch(twin: Model) -> dict[str, float]:
        norm = twin.network.blocks[-1].norm2  # type: ignore[index,union-attr]
        hook = norm.register_forward_hook(lambda _m, _i, out: outputs.update(out=out))
        twin.network(data)
        hook.remove()
        out = outputs["out"]
        return {"mean": out.mean(dim=(0, 2)).abs().max().item(), "var": out.var().item()}

    before = watch(random_twin(model, 0))
    after = watch(random_twin(model, 0, calibrate_on=[data]))
    assert before["var"] > 100
    assert after["mean"] < 1e-3
    assert after["var"] == pytest.approx(1, abs=0.02)


def test_calibration_changes_no_weight_and_no_momentum(folder: Path) -> None:
    network = build_network(small_card(), torch.Generator().manual_seed(3))
    weights = {name: p.clone() for name, p in network.named_parameters()}
    calibrate_batch_norm(network, [inputs(seed=1), inputs(seed=2)])
    assert all(torch.equal(weights[name], p) for name, p in network.named_parameters())
    assert network.stem_norm.momentum == 0.01
    assert network.training
    stem = network.stem(torch.cat([inputs(seed=1), inputs(seed=2)]))
    assert torch.allclose(network.stem_norm.running_mean, stem.mean(dim=(0, 2)), atol=1e-5)
    with pytest.raises(LeadlightError, match="without inputs"):
        calibrate_batch_norm(network, [])


def test_a_card_cannot_make_a_huge_network(tmp_path: Path) -> None:
    # Shapes are compared before memory is taken.
    card = card_from_tables(
        {
            "model": {"name": "huge", "architecture_settings": {"filters": [8192] * 16}},
            "output": {"classes": ["AF"]},
        },
        "here",
    )
    write_card(card, tmp_path / "card.toml")
    content = safetensors.torch.save({"stem.weight": torch.zeros(1, 1, 1)})
    (tmp_path / "weights.safetensors").write_bytes(content)
    with pytest.raises(ModelMismatch, match=r"stem\.weight is \(1, 1, 1\)"):
        load_model(tmp_path)
