"""Amplitudes of the waves of one beat, lead by lead, in millivolt.

Zero is the level just before the QRS (before P onset for the P wave). Q and S are negative. A QRS
that is all negative (QS) is an S without R, so that voltage sums count its depth.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import xarray as xr

from leadlight.ecg.intervals import Limits, limit_samples
from leadlight.ecg.leads import named_rows

Array = npt.NDArray[np.floating]

QRS_WAVES = ("q", "r", "s", "r_prime")
# The smallest deflection of the QRS that counts as a wave of its own: The CSE Working Party,
# Recommendations for measurement standards in quantitative electrocardiography, Eur Heart J 1985.
LEAST_WAVE_MV = 0.020
LEAST_WAVE_MS = 6.0

_LEVEL_MS = 6.0  # of signal before an onset that make its level
# A "wave" that is still this share of its peak at J is the start of an ST deviation.
_ST_SHARE = 0.7


def level_before(beat_mv: Array, onset: float, rate_hz: float) -> Array:
    """(lead) the mean of (lead, sample) over the 6 ms that end at `onset`."""
    stop = round(onset) + 1
    start = max(0, stop - max(2, round(_LEVEL_MS / 1000 * rate_hz)))
    return np.asarray(beat_mv[:, start:stop].mean(axis=1))


def qrs_waves(qrs_mv: Array, rate_hz: float) -> dict[str, float]:
    """Q, R, S and R′ of one lead's QRS.

    Args:
        qrs_mv: (sample) from QRS onset to QRS offset, zero at the level before the onset.
        rate_hz: of the samples.

    Returns:
        `q`, `r`, `s`, `r_prime` in mV; NaN where there is no such wave.
    """
    peaks = _deflections(qrs_mv, rate_hz)
    found = dict.fromkeys(QRS_WAVES, np.nan)
    if peaks and max(peaks) < 0:
        found["s"] = min(peaks)
        return found
    names = iter(("q", "r", "s", "r_prime") if peaks and peaks[0] < 0 else ("r", "s", "r_prime"))
    for peak, name in zip(peaks, names, strict=False):
        found[name] = peak
    return found


def wave_amplitudes(
    beat_mv: xr.DataArray, limits: xr.DataArray | Limits, rate_hz: float, last_own: float
) -> dict[str, float]:
    """All amplitudes of one beat.

    P and T are their largest deflections of either sign; J is the level at QRS offset, ST that 60
    and 80 ms later.

    Args:
        beat_mv: (lead, sample).
        limits: (wave, point) over all leads, or by their names, in samples; NaN where a wave is
            absent.
        rate_hz: of the samples.
        last_own: the last sample that is free of the next beat's QRS.

    Returns:
        `p_mv_I`, `q_mv_I`, ..., `t_mv_V6`; NaN where the wave, its limits or the lead are absent.
    """
    leads, rows = named_rows(beat_mv)
    values = rows.astype(np.float64)
    at = limit_samples(limits)
    found: dict[str, Array] = {}
    nothing = np.full(len(leads), np.nan)

    p_on, p_off = at["P", "onset"], at["P", "offset"]
    if np.isfinite(p_on + p_off):
        found["p"] = _extreme(values, p_on, p_off) - level_before(values, p_on, rate_hz)
    qrs_on, qrs_off = at["QRS", "onset"], at["QRS", "offset"]
    waves = [dict.fromkeys(QRS_WAVES, np.nan) for _ in leads]
    if np.isfinite(qrs_on + qrs_off):
        level = level_before(values, qrs_on, rate_hz)
        from_level = values - level[:, None]
        j = round(qrs_off)
        qrs = from_level[:, round(qrs_on) : j + 1]
        waves = [qrs_waves(row, rate_hz) if np.isfinite(row).all() else w
                 for row, w in zip(qrs, waves, strict=True)]  # fmt: skip
        found["j"] = from_level[:, j]
        for after_ms in (60, 80):
            st = j + round(after_ms / 1000 * rate_hz)
            if st <= last_own:
                found[f"st{after_ms}"] = from_level[:, st]
        t_off = at["T", "offset"]
        if np.isfinite(t_off):
            found["t"] = _extreme(from_level, t_start(at["T", "onset"], qrs_off, rate_hz), t_off)
    columns = {name: found.get(name, nothing) for name in ("p", "j", "st60", "st80", "t")} | {
        name: np.array([wave[name] for wave in waves]) for name in QRS_WAVES
    }
    order = ("p", *QRS_WAVES, "j", "st60", "st80", "t")
    return {
        f"{name}_mv_{lead}": float(columns[name][row])
        for name in order
        for row, lead in enumerate(leads)
    }


def voltage_sums(amplitudes: Mapping[str, float]) -> dict[str, float]:
    """Sums for left ventricular hypertrophy, in mV, from the amplitudes per lead.

    Sokolow and Lyon (Am Heart J 1949): depth of S in V1 plus the taller R of V5 and V6. Cornell
    (Casale et al., J Am Coll Cardiol 1985): R in aVL plus depth of S in V3. A wave that is not
    there counts zero, a lead that is not there makes the sum NaN.
    """

    def size(wave: str, lead: str) -> float:
        if not np.isfinite(amplitudes.get(f"j_mv_{lead}", np.nan)):
            return float("nan")
        value = amplitudes[f"{wave}_mv_{lead}"]
        return abs(value) if np.isfinite(value) else 0.0

    def tallest_r(lead: str) -> float:
        return float(np.maximum(size("r", lead), size("r_prime", lead)))

    return {
        "sokolow_lyon_mv": size("s", "V1") + float(np.maximum(tallest_r("V5"), tallest_r("V6"))),
        "cornell_mv": tallest_r("aVL") + size("s", "V3"),
    }


def t_start(t_onset: float, qrs_offset: float, rate_hz: float) -> float:
    """Where T is looked for: at its onset, or 60 ms behind J where none is known."""
    return t_onset if np.isfinite(t_onset) else qrs_offset + 0.06 * rate_hz


def _extreme(values: Array, start: float, stop: float) -> Array:
    """(lead) the value farthest from the mean of both ends, between two samples."""
    part = values[:, round(start) : round(stop) + 1]
    if part.shape[1] == 0:
        return np.full(len(values), np.nan)
    ends = (part[:, :1] + part[:, -1:]) / 2
    place = np.argmax(np.nan_to_num(np.abs(part - ends)), axis=1)
    return np.asarray(part[np.arange(len(part)), place])


def _deflections(qrs_mv: Array, rate_hz: float) -> list[float]:
    """The peaks of the deflections that count, signs alternating."""
    sign = np.sign(qrs_mv)
    ends = [*(np.flatnonzero(np.diff(sign) != 0) + 1), len(qrs_mv)]
    found: list[float] = []
    start = 0
    for stop in ends:
        part = qrs_mv[start:stop]
        peak = float(part[np.argmax(np.abs(part))])
        long_enough = len(part) / rate_hz * 1000 >= LEAST_WAVE_MS
        into_st = stop == len(qrs_mv) and abs(part[-1]) > _ST_SHARE * abs(peak)
        if abs(peak) >= LEAST_WAVE_MV and long_enough and not (into_st and found):
            if found and np.sign(found[-1]) == np.sign(peak):
                found[-1] = max(found[-1], peak, key=abs)
            else:
                found.append(peak)
        start = stop
    return found
