"""A record of a simulated study made again from what the study holds, with all its parameters."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from leadlight.errors import LeadlightError
from leadlight.simulate.conditions import CONDITIONS
from leadlight.simulate.people import People
from leadlight.simulate.population import SimulatedRecording, simulate_recordings
from leadlight.simulate.traits import TRAIT_NAMES


def made_again(study: Path, record_id: str) -> SimulatedRecording:
    """The simulated recording of a record: the same samples, and the parameters of its twins.

    Args:
        study: a folder that `simulate_cohort` made, with genomes or without.
        record_id: of one of its records.

    Raises:
        LeadlightError: the folder is no simulated study, or has no such record.
    """
    settings = _settings(study)
    number = int(record_id.removeprefix("sim")) if record_id[3:].isdigit() else -1
    if not 0 <= number < int(settings["people"]):
        raise LeadlightError(
            f"{study} has no record {record_id!r}.",
            advice="records.parquet lists the records of a study.",
        )
    given: dict[str, Any] = {name: settings[name] for name in ("rate_hz", "duration_s", "noise")}
    if settings["genomes"] is None:
        given["first"] = number
    else:
        given["people"] = _person(study, record_id, number)
        given["severities"] = _severities(study, record_id)
    return next(simulate_recordings(1, seed=int(settings["seed"]), **given))


def _settings(study: Path) -> Mapping[str, Any]:
    path = study / "cohort-provenance.json"
    try:
        provenance = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        provenance = {}
    settings = provenance.get("parameters", {})
    if provenance.get("verb") != "simulate" or "genomes" not in settings:
        raise LeadlightError(
            f"{study} is not a simulated study.", advice="Make one: leadlight simulate."
        )
    return dict(settings)


def _person(study: Path, record_id: str, number: int) -> People:
    z = _row(study / "phenotypes.parquet", "IID", record_id)
    about = _row(study / "covariates.parquet", "IID", record_id)
    return People(
        number=np.array([number]),
        sex=np.array(["M" if about["sex"] == 1 else "F"]),
        age_years=np.array([about["age"]]),
        height_cm=np.array([about["height_cm"]]),
        body_mass_index=np.array([about["body_mass_index"]]),
        z=np.array([[z[name] for name in TRAIT_NAMES]]),
    )


def _severities(study: Path, record_id: str) -> dict[str, float]:
    row = _row(study / "truth" / "parameters.parquet", "record_id", record_id)
    return {name: row[f"severity_{name}"] for name in CONDITIONS if row[f"severity_{name}"] > 0}


def _row(table: Path, column: str, name: str) -> dict[str, Any]:
    return pl.scan_parquet(table).filter(pl.col(column) == name).collect().row(0, named=True)
