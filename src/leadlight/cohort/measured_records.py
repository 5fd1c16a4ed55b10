"""One record measured: median beat, wave limits and measurements, as rows of a cohort's tables."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight.cohort.signals import to_microvolts
from leadlight.cohort.store import Cohort
from leadlight.ecg.delineation import POINTS, WAVES, AskedStrip, ask_network
from leadlight.ecg.leads import LEADS
from leadlight.ecg.measurements import QUANTITIES, measure_recording, on_cart_median
from leadlight.ecg.recording import Recording
from leadlight.errors import LeadlightError, ModelMismatch

Medians = Literal["own", "cart"]
GLOBAL = "global"

MEASUREMENTS_SCHEMA: dict[str, pl.DataType] = {
    "record_id": pl.String(),
    "n_beats": pl.Int32(),
    "n_beats_averaged": pl.Int32(),
    "median_beat": pl.String(),
    "noise_uv": pl.Float32(),
    "p_confidence": pl.Float32(),
    "qrs_confidence": pl.Float32(),
    "t_confidence": pl.Float32(),
    **{name: pl.Float64() for name in QUANTITIES},
    "absent_reasons": pl.List(pl.String()),
    "failure": pl.String(),
}
FIDUCIALS_SCHEMA: dict[str, pl.DataType] = {
    "record_id": pl.String(),
    "lead": pl.String(),
    "beat": pl.Int32(),
    "wave": pl.String(),
    "onset": pl.Float32(),
    "peak": pl.Float32(),
    "offset": pl.Float32(),
    "confidence": pl.Float32(),
}


_TOGETHER = 4  # records that go through the network in one call


@dataclass(frozen=True)
class MeasuredRecord:
    """One record's results as they travel between processes.

    `stored`: (lead, sample) int16 of the median beat. `points`: (lead of LEADS and GLOBAL, beat,
    wave, point) and `confidence`: (lead, beat, wave) float32. None where the record failed.
    """

    row: dict[str, Any]
    stored: npt.NDArray[np.int16] | None = None
    noise_uv: npt.NDArray[np.float32] | None = None
    points: npt.NDArray[np.float32] | None = None
    confidence: npt.NDArray[np.float32] | None = None


def measure_stream(
    cohort: Cohort, rows: Sequence[int], medians: Medians
) -> Iterator[MeasuredRecord]:
    """Measure `rows`, a few of them through the network together."""
    recordings = cohort.stream(rows)
    while few := list(islice(recordings, _TOGETHER)):
        try:
            asked = ask_network([(one.signal_mv, one.rate_hz) for one in few])
        except ModelMismatch:
            raise
        except Exception:  # one record's fault, which shows when it is measured alone
            asked = [None] * len(few)
        for recording, answer in zip(few, asked, strict=True):
            yield measure_one(recording, medians, answer)


def measure_one(
    recording: Recording, medians: Medians, asked: AskedStrip | None = None
) -> MeasuredRecord:
    """Measure one recording; one that cannot be measured gets a row with the reason.

    Args:
        recording: what to measure.
        medians: whose median beat counts, see `measure_cohort`.
        asked: what the network said of this strip; asked here if None.

    Raises:
        ModelMismatch: the delineator's weights and card disagree.
    """
    try:
        found = measure_recording(recording.signal_mv, recording.rate_hz, asked)
        if medians == "cart" and recording.median_beat_mv is not None:
            found = on_cart_median(found, recording)
    except ModelMismatch:  # the installation's fault, not the record's
        raise
    except LeadlightError as error:
        return failed_record(recording.record_id, error.message)
    except Exception as error:  # one record's fault must not end the measuring of many
        return failed_record(recording.record_id, f"measuring failed: {type(error).__name__}")
    fiducials, beat = found.fiducials, found.beat
    named = list(fiducials.per_lead.indexes["lead"])
    order = [named.index(lead) for lead in LEADS]
    points = np.concatenate([fiducials.per_lead.values[order], fiducials.global_.values[None]])
    by_lead = fiducials.confidence_per_lead.values[order]
    sure = np.concatenate([by_lead, fiducials.confidence.values[None]]).min(axis=-1)
    values = {
        name: None if np.isnan(value) else value
        for name, value in found.measurements.values.items()
    }
    noise = beat.noise_uv.values.astype(np.float32)
    known = noise[np.isfinite(noise)]
    row = {
        "record_id": recording.record_id,
        "n_beats": len(fiducials.r_peaks),
        "n_beats_averaged": beat.n_beats,
        "median_beat": beat.source,
        "noise_uv": float(np.median(known)) if known.size else None,
        **{
            f"{wave.lower()}_confidence": _mean_confidence(sure[-1, :, index])
            for index, wave in enumerate(WAVES)
        },
        **values,
        "absent_reasons": list(found.measurements.absent),
        "failure": None,
    }
    stored = to_microvolts(beat.beat_mv)[0]
    return MeasuredRecord(row, stored, noise, points.astype(np.float32), sure.astype(np.float32))


def _mean_confidence(sure: npt.NDArray[np.float32]) -> float | None:
    present = sure[sure > 0]
    return float(present.mean()) if present.size else None


def failed_record(record_id: str, reason: str) -> MeasuredRecord:
    """The row of a record that could not be measured."""
    row = dict.fromkeys(MEASUREMENTS_SCHEMA) | {
        "record_id": record_id,
        "n_beats": 0,
        "n_beats_averaged": 0,
        "absent_reasons": [f"*:{reason}"],
        "failure": reason,
    }
    return MeasuredRecord(row)


def fiducial_rows(done: Sequence[MeasuredRecord]) -> pl.DataFrame:
    """Rows of `fiducials.parquet` of records in their order, failed ones left out."""
    parts = [
        (one.row["record_id"], one.points, one.confidence)
        for one in done
        if one.points is not None and one.confidence is not None
    ]
    if not parts:
        return pl.DataFrame(schema=FIDUCIALS_SCHEMA)
    counts = [sure.size for _, _, sure in parts]
    # (lead, beat, wave) of every row by number: names are looked up for all rows in one go.
    numbers = np.concatenate(
        [np.indices(sure.shape).reshape(3, -1) for _, _, sure in parts], axis=1
    )
    points = np.concatenate([points.reshape(-1, len(POINTS)) for _, points, _ in parts])
    ids = pl.Series([record_id for record_id, _, _ in parts], dtype=pl.String)
    columns = {
        "record_id": ids.gather(np.repeat(np.arange(len(parts)), counts)),
        "lead": pl.Series([*LEADS, GLOBAL]).gather(numbers[0]),
        "beat": numbers[1],
        "wave": pl.Series(WAVES).gather(numbers[2]),
        **{point: points[:, place] for place, point in enumerate(POINTS)},
        "confidence": np.concatenate([sure.ravel() for _, _, sure in parts]),
    }
    return pl.DataFrame(columns, schema=FIDUCIALS_SCHEMA)
