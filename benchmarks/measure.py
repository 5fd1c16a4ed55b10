"""How well and how fast a recording is measured: truth, repeatability, a cart, speed, memory.

    python benchmarks/measure.py --ptbxl ../shared/data/ptbxl --cardiosoft FILE.xml
    python benchmarks/measure.py --people 60 --memory --out result.json

Simulated normals (sinus, normal conduction): readings less the simulator's limits. PTB-XL records
that are normal for certain (NORM at 100 %): the first five seconds against the last five, which
share patient and electrodes, so what differs is noise, breathing and us. Limits are read in three
ways: as shipped (P and T by lead, QRS sharpened on the median beat), the median of the beats'
global limits, and by the network on the median beat. `--scale` feeds one recording's result, over
and over, through the real writer and tables: what is proved is that memory does not grow with the
cohort, not how fast it is measured. Peer: NeuroKit2's `ecg_delineate` (dwt) on all leads, when the
package is installed.
"""

import argparse
import importlib
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import polars as pl
import torch
import xarray as xr

from leadlight.atomic import write_json
from leadlight.cohort import measured_records
from leadlight.cohort.measuring import measure_cohort
from leadlight.cohort.store import write_cohort
from leadlight.ecg import median_beat as beats
from leadlight.ecg.beat_limits import limits_on_median, limits_over_beats
from leadlight.ecg.cart_beat import cart_sample
from leadlight.ecg.delineation import delineate
from leadlight.ecg.formats import read_recording
from leadlight.ecg.intervals import rate_and_rr, wave_intervals
from leadlight.ecg.measurements import measure, measure_recording
from leadlight.ecg.median_beat import median_beat
from leadlight.ecg.recording import Recording
from leadlight.ecg.rpeaks import find_r_peaks
from leadlight.simulate.population import SimulatedRecording, simulate_recordings

NAMES = ("pr_ms", "qrs_ms", "qt_ms", "heart_rate_bpm", "p_duration_ms")
TRUTH_SD = {"pr_ms": 5.0, "qrs_ms": 4.0, "qt_ms": 8.0, "heart_rate_bpm": 0.5}
REPEAT_SD = {"pr_ms": 6.0, "qrs_ms": 4.0, "qt_ms": 8.0}
CART_MS = 10.0
SPEED_MS = 20.0
PEER_RATIO = 50.0
NAN = float("nan")


def readings(signal: xr.DataArray, rate_hz: float) -> dict[str, np.ndarray]:
    """(name of NAMES) by way of reading the limits."""
    r_peaks = find_r_peaks(signal, rate_hz)
    fiducials = delineate(signal, rate_hz, r_peaks)
    beat = median_beat(signal, rate_hz, r_peaks)
    rate = rate_and_rr(r_peaks, rate_hz)
    ways = {
        "as shipped": limits_on_median(fiducials, beat),
        "median over beats": limits_over_beats(fiducials, beat),
        "network on the median beat": network_on_median(beat),
    }
    return {
        way: np.array(
            [
                (rate | wave_intervals(limits, NAN, rate["rr_ms"], beats.RATE_HZ))[name]
                for name in NAMES
            ]
        )
        for way, limits in ways.items()
    }


def network_on_median(beat: beats.MedianBeat) -> xr.DataArray:
    # The neighbours' R peaks keep this beat's T out of the next beat.
    before, after = beat.own[0] - beats.NEIGHBOUR, beat.own[1] + beats.NEIGHBOUR
    peaks = [x for x in (before, beats.R_SAMPLE, after) if 0 < x < beats.SAMPLES - 1]
    read = delineate(beat.beat_mv, beats.RATE_HZ, np.array(peaks)).global_
    return read.isel(beat=peaks.index(beats.R_SAMPLE), drop=True)


def normals(people: int, seed: int, noise: float) -> Iterator[SimulatedRecording]:
    # No severities: nobody has a disease, a look-alike or ectopic beats.
    yield from simulate_recordings(people, seed=seed, severities={}, noise=noise)


def truth(one: SimulatedRecording) -> np.ndarray:
    """Medians over the beats; the rate is the mean, as ours is."""
    true = one.fiducials
    rr_s = np.diff((true.qrs_onset_s + true.qrs_offset_s) / 2).mean()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.array(
            [
                1e3 * np.nanmedian(true.qrs_onset_s - true.p_onset_s),
                1e3 * np.median(true.qrs_offset_s - true.qrs_onset_s),
                1e3 * np.median(true.t_offset_s - true.qrs_onset_s),
                60 / rr_s,
                1e3 * np.nanmedian(true.p_offset_s - true.p_onset_s),
            ]
        )


def table(
    title: str, errors: dict[str, np.ndarray], targets: dict[str, float], seed: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Mean and SD of (record, name) errors with the SD's interval by record."""
    rng = np.random.default_rng(seed)
    out: dict[str, dict[str, dict[str, float]]] = {}
    for way, rows in errors.items():
        print(f"\n{title}, {way}")
        out[way] = {}
        for column, name in enumerate(NAMES):
            values = rows[:, column]
            values = values[np.isfinite(values)]
            draws = values[rng.integers(0, values.size, (1000, values.size))].std(axis=1, ddof=1)
            low, high = np.percentile(draws, [2.5, 97.5])
            sd, mean = float(values.std(ddof=1)), float(values.mean())
            robust = 1.4826 * float(np.median(np.abs(values - np.median(values))))
            target = targets.get(name)
            verdict = (
                "" if target is None else f"<= {target:g} " + ("met" if sd <= target else "MISSED")
            )
            print(
                f"  {name:16}{mean:+8.2f} ± {sd:6.2f} ({low:.2f}-{high:.2f}) "
                f"MAD-SD {robust:6.2f}  n {values.size:4} of {len(rows)}  {verdict}"
            )
            out[way][name] = {
                "mean": mean, "sd": sd, "sd_low": float(low), "sd_high": float(high),
                "robust_sd": robust, "n": int(values.size), "of": len(rows),
            }  # fmt: skip
    return out


def against_truth(people: int, seed: int, noise: float) -> dict[str, np.ndarray]:
    rows: dict[str, list[np.ndarray]] = {}
    for one in normals(people, seed, noise):
        for way, values in readings(one.recording.signal_mv, one.recording.rate_hz).items():
            rows.setdefault(way, []).append(values - truth(one))
    return {way: np.array(values) for way, values in rows.items()}


def certain_normals(ptbxl: Path, most: int) -> list[Recording]:
    listed = pl.read_csv(ptbxl / "ptbxl_database.csv")
    listed = listed.filter(pl.col("scp_codes").str.contains("'NORM': 100.0", literal=True))
    paths = [(ptbxl / name).with_suffix(".hea") for name in listed["filename_hr"].to_list()]
    return [read_recording(path) for path in paths[:most] if path.exists()]


def repeatability(recordings: list[Recording]) -> dict[str, np.ndarray]:
    rows: dict[str, list[np.ndarray]] = {}
    for recording in recordings:
        half = recording.n_samples // 2
        first, last = (
            readings(recording.signal_mv.isel(sample=part), recording.rate_hz)
            for part in (slice(0, half), slice(half, 2 * half))
        )
        for way in first:
            rows.setdefault(way, []).append(first[way] - last[way])
    return {way: np.array(values) for way, values in rows.items()}


def averaging(people: int, seed: int) -> dict[str, float]:
    """Error of the median beat against the noiseless heart's, by how the beats are averaged."""
    shipped = beats.TRIM
    noiseless = list(normals(people, seed, 0.0))
    found = {}
    print("\nmedian beat of noisy hearts less that of the noiseless, RMS in µV (median record)")
    for name, trim in (("mean", 0.0), (f"trimmed {shipped:g}", shipped), ("median", 0.499)):
        beats.TRIM = trim
        errors = []
        for clean, noisy in zip(noiseless, normals(people, seed, 1.0), strict=True):
            r_peaks = find_r_peaks(clean.recording.signal_mv, 500.0)
            both = [median_beat(x.recording.signal_mv, 500.0, r_peaks) for x in (clean, noisy)]
            start, stop = max(both[0].own[0], 125), min(both[0].own[1], 450)
            apart = (both[1].beat_mv - both[0].beat_mv).values[:, start:stop] * 1e3
            errors.append(np.sqrt(((apart - apart.mean(axis=1, keepdims=True)) ** 2).mean()))
        found[name] = float(np.median(errors))
        print(f"  {name:14}{found[name]:6.2f}")
    beats.TRIM = shipped
    return found


def cart(path: Path) -> dict[str, float]:
    """Differences from the cart, in ms and beats a minute."""
    recording = read_recording(path)
    theirs = recording.cart_measurements
    found = measure_recording(recording.signal_mv, recording.rate_hz)
    print(f"\n{path.name}: ours less the cart's, limit {CART_MS:g}")
    apart = {}
    for wave, point in (
        ("P", "onset"), ("P", "offset"), ("QRS", "onset"), ("QRS", "offset"), ("T", "offset"),
    ):  # fmt: skip
        name = f"median_{wave.lower()}_{point}_ms"
        at = cart_sample(recording, found.beat, theirs[name])
        ours = float(found.limits.sel(wave=wave, point=point))
        apart[f"{wave} {point}"] = (ours - at) / beats.RATE_HZ * 1e3
    for name in ("heart_rate_bpm", "pr_ms", "qrs_ms", "qt_ms"):
        apart[name] = found.measurements.values[name] - theirs[name]
    for name, value in apart.items():
        print(f"  {name:16}{value:+8.1f}  {'met' if abs(value) <= CART_MS else 'MISSED'}")
    return apart


def processor_ms(work: Callable[[], object], repeats: int = 5) -> float:
    times = []
    for _ in range(repeats):
        began = time.thread_time()
        work()
        times.append(1e3 * (time.thread_time() - began))
    return min(times)


def speed(recordings: list[Recording]) -> dict[str, float]:
    """Milliseconds of processor time per record of 12 x 5000, each step's best of five, mean."""
    steps: dict[str, list[float]] = {}
    for recording in recordings:
        signal, rate = recording.signal_mv, recording.rate_hz
        r_peaks = find_r_peaks(signal, rate)
        fiducials = delineate(signal, rate, r_peaks)
        beat = median_beat(signal, rate, r_peaks)
        limits = limits_on_median(fiducials, beat)
        works: dict[str, Callable[[], object]] = {
            "R peaks": partial(find_r_peaks, signal, rate),
            "delineation of all beats": partial(delineate, signal, rate, r_peaks),
            "median beat": partial(median_beat, signal, rate, r_peaks),
            "limits on the median beat": partial(limits_on_median, fiducials, beat),
            "measurements": partial(measure, beat, limits, r_peaks, rate),
        }
        for name, work in works.items():
            steps.setdefault(name, []).append(processor_ms(work))
    found = {name: float(np.mean(values)) for name, values in steps.items()}
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder)
        repeated = [
            Recording(one.signal_mv, one.rate_hz, f"{one.record_id}-{copy}")
            for copy in range(4)
            for one in recordings
        ]
        write_cohort(study, ((one, None) for one in repeated))
        began = time.process_time()
        measure_cohort(study)
        whole = 1e3 * (time.process_time() - began) / len(repeated)
    found["leadlight measure, files included"] = whole
    print(f"\nprocessor time per record of 12 x 5000, ms ({len(recordings)} records)")
    for name, value in found.items():
        print(f"  {name:36}{value:7.2f}")
    print(f"  limit {SPEED_MS:g}: {'met' if whole <= SPEED_MS else 'MISSED'}")
    return found


def peer_ms(recordings: list[Recording]) -> float | None:
    """NeuroKit2 on 12 leads, given our R peaks."""
    try:
        nk = importlib.import_module("neurokit2")
        print(f"\nNeuroKit2 {version('neurokit2')}", end="")
    except (ImportError, PackageNotFoundError):
        print("\nNeuroKit2 is not installed: nothing to compare with.")
        return None
    times = []
    for recording in recordings[:5]:
        rate = int(recording.rate_hz)
        r_peaks = find_r_peaks(recording.signal_mv, rate)
        began = time.thread_time()
        for row in recording.signal_mv.values:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    nk.ecg_delineate(
                        nk.ecg_clean(row, sampling_rate=rate), r_peaks, sampling_rate=rate,
                        method="dwt",
                    )  # fmt: skip
                except (IndexError, ValueError, TypeError, ZeroDivisionError):
                    continue
        times.append(1e3 * (time.thread_time() - began))
    found = float(np.mean(times))
    print(f" ecg_delineate (dwt) on 12 leads: {found:.0f} ms per record")
    return found


def memory(counts: tuple[int, ...], work: str = "peak") -> dict[str, float]:
    """Peak memory in MB of measuring so many records, each count in a process alone."""
    found = {}
    for count in counts:
        code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); "
        code += f"import measure; measure.{work}({count})"
        done = subprocess.run(
            [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True
        )
        found[str(count)] = float(done.stdout.split()[-1])
    print(f"\npeak memory ({work}), MB by records: {json.dumps(found)}")
    return found


def peak(count: int) -> None:
    """Measure `count` records made of a few hearts, and print this process's peak in MB."""
    torch.set_num_threads(1)
    few = [one.recording for one in simulate_recordings(8, seed=1, duration_s=4.0)]
    with tempfile.TemporaryDirectory() as folder:
        write_cohort(
            Path(folder),
            (
                (Recording(few[i % 8].signal_mv, few[i % 8].rate_hz, f"r{i}"), None)
                for i in range(count)
            ),
        )
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        measure_cohort(Path(folder), shard_records=64)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"before {before:.0f} after", after)


def peak_of_writing(count: int) -> None:
    """Write `count` times the same result of one heart, and print this process's peak in MB.

    The cohort's strips are a fifth of a second (`short_cohort`), which nobody measures here.
    """
    torch.set_num_threads(1)
    one = next(iter(simulate_recordings(1, seed=1))).recording
    measured = measured_records.measure_one(one, "own")

    def again(
        recording: Recording, medians: measured_records.Medians, asked: object = None
    ) -> measured_records.MeasuredRecord:
        return replace(measured, row=measured.row | {"record_id": recording.record_id})

    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder)
        # In a process of its own, as an import is.
        code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); "
        code += f"import measure; measure.short_cohort({folder!r}, {count})"
        subprocess.run([sys.executable, "-c", code], check=True)
        measured_records.measure_one = again
        summary = measure_cohort(study)
        rows = pl.scan_parquet(study / "fiducials.parquet").select(pl.len()).collect().item()
    assert summary.n_measured == count
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{rows} rows of fiducials, {summary.seconds:.0f} s", file=sys.stderr)
    print(after)


def short_cohort(folder: str, count: int) -> None:
    """A cohort of the first fifth of a second of one heart, `count` times."""
    strip = next(iter(simulate_recordings(1, seed=1))).recording.signal_mv
    short = strip.isel(sample=slice(0, 100))
    write_cohort(Path(folder), ((Recording(short, 500.0, f"r{i}"), None) for i in range(count)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ptbxl", type=Path)
    parser.add_argument("--cardiosoft", type=Path, help="a CardioSoft XML with the cart's median")
    parser.add_argument("--people", type=int, default=100, help="simulated normals")
    parser.add_argument("--records", type=int, default=500, help="at most, of PTB-XL")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--scale", type=int, default=0, help="results through the writer")
    parser.add_argument("--speed", action="store_true", help="time only")
    parser.add_argument("--seed", type=int, default=77)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, object] = {}
    for noise, name in () if asked.speed else ((0.0, "clean"), (1.0, "noisy")):
        title = f"{asked.people} simulated normals, {name}: ours less truth"
        errors = against_truth(asked.people, asked.seed, noise)
        result[f"truth, {name}"] = table(title, errors, TRUTH_SD, asked.seed)
    if not asked.speed:
        result["averaging"] = averaging(min(asked.people, 30), asked.seed)
    timed = [one.recording for one in normals(12, asked.seed, 1.0)]
    if asked.ptbxl:
        recordings = certain_normals(asked.ptbxl, asked.records)
        if not asked.speed:
            title = f"{len(recordings)} PTB-XL normals: first 5 s less last 5 s"
            errors = repeatability(recordings)
            result["repeatability"] = table(title, errors, REPEAT_SD, asked.seed)
        timed = recordings[:12]
    if asked.cardiosoft:
        result["cart"] = cart(asked.cardiosoft)
    times = speed(timed)
    result["ms"] = times
    peer = peer_ms(timed)
    if peer is not None:
        ratio = peer / times["leadlight measure, files included"]
        print(f"  {ratio:.0f} times ours, {'met' if ratio >= PEER_RATIO else 'MISSED'}")
        result["peer_ms"] = peer
    if asked.memory:
        result["memory_mb"] = memory((512, 2048))
    if asked.scale:
        counts = (asked.scale // 10, asked.scale)
        result["writing_memory_mb"] = memory(counts, "peak_of_writing")
    if asked.out:
        write_json(asked.out, result)


if __name__ == "__main__":
    main()
