"""When the ventricles beat: sinus with breathing, fibrillation, flutter, ectopic beats."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]

SINUS, ATRIAL_ECTOPIC, VENTRICULAR_ECTOPIC = 0, 1, 2


@dataclass(frozen=True)
class BeatTimes:
    """QRS onsets of one recording.

    Attributes:
        onset_s: (beat,) time of each QRS onset; the first may lie before the recording.
        kind: (beat,) SINUS, ATRIAL_ECTOPIC or VENTRICULAR_ECTOPIC.
        rr_s: (beat,) the interval that led to each beat.
        breathing_hz: breaths per second; the same breaths turn the heart.
    """

    onset_s: Array
    kind: npt.NDArray[np.int64]
    rr_s: Array
    breathing_hz: float = 0.25


def sinus(
    rng: np.random.Generator, rate_bpm: float, duration_s: float, arrhythmia: float
) -> BeatTimes:
    """A sinus node that follows breathing and slow waves; `arrhythmia` is SD(RR) / mean(RR).

    The modulation is at 0.15–0.35 Hz (breathing), about 0.1 Hz and slower (Task Force 1996).
    """
    mean_rr = 60.0 / rate_bpm
    breathing_hz, phase = rng.uniform(0.15, 0.35), rng.uniform(0, 2 * np.pi, 3)
    parts = rng.dirichlet([2.0, 1.2, 0.6, 0.3])
    slow_hz = rng.uniform(0.02, 0.06)
    count = int(duration_s / mean_rr * 1.7) + 10
    white = rng.standard_normal(count)
    at = np.arange(count) * mean_rr
    angle = 2 * np.pi * np.outer([breathing_hz, 0.1, slow_hz], at) + phase[:, None]
    modulation = np.sqrt(2 * parts[:3]) @ np.sin(angle) + np.sqrt(parts[3]) * white
    rr = mean_rr * (1 + np.clip(arrhythmia * modulation, -0.45, 0.6))
    return replace(
        _from_intervals(rng, np.maximum(rr, 0.28), duration_s), breathing_hz=breathing_hz
    )


def fibrillation(
    rng: np.random.Generator, rate_bpm: float, duration_s: float, irregularity: float = 1.0
) -> BeatTimes:
    """Irregularly irregular: intervals without memory above the node's refractory time."""
    mean_rr = 60.0 / rate_bpm
    refractory = min(rng.uniform(0.26, 0.46), 0.75 * mean_rr)
    count = int(duration_s / refractory) + 8
    shape = rng.uniform(1.8, 7.0)
    rr = refractory + rng.gamma(shape, (mean_rr - refractory) / shape, size=count)
    rr = np.maximum(mean_rr + irregularity * (rr - mean_rr), 0.24)
    return replace(_from_intervals(rng, rr, duration_s), breathing_hz=rng.uniform(0.15, 0.35))


def flutter(
    rng: np.random.Generator, atrial_rate_hz: float, duration_s: float
) -> tuple[BeatTimes, float]:
    """A fixed or changing share of the atrial waves is conducted; also when the first one was."""
    fixed = rng.random() < 0.6
    usual = int(rng.choice([2, 3, 4], p=[0.45, 0.2, 0.35]))
    count = int(duration_s * atrial_rate_hz / 2) + 8
    ratio = np.full(count, usual) if fixed else rng.choice([2, 3, 4, 5], size=count)
    beats = _from_intervals(rng, ratio / atrial_rate_hz, duration_s)
    return beats, float(beats.onset_s[0])


@dataclass(frozen=True)
class Ectopy:
    """Which beats are early, and how.

    Attributes:
        atrial_share, ventricular_share: of the beats.
        atrial_early, ventricular_early: (low, high) by how much of the interval they come early.
        every: 0, or every so-manieth beat without fail (2: bigeminy).
        reset: share of its earliness by which an atrial beat brings all that follows forward.
    """

    atrial_share: float
    ventricular_share: float
    atrial_early: tuple[float, float] = (0.15, 0.45)
    ventricular_early: tuple[float, float] = (0.15, 0.45)
    every: int = 0
    reset: float = 0.8


def with_ectopics(rng: np.random.Generator, beats: BeatTimes, ectopy: Ectopy) -> BeatTimes:
    """Make some beats early; a ventricular one is followed by a compensatory pause."""
    onset, kind = beats.onset_s.copy(), beats.kind.copy()
    count = len(onset)
    draws, earliness, coupling = rng.random(count), rng.random(count), rng.normal(0, 0.02, count)
    share = ectopy.atrial_share + ectopy.ventricular_share
    fixed = rng.random()  # beats of one focus come about equally early
    for beat in range(1, count - 1):
        if kind[beat - 1] != SINUS:
            continue
        if ectopy.every:
            is_early = beat % ectopy.every == 0
            atrial = ectopy.atrial_share > ectopy.ventricular_share
        else:
            is_early = draws[beat] < share
            atrial = draws[beat] < ectopy.atrial_share
        if not is_early:
            continue
        low, high = ectopy.atrial_early if atrial else ectopy.ventricular_early
        part = np.clip(0.75 * fixed + 0.25 * earliness[beat], 0, 1)
        interval = onset[beat] - onset[beat - 1]
        early = (low + (high - low) * part + coupling[beat]) * interval
        early = max(0.0, min(early, interval - 0.32))
        onset[beat] -= early
        kind[beat] = ATRIAL_ECTOPIC if atrial else VENTRICULAR_ECTOPIC
        if atrial:  # the sinus node is reset: all that follows comes earlier
            onset[beat + 1 :] -= early * ectopy.reset
    rr = np.diff(onset, prepend=onset[0] - beats.rr_s[0])
    return replace(beats, onset_s=onset, kind=kind, rr_s=rr)


def _from_intervals(rng: np.random.Generator, rr_s: Array, duration_s: float) -> BeatTimes:
    onset = np.cumsum(rr_s) - rr_s[0] - rng.uniform(0.0, rr_s[0])
    inside = onset < duration_s + 6.0  # early beats pull later ones in
    onset, rr_s = onset[inside], rr_s[inside]
    return BeatTimes(onset, np.zeros(len(onset), dtype=np.int64), rr_s)
