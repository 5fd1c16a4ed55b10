"""`leadlight genes`: rare variants of a gene, tested together."""

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


def genes(
    genotypes: Genotypes,
    phenotypes: Phenotypes,
    annotations: Annotated[
        Path,
        typer.Option(
            "--annotations",
            metavar="FILE",
            help="Variant, gene, category; or variant, gene, domain, category (REGENIE's).",
            show_default=False,
        ),
    ],
    sets: Annotated[
        Path,
        typer.Option(
            "--sets",
            metavar="FILE",
            help="Gene, chromosome, position, variants (REGENIE's set list).",
            show_default=False,
        ),
    ],
    masks: Annotated[
        Path,
        typer.Option(
            "--masks", metavar="FILE", help="Mask, categories (REGENIE's).", show_default=False
        ),
    ],
    out: Out,
    covariates: Covariates = None,
    traits: Traits = None,
    only: Annotated[
        str | None, typer.Option("--genes", metavar="A,B", help="Only these genes.")
    ] = None,
    limits: Annotated[
        str,
        typer.Option(
            "--aaf-bins",
            metavar="A,B",
            help="Upper frequencies of the effect allele; a bin each, from 0 on.",
        ),
    ] = "0.01",
    singletons: Annotated[
        bool,
        typer.Option("--singletons/--no-singletons", help="Also a bin of variants seen once."),
    ] = True,
    singleton_carriers: Annotated[
        bool,
        typer.Option("--singleton-carriers", help="Singletons have one carrier, not one allele."),
    ] = False,
    frequencies: Annotated[
        Path | None,
        typer.Option(
            "--aaf-file",
            metavar="FILE",
            help="Variant, frequency, 0 or 1 for singletons: decides the bins.",
        ),
    ] = None,
    rule: Annotated[
        str,
        typer.Option("--burden", help="max, sum or comphet (the sum, at most 2)."),
    ] = "max",
    collapse_below: Annotated[
        float,
        typer.Option(
            "--collapse-below",
            min=0,
            help="Variants with no more copies of the rarer allele are one in SKAT and ACAT-V.",
        ),
    ] = 10,
    weights: Annotated[
        str, typer.Option("--weights", metavar="A,B", help="Of the beta density of frequencies.")
    ] = "1,25",
    transform: Transform = "none",
    binary: Annotated[
        bool,
        typer.Option(
            "--binary",
            help="Traits are controls and cases: 0 and 1, or 1 and 2. Burden and ACAT-V alone.",
        ),
    ] = False,
    background: Annotated[
        bool,
        typer.Option(
            "--background",
            "--step1",
            help="Take each trait's whole-genome prediction away first.",
        ),
    ] = False,
    drivers_below: Annotated[
        float,
        typer.Option(
            "--drivers-below",
            min=1e-300,
            max=1,
            help="Leave the variants of a gene out one by one where its p is below.",
        ),
    ] = 2.5e-6,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Threads; the result is the same. Default: all."),
    ] = None,
    overwrite: Overwrite = False,
    seed: Annotated[int, typer.Option("--seed", help="Of the draws that correct ACAT-O.")] = 0,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Test the rare variants of each gene together: burden, SKAT, SKAT-O, ACAT-V, ACAT-O.

    Reads REGENIE's annotation, set list and mask files. Writes `DIR/genes.parquet` (a row for each
    gene, mask, frequency bin, test and trait) and `DIR/drivers.parquet` (which variants carry the
    strong ones). When it is cut off, the same command goes on from there.

    Example: `leadlight genes --genotypes exomes --phenotypes factors.parquet --covariates cov.tsv
    --annotations annotations.txt --sets sets.txt --masks masks.txt --out genes`
    """
    from leadlight.genetics.gene_stage import run_genes
    from leadlight.genetics.gene_tests import GeneSettings

    set_quiet(quiet)
    shape = _numbers(weights, "--weights")
    if len(shape) != 2:
        raise typer.BadParameter("--weights takes two numbers, such as 1,25.")
    summary = run_genes(
        genotypes,
        phenotypes,
        annotations,
        sets,
        masks,
        out,
        covariates=covariates,
        traits=_words(traits),
        genes=_words(only),
        settings=GeneSettings(
            _numbers(limits, "--aaf-bins"),
            singletons,
            singleton_carriers,
            rule,
            collapse_below,
            (shape[0], shape[1]),
        ),
        frequencies=frequencies,
        transform=transform,
        binary=binary,
        whole_genome=background,
        drivers_below=drivers_below,
        workers=workers,
        overwrite=overwrite,
        seed=seed,
    )
    for counted in (summary.people, summary.genes):
        say("; ".join(f"{count:,} {what}" for what, count in counted.items()) + ".")
    for name, reason in summary.dropped.items():
        say(f"Left out: {name} ({reason}).")
    for name, sentence in summary.warnings.items():
        say(f"{name}: {sentence}")
    if summary.resumed_genes:
        say(f"{summary.resumed_genes} genes were done already.")
    if not quiet:
        typer.echo(f"{summary.rows:,} tests in {out / 'genes.parquet'}.")
    print_summary(json_, summary.as_json())


def _words(given: str | None) -> list[str] | None:
    return None if given is None else [name.strip() for name in given.split(",")]


def _numbers(given: str, option: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in given.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"{option} takes numbers with commas between.") from error
