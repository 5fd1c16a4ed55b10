"""Where the beats are: one reference instant (R) per QRS complex, from all leads together.

Beats are found by sleepecg's detector (a Pan-Tompkins design) on the spatial velocity of the eight
independent leads, so that a complex that is flat in one lead is still seen in the others. R is the
instant of the largest QRS vector, made the same instant in all beats of one shape.
"""

import itertools

import numpy as np
import numpy.typing as npt
import sleepecg
import xarray as xr
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from leadlight.ecg.filtering import both_ways, halved, resample
from leadlight.ecg.leads import INDEPENDENT_LEADS, named_rows

# All work is done at one rate, so that a record gives the same beats at any rate it came in. The
# band that is looked at ends at 30 Hz; R is read between samples.
_WORK_HZ = 250.0
_SHORTEST_S = 1.0
_LEARNING_S = 3.0
# A lead weighs less the more restless it is between beats, from half of the median lead's on.
_RESTLESS, _RESTLESS_POWER = 0.5, 1.5
_ENERGY_WINDOW_S = 0.10
_RECENTRE_S = 0.15
_REFRACTORY_S = 0.20
_QRS_REACH_S = 0.06
# A beat has at least this share of the usual energy (a P wave has less), and the second share so
# soon after a larger beat (a T or fibrillatory wave has less). Both rise to so many times what lies
# between the beats, up to the third share.
_LEAST_ENERGY, _LEAST_ENERGY_SOON, _SOON_S = 0.10, 0.30, 0.36
_TIMES_BETWEEN, _MOST_LEAST = 6.0, 0.4
# A find with a larger one so near may be a wave of that beat: it does not say what is usual.
_NEAR_S = 0.45
# A lone beat among finds in noise has the largest energy, as an artefact has among beats: what is
# usual is at least this share of it.
_LONE = 0.02
# Where no beat is found for so many RR, the top of energy is one from this share on.
_PAUSE, _LEAST_ENERGY_PAUSE = 1.5, 0.05
# A find that correlates less than this with the median beat is a stray wave unless its energy is
# so many times what lies between the beats; this share of the familiar beats' energy is enough.
_FAMILIAR, _STRANGER, _MOST_STRANGER = 0.6, 9.0, 0.6
# An electrode's jump is over within 10 ms; beyond that it has less than this share of the slopes
# of the median beat. A pacing spike is as short, but its QRS is not.
_JUMP_S, _LEAST_SLOPES = 0.010, 0.12
# A vector smaller than this is not the QRS of a living heart at any lead placement.
_LEAST_VECTOR_MV = 0.05
_TEMPLATE_HALF_S = 0.08
_SAME_SHAPE = 0.9
# So near an end the QRS is cut, and its largest vector may lie outside.
_RIM_S = 0.04


def find_r_peaks(signal_mv: xr.DataArray, rate_hz: float) -> npt.NDArray[np.int64]:
    """The R reference of every beat.

    Steps: spatial velocity of the 0.5 to 30 Hz band, restless leads turned down; detection; each
    find is moved to the centre of QRS energy near it (this removes finds on P and T waves and on
    pacing spikes, which fall onto their QRS), and what the detector passed over is added; jumps of
    an electrode are taken out; R is the largest QRS vector; beats that correlate with the median
    beat are aligned to it, so that a notched complex is not marked now on one notch, now on the
    other; weak finds that look like no other beat are dropped.

    QRS energy is that of the vector's size above 5 Hz, not of its slope: a broad ectopic beat has a
    tenth of the slopes of a narrow one, and a third of its size.

    Args:
        signal_mv: (lead, sample) in millivolt with names in `lead`; NaN where there is no value.
        rate_hz: its samples per second; any rate above 60 Hz.

    Returns:
        (beat) sample indices at `rate_hz`, ascending, none nearer than 40 ms to an end.
        Empty where the strip is shorter than one second, flat, or all NaN.
    """
    n_samples = signal_mv.sizes["sample"]
    if n_samples / rate_hz < _SHORTEST_S:
        return np.array([], dtype=np.int64)
    raw_mv = _at_work_rate(signal_mv, rate_hz)
    leads_mv = both_ways(raw_mv, _WORK_HZ, 0.5, 30.0)
    leads_mv *= _quietness(leads_mv)[:, None]
    speed = np.sqrt((_steps(leads_mv) ** 2).sum(axis=0))
    if not np.ptp(speed) > 0:
        return np.array([], dtype=np.int64)
    centres, energy = _recentred(_detected(speed), leads_mv)
    centres = _without_jumps(centres, raw_mv)
    centres = _with_overlooked(_largest_of_close(centres, energy), energy)
    peaks, alike = _aligned(*_largest_vectors(centres, leads_mv), leads_mv)
    peaks = _without_strangers(peaks, alike, energy)
    rim = _RIM_S * _WORK_HZ
    peaks = peaks[(peaks >= rim) & (peaks < leads_mv.shape[1] - rim)]
    at_source = np.rint(peaks * rate_hz / _WORK_HZ).astype(np.int64)
    return np.unique(np.clip(at_source, 0, n_samples - 1))


def _at_work_rate(signal_mv: xr.DataArray, rate_hz: float) -> npt.NDArray[np.float64]:
    """(lead, sample) the independent leads that have a signal, at `_WORK_HZ`, gaps bridged."""
    named, all_rows = named_rows(signal_mv)
    rows = [named.index(lead) for lead in INDEPENDENT_LEADS if lead in named]
    values = all_rows[rows].astype(np.float64)
    finite = np.isfinite(values)
    if not finite.all():
        values, finite = values[finite.any(axis=1)], finite[finite.any(axis=1)]
        at = np.arange(values.shape[1])
        for row in np.flatnonzero(~finite.all(axis=1)):
            known = finite[row]
            values[row, ~known] = np.interp(at[~known], at[known], values[row, known])
    while rate_hz >= 2 * _WORK_HZ and rate_hz % (2 * _WORK_HZ) == 0:
        values, rate_hz = halved(values), rate_hz / 2
    if rate_hz == _WORK_HZ:
        return values
    return resample(xr.DataArray(values, dims=("lead", "sample")), rate_hz, _WORK_HZ).values


def _detected(speed: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """(beat) sleepecg's finds.

    Its compiled code learns from two seconds and reads past the end of anything shorter, so a
    short strip is mirrored first.
    """
    learning = int(_LEARNING_S * _WORK_HZ)
    long_enough = np.pad(speed, (0, max(0, learning - speed.size)), mode="symmetric")
    found = sleepecg.detect_heartbeats(long_enough, _WORK_HZ)  # type: ignore[attr-defined]
    return np.asarray(found[found < speed.size], dtype=np.int64)


def _steps(leads_mv: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(lead, sample) central differences, zero at the ends."""
    steps = np.zeros_like(leads_mv)
    steps[:, 1:-1] = (leads_mv[:, 2:] - leads_mv[:, :-2]) / 2
    return steps


def _quietness(leads_mv: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(lead) weights: 1, falling with the restlessness beyond the common measure."""
    restless = np.median(np.abs(_steps(leads_mv)[:, ::2]), axis=1)
    active = restless[restless > 1e-6]
    usual = float(np.median(active)) if active.size else 1.0
    excess = np.maximum(restless, 1e-9) / (_RESTLESS * usual)
    return np.asarray(np.minimum(1.0, excess**-_RESTLESS_POWER), dtype=np.float64)


def _recentred(
    found: npt.NDArray[np.int64], leads_mv: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Centres of QRS energy uphill of each find, with those that were passed over; the energy."""
    # Above 5 Hz, so that T waves weigh little.
    steep = both_ways(leads_mv, _WORK_HZ, 5.0)
    energy = uniform_filter1d((steep**2).sum(axis=0), int(_ENERGY_WINDOW_S * _WORK_HZ) | 1)
    reach = int(_RECENTRE_S * _WORK_HZ)
    centres = set()
    for find in found:
        centre = int(find)
        for _ in range(3):
            start = max(0, centre - reach)
            centre = start + int(np.argmax(energy[start : centre + reach + 1]))
        centres.add(centre)
    if centres:
        tops = energy == maximum_filter1d(energy, int(_REFRACTORY_S * _WORK_HZ) | 1)
        overlooked = tops & (energy >= _least(energy, list(centres))[0])
        centres |= {int(top) for top in np.flatnonzero(overlooked)}
    return np.array(sorted(centres), dtype=np.int64), energy


def _largest_of_close(
    centres: npt.NDArray[np.int64], energy: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """Of centres within the refractory time the one with most energy, where it has enough."""
    kept: list[int] = []
    least, least_soon = _least(energy, centres) if centres.size else (0.0, 0.0)
    for centre in sorted(centres.tolist(), key=lambda sample: -energy[sample]):
        if all(abs(centre - other) > _REFRACTORY_S * _WORK_HZ for other in kept):
            soon = any(0 < centre - other < _SOON_S * _WORK_HZ for other in kept)
            if energy[centre] >= (least_soon if soon else least):
                kept.append(centre)
    return np.array(sorted(kept), dtype=np.int64)


def _with_overlooked(
    centres: npt.NDArray[np.int64], energy: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """With the broad ectopic beats that are lost among tall narrow ones: where a beat is due and
    none is found, a plain top of energy is one."""
    if centres.size < 3:
        return centres
    due = _PAUSE * float(np.median(np.diff(centres)))
    least = max(
        _LEAST_ENERGY_PAUSE * float(np.median(energy[centres])),
        _STRANGER * float(np.median(energy)),
    )
    after, before = int(_SOON_S * _WORK_HZ), int(_REFRACTORY_S * _WORK_HZ)
    found = []
    ends = [max(0, centres[0] - due), *centres.tolist(), min(energy.size, centres[-1] + due)]
    for start, stop in itertools.pairwise(ends):
        part = energy[int(start) + after : int(stop) - before]
        if stop - start > due and part.size:
            top = int(np.argmax(part))
            if part[top] >= least and 0 < top < part.size - 1:
                found.append(int(start) + after + top)
    return np.sort(np.concatenate([centres, np.array(found, dtype=np.int64)]))


def _least(
    energy: npt.NDArray[np.float64], centres: npt.NDArray[np.int64] | list[int]
) -> tuple[float, float]:
    """The least energy of a beat, and of one soon after a larger beat.

    A beat's usual energy is the median of the finds that have no larger one near: a strip of few
    beats may have most finds on P and T waves. Coarse fibrillatory waves and noise raise the least
    by what lies between the beats.
    """
    at, found = np.asarray(centres), energy[centres]
    near = np.abs(at[:, None] - at) < _NEAR_S * _WORK_HZ
    usual = float(np.median(found[(near * found).max(axis=1) <= found]))
    usual = max(usual, _LONE * float(found.max()))
    between = min(_TIMES_BETWEEN * float(np.median(energy)), _MOST_LEAST * usual)
    return max(_LEAST_ENERGY * usual, between), max(_LEAST_ENERGY_SOON * usual, between)


def _without_jumps(
    centres: npt.NDArray[np.int64], leads_mv: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """Without finds that are one electrode's jump; `leads_mv` is not filtered."""
    if centres.size < 3:
        return centres
    slopes = (np.diff(leads_mv, axis=1) ** 2).sum(axis=0)
    around = np.arange(-int(_TEMPLATE_HALF_S * _WORK_HZ), int(_TEMPLATE_HALF_S * _WORK_HZ) + 1)
    windows = slopes[np.clip(centres[:, None] + around, 0, slopes.size - 1)]
    steepest = _running_sum(windows, int(_JUMP_S * _WORK_HZ)).max(axis=1)
    beyond = windows.sum(axis=1) - steepest
    return np.asarray(centres[beyond >= _LEAST_SLOPES * np.median(beyond)], dtype=np.int64)


def _largest_vectors(
    centres: npt.NDArray[np.int64], leads_mv: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """(beat) where the vector over all leads is largest near each centre; how far from there, in
    fractions of a sample, a parabola has its top."""
    size_mv = np.sqrt((leads_mv**2).sum(axis=0))
    reach = int(_QRS_REACH_S * _WORK_HZ)
    starts = np.maximum(centres - reach, 0)
    found = [
        start + int(np.argmax(size_mv[start : centre + reach + 1]))
        for start, centre in zip(starts, centres, strict=True)
    ]
    peaks = np.array(sorted(set(found)), dtype=np.int64)
    peaks = peaks[size_mv[peaks] >= _LEAST_VECTOR_MV]
    inner = np.clip(peaks, 1, size_mv.size - 2)
    return peaks, _top(size_mv[inner - 1], size_mv[inner], size_mv[inner + 1])


def _aligned(
    peaks: npt.NDArray[np.int64],
    fraction: npt.NDArray[np.float64],
    leads_mv: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """R between samples; beats that have the median beat's shape where they fit it best.

    Also how well each fits: its correlation with the median beat.
    """
    if peaks.size < 3:
        return np.asarray(peaks + fraction, dtype=np.float64), np.ones(peaks.size)
    half, reach = int(_TEMPLATE_HALF_S * _WORK_HZ), int(_QRS_REACH_S * _WORK_HZ)
    width = 2 * half + 1
    last = leads_mv.shape[1] - 1
    around = np.arange(-reach - half, reach + half + 1)
    # (lead, beat, sample), with the strip's ends held on.
    beats = leads_mv[:, np.clip(peaks[:, None] + around, 0, last)]
    # (lead, beat, shift, sample)
    windows = np.lib.stride_tricks.sliding_window_view(beats, width, axis=2)
    squares = _running_sum(beats**2, width) - _running_sum(beats, width) ** 2 / width
    length = np.sqrt(np.maximum(squares.sum(axis=0), 1e-12))
    shifts = np.full(peaks.size, reach)
    beat = np.arange(peaks.size)
    for _ in range(2):
        template = np.median(windows[:, beat, shifts], axis=1)
        template -= template.mean(axis=1, keepdims=True)
        product = (windows @ template[:, None, :, None])[..., 0].sum(axis=0)
        fit = product / (length * max(float(np.linalg.norm(template)), 1e-6))
        same = fit.max(axis=1) >= _SAME_SHAPE
        shifts = np.where(same, fit.argmax(axis=1), reach)
    # The template's own R, between samples: the middle of where its beats have theirs.
    of_shape = float(np.median((fraction - shifts + reach)[same])) if same.any() else 0.0
    inner = np.clip(shifts, 1, fit.shape[1] - 2)
    slid = _top(fit[beat, inner - 1], fit[beat, inner], fit[beat, inner + 1])
    exact = peaks + np.where(same, shifts - reach + slid + of_shape, fraction)
    order = np.argsort(exact)
    ordered: npt.NDArray[np.float64] = np.clip(exact[order], 0.0, float(last))
    apart = np.diff(ordered, prepend=-np.inf) > _QRS_REACH_S * _WORK_HZ
    return ordered[apart], np.asarray(fit.max(axis=1)[order][apart], dtype=np.float64)


def _without_strangers(
    peaks: npt.NDArray[np.float64],
    alike: npt.NDArray[np.float64],
    energy: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Without finds of another shape that hardly rise above what lies between the beats."""
    if peaks.size < 3:
        return peaks
    reach = int(_QRS_REACH_S * _WORK_HZ)
    highest = maximum_filter1d(energy, 2 * reach + 1)[np.rint(peaks).astype(np.int64)]
    known = alike >= _FAMILIAR
    least = _STRANGER * float(np.median(energy))
    if known.any():
        least = min(least, _MOST_STRANGER * float(np.median(highest[known])))
    return np.asarray(peaks[known | (highest >= least)])


def _top(
    left: npt.NDArray[np.float64], middle: npt.NDArray[np.float64], right: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Where the parabola through three neighbours is highest, from the middle one; within ±0.5."""
    bend = left - 2 * middle + right
    part = 0.5 * (left - right) / np.where(bend < 0, bend, -np.inf)
    return np.asarray(np.clip(part, -0.5, 0.5))


def _running_sum(rows: npt.NDArray[np.float64], width: int) -> npt.NDArray[np.float64]:
    """Sums over `width` samples from each sample on, along the last axis."""
    total = np.cumsum(rows, axis=-1)
    total[..., width:] -= total[..., :-width].copy()
    return total[..., width - 1 :]
