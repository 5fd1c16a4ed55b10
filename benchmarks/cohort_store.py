"""Read speed and size of the cohort store, beside .npy and Parquet of the same signals.

    python benchmarks/cohort_store.py ../shared/data/ptbxl
    python benchmarks/cohort_store.py --memory        # peak memory of writing and streaming

Random reads are of single records in a fixed random order, sequential reads of all in order; the
cohort's give whole `Recording`s in millivolt, the peers' are also turned to float32 millivolt. All
files are in the page cache, so this measures decoding and the library's own time, not the disk.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import zarr
from zarr.codecs import BloscCodec

from leadlight.cohort import signals
from leadlight.cohort.store import CohortWriter, open_cohort, write_cohort
from leadlight.ecg.formats import find_recordings, read_recording
from leadlight.ecg.leads import LEADS, as_leads
from leadlight.ecg.recording import Recording


def compare(source: Path, reads: int, seed: int) -> None:
    """Print one line for each way of storing the recordings below `source`."""
    recordings = [read_recording(path) for path in find_recordings(source)]
    longest = max(recording.n_samples for recording in recordings)
    stored = np.full((len(recordings), len(LEADS), longest), signals.MISSING, dtype=np.int16)
    for row, recording in enumerate(recordings):
        stored[row, :, : recording.n_samples] = signals.to_microvolts(recording.signal_mv)[0]
    order = np.random.default_rng(seed).integers(0, len(recordings), reads)
    print(f"{len(recordings)} records, {stored.nbytes / 1e6:.0f} MB as int16")
    print(f"{'':<28}{'MB':>8}{'of raw':>8}{'random/s':>10}{'in order/s':>12}")
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        started = time.perf_counter()
        cohort = write_cohort(here / "study", ((recording, None) for recording in recordings))
        wrote = len(recordings) / (time.perf_counter() - started)
        store = here / "study" / "cohort.zarr"
        cohort = open_cohort(here / "study")
        _line("cohort (Recording)", store, stored, order, cohort.recording, cohort.stream)
        array = signals.open_signal(store)
        _line("cohort (bare array)", store, stored, order,
              lambda row: array[row], lambda: _blocks(array))  # fmt: skip

        np.save(here / "x.npy", stored)
        mapped = np.load(here / "x.npy", mmap_mode="r")
        _line(".npy, memory-mapped", here / "x.npy", stored, order,
              lambda row: _mv(mapped[row]), lambda: (_mv(one) for one in mapped))  # fmt: skip

        flat = pl.DataFrame({"signal": stored.reshape(len(stored), -1)})
        flat = flat.with_columns(pl.col("signal").arr.to_list())
        flat.write_parquet(here / "x.parquet", row_group_size=1, compression="zstd")
        lazy = pl.scan_parquet(here / "x.parquet")

        def one(row: int) -> object:
            return _mv(lazy.slice(row, 1).collect()["signal"][0].to_numpy())

        def every() -> Iterator[object]:
            for start in range(0, len(stored), 64):
                for values in lazy.slice(start, 64).collect()["signal"]:
                    yield _mv(values.to_numpy())

        few = order[: max(1, reads // 10)]
        _line("Parquet, one row a group", here / "x.parquet", stored, few, one, every)
        _codecs(here, stored, order)
    print(f"writing the cohort: {wrote:.0f} records/s")


def _codecs(here: Path, stored: np.ndarray, order: np.ndarray) -> None:
    for codec in ("lz4", "zstd"):
        for level in (1, 3, 5):
            for shuffle in ("shuffle", "bitshuffle"):
                path = here / f"{codec}{level}{shuffle}.zarr"
                array = zarr.create_array(
                    path,
                    shape=stored.shape,
                    chunks=(1, len(LEADS), signals.CHUNK_SAMPLES),
                    shards=(signals.SHARD_RECORDS, len(LEADS), signals.CHUNK_SAMPLES),
                    dtype="int16",
                    compressors=BloscCodec(typesize=2, cname=codec, clevel=level, shuffle=shuffle),
                )
                array[:] = stored
                _line(f"{codec} {level} {shuffle}", path, stored, order,
                      array.__getitem__, lambda array=array: _blocks(array))  # fmt: skip


def _line(
    name: str,
    path: Path,
    stored: np.ndarray,
    order: np.ndarray,
    one: Callable[[int], object],
    every: Callable[[], Iterator[object]],
) -> None:
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    size = sum(file.stat().st_size for file in files)
    one(0)
    started = time.perf_counter()
    for row in order:
        one(int(row))
    random = len(order) / (time.perf_counter() - started)
    started = time.perf_counter()
    count = sum(1 for _ in every())
    in_order = count / (time.perf_counter() - started)
    print(
        f"{name:<28}{size / 1e6:>8.1f}{size / stored.nbytes:>8.2f}{random:>10.0f}{in_order:>12.0f}"
    )


def _blocks(array: zarr.Array) -> Iterator[np.ndarray]:
    for start in range(0, array.shape[0], 64):
        yield from array[start : start + 64]


def _mv(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32) / signals.UV_PER_MV


def memory(counts: tuple[int, ...]) -> None:
    """Print the peak memory of a process that writes, or streams, cohorts of several sizes."""
    with tempfile.TemporaryDirectory() as folder:
        for count in counts:
            study = str(Path(folder) / str(count))
            for what in ("write", "stream"):
                command = [sys.executable, __file__, f"--{what}", study, "--records", str(count)]
                peak = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                print(f"{what:<8}{count:>8} records{int(peak) / 1024:>10.0f} MB at most")


def _write(study: Path, count: int) -> None:
    generator = np.random.default_rng(0)
    wave = np.cumsum(generator.normal(0, 0.02, (12, 5000)), axis=1).astype(np.float32)
    with CohortWriter(study) as writer:
        for number in range(count):
            rolled = np.roll(wave, number, axis=1)
            writer.add(Recording(as_leads(rolled), 500.0, f"record-{number:07d}"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, nargs="?", help="a folder of recordings")
    parser.add_argument("--reads", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--records", type=int, default=0)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--stream", type=Path)
    given = parser.parse_args()
    if given.write or given.stream:
        if given.write:
            _write(given.write, given.records)
        else:
            for _ in open_cohort(given.stream).stream():
                pass
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    elif given.memory:
        memory((256, 1024, 4096))
    elif given.source:
        compare(given.source, given.reads, given.seed)
    else:
        parser.error("name a folder of recordings, or give --memory")


if __name__ == "__main__":
    main()
