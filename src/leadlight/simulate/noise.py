"""What the electrodes add: wander, muscle, mains, motion, lost contact, made at the electrodes.

Most of it is coloured noise whose spectrum at each electrode was fitted to what real recordings
hold beside their median beat (training/fit_hearts.py; `fitted/noise.json`). It is shaped in the
frequency domain, so that one inverse transform makes all of it; artefacts are put on top.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.fft

from leadlight.simulate.lead_field import ELECTRODES, independent_from_electrodes

Array = npt.NDArray[np.floating]
Single = npt.NDArray[np.float32]

FITTED_NOISE = Path(__file__).parent / "fitted" / "noise.json"

# How often a recording has an artefact.
_MAINS, _MOTION, _STEPS, _LOST, _CLIPPED, _BURST = 0.30, 0.12, 0.06, 0.015, 0.01, 0.08


@dataclass(frozen=True)
class NoiseLevels:
    """The noise of one recording.

    Attributes:
        wander_mv, muscle_mv, mains_mv: standard deviations at the electrodes, beside `log_psd`.
        mains_hz: 50 or 60.
        motion_mv: size of steps that decay as the amplifier recovers, at one electrode.
        log_psd: (electrode of ELECTRODES, knot of `fitted/noise.json`) natural logarithm of the
            power spectral density in mV²/Hz; None without.
        step_mv: size of steps that stay, at one electrode.
        lost: index of an electrode that loses contact for a while, or -1.
        clip_mv: amplifiers go no further from zero than this.
        burst: factor on muscle noise during a burst of it.
        quantum_mv: the recorder's smallest step; 0 without rounding.
        compressed: the recorder keeps every other sample where the signal is slow, as PTB-XL's
            carts did.
    """

    wander_mv: float
    muscle_mv: float
    mains_mv: float
    mains_hz: float
    motion_mv: float
    log_psd: Array | None = None
    step_mv: float = 0.0
    lost: int = -1
    clip_mv: float = float("inf")
    burst: float = 1.0
    quantum_mv: float = 0.0
    compressed: bool = False


_QUANTUM_MV = {"compressed": 0.005, "5 µV": 0.00488, "2.5 µV": 0.0025, "1 µV": 0.001}
# How often each kind of recorder is drawn; the first is PTB-XL's.
RECORDERS = {"compressed": 0.45, "5 µV": 0.25, "2.5 µV": 0.15, "1 µV": 0.15}


def draw_levels(
    rng: np.random.Generator,
    amount: float = 1.0,
    recorders: Mapping[str, float] = RECORDERS,
    artefacts: float = 1.0,
) -> NoiseLevels:
    """Noise of one recording: mostly quiet, sometimes bad, as in a clinic's archive.

    `amount` multiplies every voltage; at 0 there is no noise, no artefact and no rounding.
    `artefacts` multiplies how often artefacts are.
    """
    fit = _fitted()
    count = len(ELECTRODES)
    normal = rng.standard_normal((count + 1, len(fit.knots_hz)))
    uniform, size = rng.random(9), rng.exponential(1.0, 3)
    uniform[[0, 1, 3, 4, 5, 6, 7]] /= max(artefacts, 1e-9)
    worse = 0.9 * abs(rng.standard_normal())
    electrode = int(rng.integers(count))
    if amount <= 0:
        return NoiseLevels(0.0, 0.0, 0.0, 50.0, 0.0)
    names, shares = list(recorders), np.cumsum(list(recorders.values()))
    recorder = names[min(int(np.searchsorted(shares, uniform[8] * shares[-1])), len(names) - 1)]
    log_psd = fit.mean + fit.record @ normal[0] + normal[1:] @ fit.electrode.T
    if uniform[0] < 0.08:  # worse than what the archive of the fit lets through
        log_psd = log_psd + 2 * worse
    return NoiseLevels(
        wander_mv=0.0,
        muscle_mv=0.0,
        mains_mv=amount * float(uniform[1] < _MAINS) * 0.005 * float(size[0]),
        mains_hz=50.0 if uniform[2] < 0.6 else 60.0,
        motion_mv=amount * float(uniform[3] < _MOTION) * 0.15 * float(size[1]),
        log_psd=log_psd + 2 * np.log(amount),
        step_mv=amount * float(uniform[4] < _STEPS) * 0.2 * float(size[2]),
        lost=electrode if uniform[5] < _LOST else -1,
        clip_mv=float("inf") if uniform[6] >= _CLIPPED else 3.0,
        compressed=recorder == "compressed",
        quantum_mv=_QUANTUM_MV.get(recorder, 0.0),
        burst=1.0 if uniform[7] >= _BURST else 3.0 + 3.0 * float(size[0]),
    )


def make_noise(
    rng: np.random.Generator, levels: NoiseLevels, n_samples: int, rate_hz: float
) -> Single | None:
    """(lead of INDEPENDENT_LEADS, sample) noise in millivolt; None where there is none.

    What the recorder does (`recorded`) acts on the whole signal and is not in it.
    """
    if levels.log_psd is None and not (
        levels.wander_mv or levels.muscle_mv or levels.mains_mv or levels.motion_mv
    ):
        return None
    electrodes = len(ELECTRODES)
    half = n_samples // 2 + 1
    # Uniform numbers of variance 1: thousands of frequencies add up to Gaussian noise anyway.
    white = rng.random((electrodes, 2 * half), dtype=np.float32)
    white -= np.float32(0.5)
    white *= np.float32(np.sqrt(12.0))
    bins = white.view(np.complex64)
    own = np.random.default_rng(rng.integers(0, 2**63))
    amplitude = np.zeros((electrodes, half), dtype=np.float32)
    if levels.log_psd is not None:
        # |X|² of a bin is PSD · rate · n / 2; white has 2 per bin.
        half_log = 0.5 * (levels.log_psd + np.log(rate_hz * n_samples / 4))
        amplitude = np.exp(half_log.astype(np.float32) @ _between_knots(n_samples, rate_hz))
        amplitude[:, 0] = 0.0
    frequency = np.fft.rfftfreq(n_samples, 1.0 / rate_hz)
    if levels.wander_mv:
        shape = np.where((frequency > 0.03) & (frequency < 0.8), 1 / np.maximum(frequency, 0.05), 0)
        amplitude = amplitude + (levels.wander_mv * _unit_power(shape, n_samples)).astype(
            np.float32
        )
    if levels.muscle_mv:
        shape = 1.0 / np.sqrt(
            (1.0 + (20.0 / np.maximum(frequency, 0.1)) ** 2) * (1 + (frequency / 120) ** 2)
        )
        shares = levels.muscle_mv * own.lognormal(0.0, 0.5, size=(electrodes, 1))
        amplitude = amplitude + (shares * _unit_power(shape, n_samples)).astype(np.float32)
    potentials = scipy.fft.irfft(bins * amplitude, n=n_samples, axis=1)
    _artefacts(own, levels, potentials, frequency, bins, amplitude, rate_hz)
    return independent_from_electrodes(potentials).astype(np.float32)


def recorded(leads_mv: Single, levels: NoiseLevels) -> Single:
    """(lead of INDEPENDENT_LEADS, sample) as the recorder stores it: clipped, rounded, thinned."""
    if np.isfinite(levels.clip_mv):
        leads_mv = np.clip(leads_mv, -levels.clip_mv, levels.clip_mv)
    if not levels.quantum_mv:
        return leads_mv
    quantum = np.float32(levels.quantum_mv)
    stored = np.rint(leads_mv / quantum)
    stored *= quantum
    if levels.compressed:
        thinned = (stored[:, :-2:2] + stored[:, 2::2]) / 2
        odd = stored[:, 1:-1:2]
        slow = np.abs(leads_mv[:, 2::2] - leads_mv[:, :-2:2]) < _SLOW_MV
        odd[...] = np.where(slow, thinned[:, : odd.shape[1]], odd)
    return np.asarray(stored, dtype=np.float32)


_SLOW_MV = 0.006  # between every other sample


def _artefacts(
    rng: np.random.Generator,
    levels: NoiseLevels,
    potentials: Single,
    frequency: Array,
    white: npt.NDArray[np.complex64],
    amplitude: Single,
    rate_hz: float,
) -> None:
    """Add what is not steady noise to `potentials` (electrode, sample)."""
    electrodes, n_samples = potentials.shape
    time_s = np.arange(n_samples, dtype=np.float32) / np.float32(rate_hz)
    if levels.mains_mv > 0:
        phase = rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.4, size=electrodes)
        strength = levels.mains_mv * rng.lognormal(0.0, 0.5, size=electrodes)
        turned = np.float32(2 * np.pi * levels.mains_hz) * time_s
        parts = np.stack([strength * np.cos(phase), strength * np.sin(phase)], axis=1)
        potentials += parts.astype(np.float32) @ np.stack([np.sin(turned), np.cos(turned)])
    if levels.motion_mv > 0:
        potentials[rng.integers(electrodes)] += _motion(rng, levels.motion_mv, time_s, decays=True)
    if levels.step_mv > 0:
        potentials[rng.integers(electrodes)] += _motion(rng, levels.step_mv, time_s, decays=False)
    if levels.burst > 1:
        muscle = amplitude * (frequency > 15.0).astype(np.float32)
        more = scipy.fft.irfft(white[::-1] * muscle, n=n_samples, axis=1)
        centre, width = rng.uniform(0, time_s[-1]), rng.uniform(0.3, 2.0)
        shape = (levels.burst - 1) * np.exp(-0.5 * ((time_s - centre) / width) ** 2)
        potentials += more * shape.astype(np.float32)
    if levels.lost >= 0:
        start = rng.uniform(0, time_s[-1])
        gone = (time_s > start) & (time_s < start + rng.uniform(0.3, 2.5))
        potentials[levels.lost, gone] += rng.normal(0, 1.5) + rng.normal(0, 0.1, int(gone.sum()))


def _unit_power(shape: Array, n_samples: int) -> Array:
    # Scaled so that the inverse transform of shape × white has a standard deviation of 1.
    return np.asarray(shape * n_samples / np.sqrt(4.0 * np.sum(shape**2)))


def _motion(rng: np.random.Generator, strength_mv: float, time_s: Array, decays: bool) -> Array:
    # One to three steps, which decay as the amplifier recovers, or drift on.
    total = np.zeros_like(time_s)
    for start in rng.uniform(0, time_s[-1], size=rng.integers(1, 4)):
        after = time_s - start
        fading = np.exp(-np.maximum(after, 0) / rng.uniform(0.1, 0.8)) if decays else 1.0
        rise = 1 - np.exp(-np.maximum(after, 0) / 0.01)
        total += strength_mv * rng.standard_normal() * fading * rise
    return total


@dataclass(frozen=True)
class _FittedNoise:
    knots_hz: Array
    mean: Array  # (electrode, knot) log PSD
    record: Array  # (knot, knot) Cholesky factor between recordings
    electrode: Array  # (knot, knot) the same between electrodes of a recording


@cache
def _fitted() -> _FittedNoise:
    held = json.loads(FITTED_NOISE.read_text())
    return _FittedNoise(
        knots_hz=np.array(held["knots_hz"]),
        mean=np.array(held["electrode_log_psd"]),
        record=np.linalg.cholesky(np.array(held["between_recordings"])),
        electrode=np.linalg.cholesky(np.array(held["between_electrodes"])),
    )


@cache
def _between_knots(n_samples: int, rate_hz: float) -> Single:
    """(knot, frequency) weights that interpolate log PSD over log frequency."""
    knots = np.log(_fitted().knots_hz)
    frequency = np.log(np.maximum(np.fft.rfftfreq(n_samples, 1.0 / rate_hz), 1e-3))
    at = np.clip(frequency, knots[0], knots[-1])
    weights = np.stack([np.interp(at, knots, row) for row in np.eye(len(knots))])
    return weights.astype(np.float32)
