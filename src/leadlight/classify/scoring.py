"""How good a model's probabilities are: figures per class, with intervals by patient.

AUROC is the Mann-Whitney statistic with ties counted one half, AUPRC the average precision (the
step-wise sum, without interpolation); both are what scikit-learn computes, here for many sets of
weights at once, so that a bootstrap costs one pass over sorted scores.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight.errors import LeadlightError

SPLITS = ("train", "validation", "test")

# A threshold chosen on fewer positive patients than this says more about them than about the class.
MIN_POSITIVE_PATIENTS = 5

# Values of a block of bootstrap weights: 64 MB at 8 bytes, whatever the size of the cohort.
_BLOCK_VALUES = 8_000_000

_RANKING = ("auroc", "auprc")
_AT_THRESHOLD = ("f1", "sensitivity", "specificity", "ppv")

Floats = npt.NDArray[np.float64]


def score_table(
    probabilities: pl.DataFrame,
    records: pl.DataFrame,
    *,
    card_thresholds: Mapping[str, float],
    n_bootstrap: int = 1000,
    seed: int = 0,
    splits: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Score a model's probabilities against a cohort's labels, per split and class.

    Thresholds are chosen on the cohort's validation split, where F1 is largest. A class with fewer
    than `MIN_POSITIVE_PATIENTS` positive patients there (or no negative one) keeps the card's
    threshold, or one half where the card gives none; each class says which it got and why.
    Intervals are 95 % percentile intervals over `n_bootstrap` resamples of patients (all records of
    a drawn patient come along; Efron 1979). A figure that is undefined is None, never 0.5 or 0; an
    interval needs two positive and two negative patients.

    Args:
        probabilities: `record_id` and one column per class, each in [0, 1].
        records: the columns of `records.parquet`; `record_id`, `patient_id`, `labels`, `split` are
            used. Rows whose `labels` is null are left out and counted.
        card_thresholds: class to probability; classes may be absent.
        n_bootstrap: number of resamples; 0 gives figures without intervals.
        seed: of the resampling.
        splits: which to score, of train, validation, test and all; by default those that hold
            labelled records, and all.

    Returns:
        A JSON-ready mapping: `classes`, `thresholds` (class to value, source, reason), counts of
        records left out, and `splits`, each with `n_records`, `n_patients`, and per class
        `n_records`, `n_patients`, `n_positive_records`, `n_positive_patients`, the figures
        (`value, low, high, n_resamples`) `auroc`, `auprc`, and `f1`, `sensitivity`, `specificity`,
        `ppv` at the chosen threshold and, under `at_card_threshold`, at the card's (None where the
        card gives none).

    Raises:
        LeadlightError: no class column, a repeated or unknown record, or a probability that is not
            a number in [0, 1].
    """
    classes = [name for name in probabilities.columns if name != "record_id"]
    _check(probabilities, records, classes)
    joined = records.select("record_id", "patient_id", "labels", "split").join(
        probabilities, on="record_id", how="inner", maintain_order="left"
    )
    labelled = joined.filter(pl.col("labels").is_not_null())
    tables = {split: _table(labelled.filter(pl.col("split") == split), classes) for split in SPLITS}
    tables["all"] = _table(labelled, classes)
    thresholds = {
        name: _chosen(tables["validation"], column, card_thresholds.get(name))
        for column, name in enumerate(classes)
    }
    wanted = [s for s, table in tables.items() if len(table)] if splits is None else list(splits)
    return {
        "classes": classes,
        "thresholds": thresholds,
        "n_bootstrap": n_bootstrap,
        "seed": seed,
        "interval": "95 % percentile bootstrap over patients",
        "n_records_without_labels": joined.height - labelled.height,
        "n_records_without_probabilities": records.height - joined.height,
        "splits": {
            split: _score(tables[split], classes, thresholds, card_thresholds, n_bootstrap, seed)
            for split in wanted
        },
    }


def auroc(
    truth: npt.NDArray[Any], score: npt.NDArray[Any], weights: npt.NDArray[Any] | None = None
) -> float | None:
    """Area under the ROC curve of (record,) scores, ties one half; None without both kinds."""
    return _number(_auroc(*_groups(truth, score, weights))[0])


def average_precision(
    truth: npt.NDArray[Any], score: npt.NDArray[Any], weights: npt.NDArray[Any] | None = None
) -> float | None:
    """Average precision of (record,) scores; None without a positive record."""
    return _number(_average_precision(*_groups(truth, score, weights))[0])


def best_f1_threshold(truth: npt.NDArray[Any], probability: npt.NDArray[Any]) -> float | None:
    """The threshold (`probability >= threshold` is positive) with the largest F1.

    It lies midway between the lowest accepted and the highest refused value, so that it does not
    hang on one record's last digit; of equally good ones the highest. None without a positive.
    """
    truth = np.asarray(truth, dtype=bool)
    if not truth.any():
        return None
    positive, negative = (g[0, ::-1] for g in _groups(truth, probability, None))
    values = np.unique(np.asarray(probability, dtype=np.float64))[::-1]
    hits, alarms = positive.cumsum(), negative.cumsum()
    f1 = 2 * hits / (hits + alarms + truth.sum())
    best = int(np.argmax(f1))
    below = values[best + 1] if best + 1 < len(values) else 0.0
    middle = float((values[best] + below) / 2)
    return middle if middle > below else float(values[best])


@dataclass(frozen=True)
class _Table:
    truth: npt.NDArray[np.bool_]  # (record, class)
    probability: Floats  # (record, class)
    patient: npt.NDArray[np.int64]  # (record,) 0..n_patients-1
    n_patients: int

    def __len__(self) -> int:
        return len(self.patient)

    def positive_patients(self, column: int) -> int:
        return len(np.unique(self.patient[self.truth[:, column]]))

    def negative_patients(self, column: int) -> int:
        return len(np.unique(self.patient[~self.truth[:, column]]))


def _table(rows: pl.DataFrame, classes: list[str]) -> _Table:
    truth = rows.select(pl.col("labels").list.contains(name).alias(name) for name in classes)
    names, patient = np.unique(rows["patient_id"].to_numpy().astype(str), return_inverse=True)
    return _Table(
        truth=truth.to_numpy().astype(bool).reshape(rows.height, len(classes)),
        probability=rows.select(classes).to_numpy().astype(np.float64),
        patient=patient.astype(np.int64),
        n_patients=len(names),
    )


def _check(
    probabilities: pl.DataFrame,
    records: pl.DataFrame,
    classes: list[str],
) -> None:
    if not classes:
        raise LeadlightError("The table of probabilities has no class column.")
    for what, table in (("probabilities", probabilities), ("records", records)):
        repeated = table["record_id"].is_duplicated()
        if repeated.any():
            first = table["record_id"].filter(repeated)[0]
            raise LeadlightError(f"The table of {what} holds record {first!r} more than once.")
    strangers = probabilities.join(records, on="record_id", how="anti")
    if strangers.height:
        raise LeadlightError(
            f"{strangers.height} records with probabilities are not in this cohort, the first "
            f"{strangers['record_id'][0]!r}.",
            advice="Classify the cohort again.",
        )
    values = probabilities.select(classes).to_numpy().astype(np.float64)
    if not (np.isfinite(values).all() and (values >= 0).all() and (values <= 1).all()):
        raise LeadlightError("A probability is not a number between 0 and 1.")


def _chosen(validation: _Table, column: int, card: float | None) -> dict[str, Any]:
    positive, negative = validation.positive_patients(column), validation.negative_patients(column)
    if positive < MIN_POSITIVE_PATIENTS or negative == 0:
        missing = (
            f"{positive} positive patients in the validation split, fewer than "
            f"{MIN_POSITIVE_PATIENTS}"
            if positive < MIN_POSITIVE_PATIENTS
            else "no negative patient in the validation split"
        )
        if card is None:
            return {"value": 0.5, "source": "half", "reason": f"{missing}; the card gives none"}
        return {"value": float(card), "source": "card", "reason": missing}
    best = best_f1_threshold(validation.truth[:, column], validation.probability[:, column])
    return {
        "value": best,
        "source": "validation",
        "reason": f"largest F1 over {positive} positive of {validation.n_patients} patients",
    }


def _score(
    table: _Table,
    classes: list[str],
    thresholds: Mapping[str, Mapping[str, Any]],
    card_thresholds: Mapping[str, float],
    n_bootstrap: int,
    seed: int,
) -> dict[str, Any]:
    at = {
        "chosen": np.array([thresholds[name]["value"] for name in classes], dtype=np.float64),
        "card": np.array([card_thresholds.get(name, 0.5) for name in classes], dtype=np.float64),
    }
    value = _figures(table, np.ones((1, len(table))), at)
    blocks = [_figures(table, weights, at) for weights in _resamples(table, n_bootstrap, seed)]
    resampled = {
        key: np.concatenate([block[key] for block in blocks]) if blocks else value[key][:0]
        for key in value
    }
    per_class: dict[str, Any] = {}
    for column, name in enumerate(classes):
        kinds = table.positive_patients(column), table.negative_patients(column)
        figures = {
            key: _figure(value[key][0, column], resampled[key][:, column], min(kinds))
            for key in value
        }
        per_class[name] = {
            "n_records": len(table),
            "n_patients": table.n_patients,
            "n_positive_records": int(table.truth[:, column].sum()),
            "n_positive_patients": kinds[0],
            **{key: figures[key] for key in _RANKING},
            "threshold": float(at["chosen"][column]),
            **{key: figures[f"chosen {key}"] for key in _AT_THRESHOLD},
            "at_card_threshold": {
                "threshold": float(at["card"][column]),
                **{key: figures[f"card {key}"] for key in _AT_THRESHOLD},
            }
            if name in card_thresholds
            else None,
        }
    return {"n_records": len(table), "n_patients": table.n_patients, "classes": per_class}


def _resamples(table: _Table, n_bootstrap: int, seed: int) -> Iterator[Floats]:
    """How often each record is drawn, (resample, record) in blocks of bounded size."""
    if not len(table):
        return
    rng = np.random.default_rng(seed)
    rows = max(1, _BLOCK_VALUES // len(table))
    for start in range(0, n_bootstrap, rows):
        count = min(rows, n_bootstrap - start)
        drawn = rng.integers(0, table.n_patients, size=(count, table.n_patients))
        drawn += np.arange(count)[:, None] * table.n_patients
        times = np.bincount(drawn.ravel(), minlength=count * table.n_patients)
        yield times.reshape(count, -1)[:, table.patient].astype(np.float64)


def _figures(table: _Table, weights: Floats, at: Mapping[str, Floats]) -> dict[str, Floats]:
    """Every figure for every (resample, class); NaN where undefined. weights: (resample, record)"""
    figures: dict[str, Floats] = {}
    ranking: dict[str, list[Floats]] = {key: [] for key in _RANKING}
    for column in range(table.truth.shape[1]):
        groups = _groups(table.truth[:, column], table.probability[:, column], weights)
        ranking["auroc"].append(_auroc(*groups))
        ranking["auprc"].append(_average_precision(*groups))
    figures.update({key: np.stack(columns, axis=1) for key, columns in ranking.items()})
    truth = table.truth.astype(np.float64)
    positives, total = weights @ truth, weights.sum(axis=1, keepdims=True)
    for source, threshold in at.items():
        called = (table.probability >= threshold).astype(np.float64)
        hits, calls = weights @ (called * truth), weights @ called
        rejected = total - positives - (calls - hits)
        some = positives > 0
        figures[f"{source} f1"] = np.where(some, _ratio(2 * hits, calls + positives), np.nan)
        figures[f"{source} sensitivity"] = _ratio(hits, positives)
        figures[f"{source} specificity"] = _ratio(rejected, total - positives)
        figures[f"{source} ppv"] = _ratio(hits, calls)
    return figures


def _groups(
    truth: npt.NDArray[Any], score: npt.NDArray[Any], weights: npt.NDArray[Any] | None
) -> tuple[Floats, Floats]:
    """Weight of positives and of negatives at each distinct score, ascending: (resample, score)."""
    truth, score = np.asarray(truth, dtype=bool), np.asarray(score, dtype=np.float64)
    if weights is None:
        weights = np.ones(len(score))
    weights = np.atleast_2d(np.asarray(weights, dtype=np.float64))
    if not len(score):
        return np.zeros((len(weights), 0)), np.zeros((len(weights), 0))
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.diff(score[order], prepend=-np.inf))
    ordered = weights[:, order]
    all_of = np.add.reduceat(ordered, starts, axis=1)
    positive = np.add.reduceat(ordered * truth[order], starts, axis=1)
    return positive, all_of - positive


def _auroc(positive: Floats, negative: Floats) -> Floats:
    """Mann-Whitney over groups of equal score: (resample, score) twice to (resample,)."""
    below = negative.cumsum(axis=1) - negative
    pairs = (positive * (below + 0.5 * negative)).sum(axis=1)
    return _ratio(pairs, positive.sum(axis=1) * negative.sum(axis=1))


def _average_precision(positive: Floats, negative: Floats) -> Floats:
    """Precision averaged over recall, from the highest score down: to (resample,)."""
    positive, negative = positive[:, ::-1], negative[:, ::-1]
    hits, alarms = positive.cumsum(axis=1), negative.cumsum(axis=1)
    precision = np.nan_to_num(_ratio(hits, hits + alarms))
    return _ratio((positive * precision).sum(axis=1), positive.sum(axis=1))


def _ratio(over: Floats, under: Floats) -> Floats:
    ratio: Floats = np.divide(over, under, out=np.full(np.shape(over), np.nan), where=under > 0)
    return ratio


def _figure(value: float, resampled: Floats, patients_of_rarer_kind: int) -> dict[str, Any]:
    defined = resampled[np.isfinite(resampled)]
    low = high = None
    if np.isfinite(value) and len(defined) and patients_of_rarer_kind >= 2:
        low, high = (float(v) for v in np.percentile(defined, (2.5, 97.5)))
    return {"value": _number(value), "low": low, "high": high, "n_resamples": len(defined)}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
