"""Wave limits against LUDB's hand-drawn ones, on records that no training saw, and the time taken.

    python benchmarks/delineation.py --ludb ../shared/data/ludb
    python benchmarks/delineation.py --ludb DIR --cinc DIR --out result.json

Every marked beat of every lead counts; a reading and a mark match one to one within 150 ms.
NeuroKit2's `ecg_delineate` (dwt) runs on the same records when the package is installed; it reads
one lead at a time and is given our R peaks, which spares it misses of its own detector. With
--cinc the records labelled atrial fibrillation there are read too: a P found in them is invented.
"""

import argparse
import importlib
import json
import time
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from leadlight.atomic import write_json
from leadlight.ecg.delineation import delineate
from leadlight.ecg.delineation.fiducials import POINTS, WAVES
from leadlight.ecg.delineation.ludb import AnnotatedRecord, part_of, read_annotated, record_numbers
from leadlight.ecg.delineation.scoring import (
    LeadWaves,
    Score,
    by_lead,
    calibration,
    score,
    stated_and_true,
    tally,
)
from leadlight.ecg.filtering import resample
from leadlight.ecg.formats import find_recordings, read_recording
from leadlight.ecg.rpeaks import find_r_peaks
from leadlight.errors import LeadlightError

TARGETS_SD_MS = {
    ("P", "onset"): 12.0,
    ("P", "offset"): 11.0,
    ("QRS", "onset"): 7.5,
    ("QRS", "offset"): 8.0,
    ("T", "offset"): 16.0,
}
TARGET_MEAN_MS = 3.0
TARGET_SHARES = {"P": 0.97, "QRS": 0.99, "T": 0.99}
ATRIAL_FIBRILLATION = "164889003"

Reader = Callable[[AnnotatedRecord, np.ndarray], Mapping[str, LeadWaves]]


def ours(record: AnnotatedRecord, r_peaks: np.ndarray) -> Mapping[str, LeadWaves]:
    return by_lead(delineate(record.signal_mv, record.rate_hz, r_peaks))


def neurokit(record: AnnotatedRecord, r_peaks: np.ndarray) -> Mapping[str, LeadWaves]:
    """`ecg_delineate` as its manual says: each lead cleaned, then read by wavelets."""
    nk = importlib.import_module("neurokit2")
    rate = int(record.rate_hz)
    found = {}
    for lead in record.waves:
        absent = np.full((r_peaks.size, 3), np.nan)
        waves = {wave: absent.copy() for wave in WAVES}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                cleaned = nk.ecg_clean(record.signal_mv.sel(lead=lead).values, sampling_rate=rate)
                _, read = nk.ecg_delineate(cleaned, r_peaks, sampling_rate=rate, method="dwt")
            except (IndexError, ValueError, TypeError, ZeroDivisionError):
                read = {}  # it raises on some leads: nothing was found there
        if read:
            for wave in ("P", "T"):
                for at, part in enumerate(("Onsets", "Peaks", "Offsets")):
                    _put(waves[wave], at, read[f"ECG_{wave}_{part}"])
            _put(waves["QRS"], 0, read["ECG_R_Onsets"])
            _put(waves["QRS"], 2, read["ECG_R_Offsets"])
            waves["QRS"][:, 1] = r_peaks
        found[lead] = waves
    return found


def _put(waves: np.ndarray, point: int, values: Any) -> None:
    column = np.asarray(values, dtype=float)[: len(waves)]
    waves[: len(column), point] = column


def compare(
    records: list[AnnotatedRecord], reader: Reader, seed: int
) -> tuple[dict[tuple[str, str], Score], float]:
    """Scores over the records, and milliseconds per record of this one thread (median)."""
    tallies, times = [], []
    for record in records:
        r_peaks = find_r_peaks(record.signal_mv, record.rate_hz)
        began = time.thread_time()
        found = reader(record, r_peaks)
        times.append(1e3 * (time.thread_time() - began))
        tallies.append(tally(record, found))
    return score(tallies, seed=seed), float(np.median(times))


def print_table(name: str, scores: Mapping[tuple[str, str], Score], ms: float) -> None:
    print(f"\n{name}: {ms:.1f} ms of processor time per record of 12 leads x 10 s")
    print(f"{'':12}{'mean ± SD ms':>16}{'SD 95 %':>14}{'Se %':>8}{'P+ %':>8}{'marks':>7}  target")
    for (wave, point), one in scores.items():
        low, high = one.intervals["sd_ms"]
        error = f"{one.mean_ms:+.1f} ± {one.sd_ms:.1f}"
        print(
            f"{wave + ' ' + point:12}{error:>16}{f'{low:.1f}-{high:.1f}':>14}"
            f"{100 * one.sensitivity:8.2f}{100 * one.precision:8.2f}{one.marks:7}  "
            f"{_verdict(wave, point, one)}"
        )


def _verdict(wave: str, point: str, one: Score) -> str:
    """Each target of the fiducial, and whether it is met."""
    target = TARGETS_SD_MS.get((wave, point))
    if target is None:
        return ""
    checks = {
        f"SD <= {target:g}": one.sd_ms <= target,
        f"|mean| <= {TARGET_MEAN_MS:g}": abs(one.mean_ms) <= TARGET_MEAN_MS,
        f"Se, P+ >= {100 * TARGET_SHARES[wave]:g} %": min(one.sensitivity, one.precision)
        >= TARGET_SHARES[wave],
    }
    return "; ".join(f"{text} {'met' if met else 'MISSED'}" for text, met in checks.items())


def print_calibration(records: list[AnnotatedRecord]) -> dict[str, list[tuple[float, float]]]:
    """Stated confidence against the share of marks within the tolerance that it speaks of."""
    found = [stated_and_true(one, delineate(one.signal_mv, one.rate_hz)) for one in records]
    table = calibration(found)
    print("\nconfidence: stated > true share within tolerance, all; least to most sure quarters")
    for (wave, point), pairs in table.items():
        text = [f"{stated:.2f} > {true:.2f}" for stated, true in pairs]
        print(f"{wave + ' ' + point:12}{text[0]}; {', '.join(text[1:])}")
    return {f"{wave} {point}": pairs for (wave, point), pairs in table.items()}


def p_in_fibrillation(folder: Path) -> dict[str, float]:
    """Share of beats with a P over all leads in the records labelled atrial fibrillation."""
    beats = with_p = lead_beats = lead_p = records = 0
    for path in find_recordings(folder):
        try:
            recording = read_recording(path)
        except LeadlightError:
            continue
        if ATRIAL_FIBRILLATION not in recording.codes:
            continue
        signal = recording.signal_mv.isel(sample=slice(0, int(30 * recording.rate_hz)))
        found = delineate(signal, recording.rate_hz)
        together = np.isfinite(found.global_.sel(wave="P", point="peak").values)
        alone = np.isfinite(found.per_lead.sel(wave="P", point="peak").values)
        records += 1
        beats, with_p = beats + together.size, with_p + int(together.sum())
        lead_beats, lead_p = lead_beats + alone.size, lead_p + int(alone.sum())
    return {
        "records": records,
        "beats": beats,
        "share_with_p": with_p / max(beats, 1),
        "share_with_p_per_lead": lead_p / max(lead_beats, 1),
    }


def time_by_rate(record: AnnotatedRecord, repeats: int = 30) -> dict[str, float]:
    """Milliseconds of processor time of `delineate` with given R peaks, median of `repeats`."""
    times = {}
    for rate_hz in (500.0, 400.0, 1000.0):
        signal = resample(record.signal_mv, record.rate_hz, rate_hz)
        r_peaks = find_r_peaks(signal, rate_hz)
        taken = []
        for _ in range(repeats):
            began = time.thread_time()
            delineate(signal, rate_hz, r_peaks)
            taken.append(1e3 * (time.thread_time() - began))
        times[f"{rate_hz:g}"] = float(np.median(taken))
    return times


def _plain(scores: Mapping[tuple[str, str], Score]) -> dict[str, dict[str, Any]]:
    return {f"{wave} {point}": vars(scores[wave, point]) for wave in WAVES for point in POINTS}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ludb", type=Path, required=True)
    parser.add_argument("--cinc", type=Path, help="records of which some are fibrillation")
    parser.add_argument(
        "--peer-records", type=int, default=33, help="how many the peer reads; 0: none"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    records = [
        read_annotated(asked.ludb, number)
        for number in record_numbers(asked.ludb)
        if part_of(number) == "test"
    ]
    print(f"{len(records)} held-back records: {', '.join(str(one.number) for one in records)}")
    delineate(records[0].signal_mv, records[0].rate_hz)  # loads the weights
    scores, ms = compare(records, ours, asked.seed)
    print_table("leadlight", scores, ms)
    result: dict[str, Any] = {
        "records": [one.number for one in records],
        "leadlight": _plain(scores),
        "leadlight_ms": ms,
        "leadlight_ms_by_rate": time_by_rate(records[0]),
    }
    print(f"ms by rate in Hz: {json.dumps(result['leadlight_ms_by_rate'])}")
    result["calibration"] = print_calibration(records)
    few = records[: asked.peer_records]
    try:
        peer = version("neurokit2")
    except PackageNotFoundError:
        print("\nNeuroKit2 is not installed: nothing to compare with.")
        few = []
    if few:
        peer_scores, peer_ms = compare(few, neurokit, asked.seed)
        print_table(f"NeuroKit2 {peer} dwt, {len(few)} records", peer_scores, peer_ms)
        print(f"NeuroKit2 takes {peer_ms / ms:.0f} times as long.")
        result |= {"neurokit2": _plain(peer_scores), "neurokit2_ms": peer_ms, "peer_version": peer}
    if asked.cinc:
        result["fibrillation"] = p_in_fibrillation(asked.cinc)
        print(f"\nfibrillation: {json.dumps(result['fibrillation'])}")
    if asked.out:
        write_json(asked.out, result)


if __name__ == "__main__":
    main()
