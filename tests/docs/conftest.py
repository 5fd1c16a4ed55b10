"""A warm shell, and the study of simulated people that the manual's pages work on."""

import csv
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from manual_pages import ROOT, TUTORIAL, Sitting, follow
from warm_shell import WarmShell, start_shell

# How many records of PTB-XL stand for all of it, by the code in their labels.
FEW = {"AFIB": 3, "CLBBB": 3, "NORM": 4}


@pytest.fixture(scope="session")
def shell() -> Iterator[WarmShell]:
    with tempfile.TemporaryDirectory(prefix="ll-") as short:
        started = start_shell(Path(short))
        yield started
        started.stop()


@pytest.fixture(scope="session")
def data() -> Path | None:
    """The folder of real recordings, where there is one."""
    named = os.environ.get("LEADLIGHT_SHARED_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def finished_tutorial(
    tmp_path_factory: pytest.TempPathFactory, shell: WarmShell, data: Path | None
) -> Path:
    """The folder in which the genetics tutorial was followed, once for all test processes."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if os.environ.get("PYTEST_XDIST_WORKER") else own
    folder, done = shared / "tutorial", shared / "tutorial-done"
    with (shared / "tutorial.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            follow(TUTORIAL, Sitting(folder, shell, data))
            done.touch()
    return folder


@pytest.fixture
def sitting(tmp_path: Path, shell: WarmShell, data: Path | None) -> Sitting:
    """An empty folder to follow a page in, with a little of PTB-XL where there is any."""
    if data is not None and (data / "ptbxl").is_dir():
        few_records(data / "ptbxl", tmp_path / "ptbxl")
    return Sitting(tmp_path, shell, data)


def few_records(source: Path, folder: Path) -> None:
    """Copy the first records of each of some labels, and their rows of PTB-XL's own table."""
    folder.mkdir()
    left = dict(FEW)
    with (
        (source / "ptbxl_database.csv").open(newline="") as table,
        (folder / "ptbxl_database.csv").open("w", newline="") as cut,
    ):
        rows = csv.DictReader(table)
        writer = csv.DictWriter(cut, rows.fieldnames or [])
        writer.writeheader()
        for row in rows:
            named = [code for code, n in left.items() if n and f"'{code}'" in row["scp_codes"]]
            for label in named[:1]:
                left[label] -= 1
                writer.writerow(row)
                for ending in (".hea", ".dat"):
                    target = folder / (row["filename_hr"] + ending)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(source / (row["filename_hr"] + ending), target)
    shutil.copy(source / "scp_statements.csv", folder)
