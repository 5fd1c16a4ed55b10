import random
from collections.abc import Callable
from pathlib import Path

from comparing import differences
from faulted_study import write_study_file
from killing import Kills, kill_through
from runner import Runner


def test_a_run_killed_at_random_moments_leaves_nothing_half_and_ends_the_same(
    runner: Runner, whole: Path, stage_seconds: dict[str, float], tmp_path: Path
) -> None:
    study_file = write_study_file(tmp_path / "study.toml", whole / "inputs", quick=True)
    done = Kills()
    chance = random.Random(5)
    kill_through(runner, study_file, whole / "study", stage_seconds, 5, chance, done)
    assert done.faults == []
    assert done.total >= 4, done.by_stage  # a stage may end before its kill


def test_a_parent_killed_alone_takes_its_processes_along(
    runner: Runner, whole: Path, at_stage: Callable[[str], Path]
) -> None:
    """As when the system kills the largest process for want of memory."""
    import os
    import signal
    import time

    study_file = at_stage("measure")
    command = runner.start("run", study_file, "--only", "measure", "--workers", "2")
    study = study_file.parent / "study"
    until = time.monotonic() + 60
    while len(_group(command.pid)) < 3 and command.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    others = _group(command.pid) - {command.pid}
    assert others, "there were no processes besides it"
    os.kill(command.pid, signal.SIGKILL)
    command.wait()
    until = time.monotonic() + 20
    while _group(command.pid) and time.monotonic() < until:
        time.sleep(0.05)
    left = _group(command.pid)
    assert not left, f"{left} live on"
    code, told = runner.run("run", study_file, "--only", "measure")
    assert code == 0, told
    for name in ("measurements.parquet", "fiducials.parquet", "beats.zarr"):
        assert (study / name).exists()
    assert differences(study, whole / "study", finished=False) == []


def _group(leader: int) -> set[int]:
    """Processes of a group that still run."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(words[2]) == leader and words[0] != "Z":
                found.add(int(folder.name))
    return found
