"""Cut off before a step on the disk while results get their final names.

Random kills fall between these steps only by chance; here any of them may be the last one. All
steps of all stages take minutes: LEADLIGHT_EVERY_STEP=1. Otherwise a few of each are drawn.
"""

import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from comparing import differences

import leadlight.cohort.journal
import leadlight.cohort.measuring
import leadlight.explain.checkpoint
import leadlight.genetics.loci_stage
from leadlight import atomic
from leadlight.study.running import run_study

EVERY = bool(os.environ.get("LEADLIGHT_EVERY_STEP"))
STEPS = ("rename", "replace", "unlink", "rmdir", "mkdir")
# What is called when all is computed.
CASES = {
    "import": (leadlight.cohort.journal.Journal, "publish"),
    "measure": (leadlight.cohort.measuring, "_publish"),
    "explain": (leadlight.explain.checkpoint.Checkpoint, "publish"),
    "loci": (leadlight.genetics.loci_stage, "_write"),
}


class _Cut(BaseException):
    """The end of a process, as far as the process can tell."""


@contextmanager
def cut_off_before(step: int) -> Iterator[list[str]]:
    """From the given step on, nothing on the disk can be changed any more: the process is gone."""
    done: list[str] = []
    sound = {name: getattr(os, name) for name in STEPS}

    def stepping(name: str) -> Callable[..., Any]:
        def take(*arguments: Any, **named: Any) -> Any:
            if len(done) >= step:
                raise _Cut
            done.append(f"{name} {arguments[0]}")
            return sound[name](*arguments, **named)

        return take

    try:
        for name in STEPS:
            setattr(os, name, stepping(name))
        yield done
    finally:
        for name, function in sound.items():
            setattr(os, name, function)


@pytest.mark.slow
@pytest.mark.parametrize("stage", CASES if EVERY else ("import", "measure"))
@pytest.mark.parametrize("replacing", [False, True] if EVERY else [True])
def test_cut_off_before_any_step_of_the_last_moves_a_stage_goes_on_to_the_same_end(
    whole: Path,
    at_stage: Callable[..., Path],
    tmp_path: Path,
    stage: str,
    replacing: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """replacing: over results that are there, which the study file asks to have made again."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the run that is compared with: sums hang on it
    ready = tmp_path / "ready"
    study_file = at_stage(stage, ready)
    if replacing:
        run_study(study_file, only=[stage])
    where, name = CASES[stage]

    def cut(*_: object, **__: object) -> None:
        raise _Cut

    with monkeypatch.context() as patch:
        patch.setattr(where, name, cut)
        with pytest.raises(_Cut):
            run_study(study_file, only=[stage], overwrite=replacing)
    with cut_off_before(10**9) as steps:
        run_study(_copy(ready, tmp_path), only=[stage])
    assert len(steps) > 5
    faults: list[str] = []
    chosen = range(len(steps)) if EVERY else random.Random(stage).sample(range(len(steps)), 4)
    for step in chosen:
        again = _copy(ready, tmp_path)
        monkeypatch.setattr(atomic, "_looked_through", set())
        with cut_off_before(step), pytest.raises(_Cut):
            run_study(again, only=[stage])
        at = f"{stage} cut off before step {step}, {steps[step]}"
        study = again.parent / "study"
        halves = differences(study, whole / "study", finished=False)
        monkeypatch.setattr(atomic, "_looked_through", set())
        monkeypatch.setattr(atomic, "_lives", lambda process: False)
        run_study(again, only=[stage])
        halves += differences(study, whole / "study", finished=False)
        # The lock of a dead process blocks nobody, and goes with the next who takes it.
        hidden = [p.name for p in study.iterdir() if p.name.startswith(".")]
        halves += [f"{name} was left behind" for name in hidden if not name.endswith(".lock")]
        faults += [f"{at}: {half}" for half in halves]
    torch.set_num_threads(threads)
    assert faults == []


def _copy(ready: Path, place: Path) -> Path:
    shutil.rmtree(place / "again", ignore_errors=True)
    shutil.copytree(ready, place / "again")
    return place / "again" / "study.toml"
