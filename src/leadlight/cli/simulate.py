"""`leadlight simulate`: people whose truth is known."""

from pathlib import Path
from typing import Annotated

import typer

from leadlight.cli.options import Json, Overwrite, Quiet, print_summary
from leadlight.errors import LeadlightError
from leadlight.progress import say, set_quiet


def simulate(
    study: Annotated[Path, typer.Option("--study", help="Study folder to make.")],
    people: Annotated[int, typer.Option("--people", min=1, help="How many people.")] = 500,
    variants: Annotated[
        int, typer.Option("--variants", min=1, help="How many variants, over all chromosomes.")
    ] = 50_000,
    seed: Annotated[int, typer.Option("--seed", help="The same seed makes the same people.")] = 1,
    genomes: Annotated[
        bool, typer.Option(help="Give the people genomes, or make ECGs alone, rich in diagnoses.")
    ] = True,
    chromosomes: Annotated[
        str, typer.Option("--chromosomes", help="Such as 1-22 or 1,3,14,20-22.")
    ] = "1-22",
    megabases: Annotated[
        float, typer.Option("--megabases", help="Length of each chromosome's stretch.")
    ] = 3.0,
    related: Annotated[
        float, typer.Option("--related", help="Share of people with a relative among the others.")
    ] = 0.1,
    missing: Annotated[
        float, typer.Option("--missing", help="Share of genotype calls that are missing.")
    ] = 0.0,
    dosages: Annotated[
        bool, typer.Option("--dosages", help="Store imputed dosages in the pgen.")
    ] = False,
    formats: Annotated[
        str, typer.Option("--formats", help="Genotype files: pgen, bed, vcf, with commas between.")
    ] = "pgen",
    keep_trees: Annotated[
        bool, typer.Option("--keep-trees", help="Keep the tree sequences in truth/trees.")
    ] = False,
    strength: Annotated[
        float,
        typer.Option(
            "--strength",
            min=0.0,
            max=4.0,
            help="Factor on what planted variants explain; above 1 for few people.",
        ),
    ] = 1.0,
    rate_hz: Annotated[
        float, typer.Option("--rate-hz", min=100, max=2000, help="Samples per second.")
    ] = 500.0,
    duration_s: Annotated[
        float, typer.Option("--duration-s", min=3, max=3600, help="Length of each recording.")
    ] = 10.0,
    noise: Annotated[
        float, typer.Option("--noise", min=0, help="Factor on the electrode noise; 0 is clean.")
    ] = 1.0,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Processes; the result is the same.")
    ] = 1,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Make people with known truth: 12-lead ECGs, genotypes, traits and covariates.

    Genes act on intervals, axes, voltages and on shapes that no interval sees; `truth/` in the
    study folder says which and how much. A run that was stopped goes on with the same command.
    With --no-genomes the ECGs alone are made, rich in arrhythmias, blocks and look-alikes.

    Examples:
        leadlight simulate --study biobank --people 5000 --variants 100000 --seed 1 --workers 2

        leadlight simulate --study hearts --people 500 --seed 1 --no-genomes
    """
    from leadlight.simulate.cohort import simulate_cohort
    from leadlight.simulate.genotyped_people import Genomes

    set_quiet(quiet)
    asked = Genomes(
        variants=variants,
        chromosomes=read_chromosomes(chromosomes),
        megabases=megabases,
        related_share=related,
        missing_share=missing,
        dosages=dosages,
        formats=tuple(name.strip() for name in formats.split(",")),
        keep_trees=keep_trees,
        strength=strength,
    )
    cohort = simulate_cohort(
        study,
        people,
        seed=seed,
        rate_hz=rate_hz,
        duration_s=duration_s,
        noise=noise,
        genomes=asked if genomes else None,
        workers=workers,
        overwrite=overwrite,
    )
    labels = cohort.records["labels"].explode().drop_nulls().value_counts(sort=True)
    counts = dict(zip(labels["labels"], labels["count"], strict=True))
    say(
        f"{len(cohort)} simulated records in {study}: "
        + ", ".join(f"{k} {n}" for k, n in counts.items())
    )
    if genomes:
        say(f"{variants} variants in {study / 'genotypes'}; what acts is in {study / 'truth'}.")
    print_summary(
        json_,
        {
            "records": len(cohort),
            "labels": counts,
            "study": str(study),
            "variants": variants if genomes else 0,
        },
    )


def read_chromosomes(text: str) -> tuple[int, ...]:
    """The numbers that "1,3,20-22" names.

    Raises:
        LeadlightError: it is not made of numbers, commas and ranges.
    """
    numbers: list[int] = []
    for piece in text.split(","):
        first, dash, last = piece.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise LeadlightError(
                f"--chromosomes {text} is not understood at {piece!r}.",
                advice="Write numbers and ranges with commas between, such as 1,3,20-22.",
            )
        numbers += range(int(first), int(last if dash else first) + 1)
    return tuple(numbers)
