"""The waves of one beat as Gaussian events of a dipole: P, QRS, ST and T, healthy and diseased.

After the dynamical model of McSharry et al. (2003), in three dimensions and with each event's
own direction. Vectors are in millivolt with x to the left, y to the feet, z to the back. Times of
P are relative to the P onset, those of all others to the QRS onset, in milliseconds.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Events:
    """Gaussian events of one wave.

    Attributes:
        centre_ms: (event,) time of each event's peak.
        rise_ms, fall_ms: (event,) standard deviations before and after the peak.
        dipole_mv: (event, axis) vector at the peak.
    """

    centre_ms: Array
    rise_ms: Array
    fall_ms: Array
    dipole_mv: Array


def p_wave(rng: np.random.Generator, duration_ms: float, amplitude_mv: float) -> Events:
    """Right then left atrium, overlapping."""
    right = np.array([0.15, 0.85, -0.40]) + 0.15 * rng.standard_normal(3)
    left = np.array([0.70, 0.50, 0.35]) + 0.15 * rng.standard_normal(3)
    sigma = duration_ms * np.array([0.155, 0.165])
    return Events(
        centre_ms=duration_ms * np.array([0.36, 0.62]),
        rise_ms=sigma,
        fall_ms=sigma,
        dipole_mv=amplitude_mv * np.stack([right, left]),
    )


def normal_qrs(rng: np.random.Generator, duration_ms: float, amplitude: float) -> Events:
    """Septum, apex, left wall, base, each with its own direction."""
    dipoles = np.array(
        [
            [-0.16, -0.08, -0.28],
            [0.55, 0.60, -0.38],
            [0.85, 0.50, 0.55],
            [-0.02, -0.12, 0.50],
        ]
    )
    dipoles = dipoles * rng.lognormal(0, [[0.5], [0.25], [0.25], [0.5]]) * amplitude
    dipoles += amplitude * 0.09 * rng.standard_normal(dipoles.shape)
    fraction = np.array([0.20, 0.40, 0.54, 0.77]) + 0.015 * rng.standard_normal(4)
    sigma = duration_ms * np.array([0.082, 0.092, 0.096, 0.092]) * rng.lognormal(0, 0.08, 4)
    return Events(duration_ms * fraction, sigma, sigma, dipoles)


def left_bundle_branch_block_qrs(
    rng: np.random.Generator, duration_ms: float, amplitude: float
) -> Events:
    """The septum depolarises from right to left, then the left wall slowly: no q in I and V6,
    a broad notched R there, rS or QS in V1 (Strauss et al. 2011)."""
    dipoles = np.array(
        [
            [0.22, 0.12, -0.16 + 0.20 * rng.random()],
            [0.75, 0.30, 0.95],
            [0.80, -0.02, 1.30],
            [0.55, -0.12, 0.85],
        ]
    )
    dipoles = dipoles * rng.lognormal(0, [[0.4], [0.25], [0.2], [0.3]]) * amplitude
    dipoles += amplitude * 0.10 * rng.standard_normal(dipoles.shape)
    fraction = np.array([0.15, 0.36, 0.58, 0.80]) + 0.02 * rng.standard_normal(4)
    sigma = duration_ms * np.array([0.065, 0.095, 0.110, 0.085]) * rng.lognormal(0, 0.08, 4)
    return Events(duration_ms * fraction, sigma, sigma, dipoles)


def right_bundle_branch_block_qrs(
    rng: np.random.Generator, duration_ms: float, amplitude: float, severity: float
) -> Events:
    """A normal start, then the right wall late and slowly, to the right and front: rsR' in V1,
    a broad S in I and V6. `severity` scales the late force (about 0.35 when incomplete)."""
    start = normal_qrs(rng, min(85.0, 0.78 * duration_ms), amplitude)
    start.dipole_mv[3] *= 0.45
    late = (
        amplitude
        * severity
        * np.array(
            [
                [-0.20, 0.00, -0.25],
                [-0.52, 0.02, -0.55],
            ]
        )
    )
    late = late * rng.lognormal(0, 0.3) + amplitude * 0.06 * rng.standard_normal((2, 3))
    sigma = duration_ms * np.array([0.085, 0.105])
    return Events(
        np.concatenate([start.centre_ms, duration_ms * np.array([0.58, 0.765])]),
        np.concatenate([start.rise_ms, sigma]),
        np.concatenate([start.fall_ms, sigma]),
        np.concatenate([start.dipole_mv, late]),
    )


def ectopic_ventricular_qrs(rng: np.random.Generator, duration_ms: float) -> Events:
    """A wide beat that spreads from one place through muscle: one main direction."""
    main = rng.standard_normal(3)
    main *= rng.uniform(1.1, 2.2) / np.linalg.norm(main)
    turn = 0.45 * rng.standard_normal((3, 3))
    dipoles = main * np.array([[0.5], [1.0], [0.7]]) + turn
    fraction = np.array([0.25, 0.48, 0.74])
    sigma = duration_ms * np.array([0.10, 0.125, 0.105])
    return Events(duration_ms * fraction, sigma, sigma, dipoles)


def t_wave(
    peak_ms: float, offset_ms: float, dipole_mv: Array, st_dipole_mv: Array, j_ms: float
) -> Events:
    """A T wave that rises slowly and falls fast, and the ST segment that leads to it.

    The rise is a sum of two events, which is what makes it flatter at its foot than a Gaussian.
    """
    fall = (offset_ms - peak_ms) / 2.15
    rise = 1.22 * fall
    early = peak_ms - 1.5 * rise
    st_centre = j_ms + 0.42 * (peak_ms - j_ms)
    st_rise = max(12.0, (st_centre - j_ms) / 1.8)
    return Events(
        centre_ms=np.array([peak_ms, early, st_centre]),
        rise_ms=np.array([rise, 1.1 * rise, st_rise]),
        fall_ms=np.array([fall, rise, 0.8 * st_rise]),
        dipole_mv=np.stack([dipole_mv, 0.20 * dipole_mv, st_dipole_mv]),
    )


def evaluate(events: Events, time_ms: Array) -> Array:
    """(event, time) the events' strengths, 1 at each peak."""
    from_peak = time_ms[None, :] - events.centre_ms[:, None]
    sigma = np.where(from_peak < 0, events.rise_ms[:, None], events.fall_ms[:, None])
    return np.asarray(np.exp(-0.5 * (from_peak / sigma) ** 2))
