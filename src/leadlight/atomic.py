"""Writing so that a file under its final name is always whole: write beside, then rename."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from leadlight.errors import LeadlightError


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
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        yield partial
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        partial.replace(path)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8) under its final name only once it is whole."""
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON under its final name only once it is whole."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
