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
from leadlight.ecg.measurements import measure_recording
from leadlight.ecg.median_beat import RATE_HZ
from leadlight.errors import LeadlightError
from leadlight.progress import track
from leadlight.simulate import waves
from leadlight.simulate.fitted import BLOCKS, FITTED, INTERVALS

Array = npt.NDArray[np.float64]

FIT_FOLDS = range(1, 9)
COMPONENTS = {"normal": 64, "patients": 48}
RIDGE = 0.02
# What the covariance's components should care about: the blocks' sizes differ by more.
BLOCK_WEIGHT = {"P": 0.8, "QRS": 1.6, "T": 1.2, "U": 0.35}
QUANTILES = np.concatenate([[0.005], np.linspace(0.025, 0.975, 39), [0.995]])
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
    level = _baseline(beat_mv, p_on, q_on, t_off, last)
    signal = beat_mv - level
    at = np.arange(beat_mv.shape[1])
    design = np.concatenate(
        [
            waves.events(waves.P_SPAN, waves.P_EVENTS, (at - p_on) / (p_off - p_on)),
            waves.events(waves.QRS_SPAN, waves.QRS_EVENTS, (at - q_on) / (q_off - q_on)),
            waves.events(waves.T_SPAN, waves.T_EVENTS, (at - q_off) / (t_off - q_off)),
            waves.events(waves.U_SPAN, waves.U_EVENTS, (at - q_off) / (t_off - q_off)),
        ]
    )
    first = max(0, int(p_on - 0.1 * (p_off - p_on)))
    inside = slice(first, last)
    part, wanted = design[:, inside], signal[:, inside]
    gram = part @ part.T + RIDGE * np.eye(len(part))
    found = np.linalg.solve(gram, part @ wanted.T)
    misfit = wanted.T - part.T @ found
    cuts = np.cumsum([waves.P_EVENTS, waves.QRS_EVENTS, waves.T_EVENTS])
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


def _baseline(beat_mv: Array, p_on: float, q_on: float, t_off: float, last: int) -> Array:
    """(lead, sample) lines through the quiet stretches before P, before QRS and after T."""
    at = np.arange(beat_mv.shape[1])
    stretches = [
        (max(0, int(p_on) - 22), max(4, int(p_on) - 4)),
        (int(q_on) - 8, int(q_on) - 1),
        (max(int(t_off) + 8, last - 20), max(last, int(t_off) + 16)),
    ]
    knots = [(first + stop) / 2 for first, stop in stretches]
    levels = np.array([beat_mv[:, first:stop].mean(axis=1) for first, stop in stretches])
    return np.stack([np.interp(at, knots, levels[:, lead]) for lead in range(len(beat_mv))])


def summary(beats: list[FittedBeat], male: Array, age: Array, components: int) -> dict[str, object]:
    """Mean given sex and age, quantiles and components of a group of people."""
    sizes = {b: np.array([_size(one.strengths[b]) for one in beats]) for b in BLOCKS}
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
        "rest_sd": _short(np.sqrt(np.maximum(rest, 0.0))),
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


def real_beats(study: Path) -> list[tuple[FittedBeat, bool, bool, float, int]]:
    """(beat, is NORM, is male, age, fold) of every usable record."""
    cohort = open_cohort(study)
    rows = []
    for row in track(range(len(cohort)), "Writing real beats as events"):
        about = cohort.records.row(row, named=True)
        if about["labels"] is None or about["sex"] not in ("F", "M") or about["flags"]:
            continue
        if about["age"] is None or not 18 <= about["age"] <= 95:
            continue
        recording = cohort.recording(row)
        try:
            found = measure_recording(recording.signal_mv, recording.rate_hz)
        except LeadlightError:
            continue
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
                int(about["fold"]),
            )
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--study", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for row in real_beats(asked.study) if row[4] in FIT_FOLDS]
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
    held = {"source": source, "quantiles_at": _short(QUANTILES), "groups": groups}
    with written_whole(FITTED) as partial:
        partial.write_text(json.dumps(held, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
