"""Windows about R, moved by fractions of a sample, and how windows are laid on each other."""

import numpy as np
import numpy.typing as npt
from scipy.fft import irfft, rfft, rfftfreq

_MARGIN = 20  # 640 = 2^7 · 5 samples for the Fourier shift
LAGS = 8  # R is looked for again so many samples to either side

Array = npt.NDArray[np.floating]


def cut_windows(values: Array, peaks: npt.NDArray[np.int64], start: int, stop: int) -> Array:
    """(beat, lead, sample) about whole samples; beyond the strip its end values go on."""
    at = np.clip(peaks[:, None] + np.arange(start, stop), 0, values.shape[1] - 1)
    return np.ascontiguousarray(values[:, at].transpose(1, 0, 2))


def cut_windows_at(values: Array, at: Array, start: int, stop: int) -> Array:
    """(beat, lead, sample) about fractional samples `at`, shifted by a linear phase."""
    whole = np.floor(at).astype(np.int64)
    windows = cut_windows(values, whole, start - _MARGIN, stop + _MARGIN)
    n = windows.shape[2]
    # Without the line through its ends the window has no step where the transform joins them.
    first, last = windows[:, :, :1], windows[:, :, -1:]
    slope = (last - first) / (n - 1)
    line = first + slope * np.arange(n, dtype=values.dtype)
    fraction = (at - whole)[:, None, None].astype(values.dtype)
    phase = np.exp(2j * np.pi * rfftfreq(n).astype(values.dtype) * fraction)
    shifted = irfft(rfft(windows - line, axis=2) * phase, n=n, axis=2) + line + slope * fraction
    return np.asarray(shifted[:, :, _MARGIN:-_MARGIN], dtype=values.dtype)


def unit_shapes(windows: Array) -> Array:
    """(beat, lead · sample) without each lead's mean, of length one."""
    flat = (windows - windows.mean(axis=2, keepdims=True)).reshape(len(windows), -1)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12))


def find_lags(windows: Array) -> Array:
    """(beat) how much later than given each beat fits the average best, in fractions of a sample.

    windows: (beat, lead, sample) with `LAGS` samples more at either end than the average has.
    """
    windows = (windows - windows.mean(axis=2, keepdims=True)).astype(np.float64)
    n_lags = 2 * LAGS + 1
    length = windows.shape[2] - 2 * LAGS
    slid = np.lib.stride_tricks.sliding_window_view(windows, length, axis=2)
    sums, squares = _moving_sum(windows, length), _moving_sum(windows**2, length)
    energy = (squares - sums**2 / length).sum(axis=1)  # (beat, lag)
    lags = np.zeros(len(windows))
    template = windows[:, :, LAGS:-LAGS].mean(axis=0)
    rows = slid.transpose(0, 2, 1, 3).reshape(len(windows), n_lags, -1)
    for _ in range(2):
        template = template - template.mean(axis=1, keepdims=True)
        fit = rows @ template.ravel() / np.sqrt(np.maximum(energy, 1e-12))
        best = np.clip(np.argmax(fit, axis=1), 1, n_lags - 2)
        beat = np.arange(len(windows))
        left, middle, right = fit[beat, best - 1], fit[beat, best], fit[beat, best + 1]
        bend = left - 2 * middle + right
        part = np.where(bend < 0, 0.5 * (left - right) / np.where(bend < 0, bend, -1.0), 0.0)
        lags = best - LAGS + np.clip(part, -0.5, 0.5)
        template = slid[beat, :, best].mean(axis=0)
    return np.asarray(lags - np.median(lags))


def _moving_sum(values: Array, length: int) -> Array:
    """The sums of `length` neighbours along the last axis."""
    total = np.cumsum(values, axis=-1)
    total = np.concatenate([np.zeros_like(total[..., :1]), total], axis=-1)
    return np.asarray(total[..., length:] - total[..., :-length])


def r_of_average(qrs: Array) -> float:
    """Where the largest vector of the average lies, from the middle of (beat, lead, sample)."""
    average = np.median(qrs, axis=0)
    average = average - average[:, :10].mean(axis=1, keepdims=True)
    size = np.sqrt((average**2).sum(axis=0))
    peak = int(np.clip(np.argmax(size), 1, len(size) - 2))
    left, middle, right = size[peak - 1 : peak + 2]
    bend = left - 2 * middle + right
    part = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return float(peak + np.clip(part, -0.5, 0.5) - qrs.shape[2] // 2)
