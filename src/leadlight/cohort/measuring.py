"""Measure a cohort: median beats, wave limits and measurements of every record, streamed.

Results gather in `.measure.partial/` in the study folder, 256 records at a time (a shard of
`beats.zarr` and one part of each table), and get their final names once all are whole. A run that
was cut off goes on behind its last whole part.
"""

import json
import multiprocessing
import shutil
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl
import torch

from leadlight import __version__
from leadlight.atomic import (
    put_in_place,
    refuse_overwrite,
    sync,
    told_when_full,
    write_json,
    written_whole,
)
from leadlight.cohort import beats
from leadlight.cohort.measured_records import (
    MEASUREMENTS_SCHEMA,
    MeasuredRecord,
    Medians,
    failed_record,
    fiducial_rows,
    measure_stream,
)
from leadlight.cohort.store import Cohort, open_cohort
from leadlight.ecg.delineation.weights import load_network, read_card
from leadlight.locking import only_one
from leadlight.processes import end_with_parent
from leadlight.progress import bar, say
from leadlight.provenance import describe, fingerprint

PARTIAL = ".measure.partial"
LOCK = ".measure.lock"
# Records that one task of a worker measures, and tasks that wait for each worker.
_TASK_RECORDS = 16
_AHEAD = 3


@dataclass(frozen=True)
class MeasureSummary:
    """What `measure_cohort` did.

    Attributes:
        study: the study folder.
        n_records: records of the cohort.
        n_measured: of these, with a median beat and measurements.
        n_failed: of these, without; `failure` in `measurements.parquet` says why.
        failures: how many records for each reason.
        n_resumed: records that an earlier, unfinished run had done.
        n_without_p: measured records without P wave.
        medians: the cohort's median of rate, PR, QRS, QT and Fridericia's QTc.
        seconds: wall time of this run.
    """

    study: Path
    n_records: int
    n_measured: int
    n_failed: int
    failures: Mapping[str, int]
    n_resumed: int
    n_without_p: int
    medians: Mapping[str, float | None]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """The summary as a JSON-ready mapping."""
        return {**asdict(self), "study": str(self.study)}


def measure_cohort(
    study: Path,
    *,
    medians: Medians = "own",
    workers: int = 1,
    overwrite: bool = False,
    shard_records: int = beats.SHARD_RECORDS,
) -> MeasureSummary:
    """Measure every record of a cohort; memory does not grow with it.

    Writes in the study folder:

    - `beats.zarr`: `median_beat` (record, lead, sample) with `noise_uv` (record, lead) and
      `n_beats` (record); see `leadlight.cohort.beats`.
    - `measurements.parquet`: one row per record in the cohort's order; `record_id`, `n_beats`
      found, `n_beats_averaged`, `median_beat` ("strip" or "cart": whose it is), `noise_uv`
      (median over leads; null of a cart's), confidences, all of
      `leadlight.ecg.measurements.QUANTITIES` (null where absent), `absent_reasons`,
      `failure` (null where measured).
    - `fiducials.parquet`: `record_id, lead` (a name or "global"), `beat, wave, onset, peak,
      offset` in samples at the record's own rate, NaN where absent, and `confidence`, the
      lowest of the wave's points. The rows "global" agree with the measurements.
    - `measure-provenance.json`.

    A record that cannot be measured gets a row with the reason; it stops nothing.

    Args:
        study: folder with a cohort.
        medians: "own" makes every median beat from the strip; "cart" takes the cart's own where the
            recording brought one.
        workers: processes that measure. The result does not depend on it. With more than one, a
            script needs the usual `if __name__ == "__main__":`.
        overwrite: replace the results that are there.
        shard_records: records per file of the store, and at most what a kill loses.

    Raises:
        LeadlightError: there is no cohort, it has results already, or another process is measuring
            it.
        ModelMismatch: the delineator's weights and card disagree.
    """
    started = time.monotonic()
    cohort = open_cohort(study)
    load_network()
    with only_one(study / LOCK, f"measuring {study}"), told_when_full(study):
        n_resumed = _measure_all(cohort, medians, workers, overwrite, shard_records)
    return _summary(study, n_resumed, time.monotonic() - started)


def _measure_all(
    cohort: Cohort, medians: Medians, workers: int, overwrite: bool, shard_records: int
) -> int:
    """Measure and publish; the number of records that an earlier run had done."""
    study, folder = cohort.study, cohort.study / PARTIAL
    key = {
        "layout": 2,
        "version": __version__,
        "cohort": fingerprint(study / "records.parquet"),
        "delineator": read_card()["model"]["weights_sha256"],
        "shard_records": shard_records,
        "medians": medians,
    }
    if not (folder / "ready").exists() or _key_of(folder) != key:
        for name in ("measurements.parquet", "beats.zarr", "fiducials.parquet"):
            refuse_overwrite(study / name, overwrite)
        n_resumed = _measure_parts(cohort, folder, key, workers, shard_records)
        _join(folder, cohort, medians, workers)
    else:
        n_resumed = len(cohort)
    _publish(folder, study)
    return n_resumed


def _measure_parts(
    cohort: Cohort, folder: Path, key: dict[str, Any], workers: int, shard_records: int
) -> int:
    """Write the parts that are not there yet; the number of records that were."""
    if _key_of(folder) != json.loads(json.dumps(key)):
        (folder / "key.json").unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        beats.create(folder / "beats.zarr", cohort.records["record_id"], shard_records)
        write_json(folder / "key.json", key)
    n_parts = -(-len(cohort) // shard_records)
    todo = [part for part in range(n_parts) if not _is_whole(folder, part)]
    spans = {
        part: range(part * shard_records, min((part + 1) * shard_records, len(cohort)))
        for part in todo
    }
    n_resumed = len(cohort) - sum(len(span) for span in spans.values())
    if n_resumed:
        say(f"Going on behind {n_resumed} records of an unfinished run.")
    store = beats.open_store(folder / "beats.zarr", mode="r+")
    with bar("Measuring", len(cohort)) as progress:
        progress.step(n_resumed)
        # Tasks end where parts do, so that what goes through the network together, and with it the
        # last digit, does not hang on where an earlier run was cut off.
        results = _measured(cohort, list(spans.values()), key["medians"], workers)
        for part, span in spans.items():
            done: list[MeasuredRecord] = []
            for _ in span:
                done.append(next(results))
                progress.step()
            beats.write_rows(
                store,
                span,
                [one.stored for one in done],
                [one.noise_uv for one in done],
                [one.row["n_beats_averaged"] for one in done],
            )
            for array in ("median_beat", "noise_uv", "n_beats"):
                sync(folder / "beats.zarr" / array / "c" / str(part))
            with written_whole(_table(folder, "fiducials", part)) as partial:
                fiducial_rows(done).write_parquet(partial)
            # Last: a part counts once its measurements are there.
            with written_whole(_table(folder, "measurements", part)) as partial:
                rows = [one.row for one in done]
                pl.DataFrame(rows, schema=MEASUREMENTS_SCHEMA).write_parquet(partial)
    return n_resumed


def _measured(
    cohort: Cohort, spans: Sequence[range], medians: Medians, workers: int
) -> Iterator[MeasuredRecord]:
    """Results of the rows of `spans` in their order, from this process or from several."""
    study = cohort.study
    tasks = [
        span[start : start + _TASK_RECORDS]
        for span in spans
        for start in range(0, len(span), _TASK_RECORDS)
    ]
    if workers <= 1:
        with _one_thread():
            for span in spans:
                yield from measure_stream(cohort, span, medians)
        return
    rest = deque(tasks)
    while rest:
        try:
            with _pool(workers) as pool:
                coming = iter(tuple(rest))
                under_way: deque[Future[list[MeasuredRecord]]] = deque()
                for task in coming:
                    under_way.append(pool.submit(_measure_rows, study, task, medians))
                    if len(under_way) >= workers * _AHEAD:
                        done = under_way.popleft().result()
                        rest.popleft()
                        yield from done
                while under_way:
                    done = under_way.popleft().result()
                    rest.popleft()
                    yield from done
        except BrokenProcessPool:
            # A process died: the records of the task that it may have had are measured one by one.
            for row in rest.popleft():
                yield _measure_alone(study, row, medians)


def _measure_alone(study: Path, row: int, medians: Medians) -> MeasuredRecord:
    with _pool(1) as pool:
        try:
            return pool.submit(_measure_rows, study, [row], medians).result()[0]
        except BrokenProcessPool:
            record_id = open_cohort(study).records["record_id"][row]
            return failed_record(record_id, "measuring failed: its process died")


def _pool(workers: int) -> ProcessPoolExecutor:
    # A fork would copy the locks of the array and network libraries; a fork server starts clean.
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent)


def _measure_rows(study: Path, rows: Sequence[int], medians: Medians) -> list[MeasuredRecord]:
    with _one_thread():
        return list(measure_stream(_opened(study), rows, medians))


@lru_cache(maxsize=1)  # of a worker's process, which lives for one call of `measure_cohort`
def _opened(study: Path) -> Cohort:
    return open_cohort(study)


def _join(folder: Path, cohort: Cohort, medians: Medians, workers: int) -> None:
    """Make the tables of their parts, and mark the folder as whole."""
    n_parts = len(list(folder.glob("measurements-*.parquet")))
    for name in ("fiducials", "measurements"):
        # One scan of many files; joining many scans keeps more of each in memory.
        parts = [_table(folder, name, part) for part in range(n_parts)]
        pl.scan_parquet(parts).sink_parquet(folder / f"{name}.parquet")
    card = read_card()["model"]
    parameters = {
        "workers": workers,
        "medians": medians,
        "delineator": card.get("name", "delineator"),
        "delineator_sha256": card["weights_sha256"],
        "records": len(cohort),
    }
    provenance = describe("measure", parameters, [cohort.study / "records.parquet"])
    write_json(folder / "measure-provenance.json", provenance)
    write_json(folder / "ready", True)


def _publish(folder: Path, study: Path) -> None:
    """Move the results to their final names, the measurements last."""
    measurements = "measurements.parquet"
    if (folder / measurements).exists():
        (study / measurements).unlink(missing_ok=True)
    for name in ("beats.zarr", "fiducials.parquet", "measure-provenance.json", measurements):
        made, final = folder / name, study / name
        if made.exists():
            put_in_place(made, final)
    # First: without it, what a kill leaves of the others is not gone on with.
    (folder / "key.json").unlink(missing_ok=True)
    shutil.rmtree(folder)


def _summary(study: Path, n_resumed: int, seconds: float) -> MeasureSummary:
    names = ["heart_rate_bpm", "pr_ms", "qrs_ms", "qt_ms", "qtc_fridericia_ms"]
    table = pl.read_parquet(
        study / "measurements.parquet", columns=["failure", "p_duration_ms", *names]
    )
    measured = table.filter(pl.col("failure").is_null())
    failures = Counter(table["failure"].drop_nulls().to_list())
    return MeasureSummary(
        study=study,
        n_records=table.height,
        n_measured=measured.height,
        n_failed=table.height - measured.height,
        failures=dict(failures.most_common()),
        n_resumed=n_resumed,
        n_without_p=int(measured["p_duration_ms"].null_count()),
        medians={name: _median(measured[name]) for name in names},
        seconds=seconds,
    )


def _median(column: pl.Series) -> float | None:
    value = column.median()
    return float(value) if isinstance(value, int | float) else None


def _key_of(folder: Path) -> Any:
    try:
        return json.loads((folder / "key.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _is_whole(folder: Path, part: int) -> bool:
    try:
        for name in ("measurements", "fiducials"):
            pl.read_parquet_schema(_table(folder, name, part))
    except (OSError, pl.exceptions.PolarsError):
        return False
    return True


def _table(folder: Path, name: str, part: int) -> Path:
    return folder / f"{name}-{part:05d}.parquet"


@contextmanager
def _one_thread() -> Iterator[None]:
    """The network is small: more threads than one only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
