"""The weights that ship, and their card."""

import hashlib
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import tomli_w
import torch
from safetensors.torch import load, save

from leadlight.atomic import write_text, written_whole
from leadlight.ecg.delineation.network import DelineationNetwork
from leadlight.errors import ModelMismatch

SHIPPED = Path(__file__).parent / "shipped"
_CARD_FILE, _WEIGHTS_FILE = "card.toml", "weights.safetensors"


@cache
def load_network(folder: Path = SHIPPED) -> DelineationNetwork:
    """The network of a folder with `card.toml` and `weights.safetensors`, ready to read.

    Raises:
        ModelMismatch: the weights are not those that the card describes.
    """
    card = read_card(folder)
    data = (folder / _WEIGHTS_FILE).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != card["model"]["weights_sha256"]:
        raise ModelMismatch(
            f"{folder / _WEIGHTS_FILE} has SHA-256 {digest}, its card says "
            f"{card['model']['weights_sha256']}.",
            advice="Reinstall Leadlight or train again (training/delineator.py).",
        )
    settings: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in card["model"]["architecture_settings"].items()
    }
    network = DelineationNetwork(**settings, folded=True)
    try:
        network.load_state_dict({name: w.float() for name, w in load(data).items()})
    except RuntimeError as error:
        raise ModelMismatch(
            f"{folder / _WEIGHTS_FILE} does not fit the sizes in its card: {error}.",
            advice="Reinstall Leadlight or train again (training/delineator.py).",
        ) from error
    return network.eval().requires_grad_(False)


def read_card(folder: Path = SHIPPED) -> dict[str, Any]:
    """What the network was made from and how well it reads, as its TOML says."""
    with (folder / _CARD_FILE).open("rb") as file:
        return tomllib.load(file)


def write_network(network: DelineationNetwork, card: dict[str, Any], folder: Path) -> None:
    """Write a folded network in half precision, and its card with the SHA-256 of the weights.

    `card` has the table `model` with `architecture_settings`, by which `load_network` builds it.
    """
    weights = {name: w.to(torch.float16).contiguous() for name, w in network.state_dict().items()}
    data = save(weights)
    card["model"]["weights_sha256"] = hashlib.sha256(data).hexdigest()
    with written_whole(folder / _WEIGHTS_FILE) as partial:
        partial.write_bytes(data)
    write_text(folder / _CARD_FILE, tomli_w.dumps(card))
