"""Run the benchmarks that a folder of recordings is enough for; keep what they print.

    python benchmarks/run.py --data path/to/ptbxl

`benchmarks/results.json` gets one entry per script: name, command, date, cpu, seconds and output.
"""

import argparse
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from leadlight.atomic import write_json

HERE = Path(__file__).parent
# Script and its words; DATA stands for the folder of recordings.
RUNS = (
    ("cohort_store.py", ("DATA",)),
    ("integrated_gradients.py", ("--data", "DATA", "--records", "2")),
    ("explain_memory.py", ("--data", "DATA")),
    ("measure.py", ("--ptbxl", "DATA", "--records", "100", "--people", "40")),
    ("r_peaks.py", ("--people", "40")),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a folder of PTB-XL recordings")
    parser.add_argument("--only", nargs="*", help="names of scripts")
    asked = parser.parse_args()
    entries = []
    for script, words in RUNS:
        if asked.only and script.removesuffix(".py") not in asked.only:
            continue
        given = [str(asked.data) if word == "DATA" else word for word in words]
        print(f"== {script}", flush=True)
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, str(HERE / script), *given],
            capture_output=True,
            text=True,
            check=False,
        )
        print(done.stdout, done.stderr[-2000:] if done.returncode else "", sep="\n")
        entries.append(
            {
                "name": script.removesuffix(".py"),
                "command": f"python benchmarks/{script} {' '.join(words)}",
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
                "cpu": platform.processor() or platform.machine(),
                "seconds": round(time.monotonic() - started, 1),
                "exit_code": done.returncode,
                "output": done.stdout.splitlines(),
            }
        )
    write_json(HERE / "results.json", entries)


if __name__ == "__main__":
    main()
