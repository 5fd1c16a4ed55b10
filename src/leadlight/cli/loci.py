"""`leadlight loci`: what lies behind the hits of one or several sets of results."""

import json
from pathlib import Path
from typing import Annotated

import typer

from leadlight.progress import say, set_quiet


def loci(
    gwas: Annotated[
        list[str],
        typer.Option(
            "--gwas",
            metavar="[LABEL=]DIR",
            help="Folder that gwas wrote (its joint.parquet counts as a trait), or one file of "
            "summary statistics. May be given several times, each with a label of its own.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", help="Folder of tables.", show_default=False),
    ],
    genotypes: Annotated[
        list[Path] | None,
        typer.Option(
            "--genotypes",
            metavar="PREFIX",
            help="For linkage: the study's own or a reference; as in gwas. Without it, distance "
            "decides.",
        ),
    ] = None,
    phenotypes: Annotated[
        list[str] | None,
        typer.Option(
            "--phenotypes",
            metavar="[LABEL=]FILE",
            help="Those of the association, to condition on individual data; for each label its "
            "own where they differ.",
        ),
    ] = None,
    covariates: Annotated[
        Path | None, typer.Option("--covariates", metavar="FILE", help="Those of the association.")
    ] = None,
    traits: Annotated[
        str | None, typer.Option("--traits", metavar="A,B", help="Only these traits.")
    ] = None,
    p1: Annotated[
        float, typer.Option("--p1", help="Largest p of a lead variant and of a further signal.")
    ] = 5e-8,
    p2: Annotated[
        float, typer.Option("--p2", help="Largest p of the members that a locus spans.")
    ] = 1e-5,
    r2: Annotated[float, typer.Option("--r2", help="A clump takes what has more r² than this.")] = (
        0.1
    ),
    kb: Annotated[float, typer.Option("--kb", help="Reach of a clump.")] = 500.0,
    by_distance: Annotated[
        bool, typer.Option("--by-distance", help="Clump by distance, though there are genotypes.")
    ] = False,
    measure: Annotated[
        str,
        typer.Option(
            "--linkage", help="r² of clumps: of haplotypes as PLINK's --clump, or of counts."
        ),
    ] = "haplotypes",
    merge_kb: Annotated[
        float, typer.Option("--merge-kb", help="Clumps of any trait nearer than this: one locus.")
    ] = 250.0,
    pad_kb: Annotated[
        float, typer.Option("--pad-kb", help="On each side of a locus, for signals and sets.")
    ] = 250.0,
    coverage: Annotated[float, typer.Option("--coverage", help="Of credible sets.")] = 0.95,
    purity: Annotated[
        float, typer.Option("--purity", help="Smallest |r| within a set of SuSiE.")
    ] = 0.5,
    effects: Annotated[
        int, typer.Option("--effects", min=1, help="Most effects of a trait at a locus in SuSiE.")
    ] = 10,
    genes: Annotated[
        Path | None,
        typer.Option("--genes", metavar="FILE", help="BED, GTF or GFF3 of genes, same build."),
    ] = None,
    catalogue: Annotated[
        Path | None,
        typer.Option(
            "--catalogue", metavar="FILE", help="Published loci; default: the one that ships."
        ),
    ] = None,
    known_kb: Annotated[
        float, typer.Option("--known-kb", help="A published variant this near makes it known.")
    ] = 500.0,
    build: Annotated[str, typer.Option("--build", help="GRCh37 or GRCh38.")] = "GRCh37",
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Threads; the result is the same. Default: all."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace tables that are there.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no notes.")] = False,
    json_: Annotated[
        bool, typer.Option("--json", help="Print a machine-readable summary as the last line.")
    ] = False,
) -> None:
    """Find loci, their signals and credible sets, genes, and what was known.

    Writes `loci`, `clumps`, `locus_traits`, `signals` and `credible_sets` to DIR, each as .parquet
    and .tsv. Traits of all sets share one table of loci, which says which set alone has a locus.

    Example: `leadlight loci --gwas factors=gwas --gwas conventional=gwas2 --genotypes chr
    --genes genes.bed --out loci`
    """
    from leadlight.errors import LeadlightError
    from leadlight.genetics.clumping import ClumpRule
    from leadlight.genetics.loci_stage import find_loci
    from leadlight.genetics.locus_linkage import LocusRule
    from leadlight.genetics.locus_signals import FineMapRule

    set_quiet(quiet)
    if not 0 < coverage < 1:
        raise LeadlightError(f"A coverage of {coverage:g} is not between 0 and 1.")
    if not 0 <= purity <= 1:
        raise LeadlightError(f"A purity of {purity:g} is not between 0 and 1.")
    summary = find_loci(
        gwas,
        out,
        genotypes=genotypes or (),
        phenotypes=phenotypes or (),
        covariates=covariates,
        traits=None if traits is None else [name.strip() for name in traits.split(",")],
        clump_rule=ClumpRule(p1, p2, r2, kb, by_distance),
        fine_map_rule=FineMapRule(p1, coverage, purity, effects),
        locus_rule=LocusRule(merge_kb, pad_kb, known_kb),
        measure=measure,
        genes=genes,
        catalogue=catalogue,
        build=build,
        workers=workers,
        overwrite=overwrite,
    )
    for note in summary.notes[:10]:
        say(note)
    if len(summary.notes) > 10:
        say(f"{len(summary.notes) - 10} more notes are in summary.json.")
    if not quiet:
        counts = summary.counts
        typer.echo(
            f"{counts['loci']} loci ({counts['known']} known, {counts['new']} new) of "
            f"{counts['traits']} traits in {out}."
        )
        for label, only in summary.only.items():
            typer.echo(f"{label}: {summary.loci_of[label]} loci, {len(only)} found by it alone.")
    if json_:
        typer.echo(json.dumps(summary.as_json(), ensure_ascii=False))
