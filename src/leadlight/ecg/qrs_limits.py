"""QRS onset and offset on the median beat, from how fast the heart's vector moves.

The delineation network says where a cardiologist would mark the QRS; its training marks (LUDB) lie
some 10 ms outside of where the vector begins and ends to move. On the median beat noise is low
enough to read that itself: the limits are where the spatial velocity passes a small share of its
peak. Against simulated hearts this takes the bias of the QRS duration from +23 to 0 ms. Between the
two halves of a recording the duration then differs by 0.8 instead of 1.4 ms (robust SD), but where
the end of the QRS is slow, at the threshold's height, it can jump by 20 ms (benchmarks/measure.py).
"""

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.ndimage import uniform_filter1d

from leadlight.ecg.intervals import limit_samples
from leadlight.ecg.leads import INDEPENDENT_LEADS
from leadlight.ecg.median_beat import RATE_HZ, SAMPLES, MedianBeat

# Chosen on simulated hearts with normal conduction and bundle branch blocks, other seeds than the
# benchmark's, for small bias in both.
SHARE_OF_PEAK = 0.07
# The onset's threshold grows with the root of the peak velocity only: in a tall complex a septal q
# of 0.05 to 0.1 mV, plain to the eye, has less than 7 % of it. mV per 2 ms, and its root.
ONSET_OF_ROOT = 0.025
TIMES_NOISE = 2.0

_BEYOND_MS = 10.0  # how far outside of the network's limits the search begins
_NOISE_MS = 40.0  # the stretch beyond that, whose median velocity is noise
_HOLDS = 3  # samples that the velocity has to stay above
_SHORTEST_MS = 40.0

Array = npt.NDArray[np.floating]


def sharpen_qrs(beat: MedianBeat, limits: xr.DataArray) -> xr.DataArray:
    """The limits with QRS onset and offset where the spatial velocity passes its threshold.

    The threshold is the larger of a velocity that goes with the peak velocity (its root for the
    onset, 7 % of it for the offset) and twice the median velocity just outside of the search, on
    either side on its own. The search runs inwards from 10 ms outside of
    the network's limits. Where it finds nothing sound, the network's limits stay.

    Args:
        beat: the median beat.
        limits: (wave, point) in its samples, as the network read them.
    """
    at = limit_samples(limits)
    onset, offset = at["QRS", "onset"], at["QRS", "offset"]
    if not np.isfinite(onset + offset):
        return limits
    beyond, stretch = round(_BEYOND_MS * RATE_HZ / 1e3), round(_NOISE_MS * RATE_HZ / 1e3)
    first = max(2, int(np.floor(onset)) - beyond)
    last = min(SAMPLES - 3, int(np.ceil(offset)) + beyond)
    speed = _spatial_velocity(beat)
    if last <= first or not speed[first:last].max(initial=0.0) > 0:
        return limits
    peak = float(speed[first:last].max())
    least_onset, least_offset = min(ONSET_OF_ROOT * peak**0.5, peak), SHARE_OF_PEAK * peak
    before, after = speed[max(2, first - stretch) : first], speed[last : last + stretch]
    start = _crossing(speed[first:last], max(least_onset, TIMES_NOISE * _median(before)))
    stop = _crossing(speed[first:last][::-1], max(least_offset, TIMES_NOISE * _median(after)))
    sharp_onset, sharp_offset = first + start, last - 1 - stop
    if not sharp_offset - sharp_onset >= _SHORTEST_MS * RATE_HZ / 1e3:
        return limits
    values = limits.transpose("wave", "point").values.copy()
    wave = limits["wave"].values.tolist().index("QRS")
    points = limits["point"].values.tolist()
    values[wave, [points.index("onset"), points.index("offset")]] = sharp_onset, sharp_offset
    return limits.transpose("wave", "point").copy(deep=False, data=values)


def _spatial_velocity(beat: MedianBeat) -> Array:
    """(sample) size of the change of all independent leads, over three samples."""
    named = beat.beat_mv["lead"].values.tolist()
    rows = [named.index(lead) for lead in INDEPENDENT_LEADS]
    values = beat.beat_mv.transpose("lead", "sample").values[rows].astype(np.float64)
    smooth = uniform_filter1d(np.nan_to_num(values), 3, axis=1)
    speed = np.zeros(SAMPLES)
    speed[1:-1] = np.sqrt(((smooth[:, 2:] - smooth[:, :-2]) ** 2).sum(axis=0)) / 2
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
