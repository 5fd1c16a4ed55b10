"""Rate and intervals: RR, PR, QRS, QT and its corrections for rate."""

import numpy as np
import numpy.typing as npt
import xarray as xr

# QT correction formulas: QT and result in ms, RR in s, rate in beats per minute.
#   Bazett (Heart 1920), Fridericia (Acta Med Scand 1920), Framingham (Sagie et al., Am J Cardiol
#   1992), Hodges (Hodges et al., J Am Coll Cardiol 1983).
FRAMINGHAM_MS_PER_S = 154.0
HODGES_MS_PER_BPM = 1.75


# Samples by wave and point: ("QRS", "onset").
Limits = dict[tuple[str, str], float]


def limit_samples(limits: xr.DataArray | Limits) -> Limits:
    """The limits of one beat, (wave, point), by the names of wave and point; given so, as given."""
    if isinstance(limits, dict):
        return limits
    waves, points = limits.coords["wave"].values, limits.coords["point"].values
    ordered = limits if limits.dims == ("wave", "point") else limits.transpose("wave", "point")
    values = ordered.values
    return {
        (str(wave), str(point)): float(value)
        for wave, row in zip(waves, values, strict=True)
        for point, value in zip(points, row, strict=True)
    }


def rate_and_rr(r_peaks: npt.NDArray[np.int64], rate_hz: float) -> dict[str, float]:
    """The ventricular rate over the whole strip, from all beats, ectopic ones too.

    Args:
        r_peaks: (beat) R in samples, ascending.
        rate_hz: of those samples.

    Returns:
        `rr_ms` (mean), `heart_rate_bpm` (60000 / rr_ms), `rr_sd_ms` (standard deviation, from three
        beats on) and `rmssd_ms` (root mean square of successive differences, from three beats on);
        NaN where there are too few beats.
    """
    rr_ms = np.diff(np.asarray(r_peaks, dtype=np.float64)) / rate_hz * 1000
    mean = float(rr_ms.mean()) if rr_ms.size else np.nan
    return {
        "heart_rate_bpm": 60_000 / mean,
        "rr_ms": mean,
        "rr_sd_ms": float(rr_ms.std(ddof=1)) if rr_ms.size > 1 else np.nan,
        "rmssd_ms": float(np.sqrt(np.mean(np.diff(rr_ms) ** 2))) if rr_ms.size > 1 else np.nan,
    }


def corrected_qt(qt_ms: float, rr_ms: float) -> dict[str, float]:
    """QT corrected for rate by the four formulas in use, in ms."""
    rr_s = rr_ms / 1000
    return {
        "qtc_bazett_ms": qt_ms / rr_s**0.5,
        "qtc_fridericia_ms": qt_ms / rr_s ** (1 / 3),
        "qtc_framingham_ms": qt_ms + FRAMINGHAM_MS_PER_S * (1 - rr_s),
        "qtc_hodges_ms": qt_ms + HODGES_MS_PER_BPM * (60 / rr_s - 60),
    }


def wave_intervals(
    limits: xr.DataArray | Limits, t_peak: float, rr_ms: float, rate_hz: float
) -> dict[str, float]:
    """Intervals of one beat from its wave limits over all leads.

    PR is P onset to QRS onset, QT is QRS onset to T offset, JT is QRS offset to T offset: first
    onset to last offset over the leads (AHA/ACC/HRS recommendations, Kligfield et al. 2007 and
    Rautaharju et al. 2009).

    Args:
        limits: (wave, point) in samples, or by their names; NaN where a wave is absent.
        t_peak: the peak of the T vector's size, in the same samples.
        rr_ms: mean RR.
        rate_hz: of the samples.
    """
    at = limit_samples(limits)

    def ms(start: float, stop: float) -> float:
        return (stop - start) / rate_hz * 1000

    qt_ms = ms(at["QRS", "onset"], at["T", "offset"])
    return {
        "p_duration_ms": ms(at["P", "onset"], at["P", "offset"]),
        "pr_ms": ms(at["P", "onset"], at["QRS", "onset"]),
        "qrs_ms": ms(at["QRS", "onset"], at["QRS", "offset"]),
        "qt_ms": qt_ms,
        **corrected_qt(qt_ms, rr_ms),
        "jt_ms": ms(at["QRS", "offset"], at["T", "offset"]),
        "t_peak_end_ms": ms(t_peak, at["T", "offset"]),
    }
