"""The table of records a page at a time: searched, filtered and sorted without holding it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight.serve.folder import StudyFolder, chosen, unmoved
from leadlight.serve.refusals import NotThere, Refusal
from leadlight.serve.remembered import stamp_of
from leadlight.serve.tables import KeyedTable, Rows, keyed, names_hashed, reading

PAGE_SIZES = (25, 50, 100, 200)
NONE = "(none)"  # asked for as a label or flag: records without any
ORDERS = {"": "as imported", "high": "probability, highest first", "low": "lowest first"}
_SHOWN = (
    "record_id", "patient_id", "source_format", "age", "sex", "labels", "split", "flags",
    "rate_hz", "n_samples",
)  # fmt: skip
_LONGEST_TEXT = 200
_MOST_FACETS = 200


@dataclass(frozen=True)
class RecordQuery:
    """What is asked of the table.

    Attributes:
        search: text that a record's or patient's name contains, whatever its case.
        label, flag, split: that a record has; `NONE` for records without any label or flag.
        model: whose probabilities; the explained or first one where empty.
        of_class: class that `low`, `high` and `order` are about.
        low, high: bounds of its probability, both included.
        order: one of `ORDERS`.
        page, size: which page (from 1) of so many records.
    """

    search: str = ""
    label: str = ""
    flag: str = ""
    split: str = ""
    model: str = ""
    of_class: str = ""
    low: float | None = None
    high: float | None = None
    order: str = ""
    page: int = 1
    size: int = 50

    @property
    def asks_probability(self) -> bool:
        """Whether the class matters to which records there are or to their order."""
        return bool(self.low is not None or self.high is not None or self.order)


def read_query(given: Mapping[str, str]) -> RecordQuery:
    """A query from an address's parameters.

    Raises:
        Refusal: a number is none, or a word is unknown.
    """
    texts = {name: given.get(name, "").strip() for name in
             ("search", "label", "flag", "split", "model", "order")}  # fmt: skip
    if any(len(text) > _LONGEST_TEXT for text in texts.values()):
        raise Refusal(f"A filter may have {_LONGEST_TEXT} characters.")
    if texts["order"] not in ORDERS:
        raise Refusal(f"Records cannot be ordered by {texts['order']!r}.", advice="high or low.")
    page = _whole(given, "page", 1, 1, 10**8)
    size = _whole(given, "size", 50, 1, max(PAGE_SIZES))
    low, high = _share(given, "low"), _share(given, "high")
    return RecordQuery(
        **texts, of_class=given.get("class", "").strip(), low=low, high=high, page=page, size=size
    )


def list_records(study: StudyFolder, query: RecordQuery) -> dict[str, Any]:
    """One page of the records that a query finds, JSON-ready.

    `total`, `page`, `pages`, `size`; `model`, `classes`; `records`: a list with what the table
    shows of each, `probabilities` by class (null where there is none).

    Raises:
        Refusal: the question cannot be answered; `NotThere` where the study has no records, no
            such model or no such class.
    """
    if not study.records.is_file():
        raise NotThere("The study has no records.", advice="leadlight import makes them.")
    models = study.classifiers()
    needed = [study.records, *models.values()]
    found: dict[str, Any] = unmoved(study, needed, _list, study, query, models)
    return found


def facets(study: StudyFolder) -> dict[str, Any]:
    """What can be filtered by: `records`, and `labels`, `flags`, `splits` with their counts."""
    stamp = stamp_of([study.records])
    return study.memory.get("facets", stamp, lambda: _facets(study))


def probabilities_by_record(study: StudyFolder, path: Path) -> Rows:
    """(record) row of each record in a table keyed by record, -1 where it has none."""

    def align() -> Rows:
        return keyed(study, path).rows_of(names_hashed(study.records))

    stamp = stamp_of([study.records, path])
    return study.large.get(("aligned", path), stamp, align)


def _list(study: StudyFolder, query: RecordQuery, models: dict[str, Path]) -> dict[str, Any]:
    model = chosen(models, query.model, "classifier") if models or query.model else ""
    table = keyed(study, models[model]) if model else None
    classes = [name for name in table.columns if name != "record_id"] if table else []
    if query.asks_probability and query.of_class not in classes:
        raise NotThere(
            f"{model or 'The study'} has no class {query.of_class!r}.",
            advice=f"Classes: {', '.join(classes) or 'none'}.",
        )
    rows = _matching(study, query, table)
    total = _count(study) if rows is None else len(rows)
    first = (query.page - 1) * query.size
    wanted = (
        np.arange(first, max(first, min(first + query.size, total)))
        if rows is None
        else rows[first : first + query.size]
    )
    shown = _page(study, wanted, table, classes)
    return {
        "total": total,
        "page": query.page,
        "pages": max(1, -(-total // query.size)),
        "size": query.size,
        "model": model,
        "classes": classes,
        "records": shown,
    }


def _page(
    study: StudyFolder, rows: npt.NDArray[Any], table: KeyedTable | None, classes: list[str]
) -> list[dict[str, Any]]:
    if not len(rows):
        return []
    records = keyed(study, study.records)
    columns = [name for name in _SHOWN if name in records.columns]
    about = records.read(rows.tolist(), columns).to_dicts()
    probable: dict[str, dict[str, Any]] = {}
    if table is not None:
        there = probabilities_by_record(study, table.path)[rows]
        there = there[there >= 0]
        if len(there):
            for row in table.read(there.tolist()).to_dicts():
                probable[str(row["record_id"])] = row
    for one in about:
        mine = probable.get(one["record_id"])
        one["probabilities"] = {
            name: None if mine is None else _number(mine[name]) for name in classes
        }
        one["age"], one["rate_hz"] = _number(one.get("age")), _number(one.get("rate_hz"))
    return about


def _matching(
    study: StudyFolder, query: RecordQuery, table: KeyedTable | None
) -> npt.NDArray[Any] | None:
    """Rows of the records that a query finds, in its order; None for all as they stand."""
    asked = (query.search, query.label, query.flag, query.split)
    if not any(asked) and not query.asks_probability:
        return None
    paths = [study.records, *([table.path] if table is not None else [])]
    about = (query.of_class, query.low, query.high, query.order) if query.asks_probability else ()
    key = ("matching", asked, about, table.path if table is not None and about else None)
    return study.large.get(key, stamp_of(paths), lambda: _match(study, query, table))


def _match(study: StudyFolder, query: RecordQuery, table: KeyedTable | None) -> npt.NDArray[Any]:
    rows = _filtered(study, query)
    if not query.asks_probability or table is None:
        return np.arange(_count(study), dtype=np.int32) if rows is None else rows
    place = probabilities_by_record(study, table.path)
    values = np.append(table.column(query.of_class), np.float32(np.nan))[place]
    if rows is None:
        rows = np.arange(len(values), dtype=np.int32)
    mine = values[rows]
    keep = np.isfinite(mine)
    if query.low is not None:
        keep &= mine >= query.low
    if query.high is not None:
        keep &= mine <= query.high
    rows, mine = rows[keep], mine[keep]
    if query.order:
        # Ties stay in the order of the table, so that pages do not overlap.
        rows = rows[np.argsort(-mine if query.order == "high" else mine, kind="stable")]
    return rows.astype(np.int32)


def _filtered(study: StudyFolder, query: RecordQuery) -> Rows | None:
    """Rows that text, label, flag and split leave; None where nothing is asked of them."""
    wanted: list[pl.Expr] = []
    if query.search:
        text = query.search.lower()
        wanted.append(
            pl.col("record_id").str.to_lowercase().str.contains(text, literal=True)
            | pl.col("patient_id").str.to_lowercase().str.contains(text, literal=True)
        )
    for name, value in (("labels", query.label), ("flags", query.flag)):
        if value == NONE:
            wanted.append(pl.col(name).list.len().fill_null(0) == 0)
        elif value:
            wanted.append(pl.col(name).list.contains(value).fill_null(False))
    if query.split:
        wanted.append(pl.col("split") == query.split)
    if not wanted:
        return None
    with reading(study.records):
        found = (
            pl.scan_parquet(study.records, row_index_name="row")
            .filter(pl.all_horizontal(wanted))
            .select(pl.col("row").cast(pl.Int32))
            .collect(engine="streaming")
        )
    return found["row"].sort().to_numpy()


def _facets(study: StudyFolder) -> dict[str, Any]:
    def counted(frame: pl.LazyFrame, name: str) -> list[dict[str, Any]]:
        found = frame.group_by(name).agg(pl.len().alias("count")).collect(engine="streaming")
        rows = found.drop_nulls().sort("count", name, descending=[True, False])
        return [{"name": row[0], "count": row[1]} for row in rows.head(_MOST_FACETS).iter_rows()]

    with reading(study.records):
        frame = pl.scan_parquet(study.records)
        return {
            "records": _count(study),
            "labels": counted(frame.select(pl.col("labels").explode()), "labels"),
            "flags": counted(frame.select(pl.col("flags").explode()), "flags"),
            "splits": counted(frame.select("split"), "split"),
        }


def _count(study: StudyFolder) -> int:
    return len(keyed(study, study.records))


def _whole(given: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = given.get(name, "").strip() or str(default)
    if not text.isascii() or not text.isdigit() or not least <= int(text[:12]) <= most:
        raise Refusal(f"{name} must be a whole number from {least} to {most}.")
    return int(text)


def _share(given: Mapping[str, str], name: str) -> float | None:
    text = given.get(name, "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1:
        raise Refusal(f"{name} must be a probability from 0 to 1.")
    return value


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value
