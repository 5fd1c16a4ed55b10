"""Joining studies of parts of one import: their cohorts and their measurements become one.

Rows follow each other in the order of the parts, so the result is what one import of all files
gives. Signals are copied as they are stored, 256 records at a time.
"""

import json
from bisect import bisect_right
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import zarr

from leadlight.atomic import refuse_overwrite, write_json, written_whole
from leadlight.cohort import beats, signals
from leadlight.errors import LeadlightError
from leadlight.progress import track
from leadlight.provenance import describe

_MEASURED = ("fiducials.parquet", "measurements.parquet")
# Of a part's provenance, what its own share of the work decides.
_OF_ONE_PART = ("sources", "records", "workers")


def join_cohorts(
    parts: Sequence[Path], study: Path, *, workers: int = 1, overwrite: bool = False
) -> int:
    """Write the cohort of `study` from those of `parts`, in their order; the number of records.

    A patient whose records are in several parts has the split that the first of them has, as in one
    import of all. Memory: 31 MB for each worker, and the names of records and patients.

    Args:
        parts: study folders with a cohort each; one of no record is passed over.
        study: made where absent.
        workers: threads that copy.
        overwrite: replace the cohort that is there.

    Raises:
        LeadlightError: a part has no cohort, a record_id is in two parts, no part has a record, or
            a cohort is there.
    """
    for name in ("records.parquet", "cohort.zarr"):
        refuse_overwrite(study / name, overwrite)
    tables = [_there(part, "records.parquet") for part in parts]
    records = pl.scan_parquet(tables)
    names = records.select("record_id", "n_samples", "cart_beat_samples").collect()
    if not names.height:
        raise LeadlightError(f"None of {len(parts)} parts has a record.")
    if twice := names["record_id"].filter(names["record_id"].is_duplicated()).to_list():
        raise LeadlightError(
            f"Two parts have a record {twice[0]}.", advice="Cut the sources again and import."
        )
    study.mkdir(parents=True, exist_ok=True)
    (study / "records.parquet").unlink(missing_ok=True)  # it counts for the whole, so it goes first
    stores = [part / "cohort.zarr" for part in parts]
    with written_whole(study / "cohort.zarr") as partial:
        target = signals.create(partial, signals.SHARD_RECORDS)
        _copy([signals.open_signal(store) for store in stores], target, workers, "signals")
        carts = signals.create_cart_beats(partial, signals.SHARD_RECORDS)
        longest_cart = int(names["cart_beat_samples"].fill_null(0).to_numpy().max(initial=0))
        if longest_cart:
            brought = [signals.open_cart_beats(store) for store in stores]
            counts = [signals.open_signal(store).shape[0] for store in stores]
            _copy(brought, carts, workers, "median beats of carts", counts)
        longest = int(names["n_samples"].to_numpy().max())
        signals.finish(partial, names["record_id"], longest, longest_cart)
    with written_whole(study / "rejects.parquet") as partial:
        pl.scan_parquet([_there(part, "rejects.parquet") for part in parts]).sink_parquet(partial)
    with written_whole(study / "records.parquet") as partial:
        _with_first_split(records).sink_parquet(partial)
        said = _parameters(parts, "cohort-provenance.json") | {"parts": len(parts)}
        write_json(study / "cohort-provenance.json", describe("import", said, [partial]))
    return names.height


def join_measurements(
    parts: Sequence[Path], study: Path, *, workers: int = 1, overwrite: bool = False
) -> int:
    """Write `beats.zarr` and the tables of `leadlight measure` of `study`, of those of `parts`.

    `study` has the joined cohort already. Arguments: see `join_cohorts`. Returns the number of
    records.

    Raises:
        LeadlightError: a part has not been measured, the parts' records are not those of the
            cohort, or measurements are there.
    """
    for name in ("beats.zarr", *_MEASURED):
        refuse_overwrite(study / name, overwrite)
    parts = parts_with_records(parts)
    tables = [_there(part, "measurements.parquet") for part in parts]
    names = pl.scan_parquet(tables).select("record_id").collect()["record_id"]
    refuse_other_records(study, names, "measurements")
    (study / "measurements.parquet").unlink(missing_ok=True)
    with written_whole(study / "beats.zarr") as partial:
        beats.create(partial, names)
        target: Any = beats.open_store(partial, mode="r+")
        groups: list[Any] = [beats.open_store(part / "beats.zarr") for part in parts]
        for name in ("median_beat", "noise_uv", "n_beats"):
            _copy([group[name] for group in groups], target[name], workers, name)
    for name in _MEASURED:
        with written_whole(study / name) as partial:
            # One scan of many files; joining many scans keeps more of each in memory.
            pl.scan_parquet([_there(part, name) for part in parts]).sink_parquet(partial)
    said = _parameters(parts, "measure-provenance.json")
    said |= {"records": len(names), "parts": len(parts)}
    provenance = describe("measure", said, [study / "records.parquet"])
    write_json(study / "measure-provenance.json", provenance)
    return len(names)


def parts_with_records(parts: Sequence[Path]) -> list[Path]:
    """The parts whose cohort has a record; the others were not measured or classified."""
    counts = [
        pl.scan_parquet(_there(part, "records.parquet")).select(pl.len()).collect().item()
        for part in parts
    ]
    return [part for part, count in zip(parts, counts, strict=True) if count]


def refuse_other_records(study: Path, names: pl.Series, what: str) -> None:
    """Raise LeadlightError unless `names` are the records of a study, in its order."""
    own = pl.read_parquet(study / "records.parquet", columns=["record_id"])["record_id"]
    if not own.equals(names):
        raise LeadlightError(
            f"The {what} of the parts are of {len(names)} records, and {study} has {len(own)}, "
            "or others, or another order.",
            advice="Give the same parts in the same order, all of them finished.",
        )


def _there(part: Path, name: str) -> Path:
    path = part / name
    if not path.is_file():
        raise LeadlightError(f"{path} is absent.", advice="Finish this part first.")
    return path


def _with_first_split(records: pl.LazyFrame) -> pl.LazyFrame:
    """The records, a patient's all in the split of the first."""
    of_patient = (
        records.select("patient_id", "split")
        .group_by("patient_id", maintain_order=True)
        .agg(pl.col("split").first().alias("first"), pl.col("split").n_unique().alias("splits"))
        .filter(pl.col("splits") > 1)
        .collect()
    )
    if not of_patient.height:
        return records
    first = of_patient.select("patient_id", "first").lazy()
    joined = records.join(first, on="patient_id", how="left", maintain_order="left")
    return joined.with_columns(split=pl.coalesce("first", "split")).drop("first")


def _copy(
    sources: Sequence[zarr.Array[Any] | None],
    target: zarr.Array[Any],
    workers: int,
    what: str,
    counts: Sequence[int] | None = None,
) -> None:
    """Write the rows of `sources` one after another into `target`, a file of it at a time.

    counts: rows of each source, where some are None (whose rows stay missing). A `target` of three
    axes gets their number of rows and the widest's last axis.
    """
    counts = counts or [source.shape[0] for source in sources if source is not None]
    ends = [0, *np.cumsum(counts).tolist()]
    widest = max((source.shape[-1] for source in sources if source is not None), default=0)
    if target.ndim == 3:
        target.resize((ends[-1], target.shape[1], widest))
    rows, width = (target.shards or target.chunks)[0], target.chunks[-1]
    files = range(0, ends[-1], rows)

    def one(low: int) -> None:
        high = min(low + rows, ends[-1])
        for start in range(0, widest, width) if target.ndim == 3 else (0,):
            where: tuple[slice, ...] = (slice(low, high),)
            if target.ndim == 3:
                where += (slice(None), slice(start, min(start + width, widest)))
            values = np.full(_shape(target, where), target.fill_value, dtype=target.dtype)
            for place in range(bisect_right(ends, low) - 1, len(sources)):
                source, first = sources[place], max(low, ends[place])
                last = min(high, ends[place + 1])
                if source is None or first >= last:
                    continue
                inside = slice(first - ends[place], last - ends[place])
                part = np.asarray(source[(inside, *where[1:])])
                own = (slice(first - low, last - low), *(slice(size) for size in part.shape[1:]))
                values[own] = part
            target[where] = values

    with ThreadPoolExecutor(workers) as pool:
        for _ in track(pool.map(one, files), f"Joining {what}", len(files)):
            pass


def _shape(array: zarr.Array[Any], where: tuple[slice, ...]) -> tuple[int, ...]:
    """The shape of a part of an array, without reading it."""
    spans = [range(size)[cut] for size, cut in zip(array.shape, where, strict=False)]
    return (*(len(span) for span in spans), *array.shape[len(where) :])


def _parameters(parts: Sequence[Path], name: str) -> dict[str, Any]:
    """What the first part's provenance says that holds for all."""
    try:
        said = json.loads((parts[0] / name).read_text(encoding="utf-8"))["parameters"]
    except (OSError, ValueError, KeyError):
        return {}
    return {key: value for key, value in said.items() if key not in _OF_ONE_PART}
