"""How far a reconstruction is from the beat: per lead and wave, with intervals by patient."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight.ecg.leads import LEADS
from leadlight.latent.beats import WAVES, Beats, twelve_leads, wave_masks

Array = npt.NDArray[np.float64]

_FLAT_MV = 0.002  # a lead that moves less has no correlation to speak of
_RESAMPLES = 1000


@dataclass(frozen=True)
class Errors:
    """Errors of each record, over its own samples.

    Attributes:
        mae_uv: (record, lead of LEADS) mean absolute error.
        r: (record, lead of LEADS) Pearson correlation over time; NaN for a flat lead.
        wave_mae_uv: (record, lead of LEADS, wave of WAVES); NaN where the wave has no samples.
    """

    mae_uv: Array
    r: Array
    wave_mae_uv: Array


def reconstruction_errors(
    truth_mv: npt.NDArray[np.floating],
    decoded_mv: npt.NDArray[np.floating],
    own: npt.NDArray[np.bool_],
    waves: npt.NDArray[np.bool_] | None = None,
) -> Errors:
    """Errors of reconstructions.

    Args:
        truth_mv: (record, lead of INDEPENDENT_LEADS, sample).
        decoded_mv: the same shape.
        own: (record, sample) which samples count.
        waves: (record, wave of WAVES, sample) the samples of each wave; no wave errors where None.
    """
    n = len(truth_mv)
    mae, r = np.full((n, len(LEADS)), np.nan), np.full((n, len(LEADS)), np.nan)
    by_wave = np.full((n, len(LEADS), len(WAVES)), np.nan)
    for low in range(0, n, 256):
        rows = slice(low, low + 256)
        truth, drawn = twelve_leads(truth_mv[rows]), twelve_leads(decoded_mv[rows])
        inside = own[rows][:, None].astype(np.float64)
        count = inside.sum(axis=2)
        wrong = np.abs(truth - drawn)
        mae[rows] = 1000 * (wrong * inside).sum(axis=2) / count
        a = (truth - ((truth * inside).sum(axis=2) / count)[..., None]) * inside
        b = (drawn - ((drawn * inside).sum(axis=2) / count)[..., None]) * inside
        size_a, size_b = np.sqrt((a * a).sum(axis=2)), np.sqrt((b * b).sum(axis=2))
        moves = size_a > _FLAT_MV * np.sqrt(count)
        r[rows] = np.where(moves, (a * b).sum(axis=2) / np.maximum(size_a * size_b, 1e-12), np.nan)
        if waves is not None:
            mask = waves[rows].astype(np.float64)
            total = mask.sum(axis=2)[:, None]
            sums = np.einsum("nls,nws->nlw", wrong, mask)
            by_wave[rows] = np.where(total > 0, 1000 * sums / np.maximum(total, 1), np.nan)
    return Errors(mae, r, by_wave)


def errors_of(beats: Beats, decoded_mv: npt.NDArray[np.floating]) -> Errors:
    """Errors of reconstructions (record, lead of INDEPENDENT_LEADS, sample) of a set of beats."""
    truth, own = beats.millivolts(slice(None))
    return reconstruction_errors(truth, decoded_mv, own, wave_masks(beats))


def patient_interval(
    values: Array, patients: Sequence[str], *, seed: int = 0, level: float = 0.95
) -> tuple[float, float, float]:
    """Mean over records with a bootstrap interval that draws patients.

    Args:
        values: (record); NaN is left out.
        patients: (record) who each is of.
        seed: of the draws.
        level: of the interval.

    Returns:
        The mean, and the interval's ends (NaN with fewer than three patients).
    """
    has = np.isfinite(values)
    if not has.any():
        return float("nan"), float("nan"), float("nan")
    _, person = np.unique(np.asarray(patients)[has], return_inverse=True)
    sums = np.bincount(person, weights=values[has])
    counts = np.bincount(person)
    mean = float(sums.sum() / counts.sum())
    if len(sums) < 3:
        return mean, float("nan"), float("nan")
    draws = np.random.default_rng(seed).multinomial(
        len(sums), np.full(len(sums), 1 / len(sums)), size=_RESAMPLES
    )
    means = (draws @ sums) / np.maximum(draws @ counts, 1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return mean, float(low), float(high)


def error_table(errors: Errors, patients: Sequence[str], *, seed: int = 0) -> pl.DataFrame:
    """A long table: `lead` (or "all"), `wave` (or "all"), `measure`, value, interval, records."""
    rows = []

    def add(lead: str, wave: str, measure: str, values: Array) -> None:
        value, low, high = patient_interval(values, patients, seed=seed)
        rows.append((lead, wave, measure, value, low, high, int(np.isfinite(values).sum())))

    def over_leads(values: Array) -> Array:
        count = np.isfinite(values).sum(axis=1)
        total = np.nansum(values, axis=1)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    add("all", "all", "mae_uv", over_leads(errors.mae_uv))
    add("all", "all", "r", over_leads(errors.r))
    for place, lead in enumerate(LEADS):
        add(lead, "all", "mae_uv", errors.mae_uv[:, place])
        add(lead, "all", "r", errors.r[:, place])
    for column, wave in enumerate(WAVES):
        add("all", wave, "mae_uv", over_leads(errors.wave_mae_uv[:, :, column]))
        for place, lead in enumerate(LEADS):
            add(lead, wave, "mae_uv", errors.wave_mae_uv[:, place, column])
    names = ["lead", "wave", "measure", "value", "low", "high", "n_records"]
    return pl.DataFrame(rows, schema=names, orient="row")
