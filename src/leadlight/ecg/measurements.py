"""What is measured on a recording: rate, intervals, axes, amplitudes, voltage sums, angles.

Intervals, axes and amplitudes are read on the median beat; rate and rhythm on all beats. What
cannot be measured is NaN, with the reason in `Measurements.absent`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import xarray as xr

from leadlight.ecg.amplitudes import (
    QRS_WAVES,
    level_before,
    t_start,
    voltage_sums,
    wave_amplitudes,
)
from leadlight.ecg.axes import (
    angle_deg,
    frontal_angle_deg,
    frontal_axis_deg,
    mean_vector,
    net_areas,
)
from leadlight.ecg.beat_limits import (
    by_name,
    labelled,
    limits_over_leads,
    moved,
    on_median,
    over_beats,
)
from leadlight.ecg.cart_beat import cart_median_beat
from leadlight.ecg.delineation import AskedStrip, Fiducials, delineate
from leadlight.ecg.intervals import Limits, limit_samples, rate_and_rr, wave_intervals
from leadlight.ecg.leads import LEADS, named_rows
from leadlight.ecg.median_beat import RATE_HZ, MedianBeat, median_beat
from leadlight.ecg.qrs_limits import sharpen_qrs
from leadlight.ecg.recording import Recording
from leadlight.ecg.rpeaks import find_r_peaks
from leadlight.errors import LeadlightError


@dataclass(frozen=True)
class Quantity:
    """One number that is measured.

    Attributes:
        unit: as in its name.
        low, high: what is plausible; outside, the value is withheld as a misreading.
        meaning: its definition.
        needs: the wave without which it does not exist, "" for none.
    """

    unit: str
    low: float
    high: float
    meaning: str
    needs: str = ""


# The ranges are the house's: what a living adult's heart can show, at least twice as wide as the
# 98 % normal limits of Rijnbeek et al. (J Electrocardiol 2014) and wide enough for the diseases
# that Leadlight names (first-degree block, bundle branch blocks, tachycardia). A value outside is
# more likely a misread beat than a patient.
QUANTITIES: dict[str, Quantity] = {
    "heart_rate_bpm": Quantity("bpm", 15, 300, "60000 / rr_ms"),
    "rr_ms": Quantity("ms", 200, 4000, "mean time between beats, ectopic ones included"),
    "rr_sd_ms": Quantity("ms", 0, 2000, "standard deviation of RR"),
    "rmssd_ms": Quantity("ms", 0, 3000, "root mean square of successive RR differences"),
    "other_shape_share": Quantity(
        "1", 0, 1, "share of beats whose QRS is not of the main shape (ectopic or aberrant)"
    ),
    "p_duration_ms": Quantity("ms", 30, 250, "P onset to P offset", "P"),
    "pr_ms": Quantity("ms", 60, 600, "P onset to QRS onset", "P"),
    "qrs_ms": Quantity("ms", 40, 280, "QRS onset to QRS offset", "QRS"),
    "qt_ms": Quantity("ms", 180, 800, "QRS onset to T offset", "T"),
    "qtc_bazett_ms": Quantity("ms", 220, 800, "QT / √RR(s)", "T"),
    "qtc_fridericia_ms": Quantity("ms", 220, 800, "QT / ∛RR(s)", "T"),
    "qtc_framingham_ms": Quantity("ms", 220, 800, "QT + 154 (1 − RR(s))", "T"),
    "qtc_hodges_ms": Quantity("ms", 220, 800, "QT + 1.75 (rate − 60)", "T"),
    "jt_ms": Quantity("ms", 100, 650, "QRS offset to T offset", "T"),
    "t_peak_end_ms": Quantity("ms", 20, 300, "peak of the T vector's size to T offset", "T"),
    "p_axis_deg": Quantity("deg", -180, 180, "frontal axis of P by net area", "P"),
    "qrs_axis_deg": Quantity("deg", -180, 180, "frontal axis of QRS by net area", "QRS"),
    "t_axis_deg": Quantity("deg", -180, 180, "frontal axis of T by net area", "T"),
    "qrs_t_angle_deg": Quantity(
        "deg", 0, 180, "angle in space between mean QRS and T vectors (Kors)", "T"
    ),
    "qrs_t_angle_frontal_deg": Quantity("deg", 0, 180, "angle between QRS and T axes", "T"),
    "sokolow_lyon_mv": Quantity("mV", 0, 15, "S in V1 + larger R of V5 and V6", "QRS"),
    "cornell_mv": Quantity("mV", 0, 15, "R in aVL + S in V3", "QRS"),
}
_AMPLITUDES: dict[str, Quantity] = {
    "p": Quantity("mV", -1.5, 1.5, "largest deflection of P from the level before it", "P"),
    "q": Quantity("mV", -10, 0, "first negative wave of the QRS, before an R", "QRS"),
    "r": Quantity("mV", 0, 10, "first positive wave of the QRS", "QRS"),
    "s": Quantity("mV", -10, 0, "negative wave after R, or the whole of a QS", "QRS"),
    "r_prime": Quantity("mV", 0, 10, "positive wave after S", "QRS"),
    "j": Quantity("mV", -3, 3, "level at QRS offset", "QRS"),
    "st60": Quantity("mV", -3, 3, "level 60 ms after QRS offset", "QRS"),
    "st80": Quantity("mV", -3, 3, "level 80 ms after QRS offset", "QRS"),
    "t": Quantity("mV", -4, 4, "largest deflection of T from the level before QRS", "T"),
}
QUANTITIES |= {
    f"{wave}_mv_{lead}": quantity for wave, quantity in _AMPLITUDES.items() for lead in LEADS
}

_SLACK = {"deg": 1e-6}
_Samples = npt.NDArray[np.float64]
_SEARCH_SAMPLES = 5


@dataclass(frozen=True)
class Measurements:
    """All of `QUANTITIES` on one recording.

    Attributes:
        values: by name; NaN where there is none.
        absent: "name:reason" for what is NaN. A Q, R, S or R′ that a lead's QRS does not have is
            NaN without reason; reasons that hold for all leads or all waves are said once
            ("p_mv_*:no P wave", "*_mv_V3:no signal").
    """

    values: dict[str, float]
    absent: tuple[str, ...]


@dataclass(frozen=True)
class MeasuredRecording:
    """Everything that is read on one recording.

    Attributes:
        fiducials: wave limits of every beat, per lead and over all leads, in samples of the strip;
            over all leads the QRS limits agree with `limits` (`as_on_median`).
        beat: the median beat.
        limits: (wave, point) the limits on the median beat, over all leads, in its samples.
        measurements: rate, intervals, axes, amplitudes, ...
    """

    fiducials: Fiducials
    beat: MedianBeat
    limits: xr.DataArray
    measurements: Measurements


def measure_recording(
    signal_mv: xr.DataArray, rate_hz: float, asked: AskedStrip | None = None
) -> MeasuredRecording:
    """R peaks, wave limits, median beat and measurements of a strip.

    Args:
        signal_mv: (lead, sample) millivolt with all of LEADS; NaN where there is no value.
        rate_hz: its samples per second.
        asked: what `ask_network` gave for this strip, where many were asked about together.

    Raises:
        LeadlightError: no beat is found, or none whole inside the strip.
    """
    r_peaks = find_r_peaks(signal_mv, rate_hz)
    if not len(r_peaks):
        raise LeadlightError(
            "No beat is found.", advice="The strip is flat, all noise, or shorter than a beat."
        )
    fiducials = delineate(signal_mv, rate_hz, r_peaks, asked=asked)
    beat = median_beat(signal_mv, rate_hz, r_peaks)
    together = over_beats(fiducials, beat)
    limits = on_median(fiducials, beat, together)
    found = _measured(beat, by_name(limits), r_peaks, rate_hz)
    return MeasuredRecording(moved(fiducials, limits - together), beat, labelled(limits), found)


def on_cart_median(found: MeasuredRecording, recording: Recording) -> MeasuredRecording:
    """What `measure_recording` found, with the cart's own median beat in the place of ours.

    P and T limits are those of the strip's beats (the cart's beat is laid on ours by its shape);
    QRS limits, axes and amplitudes are read on the cart's beat.

    Raises:
        LeadlightError: the recording brings no median beat of a cart, or one without QRS.
    """
    beat = cart_median_beat(recording, found.beat)
    limits = sharpen_qrs(beat, limits_over_leads(found.fiducials, found.beat))
    r_peaks, rate_hz = found.fiducials.r_peaks, found.fiducials.rate_hz
    return replace(
        found, beat=beat, limits=limits, measurements=measure(beat, limits, r_peaks, rate_hz)
    )


def measure(
    beat: MedianBeat,
    limits: xr.DataArray,
    r_peaks: npt.NDArray[np.int64],
    rate_hz: float,
) -> Measurements:
    """Measure a recording from its median beat, that beat's wave limits, and all its beats.

    Args:
        beat: the median beat.
        limits: (wave of P, QRS, T; point of onset, peak, offset) over all leads, in samples of the
            median beat; NaN where a wave is absent. See `limits_on_median`.
        r_peaks: (beat) R in samples of the strip.
        rate_hz: of the strip.
    """
    return _measured(beat, limit_samples(limits), r_peaks, rate_hz)


def _measured(
    beat: MedianBeat, at: Limits, r_peaks: npt.NDArray[np.int64], rate_hz: float
) -> Measurements:
    names, rows = named_rows(beat.beat_mv)
    has = np.isfinite(rows).all(axis=1)
    present = [name for name, whole in zip(names, has, strict=True) if whole]
    values = rows[has].astype(np.float64)
    found = rate_and_rr(r_peaks, rate_hz)
    found["other_shape_share"] = beat.other_shape_share
    found |= wave_intervals(at, _t_peak(values, at), found["rr_ms"], RATE_HZ)
    found |= _axes_and_angles(present, values, at)
    amplitudes = wave_amplitudes(beat.beat_mv, at, RATE_HZ, beat.own[1] - 1)
    found |= voltage_sums(amplitudes) | amplitudes
    return _judged(found, at, len(r_peaks), [name for name in names if name not in present])


def _t_peak(values: _Samples, at: Limits) -> float:
    """Where the T vector of (lead, sample) is largest, between samples by a parabola."""
    start, stop = _t_stretch(at)
    qrs_onset = at["QRS", "onset"]
    if not np.isfinite(start + stop + qrs_onset) or not len(values):
        return float("nan")
    part = values[:, round(start) : round(stop) + 1]
    part = part - level_before(values, qrs_onset, RATE_HZ)[:, None]
    if part.shape[1] < _SEARCH_SAMPLES:
        return float("nan")
    size = np.sqrt((part**2).sum(axis=0))
    peak = int(np.argmax(size))
    if 0 < peak < len(size) - 1:
        left, middle, right = size[peak - 1 : peak + 2]
        bend = left - 2 * middle + right
        return float(round(start) + peak + (0.5 * (left - right) / bend if bend < 0 else 0.0))
    return float(round(start) + peak)


def _t_stretch(at: Limits) -> tuple[float, float]:
    return t_start(at["T", "onset"], at["QRS", "offset"], RATE_HZ), at["T", "offset"]


def _axes_and_angles(leads: list[str], values: _Samples, at: Limits) -> dict[str, float]:
    """Axes and angles of (lead, sample)."""
    qrs_onset = at["QRS", "onset"]
    areas: dict[str, dict[str, float]] = {"P": {}, "QRS": {}, "T": {}}
    stretches = {
        "P": (at["P", "onset"], at["P", "offset"]),
        "QRS": (qrs_onset, at["QRS", "offset"]),
        "T": _t_stretch(at),
    }
    for wave, (start, stop) in stretches.items():
        if not np.isfinite(start + stop + (0.0 if wave == "P" else qrs_onset)):
            continue
        part = values[:, round(start) : round(stop) + 1]
        if wave == "P":  # P rides on whatever slope lies between its ends
            slope = np.linspace(0, 1, part.shape[1])
            base = part[:, :1] + slope * (part[:, -1:] - part[:, :1])
        else:
            base = level_before(values, qrs_onset, RATE_HZ)[:, None].astype(np.float64)
        areas[wave] = dict(zip(leads, net_areas(part, base).tolist(), strict=True))
    axes = {f"{wave.lower()}_axis_deg": frontal_axis_deg(areas[wave]) for wave in ("P", "QRS", "T")}
    return axes | {
        "qrs_t_angle_deg": angle_deg(mean_vector(areas["QRS"]), mean_vector(areas["T"])),
        "qrs_t_angle_frontal_deg": frontal_angle_deg(axes["qrs_axis_deg"], axes["t_axis_deg"]),
    }


def _judged(
    found: dict[str, float], at: Limits, n_beats: int, dead_leads: Iterable[str]
) -> Measurements:
    """Withhold what is not plausible, and say why what is absent is so."""
    lacking = {
        wave
        for wave in ("P", "QRS", "T")
        if not np.isfinite(at[wave, "offset"])
        or (wave != "T" and not np.isfinite(at[wave, "onset"]))
    }
    dead = set(dead_leads)
    values: dict[str, float] = {}
    absent: list[str] = [f"*_mv_{lead}:no signal" for lead in LEADS if lead in dead]
    for name, quantity in QUANTITIES.items():
        value = found[name]
        slack = _SLACK.get(quantity.unit, 0.0)
        wave, _, lead = name.rpartition("_mv_")
        if np.isfinite(value) and quantity.low - slack <= value <= quantity.high + slack:
            values[name] = value
            continue
        values[name] = float("nan")
        if lead in dead and wave:
            continue
        if quantity.needs in lacking:
            reason = f"no {quantity.needs} wave" if quantity.needs != "QRS" else "no QRS limits"
            entry = f"{wave}_mv_*:{reason}" if wave else f"{name}:{reason}"
        elif np.isfinite(value):
            entry = f"{name}:implausible ({value:.3g} {quantity.unit})"
        elif name in ("heart_rate_bpm", "rr_ms", "rr_sd_ms", "rmssd_ms") or (
            name.startswith("qtc") and n_beats < 2
        ):
            entry = f"{name}:too few beats"
        elif wave in QRS_WAVES:
            continue
        elif wave in ("st60", "st80"):
            entry = f"{wave}_mv_*:next beat too near"
        elif name.endswith("_axis_deg") and not dead & {"I", "II"}:
            entry = f"{name}:no direction"
        else:
            entry = f"{name}:missing leads" if dead else f"{name}:not measurable"
        if entry not in absent:
            absent.append(entry)
    return Measurements(values, tuple(absent))
