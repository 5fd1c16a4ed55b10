"""Where waves begin and end on the median beat, over all leads, from the limits of all beats.

Functions that take and give labelled arrays stand first; behind each is one on bare (wave, point)
arrays, which measuring uses.
"""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from leadlight.ecg.delineation import POINTS, WAVES, Fiducials
from leadlight.ecg.intervals import Limits
from leadlight.ecg.median_beat import R_SAMPLE, RATE_HZ, MedianBeat
from leadlight.ecg.qrs_limits import sharp_qrs

_Samples = npt.NDArray[np.float64]

# Which quantile of the leads' own limits is the limit over all leads. Between the halves of a
# recording PR differs less by 0.3 than by 0.2 or less, where one lead's early reading decides. P
# ends by 0.65 lie 1 ms before those of simulated hearts and 9 ms behind a cart's. T ends by 0.9 lie
# 3 ms behind those by 0.8 and nearer to a cart's (benchmarks/measure.py).
LEAD_QUANTILES = {("P", "onset"): 0.3, ("P", "offset"): 0.65, ("T", "offset"): 0.9}
# A wave is there where this share of the beats have it.
_LEAST_SHARE = 0.5


def limits_on_median(fiducials: Fiducials, beat: MedianBeat) -> xr.DataArray:
    """(wave, point) wave limits on the median beat, over all leads.

    Limits of P and the end of T are read over the leads (`limits_over_leads`). QRS onset and offset
    are read where the leads of the median beat begin to move and settle
    (`qrs_limits.sharpen_qrs`), which takes the beats' own noise out. Peaks and the onset of T are
    the medians over the beats.

    Args:
        fiducials: of every beat of the strip.
        beat: the strip's median beat, made with the same R peaks.

    Returns:
        Samples of the median beat, fractional; NaN where a wave is absent.
    """
    return labelled(on_median(fiducials, beat, over_beats(fiducials, beat)))


def limits_over_leads(fiducials: Fiducials, beat: MedianBeat) -> xr.DataArray:
    """(wave, point) as `limits_over_beats`, but P limits and T offset by lead first.

    Each lead's limit is its median over the averaged beats; over the leads a quantile is taken
    (`LEAD_QUANTILES`). An interval is defined by the first onset and the last offset in any lead
    (Kligfield et al. 2007, Rautaharju et al. 2009), and one misread lead must not set it.
    """
    return labelled(_over_leads(fiducials, beat, over_beats(fiducials, beat)))


def limits_over_beats(
    fiducials: Fiducials, beat: MedianBeat, *, least_share: float = _LEAST_SHARE
) -> xr.DataArray:
    """(wave, point) the median of the averaged beats' own limits, on the median beat.

    A wave that fewer than `least_share` of the beats have is absent. Otherwise as
    `limits_on_median`.
    """
    return labelled(over_beats(fiducials, beat, least_share))


def as_on_median(fiducials: Fiducials, beat: MedianBeat, limits: xr.DataArray) -> Fiducials:
    """The fiducials with the limits over all leads moved to agree with the median beat's.

    The median beat's limits differ from the median of the beats' own (`limits_on_median`), those of
    the QRS by some milliseconds. Each beat's global limits are moved by that difference, so that
    the table of fiducials and the intervals say the same; a limit that would pass its own wave's
    peak or the wave beside it stops there. Readings of single leads stay as they are.
    """
    after = limits.transpose("wave", "point").values
    return moved(fiducials, after - over_beats(fiducials, beat))


def labelled(limits: _Samples) -> xr.DataArray:
    """(wave, point) with its names."""
    return _no_limits().copy(deep=False, data=limits)


@cache  # building labels takes longer than reading limits
def _no_limits() -> xr.DataArray:
    return xr.DataArray(
        np.full((3, 3), np.nan),
        dims=("wave", "point"),
        coords={"wave": list(WAVES), "point": list(POINTS)},
    )


def by_name(limits: _Samples) -> Limits:
    """(wave of WAVES, point of POINTS) by names."""
    return {
        (wave, point): value
        for wave, row in zip(WAVES, limits.tolist(), strict=True)
        for point, value in zip(POINTS, row, strict=True)
    }


def over_beats(
    fiducials: Fiducials, beat: MedianBeat, least_share: float = _LEAST_SHARE
) -> _Samples:
    """(wave, point) of `limits_over_beats`."""
    used = np.flatnonzero(beat.used)
    samples = _on_beat(fiducials.global_.values[used], fiducials, beat, used)
    if not len(used):
        return np.full(samples.shape[1:], np.nan)
    has = np.isfinite(samples).mean(axis=0)
    return np.where(has >= least_share, _middles(samples), np.nan)


def _over_leads(fiducials: Fiducials, beat: MedianBeat, together: _Samples) -> _Samples:
    """(wave, point) of `limits_over_leads`; `together`: of `limits_over_beats`."""
    used = np.flatnonzero(beat.used)
    limits = together.copy()
    if not used.size:
        return limits
    samples = _on_beat(fiducials.per_lead.values[:, used], fiducials, beat, used)
    for (wave, point), quantile in LEAD_QUANTILES.items():
        at = WAVES.index(wave), POINTS.index(point)
        by_lead = samples[:, :, at[0], at[1]].T
        seen = by_lead[:, np.isfinite(by_lead).mean(axis=0) >= _LEAST_SHARE]
        if np.isfinite(limits[at]) and seen.size:
            limits[at] = np.quantile(_middles(seen), quantile)
    return limits


def on_median(fiducials: Fiducials, beat: MedianBeat, together: _Samples) -> _Samples:
    """(wave, point) of `limits_on_median`; `together`: of `limits_over_beats`."""
    limits = _over_leads(fiducials, beat, together)
    qrs = WAVES.index("QRS")
    limits[qrs, ::2] = sharp_qrs(beat, *limits[qrs, ::2].tolist())
    return limits


def _on_beat(
    points: npt.NDArray[np.floating],
    fiducials: Fiducials,
    beat: MedianBeat,
    used: npt.NDArray[np.int64],
) -> _Samples:
    """(..., beat, wave, point) from samples of the strip to samples of the median beat."""
    from_r = points - beat.r_samples[used][:, None, None]
    return np.asarray(from_r * RATE_HZ / fiducials.rate_hz + R_SAMPLE)


def moved(fiducials: Fiducials, by: _Samples) -> Fiducials:
    """The limits over all leads of every beat moved by (wave, point) samples of the median beat."""
    after = fiducials.global_.values.copy()
    to_strip = fiducials.rate_hz / RATE_HZ

    def column(wave: str, point: str) -> npt.NDArray[np.float32]:
        return after[:, WAVES.index(wave), POINTS.index(point)]

    def shifted(wave: str, point: str, behind: Any, ahead: Any) -> None:
        shift = by[WAVES.index(wave), POINTS.index(point)] * to_strip
        old = column(wave, point)
        if np.isfinite(shift):
            # fmax and fmin pass over a neighbour that is absent.
            old[:] = np.where(np.isfinite(old), np.fmin(np.fmax(old + shift, behind), ahead), old)

    nothing = np.float32(np.nan)
    t_before = np.concatenate([[nothing], column("T", "offset")[:-1]])
    shifted("P", "onset", t_before, column("P", "peak") - 1)
    shifted("P", "offset", column("P", "peak") + 1, column("QRS", "onset"))
    shifted("QRS", "onset", column("P", "offset"), column("QRS", "peak") - 1)
    shifted("QRS", "offset", column("QRS", "peak") + 1, column("T", "onset"))
    p_after = np.concatenate([column("P", "onset")[1:], [nothing]])
    shifted("T", "offset", column("T", "peak") + 1, p_after)
    return replace(fiducials, global_=fiducials.global_.copy(deep=False, data=after))


def _middles(samples: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Medians over the first axis of what is not NaN; NaN where nothing is."""
    ordered = np.sort(samples, axis=0)  # NaN last
    known = np.isfinite(samples).sum(axis=0)[None]
    low, high = np.maximum(known - 1, 0) // 2, known // 2
    pair = [np.take_along_axis(ordered, np.minimum(at, len(samples) - 1), 0) for at in (low, high)]
    return np.asarray((pair[0] + pair[1])[0] / 2, dtype=np.float64)
