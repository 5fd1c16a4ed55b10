"""Fit the simulator's hearts to real ECGs: python training/fit_hearts.py --study STUDY

STUDY is an imported and labelled PTB-XL (leadlight import). For every record of folds 1 to 8 the
median beat is written as events (`leadlight.simulate.waves`) by ridge least squares; over people
the events' strengths, voltages and intervals have a mean given sex and age, and a covariance, of
which the leading components are kept. Two groups: records labelled NORM, and the others with a P
wave and a narrow QRS. Only these summaries are written, to src/leadlight/simulate/fitted/.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from leadlight.atomic import written_whole
from leadlight.cohort.store import open_cohort
from leadlight.ecg.intervals import limit_samples
from leadlight.ecg.leads import INDEPENDENT_LEADS
from leadlight.ecg.measurements import MeasuredRecording, measure_recording
from leadlight.ecg.median_beat import RATE_HZ
from leadlight.ecg.recording import Recording
from leadlight.errors import LeadlightError
from leadlight.progress import track
from leadlight.simulate import waves
from leadlight.simulate.fitted import BLOCKS, FITTED, INTERVALS
from leadlight.simulate.noise import FITTED_NOISE

Array = npt.NDArray[np.float64]

FIT_FOLDS = range(1, 9)
COMPONENTS = {"normal": 64, "patients": 48}
RIDGE = 0.02
# Keeps noise of P, its recovery, QRS, T and U from passing as detail; none in QRS.
BENDS = [0.3, 0.0, 0.01, 0.3, 1.0]
# What the covariance's components should care about: the blocks' sizes differ by more.
BLOCK_WEIGHT = {"P": 0.8, "QRS": 1.6, "T": 1.2, "U": 0.35}
QUANTILES = np.concatenate([[0.005], np.linspace(0.025, 0.975, 39), [0.995]])
KNOTS_HZ = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 100.0, 150.0, 220.0)
_STORED_PSD = 0.005**2 / 12 / 250  # mV²/Hz: PTB-XL's recorder rounds to 5 µV
_LIKE_NORMAL_MS = 118.0
_NOISIEST_UV = 25.0


@dataclass(frozen=True)
class FittedBeat:
    """One real median beat as events.

    Attributes:
        intervals: (interval of INTERVALS).
        strengths: block → (event, lead of INDEPENDENT_LEADS) in mV.
        misfit_uv: root mean square of what the events do not explain from P onset to T end.
    """

    intervals: Array
    strengths: dict[str, Array]
    misfit_uv: float


def fit_beat(beat_mv: Array, limits: dict[tuple[str, str], float], rate_bpm: float) -> FittedBeat:
    """Write one median beat as events.

    Args:
        beat_mv: (lead of INDEPENDENT_LEADS, sample) at 500 Hz.
        limits: (wave, point) → sample of the beat.
        rate_bpm: the record's heart rate.
    """
    ms = 1e3 / RATE_HZ
    p_on, p_off = limits["P", "onset"], limits["P", "offset"]
    q_on, q_off = limits["QRS", "onset"], limits["QRS", "offset"]
    t_off = limits["T", "offset"]
    next_p = q_on + 60.0 / rate_bpm * RATE_HZ - (q_on - p_on) - 10
    last = int(min(t_off + 110, next_p, beat_mv.shape[1] - 1))
    level = _baseline(beat_mv, p_on, t_off, last)
    signal = beat_mv - level
    at = np.arange(beat_mv.shape[1])
    design = np.concatenate(
        [
            waves.events(waves.P_SPAN, waves.P_EVENTS, (at - p_on) / (p_off - p_on)),
            waves.atrial_recovery((at - p_on) / (p_off - p_on))[None],
            waves.events(waves.QRS_SPAN, waves.QRS_EVENTS, (at - q_on) / (q_off - q_on)),
            waves.events(waves.T_SPAN, waves.T_EVENTS, (at - q_off) / (t_off - q_off)),
            waves.events(waves.U_SPAN, waves.U_EVENTS, (at - q_off) / (t_off - q_off)),
        ]
    )
    first = max(0, int(p_on - 0.1 * (p_off - p_on)))
    inside = slice(first, last)
    part, wanted = design[:, inside], signal[:, inside]
    gram = part @ part.T + RIDGE * np.eye(len(part))
    gram += _roughness([waves.P_EVENTS, 1, waves.QRS_EVENTS, waves.T_EVENTS, waves.U_EVENTS], BENDS)
    found = np.linalg.solve(gram, part @ wanted.T)
    misfit = wanted.T - part.T @ found
    cuts = np.cumsum([waves.P_EVENTS + 1, waves.QRS_EVENTS, waves.T_EVENTS])
    strengths = dict(zip(BLOCKS, np.split(found, cuts), strict=True))
    rr_s = 60.0 / rate_bpm
    intervals = np.array(
        [
            np.log(rate_bpm),
            (p_off - p_on) * ms,
            (q_on - p_off) * ms,
            (q_off - q_on) * ms,
            (t_off - q_on) * ms / rr_s ** (1 / 3),
        ]
    )
    return FittedBeat(intervals, strengths, 1e3 * float(np.sqrt((misfit**2).mean())))


def _baseline(beat_mv: Array, p_on: float, t_off: float, last: int) -> Array:
    """(lead, sample) a line through the quiet stretches before P and after T."""
    at = np.arange(beat_mv.shape[1])
    before = (max(0, int(p_on) - 22), max(4, int(p_on) - 4))
    after = (max(int(t_off) + 8, last - 25), max(last, int(t_off) + 20))
    knots = [sum(before) / 2, sum(after) / 2]
    levels = np.array([beat_mv[:, a:b].mean(axis=1) for a, b in (before, after)])
    return np.stack([np.interp(at, knots, levels[:, lead]) for lead in range(len(beat_mv))])


def _roughness(blocks: list[int], weights: list[float]) -> Array:
    """(event, event) what bends between neighbouring events of a block cost."""
    total = sum(blocks)
    cost, first = np.zeros((total, total)), 0
    for count, weight in zip(blocks, weights, strict=True):
        bend = np.diff(np.eye(count), n=2, axis=0)
        cost[first : first + count, first : first + count] = weight * bend.T @ bend
        first += count
    return cost


def summary(beats: list[FittedBeat], male: Array, age: Array, components: int) -> dict[str, object]:
    """Mean given sex and age, quantiles and components of a group of people."""
    sizes = {
        b: np.array([_size(one.strengths[b][: -1 if b == "P" else None]) for one in beats])
        for b in BLOCKS
    }
    intervals = np.array([one.intervals for one in beats])
    covariates = np.stack([np.ones(len(beats)), male - 0.5, (age - 60.0) / 15.0], axis=1)
    columns = [_normal_scores(_residual(covariates, intervals))]
    scales = [np.ones(len(INTERVALS))]
    voltage = np.log(np.stack([sizes[b] for b in BLOCKS[:3]], axis=1))
    columns.append(voltage)
    scales.append(1.0 / _residual(covariates, voltage).std(axis=0))
    for block in BLOCKS:
        of = "T" if block == "U" else block
        shape = np.stack([one.strengths[block] for one in beats]) / sizes[of][:, None, None]
        flat = shape.reshape(len(beats), -1)
        columns.append(flat)
        spread = np.sqrt((_residual(covariates, flat).std(axis=0) ** 2).mean())
        # The whole block weighs like a few intervals.
        weight = BLOCK_WEIGHT[block] * np.sqrt(24.0 / flat.shape[1]) / spread
        scales.append(np.full(flat.shape[1], weight))
    everything, scale = np.concatenate(columns, axis=1), np.concatenate(scales)
    on_covariates = np.linalg.lstsq(covariates, everything, rcond=None)[0]
    residual = (everything - covariates @ on_covariates) * scale
    degrees = len(beats) - covariates.shape[1]
    _, singular, right = np.linalg.svd(residual, full_matrices=False)
    spread = singular / np.sqrt(degrees)
    kept = min(components, len(spread))
    loadings = (right[:kept] * spread[:kept, None]) / scale
    rest = (residual / scale).var(axis=0) * len(beats) / degrees - (loadings**2).sum(axis=0)
    # Intervals and voltages keep their whole spread: what the components leave is added back.
    lead_in = len(INTERVALS) + 3
    loadings[:, :lead_in] *= np.sqrt(
        1 + np.maximum(rest[:lead_in], 0) / (loadings[:, :lead_in] ** 2).sum(axis=0)
    )
    by_covariate = np.linalg.lstsq(covariates, intervals, rcond=None)[0]
    left = intervals - covariates @ by_covariate
    print(
        f"  {len(beats)} people, {kept} components hold "
        f"{(spread[:kept] ** 2).sum() / (spread**2).sum():.3f} of the weighted variance; "
        f"misfit of the events {np.median([b.misfit_uv for b in beats]):.1f} µV (median)"
    )
    return {
        "people": len(beats),
        "interval_on_covariates": _short(by_covariate),
        "interval_quantiles": _short(np.quantile(left, QUANTILES, axis=0)),
        "mean_on_covariates": _short(on_covariates),
        "loadings": _short(loadings),
    }


def _size(strengths: Array) -> float:
    return float(np.sqrt((strengths**2).mean()))


def _residual(covariates: Array, values: Array) -> Array:
    return np.asarray(values - covariates @ np.linalg.lstsq(covariates, values, rcond=None)[0])


def _normal_scores(values: Array) -> Array:
    from scipy.stats import norm, rankdata

    return np.asarray(norm.ppf((rankdata(values, axis=0) - 0.5) / len(values)))


def _short(values: Array) -> list[object]:
    return list(
        np.vectorize(lambda x: float(f"{x:.3g}") if abs(x) < 1 else float(f"{x:.5g}"))(
            values
        ).tolist()
    )


def noise_levels(recording: Recording, found: MeasuredRecording) -> Array | None:
    """(lead of INDEPENDENT_LEADS, knot of KNOTS_HZ) log PSD of what the median beat leaves over.

    Samples about the QRS are left out, where misalignment passes for noise. None where too little
    is left.
    """
    signal = recording.signal_mv.sel(lead=list(INDEPENDENT_LEADS)).values.astype(float)
    beat = found.beat.beat_mv.sel(lead=list(INDEPENDENT_LEADS)).values
    peaks = np.where(
        np.isfinite(found.beat.r_samples), found.beat.r_samples, found.fiducials.r_peaks
    )
    at, rate = np.arange(signal.shape[1]), recording.rate_hz
    model = np.full(signal.shape, np.nan)
    for k, peak in enumerate(peaks):
        stop = peaks[k + 1] - 130 if k + 1 < len(peaks) else np.inf
        inside = (at >= peak - 130) & (at < min(stop, peak + 370))
        for lead in range(len(signal)):
            model[lead, inside] = np.interp(at[inside] - peak + 225, np.arange(600), beat[lead])
    known = np.isfinite(model[0])
    for peak in peaks:
        known &= (at < peak - 35) | (at > peak + 45)
    if known.sum() < 1500:
        return None
    first, last = np.flatnonzero(known)[[0, -1]]
    rest = np.stack([np.interp(at, at[known], row[known]) for row in signal - np.nan_to_num(model)])
    rest, known = rest[:, first:last], known[first:last]
    slow_hz, slow = _periodogram((rest - rest.mean(axis=1, keepdims=True))[None], rate)
    length = 128
    starts = [s for s in range(0, len(known) - length, 32) if known[s : s + length].all()]
    if len(starts) < 6:
        return None
    windows = np.stack([rest[:, s : s + length] for s in starts])
    line = np.linspace(-1, 1, length)
    windows = windows - windows.mean(axis=2, keepdims=True)
    windows = windows - (windows @ line)[..., None] / (line @ line) * line
    fast_hz, fast = _periodogram(windows, rate)
    levels = np.empty((len(rest), len(KNOTS_HZ)))
    for knot, hz in enumerate(KNOTS_HZ):
        frequency, power, wide = (slow_hz, slow, 1.4) if hz < 6 else (fast_hz, fast, 1.25)
        band = (frequency >= hz / wide) & (frequency <= hz * wide)
        # The median over windows: bursts are drawn apart.
        levels[:, knot] = np.log(np.median(power[:, :, band].mean(axis=2), axis=0) + 1e-12)
    return levels


def _periodogram(windows: Array, rate_hz: float) -> tuple[Array, Array]:
    taper = np.hanning(windows.shape[2])
    power = 2 * np.abs(np.fft.rfft(windows * taper, axis=2)) ** 2 / (rate_hz * (taper**2).sum())
    return np.fft.rfftfreq(windows.shape[2], 1 / rate_hz), power


def noise_summary(levels: Array) -> dict[str, object]:
    """What the electrodes' noise has to be for the leads' to be as `levels` (record, lead, knot).

    Leads are differences of electrodes, so powers add. The electrodes' means, and the share of the
    spread inside a recording that is theirs, are found by simulating leads and correcting. What
    rounding adds is taken off first: the simulated recorder does that itself.
    """
    levels = np.log(np.maximum(np.exp(levels) - _STORED_PSD, 0.3 * np.exp(levels)))
    mean = levels.mean(axis=0)
    of_record = levels.mean(axis=1)
    inside = (levels - of_record[:, None] - (mean - mean.mean(axis=0))).reshape(-1, len(KNOTS_HZ))
    within = np.cov(inside.T)
    between = np.cov(of_record.T) - within / levels.shape[1]
    values, vectors = np.linalg.eigh(between)
    between = (vectors * np.maximum(values, 1e-3)) @ vectors.T
    electrodes = np.concatenate(
        [np.tile(mean[0] - np.log(2), (2, 1)), mean[1:2] - np.log(2), mean[2:] - np.log(2)]
    )
    share = 1.0
    normal = np.random.default_rng(0).standard_normal((600, len(electrodes) + 1, len(KNOTS_HZ)))
    for _ in range(25):
        own = share * normal[:, 1:] @ np.linalg.cholesky(within).T
        shift = normal[:, :1] @ np.linalg.cholesky(between).T
        power = np.exp(electrodes + own + shift)
        limb = power[:, :3]
        leads = np.log(
            np.concatenate(
                [
                    limb[:, :1] + limb[:, 1:2],
                    limb[:, :1] + limb[:, 2:],
                    power[:, 3:] + limb.sum(axis=1, keepdims=True) / 9,
                ],
                axis=1,
            )
        )
        missing = mean - leads.mean(axis=0)
        electrodes[:2] += 0.7 * missing[0]
        electrodes[2] += 0.7 * missing[1]
        electrodes[3:] += 0.7 * missing[2:]
        electrodes = np.maximum(electrodes, mean.min(axis=0) - 3.0)
        centred = leads - leads.mean(axis=0)
        made = centred - centred.mean(axis=1, keepdims=True)
        share *= float(np.sqrt(inside.std() / made.std())) if made.std() else 1.0
    print(f"noise: {len(levels)} records, electrodes' share of the spread {share:.2f}, "
          f"means missed by at most {np.abs(missing).max():.2f} (log PSD)")  # fmt: skip
    return {
        "knots_hz": list(KNOTS_HZ),
        "electrode_log_psd": _short(electrodes),
        "between_recordings": _short(between),
        "between_electrodes": _short(share**2 * within),
    }


def real_beats(study: Path) -> tuple[list[tuple[FittedBeat, bool, bool, float]], Array]:
    """(beat, is NORM, is male, age) of every usable record, and the normals' noise levels."""
    cohort = open_cohort(study)
    rows, noise = [], []
    for row in track(range(len(cohort)), "Writing real beats as events"):
        about = cohort.records.row(row, named=True)
        if (
            about["fold"] not in FIT_FOLDS
            or about["labels"] is None
            or about["sex"] not in ("F", "M")
            or about["flags"]
        ):
            continue
        if about["age"] is None or not 18 <= about["age"] <= 95:
            continue
        recording = cohort.recording(row)
        try:
            found = measure_recording(recording.signal_mv, recording.rate_hz)
        except LeadlightError:
            continue
        if "NORM" in about["labels"]:
            left = noise_levels(recording, found)
            noise += [] if left is None else [left]
        at, values = limit_samples(found.limits), found.measurements.values
        rate, qrs_ms = values["heart_rate_bpm"], values["qrs_ms"]
        needed = [at["P", "onset"], at["P", "offset"], at["T", "offset"], rate, qrs_ms]
        usable = np.isfinite(needed).all() and 40 < rate < 112 and qrs_ms < _LIKE_NORMAL_MS
        noise_uv = float(np.nanmax(found.beat.noise_uv.values))
        if not usable or noise_uv > _NOISIEST_UV or {"LBBB", "RBBB", "AF"} & set(about["labels"]):
            continue
        if at["P", "onset"] < 8 or at["QRS", "onset"] - at["P", "offset"] < 2:
            continue
        beat_mv = found.beat.beat_mv.sel(lead=list(INDEPENDENT_LEADS)).values.astype(float)
        rows.append(
            (
                fit_beat(beat_mv, at, rate),
                "NORM" in about["labels"],
                about["sex"] == "M",
                float(about["age"]),
            )
        )
    return rows, np.array(noise)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--study", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows, noise = real_beats(asked.study)
    groups: dict[str, object] = {}
    for name, wanted in (("normal", True), ("patients", False)):
        group = [row for row in rows if row[1] is wanted]
        print(name)
        groups[name] = summary(
            [row[0] for row in group],
            np.array([float(row[2]) for row in group]),
            np.array([row[3] for row in group]),
            COMPONENTS[name],
        )
    source = (
        "Means, quantiles and covariance components of median beats of PTB-XL 1.0.3, folds 1-8 "
        "of the first 500 records (Wagner et al. 2020, doi:10.1038/s41597-020-0495-6; CC BY 4.0), "
        "made by training/fit_hearts.py"
    )
    FITTED.parent.mkdir(exist_ok=True)
    hearts = {"source": source, "quantiles_at": _short(QUANTILES), "groups": groups}
    for path, held in (
        (FITTED, hearts),
        (FITTED_NOISE, {"source": source, **noise_summary(noise)}),
    ):
        with written_whole(path) as partial:
            partial.write_text(json.dumps(held, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
