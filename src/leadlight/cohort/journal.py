"""The unfinished cohort: what lies in `.cohort.partial/`, and how an import goes on from there.

The folder holds `journal.json` (what the cohort is made of), `cohort.zarr` with finished shards,
`records-NNNNN.parquet` and `rejects-NNNNN.parquet` (the tables' parts, one pair per shard; a shard
counts once its records part is there), and a nameless file with the samples of the shard being
filled. When all is done `ready` is written and the results move to their final names, the records
table last; a kill between two moves is mended by the next run.
"""

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import zarr

from leadlight.atomic import put_in_place, sync, write_json, written_whole
from leadlight.cohort import signals
from leadlight.ecg.leads import LEADS
from leadlight.errors import LeadlightError
from leadlight.locking import take_lock
from leadlight.provenance import describe

PARTIAL = ".cohort.partial"
LOCK = ".import.lock"
_ARRAYS = ("signal", "cart_beat")
_RESULTS = ("cohort.zarr", "rejects.parquet", "cohort-provenance.json", "records.parquet")


class Journal:
    """The partial folder of one writer. Of use to `CohortWriter` only."""

    def __init__(
        self, study: Path, made_from: Mapping[str, Any] | None, shard_records: int
    ) -> None:
        """Look at the folder without touching it, as the only one; `release` lets others at it.

        Raises:
            LeadlightError: another process has it.
        """
        self.study, self.folder = study, study / PARTIAL
        study.mkdir(parents=True, exist_ok=True)
        self._lock = take_lock(study / LOCK, f"importing into {study}")
        self._made_from = made_from
        self._key = {"layout": 2, "shard_records": shard_records, "made_from": made_from}
        self._shard_records = shard_records
        self._rows: list[dict[str, Any]] = []
        self._cart_beats: list[signals.Microvolts] = []
        self._same = made_from is not None and self._read_key() == json.loads(json.dumps(self._key))

    @property
    def may_publish(self) -> bool:
        """Whether this very cohort was finished and only its move to the final names was cut."""
        return self._same and (self.folder / "ready").exists()

    @property
    def shard_is_full(self) -> bool:
        """Whether the records staged fill a shard."""
        return len(self._rows) >= self._shard_records

    def open(
        self,
        records_schema: dict[str, pl.DataType],
        rejects_schema: dict[str, pl.DataType],
        overwrite: bool,
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Take the folder, and give what is finished: record_id, patient_id, source, split; source.

        Raises:
            LeadlightError: when it holds an unfinished import of something else and `overwrite` is
                not given, or when what it holds cannot be read.
        """
        self._schemas = records_schema, rejects_schema
        key = self._read_key()
        resumable = key is not None and key["made_from"] is not None
        if resumable and not self._same and not overwrite:
            raise LeadlightError(
                f"{self.folder} holds an unfinished import of other sources or settings.",
                advice="Run that import again to finish it, or give --overwrite to drop it.",
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._same:
            self._empty()
            write_json(self.folder / "journal.json", self._key)
        self._staging = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115
        self._parts = sum(1 for _ in self.folder.glob("records-*.parquet"))
        names = ("record_id", "patient_id", "source", "split")
        try:
            if not self.may_publish:
                self._forget_last_part_unless_full()
                self._restore_signals()
            records = [pl.read_parquet(p, columns=list(names)) for p in self._tables("records")]
            rejects = [pl.read_parquet(p, columns=["source"]) for p in self._tables("rejects")]
        except (pl.exceptions.PolarsError, FileNotFoundError) as error:
            raise LeadlightError(
                f"What {self.folder} holds of an unfinished import is damaged.",
                advice="Delete it and import again.",
            ) from error
        return (
            pl.concat([pl.DataFrame(schema={n: records_schema[n] for n in names}), *records]),
            pl.concat([pl.DataFrame(schema={"source": rejects_schema["source"]}), *rejects]),
        )

    def stage(
        self,
        row: dict[str, Any],
        stored: signals.Microvolts,
        cart_beat: signals.Microvolts | None = None,
    ) -> None:
        """Hold one record for the next shard: its row and its cart's median beat (lead, sample)
        here, its samples in the nameless file."""
        self._staging.write(np.ascontiguousarray(stored).data)
        empty = np.zeros((len(LEADS), 0), dtype=np.int16)
        self._cart_beats.append(empty if cart_beat is None else cart_beat)
        self._rows.append(row)

    def commit(self, rejects: list[dict[str, Any]]) -> None:
        """Write what was staged as the next shard with its parts of the tables."""
        if not self._rows and not rejects:
            return
        records_schema, rejects_schema = self._schemas
        if self._rows:
            self._staging.flush()
            samples = np.memmap(self._staging, dtype=np.int16, mode="r")
            lengths = [row["n_samples"] for row in self._rows]
            signals.write_shard(self._signal, self._parts, samples, lengths)
            del samples
            beats = np.concatenate([beat.ravel() for beat in self._cart_beats])
            lengths = [beat.shape[1] for beat in self._cart_beats]
            signals.write_shard(self._carts, self._parts, beats, lengths)
            for array in _ARRAYS:
                sync(self.folder / "cohort.zarr" / array / "c" / str(self._parts))
            self._staging.seek(0)
            self._staging.truncate()
        number = f"{self._parts:05d}"
        with written_whole(self.folder / f"rejects-{number}.parquet") as partial:
            pl.DataFrame(rejects, schema=rejects_schema).write_parquet(partial)
        with written_whole(self.folder / f"records-{number}.parquet") as partial:
            pl.DataFrame(self._rows, schema=records_schema).write_parquet(partial)
        self._parts += 1
        self._rows, self._cart_beats = [], []

    def publish(self, verb: str, parameters: Mapping[str, Any], inputs: Sequence[Path]) -> None:
        """Join the parts and move the results to their final names."""
        if not (self.folder / "ready").exists():
            for table in ("rejects", "records"):
                pl.scan_parquet(self._tables(table)).sink_parquet(self.folder / f"{table}.parquet")
            records = pl.read_parquet(
                self.folder / "records.parquet",
                columns=["record_id", "n_samples", "cart_beat_samples"],
            )
            signals.finish(
                self.folder / "cohort.zarr",
                records["record_id"],
                _longest(records["n_samples"]),
                _longest(records["cart_beat_samples"]),
            )
            provenance = describe(verb, parameters, [*inputs, self.folder / "records.parquet"])
            write_json(self.folder / "cohort-provenance.json", provenance)
            write_json(self.folder / "ready", True)
        # A table beside signals of another import would be wrong unnoticed: it goes first.
        if (self.folder / "records.parquet").exists():
            (self.study / "records.parquet").unlink(missing_ok=True)
        for name in _RESULTS:
            made, final = self.folder / name, self.study / name
            if made.exists():
                put_in_place(made, final)
        self.drop()

    def abandon(self) -> None:
        """Leave the folder for a later run that can go on; drop it where none can."""
        self._staging.close()
        if self._made_from is None:
            self.drop()
        else:
            self.release()

    def drop(self) -> None:
        """Remove the folder."""
        self._staging.close()
        # First: without it, what a kill leaves of the others is nobody's to go on with.
        (self.folder / "journal.json").unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.release()

    def release(self) -> None:
        """Let another process at the folder."""
        self._lock.close()

    def _tables(self, name: str) -> list[Path]:
        # Only a part whose records table is there counts: it is written last.
        return [self.folder / f"{name}-{number:05d}.parquet" for number in range(self._parts)]

    def _read_key(self) -> dict[str, Any] | None:
        try:
            key = json.loads((self.folder / "journal.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return key if isinstance(key, dict) and "made_from" in key else None

    def _forget_last_part_unless_full(self) -> None:
        # Records to come would not start on a shard's first row; so its few are read again.
        while self._parts:
            last = self.folder / f"records-{self._parts - 1:05d}.parquet"
            if pl.read_parquet(last, columns=["source"]).height == self._shard_records:
                return
            last.unlink()
            self._parts -= 1

    def _restore_signals(self) -> None:
        """A sound array with the finished shards, whatever a kill left half-written."""
        store = self.folder / "cohort.zarr"
        for metadata in store.rglob("zarr.json"):
            metadata.unlink()
        for name in _ARRAYS:
            shards = store / name / "c"
            for shard in shards.iterdir() if shards.is_dir() else ():
                if not shard.name.isdigit() or int(shard.name) >= self._parts:
                    shutil.rmtree(shard) if shard.is_dir() else shard.unlink()
        self._signal: zarr.Array[Any] = signals.create(store, self._shard_records)
        self._carts: zarr.Array[Any] = signals.create_cart_beats(store, self._shard_records)
        columns = ["n_samples", "cart_beat_samples"]
        tables = [pl.read_parquet(part, columns=columns) for part in self._tables("records")]
        for array, column, chunk in (
            (self._signal, columns[0], signals.CHUNK_SAMPLES),
            (self._carts, columns[1], signals.CART_CHUNK_SAMPLES),
        ):
            longest = max((_longest(table[column]) for table in tables), default=0)
            n_rows = self._parts * self._shard_records
            array.resize((n_rows, len(LEADS), -(-longest // chunk) * chunk))

    def _empty(self) -> None:
        (self.folder / "journal.json").unlink(missing_ok=True)
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _longest(lengths: pl.Series) -> int:
    """The largest of some counts; 0 where all are null."""
    return int(lengths.fill_null(0).to_numpy().max(initial=0))
