"""One batch of records through the networks: relevance, rows for the tables, running averages."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from scipy.special import expit

from leadlight.classify.models import Model
from leadlight.classify.prepare import PreparedInput, prepare
from leadlight.cohort.store import Cohort
from leadlight.ecg.recording import Recording
from leadlight.errors import LeadlightError
from leadlight.explain import findings
from leadlight.explain.averages import PatientMoments
from leadlight.explain.beats import BeatWindow, average_beat, beat_places
from leadlight.explain.findings import TRAINED
from leadlight.explain.integrated_gradients import Precision, integrated_gradients
from leadlight.explain.selection import UNLABELLED, Selection

# What is averaged over beats, see `findings.beat_table`.
BEAT_FIELDS = ("mv", "relevance", "absolute_share")
# Where a card names no threshold.
THRESHOLD_WITHOUT_CARD = 0.5
BATCH_RECORDS = 8

Cell = tuple[str, str, str]  # class explained, group, network


@dataclass(frozen=True)
class Settings:
    """What decides the numbers; see `explain_cohort`."""

    classes: tuple[str, ...]
    control: str
    min_held_out: int
    most_per_group: int | None
    tolerance: float
    max_steps: int
    precision: Precision
    window: BeatWindow
    random_control: bool
    seed: int


@dataclass(frozen=True)
class Work:
    """One run: the networks, the records and the averages that grow."""

    cohort: Cohort
    model: Model
    networks: Mapping[str, torch.nn.Module]
    selection: Selection
    settings: Settings
    memory_mb: float
    members: Mapping[str, frozenset[int]]
    moments: dict[Cell, PatientMoments]
    counts: dict[Cell, Counter[str]]


def explain_batch(
    work: Work,
    rows: Sequence[int],
    recordings: Sequence[Recording],
    kept: npt.NDArray[np.float32],
) -> list[dict[str, Any]]:
    """Explain up to `BATCH_RECORDS` records and add them to the averages of `work`.

    Returns rows of `findings.ROWS_SCHEMA`; relevance goes to `kept` (record, class, lead, sample).
    """
    table: list[dict[str, Any]] = []
    prepared: list[tuple[int, Recording, PreparedInput]] = []
    for place, recording in enumerate(recordings):
        try:
            prepared.append((place, recording, prepare(recording, work.model.card)))
        except LeadlightError as error:
            about = work.cohort.records.row(rows[place], named=True)
            table.append(_refused_row(about, str(error)))
            for cell, moments in work.moments.items():
                if rows[place] in work.members[cell[1]]:
                    moments.skip(about["patient_id"])
    if not prepared:
        return table
    inputs = torch.from_numpy(np.stack([one.values.values for _, _, one in prepared]))
    columns = [work.model.card.output.classes.index(name) for name in work.settings.classes]
    places = [beat_places(recording, one, work.settings.window) for _, recording, one in prepared]
    for network_name, network in work.networks.items():
        found = integrated_gradients(
            network, inputs, classes=columns, tolerance=work.settings.tolerance,
            max_steps=work.settings.max_steps, precision=work.settings.precision,
            memory_mb=work.memory_mb,
        )  # fmt: skip
        for index, (place, _, one) in enumerate(prepared):
            about = work.cohort.records.row(rows[place], named=True)
            relevance = found.relevance[index].numpy()
            if network_name == TRAINED:
                kept[place] = relevance
            _add_beats(
                work, network_name, rows[place], about, one, relevance, places[index].samples
            )
            for column, name in enumerate(work.settings.classes):
                table.append(
                    {
                        **_about(work, rows[place], about, name, one),
                        **_measures(relevance[column], one),
                        "model": network_name,
                        "logit": float(found.logit[index, column]),
                        "baseline_logit": float(found.baseline_logit[index, column]),
                        "completeness_error": float(found.completeness_error[index, column]),
                        "steps": int(found.steps[index, column]),
                        "n_beats": int(places[index].samples.size),
                        "n_beats_left_out": places[index].n_left_out,
                    }
                )
    for row in table:
        if row["logit"] is not None:
            row["probability"] = float(expit(row["logit"]))
            row["outcome"] = _outcome(work, row)
    return table


def batches(cohort: Cohort, rows: Sequence[int]) -> Iterator[tuple[list[int], list[Recording]]]:
    """Rows and their recordings, `BATCH_RECORDS` at a time, in the order given.

    Read one by one: cases are scattered over a cohort, and what a joint read of many shards takes
    grows with their number.
    """
    for first in range(0, len(rows), BATCH_RECORDS):
        part = list(rows[first : first + BATCH_RECORDS])
        yield part, [cohort.recording(row) for row in part]


def saved_averages(work: Work) -> dict[str, npt.NDArray[Any]]:
    """The running averages as plain arrays, for a checkpoint."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    for cell, moments in work.moments.items():
        for key, value in moments.state().items():
            arrays[cell_prefix(cell) + key] = value
        count = work.counts[cell]
        arrays[cell_prefix(cell) + "counts"] = np.array([count["beats"], count["records"]])
    return arrays


def add_averages(work: Work, saved: Mapping[str, npt.NDArray[Any]]) -> None:
    """Take in the averages that a part of the same records saved."""
    for cell, moments in work.moments.items():
        state = {
            key.removeprefix(cell_prefix(cell)): value
            for key, value in saved.items()
            if key.startswith(cell_prefix(cell))
        }
        beats, records = state.pop("counts").tolist()
        work.counts[cell].update(beats=beats, records=records)
        moments.merge(moments.from_state(state, moments.records_of))


def _add_beats(
    work: Work,
    network: str,
    row: int,
    about: Mapping[str, Any],
    one: PreparedInput,
    relevance: npt.NDArray[np.float32],
    r_samples: npt.NDArray[np.int64],
) -> None:
    """Add a record's average beats to every cell that it belongs to."""
    missing = [lead in one.missing_leads for lead in work.model.card.input.leads]
    for column, name in enumerate(work.settings.classes):
        for group in (name, work.settings.control):
            if row not in work.members[group]:
                continue
            cell = (name, group, network)
            if not r_samples.size:
                work.moments[cell].skip(about["patient_id"])
                continue
            field = np.stack(
                [one.values.values / one.unit_scale, relevance[column], np.abs(relevance[column])]
            )
            beat = average_beat(
                xr.DataArray(field, dims=("field", "lead", "sample")),
                r_samples, one.rate_hz, work.settings.window,
            ).values  # fmt: skip
            mass = beat[2].sum()
            beat[2] = beat[2] / mass if mass > 0 else np.nan
            beat[:, missing] = np.nan
            work.moments[cell].add(about["patient_id"], beat)
            work.counts[cell].update(beats=int(r_samples.size), records=1)


def _about(
    work: Work, row: int, about: Mapping[str, Any], name: str, one: PreparedInput
) -> dict[str, Any]:
    return {
        "record_id": about["record_id"],
        "patient_id": about["patient_id"],
        "split": about["split"],
        "trained_on": work.selection.trained_on[row],
        "group": _group_of(work, row, name),
        "class": name,
        "labels": about["labels"],
        "first_valid": one.first_valid,
        "n_valid": one.n_valid,
        "start_s": one.start_s,
    }


def _measures(relevance: npt.NDArray[np.float32], one: PreparedInput) -> dict[str, Any]:
    """Per record and per lead: what adds up and where it lies; over the valid samples."""
    inside = relevance[:, one.valid].astype(np.float64)
    per_lead, absolute = inside.sum(axis=1), np.abs(inside).sum(axis=1)
    total = float(relevance.sum(dtype=np.float64))
    mass = float(absolute.sum())
    share = absolute / mass if mass > 0 else np.full(absolute.shape, np.nan)
    missing = [lead in one.missing_leads for lead in one.values.coords["lead"].values]
    per_lead[missing], share[missing] = np.nan, np.nan
    return {
        "total_relevance": total,
        "mean_relevance": total / (relevance.shape[0] * one.n_valid),
        "lead_mean": (per_lead / one.n_valid).tolist(),
        "lead_share": share.tolist(),
    }


def _group_of(work: Work, row: int, name: str) -> str:
    """The class itself for its cases, the control's name for controls, else the record's class."""
    names = [name, work.settings.control, *work.settings.classes, UNLABELLED]
    return next(group for group in names if row in work.members[group])


def _outcome(work: Work, row: Mapping[str, Any]) -> str | None:
    if row["labels"] is None:
        return None
    threshold = work.model.card.output.thresholds.get(row["class"], THRESHOLD_WITHOUT_CARD)
    truth, called = row["class"] in row["labels"], row["probability"] >= threshold
    return {(True, True): "TP", (True, False): "FN", (False, True): "FP", (False, False): "TN"}[
        truth, called
    ]


def _refused_row(about: Mapping[str, Any], reason: str) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(findings.ROWS_SCHEMA)
    row |= {"record_id": about["record_id"], "patient_id": about["patient_id"]}
    return row | {"model": TRAINED, "refused": reason}


def cell_prefix(cell: Cell) -> str:
    """What the names of a cell's arrays in a checkpoint begin with."""
    return "/".join(cell) + "/"
