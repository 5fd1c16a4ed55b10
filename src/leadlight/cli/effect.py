"""`leadlight effect`: what a variant, a gene, a score or a trait does to the ECG."""

from pathlib import Path
from typing import Annotated

import typer

from leadlight.cli.options import Json, Overwrite, Quiet, Seed, print_summary
from leadlight.progress import say, set_quiet


def effect(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder of results.", show_default=False)
    ],
    variant: Annotated[
        str | None,
        typer.Option("--variant", metavar="ID", help="Its rsid, or chromosome:position."),
    ] = None,
    gene: Annotated[
        str | None,
        typer.Option("--gene", metavar="NAME", help="Burden of its rare variants; see --sets."),
    ] = None,
    score: Annotated[
        Path | None,
        typer.Option(
            "--score", metavar="FILE", help="A score by person, or weights of leadlight phewas."
        ),
    ] = None,
    trait: Annotated[
        str | None,
        typer.Option("--trait", metavar="COLUMN", help="A column of --phenotypes: a disease, say."),
    ] = None,
    gwas: Annotated[
        Path | None,
        typer.Option(
            "--gwas",
            metavar="DIR",
            help="Summary statistics of the factors, a table each. Enough for --variant; with "
            "--study also what the locus zoom shows.",
        ),
    ] = None,
    study: Annotated[
        Path | None,
        typer.Option(
            "--study",
            help="Measured study. With an exposure of its people: the direct estimate. With --gwas "
            "alone: its people stand for everybody's.",
        ),
    ] = None,
    genotypes: Annotated[
        list[Path] | None,
        typer.Option("--genotypes", metavar="PREFIX", help="As in `gwas`."),
    ] = None,
    covariates: Annotated[
        Path | None, typer.Option("--covariates", metavar="FILE", help="As in `gwas`.")
    ] = None,
    phenotypes: Annotated[
        Path | None, typer.Option("--phenotypes", metavar="FILE", help="Where --trait is found.")
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option("--annotations", metavar="FILE", help="REGENIE's; variant, gene, category."),
    ] = None,
    sets: Annotated[
        Path | None, typer.Option("--sets", metavar="FILE", help="REGENIE's set list.")
    ] = None,
    masks: Annotated[
        Path | None, typer.Option("--masks", metavar="FILE", help="REGENIE's masks.")
    ] = None,
    mask: Annotated[
        str | None, typer.Option("--mask", metavar="NAME", help="Of --masks. Default: the first.")
    ] = None,
    max_frequency: Annotated[
        float, typer.Option("--max-frequency", help="Of a gene's variants.")
    ] = 0.01,
    condition: Annotated[
        list[str] | None,
        typer.Option(
            "--condition",
            metavar="ID",
            help="A variant whose part is taken out: another signal of the region. May be given "
            "several times.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME or CARD", help="Factor model. Default: the shipped."),
    ] = None,
    classifier: Annotated[
        str | None,
        typer.Option("--classifier", metavar="NAME or CARD", help="Default: the shipped one."),
    ] = None,
    zoom_trait: Annotated[
        str | None,
        typer.Option("--zoom-trait", metavar="TRAIT", help="Drawn in the locus zoom."),
    ] = None,
    loci: Annotated[
        Path | None,
        typer.Option("--loci", metavar="DIR", help="Of `leadlight loci`: credible sets."),
    ] = None,
    genes: Annotated[
        Path | None,
        typer.Option("--genes", metavar="BED", help="Genes for the zoom, names in column four."),
    ] = None,
    recombination: Annotated[
        Path | None,
        typer.Option("--recombination", metavar="MAP", help="Position and rate, as in HapMap's."),
    ] = None,
    flank_kb: Annotated[int, typer.Option("--flank-kb", min=1, help="Of the zoom.")] = 250,
    heat_map: Annotated[
        bool,
        typer.Option(
            "--heat-map", help="Instead of one effect: the map of factors by the loci of --loci."
        ),
    ] = False,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Draw the ECG of a variant, a gene's burden, a polygenic score or a disease.

    The shift of all factors with its covariance, the difference on twelve leads with 95 % bands,
    the change of PR, QRS, QT, axes and amplitudes, mean beats of the groups, and what the explained
    network makes of it; as tables, figures and one locus card.

    Examples:
        leadlight effect --gwas gwas --variant rs123 --out rs123

        leadlight effect --study ward --genotypes chr --covariates cov.tsv --gene MYH6 --out myh6
    """
    from leadlight.genetics.effect.stage import Files, run_heat_map
    from leadlight.study.effect_cards import make_card

    set_quiet(quiet)
    files = Files(
        gwas=gwas, study=study, genotypes=tuple(genotypes or ()), covariates=covariates,
        phenotypes=phenotypes, annotations=annotations, sets=sets, masks=masks, loci=loci,
        genes=genes, recombination=recombination,
    )  # fmt: skip
    if heat_map:
        _heat_map(run_heat_map(files, model=model), out, overwrite)
        print_summary(json_, {"out": out.name})
        return
    asked = {"variant": variant, "gene": gene, "score": score, "trait": trait}
    named = {kind: value for kind, value in asked.items() if value is not None}
    if len(named) != 1:
        raise typer.BadParameter("Give one of --variant, --gene, --score and --trait.")
    kind, value = next(iter(named.items()))
    page, summary = make_card(
        kind, str(value), files, out, mask=mask, max_frequency=max_frequency, model=model,
        classifier=classifier, zoom_trait=zoom_trait, condition=condition or (),
        flank_bp=1000 * flank_kb, seed=seed, overwrite=overwrite,
    )  # fmt: skip
    for note in summary.get("notes", []):
        say(note)
    if not quiet:
        typer.echo(f"{summary['name']}: {page}")
    print_summary(json_, {**summary, "out": out.name})


def _heat_map(found: object, out: Path, overwrite: bool) -> None:
    from leadlight.atomic import refuse_overwrite
    from leadlight.genetics.effect.loci_map import LociMap
    from leadlight.report.effect_panels import follows
    from leadlight.report.figures import write_figure
    from leadlight.report.locus_figures import draw_heat_map

    assert isinstance(found, LociMap)
    refuse_overwrite(out / "heat-map.png", overwrite)
    labels = [
        f"{factor.removeprefix('factor_')} {follows(label)}"
        for factor, label in zip(found.factors, found.labels, strict=True)
    ]
    drawn = draw_heat_map(found.z, found.q, found.loci, found.factors, labels=labels)
    typer.echo(str(write_figure(*drawn, out, "heat-map").png))
