"""What a trained network's card says of its training: thresholds, data, scores, records."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight.atomic import written_whole
from leadlight.classify import scoring
from leadlight.classify.dataset import PreparedSplit
from leadlight.classify.recipe import TrainingSettings, as_tables


def choose_thresholds(
    deciding: PreparedSplit,
    held: Sequence[PreparedSplit],
    probabilities: Sequence[pl.DataFrame],
    classes: Sequence[str],
) -> tuple[dict[str, float], dict[str, str]]:
    """Per class the threshold with the largest F1, and the records that it was chosen on.

    Those are the deciding study's validation split; with too few positive patients there, all
    studies'; with too few in all, the threshold is one half.
    """
    tables = [
        part.records.select("patient_id", "labels", study=pl.lit(part.study)).hstack(
            found.drop("record_id")
        )
        for part, found in zip(held, probabilities, strict=True)
    ]
    sources = [
        (f"validation split of {part.study}", table)
        for part, table in zip(held, tables, strict=True)
        if part.study == deciding.study
    ] + [("validation splits of all studies", pl.concat(tables, how="diagonal"))]
    thresholds, chosen_on = {}, {}
    for name in classes:
        thresholds[name], chosen_on[name] = 0.5, "one half: too few positive patients to choose"
        for source, table in sources:
            if name not in table.columns:
                continue
            rows = table.filter(pl.col(name).is_not_null())
            truth = rows["labels"].list.contains(name).to_numpy()
            positive = rows.filter(truth).select("study", "patient_id").n_unique()
            best = scoring.best_f1_threshold(truth, rows[name].to_numpy())
            if positive >= scoring.MIN_POSITIVE_PATIENTS and best is not None and not truth.all():
                thresholds[name], chosen_on[name] = round(best, 6), source
                break
    return thresholds, chosen_on


def training_table(
    parts: Sequence[PreparedSplit],
    deciding: PreparedSplit,
    shares: npt.NDArray[np.float64],
    weight: npt.NDArray[np.float64],
    chosen_on: Mapping[str, str],
    settings: TrainingSettings,
) -> dict[str, Any]:
    """The card's `training` section: data, shares and counts, split, weights, seed, recipe."""
    recipe = as_tables(settings)
    recipe = {k: v for k, v in recipe.items() if k not in ("model", "input", "classes", "limits")}
    return {
        "data": [
            {
                "study": part.study,
                "share": round(float(share), 4),
                "n_records": len(part),
                "n_patients": part.n_patients,
                "positive_records": {
                    name: int((part.truth * part.known)[:, column].sum())
                    for column, name in enumerate(settings.classes)
                },
                "left_out": part.left_out,
            }
            for part, share in zip(parts, shares, strict=True)
        ],
        "licence_of_data": settings.licence_of_data,
        "split": "train to fit, validation to stop and for thresholds, test for scores; by patient",
        "stopped_by": deciding.study,
        "thresholds_chosen_on": dict(chosen_on),
        "positive_weights": {
            name: round(float(w), 4) for name, w in zip(settings.classes, weight, strict=True)
        },
        "seed": settings.seed,
        "date": datetime.now(UTC).date().isoformat(),
        "recipe": recipe,
    }


def short_scores(table: Mapping[str, Any]) -> dict[str, Any]:
    """Scores for the card: figures at the card's thresholds with intervals and counts."""
    short: dict[str, Any] = {}
    for split, scored in table["splits"].items():
        for name, figures in scored["classes"].items():
            entry = {key: value for key, value in figures.items() if key.startswith("n_")}
            at_card = figures["at_card_threshold"]
            for key in ("auroc", "auprc", "f1", "sensitivity", "specificity", "ppv"):
                figure = figures[key] if key in ("auroc", "auprc") else at_card[key]
                for end, suffix in (("value", ""), ("low", "_low"), ("high", "_high")):
                    if figure[end] is not None:
                        entry[key + suffix] = round(figure[end], 4)
            short.setdefault(split, {})[name] = entry
    return short


def write_trained_on(
    path: Path, parts: Sequence[PreparedSplit], held: Sequence[PreparedSplit]
) -> None:
    """One row per record fitted to or chosen on: its names, split, study and signal."""
    tables = [
        part.records.select(
            "record_id", "patient_id", "split", "signal_sha256", study=pl.lit(part.study)
        )
        for part in (*parts, *held)
    ]
    with written_whole(path) as partial:
        pl.concat(tables).write_parquet(partial)
