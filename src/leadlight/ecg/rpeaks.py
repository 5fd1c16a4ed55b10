"""Where the beats are: one reference instant (R) per QRS complex, from all leads together.

Beats are found by sleepecg's detector (a Pan-Tompkins design) on the spatial velocity of the eight
independent leads, so that a complex that is flat in one lead is still seen in the others. R is the
instant of the largest QRS vector, made the same instant in all beats of one shape.
"""

import numpy as np
import numpy.typing as npt
import sleepecg
import xarray as xr
from scipy.ndimage import maximum_filter1d, uniform_filter1d
from scipy.signal import butter, sosfiltfilt

from leadlight.ecg.filtering import band_pass, resample
from leadlight.ecg.leads import INDEPENDENT_LEADS

# All work is done at one rate, so that a record gives the same beats at any rate it came in.
_WORK_HZ = 500.0
_SHORTEST_S = 1.0
_LEARNING_S = 3.0
# A lead this many times as restless between beats as the median lead is turned down.
_RESTLESS = 3.0
_ENERGY_WINDOW_S = 0.10
_RECENTRE_S = 0.15
_REFRACTORY_S = 0.20
_QRS_REACH_S = 0.06
# A find with less than this share of the median beat's energy is no beat (a P wave, an artefact),
# nor is one with less than the second share so soon after a larger beat (a T or fibrillatory wave).
_LEAST_ENERGY, _LEAST_ENERGY_SOON, _SOON_S = 0.08, 0.18, 0.36
# What the detector passed over is a beat from this share on: it is slow to follow a sudden change
# of rate or shape.
_OVERLOOKED_ENERGY = 0.5
# An electrode's jump is over within 10 ms; beyond that it has less than this share of the slopes
# of the median beat. A pacing spike is as short, but its QRS is not.
_JUMP_S, _LEAST_SLOPES = 0.010, 0.12
# A vector smaller than this is not the QRS of a living heart at any lead placement.
_LEAST_VECTOR_MV = 0.05
_TEMPLATE_HALF_S = 0.08
_ABOVE_5_HZ = butter(2, 5.0, "highpass", False, "sos", _WORK_HZ)
_SAME_SHAPE = 0.9
# So near an end the QRS is cut, and its largest vector may lie outside.
_RIM_S = 0.04


def find_r_peaks(signal_mv: xr.DataArray, rate_hz: float) -> npt.NDArray[np.int64]:
    """The R reference of every beat.

    Steps: spatial velocity of the 0.5 to 30 Hz band, restless leads turned down; detection; each
    find is moved to the centre of QRS energy near it (this removes finds on P and T waves and on
    pacing spikes, which fall onto their QRS), and what the detector passed over at a sudden change
    of rate is added; jumps of an electrode are taken out; R is the largest QRS vector; beats that
    correlate with the median beat are aligned to it, so that a notched complex is not marked now on
    one notch, now on the other.

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
    named = [lead for lead in INDEPENDENT_LEADS if lead in signal_mv["lead"].values]
    at_rate = resample(signal_mv.sel(lead=named).astype(np.float64), rate_hz, _WORK_HZ)
    leads_mv = np.nan_to_num(band_pass(at_rate, _WORK_HZ, 0.5, 30.0).values)
    leads_mv *= _quietness(leads_mv)[:, None]
    speed = np.sqrt((_steps(leads_mv) ** 2).sum(axis=0))
    if not np.ptp(speed) > 0:
        return np.array([], dtype=np.int64)
    centres, energy = _recentred(_detected(speed), leads_mv)
    centres = _without_jumps(centres, np.nan_to_num(at_rate.values))
    centres = _largest_of_close(centres, energy)
    peaks = _aligned(_largest_vectors(centres, leads_mv), leads_mv)
    rim = int(_RIM_S * _WORK_HZ)
    peaks = peaks[(peaks >= rim) & (peaks < leads_mv.shape[1] - rim)]
    at_source = np.rint(peaks * rate_hz / _WORK_HZ).astype(np.int64)
    return np.unique(np.clip(at_source, 0, n_samples - 1))


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
    """(lead) weights: 1, falling with the square of the restlessness beyond the common measure."""
    restless = np.median(np.abs(_steps(leads_mv)), axis=1)
    active = restless[restless > 1e-6]
    usual = float(np.median(active)) if active.size else 1.0
    excess = np.maximum(restless, 1e-9) / (_RESTLESS * usual)
    return np.asarray(np.minimum(1.0, excess**-2.0), dtype=np.float64)


def _recentred(
    found: npt.NDArray[np.int64], leads_mv: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Centres of QRS energy uphill of each find, with those that were passed over; the energy."""
    # Above 5 Hz, so that T waves weigh little.
    steep = sosfiltfilt(_ABOVE_5_HZ, leads_mv, axis=1, padlen=min(100, leads_mv.shape[1] - 1))
    energy = uniform_filter1d(
        (_steps(steep) ** 2).sum(axis=0), int(_ENERGY_WINDOW_S * _WORK_HZ) | 1
    )
    reach = int(_RECENTRE_S * _WORK_HZ)
    centres = set()
    for find in found:
        centre = int(find)
        for _ in range(3):
            start = max(0, centre - reach)
            centre = start + int(np.argmax(energy[start : centre + reach + 1]))
        centres.add(centre)
    if centres:
        usual = _usual(energy[list(centres)])
        tops = energy == maximum_filter1d(energy, int(_REFRACTORY_S * _WORK_HZ) | 1)
        overlooked = tops & (energy >= _OVERLOOKED_ENERGY * usual)
        centres |= {int(top) for top in np.flatnonzero(overlooked)}
    return np.array(sorted(centres), dtype=np.int64), energy


def _largest_of_close(
    centres: npt.NDArray[np.int64], energy: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """Of centres within the refractory time the one with most energy, where it has enough."""
    kept: list[int] = []
    usual = _usual(energy[centres]) if centres.size else 0.0
    for centre in sorted(centres.tolist(), key=lambda sample: -energy[sample]):
        if all(abs(centre - other) > _REFRACTORY_S * _WORK_HZ for other in kept):
            soon = any(0 < centre - other < _SOON_S * _WORK_HZ for other in kept)
            if energy[centre] >= (_LEAST_ENERGY_SOON if soon else _LEAST_ENERGY) * usual:
                kept.append(centre)
    return np.array(sorted(kept), dtype=np.int64)


def _usual(energies: npt.NDArray[np.float64]) -> float:
    """A beat's energy: the median of the finds, which a strip of few beats may mostly have on P
    and T waves, so at least 0.3 of the largest."""
    return float(max(np.median(energies), 0.3 * energies.max()))


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
) -> npt.NDArray[np.int64]:
    """(beat) where the vector over all leads is largest near each centre."""
    size_mv = np.sqrt((leads_mv**2).sum(axis=0))
    reach = int(_QRS_REACH_S * _WORK_HZ)
    starts = np.maximum(centres - reach, 0)
    peaks = [
        start + int(np.argmax(size_mv[start : centre + reach + 1]))
        for start, centre in zip(starts, centres, strict=True)
    ]
    large = [peak for peak in peaks if size_mv[peak] >= _LEAST_VECTOR_MV]
    return np.array(sorted(set(large)), dtype=np.int64)


def _aligned(
    peaks: npt.NDArray[np.int64], leads_mv: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """Shift the beats that have the median beat's shape to where they fit it best."""
    if peaks.size < 3:
        return peaks
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
    for _ in range(2):
        template = np.median(windows[:, np.arange(peaks.size), shifts], axis=1)
        template -= template.mean(axis=1, keepdims=True)
        product = (windows @ template[:, None, :, None])[..., 0].sum(axis=0)
        fit = product / (length * max(float(np.linalg.norm(template)), 1e-6))
        shifts = np.where(fit.max(axis=1) >= _SAME_SHAPE, fit.argmax(axis=1), reach)
    return np.unique(np.clip(peaks + shifts - reach, 0, last))


def _running_sum(rows: npt.NDArray[np.float64], width: int) -> npt.NDArray[np.float64]:
    """Sums over `width` samples from each sample on, along the last axis."""
    total = np.cumsum(rows, axis=-1)
    total[..., width:] -= total[..., :-width].copy()
    return total[..., width - 1 :]
