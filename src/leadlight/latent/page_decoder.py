"""The decoder that a study keeps for pages, read and computed without the network's own library.

A page computes the same in JavaScript (report/templates/decoder.js), a server here.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from safetensors import SafetensorError
from scipy.special import erf

from leadlight.ecg.leads import INDEPENDENT_LEADS
from leadlight.ecg.median_beat import SAMPLES
from leadlight.errors import LeadlightError

DECODER_FILE = "decoder.safetensors"
ABOUT_FILE = "decoder.json"

Floats = npt.NDArray[np.float64]
Tensors = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class PageDecoder:
    """The file's decoder, computed as a page computes it.

    Attributes:
        tensors: by name; see `decoder_file.decoder_tensors`.
        about: `decoder.json`.
    """

    tensors: Tensors
    about: dict[str, Any]

    def decode(self, factors: npt.NDArray[np.floating]) -> Floats:
        """(record, lead of INDEPENDENT_LEADS, sample) in mV from (record, factor)."""
        return decode(self.tensors, np.asarray(factors, dtype=np.float64))


def read_decoder(folder: Path) -> PageDecoder:
    """The decoder that `write_decoder` wrote.

    Raises:
        LeadlightError: it is absent, damaged, or the two files are not of one piece.
    """
    try:
        content = (folder / DECODER_FILE).read_bytes()
        about = json.loads((folder / ABOUT_FILE).read_text(encoding="utf-8"))
        tensors = safetensors.numpy.load(content)
    except OSError as error:
        raise LeadlightError(
            f"{folder} holds no decoder for pages: {error.strerror}.",
            advice="Run leadlight latent encode --overwrite.",
        ) from error
    except (ValueError, SafetensorError) as error:
        raise LeadlightError(
            f"The decoder in {folder} cannot be read: {error}.",
            advice="Run leadlight latent encode --overwrite.",
        ) from error
    if about.get("decoder_sha256") != hashlib.sha256(content).hexdigest():
        raise LeadlightError(
            f"{folder / ABOUT_FILE} does not speak of the decoder beside it.",
            advice="Run leadlight latent encode --overwrite.",
        )
    return PageDecoder(tensors, about)


def decode(tensors: Tensors, factors: Floats) -> Floats:
    """(record, lead of INDEPENDENT_LEADS, sample) in mV from (record, factor)."""
    part = {name: values.astype(np.float64) for name, values in tensors.items()}
    hidden = _gelu(factors @ part["dense_1.weight"].T + part["dense_1.bias"])
    hidden = _gelu(hidden @ part["dense_2.weight"].T + part["dense_2.bias"])
    components = (
        factors @ part["linear.weight"].T + part["linear.bias"] + hidden @ part["bend.weight"].T
    )
    fine = len(part["basis_fine"])
    steps = np.repeat(part["basis_coarse.scale"], SAMPLES, axis=1)
    weak = part["basis_coarse"] * steps
    flat = part["centre"] + components[:, :fine] @ part["basis_fine"] + components[:, fine:] @ weak
    return np.asarray(flat.reshape(len(factors), len(INDEPENDENT_LEADS), SAMPLES))


def _gelu(values: Floats) -> Floats:
    return np.asarray(0.5 * values * (1 + erf(values / np.sqrt(2))))
