"""`leadlight phewas`: factors, loci and polygenic scores against diseases and other traits."""

import json
from pathlib import Path
from typing import Annotated

import typer

from leadlight.progress import say, set_quiet


def phewas(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder of results.", show_default=False)
    ],
    exposures: Annotated[
        list[Path] | None,
        typer.Option(
            "--exposures",
            metavar="FILE",
            help="Factors: Parquet or text that begins with IID or record_id. May be given several "
            "times.",
        ),
    ] = None,
    exposure_columns: Annotated[
        str | None,
        typer.Option(
            "--exposure-columns", metavar="A,B", help="Only these, or such as 'factor_*'."
        ),
    ] = None,
    genotypes: Annotated[
        list[Path] | None,
        typer.Option("--genotypes", metavar="PREFIX", help="For loci and scores; as in `gwas`."),
    ] = None,
    loci: Annotated[
        Path | None,
        typer.Option(
            "--loci",
            metavar="FILE",
            help="Variants as exposures: a list of ids, or a table with rsid, or chromosome and "
            "base_pair_location.",
        ),
    ] = None,
    scores_of: Annotated[
        list[Path] | None,
        typer.Option(
            "--scores-of",
            metavar="FILE",
            help="Summary statistics of which polygenic scores are made. May be given several "
            "times.",
        ),
    ] = None,
    score_method: Annotated[
        str,
        typer.Option(
            "--score-method", help="infinitesimal or sparse (shrinkage with linkage), or threshold."
        ),
    ] = "infinitesimal",
    score_p: Annotated[
        float, typer.Option("--score-p", help="Largest p of a variant, with threshold.")
    ] = 1e-4,
    weights: Annotated[
        list[Path] | None,
        typer.Option("--weights", metavar="FILE", help="Weights of scores made before (Parquet)."),
    ] = None,
    trained_on: Annotated[
        str | None,
        typer.Option(
            "--trained-on",
            metavar="FILE|none",
            help="The people whom the scores' weights saw: they are not scored. Without it, every "
            "result of a score says that this is not known.",
        ),
    ] = None,
    cross_fit: Annotated[
        int,
        typer.Option(
            "--cross-fit",
            metavar="K",
            help="Also scores of the factors themselves: the people in K parts, each scored with "
            "weights from an association among the others. 0: none.",
        ),
    ] = 0,
    outcomes: Annotated[
        list[Path] | None,
        typer.Option(
            "--outcomes",
            metavar="FILE",
            help="A column per outcome: 0/1 or a quantity. May be given several times.",
        ),
    ] = None,
    outcome_columns: Annotated[
        str | None, typer.Option("--outcome-columns", metavar="A,B", help="Only these.")
    ] = None,
    binary: Annotated[
        str | None,
        typer.Option("--binary", metavar="A,B", help="These are written 1 and 2, as in PLINK."),
    ] = None,
    quantitative: Annotated[
        str | None,
        typer.Option("--quantitative", metavar="A,B", help="These are quantities, though 0 and 1."),
    ] = None,
    survival: Annotated[
        Path | None,
        typer.Option(
            "--survival",
            metavar="FILE",
            help="Times to events, a row each: IID, outcome, exit, event (0, 1) and maybe entry.",
        ),
    ] = None,
    codes: Annotated[
        Path | None,
        typer.Option("--codes", metavar="FILE", help="Diagnoses, a row each: IID, code, date."),
    ] = None,
    phecodes: Annotated[
        Path | None,
        typer.Option("--phecodes", metavar="FILE", help="The map from codes to phecodes."),
    ] = None,
    observed: Annotated[
        Path | None,
        typer.Option(
            "--observed",
            metavar="FILE",
            help="Who was under observation: IID, and maybe entry and exit. Default: everybody "
            "with exposures.",
        ),
    ] = None,
    min_count: Annotated[
        int, typer.Option("--min-count", min=1, help="Occasions of a phecode that make a case.")
    ] = 2,
    incident: Annotated[
        bool,
        typer.Option("--incident", help="Times to the first occasion of a phecode (Cox)."),
    ] = False,
    descriptions: Annotated[
        Path | None,
        typer.Option(
            "--descriptions",
            metavar="FILE",
            help="outcome, category, and maybe description and sex.",
        ),
    ] = None,
    covariates: Annotated[
        Path | None,
        typer.Option("--covariates", metavar="FILE", help="As in `gwas`; `sex` as 1 man, 2 woman."),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option("--keep", metavar="FILE", help="Only these people (the unrelated, say)."),
    ] = None,
    direction: Annotated[
        str,
        typer.Option(
            "--direction",
            help="predicts (the exposure predicts the outcome), looks (who has the disease looks "
            "how), or both.",
        ),
    ] = "both",
    min_cases: Annotated[
        int, typer.Option("--min-cases", min=2, help="Fewest cases, and fewest controls.")
    ] = 50,
    firth_below: Annotated[
        int, typer.Option("--firth-below", help="Firth's regression below so many cases.")
    ] = 200,
    transform: Annotated[
        str, typer.Option("--transform", help="Of quantitative outcomes: none or rank-normal.")
    ] = "none",
    family: Annotated[
        str,
        typer.Option(
            "--family", help="Tests corrected together: those of a direction, or of an exposure."
        ),
    ] = "direction",
    figures: Annotated[bool, typer.Option("--figures", help="Draw into DIR/figures.")] = False,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Threads. Default: all.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace results that are there.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Of the sparse scores' sampler.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no notes.")] = False,
    json_: Annotated[
        bool, typer.Option("--json", help="Print a machine-readable summary as the last line.")
    ] = False,
) -> None:
    """Test exposures against a phenome.

    Exposures are factors of the ECG, lead variants of loci, or polygenic scores. Outcomes are
    quantities (linear), 0/1 (logistic, Firth's with few cases) or times to events (Cox). Writes
    `DIR/phewas.parquet`, a row per test.

    Example: `leadlight phewas --exposures factors.parquet --outcomes diseases.tsv --covariates
    cov.tsv --out phewas --figures`
    """
    from leadlight.genetics.phewas import ExposureFiles, OutcomeFiles, run_phewas
    from leadlight.genetics.phewas_loci import ScoreSettings
    from leadlight.genetics.phewas_scan import LOOKS, PREDICTS

    set_quiet(quiet)
    directions = {"both": (PREDICTS, LOOKS), PREDICTS: (PREDICTS,), LOOKS: (LOOKS,)}
    if direction not in directions:
        raise typer.BadParameter("--direction is predicts, looks or both.")
    summary = run_phewas(
        ExposureFiles(
            exposures or (),
            _names(exposure_columns) or None,
            genotypes or (),
            loci,
            scores_of or (),
            weights or (),
            trained_on,
            cross_fit,
            ScoreSettings(score_method, score_p, seed=seed),
        ),
        OutcomeFiles(
            outcomes or (),
            _names(outcome_columns) or None,
            _names(binary),
            _names(quantitative),
            survival,
            codes,
            phecodes,
            observed,
            min_count,
            incident,
            descriptions,
        ),
        out,
        covariates=covariates,
        keep=keep,
        directions=directions[direction],
        min_cases=min_cases,
        firth_below=firth_below,
        transform=transform,
        family=family,
        workers=workers,
        overwrite=overwrite,
    )
    say("; ".join(f"{count:,} {what}" for what, count in summary.people.items()) + ".")
    say(summary.family)
    for name, reason in list(summary.left_out.items())[:20]:
        say(f"Left out: {name} ({reason}).")
    if len(summary.left_out) > 20:
        say(f"... and {len(summary.left_out) - 20} more outcomes: see summary.json.")
    for warning in summary.warnings:
        say(warning)
    if figures:
        from leadlight.report.phewas_figures import write_phewas_figures

        write_phewas_figures(out)
    if not quiet:
        for group, found in summary.tests.items():
            typer.echo(
                f"{group}: {found['tests']:,} tests, {found['below_0.05_bonferroni']:,} below 0.05 "
                f"after Bonferroni, {found['q_below_0.05']:,} with q < 0.05."
            )
    if json_:
        typer.echo(json.dumps(summary.as_json(), ensure_ascii=False))


def _names(given: str | None) -> list[str]:
    return [] if given is None else [name.strip() for name in given.split(",")]
