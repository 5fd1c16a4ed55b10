"""One simulated heart beats into twelve leads, and says what it did.

A rhythm (`rhythm`), the waves of each kind of beat (`waves`, `conduction`), breathing and electrode
noise (`noise`). The same heart with the same generators gives the same samples.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from leadlight.simulate.lead_field import DOWER, twelve_from_independent
from leadlight.simulate.noise import NoiseLevels, make_noise, recorded
from leadlight.simulate.rhythm import ATRIAL_ECTOPIC, VENTRICULAR_ECTOPIC, BeatTimes
from leadlight.simulate.waves import Single, Wave, t_limits_ms, visible_limits_ms

Array = npt.NDArray[np.floating]

# P and QRS are seen where they depart from their baseline by so much in some lead: by so many mV,
# or by this share of their own largest deflection where that is more.
SEEN = {"P": (0.003, 0.06), "QRS": (0.015, 0.015)}


@dataclass(frozen=True)
class Ventricles:
    """One way for the ventricles to fire and recover.

    Attributes:
        qrs: from the QRS onset.
        qrs_ms: nominal duration; ST-T hangs on the end of it.
        t: from the end of QRS, ST-T with U, at the heart's mean rate.
        t_alone: the same without U.
        jt_ms: nominal, from the end of QRS to the end of T at the mean rate.
    """

    qrs: Wave
    qrs_ms: float
    t: Wave
    t_alone: Wave
    jt_ms: float

    @cached_property
    def limits_ms(self) -> tuple[float, float, float, float, float, float]:
        """What a reader sees, from the QRS onset: QRS onset, peak, offset, T onset, peak, end."""
        t = t_limits_ms(self.t_alone, self.jt_ms)
        qrs = visible_limits_ms(self.qrs, *SEEN["QRS"])
        return (*qrs, self.qrs_ms + t[0], self.qrs_ms + t[1], self.qrs_ms + t[2])


@dataclass(frozen=True)
class PWave:
    """Atrial depolarisation from its onset: `alone`, and `whole` with the atria's recovery."""

    whole: Wave
    alone: Wave

    @cached_property
    def limits_ms(self) -> tuple[float, float, float]:
        """What a reader sees, from the nominal onset: onset, peak, offset."""
        return visible_limits_ms(self.alone, *SEEN["P"])


@dataclass(frozen=True)
class FibrillatoryWaves:
    """Atrial activity without P waves: `regular` for flutter, else fibrillation."""

    rate_hz: float
    amplitude_mv: float
    dipole: Array
    regular: bool
    phase_s: float = 0.0


@dataclass(frozen=True)
class Variation:
    """What differs between the beats of a recording.

    Attributes:
        breathing_turn_rad: about x, y, z at the height of a breath.
        breathing_amplitude: relative.
        beat_amplitude: relative, SD from beat to beat, of QRS; T and P vary twice as much.
        pr_ms, qt_ms: SD from beat to beat.
    """

    breathing_turn_rad: Array
    breathing_amplitude: float
    beat_amplitude: float
    pr_ms: float
    qt_ms: float


@dataclass(frozen=True)
class Heart:
    """All that beats into one recording.

    Attributes:
        beats: when.
        p, ectopic_p: from their onset; None without P waves.
        pr_ms: nominal, from P onset to QRS onset.
        ventricles, ectopic_ventricles: of the two kinds of beats.
        electrodes: (lead, lead of INDEPENDENT_LEADS) what electrodes out of place make of it.
    """

    beats: BeatTimes
    p: PWave | None
    ectopic_p: PWave | None
    pr_ms: float
    ventricles: Ventricles
    ectopic_ventricles: Ventricles | None
    atrial_waves: FibrillatoryWaves | None
    variation: Variation
    electrodes: Array
    noise: NoiseLevels


@dataclass(frozen=True)
class Fiducials:
    """Where a careful reader of the noiseless twelve leads sees the waves of each beat.

    Seconds from the start of the recording, one per beat; NaN where a wave is absent. P and QRS
    last from where the first to where the last of the twelve leads is away from that wave's
    baseline by `SEEN`: the larger of a voltage and a share of the wave's peak. T is read by
    tangents (`waves.t_limits_ms`). Only beats whose
    QRS and T lie inside the recording are listed; `ectopic` says which of them are.
    """

    p_onset_s: Array
    p_offset_s: Array
    qrs_onset_s: Array
    qrs_offset_s: Array
    t_peak_s: Array
    t_offset_s: Array
    p_peak_s: Array
    r_peak_s: Array
    t_onset_s: Array
    ectopic: npt.NDArray[np.bool_]


def beat_into_leads(
    heart: Heart,
    beat_rng: np.random.Generator,
    noise_rng: np.random.Generator,
    *,
    rate_hz: float,
    duration_s: float,
) -> tuple[Single, Fiducials]:
    """(lead of LEADS, sample) in millivolt, and the true limits of the beats inside."""
    n_samples = round(duration_s * rate_hz)
    times, vary = heart.beats, heart.variation
    count = len(times.onset_s)
    # Always the same draws, so that a twin's beats differ by what it lacks alone.
    breathing_phase = beat_rng.uniform(0, 2 * np.pi)
    jitter = beat_rng.standard_normal((5, count))
    by_sample = np.zeros((n_samples, 8), dtype=np.float32)
    mean_rr = float(np.mean(times.rr_s))
    ventricular = times.kind == VENTRICULAR_ECTOPIC
    early_p = times.kind == ATRIAL_ECTOPIC

    # QT follows the interval before it only in part.
    jt = 1 + 0.18 * np.log(np.clip(times.rr_s / mean_rr, 0.5, 1.6))
    jt += vary.qt_ms / heart.ventricles.jt_ms * jitter[0]
    p_at = times.onset_s - (heart.pr_ms + vary.pr_ms * jitter[1]) / 1e3
    qrs_size = 1 + vary.beat_amplitude * jitter[2]
    t_size = qrs_size * (1 + 2 * vary.beat_amplitude * jitter[3])
    p_size = 1 + 2 * vary.beat_amplitude * jitter[4]

    for kind, ventricles in ((False, heart.ventricles), (True, heart.ectopic_ventricles)):
        of = np.flatnonzero(ventricular == kind)
        if ventricles is None or not len(of):
            continue
        onset = times.onset_s[of]
        _place(by_sample, ventricles.qrs, onset, qrs_size[of], 1.0, rate_hz)
        end = onset + ventricles.qrs_ms / 1e3
        _place(by_sample, ventricles.t, end, t_size[of], jt[of], rate_hz)
    for p, of in ((heart.p, ~ventricular & ~early_p), (heart.ectopic_p, early_p)):
        if p is not None and heart.p is not None and of.any():
            _place(by_sample, p.whole, p_at[of], p_size[of], 1.0, rate_hz)
    leads = np.ascontiguousarray(by_sample.T)
    if heart.atrial_waves is not None:
        leads += _atrial_waves(heart.atrial_waves, beat_rng, n_samples, rate_hz)
    leads = _breathe(leads, vary, times.breathing_hz, breathing_phase, rate_hz)
    leads = heart.electrodes.astype(np.float32) @ leads
    noise = make_noise(noise_rng, heart.noise, n_samples, rate_hz)
    if noise is not None:
        leads += noise
    leads = recorded(leads, heart.noise)
    return twelve_from_independent(leads), _fiducials(heart, p_at, jt, duration_s)


def _place(
    leads: Single,
    drawn: Wave,
    at_s: Array,
    size: Array,
    stretch: Array | float,
    rate_hz: float,
) -> None:
    """Add the wave to `leads` (sample, lead) at times `at_s` (beat), with its size and stretch."""
    n_samples, points = leads.shape[0], drawn.leads_mv.shape[1]
    stretch = np.broadcast_to(stretch, at_s.shape)
    first = np.ceil((at_s + drawn.start_ms / 1e3 * stretch) * rate_hz)
    stop = np.floor((at_s + drawn.stop_ms / 1e3 * stretch) * rate_hz) + 1
    first = np.clip(first, 0, n_samples).astype(np.int64)
    stop = np.clip(stop, first, n_samples).astype(np.int64)
    length = stop - first
    ends = np.cumsum(length)
    sample = np.arange(ends[-1]) + np.repeat(first - ends + length, length)
    # Where each sample of each beat lies in the template, in points.
    scale = 1e3 / (drawn.step_ms * stretch)
    zero = at_s * scale + drawn.start_ms / drawn.step_ms
    place = sample * np.repeat(scale / rate_hz, length) - np.repeat(zero, length)
    left = np.clip(place, 0, points - 2).astype(np.intp)
    share = (place - left).astype(np.float32)[:, None]
    template = np.ascontiguousarray(drawn.leads_mv.T)
    values = np.take(template[1:] - template[:-1], left, axis=0, mode="clip")
    values *= share
    values += np.take(template, left, axis=0, mode="clip")
    values *= np.repeat(size.astype(np.float32), length)[:, None]
    for begin, end, until, count in zip(
        first.tolist(), stop.tolist(), ends.tolist(), length.tolist(), strict=True
    ):
        leads[begin:end] += values[until - count : until]


def _breathe(
    leads: Single, vary: Variation, breathing_hz: float, phase: float, rate_hz: float
) -> Single:
    """The heart turns and the torso's transfer changes with every breath."""
    time_s = np.arange(leads.shape[1], dtype=np.float32) / np.float32(rate_hz)
    breath = np.sin(np.float32(2 * np.pi * breathing_hz) * time_s + np.float32(phase))
    x, y, z = vary.breathing_turn_rad
    turn = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    change = DOWER @ turn @ _TO_DIPOLE + vary.breathing_amplitude * np.eye(8)
    turned = change.astype(np.float32) @ leads
    turned *= breath
    turned += leads
    return np.asarray(turned, dtype=np.float32)


_TO_DIPOLE = np.linalg.pinv(DOWER)


def _fiducials(heart: Heart, p_at: Array, jt: Array, duration_s: float) -> Fiducials:
    times = heart.beats
    count = len(times.onset_s)
    found = {name: np.full(count, np.nan) for name in Fiducials.__dataclass_fields__}
    ventricular = times.kind == VENTRICULAR_ECTOPIC
    for kind, ventricles in ((False, heart.ventricles), (True, heart.ectopic_ventricles)):
        of = ventricular == kind
        if ventricles is None or not of.any():
            continue
        onset = times.onset_s[of]
        qrs_on, qrs_top, qrs_off, *_ = ventricles.limits_ms
        found["qrs_onset_s"][of] = onset + qrs_on / 1e3
        found["r_peak_s"][of] = onset + qrs_top / 1e3
        found["qrs_offset_s"][of] = onset + qrs_off / 1e3
        for name, limit in zip(
            ("t_onset_s", "t_peak_s", "t_offset_s"), ventricles.limits_ms[3:], strict=True
        ):
            after_qrs = limit - ventricles.qrs_ms
            found[name][of] = onset + (ventricles.qrs_ms + jt[of] * after_qrs) / 1e3
    early = times.kind == ATRIAL_ECTOPIC
    for p, of in ((heart.p, ~ventricular & ~early), (heart.ectopic_p, early)):
        if p is None or heart.p is None or not of.any():
            continue
        for name, limit in zip(("p_onset_s", "p_peak_s", "p_offset_s"), p.limits_ms, strict=True):
            found[name][of] = p_at[of] + limit / 1e3
    found["ectopic"] = times.kind != 0
    inside = (found["qrs_onset_s"] >= 0) & (found["t_offset_s"] <= duration_s)
    kept = {name: values[inside] for name, values in found.items()}
    out = (kept["p_onset_s"] < 0) | (kept["p_offset_s"] > duration_s)
    for name in ("p_onset_s", "p_peak_s", "p_offset_s"):
        kept[name] = np.where(out, np.nan, kept[name])
    return Fiducials(**kept)


def _atrial_waves(
    waves: FibrillatoryWaves, rng: np.random.Generator, n_samples: int, rate_hz: float
) -> Single:
    """(lead of INDEPENDENT_LEADS, sample) of fibrillatory or flutter waves."""
    time_s = np.arange(n_samples) / rate_hz
    total = np.zeros((8, n_samples), dtype=np.float32)
    for source in range(1 if waves.regular else 3):
        if waves.regular:
            phase = 2 * np.pi * waves.rate_hz * (time_s - waves.phase_s)
            strength = np.ones(n_samples)
        else:  # each source drifts in rate and in strength
            knots = np.linspace(0, time_s[-1], max(4, int(time_s[-1] * 3.5)))
            rate = waves.rate_hz * (1 + 0.22 * rng.standard_normal(knots.size))
            phase = 2 * np.pi * np.cumsum(np.interp(time_s, knots, rate)) / rate_hz
            phase += rng.uniform(0, 2 * np.pi)
            strength = np.interp(time_s, knots, rng.lognormal(-0.15, 0.55, knots.size))
        phase = phase.astype(np.float32)
        shape = np.sin(phase) + 0.40 * np.sin(2 * phase + 0.6) + 0.16 * np.sin(3 * phase + 1.1)
        shape *= strength.astype(np.float32)
        turn = 0.0 if source == 0 else 0.35 * float(np.linalg.norm(waves.dipole))
        dipole = waves.dipole + turn * rng.standard_normal(3)
        share = waves.amplitude_mv * (1.0 if source == 0 else 0.6)
        total += np.outer((share * DOWER @ dipole).astype(np.float32), shape)
    return total
