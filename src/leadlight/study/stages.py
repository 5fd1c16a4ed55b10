"""The stages of a study: what each reads, what it writes, what it follows, and how it runs.

A stage calls what its verb calls; nothing is worked out here but which tables go in.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leadlight.errors import LeadlightError
from leadlight.study.study_file import (
    PERMUTED,
    ClassifySection,
    GwasSection,
    LociSection,
    StudyFile,
)

if TYPE_CHECKING:
    from leadlight.genetics.variant_filters import VariantFilter


@dataclass(frozen=True)
class Stage:
    """One step of a study.

    Attributes:
        name: of the section in the study file, and of the verb.
        parameters: what its section says; a stage is done again when they change.
        inputs: files and folders of the user's that it reads.
        outputs: what is there when it is done.
        after: stages that it follows, where they are part of the study.
        run: does the work: whether to replace results that are there, and when this run of the
            stage was begun (seconds since the epoch), which is before now where it was cut off.
        needs: result of an earlier stage without which it cannot run, and the stage's name.
        estimate: seconds for so many records when it was never done here; measured on one core.
    """

    name: str
    parameters: Mapping[str, Any]
    inputs: tuple[Path, ...]
    outputs: tuple[Path, ...]
    after: tuple[str, ...]
    run: Callable[[bool, float], None]
    estimate: Callable[[int], float]
    needs: tuple[tuple[Path, str], ...] = ()


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
        _gwas(file, base, folder),
        _loci(file, base, folder),
        _effect(file, base, folder),
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


def card_of(base: Path, model: str) -> str | Path:
    """A shipped model's name as it is; a card's path from the study file's folder."""
    beside = base / model
    return beside if beside.exists() else model


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


def factors_of(file: StudyFile, base: Path, folder: Path) -> Path:
    """Where the study's factors are, or will be."""
    from leadlight.latent.card import read_card

    model = "leadlight-factors" if file.latent is None else file.latent.model
    card = card_of(base, model)
    name = read_card(card).model.name if isinstance(card, Path) else model
    return folder / "latent" / name / "factors.parquet"


def _gwas(file: StudyFile, base: Path, folder: Path) -> Stage | None:
    section = file.gwas
    if section is None:
        return None
    genotypes = [base / path for path in section.genotypes]
    given = [base / path for path in (section.covariates, section.background_variants) if path]
    tables = {
        "factors": (factors_of(file, base, folder), "latent"),
        "measurements": (folder / "measurements.parquet", "measure"),
    }

    def run(overwrite: bool, begun: float) -> None:
        for label in section.sets():
            associate_set(file, base, folder, label, begun=begun, overwrite=overwrite)

    return Stage(
        "gwas", section.model_dump() | {"seed": file.study.seed},
        (*_files_of(genotypes), *given),
        tuple(folder / "gwas" / label / "summary.json" for label in section.sets()),
        ("import", "measure", "latent"), run,
        lambda _: len(section.sets()) * (8 + 0.02 * _megabytes(genotypes)),
        tuple(tables[label] for label in section.traits),
    )  # fmt: skip


def _files_of(genotypes: list[Path]) -> list[Path]:
    """The files that genotype prefixes stand for; a path that is there stands for itself."""
    found: list[Path] = []
    for path in genotypes:
        beside = sorted(path.parent.iterdir()) if path.parent.is_dir() else []
        named = [one for one in beside if one.name.startswith(f"{path.name}.")]
        found += [path] if path.exists() else named or [path]
    return found


def _megabytes(genotypes: list[Path]) -> float:
    return sum(p.stat().st_size for p in _files_of(genotypes) if p.is_file()) / 1e6


def associate_set(
    file: StudyFile, base: Path, folder: Path, label: str, *, begun: float, overwrite: bool
) -> None:
    """The association of one set of traits, in `gwas/<label>/`.

    begun: an association that was finished after it (seconds since the epoch) is only drawn: the
    run was cut off after it.
    """
    from leadlight.genetics.stage import run_gwas
    from leadlight.report.association_figures import draw_association

    assert file.gwas is not None
    out = folder / "gwas" / label
    traits = write_traits(file, base, folder, label)
    summary = out / "summary.json"
    if not (summary.exists() and summary.stat().st_mtime >= begun):
        run_gwas(
            [base / path for path in file.gwas.genotypes], phenotypes_of(folder, label), out,
            **association_settings(file, base, folder, label), joint=file.gwas.joint,
            variant_filter=variant_filter(file.gwas), traits=traits,
            workers=file.study.workers, overwrite=overwrite,
        )  # fmt: skip
    if file.gwas.figures:
        draw_association(out, traits, joint=file.gwas.joint)


def write_traits(file: StudyFile, base: Path, folder: Path, label: str) -> list[str]:
    """Write the table that the association of a set of traits reads; the traits.

    For the control also the covariates, whose people are dealt anew with their traits.
    """
    from leadlight.study.people import permute_people, write_person_table

    section = file.gwas
    assert section is not None
    source = section.traits[0] if label == PERMUTED else label
    measured = source == "measurements"
    table = phenotypes_of(folder, label)
    traits = write_person_table(
        folder,
        folder / "measurements.parquet" if measured else factors_of(file, base, folder),
        table,
        people=section.people,
        columns=section.measurements if measured else None,
    )
    if label == PERMUTED:
        covariates = None if section.covariates is None else base / section.covariates
        permute_people(table, covariates, _permuted_covariates(folder), seed=file.study.seed)
    return traits


def association_settings(file: StudyFile, base: Path, folder: Path, label: str) -> dict[str, Any]:
    """What decides the people, traits and models of an association, as `run_gwas` takes it."""
    section = file.gwas
    assert section is not None
    chosen = section.background_variants
    covariates = None if section.covariates is None else base / section.covariates
    if covariates is not None and label == PERMUTED:
        covariates = _permuted_covariates(folder)
    return {
        "covariates": covariates,
        "transform": section.transform,
        "components": section.pcs,
        "whole_genome": section.background,
        "whole_genome_variants": None if chosen is None else base / chosen,
        "build": section.build,
        "seed": file.study.seed,
    }


def _permuted_covariates(folder: Path) -> Path:
    return folder / "gwas" / f"{PERMUTED}-covariates.parquet"


def variant_filter(section: GwasSection) -> "VariantFilter":
    """The limits that variants must keep."""
    from leadlight.genetics.variant_filters import VariantFilter

    return VariantFilter(
        section.min_maf, section.min_mac, section.max_missing, section.min_info, section.min_hwe_p
    )


def phenotypes_of(folder: Path, label: str) -> Path:
    """The table of a set of traits, one row per person, that the association reads."""
    return folder / "gwas" / f"{label}-phenotypes.parquet"


def _loci(file: StudyFile, base: Path, folder: Path) -> Stage | None:
    section = file.loci
    if section is None:
        return None
    gwas = file.gwas
    if not section.results and gwas is None:
        raise LeadlightError(
            "[loci] has no results to look at.",
            advice="Name some (results = [...]), or add a section [gwas].",
        )
    inputs = [base / text.rpartition("=")[2] for text in section.results]
    inputs += _files_of([base / path for path in section.genotypes])
    linkage = [base / path for path in section.genotypes or (gwas.genotypes if gwas else ())]
    if section.genes is not None:
        inputs.append(base / section.genes)

    def run(overwrite: bool, begun: float) -> None:
        find_loci_of(section, gwas, base, folder, file.study.workers, overwrite)

    needs = () if section.results else ((folder / "gwas", "gwas"),)
    return Stage(
        "loci", section.model_dump(), tuple(inputs), (folder / "loci" / "loci.parquet",),
        ("gwas",), run, lambda _: 12 + 0.02 * _megabytes(linkage), needs,
    )  # fmt: skip


def find_loci_of(
    section: LociSection,
    gwas: GwasSection | None,
    base: Path,
    folder: Path,
    workers: int,
    overwrite: bool,
) -> None:
    """The loci of the study's own association, or of the results that are named."""
    from leadlight.genetics.loci_stage import find_loci

    results = []
    for text in section.results:
        label, equals, path = text.rpartition("=")
        results.append(f"{label}{equals}{base / path}")
    genotypes = [base / path for path in section.genotypes]
    phenotypes: list[str] = []
    covariates = None
    if not section.results and gwas is not None:
        results = [f"{label}={folder / 'gwas' / label}" for label in gwas.traits]
        genotypes = genotypes or [base / path for path in gwas.genotypes]
        phenotypes = [f"{label}={phenotypes_of(folder, label)}" for label in gwas.traits]
        covariates = None if gwas.covariates is None else base / gwas.covariates
    find_loci(
        results, folder / "loci", genotypes=genotypes, phenotypes=phenotypes,
        covariates=covariates, genes=None if section.genes is None else base / section.genes,
        build=section.build, workers=workers, overwrite=overwrite,
    )  # fmt: skip


def _effect(file: StudyFile, base: Path, folder: Path) -> Stage | None:
    section, gwas = file.effect, file.gwas
    if section is None:
        return None
    if gwas is None or "factors" not in gwas.traits:
        raise LeadlightError(
            "[effect] needs the association of the factors.",
            advice='Add [gwas] with traits = ["factors", ...].',
        )
    genes = section.genes or (file.loci.genes if file.loci is not None else None)

    def run(overwrite: bool, begun: float) -> None:
        from leadlight.genetics.effect.stage import Files
        from leadlight.study.effect_cards import write_leading_cards

        files = Files(
            gwas=folder / "gwas" / "factors", study=folder,
            genotypes=tuple(base / path for path in gwas.genotypes),
            covariates=None if gwas.covariates is None else base / gwas.covariates,
            loci=folder / "loci", genes=None if genes is None else base / genes,
        )  # fmt: skip
        write_leading_cards(
            files, folder / "effects", most=section.most, overwrite=overwrite, begun=begun,
            model=None if file.latent is None else str(card_of(base, file.latent.model)),
            classifier=str(card_of(base, (file.classify or ClassifySection()).model)),
            seed=file.study.seed,
        )  # fmt: skip

    return Stage(
        "effect", section.model_dump() | {"seed": file.study.seed},
        () if genes is None else (base / genes,), (folder / "effects" / "cards.parquet",),
        ("measure", "classify", "latent", "gwas", "loci"), run, lambda _: 4 + 6 * section.most,
        ((folder / "loci" / "loci.parquet", "loci"), (folder / "gwas" / "factors", "gwas")),
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
