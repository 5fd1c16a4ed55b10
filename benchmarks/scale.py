"""What a whole study costs against its size: time, processor time, memory and disk, by stage.

    python benchmarks/scale.py --folder /tmp/scale --people 1000 10000 --workers 2
    python benchmarks/scale.py --folder /tmp/scale --table

For each size, people with genomes and ECGs are simulated, and `leadlight run` goes through their
study stage by stage, each as a process of its own. Seconds are by the clock, `cpu_s` and
`peak_mb` (resident) of all its processes together, `disk_mb` what the stage added to the folder.
Rows are appended to `scale.json` in the folder; a size that is there is not run again.
`--table` prints what is there in Markdown, with the straight line through the two largest sizes
drawn on to a million people. `leadlight explain` looks at a bounded number of records of each
group, so its line is flat. Seconds by the clock hang on what else the machine does; processor
time hardly does.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PAGE, TICKS = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
STAGES = ("measure", "classify", "explain", "latent", "gwas", "loci", "effect", "report")
BY_RECORD = ("simulate", "measure", "classify")
# What is no stage of a study that `leadlight run` does: making its people, joining its shards.
OUTSIDE = ("simulate", "join")
STUDY_FILE = """\
[study]
folder = "."
seed = 1
workers = {workers}
[measure]
[classify]
[explain]
classes = ["AF", "LBBB"]
most_per_group = 200
[latent]
[gwas]
genotypes = ["genotypes/genotypes"]
covariates = "covariates.parquet"
[loci]
[effect]
most = 6
[report]
"""


def run(command: list[str], folder: Path) -> dict[str, float]:
    """Run a command to its end; what it and all processes of its session cost."""
    before = disk_mb(folder)
    started = time.monotonic()
    process = subprocess.Popen(command, start_new_session=True)
    cpu_of: dict[int, float] = {}
    peak = 0.0
    while process.poll() is None:
        resident = 0.0
        for pid, cpu, memory in session(process.pid):
            cpu_of[pid] = max(cpu, cpu_of.get(pid, 0.0))
            resident += memory
        peak = max(peak, resident)
        time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return {
        "wall_s": round(time.monotonic() - started, 1),
        "cpu_s": round(sum(cpu_of.values()), 1),
        "peak_mb": round(peak),
        "disk_mb": round(disk_mb(folder) - before, 1),
    }


def session(leader: int) -> list[tuple[int, float, float]]:
    """(process, its own processor seconds, resident MB) of all processes of a session."""
    found = []
    for place in Path("/proc").iterdir():
        if not place.name.isdigit():
            continue
        try:
            fields = (place / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[3]) == leader:
            cpu = (int(fields[11]) + int(fields[12])) / TICKS
            found.append((int(place.name), cpu, int(fields[21]) * PAGE / 1e6))
    return found


def disk_mb(folder: Path) -> float:
    """Megabytes that the files of a folder take."""
    return sum(p.stat().st_blocks * 512 for p in folder.rglob("*") if p.is_file()) / 1e6


def study_of(folder: Path, people: int, variants: int, workers: int) -> list[dict[str, object]]:
    """One size: simulate it, then every stage of its study."""
    study = folder / f"people-{people}"
    leadlight = [sys.executable, "-m", "leadlight.cli.app"]
    rows: list[dict[str, object]] = []
    done = study / "scale-rows.json"
    if done.exists():
        rows = json.loads(done.read_text())

    def step(name: str, command: list[str]) -> None:
        if any(row["stage"] == name for row in rows):
            return
        row = {"people": people, "variants": variants, "workers": workers, "stage": name}
        rows.append(row | run(command, study))
        done.write_text(json.dumps(rows, indent=1))
        print(rows[-1], flush=True)

    step(
        "simulate",
        [*leadlight, "simulate", "--study", str(study), "--people", str(people), "--variants",
         str(variants), "--workers", str(workers), "--quiet"],
    )  # fmt: skip
    (study / "study.toml").write_text(STUDY_FILE.format(workers=workers))
    for stage in STAGES:
        step(stage, [*leadlight, "run", str(study), "--only", stage, "--quiet"])
    return rows


def rows_in(folders: list[Path]) -> list[dict[str, Any]]:
    """All rows that runs left, of unfinished sizes too; of one stage and size the first."""
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for folder in folders:
        for path in sorted(folder.glob("people-*/scale-rows.json")):
            for row in json.loads(path.read_text()):
                rows.setdefault((row["stage"], row["people"]), row)
    return list(rows.values())


def tables(rows: list[dict[str, Any]], target: int = 1_000_000) -> str:
    """Markdown: processor time, memory and disk of each stage at each size, and at `target`."""
    sizes = sorted({row["people"] for row in rows})
    found = {(row["stage"], row["people"]): row for row in rows}
    parts = []
    for title, key, shown in (
        ("Processor time", "cpu_s", duration),
        ("Largest memory of all its processes", "peak_mb", amount),
        ("What it adds to the disk", "disk_mb", amount),
    ):
        head = [title, *(f"{size:,}" for size in sizes), f"{target:,} (extrapolated)"]
        lines = [row_of(head), row_of(["---", *["---:"] * (len(sizes) + 1)])]
        totals = dict.fromkeys([*sizes, target], 0.0)
        for stage in (*OUTSIDE, *STAGES):
            at = {size: found[stage, size][key] for size in sizes if (stage, size) in found}
            at = {size: value for size, value in at.items() if value is not None}
            if not at:
                continue
            # Fixed costs weigh in small studies: only what is linear from the start is drawn on
            # from there.
            linear = key != "peak_mb" and stage in BY_RECORD
            used = at if linear else {size: value for size, value in at.items() if size >= 10_000}
            far = extended(used, target, flat=stage == "explain")
            cells = [shown(at[size]) if size in at else "–" for size in sizes]
            lines.append(row_of([f"`{stage}`", *cells, "–" if far is None else shown(far)]))
            if stage in OUTSIDE:
                continue
            for size in sizes:
                totals[size] += at.get(size, float("nan"))
            totals[target] += float("nan") if far is None else far
        if key != "peak_mb":
            cells = ["–" if value != value else shown(value) for value in totals.values()]
            lines.append(row_of(["all of `leadlight run`", *cells]))
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def extended(at: dict[int, float], target: int, *, flat: bool) -> float | None:
    """The straight line through the two largest sizes, at `target`; never below the largest."""
    sizes = sorted(at)
    if flat and sizes:
        return at[sizes[-1]]
    if len(sizes) < 2:
        return None
    low, high = sizes[-2:]
    slope = max(0.0, (at[high] - at[low]) / (high - low))
    return at[high] + slope * (target - high)


def row_of(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def amount(megabytes: float) -> str:
    if megabytes < 1000:
        return f"{max(megabytes, 0):.0f} MB"
    return f"{megabytes / 1000:.1f} GB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, nargs="+", required=True)
    parser.add_argument("--people", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--variants", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="print what was measured, run nothing")
    given = parser.parse_args()
    if given.table:
        print(tables(rows_in(given.folder)))
        return
    folder = given.folder[0]
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / "scale.json"
    rows = json.loads(out.read_text()) if out.exists() else []
    for people in given.people:
        if any(row["people"] == people for row in rows):
            continue
        rows += study_of(folder, people, given.variants, given.workers)
        out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
