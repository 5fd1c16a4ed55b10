"""What the electrodes add: wander, muscle, mains and motion, made at the electrodes.

The noise is shaped in the frequency domain, so that one inverse transform makes all of it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from leadlight.simulate.lead_field import ELECTRODES, independent_from_electrodes


@dataclass(frozen=True)
class NoiseLevels:
    """Standard deviations at the electrodes in millivolt; `mains_hz` is 50 or 60."""

    wander_mv: float
    muscle_mv: float
    mains_mv: float
    mains_hz: float
    motion_mv: float


def draw_levels(rng: np.random.Generator, amount: float = 1.0) -> NoiseLevels:
    """Noise of one recording: mostly quiet, sometimes bad, as in a clinic's archive."""
    return NoiseLevels(
        wander_mv=amount * float(np.exp(rng.normal(np.log(0.030), 0.8))),
        muscle_mv=amount * float(np.exp(rng.normal(np.log(0.0045), 0.75))),
        mains_mv=amount * float(rng.choice([0.0, 1.0], p=[0.7, 0.3]) * rng.exponential(0.006)),
        mains_hz=float(rng.choice([50.0, 60.0])),
        motion_mv=amount * float(rng.choice([0.0, 1.0], p=[0.85, 0.15]) * rng.exponential(0.15)),
    )


def make_noise(
    rng: np.random.Generator, levels: NoiseLevels, n_samples: int, rate_hz: float
) -> npt.NDArray[np.floating]:
    """(lead of INDEPENDENT_LEADS, sample) noise in millivolt."""
    frequency = np.fft.rfftfreq(n_samples, 1.0 / rate_hz)
    electrodes = len(ELECTRODES)
    shape = (electrodes, frequency.size)
    white = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    wander = np.where((frequency > 0.03) & (frequency < 0.8), 1.0 / np.maximum(frequency, 0.05), 0)
    muscle = 1.0 / np.sqrt(
        (1.0 + (20.0 / np.maximum(frequency, 0.1)) ** 2) * (1 + (frequency / 120) ** 2)
    )
    shares = rng.lognormal(0.0, 0.5, size=(electrodes, 1))
    spectrum = levels.wander_mv * _unit_power(wander) * white
    spectrum += levels.muscle_mv * shares * _unit_power(muscle) * white[:, ::-1]
    potentials = np.fft.irfft(spectrum, n=n_samples, axis=1) * n_samples
    time_s = np.arange(n_samples) / rate_hz
    if levels.mains_mv > 0:
        phase = rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.4, size=(electrodes, 1))
        strength = levels.mains_mv * rng.lognormal(0.0, 0.5, size=(electrodes, 1))
        potentials += strength * np.sin(2 * np.pi * levels.mains_hz * time_s + phase)
    if levels.motion_mv > 0:
        potentials[rng.integers(electrodes)] += _motion(rng, levels.motion_mv, time_s)
    return independent_from_electrodes(potentials)


def _unit_power(shape: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    # Scaled so that the inverse transform of shape × white has a standard deviation of 1.
    return np.asarray(shape / np.sqrt(4.0 * np.sum(shape**2)))


def _motion(
    rng: np.random.Generator, strength_mv: float, time_s: npt.NDArray[np.floating]
) -> npt.NDArray[np.floating]:
    # A step that decays as the amplifier recovers, one to three times.
    total = np.zeros_like(time_s)
    for start in rng.uniform(0, time_s[-1], size=rng.integers(1, 4)):
        after = time_s - start
        decay = np.exp(-np.maximum(after, 0) / rng.uniform(0.1, 0.8))
        total += np.where(after > 0, strength_mv * rng.standard_normal() * decay, 0.0)
    return total
