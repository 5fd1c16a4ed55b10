"""Traversals, maps, deciles and sensitivities of a model, written for the page to draw."""

from pathlib import Path

import numpy as np
import polars as pl
import xarray as xr

from leadlight.atomic import refuse_overwrite, write_json, written_whole
from leadlight.ecg.leads import INDEPENDENT_LEADS, LEADS
from leadlight.ecg.median_beat import R_SAMPLE, RATE_HZ, SAMPLES
from leadlight.errors import LeadlightError
from leadlight.latent.beats import Beats, gather_beats
from leadlight.latent.evaluation import unseen
from leadlight.latent.model import LatentModel
from leadlight.latent.probes import classifier_logits
from leadlight.latent.through import through_factors
from leadlight.latent.traversal import (
    STEPS_SD,
    algebra_residual,
    decile_means,
    effects,
    sensitivity,
    traverse,
    two_factor_map,
)
from leadlight.provenance import describe

_PAIRS_SD = (-2.0, 0.0, 2.0)


def explore(
    study: Path,
    model: LatentModel,
    *,
    classifier: str = "leadlight-ecg-6",
    cache: Path | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> Path:
    """Write what the traversal page draws into `latent/<model>/traversal/`.

    `traversal.nc` (netCDF, opens with xarray): `beat_mv` (factor, step, lead, sample), `map_mv`
    (step_a, step_b, lead, sample) of the two most informative factors, `decile_mv` (factor, end,
    source, lead, sample), `sensitivity` (factor, independent_lead, sample), `class_mv` (class,
    lead, sample) where the study was classified; `effects.parquet` and `summary.json`.

    Args:
        study: where the deciles and sensitivities are from; all records that the model was not
            fitted to, or all where these are fewer than 30.
        model: the factor model.
        classifier: whose classes are drawn as directions.
        cache: folder for beats.
        seed: of the choice of records.
        overwrite: replace what is there.

    Raises:
        LeadlightError: results are there already, or a decoded beat breaks the lead algebra.
    """
    home = study / "latent" / model.card.model.name
    folder = home / "traversal"
    refuse_overwrite(folder, overwrite)
    everyone = gather_beats([study], cache or home / "cache")
    beats, _ = unseen(model, everyone)
    beats = beats if len(beats) >= 30 else everyone
    found = model.encode_all(beats)
    drawn = traverse(model)
    residual = algebra_residual(drawn)
    if residual > 0:
        raise LeadlightError(f"A decoded beat breaks the lead algebra by {residual} mV.")
    looks = sensitivity(model, beats, seed=seed)
    deciles = [decile_means(model, beats, found.factors, at) for at in range(len(model.names))]
    stacked = np.stack(
        [[[one.low, one.high], [one.drawn_low, one.drawn_high]] for one in deciles]
    ).transpose(0, 2, 1, 3, 4)
    variables: dict[str, tuple[tuple[str, ...], np.ndarray]] = {
        "beat_mv": (("factor", "step_sd", "lead", "sample"), drawn),
        "map_mv": (
            ("step_a", "step_b", "lead", "sample"), two_factor_map(model, 0, 1, _PAIRS_SD)
        ),
        "decile_mv": (("factor", "end", "source", "lead", "sample"), stacked),
        "sensitivity": (("factor", "independent_lead", "sample"), looks.relevance),
        "completeness_error": (("factor",), looks.completeness_error),
    }  # fmt: skip
    coordinates: dict[str, object] = {
        "factor": model.names, "step_sd": list(STEPS_SD), "lead": list(LEADS),
        "independent_lead": list(INDEPENDENT_LEADS), "step_a": list(_PAIRS_SD),
        "step_b": list(_PAIRS_SD), "end": ["lowest tenth", "highest tenth"],
        "source": ["real", "drawn"],
        "sample": np.arange(SAMPLES),
    }  # fmt: skip
    directions = _directions(study, model, beats, found.factors, classifier)
    if directions:
        variables["class_mv"] = (("class", "lead", "sample"), np.stack(list(directions.values())))
        coordinates["class"] = list(directions)
    dataset = xr.Dataset(variables, coords=coordinates).astype(np.float32)
    dataset = dataset.assign_coords(
        time_ms=("sample", (np.arange(SAMPLES) - R_SAMPLE) * 1e3 / RATE_HZ)
    )
    with written_whole(folder) as partial:
        partial.mkdir(parents=True)
        dataset.to_netcdf(partial / "traversal.nc", engine="scipy")
        effects(model).write_parquet(partial / "effects.parquet")
        factor_rows(model).write_parquet(partial / "factors.parquet")
        summary = {
            "model": model.card.model.name,
            "records": len(beats),
            "algebra_residual_mv": residual,
            "sensitivity_records": looks.records,
            "limits": list(model.card.limits),
        }
        write_json(partial / "summary.json", summary)
        parameters = {"weights": model.card.model.weights_sha256, "seed": seed}
        inputs = [study / "measurements.parquet"]
        write_json(partial / "provenance.json", describe("latent traverse", parameters, inputs))
    return folder


def factor_rows(model: LatentModel) -> pl.DataFrame:
    """The card's factors as a table."""
    return pl.DataFrame([factor.model_dump() for factor in model.card.factors])


def _directions(
    study: Path, model: LatentModel, beats: Beats, factors: np.ndarray, classifier: str
) -> dict[str, np.ndarray]:
    logits = classifier_logits(study, classifier, beats.records["record_id"].to_list())
    found: dict[str, np.ndarray] = {}
    if logits is None:
        return found
    patients = beats.records["patient_id"].to_list()
    for name in logits.columns:
        if name == "record_id":
            continue
        try:
            one = through_factors(
                model, factors, logits[name].cast(pl.Float64).to_numpy(), patients, name
            )
        except LeadlightError:
            continue
        found[name] = one.direction_mv
    return found
