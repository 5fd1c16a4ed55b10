"""Resampling and zero-phase filtering along `sample`, safe for missing values."""

from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import signal as sps

from leadlight.errors import LeadlightError

# Rates are matched as a ratio of whole numbers no larger than this: over 10 s the drift of the
# last sample stays below a hundredth of a sample.
_LARGEST_FACTOR = 1000


def resample(signal_mv: xr.DataArray, rate_hz: float, to_hz: float) -> xr.DataArray:
    """The signal at another rate, by polyphase filtering with anti-aliasing.

    Sample k of the result is the signal at k / to_hz seconds. Gaps (NaN) are bridged for the
    filter and are gaps again in the result; a lead that is all NaN stays so.

    Args:
        signal_mv: any axes, one of them `sample`.
        rate_hz: its samples per second.
        to_hz: the rate wanted.

    Returns:
        The same axes and coordinates, dtype kept, with round(n * to_hz / rate_hz) samples.

    Raises:
        LeadlightError: a rate is not a positive finite number, or no sample would be left.
    """
    for rate in (rate_hz, to_hz):
        if not (np.isfinite(rate) and rate > 0):
            raise LeadlightError(
                f"A sampling rate of {rate} Hz is impossible.", advice="Rates are positive numbers."
            )
    n = signal_mv.sizes["sample"]
    length = int(np.floor(n * to_hz / rate_hz + 0.5))
    if length < 1:
        raise LeadlightError(
            f"{n} samples at {rate_hz:g} Hz leave none at {to_hz:g} Hz.",
            advice="The strip is too short for this rate.",
        )
    if to_hz == rate_hz:
        return signal_mv.copy()
    ratio = Fraction(to_hz / rate_hz).limit_denominator(_LARGEST_FACTOR)

    def polyphase(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        # The line through the ends is taken out and put back: the filter sees zeros outside the
        # strip, which would bend both ends of a record that has an offset or drifts.
        first, slope = rows[:, :1], (rows[:, -1:] - rows[:, :1]) / max(n - 1, 1)
        level = rows - (first + slope * np.arange(n))
        out = sps.resample_poly(level, ratio.numerator, ratio.denominator, axis=-1)
        out += first + slope * (np.arange(out.shape[-1]) * (ratio.denominator / ratio.numerator))
        if out.shape[-1] < length:
            out = np.pad(out, [(0, 0), (0, length - out.shape[-1])], mode="edge")
        return np.asarray(out[:, :length], dtype=np.float64)

    source_of = np.minimum(np.rint(np.arange(length) * rate_hz / to_hz).astype(np.int64), n - 1)
    return _along_sample(signal_mv, polyphase, source_of)


def band_pass(
    signal_mv: xr.DataArray,
    rate_hz: float,
    low_hz: float | None = 0.5,
    high_hz: float | None = None,
    *,
    order: int = 2,
) -> xr.DataArray:
    """Zero-phase Butterworth filter along `sample` (run forwards and backwards).

    Args:
        signal_mv: any axes, one of them `sample`; NaN leads stay NaN, gaps stay gaps.
        rate_hz: its samples per second.
        low_hz: what lies below is removed; None keeps it.
        high_hz: what lies above is removed; None keeps it.
        order: of one pass; the two passes double it (-6 dB at the corners).

    Returns:
        The same axes, coordinates and dtype.

    Raises:
        LeadlightError: a corner is not between 0 and half the rate, or low_hz >= high_hz.
    """
    corners = [corner for corner in (low_hz, high_hz) if corner is not None]
    if any(not 0 < corner < rate_hz / 2 for corner in corners) or sorted(set(corners)) != corners:
        raise LeadlightError(
            f"A filter from {low_hz} to {high_hz} Hz cannot be made at {rate_hz:g} Hz.",
            advice=f"Corners lie between 0 and {rate_hz / 2:g} Hz, the lower one first.",
        )
    if not corners:
        return signal_mv.copy()
    n = signal_mv.sizes["sample"]

    def filtered(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return both_ways(rows, rate_hz, low_hz, high_hz, order=order)

    return _along_sample(signal_mv, filtered, np.arange(n))


def both_ways(
    rows: npt.NDArray[np.float64],
    rate_hz: float,
    low_hz: float | None,
    high_hz: float | None = None,
    *,
    order: int = 2,
) -> npt.NDArray[np.float64]:
    """`band_pass` on a bare array (row, sample) without gaps; one corner at least."""
    sos, start = _butterworth(order, low_hz, high_hz, rate_hz)
    n = rows.shape[-1]
    # One period of the lower corner at each end, as far as the strip reaches, so that the slow
    # filter settles before the strip begins.
    slowest = high_hz if low_hz is None else low_hz
    assert slowest is not None
    settle = min(n - 1, int(np.ceil(rate_hz / slowest)))
    first, last = rows[:, :1], rows[:, -1:]
    begin = 2 * first - rows[:, settle:0:-1]
    end = 2 * last - rows[:, -2 : -settle - 2 : -1]
    long = np.concatenate([begin, rows, end], axis=1)
    for _ in range(2):
        long = sps.sosfilt(sos, long, axis=1, zi=start * long[:, :1])[0][:, ::-1].copy()
    return np.asarray(long[:, settle : settle + n], dtype=np.float64)


def halved(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Every other sample of (row, sample) without gaps, after a half-band filter of seven taps.

    A tenth of the time of `resample`, for looking at what lies well below a quarter of the rate:
    from 500 Hz it keeps 20 Hz to 0.1 % and folds into the band below 30 Hz 3 % at the most.
    """
    padded = np.pad(rows, ((0, 0), (3, 4)), mode="edge")
    n = rows.shape[1]
    odd = padded[:, 0::2]  # the neighbours of the samples that stay, which are padded[:, 3::2]
    keep = -(-n // 2)
    near = odd[:, 1 : keep + 1] + odd[:, 2 : keep + 2]
    far = odd[:, :keep] + odd[:, 3 : keep + 3]
    return np.asarray(padded[:, 3 : 3 + n : 2] / 2 + (9 * near - far) / 32)


# A design takes as long as filtering ten seconds of a lead, and a cohort needs the same few.
@lru_cache(maxsize=64)
def _butterworth(
    order: int, low_hz: float | None, high_hz: float | None, rate_hz: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Second-order sections, and the state in which each has settled on a one, (section, 1, 2)."""
    corners = [corner for corner in (low_hz, high_hz) if corner is not None]
    kind = "bandpass" if len(corners) == 2 else "highpass" if high_hz is None else "lowpass"
    sos = sps.butter(
        order, corners if len(corners) == 2 else corners[0], kind, False, "sos", rate_hz
    )
    return sos, sps.sosfilt_zi(sos)[:, None, :]


def _along_sample(
    signal_mv: xr.DataArray,
    kernel: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]],
    source_of: npt.NDArray[np.int64],
) -> xr.DataArray:
    """Apply `kernel` to the rows that hold values and put the gaps back.

    `source_of`: (sample out) the input sample that each output sample stands on.
    """
    axis = signal_mv.get_axis_num("sample")
    values = np.moveaxis(signal_mv.values, axis, -1)
    rows = values.reshape(-1, values.shape[-1]).astype(np.float64)
    gap = ~np.isfinite(rows)
    usable = ~gap.all(axis=1)
    result = np.full((rows.shape[0], source_of.size), np.nan)
    if usable.any():
        whole = rows[usable]
        for row, missing in zip(whole, gap[usable], strict=True):
            if missing.any():
                row[missing] = np.interp(
                    np.flatnonzero(missing), np.flatnonzero(~missing), row[~missing]
                )
        filtered = kernel(whole)
        filtered[gap[usable][:, source_of]] = np.nan
        result[usable] = filtered
    shaped = np.moveaxis(result.reshape(*values.shape[:-1], source_of.size), -1, axis)
    coords = {name: coord for name, coord in signal_mv.coords.items() if "sample" not in coord.dims}
    return xr.DataArray(
        shaped.astype(signal_mv.dtype),
        dims=signal_mv.dims,
        coords=coords,
        name=signal_mv.name,
        attrs=signal_mv.attrs,
    )
