"""What a study folder holds, looked up anew whenever files have changed."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from leadlight.errors import LeadlightError
from leadlight.report.association_sets import AssociationSet, association_sets
from leadlight.report.results import facts_of
from leadlight.serve.explaining import Explainer
from leadlight.serve.refusals import Busy, NotThere, Refusal
from leadlight.serve.remembered import Memory, stamp_of

# What may be asked for as it lies there, and what a browser is told that it is.
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".csv": "text/csv; charset=utf-8",
    ".tsv": "text/tab-separated-values; charset=utf-8",
    ".json": "application/json; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}
_FILE_FOLDERS = ("report", "effects", "latent", "loci", "gwas")
_MOST_FILES = 20_000
_DEEPEST = 4
_LOOKED_FOR_S = 2.0
REPORT_PAGE = "report/index.html"


@dataclass(frozen=True)
class StudyFolder:
    """A study, read only.

    Attributes:
        path: the folder.
        memory: what was read of it and is still so: small things, many.
        large: the same for what takes megabytes.
        recent: what was asked last and may be asked again.
        explainer: who explains records that were not explained before.
    """

    path: Path
    memory: Memory = field(default_factory=lambda: Memory(256))
    large: Memory = field(default_factory=lambda: Memory(12))
    recent: Memory = field(default_factory=lambda: Memory(16))
    explainer: Explainer = field(default_factory=Explainer)

    @property
    def name(self) -> str:
        """What the pages call the study."""
        return self.path.resolve().name

    @property
    def records(self) -> Path:
        """The table of records."""
        return self.path / "records.parquet"

    @property
    def measurements(self) -> Path:
        """The table of measurements."""
        return self.path / "measurements.parquet"

    def has_cohort(self) -> bool:
        """Whether there are records with signals."""
        return self.records.is_file() and (self.path / "cohort.zarr").is_dir()

    def classifiers(self) -> dict[str, Path]:
        """Model → its probabilities; the model that was explained first."""
        found = _by_folder(self.path / "classify", "probabilities.parquet")
        explained = self.explained_model()
        return dict(sorted(found.items(), key=lambda one: (one[0] != explained, one[0])))

    def explained_model(self) -> str:
        """The model of `relevance.zarr`; empty where nothing was explained."""
        said = facts_of(self.path / "findings" / "summary.json")
        settings = said.get("settings")
        for where in (said, settings if isinstance(settings, dict) else {}):
            if isinstance(where.get("model"), str):
                return str(where["model"])
        return ""

    def factor_tables(self) -> dict[str, Path]:
        """Factor model → its factors of the study's records."""
        return _by_folder(self.path / "latent", "factors.parquet")

    def sets(self) -> dict[str, AssociationSet]:
        """The associations of the study by their labels, null controls last."""
        gwas = self.path / "gwas"
        folders = [one for one in _children(gwas) if one.is_dir()]
        stamp = stamp_of([gwas, *folders, *(one / "summary.json" for one in folders)])
        return self.memory.get("sets", stamp, lambda: _sets(self.path))

    def files(self) -> Mapping[str, Path]:
        """What may be asked for by its path in the study: the page, the cards, their files.

        A path of an address is looked up here and never given to the file system itself. Links that
        lead out of their folder are left out.
        """
        moment = int(time.monotonic() / _LOOKED_FOR_S)
        return self.memory.get("files", (moment,), lambda: dict(_files(self.path)))

    def kind_of(self, path: Path) -> str:
        """What a browser is told that one of `files` is."""
        return _KINDS[path.suffix.lower()]


def open_study(path: Path) -> StudyFolder:
    """A study folder with something to show.

    Raises:
        LeadlightError: there is no such folder, or nothing of a study in it.
    """
    if not path.is_dir():
        raise LeadlightError(f"{path} is no folder.", advice="Give a study folder.")
    study = StudyFolder(path)
    if not (study.has_cohort() or study.sets() or (path / REPORT_PAGE).is_file()):
        raise LeadlightError(
            f"{path} is no study: it holds no cohort, no association and no report.",
            advice=f"Import recordings first: leadlight import FILES... --study {path}",
        )
    return study


def unmoved(study: StudyFolder, paths: list[Path], work: Any, *arguments: Any) -> Any:
    """`work(*arguments)`, again where a file of `paths` was replaced meanwhile.

    A result that takes more than one read is then of one state of the study.

    Raises:
        Busy: files change faster than they can be read.
        NotThere, Refusal: what `work` raises while nothing changes.
    """
    for _ in range(3):
        before = stamp_of(paths)
        try:
            found = work(*arguments)
        except Exception:
            if stamp_of(paths) != before:
                time.sleep(0.05)
                continue
            raise
        if stamp_of(paths) == before:
            return found
    raise Busy(f"{study.name} is being written anew.", advice="Ask again in a moment.")


def chosen(names: Mapping[str, Any], asked: str, what: str) -> str:
    """The name that was asked for, the first where none was.

    Raises:
        NotThere: there is none, or none of that name.
    """
    if asked and asked not in names:
        raise NotThere(
            f"The study has no {what} {asked!r}.", advice=f"It has: {', '.join(names) or 'none'}."
        )
    if not names:
        raise NotThere(f"The study has no {what}.")
    return asked or next(iter(names))


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(one for one in folder.iterdir() if not one.name.startswith("."))
    except OSError:
        return []


def _by_folder(folder: Path, file: str) -> dict[str, Path]:
    return {one.name: one / file for one in _children(folder) if (one / file).is_file()}


def _sets(path: Path) -> dict[str, AssociationSet]:
    try:
        return {one.label: one for one in association_sets(path)}
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise Refusal(
            f"The associations of {path.name} cannot be read.", advice="Look at its folder gwas."
        ) from error


def _files(study: Path) -> Iterator[tuple[str, Path]]:
    count = 0
    for name in _FILE_FOLDERS:
        top = study / name
        try:
            inside = top.resolve(strict=True)
        except OSError:
            continue
        waiting = [(top, 0)]
        while waiting:
            folder, depth = waiting.pop()
            for one in _children(folder):
                if one.is_dir() and one.suffix != ".zarr" and depth < _DEEPEST:
                    if one.is_symlink() and folder != top:
                        continue
                    waiting.append((one, depth + 1))
                elif one.suffix.lower() in _KINDS and one.is_file():
                    if one.is_symlink() and not one.resolve().is_relative_to(inside):
                        continue
                    count += 1
                    if count > _MOST_FILES:
                        return
                    yield one.relative_to(study).as_posix(), one
