"""The stages of genotypes: association with its control, loci, and what these do to the ECG."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from leadlight.errors import LeadlightError
from leadlight.study.stage import Stage, card_of, factors_of
from leadlight.study.study_file import (
    PERMUTED,
    ClassifySection,
    GwasSection,
    LociSection,
    StudyFile,
)

if TYPE_CHECKING:
    from leadlight.genetics.variant_filters import VariantFilter


def gwas_stage(file: StudyFile, base: Path, folder: Path) -> Stage | None:
    """The association of all sets of traits and of the control; None where it is not asked for."""
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


def loci_stage(file: StudyFile, base: Path, folder: Path) -> Stage | None:
    """The loci of the study's association, or of named results; None where not asked for."""
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


def effect_stage(file: StudyFile, base: Path, folder: Path) -> Stage | None:
    """Cards of the leading loci; None where they are not asked for."""
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
