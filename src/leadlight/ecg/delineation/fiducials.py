"""Where the waves of each beat begin, peak and end."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import xarray as xr

WAVES = ("P", "QRS", "T")
POINTS = ("onset", "peak", "offset")


@dataclass(frozen=True)
class Fiducials:
    """The wave limits and peaks of one recording, in samples at the recording's own rate.

    Samples are fractional: limits are read between samples. A wave that is not there (P in
    fibrillation) is NaN, never zero; so is every wave of a lead without signal. Where a wave is
    present, onset < peak < offset, and P, QRS, T of one beat and of its neighbours do not overlap.
    The QRS peak of a lead is its R, or its deepest point where it has no R to speak of; over all
    leads a peak is where the leads are largest together. The reference of a beat is `r_peaks`.

    Attributes:
        per_lead: (lead, beat, wave of WAVES, point of POINTS) float32, each lead on its own.
        global_: (beat, wave, point) float32, one reading of all leads together.
        confidence: (beat, wave, point) float32 in 0..1 of the global reading; 0 where it is NaN.
        confidence_per_lead: (lead, beat, wave, point) float32 in 0..1; 0 where it is NaN.
        r_peaks: (beat,) int64, the QRS reference of each beat, ascending.
        rate_hz: the rate that all samples count in.
    """

    per_lead: xr.DataArray
    global_: xr.DataArray
    confidence: xr.DataArray
    confidence_per_lead: xr.DataArray
    r_peaks: npt.NDArray[np.int64]
    rate_hz: float


def label_fiducials(
    per_lead: npt.NDArray[np.floating],
    global_: npt.NDArray[np.floating],
    confidence_per_lead: npt.NDArray[np.floating],
    confidence: npt.NDArray[np.floating],
    *,
    leads: list[str],
    r_peaks: npt.NDArray[np.int64],
    rate_hz: float,
) -> Fiducials:
    """Name the axes of bare arrays: (lead, beat, wave, point) and (beat, wave, point)."""
    by_lead = xr.DataArray(
        np.asarray(per_lead, dtype=np.float32),
        dims=("lead", "beat", "wave", "point"),
        coords=_coordinates(tuple(leads)),
    )
    together = xr.DataArray(
        np.asarray(global_, dtype=np.float32),
        dims=("beat", "wave", "point"),
        coords=_coordinates(()),
    )
    return Fiducials(
        per_lead=by_lead,
        global_=together,
        confidence=together.copy(deep=False, data=np.asarray(confidence, dtype=np.float32)),
        confidence_per_lead=by_lead.copy(
            deep=False, data=np.asarray(confidence_per_lead, dtype=np.float32)
        ),
        r_peaks=np.asarray(r_peaks, dtype=np.int64),
        rate_hz=float(rate_hz),
    )


# Building the labels takes a tenth of the time of a record, so they are built once.
@lru_cache(maxsize=64)
def _coordinates(leads: tuple[str, ...]) -> xr.Coordinates:
    named = {"lead": list(leads)} if leads else {}
    return xr.Coordinates({**named, "wave": list(WAVES), "point": list(POINTS)})
