"""`leadlight gwas`: association of all traits with all variants."""

from pathlib import Path
from typing import Annotated

import typer

from leadlight.cli.association_options import (
    Covariates,
    Genotypes,
    Out,
    Phenotypes,
    Traits,
    Transform,
)
from leadlight.cli.options import Json, Overwrite, Quiet, print_summary
from leadlight.progress import say, set_quiet


def gwas(
    genotypes: Genotypes,
    phenotypes: Phenotypes,
    out: Out,
    covariates: Covariates = None,
    traits: Traits = None,
    transform: Transform = "none",
    components: Annotated[
        int,
        typer.Option(
            "--pcs", min=0, max=50, help="Principal components of the genotypes as covariates."
        ),
    ] = 0,
    joint: Annotated[
        bool,
        typer.Option("--joint", help="Also test all traits together: DIR/joint.parquet."),
    ] = False,
    background: Annotated[
        bool,
        typer.Option(
            "--background",
            "--step1",
            help="Whole-genome regression first: for relatives, structure and power.",
        ),
    ] = False,
    background_variants: Annotated[
        Path | None,
        typer.Option(
            "--background-variants",
            metavar="FILE",
            help="Ids of its variants, one a line. Default: pruned ones.",
        ),
    ] = None,
    binary: Annotated[
        bool,
        typer.Option(
            "--binary", help="Traits are controls and cases: 0 and 1, or 1 and 2 as in PLINK."
        ),
    ] = False,
    interaction: Annotated[
        bool,
        typer.Option("--sex-interaction", help="Also test whether an effect differs by sex."),
    ] = False,
    min_maf: Annotated[float, typer.Option("--min-maf", help="Minor allele frequency.")] = 0.0,
    min_mac: Annotated[float, typer.Option("--min-mac", help="Minor allele count.")] = 0.0,
    max_missing: Annotated[
        float, typer.Option("--max-missing", help="Share of missing calls.")
    ] = 1.0,
    min_info: Annotated[float, typer.Option("--min-info", help="INFO (MaCH r²) of dosages.")] = 0.0,
    min_hwe_p: Annotated[
        float, typer.Option("--min-hwe-p", help="p of the exact Hardy-Weinberg test.")
    ] = 0.0,
    build: Annotated[
        str | None,
        typer.Option("--build", help="GRCh37 or GRCh38: X's pseudo-autosomal part by position."),
    ] = None,
    precision: Annotated[str, typer.Option("--precision", help="auto, single or double.")] = "auto",
    text: Annotated[
        bool, typer.Option("--text", help="Also write GWAS-SSF text, <trait>.tsv.gz.")
    ] = False,
    figures: Annotated[
        bool,
        typer.Option("--figures", help="Draw Manhattan and QQ plots into DIR/figures."),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Threads; the result is the same. Default: all."),
    ] = None,
    overwrite: Overwrite = False,
    seed: Annotated[int, typer.Option("--seed", help="Of the principal components.")] = 0,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Test every variant against every trait.

    People are matched by id. Writes a table per trait, `DIR/<trait>.parquet`: chromosome, position,
    effect allele (the counted one), beta, standard error, −log10 p, sorted by place. When it is cut
    off, the same command goes on from there.

    Example: `leadlight gwas --genotypes chr --phenotypes factors.parquet --covariates cov.tsv
    --out gwas`
    """
    from leadlight.genetics.stage import run_gwas
    from leadlight.genetics.variant_filters import VariantFilter

    set_quiet(quiet)
    if background_variants is not None and not background:
        raise typer.BadParameter("--background-variants needs --background.")
    summary = run_gwas(
        genotypes,
        phenotypes,
        out,
        covariates=covariates,
        traits=None if traits is None else [name.strip() for name in traits.split(",")],
        transform=transform,
        components=components,
        sex_interaction=interaction,
        joint=joint,
        binary=binary,
        whole_genome=background,
        whole_genome_variants=background_variants,
        variant_filter=VariantFilter(min_maf, min_mac, max_missing, min_info, min_hwe_p),
        build=build,
        precision=precision,
        text=text,
        workers=workers,
        overwrite=overwrite,
        seed=seed,
    )
    for counted in (summary.people, summary.variants):
        say("; ".join(f"{count:,} {what}" for what, count in counted.items()) + ".")
    for name, reason in summary.dropped.items():
        say(f"Left out: {name} ({reason}).")
    if summary.resumed_blocks:
        say(f"{summary.resumed_blocks} blocks were done already.")
    if figures:
        from leadlight.report.association_figures import draw_association

        draw_association(out, list(summary.traits), joint=joint)
    if not quiet:
        typer.echo(f"{len(summary.traits)} traits in {out}.")
    print_summary(json_, summary.as_json())
