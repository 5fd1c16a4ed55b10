"""Small studies for pages: what the explorer and the record viewer read, and nothing else.

Relevance here is the model's input itself, so wherever a page puts a value, the signal that stands
there must be the same number.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import polars as pl

from leadlight.classify.cards import ModelCard
from leadlight.classify.models import load_model
from leadlight.classify.prepare import PreparedInput, prepare
from leadlight.cohort import beats as beat_store
from leadlight.cohort.store import CohortWriter, open_cohort
from leadlight.ecg.leads import LEADS, as_leads
from leadlight.ecg.recording import Recording
from leadlight.explain import relevance_store
from leadlight.latent.beats import Beats, twelve_leads
from leadlight.latent.decoder_file import ensure_decoder
from leadlight.latent.encoding import factor_table
from leadlight.latent.model import LatentModel
from leadlight.latent.simulated import simulate_beats
from leadlight.report import rendering

LOCUS = "3:38781269:T:C"
CLASSES = ("AF", "LBBB")
CLASSIFIER = "leadlight-ecg-6"
COMPLETENESS = 0.0123


def write_explorer_study(study: Path, model: LatentModel, people: int = 12) -> Beats:
    """Records, median beats, factors, the decoder, probabilities and one effect."""
    beats, _ = simulate_beats(people, seed=11, severities={})
    names = beats.records["record_id"].to_list()
    study.mkdir(parents=True)
    formats = ["dicom", *["simulated"] * (len(names) - 1)]
    pl.DataFrame(
        {"record_id": names, "source_format": formats, "labels": [None, *[[]] * (len(names) - 1)]},
        schema_overrides={"labels": pl.List(pl.String())},
    ).write_parquet(study / "records.parquet")
    pl.DataFrame(
        {"record_id": names, "rr_ms": 900.0, "rr_sd_ms": 10.0, "pr_ms": 160.0, "qt_ms": 400.0}
    ).write_parquet(study / "measurements.parquet")
    whole = twelve_leads(beats.microvolts).round().astype(np.int16)
    beat_store.create(study / "beats.zarr", pl.Series(names))
    beat_store.write_rows(
        beat_store.open_store(study / "beats.zarr", "r+"), range(len(names)), list(whole),
        [None] * len(names), [8] * len(names),
    )  # fmt: skip
    folder = ensure_decoder(study, model)
    found = factor_table(model, model.encode_all(beats), names, np.ones(len(names), dtype=np.bool_))
    found.write_parquet(folder / "factors.parquet")
    classify = study / "classify" / CLASSIFIER
    classify.mkdir(parents=True)
    farthest = np.argsort(np.argsort(found["distance"].to_numpy()))
    risk = np.linspace(0.1, 0.9, len(names))[farthest]
    pl.DataFrame({"record_id": names, "AF": risk}).write_parquet(classify / "probabilities.parquet")
    _write_effect(study / "effects" / LOCUS.replace(":", "-"), model)
    return beats


def shift_of(model: LatentModel) -> np.ndarray:
    """(factor) what the study's one locus shifts the factors by, per copy."""
    return np.round(0.05 * np.sin(1.0 + np.arange(len(model.names))), 6)


def covariance_of(model: LatentModel) -> np.ndarray:
    """(factor, factor) of that shift's errors."""
    at = np.arange(len(model.names))
    return 0.01**2 * 0.4 ** np.abs(at[:, None] - at[None, :])


def _write_effect(folder: Path, model: LatentModel) -> None:
    folder.mkdir(parents=True)
    covariance = covariance_of(model)
    columns = {name: covariance[:, at] for at, name in enumerate(model.names)}
    pl.DataFrame({"factor": model.names, **columns}).write_parquet(
        folder / "factor_covariance.parquet"
    )
    beta = shift_of(model)
    pl.DataFrame({"factor": model.names, "beta": beta, "standard_error": 0.01}).write_parquet(
        folder / "factors.parquet"
    )
    pl.DataFrame(
        [("AF", -0.25, -0.30, -0.20), ("LBBB", 0.01, -0.02, 0.04)],
        schema=["class", "change", "low", "high"], orient="row",
    ).write_parquet(folder / "logits.parquet")  # fmt: skip
    summary = {"name": LOCUS, "kind": "variant", "step": "copy of C", "n": 1234,
               "neg_log_10_p": 12.3}  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "card.html").write_text("<!DOCTYPE html><title>card</title>")


def recording(name: str, *, rate_hz: float, seconds: float, empty_s: float = 0.0) -> Recording:
    """Smooth noise with a beat's spike every 0.8 s, different in every lead; nothing at first."""
    rng = np.random.default_rng(len(name))
    n = round(rate_hz * seconds)
    time = np.arange(n) / rate_hz
    rows = []
    for place in range(len(LEADS)):
        waves = sum(
            rng.normal(0, 0.1) * np.sin(2 * np.pi * (f * time + rng.uniform()))
            for f in (0.7, 1.9, 5.3, 11.0)
        )
        beats = np.exp(-(((time % 0.8) - 0.4 - 0.01 * place) ** 2) / (2 * 0.012**2))
        rows.append(waves + (1.5 - 0.2 * place) * beats)
    signal = np.stack(rows).astype(np.float32)
    signal[:, : round(empty_s * rate_hz)] = np.nan
    return Recording(
        as_leads(signal), rate_hz, record_id=name, age_years=61.0, sex="F",
        source_format="simulated",
    )  # fmt: skip


def plain_card(
    rate_hz: float, samples: int, padding: str = "both", crop: str = "centre"
) -> ModelCard:
    """The shipped model's card without filters, at another rate and length."""
    card = load_model(CLASSIFIER).card
    section = card.input.model_copy(
        update={
            "rate_hz": rate_hz,
            "samples": samples,
            "padding": padding,
            "crop": crop,
            "highpass_hz": None,
            "lowpass_hz": None,
        }
    )
    return card.model_copy(update={"input": section})


def write_record_study(
    study: Path, recordings: list[Recording], card: ModelCard
) -> dict[str, PreparedInput]:
    """A cohort, probabilities, and relevance that is the model's input (AF) or minus it (LBBB)."""
    with CohortWriter(study) as writer:
        for one in recordings:
            writer.add(one, ("AF",))
    cohort = open_cohort(study)
    names = cohort.records["record_id"].to_list()
    seen = {name: prepare(cohort.recording(row), card) for row, name in enumerate(names)}
    store = study / "relevance.zarr"
    relevance_store.create_store(
        store, names, CLASSES, list(card.input.leads), card.input.samples,
        {"rate_hz": card.input.rate_hz, "model": CLASSIFIER, "padding": card.input.padding,
         "crop": card.input.crop, "method": "the input itself"},
    )  # fmt: skip
    inputs = np.stack([seen[name].values.values for name in names])
    relevance_store.write_shard(store, 0, np.stack([inputs, -inputs], axis=1))
    relevance_store.finish_store(
        store,
        np.array([seen[name].first_valid for name in names]),
        np.array([seen[name].n_valid for name in names]),
        np.array([seen[name].start_s for name in names]),
    )
    classify = study / "classify" / CLASSIFIER
    classify.mkdir(parents=True)
    for table, value in (("probabilities", 0.9), ("logits", 2.2)):
        pl.DataFrame(
            {"record_id": names, "AF": value, "LBBB": value - 0.8, "SB": 0.1}
        ).write_parquet(classify / f"{table}.parquet")
    _write_findings(study / "findings", names)
    return seen


def _write_findings(folder: Path, names: list[str]) -> None:
    folder.mkdir()
    rows = [
        {
            "record_id": name, "patient_id": name, "split": "test", "trained_on": False,
            "group": "AF", "class": one, "model": "trained", "logit": 2.2, "probability": 0.9,
            "baseline_logit": -1.5, "total_relevance": 3.7, "mean_relevance": 0.001,
            "completeness_error": COMPLETENESS, "outcome": "TP",
        }
        for name in names
        for one in CLASSES
    ]  # fmt: skip
    pl.DataFrame(rows).write_parquet(folder / "records.parquet")


_PAGE = """{% extends "base.html" %}
{% block title %}A component{% endblock %}{% block heading %}A component{% endblock %}
{% block lead %}By itself.{% endblock %}
{% block contents %}<li><a href="#part">Part</a></li>{% endblock %}
{% block main %}<section aria-labelledby="part"><h2 id="part">Part</h2>
<div id="component" data-component="{{ component }}" data-source="given"></div></section>
{% endblock %}"""
_START = '"use strict";\nLeadlight.place();\n'


def component_page(file: Path, component: str, scripts: tuple[str, ...], data: Any) -> Path:
    """A page with one component, through the house's own frame and policy."""
    own: Mapping[str, str] = {"component.html": _PAGE, "start.js": _START}
    template_text = rendering.template_text
    with patch.object(
        rendering, "template_text", lambda name: own.get(name) or template_text(name)
    ):
        page = rendering.render(
            "component.html", scripts=["base.js", *scripts, "start.js"],
            script_data={"given": data}, component=component,
        )  # fmt: skip
    file.write_text(page, encoding="utf-8")
    return file
