"""The card of a factor model: what it expects, what its factors are, how it was made."""

import hashlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import safetensors.torch
import tomli_w
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError

from leadlight.atomic import write_text, written_whole
from leadlight.errors import LeadlightError, ModelMismatch

CARD_FILE = "card.toml"
WEIGHTS_FILE = "weights.safetensors"
Size = Annotated[int, Field(ge=1, le=65536)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Architecture(_Section):
    """Sizes of a `network.FactorNetwork`."""

    latents: Size = 24
    components: Size = 160
    hidden: Size = 512
    dropout: float = Field(default=0.0, ge=0, lt=1)


class ModelSection(_Section):
    """Who the model is, and which file its weights are."""

    name: str
    version: str = "1"
    architecture: Architecture
    weights: str = WEIGHTS_FILE
    weights_sha256: str = ""
    licence: str = "Apache-2.0"
    description: str = ""


class InputSection(_Section):
    """What a beat must be; samples outside of the beat's own are zero."""

    rate_hz: float
    samples: int
    r_sample: int
    leads: tuple[str, ...]
    unit: str = "mV"


class FactorSection(_Section):
    """One kept factor, on the population that the model's factors are standardised on.

    Attributes:
        name: "factor_01", ... by falling information.
        latent: of the network, from 0, that it comes from most.
        kl_nats: information, the mean KL divergence of its latent.
        uncertainty: standard deviation of the posterior, in the factor's standard deviations.
        follows: the measurement that it correlates with most, "" where none is known.
        correlation: with it; the sign of the factor is chosen so that it is positive.
        also: other measurements with a large correlation, the largest first.
    """

    name: str
    latent: int
    kl_nats: float
    uncertainty: float
    follows: str = ""
    correlation: float = 0.0
    also: tuple[str, ...] = ()


class Typical(_Section):
    """What is usual, for flags: upper limits of records that the model was not fitted to.

    Attributes:
        error_uv: 99th percentile of a record's root mean square error over its own samples.
        distance: 99th percentile of a record's Mahalanobis distance, the length of its factors.
        records: how many records these are from.
    """

    error_uv: float
    distance: float
    records: int


class LatentCard(_Section):
    """The whole card."""

    model: ModelSection
    input: InputSection
    factors: tuple[FactorSection, ...]
    typical: Typical
    objective: dict[str, Any] = {}
    training: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    limits: tuple[str, ...] = ()


def read_card(path: Path) -> LatentCard:
    """Read and check a card, or the `card.toml` of a folder.

    Raises:
        LeadlightError: it is absent, no TOML, or has keys that are unknown, missing or impossible.
    """
    path = path / CARD_FILE if path.is_dir() else path
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LeadlightError(f"The model card {path} cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise LeadlightError(f"The model card {path} is not valid TOML: {error}.") from error
    try:
        return LatentCard.model_validate(tables)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
            for fault in error.errors()
        )
        raise LeadlightError(f"The model card {path} does not hold: {faults}.") from error


def write_card(card: LatentCard, path: Path) -> None:
    """Write a card as TOML; the file is whole or not there."""
    write_text(path, tomli_w.dumps(_without_nulls(card.model_dump(mode="json"))))


def write_tensors(tensors: Mapping[str, torch.Tensor], path: Path) -> str:
    """Write safetensors; returns the file's SHA-256."""
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = safetensors.torch.save(ready)
    with written_whole(path) as partial:
        partial.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def read_tensors(path: Path, sha256: str = "") -> dict[str, torch.Tensor]:
    """Read safetensors, in float32.

    Raises:
        LeadlightError: the file is absent or no safetensors.
        ModelMismatch: its hash is not the card's.
    """
    try:
        content = path.read_bytes()
        tensors = safetensors.torch.load(content)
    except OSError as error:
        raise LeadlightError(f"The weights {path} cannot be read: {error.strerror}.") from error
    except SafetensorError as error:
        raise LeadlightError(f"{path} is no safetensors file: {error}.") from error
    found = hashlib.sha256(content).hexdigest()
    if sha256 and found != sha256:
        raise ModelMismatch(
            f"The weights {path} are not those of the card: SHA-256 {found}, the card says "
            f"{sha256}.",
            advice="Copy card and weights together.",
        )
    return {name: tensor.float() for name, tensor in tensors.items()}


def _without_nulls(value: Any) -> Any:
    """TOML has no null: what is absent is not written."""
    if isinstance(value, dict):
        return {key: _without_nulls(v) for key, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_nulls(v) for v in value if v is not None]
    return value
