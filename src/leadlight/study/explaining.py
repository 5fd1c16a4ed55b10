"""The order of work: import, classify, explain, report, each done once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leadlight.classify.models import DEFAULT_MODEL, Model, load_model
from leadlight.classify.predict import classify_cohort
from leadlight.cohort.importing import import_cohort, is_imported
from leadlight.cohort.labels import NORMAL
from leadlight.errors import LeadlightError
from leadlight.explain.cohort import explain_cohort
from leadlight.progress import say
from leadlight.report.page import write_report


@dataclass(frozen=True)
class ExplainedStudy:
    """Where the page is, and what the stages counted."""

    page: Path
    summary: dict[str, Any]


def explain_study(
    study: Path,
    sources: Sequence[Path] = (),
    *,
    labels: Path | None = None,
    model: str | Path = DEFAULT_MODEL,
    classes: Sequence[str] = ("AF", "LBBB"),
    control: str = NORMAL,
    most_per_group: int | None = None,
    tolerance: float = 0.02,
    memory_mb: int = 256,
    workers: int = 1,
    seed: int = 0,
    overwrite: bool = False,
) -> ExplainedStudy:
    """From recordings to the page: what is there already is used, what is missing is made.

    Args:
        study: the study folder; its cohort is used unless `sources` are given.
        sources: files or folders to import first; needs an empty study folder or `overwrite`.
        labels: table of diagnoses for the import.
        model: name of a shipped model, or the path of a card.
        classes: the diagnoses to explain, each against `control`.
        most_per_group: explain at most so many records of each group, chosen by the seed.
        tolerance: largest relative completeness error aimed at per record and class.
        memory_mb: bound on the memory that attribution takes beside the program itself.
        workers: processes for the import.
        seed: of the random-weights control, permutations and bootstrap.
        overwrite: make every stage again.

    Raises:
        LeadlightError: no cohort and no sources, unknown classes, results of other settings in the
            way, or whatever a stage refuses.
    """
    loaded = load_model(model)
    _refuse_unknown(classes, loaded)
    has_cohort = (study / "records.parquet").exists()
    # The same command given again goes on behind an import that is finished.
    importing = bool(sources) and (overwrite or not is_imported(sources, study))
    if importing:
        say(f"Importing into {study}")
        import_cohort(sources, study, labels=labels, workers=workers, overwrite=overwrite)
    elif not sources and not has_cohort:
        raise LeadlightError(
            f"{study} holds no cohort.", advice="Give files or folders to import before --study."
        )
    probabilities = study / "classify" / loaded.card.model.name / "probabilities.parquet"
    if importing or overwrite or not probabilities.exists():
        classify_cohort(study, loaded, overwrite=True, seed=seed)
    explained = explain_cohort(
        study,
        loaded,
        classes=tuple(classes),
        control=control,
        most_per_group=most_per_group,
        tolerance=tolerance,
        memory_mb=memory_mb,
        seed=seed,
        overwrite=overwrite or importing,
    )
    page = write_report(study, overwrite=True)
    return ExplainedStudy(page, dict(explained.summary))


def _refuse_unknown(classes: Sequence[str], model: Model) -> None:
    known = model.card.output.classes
    unknown = [name for name in classes if name not in known]
    if unknown or not classes:
        raise LeadlightError(
            f"The model {model.card.model.name} does not name {', '.join(unknown) or 'nothing'}.",
            advice=f"It names {', '.join(known)}.",
        )
