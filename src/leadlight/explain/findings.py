"""The tables of `findings/`: what the relevance of a cohort says, in numbers with intervals.

Long Parquet tables. `model` is "trained" or "random" (same architecture, random weights, same
records). Intervals are 95 % by patient. `measure` in `leads.parquet` is "mean_relevance" (logits
per sample, signed), "absolute_share" (the lead's share of the record's summed |relevance|) or,
where there is a random network, "absolute_share_beyond_random" (the record's share less its share
in the random network). Relevance is gradient times signal, so shares follow amplitudes in any
network: what a lead's share says of the trained one is what goes beyond the random one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import stats

from leadlight.atomic import write_json
from leadlight.classify.cards import write_card
from leadlight.classify.models import Model
from leadlight.cohort.store import Cohort
from leadlight.explain.averages import MeanInterval, mean_interval, patient_means
from leadlight.explain.beats import BeatWindow
from leadlight.explain.comparison import Comparison, benjamini_hochberg, compare
from leadlight.explain.selection import Selection
from leadlight.provenance import write_provenance

IDENTITY_NOTE = (
    "With a zero baseline relevance sums to logit minus baseline logit, so its correlation with "
    "the logit is near 1 for every network, trained or random: it is no evidence."
)
# A row per record, class and network as it is collected; the last columns stay inside.
ROWS_SCHEMA: dict[str, pl.DataType] = {
    "record_id": pl.String(),
    "patient_id": pl.String(),
    "split": pl.String(),
    "trained_on": pl.Boolean(),
    "group": pl.String(),
    "class": pl.String(),
    "model": pl.String(),
    "logit": pl.Float64(),
    "probability": pl.Float64(),
    "baseline_logit": pl.Float64(),
    "total_relevance": pl.Float64(),
    "mean_relevance": pl.Float64(),
    "completeness_error": pl.Float64(),
    "outcome": pl.String(),
    "labels": pl.List(pl.String()),
    "steps": pl.Int64(),
    "n_beats": pl.Int64(),
    "n_beats_left_out": pl.Int64(),
    "first_valid": pl.Int64(),
    "n_valid": pl.Int64(),
    "start_s": pl.Float64(),
    "lead_mean": pl.List(pl.Float32()),
    "lead_share": pl.List(pl.Float32()),
    "refused": pl.String(),
}
_INSIDE = ("first_valid", "n_valid", "start_s", "lead_mean", "lead_share", "refused")
TRAINED, RANDOM = "trained", "random"
BEYOND_RANDOM = "absolute_share_beyond_random"
_MEASURES = {"mean_relevance": "lead_mean", "absolute_share": "lead_share"}

Cell = tuple[str, str, str]
Array = npt.NDArray[np.float64]


def write_findings(
    folder: Path,
    cohort: Cohort,
    model: Model,
    selection: Selection,
    settings: Mapping[str, Any],
    rows: pl.DataFrame,
    beats: Mapping[Cell, MeanInterval],
    counts: Mapping[Cell, Mapping[str, int]],
    run: Mapping[str, Any],
) -> None:
    """Write all tables, the summary, the card and the provenance into `folder`.

    Args:
        folder: made where absent.
        cohort, model, selection, settings: what was explained.
        rows: `ROWS_SCHEMA`, refused records included.
        beats: per cell the averages (field, lead, time), fields as in `beat_table`.
        counts: per cell `beats` and `records`.
        run: time and memory, for the summary.
    """
    folder.mkdir(parents=True, exist_ok=True)
    records = rows.filter(pl.col("refused").is_null())
    leads = list(model.card.input.leads)
    classes, control = list(settings["classes"]), str(settings["control"])
    rate_hz = model.card.input.rate_hz
    times_ms = (
        1000.0 * BeatWindow(**settings["window"]).offsets(rate_hz).astype(np.float64) / rate_hz
    )
    records.drop(_INSIDE).write_parquet(folder / "records.parquet")
    lead_table(records, classes, control, leads).write_parquet(folder / "leads.parquet")
    beat_table(beats, counts, leads, times_ms).write_parquet(folder / "beats.parquet")
    class_table(records, classes, control).write_parquet(folder / "classes.parquet")
    write_card(model.card, folder / "card.toml")
    write_provenance(
        folder,
        "explain",
        {"model": model.card.model.name, **settings},
        [
            cohort.study / "records.parquet",
            model.source,
            model.source.parent / model.card.model.weights,
        ],
    )
    write_json(folder / "summary.json", _summary(cohort, model, selection, settings, rows, run))


def lead_table(
    records: pl.DataFrame, classes: list[str], control: str, leads: list[str]
) -> pl.DataFrame:
    """Cases against controls per class, network, measure and lead.

    q values are by Benjamini and Hochberg over the leads and classes of one network and measure.
    """
    families = [
        (network, measure, records.filter(pl.col("model") == network), column)
        for network in records["model"].unique(maintain_order=True)
        for measure, column in _MEASURES.items()
    ]
    if RANDOM in records["model"]:
        families.append((TRAINED, BEYOND_RANDOM, _beyond_random(records), "lead_share"))
    tables = []
    for network, measure, of_network, column in families:
        parts = []
        for name in classes:
            part = of_network.filter(pl.col("class") == name)
            case, of_case = _by_patient(part, name, column, len(leads))
            against, of_control = _by_patient(part, control, column, len(leads))
            about = {"class": name, "model": network, "measure": measure}
            columns = _comparison_columns(compare(case, against), of_case, of_control)
            parts.append(
                pl.DataFrame({"lead": leads, **columns}).select(
                    *[pl.lit(value).alias(key) for key, value in about.items()], pl.all()
                )
            )
        family = pl.concat(parts)
        q = benjamini_hochberg(family["p_value"].to_numpy())
        tables.append(family.with_columns(q_value=pl.Series(q)))
    return pl.concat(tables).fill_nan(None)


def beat_table(
    beats: Mapping[Cell, MeanInterval],
    counts: Mapping[Cell, Mapping[str, int]],
    leads: list[str],
    times_ms: Array,
) -> pl.DataFrame:
    """Average beats per class, group, network, lead and time from R.

    Columns `mean_mv`, `mean_relevance` (logits per sample) and `mean_absolute_share` (of the
    |relevance| in the window of all leads; it sums to 1 over leads and times), each with its
    interval.
    """
    tables = []
    for (name, group, network), interval in beats.items():
        cell: dict[str, Any] = {
            "class": name,
            "group": group,
            "model": network,
            "lead": np.repeat(leads, times_ms.size),
            "time_ms": np.tile(times_ms, len(leads)),
        }
        for field, (mean, low) in enumerate(
            (("mean_mv", "mv"), ("mean_relevance", "relevance"),
             ("mean_absolute_share", "absolute_share"))
        ):  # fmt: skip
            cell[mean] = interval.mean[field].ravel()
            cell[f"{low}_low"] = interval.low[field].ravel()
            cell[f"{low}_high"] = interval.high[field].ravel()
        cell["n_beats"] = counts[name, group, network]["beats"]
        cell["n_records"] = counts[name, group, network]["records"]
        cell["n_patients"] = interval.n_patients[1].ravel()
        tables.append(pl.DataFrame(cell))
    return pl.concat(tables).fill_nan(None)


def class_table(records: pl.DataFrame, classes: list[str], control: str) -> pl.DataFrame:
    """Relevance per class, group and network, and its correlation with the model's answer.

    The correlations (Pearson with the logit and with the logit less the baseline's, Spearman with
    the probability) are over cases and controls together and stand in both rows; `note` says why
    they are no evidence.
    """
    rows = []
    for name in classes:
        for network in records["model"].unique(maintain_order=True):
            part = records.filter((pl.col("class") == name) & (pl.col("model") == network))
            both = part.filter(pl.col("group").is_in([name, control]))
            mean, logit = both["mean_relevance"].to_numpy(), both["logit"].to_numpy()
            rise = logit - both["baseline_logit"].to_numpy()
            correlations = {
                "correlation_with_logit": _pearson(mean, logit),
                "correlation_with_logit_difference": _pearson(
                    both["total_relevance"].to_numpy(), rise
                ),
                "rank_correlation_with_probability": _spearman(
                    mean, both["probability"].to_numpy()
                ),
            }
            for group in (name, control):
                of_group = part.filter(pl.col("group") == group)
                row = {"class": name, "group": group, "model": network}
                for column in ("mean_relevance", "total_relevance", "logit", "probability"):
                    values = of_group[column].to_numpy()[:, None]
                    means = patient_means(values, of_group["patient_id"].to_list())
                    interval = mean_interval(means)
                    stem = column if column.startswith("mean") else f"mean_{column}"
                    row |= {
                        stem: float(interval.mean[0]),
                        f"{stem}_low": float(interval.low[0]),
                        f"{stem}_high": float(interval.high[0]),
                    }
                row |= {
                    "n_records": of_group.height,
                    "n_patients": of_group["patient_id"].n_unique(),
                    **correlations,
                    "note": IDENTITY_NOTE,
                }
                rows.append(row)
    return pl.DataFrame(rows, infer_schema_length=None).fill_nan(None)


def _beyond_random(records: pl.DataFrame) -> pl.DataFrame:
    """The trained network's rows, `lead_share` less that of the random network."""
    random = records.filter(pl.col("model") == RANDOM).select(
        "record_id", "class", pl.col("lead_share").alias("random_share")
    )
    joined = records.filter(pl.col("model") == TRAINED).join(
        random, on=["record_id", "class"], how="left", maintain_order="left"
    )
    trained = np.array(joined["lead_share"].to_list(), dtype=np.float64)
    beyond = trained - np.array(joined["random_share"].to_list(), dtype=np.float64)
    return joined.with_columns(pl.Series("lead_share", beyond.tolist(), pl.List(pl.Float64)))


def _by_patient(
    part: pl.DataFrame, group: str, column: str, n_leads: int
) -> tuple[Array, tuple[int, int]]:
    """(patient, lead) means of a group, and its numbers of records and patients."""
    of_group = part.filter(pl.col("group") == group)
    values = np.array(of_group[column].to_list(), dtype=np.float64).reshape(-1, n_leads)
    means = patient_means(values, of_group["patient_id"].to_list())
    return means, (of_group.height, means.shape[0])


def _comparison_columns(
    found: Comparison, of_case: tuple[int, int], of_control: tuple[int, int]
) -> dict[str, Any]:
    return {
        "mean_case": found.case.mean,
        "mean_case_low": found.case.low,
        "mean_case_high": found.case.high,
        "mean_control": found.control.mean,
        "mean_control_low": found.control.low,
        "mean_control_high": found.control.high,
        "mean_difference": found.difference,
        "mean_difference_low": found.difference_low,
        "mean_difference_high": found.difference_high,
        "n_case_records": of_case[0],
        "n_case_patients": of_case[1],
        "n_control_records": of_control[0],
        "n_control_patients": of_control[1],
        "cliffs_delta": found.cliffs_delta.delta,
        "cliffs_delta_low": found.cliffs_delta.low,
        "cliffs_delta_high": found.cliffs_delta.high,
        "p_value": found.p_value,
    }


def _summary(
    cohort: Cohort,
    model: Model,
    selection: Selection,
    settings: Mapping[str, Any],
    rows: pl.DataFrame,
    run: Mapping[str, Any],
) -> dict[str, Any]:
    records = rows.filter(pl.col("refused").is_null())
    refused = rows["refused"].drop_nulls().to_list()
    rejects = cohort.study / "rejects.parquet"
    trained = records.filter(pl.col("model") == "trained")
    once = trained.unique("record_id")
    return {
        "model": model.card.model.name,
        "classes": list(settings["classes"]),
        "control": settings["control"],
        "settings": dict(settings),
        "counts": {
            "imported": len(cohort),
            "rejected": pl.read_parquet(rejects).height if rejects.is_file() else 0,
            "unlabelled": len(selection.unlabelled),
            "excluded": dict(selection.left_out),
            "refused_by_model": len(refused),
            "used": once.height,
            "patients": once["patient_id"].n_unique(),
            "trained_on": int(once["trained_on"].fill_null(False).sum()),
            "beats_left_out": int(once["n_beats_left_out"].sum()),
        },
        "groups": {
            name: {
                "records": len(group.rows),
                "patients": group.n_patients,
                "held_out": group.held_out,
                "trained_on": group.n_trained_on,
                "available": group.n_available,
                "held_out_available": group.n_held_out_available,
            }
            for name, group in selection.groups.items()
        },
        "refused": refused[:20],
        "completeness_error": {
            network: _quantiles(records.filter(pl.col("model") == network), "completeness_error")
            for network in records["model"].unique(maintain_order=True)
        },
        "steps": {
            network: _quantiles(records.filter(pl.col("model") == network), "steps")
            for network in records["model"].unique(maintain_order=True)
        },
        "units": {"relevance": "logit", "mean_relevance": "logit per sample", "mean_mv": "mV"},
        "identity_note": IDENTITY_NOTE,
        "run": dict(run),
    }


def _quantiles(part: pl.DataFrame, column: str) -> dict[str, float | None]:
    values = part[column].to_numpy().astype(np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return {"median": None, "p90": None, "max": None}
    return {
        "median": float(np.median(values)),
        "p90": float(np.quantile(values, 0.9)),
        "max": float(values.max()),
    }


def _pearson(x: Array, y: Array) -> float:
    if x.size < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def _spearman(x: Array, y: Array) -> float:
    return _pearson(stats.rankdata(x), stats.rankdata(y))
