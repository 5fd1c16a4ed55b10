"""The waves of a beat as sums of bell-shaped events, each with its own strength in each lead.

An event is a cubic B-spline, which is a Gaussian to within a few per cent and is exactly zero
outside of four knots, so that a wave begins and ends somewhere. P and QRS have their events at
fixed fractions of their own duration; ST-T and U at fractions of the way from the end of QRS to
the end of T. After the Gaussian events of McSharry et al. (2003), with a vector over leads in the
place of a single strength; the part of it that a dipole in the torso of `lead_field` makes is its
dipole.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from leadlight.ecg.leads import INDEPENDENT_LEADS
from leadlight.simulate.lead_field import TWELVE_OF_EIGHT

Array = npt.NDArray[np.float64]
Single = npt.NDArray[np.float32]

# Support of the first and the last event and number of events, in fractions of the wave.
P_SPAN, P_EVENTS = (-0.10, 1.10), 9
TA_SPAN = (0.35, 4.40)  # the atria's own recovery, which PQ lies in
QRS_SPAN, QRS_EVENTS = (-0.08, 1.10), 21
T_SPAN, T_EVENTS = (-0.16, 1.18), 15
U_SPAN, U_EVENTS = (1.00, 1.90), 5
GRID = 256  # points of a template


@dataclass(frozen=True)
class Wave:
    """One wave of one person, drawn once and placed at every beat.

    Attributes:
        leads_mv: (lead of INDEPENDENT_LEADS, point) float32, zero at both ends.
        start_ms: time of the first point from the wave's reference (P: P onset; others: QRS
            onset).
        step_ms: between points.
    """

    leads_mv: Single
    start_ms: float
    step_ms: float

    @property
    def stop_ms(self) -> float:
        """Time of the last point."""
        return float(self.start_ms + (self.leads_mv.shape[1] - 1) * self.step_ms)

    @property
    def time_ms(self) -> Array:
        """(point) times."""
        return np.asarray(
            self.start_ms + self.step_ms * np.arange(self.leads_mv.shape[1]), dtype=float
        )

    def area_mv_ms(self) -> Array:
        """(lead of INDEPENDENT_LEADS) integral."""
        return np.asarray(self.leads_mv.sum(axis=1, dtype=float) * self.step_ms)


def events(span: tuple[float, float], count: int, at: npt.ArrayLike) -> Array:
    """(count, at) strengths of the events of a wave at fractions `at` of its duration."""
    spacing = (span[1] - span[0]) / (count + 3)
    centre = span[0] + spacing * (np.arange(count) + 2)
    away = np.abs(np.asarray(at, dtype=float)[None, :] - centre[:, None]) / spacing
    inner = 2 / 3 - away**2 + away**3 / 2
    outer = (2 - away) ** 3 / 6
    return np.where(away < 1, inner, np.where(away < 2, outer, 0.0)) * 1.5


def atrial_recovery(at: npt.ArrayLike) -> Array:
    """(at) strength of the atria's recovery at fractions of the P wave's duration.

    It grows under the P wave, holds until the QRS and fades under ST: seen as the level of PQ.
    """
    at = np.asarray(at, dtype=float)
    rise = np.clip((at - TA_SPAN[0]) / 0.65, 0.0, 1.0)
    fall = np.clip((TA_SPAN[1] - at) / 2.6, 0.0, 1.0)
    return np.asarray(rise**2 * (3 - 2 * rise) * fall**2 * (3 - 2 * fall))


def centres(span: tuple[float, float], count: int) -> Array:
    """(count) fractions of the wave's duration at which its events peak."""
    return np.asarray(span[0] + (span[1] - span[0]) / (count + 3) * (np.arange(count) + 2))


def wave(
    strengths_mv: npt.NDArray[np.floating],
    span: tuple[float, float],
    duration_ms: float,
    offset_ms: float = 0.0,
) -> Wave:
    """The template of strengths (event, lead): fractions are of `duration_ms` from `offset_ms`."""
    basis = _basis(span, len(strengths_mv))
    return Wave(
        leads_mv=np.ascontiguousarray((basis @ strengths_mv.astype(np.float32)).T),
        start_ms=offset_ms + span[0] * duration_ms,
        step_ms=(span[1] - span[0]) * duration_ms / (GRID - 1),
    )


_BASES: dict[tuple[tuple[float, float], int], Single] = {}


def _basis(span: tuple[float, float], count: int) -> Single:
    """(point, event), made once."""
    if (span, count) not in _BASES:
        at = np.linspace(*span, GRID)
        _BASES[span, count] = np.ascontiguousarray(events(span, count, at).T, dtype=np.float32)
    return _BASES[span, count]


def visible_limits_ms(
    drawn: Wave, least_mv: float, least_share: float, before_ms: float = np.inf
) -> tuple[float, float, float]:
    """Where a reader sees the wave begin, peak and end, in ms from its reference.

    The wave is seen where any of the twelve leads departs from its baseline by `least_mv`, or by
    `least_share` of the wave's peak where that is more. Points after `before_ms` do not count.
    NaN where it is nowhere seen.
    """
    size = np.abs(TWELVE_OF_EIGHT @ drawn.leads_mv).max(axis=0)
    if np.isfinite(before_ms):
        size = np.where(drawn.time_ms <= before_ms, size, 0.0)
    threshold = max(least_mv, least_share * float(size.max()))
    seen = np.flatnonzero(size >= threshold)
    if not len(seen):
        return float("nan"), float("nan"), float("nan")
    first, last, top = int(seen[0]), int(seen[-1]), int(size.argmax())
    at_first, at_last = float(first), float(last)
    if first > 0:  # between points
        at_first -= float((size[first] - threshold) / (size[first] - size[first - 1]))
    if last < len(size) - 1 and size[last + 1] < size[last]:
        at_last += float((size[last] - threshold) / (size[last] - size[last + 1]))
    start, step = drawn.start_ms, drawn.step_ms
    return start + at_first * step, start + top * step, start + at_last * step


def t_limits_ms(drawn: Wave, jt_ms: float) -> tuple[float, float, float]:
    """Where a reader sees T begin, peak and end, in ms from the end of QRS.

    Read on the size of the twelve leads' vector, as T has no one lead. Its peak is the largest
    after a quarter of the way from QRS to the T end. Its end lies `PAST_TANGENT` times as far from
    the peak as where the steepest tangent of the fall meets the baseline (Lepeschkin and Surawicz
    1952); on a Gaussian fall that is where 4 % of the peak are left. Its onset is the same on the
    other side, not before QRS ends. A level alone would not do: the end of T is flat, and a few
    microvolts of U wave would move it by tens of milliseconds.
    """
    size = np.sqrt(((TWELVE_OF_EIGHT @ drawn.leads_mv) ** 2).sum(axis=0, dtype=float))
    time_ms = drawn.time_ms
    inside = (time_ms > 0.25 * jt_ms) & (time_ms < 1.2 * jt_ms)
    if not size[inside].any():
        return float("nan"), float("nan"), float("nan")
    first, last = np.flatnonzero(inside)[[0, -1]]
    peak = first + int(size[first : last + 1].argmax())
    slope = np.gradient(size, drawn.step_ms)
    fall = peak + int(slope[peak : last + 1].argmin())
    rise = first + int(slope[first : peak + 1].argmax())
    limits = []
    for at in (rise, fall):
        foot = time_ms[at] - size[at] / slope[at] if slope[at] else time_ms[at]
        limits.append(float(time_ms[peak] + PAST_TANGENT * (foot - time_ms[peak])))
    return max(limits[0], 0.0), float(time_ms[peak]), limits[1]


PAST_TANGENT = 1.28

LEAD = {name: row for row, name in enumerate(INDEPENDENT_LEADS)}
