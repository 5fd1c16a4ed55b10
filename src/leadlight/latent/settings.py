"""How a factor model is trained: every choice that a recipe can make."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field

from leadlight.classify.fitting import FitSettings
from leadlight.latent.augment import Augmentation
from leadlight.latent.beats import Beats
from leadlight.latent.card import Architecture
from leadlight.latent.choosing import Rule
from leadlight.latent.objective import Objective

_FIT = FitSettings(
    epochs=40,
    batch_size=128,
    learning_rate=2e-3,
    warm_up=0.1,
    weight_decay=1e-3,
    gradient_norm=10.0,
    average_decay=0.995,
    patience=10,
)


@dataclass(frozen=True)
class LatentSettings:
    """How a factor model is trained.

    Attributes:
        name: of the model.
        architecture: sizes of the network.
        objective: the loss.
        augmentation: how training beats are changed.
        fit: the training loop.
        rule: which latents are kept.
        records_per_epoch: beats drawn in an epoch.
        basis_beats: beats that the basis is made of.
        study_weights: each study's share of them, in the order of the studies; by its number of
            records where empty.
        reference: names of the studies (their folders') on whose training records the factors are
            standardised, decorrelated, ordered and named; all where empty.
        simple_start: whether the linear start is turned to simple structure (varimax).
        seed: of weights, draws and augmentation. The start is the same for all seeds.
        device: "auto", "cpu" or "cuda".
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: str = "factors"
    architecture: Architecture = field(default_factory=Architecture)
    objective: Objective = field(default_factory=Objective)
    augmentation: Augmentation = field(default_factory=Augmentation)
    fit: FitSettings = _FIT
    rule: Rule = field(default_factory=Rule)
    records_per_epoch: Annotated[int, Field(ge=2)] = 20_000
    basis_beats: Annotated[int, Field(ge=2)] = 12_000
    study_weights: tuple[float, ...] = ()
    reference: tuple[str, ...] = ()
    simple_start: bool = True
    seed: int = 0
    device: str = "auto"


def study_shares(training: Sequence[Beats], weights: Sequence[float]) -> npt.NDArray[np.float64]:
    """(study) share of a batch."""
    raw = np.array(weights if len(weights) else [len(part) for part in training], dtype=np.float64)
    return np.asarray(raw / raw.sum())
