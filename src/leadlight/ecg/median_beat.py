"""The median beat: one clean beat per record, from the beats of the record's main shape.

Twelve leads × 600 samples at 500 Hz, R at sample 225. Beats of another shape (ectopic) and noisy
ones are left out by correlation, the others are aligned to a fraction of a sample, freed of
baseline wander and averaged with the extremes trimmed. Where the recording obeys the lead algebra
the eight independent leads are averaged and the other four derived, so III = II − I to the bit.

The window spans 450 ms before R and 748 ms after it, so above 80 beats a minute the next QRS lies
in it, and above 130 the one before. They are left as they fall (smeared where the rhythm varies);
`MedianBeat.own` says which samples no other QRS of an averaged beat reaches.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.ndimage import uniform_filter1d
from scipy.signal import savgol_filter

from leadlight.ecg.beat_windows import (
    LAGS,
    cut_windows,
    cut_windows_at,
    find_lags,
    r_of_average,
    unit_shapes,
)
from leadlight.ecg.filtering import resample
from leadlight.ecg.leads import DERIVED_FROM_I_II, INDEPENDENT_LEADS, LEADS, as_leads, named_rows
from leadlight.ecg.rpeaks import find_r_peaks
from leadlight.errors import LeadlightError

RATE_HZ = 500.0
SAMPLES = 600
R_SAMPLE = 225
# A beat belongs to the main shape where it correlates with its average at least so.
SAME_SHAPE = 0.9
# Share of beats that the average drops at either end, at every sample: chosen by measurement
# (benchmarks/measure.py): a quarter less noise than the median, and one artefact that correlation
# lets through still moves nothing.
TRIM = 0.15
# Samples about another beat's R that are not this beat's own.
NEIGHBOUR = 40

QRS = (-40, 60)  # the stretch about R that says which shape a beat has, in samples
_WIDE = (-125, 225)  # P, QRS and T
# The algebra holds where I, II and a derived lead disagree by less: files round to 5 µV and more.
_ALGEBRA_MV = 0.010
_BLOCK = 20  # samples: wander is looked at in steps of 40 ms
_WANDER_BLOCKS = 51  # cubic fits over 2 s: flat to 0.4 Hz, half gone at 0.7 Hz
_LEVEL = 10  # samples of the quiet stretch that is zero millivolt

Array = npt.NDArray[np.floating]


@dataclass(frozen=True)
class MedianBeat:
    """One beat for a whole record.

    Attributes:
        beat_mv: (lead, sample) float32 in millivolt, all of LEADS × 600 at 500 Hz, R at sample 225;
            zero is the quiet stretch before the QRS. A lead without signal is NaN.
        n_beats: beats that were averaged (0 where a cart did it and does not say).
        n_found: beats that were found.
        used: (beat,) which of them were averaged.
        r_samples: (beat,) where R at sample 225 lies in the strip for each beat that was averaged,
            in fractional samples at the strip's rate; NaN for the others.
        noise_uv: (lead,) standard error of the average in µV, the root mean square over `own`;
            NaN with one beat, and for leads without signal.
        own: first and last-plus-one sample that no neighbouring QRS reaches.
        source: "strip" or "cart".
        other_shape_share: of the beats that the strip holds whole, how many have a QRS of another
            shape than the main one: ectopic or aberrant beats, now and then an artefact; NaN where
            unknown.
    """

    beat_mv: xr.DataArray
    n_beats: int
    n_found: int
    used: npt.NDArray[np.bool_]
    r_samples: npt.NDArray[np.float64]
    noise_uv: xr.DataArray
    own: tuple[int, int]
    source: str = "strip"
    other_shape_share: float = float("nan")


def median_beat(
    signal_mv: xr.DataArray, rate_hz: float, r_peaks: npt.NDArray[np.int64] | None = None
) -> MedianBeat:
    """The median beat of a strip.

    1. Beats are grouped by the correlation of their QRS over all leads (two beats of one shape:
       0.9² = 0.81); the largest group is the main shape. Where another has at least 70 % of its
       size, as in bigeminy, the one whose beats come later after the beat before them wins: early
       beats are ectopic.
    2. Each beat is aligned to the group's average: the peak of the cross-correlation between
       samples, by a parabola; R is the largest QRS vector of that average.
    3. Wander is what slow cubic fits (2 s) see after the beats are subtracted, so neither the ST
       segment nor slow rhythms are bent, as they are by a high-pass filter.
    4. Beats that correlate with the average of P, QRS and T by less than 0.9 are left out; where
       fewer than three would stay, the best three do.
    5. At every sample the mean without the `TRIM` highest and lowest of the beats; beats are
       shifted by a linear phase.

    Args:
        signal_mv: (lead, sample) millivolt with all of LEADS; NaN where there is no value.
        rate_hz: its samples per second.
        r_peaks: (beat) R in samples; found where None.

    Raises:
        LeadlightError: there is no beat, or none with its QRS whole inside the strip.
    """
    if r_peaks is None:
        r_peaks = find_r_peaks(signal_mv, rate_hz)
    at_rate = signal_mv if rate_hz == RATE_HZ else resample(signal_mv, rate_hz, RATE_HZ)
    leads, values = _independent(at_rate)
    peaks = np.rint(np.asarray(r_peaks) * RATE_HZ / rate_hz).astype(np.int64)
    inside = (peaks + QRS[0] - LAGS >= 0) & (peaks + QRS[1] + LAGS < values.shape[1])
    if not inside.any() or not leads:
        raise LeadlightError(
            "The strip holds no whole beat.", advice="A median beat needs at least one QRS."
        )
    whole = np.flatnonzero(inside)
    smooth = uniform_filter1d(values, 5, axis=1, mode="nearest")
    windows = cut_windows(smooth, peaks[whole], QRS[0] - LAGS, QRS[1] + LAGS + 1)
    members = _main_shape(windows[:, :, LAGS:-LAGS], np.diff(peaks, prepend=peaks[0])[whole])
    lags = find_lags(windows[members])
    chosen = whole[members]
    exact = peaks[chosen] + lags
    exact += r_of_average(cut_windows_at(smooth, exact, -50, 50))

    chosen, exact = _prefer_complete(chosen, exact, values.shape[1])
    values = values - _wander(values, peaks, chosen, exact)
    beats = cut_windows_at(values, exact, -R_SAMPLE, SAMPLES - R_SAMPLE)
    own = _own(peaks, chosen)
    kept = _resembling(beats, own)
    beats, chosen, exact = beats[kept], chosen[kept], exact[kept]
    average = _trimmed_mean(beats)
    average -= _level(average)[:, None]
    used = np.zeros(len(peaks), dtype=np.bool_)
    used[chosen] = True
    r_samples = np.full(len(peaks), np.nan)
    r_samples[chosen] = exact * rate_hz / RATE_HZ
    return MedianBeat(
        beat_mv=_twelve(average, leads),
        n_beats=len(chosen),
        n_found=len(peaks),
        used=used,
        r_samples=r_samples,
        noise_uv=_noise(beats, leads, own),
        own=own,
        other_shape_share=1 - len(members) / len(whole),
    )


def _independent(signal_mv: xr.DataArray) -> tuple[list[str], Array]:
    """The leads to average: the independent ones where the algebra holds, else all with signal."""
    rows = dict(zip(*named_rows(signal_mv), strict=True))
    present = [lead for lead in LEADS if lead in rows and np.isfinite(rows[lead]).any()]
    if {"I", "II"} <= set(present):
        derived = [lead for lead in DERIVED_FROM_I_II if lead in present]
        some = {lead: rows[lead][::4] for lead in ("I", "II", *derived)}
        errors = [
            _mean_size(some[lead] - (a * some["I"] + b * some["II"]))
            for lead in derived
            for a, b in [DERIVED_FROM_I_II[lead]]
        ]
        if all(error < _ALGEBRA_MV for error in errors):
            present = [lead for lead in INDEPENDENT_LEADS if lead in present]
    if not present:
        return [], np.zeros((0, signal_mv.sizes["sample"]))
    values = np.stack([rows[lead] for lead in present]).astype(np.float32)
    for row in np.flatnonzero(~np.isfinite(values).all(axis=1)):
        gap = ~np.isfinite(values[row])
        known = values[row, ~gap]
        values[row, gap] = np.interp(np.flatnonzero(gap), np.flatnonzero(~gap), known)
    values -= np.median(values[:, ::8], axis=1, keepdims=True)
    return present, values


def _mean_size(errors: Array) -> float:
    """Mean of the absolute values that are there; NaN where none is."""
    size = np.abs(errors)
    mean = float(size.mean())
    known = size[np.isfinite(size)] if np.isnan(mean) else size
    return float(known.mean()) if known.size else float("nan")


def _main_shape(qrs: Array, before: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The beats of the main shape; `before`: samples since the beat before each."""
    unit = unit_shapes(qrs)
    alike = unit @ unit.T
    same = alike >= SAME_SHAPE**2
    groups: list[npt.NDArray[np.int64]] = []
    free = np.ones(len(qrs), dtype=bool)
    while free.any():
        neighbours = same & free
        score = np.where(free, neighbours.sum(axis=1) + alike.mean(axis=1), -np.inf)
        group = np.flatnonzero(neighbours[int(np.argmax(score))])
        groups.append(group)
        free[group] = False
    largest = max(len(group) for group in groups)
    rivals = [group for group in groups if len(group) >= 0.7 * largest]
    return max(rivals, key=lambda group: (float(np.median(before[group])), len(group)))


def _prefer_complete(
    chosen: npt.NDArray[np.int64], exact: Array, n: int
) -> tuple[npt.NDArray[np.int64], Array]:
    """Without the beats that the strip cuts, where three or more are whole."""
    whole = (exact - R_SAMPLE >= 0) & (exact + SAMPLES - R_SAMPLE < n)
    return (chosen[whole], exact[whole]) if whole.sum() >= 3 else (chosen, exact)


def _wander(
    values: Array, peaks: npt.NDArray[np.int64], chosen: npt.NDArray[np.int64], exact: Array
) -> Array:
    """(lead, sample) baseline wander: what is slow after the beats are taken away."""
    n = values.shape[1]
    if n < _BLOCK * (_WANDER_BLOCKS + 1):
        return np.median(values, axis=1, keepdims=True)
    beats = cut_windows(values, np.rint(exact).astype(np.int64), -R_SAMPLE, SAMPLES - R_SAMPLE)
    template = beats.mean(axis=0)
    template -= template.mean(axis=1, keepdims=True)
    # Every sample belongs to the beat before it until some 300 ms before the next R.
    changes = peaks[1:] - np.minimum(150, np.diff(peaks) // 2)
    of_beat = np.searchsorted(changes, np.arange(n), side="right")
    at = np.clip(np.arange(n) - peaks[of_beat] + R_SAMPLE, 0, SAMPLES - 1)
    residual = values - template[:, at]
    blocks = n // _BLOCK
    slow = residual[:, : blocks * _BLOCK].reshape(len(values), blocks, _BLOCK).mean(axis=2)
    # A beat of another shape is no wander: its stretch is bridged.
    other = np.setdiff1d(np.arange(len(peaks)), chosen)
    known = ~np.isin(of_beat, other)[: blocks * _BLOCK].reshape(blocks, _BLOCK).any(axis=1)
    known |= not known.any()
    centres = np.arange(blocks)
    if not known.all():
        slow = np.stack([np.interp(centres, centres[known], row[known]) for row in slow])
    slow = slow @ _cubic_fits(blocks, slow.dtype.char)
    # Straight lines between the blocks' middles; beyond the first and last they are held.
    padded = np.concatenate([slow[:, :1], slow, slow[:, -1:], slow[:, -1:]], axis=1)
    share = ((np.arange(_BLOCK) + 0.5) / _BLOCK).astype(values.dtype)
    padded = padded.astype(values.dtype)
    lines = padded[:, :-1, None] + np.diff(padded, axis=1)[:, :, None] * share
    start = _BLOCK // 2
    return lines.reshape(len(values), -1)[:, start : start + n]


@lru_cache(maxsize=16)  # by the strip's length: designing it takes longer than using it
def _cubic_fits(blocks: int, dtype: str) -> Array:
    """(block, block) what multiplied from the right gives each row's slow cubic fits."""
    fits = savgol_filter(np.eye(blocks), _WANDER_BLOCKS, 3, axis=0, mode="interp")
    return np.asarray(fits.T, dtype=dtype)


def _own(peaks: npt.NDArray[np.int64], chosen: npt.NDArray[np.int64]) -> tuple[int, int]:
    after = [peaks[beat + 1] - peaks[beat] for beat in chosen if beat + 1 < len(peaks)]
    before = [peaks[beat] - peaks[beat - 1] for beat in chosen if beat > 0]
    stop = min(SAMPLES, R_SAMPLE + min(after, default=SAMPLES) - NEIGHBOUR)
    start = max(0, R_SAMPLE - min(before, default=SAMPLES) + NEIGHBOUR)
    return int(min(start, R_SAMPLE - 1)), int(max(stop, R_SAMPLE + 1))


def _resembling(beats: Array, own: tuple[int, int]) -> npt.NDArray[np.int64]:
    """Which beats look like the average; the three best where fewer do."""
    window = slice(max(own[0], R_SAMPLE + _WIDE[0]), min(own[1], R_SAMPLE + _WIDE[1]))
    part = beats[:, :, window]
    alike = (unit_shapes(part) @ unit_shapes(np.median(part, axis=0, keepdims=True)).T)[:, 0]
    good = np.flatnonzero(alike >= SAME_SHAPE)
    if len(good) < 3:
        good = np.sort(np.argsort(-alike, kind="stable")[:3])
    return good


def _trimmed_mean(beats: Array) -> Array:
    """(lead, sample) the mean over the middle of the beats at every sample."""
    cut = int(TRIM * len(beats))
    if cut == 0:
        return np.asarray(beats.mean(axis=0))
    if len(beats) - 2 * cut <= 2:
        return np.asarray(np.median(beats, axis=0))
    return np.asarray(np.sort(beats, axis=0)[cut:-cut].mean(axis=0))


def _level(average: Array) -> Array:
    """(lead) the level of the quietest 20 ms between 140 and 24 ms before R, later ones first."""
    speed = np.sqrt((np.diff(average, axis=1) ** 2).sum(axis=0))
    first, last = R_SAMPLE - 70, R_SAMPLE - 12
    moving = uniform_filter1d(speed, _LEVEL)[first + _LEVEL // 2 : last - _LEVEL // 2]
    distance = np.arange(len(moving))[::-1] / len(moving)
    centre = first + _LEVEL // 2 + int(np.argmin(moving * (1 + 0.5 * distance)))
    return np.asarray(average[:, centre - _LEVEL // 2 : centre + _LEVEL // 2].mean(axis=1))


def _noise(beats: Array, leads: list[str], own: tuple[int, int]) -> xr.DataArray:
    """(lead,) the standard error; of derived leads by the covariance of I and II."""
    noise = np.full(len(LEADS), np.nan)
    if len(beats) > 1:
        apart = beats[:, :, own[0] : own[1]]
        apart = apart - apart.mean(axis=0)
        per_sample = 1.0 / ((len(beats) - 1) * apart.shape[2])
        variances = np.einsum("bls,bls->l", apart, apart) * per_sample
        by_lead = dict(zip(leads, variances.tolist(), strict=True))
        if {"I", "II"} <= set(leads):
            one, two = apart[:, leads.index("I")], apart[:, leads.index("II")]
            both = float(np.vdot(one, two)) * per_sample
            for lead, (a, b) in DERIVED_FROM_I_II.items():
                variance = a * a * by_lead["I"] + b * b * by_lead["II"] + 2 * a * b * both
                by_lead.setdefault(lead, max(variance, 0.0))
        for lead, variance in by_lead.items():
            noise[LEADS.index(lead)] = 1e3 * np.sqrt(variance / len(beats))
    return as_leads(noise[:, None])[:, 0]


def _twelve(average: Array, leads: list[str]) -> xr.DataArray:
    rows = dict(zip(leads, average.astype(np.float32), strict=True))
    if {"I", "II"} <= set(rows):
        for lead, (of_one, of_two) in DERIVED_FROM_I_II.items():
            if lead not in rows:
                both = np.float32(of_one) * rows["I"] + np.float32(of_two) * rows["II"]
                rows[lead] = both.astype(np.float32)
    empty = np.full(SAMPLES, np.nan, dtype=np.float32)
    values = np.stack([rows.get(lead, empty) for lead in LEADS])
    return as_leads(values)
