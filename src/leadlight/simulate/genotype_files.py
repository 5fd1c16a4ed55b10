"""Genotypes on disk: pgen, bed and VCF of the same calls, and reading them back in blocks.

In memory a block is (variant, person) int8: copies of the alternative allele, `MISSING` where the
call is missing. The alternative allele is the derived one, so it may be the commoner of the two.
A table of variants has `chromosome, position, id, reference, alternative`, one row per variant.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight.errors import LeadlightError

Calls = npt.NDArray[np.int8]
Dosages = npt.NDArray[np.float32]

MISSING = -9
BLOCK_VARIANTS = 512
FORMATS = ("pgen", "bed", "vcf")
ENDINGS = {
    "pgen": (".pgen", ".pvar", ".psam"),
    "bed": (".bed", ".bim", ".fam"),
    "vcf": (".vcf.gz",),
}
# A dosage farther than this from a whole number has no hard call (PLINK's default).
HARD_CALL_THRESHOLD = 0.1

# What a call is written as, by its value + 9 (missing is 0; no, one and two copies 9, 10, 11).
# Bed: two bits, in copies of A1, which is the alternative allele.
_BED_CODE = np.zeros(12, dtype=np.uint8)
_BED_CODE[[0, 9, 10, 11]] = [0b01, 0b11, 0b10, 0b00]
_VCF_TEXT = np.zeros(12, dtype="S4")
_VCF_TEXT[[0, 9, 10, 11]] = [b"\t./.", b"\t0/0", b"\t0/1", b"\t1/1"]


class GenotypeWriter:
    """Writes blocks of genotypes to every format asked for. Use it as a context manager.

    `prefix` + ".pgen", ".pvar", ".psam"; ".bed", ".bim", ".fam"; ".vcf.gz" (BGZF). Family columns
    are 0 and no parents are named, so that no program leaves children out of frequencies.
    """

    def __init__(
        self,
        prefix: Path,
        formats: Sequence[str],
        person_ids: Sequence[str],
        sex: npt.NDArray[np.str_],
        n_variants: int,
        chromosomes: Sequence[int],
        *,
        dosages: bool = False,
    ) -> None:
        """Open the files and write what comes before the first variant.

        Args:
            prefix: path without ending.
            formats: among `FORMATS`.
            person_ids, sex: of the people, in order; "F" and "M".
            n_variants: how many will be written.
            chromosomes: for the headers.
            dosages: the pgen stores dosages, and the others the hard calls that follow from them.

        Raises:
            LeadlightError: an unknown format, or a library that it needs is not installed.
        """
        check_formats(formats)
        self._writers: list[_Pgen | _Bed | _Vcf] = []
        self._open = ExitStack()
        for name in formats:
            if name == "pgen":
                writer: _Pgen | _Bed | _Vcf = _Pgen(
                    prefix, person_ids, sex, n_variants, chromosomes, dosages
                )
            elif name == "bed":
                writer = _Bed(prefix, person_ids, sex)
            else:
                writer = _Vcf(prefix, person_ids, chromosomes)
            self._writers.append(writer)
            self._open.callback(writer.close)

    def __enter__(self) -> "GenotypeWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._open.close()
        except RuntimeError:
            # A pgen that lacks variants cannot be closed well; what went wrong before says more.
            if kind is None:
                raise

    def write(self, variants: pl.DataFrame, calls: Calls, dosages: Dosages | None = None) -> None:
        """Append a block: its rows of the table, its calls, and its dosages where they are kept."""
        for writer in self._writers:
            writer.write(variants, calls, dosages)


def check_formats(formats: Sequence[str]) -> None:
    """Raise LeadlightError unless these are one or more of `FORMATS` whose libraries are there."""
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise LeadlightError(
            f"There is no genotype format {', '.join(unknown) or 'named'}.",
            advice=f"Formats are {', '.join(FORMATS)}.",
        )
    _library("pgenlib")  # the parts of every genome are pgen
    if "vcf" in formats:
        _library("cyvcf2")


def n_people_of(pgen: Path) -> int:
    """How many people a pgen file holds."""
    with _library("pgenlib").PgenReader(str(pgen).encode()) as reader:
        return int(reader.get_raw_sample_ct())


def read_blocks(pgen: Path, rows: Sequence[int] | None = None) -> Iterator[Calls]:
    """The hard calls of a pgen file in blocks of `BLOCK_VARIANTS`, all variants or those of `rows`.

    Each block is (variant, person) int8.
    """
    with _library("pgenlib").PgenReader(str(pgen).encode()) as reader:
        people = int(reader.get_raw_sample_ct())
        total = int(reader.get_variant_ct()) if rows is None else len(rows)
        for start in range(0, total, BLOCK_VARIANTS):
            stop = min(start + BLOCK_VARIANTS, total)
            calls = np.empty((stop - start, people), dtype=np.int8)
            if rows is None:
                reader.read_range(start, stop, calls)
            else:
                reader.read_list(np.asarray(rows[start:stop], dtype=np.uint32), calls)
            yield calls


def hard_calls(dosages: Dosages) -> Calls:
    """The calls that dosages give, `MISSING` where none is near enough."""
    nearest = np.rint(dosages)
    near = np.abs(dosages - nearest) <= HARD_CALL_THRESHOLD
    return np.where(near, nearest, MISSING).astype(np.int8)


class _Pgen:
    def __init__(
        self,
        prefix: Path,
        person_ids: Sequence[str],
        sex: npt.NDArray[np.str_],
        n_variants: int,
        chromosomes: Sequence[int],
        dosages: bool,
    ) -> None:
        lines = [
            f"{name}\t{1 if one == 'M' else 2}" for name, one in zip(person_ids, sex, strict=True)
        ]
        _write_lines(_with_ending(prefix, ".psam"), ["#IID\tSEX", *lines])
        self._variants: IO[str] = _with_ending(prefix, ".pvar").open("w", encoding="utf-8")
        self._variants.writelines(f"##contig=<ID={number}>\n" for number in chromosomes)
        self._variants.write("#CHROM\tPOS\tID\tREF\tALT\n")
        self._calls = _library("pgenlib").PgenWriter(
            str(_with_ending(prefix, ".pgen")).encode(),
            len(person_ids),
            variant_ct=n_variants,
            nonref_flags=False,
            dosage_present=dosages,
        )
        self._dosages = dosages

    def write(self, variants: pl.DataFrame, calls: Calls, dosages: Dosages | None) -> None:
        if self._dosages:
            assert dosages is not None
            self._calls.append_dosages_batch(np.ascontiguousarray(dosages))
        else:
            self._calls.append_biallelic_batch(np.ascontiguousarray(calls))
        columns = ("chromosome", "position", "id", "reference", "alternative")
        self._variants.write(
            variants.select(columns).write_csv(separator="\t", include_header=False)
        )

    def close(self) -> None:
        self._variants.close()
        self._calls.close()


class _Bed:
    def __init__(self, prefix: Path, person_ids: Sequence[str], sex: npt.NDArray[np.str_]) -> None:
        lines = [
            f"0\t{name}\t0\t0\t{1 if one == 'M' else 2}\t-9"
            for name, one in zip(person_ids, sex, strict=True)
        ]
        _write_lines(_with_ending(prefix, ".fam"), lines)
        self._variants: IO[str] = _with_ending(prefix, ".bim").open("w", encoding="utf-8")
        self._calls: IO[bytes] = _with_ending(prefix, ".bed").open("wb")
        self._calls.write(b"\x6c\x1b\x01")

    def write(self, variants: pl.DataFrame, calls: Calls, dosages: Dosages | None) -> None:
        n_variants, people = calls.shape
        codes = np.zeros((n_variants, -(-people // 4) * 4), dtype=np.uint8)
        codes[:, :people] = _BED_CODE[calls + 9]
        four = codes.reshape(n_variants, -1, 4)
        packed = four[..., 0] | four[..., 1] << 2 | four[..., 2] << 4 | four[..., 3] << 6
        self._calls.write(packed.tobytes())
        self._variants.write(
            variants.select(
                "chromosome", "id", pl.lit(0), "position", "alternative", "reference"
            ).write_csv(separator="\t", include_header=False)
        )

    def close(self) -> None:
        self._variants.close()
        self._calls.close()


class _Vcf:
    def __init__(self, prefix: Path, person_ids: Sequence[str], chromosomes: Sequence[int]) -> None:
        header = [
            "##fileformat=VCFv4.2",
            *(f"##contig=<ID={number}>" for number in chromosomes),
            '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">',
            "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t" + "\t".join(person_ids),
        ]
        self._file: Any = _library("cyvcf2").Writer.from_string(
            str(_with_ending(prefix, ".vcf.gz")), "\n".join(header) + "\n", mode="wz"
        )
        self._file.write_header()

    def write(self, variants: pl.DataFrame, calls: Calls, dosages: Dosages | None) -> None:
        columns = ("chromosome", "position", "id", "reference", "alternative")
        for row, one in zip(variants.select(columns).iter_rows(), calls, strict=True):
            text = _VCF_TEXT[one + 9].tobytes().decode("ascii")
            fixed = "\t".join(str(value) for value in row)
            self._file.write_record(
                self._file.variant_from_string(f"{fixed}\t.\tPASS\t.\tGT{text}")
            )

    def close(self) -> None:
        self._file.close()


def _with_ending(prefix: Path, ending: str) -> Path:
    return prefix.with_name(prefix.name + ending)


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise LeadlightError(
            f"Genotype files are written with {name}, which is not installed.",
            advice="Install it (pip install 'leadlight[simulate]'), or give --no-genomes.",
        ) from error
