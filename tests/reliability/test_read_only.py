import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from faulted_study import write_study_file
from runner import Runner


@pytest.fixture
def read_only(whole: Path, small_disk: Callable[..., Path]) -> Path:
    """The finished study on a disk that cannot be written."""
    disk = small_disk(64 << 10)
    shutil.copytree(whole / "study", disk / "study")
    write_study_file(disk / "study.toml", whole / "inputs", quick=True)
    small_disk(64 << 10, "ro")
    return disk


@pytest.mark.parametrize(
    "words",
    [
        ("run", "DISK/study.toml", "--overwrite"),
        ("import", "INPUTS/ecgs", "--study", "DISK/new"),
        ("measure", "--study", "DISK/study", "--overwrite"),
        ("classify", "--study", "DISK/study", "--overwrite"),
        ("report", "--study", "DISK/study", "--overwrite"),
        ("latent", "encode", "--study", "DISK/study", "--overwrite"),
        ("init", "--out", "DISK/other.toml"),
    ],
)
def test_a_folder_that_cannot_be_written_is_one_line(
    runner: Runner, whole: Path, read_only: Path, words: tuple[str, ...]
) -> None:
    before = sorted(read_only.rglob("*"))
    names = {"DISK": str(read_only), "INPUTS": str(whole / "inputs")}
    given = [w.replace("DISK", names["DISK"]).replace("INPUTS", names["INPUTS"]) for w in words]
    code, told = runner.run(*given, "--quiet")
    assert code == 1, told
    assert len(told.strip().splitlines()) == 1, told
    assert told.startswith("leadlight: ")
    assert str(read_only) in told
    assert "Read-only file system" in told
    assert sorted(read_only.rglob("*")) == before


def test_a_dry_run_and_a_finished_study_need_no_writing(runner: Runner, read_only: Path) -> None:
    code, told = runner.run("run", read_only / "study.toml", "--dry-run")
    assert code == 0, told
    assert "done, nothing has changed" in told


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_a_folder_of_somebody_else_is_one_line(runner: Runner, whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole / "study", tmp_path / "study")
    (tmp_path / "study").chmod(0o555)
    code, told = runner.run("measure", "--study", tmp_path / "study", "--overwrite", "--quiet")
    (tmp_path / "study").chmod(0o755)
    assert code == 1
    assert len(told.strip().splitlines()) == 1, told
    assert "Permission denied" in told
