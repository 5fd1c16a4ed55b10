"""Killed before a step on the disk while results get their final names.

Random kills fall between these steps only by chance; here any of them may be the last one. All
steps of all stages take minutes: LEADLIGHT_EVERY_STEP=1. Otherwise a few of each are drawn.
"""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from comparing import differences
from runner import Runner

import leadlight.cohort.journal
import leadlight.cohort.measuring
import leadlight.explain.checkpoint
import leadlight.genetics.loci_stage
from leadlight.study.running import run_study

EVERY = bool(os.environ.get("LEADLIGHT_EVERY_STEP"))
# What is called when all is computed.
CASES = {
    "import": (leadlight.cohort.journal.Journal, "publish"),
    "measure": (leadlight.cohort.measuring, "_publish"),
    "explain": (leadlight.explain.checkpoint.Checkpoint, "publish"),
    "loci": (leadlight.genetics.loci_stage, "_write"),
}
_KILLED = -9


class _Cut(BaseException):
    """The end of a process, as far as the process can tell."""


@pytest.mark.slow
@pytest.mark.parametrize("stage", CASES if EVERY else ("import", "measure"))
@pytest.mark.parametrize("replacing", [False, True] if EVERY else [True])
def test_killed_before_any_step_of_its_last_moves_a_stage_goes_on_to_the_same_end(
    runner: Runner,
    whole: Path,
    at_stage: Callable[..., Path],
    tmp_path: Path,
    stage: str,
    replacing: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """replacing: over results that are there, which are asked for again."""
    ready = tmp_path / "ready"
    study_file = at_stage(stage, ready)
    words = ("run", study_file, "--quiet", "--only", stage)
    if replacing:
        assert runner.run(*words)[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr(*CASES[stage], _cut)
        with pytest.raises(_Cut):
            run_study(study_file, only=[stage], overwrite=replacing)
    steps = 200 if EVERY else 60
    faults: list[str] = []
    chosen = range(steps) if EVERY else random.Random(stage).sample(range(steps), 5)
    killed = 0
    for step in chosen:
        again = tmp_path / "again"
        shutil.rmtree(again, ignore_errors=True)
        shutil.copytree(ready, again)
        words = ("run", again / "study.toml", "--quiet", "--only", stage)
        command = runner.start(*words, killed_before=step)
        ended = command.wait() != _KILLED
        killed += not ended
        halves = differences(again / "study", whole / "study", finished=False)
        code, told = runner.run(*words)
        halves += [] if code == 0 else [f"did not go on: {told[-300:]}"]
        halves += differences(again / "study", whole / "study", finished=False)
        # The lock of a dead process blocks nobody, and goes with the next who takes it.
        hidden = [p.name for p in (again / "study").iterdir() if p.name.startswith(".")]
        halves += [f"{name} was left behind" for name in hidden if not name.endswith(".lock")]
        faults += [f"{stage} killed before step {step}: {half}" for half in halves]
        if ended and EVERY:
            break
    print(f"{stage}: killed {killed} times")
    assert faults == []
    assert killed > (5 if EVERY else 0)


def _cut(*_: object, **__: object) -> None:
    raise _Cut
