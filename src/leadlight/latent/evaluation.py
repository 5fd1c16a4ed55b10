"""Everything that is measured of a factor model on records that it was not fitted to."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight.atomic import refuse_overwrite, write_json, written_whole
from leadlight.errors import LeadlightError
from leadlight.latent.beats import Beats, gather_beats, own_mask
from leadlight.latent.disentanglement import independence
from leadlight.latent.model import LatentModel
from leadlight.latent.probes import classifier_logits, probe_table
from leadlight.latent.reconstruction import error_table, errors_of, patient_interval
from leadlight.latent.repeatability import halves_of, noise_floor_uv, repeatability
from leadlight.latent.through import through_factors
from leadlight.progress import say
from leadlight.provenance import describe

# So many records at least for probes and for the classifier through factors.
_LEAST_PROBED = 60


@dataclass(frozen=True)
class Evaluation:
    """Results, as they are written.

    Attributes:
        folder: where.
        summary: the figures that a reader wants first.
    """

    folder: Path
    summary: dict[str, Any]


def evaluate(
    study: Path,
    model: LatentModel,
    *,
    splits: Sequence[str] = ("test",),
    classifier: str = "leadlight-ecg-6",
    cache: Path | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> Evaluation:
    """Evaluate a model on the records of a study in some splits.

    Writes in `latent/<model>/evaluation/`: `reconstruction.parquet` (per lead and wave, the model
    beside principal components of the same number and training beats), `repeatability.parquet`
    (per factor, where the strips are there), `probes.parquet`, `classifier.parquet` (logits through
    factors, where `leadlight classify` has run) and `summary.json`. Records that the model was
    fitted to are left out, by its list `trained-on.parquet`; but probes and the classifier need
    many records and take all of the study, cross-validated by patient: the factor model saw some of
    these beats (`probed.fitted_to` in the summary), never their labels.

    Args:
        study: a study that has been measured.
        model: the factor model.
        splits: of the records.
        classifier: whose logits are explained, and stand beside the probes.
        cache: folder for beats; in the model's folder of the study where None.
        seed: of bootstraps.
        overwrite: replace an evaluation that is there.

    Raises:
        LeadlightError: no record is left, or results are there already.
    """
    home = study / "latent" / model.card.model.name
    folder = home / "evaluation"
    refuse_overwrite(folder, overwrite)
    everyone = gather_beats([study], cache or home / "cache")
    beats, n_seen = unseen(model, everyone.of_split(*splits))
    if len(beats) < 10:
        raise LeadlightError(
            f"{study} has {len(beats)} records in {', '.join(splits)} that "
            f"{model.card.model.name} was not fitted to.",
            advice="Name more splits, or another study.",
        )
    say(f"Evaluating on {len(beats)} records; {n_seen} that the model was fitted to are left out.")
    found = model.encode_all(beats)
    patients = beats.records["patient_id"].to_list()
    tables: dict[str, pl.DataFrame] = {}
    tables["reconstruction"], summary = _reconstruction(model, beats, found.factors, seed)
    summary |= {
        "records": len(beats),
        "patients": len(set(patients)),
        "splits": list(splits),
        "fitted_to_left_out": n_seen,
        "factors": len(model.names),
        "independence": asdict(independence(found.factors, seed=seed)),
    }
    if (study / "cohort.zarr").is_dir():
        halves = halves_of(study, beats)
        table = repeatability(model, halves, seed=seed)
        tables["repeatability"] = table
        floor = np.array(noise_floor_uv(halves))
        named = [patients[row] for row in halves.rows]
        summary["repeatability"] = {
            "median_icc": float(np.median(table["icc"].to_numpy())),
            "below_085": table.filter(pl.col("icc") < 0.85)["factor"].to_list(),
            "noise_floor_mae_uv": list(patient_interval(floor, named, seed=seed)),
            "records": len(halves.rows),
        }
    if len(everyone) >= _LEAST_PROBED:
        factors = model.encode_all(everyone).factors
        summary["probed"] = {
            "records": len(everyone),
            "fitted_to": len(everyone) - len(unseen(model, everyone)[0]),
        }
        wanted = everyone.records.select("record_id")
        measured = wanted.join(
            pl.read_parquet(study / "measurements.parquet"),
            on="record_id", how="left", maintain_order="left",
        )  # fmt: skip
        logits = classifier_logits(study, classifier, wanted["record_id"].to_list())
        tables["probes"] = probe_table(factors, everyone, measured, classifier=logits, seed=seed)
        if logits is not None:
            tables["classifier"] = classifier_table(
                model, factors, logits, everyone.records["patient_id"].to_list(), seed
            )
    with written_whole(folder) as partial:
        partial.mkdir(parents=True)
        for name, table in tables.items():
            table.write_parquet(partial / f"{name}.parquet")
        write_json(partial / "summary.json", _plain(summary))
        parameters = {"splits": list(splits), "weights": model.card.model.weights_sha256}
        inputs = [study / "measurements.parquet"]
        write_json(partial / "provenance.json", describe("latent evaluate", parameters, inputs))
    return Evaluation(folder, summary)


def unseen(model: LatentModel, beats: Beats) -> tuple[Beats, int]:
    """The records whose patients the model was not fitted to, and how many were left out."""
    path = model.source.with_name("trained-on.parquet")
    if not path.exists():
        return beats, 0
    fitted = pl.read_parquet(path)
    study_of = set(beats.records["study"].drop_nulls())
    mine = fitted.filter(pl.col("study").is_in(list(study_of)))
    seen = beats.records["patient_id"].is_in(mine["patient_id"].to_list()).to_numpy()
    return beats.take(np.flatnonzero(~seen)), int(seen.sum())


def classifier_table(
    model: LatentModel,
    factors: npt.NDArray[np.floating],
    logits: pl.DataFrame,
    patients: Sequence[str],
    seed: int = 0,
) -> pl.DataFrame:
    """Each class's logit through factors: `class, share` with interval, one row per factor."""
    rows = []
    for name in logits.columns:
        if name == "record_id":
            continue
        try:
            one = through_factors(
                model, factors, logits[name].cast(pl.Float64).to_numpy(), patients, name, seed=seed
            )
        except LeadlightError as error:
            say(str(error))
            continue
        rows += [
            (name, one.share, one.share_low, one.share_high, factor, float(weight), float(low),
             float(high), one.records, one.patients)
            for factor, weight, low, high in zip(
                model.names, one.weights, one.weights_low, one.weights_high, strict=True
            )
        ]  # fmt: skip
    columns = [
        "class", "share", "share_low", "share_high", "factor", "weight", "weight_low",
        "weight_high", "n_records", "n_patients",
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=columns, orient="row")


def _reconstruction(
    model: LatentModel, beats: Beats, factors: npt.NDArray[np.float32], seed: int
) -> tuple[pl.DataFrame, dict[str, Any]]:
    patients = beats.records["patient_id"].to_list()
    own = errors_of(beats, model.decode(factors))
    parts = [error_table(own, patients, seed=seed).with_columns(pl.lit("factors").alias("model"))]
    summary: dict[str, Any] = {}
    mae, r = own.mae_uv.mean(axis=1), np.nanmean(own.r, axis=1)
    summary["mae_uv"] = list(patient_interval(mae, patients, seed=seed))
    summary["mae_uv_median_record"] = float(np.median(mae))
    summary["r"] = list(patient_interval(r, patients, seed=seed))
    # Over the whole window too, neighbours and all, as published figures are.
    whole = Beats(beats.microvolts, np.tile(_WHOLE, (len(beats), 1)), beats.limits, beats.records)
    everywhere = errors_of(whole, model.decode(factors)).mae_uv.mean(axis=1)
    summary["mae_uv_whole_window"] = list(patient_interval(everywhere, patients, seed=seed))
    if model.baseline is not None:
        seen, _ = beats.millivolts(slice(None))
        seen = seen * own_mask(beats.own)[:, None]
        linear = errors_of(beats, model.baseline.decode(model.baseline.encode(seen)))
        table = error_table(linear, patients, seed=seed)
        parts.append(table.with_columns(pl.lit("principal components").alias("model")))
        better = linear.mae_uv.mean(axis=1) - mae
        better_r = r - np.nanmean(linear.r, axis=1)
        summary["principal_components"] = {
            "mae_uv": list(patient_interval(linear.mae_uv.mean(axis=1), patients, seed=seed)),
            "r": list(patient_interval(np.nanmean(linear.r, axis=1), patients, seed=seed)),
            "mae_uv_less_with_factors": list(patient_interval(better, patients, seed=seed)),
            "r_more_with_factors": list(patient_interval(better_r, patients, seed=seed)),
        }
    return pl.concat(parts), summary


_WHOLE = np.array([0, 600], dtype=np.int16)


def _plain(value: Any) -> Any:
    """JSON-ready; what is not a number is null."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float | np.floating):
        return round(float(value), 6) if np.isfinite(value) else None
    return value
