"""From probabilities to wave limits: bare arrays, everything at the network's rate.

The probability that a sample lies inside a wave, going outwards from the wave's middle, is the
distribution function of where its limit is. So a limit is read as the mean of that distribution
(the area under the probabilities, which falls between samples), and how far the distribution
spreads says how sure the reading is.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from leadlight.ecg.delineation.network import RATE_HZ

Array = npt.NDArray[np.float32]

P, QRS, T = 0, 1, 2
_MS = RATE_HZ / 1e3  # samples per millisecond

# How far a wave reaches from its middle, and the shortest wave that is one.
_REACH = {P: int(110 * _MS), QRS: int(160 * _MS), T: int(280 * _MS)}
_SHORTEST = {P: 30 * _MS, QRS: 24 * _MS, T: 40 * _MS}
# Where the middle of a wave is looked for, from the R reference.
_QRS_WITHIN = 110 * _MS
_QRS_FROM_R = 40 * _MS  # the R reference lies inside the complex, or this near to it
_P_BEFORE, _P_AFTER_LAST_R = 480 * _MS, 160 * _MS
_T_BEHIND, _T_BEFORE_NEXT_R = 640 * _MS, 60 * _MS
# Of two equal P candidates before a QRS the later one, which was conducted, wins.
_LATER_IS_BETTER = 0.2
_PRESENT = 0.5
# What the mean over leads of P's probability has to reach where most beats have no P.
_PLAIN_P = 0.8
# A limit as close as this to the end of the strip is where the strip was cut, not the wave.
_CUT = 2.0
_NEXT_TO_GAP = 6.0
# Two standard deviations that the CSE Working Party (1985) allows, in ms: a confidence is the
# probability that the cardiologist's mark is within them. It names none for T onset.
TOLERANCE_MS = np.array([[10.2, 12.7], [6.5, 11.6], [30.6, 30.6]])
# A wave is there when this share of the leads show it; onset and offset over all leads are these
# quantiles of the leads' own.
_PRESENT_LEADS = 0.3
_EARLY = 0.2
_PEAK_GRID = 48
# R is the peak of a complex unless what is negative is this many times as large.
_R_COUNTS = 10.0


@dataclass(frozen=True)
class Readings:
    """Limits and how sure they are; NaN and 0 where there is no wave.

    Attributes:
        points: (lead, beat, wave, point) samples.
        confidence: (lead, beat, wave, point) 0..1.
    """

    points: Array
    confidence: Array


def read_waves(
    inside: Array,
    signal_mv: Array,
    r_samples: npt.NDArray[np.float64],
    gaps: npt.NDArray[np.bool_] | None = None,
    *,
    step: int = 1,
) -> Readings:
    """P, QRS and T of every beat in every lead.

    Args:
        inside: (lead, wave, step) probability that `step` samples are inside the wave, or what
            share of them is.
        signal_mv: (lead, sample) the signal, for the peaks.
        r_samples: (beat) R references, ascending.
        gaps: (lead, sample) where there is no signal: a wave that touches it is absent.
        step: samples to each value of `inside`.
    """
    n_leads, n = signal_mv.shape
    n_beats = r_samples.size
    points = np.full((n_leads, n_beats, 3, 3), np.nan, dtype=np.float32)
    confidence = np.zeros_like(points)
    previous = np.concatenate([[-np.inf], r_samples[:-1]])
    following = np.concatenate([r_samples[1:], [np.inf]])
    windows = {
        QRS: (
            np.maximum(r_samples - _QRS_WITHIN, (previous + r_samples) / 2),
            np.minimum(r_samples + _QRS_WITHIN, (following + r_samples) / 2),
        ),
        P: (np.maximum(r_samples - _P_BEFORE, previous + _P_AFTER_LAST_R), r_samples),
        T: (r_samples, np.minimum(r_samples + _T_BEHIND, following - _T_BEFORE_NEXT_R)),
    }
    for wave, (first, last) in windows.items():
        limits, sure, summit = _read_wave(inside[:, wave], wave, first, last, step)
        if wave == P:
            limits[:, _without_rhythm(summit)] = np.nan
        points[:, :, wave, ::2], confidence[:, :, wave, ::2] = limits, sure
    _part(points)
    points[:, :, :, 1] = peaks_between(signal_mv, points)
    lacking = ~(
        (points[..., 0] < points[..., 1])
        & (points[..., 1] < points[..., 2])
        & (points[..., 2] - points[..., 0] >= [_SHORTEST[wave] for wave in (P, QRS, T)])
        & (points[..., 0] > _CUT)
        & (points[..., 2] < n - 1 - _CUT)
    )
    lacking[:, :, QRS] |= points[:, :, QRS, 0] - _QRS_FROM_R > r_samples
    lacking[:, :, QRS] |= points[:, :, QRS, 2] + _QRS_FROM_R < r_samples
    if gaps is not None and gaps.any():
        lacking |= _touches(gaps, points)
    points[lacking] = np.nan
    lacking |= _begins_too_early(points)
    points[lacking] = np.nan
    confidence[..., 1] = np.minimum(confidence[..., 0], confidence[..., 2])
    confidence[lacking] = 0.0
    return Readings(points, confidence)


def _touches(gaps: npt.NDArray[np.bool_], points: Array) -> npt.NDArray[np.bool_]:
    """(lead, beat, wave) whether a gap lies between onset and offset or next to them."""
    n_leads, n = gaps.shape
    count = np.concatenate([np.zeros((n_leads, 1), int), np.cumsum(gaps, axis=1)], axis=1)
    limits = np.nan_to_num(points[..., ::2])
    low = np.clip(limits[..., 0] - _NEXT_TO_GAP, 0, n).astype(np.int64)
    high = np.clip(limits[..., 1] + _NEXT_TO_GAP + 1, 0, n).astype(np.int64)
    lead = np.arange(n_leads)[:, None, None]
    return np.asarray(count[lead, high] > count[lead, low])


def read_together(found: Readings, signal_mv: Array) -> Readings:
    """One reading of all leads: (beat, wave, point).

    As cardiologists read twelve leads (CSE Working Party 1985): a wave begins where it begins
    first in any lead and ends where it ends last, without the few leads that lie outside all
    others. That is a low quantile of the onsets and a high one of the offsets, each lead counting
    as much as it is sure. The peak is where the leads together are largest.

    Args:
        found: the leads on their own.
        signal_mv: (lead, sample) the signal that they were read from.
    """
    n_beats = found.points.shape[1]
    points = np.full((n_beats, 3, 3), np.nan, dtype=np.float32)
    confidence = np.zeros_like(points)
    weight = np.where(np.isfinite(found.points), np.maximum(found.confidence, 1e-3), 0.0)
    present = (np.isfinite(found.points[..., 0])).mean(axis=0) >= _PRESENT_LEADS  # (beat, wave)
    for point, quantile in ((0, _EARLY), (2, 1 - _EARLY)):
        values = np.where(np.isfinite(found.points[..., point]), found.points[..., point], np.inf)
        order = np.argsort(values, axis=0)
        values = np.take_along_axis(values, order, axis=0)
        mass = np.take_along_axis(weight[..., point], order, axis=0)
        share = (np.cumsum(mass, axis=0) - mass / 2) / np.maximum(mass.sum(axis=0), 1e-9)
        points[..., point] = _interpolated(share, values, quantile)
        near = np.abs(values - points[..., point]) <= TOLERANCE_MS[:, point // 2] * _MS
        sure = np.take_along_axis(found.confidence[..., point], order, axis=0)
        confidence[..., point] = np.where(near, sure, 0).max(axis=0)
    points[~present] = np.nan
    _part(points[None])
    points[..., 1] = _peak_together(signal_mv, points)
    lacking = ~((points[..., 0] < points[..., 1]) & (points[..., 1] < points[..., 2]))
    points[lacking] = np.nan
    lacking |= _begins_too_early(points[None])[0]
    points[lacking] = np.nan
    confidence[..., 1] = np.minimum(confidence[..., 0], confidence[..., 2])
    confidence[lacking] = 0.0
    return Readings(points, confidence)


def _interpolated(share: Array, values: Array, quantile: float) -> Array:
    """(beat, wave) the value at `quantile` of ascending (lead, beat, wave); inf counts as none."""
    n_leads = share.shape[0]
    high = np.clip((share < quantile).sum(axis=0), 0, n_leads - 1)[None]
    low = np.maximum(high - 1, 0)
    a, b = (np.take_along_axis(values, index, axis=0)[0] for index in (low, high))
    left, right = (np.take_along_axis(share, index, axis=0)[0] for index in (low, high))
    part = np.clip((quantile - left) / np.maximum(right - left, 1e-9), 0, 1)
    b = np.where(np.isfinite(b), b, a)
    with np.errstate(invalid="ignore"):
        return np.asarray(a + part * (b - a), dtype=np.float32)


def _read_wave(
    inside: Array,
    wave: int,
    first: npt.NDArray[np.float64],
    last: npt.NDArray[np.float64],
    step: int,
) -> tuple[Array, Array, Array]:
    """The wave with its middle in a window: (lead, beat, onset/offset) limits and confidence, and
    (lead, beat) the largest probability there.

    Args:
        inside: (lead, step).
        wave: P, QRS or T.
        first, last: (beat) the window of the middle, in samples.
        step: samples to each value of `inside`.
    """
    n_leads, n = inside.shape
    reach = _REACH[wave] // step
    # The middle of step i is at sample i * step + centre.
    centre = (step - 1) / 2
    start = np.clip(np.ceil((first - centre) / step), 0, n - 1).astype(np.int64)
    stop = np.clip(np.floor((last - centre) / step), 0, n - 1).astype(np.int64)
    width = int(max((stop - start).max(initial=0), 0)) + 1
    at = start[:, None] + np.arange(width)
    allowed = at <= stop[:, None]
    score = np.where(allowed, inside[:, np.minimum(at, n - 1)], np.float32(-1))
    if wave == P:
        later = 1 - _LATER_IS_BETTER + _LATER_IS_BETTER * np.arange(width) / width
        score = score * later.astype(np.float32)
    middle = start + score.argmax(axis=2)  # (lead, beat)

    padded = np.pad(inside, ((0, 0), (reach, reach)))
    steps = np.arange(reach + 1)
    lead = np.arange(n_leads)[:, None, None]
    summit = inside[lead[..., 0], middle]
    summit[:, start > stop] = 0  # an empty window holds no wave
    limits = np.full((n_leads, first.size, 2), np.nan, dtype=np.float32)
    sure = np.zeros_like(limits)
    for side, sign in enumerate((-1, 1)):
        outward = padded[lead, reach + middle[..., None] + sign * steps]
        # Probability that the limit is at least this far from the middle, given the wave.
        beyond = np.minimum.accumulate(outward, axis=2) / np.maximum(summit, 1e-6)[..., None]
        distance = beyond.sum(axis=2) - 0.5
        tolerance = TOLERANCE_MS[wave, side] * _MS / step
        near = _at(beyond, distance - tolerance) - _at(beyond, distance + tolerance)
        limits[..., side] = (middle + sign * distance) * step + centre
        sure[..., side] = np.clip(near, 0, 1) * summit
    limits[summit < _PRESENT] = np.nan
    sure[summit < _PRESENT] = 0.0
    return limits, sure, summit


def _without_rhythm(summit: Array) -> npt.NDArray[np.bool_]:
    """(beat) whether its P is more likely a stray wave, such as of fibrillation.

    Where most beats of a strip show no P, a P has to be plain in the leads together.

    Args:
        summit: (lead, beat) largest probability of a P before the beat.
    """
    evidence = summit.mean(axis=0)
    needed = _PRESENT if np.median(evidence) >= _PRESENT else _PLAIN_P
    return np.asarray(evidence < needed)


def _at(beyond: Array, distance: Array) -> Array:
    """Values of (lead, beat, step) at fractional steps (lead, beat); 1 before the first."""
    low = np.clip(distance.astype(np.int64), 0, beyond.shape[2] - 2)
    share = np.clip(distance - low, 0, 1)
    a, b = _picked(beyond, low), _picked(beyond, low + 1)
    return np.where(distance < 0, 1.0, a + share * (b - a)).astype(np.float32)


def _picked(values: Array, index: npt.NDArray[np.int64]) -> Array:
    """(...) the value at `index` (...) of the last axis; several times as fast as NumPy's own."""
    first = np.arange(index.size).reshape(index.shape) * values.shape[-1]
    return np.asarray(values.reshape(-1)[first + index])


def _part(points: Array) -> None:
    """Where two neighbouring waves overlap, both end in the middle of the overlap (in place)."""
    n_leads, n_beats = points.shape[:2]
    # (lead, wave in time order, limit)
    chain = points[..., ::2].reshape(n_leads, n_beats * 3, 2)
    for gap in (1, 2, 3):  # a wave that is absent leaves its neighbours next to each other
        if chain.shape[1] <= gap:
            break
        ends, starts = chain[:, :-gap, 1], chain[:, gap:, 0]
        overlap = ends > starts
        middle = (ends + starts) / 2
        chain[:, :-gap, 1] = np.where(overlap, middle, ends)
        chain[:, gap:, 0] = np.where(overlap, middle, starts)
    points[..., ::2] = chain.reshape(n_leads, n_beats, 3, 2)


def _begins_too_early(points: Array) -> npt.NDArray[np.bool_]:
    """(lead, beat, wave) whether a wave before it, however far back, is not over yet."""
    n_leads, n_beats = points.shape[:2]
    ends = np.where(np.isfinite(points[..., 2]), points[..., 2], -np.inf).reshape(n_leads, -1)
    over = np.maximum.accumulate(ends, axis=1)
    over = np.concatenate([np.full((n_leads, 1), -np.inf), over[:, :-1]], axis=1)
    return np.asarray(points[..., 0] < over.reshape(n_leads, n_beats, 3))


def peaks_between(signal_mv: Array, points: Array) -> Array:
    """(lead, beat, wave) where the signal is farthest from the line that joins onset and offset.

    In QRS that is R, the positive wave, unless the complex has none to speak of.

    Args:
        signal_mv: (lead, sample).
        points: (lead, beat, wave, point); the limits are used. NaN gives NaN.
    """
    onset, offset = points[..., 0], points[..., 2]
    lead = np.arange(signal_mv.shape[0])[:, None, None, None]
    height = _above_chord(signal_mv, lead, onset, offset)
    height[:, :, QRS] = np.where(height[:, :, QRS] > 0, _R_COUNTS, 1) * height[:, :, QRS]
    return _top(np.abs(height), onset, offset)


def _peak_together(signal_mv: Array, points: Array) -> Array:
    """(beat, wave) where the leads' distances from their chords are largest together."""
    onset, offset = points[None, ..., 0], points[None, ..., 2]
    lead = np.arange(signal_mv.shape[0])[:, None, None, None]
    height = _above_chord(signal_mv, lead, onset, offset)
    return _top(np.sqrt(np.square(height).sum(axis=0)), onset[0], offset[0])


def _above_chord(
    signal_mv: Array, lead: npt.NDArray[np.int64], onset: Array, offset: Array
) -> Array:
    """(lead, beat, wave, place) the signal above its chord at even places from onset to offset."""
    share = np.linspace(0, 1, _PEAK_GRID, dtype=np.float32)
    begin, end = np.nan_to_num(onset), np.nan_to_num(offset)
    at = begin[..., None] + share * (end - begin)[..., None]
    low = np.clip(at.astype(np.int64), 0, signal_mv.shape[1] - 2)
    part = at - low
    values = signal_mv[lead, low] * (1 - part) + signal_mv[lead, low + 1] * part
    return np.asarray(values - values[..., :1] * (1 - share) - values[..., -1:] * share)


def _top(height: Array, onset: Array, offset: Array) -> Array:
    """Where `height` (..., place) is largest between onset and offset, between the places too."""
    top = np.clip(height.argmax(axis=-1), 1, _PEAK_GRID - 2)
    left, centre, right = (_picked(height, top + shift) for shift in (-1, 0, 1))
    bend = np.minimum(left - 2 * centre + right, -1e-9)
    place = top + np.clip(0.5 * (left - right) / bend, -0.5, 0.5)
    return np.asarray(onset + place / (_PEAK_GRID - 1) * (offset - onset), dtype=np.float32)
