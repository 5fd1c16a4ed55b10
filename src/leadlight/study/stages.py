"""The stages of a study in their order, and those of its recordings.

A stage calls what its verb calls; nothing is worked out here but which tables go in.
"""

from pathlib import Path
from typing import Any

from leadlight.errors import LeadlightError
from leadlight.study.genetic_stages import effect_stage, gwas_stage, loci_stage
from leadlight.study.stage import Stage, card_of, factors_of
from leadlight.study.study_file import ClassifySection, StudyFile


def stages_of(file: StudyFile, base: Path) -> list[Stage]:
    """The stages that a study file asks for, in their order.

    Args:
        file: the study file.
        base: the folder that its paths are relative to.

    Raises:
        LeadlightError: a stage needs results of one that is not asked for and were never made.
    """
    folder = base / file.study.folder
    made = [
        _import(file, base, folder),
        _measure(file, folder),
        _classify(file, base, folder),
        _explain(file, base, folder),
        _latent(file, base, folder),
        gwas_stage(file, base, folder),
        loci_stage(file, base, folder),
        effect_stage(file, base, folder),
        _report(file, folder),
    ]
    stages = [stage for stage in made if stage is not None]
    asked = {stage.name for stage in stages}
    if not stages:
        raise LeadlightError(
            "The study file asks for nothing.",
            advice="Give it a section, such as [import], [measure] or [gwas].",
        )
    for stage in stages:
        for path, maker in stage.needs:
            if maker not in asked and not path.exists():
                raise LeadlightError(
                    f"[{stage.name}] needs {path.name}, which [{maker}] makes.",
                    advice=f"Add a section [{maker}] to the study file.",
                )
    return stages


def _import(file: StudyFile, base: Path, folder: Path) -> Stage | None:
    section = file.import_
    if section is None:
        return None
    sources = tuple(base / source for source in section.sources)
    labels = None if section.labels is None else base / section.labels

    def run(overwrite: bool, begun: float) -> None:
        from leadlight.cohort.importing import import_cohort

        import_cohort(
            sources, folder, labels=labels, workers=file.study.workers, overwrite=overwrite,
            shard=section.shard,
        )  # fmt: skip

    return Stage(
        "import", section.model_dump(), (*sources, *([labels] if labels else [])),
        (folder / "records.parquet", folder / "cohort.zarr"), (), run,
        lambda records: 2 + 0.012 * records,
    )  # fmt: skip


def _cohort_needed(folder: Path) -> tuple[tuple[Path, str], ...]:
    return ((folder / "records.parquet", "import"),)


def _measure(file: StudyFile, folder: Path) -> Stage | None:
    section = file.measure
    if section is None:
        return None

    def run(overwrite: bool, begun: float) -> None:
        from leadlight.cohort.measuring import measure_cohort

        measure_cohort(
            folder, medians=section.medians, workers=file.study.workers, overwrite=overwrite
        )

    return Stage(
        "measure", section.model_dump(), (),
        (folder / "measurements.parquet", folder / "beats.zarr"), ("import",), run,
        lambda records: 3 + 0.03 * records / file.study.workers, _cohort_needed(folder),
    )  # fmt: skip


def _card_input(base: Path, model: str) -> tuple[Path, ...]:
    card = card_of(base, model)
    return (card,) if isinstance(card, Path) else ()


def _classify(file: StudyFile, base: Path, folder: Path) -> Stage | None:
    section = file.classify
    if section is None:
        return None

    def run(overwrite: bool, begun: float) -> None:
        from leadlight.classify.models import load_model
        from leadlight.classify.predict import classify_cohort

        model = load_model(card_of(base, section.model))
        # The scores of a part are of no use; those of the whole are made when it is joined.
        shard = file.import_ is not None and file.import_.shard
        classify_cohort(
            folder, model, overwrite=overwrite, seed=file.study.seed,
            n_bootstrap=0 if shard else 1000,
        )  # fmt: skip

    return Stage(
        "classify", section.model_dump() | {"seed": file.study.seed},
        _card_input(base, section.model), (folder / "classify",), ("import",), run,
        lambda records: 3 + 0.012 * records, _cohort_needed(folder),
    )  # fmt: skip


def _explain(file: StudyFile, base: Path, folder: Path) -> Stage | None:
    section = file.explain
    if section is None:
        return None
    model = (file.classify or ClassifySection()).model
    groups = len(section.classes) + 1

    def explained(records: int) -> float:
        most = records if section.most_per_group is None else groups * section.most_per_group
        return 5 + 0.5 * min(records, most)

    def run(overwrite: bool, begun: float) -> None:
        from leadlight.classify.models import load_model
        from leadlight.explain.cohort import explain_cohort

        explain_cohort(
            folder, load_model(card_of(base, model)), **explain_settings(file),
            memory_mb=section.memory_mb, overwrite=overwrite,
        )  # fmt: skip

    return Stage(
        "explain", section.model_dump() | {"seed": file.study.seed, "model": model},
        _card_input(base, model), (folder / "findings", folder / "relevance.zarr"),
        ("import", "classify"), run, explained, ((folder / "classify", "classify"),),
    )  # fmt: skip


def explain_settings(file: StudyFile) -> dict[str, Any]:
    """What decides the numbers of an explanation, as `explain_cohort` takes it."""
    section = file.explain
    assert section is not None
    return {
        "classes": tuple(section.classes),
        "control": section.control,
        "most_per_group": section.most_per_group,
        "tolerance": section.tolerance,
        "seed": file.study.seed,
    }


def _latent(file: StudyFile, base: Path, folder: Path) -> Stage | None:
    section = file.latent
    if section is None:
        return None

    def run(overwrite: bool, begun: float) -> None:
        from leadlight.latent.encoding import encode_study
        from leadlight.latent.model import load_latent_model

        encode_study(folder, load_latent_model(card_of(base, section.model)), overwrite=overwrite)

    return Stage(
        "latent", section.model_dump(), _card_input(base, section.model),
        (factors_of(file, base, folder),), ("measure",), run,
        lambda records: 3 + 0.0002 * records, ((folder / "beats.zarr", "measure"),),
    )  # fmt: skip


def _report(file: StudyFile, folder: Path) -> Stage | None:
    if file.report is None:
        return None

    def run(overwrite: bool, begun: float) -> None:
        from leadlight.study.reporting import report_study

        report_study(folder, overwrite=overwrite)

    return Stage(
        "report", {}, (), (folder / "report" / "index.html",),
        ("import", "measure", "classify", "explain", "latent", "gwas", "loci", "effect"),
        run, lambda _: 25, _cohort_needed(folder),
    )  # fmt: skip
