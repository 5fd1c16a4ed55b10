"""A small study as a user has it: files of ECGs, labels, a genotype file for each chromosome."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pgenlib
import polars as pl

from leadlight.cohort.signals import to_microvolts
from leadlight.ecg.leads import LEADS
from leadlight.simulate.population import simulate_recordings

CHROMOSOMES = ("1", "2", "X")
VARIANTS = 40  # of a chromosome


def write_ward(ward: Path, text: str, people: int = 30, *, genotypes: bool = True) -> Path:
    """Write ECGs, labels, genotypes and covariates into `ward`, and `text` as its study file.

    Every fifth person has two recordings, one recording in six is followed by a broken file, and a
    last folder holds broken files alone, so that files, records and people are counted differently.
    """
    rng = np.random.default_rng(5)
    rows = []
    (ward / "ecgs").mkdir(parents=True)
    n_records = people + people // 5
    for number, made in enumerate(simulate_recordings(n_records, seed=3)):
        person = number if number < people else 5 * (number - people)
        name = f"p{person:03d}_{1 + (number >= people)}"
        write_wfdb(ward / "ecgs", name, to_microvolts(made.recording.signal_mv)[0])
        if number % 6 == 0:
            (ward / "ecgs" / f"{name}-broken.hea").write_text("")
        # What the table says of one record of a person counts for the other, wherever that is.
        split = "test" if number >= people else None
        rows.append((name, f"p{person:03d}", ";".join(made.labels), split))
    schema = ["record_id", "patient_id", "labels", "split"]
    pl.DataFrame(rows, schema=schema, orient="row").write_csv(ward / "labels.csv")
    (ward / "unreadable").mkdir()
    for number in range(12):
        (ward / "unreadable" / f"u{number:02d}.hea").write_text("")
    if genotypes:
        names = [f"p{person:03d}" for person in range(people)]
        ages = rng.uniform(40, 70, people)
        sexes = np.arange(people) % 2
        pl.DataFrame({"IID": names, "age": ages, "sex": sexes}).write_parquet(
            ward / "covariates.parquet"
        )
        for chromosome in CHROMOSOMES:
            calls = rng.binomial(2, rng.uniform(0.2, 0.5, (VARIANTS, 1)), (VARIANTS, people))
            write_pgen(ward / "genotypes" / f"chr{chromosome}", chromosome, calls, names)
    (ward / "study.toml").write_text(text)
    return ward / "study.toml"


def write_pgen(
    prefix: Path, chromosome: str, calls: npt.NDArray[np.int64], names: list[str]
) -> None:
    """Calls (variant, person) as a `.pgen` with its tables; every second person is a woman."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    with pgenlib.PgenWriter(
        f"{prefix}.pgen".encode(), len(names), variant_ct=len(calls), nonref_flags=False
    ) as writer:
        for row in calls:
            writer.append_biallelic(row.astype(np.int8))
    lines = [f"{chromosome}\t{1000 * n + 1}\trs{chromosome}{n}\tA\tG" for n in range(len(calls))]
    text = "\n".join(["#CHROM\tPOS\tID\tREF\tALT", *lines, ""])
    prefix.with_suffix(".pvar").write_text(text)
    people = [f"0\t{name}\t{1 + number % 2}" for number, name in enumerate(names)]
    prefix.with_suffix(".psam").write_text("\n".join(["#FID\tIID\tSEX", *people, ""]))


def write_wfdb(folder: Path, name: str, microvolts: npt.NDArray[np.int16]) -> None:
    """(lead, sample) as a WFDB record at 500 Hz."""
    microvolts.T.astype("<i2").tofile(folder / f"{name}.dat")
    head = [f"{name} {len(LEADS)} 500 {microvolts.shape[1]}"]
    head += [
        f"{name}.dat 16 1000/mV 16 0 {values[0]} {values.sum(dtype=np.int16)} 0 {lead}"
        for lead, values in zip(LEADS, microvolts, strict=True)
    ]
    (folder / f"{name}.hea").write_text("\n".join(head) + "\n")


def tables_differ(one: Path, other: Path, name: str, *, within: float = 0.0) -> str:
    """What a table of one study folder has otherwise than the other's; empty where nothing."""
    a, b = (pl.read_parquet(folder / name) for folder in (one, other))
    if a.columns != b.columns or a.height != b.height:
        return f"{name}: {a.shape} and {b.shape}, {set(a.columns) ^ set(b.columns)}"
    for column in a.columns:
        x, y = a[column], b[column]
        if x.dtype.is_float():
            x, y = x.fill_nan(None), y.fill_nan(None)
            if within:
                far = ((x - y).abs() > within).any() or not x.is_null().equals(y.is_null())
                if far:
                    return f"{name}: {column} differs by {(x - y).abs().max()}"
                continue
        if not x.equals(y, null_equal=True):
            return f"{name}: {column} differs"
    return ""
