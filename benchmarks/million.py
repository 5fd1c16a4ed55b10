"""What does not hang on recordings, at a million people: names of files, tables, associations.

    python benchmarks/million.py --people 1000000

People, traits and genotypes are random numbers; each step is a process of its own, so that its
largest memory is its own. Prints a line of JSON for each.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

TRAITS, VARIANTS = 26, 96


def names(people: int, folder: Path) -> None:
    """Names for the records of so many files, as `import` and `shards cut` give them."""
    from leadlight.cohort.sources import Sources, name_records, write_sources

    paths = [Path(f"/data/ecg/{n // 1000:05d}/{n:07d}_20205_2_0.xml") for n in range(people)]
    found = Sources(tuple(paths), tuple(name_records(paths)), (), 0)
    write_sources(found, slice(0, people), folder / "sources.parquet")


def labels(people: int, folder: Path) -> None:
    """A table of labels of all recordings, as every shard reads it."""
    from leadlight.cohort.labels import read_label_table

    table = folder / "labels.csv"
    with table.open("w") as stream:
        stream.write("record_id,patient_id,labels,age,sex\n")
        for n in range(people):
            stream.write(f"{n:07d}_20205_2_0,{n:07d},{'AF' if n % 50 == 0 else 'NORM'},61.5,F\n")
    assert len(read_label_table(table).facts) == people


def make_genotypes(people: int, folder: Path) -> None:
    import pgenlib
    import polars as pl

    rng = np.random.default_rng(1)
    ids = [f"{n:07d}" for n in range(people)]
    prefix = folder / "chr1"
    with pgenlib.PgenWriter(
        f"{prefix}.pgen".encode(), people, variant_ct=VARIANTS, nonref_flags=False
    ) as writer:
        for _ in range(VARIANTS):
            writer.append_biallelic(rng.binomial(2, 0.3, people).astype(np.int8))
    lines = [f"1\t{1000 * n + 1}\trs{n}\tA\tG" for n in range(VARIANTS)]
    prefix.with_suffix(".pvar").write_text("\n".join(["#CHROM\tPOS\tID\tREF\tALT", *lines, ""]))
    rows = [f"{name}\t{1 + n % 2}" for n, name in enumerate(ids)]
    prefix.with_suffix(".psam").write_text("\n".join(["#IID\tSEX", *rows, ""]))
    values = {f"t{k}": rng.standard_normal(people, dtype=np.float32) for k in range(TRAITS)}
    pl.DataFrame({"IID": ids, **values}).write_parquet(folder / "traits.parquet")
    covariates = {f"c{k}": rng.standard_normal(people) for k in range(12)}
    pl.DataFrame({"IID": ids, **covariates}).write_parquet(folder / "covariates.parquet")


def associate(people: int, folder: Path) -> None:
    """All traits against some variants, with joint tests, as one file of a chromosome."""
    from leadlight.genetics.stage import prepare_gwas, run_gwas

    given = (folder / "chr1", folder / "traits.parquet")
    shared = {"covariates": folder / "covariates.parquet", "transform": "rank-normal"}
    prepare_gwas(*given, folder / "gwas", workers=1, precision="single", **shared)
    run_gwas(*given, folder / "part", joint=True, workers=1, prepared=folder / "gwas", **shared)


STEPS = {
    "names": names,
    "labels": labels,
    "make_genotypes": make_genotypes,
    "associate": associate,
}


def peak_mb() -> int:
    """The largest memory of this process so far."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) // 1024 if found else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=1_000_000)
    parser.add_argument("--step", choices=STEPS)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.step:
        started = time.process_time()
        STEPS[given.step](given.people, given.folder)
        seconds = round(time.process_time() - started, 1)
        row = {"step": given.step, "people": given.people, "cpu_s": seconds, "peak_mb": peak_mb()}
        print(json.dumps(row), flush=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        for step in STEPS:
            command = [sys.executable, __file__, "--people", str(given.people), "--step", step]
            subprocess.run([*command, "--folder", folder], check=True)


if __name__ == "__main__":
    main()
