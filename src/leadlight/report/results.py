"""What a study folder holds, read for the report: tables and arrays, whichever are there."""

import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import xarray as xr

import leadlight
from leadlight.cohort.store import Cohort, open_cohort
from leadlight.errors import LeadlightError

CONTROL = "NORM"
# The two diagnoses of the first paper, which a report speaks of even where a study has none.
PAPER_CLASSES = ("AF", "LBBB")

_COLUMNS = {
    "records": (
        "record_id", "patient_id", "split", "trained_on", "group", "class", "model", "logit",
        "probability", "baseline_logit", "total_relevance", "mean_relevance",
        "completeness_error", "outcome",
    ),
    "leads": (
        "class", "model", "lead", "measure", "mean_case", "mean_case_low", "mean_case_high",
        "mean_control", "mean_control_low", "mean_control_high", "n_case_records",
        "n_case_patients", "n_control_records", "n_control_patients", "cliffs_delta",
        "cliffs_delta_low", "cliffs_delta_high", "q_value",
    ),
    "beats": (
        "class", "group", "model", "lead", "time_ms", "mean_mv", "mv_low", "mv_high",
        "mean_relevance", "relevance_low", "relevance_high", "n_beats", "n_records", "n_patients",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Results:
    """All results of a study that the report can show; None or empty where there are none.

    Attributes:
        study: the study folder.
        cohort: records and their signals.
        rejects: `rejects.parquet` (source, reason, advice).
        records, leads, beats: the tables of `findings/`.
        summary: `findings/summary.json`.
        relevance: `relevance.zarr`, opened lazily.
        scores: model name to its `scores.json`.
        predicted: model name to the number of records that have a prediction.
        card: the explained (else the first) model's card as plain tables.
        provenance: folder or file name to what made it.
    """

    study: Path
    cohort: Cohort | None = None
    rejects: pl.DataFrame | None = None
    records: pl.DataFrame | None = None
    leads: pl.DataFrame | None = None
    beats: pl.DataFrame | None = None
    summary: dict[str, Any] = field(default_factory=dict)
    relevance: xr.Dataset | None = None
    scores: dict[str, dict[str, Any]] = field(default_factory=dict)
    predicted: dict[str, int] = field(default_factory=dict)
    card: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def control(self) -> str:
        """The group that cases are compared with."""
        said = _find(self.summary, "control")
        return said if isinstance(said, str) and said else CONTROL

    @property
    def classes(self) -> tuple[str, ...]:
        """The explained classes, in the order asked for; the paper's two where none were."""
        asked = _find(self.summary, "classes")
        names = [str(name) for name in asked] if isinstance(asked, list | tuple) else []
        if self.records is not None:
            there = self.records["class"].unique(maintain_order=True).to_list()
            names += [name for name in there if name not in names]
        return tuple(names or PAPER_CLASSES)

    @property
    def model_name(self) -> str:
        """The explained model's name, or the classifier's where nothing was explained."""
        said = _find(self.summary, "model")
        if isinstance(said, str) and said:
            return said
        if self.relevance is not None:
            for key in ("model", "card"):
                if isinstance(self.relevance.attrs.get(key), str):
                    return str(self.relevance.attrs[key])
        return next(iter(self.predicted or self.scores), "")


def read_results(study: Path) -> Results:
    """Read what `import`, `classify` and `explain` left in a study folder.

    Raises:
        LeadlightError: the folder holds neither a cohort nor findings, or a table of findings lacks
            columns or cannot be read.
    """
    findings = study / "findings"
    has_cohort = (study / "records.parquet").is_file() and (study / "cohort.zarr").is_dir()
    if not has_cohort and not (findings / "records.parquet").is_file():
        raise LeadlightError(
            f"{study} holds neither a cohort nor findings, so there is nothing to report.",
            advice=f"Import recordings first: leadlight import FILES... --study {study}",
        )
    tables = {name: read_table(findings / f"{name}.parquet", _COLUMNS[name]) for name in _COLUMNS}
    rejects = study / "rejects.parquet"
    relevance = study / "relevance.zarr"
    # A dot leads the name of what a killed run was writing.
    folders = sorted(p for p in (study / "classify").glob("[!.]*") if p.is_dir())
    results = Results(
        study=study,
        cohort=open_cohort(study) if has_cohort else None,
        rejects=read_table(rejects, ("source", "reason")),
        records=tables["records"],
        leads=tables["leads"],
        beats=tables["beats"],
        summary=_json(findings / "summary.json"),
        relevance=_open_relevance(relevance) if relevance.is_dir() else None,
        scores={f.name: _json(f / "scores.json") for f in folders if (f / "scores.json").is_file()},
        predicted={
            f.name: pl.scan_parquet(f / "probabilities.parquet").select(pl.len()).collect().item()
            for f in folders
            if (f / "probabilities.parquet").is_file()
        },
        provenance=_provenance(study),
    )
    results.card.update(_card(study, results.model_name))
    return results


def read_table(path: Path, columns: Sequence[str]) -> pl.DataFrame | None:
    """A table of a study, None where it is not there.

    Raises:
        LeadlightError: it cannot be read, or lacks one of `columns`.
    """
    if not path.is_file():
        return None
    try:
        table = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise LeadlightError(
            f"{path} cannot be read: {error}", advice="Make it again with --overwrite."
        ) from error
    if absent := [name for name in columns if name not in table.columns]:
        raise LeadlightError(
            f"{path} lacks the columns {', '.join(absent)}.",
            advice="It is of another version: make it again with --overwrite.",
        )
    return table


def facts_of(path: Path) -> dict[str, Any]:
    """A JSON table that a page can do without; empty where there is none or it cannot be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def first_card(paths: Sequence[Path]) -> dict[str, Any]:
    """The first of some cards that is there and can be read, as plain tables; else empty."""
    for path in paths:
        if path.is_file():
            try:
                return tomllib.loads(path.read_text(encoding="utf-8"))
            except (tomllib.TOMLDecodeError, UnicodeDecodeError):
                continue
    return {}


def _open_relevance(path: Path) -> xr.Dataset:
    try:
        dataset: xr.Dataset = xr.open_zarr(path, consolidated=False, chunks=None)
        return dataset
    except (ValueError, KeyError, OSError) as error:
        raise LeadlightError(
            f"{path} cannot be opened: {error}",
            advice="Run leadlight explain with --overwrite.",
        ) from error


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise LeadlightError(
            f"{path} is no JSON: {error}.", advice="Make it again with --overwrite."
        ) from error
    return value if isinstance(value, dict) else {}


def _provenance(study: Path) -> dict[str, dict[str, Any]]:
    files = [study / "cohort-provenance.json", study / "provenance.json"]
    files += sorted((study / "classify").glob("[!.]*/provenance.json"))
    files += [study / "findings" / "provenance.json"]
    return {file.relative_to(study).as_posix(): _json(file) for file in files if file.is_file()}


def _card(study: Path, model: str) -> dict[str, Any]:
    """The model's card: as the study keeps it, else as it ships with the program."""
    if not model or "/" in model or "\\" in model or model.startswith("."):
        return {}
    shipped = Path(leadlight.__file__).parent / "classify" / "shipped"
    return first_card(
        [
            study / "findings" / "card.toml",
            study / "classify" / model / "card.toml",
            shipped / model / "card.toml",
        ]
    )


def _find(summary: dict[str, Any], key: str) -> Any:
    """A key of the summary, or of its settings."""
    if key in summary:
        return summary[key]
    settings = summary.get("settings")
    return settings.get(key) if isinstance(settings, dict) else None
