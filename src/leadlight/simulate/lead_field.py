"""From a heart dipole to the electrodes: the torso as a linear map, with its spread over people.

A dipole (x to the left, y to the feet, z to the back, in the sense of Frank 1956) gives the eight
independent leads by the matrix of Dower, Machado and Osborne (1980). People differ from it by
body shape and electrode placement; both are drawn as small random changes of that matrix.
"""

import numpy as np
import numpy.typing as npt

from leadlight.ecg.leads import DERIVED_FROM_I_II, INDEPENDENT_LEADS, LEADS

# Rows in the order of INDEPENDENT_LEADS, columns x, y, z (Dower 1980).
DOWER = np.array(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)
# (lead of LEADS, lead of INDEPENDENT_LEADS): the twelve leads from the eight, by the lead algebra.
TWELVE_OF_EIGHT = np.array(
    [
        [
            dict(zip(("I", "II"), DERIVED_FROM_I_II[lead], strict=True)).get(own, 0.0)
            if lead in DERIVED_FROM_I_II
            else float(lead == own)
            for own in INDEPENDENT_LEADS
        ]
        for lead in LEADS
    ],
    dtype=np.float32,
)
# (lead, lead of INDEPENDENT_LEADS): the arms' cables on each other's electrodes: I is upside down,
# II and III are swapped; the chest leads see no difference.
ARMS_SWAPPED = np.eye(8)
ARMS_SWAPPED[:2, :2] = [[-1.0, 0.0], [-1.0, 1.0]]
ELECTRODES = ("RA", "LA", "LL", "V1", "V2", "V3", "V4", "V5", "V6")


def twelve_from_independent(
    independent_mv: npt.NDArray[np.floating],
) -> npt.NDArray[np.float32]:
    """(lead of INDEPENDENT_LEADS, sample) → (lead of LEADS, sample), by the lead algebra."""
    twelve = np.empty((len(LEADS), independent_mv.shape[1]), dtype=np.float32)
    for row, name in enumerate(INDEPENDENT_LEADS):
        twelve[LEADS.index(name)] = independent_mv[row]
    one, two = twelve[LEADS.index("I")], twelve[LEADS.index("II")]
    for name, (of_one, of_two) in DERIVED_FROM_I_II.items():
        twelve[LEADS.index(name)] = np.float32(of_one) * one + np.float32(of_two) * two
    return twelve


def independent_from_electrodes(
    potentials_mv: npt.NDArray[np.floating],
) -> npt.NDArray[np.floating]:
    """(electrode of ELECTRODES, sample) → (lead of INDEPENDENT_LEADS, sample).

    Chest leads are taken against Wilson's terminal, the mean of the three limb electrodes; noise
    that is made at the electrodes therefore obeys the lead algebra, as real noise does.
    """
    right, left, foot = potentials_mv[:3]
    wilson = (right + left + foot) / 3.0
    return np.concatenate([np.stack([left - right, foot - right]), potentials_mv[3:] - wilson])


def electrodes_moved(rng: np.random.Generator, spread: float) -> npt.NDArray[np.floating]:
    """(lead, lead of INDEPENDENT_LEADS): what chest electrodes out of place make of a recording.

    An electrode between its neighbours' places shows a mixture of their leads; `spread` is the SD
    of the shift in electrode distances, and beyond V1 and V6 leads go on as straight lines. The
    limb leads stay. What the fitted hearts hold of other people's electrodes comes on top.
    """
    shift = spread * (0.6 * rng.standard_normal() + 0.8 * rng.standard_normal(6))
    moved = np.eye(8)
    for row, at in enumerate(np.arange(6) + np.clip(shift, -0.7, 0.7)):
        left = min(max(int(at), 0), 4)
        moved[2 + row, 2:] = 0.0
        moved[2 + row, 2 + left] = 1 - (at - left)
        moved[2 + row, 3 + left] = at - left
    return moved


def draw_lead_field(rng: np.random.Generator, spread: float = 1.0) -> npt.NDArray[np.floating]:
    """One person's (lead of INDEPENDENT_LEADS, axis) transfer from dipole to leads.

    The chest electrodes shift together (up or down a rib) and each on its own; the chest wall's
    thickness scales the near leads more than the limb leads.
    """
    field = DOWER.copy()
    chest = slice(2, None)
    field[chest, 1] += spread * (0.12 * rng.standard_normal() + 0.05 * rng.standard_normal(6))
    # An electrode between its neighbours' places: mix each chest row with the next ones.
    shift = spread * np.clip(
        0.25 * rng.standard_normal(6) + 0.15 * rng.standard_normal(), -0.7, 0.7
    )
    rows = field[chest].copy()
    place = np.clip(np.arange(6) + shift, 0, 5)
    for axis in range(3):
        field[chest, axis] = np.interp(place, np.arange(6), rows[:, axis])
    field[chest] *= np.exp(spread * (0.22 * rng.standard_normal() - 0.05))
    field[chest] *= np.exp(spread * 0.10 * rng.standard_normal((6, 1)))
    field += spread * 0.05 * rng.standard_normal(field.shape)
    return field


def rotation(about_x: float, about_y: float, about_z: float) -> npt.NDArray[np.floating]:
    """Rotation matrix of the heart in the chest; angles in radians."""
    cx, sx = np.cos(about_x), np.sin(about_x)
    cy, sy = np.cos(about_y), np.sin(about_y)
    cz, sz = np.cos(about_z), np.sin(about_z)
    around_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    around_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    around_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(around_z @ around_y @ around_x)
