"""What the record viewer of a page needs: one record's leads, and where its relevance lies in them.

Relevance was computed on the model's input: at the model's rate, with padding, of the part that was
kept. Here it lies on the samples of the drawn signal, whose rate is the model's own, or the model's
divided by a whole number where that is too fast for a page; then each drawn sample has the sum of
the relevance of the input samples that it stands for, so that sums stay what they were.
"""

import base64
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import xarray as xr

from leadlight.cohort.signals import MISSING
from leadlight.ecg.filtering import resample
from leadlight.ecg.leads import LEADS
from leadlight.ecg.recording import Recording
from leadlight.errors import LeadlightError
from leadlight.report.examples import SMOOTHING_MS, SeenPart, seen_part
from leadlight.report.results import Results, read_results

# The scripts of the component; `base.js` comes before them.
SCRIPTS = ("record_sheet.js", "record.js")

MOST_HZ = 250.0
MOST_S = 60.0
_COUNTS = 32767

Floats = npt.NDArray[np.float64]


def record_data(
    study: Path | Results,
    record_id: str,
    *,
    classes: Sequence[str] | None = None,
    most_s: float = MOST_S,
) -> dict[str, Any]:
    """What `Leadlight.record` draws of one record.

    Signals and relevance are int16, little-endian, (lead, sample), in base64: `signal` in
    `unit_uv` microvolt per count, −32768 where a value is missing; a class's `relevance.values` in
    `relevance.scale` logits per count on the same samples, zero outside `first`…`end`, the part
    that the model saw. A lead without any value is not among `leads`.

    Args:
        study: the study folder, or its results where they are open already.
        record_id: of the record.
        classes: whose relevance comes along; all that are stored where None, none where empty.
        most_s: a longer record is cut to this around what the model saw.

    Raises:
        LeadlightError: the study has no such record, or no cohort.
    """
    results = study if isinstance(study, Results) else read_results(study)
    if results.cohort is None:
        raise LeadlightError(f"{results.study} holds no cohort, so there is no record to show.")
    row = results.cohort.row_of(record_id)
    about = results.cohort.records.row(row, named=True)
    recording = results.cohort.recording(row)
    one = _stored(results, record_id)
    if one is None:
        shown, each, seen = _at_page_rate(recording), 1, None
    else:
        attributes = _attributes(results, one)
        each = max(1, math.ceil(float(attributes["rate_hz"]) / MOST_HZ))
        seen = seen_part(recording, one["relevance"].sizes["sample"], attributes)
        shown = _thinned(seen, float(attributes["rate_hz"]), each)
    signal_mv, start_s, rate_hz = shown
    window = _window(signal_mv.sizes["sample"], rate_hz, most_s, seen, each)
    part = signal_mv.isel(sample=window)
    leads = [lead for lead in LEADS if np.isfinite(part.sel(lead=lead).values).any()]
    filters = results.card.get("input", {})
    counts, unit_uv = _counts(1e3 * part.sel(lead=leads).values.astype(np.float64))
    found: dict[str, Any] = {
        "record_id": record_id,
        "rate_hz": rate_hz,
        "n_samples": int(part.sizes["sample"]),
        "start_s": round(start_s + window.start / rate_hz, 6),
        "duration_s": round(recording.duration_s, 3),
        "leads": leads,
        "unit_uv": unit_uv,
        "signal": counts,
        "labels": about["labels"],
        "flags": about["flags"],
        "age": about["age"],
        "sex": about["sex"],
        "simulated": about["source_format"] == "simulated",
        "model": results.model_name,
        "method": "" if one is None else str(_attributes(results, one).get("method", "")),
        "model_band_hz": [_number(filters.get(name)) for name in ("highpass_hz", "lowpass_hz")],
        "smoothing_ms": SMOOTHING_MS,
        "classes": [],
    }
    for name, facts in _facts(results, record_id).items():
        stored = None
        if one is not None and seen is not None and name in _names(one, "class"):
            wanted = classes is None or name in classes
            drawn = signal_mv.sizes["sample"]
            stored = _relevance(one, name, seen, each, drawn, window, leads) if wanted else None
        found["classes"].append({"name": name, **facts, "relevance": stored})
    return found


def stored_records(results: Results) -> list[str]:
    """The records that have stored relevance, in the order of `relevance.zarr`."""
    return [] if results.relevance is None else _names(results.relevance, "record_id")


def _stored(results: Results, record_id: str) -> xr.Dataset | None:
    """The record's part of `relevance.zarr`; None where it was not explained."""
    if results.relevance is None:
        return None
    places = np.flatnonzero(results.relevance["record_id"].values == record_id)
    if not places.size:
        return None
    one = results.relevance.isel(record=int(places[0]))
    return None if "n_valid" in one and int(one["n_valid"]) <= 0 else one


def _attributes(results: Results, one: xr.Dataset) -> dict[str, Any]:
    found = {**results.card.get("input", {}), **one.attrs, **one["relevance"].attrs}
    for name in ("first_valid", "n_valid", "start_s"):
        if name in one and one[name].ndim == 0:
            found[name] = one[name].item()
    return found


def _names(dataset: xr.Dataset, axis: str) -> list[str]:
    return [str(name) for name in dataset[axis].values]


def _at_page_rate(recording: Recording) -> tuple[xr.DataArray, float, float]:
    """The record, its start and its rate, where nothing says on which samples it must lie."""
    rate_hz = min(MOST_HZ, recording.rate_hz)
    return resample(recording.signal_mv, recording.rate_hz, rate_hz), 0.0, rate_hz


def _thinned(seen: SeenPart, rate_hz: float, each: int) -> tuple[xr.DataArray, float, float]:
    if each == 1:
        return seen.signal_mv, seen.start_s, rate_hz
    return resample(seen.signal_mv, rate_hz, rate_hz / each), seen.start_s, rate_hz / each


def _window(n: int, rate_hz: float, most_s: float, seen: SeenPart | None, each: int) -> slice:
    """The samples that are shown: all, or `most_s` around what the model saw."""
    most = max(1, round(most_s * rate_hz))
    if n <= most:
        return slice(0, n)
    middle = most // 2 if seen is None else (seen.first + seen.n // 2) // each
    first = min(max(middle - most // 2, 0), n - most)
    return slice(first, first + most)


def _relevance(
    one: xr.Dataset,
    name: str,
    seen: SeenPart,
    each: int,
    drawn: int,
    window: slice,
    leads: list[str],
) -> dict[str, Any]:
    values = one["relevance"].sel({"class": name}).transpose("lead", "sample").load()
    kept = np.nan_to_num(values.values.astype(np.float64))[:, seen.before : seen.before + seen.n]
    n = seen.signal_mv.sizes["sample"]
    whole = np.zeros((len(kept), n))
    whole[:, seen.first : seen.first + seen.n] = kept
    folded = fold(whole, each, drawn)
    length = window.stop - window.start
    placed = {
        str(lead): row[window]
        for lead, row in zip(values["lead"].values, folded, strict=True)
    }  # fmt: skip
    rows = np.stack([placed.get(lead, np.zeros(length)) for lead in leads])
    largest = float(np.abs(rows).max())
    scale = largest / _COUNTS if largest > 0 else 1.0
    first = max(-(-seen.first // each) - window.start, 0)
    end = min(-(-(seen.first + seen.n) // each) - window.start, length)
    return {
        "scale": scale,
        "values": _base64(np.rint(rows / scale)),
        "first": first,
        "end": end,
        "leads": [lead for lead in leads if lead in placed],
        "total": float(kept.sum()),
        "input_samples": each,
    }


def fold(relevance: Floats, each: int, drawn: int) -> Floats:
    """(lead, drawn sample) from (lead, input sample); sums are kept.

    Drawn sample i stands at input sample i · `each`, for half of what lies between it and its
    neighbours; an input sample halfway between two gives a half to each. What lies beyond the last
    drawn sample's half goes to it too.
    """
    half = each // 2
    weights = np.ones(2 * half + 1)
    if each % 2 == 0 and each > 1:
        weights[[0, -1]] = 0.5
    padded = np.pad(relevance, [(0, 0), (half, drawn * each + half)])
    out = np.zeros((len(relevance), drawn))
    for offset, weight in enumerate(weights):
        out += weight * padded[:, offset : offset + drawn * each : each]
    out[:, -1] += relevance.sum(axis=1) - out.sum(axis=1)
    return out


def _counts(signal_uv: Floats) -> tuple[str, float]:
    """A signal (lead, sample) in µV as int16 in base64, and how many µV a count is."""
    largest = float(np.nanmax(np.abs(signal_uv), initial=0.0))
    unit = float(max(1, math.ceil(largest / _COUNTS)))
    whole = np.where(np.isfinite(signal_uv), np.rint(signal_uv / unit), MISSING)
    return _base64(whole), unit


def _base64(whole: Floats) -> str:
    return base64.b64encode(whole.astype("<i2").tobytes()).decode("ascii")


def _facts(results: Results, record_id: str) -> dict[str, dict[str, Any]]:
    """Class to what is known of the record: probability, logit, threshold, completeness error."""
    folder = results.study / "classify" / results.model_name
    probability = _row(folder / "probabilities.parquet", record_id)
    logit = _row(folder / "logits.parquet", record_id)
    thresholds = results.card.get("output", {}).get("thresholds", {})
    explained: dict[str, dict[str, Any]] = {}
    if results.records is not None:
        mine = results.records.filter(
            (pl.col("record_id") == record_id) & (pl.col("model") == "trained")
        )
        explained = {row["class"]: row for row in mine.to_dicts()}
    names = [*dict.fromkeys([*probability, *explained])]
    return {
        name: {
            "probability": _number(
                probability.get(name, explained.get(name, {}).get("probability"))
            ),
            "threshold": _number(thresholds.get(name)),
            "logit": _number(logit.get(name, explained.get(name, {}).get("logit"))),
            "baseline_logit": _number(explained.get(name, {}).get("baseline_logit")),
            "completeness_error": _number(explained.get(name, {}).get("completeness_error")),
        }
        for name in names
    }


def _row(path: Path, record_id: str) -> dict[str, Any]:
    if not path.is_file():
        return {}
    found = pl.scan_parquet(path).filter(pl.col("record_id") == record_id).collect()
    row = found.row(0, named=True) if found.height else {}
    return {name: value for name, value in row.items() if name != "record_id"}


def _number(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
