"""One row per person for an association, from tables with one row per recording."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from leadlight.atomic import written_whole
from leadlight.ecg.quality import excludes
from leadlight.errors import LeadlightError
from leadlight.genetics.traits import read_person_table
from leadlight.progress import say

# The stream of random numbers of the control.
_PERMUTING = 41


def write_person_table(
    study: Path,
    table: Path,
    out: Path,
    *,
    people: Literal["record_id", "patient_id"] = "record_id",
    columns: Sequence[str] | None = None,
) -> list[str]:
    """Write `out`: IID and traits, of each person's first recording without an excluding flag.

    Args:
        study: the study folder.
        table: Parquet with `record_id` and the traits.
        out: the table for the association.
        people: which column of the records is the genotypes' IID.
        columns: the traits; all columns `factor_...` where None.

    Returns:
        The traits' names.

    Raises:
        LeadlightError: the table lacks a trait or nobody is left.
    """
    found = pl.read_parquet(table)
    names = list(columns or [name for name in found.columns if name.startswith("factor_")])
    if missing := [name for name in names if name not in found.columns]:
        known = [name for name in found.columns if name != "record_id"]
        raise LeadlightError(
            f"{table.name} has no column {missing[0]}.",
            advice=f"It has {', '.join(known[:12])}{', ...' if len(known) > 12 else ''}.",
        )
    columns_of_records = list(dict.fromkeys(["record_id", people, "flags"]))
    records = pl.read_parquet(study / "records.parquet", columns=columns_of_records)
    usable = [not excludes(flags or ()) for flags in records["flags"].to_list()]
    kept = records.filter(pl.Series(usable))
    rows = kept.join(found.select("record_id", *names), on="record_id", maintain_order="left")
    persons = rows.unique(people, keep="first", maintain_order=True)
    if not persons.height:
        raise LeadlightError(f"No record of {study} can be used.", advice="Look at their flags.")
    if records.height > persons.height:
        say(
            f"{persons.height} people; left out: {records.height - kept.height} flagged records, "
            f"{rows.height - persons.height} further records of the same people."
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(out) as partial:
        persons.select(pl.col(people).alias("IID"), *names).write_parquet(partial)
    return names


def permute_people(phenotypes: Path, covariates: Path | None, out: Path, *, seed: int) -> None:
    """Deal the traits and the covariates of each person to another, both to the same.

    What traits have to do with covariates and with each other stays as it is; what they have to do
    with genotypes is gone. People whom the covariates leave out are left alone.

    Args:
        phenotypes: table with IID, replaced by the permuted one.
        covariates: table of covariates; None where there is none.
        out: where the permuted covariates go.
        seed: of the permutation.
    """
    table = pl.read_parquet(phenotypes)
    people = table["IID"].cast(pl.String)
    given = None
    if covariates is not None:
        read = read_person_table(covariates, categories=True)
        known = pl.Series("IID", read.person_ids)
        people = people.filter(people.is_in(known.implode()))
        columns = {name: read.values[:, place] for place, name in enumerate(read.columns)}
        given = pl.DataFrame({"IID": known, **columns})
    dealt = np.random.default_rng([seed, _PERMUTING]).permutation(len(people))
    to = dict(zip(people.to_list(), people[dealt.tolist()].to_list(), strict=True))

    def renamed(one: pl.DataFrame) -> pl.DataFrame:
        return one.with_columns(pl.col("IID").cast(pl.String).replace(to))

    with written_whole(phenotypes) as partial:
        renamed(table).write_parquet(partial)
    if given is not None:
        with written_whole(out) as partial:
            renamed(given).write_parquet(partial)
