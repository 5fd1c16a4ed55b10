"""Writing so that a file under its final name is always whole: write beside, then rename.

What is written is on the disk before it takes its name, so that the name never stands for less
after a kill, a full disk or the loss of the machine. What a killed process left beside is removed
by the next one that writes into the same folder.
"""

import errno
import hashlib
import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from leadlight.errors import LeadlightError

# Machines may share a folder; whether a process still lives can be told of one's own only.
_HERE = hashlib.sha256(platform.node().encode()).hexdigest()[:6]
_LEFT_OVER = re.compile(rf"^\..+\.(?:partial|before)-{_HERE}-(\d+)$")
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
_NO_ROOM = 1 << 16  # bytes
_looked_through: set[Path] = set()


class DiskFull(LeadlightError):
    """Something could not be written because its disk is full; what was finished is kept."""


def refuse_overwrite(path: Path, overwrite: bool) -> None:
    """Raise LeadlightError when `path` holds a result and the user did not say `--overwrite`."""
    if path.exists() and not overwrite:
        raise LeadlightError(
            f"{path} already exists.", advice="Give --overwrite to replace it, or another folder."
        )


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the final name.

    Works for files and for folders (a Zarr store). When the block raises, what was written is
    removed and `path` is left as it was.

    Raises:
        DiskFull: there was no room for it.
    """
    with told_when_full(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_left_over(path.parent)
        partial = _beside(path, "partial")
        try:
            yield partial
            if not any(_LEFT_OVER.match(part) for part in path.parts):  # else the whole folder is
                sync(partial)
            put_in_place(partial, path)
        except Exception as error:
            if _may_be_full(path, error):  # before what was written gives room again
                raise _disk_full(path) from error
            raise
        finally:
            _remove(partial)


def put_in_place(made: Path, final: Path) -> None:
    """Give a finished file or folder its final name; what has it now is replaced.

    A folder cannot be replaced in one step: the old one is moved aside first and removed last, so
    that the name stands for all of the old, for nothing, or for all of the new.
    """
    if made.suffix == ".zarr":  # what zarr itself was writing when an earlier run was killed
        for path in list(made.rglob("*.partial")):
            path.unlink()
    before = None
    if final.is_dir() and not final.is_symlink():
        before = _beside(final, "before")
        final.rename(before)
    try:
        made.replace(final)
    except OSError:
        if before is not None:
            before.rename(final)
        raise
    _sync_one(final.parent)
    if before is not None:
        _remove(before)


def take_away(path: Path) -> None:
    """Remove a result, if it is there: a folder's name goes before its files do."""
    if path.is_dir() and not path.is_symlink():
        before = _beside(path, "before")
        path.rename(before)
        path = before
    _remove(path)


def sync(path: Path) -> None:
    """Have a file, or all files of a folder, on the disk before a name or a table says so."""
    for file in (p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        _sync_one(file)


def write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8) under its final name only once it is whole."""
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON under its final name only once it is whole."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def told_when_full(path: Path) -> Iterator[None]:
    """Turn any library's way of saying that the disk is full into one sentence about `path`."""
    try:
        yield
    except DiskFull:
        raise
    except Exception as error:
        if not says_disk_full(error) and not _may_be_full(path, error):
            raise
        raise _disk_full(path) from error


def says_disk_full(error: BaseException) -> bool:
    """Whether an error, or one that it came from, is a full disk or a used-up quota."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, DiskFull) or (isinstance(seen, OSError) and seen.errno in _FULL):
            return True
        # Polars, Arrow and PLINK's writer say it in words alone.
        if re.search(r"No space left on device|Disk quota exceeded|os error 28\b", str(seen)):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _disk_full(path: Path) -> DiskFull:
    return DiskFull(
        f"{path} could not be written: the disk is full.",
        advice="Free space there and give the same command again; what was finished is kept.",
    )


def _may_be_full(path: Path, error: Exception) -> bool:
    """Whether an error that says something else is one of a disk that has no room left.

    Polars, on a full disk: "File out of specification: Invalid thrift: transport error".
    """
    if isinstance(error, LeadlightError) or getattr(error, "errno", None) is not None:
        return False
    there = next(one for one in (path, *path.absolute().parents) if one.exists())
    return shutil.disk_usage(there).free < _NO_ROOM


def _beside(path: Path, what: str) -> Path:
    return path.with_name(f".{path.name}.{what}-{_HERE}-{os.getpid()}")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _sync_one(path: Path) -> None:
    try:
        opened = os.open(path, os.O_RDONLY)
    except OSError:  # a folder on Windows, a file that others may not read
        return
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno in _FULL or error.errno == errno.EIO:
            raise
        # Some file systems of networks know no such thing.
    finally:
        os.close(opened)


def _remove_left_over(folder: Path) -> None:
    """Remove what processes that are gone were writing in `folder`; once for each process."""
    if folder in _looked_through or sys.platform == "win32":
        return
    _looked_through.add(folder)
    for path in list(folder.iterdir()):
        found = _LEFT_OVER.match(path.name)
        if found and not _lives(int(found[1])):
            _remove(path)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
