"""What factors predict: labels, measurements, age and sex, by linear probes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict

from leadlight.cohort.labels import CLASSES, NORMAL
from leadlight.latent.beats import Beats
from leadlight.latent.disentanglement import probe_predictions

Array = npt.NDArray[np.float64]

MEASUREMENTS = (
    "heart_rate_bpm", "p_duration_ms", "pr_ms", "qrs_ms", "qt_ms", "qtc_fridericia_ms", "jt_ms",
    "t_peak_end_ms", "p_axis_deg", "qrs_axis_deg", "t_axis_deg", "qrs_t_angle_deg",
    "sokolow_lyon_mv", "cornell_mv",
)  # fmt: skip
_FOLDS = 5
_LEAST_POSITIVE = 5  # patients, for a label to be probed
_RESAMPLES = 500


def probe_table(
    factors: npt.NDArray[np.floating],
    beats: Beats,
    measurements: pl.DataFrame | None,
    *,
    classifier: pl.DataFrame | None = None,
    seed: int = 0,
) -> pl.DataFrame:
    """Cross-validated linear probes of everything that is known about some records.

    Args:
        factors: (record, factor).
        beats: the records, with labels, age and sex.
        measurements: one row per record, or None.
        classifier: logits of a supervised network, one row per record and a column per class, for
            comparison; its AUROC is its own, not a probe's.
        seed: of the bootstrap.

    Returns:
        `target, kind (label, measurement, person), measure (auroc, r2), value, low, high,
        classifier, n_records, n_positive`; intervals draw patients.
    """
    values = np.asarray(factors, dtype=np.float64)
    values = (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-9)
    patients = beats.records["patient_id"].to_list()
    rows = []
    labels = beats.records["labels"].to_list()
    known = beats.records["labels"].is_not_null().to_numpy()
    for name in (*CLASSES, NORMAL):
        truth = np.array([name in (of_record or ()) for of_record in labels])
        other = None
        if classifier is not None and name in classifier.columns:
            other = classifier[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        row = _label_row(values, truth, known, patients, other, seed)
        if row is not None:
            rows.append({"target": name, "kind": "label", **row})
    male = (beats.records["sex"] == "M").fill_null(False).to_numpy()
    row = _label_row(
        values, male, beats.records["sex"].is_in(["M", "F"]).fill_null(False).to_numpy(), patients,
        None, seed,
    )  # fmt: skip
    if row is not None:
        rows.append({"target": "sex", "kind": "person", **row})
    numbers = {"age": ("person", beats.records["age"])}
    if measurements is not None:
        numbers |= {
            name: ("measurement", measurements[name])
            for name in MEASUREMENTS
            if name in measurements.columns
        }
    for name, (kind, column) in numbers.items():
        row = _number_row(values, column, patients, name.endswith("_axis_deg"), seed)
        if row is not None:
            rows.append({"target": name, "kind": kind, **row})
    schema = {
        "target": pl.String(), "kind": pl.String(), "measure": pl.String(), "value": pl.Float64(),
        "low": pl.Float64(), "high": pl.Float64(), "classifier": pl.Float64(),
        "n_records": pl.Int64(), "n_positive": pl.Int64(),
    }  # fmt: skip
    return pl.DataFrame(rows, schema=schema)


def classifier_logits(study: Path, model: str, record_ids: Sequence[str]) -> pl.DataFrame | None:
    """The logits that `leadlight classify` wrote, one row per record; None where there are none."""
    path = study / "classify" / model / "logits.parquet"
    if not path.exists():
        return None
    wanted = pl.DataFrame({"record_id": list(record_ids)})
    return wanted.join(pl.read_parquet(path), on="record_id", how="left", maintain_order="left")


def _label_row(
    values: Array,
    truth: npt.NDArray[np.bool_],
    known: npt.NDArray[np.bool_],
    patients: Sequence[str],
    other: Array | None,
    seed: int,
) -> dict[str, object] | None:
    who = np.asarray(patients)[known]
    y = truth[known]
    positive, negative = set(who[y]), set(who[~y])
    if min(len(positive), len(negative)) < _LEAST_POSITIVE:
        return None
    score = cross_val_predict(
        LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000),
        values[known],
        y,
        groups=who,
        cv=GroupKFold(_FOLDS, shuffle=True, random_state=0),
        method="decision_function",
    )
    low, high = _interval(lambda at: _auroc(y[at], score[at]), who, seed)
    supervised = None
    if other is not None and np.isfinite(other[known]).all():
        supervised = _auroc(y, other[known])
    return {
        "measure": "auroc", "value": _auroc(y, score), "low": low, "high": high,
        "classifier": supervised, "n_records": len(y), "n_positive": int(y.sum()),
    }  # fmt: skip


def _number_row(
    values: Array, column: pl.Series, patients: Sequence[str], is_angle: bool, seed: int
) -> dict[str, object] | None:
    truth = column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    known = np.isfinite(truth)
    if known.sum() < 10 * _FOLDS or np.nanstd(truth) < 1e-9:
        return None
    # −179° and 179° are two degrees apart: angles are probed by sine and cosine.
    angle = np.deg2rad(truth)
    parts = [np.sin(angle), np.cos(angle)] if is_angle else [truth]
    predicted = np.stack([probe_predictions(values, p, groups=patients)[0] for p in parts])
    wanted = np.stack([part[known] for part in parts])

    def r2(at: npt.NDArray[np.int64]) -> float:
        y = wanted[:, at]
        spread = ((y - y.mean(axis=1, keepdims=True)) ** 2).sum()
        return float(1 - ((y - predicted[:, at]) ** 2).sum() / max(spread, 1e-12))

    low, high = _interval(r2, np.asarray(patients)[known], seed)
    n = int(known.sum())
    return {
        "measure": "r2", "value": r2(np.arange(n)), "low": low, "high": high,
        "classifier": None, "n_records": n, "n_positive": None,
    }  # fmt: skip


def _interval(figure, patients: npt.NDArray[np.str_], seed: int) -> tuple[float, float]:  # type: ignore[no-untyped-def]
    """95 % of the figure over bootstrap draws of patients."""
    names, person = np.unique(patients, return_inverse=True)
    order = np.argsort(person, kind="stable")
    edges = np.searchsorted(person[order], np.arange(len(names) + 1))
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(_RESAMPLES):
        drawn = rng.integers(len(names), size=len(names))
        at = np.concatenate([order[edges[who] : edges[who + 1]] for who in drawn])
        found.append(figure(at))
    low, high = np.nanquantile(found, [0.025, 0.975])
    return float(low), float(high)


def _auroc(truth: npt.NDArray[np.bool_], score: Array) -> float:
    if truth.all() or not truth.any():
        return float("nan")
    return float(roc_auc_score(truth, score))
