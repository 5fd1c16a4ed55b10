"""The association stage from files to files: what `leadlight gwas` calls."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from leadlight.atomic import refuse_overwrite
from leadlight.errors import LeadlightError
from leadlight.genetics.association import GwasSummary, associate
from leadlight.genetics.designs import rank_normal
from leadlight.genetics.genotypes import GenotypeSource, open_genotypes
from leadlight.genetics.traits import Matched, match_people, read_person_table
from leadlight.genetics.variant_filters import VariantFilter

CACHE = "genotypes"


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
    variant_filter: VariantFilter | None = None,
    build: str | None = None,
    precision: str = "auto",
    text: bool = False,
    workers: int | None = None,
    overwrite: bool = False,
    seed: int = 0,
) -> GwasSummary:
    """Read, match, transform, adjust and test; writes `out/<trait>.parquet` and what made them.

    transform: `none` or `rank-normal`. components: so many principal components of the genotypes
    become covariates, and are written to `out/components.parquet`. sex_interaction: also writes
    `out/<trait>.sex.parquet`. Raises LeadlightError on any input that can't be used, before any
    work where it can be known before.
    """
    if transform not in ("none", "rank-normal"):
        raise LeadlightError(f"{transform!r} is no transform.", advice="none or rank-normal.")
    source = open_genotypes(genotypes, cache=out / CACHE, build=build)
    described = read_person_table(phenotypes, traits)
    for name in described.columns:  # before the hours that components and tests may take
        refuse_overwrite(out / f"{name}.parquet", overwrite)
        if sex_interaction:
            refuse_overwrite(out / f"{name}.sex.parquet", overwrite)
    adjusted = None if covariates is None else read_person_table(covariates, categories=True)
    matched = match_people(source.people, described, adjusted)
    if components:
        matched = _with_components(source, matched, components, out, seed, workers)
    if transform == "rank-normal":
        columns = [rank_normal(column) for column in matched.traits.T]
        matched = replace(matched, traits=np.stack(columns, axis=1))
    inputs = [phenotypes] if covariates is None else [phenotypes, covariates]
    parameters = {
        "transform": transform,
        "principal_components": components,
        "sex_interaction": sex_interaction,
        "build": build,
        "seed": seed,
        "people": matched.counts,
    }
    summary = associate(
        source,
        matched,
        out,
        variant_filter=variant_filter,
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
    write_components(out / "components.parquet", source.people, matched.rows, found)
    names = tuple(f"PC{k + 1}" for k in range(components))
    return replace(
        matched,
        covariate_names=(*matched.covariate_names, *names),
        covariates=np.column_stack([matched.covariates, found.scores]),
    )
