"""A model's logits and probabilities for every record of a cohort, streamed.

Every record that can be prepared gets a prediction, also those that quality flags exclude from
analyses; a record that cannot (a lead that the model needs is missing, say) gets a reason instead.
Scores are of labelled records that no quality flag excludes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from scipy.special import expit

from leadlight.atomic import refuse_overwrite, write_json, written_whole
from leadlight.classify.cards import ModelCard
from leadlight.classify.models import Model
from leadlight.classify.prepare import PreparedInput, prepare
from leadlight.classify.scoring import score_table
from leadlight.classify.unfinished import PART_RECORDS, Unfinished
from leadlight.cohort.store import Cohort, open_cohort
from leadlight.ecg.quality import excludes
from leadlight.ecg.recording import Recording
from leadlight.errors import LeadlightError
from leadlight.locking import only_one
from leadlight.progress import Bar, bar, say
from leadlight.provenance import write_provenance

# Used for scoring where the card names none.
THRESHOLD_WITHOUT_CARD = 0.5


@dataclass(frozen=True)
class ClassifySummary:
    """What `classify_cohort` did.

    Attributes:
        folder: where the results lie.
        n_records: records asked for.
        n_predicted: of these, with a prediction.
        n_refused: of these, with a reason instead.
        n_excluded: predicted, but left out of the scores by quality flags.
        n_called: class to records at or above the card's threshold, for classes that have one.
        scores: as `scoring.score_table` gives them; None when no record is labelled.
    """

    folder: Path
    n_records: int
    n_predicted: int
    n_refused: int
    n_excluded: int
    n_called: dict[str, int]
    scores: dict[str, Any] | None


def classify_cohort(
    study: Path,
    model: Model,
    *,
    batch: int = 32,
    rows: Sequence[int] | None = None,
    overwrite: bool = False,
    seed: int = 0,
    n_bootstrap: int = 1000,
    device: str = "cpu",
) -> ClassifySummary:
    """Predict a cohort; memory does not grow with its signals.

    Writes `classify/<model name>/`: `probabilities.parquet` and `logits.parquet` (record_id and one
    column per class), `refused.parquet` (record_id, reason), `scores.json` where records are
    labelled, `provenance.json`. The folder appears once all of it is whole. A run that was cut off
    goes on behind its last 512 records when it is asked for the same again.

    Args:
        study: folder with a cohort.
        model: from `models.load_model`.
        batch: records that pass the network at once.
        rows: which records; all where None.
        overwrite: replace the results that this model's name has already.
        seed: of the bootstrap.
        n_bootstrap: resamples for the intervals of the scores.
        device: torch's name of where to compute.

    Raises:
        LeadlightError: there is no cohort, results exist already, no record can be prepared, or
            another process predicts this study with this model.
    """
    cohort = open_cohort(study)
    name = model.card.model.name
    with only_one(study / f".classify-{name}.lock", f"classifying {study} with {name}"):
        refuse_overwrite(study / "classify" / name, overwrite)
        rows = range(len(cohort)) if rows is None else rows
        unfinished = Unfinished(cohort, model, rows, batch, device)
        record_ids, logits, refused = _predict(cohort, model, rows, batch, device, unfinished)
        done = _write(cohort, model, rows, record_ids, logits, refused, n_bootstrap, seed, device)
        unfinished.remove()
    return done


def _write(
    cohort: Cohort,
    model: Model,
    rows: Sequence[int],
    record_ids: list[str],
    logits: npt.NDArray[np.float32],
    refused: list[tuple[str, str]],
    n_bootstrap: int,
    seed: int,
    device: str,
) -> ClassifySummary:
    """Score what was predicted, and publish it."""
    if not record_ids:
        first = refused[0][1] if refused else "the cohort is empty"
        raise LeadlightError(
            f"None of {len(rows)} records of {cohort.study} can be given to "
            f"{model.card.model.name}; the first: {first}"
        )
    parameters = {"n_records": len(rows), "device": device}
    return write_predictions(
        cohort, model, record_ids, logits, refused, parameters, seed=seed,
        n_bootstrap=n_bootstrap,
    )  # fmt: skip


def write_predictions(
    cohort: Cohort,
    model: Model,
    record_ids: Sequence[str],
    logits: npt.NDArray[np.float32],
    refused: Sequence[tuple[str, str]],
    parameters: Mapping[str, Any],
    *,
    seed: int = 0,
    n_bootstrap: int = 1000,
) -> ClassifySummary:
    """Write the folder of `classify_cohort`, or write over it, from logits (record, class).

    Args:
        cohort, model: whose predictions these are.
        record_ids, logits: in the cohort's order.
        refused: record and reason of those that were not predicted.
        parameters: for the provenance, beside seed and bootstrap.
        seed, n_bootstrap: see `classify_cohort`.
    """
    study, folder = cohort.study, cohort.study / "classify" / model.card.model.name
    probabilities = expit(logits.astype(np.float64))
    classes = model.card.output.classes
    tables = {
        "logits": _table(record_ids, logits, classes),
        "probabilities": _table(record_ids, probabilities, classes),
    }
    records = cohort.records.filter(pl.col("record_id").is_in(list(record_ids)))
    excluded = [bool(excludes(tuple(flags))) for flags in records["flags"]]
    scores = _scores(
        tables["probabilities"],
        records.filter(~pl.Series(excluded, dtype=pl.Boolean)),
        model.card,
        n_bootstrap,
        seed,
    )
    with written_whole(folder) as partial:
        partial.mkdir()
        for name, table in tables.items():
            table.write_parquet(partial / f"{name}.parquet")
        schema = {"record_id": pl.String, "reason": pl.String}
        pl.DataFrame(list(refused), schema=schema, orient="row").write_parquet(
            partial / "refused.parquet"
        )
        if scores is not None:
            write_json(partial / "scores.json", {**scores, "n_records_excluded": sum(excluded)})
        settings = {"model": model.card.model.name, "seed": seed, "n_bootstrap": n_bootstrap}
        write_provenance(
            partial,
            "classify",
            settings | dict(parameters),
            [
                study / "records.parquet",
                model.source,
                model.source.parent / model.card.model.weights,
            ],
        )
    thresholds = model.card.output.thresholds
    return ClassifySummary(
        folder=folder,
        n_records=len(record_ids) + len(refused),
        n_predicted=len(record_ids),
        n_refused=len(refused),
        n_excluded=sum(excluded),
        n_called={
            name: int((probabilities[:, column] >= thresholds[name]).sum())
            for column, name in enumerate(classes)
            if name in thresholds
        },
        scores=scores,
    )


def logits_of(
    model: Model, inputs: Iterable[PreparedInput], *, batch: int = 32, device: str = "cpu"
) -> Iterator[npt.NDArray[np.float32]]:
    """Logits (class,) of each prepared input, in order, `batch` at a time through the network.

    The network computes on `device` and is on the CPU again afterwards.

    Raises:
        LeadlightError: torch has no such device here.
    """
    try:
        network = model.network.to(device)
    except (RuntimeError, AssertionError) as error:
        raise LeadlightError(
            f'Torch cannot compute on "{device}" here.', advice="Use --device cpu."
        ) from error
    remaining = iter(inputs)
    try:
        while some := list(islice(remaining, batch)):
            stacked = np.stack([prepared.values.values for prepared in some])
            with torch.inference_mode():
                yield from network(torch.from_numpy(stacked).to(device)).cpu().numpy()
    finally:
        model.network.to("cpu")


def _predict(
    cohort: Cohort,
    model: Model,
    rows: Sequence[int],
    batch: int,
    device: str,
    unfinished: Unfinished,
) -> tuple[list[str], npt.NDArray[np.float32], list[tuple[str, str]]]:
    spans = [rows[start : start + PART_RECORDS] for start in range(0, len(rows), PART_RECORDS)]
    todo = [part for part in range(len(spans)) if not unfinished.has(part)]
    n_done = len(rows) - sum(len(spans[part]) for part in todo)
    if n_done:
        say(f"Going on behind {n_done} records of an unfinished run.")
    with bar(f"classify {model.card.model.name}", len(rows)) as progress:
        progress.step(n_done)
        for part in todo:
            unfinished.keep(
                part, *_predict_part(cohort, model, spans[part], batch, device, progress)
            )
    return unfinished.join(len(spans))


def _predict_part(
    cohort: Cohort, model: Model, rows: Sequence[int], batch: int, device: str, progress: Bar
) -> tuple[list[str], npt.NDArray[np.float32], list[tuple[str, str]]]:
    record_ids: list[str] = []
    refused: list[tuple[str, str]] = []

    def prepared(recordings: Iterable[Recording]) -> Iterator[PreparedInput]:
        for recording in recordings:
            progress.step()
            try:
                ready = prepare(recording, model.card)
            except LeadlightError as error:
                refused.append((recording.record_id, str(error)))
                continue
            record_ids.append(recording.record_id)
            yield ready

    streamed = prepared(cohort.stream(rows))
    logits = list(logits_of(model, streamed, batch=batch, device=device))
    width = len(model.card.output.classes)
    return record_ids, np.array(logits, dtype=np.float32).reshape(-1, width), refused


def _table(
    record_ids: Sequence[str], values: npt.NDArray[Any], classes: Sequence[str]
) -> pl.DataFrame:
    columns = {name: values[:, column] for column, name in enumerate(classes)}
    return pl.DataFrame({"record_id": record_ids, **columns})


def _scores(
    probabilities: pl.DataFrame,
    records: pl.DataFrame,
    card: ModelCard,
    n_bootstrap: int,
    seed: int,
) -> dict[str, Any] | None:
    if not records["labels"].is_not_null().any():
        return None
    thresholds = {
        name: card.output.thresholds.get(name, THRESHOLD_WITHOUT_CARD)
        for name in card.output.classes
    }
    return score_table(
        probabilities.join(records, on="record_id", how="semi"),
        records,
        card_thresholds=thresholds,
        n_bootstrap=n_bootstrap,
        seed=seed,
    )
