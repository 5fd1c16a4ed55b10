"""Large tables by the name of a record: found by hash, read by row, never held whole."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from leadlight.serve.folder import StudyFolder
from leadlight.serve.refusals import Refusal
from leadlight.serve.remembered import stamp_of

Rows = npt.NDArray[np.int32]
BATCH = 1 << 16  # rows that are decoded at once
NAME = "record_id"
_BROKEN = (pa.ArrowException, pl.exceptions.PolarsError, OSError, ValueError)


@dataclass(frozen=True)
class KeyedTable:
    """A Parquet table with a column `record_id`, and where each record stands in it.

    Some 12 bytes a row are held. The file may be replaced: then another table is made.

    Attributes:
        path: the file.
        columns: their names.
        hashes: (row) sorted hashes of the names.
        order: (row) the row of each hash.
    """

    path: Path
    columns: tuple[str, ...]
    hashes: npt.NDArray[np.uint64]
    order: Rows

    def __len__(self) -> int:
        return len(self.order)

    def row_of(self, record_id: str) -> int | None:
        """The row of a record; None where it has none. A name's hash is checked by the name."""
        for row in self._rows_hashed_as(record_id):
            if self.read([row], [NAME])[NAME][0] == record_id:
                return row
        return None

    def row(self, record_id: str) -> dict[str, Any] | None:
        """A record's row as a dictionary; None where it has none."""
        for row in self._rows_hashed_as(record_id):
            found = self.read([row]).row(0, named=True)
            if found[NAME] == record_id:
                return found
        return None

    def rows_of(self, hashes: npt.NDArray[np.uint64]) -> Rows:
        """(record) row of each of these hashes, -1 where there is none."""
        if not len(self.hashes):
            return np.full(len(hashes), -1, dtype=np.int32)
        place = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        return np.where(self.hashes[place] == hashes, self.order[place], -1).astype(np.int32)

    def read(self, rows: Sequence[int], columns: Sequence[str] | None = None) -> pl.DataFrame:
        """These rows in this order, a stretch of the file at a time."""
        wanted = np.asarray(rows, dtype=np.int64)
        names = list(columns) if columns is not None else None
        if len(wanted) and (np.diff(wanted) == 1).all():
            return self._stretch(int(wanted[0]), len(wanted), names)
        with reading(self.path), pq.ParquetFile(self.path) as file:
            sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            ends = np.cumsum(sizes)
            parts: list[pa.Table] = []
            found: list[npt.NDArray[np.int64]] = []
            for number in np.unique(np.searchsorted(ends, wanted, "right")).tolist():
                at = int(ends[number] - sizes[number])
                for batch in file.iter_batches(BATCH, row_groups=[number], columns=names):
                    mine = np.flatnonzero((wanted >= at) & (wanted < at + batch.num_rows))
                    if len(mine):
                        taken = batch.take(pa.array(wanted[mine] - at))
                        parts.append(pa.Table.from_batches([taken]))
                        found.append(mine)
                    at += batch.num_rows
                    if at > wanted.max():
                        break
            if not parts:
                return pl.DataFrame(pl.from_arrow(file.schema_arrow.empty_table())).select(
                    names or self.columns
                )
        table = pl.DataFrame(pl.from_arrow(pa.concat_tables(parts)))
        back = np.argsort(np.concatenate(found), kind="stable")
        found_rows: pl.DataFrame = table[back.tolist()]
        return found_rows

    def _rows_hashed_as(self, record_id: str) -> list[int]:
        wanted = hashes_of(pl.Series([record_id]))[0]
        first = np.searchsorted(self.hashes, wanted, "left")
        end = np.searchsorted(self.hashes, wanted, "right")
        rows: list[int] = self.order[first:end].tolist()
        return rows

    def _stretch(self, first: int, count: int, columns: list[str] | None) -> pl.DataFrame:
        """Rows that follow each other: only their pages are decoded."""
        with reading(self.path):
            frame = pl.scan_parquet(self.path).slice(first, count)
            return (frame if columns is None else frame.select(columns)).collect()

    def column(self, name: str) -> npt.NDArray[np.float32]:
        """(row) a column of numbers, NaN where null, read a stretch at a time."""
        out = np.full(len(self), np.nan, dtype=np.float32)
        at = 0
        with reading(self.path), pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(BATCH, columns=[name]):
                values = batch.column(0).cast(pa.float32()).to_numpy(zero_copy_only=False)
                out[at : at + len(values)] = values
                at += len(values)
        return out


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What a table's reader raises becomes one sentence."""
    try:
        yield
    except Refusal:
        raise
    except _BROKEN as error:
        raise Refusal(
            f"{path.name} cannot be read: it is damaged or of another kind.",
            advice="Make it again with --overwrite.",
        ) from error


def keyed(study: StudyFolder, path: Path) -> KeyedTable:
    """The table with its index, made once per file.

    Raises:
        Refusal: it cannot be read, or has no column `record_id`.
    """
    return study.large.get(("keyed", path), stamp_of([path]), lambda: _index(path))


def hashes_of(names: pl.Series) -> npt.NDArray[np.uint64]:
    """(name) 64-bit hashes, the same within one run of the program."""
    return names.cast(pl.String).hash(seed=7).to_numpy().astype(np.uint64)


def names_hashed(path: Path) -> npt.NDArray[np.uint64]:
    """(row) hashes of a table's records in its own order."""
    parts = []
    with reading(path), pq.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH, columns=[NAME]):
            parts.append(hashes_of(pl.Series(pl.from_arrow(batch.column(0)))))
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.uint64)


def _index(path: Path) -> KeyedTable:
    with reading(path), pq.ParquetFile(path) as file:
        columns = tuple(file.schema_arrow.names)
    if NAME not in columns:
        raise Refusal(f"{path.name} has no column {NAME}.")
    hashes = names_hashed(path)
    order = np.argsort(hashes, kind="stable").astype(np.int32)
    return KeyedTable(path, columns, hashes[order], order)
