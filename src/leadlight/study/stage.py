"""One step of a study: what it reads, what it writes, what it follows, and how it runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leadlight.study.study_file import StudyFile


@dataclass(frozen=True)
class Stage:
    """One step of a study.

    Attributes:
        name: of the section in the study file, and of the verb.
        parameters: what its section says; a stage is done again when they change.
        inputs: files and folders of the user's that it reads.
        outputs: what is there when it is done.
        after: stages that it follows, where they are part of the study.
        run: does the work: whether to replace results that are there, and when this run of the
            stage was begun (seconds since the epoch), which is before now where it was cut off.
        needs: result of an earlier stage without which it cannot run, and the stage's name.
        estimate: seconds for so many records when it was never done here; measured on one core.
    """

    name: str
    parameters: Mapping[str, Any]
    inputs: tuple[Path, ...]
    outputs: tuple[Path, ...]
    after: tuple[str, ...]
    run: Callable[[bool, float], None]
    estimate: Callable[[int], float]
    needs: tuple[tuple[Path, str], ...] = ()


def card_of(base: Path, model: str) -> str | Path:
    """A shipped model's name as it is; a card's path from the study file's folder."""
    beside = base / model
    return beside if beside.exists() else model


def factors_of(file: StudyFile, base: Path, folder: Path) -> Path:
    """Where the study's factors are, or will be."""
    from leadlight.latent.card import read_card

    model = "leadlight-factors" if file.latent is None else file.latent.model
    card = card_of(base, model)
    name = read_card(card).model.name if isinstance(card, Path) else model
    return folder / "latent" / name / "factors.parquet"
