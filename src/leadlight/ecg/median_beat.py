"""The median beat: one clean beat per record, from the beats of the record's main shape.

Twelve leads × 600 samples at 500 Hz, R at sample 225. Beats of another shape (ectopic) and noisy
ones are left out by correlation, the others are aligned to a fraction of a sample, freed of
baseline wander and averaged with the extremes trimmed. Where the recording obeys the lead algebra
the eight independent leads are averaged and the other four derived, so III = II − I to the bit.

The window spans 450 ms before R and 748 ms after it, so above 80 beats a minute the next QRS lies
in it, and above 130 the one before. They are left as they fall (smeared where the rhythm varies);
`MedianBeat.own` says which samples no other QRS of an averaged beat reaches.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.fft import irfft, rfft, rfftfreq
from scipy.ndimage import uniform_filter1d
from scipy.signal import savgol_filter

from leadlight.ecg.filtering import resample
from leadlight.ecg.leads import DERIVED_FROM_I_II, INDEPENDENT_LEADS, LEADS, as_leads, named_rows
from leadlight.ecg.recording import Recording
from leadlight.ecg.rpeaks import find_r_peaks
from leadlight.errors import LeadlightError

RATE_HZ = 500.0
SAMPLES = 600
R_SAMPLE = 225
# A beat belongs to the main shape where it correlates with its average at least so.
SAME_SHAPE = 0.9
# Share of beats that the average drops at either end, at every sample: chosen by measurement
# (benchmarks/measure.py): a quarter less noise than the median, and one artefact that correlation
# lets through still moves nothing.
TRIM = 0.15
# Samples about another beat's R that are not this beat's own.
NEIGHBOUR = 40

_MARGIN = 20  # 640 = 2^7 · 5 samples for the Fourier shift
_QRS = (-40, 60)  # the stretch about R that says which shape a beat has, in samples
_WIDE = (-125, 225)  # P, QRS and T
_LAGS = 8  # R is looked for again so many samples to either side
# The algebra holds where I, II and a derived lead disagree by less: files round to 5 µV and more.
_ALGEBRA_MV = 0.010
_BLOCK = 20  # samples: wander is looked at in steps of 40 ms
_WANDER_BLOCKS = 51  # cubic fits over 2 s: flat to 0.4 Hz, half gone at 0.7 Hz
_LEVEL = 10  # samples of the quiet stretch that is zero millivolt

Array = npt.NDArray[np.floating]


@dataclass(frozen=True)
class MedianBeat:
    """One beat for a whole record.

    Attributes:
        beat_mv: (lead, sample) float32 in millivolt, all of LEADS × 600 at 500 Hz, R at sample 225;
            zero is the quiet stretch before the QRS. A lead without signal is NaN.
        n_beats: beats that were averaged (0 where a cart did it and does not say).
        n_found: beats that were found.
        used: (beat,) which of them were averaged.
        r_samples: (beat,) where R at sample 225 lies in the strip for each beat that was averaged,
            in fractional samples at the strip's rate; NaN for the others.
        noise_uv: (lead,) standard error of the average in µV, the root mean square over `own`;
            NaN with one beat, and for leads without signal.
        own: first and last-plus-one sample that no neighbouring QRS reaches.
        source: "strip" or "cart".
        other_shape_share: of the beats that the strip holds whole, how many have a QRS of another
            shape than the main one: ectopic or aberrant beats, now and then an artefact; NaN where
            unknown.
    """

    beat_mv: xr.DataArray
    n_beats: int
    n_found: int
    used: npt.NDArray[np.bool_]
    r_samples: npt.NDArray[np.float64]
    noise_uv: xr.DataArray
    own: tuple[int, int]
    source: str = "strip"
    other_shape_share: float = float("nan")


def median_beat(
    signal_mv: xr.DataArray, rate_hz: float, r_peaks: npt.NDArray[np.int64] | None = None
) -> MedianBeat:
    """The median beat of a strip.

    1. Beats are grouped by the correlation of their QRS over all leads (two beats of one shape:
       0.9² = 0.81); the largest group is the main shape. Where another has at least 70 % of its
       size, as in bigeminy, the one whose beats come later after the beat before them wins: early
       beats are ectopic.
    2. Each beat is aligned to the group's average: the peak of the cross-correlation between
       samples, by a parabola; R is the largest QRS vector of that average.
    3. Wander is what slow cubic fits (2 s) see after the beats are subtracted, so neither the ST
       segment nor slow rhythms are bent, as they are by a high-pass filter.
    4. Beats that correlate with the average of P, QRS and T by less than 0.9 are left out; where
       fewer than three would stay, the best three do.
    5. At every sample the mean without the `TRIM` highest and lowest of the beats; beats are
       shifted by a linear phase.

    Args:
        signal_mv: (lead, sample) millivolt with all of LEADS; NaN where there is no value.
        rate_hz: its samples per second.
        r_peaks: (beat) R in samples; found where None.

    Raises:
        LeadlightError: there is no beat, or none with its QRS whole inside the strip.
    """
    if r_peaks is None:
        r_peaks = find_r_peaks(signal_mv, rate_hz)
    at_rate = signal_mv if rate_hz == RATE_HZ else resample(signal_mv, rate_hz, RATE_HZ)
    leads, values = _independent(at_rate)
    peaks = np.rint(np.asarray(r_peaks) * RATE_HZ / rate_hz).astype(np.int64)
    inside = (peaks + _QRS[0] - _LAGS >= 0) & (peaks + _QRS[1] + _LAGS < values.shape[1])
    if not inside.any() or not leads:
        raise LeadlightError(
            "The strip holds no whole beat.", advice="A median beat needs at least one QRS."
        )
    whole = np.flatnonzero(inside)
    smooth = uniform_filter1d(values, 5, axis=1, mode="nearest")
    windows = _windows(smooth, peaks[whole], _QRS[0] - _LAGS, _QRS[1] + _LAGS + 1)
    members = _main_shape(windows[:, :, _LAGS:-_LAGS], np.diff(peaks, prepend=peaks[0])[whole])
    lags = _lags(windows[members])
    chosen = whole[members]
    exact = peaks[chosen] + lags
    exact += _r_of_average(_windows_at(smooth, exact, -50, 50))

    chosen, exact = _prefer_complete(chosen, exact, values.shape[1])
    values = values - _wander(values, peaks, chosen, exact)
    beats = _windows_at(values, exact, -R_SAMPLE, SAMPLES - R_SAMPLE)
    own = _own(peaks, chosen)
    kept = _resembling(beats, own)
    beats, chosen, exact = beats[kept], chosen[kept], exact[kept]
    average = _trimmed_mean(beats)
    average -= _level(average)[:, None]
    used = np.zeros(len(peaks), dtype=np.bool_)
    used[chosen] = True
    r_samples = np.full(len(peaks), np.nan)
    r_samples[chosen] = exact * rate_hz / RATE_HZ
    return MedianBeat(
        beat_mv=_twelve(average, leads),
        n_beats=len(chosen),
        n_found=len(peaks),
        used=used,
        r_samples=r_samples,
        noise_uv=_noise(beats, leads, own),
        own=own,
        other_shape_share=1 - len(members) / len(whole),
    )


def cart_median_beat(recording: Recording, own: MedianBeat | None = None) -> MedianBeat:
    """The cart's own median beat, at our rate and with R at our sample.

    Its R is mapped, not assumed: to where it fits `own` (the median beat of the same strip) best,
    or without one to its largest QRS vector. The few samples that the shift asks for beyond the
    cart's window repeat its last value. Samples are otherwise the cart's.

    Raises:
        LeadlightError: the recording has none, or no QRS is found in it.
    """
    beat, rate_hz = recording.median_beat_mv, recording.median_beat_rate_hz
    if beat is None or not rate_hz:
        raise LeadlightError(
            f"{recording.record_id} holds no median beat of a cart.",
            advice="Make one from its strip: leadlight.ecg.median_beat.median_beat.",
        )
    at_rate = resample(beat, rate_hz, RATE_HZ).sel(lead=list(LEADS))
    r_sample = _r_of_cart(at_rate, own)
    values = np.nan_to_num(at_rate.transpose("lead", "sample").values.astype(np.float64))
    shifted = _windows_at(values, np.array([r_sample]), -R_SAMPLE, SAMPLES - R_SAMPLE)[0]
    shifted[np.isnan(at_rate.values).all(axis=1)] = np.nan
    noise = xr.DataArray(np.full(len(LEADS), np.nan), dims="lead", coords={"lead": list(LEADS)})
    return MedianBeat(
        beat_mv=as_leads(shifted.astype(np.float32)),
        n_beats=int(recording.cart_measurements.get("n_beats", 0)),
        n_found=int(recording.cart_measurements.get("n_beats", 0)),
        used=np.zeros(0, dtype=np.bool_),
        r_samples=np.zeros(0),
        noise_uv=noise,
        own=(0, SAMPLES) if own is None else own.own,
        source="cart",
        other_shape_share=float("nan") if own is None else own.other_shape_share,
    )


def cart_sample(recording: Recording, own: MedianBeat, ms: float) -> float:
    """The sample of `cart_median_beat` that lies `ms` from the start of the cart's own beat."""
    assert recording.median_beat_mv is not None
    assert recording.median_beat_rate_hz
    at_rate = resample(recording.median_beat_mv, recording.median_beat_rate_hz, RATE_HZ)
    return ms / 1000 * RATE_HZ - _r_of_cart(at_rate.sel(lead=list(LEADS)), own) + R_SAMPLE


def _independent(signal_mv: xr.DataArray) -> tuple[list[str], Array]:
    """The leads to average: the independent ones where the algebra holds, else all with signal."""
    rows = dict(zip(*named_rows(signal_mv), strict=True))
    present = [lead for lead in LEADS if lead in rows and np.isfinite(rows[lead]).any()]
    if {"I", "II"} <= set(present):
        derived = [lead for lead in DERIVED_FROM_I_II if lead in present]
        some = {lead: rows[lead][::4] for lead in ("I", "II", *derived)}
        errors = [
            _mean_size(some[lead] - (a * some["I"] + b * some["II"]))
            for lead in derived
            for a, b in [DERIVED_FROM_I_II[lead]]
        ]
        if all(error < _ALGEBRA_MV for error in errors):
            present = [lead for lead in INDEPENDENT_LEADS if lead in present]
    if not present:
        return [], np.zeros((0, signal_mv.sizes["sample"]))
    values = np.stack([rows[lead] for lead in present]).astype(np.float32)
    for row in np.flatnonzero(~np.isfinite(values).all(axis=1)):
        gap = ~np.isfinite(values[row])
        known = values[row, ~gap]
        values[row, gap] = np.interp(np.flatnonzero(gap), np.flatnonzero(~gap), known)
    values -= np.median(values[:, ::8], axis=1, keepdims=True)
    return present, values


def _mean_size(errors: Array) -> float:
    """Mean of the absolute values that are there; NaN where none is."""
    size = np.abs(errors)
    mean = float(size.mean())
    known = size[np.isfinite(size)] if np.isnan(mean) else size
    return float(known.mean()) if known.size else float("nan")


def _windows(values: Array, peaks: npt.NDArray[np.int64], start: int, stop: int) -> Array:
    """(beat, lead, sample) about whole samples; beyond the strip its end values go on."""
    at = np.clip(peaks[:, None] + np.arange(start, stop), 0, values.shape[1] - 1)
    return np.ascontiguousarray(values[:, at].transpose(1, 0, 2))


def _windows_at(values: Array, at: Array, start: int, stop: int) -> Array:
    """(beat, lead, sample) about fractional samples `at`, shifted by a linear phase."""
    whole = np.floor(at).astype(np.int64)
    windows = _windows(values, whole, start - _MARGIN, stop + _MARGIN)
    n = windows.shape[2]
    # Without the line through its ends the window has no step where the transform joins them.
    first, last = windows[:, :, :1], windows[:, :, -1:]
    slope = (last - first) / (n - 1)
    line = first + slope * np.arange(n, dtype=values.dtype)
    fraction = (at - whole)[:, None, None].astype(values.dtype)
    phase = np.exp(2j * np.pi * rfftfreq(n).astype(values.dtype) * fraction)
    shifted = irfft(rfft(windows - line, axis=2) * phase, n=n, axis=2) + line + slope * fraction
    return np.asarray(shifted[:, :, _MARGIN:-_MARGIN], dtype=values.dtype)


def _unit(windows: Array) -> Array:
    """(beat, lead · sample) without each lead's mean, of length one."""
    flat = (windows - windows.mean(axis=2, keepdims=True)).reshape(len(windows), -1)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12))


def _main_shape(qrs: Array, before: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The beats of the main shape; `before`: samples since the beat before each."""
    unit = _unit(qrs)
    alike = unit @ unit.T
    same = alike >= SAME_SHAPE**2
    groups: list[npt.NDArray[np.int64]] = []
    free = np.ones(len(qrs), dtype=bool)
    while free.any():
        neighbours = same & free
        score = np.where(free, neighbours.sum(axis=1) + alike.mean(axis=1), -np.inf)
        group = np.flatnonzero(neighbours[int(np.argmax(score))])
        groups.append(group)
        free[group] = False
    largest = max(len(group) for group in groups)
    rivals = [group for group in groups if len(group) >= 0.7 * largest]
    return max(rivals, key=lambda group: (float(np.median(before[group])), len(group)))


def _lags(windows: Array) -> Array:
    """(beat) how much later than given each beat fits the average best, in fractions of a sample.

    windows: (beat, lead, sample) with `_LAGS` samples more at either end than the average has.
    """
    windows = (windows - windows.mean(axis=2, keepdims=True)).astype(np.float64)
    n_lags = 2 * _LAGS + 1
    length = windows.shape[2] - 2 * _LAGS
    slid = np.lib.stride_tricks.sliding_window_view(windows, length, axis=2)
    sums, squares = _moving_sum(windows, length), _moving_sum(windows**2, length)
    energy = (squares - sums**2 / length).sum(axis=1)  # (beat, lag)
    lags = np.zeros(len(windows))
    template = windows[:, :, _LAGS:-_LAGS].mean(axis=0)
    rows = slid.transpose(0, 2, 1, 3).reshape(len(windows), n_lags, -1)
    for _ in range(2):
        template = template - template.mean(axis=1, keepdims=True)
        fit = rows @ template.ravel() / np.sqrt(np.maximum(energy, 1e-12))
        best = np.clip(np.argmax(fit, axis=1), 1, n_lags - 2)
        beat = np.arange(len(windows))
        left, middle, right = fit[beat, best - 1], fit[beat, best], fit[beat, best + 1]
        bend = left - 2 * middle + right
        part = np.where(bend < 0, 0.5 * (left - right) / np.where(bend < 0, bend, -1.0), 0.0)
        lags = best - _LAGS + np.clip(part, -0.5, 0.5)
        template = slid[beat, :, best].mean(axis=0)
    return np.asarray(lags - np.median(lags))


def _moving_sum(values: Array, length: int) -> Array:
    """The sums of `length` neighbours along the last axis."""
    total = np.cumsum(values, axis=-1)
    total = np.concatenate([np.zeros_like(total[..., :1]), total], axis=-1)
    return np.asarray(total[..., length:] - total[..., :-length])


def _r_of_average(qrs: Array) -> float:
    """Where the largest vector of the average lies, from the middle of (beat, lead, sample)."""
    average = np.median(qrs, axis=0)
    average = average - average[:, :10].mean(axis=1, keepdims=True)
    size = np.sqrt((average**2).sum(axis=0))
    peak = int(np.clip(np.argmax(size), 1, len(size) - 2))
    left, middle, right = size[peak - 1 : peak + 2]
    bend = left - 2 * middle + right
    part = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return float(peak + np.clip(part, -0.5, 0.5) - qrs.shape[2] // 2)


def _prefer_complete(
    chosen: npt.NDArray[np.int64], exact: Array, n: int
) -> tuple[npt.NDArray[np.int64], Array]:
    """Without the beats that the strip cuts, where three or more are whole."""
    whole = (exact - R_SAMPLE >= 0) & (exact + SAMPLES - R_SAMPLE < n)
    return (chosen[whole], exact[whole]) if whole.sum() >= 3 else (chosen, exact)


def _wander(
    values: Array, peaks: npt.NDArray[np.int64], chosen: npt.NDArray[np.int64], exact: Array
) -> Array:
    """(lead, sample) baseline wander: what is slow after the beats are taken away."""
    n = values.shape[1]
    if n < _BLOCK * (_WANDER_BLOCKS + 1):
        return np.median(values, axis=1, keepdims=True)
    beats = _windows(values, np.rint(exact).astype(np.int64), -R_SAMPLE, SAMPLES - R_SAMPLE)
    template = beats.mean(axis=0)
    template -= template.mean(axis=1, keepdims=True)
    # Every sample belongs to the beat before it until some 300 ms before the next R.
    changes = peaks[1:] - np.minimum(150, np.diff(peaks) // 2)
    of_beat = np.searchsorted(changes, np.arange(n), side="right")
    at = np.clip(np.arange(n) - peaks[of_beat] + R_SAMPLE, 0, SAMPLES - 1)
    residual = values - template[:, at]
    blocks = n // _BLOCK
    slow = residual[:, : blocks * _BLOCK].reshape(len(values), blocks, _BLOCK).mean(axis=2)
    # A beat of another shape is no wander: its stretch is bridged.
    other = np.setdiff1d(np.arange(len(peaks)), chosen)
    known = ~np.isin(of_beat, other)[: blocks * _BLOCK].reshape(blocks, _BLOCK).any(axis=1)
    known |= not known.any()
    centres = np.arange(blocks)
    if not known.all():
        slow = np.stack([np.interp(centres, centres[known], row[known]) for row in slow])
    slow = slow @ _cubic_fits(blocks, slow.dtype.char)
    # Straight lines between the blocks' middles; beyond the first and last they are held.
    padded = np.concatenate([slow[:, :1], slow, slow[:, -1:], slow[:, -1:]], axis=1)
    share = ((np.arange(_BLOCK) + 0.5) / _BLOCK).astype(values.dtype)
    padded = padded.astype(values.dtype)
    lines = padded[:, :-1, None] + np.diff(padded, axis=1)[:, :, None] * share
    start = _BLOCK // 2
    return lines.reshape(len(values), -1)[:, start : start + n]


@lru_cache(maxsize=16)  # by the strip's length: designing it takes longer than using it
def _cubic_fits(blocks: int, dtype: str) -> Array:
    """(block, block) what multiplied from the right gives each row's slow cubic fits."""
    fits = savgol_filter(np.eye(blocks), _WANDER_BLOCKS, 3, axis=0, mode="interp")
    return np.asarray(fits.T, dtype=dtype)


def _own(peaks: npt.NDArray[np.int64], chosen: npt.NDArray[np.int64]) -> tuple[int, int]:
    after = [peaks[beat + 1] - peaks[beat] for beat in chosen if beat + 1 < len(peaks)]
    before = [peaks[beat] - peaks[beat - 1] for beat in chosen if beat > 0]
    stop = min(SAMPLES, R_SAMPLE + min(after, default=SAMPLES) - NEIGHBOUR)
    start = max(0, R_SAMPLE - min(before, default=SAMPLES) + NEIGHBOUR)
    return int(min(start, R_SAMPLE - 1)), int(max(stop, R_SAMPLE + 1))


def _resembling(beats: Array, own: tuple[int, int]) -> npt.NDArray[np.int64]:
    """Which beats look like the average; the three best where fewer do."""
    window = slice(max(own[0], R_SAMPLE + _WIDE[0]), min(own[1], R_SAMPLE + _WIDE[1]))
    part = beats[:, :, window]
    alike = (_unit(part) @ _unit(np.median(part, axis=0, keepdims=True)).T)[:, 0]
    good = np.flatnonzero(alike >= SAME_SHAPE)
    if len(good) < 3:
        good = np.sort(np.argsort(-alike, kind="stable")[:3])
    return good


def _trimmed_mean(beats: Array) -> Array:
    """(lead, sample) the mean over the middle of the beats at every sample."""
    cut = int(TRIM * len(beats))
    if cut == 0:
        return np.asarray(beats.mean(axis=0))
    if len(beats) - 2 * cut <= 2:
        return np.asarray(np.median(beats, axis=0))
    return np.asarray(np.sort(beats, axis=0)[cut:-cut].mean(axis=0))


def _level(average: Array) -> Array:
    """(lead) the level of the quietest 20 ms between 140 and 24 ms before R, later ones first."""
    speed = np.sqrt((np.diff(average, axis=1) ** 2).sum(axis=0))
    first, last = R_SAMPLE - 70, R_SAMPLE - 12
    moving = uniform_filter1d(speed, _LEVEL)[first + _LEVEL // 2 : last - _LEVEL // 2]
    distance = np.arange(len(moving))[::-1] / len(moving)
    centre = first + _LEVEL // 2 + int(np.argmin(moving * (1 + 0.5 * distance)))
    return np.asarray(average[:, centre - _LEVEL // 2 : centre + _LEVEL // 2].mean(axis=1))


def _noise(beats: Array, leads: list[str], own: tuple[int, int]) -> xr.DataArray:
    """(lead,) the standard error; of derived leads by the covariance of I and II."""
    noise = np.full(len(LEADS), np.nan)
    if len(beats) > 1:
        apart = beats[:, :, own[0] : own[1]]
        apart = apart - apart.mean(axis=0)
        per_sample = 1.0 / ((len(beats) - 1) * apart.shape[2])
        variances = np.einsum("bls,bls->l", apart, apart) * per_sample
        by_lead = dict(zip(leads, variances.tolist(), strict=True))
        if {"I", "II"} <= set(leads):
            one, two = apart[:, leads.index("I")], apart[:, leads.index("II")]
            both = float(np.vdot(one, two)) * per_sample
            for lead, (a, b) in DERIVED_FROM_I_II.items():
                variance = a * a * by_lead["I"] + b * b * by_lead["II"] + 2 * a * b * both
                by_lead.setdefault(lead, max(variance, 0.0))
        for lead, variance in by_lead.items():
            noise[LEADS.index(lead)] = 1e3 * np.sqrt(variance / len(beats))
    return as_leads(noise[:, None])[:, 0]


def _twelve(average: Array, leads: list[str]) -> xr.DataArray:
    rows = dict(zip(leads, average.astype(np.float32), strict=True))
    if {"I", "II"} <= set(rows):
        for lead, (of_one, of_two) in DERIVED_FROM_I_II.items():
            if lead not in rows:
                both = np.float32(of_one) * rows["I"] + np.float32(of_two) * rows["II"]
                rows[lead] = both.astype(np.float32)
    empty = np.full(SAMPLES, np.nan, dtype=np.float32)
    values = np.stack([rows.get(lead, empty) for lead in LEADS])
    return as_leads(values)


def _r_of_cart(beat_mv: xr.DataArray, own: MedianBeat | None) -> float:
    """Our R reference on a cart's beat at RATE_HZ, in its samples."""
    peaks = find_r_peaks(beat_mv, RATE_HZ)
    values = np.nan_to_num(beat_mv.transpose("lead", "sample").values.astype(np.float64))
    if not len(peaks):
        raise LeadlightError(
            "The cart's median beat holds no QRS.", advice="Make one from the strip instead."
        )
    # The main beat; at high rates the window holds the one before or after as well.
    peak = int(peaks[np.argmin(np.abs(peaks - R_SAMPLE))])
    if own is None:
        return peak + _r_of_average(_windows(values, np.array([peak]), -50, 50))
    ours = np.nan_to_num(own.beat_mv.values.astype(np.float64))
    reach = np.arange(-15, 15.01, 0.25)
    part = slice(R_SAMPLE + _QRS[0], R_SAMPLE + _QRS[1])
    template = _unit(ours[None, :, part])[0]
    tried = _windows_at(values, peak + reach, *_QRS)
    return float(peak + reach[int(np.argmax(_unit(tried) @ template))])
