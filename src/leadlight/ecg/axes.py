"""Axes in the frontal plane and the angle between QRS and T in space.

An axis is the direction of a wave's mean vector: the net area under the wave (what is above the
baseline minus what is below), not its largest amplitude. 0° points to the left arm, +90° to the
feet.
"""

import numpy as np
import numpy.typing as npt

from leadlight.ecg.leads import INDEPENDENT_LEADS

Array = npt.NDArray[np.floating]

# Rows x (left), y (feet), z (back); columns INDEPENDENT_LEADS.
# Regression from measured Frank leads: Kors et al., Eur Heart J 11:1083 (1990).
KORS = np.array(
    [
        [0.38, -0.07, -0.13, 0.05, -0.01, 0.14, 0.06, 0.54],
        [-0.07, 0.93, 0.06, -0.02, -0.05, 0.06, -0.17, 0.13],
        [0.11, -0.23, -0.43, -0.06, -0.14, -0.20, -0.11, 0.31],
    ]
)
# The inverse of Dower's torso model: Edenbrandt and Pahlm, J Electrocardiol 21:361 (1988).
INVERSE_DOWER = np.array(
    [
        [0.156, -0.010, -0.172, -0.074, 0.122, 0.231, 0.239, 0.194],
        [-0.227, 0.887, 0.057, -0.019, -0.106, -0.022, 0.041, 0.048],
        [0.022, 0.102, -0.229, -0.310, -0.246, -0.063, 0.055, 0.108],
    ]
)
# A mean vector shorter than this share of what the wave covers in all has no direction to speak of.
_LEAST_SHARE = 0.03


def net_areas(wave_mv: Array, baseline_mv: Array) -> Array:
    """(lead) net area of a wave, in mV times samples: the sum of what lies off the baseline.

    Both arguments: (lead, sample); the baseline may slope, or be a level per lead, (lead, 1).
    """
    return np.asarray((wave_mv - baseline_mv).sum(axis=1))


def frontal_axis_deg(areas: dict[str, float]) -> float:
    """The frontal axis in degrees, -180 to 180, from net areas of leads I and II.

    In the plane of Einthoven's triangle x is I and y is (II + III) / √3, which is 2 aVF / √3. NaN
    where I or II is missing, or where the vector is too short to have a direction.
    """
    one, two = areas.get("I", np.nan), areas.get("II", np.nan)
    y = (2 * two - one) / np.sqrt(3)
    covered = sum(abs(areas.get(lead, 0.0)) for lead in INDEPENDENT_LEADS)
    if not np.hypot(one, y) > _LEAST_SHARE * covered:
        return float("nan")
    return float(np.degrees(np.arctan2(y, one)))


def mean_vector(areas: dict[str, float], matrix: Array = KORS) -> Array:
    """(x, y, z) of a wave's mean vector; NaN where an independent lead is missing."""
    leads = np.array([areas.get(lead, np.nan) for lead in INDEPENDENT_LEADS])
    return np.asarray(matrix @ leads)


def angle_deg(first: Array, second: Array) -> float:
    """The angle between two vectors, 0 to 180 degrees; NaN where one has no direction."""
    sizes = float(np.linalg.norm(first) * np.linalg.norm(second))
    if not sizes > 0:
        return float("nan")
    return float(np.degrees(np.arccos(np.clip(np.dot(first, second) / sizes, -1.0, 1.0))))


def frontal_angle_deg(first_axis_deg: float, second_axis_deg: float) -> float:
    """The angle between two frontal axes, 0 to 180 degrees."""
    return float(abs((first_axis_deg - second_axis_deg + 180) % 360 - 180))
