from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from filling import fill
from runner import Runner

from leadlight.atomic import DiskFull, says_disk_full, told_when_full, written_whole


# All stages at more sizes: benchmarks/full_disk.py.
@pytest.mark.parametrize(
    ("stage", "share"),
    [("import", 0.4), ("measure", 0.0), ("classify", 0.5), ("gwas", 0.3)],
)
def test_a_full_disk_is_one_line_and_the_stage_goes_on_when_there_is_room(
    runner: Runner, small_disk: Callable[[int], Path], whole: Path, tmp_path: Path,
    stage: str, share: float,
) -> None:  # fmt: skip
    study_file = tmp_path / "study.toml"
    done = fill(runner, small_disk, stage, share, whole=whole, study_file=study_file, quick=True)
    assert done.faults == []
    assert done.met, "the disk was large enough"


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        RuntimeError("ComputeError: No space left on device (os error 28)"),
        OSError(122, "Disk quota exceeded"),
    ],
)
def test_every_way_of_saying_that_the_disk_is_full_is_understood(
    tmp_path: Path, error: Exception
) -> None:
    assert says_disk_full(error)
    with pytest.raises(DiskFull, match=r"table.parquet could not be written: the disk is full"), \
            written_whole(tmp_path / "table.parquet"):  # fmt: skip
        raise error
    outer = ValueError("what came of it")
    outer.__cause__ = error
    assert says_disk_full(outer)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_seen_where_the_error_says_something_else(
    small_disk: Callable[[int], Path],
) -> None:
    disk = small_disk(64)
    numbers = pl.DataFrame({"x": np.random.default_rng(1).normal(size=100_000)})
    with pytest.raises(DiskFull, match=r"table\.parquet could not be written"), \
            written_whole(disk / "table.parquet") as partial:  # fmt: skip
        numbers.write_parquet(partial)
    assert list(disk.iterdir()) == []


def test_other_faults_are_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), told_when_full(tmp_path):
        (tmp_path / "absent").read_text()
    assert not says_disk_full(ValueError("28 columns, no space between them"))
