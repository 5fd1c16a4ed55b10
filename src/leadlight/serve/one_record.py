"""One record of a study read alone: as the results of a study that has no other.

What draws a record for the page takes the results of a study. Here it gets those of this one
record, so that nothing is read or held of the others, however many there are.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import polars as pl
import xarray as xr
import zarr

from leadlight.cohort import signals
from leadlight.cohort.store import RECORDS_SCHEMA, Cohort
from leadlight.errors import LeadlightError
from leadlight.report.results import Results
from leadlight.serve.explaining import Explained
from leadlight.serve.folder import StudyFolder
from leadlight.serve.refusals import NotThere, Refusal
from leadlight.serve.remembered import stamp_of
from leadlight.serve.tables import hashes_of, keyed, reading

# What is read of a longer record: the rest of a day's strip is no page's to show.
LONGEST_S = 600.0


@dataclass(frozen=True)
class OneRecord:
    """A record as it stands in the study.

    Attributes:
        record_id: its name.
        row: of the tables and the signals.
        about: its row of `records.parquet`.
        whole: whether all of its signal is read, not only the first `LONGEST_S` seconds.
        cohort: a cohort of this record alone; None where the study has no signals.
        before, after: names of its neighbours, "" at the ends.
    """

    record_id: str
    row: int
    about: dict[str, Any]
    whole: bool
    cohort: Cohort | None
    before: str
    after: str


def read_record(study: StudyFolder, record_id: str) -> OneRecord:
    """Look a record up by its name.

    Raises:
        NotThere: the study has no such record, or no records.
        Refusal: its signal cannot be read.
    """
    if not study.records.is_file():
        raise NotThere("The study has no records.")
    table = keyed(study, study.records)
    row = table.row_of(record_id) if record_id else None
    if row is None:
        raise NotThere(
            f"The study has no record {record_id!r}.", advice="The table of records lists them."
        )
    rows = [one for one in (row - 1, row, row + 1) if 0 <= one < len(table)]
    near = table.read(rows)
    names = near["record_id"].to_list()
    at = rows.index(row)
    mine = near[at : at + 1]
    if absent := [name for name in RECORDS_SCHEMA if name not in mine.columns]:
        mine = mine.with_columns(pl.lit(None, RECORDS_SCHEMA[name]).alias(name) for name in absent)
    about = mine.row(0, named=True)
    n_read = min(int(about["n_samples"]), int(LONGEST_S * float(about["rate_hz"])))
    cohort = None
    if (study.path / "cohort.zarr").is_dir():
        stored = _signal(study, row, len(table), n_read)
        cut = mine.with_columns(pl.lit(n_read, pl.Int64).alias("n_samples"))
        cohort = Cohort(study.path, cut, cast(Any, stored[None]))
    return OneRecord(
        record_id, row, about, n_read == about["n_samples"], cohort,
        names[at - 1] if at > 0 else "", names[at + 1] if at + 1 < len(names) else "",
    )  # fmt: skip


def results_of(
    study: StudyFolder, one: OneRecord, model: str, explained: list[tuple[str, Explained]]
) -> Results:
    """The results of this record alone.

    Args:
        study: whose it is.
        one: the record.
        model: whose probabilities and relevance.
        explained: class and relevance that were worked out on demand, of `model`.
    """
    stored = _stored(study, one) if model == study.explained_model() else None
    rows = _findings(study, one.record_id) if stored is not None else None
    made = [(name, found) for name, found in explained if one.whole]
    relevance = _joined(one.record_id, stored if one.whole else None, made)
    if made:
        new = pl.DataFrame(
            [
                {
                    "record_id": one.record_id, "class": name, "model": "trained",
                    "logit": found.logit, "baseline_logit": found.baseline_logit,
                    "completeness_error": found.completeness_error,
                }
                for name, found in made
            ]
        )  # fmt: skip
        rows = new if rows is None else pl.concat([rows, new], how="diagonal_relaxed")
    return Results(
        study=study.path, cohort=one.cohort, records=rows, summary={"model": model},
        relevance=relevance, predicted={model: 1}, card=model_card(study, model),
    )  # fmt: skip


def model_card(study: StudyFolder, model: str) -> dict[str, Any]:
    """A classifier's card as plain tables: the study's own, else the shipped one; {} without."""
    shipped = Path(str(resources.files("leadlight.classify"))) / "shipped"
    explained = study.path / "findings" / "card.toml"
    own = study.path / "classify" / model / "card.toml"
    paths = (explained, own, shipped / model / "card.toml")
    return study.memory.get(
        ("card", model), stamp_of(paths), lambda: _read_card(paths, explained, model)
    )


def _read_card(paths: Sequence[Path], explained: Path, model: str) -> dict[str, Any]:
    for path in paths:
        try:
            card = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
            continue
        if path != explained or card.get("model", {}).get("name") == model:
            return card
    return {}


def _signal(study: StudyFolder, row: int, records: int, n: int) -> npt.NDArray[np.int16]:
    """(lead, sample) int16 in µV."""
    store = study.path / "cohort.zarr"

    def opened() -> zarr.Array[Any]:
        return signals.open_signal(store)

    try:
        array = study.memory.get("signal", stamp_of([store / "zarr.json"]), opened)
        if array.shape[0] != records:
            raise Refusal(
                f"records.parquet lists {records} records and cohort.zarr holds {array.shape[0]}.",
                advice="They are of two imports: import the study again with --overwrite.",
            )
        return np.asarray(array[row, :, :n])
    except LeadlightError:
        raise
    except Exception as error:  # what a damaged store raises is not of one family
        raise Refusal(
            "The signal of this record cannot be read: cohort.zarr is damaged.",
            advice="Import the study again with --overwrite.",
        ) from error


def _stored(study: StudyFolder, one: OneRecord) -> xr.Dataset | None:
    """The record's part of `relevance.zarr`, loaded; None where it was not explained."""
    store = study.path / "relevance.zarr"
    if not store.is_dir():
        return None

    def opened() -> tuple[xr.Dataset, npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
        dataset: xr.Dataset = xr.open_zarr(store, consolidated=False, chunks=None)
        hashes = hashes_of(pl.Series([str(name) for name in dataset["record_id"].values]))
        order = np.argsort(hashes, kind="stable")
        return dataset, hashes[order], order

    try:
        dataset, hashes, order = study.large.get(
            "relevance", stamp_of([store / "zarr.json"]), opened
        )
        wanted = hashes_of(pl.Series([one.record_id]))[0]
        place = int(np.searchsorted(hashes, wanted))
        if place >= len(hashes) or hashes[place] != wanted:
            return None
        mine = dataset.isel(record=[int(order[place])]).load()
    except Exception as error:
        raise Refusal(
            "The relevance of this record cannot be read: relevance.zarr is damaged.",
            advice="Run leadlight explain with --overwrite.",
        ) from error
    return mine if str(mine["record_id"].values[0]) == one.record_id else None


def _findings(study: StudyFolder, record_id: str) -> pl.DataFrame | None:
    path = study.path / "findings" / "records.parquet"
    if not path.is_file():
        return None
    with reading(path):
        return pl.scan_parquet(path).filter(pl.col("record_id") == record_id).collect()


def _joined(
    record_id: str, stored: xr.Dataset | None, made: list[tuple[str, Explained]]
) -> xr.Dataset | None:
    """Stored relevance with that of classes that were explained on demand, as one store's part."""
    if not made:
        return stored
    first = made[0][1]
    names = [name for name, _ in made]
    values = np.stack([found.relevance for _, found in made])[None]
    attributes = {
        "rate_hz": first.rate_hz, "model": first.model,
        "method": "integrated gradients, zero baseline",
    }  # fmt: skip
    if stored is not None and stored.sizes["sample"] == values.shape[3]:
        rows = [str(lead) for lead in stored["lead"].values]
        keep = [str(name) for name in stored["class"].values if str(name) not in names]
        if sorted(rows) == sorted(first.leads) and keep:
            before = stored["relevance"].sel({"class": keep}).sel(lead=first.leads)
            before = before.transpose("record", "class", "lead", "sample")
            values = np.concatenate([before.values, values], axis=1)
            names = [*keep, *names]
    dims = ("record", "class", "lead", "sample")
    return xr.Dataset(
        {"relevance": (dims, values, attributes)},
        coords={
            "record_id": ("record", np.array([record_id], dtype=object)),
            "class": ("class", np.array(names, dtype=object)),
            "lead": ("lead", np.array(first.leads, dtype=object)),
            "first_valid": ("record", [first.first_valid]),
            "n_valid": ("record", [first.n_valid]),
            "start_s": ("record", [first.start_s]),
        },
        attrs=attributes,
    )
