"""R peaks against LUDB's marks and against simulated hearts: F1 with intervals by record.

    python benchmarks/r_peaks.py --ludb ../shared/data/ludb
    python benchmarks/r_peaks.py --ludb DIR --people 200 --out result.json

A find and a beat match one to one within 150 ms (ANSI/AAMI EC57). On LUDB a beat is a QRS that was
marked in at least half of the leads, at the median of the leads' marks. The strip's ends, where
annotators mark nothing (and where a simulated beat has no truth because the strip cuts its T, or
has its R in the first 100 ms), are not judged. Noise at 10 dB is added to clean hearts: the power
of the ECG without its means over that of the noise, over the eight independent leads.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sleepecg
import xarray as xr

from leadlight.atomic import write_json
from leadlight.ecg.delineation.ludb import read_annotated, record_numbers
from leadlight.ecg.leads import INDEPENDENT_LEADS, as_leads
from leadlight.ecg.rpeaks import find_r_peaks
from leadlight.simulate.lead_field import twelve_from_independent
from leadlight.simulate.noise import NoiseLevels, make_noise
from leadlight.simulate.population import SimulatedRecording, simulate_recordings

RATE_HZ = 500.0
TOLERANCE_S = 0.150
END_S = 0.075  # of a strip's judged stretch, beyond its first and last true beat
RIM_S = 0.100  # a beat whose QRS starts at the strip's first samples is not judged
TARGET = 0.998
CLEAN_OF = {"muscle": "muscle_mv", "wander": "wander_mv", "motion": "motion_mv"}

Case = tuple[xr.DataArray, float, np.ndarray]  # signal, rate, true beats in samples
Finder = Callable[[xr.DataArray, float], np.ndarray]


@dataclass(frozen=True)
class Count:
    """Of one record: beats found, beats missed, finds that are no beat, distances in ms."""

    hits: int
    missed: int
    false: int
    off_ms: np.ndarray


def ludb(folder: Path) -> Iterator[Case]:
    for number in record_numbers(folder):
        record = read_annotated(folder, number)
        marks = sorted(
            (float(peak), lead)
            for lead, waves in record.waves.items()
            for peak in waves["QRS"][:, 1]
            if np.isfinite(peak)
        )
        groups: list[list[tuple[float, str]]] = []
        for peak, lead in marks:
            if groups and peak - groups[-1][0][0] < TOLERANCE_S * record.rate_hz:
                groups[-1].append((peak, lead))
            else:
                groups.append([(peak, lead)])
        beats = [
            float(np.median([peak for peak, _ in group]))
            for group in groups
            if len({lead for _, lead in group}) >= 6
        ]
        yield record.signal_mv, record.rate_hz, np.array(beats)


def hearts(people: int, seed: int, rhythm: str, noise: float = 1.0) -> Iterator[SimulatedRecording]:
    yield from simulate_recordings(people, seed=seed, rhythms={rhythm: 1.0}, noise=noise)


def fibrillation(people: int, seed: int) -> Iterator[Case]:
    for one in hearts(people, seed, "AF"):
        yield one.recording.signal_mv, one.recording.rate_hz, true_beats(one)


def ectopy(people: int, seed: int) -> Iterator[Case]:
    """Sinus rhythm with at least one ventricular beat in twenty."""
    found = 0
    for one in hearts(100 * people, seed, "sinus"):
        if float(one.truth["ventricular_ectopic_share"]) >= 0.05:
            yield one.recording.signal_mv, one.recording.rate_hz, true_beats(one)
            found += 1
        if found == people:
            return


def noisy(people: int, seed: int, kind: str, snr_db: float) -> Iterator[Case]:
    for number, one in enumerate(hearts(people, seed, "sinus", noise=0.0)):
        rng = np.random.default_rng([seed, number])
        clean = one.recording.signal_mv.sel(lead=list(INDEPENDENT_LEADS)).values.astype(float)
        levels = {"wander_mv": 0.0, "muscle_mv": 0.0, "motion_mv": 0.0} | {CLEAN_OF[kind]: 1.0}
        noise = make_noise(
            rng, NoiseLevels(mains_mv=0.0, mains_hz=50.0, **levels), clean.shape[1], RATE_HZ
        )
        noise *= np.sqrt(clean.var(axis=1).mean() / noise.var(axis=1).mean()) * 10 ** (-snr_db / 20)
        yield as_leads(twelve_from_independent(clean + noise)), RATE_HZ, true_beats(one)


def true_beats(one: SimulatedRecording) -> np.ndarray:
    middle = (one.fiducials.qrs_onset_s + one.fiducials.qrs_offset_s) / 2
    return np.asarray(middle * one.recording.rate_hz)


def count(found: np.ndarray, beats: np.ndarray, rate_hz: float) -> Count:
    """Match one to one, nearest pairs first."""
    beats = beats[beats >= RIM_S * rate_hz]
    ends = beats[0] - END_S * rate_hz, beats[-1] + END_S * rate_hz
    judged = found[(found >= ends[0]) & (found <= ends[1])]
    apart = judged[:, None] - beats[None, :]
    near = np.argwhere(np.abs(apart) <= TOLERANCE_S * rate_hz)
    pairs = sorted((abs(float(apart[i, j])), int(i), int(j)) for i, j in near)
    finds: set[int] = set()
    hit: dict[int, float] = {}
    for _, i, j in pairs:
        if i not in finds and j not in hit:
            finds.add(i)
            hit[j] = apart[i, j] / rate_hz * 1e3
    off = np.array(list(hit.values()))
    return Count(len(hit), len(beats) - len(hit), len(judged) - len(hit), off)


def f1(counts: list[Count]) -> float:
    hits = sum(one.hits for one in counts)
    return 2 * hits / max(1, 2 * hits + sum(one.missed + one.false for one in counts))


def measure(name: str, cases: list[Case], finder: Finder, seed: int) -> dict[str, object]:
    counts, times = [], []
    for signal, rate_hz, beats in cases:
        began = time.process_time()
        found = finder(signal, rate_hz)
        times.append(1e3 * (time.process_time() - began))
        counts.append(count(np.asarray(found, dtype=float), beats, rate_hz))
    rng = np.random.default_rng(seed)
    draws = [
        f1([counts[i] for i in rng.integers(0, len(counts), len(counts))]) for _ in range(1000)
    ]
    low, high = np.percentile(draws, [2.5, 97.5])
    score = f1(counts)
    missed, false = sum(one.missed for one in counts), sum(one.false for one in counts)
    beats_in_all = sum(one.hits + one.missed for one in counts)
    spread = float(np.median([one.off_ms.std() for one in counts if one.off_ms.size]))
    print(
        f"{name:34}{100 * score:8.2f} ({100 * low:.2f}-{100 * high:.2f}){missed:7}{false:7}"
        f"{beats_in_all:8}{len(counts):6}{spread:8.1f}{np.median(times):8.1f}  "
        f"{'met' if score >= TARGET else 'MISSED'}"
    )
    return {
        "f1": score, "interval_95": [float(low), float(high)], "missed": missed, "false": false,
        "beats": beats_in_all, "records": len(counts), "median_sd_ms": spread,
        "ms": float(np.median(times)),
    }  # fmt: skip


def peer(signal: xr.DataArray, rate_hz: float) -> np.ndarray:
    """sleepecg's detector on lead II, as its manual says."""
    return np.asarray(sleepecg.detect_heartbeats(signal.sel(lead="II").values, rate_hz))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ludb", type=Path)
    parser.add_argument("--people", type=int, default=100, help="simulated hearts of each kind")
    parser.add_argument("--snr-db", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    asked = parser.parse_args()
    people, seed, snr = asked.people, asked.seed, asked.snr_db
    sets = {
        "simulated fibrillation": list(fibrillation(people, seed)),
        "simulated ventricular ectopy": list(ectopy(people, seed)),
        **{
            f"simulated, {kind} at {snr:g} dB": list(noisy(people, seed, kind, snr))
            for kind in CLEAN_OF
        },
    }
    if asked.ludb:
        sets = {"LUDB, all records": list(ludb(asked.ludb)), **sets}
    print(
        f"{'':34}{'F1 % (95 %)':>22}{'missed':>8}{'false':>7}{'beats':>8}{'recs':>6}"
        f"{'SD ms':>8}{'ms':>8}"
    )
    result = {}
    for name, cases in sets.items():
        result[name] = {
            "leadlight": measure(name, cases, find_r_peaks, seed),
            "sleepecg_lead_II": measure("  sleepecg on lead II", cases, peer, seed),
        }
    if asked.out:
        write_json(asked.out, result)


if __name__ == "__main__":
    main()
