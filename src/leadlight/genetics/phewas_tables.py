"""What a phenome scan goes over: exposures, outcomes, covariates, and the people who have them.

People are matched by IID alone, in every table; never by position.
"""

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight.errors import LeadlightError
from leadlight.genetics.traits import PersonTable, as_cases, read_person_table
from leadlight.genetics.variant_tables import FEMALE, MALE, UNKNOWN_SEX

Floats = npt.NDArray[np.float64]
Kind = Literal["quantitative", "binary", "survival"]
FACTOR, LOCUS, SCORE = "factor", "locus", "score"
MISSING = -1  # of cases and events
SEXES = {MALE: "men", FEMALE: "women"}
_SEX_WORDS = {"m": MALE, "male": MALE, "man": MALE, "f": FEMALE, "female": FEMALE, "woman": FEMALE}


@dataclass(frozen=True)
class Exposures:
    """values: (person, exposure), NaN where missing; kinds: FACTOR, LOCUS or SCORE for each.

    notes: exposure → what every one of its results has to say; labels: exposure → shown name.
    """

    person_ids: tuple[str, ...]
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    values: Floats
    notes: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """One outcome. All arrays (person,).

    values: float64 with NaN where it is quantitative, otherwise int8, 1 for the disease or event, 0
    for none, MISSING. entry, exit: of a time to an event, NaN where missing. sex: MALE or FEMALE
    where only they can have it, UNKNOWN_SEX where anybody can.
    """

    name: str
    kind: Kind
    values: npt.NDArray[Any]
    entry: Floats | None = None
    exit: Floats | None = None
    category: str = ""
    description: str = ""
    sex: int = UNKNOWN_SEX

    def take(self, rows: npt.NDArray[np.int64], absent: int = MISSING) -> "Outcome":
        """The outcome of these people; row -1 is somebody without a row in the table."""
        gone = rows < 0

        def of(values: npt.NDArray[Any] | None, fill: float) -> npt.NDArray[Any] | None:
            if values is None:
                return None
            taken = values[np.maximum(rows, 0)]
            taken[gone] = fill
            return taken

        fill = np.nan if self.kind == "quantitative" else absent
        values = of(self.values, fill)
        assert values is not None
        return replace(
            self, values=values, entry=of(self.entry, np.nan), exit=of(self.exit, np.nan)
        )


@dataclass(frozen=True)
class OutcomeTable:
    """Outcomes of the same people. absent: what people without a row are (0: without disease)."""

    person_ids: tuple[str, ...]
    outcomes: tuple[Outcome, ...]
    absent: int = MISSING


@dataclass(frozen=True)
class ScanInput:
    """Everything by person, in one order, without missing covariates.

    sex: (person,) MALE, FEMALE or UNKNOWN_SEX; counts: how many people each step leaves.
    """

    person_ids: tuple[str, ...]
    exposures: Exposures
    outcomes: tuple[Outcome, ...]
    covariate_names: tuple[str, ...]
    covariates: Floats
    sex: npt.NDArray[np.int8]
    counts: dict[str, int]


def read_exposures(path: Path, columns: Sequence[str] | None = None) -> Exposures:
    """Columns of a table by person (see `read_person_table`) as factors.

    columns: names, or patterns such as factor_*; None: all that hold numbers.
    """
    table = read_person_table(path, _chosen(path, columns))
    return Exposures(table.person_ids, table.columns, (FACTOR,) * len(table.columns), table.values)


def joined(parts: Sequence[Exposures]) -> Exposures:
    """Several exposures' people and columns together; who is in none of a part's rows has NaN."""
    if not parts:
        raise LeadlightError("No exposure was given.", advice="Give factors, loci or scores.")
    names = [name for part in parts for name in part.names]
    twice = [name for at, name in enumerate(names) if name in names[:at]]
    if twice:
        raise LeadlightError(f"Two exposures are named {twice[0]!r}.", advice="Rename one.")
    people = tuple(dict.fromkeys(person for part in parts for person in part.person_ids))
    blocks = []
    for part in parts:
        rows = _rows(part.person_ids, people)
        blocks.append(np.where((rows < 0)[:, None], np.nan, part.values[np.maximum(rows, 0)]))
    return Exposures(
        people,
        tuple(names),
        tuple(kind for part in parts for kind in part.kinds),
        np.concatenate(blocks, axis=1),
        {k: v for part in parts for k, v in part.notes.items()},
        {k: v for part in parts for k, v in part.labels.items()},
    )


def read_outcomes(
    path: Path,
    columns: Sequence[str] | None = None,
    *,
    quantitative: Iterable[str] = (),
    binary: Iterable[str] = (),
) -> OutcomeTable:
    """A table with a column per outcome.

    A column that holds nothing but 0 and 1 is 0/1 (logistic), any other is quantitative; the names
    in `quantitative` and `binary` are what they are said to be (binary ones may be written 1 and 2,
    with −9 for missing). columns: as in `read_exposures`.
    """
    table = read_person_table(path, _chosen(path, columns))
    named_binary, named_quantitative = set(binary), set(quantitative)
    outcomes = []
    for at, name in enumerate(table.columns):
        values = table.values[:, at]
        known = values[np.isfinite(values)]
        words = np.isin(known, (0, 1)).all()
        if name in named_binary or (words and name not in named_quantitative):
            cases = as_cases([name], values[:, None])[:, 0]
            outcomes.append(Outcome(name, "binary", as_int(cases)))
        else:
            outcomes.append(Outcome(name, "quantitative", values))
    return OutcomeTable(table.person_ids, tuple(outcomes))


def read_survival(path: Path) -> OutcomeTable:
    """Times to events, a row per person and outcome: IID, outcome, exit, event, and maybe entry.

    exit: when the event happened, or when the person was last seen without; entry: from when on
    (the ECG's day; 0 where there is no such column); event: 1 or 0. Times are numbers of any one
    unit, or dates (days are counted). Events at or before entry are prevalent.
    """
    table = read_long_table(path, ("IID", "outcome", "exit", "event"))
    optional = ["entry"] if "entry" in table.columns else []
    times = {name: as_times(path, table[name]) for name in ("exit", *optional)}
    if table.select(pl.struct("IID", "outcome").is_duplicated().any()).item():
        raise LeadlightError(f"{path} has two rows of one person and outcome.", advice="Keep one.")
    event = table["event"].cast(pl.Float64, strict=False).to_numpy()
    if not np.isin(event[np.isfinite(event)], (0, 1)).all():
        raise LeadlightError(f"{path}: the column event holds other things than 0 and 1.")
    people = tuple(table["IID"].unique(maintain_order=True).to_list())
    rows = _rows(people, table["IID"].to_list())
    names = table["outcome"].to_numpy()
    outcomes = []
    for name in dict.fromkeys(names.tolist()):
        own = names == name
        left, happened = np.full(len(people), np.nan), np.full(len(people), np.nan)
        left[rows[own]], happened[rows[own]] = times["exit"][own], event[own]
        entry = np.full(len(people), np.nan)
        entry[rows[own]] = times["entry"][own] if optional else 0.0
        known = np.isfinite(left) & np.isfinite(entry)
        outcomes.append(
            Outcome(str(name), "survival", as_int(np.where(known, happened, np.nan)), entry, left)
        )
    return OutcomeTable(people, tuple(outcomes))


def read_descriptions(path: Path) -> dict[str, tuple[str, str, int]]:
    """A table outcome, category, and maybe description and sex → by outcome."""
    table = read_long_table(path, ("outcome", "category"))
    has = table.columns
    return {
        str(row["outcome"]): (
            str(row["category"] or ""),
            str(row.get("description") or "") if "description" in has else "",
            sex_of_word(str(row.get("sex") or "")) if "sex" in has else UNKNOWN_SEX,
        )
        for row in table.to_dicts()
    }


def match_scan(
    exposures: Exposures,
    tables: Sequence[OutcomeTable],
    covariates: PersonTable | None,
    *,
    keep: Iterable[str] | None = None,
) -> ScanInput:
    """People with an exposure, an outcome and all covariates. keep: only these.

    Sex is the covariate `sex` (1 man, 2 woman, or words), and unknown without one.
    """
    given = exposures.person_ids
    counts = {"people with exposures": len(given)}
    with_outcomes: set[str] = set()
    for table in tables:
        with_outcomes |= set(given) if table.absent != MISSING else set(table.person_ids)
    allowed = None if keep is None else set(keep)
    chosen = [one for one in given if one in with_outcomes]
    counts["with outcomes too"] = len(chosen)
    if not chosen:
        example = next(iter(with_outcomes), "nobody")
        raise LeadlightError(
            f"Nobody has both exposures and outcomes: ids are like {given[:1]} and {example!r}.",
            advice="Write the same ids in both.",
        )
    if allowed is not None:
        chosen = [one for one in chosen if one in allowed]
        counts["among those to keep"] = len(chosen)
    values: Floats = np.zeros((len(chosen), 0))
    if covariates is not None:
        rows = _rows(covariates.person_ids, chosen)
        values = covariates.values[np.maximum(rows, 0)]
        complete = (rows >= 0) & np.isfinite(values).all(axis=1)
        chosen = [one for one, fine in zip(chosen, complete, strict=True) if fine]
        values = values[complete]
        counts["with all covariates"] = len(chosen)
    counts["people analysed"] = len(chosen)
    if not chosen:
        raise LeadlightError("Nobody is left to analyse.", advice="Look at ids and covariates.")
    at = _rows(given, chosen)
    names = () if covariates is None else covariates.columns
    outcomes = [
        outcome.take(_rows(table.person_ids, chosen), table.absent)
        for table in tables
        for outcome in table.outcomes
    ]
    known = [outcome.name for outcome in outcomes]
    twice = [name for place, name in enumerate(known) if name in known[:place]]
    if twice:
        raise LeadlightError(f"Two outcomes are named {twice[0]!r}.", advice="Rename one.")
    return ScanInput(
        tuple(chosen),
        replace(exposures, person_ids=tuple(chosen), values=exposures.values[at]),
        tuple(outcomes),
        names,
        values,
        _sexes(names, values),
        counts,
    )


def read_long_table(path: Path, needed: Sequence[str]) -> pl.DataFrame:
    """Parquet, or text with tabs or commas, with the columns `needed` (IID also by other names)."""
    if not path.is_file():
        raise LeadlightError(f"{path} does not exist.")
    try:
        with path.open("rb") as stream:
            packed = stream.read(4) == b"PAR1"
        if packed:
            table = pl.read_parquet(path)
        else:
            head = pl.read_csv(path, separator="\n", has_header=False, n_rows=1, infer_schema=False)
            mark = "\t" if "\t" in str(head.item(0, 0)) else ","
            table = pl.read_csv(
                path, separator=mark, infer_schema=False, null_values=["", "NA", "NaN", "."]
            )
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise LeadlightError(f"{path} cannot be read as a table: {reason}") from error
    table = table.rename({table.columns[0]: table.columns[0].removeprefix("#")})
    for other in ("record_id", "person_id", "patient_id", "id"):
        if "IID" in needed and "IID" not in table.columns and other in table.columns:
            table = table.rename({other: "IID"})
    absent = [name for name in needed if name not in table.columns]
    if absent:
        raise LeadlightError(
            f"{path} has no column {absent[0]!r}.",
            advice=f"It has {', '.join(table.columns[:12])}.",
        )
    if not table.height:
        raise LeadlightError(f"{path} has no rows.")
    if "IID" in needed:
        table = table.with_columns(pl.col("IID").cast(pl.String)).drop_nulls("IID")
    return table


def as_times(path: Path, column: pl.Series) -> Floats:
    """Numbers as they are, dates as days since 1970; NaN where missing."""
    if column.dtype in (pl.Date, pl.Datetime):
        return column.cast(pl.Date).cast(pl.Int32).cast(pl.Float64).to_numpy().astype(np.float64)
    values = column.cast(pl.Float64, strict=False)
    if column.dtype == pl.String and values.null_count() > column.null_count():
        dates = column.str.slice(0, 10).str.to_date(strict=False)
        if dates.null_count() > column.null_count():
            odd = column.filter(dates.is_null() & column.is_not_null())[0]
            raise LeadlightError(
                f"{path}: {odd!r} in the column {column.name!r} is no number and no date.",
                advice="Write dates as 2019-05-31.",
            )
        values = dates.cast(pl.Int32).cast(pl.Float64)
    out = values.to_numpy().astype(np.float64)
    out[~np.isfinite(out)] = np.nan
    return np.asarray(out)


def as_int(cases: Floats) -> npt.NDArray[np.int8]:
    """0, 1 and NaN as int8 with MISSING."""
    return np.where(np.isfinite(cases), cases, MISSING).astype(np.int8)


def sex_of_word(word: str) -> int:
    """MALE or FEMALE of a word such as Male or F; UNKNOWN_SEX for anything else (Both, nothing)."""
    return _SEX_WORDS.get(word.strip().lower(), UNKNOWN_SEX)


def _sexes(names: Sequence[str], covariates: Floats) -> npt.NDArray[np.int8]:
    sex = np.full(len(covariates), UNKNOWN_SEX, dtype=np.int8)
    for at, name in enumerate(names):
        column, word = covariates[:, at], name.partition("=")
        if name.lower() == "sex" and np.isin(column, (MALE, FEMALE)).all():
            sex[:] = column
        elif word[0].lower() == "sex" and sex_of_word(word[2]):
            its = sex_of_word(word[2])
            sex[:] = np.where(column == 1, its, MALE + FEMALE - its)
    return sex


def _chosen(path: Path, columns: Sequence[str] | None) -> list[str] | None:
    """The columns meant; where none is named, those of a Parquet table that hold numbers.

    Factors and measurements stand beside flags and reasons in words. None: all of a text's.
    """
    if not path.is_file():
        return None if columns is None else list(columns)
    with path.open("rb") as stream:
        packed = stream.read(4) == b"PAR1"
    if columns is None:
        if not packed:
            return None
        kinds = list(pl.read_parquet_schema(path).items())[1:]
        return [name for name, kind in kinds if kind.is_numeric() or kind == pl.Boolean]
    if not any("*" in name for name in columns):
        return list(columns)
    known = list(pl.read_parquet_schema(path)) if packed else read_person_table(path).columns
    found = [one for name in columns for one in (fnmatch.filter(known, name) or [name])]
    return list(dict.fromkeys(found))


def _rows(known: Sequence[str], wanted: Sequence[str]) -> npt.NDArray[np.int64]:
    """(wanted,) the place of each in `known`, -1 where it is not there."""
    where = {name: at for at, name in enumerate(known)}
    return np.array([where.get(name, -1) for name in wanted], dtype=np.int64)
