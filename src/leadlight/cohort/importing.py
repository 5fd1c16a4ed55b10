"""Files in, a cohort out: every file becomes a record or a reject, and every label is counted."""

import hashlib
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from leadlight import __version__
from leadlight.atomic import told_when_full
from leadlight.cohort.labels import (
    LABELS,
    Facts,
    LabelTable,
    labels_of_codes,
    read_label_table,
)
from leadlight.cohort.reading import Outcome, read_all
from leadlight.cohort.signals import SHARD_RECORDS
from leadlight.cohort.sources import Sources, find_sources, stamps, tables_beside
from leadlight.cohort.splits import SPLITS
from leadlight.cohort.store import CohortWriter
from leadlight.errors import LeadlightError
from leadlight.progress import bar, say
from leadlight.provenance import fingerprint

_NOTHING = Facts()


@dataclass(frozen=True)
class ImportSummary:
    """What an import did.

    Attributes:
        study: the study folder.
        n_sources: files read, n_imported + n_rejected.
        n_imported: records in the cohort.
        n_rejected: files that gave no record; `rejects.parquet` has each with reason and advice.
        n_resumed: of both, those that an earlier, unfinished run had done.
        reject_reasons: how many files for each reason, most frequent first.
        n_labelled: records with labels, "none of ours" included; the others are not labelled.
        n_none_of_ours: labelled records that carry none of the labels.
        label_counts: records by label.
        label_patients: patients by label.
        split_counts: records by split.
        split_patients: patients by split.
        flag_counts: records by quality flag, the lead left out ("flat:V3" counts as "flat").
        collisions: file names that several files share; these records are named with their path.
        n_repeated_sources: files that were named more than once and read once.
        n_same_signal: records whose signal is exactly that of an earlier record.
        n_unmatched_rows: rows of `--labels` that name no file of this import.
        notes: sentences that the user should read.
        strict: whether a reject is a failure.
        seconds: wall time of this run.
    """

    study: Path
    n_sources: int
    n_imported: int
    n_rejected: int
    n_resumed: int
    reject_reasons: Mapping[str, int]
    n_labelled: int
    n_none_of_ours: int
    label_counts: Mapping[str, int]
    label_patients: Mapping[str, int]
    split_counts: Mapping[str, int]
    split_patients: Mapping[str, int]
    flag_counts: Mapping[str, int]
    collisions: tuple[str, ...]
    n_repeated_sources: int
    n_same_signal: int
    n_unmatched_rows: int
    notes: tuple[str, ...]
    strict: bool
    seconds: float

    @property
    def failed(self) -> bool:
        """Whether the command line exits with 1: under `strict`, when a file was rejected."""
        return self.strict and self.n_rejected > 0

    def as_json(self) -> dict[str, Any]:
        """The summary as a JSON-ready mapping."""
        return {**asdict(self), "study": str(self.study)}


def import_cohort(
    sources: Sequence[Path],
    study: Path,
    *,
    labels: Path | None = None,
    workers: int = 1,
    overwrite: bool = False,
    strict: bool = False,
    shard: bool = False,
    shard_records: int = SHARD_RECORDS,
) -> ImportSummary:
    """Read recordings into the cohort of a study folder.

    Writes `cohort.zarr`, `records.parquet`, `rejects.parquet` and `cohort-provenance.json`. A run
    that was cut off goes on when the same call is made again: the same files (by path, size and
    time of change), label tables and version.

    Labels come from, first to last: the user's table (then a record without a row, or with an
    empty cell, is not labelled); PTB-XL's `ptbxl_database.csv` where a recording lies in a copy of
    PTB-XL; SNOMED CT codes in the file. Patient, age and sex come from the same places, and what a
    table leaves out from the file. A split or fold that a table gives wins over the patient's hash;
    all records of a patient go where the first of them went.

    Args:
        sources: files, folders (read with all below them) and text lists of files.
        study: the study folder; made where absent.
        labels: a label table (`labels.read_label_table`).
        workers: processes that read. The result does not depend on it. With more than one, a
            script needs the usual `if __name__ == "__main__":`.
        overwrite: replace the cohort that is there.
        strict: mark the summary as failed when anything was rejected.
        shard: this is a part of a larger import: rows of `labels` that name none of its files are
            expected, and a cohort of no record is no fault.
        shard_records: records per file of the store, and at most what a kill loses.

    Raises:
        LeadlightError: no recording is found, none can be imported, the label table is at fault or
            names no file of the import, the folder holds a cohort already, or it cannot be written.
    """
    started = time.monotonic()
    files = find_sources(sources)
    given = None if labels is None else read_label_table(labels)
    beside = tables_beside(files.paths)
    book = _Labels(files, given, beside, shard)
    # No two imports may share a journal unless each would store the same.
    made_from = {
        "version": __version__,
        "sources": hashlib.sha256("".join(stamps(files.paths)).encode()).hexdigest(),
        "record_ids": hashlib.sha256("\n".join(files.record_ids).encode()).hexdigest(),
        "tables": [fingerprint(table.path) for table in book.tables],
    }
    parameters = {
        "sources": [source.name for source in sources],
        "labels": None if labels is None else labels.name,
        "strict": strict,
    }
    try:
        with (
            told_when_full(study),
            CohortWriter(
                study,
                overwrite=overwrite,
                made_from=made_from,
                parameters=parameters,
                inputs=[table.path for table in book.tables],
                shard_records=shard_records,
            ) as writer,
        ):
            n_resumed = len(writer.done_sources)
            if n_resumed:
                say(f"Going on behind {n_resumed} files of an unfinished import.")
            _read_into(writer, files, book, workers)
    except OSError as error:
        raise LeadlightError(
            f"{study} could not be written ({error.strerror or error}).",
            advice="Free space or mend permissions, then run it again; it goes on from there.",
        ) from error
    return _summary(study, files, book, n_resumed, strict, time.monotonic() - started)


def check_labels(files: Sources, labels: Path | None) -> tuple[str, ...]:
    """What there is to say of the label tables of an import of these files, before it is made.

    Raises:
        LeadlightError: the table is at fault, or names none of the files.
    """
    given = None if labels is None else read_label_table(labels)
    return tuple(_Labels(files, given, tables_beside(files.paths)).notes)


def is_imported(sources: Sequence[Path], study: Path) -> bool:
    """Whether the finished cohort of `study` is made of just these files (by path).

    Raises:
        LeadlightError: no recording is found in `sources`.
    """
    tables = [study / "records.parquet", study / "rejects.parquet"]
    if not all(table.is_file() for table in tables):
        return False
    have = {name for table in tables for name in pl.read_parquet(table)["source"].to_list()}
    return have == {str(path) for path in find_sources(sources).paths}


def _read_into(writer: CohortWriter, files: Sources, book: "_Labels", workers: int) -> None:
    todo = [
        (path, name)
        for path, name in zip(files.paths, files.record_ids, strict=True)
        if str(path) not in writer.done_sources
    ]
    with bar("Importing", len(files.paths)) as progress:
        progress.step(len(files.paths) - len(todo))
        outcomes = read_all([path for path, _ in todo], workers)
        for (path, name), outcome in zip(todo, outcomes, strict=True):
            if outcome.recording is None:
                writer.reject(str(path), outcome.reason, outcome.advice)
            else:
                _add(writer, path, name, outcome, book)
            progress.step()


def _add(writer: CohortWriter, path: Path, name: str, outcome: Outcome, book: "_Labels") -> None:
    recording = outcome.recording
    assert recording is not None
    facts = book.facts(path, name)
    recording = replace(
        recording,
        record_id=name,
        patient_id=facts.patient_id or recording.patient_id or name,
        age_years=recording.age_years if facts.age_years is None else facts.age_years,
        sex=facts.sex or recording.sex,
    )
    patient = recording.patient_id
    assert patient is not None
    labels = facts.labels
    if labels is None and not book.is_final:
        labels = labels_of_codes(recording.codes)
    split = writer.split_of(patient) or facts.split or book.split_of_patient.get(patient)
    writer.add(recording, labels, split, outcome.flags, str(path), fold=facts.fold)


class _Labels:
    """What all label tables of an import say of its files."""

    def __init__(
        self,
        files: Sources,
        given: LabelTable | None,
        beside: Mapping[Path, LabelTable],
        shard: bool = False,
    ) -> None:
        self._given, self._beside = given, beside
        found = {table.path.resolve(): table for table in beside.values()}
        if given is not None:
            found.pop(given.path.resolve(), None)
        self.tables = [*([given] if given is not None else []), *found.values()]
        # With a user's table, who has no row in it is not labelled, whatever the file says.
        self.is_final = given is not None
        self.split_of_patient = {
            facts.patient_id: facts.split
            for table in reversed(self.tables)
            for facts in table.facts.values()
            if facts.patient_id is not None and facts.split is not None
        }
        self.n_unmatched = 0
        self.notes = [note for table in self.tables for note in table.notes]
        if given is not None and not shard:
            self._match(files, given)

    def facts(self, path: Path, name: str) -> Facts:
        """What the tables say of one file; a given table's word goes before PTB-XL's own."""
        own = _NOTHING
        table = self._beside.get(path.parent)
        if table is not None:
            own = table.facts.get(path.stem, _NOTHING)
        if self._given is None:
            return own
        said = self._given.facts.get(self._name_in_given(path, name), _NOTHING)
        has_split = said.split is not None
        return Facts(
            labels=said.labels,
            patient_id=said.patient_id or own.patient_id,
            age_years=own.age_years if said.age_years is None else said.age_years,
            sex=said.sex or own.sex,
            fold=said.fold if has_split else own.fold,
            split=said.split if has_split else own.split,
        )

    def _name_in_given(self, path: Path, name: str) -> str:
        assert self._given is not None
        return path.stem if self._given.kind == "PTB-XL" else name

    def _match(self, files: Sources, given: LabelTable) -> None:
        names = {
            self._name_in_given(path, name)
            for path, name in zip(files.paths, files.record_ids, strict=True)
        }
        matched = [name for name in given.facts if name in names]
        if not matched:
            raise LeadlightError(
                f"{given.path} names none of the {len(files.paths)} recordings found (it has "
                f"{next(iter(given.facts), 'no row')}, they are {files.record_ids[0]}, ...).",
                advice="A record_id is the file's name without ending.",
            )
        per_row = max(1, round(len(given.facts) / max(1, given.n_rows)))
        if per_row == 1:
            self.n_unmatched = len(given.facts) - len(matched)
        else:  # PTB-XL's rows stand under two names
            rows = {name.rpartition("_")[0] for name in matched}
            self.n_unmatched = given.n_rows - len(rows)
        if self.n_unmatched:
            first = next(name for name in given.facts if name not in names)
            self.notes.append(
                f"{given.path.name}: {self.n_unmatched} of {given.n_rows} rows name no recording "
                f"found (the first is {first})."
            )
        if without := len(files.paths) - len(matched):
            self.notes.append(
                f"{given.path.name} has no row for {without} of {len(files.paths)} recordings: "
                "they are not labelled."
            )


def _summary(
    study: Path, files: Sources, book: _Labels, n_resumed: int, strict: bool, seconds: float
) -> ImportSummary:
    records = pl.read_parquet(study / "records.parquet")
    rejects = pl.read_parquet(study / "rejects.parquet")
    reasons = Counter(
        _kind_of_reason(source, reason)
        for source, reason in rejects["source", "reason"].iter_rows()
    )
    by_label = records.select("patient_id", pl.col("labels")).explode("labels")
    flags = Counter(
        flag
        for kinds in records["flags"].to_list()
        for flag in {each.partition(":")[0] for each in kinds}
    )
    return ImportSummary(
        study=study,
        n_sources=len(files.paths),
        n_imported=records.height,
        n_rejected=rejects.height,
        n_resumed=n_resumed,
        reject_reasons=dict(reasons.most_common()),
        n_labelled=records["labels"].drop_nulls().len(),
        n_none_of_ours=records.filter(pl.col("labels").list.len() == 0).height,
        label_counts={x: by_label.filter(pl.col("labels") == x).height for x in LABELS},
        label_patients={
            x: by_label.filter(pl.col("labels") == x)["patient_id"].n_unique() for x in LABELS
        },
        split_counts={x: records.filter(pl.col("split") == x).height for x in SPLITS},
        split_patients={
            x: records.filter(pl.col("split") == x)["patient_id"].n_unique() for x in SPLITS
        },
        flag_counts=dict(flags.most_common()),
        collisions=files.collisions,
        n_repeated_sources=files.n_repeated,
        n_same_signal=records.height - records["signal_sha256"].n_unique(),
        n_unmatched_rows=book.n_unmatched,
        notes=tuple(book.notes),
        strict=strict,
        seconds=round(seconds, 3),
    )


def _kind_of_reason(source: str, reason: str) -> str:
    """A reason without the file's name and numbers, so that equal reasons are counted together."""
    path = Path(source)
    for name in (str(path.with_suffix("")), path.stem):
        reason = re.sub(rf"{re.escape(name)}(\.\w+)?", "the file", reason)
    reason = reason.replace(str(path.parent), "the folder")
    return re.sub(r"(?<![\w.])\d[\d.,]*(?![\w.])", "N", reason)
