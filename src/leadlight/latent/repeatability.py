"""The same person twice: factors of the two halves of a strip."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight.cohort.store import open_cohort
from leadlight.ecg.leads import INDEPENDENT_LEADS
from leadlight.ecg.median_beat import median_beat
from leadlight.ecg.recording import Recording
from leadlight.ecg.rpeaks import find_r_peaks
from leadlight.errors import LeadlightError
from leadlight.latent.beats import Beats, own_mask, own_samples
from leadlight.latent.model import LatentModel
from leadlight.progress import track

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Halves:
    """Median beats of both halves of some strips.

    Attributes:
        first, second: (record, lead of INDEPENDENT_LEADS, sample) in mV.
        own: (record, 2) of the whole strip.
        rows: (record) of the beats that were asked for.
    """

    first: npt.NDArray[np.float32]
    second: npt.NDArray[np.float32]
    own: npt.NDArray[np.int16]
    rows: npt.NDArray[np.int64]


def halves_of(study: Path, beats: Beats) -> Halves:
    """Median beats of both halves of each record's strip, where both have one.

    Args:
        study: with the strips.
        beats: the records, all of this study.
    """
    cohort = open_cohort(study)
    row_of = {name: row for row, name in enumerate(cohort.records["record_id"])}
    names = beats.records["record_id"].to_list()
    measured = pl.read_parquet(
        study / "measurements.parquet", columns=["rr_ms", "rr_sd_ms", "pr_ms", "qt_ms"]
    )
    cohort_rows = [row_of[name] for name in names]
    own = own_samples(measured[cohort_rows])
    first, second, kept = [], [], []
    order = np.argsort(cohort_rows)
    recordings = cohort.stream([cohort_rows[place] for place in order])
    for place, recording in zip(order, track(recordings, "Halves", len(order)), strict=True):
        pair = _pair(recording)
        if pair is not None:
            first.append(pair[0])
            second.append(pair[1])
            kept.append(int(place))
    if not kept:
        raise LeadlightError(f"No strip of {study} has a beat in both halves.")
    return Halves(np.stack(first), np.stack(second), own[kept], np.array(kept))


def intraclass_correlation(
    first: npt.NDArray[np.floating], second: npt.NDArray[np.floating]
) -> Array:
    """(factor) ICC(A, 1) of two measurements (record, factor): absolute agreement (McGraw and
    Wong 1996).
    """
    both = np.stack([first, second], axis=2).astype(np.float64)
    n, _, k = both.shape
    mean = both.mean(axis=(0, 2), keepdims=True)
    of_record, of_half = both.mean(axis=2, keepdims=True), both.mean(axis=0, keepdims=True)
    rows = k * ((of_record - mean) ** 2).sum(axis=(0, 2)) / (n - 1)
    columns = n * ((of_half - mean) ** 2).sum(axis=(0, 2)) / (k - 1)
    rest = ((both - of_record - of_half + mean) ** 2).sum(axis=(0, 2)) / ((n - 1) * (k - 1))
    return np.asarray((rows - rest) / (rows + (k - 1) * rest + k * (columns - rest) / n))


def repeatability(
    model: LatentModel, halves: Halves, *, seed: int = 0, resamples: int = 500
) -> pl.DataFrame:
    """`factor, icc, low, high, n_records`: agreement of both halves, bootstrap over records."""
    one = model.encode(halves.first, halves.own).factors
    two = model.encode(halves.second, halves.own).factors
    rng = np.random.default_rng(seed)
    n = len(one)
    draws = [rng.integers(n, size=n) for _ in range(resamples)]
    resampled = np.stack([intraclass_correlation(one[at], two[at]) for at in draws])
    low, high = np.quantile(resampled, [0.025, 0.975], axis=0)
    return pl.DataFrame(
        {
            "factor": model.names,
            "icc": intraclass_correlation(one, two),
            "low": low,
            "high": high,
            "n_records": [n] * len(model.names),
        }
    )


def noise_floor_uv(halves: Halves) -> Sequence[float]:
    """(record) what the beats' own noise leaves of mean absolute error in the whole strip's beat.

    Half the mean absolute difference of the halves' beats over own samples: the mean of both is
    half their difference away from either, and as far from the truth.
    """
    inside = own_mask(halves.own)[:, None]
    apart = np.abs(halves.first - halves.second) * inside
    points = inside.sum(axis=(1, 2)) * halves.first.shape[1]
    return list(500.0 * apart.sum(axis=(1, 2)) / points)


def _pair(
    recording: Recording,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None:
    middle = recording.n_samples // 2
    signal = recording.signal_mv
    found = []
    for part in (slice(0, middle), slice(middle, recording.n_samples)):
        half = signal.isel(sample=part)
        try:
            peaks = find_r_peaks(half, recording.rate_hz)
            beat = median_beat(half, recording.rate_hz, peaks)
        except LeadlightError:
            return None
        values = beat.beat_mv.sel(lead=list(INDEPENDENT_LEADS)).values
        if not np.isfinite(values).all():
            return None
        found.append(values.astype(np.float32))
    return found[0], found[1]
