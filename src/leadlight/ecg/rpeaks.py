"""Where the beats are: one reference instant (R) per QRS complex, from all leads together."""

import numpy as np
import numpy.typing as npt
import sleepecg
import xarray as xr

from leadlight.ecg.filtering import band_pass, resample
from leadlight.ecg.leads import INDEPENDENT_LEADS

_DETECTION_HZ = 500.0
_REACH_S = 0.08


def find_r_peaks(signal_mv: xr.DataArray, rate_hz: float) -> npt.NDArray[np.int64]:
    """Sample indices of R in `signal_mv` (lead, sample), in ascending order; may be empty."""
    independent = signal_mv.sel(lead=list(INDEPENDENT_LEADS))
    at_rate = resample(independent, rate_hz, _DETECTION_HZ)
    leads_mv = np.nan_to_num(band_pass(at_rate, _DETECTION_HZ, 0.5, 40.0).values.astype(np.float64))
    velocity = np.sqrt((np.gradient(leads_mv, axis=1) ** 2).sum(axis=0))
    if velocity.size < _DETECTION_HZ or not np.ptp(velocity) > 0:
        return np.array([], dtype=np.int64)
    found = sleepecg.detect_heartbeats(velocity, _DETECTION_HZ)
    size = np.abs(leads_mv).sum(axis=0)
    reach = int(_REACH_S * _DETECTION_HZ)
    refined = set()
    for beat in found:
        start = max(0, beat - reach)
        refined.add(start + int(np.argmax(size[start : beat + reach + 1])))
    peaks = np.rint(np.array(sorted(refined)) * rate_hz / _DETECTION_HZ).astype(np.int64)
    return np.unique(np.minimum(peaks, signal_mv.sizes["sample"] - 1))
