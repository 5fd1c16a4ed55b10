"""Example records: chosen by a stated rule, drawn on ECG paper, coloured by relevance."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import xarray as xr
from matplotlib.figure import Figure

from leadlight.ecg.filtering import resample
from leadlight.ecg.leads import LEADS
from leadlight.ecg.recording import Recording
from leadlight.report.paper import draw_ecg

# Group of the records without labels in `findings/records.parquet`.
UNLABELLED = "unlabelled"
SMOOTHING_MS = 8.0  # a fifth of a millimetre of paper: less than a trace's width shows anyway

RULES = {
    "TP": "the true positive of median probability",
    "FP": "the false positive of highest probability",
    "FN": "the false negative of lowest probability",
    "TN": "the control of median probability among the true negatives",
    UNLABELLED: "the record without a label of highest probability",
}


@dataclass(frozen=True)
class Example:
    """One record chosen to be shown for a class: which outcome it stands for, and why this one."""

    record_id: str
    class_name: str
    outcome: str
    rule: str
    probability: float
    group: str
    n_like_it: int


def choose_examples(
    records: pl.DataFrame, class_name: str, control: str, available: set[str]
) -> list[Example]:
    """At most one record per outcome, by `RULES`; ties go to the first record_id.

    Args:
        records: `findings/records.parquet`.
        class_name: the explained class.
        control: the group from which the true negative comes.
        available: record_ids that have a signal and stored relevance.
    """
    rows = records.filter((pl.col("class") == class_name) & (pl.col("model") == "trained")).sort(
        "probability", "record_id"
    )
    chosen = []
    for outcome, rule in RULES.items():
        of_rule = "group" if outcome == UNLABELLED else "outcome"
        part = rows.filter(pl.col(of_rule) == outcome)
        if outcome == "TN":
            part = part.filter(pl.col("group") == control)
        shown = part.filter(pl.col("record_id").is_in(list(available)))
        if not shown.height:
            continue
        last = shown.height - 1
        place = {"TP": last // 2, "TN": last // 2, "FP": last, "FN": 0, UNLABELLED: last}[outcome]
        row = shown.row(place, named=True)
        chosen.append(
            Example(
                row["record_id"],
                class_name,
                outcome,
                rule,
                row["probability"],
                row["group"],
                part.height,
            )
        )
    return chosen


def draw_example(
    recording: Recording,
    relevance: xr.DataArray,
    attributes: Mapping[str, Any],
    title: str,
) -> tuple[Figure, pl.DataFrame]:
    """A record on ECG paper, coloured by the relevance of one class.

    The record is resampled to the relevance's rate, so each drawn sample has the relevance of the
    very sample that the model saw; padding is not drawn.

    Args:
        recording: as the cohort holds it.
        relevance: (lead, sample) of one record and class, at `attributes["rate_hz"]`.
        attributes: of the relevance array; `first_valid`, `n_valid` and `start_s` say where the
            record lies in it. Where they are absent, `padding` ("both", "start", "end") and `crop`
            ("centre", "start") do, by default both and centre.
        title: of the drawing.

    Returns:
        The figure, and (lead, time_s, mv, relevance) of what it draws.
    """
    rate_hz = float(attributes["rate_hz"])
    signal_mv, relevance = _on_same_samples(recording, relevance, attributes)
    figure = draw_ecg(
        signal_mv, rate_hz, relevance=relevance, title=title, smoothing_ms=SMOOTHING_MS
    )
    n = signal_mv.sizes["sample"]
    names = [lead for lead in LEADS if lead in relevance["lead"].values]
    data = pl.DataFrame(
        {
            "lead": np.repeat(names, n),
            "time_s": np.tile(np.arange(n) / rate_hz, len(names)),
            "mv": signal_mv.sel(lead=names).values.ravel().astype(np.float64),
            "relevance": relevance.sel(lead=names).values.ravel().astype(np.float64),
        }
    )
    return figure, data


@dataclass(frozen=True)
class SeenPart:
    """Which part of a record a model saw, at the model's rate.

    Attributes:
        signal_mv: (lead, sample) the record from its first to its last value, at the model's rate.
        start_s: time in the recording of its first sample.
        first: the first of its samples that the model saw.
        n: how many it saw.
        before: where the first one lies in the model's input.
    """

    signal_mv: xr.DataArray
    start_s: float
    first: int
    n: int
    before: int


def seen_part(recording: Recording, room: int, attributes: Mapping[str, Any]) -> SeenPart:
    """Where a record lies in a model's input of `room` samples.

    Args:
        recording: as the cohort holds it.
        room: samples of the input.
        attributes: see `draw_example`.
    """
    rate_hz = float(attributes["rate_hz"])
    present = np.flatnonzero(np.isfinite(recording.signal_mv.values).any(axis=0))
    first, last = (int(present[0]), int(present[-1]) + 1) if present.size else (0, 1)
    at_rate = resample(
        recording.signal_mv.isel(sample=slice(first, last)), recording.rate_hz, rate_hz
    )
    n = at_rate.sizes["sample"]
    cut = max(n - room, 0) // 2 if attributes.get("crop", "centre") == "centre" else 0
    lacking = max(room - n, 0)
    padding = str(attributes.get("padding", "both"))
    before = {"both": lacking // 2, "start": lacking, "end": 0}.get(padding, lacking // 2)
    length = min(n, room)
    start_s = first / recording.rate_hz
    if "first_valid" in attributes and "n_valid" in attributes:
        before = int(attributes["first_valid"])
        length = min(int(attributes["n_valid"]), n)
        if "start_s" in attributes:
            cut = max(round((float(attributes["start_s"]) - start_s) * rate_hz), 0)
        length = min(length, n - cut)
    return SeenPart(at_rate, start_s, cut, length, before)


def _on_same_samples(
    recording: Recording, relevance: xr.DataArray, attributes: Mapping[str, Any]
) -> tuple[xr.DataArray, xr.DataArray]:
    seen = seen_part(recording, relevance.sizes["sample"], attributes)
    return (
        seen.signal_mv.isel(sample=slice(seen.first, seen.first + seen.n)),
        relevance.isel(sample=slice(seen.before, seen.before + seen.n)),
    )
