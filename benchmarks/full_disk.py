"""Do every stage of a study on a disk that is too small for it, at several sizes.

    sudo python benchmarks/full_disk.py

The study lies on a small tmpfs (mounting it needs root). With room for none, a third and two thirds
of what a stage writes, the command must end with one line that says where the disk is full and what
to do, leave nothing half under a final name, and go on to the uninterrupted run's results when
there is room. Exit code 1 where not.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "reliability"))

from faulted_study import stages, write_inputs, write_study_file
from filling import fill
from runner import Runner

SHARES = (0.0, 0.33, 0.66)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=34)
    parser.add_argument("--stages", nargs="*", default=stages(quick=False))
    asked = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="leadlight-full-disk-"))
    runner, started = Runner(), time.monotonic()
    whole = work / "whole"
    write_inputs(whole / "inputs", asked.people)
    study_file = write_study_file(whole / "study.toml", whole / "inputs", quick=False)
    (whole / "study").mkdir()
    for stage in stages(quick=False):
        shutil.copytree(whole / "study", whole / f"before-{stage}")
        code, told = runner.run("run", study_file, "--quiet", "--only", stage)
        if code:
            raise SystemExit(told)
    met, faults, said = [], [], []
    disk = _Disk(work / "disk")
    try:
        for stage in asked.stages:
            for share in SHARES:
                done = fill(runner, disk, stage, share, whole=whole,
                            study_file=work / "study.toml", quick=False)  # fmt: skip
                met += [f"{stage} at {share}"] if done.met else []
                faults += done.faults
                said.append(done.said if done.met else "(had room)")
                print(f"{stage} at {share}: {said[-1]}", file=sys.stderr, flush=True)
    finally:
        disk.unmount()
        runner.close()
    result = {
        "full_disks_met": len(met), "met": met, "faults": faults,
        "seconds": round(time.monotonic() - started),
    }  # fmt: skip
    print(json.dumps(result, indent=2))
    shutil.rmtree(work)
    sys.exit(1 if faults else 0)


class _Disk:
    """A tmpfs; called, it is mounted with so many KiB, or changes its size."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._mounted = folder, False
        folder.mkdir()

    def __call__(self, kib: int) -> Path:
        options = f"size={kib}k" + (",remount" if self._mounted else "")
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "none", str(self._folder)], check=True
        )
        self._mounted = True
        return self._folder

    def unmount(self) -> None:
        if self._mounted:
            subprocess.run(["umount", "-l", str(self._folder)], check=False)


if __name__ == "__main__":
    main()
