"""One split of a study as a network's inputs and labels, prepared once and kept on disk.

Preparing a record (filter, resampling) costs more than training on it, so it is done once per card
and cohort. The cache holds int16 in steps of 1 µV, as the cohort does, and is read through a memory
map: memory stays flat however large the cohort is. One file holds one split, so that a training run
opens no file in which there is a test record.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from leadlight.atomic import written_whole
from leadlight.classify.cards import ModelCard
from leadlight.classify.prepare import prepare
from leadlight.cohort.store import open_cohort
from leadlight.ecg.quality import excludes
from leadlight.errors import LeadlightError
from leadlight.processes import end_with_parent
from leadlight.progress import bar

# Raised when preparing changes in a way that the card does not tell, so that old caches are redone.
_FORMAT = 1
_STEP_MV = 0.001
_ROWS_PER_TASK = 128
_LARGEST = np.iinfo(np.int16).max


@dataclass(frozen=True)
class PreparedSplit:
    """The usable, labelled records of one split of one study.

    Attributes:
        study: the study folder's name.
        split: "train", "validation" or "test".
        records: `record_id, patient_id, split, labels, signal_sha256, row, first_valid, n_valid`,
            one row per usable record; `row` is its place in `stored`.
        stored: (row, lead, sample) int16, read through a memory map.
        step: the network's unit per step of `stored`.
        truth: (record, class) float32, 1 where the label says so.
        known: (record, class) bool, False where the study's labels say nothing of a class.
        left_out: why records of the split are not here, with counts.
    """

    study: str
    split: str
    records: pl.DataFrame
    stored: npt.NDArray[np.int16]
    step: float
    truth: npt.NDArray[np.float32]
    known: npt.NDArray[np.bool_]
    left_out: dict[str, int]

    def __len__(self) -> int:
        return self.records.height

    @property
    def n_patients(self) -> int:
        """How many people the records are of."""
        return self.records["patient_id"].n_unique()

    def values(self, index: npt.NDArray[np.int64]) -> torch.Tensor:
        """Inputs of the records at `index`: (record, lead, sample) float32."""
        rows = self.records["row"].to_numpy()[index]
        return torch.from_numpy(self.stored[rows].astype(np.float32)) * self.step

    def valid(self, index: npt.NDArray[np.int64]) -> torch.Tensor:
        """Which samples are not padding: (record, sample) bool."""
        first = self.records["first_valid"].to_numpy()[index][:, None]
        n = self.records["n_valid"].to_numpy()[index][:, None]
        sample = np.arange(self.stored.shape[-1])
        return torch.from_numpy((sample >= first) & (sample < first + n))

    def only(self, keep: npt.NDArray[np.bool_], reason: str) -> "PreparedSplit":
        """The same split with the records at `keep`; the others are counted under `reason`."""
        dropped = int((~keep).sum())
        return PreparedSplit(
            self.study,
            self.split,
            self.records.filter(keep),
            self.stored,
            self.step,
            self.truth[keep],
            self.known[keep],
            {**self.left_out, **({reason: dropped} if dropped else {})},
        )


def prepare_split(
    study: Path,
    split: str,
    card: ModelCard,
    cache: Path,
    *,
    unknown: Sequence[str] = (),
    workers: int = 1,
) -> PreparedSplit:
    """Prepare a split's labelled records for a card's network, or open what is prepared already.

    Left out and counted are records without labels, records that a quality flag excludes, and those
    that `prepare` refuses. The cache's name is a fingerprint of the card's input and of the
    records' signals; labels are read anew each time.

    Args:
        study: a study folder with a cohort.
        split: "train", "validation" or "test".
        card: whose `[input]` and `[output] classes` count.
        cache: folder of the prepared records.
        unknown: classes that this study's labels say nothing of.
        workers: processes that prepare records.

    Raises:
        LeadlightError: there is no cohort, or `unknown` names a class that the card lacks.
    """
    classes = card.output.classes
    if strangers := [name for name in unknown if name not in classes]:
        raise LeadlightError(
            f"{', '.join(strangers)}, unknown in {study}, is none of the classes "
            f"{', '.join(classes)}."
        )
    cohort = open_cohort(study)
    of_split = cohort.records.with_row_index("cohort_row").filter(pl.col("split") == split)
    labelled = of_split.filter(pl.col("labels").is_not_null())
    excluded = np.array([bool(excludes(flags)) for flags in labelled["flags"]], dtype=bool)
    usable = labelled.filter(~excluded)
    path = cache / f"{_fingerprint(usable, card)}-{split}.npy"
    places = _prepared(study, usable["cohort_row"].to_list(), card, path, workers)
    columns = ("record_id", "patient_id", "split", "labels", "signal_sha256")
    records = pl.concat([usable.select(columns), places], how="horizontal")
    refused = Counter(records["refused"].drop_nulls())
    records = records.filter(pl.col("refused").is_null()).drop("refused")
    truth = records.select(pl.col("labels").list.contains(name).alias(name) for name in classes)
    known = np.array([name not in unknown for name in classes])
    return PreparedSplit(
        study=study.resolve().name,
        split=split,
        records=records,
        stored=np.load(path, mmap_mode="r")
        if path.is_file()
        else np.zeros((0, len(card.input.leads), card.input.samples), dtype=np.int16),
        step=card.input.unit_scale * _STEP_MV,
        truth=truth.to_numpy().astype(np.float32).reshape(records.height, len(classes)),
        known=np.broadcast_to(known, (records.height, len(classes))).copy(),
        left_out=_without_zeros(
            {
                "no labels": of_split.height - labelled.height,
                "excluded by a quality flag": int(excluded.sum()),
                **refused,
            }
        ),
    )


def batches(
    part: PreparedSplit, batch_size: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """All records in order: inputs (record, lead, sample), truth and known (record, class)."""
    for start in range(0, len(part), batch_size):
        index = np.arange(start, min(start + batch_size, len(part)))
        yield (
            part.values(index),
            torch.from_numpy(part.truth[index]),
            torch.from_numpy(part.known[index]),
        )


def _fingerprint(usable: pl.DataFrame, card: ModelCard) -> str:
    made_of: dict[str, Any] = {
        "format": _FORMAT,
        "input": card.input.model_dump(mode="json"),
        "records": usable["record_id"].to_list(),
        "rates": usable["rate_hz"].to_list(),
        "signals": usable["signal_sha256"].to_list(),
    }
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:24]


def _prepared(
    study: Path, cohort_rows: list[int], card: ModelCard, path: Path, workers: int
) -> pl.DataFrame:
    """Make the array and its table where they are not there yet; the table is written last."""
    table = path.with_suffix(".parquet")
    if path.is_file() and table.is_file():
        return pl.read_parquet(table)
    shape = (len(cohort_rows), len(card.input.leads), card.input.samples)
    found: list[tuple[int, int, int, str | None]] = []
    if cohort_rows:
        with written_whole(path) as partial:
            np.lib.format.open_memmap(partial, mode="w+", dtype=np.int16, shape=shape).flush()
            tasks = [
                (study, cohort_rows[start : start + _ROWS_PER_TASK], start, card, partial)
                for start in range(0, len(cohort_rows), _ROWS_PER_TASK)
            ]
            with bar("Preparing records", total=len(cohort_rows)) as running:
                for done in _in_order(tasks, workers):
                    found += done
                    running.step(len(done))
    places = pl.DataFrame(
        found,
        schema={
            "row": pl.Int64,
            "first_valid": pl.Int64,
            "n_valid": pl.Int64,
            "refused": pl.String,
        },
        orient="row",
    )
    with written_whole(table) as partial:
        places.write_parquet(partial)
    return places


def _in_order(
    tasks: list[tuple[Path, list[int], int, ModelCard, Path]], workers: int
) -> Iterator[list[tuple[int, int, int, str | None]]]:
    if workers <= 1 or len(tasks) == 1:
        yield from (_prepare_rows(*task) for task in tasks)
        return
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent) as pool:
        yield from pool.map(_prepare_rows, *zip(*tasks, strict=True))


def _prepare_rows(
    study: Path, cohort_rows: list[int], first_row: int, card: ModelCard, path: Path
) -> list[tuple[int, int, int, str | None]]:
    """Write the records into the array at `path` from `first_row` on; where each is, or why not."""
    stored = np.lib.format.open_memmap(path, mode="r+")
    places: list[tuple[int, int, int, str | None]] = []
    for row, recording in enumerate(open_cohort(study).stream(cohort_rows), start=first_row):
        try:
            prepared = prepare(recording, card)
        except LeadlightError:
            places.append((row, 0, 0, "refused by the card's input"))
            continue
        steps = np.rint(prepared.values.values / (card.input.unit_scale * _STEP_MV))
        stored[row] = np.clip(steps, -_LARGEST, _LARGEST).astype(np.int16)
        places.append((row, prepared.first_valid, prepared.n_valid, None))
    stored.flush()
    return places


def _without_zeros(counts: dict[str, int]) -> dict[str, int]:
    return {reason: count for reason, count in counts.items() if count}
