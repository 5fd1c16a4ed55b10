"""Phenotype and covariate tables, and their people matched with those of the genotypes."""

import gzip
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from leadlight.errors import LeadlightError
from leadlight.genetics.variant_tables import People

MISSING_WORDS = frozenset({"", "NA", "NAN", "NULL", "NONE", "."})
_PERSON_COLUMNS = ("IID", "record_id", "person_id", "patient_id")


@dataclass(frozen=True)
class PersonTable:
    """A table of numbers by person. values: (person, column) float64, NaN where missing."""

    path: Path
    family_ids: tuple[str, ...] | None
    person_ids: tuple[str, ...]
    columns: tuple[str, ...]
    values: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Matched:
    """Traits and covariates of the people who have genotypes and all covariates.

    rows: (person,) uint32, ascending, their rows in the genotype file; sex: (person,) int8;
    traits: (person, trait), NaN where missing; covariates: (person, covariate). counts: how many
    people each step left; dropped: trait or covariate → why it was left out.
    """

    rows: npt.NDArray[np.uint32]
    sex: npt.NDArray[np.int8]
    trait_names: tuple[str, ...]
    traits: npt.NDArray[np.float64]
    covariate_names: tuple[str, ...]
    covariates: npt.NDArray[np.float64]
    counts: dict[str, int]
    dropped: dict[str, str] = field(default_factory=dict)


def read_person_table(
    path: Path, columns: Sequence[str] | None = None, *, categories: bool = False
) -> PersonTable:
    """Read Parquet, or text with tabs, spaces or commas, that begins with `FID IID` or `IID`.

    Also `#FID`, `#IID`, and `record_id`, `person_id` or `patient_id` in the place of `IID`.
    Missing: NA, NaN, nothing, or a dot; −9 is a number (an axis of −9° is one). columns: only
    these; otherwise all but those that hold lists. categories: a column of words becomes one 0/1
    column per word but the first of them, named `column=word`; otherwise words raise
    LeadlightError, as do duplicate people.
    """
    if not path.is_file():
        raise LeadlightError(f"{path} does not exist.")
    table = _parquet(path) if _is_parquet(path) else _text(path)
    names = [table.column_names[0].removeprefix("#"), *table.column_names[1:]]
    family = 0 if names[0] == "FID" and len(names) > 1 else None
    person = 0 if family is None else 1
    if names[person] not in _PERSON_COLUMNS:
        raise LeadlightError(
            f"{path} begins with the column {names[person]!r}.",
            advice="Expected FID IID, or IID, as PLINK 2 and REGENIE write them.",
        )
    person_ids = _ids(table, person)
    family_ids = None if family is None else _ids(table, 0)
    keys: Sequence[object] = person_ids
    if family_ids is not None:
        keys = list(zip(family_ids, person_ids, strict=True))
    twice = [key for key, count in Counter(keys).items() if count > 1]
    if twice:
        raise LeadlightError(
            f"{path} names {len(twice)} people more than once, {twice[0]} first.",
            advice="Keep one row per person.",
        )
    lists = {
        name
        for name, field in zip(names, table.schema, strict=True)
        if pa.types.is_nested(field.type)
    }
    if columns is None:  # such as the flags of `factors.parquet`
        wanted = [name for name in names[person + 1 :] if name not in lists]
    else:
        wanted = list(columns)
    absent = [name for name in wanted if name not in names[person + 1 :]]
    if absent:
        raise LeadlightError(
            f"{path} has no column {absent[0]!r}.",
            advice=f"It has {', '.join(names[person + 1 :][:20])}.",
        )
    if odd := lists & set(wanted):
        raise LeadlightError(f"{path}: the column {min(odd)!r} holds lists, not numbers.")
    kept: list[str] = []
    values: list[npt.NDArray[np.float64]] = []
    for name in wanted:
        for label, column in _numbers(path, name, table.column(names.index(name)), categories):
            kept.append(label)
            values.append(column)
    stacked = np.stack(values, axis=1) if values else np.zeros((len(person_ids), 0))
    return PersonTable(path, family_ids, person_ids, tuple(kept), stacked)


def match_people(
    people: People, phenotypes: PersonTable, covariates: PersonTable | None
) -> Matched:
    """People with genotypes, a row of phenotypes and every covariate, in the genotypes' order.

    By IID where the genotype file's are unique, otherwise by FID and IID; never by position. Raises
    LeadlightError where nobody is left.
    """
    by_family = len(set(people.person_ids)) < len(people)
    in_phenotypes = _rows_in(phenotypes, people, by_family)
    counts = {
        "people in the genotypes": len(people),
        "people in the phenotypes": len(phenotypes.person_ids),
        "people in both": int((in_phenotypes >= 0).sum()),
    }
    if counts["people in both"] == 0:
        raise LeadlightError(
            f"Nobody in {phenotypes.path} has genotypes: ids there are like "
            f"{phenotypes.person_ids[:1]}, in the genotypes like {people.person_ids[:1]}.",
            advice="Write the same ids (FID IID, or IID) in both.",
        )
    keep = in_phenotypes >= 0
    covered = np.zeros((len(people), 0))
    if covariates is not None:
        counts["people in the covariates"] = len(covariates.person_ids)
        in_covariates = _rows_in(covariates, people, by_family)
        covered = covariates.values[np.maximum(in_covariates, 0)]
        keep &= (in_covariates >= 0) & np.isfinite(covered).all(axis=1)
    traits = phenotypes.values[np.maximum(in_phenotypes, 0)]
    keep &= np.isfinite(traits).any(axis=1)
    counts["people analysed"] = int(keep.sum())
    if not keep.any():
        where = "" if covariates is None else f" and every covariate of {covariates.path}"
        raise LeadlightError(
            f"Nobody with genotypes has a phenotype of {phenotypes.path}{where}.",
            advice="Look at the ids and at what is missing.",
        )
    rows = np.flatnonzero(keep).astype(np.uint32)
    return Matched(
        rows,
        people.sex[rows],
        phenotypes.columns,
        traits[rows],
        () if covariates is None else covariates.columns,
        covered[rows],
        counts,
    )


def as_cases(names: Sequence[str], traits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Binary traits (person, trait) as 1 for cases, 0 for controls and NaN.

    Written as 0 and 1, or as PLINK does: 1 for controls, 2 for cases, 0 for neither. −9 is missing.
    Raises LeadlightError on any other number.
    """
    out = np.where(traits == -9, np.nan, traits)
    for at, name in enumerate(names):
        known = out[np.isfinite(out[:, at]), at]
        odd = known[~np.isin(known, (0, 1, 2))]
        if len(odd):
            raise LeadlightError(
                f"The binary trait {name} has the value {odd[0]:g}.",
                advice="Write controls and cases as 0 and 1, or as 1 and 2.",
            )
        if (known == 2).any():
            out[:, at] = np.where(out[:, at] == 0, np.nan, out[:, at] - 1)
    return out


def _rows_in(table: PersonTable, people: People, by_family: bool) -> npt.NDArray[np.int64]:
    """(person,) the row of each person of the genotypes in the table, -1 where there is none."""
    if by_family and table.family_ids is None:
        raise LeadlightError(
            f"{table.path} has only IID, and the genotypes' IID are not unique.",
            advice="Give FID and IID.",
        )
    if by_family and table.family_ids is not None:
        where = {k: i for i, k in enumerate(zip(table.family_ids, table.person_ids, strict=True))}
        keys = zip(people.family_ids, people.person_ids, strict=True)
        return np.array([where.get(key, -1) for key in keys], dtype=np.int64)
    named = {key: i for i, key in enumerate(table.person_ids)}
    if len(named) < len(table.person_ids):
        raise LeadlightError(
            f"{table.path} has one IID in several families, the genotypes have it once.",
            advice="Make the IID unique.",
        )
    return np.array([named.get(key, -1) for key in people.person_ids], dtype=np.int64)


def _numbers(
    path: Path, name: str, values: pa.ChunkedArray, categories: bool
) -> list[tuple[str, npt.NDArray[np.float64]]]:
    """A column's values, NaN where missing; columns of 0 and 1 where it holds words."""
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        values = pc.cast(values, pa.float64(), safe=False)
    else:
        trimmed = pc.utf8_trim_whitespace(values)
        absent = pc.is_in(pc.utf8_upper(trimmed), value_set=pa.array(sorted(MISSING_WORDS)))
        values = pc.if_else(absent, pa.scalar(None, pa.string()), trimmed)
        try:
            values = pc.cast(values, pa.float64())
        except pa.ArrowInvalid:
            return _categories(path, name, values, categories)
    column = values.to_numpy().astype(np.float64)
    column[~np.isfinite(column)] = np.nan
    return [(name, column)]


def _categories(
    path: Path, name: str, values: pa.ChunkedArray, categories: bool
) -> list[tuple[str, npt.NDArray[np.float64]]]:
    distinct = sorted(word for word in pc.unique(values).to_pylist() if word is not None)
    if not categories:
        odd = next(word for word in distinct if not _is_number(word))
        raise LeadlightError(
            f"{path}: {odd!r} in column {name!r} is no number.",
            advice="Missing values are NA; leave out columns of words with --traits.",
        )
    if len(distinct) > 50:
        raise LeadlightError(
            f"{path}: column {name!r} has {len(distinct)} different words.",
            advice="Leave it out, or group them.",
        )
    made = []
    for word in distinct[1:]:
        column = pc.cast(pc.cast(pc.equal(values, word), pa.int8()), pa.float64())
        made.append((f"{name}={word}", pc.fill_null(column, np.nan).to_numpy().copy()))
    return made


def _ids(table: pa.Table, column: int) -> tuple[str, ...]:
    return tuple("" if v is None else str(v).strip() for v in table.column(column).to_pylist())


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(4) == b"PAR1"


def _parquet(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise LeadlightError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    if not table.num_rows or not table.num_columns:
        raise LeadlightError(f"{path} is empty.")
    return table


def _text(path: Path) -> pa.Table:
    """The table with every column as text, and so compact enough for half a million people."""
    try:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8-sig", newline="") as stream:
            header, second = stream.readline().strip("\r\n"), stream.readline()
        if not second.strip():
            raise LeadlightError(f"{path} has no rows.", advice="Expected a header and a row each.")
        mark = next((one for one in ("\t", ",") if one in header), " ")
        # PLINK 1 filled columns up with spaces: such a file is read as if it had one each.
        ragged = mark == " " and second.rstrip("\r\n") != " ".join(second.split())
        source: Any = io.BytesIO(_one_space(path)) if ragged else path
        names = [name.strip() for name in (header.split() if mark == " " else header.split(mark))]
        if len(set(names)) < len(names):
            raise LeadlightError(f"{path} has two columns of one name.", advice="Rename one.")
        table = pa_csv.read_csv(
            source,
            read_options=pa_csv.ReadOptions(skip_rows=1, column_names=names, use_threads=False),
            parse_options=pa_csv.ParseOptions(
                delimiter=mark, quote_char='"' if mark == "," else False
            ),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except (UnicodeDecodeError, OSError, EOFError) as error:
        raise LeadlightError(f"{path} cannot be read as text: {error}.") from error
    except pa.ArrowInvalid as error:
        wrong = re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", str(error))
        if wrong is None:
            reason = str(error).splitlines()[0]
            raise LeadlightError(f"{path} cannot be read as text: {reason}") from error
        raise LeadlightError(
            f"{path}: row {wrong[1]} has {wrong[3]} columns, the header has {wrong[2]}.",
            advice="The file may be cut off.",
        ) from error
    return table


def _one_space(path: Path) -> bytes:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rb") as stream:
        return b"\n".join(b" ".join(line.split()) for line in stream)
