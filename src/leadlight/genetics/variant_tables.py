"""The people and variants of a genotype file: `.pvar`, `.bim`, `.psam` and `.fam` tables."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from leadlight.errors import LeadlightError

# How the effect allele is counted: two copies in everybody, by sex on X, in men only on Y, or one
# copy in everybody. The values order the variants of one run.
DIPLOID, X_LINKED, Y_LINKED, HAPLOID = range(4)

# First and last base pair of the pseudo-autosomal regions of X (Genome Reference Consortium).
PSEUDO_AUTOSOMAL = {
    "GRCh37": ((60_001, 2_699_520), (154_931_044, 155_260_560)),
    "GRCh38": ((10_001, 2_781_479), (155_701_383, 156_030_895)),
}
MALE, FEMALE, UNKNOWN_SEX = 1, 2, 0
_CHROMOSOME = {"23": "X", "24": "Y", "25": "XY", "PAR1": "XY", "PAR2": "XY", "26": "MT", "M": "MT"}
_KIND = {"X": X_LINKED, "Y": Y_LINKED, "MT": HAPLOID}
_SEX = {"1": MALE, "M": MALE, "m": MALE, "MALE": MALE, "2": FEMALE, "F": FEMALE, "f": FEMALE}
_SEX["FEMALE"] = FEMALE
_TEXT = pa.string()


@dataclass(frozen=True)
class People:
    """The people of a genotype file, in its order.

    family_ids, person_ids: as written; sex: (person,) int8, 1 male, 2 female, 0 unknown.
    """

    family_ids: tuple[str, ...]
    person_ids: tuple[str, ...]
    sex: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.person_ids)


@dataclass(frozen=True)
class Variants:
    """The variants of a genotype file, in its order.

    table: columns chromosome (dictionary of text; X also for its pseudo-autosomal part),
    base_pair_location (int64), rsid (text), effect_allele, other_allele (dictionaries). The effect
    allele is the counted one. kind: (variant,) int8, DIPLOID, X_LINKED, Y_LINKED or HAPLOID.
    n_alleles: (variant,) int64.
    """

    table: pa.Table
    kind: npt.NDArray[np.int8]
    n_alleles: npt.NDArray[np.int64]

    @property
    def multiallelic(self) -> npt.NDArray[np.bool_]:
        """(variant,) bool: more than one effect allele; such variants are not tested."""
        return self.n_alleles > 2

    def __len__(self) -> int:
        return int(self.table.num_rows)


def read_variants(path: Path, build: str | None = None) -> Variants:
    """Read a `.pvar` (also `.pvar.zst`) or `.bim` file.

    build: GRCh37 or GRCh38 moves the pseudo-autosomal part of X, by position, from the coding by
    sex to two copies in everybody; None goes by the file (25, XY, PAR1 or PAR2 there). Raises
    LeadlightError where a column is missing or a position is no whole number.
    """
    bim = path.suffix == ".bim"
    try:
        skipped, header = (0, None) if bim else _header(path)
    except OSError as error:  # absent, or no sound zstd
        raise LeadlightError(f"{path} cannot be read: {error}.") from error
    names = ("CHROM", "ID", "CM", "POS", "ALT", "REF") if header is None else tuple(header)
    if header is None and not bim and _columns(path, skipped) == 5:
        names = ("CHROM", "ID", "POS", "ALT", "REF")
    missing = [name for name in ("CHROM", "POS", "ID", "REF", "ALT") if name not in names]
    if missing:
        raise LeadlightError(f"{path} has no column {missing[0]}.", advice="Is it a .pvar file?")
    table = _read_columns(path, skipped, names, ("CHROM", "POS", "ID", "REF", "ALT"))
    chromosome = table["CHROM"].combine_chunks().dictionary_encode()
    named = [_chromosome(value) for value in chromosome.dictionary.to_pylist()]
    position = table["POS"].to_numpy()
    indices = chromosome.indices.to_numpy(zero_copy_only=False)
    kinds = np.array([_KIND.get(name, DIPLOID) for name in named], dtype=np.int8)
    kind = kinds[indices] if len(indices) else np.zeros(0, np.int8)
    if build is not None:
        if build not in PSEUDO_AUTOSOMAL:
            raise LeadlightError(f"{build} is no known build.", advice="Give GRCh37 or GRCh38.")
        for first, last in PSEUDO_AUTOSOMAL[build]:
            kind[(kind == X_LINKED) & (position >= first) & (position <= last)] = DIPLOID
    effect, other = table["ALT"].combine_chunks(), table["REF"].combine_chunks()
    return Variants(
        _variant_table(chromosome.indices, named, position, table["ID"], effect, other),
        kind,
        2 + pc.count_substring(effect, ",").to_numpy().astype(np.int64),
    )


def read_people(path: Path) -> People:
    """Read a `.psam` or `.fam` file. Raises LeadlightError on duplicate people or no people."""
    try:
        text = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LeadlightError(f"{path} cannot be read: {error}.") from error
    lines = [line.split() for line in text if line.strip() and not line.startswith("##")]
    columns = ["FID", "IID", "PAT", "MAT", "SEX", "PHENO1"]
    if lines and lines[0][0].startswith("#"):
        columns = [lines[0][0].removeprefix("#"), *lines[0][1:]]
        lines = lines[1:]
    if not lines:
        raise LeadlightError(f"{path} names nobody.", advice="Is it the right file?")
    if "IID" not in columns:
        raise LeadlightError(f"{path} has no column IID.", advice="Is it a .psam or .fam file?")
    least = 1 + max(columns.index(name) for name in ("FID", "IID") if name in columns)
    if short := next((row for row in lines if len(row) < least), None):
        raise LeadlightError(f"{path} has a line without IID: {' '.join(short)}.")
    at = columns.index("IID")
    person_ids = tuple(row[at] for row in lines)
    family_ids = tuple(row[columns.index("FID")] for row in lines) if "FID" in columns else ()
    sex = np.zeros(len(lines), dtype=np.int8)
    if "SEX" in columns:
        at = columns.index("SEX")
        sex[:] = [_SEX.get(row[at].upper() if at < len(row) else "", 0) for row in lines]
    people = People(family_ids or ("0",) * len(lines), person_ids, sex)
    keys = set(zip(people.family_ids, person_ids, strict=True))
    if len(keys) < len(people):
        seen: set[tuple[str, str]] = set()
        for key in zip(people.family_ids, person_ids, strict=True):
            if key in seen:
                raise LeadlightError(f"{path} names {key[1]} twice.", advice="Make ids unique.")
            seen.add(key)
    return people


def sorted_order(variants: Variants) -> npt.NDArray[np.int64] | None:
    """The order of the variants by chromosome and position; None where it is the file's own."""
    chromosome = variants.table["chromosome"].combine_chunks()
    names = chromosome.dictionary.to_pylist()
    rank = chromosome_rank(names)
    ranks = np.array([rank[name] for name in names], dtype=np.int64)
    key = ranks[chromosome.indices.to_numpy()] << 40
    key += variants.table["base_pair_location"].to_numpy()
    if np.all(key[1:] >= key[:-1]):
        return None
    return np.argsort(key, kind="stable")


def chromosome_rank(names: Iterable[str]) -> dict[str, int]:
    """Where chromosomes stand in a table: numbers, X, Y, MT, then others by name."""
    rank = {name: i for i, name in enumerate([*map(str, range(1, 23)), "X", "Y", "MT"])}
    others = sorted(set(names) - set(rank))
    return rank | {name: len(rank) + i for i, name in enumerate(others)}


def _variant_table(
    chromosome: pa.Array,
    named: list[str],
    position: npt.NDArray[np.int64],
    rsid: pa.ChunkedArray,
    effect: pa.Array,
    other: pa.Array,
) -> pa.Table:
    """Assemble the table; a variant without a name is named by place and alleles."""
    shown = ["X" if name == "XY" else name for name in named]
    names = sorted(set(shown))
    to_shown = np.array([names.index(name) for name in shown], dtype=np.int32)
    indices = to_shown[chromosome.to_numpy()] if len(chromosome) else np.zeros(0, np.int32)
    place = pa.DictionaryArray.from_arrays(pa.array(indices), pa.array(names, _TEXT))
    rsid = rsid.combine_chunks()
    unnamed = pc.equal(rsid, ".")
    if pc.any(unnamed).as_py():
        where = pc.cast(pa.array(position), _TEXT)
        made = pc.binary_join_element_wise(pc.cast(place, _TEXT), where, other, effect, ":")
        rsid = pc.if_else(unnamed, made, rsid)
    return pa.table(
        {
            "chromosome": place,
            "base_pair_location": pa.array(position),
            "rsid": rsid,
            "effect_allele": effect.dictionary_encode(),
            "other_allele": other.dictionary_encode(),
        }
    )


def _chromosome(written: str) -> str:
    name = written.removeprefix("chr").upper()
    return _CHROMOSOME.get(name, name)


def _header(path: Path) -> tuple[int, list[str] | None]:
    """How many lines stand before the variants, and the column names where a line gives them."""
    skipped = 0
    with pa.input_stream(str(path), compression="detect", buffer_size=1 << 16) as stream:
        rest = b""
        while chunk := stream.read(1 << 16):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if not line.startswith(b"#"):
                    return skipped, None
                skipped += 1
                if not line.startswith(b"##"):
                    return skipped, line.decode(errors="replace").removeprefix("#").rstrip(
                        "\r"
                    ).split("\t")
    return skipped, None


def _columns(path: Path, skipped: int) -> int:
    with path.open(encoding="utf-8", errors="replace") as stream:
        for _ in range(skipped):
            next(stream)
        return len(next(stream, "").split())


def _read_columns(
    path: Path, skipped: int, names: tuple[str, ...], wanted: tuple[str, ...]
) -> pa.Table:
    with path.open("rb") as stream:
        first = stream.read(4096).split(b"\n")
    # PLINK 1 wrote some .bim files with spaces.
    spaced = path.suffix == ".bim" and b"\t" not in first[0]
    types = dict.fromkeys(wanted, _TEXT) | {"POS": pa.int64()}
    try:
        return pa_csv.read_csv(
            path,
            read_options=pa_csv.ReadOptions(
                skip_rows=skipped, column_names=list(names), use_threads=False
            ),
            parse_options=pa_csv.ParseOptions(delimiter=" " if spaced else "\t", quote_char=False),
            convert_options=pa_csv.ConvertOptions(
                column_types=types, include_columns=list(wanted), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        reason = str(error).splitlines()[0]
        raise LeadlightError(f"{path} is no table of variants: {reason}") from error
