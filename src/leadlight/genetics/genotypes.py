"""Genotype files behind one interface: blocks of allele counts or dosages, people by name.

PLINK 2 `.pgen` and PLINK 1 `.bed` are read as they are, through PLINK's own reader. BGEN and
VCF/BCF are turned into a `.pgen` once (`leadlight.genetics.conversion`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pgenlib
import pyarrow as pa

from leadlight.errors import LeadlightError
from leadlight.genetics.variant_tables import (
    UNKNOWN_SEX,
    People,
    Variants,
    read_people,
    read_variants,
)

Calls = npt.NDArray[np.int8] | npt.NDArray[np.float32]
MISSING = -9
_BED_MAGIC, _PGEN_MAGIC = b"\x6c\x1b\x01", b"\x6c\x1b"
_DOSAGE_BITS = 0x60  # of a .pgen variant's record type


@dataclass(frozen=True)
class GenotypeFile:
    """One `.pgen` or `.bed` with its first variant's number in the whole source.

    has_dosages: (variant,); allele_offsets: (variant + 1,) alleles before each variant, None where
    all variants have two.
    """

    path: Path
    first: int
    n_variants: int
    has_dosages: npt.NDArray[np.bool_]
    allele_offsets: npt.NDArray[np.uintp] | None = None


@dataclass(frozen=True)
class GenotypeSource:
    """The genotypes of one or several files (by chromosome, say) of the same people."""

    files: tuple[GenotypeFile, ...]
    people: People
    variants: Variants

    @property
    def has_dosages(self) -> npt.NDArray[np.bool_]:
        """(variant,) bool: whether the file stores dosages, and not only called alleles."""
        return np.concatenate([file.has_dosages for file in self.files])

    def reader(self, people: npt.NDArray[np.uint32] | None = None) -> "Reader":
        """A reader for one thread; `people`: ascending row numbers, None for everybody."""
        return Reader(self, people)

    def blocks(
        self, size: int, people: npt.NDArray[np.uint32] | None = None
    ) -> Iterator[tuple[npt.NDArray[np.int64], Calls]]:
        """All variants in blocks of at most `size`: their numbers and (variant, person) calls.

        Calls are int8 with -9 for missing where no variant of the block has dosages, otherwise
        float32 with NaN for missing.
        """
        with self.reader(people) as reader:
            for start in range(0, len(self.variants), size):
                numbers = np.arange(start, min(start + size, len(self.variants)))
                yield numbers, reader.read(numbers)


class Reader:
    """Reads chosen variants of chosen people; not to be shared between threads."""

    def __init__(self, source: GenotypeSource, people: npt.NDArray[np.uint32] | None) -> None:
        everybody = len(source.people)
        if people is not None and len(people) == everybody:
            people = None
        self.n_people = everybody if people is None else len(people)
        self._people = None if people is None else np.ascontiguousarray(people, dtype=np.uint32)
        self._source, self._opened = source, dict[int, pgenlib.PgenReader]()
        self._has_dosages = source.has_dosages
        self._firsts = np.array([file.first for file in source.files])

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        for opened in self._opened.values():
            opened.close()
        self._opened.clear()

    def read(self, numbers: npt.NDArray[np.int64]) -> Calls:
        """(variant, person) calls of the variants `numbers`: int8, or float32 with NaN."""
        if not self._has_dosages[numbers].any():
            return self.read_hard_calls(numbers)
        dosages = self.read_dosages(numbers)
        dosages[dosages < 0] = np.nan
        return dosages

    def read_hard_calls(
        self, numbers: npt.NDArray[np.int64], out: npt.NDArray[np.int8] | None = None
    ) -> npt.NDArray[np.int8]:
        """(variant, person) int8 counts of the effect allele, -9 missing; into `out` if given."""
        if out is None:
            out = np.empty((len(numbers), self.n_people), dtype=np.int8)
        for number, within, rows in self._parts(numbers):
            self._read(number, "read_list", within, out[rows])
        return out

    def read_dosages(
        self, numbers: npt.NDArray[np.int64], out: npt.NDArray[np.float32] | None = None
    ) -> npt.NDArray[np.float32]:
        """(variant, person) float32 dosages of the effect allele, -9 missing; into `out`."""
        if out is None:
            out = np.empty((len(numbers), self.n_people), dtype=np.float32)
        for number, within, rows in self._parts(numbers):
            self._read(number, "read_dosages_list", within, out[rows])
        return out

    def _parts(
        self, numbers: npt.NDArray[np.int64]
    ) -> Iterator[tuple[int, npt.NDArray[np.uint32], slice]]:
        """Consecutive stretches of `numbers` that lie in one file."""
        owners = np.searchsorted(self._firsts, numbers, side="right") - 1
        edges = [0, *(np.flatnonzero(np.diff(owners)) + 1), len(numbers)]
        for start, stop in pairwise(edges):
            if stop > start:
                owner = int(owners[start])
                within = numbers[start:stop] - self._firsts[owner]
                yield owner, within.astype(np.uint32), slice(start, stop)

    def _read(self, number: int, how: str, within: npt.NDArray[np.uint32], out: Calls) -> None:
        file = self._source.files[number]
        try:
            if number not in self._opened:
                self._opened[number] = pgenlib.PgenReader(
                    str(file.path).encode(),
                    raw_sample_ct=len(self._source.people),
                    variant_ct=file.n_variants,
                    sample_subset=self._people,
                    allele_idx_offsets=file.allele_offsets,
                )
            getattr(self._opened[number], how)(within, out)
        except RuntimeError as error:
            raise LeadlightError(
                f"{file.path} cannot be read: {error}.", advice="The file may be cut off."
            ) from error


def open_genotypes(
    sources: Path | Sequence[Path], *, cache: Path | None = None, build: str | None = None
) -> GenotypeSource:
    """Open genotype files: a PLINK prefix, or a .pgen, .bed, .bgen, .vcf, .vcf.gz or .bcf file.

    Several files must hold the same people in the same order; their variants follow each other.
    A folder stands for the genotype files in it. BGEN and VCF are turned into .pgen files in
    the folder `cache` (raises LeadlightError where it is None). build: see `read_variants`.
    """
    given = [sources] if isinstance(sources, Path) else list(sources)
    files: list[GenotypeFile] = []
    people: People | None = None
    tables: list[Variants] = []
    for source in (file for one in given for file in find_genotype_files(one)):
        path = source
        if _ending(source) not in (".pgen", ".bed"):
            from leadlight.genetics.conversion import as_pgen

            if cache is None:
                raise LeadlightError(f"{source} needs a cache folder.", advice="Give cache=.")
            path = as_pgen(source, cache)
        own = read_people(_beside(path, (".psam",) if path.suffix == ".pgen" else (".fam",)))
        if people is None:
            people = own
        elif (own.person_ids, own.family_ids) != (people.person_ids, people.family_ids):
            raise LeadlightError(
                f"{source} and {given[0]} don't hold the same people in the same order.",
                advice="Write them with the same people first (plink2 --keep, --indiv-sort).",
            )
        else:  # a VCF tells sex on X only
            sex = np.where(people.sex == UNKNOWN_SEX, own.sex, people.sex)
            people = replace(people, sex=sex)
        endings = (".pvar", ".pvar.zst") if path.suffix == ".pgen" else (".bim",)
        variants = read_variants(_beside(path, endings), build)
        if not len(variants):
            raise LeadlightError(f"{source} holds no variant.", advice="Leave it out.")
        dosages = _check(path, len(own), len(variants))
        offsets = None
        if variants.multiallelic.any():
            offsets = np.concatenate([[0], np.cumsum(variants.n_alleles)]).astype(np.uintp)
        first = sum(file.n_variants for file in files)
        files.append(GenotypeFile(path, first, len(variants), dosages, offsets))
        tables.append(variants)
    if people is None:
        raise LeadlightError("No genotype file was given.", advice="Give a PLINK prefix.")
    return GenotypeSource(tuple(files), people, _together(tables))


def find_genotype_files(source: Path) -> list[Path]:
    """The genotype files that `source` (a file, a PLINK prefix or a folder) stands for."""
    endings = (".pgen", ".bed", ".bgen", ".vcf", ".vcf.gz", ".bcf")
    if source.is_dir():
        found = sorted(p for p in source.iterdir() if _ending(p) in endings)
        if not found:
            raise LeadlightError(f"{source} holds no genotype file.", advice=f"One of {endings}.")
        return sorted(found, key=_natural)
    if source.is_file():
        if _ending(source) not in endings:
            raise LeadlightError(
                f"{source} is no genotype file that is known by its ending.",
                advice=f"Give a PLINK prefix or one of {', '.join(endings)}.",
            )
        return [source]
    for ending in endings:
        beside = source.with_name(source.name + ending)
        if beside.is_file():
            return [beside]
    raise LeadlightError(
        f"There are no genotypes at {source}.",
        advice=f"Expected {source.name} followed by one of {', '.join(endings)}.",
    )


def dosage_flags(path: Path, n_variants: int) -> npt.NDArray[np.bool_]:
    """(variant,) bool: which variants of a `.pgen` have dosages, from its header.

    A header that is not in the file itself (an external index) counts as dosages throughout.
    """
    with path.open("rb") as stream:
        head = stream.read(12)
        mode, control = head[2], head[11]
        if mode in (0x01, 0x02):
            return np.zeros(n_variants, dtype=np.bool_)
        if mode not in (0x10, 0x11):
            return np.ones(n_variants, dtype=np.bool_)
        if control & 15 < 4:  # record types of 4 bits have no room for dosages
            return np.zeros(n_variants, dtype=np.bool_)
        length_bytes = (control & 3) + 1
        allele_bytes = (control >> 4) & 3
        has_flags = control >> 6 == 3
        n_blocks = -(-n_variants >> 16) if n_variants & 0xFFFF == 0 else (n_variants >> 16) + 1
        stream.seek(12 + 8 * n_blocks)
        types = []
        for start in range(0, n_variants, 1 << 16):
            count = min(1 << 16, n_variants - start)
            types.append(np.frombuffer(stream.read(count), dtype=np.uint8))
            stream.seek(count * (length_bytes + allele_bytes), 1)
            stream.seek((count + 7) // 8 if has_flags else 0, 1)
    return np.asarray((np.concatenate(types) & _DOSAGE_BITS) != 0)


def _check(path: Path, n_people: int, n_variants: int) -> npt.NDArray[np.bool_]:
    """Compare a file with its tables; returns which variants have dosages."""
    with path.open("rb") as stream:
        head = stream.read(12)
    if path.suffix == ".bed":
        expected = 3 + n_variants * ((n_people + 3) // 4)
        if head[:3] != _BED_MAGIC:
            raise LeadlightError(f"{path} is no variant-major PLINK 1 .bed file.")
        if path.stat().st_size != expected:
            raise LeadlightError(
                f"{path} has {path.stat().st_size} bytes where {n_people} people and {n_variants} "
                f"variants need {expected}.",
                advice="It is cut off, or belongs to another .fam and .bim.",
            )
        return np.zeros(n_variants, dtype=np.bool_)
    if len(head) < 12 or head[:2] != _PGEN_MAGIC:
        raise LeadlightError(f"{path} is no PLINK 2 .pgen file.")
    said = [int.from_bytes(head[3:7], "little"), int.from_bytes(head[7:11], "little")]
    if head[2] >= 0x02 and head[2] < 0x20 and said != [n_variants, n_people]:
        raise LeadlightError(
            f"{path} holds {said[1]} people and {said[0]} variants, its tables name {n_people} "
            f"and {n_variants}.",
            advice="The .psam or .pvar belongs to another file.",
        )
    return dosage_flags(path, n_variants)


def _together(tables: list[Variants]) -> Variants:
    if len(tables) == 1:
        return tables[0]
    joined = pa.concat_tables([one.table for one in tables]).unify_dictionaries().combine_chunks()
    return Variants(
        joined,
        np.concatenate([one.kind for one in tables]),
        np.concatenate([one.n_alleles for one in tables]),
    )


def _beside(path: Path, endings: tuple[str, ...]) -> Path:
    for ending in endings:
        if (found := path.with_suffix(ending)).is_file():
            return found
    raise LeadlightError(f"{path.with_suffix(endings[0])} is absent.", advice=f"{path} needs it.")


def _ending(path: Path) -> str:
    return ".vcf.gz" if path.name.endswith(".vcf.gz") else path.suffix


def _natural(path: Path) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which chr2 stands before chr10."""
    import re

    parts = re.split(r"(\d+)", path.name)
    return tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in parts if p)
