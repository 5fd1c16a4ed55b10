"""One small study, run once without a fault, that all fault tests hold theirs against."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from faulted_study import stages, write_inputs, write_study_file
from runner import Runner

PEOPLE = 16


@pytest.fixture(scope="session")
def runner() -> Iterator[Runner]:
    """Runs commands of the command line."""
    if sys.platform != "linux":
        pytest.skip("processes are forked and killed as Linux does it")
    made = Runner()
    yield made
    made.close()


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, runner: Runner) -> Path:
    """A folder with `inputs/` (files that may not be written), `study.toml` and its `study/`.

    `before-STAGE/` is the study folder as it was before a stage. Do not change it.
    """
    base = tmp_path_factory.getbasetemp()
    base = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    folder = base / "reliability"
    with (base / "reliability.lock").open("w") as lock:  # made by one of pytest's processes
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            write_inputs(folder / "inputs", PEOPLE)
            for path in [*(folder / "inputs").rglob("*"), folder / "inputs"]:
                path.chmod(0o555 if path.is_dir() else 0o444)
            study_file = write_study_file(folder / "study.toml", folder / "inputs", quick=True)
            (folder / "study").mkdir()
            for stage in stages(quick=True):
                shutil.copytree(folder / "study", folder / f"before-{stage}")
                code, told = runner.run("run", study_file, "--quiet", "--only", stage)
                assert code == 0, told
            (folder / "made").touch()
    return folder


@pytest.fixture(scope="session")
def stage_seconds(whole: Path) -> dict[str, float]:
    """Stage → seconds of the uninterrupted run."""
    state = json.loads((whole / "study" / "run.json").read_text())
    return {name: float(state[name]["seconds"]) for name in stages(quick=True)}


@pytest.fixture
def at_stage(whole: Path, tmp_path: Path) -> Callable[[str], Path]:
    """at_stage(stage) -> study file of a copy that has just come to a stage."""

    def make(stage: str, place: Path | None = None) -> Path:
        place = place or tmp_path
        shutil.copytree(whole / f"before-{stage}", place / "study")
        return write_study_file(place / "study.toml", whole / "inputs", quick=True)

    return make


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """small_disk(kib) -> folder on a disk of its own; called again it changes the disk's size."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = False

    def make(kib: int, *options: str) -> Path:
        nonlocal mounted
        words = [f"size={kib}k", *(["remount"] if mounted else []), *options]
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", ",".join(words), "none", str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode and not mounted:
            pytest.skip(f"a disk of its own cannot be mounted here: {done.stderr.strip()}")
        assert done.returncode == 0, done.stderr
        mounted = True
        return folder

    if shutil.which("mount") is None:
        pytest.skip("there is no mount command")
    yield make
    if mounted:
        subprocess.run(["umount", "-l", str(folder)], check=False)
