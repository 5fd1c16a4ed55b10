"""What makes a model, as settings and as a TOML file: the same recipe, the same network."""

import tomllib
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from leadlight.classify.augment import AugmentSettings
from leadlight.classify.cards import InputSection, ModelSection
from leadlight.classify.fitting import FitSettings
from leadlight.cohort.labels import CLASSES
from leadlight.errors import LeadlightError


@dataclass(frozen=True)
class TrainingSettings:
    """Everything that decides what a training run makes, but for the studies themselves.

    Attributes:
        model: name, architecture and texts of the card; a new model's weights are not named.
        input: what the network is to see.
        classes: what it is to tell, in the order of its outputs.
        fit: the loop's settings.
        augment: disturbances of the training records.
        limits: sentences for the card.
        licence_of_data: of the training records, for the card.
        positive_weight_cap: a class's positives weigh as much as its negatives together, but one
            never more than this many times a negative (and never less than its inverse).
        label_smoothing: labels become this share nearer to one half.
        study_weights: each study's share of an epoch, in the order of the studies; () is by size.
        records_per_epoch: 0 is as many as there are.
        validation_study: folder name of the study that decides when to stop; "" is the first.
        stop_on: "loss" on the validation records, or 1 - the mean "auroc" over classes.
        unknown_classes: study's folder name to classes that its labels say nothing of.
        n_bootstrap: resamples for the intervals of the scores.
        seed: of weights, order, disturbances and dropout.
        device: "auto" (an accelerator where there is one), "cpu", "cuda", ...
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    model: ModelSection
    input: InputSection = field(default_factory=InputSection)
    classes: Annotated[tuple[str, ...], Field(min_length=1)] = CLASSES
    fit: FitSettings = field(default_factory=FitSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    limits: tuple[str, ...] = ()
    licence_of_data: str = ""
    positive_weight_cap: Annotated[float, Field(ge=1)] = 10.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    study_weights: tuple[Annotated[float, Field(gt=0)], ...] = ()
    records_per_epoch: Annotated[int, Field(ge=0)] = 0
    validation_study: str = ""
    stop_on: Literal["loss", "auroc"] = "loss"
    unknown_classes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    n_bootstrap: Annotated[int, Field(ge=0)] = 1000
    seed: Annotated[int, Field(ge=0, le=2**40)] = 0
    device: str = "auto"


_ADAPTER = TypeAdapter(TrainingSettings)


def read_recipe(name_or_path: str | Path) -> TrainingSettings:
    """Settings from a TOML file, or from a recipe that comes with the package by its name.

    The file's keys are the attributes of `TrainingSettings`; `[model]`, `[input]`, `[fit]` and
    `[augment]` are tables.

    Raises:
        LeadlightError: there is no such recipe, it is no TOML, or a key is unknown or impossible.
    """
    path = Path(name_or_path)
    if str(name_or_path) in shipped_recipes():
        path = _recipes() / f"{name_or_path}.toml"
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LeadlightError(
            f"There is no recipe {name_or_path}: neither a file that can be read, nor one of those "
            f"that come with Leadlight ({', '.join(shipped_recipes()) or 'none'})."
        ) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise LeadlightError(f"The recipe {path} is not valid TOML: {error}.") from error
    try:
        return _ADAPTER.validate_python(tables)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
            for fault in error.errors()
        )
        raise LeadlightError(f"The recipe {path} does not hold: {faults}.") from error


def as_tables(settings: TrainingSettings) -> dict[str, Any]:
    """The settings as plain tables, for provenance and fingerprints."""
    tables: dict[str, Any] = _ADAPTER.dump_python(settings, mode="json")
    return tables


def shipped_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(path.stem for path in _recipes().glob("*.toml"))


def _recipes() -> Path:
    return Path(str(resources.files("leadlight.classify"))) / "recipes"
