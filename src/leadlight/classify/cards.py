"""The model card: what a network expects and gives, in a TOML file beside its weights.

A network does not know the rate, lead order or unit that it was trained on; a guess explains the
wrong leads. So no network is used here without a card, and a card says all of it. A key that is not
known is refused by name, because a misspelt setting would silently be the default.
"""

import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    ValidationError,
    field_validator,
    model_validator,
)

from leadlight.atomic import write_text
from leadlight.ecg.leads import LEADS, canonical_lead
from leadlight.errors import LeadlightError

CARD_FILE = "card.toml"
WEIGHTS_FILE = "weights.safetensors"

_Size = Annotated[int, Field(ge=1, le=8192)]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ArchitectureSettings(_Section):
    """Sizes of a `ribeiro.ResidualNetwork`; leads, samples and classes come from the card."""

    stem_filters: _Size = 64
    filters: tuple[_Size, ...] = Field(default=(128, 196, 256, 320), min_length=1, max_length=16)
    kernel: _Size = 16
    strides: _Size | tuple[_Size, ...] = 4
    dropout: float = Field(default=0.2, ge=0, lt=1)
    pooling: Literal["flatten", "mean"] = "flatten"

    @model_validator(mode="after")
    def _one_stride_each(self) -> "ArchitectureSettings":
        if isinstance(self.strides, tuple) and len(self.strides) != len(self.filters):
            raise ValueError(
                f"filters names {len(self.filters)} blocks and strides {len(self.strides)}"
            )
        return self


class ModelSection(_Section):
    """`[model]`: which network this is and where its weights lie."""

    name: str
    version: str = "1"
    architecture: Literal["ribeiro"] = "ribeiro"
    architecture_settings: ArchitectureSettings = ArchitectureSettings()
    weights: str = WEIGHTS_FILE
    weights_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    licence: str = ""
    description: str = ""

    @field_validator("name")
    @classmethod
    def _name_is_a_folder_name(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError(
                f'"{name}" names the folder of its results too: use letters, digits, "-", "_", "."'
            )
        return name

    @field_validator("weights")
    @classmethod
    def _weights_beside_the_card(cls, weights: str) -> str:
        for path in (PurePosixPath(weights), PureWindowsPath(weights)):
            if path.is_absolute() or path.drive or ".." in path.parts:
                raise ValueError(f'"{weights}" leaves the folder of the card')
        if not weights.endswith(".safetensors"):
            raise ValueError(
                f'"{weights}" is no .safetensors file; pickled weights can run code and are not '
                "read (Keras HDF5: leadlight card convert)"
            )
        return weights


class InputSection(_Section):
    """`[input]`: what the network was trained to see.

    Attributes:
        rate_hz: samples per second.
        samples: samples per lead.
        leads: names in the order that the network expects.
        unit_scale: the network's input is millivolt times this (1 mV, 10 for units of 1e-4 V).
        padding: where zeros go when a record is shorter.
        crop: what is kept of a longer record.
        highpass_hz, lowpass_hz: zero-phase filter before the network; absent is unfiltered.
        missing_leads: "refuse" a record that lacks a lead, or put "zero" there.
    """

    rate_hz: PositiveFloat = 400.0
    samples: int = Field(default=4096, ge=1, le=10_000_000)
    leads: tuple[str, ...] = Field(default=LEADS, min_length=1)
    unit_scale: PositiveFloat = 1.0
    padding: Literal["both", "end", "start"] = "both"
    crop: Literal["centre", "start"] = "centre"
    highpass_hz: PositiveFloat | None = None
    lowpass_hz: PositiveFloat | None = None
    missing_leads: Literal["refuse", "zero"] = "refuse"

    @field_validator("leads")
    @classmethod
    def _known_leads(cls, leads: tuple[str, ...]) -> tuple[str, ...]:
        names = []
        for lead in leads:
            name = canonical_lead(lead)
            if name is None:
                raise ValueError(f'"{lead}" is none of {", ".join(LEADS)}')
            names.append(name)
        return _unique(tuple(names))

    @model_validator(mode="after")
    def _filters_fit_the_rate(self) -> "InputSection":
        low, high = self.highpass_hz or 0.0, self.lowpass_hz or math.inf
        if low >= high:
            raise ValueError(f"highpass_hz is {low:g} and lowpass_hz {high:g}: nothing passes")
        for name in ("highpass_hz", "lowpass_hz"):
            edge = getattr(self, name)
            if edge is not None and edge >= self.rate_hz / 2:
                raise ValueError(f"{name} is {edge:g}, not below half of rate_hz {self.rate_hz:g}")
        return self


class OutputSection(_Section):
    """`[output]`: the classes in the network's order.

    `kind` is what the network's last layer gives; a loaded network always returns logits.
    `thresholds` are probabilities at and above which a class is called; a class may have none.
    """

    classes: tuple[str, ...] = Field(min_length=1)
    kind: Literal["logit", "probability"] = "logit"
    thresholds: dict[str, Annotated[float, Field(ge=0, le=1)]] = {}

    @field_validator("classes")
    @classmethod
    def _unique_classes(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        return _unique(classes)

    @model_validator(mode="after")
    def _thresholds_of_classes(self) -> "OutputSection":
        for name in self.thresholds:
            if name not in self.classes:
                raise ValueError(f'thresholds names "{name}", which is none of {self.classes}')
        return self


class ModelCard(_Section):
    """A card; its attributes are the sections of the TOML file.

    `training` (data, licence_of_data, split, seed, recipe, date, ...) and `metrics` are free
    tables: they inform and change no result. `limits` are sentences for the reader.
    """

    limits: tuple[str, ...] = ()
    model: ModelSection
    input: InputSection = InputSection()
    output: OutputSection
    training: dict[str, Any] = {}
    metrics: dict[str, Any] = {}

    def with_input(self, **changes: Any) -> "ModelCard":
        """The same card with other `[input]` settings, checked anew.

        Raises:
            LeadlightError: a setting is not known or not possible.
        """
        tables = _tables(self)
        return card_from_tables({**tables, "input": {**tables["input"], **changes}}, "the card")

    def with_output(self, **changes: Any) -> "ModelCard":
        """The same card with other `[output]` settings (thresholds, say), checked anew.

        Raises:
            LeadlightError: a setting is not known or not possible.
        """
        tables = _tables(self)
        return card_from_tables({**tables, "output": {**tables["output"], **changes}}, "the card")


def read_card(path: Path) -> ModelCard:
    """Read and check a card, or the `card.toml` of a folder.

    Raises:
        LeadlightError: the file is absent, no TOML, or a key is unknown, missing or impossible; all
            such keys are named.
    """
    path = path / CARD_FILE if path.is_dir() else path
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LeadlightError(f"The model card {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise LeadlightError(f"{path} is no model card: it is not text.") from error
    except tomllib.TOMLDecodeError as error:
        raise LeadlightError(f"The model card {path} is not valid TOML: {error}.") from error
    return card_from_tables(tables, str(path))


def write_card(card: ModelCard, path: Path) -> None:
    """Write a card as TOML; the file is whole or not there."""
    write_text(path, card_text(card))


def card_text(card: ModelCard) -> str:
    """A card as TOML, with the defaults written out."""
    return tomli_w.dumps(_tables(card))


def card_from_tables(tables: Mapping[str, Any], source: str) -> ModelCard:
    """A card from TOML tables; `source` is named in errors.

    Raises:
        LeadlightError: naming every key that is unknown, missing or impossible.
    """
    try:
        return ModelCard.model_validate(dict(tables))
    except ValidationError as error:
        raise LeadlightError(
            f"The model card {source} does not hold: {'; '.join(_sentences(error))}."
        ) from error


def _sentences(error: ValidationError) -> list[str]:
    sentences = []
    for fault in error.errors():
        where = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            sentences.append(f"{where} is no key that cards have")
        elif fault["type"] == "missing":
            sentences.append(f"{where} is missing")
        else:
            message = fault["msg"].removeprefix("Value error, ")
            sentences.append(f"{where}: {message[0].lower()}{message[1:]}" if where else message)
    return sentences


def _tables(card: ModelCard) -> dict[str, Any]:
    tables: dict[str, Any] = _without_nulls(card.model_dump(mode="json"))
    return tables


def _without_nulls(value: Any) -> Any:
    """TOML has no null: what is absent is not written."""
    if isinstance(value, dict):
        return {key: _without_nulls(v) for key, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_nulls(v) for v in value if v is not None]
    return value


def _unique(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f'"{name}" is named {names.count(name)} times')
    return names
