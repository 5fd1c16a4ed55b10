"""Phenotype and covariate tables, and their people matched with those of the genotypes."""

import csv
import gzip
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
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
    these. categories: a column of words becomes one 0/1 column per word but the first of them,
    named `column=word`; otherwise words raise LeadlightError, as do duplicate people.
    """
    if not path.is_file():
        raise LeadlightError(f"{path} does not exist.")
    names, texts = _parquet(path) if _is_parquet(path) else _text(path)
    names = [names[0].removeprefix("#"), *names[1:]]
    family = 0 if names[0] == "FID" and len(names) > 1 else None
    person = 0 if family is None else 1
    if names[person] not in _PERSON_COLUMNS:
        raise LeadlightError(
            f"{path} begins with the column {names[person]!r}.",
            advice="Expected FID IID, or IID, as PLINK 2 and REGENIE write them.",
        )
    person_ids = tuple(map(str, texts[person]))
    family_ids = None if family is None else tuple(map(str, texts[0]))
    keys: Sequence[object] = person_ids
    if family_ids is not None:
        keys = list(zip(family_ids, person_ids, strict=True))
    twice = [key for key, count in Counter(keys).items() if count > 1]
    if twice:
        raise LeadlightError(
            f"{path} names {len(twice)} people more than once, {twice[0]} first.",
            advice="Keep one row per person.",
        )
    wanted = list(names[person + 1 :]) if columns is None else list(columns)
    absent = [name for name in wanted if name not in names[person + 1 :]]
    if absent:
        raise LeadlightError(
            f"{path} has no column {absent[0]!r}.",
            advice=f"It has {', '.join(names[person + 1 :][:20])}.",
        )
    if len(set(names)) < len(names):
        raise LeadlightError(f"{path} has two columns of one name.", advice="Rename one.")
    kept: list[str] = []
    values: list[npt.NDArray[np.float64]] = []
    for name in wanted:
        for label, column in _numbers(path, name, texts[names.index(name)], categories):
            kept.append(label)
            values.append(column)
    table = np.stack(values, axis=1) if values else np.zeros((len(person_ids), 0))
    return PersonTable(path, family_ids, person_ids, tuple(kept), table)


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
    path: Path, name: str, values: Sequence[object], categories: bool
) -> list[tuple[str, npt.NDArray[np.float64]]]:
    try:
        column = np.array(values, dtype=np.float64)  # the quick way where nothing is missing
        column[~np.isfinite(column)] = np.nan
        return [(name, column)]
    except (ValueError, TypeError):
        pass
    words = ["" if value is None else str(value).strip() for value in values]
    words = ["" if word.upper() in MISSING_WORDS else word for word in words]
    try:
        column = np.array([word or "nan" for word in words], dtype=np.float64)
        column[~np.isfinite(column)] = np.nan
        return [(name, column)]
    except ValueError:
        pass
    distinct = sorted(set(words) - {""})
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
    known = np.array([word != "" for word in words])
    return [
        (f"{name}={word}", np.where(known, [value == word for value in words], np.nan))
        for word in distinct[1:]
    ]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(4) == b"PAR1"


def _parquet(path: Path) -> tuple[list[str], list[Sequence[object]]]:
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise LeadlightError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    columns: list[Sequence[object]] = []
    for name in table.column_names:
        column = table[name]
        numeric = pa.types.is_floating(column.type) or pa.types.is_integer(column.type)
        first = name.removeprefix("#") in ("FID", *_PERSON_COLUMNS)
        if numeric and not first:
            columns.append(column.to_numpy())
        else:
            columns.append(["" if v is None else v for v in column.to_pylist()])
    if not table.num_rows or not columns:
        raise LeadlightError(f"{path} is empty.")
    return list(table.column_names), columns


def _text(path: Path) -> tuple[list[str], list[Sequence[object]]]:
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as stream:
            lines = stream.read().splitlines()
    except (UnicodeDecodeError, OSError, EOFError) as error:
        raise LeadlightError(f"{path} cannot be read as text: {error}.") from error
    lines = [line for line in lines if line.strip()]
    if len(lines) < 2:
        raise LeadlightError(f"{path} has no rows.", advice="Expected a header and a row a person.")
    mark = next((one for one in ("\t", ",") if one in lines[0]), None)
    rows = list(csv.reader(lines, delimiter=mark)) if mark else [line.split() for line in lines]
    width = len(rows[0])
    wrong = next((i for i, row in enumerate(rows) if len(row) != width), None)
    if wrong is not None:
        raise LeadlightError(
            f"{path}: row {wrong + 1} has {len(rows[wrong])} columns, the header has {width}.",
            advice="The file may be cut off.",
        )
    columns: list[Sequence[object]] = list(zip(*rows[1:], strict=True))
    return [name.strip() for name in rows[0]], columns
