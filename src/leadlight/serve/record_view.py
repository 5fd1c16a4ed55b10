"""One record as its page and the API show it."""

from typing import Any

import numpy as np

from leadlight.errors import LeadlightError
from leadlight.report.explorer_data import latent_folders
from leadlight.report.factor_words import spoken
from leadlight.report.record_data import record_data
from leadlight.serve.explaining import Question, model_of
from leadlight.serve.folder import StudyFolder, chosen, unmoved
from leadlight.serve.one_record import OneRecord, model_card, read_record, results_of
from leadlight.serve.refusals import NotThere, Refusal
from leadlight.serve.tables import keyed

_TOLD = {
    "patient_id": "Patient", "source": "Source", "source_format": "Format", "age": "Age",
    "sex": "Sex", "labels": "Labels", "codes": "Codes", "split": "Split", "fold": "Fold",
    "derived_leads": "Derived leads", "missing_leads": "Missing leads",
}  # fmt: skip

# Measurements carry their unit in their name.
_UNITS = {"_ms_": "ms", "_bpm_": "/min", "_deg_": "°", "_mv_": "mV", "_share_": "of beats"}
_NOT_OF_THE_HEART = ("noise_uv", "n_beats", "n_beats_averaged")


def record_view(study: StudyFolder, record_id: str, model: str = "") -> dict[str, Any]:
    """All that is known of one record, JSON-ready.

    Args:
        study: the study.
        record_id: of the record.
        model: whose probabilities; the explained or first one where empty.

    Returns:
        `about` (its row of the table), `told` (the same in words), `model`, `classes` (name,
        probability, logit), `measurements` (name, said, value, unit, lead), `failure`, `factors`,
        `drawing` (see `report.record_data`; null with `why_not`), `can_explain` (classes without
        relevance), `before` and `after` (its neighbours).

    Raises:
        NotThere: the study has no such record or model.
        Refusal: a file of it cannot be read.
    """
    models = study.classifiers()
    if model:
        chosen(models, model, "classifier")
    folders = [study.records, study.measurements, *models.values()]
    folders += [study.path / name / "zarr.json" for name in ("cohort.zarr", "relevance.zarr")]
    found: dict[str, Any] = unmoved(study, folders, _view, study, record_id, model)
    return found


def explain_record(
    study: StudyFolder, record_id: str, of_class: str, model: str = ""
) -> dict[str, Any] | None:
    """Relevance of a record for a class, worked out now; None while that is under way.

    Returns:
        What `record_view` gives as `drawing`, with this class's relevance among its classes.

    Raises:
        Busy: another record is being explained.
        Refusal: the record is too long, or the network is not at hand.
    """
    models = study.classifiers()
    name = chosen(models, model, "classifier")
    one = read_record(study, record_id)
    question = _question(study, one, name, of_class)
    if study.explainer.ask(question) is None:
        return None
    return _drawing(study, one, name)


def _view(study: StudyFolder, record_id: str, model: str) -> dict[str, Any]:
    one = read_record(study, record_id)
    models = study.classifiers()
    model = model or next(iter(models), "")
    drawing, why_not = None, ""
    if one.cohort is None:
        why_not = "The study has no signals."
    else:
        try:
            drawing = _drawing(study, one, model)
        except Refusal:
            raise
        except LeadlightError as error:
            why_not = str(error)
    measurements, failure = _measurements(study, record_id)
    classes, not_classified = _classes(study, record_id, model)
    return {
        "record_id": record_id,
        "about": _plain(one.about),
        "told": _told(one),
        "model": model,
        "classes": classes,
        "not_classified": not_classified,
        "measurements": measurements,
        "failure": failure,
        "factors": _factors(study, record_id),
        "drawing": drawing,
        "why_not": why_not,
        "can_explain": _can_explain(drawing, one, classes),
        "before": one.before,
        "after": one.after,
    }


def _drawing(study: StudyFolder, one: OneRecord, model: str) -> dict[str, Any]:
    known = study.explainer.known(one.record_id)
    mine = [(of_class, found) for of_class, found in known if found.model == model]
    drawing = record_data(results_of(study, one, model, mine), one.record_id)
    if not one.whole:
        drawing["duration_s"] = round(
            float(one.about["n_samples"]) / float(one.about["rate_hz"]), 3
        )
    return drawing


def _question(study: StudyFolder, one: OneRecord, model: str, of_class: str) -> Question:
    if one.cohort is None:
        raise NotThere("The study has no signals.")
    if not one.whole:
        raise Refusal("This record is too long to be explained on demand.")
    if not of_class:
        raise Refusal("Which class is to be explained?", advice="Give class=NAME.")
    return Question(
        one.record_id, float(one.about["rate_hz"]), np.asarray(one.cohort.signal)[0],
        model_of(study.path, model), of_class,
    )  # fmt: skip


def _can_explain(
    drawing: dict[str, Any] | None, one: OneRecord, classes: list[dict[str, Any]]
) -> list[str]:
    if drawing is None or not one.whole:
        return []
    there = {row["name"] for row in drawing["classes"] if row["relevance"] is not None}
    return [row["name"] for row in classes if row["name"] not in there]


def _classes(study: StudyFolder, record_id: str, model: str) -> tuple[list[dict[str, Any]], str]:
    models = study.classifiers()
    if model not in models:
        return [], "Nothing was classified yet."
    probability = keyed(study, models[model]).row(record_id)
    logits = models[model].with_name("logits.parquet")
    logit = keyed(study, logits).row(record_id) if logits.is_file() else None
    if probability is None:
        refused = models[model].with_name("refused.parquet")
        row = keyed(study, refused).row(record_id) if refused.is_file() else None
        why = f" {row['reason']}" if row else ""
        return [], f"{model} was not given this record.{why}"
    thresholds = model_card(study, model).get("output", {}).get("thresholds", {})
    return [
        {
            "name": name, "probability": _number(value), "threshold": thresholds.get(name),
            "logit": None if logit is None else _number(logit.get(name)),
        }
        for name, value in probability.items()
        if name != "record_id"
    ], ""  # fmt: skip


def _measurements(study: StudyFolder, record_id: str) -> tuple[list[dict[str, Any]], str]:
    if not study.measurements.is_file():
        return [], ""
    row = keyed(study, study.measurements).row(record_id)
    if row is None:
        return [], "This record was not measured."
    rows = []
    for name, value in row.items():
        unit = next((said for part, said in _UNITS.items() if part in f"{name}_"), None)
        if unit is None or name in _NOT_OF_THE_HEART:
            continue
        value = _number(value)
        rows.append(
            {
                "name": name, "said": spoken(name), "unit": unit,
                "value": None if value is None else float(f"{value:.4g}"),
                "lead": name.partition("_mv_")[2],
            }
        )  # fmt: skip
    return rows, str(row.get("failure") or "")


def _factors(study: StudyFolder, record_id: str) -> dict[str, Any] | None:
    tables = study.factor_tables()
    if not tables:
        return None
    decodable = [one.name for one in latent_folders(study.path)]
    model = next((name for name in decodable if name in tables), next(iter(tables)))
    row = keyed(study, tables[model]).row(record_id)
    if row is None:
        return None
    values = {name: _number(value) for name, value in row.items() if name.startswith("factor_")}
    return {
        "model": model,
        "factors": values,
        "error_uv": _number(row.get("error_uv")),
        "distance": _number(row.get("distance")),
        "flags": list(row.get("flags") or ()),
        "explorer": model in decodable and None not in values.values(),
    }


def _told(one: OneRecord) -> list[tuple[str, str]]:
    told = [("Record", one.record_id)]
    for name, title in _TOLD.items():
        value = one.about.get(name)
        if isinstance(value, list):
            value = ", ".join(map(str, value))
        if value not in (None, ""):
            told.append((title, f"{value:g}" if isinstance(value, float) else str(value)))
    for cart in one.about.get("cart_measurements") or ():
        told.append((f"Cart: {cart['name']}", f"{cart['value']:g}"))
    return told


def _plain(about: dict[str, Any]) -> dict[str, Any]:
    return {name: _number(value) if isinstance(value, float) else value
            for name, value in about.items()}  # fmt: skip


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value
