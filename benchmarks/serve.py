"""Load on `leadlight serve`: answers a second, their times, and the server's largest memory.

    python benchmarks/serve.py STUDY [--clients 32] [--seconds 8] [--gwas DIR ...]
    python benchmarks/serve.py --million          # the table of a million records, made here

The server runs in a process of its own, the clients in this one, on the same machine; each client
asks one question after another, from a list that it goes through in its own order. Times are from
the question to the last byte of the answer. Refusals (503) are counted and not timed. Memory is the
largest resident set of the server's process (VmHWM), and what it was after the first round. CPU is
the server's time per answer where one is asked after another: unlike the other times it does not
depend on what else the machine does.
"""

import argparse
import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import polars as pl

LABELS = ("NORM", "AF", "LBBB", "RBBB", "1dAVb", "SB", "ST")
CLASSES = ("1dAVb", "RBBB", "LBBB", "SB", "AF", "ST")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", nargs="?", type=Path)
    parser.add_argument("--gwas", nargs="*", type=Path, default=[],
                        help="associations that the study gets beside its own")  # fmt: skip
    parser.add_argument("--million", action="store_true")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--waiting", type=int, default=64)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder) / "study"
        if given.million:
            write_million(study, 1_000_000)
        else:
            link_study(given.study, study, given.gwas)
        measure(study, given)


def link_study(source: Path, study: Path, gwas: list[Path]) -> None:
    """A study of links to another one's files, and to associations that lie elsewhere."""
    study.mkdir()
    for one in source.iterdir():
        if one.name != "gwas" or not gwas:
            (study / one.name).symlink_to(one.resolve())
    if gwas:
        (study / "gwas").mkdir()
        for one in gwas:
            (study / "gwas" / one.name).symlink_to(one.resolve())


def write_million(study: Path, count: int) -> None:
    """Tables of so many records without signals, written as an import and a classification do."""
    rng = np.random.default_rng(1)
    parts = study / "parts"
    parts.mkdir(parents=True)
    (study / "cohort.zarr").mkdir()
    for low in range(0, count, 20_000):
        n = min(20_000, count - low)
        names = [f"person{number:08d}" for number in range(low, low + n)]
        pl.DataFrame(
            {
                "record_id": names, "patient_id": names,
                "source": [f"folder/{name}.xml" for name in names], "source_format": "uk-biobank",
                "rate_hz": 500.0, "n_samples": 5000, "age": rng.integers(40, 80, n).astype(float),
                "sex": rng.choice(["F", "M"], n),
                "labels": [[LABELS[k]] for k in rng.choice(7, n, p=[0.7, *[0.05] * 6])],
                "split": rng.choice(["train", "validation", "test"], n),
                "flags": [["clipped"] if k else [] for k in rng.random(n) < 0.01],
                "signal_sha256": [f"{number:064x}" for number in range(low, low + n)],
            },
            schema_overrides={"flags": pl.List(pl.String())},
        ).write_parquet(parts / f"{low:08d}.parquet")  # fmt: skip
    pl.scan_parquet(sorted(parts.glob("*"))).sink_parquet(study / "records.parquet")
    folder = study / "classify" / "a-model"
    folder.mkdir(parents=True)
    kept = [f"person{number:08d}" for number in np.flatnonzero(rng.random(count) > 0.001)]
    table = {"record_id": kept, **{name: rng.beta(0.2, 4, len(kept)) for name in CLASSES}}
    pl.DataFrame(table).write_parquet(folder / "probabilities.parquet")


def questions(study: dict[str, Any], names: list[str]) -> dict[str, list[str]]:
    """Kind of question → addresses, of what the study has."""
    found: dict[str, list[str]] = defaultdict(list)
    pages = max(1, study["records"]["records"] // 50)
    rng = random.Random(3)
    found["table, any page"] = [f"/records?page={rng.randint(1, pages)}" for _ in range(40)]
    found["table, text sought"] = [f"/records?search={rng.randint(1000, 9999)}" for _ in range(6)]
    for name in ("AF", "NORM"):
        found["table, by label"] += [f"/records?label={name}&page={n}" for n in range(1, 4)]
    if study["classifiers"]:
        found["table, by probability"] = [
            f"/records?class=AF&low=0.{n}&order=high&page={page}"
            for n in range(2, 5) for page in (1, 2)
        ]  # fmt: skip
    if (names and study["classifiers"] and study["factors"]) or study["explained"]:
        found["record"] = [f"/records/{name}" for name in names]
    if any(one["decoder"] for one in study["factors"]):
        found["factor setting"] = [
            f"/api/factors?factor_01={n / 7:.3f}&factor_05={-n / 9:.3f}" for n in range(20)
        ]
    return found


def add_places(found: dict[str, list[str]], study: dict[str, Any], regions: list[str]) -> None:
    """Regions and variants of the study's associations."""
    rng = random.Random(4)
    for one in study["sets"]:
        for trait in rng.sample(one["traits"], min(6, len(one["traits"]))):
            found["region"] += [
                f"/loci/{place}?set={one['name']}&trait={trait}" for place in regions[:4]
            ]
    found["variant with its ECG"] = [
        f"/variants/{place.partition('-')[0]}" for place in regions[4:]
    ]


async def load(url: str, token: str, kinds: dict[str, list[str]], given: Any) -> Any:
    times: dict[str, list[float]] = defaultdict(list)
    statuses: Counter[int] = Counter()
    sizes: dict[str, int] = Counter()
    end = time.monotonic() + given.seconds
    flat = [(kind, address) for kind, addresses in kinds.items() for address in addresses]

    async def client(number: int) -> None:
        # Kinds are asked equally often, whatever the number of their addresses.
        rng = random.Random(number)
        names = list(kinds)
        headers = {"Authorization": f"Bearer {token}"}
        async with aiohttp.ClientSession(headers=headers) as session:
            while time.monotonic() < end:
                kind = rng.choice(names)
                began = time.perf_counter()
                async with session.get(url + rng.choice(kinds[kind])) as reply:
                    body = await reply.read()
                statuses[reply.status] += 1
                if reply.status == 200:
                    times[kind].append(time.perf_counter() - began)
                    sizes[kind] = max(sizes[kind], len(body))
                elif reply.status == 503:
                    await asyncio.sleep(0.1)

    assert flat
    began = time.monotonic()
    await asyncio.gather(*(client(number) for number in range(given.clients)))
    return times, statuses, sizes, time.monotonic() - began


def measure(study: Path, given: Any) -> None:
    command = [sys.executable, "-m", "leadlight.cli.app", "serve", str(study), "--json",
               "--workers", str(given.workers), "--waiting", str(given.waiting),
               "--idle-minutes", "10"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = json.loads(process.stdout.readline())
    url, token = f"http://127.0.0.1:{said['port']}", said["url"].partition("token=")[2]
    try:
        asyncio.run(_measured(url, token, process.pid, given))
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


async def _measured(url: str, token: str, pid: int, given: Any) -> None:
    start = _memory(pid)
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:

        async def get(address: str) -> Any:
            async with session.get(url + address) as reply:
                return await reply.json() if reply.status == 200 else {}

        study = await get("/api/study")
        pages = max(1, study["records"]["records"] // 50)
        listed = [await get(f"/api/records?page={1 + n * pages // 5}") for n in range(5)]
        names = [one["record_id"] for part in listed for one in part["records"]]
        kinds = questions(study, names)
        if study["sets"]:
            genome = await get("/api/manhattan")
            regions = []
            for one in genome["chromosomes"]:
                middle = (one["start"] + one["end"]) // 2
                regions.append(f"{one['name']}:{max(1, middle - 250_000)}-{middle + 250_000}")
            top = [
                row
                for place in regions[:6]
                for row in (await get(f"/api/region?place={place}")).get("top", [])[:3]
            ]
            variants = [f"{row['chromosome']}:{row['base_pair_location']}" for row in top]
            add_places(kinds, study, [*regions[:4], *variants])
        alone = {}
        for kind, addresses in kinds.items():
            took = []
            spent = _cpu_s(pid)
            for address in addresses[:8]:
                began = time.perf_counter()
                async with session.get(url + address) as reply:
                    await reply.read()
                    assert reply.status == 200, (address, reply.status)
                took.append(time.perf_counter() - began)
            each = (_cpu_s(pid) - spent) / len(took)
            alone[kind] = (took[0], float(np.median(took[1:] or took)), each)
    first = _memory(pid)
    spent = _cpu_s(pid)
    times, statuses, sizes, seconds = await load(url, token, kinds, given)
    spent = _cpu_s(pid) - spent
    last = _memory(pid)
    count = sum(statuses.values())
    print(f"{study['records']['records']:,} records, {len(study['sets'])} sets of associations")
    print(f"{given.clients} clients, {given.workers} workers, {given.waiting} may wait")
    print(f"{'':<24}{'first':>9}{'alone':>9}{'CPU':>9}{'p50':>9}{'p99':>9}{'answers':>9}{'kB':>8}")
    for kind, values in times.items():
        ms = [1e3 * alone[kind][0], 1e3 * alone[kind][1], 1e3 * alone[kind][2],
              *(1e3 * np.quantile(values, q) for q in (0.5, 0.99))]  # fmt: skip
        print(f"{kind:<24}" + "".join(f"{one:>7.0f}ms" for one in ms)
              + f"{len(values):>9}{sizes[kind] / 1e3:>8.0f}")  # fmt: skip
    every = [one for values in times.values() for one in values]
    print(
        f"all: {count / seconds:.1f} answers/s, p50 {1e3 * np.quantile(every, 0.5):.0f} ms, "
        f"p99 {1e3 * np.quantile(every, 0.99):.0f} ms; {1e3 * spent / count:.0f} ms of CPU each; "
        f"by status {dict(statuses)}"
    )
    print(
        f"memory: {start['VmRSS']} MB at the start, {first['VmRSS']} MB after one round, "
        f"{last['VmRSS']} MB after the load, at most {last['VmHWM']} MB"
    )


def _cpu_s(pid: int) -> float:
    """Seconds of CPU that the server has used, its reading threads included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(pid: int) -> dict[str, int]:
    text = Path(f"/proc/{pid}/status").read_text()
    return {name: int(value) // 1024 for name, value in re.findall(r"(Vm\w+):\s+(\d+) kB", text)}


if __name__ == "__main__":
    main()
