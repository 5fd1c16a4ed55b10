"""How far readings are from marks drawn by hand, per fiducial."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from leadlight.ecg.delineation.fiducials import POINTS, WAVES, Fiducials
from leadlight.ecg.delineation.ludb import AnnotatedRecord
from leadlight.ecg.delineation.reading import TOLERANCE_MS

MATCH_MS = 150.0

# Waves of one lead by name: (found wave, point) samples, NaN where there is none.
LeadWaves = Mapping[str, npt.NDArray[np.floating]]


@dataclass(frozen=True)
class Tally:
    """One fiducial in one record, all leads.

    Attributes:
        errors_ms: (matched mark) reading less mark.
        missed: marks without a reading.
        invented: readings without a mark, where the lead is marked.
    """

    errors_ms: npt.NDArray[np.float64]
    missed: int
    invented: int


@dataclass(frozen=True)
class Score:
    """One fiducial over many records.

    Attributes:
        mean_ms, sd_ms: of the errors of all matched marks.
        sensitivity, precision: shares of the marks found, of the readings that are marked.
        marks: how many there are.
        intervals: 95 % bounds of each of the four, by drawing records with replacement.
    """

    mean_ms: float
    sd_ms: float
    sensitivity: float
    precision: float
    marks: int
    intervals: Mapping[str, tuple[float, float]]


def tally(record: AnnotatedRecord, found: Mapping[str, LeadWaves]) -> dict[tuple[str, str], Tally]:
    """Match readings to the marks of a record, lead by lead, one to one within MATCH_MS.

    A reading and a mark match when each is the other's nearest. A reading outside the marked span
    of its lead is not counted, since the first and last beats are left unmarked.

    Args:
        record: the marks.
        found: by lead, the waves read, at the record's rate; NaN rows are no waves.

    Returns:
        By (wave, point).
    """
    to_ms = 1e3 / record.rate_hz
    tallies = {}
    for wave in WAVES:
        for at, point in enumerate(POINTS):
            errors, missed, invented = [], 0, 0
            for lead, marks in record.waves.items():
                read = np.asarray(found[lead][wave][:, at], dtype=np.float64)
                read = read[np.isfinite(read)]
                mark = marks[wave][:, at]
                first, last = record.span[lead]
                spanned = (read >= first) & (read <= last)
                if not (mark.size and read.size):
                    missed += mark.size
                    invented += int(spanned.sum())
                    continue
                pairs = _pairs(read, mark, to_ms)
                errors += [(read[row] - mark[column]) * to_ms for row, column in pairs]
                missed += mark.size - len(pairs)
                matched = np.zeros(read.size, dtype=bool)
                matched[[row for row, _ in pairs]] = True
                invented += int((spanned & ~matched).sum())
            tallies[wave, point] = Tally(np.array(errors), missed, invented)
    return tallies


def _pairs(
    read: npt.NDArray[np.float64], mark: npt.NDArray[np.float64], to_ms: float
) -> list[tuple[int, int]]:
    """Reading and mark that are each other's nearest, MATCH_MS apart at most."""
    apart = np.abs(read[:, None] - mark[None]) * to_ms
    nearest_mark, nearest_read = apart.argmin(axis=1), apart.argmin(axis=0)
    return [
        (int(row), column)
        for column, row in enumerate(nearest_read)
        if nearest_mark[row] == column and apart[row, column] <= MATCH_MS
    ]


def stated_and_true(
    record: AnnotatedRecord, fiducials: Fiducials
) -> dict[tuple[str, str], npt.NDArray[np.float64]]:
    """How sure each matched onset and offset is said to be, and whether it is within tolerance.

    Returns:
        By (wave, point): (2, matched mark) the confidence, and 1 where the mark lies within
        `reading.TOLERANCE_MS` of the reading, else 0.
    """
    to_ms = 1e3 / record.rate_hz
    stated = {}
    for row, wave in enumerate(WAVES):
        for side, point in enumerate(("onset", "offset")):
            found = []
            for lead, marks in record.waves.items():
                read = fiducials.per_lead.sel(lead=lead, wave=wave, point=point).values
                sure = fiducials.confidence_per_lead.sel(lead=lead, wave=wave, point=point).values
                there = np.isfinite(read)
                read, sure = read[there].astype(np.float64), sure[there]
                mark = marks[wave][:, POINTS.index(point)]
                if read.size and mark.size:
                    found += [
                        (sure[i], abs(read[i] - mark[j]) * to_ms <= TOLERANCE_MS[row, side])
                        for i, j in _pairs(read, mark, to_ms)
                    ]
            stated[wave, point] = np.array(found, dtype=np.float64).reshape(-1, 2).T
    return stated


def calibration(
    stated: Sequence[Mapping[tuple[str, str], npt.NDArray[np.float64]]], parts: int = 4
) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """Mean confidence and share within tolerance, all first, then `parts` from least to most sure.

    Args:
        stated: what `stated_and_true` gives for each record.
        parts: how many equally large groups the marks are put in.
    """
    table = {}
    for key in stated[0]:
        sure, near = np.concatenate([one[key] for one in stated], axis=1)
        order = np.argsort(sure)
        groups = [order, *np.array_split(order, parts)]
        table[key] = [(float(sure[g].mean()), float(near[g].mean())) for g in groups if g.size]
    return table


def by_lead(fiducials: Fiducials) -> dict[str, LeadWaves]:
    """What `tally` wants from what `delineate` gives."""
    return {
        str(lead): {wave: fiducials.per_lead.sel(lead=lead, wave=wave).values for wave in WAVES}
        for lead in fiducials.per_lead["lead"].values
    }


def score(
    tallies: Sequence[Mapping[tuple[str, str], Tally]], *, seed: int, resamples: int = 1000
) -> dict[tuple[str, str], Score]:
    """Pool the tallies of many records, with intervals by record."""
    rng = np.random.default_rng(seed)
    draws = rng.integers(len(tallies), size=(resamples, len(tallies)))
    return {key: _score_one([one[key] for one in tallies], draws) for key in tallies[0]}


def _score_one(per_record: list[Tally], draws: npt.NDArray[np.int64]) -> Score:
    # Sums per record are enough for every figure: n, sum, sum of squares, missed, invented.
    sums = np.array(
        [
            (
                one.errors_ms.size,
                one.errors_ms.sum(),
                np.square(one.errors_ms).sum(),
                one.missed,
                one.invented,
            )
            for one in per_record
        ],
        dtype=np.float64,
    )
    names = ("mean_ms", "sd_ms", "sensitivity", "precision")
    mean_ms, sd_ms, sensitivity, precision = _figures(sums.sum(axis=0)).tolist()
    bounds = np.percentile(_figures(sums[draws].sum(axis=1)), [2.5, 97.5], axis=1)
    intervals = {name: (float(bounds[0, i]), float(bounds[1, i])) for i, name in enumerate(names)}
    marks = int(sums[:, 0].sum() + sums[:, 3].sum())
    return Score(mean_ms, sd_ms, sensitivity, precision, marks, intervals)


def _figures(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(figure, ...) mean, SD, sensitivity, precision from (..., sum)."""
    n, total, squares, missed, invented = np.moveaxis(sums, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / n
        spread = np.sqrt(np.maximum(squares / n - mean**2, 0) * n / np.maximum(n - 1, 1))
        return np.stack([mean, spread, n / (n + missed), n / (n + invented)])
