"""How a QRS changes when its conduction does, and what repolarisation makes of that.

Bundle branch blocks and ectopic beats are moving dipoles made of Gaussian events (McSharry et al.
2003), seen through the person's torso; vectors are in millivolt with x to the left, y to the feet,
z to the back. T follows by Wilson's ventricular gradient (Wilson et al. 1934): what the QRS gains
in area, ST-T loses, in the share `discordance`; 1 is a purely secondary T.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from leadlight.simulate.waves import GRID, QRS_SPAN, Wave

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class DipoleEvents:
    """Gaussian events: centre_ms, sigma_ms (event), dipole_mv (event, axis)."""

    centre_ms: Array
    sigma_ms: Array
    dipole_mv: Array

    def leads_mv(self, time_ms: Array, field: Array) -> Array:
        """(lead, time) through `field` (lead, axis)."""
        away = (time_ms[None, :] - self.centre_ms[:, None]) / self.sigma_ms[:, None]
        return np.asarray(field @ self.dipole_mv.T @ np.exp(-0.5 * away**2))


def stretched(qrs: Wave, from_ms: float, to_ms: float) -> Wave:
    """The same QRS in another duration."""
    by = to_ms / from_ms
    return Wave(qrs.leads_mv, qrs.start_ms * by, qrs.step_ms * by)


def right_bundle_branch_block(
    rng: np.random.Generator, healthy: Wave, healthy_ms: float, field: Array, severity: float,
    amplitude: float,
) -> tuple[Wave, float]:  # fmt: skip
    """The left ventricle as ever, then the right wall late and slowly: rsR' in V1, broad S in I
    and V6. Severity 0 is the healthy QRS, about 0.4 incomplete, 1 typical. Gives also the QRS in
    ms."""
    longer = rng.normal(46.0, 9.0)
    late_share = np.exp(rng.normal(0.0, 0.30))
    turn = rng.standard_normal((2, 3))
    where = rng.normal(0.0, 0.02, 2)
    initial = rng.uniform(0.2, 0.8)
    left_ms = max(healthy_ms, 78.0)
    qrs_ms = left_ms + max(longer, 25.0) * min(severity, 1.0) + 18.0 * max(severity - 1.0, 0.0)
    time_ms = _grid_ms(qrs_ms)
    base = _at(healthy, time_ms)
    # The end of a healthy QRS is in part the right ventricle's, which now comes later.
    fading = np.clip((time_ms / healthy_ms - 0.55) / 0.45, 0.0, 1.0)
    base = base * (1 - initial * min(severity, 1.0) * fading)
    dipoles = np.array([[-0.16, 0.02, -0.30], [-0.36, 0.02, -0.52]]) * late_share
    dipoles = (dipoles + 0.09 * turn) * amplitude * severity**0.8
    late = DipoleEvents(
        centre_ms=qrs_ms * (np.array([0.60, 0.775]) + where),
        sigma_ms=qrs_ms * np.array([0.080, 0.092]),
        dipole_mv=dipoles,
    )
    return _wave(base + late.leads_mv(time_ms, field), qrs_ms), qrs_ms


def left_bundle_branch_block(
    rng: np.random.Generator, healthy: Wave, healthy_ms: float, field: Array, severity: float,
    amplitude: float,
) -> tuple[Wave, float]:  # fmt: skip
    """The septum from right to left, then the left wall slowly: no q in I and V6, a broad notched
    R there, rS or QS in V1 (Strauss et al. 2011). Severity 0 is the healthy QRS, 1 typical. Gives
    also the QRS in ms."""
    longer = rng.normal(56.0, 13.0)
    dipoles = np.array(
        [[0.22, 0.12, 0.0], [0.70, 0.30, 0.75], [0.74, -0.02, 1.05], [0.50, -0.12, 0.70]]
    )
    dipoles[0, 2] = rng.uniform(-0.20, 0.08)
    dipoles = dipoles * rng.lognormal(0.0, [[0.4], [0.25], [0.22], [0.32]])
    dipoles = dipoles + 0.11 * rng.standard_normal((4, 3))
    frontal, horizontal = rng.normal(-0.15, 0.45), rng.normal(0.0, 0.22)
    fraction = np.array([0.15, 0.36, 0.58, 0.79]) + 0.022 * rng.standard_normal(4)
    sigma = np.array([0.066, 0.098, 0.110, 0.085]) * rng.lognormal(0.0, 0.10, 4)
    size, own = rng.uniform(0.75, 1.45), rng.uniform(0.05, 0.30)
    qrs_ms = healthy_ms + max(longer, 28.0) * min(severity, 1.0) + 18.0 * max(severity - 1.0, 0.0)
    qrs_ms = max(qrs_ms, 121.0) if severity >= 1.0 else qrs_ms
    time_ms = _grid_ms(qrs_ms)
    turned = dipoles @ _turn(frontal, horizontal).T * amplitude * size
    events = DipoleEvents(qrs_ms * fraction, qrs_ms * sigma, turned)
    share = min(severity, 1.0)
    base = _at(healthy, time_ms * healthy_ms / qrs_ms)
    late = np.clip(time_ms / qrs_ms - 0.25, 0.0, 0.5) * 2.0  # the septal q is what is lost
    values = (1 - share) * base + share * (
        own * base * late + events.leads_mv(time_ms, field) * max(1.0, severity**0.4)
    )
    return _wave(values, qrs_ms), qrs_ms


def left_anterior_hemiblock(
    rng: np.random.Generator, healthy: Wave, healthy_ms: float, field: Array
) -> tuple[Wave, float]:
    """After its first fifth the QRS turns left and up: qR in I and aVL, rS in II, III and aVF."""
    qrs_ms = healthy_ms + rng.uniform(2.0, 14.0)
    time_ms = _grid_ms(qrs_ms)
    base = _at(healthy, time_ms * healthy_ms / qrs_ms)
    to_dipole = np.linalg.pinv(field)
    area = to_dipole @ base.sum(axis=1)
    now = np.arctan2(area[1], area[0])
    angle = np.deg2rad(rng.normal(-58.0, 9.0)) - now
    part = np.clip((time_ms / qrs_ms - 0.16) / 0.22, 0.0, 1.0)
    heart = to_dipole @ base
    cos, sin = np.cos(angle * part), np.sin(angle * part)
    x, y = heart[0].copy(), heart[1].copy()
    turned = np.stack([cos * x - sin * y, sin * x + cos * y, heart[2]])
    turned[1] += 0.10 * np.exp(-0.5 * ((time_ms / qrs_ms - 0.18) / 0.06) ** 2)
    return _wave(base + field @ (turned - heart), qrs_ms), qrs_ms


def slowed(
    rng: np.random.Generator, healthy: Wave, healthy_ms: float, field: Array, amplitude: float
) -> tuple[Wave, float]:
    """An unspecific delay: the same QRS, longer, with a notch somewhere."""
    qrs_ms = float(rng.uniform(111.0, 142.0))
    time_ms = _grid_ms(qrs_ms)
    base = 0.92 * _at(healthy, time_ms * healthy_ms / qrs_ms)
    notch = DipoleEvents(
        np.array([rng.uniform(0.45, 0.85)]) * qrs_ms,
        np.array([rng.uniform(0.06, 0.12)]) * qrs_ms,
        0.28 * amplitude * rng.standard_normal((1, 3)),
    )
    return _wave(base + notch.leads_mv(time_ms, field), qrs_ms), qrs_ms


def infarcted(
    rng: np.random.Generator, qrs: Wave, qrs_ms: float, field: Array, amplitude: float, size: float
) -> tuple[Wave, Array]:
    """Dead muscle gives no early force: what remains points away from it. Also its direction."""
    place = rng.standard_normal(3) * [0.7, 1.0, 1.0]
    place /= np.linalg.norm(place)
    loss = DipoleEvents(
        np.array([0.24, 0.42]) * qrs_ms,
        np.array([0.085, 0.10]) * qrs_ms,
        -size * amplitude * np.stack([place, 0.9 * place]),
    )
    values = qrs.leads_mv + loss.leads_mv(qrs.time_ms, field).astype(np.float32)
    return Wave(values, qrs.start_ms, qrs.step_ms), place


def ventricular_ectopic(rng: np.random.Generator, field: Array, qrs_ms: float) -> Wave:
    """A wide beat that spreads from one place through muscle: one main direction."""
    main = rng.standard_normal(3)
    main *= rng.uniform(0.7, 1.7) / np.linalg.norm(main)
    events = DipoleEvents(
        qrs_ms * (np.array([0.25, 0.48, 0.74]) + 0.02 * rng.standard_normal(3)),
        qrs_ms * np.array([0.095, 0.120, 0.100]),
        main * np.array([[0.5], [1.0], [0.7]]) + 0.40 * rng.standard_normal((3, 3)),
    )
    return _wave(events.leads_mv(_grid_ms(qrs_ms), field), qrs_ms)


def secondary_t(healthy: Wave, now: Wave, discordance: float, t_pattern: Array) -> Array:
    """(event of ST-T, lead) that ST-T gains when `healthy` becomes `now`.

    Args:
        t_pattern: (event) strengths of a secondary ST-T whose area is 1 mV·ms.
    """
    gained = now.area_mv_ms() - healthy.area_mv_ms()
    return np.asarray(-discordance * t_pattern[:, None] * gained[None, :])


def _turn(frontal: float, horizontal: float) -> Array:
    cz, sz, cy, sy = np.cos(frontal), np.sin(frontal), np.cos(horizontal), np.sin(horizontal)
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    return np.asarray(about_z @ about_y)


def _grid_ms(qrs_ms: float) -> Array:
    return np.asarray(np.linspace(*QRS_SPAN, GRID) * qrs_ms)


def _at(drawn: Wave, time_ms: Array) -> Array:
    rows = [np.interp(time_ms, drawn.time_ms, row, 0.0, 0.0) for row in drawn.leads_mv]
    return np.asarray(np.stack(rows))


def _wave(leads_mv: Array, qrs_ms: float) -> Wave:
    # Gaussians do not end: the template's first and last tenth bring them to zero.
    edge = np.ones(GRID)
    ramp = np.sin(np.linspace(0, np.pi / 2, 12)) ** 2
    edge[:12], edge[-12:] = ramp, ramp[::-1]
    step = (QRS_SPAN[1] - QRS_SPAN[0]) * qrs_ms / (GRID - 1)
    return Wave((leads_mv * edge).astype(np.float32), QRS_SPAN[0] * qrs_ms, step)
