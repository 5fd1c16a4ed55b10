"""Explain a cohort: relevance of every chosen record, and what it says of cases against controls.

Each record passes once: prepared, explained by integrated gradients for every asked class, written
to `relevance.zarr`, and added to running averages. The same is done with a network of random
weights, whose relevance is averaged and not kept. Memory does not grow with the signals; some 0.5
kB per record, class and network are held at the end for the tables.
"""

import dataclasses
import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from leadlight.atomic import refuse_overwrite
from leadlight.classify.models import Model, random_twin
from leadlight.classify.prepare import prepare
from leadlight.cohort.labels import NORMAL
from leadlight.cohort.store import Cohort, open_cohort
from leadlight.errors import LeadlightError
from leadlight.explain import findings, relevance_store
from leadlight.explain.averages import PatientMoments
from leadlight.explain.beats import BeatWindow
from leadlight.explain.checkpoint import PARTS, Checkpoint, is_ready
from leadlight.explain.findings import RANDOM, TRAINED
from leadlight.explain.folding import fold_batch_norm
from leadlight.explain.integrated_gradients import Precision
from leadlight.explain.memory import give_back_freed_memory, peak_memory_mb
from leadlight.explain.one_pass import (
    BEAT_FIELDS,
    Cell,
    Settings,
    Work,
    add_averages,
    batches,
    cell_prefix,
    explain_batch,
    saved_averages,
)
from leadlight.explain.selection import UNLABELLED, Selection, select_records
from leadlight.progress import bar

_CALIBRATION_RECORDS = 64


@dataclass(frozen=True)
class ExplainSummary:
    """What `explain_cohort` did: `findings/summary.json` as a mapping, and the folder."""

    folder: Path
    summary: Mapping[str, Any]


def explain_cohort(
    study: Path,
    model: Model,
    *,
    classes: Sequence[str] = ("AF", "LBBB"),
    control: str = NORMAL,
    rows: Sequence[int] | None = None,
    min_held_out: int = 20,
    most_per_group: int | None = None,
    tolerance: float = 0.02,
    max_steps: int = 54,
    precision: Precision = "float32",
    window: BeatWindow | None = None,
    random_control: bool = True,
    memory_mb: float = 256.0,
    seed: int = 0,
    overwrite: bool = False,
) -> ExplainSummary:
    """Explain the cases and controls of a study, and its records without labels.

    Writes `relevance.zarr` (`relevance_store`) and `findings/` (`findings`): `records.parquet`,
    `leads.parquet`, `beats.parquet`, `classes.parquet`, `summary.json`, `card.toml`,
    `provenance.json`. A run that was killed goes on from its last 64 records when it is asked for
    the same again, and ends with the same numbers.

    Args:
        study: folder with a cohort whose records have labels.
        model: from `models.load_model`.
        classes: to explain, among the model's.
        control: label of the controls.
        rows, min_held_out, most_per_group: which records, see `selection.select_records`.
        tolerance, max_steps, precision: see `integrated_gradients`.
        window: of the average beats around R.
        random_control: explain the same records with a network of the same architecture, random
            weights (`seed`) and batch norm fitted to up to 64 of the records.
        memory_mb: bound on one pass through the network; changes no result.
        seed: of the random network and of the choice where `most_per_group` limits.
        overwrite: replace the findings that are there.

    Raises:
        LeadlightError: there is no cohort, nothing to explain, results exist already, no record can
            be given to the model, or another process explains this study.
    """
    asked = _ask(
        study, model, classes=classes, control=control, rows=rows, min_held_out=min_held_out,
        most_per_group=most_per_group, tolerance=tolerance, max_steps=max_steps,
        precision=precision, window=window, random_control=random_control, seed=seed,
    )  # fmt: skip
    if not is_ready(study):
        _refuse_overwrite(study, overwrite)
    started = time.monotonic()
    checkpoint = Checkpoint(study, asked.key)
    try:
        if not checkpoint.ready:
            _refuse_overwrite(study, overwrite)
            work = _prepare_work(asked, memory_mb, checkpoint)
            _take_parts(work, asked.key, checkpoint)
            _explain_shards(work, checkpoint, range(asked.n_shards))
            run = {
                "seconds": round(time.monotonic() - started, 1),
                "peak_memory_mb": peak_memory_mb(),
                "memory_mb": memory_mb,
                "threads": torch.get_num_threads(),
            }
            _write_findings(work, checkpoint, run)
        checkpoint.publish()
    finally:
        checkpoint.release()
    summary = json.loads((study / "findings" / "summary.json").read_text(encoding="utf-8"))
    return ExplainSummary(study / "findings", summary)


def explain_part(
    study: Path, model: Model, part: int, parts: int, *, memory_mb: float = 256.0, **options: Any
) -> int:
    """Explain one of several parts of the records that `explain_cohort` would explain.

    Parts can be explained at the same time, on different machines. `explain_cohort` with the same
    options then takes what they did, does what is missing, and writes the findings; averages are
    merged, so they may differ in the last digits from those of one run.

    Args:
        study: folder with a cohort whose records have labels.
        model: from `models.load_model`.
        part: which, from 0; `parts`: of how many.
        memory_mb: bound on one pass through the network.
        options: as `explain_cohort` takes them.

    Returns:
        How many records the part has.

    Raises:
        LeadlightError: as `explain_cohort`, or there is no such part.
    """
    if not 0 <= part < parts:
        raise LeadlightError(f"There are parts 0 to {parts - 1}; {part} is none.")
    asked = _ask(study, model, **options)
    first, last = (asked.n_shards * at // parts for at in (part, part + 1))
    name = f"{first:05d}-{last:05d}"
    checkpoint = Checkpoint(study, {**asked.key, "shards": [first, last]}, name)
    try:
        if first + checkpoint.n_shards < last:
            work = _prepare_work(asked, memory_mb, checkpoint)
            _explain_shards(work, checkpoint, range(first, last))
    finally:
        checkpoint.release()
    size = relevance_store.SHARD_RECORDS
    return len(asked.selection.rows[first * size : last * size])


@dataclass(frozen=True)
class _Asked:
    """What is to be explained, and the key of its numbers."""

    cohort: Cohort
    model: Model
    settings: Settings
    selection: Selection
    key: Mapping[str, Any]

    @property
    def n_shards(self) -> int:
        return -(-len(self.selection.rows) // relevance_store.SHARD_RECORDS)


def _ask(
    study: Path,
    model: Model,
    *,
    classes: Sequence[str] = ("AF", "LBBB"),
    control: str = NORMAL,
    rows: Sequence[int] | None = None,
    min_held_out: int = 20,
    most_per_group: int | None = None,
    tolerance: float = 0.02,
    max_steps: int = 54,
    precision: Precision = "float32",
    window: BeatWindow | None = None,
    random_control: bool = True,
    seed: int = 0,
) -> _Asked:
    """Choose the records; arguments as `explain_cohort` takes them."""
    cohort = open_cohort(study)
    settings = Settings(
        tuple(classes), control, min_held_out, most_per_group, tolerance, max_steps, precision,
        window or BeatWindow(), random_control, seed,
    )  # fmt: skip
    selection = select_records(
        cohort.records, model, classes=settings.classes, control=control, rows=rows,
        min_held_out=min_held_out, most_per_group=most_per_group, seed=seed,
    )  # fmt: skip
    key = _key(cohort, model, selection, settings)
    return _Asked(cohort, model, settings, selection, json.loads(json.dumps(key)))


def _take_parts(work: Work, key: Mapping[str, Any], checkpoint: Checkpoint) -> None:
    """Take over, behind what is done, the parts that were explained apart and are whole."""
    folder = checkpoint.study / PARTS
    for place in sorted(folder.iterdir()) if folder.is_dir() else ():
        first, last = (int(word) for word in place.name.split("-"))
        if first != checkpoint.n_shards or first == last:
            continue
        part = Checkpoint(checkpoint.study, {**key, "shards": [first, last]}, place.name)
        try:
            if first + part.n_shards != last:
                continue
            for shard in range(first, last):
                relevance_store.copy_shard(part.store, checkpoint.store, shard)
            add_averages(work, part.averages)
            checkpoint.commit(part.shards(), saved_averages(work))
        finally:
            part.release()


def _refuse_overwrite(study: Path, overwrite: bool) -> None:
    for result in (study / "relevance.zarr", study / "findings" / "summary.json"):
        refuse_overwrite(result, overwrite)


def _prepare_work(asked: _Asked, memory_mb: float, checkpoint: Checkpoint) -> Work:
    cohort, model, settings, selection = (
        asked.cohort, asked.model, asked.settings, asked.selection,
    )  # fmt: skip
    spec = model.card.input
    offsets = settings.window.offsets(spec.rate_hz)
    networks = {TRAINED: model.network}
    if settings.random_control:
        inputs = _calibration(cohort, model, selection)
        networks[RANDOM] = random_twin(model, settings.seed, calibrate_on=inputs).network
    example = torch.zeros(1, len(spec.leads), spec.samples)
    networks = {name: fold_batch_norm(network, example) for name, network in networks.items()}
    moments: dict[Cell, PatientMoments] = {}
    counts: dict[Cell, Counter[str]] = {}
    for name in settings.classes:
        for group in (name, settings.control):
            records_of = Counter(selection.groups[group].patient_ids)
            for network in networks:
                cell = (name, group, network)
                saved = {
                    key.removeprefix(cell_prefix(cell)): value
                    for key, value in checkpoint.averages.items()
                    if key.startswith(cell_prefix(cell))
                }
                n_beats, n_records = saved.pop("counts", np.zeros(2, dtype=np.int64)).tolist()
                counts[cell] = Counter(beats=n_beats, records=n_records)
                moments[cell] = (
                    PatientMoments.from_state(saved, records_of)
                    if saved
                    else PatientMoments(
                        (len(BEAT_FIELDS), len(spec.leads), offsets.size), records_of
                    )
                )
    if checkpoint.n_shards == 0:
        relevance_store.create_store(
            checkpoint.store,
            cohort.records["record_id"][list(selection.rows)].to_list(),
            settings.classes,
            spec.leads,
            spec.samples,
            {
                "rate_hz": spec.rate_hz,
                "model": model.card.model.name,
                "padding": spec.padding,
                "crop": spec.crop,
                "method": "integrated gradients, zero baseline",
            },
        )
    members = {name: frozenset(group.rows) for name, group in selection.groups.items()}
    members[UNLABELLED] = frozenset(selection.unlabelled)
    return Work(cohort, model, networks, selection, settings, memory_mb, members, moments, counts)


def _explain_shards(work: Work, checkpoint: Checkpoint, shards: range) -> None:
    """Explain those of `shards` that are not done."""
    size = relevance_store.SHARD_RECORDS
    rows = work.selection.rows
    todo = shards[checkpoint.n_shards :]
    with bar("Explaining records", len(rows[shards.start * size : shards.stop * size])) as progress:
        progress.step(len(rows[shards.start * size : todo.start * size]))
        for shard in todo:
            part = rows[shard * size : (shard + 1) * size]
            spec = work.model.card.input
            kept = np.full(
                (len(part), len(work.settings.classes), len(spec.leads), spec.samples),
                np.nan,
                dtype=np.float32,
            )
            tables, place = [], 0
            for batch_rows, recordings in batches(work.cohort, part):
                tables += explain_batch(work, batch_rows, recordings, kept[place:])
                place += len(recordings)
                progress.step(len(recordings))
            relevance_store.write_shard(checkpoint.store, shard, kept)
            table = pl.DataFrame(tables, schema=findings.ROWS_SCHEMA)
            checkpoint.commit([table], saved_averages(work))
            give_back_freed_memory()


def _calibration(cohort: Cohort, model: Model, selection: Selection) -> Iterator[torch.Tensor]:
    """Batches of inputs spread evenly over the selection, for the random network's batch norm."""
    step = -(-len(selection.rows) // _CALIBRATION_RECORDS)
    for _, recordings in batches(cohort, selection.rows[::step]):
        inputs = []
        for recording in recordings:
            try:
                inputs.append(prepare(recording, model.card).values.values)
            except LeadlightError:
                continue  # it is counted when its turn comes
        if inputs:
            yield torch.from_numpy(np.stack(inputs))


def _write_findings(work: Work, checkpoint: Checkpoint, run: Mapping[str, Any]) -> None:
    rows = checkpoint.rows()
    explained = rows.filter(pl.col("refused").is_null())
    if explained.is_empty():
        raise LeadlightError(
            f"None of the {len(work.selection.rows)} records can be given to "
            f"{work.model.card.model.name}; the first: {rows['refused'][0]}"
        )
    placed = (
        work.cohort.records[list(work.selection.rows)]
        .select("record_id")
        .join(explained.unique("record_id", keep="first"), on="record_id", how="left")
        .select(
            pl.col("first_valid").fill_null(-1),
            pl.col("n_valid").fill_null(0),
            pl.col("start_s").fill_null(float("nan")),
        )
    )
    relevance_store.finish_store(
        checkpoint.store,
        placed["first_valid"].to_numpy(),
        placed["n_valid"].to_numpy(),
        placed["start_s"].to_numpy(),
    )
    beats = {cell: moments.interval() for cell, moments in work.moments.items()}
    findings.write_findings(
        checkpoint.findings,
        work.cohort,
        work.model,
        work.selection,
        dataclasses.asdict(work.settings),
        rows,
        beats,
        work.counts,
        run,
    )


def _key(cohort: Cohort, model: Model, selection: Selection, settings: Settings) -> dict[str, Any]:
    """What makes the numbers: a partial result with another key is of no use."""
    records = hashlib.sha256()
    chosen = cohort.records[list(selection.rows)]
    for row in chosen.select("record_id", "patient_id", "labels", "signal_sha256").iter_rows():
        records.update(json.dumps(row).encode())
    for group in selection.groups.values():
        records.update(json.dumps([group.name, group.rows]).encode())
    weights = hashlib.sha256()
    for name, tensor in sorted(model.network.state_dict().items()):
        weights.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return {
        "layout": 1,
        "records": records.hexdigest(),
        "weights": weights.hexdigest(),
        "card": model.card.model_dump(mode="json"),
        "settings": dataclasses.asdict(settings),
    }
