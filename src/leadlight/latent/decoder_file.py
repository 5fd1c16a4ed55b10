"""The decoder as a page can carry it: factors to beats in a file small enough to be inlined.

`latent/<model>/decoder.safetensors` holds the decoder with everything folded that can be: kept
factors go straight into the first layers, and latents that no factor carries are in the biases.
Layers are in half precision, as a model's weights are. The basis is most of the file, so its weak
components, whose rounding cannot be seen in a beat, are whole numbers of eight bits with a scale
for each component and lead. `decoder.json` says what the factors are and how far the file's beats
are from the model's own.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
import torch

from leadlight.atomic import write_json, written_whole
from leadlight.ecg.leads import INDEPENDENT_LEADS
from leadlight.ecg.median_beat import R_SAMPLE, RATE_HZ, SAMPLES
from leadlight.errors import LeadlightError
from leadlight.latent.model import LatentModel
from leadlight.latent.page_decoder import (
    ABOUT_FILE,
    DECODER_FILE,
    Floats,
    Tensors,
    decode,
    read_decoder,
)

LAYOUT_VERSION = 1

# The root mean square error in µV that eight bits may cost in a typical beat; a cart's last bit is
# worth five.
_ROUNDING_UV = 0.2
_REFERENCE = 600  # people of the reference population that the error is measured on
_SD = 4.0  # how far a slider goes
_LEVELS = 127


def write_decoder(model: LatentModel, folder: Path) -> dict[str, Any]:
    """Write `decoder.safetensors` and `decoder.json` into a folder; returns the latter's content.

    What is there is replaced: both files follow from the model alone.
    """
    tensors = decoder_tensors(model)
    content = safetensors.numpy.save(tensors)
    card = model.card
    about = {
        "layout_version": LAYOUT_VERSION,
        "model": card.model.name,
        "version": card.model.version,
        "weights_sha256": card.model.weights_sha256,
        "decoder_sha256": hashlib.sha256(content).hexdigest(),
        "description": card.model.description,
        "limits": list(card.limits),
        "rate_hz": RATE_HZ,
        "samples": SAMPLES,
        "r_sample": R_SAMPLE,
        "leads": list(INDEPENDENT_LEADS),
        "factors": [factor.model_dump() for factor in card.factors],
        "typical": card.typical.model_dump(),
        "error_uv": _measured_error(model, tensors),
    }
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(folder / DECODER_FILE) as partial:
        partial.write_bytes(content)
    write_json(folder / ABOUT_FILE, about)
    return about


def ensure_decoder(study: Path, model: LatentModel) -> Path:
    """The folder `latent/<model>/` of a study, with this model's decoder in it.

    A study that was encoded before there were such files, or by other weights, gets it now.
    """
    folder = study / "latent" / model.card.model.name
    try:
        there = read_decoder(folder).about.get("weights_sha256")
    except LeadlightError:
        there = None
    if there is None or there != model.card.model.weights_sha256:
        write_decoder(model, folder)
    return folder


@torch.inference_mode()
def decoder_tensors(model: LatentModel) -> Tensors:
    """The decoder's tensors.

    With h = gelu(dense_2.weight · gelu(dense_1.weight · f + dense_1.bias) + dense_2.bias),
    components c = linear.weight · f + linear.bias + bend.weight · h; the beat is
    centre + Σ cᵢ basisᵢ over `basis_fine` (component, lead · sample) and then
    `basis_coarse` · `basis_coarse.scale` (component, lead).
    """
    factors = model.factors
    network = factors.network
    first, second = (layer for layer in network.decoder if isinstance(layer, torch.nn.Linear))
    onto, rest = factors.from_factors.double().cpu(), factors.offset.double().cpu()

    def bare(tensor: torch.Tensor) -> Floats:
        return np.asarray(tensor.double().cpu().numpy())

    basis = bare(network.basis).reshape(-1, len(INDEPENDENT_LEADS), SAMPLES)
    scale = np.abs(basis).max(axis=2) / _LEVELS
    order, fine = _by_need(model, scale)
    linear = network.from_latent
    tensors = {
        "linear.weight": bare(linear.weight.double().cpu() @ onto)[order],
        "linear.bias": bare(
            linear.weight.double().cpu() @ rest
            + linear.bias.double().cpu()
            + network.bend_components.bias.double().cpu()
        )[order],
        "dense_1.weight": bare(first.weight.double().cpu() @ onto),
        "dense_1.bias": bare(first.weight.double().cpu() @ rest + first.bias.double().cpu()),
        "dense_2.bias": bare(second.bias),
        "basis_coarse.scale": scale[order[fine:]],
        "centre": bare(network.centre),
    }
    found: Tensors = {name: values.astype(np.float32) for name, values in tensors.items()}
    found["dense_2.weight"] = bare(second.weight).astype(np.float16)
    found["bend.weight"] = bare(network.bend_components.weight)[order].astype(np.float16)
    found["basis_fine"] = basis[order[:fine]].reshape(fine, -1).astype(np.float16)
    weak, step = basis[order[fine:]], found["basis_coarse.scale"].astype(np.float64)
    whole = np.rint(weak / np.where(step > 0, step, 1.0)[:, :, None])
    found["basis_coarse"] = whole.reshape(len(weak), -1).astype(np.int8)
    return {name: np.ascontiguousarray(values) for name, values in found.items()}


def _by_need(model: LatentModel, scale: Floats) -> tuple[npt.NDArray[np.int64], int]:
    """The components by falling need of precision, and how many need more than eight bits.

    A component's rounding error in a beat is its size there times its step over √12.
    """
    with torch.inference_mode():
        network = model.factors.network
        latents = (
            torch.from_numpy(_people(model)).to(model.factors.offset.device)
            @ model.factors.from_factors.T
            + model.factors.offset
        )
        components = network.from_latent(latents) + network.bend_components(
            network.decoder(latents)
        )
    size = components.double().square().mean(dim=0).cpu().numpy()
    cost = size * (scale**2).mean(axis=1) / 12 * 1e6
    order = np.argsort(-cost, kind="stable")
    left = np.concatenate([np.cumsum(cost[order][::-1])[::-1], [0.0]])
    return order, int(np.argmax(left <= _ROUNDING_UV**2))


def _people(model: LatentModel) -> npt.NDArray[np.float32]:
    """(person, factor) of a reference population: uncorrelated, of unit variance."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((_REFERENCE, len(model.names)), dtype=np.float32)


def _measured_error(model: LatentModel, tensors: Tensors) -> dict[str, float]:
    """The file's beats against the model's own, in µV.

    `typical` is of a reference population, `single` of each factor alone at ±4 SD, `corners` of all
    factors anywhere within ±4 SD at once, which no person is.
    """
    people = _people(model)
    ends = _SD * np.eye(len(model.names), dtype=np.float32)
    anywhere = np.random.default_rng(1).uniform(-_SD, _SD, (100, len(model.names)))
    found = {}
    for name, factors in (
        ("typical", people[:200]), ("single", np.concatenate([ends, -ends])),
        ("corners", anywhere.astype(np.float32)),
    ):  # fmt: skip
        wrong = 1e3 * np.abs(decode(tensors, factors.astype(np.float64)) - model.decode(factors))
        found[f"{name}_mean"] = round(float(wrong.mean()), 4)
        found[f"{name}_max"] = round(float(wrong.max()), 4)
    return found
