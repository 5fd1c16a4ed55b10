"""BGEN and VCF/BCF files turned into `.pgen` once, in a cache, with their dosages.

A `.pgen` is read ten to twenty times faster than either, and every later run reads it. Dosages are
kept to 1/16384. The effect allele is VCF's ALT, and BGEN's second allele.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pgenlib

from leadlight.atomic import write_json, written_whole
from leadlight.errors import LeadlightError
from leadlight.genetics.variant_tables import FEMALE, MALE, UNKNOWN_SEX
from leadlight.progress import bar, say

_BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
_GZIP_EXTRA = 4  # flag of a BGZF header
_MISSING = -9.0


@dataclass(frozen=True)
class _Record:
    """One variant as it goes into the new file. dosages: (person,) float32, -9 missing."""

    chromosome: str
    position: int
    name: str
    other: str
    effect: str
    dosages: npt.NDArray[np.float32]


def as_pgen(source: Path, cache: Path) -> Path:
    """The `.pgen` made of a `.bgen`, `.vcf`, `.vcf.gz` or `.bcf`; made now unless it is in `cache`.

    Variants with more than one effect allele are left out, and counted. VCF: DS where it is given,
    otherwise GT; a call with one allele (`0`, `1`, `0/.`) counts 0 or 2 on X, Y and MT, and is
    missing elsewhere; whoever has such calls on X is male. Raises LeadlightError on a file that is
    cut off or is none.
    """
    folder = cache / source.name
    made = folder / "genotypes.pgen"
    status = source.stat()
    stamp = {"source": source.name, "bytes": status.st_size, "modified_ns": status.st_mtime_ns}
    said = folder / "conversion.json"
    if made.is_file() and said.is_file():
        before = json.loads(said.read_text(encoding="utf-8"))
        if {key: before.get(key) for key in stamp} == stamp:
            return made
    with written_whole(folder) as partial:
        partial.mkdir(parents=True)
        try:
            converted = _convert(source, partial)
        except LeadlightError:
            raise
        except Exception as error:
            raise LeadlightError(
                f"{source} cannot be read: {error}.", advice="It may be cut off or no such file."
            ) from error
        write_json(partial / "conversion.json", stamp | converted)
    if converted["multiallelic"]:
        say(f"{source.name}: {converted['multiallelic']:,} variants of several alleles left out.")
    return made


def _convert(source: Path, folder: Path) -> dict[str, int]:
    reader = _Bgen(source) if source.suffix == ".bgen" else _Vcf(source)
    target = folder / "genotypes"
    people = len(reader.people)
    if not people:
        raise LeadlightError(f"{source} names nobody.")
    # The writer wants the number of variants beforehand, so the dosages wait in a plain file.
    count = 0
    with (
        (folder / "dosages").open("wb") as kept,
        target.with_suffix(".pvar").open("w", encoding="utf-8") as table,
        bar(f"reading {source.name}", reader.n_variants) as progress,
    ):
        table.write("#CHROM\tPOS\tID\tREF\tALT\n")
        for record in reader.records():
            table.write(
                f"{record.chromosome}\t{record.position}\t{record.name}\t{record.other}\t"
                f"{record.effect}\n"
            )
            kept.write(record.dosages.tobytes())
            count += 1
            progress.step()
    if not count:
        raise LeadlightError(f"{source} holds no variant of two alleles.")
    dosages = np.memmap(folder / "dosages", np.float32, "r", shape=(count, people))
    present = any(np.any(row != np.rint(row)) for row in dosages)
    with pgenlib.PgenWriter(
        str(target.with_suffix(".pgen")).encode(),
        people,
        variant_ct=count,
        nonref_flags=False,
        dosage_present=present,
    ) as writer:
        for row in dosages:
            if present:
                writer.append_dosages(np.ascontiguousarray(row))
            else:
                writer.append_biallelic(row.astype(np.int8))
    del dosages
    (folder / "dosages").unlink()
    lines = [
        f"{family}\t{person}\t{sex or 'NA'}"
        for (family, person), sex in zip(reader.people, reader.sex.tolist(), strict=True)
    ]
    text = "\n".join(["#FID\tIID\tSEX", *lines]) + "\n"
    target.with_suffix(".psam").write_text(text, encoding="utf-8")
    return {"variants": count, "multiallelic": reader.multiallelic}


class _Bgen:
    """A BGEN 1.1–1.3 file through the library `bgen`."""

    def __init__(self, path: Path) -> None:
        from bgen import BgenReader

        self._path = path
        self._reader = BgenReader(str(path))
        self.n_variants = int(self._reader.header.nvariants)
        self.people, self.sex = _bgen_people(path, list(self._reader.samples))
        self.multiallelic = 0

    def records(self) -> Iterator[_Record]:
        seen = 0
        for variant in self._reader:
            seen += 1
            if len(variant.alleles) != 2:
                self.multiallelic += 1
                continue
            # Computed from the probabilities; a haploid call (ploidy 1) counts 0 to 2.
            dosages = np.asarray(variant.alt_dosage, dtype=np.float32)
            haploid = np.asarray(variant.ploidy) == 1
            dosages = np.where(haploid, 2 * dosages, dosages)
            dosages = np.where(np.isfinite(dosages), dosages, np.float32(_MISSING))
            name = variant.rsid if variant.rsid not in ("", ".") else variant.varid
            other, effect = variant.alleles
            yield _Record(
                variant.chrom or ".",
                int(variant.pos),
                name or ".",
                other,
                effect,
                dosages.astype(np.float32),
            )
        if seen != self.n_variants:
            raise LeadlightError(
                f"{self._path} says it holds {self.n_variants} variants and holds {seen}.",
                advice="It is cut off.",
            )


def _bgen_people(
    path: Path, samples: list[str]
) -> tuple[list[tuple[str, str]], npt.NDArray[np.int8]]:
    """Ids and sex from a `.sample` beside the file, otherwise ids from its header."""
    sex = np.zeros(len(samples), dtype=np.int8)
    beside = path.with_suffix(".sample")
    if beside.is_file():
        lines = [line.split() for line in beside.read_text(encoding="utf-8").splitlines() if line]
        header, rows = lines[0], lines[2:]
        if len(rows) != len(samples):
            raise LeadlightError(
                f"{beside} names {len(rows)} people, {path} holds {len(samples)}.",
                advice="It belongs to another file.",
            )
        if "sex" in header:
            coded = {"1": MALE, "2": FEMALE}
            sex[:] = [coded.get(row[header.index("sex")], UNKNOWN_SEX) for row in rows]
        return [(row[0], row[1]) for row in rows], sex
    halves = [sample.partition("_") for sample in samples]
    if all(mark and first == second for first, mark, second in halves):  # PLINK's FID_IID
        return [(first, second) for first, _, second in halves], sex
    return [("0", sample) for sample in samples], sex


class _Vcf:
    """A VCF or BCF through `cyvcf2`."""

    n_variants = None

    def __init__(self, path: Path) -> None:
        from cyvcf2 import VCF

        self._path = path
        _refuse_cut_off(path)
        self._file = VCF(str(path))
        self.people = [("0", name) for name in self._file.samples]
        self.sex = np.zeros(len(self.people), dtype=np.int8)
        self.multiallelic = 0

    def records(self) -> Iterator[_Record]:
        male = np.zeros(len(self.people), dtype=np.bool_)
        any_on_x = False
        for variant in self._file:
            if len(variant.ALT) != 1:
                self.multiallelic += 1
                continue
            chromosome = variant.CHROM.removeprefix("chr")
            by_ploidy = chromosome in ("X", "23", "Y", "24", "MT", "M", "26")
            dosages, single = _vcf_dosages(variant, by_ploidy)
            if chromosome in ("X", "23"):
                any_on_x = True
                male |= single
            yield _Record(
                chromosome,
                int(variant.POS),
                variant.ID or ".",
                variant.REF,
                variant.ALT[0],
                dosages,
            )
        if any_on_x and male.any():
            self.sex[:] = np.where(male, MALE, FEMALE)


def _vcf_dosages(
    variant: Any, by_ploidy: bool
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """(person,) dosages, and who has one allele only."""
    calls = variant.genotype.array()[:, :-1] if "GT" in variant.FORMAT else None
    stored: Any = variant.format("DS") if "DS" in variant.FORMAT else None
    if calls is None and stored is None:
        raise LeadlightError(f"{variant.CHROM}:{variant.POS} has neither GT nor DS.")
    single = np.zeros(len(stored if calls is None else calls), dtype=np.bool_)
    if calls is not None:
        there = calls >= 0
        single = there.sum(axis=1) == 1
        counted = np.where(there, calls == 1, 0).sum(axis=1).astype(np.float32)
        whole = there.all(axis=1) & (calls.shape[1] == 2)
        alone = 2 * counted if by_ploidy else np.full(len(counted), _MISSING)
        hard = np.where(whole, counted, np.where(single, alone, _MISSING)).astype(np.float32)
        if stored is None:
            return hard, single
    dosages = np.asarray(stored, dtype=np.float32)[:, 0]
    if by_ploidy:
        dosages = np.where(single, 2 * dosages, dosages)
    return np.where(np.isfinite(dosages), dosages, np.float32(_MISSING)), single


def _refuse_cut_off(path: Path) -> None:
    """Raise LeadlightError where a block-gzipped file lacks its last block."""
    if path.stat().st_size < len(_BGZF_END):
        raise LeadlightError(f"{path} is empty.")
    with path.open("rb") as stream:
        head = stream.read(18)
        blocked = head[:2] == b"\x1f\x8b" and head[3] & _GZIP_EXTRA and head[12:14] == b"BC"
        stream.seek(-len(_BGZF_END), 2)
        if blocked and stream.read() != _BGZF_END:
            raise LeadlightError(f"{path} is cut off.", advice="Copy it again.")
