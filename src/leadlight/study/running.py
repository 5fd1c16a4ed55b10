"""Running a study: what has to be done, why, and doing it, over any number of interruptions.

`run.json` in the study folder keeps, for each stage, the key that it was run with: a digest of its
parameters, its inputs' sizes and times, and which run of the stages before it came first. A stage
whose key is the same and whose results are there is left alone.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import polars as pl

from leadlight import __version__
from leadlight.atomic import told_when_full, write_json
from leadlight.errors import LeadlightError
from leadlight.locking import in_turn, only_one
from leadlight.progress import say
from leadlight.study.stage import Stage
from leadlight.study.stages import stages_of
from leadlight.study.study_file import StudyFile, read_study_file

STATE = "run.json"
LOCK = ".run.lock"
STATE_LOCK = ".run-state.lock"
Action = Literal["run", "go on", "leave"]


@dataclass(frozen=True)
class Step:
    """A stage and what is to be done about it.

    Attributes:
        stage: the stage.
        action: "run" it, "go on" with one that was cut off, or "leave" it as it is.
        why: in words.
        replaces: whether results that an earlier run of this stage made are replaced.
        seconds: estimate.
    """

    stage: Stage
    action: Action
    why: str
    replaces: bool
    seconds: float


@dataclass(frozen=True)
class StudyRun:
    """What `run_study` did. done: stage → seconds; left: stages that were as they should be."""

    folder: Path
    done: Mapping[str, float]
    left: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        """JSON-ready, for `--json`."""
        return {"folder": str(self.folder), "done": dict(self.done), "left": list(self.left)}


def plan_study(
    path: Path, *, only: Sequence[str] = (), overwrite: bool = False, workers: int | None = None
) -> tuple[Path, list[Step]]:
    """The study's folder, and what a run would do, stage by stage.

    Args:
        path: the study file, or its folder.
        only: names of stages; the others are left alone, whatever their state.
        overwrite: results that this study file did not make may be replaced.
        workers: in place of the study file's.

    Raises:
        LeadlightError: the file is faulty, a stage is unknown or lacks what it needs, an input is
            absent, or a result that this study file did not make is in the way.
    """
    path, file, folder = open_study_file(path, workers)
    stages = stages_of(file, path.parent)
    names = [stage.name for stage in stages]
    if unknown := [name for name in only if name not in names]:
        raise LeadlightError(
            f"{path.name} has no stage {unknown[0]}.", advice=f"It has {', '.join(names)}."
        )
    state = _state(folder)
    steps: list[Step] = []
    anew: set[str] = set()
    records = _expected(stages, folder)
    for stage in stages:
        if only and stage.name not in only:
            continue
        step = _step(stage, state, anew, records, overwrite)
        if step.action != "leave":
            anew.add(stage.name)
        steps.append(step)
    return folder, steps


def open_study_file(path: Path, workers: int | None = None) -> tuple[Path, StudyFile, Path]:
    """The path of a study file (given itself or its folder), what it says, and the study's folder.

    workers: in place of the file's.
    """
    path = path / "study.toml" if path.is_dir() else path
    file = read_study_file(path)
    if workers is not None:
        section = file.study.model_copy(update={"workers": workers})
        file = file.model_copy(update={"study": section})
    return path, file, path.parent / file.study.folder


def note_done(path: Path, names: Sequence[str]) -> None:
    """Have stages count as done whose results were made elsewhere, in parts.

    Raises:
        LeadlightError: a result is absent.
    """
    path, file, folder = open_study_file(path)
    for stage in stages_of(file, path.parent):
        if stage.name not in names:
            continue
        if absent := [output for output in stage.outputs if not output.exists()]:
            raise LeadlightError(f"{absent[0]} is absent, so [{stage.name}] is not done.")
        _keep(folder, stage.name, _done(_key(stage, _state(folder)), folder, None))


def run_study(
    path: Path, *, only: Sequence[str] = (), overwrite: bool = False, workers: int | None = None
) -> StudyRun:
    """Do what `plan_study` says. A kill at any moment loses what the stage at hand had not kept.

    Raises:
        LeadlightError: as `plan_study`, or whatever a stage refuses; stages before it stay done.
    """
    folder, _ = plan_study(path, only=only, overwrite=overwrite, workers=workers)
    folder.mkdir(parents=True, exist_ok=True)
    done: dict[str, float] = {}
    with only_one(folder / LOCK, f"at work on {folder}"):
        folder, steps = plan_study(path, only=only, overwrite=overwrite, workers=workers)
        for step in steps:
            if step.action == "leave":
                continue
            say(f"{step.stage.name}: {step.why}")
            started = time.monotonic()
            state = _state(folder)
            key = _key(step.stage, state)
            begun = state.get(step.stage.name, {}).get("begun") if step.action == "go on" else None
            begun = begun if isinstance(begun, int | float) else time.time()
            entry = {"key": key, "status": "started", "begun": begun}
            _keep(folder, step.stage.name, entry)
            with told_when_full(folder):
                step.stage.run(step.replaces, begun)
            seconds = time.monotonic() - started
            _keep(folder, step.stage.name, _done(key, folder, round(seconds, 2)))
            done[step.stage.name] = round(seconds, 2)
    left = [step.stage.name for step in steps if step.action == "leave"]
    return StudyRun(folder, done, left)


def _step(
    stage: Stage, state: Mapping[str, Any], anew: set[str], records: int, overwrite: bool
) -> Step:
    for path in stage.inputs:
        if not path.exists():
            raise LeadlightError(
                f"[{stage.name}] {path} does not exist.", advice="Correct the study file."
            )
    entry = state.get(stage.name)
    seconds = _estimate(stage, entry, records)
    there = [path for path in stage.outputs if path.exists()]
    before = [name for name in stage.after if name in anew]
    if entry is None:
        if there and not overwrite:
            raise LeadlightError(
                f"{there[0]} is there, and this study file did not make it.",
                advice="Give --overwrite to replace it, or take the section "
                f"[{stage.name}] out to use it as it is.",
            )
        return Step(stage, "run", "not done yet", bool(there), seconds)
    same = entry["key"] == _key(stage, state) and not before
    if same and entry["status"] == "started":
        # Whatever is there is of this stage: it was allowed to begin.
        return Step(stage, "go on", "was cut off; going on", True, seconds)
    if same and len(there) == len(stage.outputs):
        if overwrite:
            return Step(stage, "run", "asked for again", True, seconds)
        return Step(stage, "leave", "done, nothing has changed", False, 0.0)
    if before:
        why = f"{' and '.join(before)} will be done anew"
    elif same:
        why = f"{next(p for p in stage.outputs if not p.exists()).name} is gone"
    else:
        why = "its settings, its inputs or what comes before it have changed"
    return Step(stage, "run", why, True, seconds)


def _key(stage: Stage, state: Mapping[str, Any]) -> str:
    """What a stage's results hang on."""
    made = {name: state[name].get("made_at") for name in stage.after if name in state}
    told = {
        "version": __version__,
        "parameters": stage.parameters,
        "inputs": [_look(path) for path in stage.inputs],
        "after": made,
    }
    return sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def _look(path: Path) -> list[Any]:
    """Names, sizes and times of a file, or of all files of a folder; contents are not read."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    found = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    return [path.name, len(found), sha256(json.dumps(found).encode()).hexdigest()]


def _estimate(stage: Stage, entry: Mapping[str, Any] | None, records: int) -> float:
    """Seconds: as long as the last run took, or by what the stage has to do."""
    if entry is not None and entry.get("seconds"):
        before = entry.get("records") or 0
        scale = records / before if records and before else 1.0
        return float(entry["seconds"]) * scale
    return stage.estimate(records)


def _expected(stages: Sequence[Stage], folder: Path) -> int:
    """How many records there are, or how many sources to import."""
    from leadlight.cohort.sources import find_sources

    records = _records(folder)
    for stage in stages:
        if stage.name == "import" and not records:
            labels = stage.parameters.get("labels")
            sources = stage.inputs[: len(stage.inputs) - bool(labels)]
            there = [path for path in sources if path.exists()]
            return len(find_sources(there).paths) if there else 0
    return records


def _records(folder: Path) -> int:
    path = folder / "records.parquet"
    if not path.exists():
        return 0
    return int(pl.scan_parquet(path).select(pl.len()).collect().item())


def _state(folder: Path) -> dict[str, Any]:
    path = folder / STATE
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    entries = found.values() if isinstance(found, dict) else [None]
    if not all(isinstance(one, dict) and {"key", "status"} <= one.keys() for one in entries):
        raise LeadlightError(
            f"{path} is damaged.",
            advice="Delete it and run again with --overwrite; stages are then done again.",
        )
    return dict(found)


def _done(key: str, folder: Path, seconds: float | None) -> dict[str, Any]:
    return {
        "key": key, "status": "done", "seconds": seconds, "records": _records(folder),
        "made_at": datetime.now(UTC).isoformat(),
    }  # fmt: skip


def _keep(folder: Path, name: str, entry: Mapping[str, Any]) -> None:
    with in_turn(folder / STATE_LOCK):  # parts of a study may be joined while it runs
        write_json(folder / STATE, _state(folder) | {name: dict(entry)})
