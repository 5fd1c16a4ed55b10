"""`leadlight heritability`: how much of a trait the genome explains, and what traits share."""

from pathlib import Path
from typing import Annotated

import typer

from leadlight.cli.options import Json, Overwrite, Quiet, print_summary
from leadlight.progress import say, set_quiet


def heritability(
    summary_statistics: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE…",
            help="Summary statistics, a file per trait, or folders of `leadlight gwas`.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", help="Folder of results.", show_default=False),
    ],
    scores: Annotated[
        Path | None,
        typer.Option(
            "--ld-scores",
            metavar="PREFIX",
            help="LD scores (.l2.ldscore.gz): a file, a folder, a prefix, @ for the chromosome.",
        ),
    ] = None,
    weight_scores: Annotated[
        Path | None,
        typer.Option(
            "--weight-scores",
            metavar="PREFIX",
            help="LD scores over the variants of the regression, for its weights. Default: the "
            "same as --ld-scores.",
        ),
    ] = None,
    genotypes: Annotated[
        list[Path] | None,
        typer.Option(
            "--genotypes",
            metavar="PREFIX",
            help="Work the LD scores out from these; also for the Haseman–Elston check.",
        ),
    ] = None,
    phenotypes: Annotated[
        Path | None,
        typer.Option(
            "--phenotypes",
            metavar="FILE",
            help="With --genotypes: Haseman–Elston regression of the traits of the same names.",
        ),
    ] = None,
    covariates: Annotated[
        Path | None,
        typer.Option("--covariates", metavar="FILE", help="Of that regression."),
    ] = None,
    transform: Annotated[
        str, typer.Option("--transform", help="Of its phenotypes: none or rank-normal.")
    ] = "none",
    window_kb: Annotated[
        float, typer.Option("--window-kb", min=1, help="Of LD scores, on each side.")
    ] = 1000,
    min_maf: Annotated[
        float, typer.Option("--min-maf", min=0, max=0.5, help="Minor allele frequency.")
    ] = 0.01,
    ld_people: Annotated[
        int,
        typer.Option("--ld-people", min=50, help="At most so many, drawn, for LD scores."),
    ] = 5000,
    every: Annotated[
        bool,
        typer.Option(
            "--all-variants",
            help="Heritability of all variants of the scores (M), not of those above 5 % (M_5_50).",
        ),
    ] = False,
    intercept: Annotated[
        float | None,
        typer.Option("--intercept", help="Fix it (1: no structure, no relatives). Default: free."),
    ] = None,
    correlations: Annotated[
        bool,
        typer.Option("--correlations/--no-correlations", help="Genetic correlations of all pairs."),
    ] = True,
    overwrite: Overwrite = False,
    seed: Annotated[
        int, typer.Option("--seed", help="Of the drawn people and random vectors.")
    ] = 0,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Heritability and genetic correlations by LD score regression, from summary statistics.

    With genotypes and phenotypes, Haseman–Elston regression goes beside as a check. Writes
    `DIR/heritability.parquet` and `DIR/genetic_correlations.parquet`, and says what to mistrust.

    Example: `leadlight heritability gwas --genotypes chr --phenotypes factors.parquet --covariates
    cov.tsv --out heritability`
    """
    from leadlight.genetics.heritability_stage import run_heritability

    set_quiet(quiet)
    summary = run_heritability(
        summary_statistics,
        out,
        scores=scores,
        genotypes=genotypes or None,
        weight_scores=weight_scores,
        phenotypes=phenotypes,
        covariates=covariates,
        transform=transform,
        window_kb=window_kb,
        min_maf=min_maf,
        ld_people=ld_people,
        common=not every,
        intercept=intercept,
        correlations=correlations,
        overwrite=overwrite,
        seed=seed,
    )
    for trait, sentences in summary.warnings.items():
        for sentence in sentences:
            say(f"{trait}: {sentence}")
    if not quiet:
        for trait, found in summary.traits.items():
            beside = ""
            if found["he_h2"] is not None:
                beside = f"; Haseman–Elston {found['he_h2']:.3f} ± {found['he_se']:.3f}"
            typer.echo(f"{trait}: h² {found['h2']:.3f} ± {found['h2_se']:.3f}{beside}")
    print_summary(json_, summary.as_json())
