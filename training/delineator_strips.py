"""What the delineation network learns from: strips with known limits, and how they are altered."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import ndimage

from leadlight.ecg.delineation.delineate import inside_waves
from leadlight.ecg.delineation.fiducials import WAVES
from leadlight.ecg.delineation.ludb import AnnotatedRecord
from leadlight.ecg.delineation.network import RATE_HZ, STEP, DelineationNetwork
from leadlight.ecg.filtering import resample
from leadlight.ecg.formats import find_recordings, read_recording
from leadlight.ecg.leads import LEADS
from leadlight.ecg.quality import excludes, quality_flags
from leadlight.ecg.rpeaks import find_r_peaks
from leadlight.errors import LeadlightError
from leadlight.simulate.population import simulate_recordings

CROP = 3072  # samples of one training strip: 6.1 s
WARP, _WARP_KNOT = 0.1, 96  # spread of the log time scale from place to place; samples apart
HUMP_SHARE = 0.3  # of the strips whose P and T change in size
# Samples about a simulated limit that are not asked for: the simulator puts limits where Gaussians
# have faded, cardiologists elsewhere. It does not say where T begins; from the end of QRS to this
# long before the peak of T nothing is asked for.
_SIMULATED_DOUBT = 20.0
_SIMULATED_T_SURE_S = 0.03
_LONGEST_UNMARKED = 20  # samples beyond the outermost mark of a lead that are still known
_NEAR_R, _ABOUT_R = 75, 250  # samples: a mark of the same beat; what belongs to a beat
_UNMARKED_S = 10.0  # read of an unmarked recording
_TEST_FOLD = 10  # of PTB-XL, for testing only

Array = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Strip:
    """A strip to train on.

    The sums run over samples, so that the share of any stretch of time, however it is warped, is
    a difference of two of their values: element k is the sum up to half a sample before sample k.

    Attributes:
        signal_mv: (lead, sample) at 500 Hz.
        inside: (lead, wave, sample + 1) sum of the time inside a wave, in samples.
        weight: (lead, wave, sample + 1) sum of how much each sample counts.
        humps: (P or T, lead, sample) the wave above the line from its onset to its offset, 0
            elsewhere; None where limits are not known well enough.
    """

    signal_mv: Array
    inside: Array
    weight: Array
    humps: Array | None


def strip_of_annotated(record: AnnotatedRecord) -> Strip:
    """A hand-marked record."""
    signal = record.signal_mv.values.astype(np.float32)
    rows = [
        (lead, wave, onset, offset)
        for lead, name in enumerate(LEADS)
        for wave, wave_name in enumerate(WAVES)
        for onset, _, offset in record.waves[name][wave_name]
    ]
    beats = find_r_peaks(record.signal_mv, record.rate_hz)
    weight = np.zeros((len(LEADS), len(WAVES), signal.shape[1]))
    for lead, name in enumerate(LEADS):
        first, last = record.span[name]
        weight[lead, :, max(first - _LONGEST_UNMARKED, 0) : last + _LONGEST_UNMARKED + 1] = 1
        # Some beats amid the marked ones were passed over: what they hold is not known.
        peaks = record.waves[name]["QRS"][:, 1]
        for r_peak in beats:
            if not peaks.size or np.abs(peaks - r_peak).min() > _NEAR_R:
                weight[lead, :, max(r_peak - _ABOUT_R, 0) : r_peak + _ABOUT_R] = 0
    humps = np.zeros((2, *signal.shape), dtype=np.float32)
    for lead, wave, onset, offset in rows:
        if wave != WAVES.index("QRS"):
            at = slice(int(onset), int(offset) + 1)
            part = signal[lead, at]
            humps[wave // 2, lead, at] = part - np.linspace(part[0], part[-1], part.size)
    return Strip(signal, _sum_inside(rows, signal.shape[1]), _summed(weight), humps)


def _summed(values: npt.NDArray[Any]) -> Array:
    """(..., sample + 1) sum up to each sample."""
    total = np.cumsum(values, axis=-1, dtype=np.float64).astype(np.float32)
    return np.pad(total, [(0, 0)] * (values.ndim - 1) + [(1, 0)])


def _sum_inside(rows: list[tuple[int, int, float, float]], n: int) -> Array:
    """(lead, wave, n + 1) from lead, wave, onset and offset of each wave."""
    edges = np.arange(n + 1) - 0.5
    total = np.zeros((len(LEADS), len(WAVES), n + 1))
    for lead, wave, onset, offset in rows:
        total[lead, wave] += np.clip(edges, onset, offset) - onset
    return total


def simulated_strips(people: int, seed: int) -> list[Strip]:
    """Hearts whose waves are known by construction; their limits only to `_SIMULATED_DOUBT`."""
    strips = []
    for one in simulate_recordings(people, seed=seed, rate_hz=500.0):
        true = one.fiducials
        n = one.recording.n_samples
        if not len(true.qrs_onset_s):
            continue
        rows, unknown = [], []
        for beat in range(len(true.qrs_onset_s)):
            limits = {
                0: (true.p_onset_s[beat], true.p_offset_s[beat]),
                1: (true.qrs_onset_s[beat], true.qrs_offset_s[beat]),
                2: (true.t_peak_s[beat] - _SIMULATED_T_SURE_S, true.t_offset_s[beat]),
            }
            for wave, (onset_s, offset_s) in limits.items():
                if np.isfinite(onset_s):
                    onset, offset = 500.0 * onset_s, 500.0 * offset_s
                    rows.append((wave, onset, offset))
                    before = 500.0 * true.qrs_offset_s[beat] if wave == 2 else onset
                    doubt = _SIMULATED_DOUBT if wave else 0.7 * _SIMULATED_DOUBT
                    unknown.append((wave, before - doubt, onset + doubt))
                    unknown.append((wave, offset - doubt, offset + doubt))
        first = max(int(500.0 * true.qrs_onset_s[0]) - 10, 0)
        last = int(min(500.0 * true.t_offset_s[-1] + 10.0, n - 1.0))
        weight = np.zeros((len(WAVES), n))
        weight[:, first : last + 1] = 1
        for wave, low, high in unknown:
            weight[wave, max(int(low), 0) : max(int(high), 0)] = 0
        one_lead = _sum_inside([(0, *row) for row in rows], n)[:1]
        strips.append(
            Strip(
                one.recording.signal_mv.values.astype(np.float32),
                np.repeat(one_lead, len(LEADS), axis=0),
                np.repeat(_summed(weight)[None], len(LEADS), axis=0),
                None,
            )
        )
    return strips


def unmarked_signals(folders: list[Path]) -> Iterator[Array]:
    """(lead, sample) in mV at 500 Hz of the whole recordings in folders that no one has marked.

    What bad quality excludes from analyses is left out, and so is PTB-XL's test fold: records of a
    folder with `ptbxl_database.csv` by their fold, copies of PTB-XL's records elsewhere ("HR...")
    because their fold is not known there.
    """
    for folder in folders:
        table, test = folder / "ptbxl_database.csv", set()
        if table.exists():
            rows = pl.read_csv(table).filter(pl.col("strat_fold") == _TEST_FOLD)
            test = {Path(name).name for name in rows["filename_hr"]}
        for path in find_recordings(folder):
            if path.stem in test or path.stem.startswith("HR"):
                continue
            try:
                recording = read_recording(path)
            except LeadlightError:
                continue
            if excludes(quality_flags(recording)) or np.isnan(recording.signal_mv.values).any():
                continue
            n = round(_UNMARKED_S * recording.rate_hz)
            signal = recording.signal_mv.isel(sample=slice(0, n))
            signal = resample(signal, recording.rate_hz, RATE_HZ).sel(lead=list(LEADS))
            if signal.sizes["sample"] > CROP:
                yield signal.values.astype(np.float32)


def strip_of_unmarked(signal_mv: Array, teachers: list[DelineationNetwork]) -> Strip:
    """A strip marked by networks: their mean, and the less weight the less they agree.

    Args:
        signal_mv: (lead, sample).
        teachers: folded.
    """
    n = signal_mv.shape[1]
    read = np.stack([inside_waves(signal_mv, list(LEADS), one) for one in teachers])
    inside = np.repeat(read.mean(axis=0), STEP, axis=2)[..., :n]
    weight = np.repeat(1 - 2 * read.std(axis=0), STEP, axis=2)[..., :n]
    return Strip(signal_mv, _summed(inside), _summed(weight), None)


def example(strip: Strip, n_leads: int, rng: np.random.Generator) -> tuple[npt.NDArray[Any], ...]:
    """One altered crop of some leads.

    Gives signal (lead, sample), which lead each is (lead), the share inside each wave (lead, wave,
    step) and its weight. Some leads are passed off as unknown ones. Alters the time scale as a
    whole and from place to place, the size and sign of P and T, gain, polarity, wander, muscle
    noise, mains, bandwidth.
    """
    all_leads, n = strip.signal_mv.shape
    leads = np.sort(rng.permutation(all_leads)[:n_leads])
    source = strip.signal_mv[leads]
    if strip.humps is not None and rng.random() < HUMP_SHARE:
        for hump in strip.humps:
            gain = rng.normal(0, 0.25) + rng.normal(0, 0.35, (n_leads, 1))
            source = source + gain.astype(np.float32) * hump[leads]
    edges = _warped(rng, n)  # half a sample apart: samples between step edges
    signal = _resampled(source, edges[1::2])
    steps = edges[:: 2 * STEP] + 0.5
    width = np.diff(steps).astype(np.float32)
    inside = np.diff(_between(strip.inside[leads], steps)).astype(np.float32) / width
    weight = np.diff(_between(strip.weight[leads], steps)).astype(np.float32) / width

    signal *= np.exp(0.3 * rng.standard_normal((n_leads, 1), dtype=np.float32))
    signal *= np.where(rng.random((n_leads, 1)) < 0.05, -1.0, 1.0).astype(np.float32)
    if rng.random() < 0.1:
        signal = ndimage.gaussian_filter1d(signal, rng.uniform(0.5, 2.5), axis=1)
    _add_noise(rng, signal)
    named = np.where(rng.random(n_leads) < 0.03, all_leads, leads)
    return signal, named, np.clip(inside, 0, 1), weight


def _warped(rng: np.random.Generator, n: int) -> Array:
    """(2 CROP + 1) places in a strip of n samples, half a sample of the crop apart.

    The first is half a sample before the crop's first, the last half a sample after its last.
    """
    knots = rng.normal(rng.normal(0, 0.12), WARP, CROP // _WARP_KNOT + 2)
    rate = np.exp(np.interp(np.arange(2 * CROP) / (2 * _WARP_KNOT), np.arange(knots.size), knots))
    places = np.concatenate([[0.0], np.cumsum(rate) / 2])
    places *= min(1.0, (n - 5) / places[-1])
    return np.asarray(places + rng.uniform(1.5, n - 3 - places[-1]))


def _between(values: Array, at: Array) -> Array:
    """(..., at) by straight lines between (..., place)."""
    low = np.clip(at.astype(np.int64), 0, values.shape[-1] - 2)
    part = at - low
    left = values[..., low]
    return np.asarray(left + part * (values[..., low + 1] - left))


def _resampled(signal: Array, at: Array) -> Array:
    """(lead, len(at)) by cubic interpolation between four samples (Catmull and Rom 1974)."""
    low = np.floor(at).astype(np.int64)
    u = (at - low).astype(np.float32)
    weights = (
        (-u + 2 * u**2 - u**3) / 2,
        (2 - 5 * u**2 + 3 * u**3) / 2,
        (u + 4 * u**2 - 3 * u**3) / 2,
        (u**3 - u**2) / 2,
    )
    total = np.zeros((signal.shape[0], at.size), dtype=np.float32)
    for shift, share in zip((-1, 0, 1, 2), weights, strict=True):
        total += signal[:, low + shift] * share
    return total


def _add_noise(rng: np.random.Generator, signal: Array) -> None:
    """Wander, muscle noise and mains, in mV, onto (lead, sample)."""
    n_leads = signal.shape[0]
    time_s = np.arange(CROP, dtype=np.float32) / np.float32(RATE_HZ)

    def drawn(*shape: int) -> Array:
        return rng.standard_normal(shape, dtype=np.float32)

    def about(size_mv: float, spread: float, *shape: int) -> Array:
        return np.float32(size_mv) * np.exp(np.float32(spread) * drawn(*shape))

    if rng.random() < 0.5:
        size = about(0.04, 0.8, 1, 1)
        for _ in range(3):
            phase = np.float32(2 * np.pi) * (
                np.float32(rng.uniform(0.05, 0.6)) * time_s + np.float32(rng.random())
            )
            signal += size * drawn(n_leads, 1) * np.sin(phase)
    if rng.random() < 0.4:
        signal += about(0.008, 0.8, n_leads, 1) * drawn(*signal.shape)
    if rng.random() < 0.2:
        slow = ndimage.gaussian_filter1d(drawn(*signal.shape), 4.0, axis=1)
        signal += about(0.008, 0.7, 1, 1) * slow / slow.std()
    if rng.random() < 0.1:
        phase = np.float32(2 * np.pi) * (np.float32(rng.choice([50.0, 60.0])) * time_s)
        size = rng.standard_exponential((n_leads, 1), dtype=np.float32)
        signal += np.float32(0.01) * size * np.sin(phase + np.float32(2 * np.pi * rng.random()))
