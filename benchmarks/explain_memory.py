"""Peak memory of explaining a cohort, by its number of records.

    python benchmarks/explain_memory.py --data ../shared/data/ptbxl/records500

Makes two studies of copies of real recordings, each with its own noise and one patient, explains
each in a process of its own with a small network (100 Hz, 12 x 1024, random weights), and prints
the peak resident memory of both. The settings, random-weights control and tables are those of
`leadlight explain`; only the network is small, so that thousands of records take minutes.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from leadlight.classify.cards import card_from_tables
from leadlight.classify.models import build_network, calibrate_batch_norm, load_model, save_model
from leadlight.classify.prepare import prepare
from leadlight.cohort.labels import CLASSES
from leadlight.cohort.store import write_cohort
from leadlight.ecg.formats import find_recordings, read_recording
from leadlight.ecg.recording import Recording
from leadlight.explain.cohort import explain_cohort

LABELS = (("AF",), ("LBBB",), ("NORM",), ("NORM",))
CARD = {
    "model": {
        "name": "small",
        "architecture_settings": {"stem_filters": 4, "filters": [8, 8], "kernel": 8},
    },
    "input": {"rate_hz": 100.0, "samples": 1024},
    "output": {"classes": list(CLASSES)},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of recordings")
    parser.add_argument("--records", type=int, nargs="+", default=[200, 2000])
    parser.add_argument("--study", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.study is not None:
        started = time.perf_counter()
        done = explain_cohort(
            arguments.study, load_model(arguments.model), max_steps=12, memory_mb=32.0
        )
        run = done.summary["run"] | {"wall": time.perf_counter() - started}
        print(json.dumps(run | {"used": done.summary["counts"]["used"]}))
        return
    sources = [read_recording(path) for path in find_recordings(arguments.data)[:40]]
    folder = Path(tempfile.mkdtemp(prefix="explain-memory-"))
    try:
        _write_model(folder / "model", sources)
        peaks = [_peak_mb(folder, sources, count) for count in arguments.records]
    finally:
        shutil.rmtree(folder)
    grown = peaks[-1] - peaks[0]
    more = arguments.records[-1] - arguments.records[0]
    print(f"growth {grown:.1f} MB for {more} more records, {1e3 * grown / more:.2f} kB a record")


def _peak_mb(folder: Path, sources: list[Recording], count: int) -> float:
    study = folder / f"study-{count}"
    write_cohort(study, _noisy_copies(sources, count))
    command = [sys.executable, __file__, "--study", str(study), "--model", str(folder / "model")]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(run.stdout.splitlines()[-1])
    relevance = sum(f.stat().st_size for f in (study / "relevance.zarr").rglob("*") if f.is_file())
    shutil.rmtree(study)
    print(
        f"{found['used']:6d} records: peak {found['peak_memory_mb']:.1f} MB, "
        f"{found['wall']:.0f} s, relevance.zarr {relevance / 1e6:.0f} MB"
    )
    return float(found["peak_memory_mb"])


def _noisy_copies(
    sources: list[Recording], count: int
) -> Iterator[tuple[Recording, tuple[str, ...]]]:
    for number in range(count):
        rng = np.random.default_rng(number)
        source = sources[number % len(sources)]
        noise = rng.normal(0, 0.01, source.signal_mv.shape).astype(np.float32)
        name = f"copy{number:06d}"
        copy = replace(source, signal_mv=source.signal_mv + noise, record_id=name, patient_id=name)
        yield copy, LABELS[number % len(LABELS)]


def _write_model(folder: Path, sources: list[Recording]) -> None:
    card = card_from_tables(CARD, "the benchmark")
    network = build_network(card, torch.Generator().manual_seed(0))
    inputs = [torch.from_numpy(prepare(source, card).values.values) for source in sources]
    calibrate_batch_norm(network, torch.stack(inputs).split(8))
    save_model(network.eval(), card, folder)


if __name__ == "__main__":
    main()
