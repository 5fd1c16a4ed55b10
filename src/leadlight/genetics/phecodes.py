"""Diagnoses as phecodes: a map from codes to phecodes, people's codes, cases and controls.

The map is the user's own file (the official ones are at phewascatalog.org). The rules are those of
Denny et al., Nature Biotechnology 31:1102, 2013: a case has a phecode's codes on enough occasions;
who has them on fewer is neither case nor control; nor is who has a code of the phecode's exclusion
range, that is a neighbouring disease.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight.errors import LeadlightError
from leadlight.genetics.phewas_tables import (
    MISSING,
    Outcome,
    OutcomeTable,
    as_times,
    read_long_table,
    sex_of_word,
)
from leadlight.genetics.variant_tables import UNKNOWN_SEX

Floats = npt.NDArray[np.float64]
# What the columns are called in the maps that are about; the first that is there counts.
_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "code": ("code", "icd10", "icd10cm", "icd", "icd9"),
    "phecode": ("phecode",),
    "description": ("description", "phenotype", "phecode_string", "phecodestring"),
    "category": ("category", "phecode_category", "phecodecategory", "phecode category", "group"),
    "exclusion_range": (
        "exclusion_range", "exclusion range", "phecode_exclude_range", "exl. phecodes",
        "excl. phecodes", "exclude_range",
    ),
    "sex": ("sex",),
}  # fmt: skip


@dataclass(frozen=True)
class Phecode:
    """One phecode. excluded: (first, last) ranges of phecodes that its controls must not have."""

    name: str
    description: str
    category: str
    excluded: tuple[tuple[float, float], ...]
    sex: int


@dataclass(frozen=True)
class PhecodeMap:
    """of_code: a diagnosis code (without dots, upper case) → its phecodes."""

    of_code: Mapping[str, tuple[str, ...]]
    phecodes: Mapping[str, Phecode]


@dataclass(frozen=True)
class Observed:
    """Who was under observation, and from when to when in days (NaN where it is not known)."""

    person_ids: tuple[str, ...]
    entry: Floats
    exit: Floats

    @property
    def timed(self) -> bool:
        """Whether everybody's entry and exit are known."""
        return bool(np.isfinite(self.entry).all() and np.isfinite(self.exit).all())


def read_phecode_map(path: Path) -> PhecodeMap:
    """Read a table with the columns code and phecode, and maybe description, category, exclusion
    range (such as 426-427.99, several with commas) and sex.

    The names of the columns in the official maps are known too. Phecodes are compared as they are
    written: 427.2 is a part of 427, and its codes count for both.
    """
    table = read_long_table(path, ())
    lower = {name.lower().strip(): name for name in table.columns}
    found = {
        ours: lower[theirs]
        for ours, names in _COLUMNS.items()
        for theirs in [next((name for name in names if name in lower), "")]
        if theirs
    }
    for needed in ("code", "phecode"):
        if needed not in found:
            raise LeadlightError(
                f"{path} has no column for the {needed}.", advice=f"Call it {needed!r}."
            )
    table = table.select(
        pl.col(theirs).cast(pl.String).alias(ours) for ours, theirs in found.items()
    )
    table = table.drop_nulls(["code", "phecode"])
    codes: dict[str, set[str]] = {}
    described: dict[str, Phecode] = {}
    for row in table.iter_rows(named=True):
        name = row["phecode"].strip()
        codes.setdefault(plain_code(row["code"]), set()).update(_with_parents(name))
        if name not in described:
            described[name] = Phecode(
                name,
                (row.get("description") or "").strip() or name,
                (row.get("category") or "").strip() or "other",
                _ranges(path, row.get("exclusion_range") or ""),
                sex_of_word(row.get("sex") or ""),
            )
    known = {name for own in codes.values() for name in own}
    for name in sorted(known - set(described)):  # a parent that no code names itself
        children = [one for one in described.values() if name in _with_parents(one.name)]
        described[name] = Phecode(
            name,
            f"{children[0].description} (and like)",
            children[0].category,
            tuple(dict.fromkeys(span for child in children for span in child.excluded)),
            children[0].sex if len({child.sex for child in children}) == 1 else UNKNOWN_SEX,
        )
    return PhecodeMap({code: tuple(sorted(own)) for code, own in codes.items()}, described)


def read_codes(path: Path) -> pl.DataFrame:
    """Read people's diagnoses, a row each: IID, code, and maybe date."""
    table = read_long_table(path, ("IID", "code"))
    dated = "date" in table.columns
    if dated:
        table = table.with_columns(pl.Series("date", as_times(path, table["date"])).fill_nan(None))
    columns = ["IID", "code", *(["date"] if dated else [])]
    return table.select(columns).with_columns(pl.col("code").cast(pl.String)).drop_nulls("code")


def read_observed(path: Path) -> Observed:
    """Read who was under observation: IID, and maybe entry and exit (dates or numbers)."""
    table = read_long_table(path, ("IID",))
    times = [
        as_times(path, table[name]) if name in table.columns else np.full(table.height, np.nan)
        for name in ("entry", "exit")
    ]
    return Observed(tuple(table["IID"].to_list()), times[0], times[1])


def phecode_outcomes(
    diagnoses: pl.DataFrame,
    mapping: PhecodeMap,
    *,
    observed: Observed | None = None,
    min_count: int = 2,
    survival: bool = False,
) -> tuple[OutcomeTable, dict[str, int]]:
    """Cases and controls of every phecode that occurs, and counts of what was used.

    diagnoses: `read_codes`. Occasions are different dates, or rows where there is no date.
    observed: only these people count, with or without diagnoses; None: everybody with exposures,
    and who has no diagnosis is a control. survival: time to the first occasion instead, from
    `observed`'s entry to exit; occasions after the exit don't count. Raises LeadlightError where
    nothing maps.
    """
    if survival and (observed is None or not observed.timed or "date" not in diagnoses.columns):
        raise LeadlightError(
            "Times to a phecode need the diagnoses' dates and everybody's entry and exit.",
            advice="Give a column date, and --observed with IID, entry and exit.",
        )
    mapped = {
        code: mapping.of_code.get(_known(plain_code(code), mapping), ())
        for code in diagnoses["code"].unique().to_list()
    }
    counts = {
        "diagnoses": diagnoses.height,
        "different codes": len(mapped),
        "codes without a phecode": sum(not own for own in mapped.values()),
    }
    pairs = pl.DataFrame(
        [(code, name) for code, own in mapped.items() for name in own],
        schema={"code": pl.String, "phecode": pl.String},
        orient="row",
    )
    occasions = diagnoses.join(pairs, on="code", how="inner")
    if not occasions.height:
        raise LeadlightError(
            f"No diagnosis has a phecode; codes are like {diagnoses['code'].to_list()[:3]}.",
            advice="Is the map of the same classification?",
        )
    people = tuple(diagnoses["IID"].unique(maintain_order=True).to_list())
    if observed is not None:
        people = observed.person_ids
    place = pl.DataFrame({"IID": people, "person": np.arange(len(people))})
    occasions = occasions.join(place, on="IID", how="inner")
    if survival and observed is not None:
        ends = pl.DataFrame({"person": np.arange(len(people)), "exit": observed.exit})
        occasions = occasions.join(ends, on="person").filter(pl.col("date") <= pl.col("exit"))
    dated = "date" in occasions.columns
    times = pl.col("date").n_unique() if dated else pl.len()
    first = pl.col("date").min() if dated else pl.lit(None, pl.Float64)
    # Codes of several children of a phecode on one day are one occasion of the parent.
    summed = occasions.group_by("phecode", "person").agg(times.alias("times"), first.alias("first"))
    of = {str(key[0]): part for key, part in summed.partition_by("phecode", as_dict=True).items()}
    outcomes = [
        _outcome(mapping.phecodes[name], of, len(people), min_count, observed if survival else None)
        for name in sorted(of, key=_order)
    ]
    counts["phecodes that occur"] = len(outcomes)
    absent = MISSING if observed is not None else 0
    return OutcomeTable(people, tuple(outcomes), absent), counts


def plain_code(code: str) -> str:
    """A code without dots and spaces, in upper case."""
    return re.sub(r"[.\s]", "", code).upper()


def _outcome(
    phecode: Phecode,
    of: Mapping[str, pl.DataFrame],
    n_people: int,
    min_count: int,
    timed: Observed | None,
) -> Outcome:
    own = of[phecode.name]
    status = np.zeros(n_people, dtype=np.int8)
    for name, part in of.items():
        if _inside(name, phecode.excluded) and name != phecode.name:
            status[part["person"].to_numpy()] = MISSING
    people, enough = own["person"].to_numpy(), own["times"].to_numpy() >= min_count
    status[people[~enough]] = MISSING
    status[people[enough]] = 1
    entry = left = None
    if timed is not None:
        entry, left = timed.entry, timed.exit.copy()
        left[people[enough]] = own["first"].to_numpy()[enough]
    return Outcome(
        phecode.name,
        "binary" if timed is None else "survival",
        status,
        entry,
        left,
        phecode.category,
        phecode.description,
        phecode.sex,
    )


def _known(code: str, mapping: PhecodeMap) -> str:
    """The code, or its longest beginning of three characters or more that the map has."""
    for end in range(len(code), 2, -1):
        if code[:end] in mapping.of_code:
            return code[:end]
    return code


def _with_parents(phecode: str) -> list[str]:
    """427.21 → 427.21, 427.2, 427."""
    whole, _, digits = phecode.partition(".")
    return [*(f"{whole}.{digits[:k]}" for k in range(len(digits), 0, -1)), whole]


def _ranges(path: Path, text: str) -> tuple[tuple[float, float], ...]:
    spans = []
    for part in filter(None, (one.strip() for one in re.split(r"[,;]", text))):
        ends = re.fullmatch(r"([\d.]+)\s*(?:-|–|to)\s*([\d.]+)", part)
        single = re.fullmatch(r"[\d.]+", part)
        if ends:
            spans.append((float(ends[1]), float(ends[2])))
        elif single:
            spans.append((float(part), float(part)))
        elif part.upper() not in ("NA", "NULL"):
            raise LeadlightError(
                f"{path}: {part!r} is no range of phecodes.", advice="As 426-427.99."
            )
    return tuple(spans)


def _inside(phecode: str, spans: Sequence[tuple[float, float]]) -> bool:
    number = _number(phecode)
    return any(low <= number <= high for low, high in spans)


def _number(phecode: str) -> float:
    digits = re.search(r"\d+(\.\d+)?", phecode)
    return float(digits[0]) if digits else np.nan


def _order(phecode: str) -> tuple[float, str]:
    number = _number(phecode)
    return (number if np.isfinite(number) else np.inf, phecode)
