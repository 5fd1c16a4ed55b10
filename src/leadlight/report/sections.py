"""What the page says besides its figures: tables and sentences from a study's results."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from leadlight.ecg.leads import LEADS
from leadlight.report.lead_figures import q_text
from leadlight.report.results import Results
from leadlight.report.sentences import delta_text, number, share_text, with_interval

SIMULATED = "simulated"  # the source_format of records that the program made itself

_SCORE_NAMES = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "f1": "F1",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "ppv": "PPV",
}
# The patients that no threshold was chosen on come first.
_SPLIT_ORDER = {"test": 0, "validation": 1, "train": 2, "all": 3}
# Counts of the summary that stand beside the excluded ones.
_NOT_ASKED = {"refused_by_model": "refused by the model's card"}
_CARD_ROWS = (
    ("model", "name", "Name"),
    ("model", "version", "Version"),
    ("model", "description", "What it is"),
    ("model", "architecture", "Architecture"),
    ("model", "licence", "Licence"),
    ("input", "rate_hz", "Rate (Hz)"),
    ("input", "samples", "Samples per lead"),
    ("input", "leads", "Leads, in this order"),
    ("input", "unit_scale", "Input is millivolt times"),
    ("input", "padding", "Zeros are added at"),
    ("input", "highpass_hz", "High-pass (Hz)"),
    ("input", "lowpass_hz", "Low-pass (Hz)"),
    ("output", "classes", "Classes"),
    ("output", "thresholds", "Thresholds (probability)"),
    ("training", "data", "Trained on"),
    ("training", "licence_of_data", "Licence of the training data"),
    ("training", "split", "Split"),
    ("training", "seed", "Seed"),
    ("training", "date", "Date"),
)


def data_section(results: Results) -> dict[str, Any]:
    """Counts of what came in, what was left out and why, and what each group holds."""
    cohort, rejects = results.cohort, results.rejects
    section: dict[str, Any] = {
        "n_imported": len(cohort) if cohort else None,
        "n_patients": cohort.records["patient_id"].n_unique() if cohort else None,
        "n_rejected": rejects.height if rejects is not None else None,
        "rejected": _counted(rejects["reason"].to_list()) if rejects is not None else [],
        "excluded": _excluded(results),
        "labels": _labels(results),
        "groups": _groups(results),
        "simulated": simulated_records(results),
    }
    section["trained_on"] = [group for group in section["groups"] if group["trained_on"]]
    return section


def missing_groups(results: Results) -> list[str]:
    """A sentence for each class or control group that has no records to compare."""
    if results.records is None:
        return []
    there = set(results.records["group"].unique().to_list())
    sentences = [
        f"There is no {name} record among those used, so {name} is not compared with "
        f"{results.control}."
        for name in results.classes
        if name not in there
    ]
    if results.control not in there:
        sentences.append(
            f"There is no {results.control} record among those used, so no class can be compared."
        )
    return sentences


def score_tables(results: Results) -> list[dict[str, Any]]:
    """One table per model and split: the scores of each class with their intervals."""
    tables = []
    for model, scores in results.scores.items():
        splits = scores.get("splits")
        if not isinstance(splits, dict):
            continue
        thresholds = scores.get("thresholds", {})
        for split in sorted(splits, key=lambda name: _SPLIT_ORDER.get(name, 9)):
            classes = splits[split].get("classes", {})
            tables.append(
                {
                    "model": model,
                    "split": split,
                    "n_records": splits[split].get("n_records"),
                    "n_patients": splits[split].get("n_patients"),
                    "names": list(_SCORE_NAMES.values()),
                    "rows": [_score_row(name, row, thresholds) for name, row in classes.items()],
                }
            )
    return tables


def card_rows(results: Results) -> list[tuple[str, str]]:
    """The lines of the model card that a reader of the findings needs."""
    rows = []
    for section, key, name in _CARD_ROWS:
        value = results.card.get(section, {}).get(key)
        if value not in (None, "", [], {}):
            rows.append((name, _plain(value)))
    return rows


def lead_table(leads: pl.DataFrame, class_name: str, measure: str) -> list[dict[str, str]]:
    """One row of text per lead: case, control, effect and q, trained beside random."""
    part = leads.filter((pl.col("class") == class_name) & (pl.col("measure") == measure))
    by_key = {(row["model"], row["lead"]): row for row in part.to_dicts()}
    rows = []
    for lead in LEADS:
        trained, random = by_key.get(("trained", lead)), by_key.get(("random", lead))
        if trained is None:
            continue
        q = trained["q_value"]
        rows.append(
            {
                "lead": lead,
                "case": _measure_text(trained, "case", measure),
                "control": _measure_text(trained, "control", measure),
                "delta": delta_text(trained),
                "q": q_text(q).removeprefix("q = ").removeprefix("q ") if q is not None else "n/a",
                "q_sort": number(q, 6) if q is not None else "9",
                "random_case": _measure_text(random, "case", measure) if random else "n/a",
                "random_control": _measure_text(random, "control", measure) if random else "n/a",
                "random_delta": delta_text(random) if random else "n/a",
            }
        )
    return rows


def provenance_rows(results: Results) -> list[dict[str, str]]:
    """What made each result: file, verb, version, time and parameters."""
    rows = []
    for name, made in (results.provenance | _later_provenance(results.study)).items():
        software = made.get("software", {})
        rows.append(
            {
                "file": name,
                "verb": str(made.get("verb", "")),
                "software": f"{software.get('name', '')} {software.get('version', '')}".strip(),
                "made_at": str(made.get("made_at", "")),
                "parameters": json.dumps(made.get("parameters", {}), ensure_ascii=False, indent=1),
            }
        )
    return rows


def _later_provenance(study: Path) -> dict[str, dict[str, Any]]:
    """File to what made it, of measuring, factors, associations and loci."""
    files = [study / "measure-provenance.json"]
    files += sorted((study / "latent").glob("[!.]*/factors-provenance.json"))
    files += sorted((study / "gwas").glob("[!.]*/provenance.json"))
    files += [study / "loci" / "provenance.json"]
    found = {}
    for file in files:
        try:
            made = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(made, dict):
            found[file.relative_to(study).as_posix()] = made
    return found


def completeness_sentence(results: Results) -> str:
    """How well relevance adds up, from the summary's quantiles; empty where it has none."""
    error = results.summary.get("completeness_error")
    if isinstance(error, dict) and isinstance(error.get("trained"), dict):
        error = error["trained"]
    if not isinstance(error, dict):
        return ""
    told = [
        f"{name} {number(100 * float(error[key]), 2)} %"
        for key, name in (("median", "median"), ("p90", "90th percentile"), ("max", "largest"))
        if isinstance(error.get(key), int | float)
    ]
    if not told:
        return ""
    said = f"Completeness error: {', '.join(told)}."
    if results.records is not None:
        said += _missing_logits(results.records)
    return said


def _missing_logits(records: pl.DataFrame) -> str:
    """The largest error in logits: a share of next to nothing is large, however small it is."""
    trained = records.filter(pl.col("model") == "trained")
    change = pl.col("logit") - pl.col("baseline_logit")
    found = trained.select(
        error=(pl.col("total_relevance") - change).abs(),
        change=change.abs(),
        share=pl.col("completeness_error"),
    ).drop_nulls()
    if not found.height:
        return ""
    worst = found.sort("share", descending=True).row(0, named=True)
    most = float(found["error"].to_numpy().max())
    return (
        f" In logits no record misses more than {number(most, 2)}; the largest "
        f"share is of a logit that lies {number(worst['change'], 2)} from that of the zero input."
    )


def _counted(reasons: list[str]) -> list[tuple[str, int]]:
    return Counter(reasons).most_common()


def _excluded(results: Results) -> list[tuple[str, int]]:
    """Reason to count, from wherever the summary keeps it."""
    for holder in (results.summary, results.summary.get("counts", {})):
        if not isinstance(holder, dict):
            continue
        for key in ("excluded", "excluded_by_flag", "excluded_by_reason"):
            found = holder.get(key)
            if isinstance(found, Mapping):
                counts = {str(k): v for k, v in found.items() if isinstance(v, int) and v}
                for name, reason in _NOT_ASKED.items():
                    if isinstance(more := holder.get(name), int) and more:
                        counts[reason] = more
                return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return []


def _labels(results: Results) -> list[tuple[str, int, int]]:
    if results.cohort is None:
        return []
    labelled = (
        results.cohort.records.select("patient_id", "labels").explode("labels").drop_nulls("labels")
    )
    table = (
        labelled.group_by("labels")
        .agg(pl.len().alias("records"), pl.col("patient_id").n_unique().alias("patients"))
        .sort("records", descending=True)
    )
    return [tuple(row) for row in table.iter_rows()]


def _groups(results: Results) -> list[dict[str, Any]]:
    if results.records is None:
        return []
    once = results.records.unique(["group", "record_id"], maintain_order=True)
    table = once.group_by("group", maintain_order=True).agg(
        pl.len().alias("records"),
        pl.col("patient_id").n_unique().alias("patients"),
        pl.col("trained_on").fill_null(False).sum().alias("trained_on"),
        pl.col("trained_on").null_count().alias("unknown"),
    )
    order = {name: place for place, name in enumerate((*results.classes, results.control))}
    return sorted(table.to_dicts(), key=lambda row: order.get(row["group"], 99))


def simulated_records(results: Results) -> int:
    """How many of the imported records this program made itself."""
    if results.cohort is None:
        return 0
    return int((results.cohort.records["source_format"] == SIMULATED).sum())


def _score_row(name: str, row: dict[str, Any], thresholds: Any) -> dict[str, Any]:
    chosen = thresholds.get(name, {}) if isinstance(thresholds, dict) else {}
    threshold = number(row.get("threshold"), 3)
    source = {"validation": "chosen on validation", "card": "the card's"}.get(
        str(chosen.get("source")), ""
    )
    return {
        "class": name,
        "positives": f"{row.get('n_positive_records', 'n/a')} "
        f"({row.get('n_positive_patients', 'n/a')} patients)",
        "threshold": f"{threshold} ({source})" if source else threshold,
        "figures": [_score_text(row.get(key)) for key in _SCORE_NAMES],
    }


def _score_text(score: Any) -> str:
    if not isinstance(score, dict):
        return "n/a"
    return with_interval(score.get("value"), score.get("low"), score.get("high"), decimals=3)


def _measure_text(row: Mapping[str, Any], kind: str, measure: str) -> str:
    if measure == "absolute_share":
        return share_text(row, kind)
    name = f"mean_{kind}"
    return with_interval(row[name], row[f"{name}_low"], row[f"{name}_high"])


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in value)
    return number(value, 6) if isinstance(value, float) else str(value)
