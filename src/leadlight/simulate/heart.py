"""One simulated heart beats into twelve leads, and says what it did.

A moving dipole made of Gaussian events (`waves`), a rhythm (`rhythm`), a torso (`lead_field`) and
electrode noise (`noise`). The same heart with the same seed gives the same samples.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from leadlight.simulate.lead_field import rotation, twelve_from_independent
from leadlight.simulate.noise import NoiseLevels, make_noise
from leadlight.simulate.rhythm import (
    ATRIAL_ECTOPIC,
    SINUS,
    VENTRICULAR_ECTOPIC,
    BeatTimes,
)
from leadlight.simulate.waves import Events, evaluate, t_wave

Array = npt.NDArray[np.floating]

# A beat's events are negligible outside this window around its QRS onset.
_BEFORE_MS, _AFTER_MS = 520.0, 780.0


@dataclass(frozen=True)
class Ventricles:
    """One way for the ventricles to fire and recover (`t_dipole_mv`, `st_dipole_mv`: (axis,))."""

    qrs: Events
    qrs_ms: float
    t_dipole_mv: Array
    st_dipole_mv: Array


@dataclass(frozen=True)
class FibrillatoryWaves:
    """Atrial activity without P waves: `regular` for flutter, else fibrillation."""

    rate_hz: float
    amplitude_mv: float
    dipole: Array
    regular: bool
    phase_s: float = 0.0


@dataclass(frozen=True)
class Heart:
    """All parameters of one person's heart, torso and recording."""

    beats: BeatTimes
    p: Events | None
    ectopic_p: Events
    p_ms: float
    pr_ms: float
    ventricles: Ventricles
    ectopic_ventricles: Ventricles
    qt_ms: float
    t_peak_to_end_ms: float
    atrial_waves: FibrillatoryWaves | None
    lead_field: Array
    breathing_turn_rad: float
    noise: NoiseLevels


@dataclass(frozen=True)
class Fiducials:
    """True wave limits, in seconds from the start of the recording; NaN where a wave is absent.

    Each array is (beat,). Limits are where the events that make the wave fall under about 5 % of
    their peaks.
    """

    p_onset_s: Array
    p_offset_s: Array
    qrs_onset_s: Array
    qrs_offset_s: Array
    t_peak_s: Array
    t_offset_s: Array


def beat_into_leads(
    heart: Heart, rng: np.random.Generator, *, rate_hz: float, duration_s: float
) -> tuple[npt.NDArray[np.float32], Fiducials]:
    """(lead of LEADS, sample) in millivolt, and the true fiducials of the beats inside."""
    n_samples = round(duration_s * rate_hz)
    independent = np.zeros((8, n_samples))
    mean_rr = float(np.mean(heart.beats.rr_s))
    breathing_hz, breathing_phase = rng.uniform(0.15, 0.35), rng.uniform(0, 2 * np.pi)
    limits: list[tuple[float, ...]] = []
    own_leads = {}  # each wave's own departure from a pure dipole, the same in every beat
    for onset_s, kind, rr_s in zip(
        heart.beats.onset_s, heart.beats.kind, heart.beats.rr_s, strict=True
    ):
        if onset_s > duration_s + _BEFORE_MS / 1e3:
            continue
        ventricles = heart.ectopic_ventricles if kind == VENTRICULAR_ECTOPIC else heart.ventricles
        # QT follows the interval before it only in part.
        qt_ms = heart.qt_ms * np.clip(rr_s / mean_rr, 0.5, 1.6) ** 0.18
        qt_ms += ventricles.qrs_ms - heart.ventricles.qrs_ms
        peak_ms = qt_ms - heart.t_peak_to_end_ms
        t = t_wave(
            peak_ms, qt_ms, ventricles.t_dipole_mv, ventricles.st_dipole_mv, ventricles.qrs_ms
        )
        p = {SINUS: heart.p, ATRIAL_ECTOPIC: heart.ectopic_p}.get(int(kind))
        p = p if heart.p is not None else None
        pr_ms = heart.pr_ms + 2.0 * rng.standard_normal()

        breath = np.sin(2 * np.pi * breathing_hz * onset_s + breathing_phase)
        turn = heart.breathing_turn_rad * breath
        field = heart.lead_field @ rotation(0.4 * turn, 0.3 * turn, turn)
        field = field * (1 + 0.03 * breath + 0.008 * rng.standard_normal())

        first = max(0, int(np.ceil((onset_s - _BEFORE_MS / 1e3) * rate_hz)))
        last = min(n_samples, int((onset_s + _AFTER_MS / 1e3) * rate_hz))
        if last <= first:
            continue
        time_ms = (np.arange(first, last) / rate_hz - onset_s) * 1e3
        for name, events, shift_ms in (
            ("p", p, -pr_ms),
            (f"qrs{ventricles.qrs_ms}", ventricles.qrs, 0.0),
            ("t", t, 0.0),
        ):
            if events is None:
                continue
            leads = events.dipole_mv @ field.T
            if name not in own_leads:
                own_leads[name] = 0.05 * rng.standard_normal(leads.shape)
            leads = leads + own_leads[name][: len(leads)] * np.linalg.norm(
                events.dipole_mv, axis=1, keepdims=True
            )
            independent[:, first:last] += leads.T @ evaluate(events, time_ms - shift_ms)
        if onset_s >= 0 and onset_s + qt_ms / 1e3 <= duration_s:
            p_onset = onset_s - pr_ms / 1e3 if p is not None else np.nan
            limits.append(
                (
                    p_onset,
                    p_onset + heart.p_ms / 1e3,
                    onset_s,
                    onset_s + ventricles.qrs_ms / 1e3,
                    onset_s + peak_ms / 1e3,
                    onset_s + qt_ms / 1e3,
                )
            )
    if heart.atrial_waves is not None:
        independent += _atrial_waves(heart, rng, n_samples, rate_hz)
    independent += make_noise(rng, heart.noise, n_samples, rate_hz)
    columns = np.array(limits, dtype=float).reshape(-1, 6).T
    return twelve_from_independent(independent), Fiducials(*columns)


def _atrial_waves(heart: Heart, rng: np.random.Generator, n_samples: int, rate_hz: float) -> Array:
    """(lead of INDEPENDENT_LEADS, sample) of fibrillatory or flutter waves."""
    waves = heart.atrial_waves
    assert waves is not None
    time_s = np.arange(n_samples) / rate_hz
    total = np.zeros((8, n_samples))
    sources = 1 if waves.regular else 3
    for source in range(sources):
        if waves.regular:
            phase = 2 * np.pi * waves.rate_hz * (time_s - waves.phase_s)
            strength = np.ones(n_samples)
        else:  # each source drifts in rate and in strength
            knots = np.linspace(0, time_s[-1], max(4, int(time_s[-1] * 3.5)))
            rate = waves.rate_hz * (1 + 0.22 * rng.standard_normal(knots.size))
            phase = 2 * np.pi * np.cumsum(np.interp(time_s, knots, rate)) / rate_hz
            phase += rng.uniform(0, 2 * np.pi)
            strength = np.interp(time_s, knots, rng.lognormal(-0.15, 0.55, knots.size))
        shape = np.sin(phase) + 0.40 * np.sin(2 * phase + 0.6) + 0.16 * np.sin(3 * phase + 1.1)
        turn = 0.0 if source == 0 else 0.35
        dipole = waves.dipole + turn * rng.standard_normal(3)
        share = 1.0 if source == 0 else 0.6
        total += np.outer(heart.lead_field @ dipole, share * strength * shape)
    return waves.amplitude_mv * total
