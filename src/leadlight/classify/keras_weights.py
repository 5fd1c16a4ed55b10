"""Keras HDF5 weights of the Ribeiro network, and of any of its family, made into ours.

Both a whole saved model (`model.hdf5`) and a file of `save_weights` are read; `keras_graph` finds
out which array is which.

Values are carried over unchanged: convolution kernels (kernel, in, out) become (out, in, kernel),
the dense kernel (sample x filter, class) is transposed; both sides flatten time-major.
"""

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from leadlight.classify.cards import ModelCard, card_from_tables
from leadlight.classify.keras_graph import (
    NORM_WEIGHTS,
    Arrays,
    Floats,
    KerasNetwork,
    network_from_creation_order,
    network_from_graph,
)
from leadlight.classify.ribeiro import ResidualNetwork
from leadlight.errors import LeadlightError, ModelMismatch
from leadlight.provenance import fingerprint

RIBEIRO_CLASSES = ("1dAVb", "RBBB", "LBBB", "SB", "AF", "ST")
# Ribeiro et al. 2020, as used by Bender et al. 2024 (public code).
RIBEIRO_THRESHOLDS = {
    "1dAVb": 0.124,
    "RBBB": 0.07,
    "LBBB": 0.05,
    "SB": 0.278,
    "AF": 0.390,
    "ST": 0.174,
}
# The public test file is in this order by the lead algebra, in 77 of 80 records; the README has
# also said aVR, aVL, aVF.
RIBEIRO_LEADS = ("I", "II", "III", "aVL", "aVF", "aVR", "V1", "V2", "V3", "V4", "V5", "V6")


# A published file holds 6.4 million numbers; more than this is not a network of this family.
_MOST_VALUES = 500_000_000


def convert_keras(
    h5_path: Path,
    *,
    name: str = "ribeiro-keras",
    leads: tuple[str, ...] | None = None,
    unit_scale: float = 1.0,
    padding: str = "both",
    rate_hz: float = 400.0,
    classes: tuple[str, ...] | None = None,
    licence: str = "",
) -> tuple[ResidualNetwork, ModelCard]:
    """Our network with the weights of a Keras file, and a card for it.

    Sizes come from the file. Lead order and unit do not: documents of the released weights
    contradict each other, so they are settings here, and `card_fit` finds the better ones on
    labelled records.

    Args:
        h5_path: `model.hdf5` or a file of `save_weights`; opened read-only, links not followed.
        name: of the model.
        leads: the order that the network was trained on; by default `RIBEIRO_LEADS`.
        unit_scale: the network's input is millivolt times this.
        padding: "both" (as published), "end" or "start".
        rate_hz: that the network was trained on.
        classes: of the outputs, in order; by default `RIBEIRO_CLASSES` with their thresholds.
        licence: of the weights.

    Returns:
        The network, in evaluation mode, and the card (no SHA-256 yet: `models.save_model` adds it).

    Raises:
        LeadlightError: no HDF5 file, or not one that Keras wrote.
        ModelMismatch: layers or shapes are not those of this family, or do not fit `leads` or
            `classes`; what was found and what was expected are both named.
    """
    layers, config = _read_file(h5_path)
    parts = network_from_graph(layers, config) if config else network_from_creation_order(layers)
    settings = _settings(parts)
    card = _card(h5_path, settings, name, leads, unit_scale, padding, rate_hz, classes, licence)
    network = ResidualNetwork(**settings)
    _fill(network, parts)
    return network.eval().requires_grad_(False), card


def _read_file(h5_path: Path) -> tuple[dict[str, dict[str, Floats]], dict[str, Any] | None]:
    """Arrays by layer and short weight name, and `model_config` where the file has it."""
    try:
        file = h5py.File(h5_path, "r")
    except OSError as error:
        raise LeadlightError(f"{h5_path} cannot be opened as HDF5.") from error
    with file:
        try:
            # Asked for as a link: "in" would follow one to another file.
            whole_model = file.get("model_weights", getlink=True) is not None
            group = _own(file, "model_weights") if whole_model else file
            layers = {
                layer: arrays
                for layer in _texts(group.attrs, "layer_names")
                if (arrays := _layer_arrays(_own(group, layer)))
            }
            text = _text(file.attrs["model_config"]) if "model_config" in file.attrs else ""
            config = json.loads(text) if text else None
        except (KeyError, OSError, ValueError, TypeError, RecursionError) as error:
            raise LeadlightError(
                f"{h5_path} is no Keras file that can be read: {error}."
            ) from error
    if not layers:
        raise LeadlightError(f"{h5_path} holds no Keras layers with weights.")
    return layers, config


def _layer_arrays(group: h5py.Group) -> dict[str, Floats]:
    arrays = {}
    for name in _texts(group.attrs, "weight_names"):
        dataset = _own(group, name)
        if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
            raise LeadlightError(f"{name} is stored outside the file; it is not followed.")
        if dataset.dtype.kind != "f" or dataset.size > _MOST_VALUES:
            raise ModelMismatch(
                f"{name} holds {dataset.size} values of type {dataset.dtype}; floating-point "
                f"weights, at most {_MOST_VALUES}, were expected."
            )
        values = np.asarray(dataset[()], dtype=np.float32)
        if not np.isfinite(values).all():
            raise LeadlightError(f"{name} holds values that are not finite.")
        arrays[name.rsplit("/", 1)[-1].split(":")[0]] = values
    return arrays


def _own(group: h5py.Group, path: str) -> Any:
    """The object at `path`; a soft or external link on the way is refused, not followed."""
    here: Any = group
    for part in path.strip("/").split("/"):
        link = here.get(part, getlink=True) if isinstance(here, h5py.Group) else None
        if link is None:
            raise KeyError(f"{path} is not there")
        if not isinstance(link, h5py.HardLink):
            raise LeadlightError(f"{path} is a link to somewhere else; it is not followed.")
        here = here[part]
    return here


def _texts(attributes: Any, name: str) -> list[str]:
    """A list of names; Keras splits one that is too long over name0, name1, ..."""
    if name in attributes:
        return [_text(value) for value in attributes[name]]
    texts: list[str] = []
    for part in itertools.count():
        if f"{name}{part}" not in attributes:
            return texts
        texts.extend(_text(value) for value in attributes[f"{name}{part}"])
    return texts


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _settings(parts: KerasNetwork) -> dict[str, Any]:
    """The arguments of `ResidualNetwork` that the arrays imply."""
    if any(kernel.ndim != 3 for kernel in (parts.stem, *(b.conv1 for b in parts.blocks))):
        raise ModelMismatch(f"The stem's kernel is {parts.stem.shape}; (kernel, in, out) expected.")
    return {
        "n_leads": parts.stem.shape[1],
        "n_classes": parts.dense["kernel"].shape[-1],
        "samples": parts.samples,
        "stem_filters": parts.stem.shape[2],
        "filters": tuple(block.conv1.shape[2] for block in parts.blocks),
        "kernel": parts.stem.shape[0],
        "strides": tuple(block.stride for block in parts.blocks),
        "dropout": parts.dropout,
        "pooling": parts.pooling,
    }


def _fill(network: ResidualNetwork, parts: KerasNetwork) -> None:
    """Copy Keras' arrays into the network, each checked for its shape."""
    state = {"stem.weight": _conv(parts.stem), **_norm_state("stem_norm", parts.stem_norm)}
    for index, block in enumerate(parts.blocks):
        prefix = f"blocks.{index}"
        state[f"{prefix}.conv1.weight"] = _conv(block.conv1)
        state[f"{prefix}.conv2.weight"] = _conv(block.conv2)
        if block.project is not None:
            state[f"{prefix}.project.weight"] = _conv(block.project)
        state.update(_norm_state(f"{prefix}.norm1", block.norm1))
        state.update(_norm_state(f"{prefix}.norm2", block.norm2))
    state["dense.weight"] = parts.dense["kernel"].T
    state["dense.bias"] = parts.dense["bias"]
    for name, tensor in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        values = state.pop(name, None)
        if values is None or values.shape != tuple(tensor.shape):
            raise ModelMismatch(
                f"The Keras file gives {name} the shape {None if values is None else values.shape};"
                f" its other layers imply {tuple(tensor.shape)}."
            )
        tensor.copy_(torch.from_numpy(np.ascontiguousarray(values)))
    if state:
        raise ModelMismatch(f"The Keras file holds {', '.join(state)}, which no layer takes.")


def _conv(kernel: Floats) -> Floats:
    return kernel.transpose(2, 1, 0)


def _norm_state(prefix: str, arrays: Arrays) -> dict[str, Floats]:
    names = ("weight", "bias", "running_mean", "running_var")
    return {
        f"{prefix}.{ours}": arrays[theirs] for ours, theirs in zip(names, NORM_WEIGHTS, strict=True)
    }


def _card(
    h5_path: Path,
    settings: Mapping[str, Any],
    name: str,
    leads: tuple[str, ...] | None,
    unit_scale: float,
    padding: str,
    rate_hz: float,
    classes: tuple[str, ...] | None,
    licence: str,
) -> ModelCard:
    leads = leads or RIBEIRO_LEADS
    if len(leads) != settings["n_leads"]:
        raise ModelMismatch(
            f"{h5_path} takes {settings['n_leads']} leads and {len(leads)} are named: "
            f"{', '.join(leads)}.",
            advice="Name the leads in the order that the network was trained on.",
        )
    published = classes is None or tuple(classes) == RIBEIRO_CLASSES
    classes = classes or RIBEIRO_CLASSES
    if len(classes) != settings["n_classes"]:
        raise ModelMismatch(
            f"{h5_path} has {settings['n_classes']} outputs and {len(classes)} classes are named: "
            f"{', '.join(classes)}.",
            advice="Name the classes in the order of the outputs.",
        )
    shapes = {"n_leads", "n_classes", "samples"}
    return card_from_tables(
        {
            "limits": [
                "Lead order and unit are settings of the conversion, not known from the file; "
                "check them on labelled records (leadlight card fit)."
            ],
            "model": {
                "name": name,
                "architecture": "ribeiro",
                "architecture_settings": {k: v for k, v in settings.items() if k not in shapes},
                "licence": licence,
                "description": f"Converted from the Keras file {h5_path.name}.",
            },
            "input": {
                "rate_hz": rate_hz,
                "samples": settings["samples"],
                "leads": leads,
                "unit_scale": unit_scale,
                "padding": padding,
            },
            "output": {
                "classes": classes,
                "kind": "logit",
                "thresholds": RIBEIRO_THRESHOLDS if published else {},
            },
            "training": {"converted_from_sha256": fingerprint(h5_path).removeprefix("sha256:")},
        },
        f"for {h5_path}",
    )
