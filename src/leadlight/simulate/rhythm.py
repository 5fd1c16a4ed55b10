"""When the ventricles beat: sinus with breathing, fibrillation, flutter, ectopic beats."""

from dataclasses import dataclass

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
    """

    onset_s: Array
    kind: npt.NDArray[np.int64]
    rr_s: Array


def sinus(
    rng: np.random.Generator, rate_bpm: float, duration_s: float, arrhythmia: float
) -> BeatTimes:
    """A sinus node that follows breathing and slow waves; `arrhythmia` is the relative depth.

    The modulation is at 0.15–0.35 Hz (breathing) and about 0.1 Hz (Task Force 1996).
    """
    mean_rr = 60.0 / rate_bpm
    breathing_hz, phase = rng.uniform(0.15, 0.35), rng.uniform(0, 2 * np.pi, 2)
    count = int(duration_s / mean_rr * 1.6) + 8
    at = np.arange(count) * mean_rr
    modulation = arrhythmia * np.sin(2 * np.pi * breathing_hz * at + phase[0])
    modulation += 0.4 * arrhythmia * np.sin(2 * np.pi * 0.1 * at + phase[1])
    rr = mean_rr * (1 + modulation + 0.006 * rng.standard_normal(count))
    return _from_intervals(rng, np.maximum(rr, 0.28), duration_s)


def fibrillation(rng: np.random.Generator, rate_bpm: float, duration_s: float) -> BeatTimes:
    """Irregularly irregular: intervals without memory above the node's refractory time."""
    mean_rr = 60.0 / rate_bpm
    refractory = min(rng.uniform(0.26, 0.42), 0.75 * mean_rr)
    count = int(duration_s / refractory) + 8
    shape = rng.uniform(2.0, 6.5)
    rr = refractory + rng.gamma(shape, (mean_rr - refractory) / shape, size=count)
    return _from_intervals(rng, rr, duration_s)


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


def with_ectopics(
    rng: np.random.Generator, beats: BeatTimes, atrial_share: float, ventricular_share: float
) -> BeatTimes:
    """Make some beats early; a ventricular one is followed by a compensatory pause."""
    onset, kind = beats.onset_s.copy(), beats.kind.copy()
    for beat in range(1, len(onset) - 1):
        if kind[beat - 1] != SINUS:
            continue
        draw = rng.random()
        if draw < atrial_share + ventricular_share:
            atrial = draw < atrial_share
            early = rng.uniform(0.18, 0.42) * (onset[beat] - onset[beat - 1])
            onset[beat] -= early
            kind[beat] = ATRIAL_ECTOPIC if atrial else VENTRICULAR_ECTOPIC
            if atrial:  # the sinus node is reset: all that follows comes earlier
                onset[beat + 1 :] -= early * rng.uniform(0.6, 1.0)
    rr = np.diff(onset, prepend=onset[0] - beats.rr_s[0])
    return BeatTimes(onset, kind, rr)


def _from_intervals(rng: np.random.Generator, rr_s: Array, duration_s: float) -> BeatTimes:
    onset = np.cumsum(rr_s) - rr_s[0] - rng.uniform(0.0, rr_s[0])
    inside = onset < duration_s + 6.0  # early beats pull later ones in
    onset, rr_s = onset[inside], rr_s[inside]
    return BeatTimes(onset, np.zeros(len(onset), dtype=np.int64), rr_s)
