"""QRS onset and offset on the median beat: where its leads begin to move, and where they settle.

The delineation network says where a cardiologist would mark the QRS; its training marks (LUDB) lie
some milliseconds outside of what the beat itself shows. On the median beat noise is low enough to
read that: the onset is where the spatial velocity passes a threshold, the offset where the last
lead comes to lie on the course of its own ST segment. Velocity would not do for the offset, because
the end of the QRS is slow: S returns over 20 ms at a speed that a steep ST segment has as well.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.ndimage import uniform_filter1d

from leadlight.ecg.intervals import limit_samples
from leadlight.ecg.leads import INDEPENDENT_LEADS, LEADS, named_rows
from leadlight.ecg.median_beat import RATE_HZ, SAMPLES, MedianBeat

# The onset's threshold goes with the root of the peak velocity: in a tall complex a septal q of
# 0.05 to 0.1 mV, plain to the eye, has less than 7 % of it. mV per 2 ms, and its root.
ONSET_OF_ROOT = 0.025
TIMES_NOISE = 2.0
# A lead is still in its QRS where it is farther from its ST course than 20 µV (the least deflection
# that counts, CSE Working Party 1985), 1.5 % of its QRS from peak to peak, and three times what the
# course leaves of the ST segment. The course is the parabola through these ms behind the network's
# offset. Chosen on drawings of PTB-XL beats with and without block, and on simulated hearts, other
# seeds than the benchmark's.
SETTLED_MV, SETTLED_SHARE, SETTLED_TIMES_NOISE = 0.020, 0.015, 3.0
ST_COURSE_MS = (2.0, 62.0)

_BEYOND_MS = 10.0  # how far outside of the network's limits the search begins
_NOISE_MS = 40.0  # the stretch beyond that, whose median velocity is noise
_HOLDS = 3  # samples that the velocity has to stay above
_SHORTEST_MS = 40.0
_MS = RATE_HZ / 1e3
_INDEPENDENT = [LEADS.index(lead) for lead in INDEPENDENT_LEADS]

Array = npt.NDArray[np.floating]


def sharpen_qrs(beat: MedianBeat, limits: xr.DataArray) -> xr.DataArray:
    """The limits with QRS onset and offset as the leads of the median beat show them.

    Onset: where the spatial velocity, going inwards from 10 ms outside of the network's onset,
    passes the larger of a threshold that goes with the root of its peak and twice the median
    velocity just outside. Offset: going inwards from 10 ms outside of the network's offset, where
    the first lead departs from the parabola through its own ST segment (`SETTLED_MV` and what
    stands beside it), so that neither a steep nor a bent ST segment counts as QRS. Where nothing
    sound is found, the network's limits stay.

    Args:
        beat: the median beat.
        limits: (wave, point) in its samples, as the network read them.
    """
    at = limit_samples(limits)
    onset, offset = sharp_qrs(beat, at["QRS", "onset"], at["QRS", "offset"])
    values = limits.transpose("wave", "point").values.copy()
    wave = limits["wave"].values.tolist().index("QRS")
    points = limits["point"].values.tolist()
    values[wave, [points.index("onset"), points.index("offset")]] = onset, offset
    return limits.transpose("wave", "point").copy(deep=False, data=values)


def sharp_qrs(beat: MedianBeat, onset: float, offset: float) -> tuple[float, float]:
    """`sharpen_qrs` on the bare QRS limits, in samples of the median beat."""
    if not np.isfinite(onset + offset):
        return onset, offset
    smooth = _smooth_leads(beat)
    sharp_onset = _onset(_spatial_velocity(smooth), onset, offset)
    sharp_offset = _settled(smooth, onset, offset)
    if not sharp_offset - sharp_onset >= _SHORTEST_MS * _MS:
        return onset, offset
    return sharp_onset, sharp_offset


def _onset(speed: Array, onset: float, offset: float) -> float:
    """Where the velocity (sample) rises above its threshold; NaN where it does not."""
    beyond, stretch = round(_BEYOND_MS * _MS), round(_NOISE_MS * _MS)
    first = max(2, int(np.floor(onset)) - beyond)
    last = min(SAMPLES - 3, int(np.ceil(offset)) + beyond)
    if last <= first or not speed[first:last].max(initial=0.0) > 0:
        return float("nan")
    peak = float(speed[first:last].max())
    noise = _median(speed[max(2, first - stretch) : first])
    least = max(min(ONSET_OF_ROOT * peak**0.5, peak), TIMES_NOISE * noise)
    return first + _crossing(speed[first:last], least)


def _settled(leads_mv: Array, onset: float, offset: float) -> float:
    """Where the last of the leads (lead, sample) comes to lie on its ST course; NaN where none."""
    start, stop = (round(offset + after * _MS) for after in ST_COURSE_MS)
    first, last = round(onset), round(offset + _BEYOND_MS * _MS)
    if stop >= SAMPLES or first < 0 or last <= first:
        return float("nan")
    course = leads_mv[:, start:stop] @ _parabola(first - start, last - start + 1, stop - start).T
    within = leads_mv[:, start:stop] @ _parabola(0, stop - start, stop - start).T
    noise = np.sqrt(((leads_mv[:, start:stop] - within) ** 2).mean(axis=1))
    height = np.ptp(leads_mv[:, first : round(offset) + 1], axis=1)
    least = np.maximum(SETTLED_SHARE * height, SETTLED_TIMES_NOISE * noise)
    least = np.maximum(SETTLED_MV, least)
    apart = (np.abs(leads_mv[:, first : last + 1] - course) / least[:, None]).max(axis=0)
    inside = np.flatnonzero(apart >= 1)
    if not inside.size:
        return float("nan")
    at = int(inside[-1])
    if at == len(apart) - 1:
        return float(last)
    return first + at + float((apart[at] - 1) / (apart[at] - apart[at + 1]))


@lru_cache(maxsize=1024)
def _parabola(start: int, stop: int, length: int) -> npt.NDArray[np.float64]:
    """(sample, given) what takes `length` samples from 0 on to their parabola, start to stop."""
    given, wanted = (
        np.vander(np.arange(*ends) / length, 3) for ends in ((0, length), (start, stop))
    )
    return np.asarray(wanted @ np.linalg.pinv(given), dtype=np.float64)


def _smooth_leads(beat: MedianBeat) -> Array:
    """(lead, sample) all leads over three samples; a lead without signal is zero."""
    values = named_rows(beat.beat_mv)[1].astype(np.float64)
    return np.asarray(uniform_filter1d(np.nan_to_num(values), 3, axis=1))


def _spatial_velocity(smooth_mv: Array) -> Array:
    """(sample) size of the change of all independent leads of (lead of LEADS, sample)."""
    rows = smooth_mv[_INDEPENDENT]
    speed = np.zeros(SAMPLES)
    speed[1:-1] = np.sqrt(((rows[:, 2:] - rows[:, :-2]) ** 2).sum(axis=0)) / 2
    return speed


def _median(speed: Array) -> float:
    return float(np.median(speed)) if speed.size else 0.0


def _crossing(speed: Array, threshold: float) -> float:
    """Where the velocity first goes above the threshold and stays, between samples; else NaN."""
    above = speed >= threshold
    held = np.lib.stride_tricks.sliding_window_view(above, _HOLDS).all(axis=1)
    if not held.any():
        return float("nan")
    at = int(np.argmax(held))
    if at == 0:
        return 0.0
    return at - 1 + float((threshold - speed[at - 1]) / (speed[at] - speed[at - 1]))
