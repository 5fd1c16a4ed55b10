"""Doing a stage on a disk that is too small for it, and again on one that is not."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from comparing import differences
from faulted_study import write_study_file
from runner import Runner

_AMPLE_KIB = 64 << 10


@dataclass
class Filled:
    """What a stage made of a full disk. met: whether it ran out; faults: what was wrong."""

    met: bool
    faults: list[str]
    said: str


def fill(
    runner: Runner,
    small_disk: Callable[[int], Path],
    stage: str,
    share: float,
    *,
    whole: Path,
    study_file: Path,
    quick: bool,
) -> Filled:
    """Do a stage with room for `share` of what it writes, then with room enough.

    small_disk: mounts a disk of so many KiB, or changes its size. whole: the folder of the
    uninterrupted run, with `before-STAGE/`. study_file: where the study file goes; its study lies
    on the small disk.
    """
    disk = small_disk(_AMPLE_KIB)
    shutil.rmtree(disk / "study", ignore_errors=True)
    shutil.copytree(whole / f"before-{stage}", disk / "study")
    write_study_file(study_file, whole / "inputs", quick=quick, folder=str(disk / "study"))
    used = _used_kib(disk)
    writes = _size_kib(whole / "study") - _size_kib(whole / f"before-{stage}")
    after = whole / f"before-{_next(stage, whole)}"
    if after.exists():
        writes = _size_kib(after) - _size_kib(whole / f"before-{stage}")
    small_disk(used + int(share * writes) + 4)
    code, told = runner.run("run", study_file, "--quiet", "--only", stage)
    faults, said = [], told.strip().splitlines()[-1] if told.strip() else ""
    if code:
        faults += _of_message(told, disk)
        faults += differences(disk / "study", whole / "study", finished=False)
        if (state := disk / "study" / "run.json").exists():
            json.loads(state.read_text(encoding="utf-8"))
    small_disk(_AMPLE_KIB)
    again, told = runner.run("run", study_file, "--quiet", "--only", stage)
    if again:
        faults.append(f"did not go on: {told.strip()[-300:]}")
    reference = after if after.exists() else whole / "study"
    faults += differences(disk / "study", reference, finished=True)
    return Filled(bool(code), [f"{stage} at {share}: {one}" for one in faults], said)


def _of_message(told: str, disk: Path) -> list[str]:
    lines = [line for line in told.strip().splitlines() if line.strip()]
    faults = [] if len(lines) == 1 else [f"{len(lines)} lines: {told.strip()[-400:]}"]
    if "the disk is full" not in told or "again" not in told:
        faults.append(f"does not say that the disk is full: {told.strip()[-400:]}")
    if str(disk) not in told:
        faults.append(f"does not say where: {told.strip()[-400:]}")
    return faults


def _next(stage: str, whole: Path) -> str:
    state = json.loads((whole / "study" / "run.json").read_text(encoding="utf-8"))
    names = list(state)
    place = names.index(stage) + 1
    return names[place] if place < len(names) else "the end"


def _used_kib(disk: Path) -> int:
    about = os.statvfs(disk)
    return (about.f_blocks - about.f_bfree) * about.f_frsize // 1024


def _size_kib(folder: Path) -> int:
    """As a disk of pages counts it: every file and folder at least one."""
    pages = [p.stat().st_size // 4096 if p.is_file() else 0 for p in folder.rglob("*")]
    return sum(4 + 4 * count for count in pages)
