"""The association stage from files to files: what `leadlight gwas` calls."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from leadlight.atomic import refuse_overwrite
from leadlight.errors import LeadlightError
from leadlight.genetics.association import associate
from leadlight.genetics.association_people import with_written_components
from leadlight.genetics.designs import rank_normal, with_usable_traits
from leadlight.genetics.genotypes import GenotypeSource, open_genotypes
from leadlight.genetics.gwas_summary import GwasSummary
from leadlight.genetics.results import PARTIAL
from leadlight.genetics.traits import Matched, as_cases, match_people, read_person_table
from leadlight.genetics.variant_filters import VariantFilter
from leadlight.locking import one_at_a_time

if TYPE_CHECKING:
    from leadlight.genetics.background_stage import Background

CACHE = "genotypes"
COMPONENTS = "components.parquet"
LOCK = ".gwas.lock"


@one_at_a_time("out", LOCK, "associating into")
def run_gwas(
    genotypes: Path | Sequence[Path],
    phenotypes: Path,
    out: Path,
    *,
    covariates: Path | None = None,
    traits: Sequence[str] | None = None,
    transform: str = "none",
    components: int = 0,
    sex_interaction: bool = False,
    joint: bool = False,
    binary: bool = False,
    whole_genome: bool = False,
    whole_genome_variants: Path | None = None,
    variant_filter: VariantFilter | None = None,
    build: str | None = None,
    precision: str = "auto",
    text: bool = False,
    workers: int | None = None,
    overwrite: bool = False,
    seed: int = 0,
    prepared: Path | None = None,
    cache: Path | None = None,
) -> GwasSummary:
    """Read, match, transform, adjust and test; writes `out/<trait>.parquet` and what made them.

    transform: `none` or `rank-normal`. components: so many principal components of the genotypes
    become covariates, and are written to `out/components.parquet`. sex_interaction: also writes
    `out/<trait>.sex.parquet`. joint: also writes `out/joint.parquet`. whole_genome: the traits'
    whole-genome regression goes first (with the ids in the text file `whole_genome_variants`, or
    with pruned variants), and its predictions stay in `out/whole_genome.zarr`. binary: traits are
    cases and controls, 1 and 0 or 2 and 1 (`binary_stage`). prepared: a folder of `prepare_gwas`
    with the same settings and tables, whose components, predictions and precision are taken, so
    that some of its genotypes can be tested alone. cache: for genotypes of other formats; in `out`
    where None. Raises LeadlightError on any input that can't be used, before any work where it can
    be known before.
    """
    if transform not in ("none", "rank-normal"):
        raise LeadlightError(f"{transform!r} is no transform.", advice="none or rank-normal.")
    if binary and (joint or sex_interaction or transform != "none"):
        raise LeadlightError(
            "Binary traits have no transform, no joint tests and no interaction with sex here.",
            advice="Leave those options out, or give quantitative traits.",
        )
    if whole_genome and sex_interaction:
        raise LeadlightError(
            "The interaction with sex does not take the whole-genome background away.",
            advice="Run it without.",
        )
    source = open_genotypes(genotypes, cache=cache or out / CACHE, build=build)
    described = read_person_table(phenotypes, traits)
    killed = (out / PARTIAL).is_dir()  # the association knows whether it was this run
    for name in described.columns:  # before the hours that components and tests may take
        refuse_overwrite(out / f"{name}.parquet", overwrite or killed)
        if sex_interaction:
            refuse_overwrite(out / f"{name}.sex.parquet", overwrite)
    adjusted = None if covariates is None else read_person_table(covariates, categories=True)
    matched = match_people(source.people, described, adjusted)
    if binary:
        matched = replace(matched, traits=as_cases(matched.trait_names, matched.traits))
    if components and prepared is not None:
        matched = with_written_components(source, matched, prepared / COMPONENTS, components)
    elif components:
        matched = _with_components(source, matched, components, out, seed, workers)
    matched = transformed(matched, transform)
    inputs = [phenotypes] if covariates is None else [phenotypes, covariates]
    background = None
    if whole_genome:
        matched = with_usable_traits(matched)
        if whole_genome_variants is not None:
            inputs.append(whole_genome_variants)
    if prepared is not None:
        from leadlight.genetics.prepared_parts import prepared_of

        background, precision = prepared_of(prepared, source, matched, whole_genome)
    elif whole_genome:
        background = _background(
            source, matched, out, binary, whole_genome_variants, workers, overwrite, seed
        )
    parameters = {
        "transform": transform,
        "principal_components": components,
        "sex_interaction": sex_interaction,
        "joint": joint,
        "binary": binary,
        "whole_genome": whole_genome,
        "build": build,
        "seed": seed,
        "people": matched.counts,
    }
    if binary:
        from leadlight.genetics.binary_stage import associate_cases

        return associate_cases(
            source,
            matched,
            out,
            variant_filter=variant_filter,
            background=background,
            text=text,
            workers=workers,
            overwrite=overwrite,
            parameters=parameters,
            inputs=inputs,
        )
    summary = associate(
        source,
        matched,
        out,
        variant_filter=variant_filter,
        background=background,
        joint=joint,
        precision=precision,
        text=text,
        workers=workers,
        overwrite=overwrite,
        parameters=parameters,
        inputs=inputs,
    )
    if sex_interaction:
        from leadlight.genetics.sex_interaction import associate_with_sex

        associate_with_sex(
            source,
            matched,
            out,
            variant_filter=variant_filter,
            workers=workers,
            overwrite=overwrite,
        )
    return summary


def prepare_gwas(
    genotypes: Path | Sequence[Path],
    phenotypes: Path,
    out: Path,
    *,
    covariates: Path | None = None,
    traits: Sequence[str] | None = None,
    transform: str = "none",
    components: int = 0,
    binary: bool = False,
    whole_genome: bool = False,
    whole_genome_variants: Path | None = None,
    build: str | None = None,
    precision: str = "auto",
    workers: int | None = None,
    overwrite: bool = False,
    seed: int = 0,
    cache: Path | None = None,
) -> None:
    """Do what an association does of all genotypes together, before any is tested.

    Writes `out/components.parquet` and `out/whole_genome.zarr` where they are asked for, and
    `out/prepared.json`. `run_gwas` of a part of the genotypes then takes them (`prepared=out`),
    with the same settings and tables; `join_gwas` makes one result of the parts. Arguments: see
    `run_gwas`.
    """
    from leadlight.genetics.association import precision_of
    from leadlight.genetics.prepared_parts import write_prepared

    source = open_genotypes(genotypes, cache=cache or out / CACHE, build=build)
    described = read_person_table(phenotypes, traits)
    adjusted = None if covariates is None else read_person_table(covariates, categories=True)
    matched = match_people(source.people, described, adjusted)
    if binary:
        matched = replace(matched, traits=as_cases(matched.trait_names, matched.traits))
    if components:
        matched = _with_components(source, matched, components, out, seed, workers)
    matched = with_usable_traits(transformed(matched, transform))
    background = None
    if whole_genome:
        background = _background(
            source, matched, out, binary, whole_genome_variants, workers, overwrite, seed
        )
    if not binary:
        precision = precision_of(source, matched, precision, by_chromosome=whole_genome)
    write_prepared(out, source, matched, precision, background)


def _background(
    source: GenotypeSource,
    matched: Matched,
    out: Path,
    binary: bool,
    variants: Path | None,
    workers: int | None,
    overwrite: bool,
    seed: int,
) -> "Background":
    from leadlight.genetics.background_stage import background_of

    chosen = None if variants is None else _ids_in(variants)
    return background_of(
        source, matched, out, binary=binary, variants=chosen, workers=workers,
        overwrite=overwrite, seed=seed,
    )  # fmt: skip


def transformed(matched: Matched, transform: str) -> Matched:
    """The traits as `transform` says, `none` or `rank-normal`."""
    if transform != "rank-normal":
        return matched
    columns = [rank_normal(column) for column in matched.traits.T]
    return replace(matched, traits=np.stack(columns, axis=1))


def _ids_in(path: Path) -> list[str]:
    """The first word of every line, as in a `.prune.in` of PLINK."""
    if not path.is_file():
        raise LeadlightError(f"{path} does not exist.", advice="Give a file with an id per line.")
    return [words[0] for line in path.read_text().splitlines() if (words := line.split())]


def _with_components(
    source: GenotypeSource,
    matched: Matched,
    components: int,
    out: Path,
    seed: int,
    workers: int | None,
) -> Matched:
    from leadlight.genetics.principal_components import (
        principal_components,
        write_components,
    )

    found = principal_components(source, matched.rows, components, seed=seed, workers=workers)
    write_components(out / COMPONENTS, source.people, matched.rows, found)
    names = tuple(f"PC{k + 1}" for k in range(components))
    return replace(
        matched,
        covariate_names=(*matched.covariate_names, *names),
        covariates=np.column_stack([matched.covariates, found.scores]),
    )
