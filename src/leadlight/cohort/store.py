"""Many recordings in a study folder: `cohort.zarr` for signals, `records.parquet` for the rest."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import polars as pl
import zarr

from leadlight.atomic import refuse_overwrite
from leadlight.cohort import signals
from leadlight.cohort.journal import PARTIAL, Journal
from leadlight.cohort.labels import CLASSES, NORMAL
from leadlight.cohort.splits import SPLITS, split_of, split_of_fold
from leadlight.ecg.leads import LEADS
from leadlight.ecg.recording import Recording
from leadlight.errors import LeadlightError

RECORDS_SCHEMA: dict[str, pl.DataType] = {
    "record_id": pl.String(),
    "patient_id": pl.String(),
    "source": pl.String(),
    "source_format": pl.String(),
    "rate_hz": pl.Float64(),
    "n_samples": pl.Int64(),
    "age": pl.Float64(),
    "sex": pl.String(),
    "labels": pl.List(pl.String()),
    "codes": pl.List(pl.String()),
    "split": pl.String(),
    "fold": pl.Int64(),
    "flags": pl.List(pl.String()),
    "derived_leads": pl.List(pl.String()),
    "missing_leads": pl.List(pl.String()),
    "signal_sha256": pl.String(),
    "cart_beat_rate_hz": pl.Float64(),
    "cart_beat_samples": pl.Int64(),
    "cart_measurements": pl.List(pl.Struct({"name": pl.String(), "value": pl.Float64()})),
}
# Null where a recording brings no median beat or measurements of its cart; an older cohort lacks
# the columns and had none.
_CART_COLUMNS = ("cart_beat_rate_hz", "cart_beat_samples", "cart_measurements")
REJECTS_SCHEMA: dict[str, pl.DataType] = {
    "source": pl.String(),
    "reason": pl.String(),
    "advice": pl.String(),
}
CLIPPED = "clipped"

# Signals that `Cohort.stream` decodes at once.
_STREAM_BYTES = 16 << 20


@dataclass(frozen=True)
class Cohort:
    """A finished cohort, opened for reading.

    Attributes:
        study: the study folder.
        records: one row per record, row i being record i of the array (`RECORDS_SCHEMA`).
        signal: the Zarr array (record, lead, sample) int16 in µV, `signals.MISSING` = no value.
        cart_beats: the carts' median beats (record, lead, sample) likewise; None where no recording
            brought one.
    """

    study: Path
    records: pl.DataFrame
    signal: zarr.Array[Any]
    cart_beats: zarr.Array[Any] | None = None

    def __len__(self) -> int:
        return self.records.height

    def recording(self, row: int) -> Recording:
        """Record `row` as a Recording, with one small read.

        Raises:
            IndexError: when there is no such row.
        """
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} is outside of the cohort's {len(self)} records")
        about = self.records.row(row, named=True)
        cart = None
        if self.cart_beats is not None and about["cart_beat_samples"]:
            cart = np.asarray(self.cart_beats[row, :, : about["cart_beat_samples"]])
        return _recording(about, np.asarray(self.signal[row, :, : about["n_samples"]]), cart)

    def stream(self, rows: Sequence[int] | None = None) -> Iterator[Recording]:
        """The records of `rows` (all where None) in the order given.

        Neighbours are read together, some 16 MB of samples at a time, so memory does not grow with
        the cohort; rows in rising order read fastest.
        """
        wanted = list(range(len(self))) if rows is None else [int(row) for row in rows]
        if outside := [row for row in wanted if not 0 <= row < len(self)]:
            raise IndexError(f"row {outside[0]} is outside of the cohort's {len(self)} records")
        lengths = self.records["n_samples"].to_numpy()
        for batch in _batches(wanted, lengths):
            longest = int(lengths[batch].max())
            if batch == list(range(batch[0], batch[0] + len(batch))):
                block = self.signal[batch[0] : batch[0] + len(batch), :, :longest]
            else:
                block = self.signal.oindex[np.array(batch), :, slice(0, longest)]
            stored = np.asarray(block)
            table = self.records[batch]
            carts = self._carts_of(table, batch)
            for about, samples, cart in zip(
                table.iter_rows(named=True), stored, carts, strict=True
            ):
                yield _recording(about, samples[:, : about["n_samples"]], cart)

    def _carts_of(self, table: pl.DataFrame, batch: list[int]) -> list[signals.Microvolts | None]:
        """The carts' beats of the rows `batch`, whose table is `table`."""
        lengths = table["cart_beat_samples"].to_list()
        if self.cart_beats is None or not any(lengths):
            return [None] * len(batch)
        block = np.asarray(self.cart_beats.oindex[np.array(batch)])
        return [
            beat[:, :length] if length else None
            for beat, length in zip(block, lengths, strict=True)
        ]

    def row_of(self, record_id: str) -> int:
        """The row of a record by its name.

        Raises:
            LeadlightError: when the cohort has no such record.
        """
        found = self.records["record_id"].index_of(record_id)
        if found is None:
            raise LeadlightError(
                f"{self.study} has no record {record_id!r}.",
                advice="records.parquet lists the records of a cohort.",
            )
        return found


def open_cohort(study: Path) -> Cohort:
    """Open the cohort of a study folder.

    Raises:
        LeadlightError: when there is none, when its import has not finished, or when its table and
            its signals disagree.
    """
    table, store = study / "records.parquet", study / "cohort.zarr"
    if not table.is_file() or not store.is_dir():
        unfinished = (study / PARTIAL).is_dir()
        raise LeadlightError(
            f"{study} holds {'an unfinished import' if unfinished else 'no cohort'}.",
            advice="Run the same import again; it goes on from where it was."
            if unfinished
            else "Make one: leadlight import FILES... --study " + str(study),
        )
    records, signal = pl.read_parquet(table), signals.open_signal(store)
    if "cart_beat_samples" not in records.columns:
        nulls = [pl.lit(None, RECORDS_SCHEMA[name]).alias(name) for name in _CART_COLUMNS]
        records = records.with_columns(nulls)
    if absent := [name for name in RECORDS_SCHEMA if name not in records.columns]:
        raise LeadlightError(
            f"{table} lacks the columns {', '.join(absent)}.", advice="Import the study again."
        )
    if signal.shape[0] != records.height:
        raise LeadlightError(
            f"{table} lists {records.height} records and {store} holds {signal.shape[0]}.",
            advice="They are of two imports: import the study again with --overwrite.",
        )
    return Cohort(study, records, signal, signals.open_cart_beats(store))


class CohortWriter:
    """Writes a cohort shard by shard; the final names appear only once it is whole.

    Use it as a context manager: the end of the block finishes the cohort. Until then everything
    lies in `.cohort.partial/` in the study folder. A shard (256 records) is written when it is
    full, with its part of the table; a process that is killed loses at most the records since.

    With `made_from` (anything JSON-ready that says what the cohort is made of) the next writer that
    names the same goes on behind the last finished shard: skip what is in `done_sources`, and give
    the rest in the same order. Without it, an unfinished cohort is dropped.

    Memory: one record, one shard's ten seconds (31 MB, while it is compressed some 100 MB), and the
    names of records and patients (about 0.3 kB a record). The samples of the shard being filled lie
    in a file.
    """

    def __init__(
        self,
        study: Path,
        *,
        overwrite: bool = False,
        made_from: Mapping[str, Any] | None = None,
        verb: str = "import",
        parameters: Mapping[str, Any] | None = None,
        inputs: Sequence[Path] = (),
        shard_records: int = signals.SHARD_RECORDS,
        allow_empty: bool = False,
    ) -> None:
        """Start a cohort, or go on with one.

        Args:
            study: the study folder; made where absent.
            overwrite: replace the cohort that is there; it stays in place until the new one is
                whole.
            made_from: what the cohort is made of, for going on after a kill.
            verb: the verb that provenance names.
            parameters: the parameters that provenance records.
            inputs: the few files besides the recordings (a label table) whose fingerprints
                provenance records; recordings are fingerprinted by `signal_sha256` in the table.
            shard_records: records per shard.
            allow_empty: a cohort of no record is no fault.

        Raises:
            LeadlightError: when the folder holds a cohort and `overwrite` is not given, when it
                holds an unfinished import of something else, or when another process is writing it.
        """
        self.study = study
        self._allow_empty = allow_empty
        self._journal = Journal(study, made_from, shard_records)
        self._provenance = (verb, dict(parameters or {}), tuple(inputs))
        try:
            if not self._journal.may_publish:
                refuse_overwrite(study / "records.parquet", overwrite)
                refuse_overwrite(study / "cohort.zarr", overwrite)
            done, rejected = self._journal.open(RECORDS_SCHEMA, REJECTS_SCHEMA, overwrite)
        except BaseException:
            self._journal.release()
            raise
        self._record_ids = set(done["record_id"])
        self._split_of_patient = dict(zip(done["patient_id"], done["split"], strict=True))
        self.done_sources: frozenset[str] = frozenset(done["source"]) | set(rejected["source"])
        self._rejects: list[dict[str, Any]] = []

    def __enter__(self) -> "CohortWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._journal.abandon()

    def __len__(self) -> int:
        return len(self._record_ids)

    def add(
        self,
        recording: Recording,
        labels: Sequence[str] | None = None,
        split: str | None = None,
        flags: Sequence[str] = (),
        source: str | None = None,
        *,
        fold: int | None = None,
    ) -> None:
        """Add one record.

        Args:
            recording: all twelve leads by name, at its own rate.
            labels: names among `CLASSES` and `NORMAL`; () = labelled, none of ours; None = not
                labelled.
            split: "train", "validation" or "test"; by `fold` or the patient's hash where None.
            flags: quality flags; "clipped" is added where values were beyond ±32.767 mV.
            source: where the record is from (its record_id where None).
            fold: a PTB-XL-style fold from 1 to 10.

        Raises:
            LeadlightError: on a repeated record_id, unknown labels or splits, an empty signal, a
                rate that is not positive, leads that are absent, or a patient in two splits.
        """
        name = recording.record_id
        self._refuse_bad(recording, labels, split)
        stored, clipped = signals.to_microvolts(recording.signal_mv)
        patient = recording.patient_id or name
        if split is None:
            split = split_of(patient) if fold is None else split_of_fold(fold)
        if self._split_of_patient.setdefault(patient, split) != split:
            raise LeadlightError(
                f"Patient {patient} of record {name} is in two splits, "
                f"{self._split_of_patient[patient]} and {split}.",
                advice="Give all records of a patient the same split.",
            )
        self._record_ids.add(name)
        row = {
            "record_id": name,
            "patient_id": patient,
            "source": name if source is None else source,
            "source_format": recording.source_format,
            "rate_hz": float(recording.rate_hz),
            "n_samples": recording.n_samples,
            "age": recording.age_years,
            "sex": recording.sex,
            "labels": None if labels is None else list(labels),
            "codes": list(recording.codes),
            "split": split,
            "fold": fold,
            "flags": [*flags, CLIPPED] if clipped and CLIPPED not in flags else list(flags),
            "derived_leads": list(recording.derived_leads),
            "missing_leads": list(recording.missing_leads),
            "signal_sha256": hashlib.sha256(stored.tobytes()).hexdigest(),
            "cart_measurements": [
                {"name": key, "value": value} for key, value in recording.cart_measurements.items()
            ]
            or None,
        }
        cart_beat = None
        if recording.median_beat_mv is not None and recording.median_beat_rate_hz:
            cart_beat = signals.to_microvolts(recording.median_beat_mv)[0]
            row["cart_beat_rate_hz"] = float(recording.median_beat_rate_hz)
            row["cart_beat_samples"] = cart_beat.shape[1]
        self._journal.stage(row, stored, cart_beat)
        if self._journal.shard_is_full:
            self._commit()

    def split_of(self, patient_id: str) -> str | None:
        """The split that a patient's records are in; None for a patient not yet seen."""
        return self._split_of_patient.get(patient_id)

    def reject(self, source: str, reason: str, advice: str = "") -> None:
        """Note a source that gave no record."""
        self._rejects.append({"source": source, "reason": reason, "advice": advice})

    def close(self) -> None:
        """Finish: write the last shard and the tables, then give everything its final name.

        Raises:
            LeadlightError: when no record was added, unless that is allowed.
        """
        if not self._record_ids and not self._allow_empty:
            self._journal.drop()
            raise LeadlightError(
                f"No record was added, so {self.study} gets no cohort.",
                advice="Look at the sources' files and formats.",
            )
        self._commit()
        self._journal.publish(*self._provenance)

    def _commit(self) -> None:
        self._journal.commit(self._rejects)
        self._rejects = []

    def _refuse_bad(
        self, recording: Recording, labels: Sequence[str] | None, split: str | None
    ) -> None:
        name = recording.record_id
        if name in self._record_ids:
            raise LeadlightError(f"Two records are named {name}.", advice="Name each once.")
        unknown = [label for label in labels or () if label not in (*CLASSES, NORMAL)]
        if unknown:
            raise LeadlightError(
                f"Record {name} has unknown labels: {', '.join(unknown)}.",
                advice=f"Labels are {', '.join((*CLASSES, NORMAL))}.",
            )
        if split is not None and split not in SPLITS:
            raise LeadlightError(
                f"Record {name} has the unknown split {split!r}.",
                advice=f"Splits are {', '.join(SPLITS)}.",
            )
        if not (np.isfinite(recording.rate_hz) and recording.rate_hz > 0):
            raise LeadlightError(f"Record {name} has a rate of {recording.rate_hz} Hz.")
        if recording.n_samples == 0:
            raise LeadlightError(f"Record {name} has no samples.")
        have = {str(lead) for lead in recording.signal_mv.coords["lead"].values}
        if absent := [lead for lead in LEADS if lead not in have]:
            raise LeadlightError(
                f"Record {name} lacks the leads {', '.join(absent)}.",
                advice="A lead without values is stored as NaN, under its name.",
            )


def write_cohort(
    study: Path,
    recordings: Iterable[tuple[Recording, Sequence[str] | None]],
    *,
    overwrite: bool = False,
    verb: str = "import",
    parameters: Mapping[str, Any] | None = None,
) -> Cohort:
    """Write a cohort from recordings with their labels (None = not labelled), and open it.

    Recordings are taken one at a time; splits follow the patients' hash. Other arguments and
    what is raised: see `CohortWriter`.
    """
    with CohortWriter(study, overwrite=overwrite, verb=verb, parameters=parameters) as writer:
        for recording, labels in recordings:
            writer.add(recording, labels)
    return open_cohort(study)


def _batches(rows: list[int], lengths: Any) -> Iterator[list[int]]:
    batch: list[int] = []
    longest = 0
    for row in rows:
        with_it = max(longest, int(lengths[row]))
        if batch and (len(batch) + 1) * with_it * len(LEADS) * 2 > _STREAM_BYTES:
            yield batch
            batch, with_it = [], int(lengths[row])
        batch.append(row)
        longest = with_it
    if batch:
        yield batch


def _recording(
    about: Mapping[str, Any],
    stored: signals.Microvolts,
    cart_beat: signals.Microvolts | None = None,
) -> Recording:
    return Recording(
        signal_mv=signals.from_microvolts(stored),
        rate_hz=about["rate_hz"],
        record_id=about["record_id"],
        patient_id=about["patient_id"],
        age_years=about["age"],
        sex=about["sex"],
        codes=tuple(about["codes"] or ()),
        derived_leads=tuple(about["derived_leads"] or ()),
        missing_leads=tuple(about["missing_leads"] or ()),
        source_format=about["source_format"] or "",
        median_beat_mv=None if cart_beat is None else signals.from_microvolts(cart_beat),
        median_beat_rate_hz=about["cart_beat_rate_hz"],
        cart_measurements={
            each["name"]: each["value"] for each in about["cart_measurements"] or ()
        },
    )
