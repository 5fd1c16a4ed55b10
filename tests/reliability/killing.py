"""Killing a run of a study at random moments, and looking at what is left each time."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from comparing import differences
from runner import Command, Runner

# The share of a stage's time within which a kill falls; past 1 for what comes after its results.
_LATEST = 1.05
_START_UP = "start-up"


@dataclass
class Kills:
    """What was done. by_stage: kills while a stage was under way; faults: what was wrong."""

    by_stage: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    rounds: int = 0

    @property
    def total(self) -> int:
        return sum(self.by_stage.values())


def kill_through(
    runner: Runner,
    study_file: Path,
    reference: Path,
    times: dict[str, float],
    kills: int,
    chance: random.Random,
    done: Kills,
) -> None:
    """Run a study once from nothing, killed `kills` times on its way, and compare it at the end.

    times: stage → seconds of an uninterrupted run. Kills are dealt out evenly over the stages and
    fall anywhere in a stage's time; going on starts the next one.
    """
    study = study_file.parent / "study"
    shutil.rmtree(study, ignore_errors=True)
    names = [_START_UP, *times]
    dealt = [names[k % len(names)] for k in range(kills // len(names) * len(names))]
    dealt += chance.sample(names, kills % len(names))
    for stage in sorted(dealt, key=names.index):
        if stage == _START_UP:
            killed = _kill_start_up(study_file, chance)
        else:
            killed = _kill_in(runner, study_file, study, stage, times[stage], chance)
        if not killed:
            continue
        done.by_stage[killed] += 1
        for fault in differences(study, reference, finished=False):
            done.faults.append(f"killed in {killed}: {fault}")
    code, told = runner.run("run", study_file, "--workers", str(chance.choice([1, 2])))
    if code:
        done.faults.append(f"could not go on: {told.strip().splitlines()[-1:]}")
    done.faults += [
        f"at the end: {fault}" for fault in differences(study, reference, finished=True)
    ]
    done.rounds += 1


def _kill_in(
    runner: Runner, study_file: Path, study: Path, stage: str, seconds: float, chance: random.Random
) -> str:
    """Kill the run somewhere in a stage; the stage that it hit, or nothing where it had ended."""
    command = runner.start("run", study_file, "--quiet")
    moment = chance.uniform(0, _LATEST) * seconds
    under_way = _wait_for(command, study, stage)
    until = time.monotonic() + (moment if under_way else 0.0)
    while command.poll() is None and time.monotonic() < until:
        time.sleep(0.002)
    if command.poll() is not None:
        return ""
    command.kill()
    return _under_way(study) or stage


def _wait_for(command: Command, study: Path, stage: str) -> bool:
    """Wait until a stage is under way, or done."""
    while command.poll() is None:
        status = _state(study).get(stage, {}).get("status")
        if status is not None:
            return bool(status == "started")
        time.sleep(0.002)
    return False


def _kill_start_up(study_file: Path, chance: random.Random) -> str:
    """Kill a process that is only just starting, as a user starts it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "leadlight.cli.app", "run", str(study_file), "--quiet"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    time.sleep(chance.uniform(0, 4.0))
    if process.poll() is not None:
        return ""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return _under_way(study_file.parent / "study") or _START_UP


def _under_way(study: Path) -> str | None:
    started = [name for name, one in _state(study).items() if one.get("status") == "started"]
    return started[0] if started else None


def _state(study: Path) -> dict[str, dict[str, object]]:
    try:
        return dict(json.loads((study / "run.json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
