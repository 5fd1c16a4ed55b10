"""A study in shards: its recordings cut into parts that are worked on apart, and joined again.

`shards/NNNNN/` in the study folder is a study of its own, with a study file that `leadlight run`
understands: some of the recordings, with the names that they have among all, and the stages that
look at one recording at a time (import, measure, classify, latent). What is joined is what one run
over all recordings makes.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import tomli_w

from leadlight.atomic import write_json, write_text
from leadlight.cohort.importing import check_labels
from leadlight.cohort.sources import Sources, find_sources, write_sources
from leadlight.errors import LeadlightError
from leadlight.locking import only_one
from leadlight.progress import say
from leadlight.study.running import LOCK, note_done, open_study_file, run_study
from leadlight.study.stage import card_of
from leadlight.study.stages import explain_settings
from leadlight.study.study_file import ClassifySection, StudyFile

FOLDER, PLAN, DONE = "shards", "plan.json", "shard.json"
# Stages that look at one recording at a time, as the study file names them.
BY_RECORD = ("import", "measure", "classify", "latent")


@dataclass(frozen=True)
class Plan:
    """How a study is cut. records: recordings (files) in each shard."""

    study: Path
    records: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.records)

    @property
    def folders(self) -> list[Path]:
        """Of the shards, in the order of the recordings."""
        return [shard_folder(self.study, number) for number in range(len(self))]


def cut_study(path: Path, most_records: int, *, overwrite: bool = False) -> Plan:
    """Cut a study's recordings into even shards of at most so many, and write their study files.

    What is there and would be the same is left as it is, with what was done in it.

    Args:
        path: the study file, or its folder.
        most_records: recordings in a shard.
        overwrite: replace shards that were cut otherwise.

    Raises:
        LeadlightError: the study imports nothing, no recording is found, the label table is at
            fault, or there are shards that were cut otherwise.
    """
    path, file, folder = open_study_file(path)
    if file.import_ is None:
        raise LeadlightError(f"{path.name} has no [import]: there is nothing to cut.")
    if most_records < 1:
        raise LeadlightError(f"{most_records} recordings a shard were asked for.")
    base = path.parent
    files = find_sources([base / source for source in file.import_.sources])
    labels = None if file.import_.labels is None else base / file.import_.labels
    for note in check_labels(files, labels):
        say(note)
    if files.collisions:
        say(
            f"{len(files.collisions)} file names are shared by several recordings "
            f"({', '.join(files.collisions[:5])}{', ...' * (len(files.collisions) > 5)}); these "
            "records are named with their folders."
        )
    n = -(-len(files.paths) // most_records)
    edges = [number * len(files.paths) // n for number in range(n + 1)]
    plan = Plan(folder, tuple(high - low for low, high in pairwise(edges)))
    home = folder / FOLDER
    if (home / PLAN).exists() and not overwrite and read_plan(folder).records != plan.records:
        raise LeadlightError(
            f"{home} holds {len(read_plan(folder))} shards that were cut otherwise.",
            advice="Give --overwrite to cut again; what is done in changed shards is done anew.",
        )
    for number, shard in enumerate(plan.folders):
        _write_shard(shard, file, base, files, slice(edges[number], edges[number + 1]))
    for surplus in home.glob("[0-9]*"):
        if int(surplus.name) >= n:
            shutil.rmtree(surplus)
    write_json(home / PLAN, {"shards": n, "records": list(plan.records)})
    return plan


def read_plan(folder: Path) -> Plan:
    """How the study in `folder` was cut.

    Raises:
        LeadlightError: it was not.
    """
    try:
        said = json.loads((folder / FOLDER / PLAN).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LeadlightError(
            f"{folder} has not been cut into shards.", advice="Run leadlight shards cut first."
        ) from error
    return Plan(folder, tuple(said["records"]))


def shard_folder(folder: Path, number: int) -> Path:
    """Where shard `number` of the study in `folder` is."""
    return folder / FOLDER / f"{number:05d}"


def run_shard(path: Path, number: int, *, workers: int | None = None) -> dict[str, Any]:
    """Do all stages of one shard; what it counted. A shard that was cut off goes on.

    Args:
        path: the study file of the whole, or its folder.
        number: of the shard, from 0.
        workers: in place of the study file's.

    Raises:
        LeadlightError: there is no such shard, or whatever a stage refuses.
    """
    _, _, folder = open_study_file(path)
    plan = read_plan(folder)
    if not 0 <= number < len(plan):
        raise LeadlightError(f"There are {len(plan)} shards, counted from 0; {number} is none.")
    shard = shard_folder(folder, number)
    (shard / DONE).unlink(missing_ok=True)
    run_study(shard, only=["import"], workers=workers)
    records = pl.scan_parquet(shard / "records.parquet").select(pl.len()).collect().item()
    if records:
        run_study(shard, workers=workers)
    else:
        say(f"No recording of shard {number} can be read: see its rejects.parquet.")
    summary = {"shard": number, "files": plan.records[number], "records": records}
    write_json(shard / DONE, summary)
    return summary


def join_shards(path: Path, *, workers: int | None = None) -> dict[str, Any]:
    """Join all shards into the study: its cohort, measurements, predictions and factors.

    The study's stages then count as done. What earlier joining left is replaced.

    Args:
        path: the study file, or its folder.
        workers: threads that copy, in place of the study file's.

    Raises:
        LeadlightError: a shard is not finished, or another run is at work on the study.
    """
    from leadlight.classify.joining import join_predictions
    from leadlight.classify.models import load_model
    from leadlight.cohort.joining import join_cohorts, join_measurements
    from leadlight.latent.joining import join_factors
    from leadlight.latent.model import load_latent_model

    path, file, folder = open_study_file(path, workers)
    parts = read_plan(folder).folders
    if unfinished := [part.name for part in parts if not (part / DONE).exists()]:
        raise LeadlightError(
            f"{len(unfinished)} of {len(parts)} shards are not finished, the first {unfinished[0]}."
        )
    threads, base = file.study.workers, path.parent
    with only_one(folder / LOCK, f"at work on {folder}"):
        records = join_cohorts(parts, folder, workers=threads, overwrite=True)
        if file.measure is not None:
            join_measurements(parts, folder, workers=threads, overwrite=True)
        if file.classify is not None:
            model = load_model(card_of(base, file.classify.model))
            join_predictions(parts, folder, model, overwrite=True, seed=file.study.seed)
        if file.latent is not None:
            factors = load_latent_model(card_of(base, file.latent.model))
            join_factors(parts, folder, factors, overwrite=True)
        note_done(path, BY_RECORD)
    rejects = pl.scan_parquet(folder / "rejects.parquet").select(pl.len()).collect().item()
    return {"shards": len(parts), "records": records, "rejected": rejects}


def explain_part_of(path: Path, part: int, parts: int) -> int:
    """Explain one of several parts of a study's cases and controls; how many records it has.

    `leadlight run --only explain` takes what the parts did and writes the findings.

    Raises:
        LeadlightError: the study file has no [explain], or whatever `explain_part` refuses.
    """
    from leadlight.classify.models import load_model
    from leadlight.explain.cohort import explain_part

    path, file, folder = open_study_file(path)
    if file.explain is None:
        raise LeadlightError(f"{path.name} has no [explain].")
    model = load_model(card_of(path.parent, (file.classify or ClassifySection()).model))
    return explain_part(
        folder, model, part, parts, memory_mb=file.explain.memory_mb, **explain_settings(file)
    )


def _write_shard(shard: Path, file: StudyFile, base: Path, files: Sources, rows: slice) -> None:
    """The sources and the study file of one shard, where they are not the same already."""
    shard.mkdir(parents=True, exist_ok=True)
    sources = shard / "sources.parquet"
    wanted = ([str(p.absolute()) for p in files.paths[rows]], list(files.record_ids[rows]))
    if not sources.exists() or _columns(sources) != wanted:
        write_sources(files, rows, sources)
    text = tomli_w.dumps(_shard_tables(file, base))
    told = shard / "study.toml"
    if not told.exists() or told.read_text(encoding="utf-8") != text:
        write_text(told, text)


def _columns(sources: Path) -> tuple[Sequence[str], Sequence[str]]:
    table = pl.read_parquet(sources)
    return table["path"].to_list(), table["record_id"].to_list()


def _shard_tables(file: StudyFile, base: Path) -> dict[str, Any]:
    """The study file of a shard as tables; paths are whole ones."""
    assert file.import_ is not None
    tables: dict[str, Any] = {
        "study": {"folder": ".", "seed": file.study.seed, "workers": file.study.workers},
        "import": {"sources": ["sources.parquet"], "shard": True},
    }
    if file.import_.labels is not None:
        tables["import"]["labels"] = str((base / file.import_.labels).absolute())
    if file.measure is not None:
        tables["measure"] = file.measure.model_dump(exclude_none=True)
    for name, section in (("classify", file.classify), ("latent", file.latent)):
        if section is not None:
            card = card_of(base, section.model)
            named = str(card.absolute()) if isinstance(card, Path) else card
            tables[name] = section.model_dump(exclude_none=True) | {"model": named}
    return tables
