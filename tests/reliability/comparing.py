"""Whether a study folder holds just what an uninterrupted run leaves, and nothing half.

Both are one question here, because the same study file gives the same results: at any moment, what
stands under a final name must be all of what the uninterrupted run has under that name. Only times
may differ, and where a run lay.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import zarr
from PIL import Image

# What a run says of itself, not of its result.
_OF_THE_RUN = {"made_at", "seconds", "peak_memory_mb", "threads", "workers", "memory_mb"}
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(\+00:00|Z)?")
_WORKERS = re.compile(r"&#34;workers&#34;: \d+")  # in the provenance that a page shows
_STATE = "run.json"


def differences(study: Path, reference: Path, *, finished: bool) -> list[str]:
    """What is half or other than in `reference`; empty where all is well.

    finished: the run has ended: whatever the reference has must be there, and nothing may be left
    of work under way.
    """
    found = []
    there, wanted = set(_results(study)), set(_results(reference))
    found += [f"{path}: no result of an uninterrupted run" for path in sorted(there - wanted)]
    if finished:
        found += [f"{path} is missing" for path in sorted(wanted - there)]
        hidden = sorted(p for p in study.rglob(".*") if ".zarr/" not in p.as_posix())
        found += [f"{path.relative_to(study)} was left behind" for path in hidden]
    for path in sorted(there & wanted):
        try:
            said = _compare(study / path, reference / path)
        except Exception as error:  # whatever a reader raises of a file that is cut off
            said = f"cannot be read: {error!r:.200}"
        if said:
            found.append(f"{path}: {said}")
    return found


def _results(study: Path) -> Iterator[str]:
    """Files under final names, a Zarr store being one; a leading dot marks work under way."""
    for path in sorted(study.iterdir()) if study.is_dir() else []:
        if path.name.startswith(".") or path.name == _STATE:
            continue
        yield from _below(path, study)


def _below(path: Path, study: Path) -> Iterator[str]:
    if path.is_file() or path.suffix == ".zarr":
        yield path.relative_to(study).as_posix()
        return
    for inner in sorted(path.iterdir()):
        if not inner.name.startswith("."):
            yield from _below(inner, study)


def _compare(path: Path, other: Path) -> str:
    if path.suffix == ".parquet":
        return _tables(pl.read_parquet(path), pl.read_parquet(other))
    if path.suffix == ".zarr":
        return _stores(path, other)
    if path.suffix == ".json":
        one, two = (_plain(json.loads(p.read_text(encoding="utf-8"))) for p in (path, other))
        return "" if one == two else f"differs: {_first(one, two)}"
    if path.suffix == ".png":
        with Image.open(path) as one, Image.open(other) as two:
            same = np.array_equal(np.asarray(one), np.asarray(two))
        return "" if same else "another picture"
    if path.suffix == ".html":
        one, two = (_WORKERS.sub("", _TIME.sub("", p.read_text("utf-8"))) for p in (path, other))
        if one == two:
            return ""
        at = next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), -1)
        return f"another page: {one[at - 60 : at + 60]!r} for {two[at - 60 : at + 60]!r}"
    return "" if path.read_bytes() == other.read_bytes() else "differs"


def _tables(one: pl.DataFrame, two: pl.DataFrame) -> str:
    if one.schema != two.schema:
        return f"other columns: {dict(one.schema)} for {dict(two.schema)}"
    if one.height != two.height:
        return f"{one.height} rows for {two.height}"
    odd = [name for name in one.columns if not one[name].equals(two[name], null_equal=True)]
    return f"the columns {', '.join(odd)} differ" if odd else ""


def _stores(one: Path, two: Path) -> str:
    names = [
        {p.relative_to(store).as_posix() for p in store.rglob("*") if p.is_file()}
        for store in (one, two)
    ]
    if names[0] != names[1]:  # a chunk that is missing would read as empty
        return f"other files: {sorted(names[0] ^ names[1])[:3]}"
    left, right = (dict(zarr.open_group(store, mode="r").arrays()) for store in (one, two))
    for name in right:
        a, b = np.asarray(left[name][...]), np.asarray(right[name][...])
        same = a.shape == b.shape and (
            np.array_equal(a, b, equal_nan=True) if a.dtype.kind == "f" else np.array_equal(a, b)
        )
        if not same:
            return f"the array {name} differs"
    return ""


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items() if key not in _OF_THE_RUN}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _first(one: Any, two: Any) -> str:
    if isinstance(one, dict) and isinstance(two, dict):
        for key in sorted({*one, *two}):
            if one.get(key) != two.get(key):
                return f"{key}: {_first(one.get(key), two.get(key))}"
    return f"{one!r:.100} for {two!r:.100}"
