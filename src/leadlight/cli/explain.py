"""`leadlight explain`: why a network called a diagnosis, and whether that is true."""

from pathlib import Path
from typing import Annotated

import typer

from leadlight.cli.options import Json, Overwrite, Quiet, print_summary
from leadlight.progress import set_quiet


def explain(
    study: Annotated[
        Path, typer.Option("--study", metavar="DIR", help="The study folder.", show_default=False)
    ],
    sources: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[SRC]...",
            help="ECG files or folders to import first; without them the study's cohort is used.",
            show_default=False,
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", metavar="FILE", help="Table of diagnoses; see `import --help`."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="A shipped model's name, or the path of a card."),
    ] = None,
    method: Annotated[
        str, typer.Option("--method", help="Attribution method: integrated-gradients.")
    ] = "integrated-gradients",
    classes: Annotated[
        str, typer.Option("--classes", help="Diagnoses to explain, separated by commas.")
    ] = "AF,LBBB",
    control: Annotated[
        str, typer.Option("--control", help="The label of the records to compare with.")
    ] = "NORM",
    most_per_group: Annotated[
        int | None,
        typer.Option(
            "--most-per-group", min=1, help="Explain at most so many records of each group."
        ),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(
            "--tolerance", min=1e-4, max=0.5, help="Completeness error aimed at, per record."
        ),
    ] = 0.02,
    memory_mb: Annotated[
        int, typer.Option("--memory-mb", min=32, help="Memory that attribution may take.")
    ] = 256,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Processes that import recordings.")
    ] = 1,
    seed: Annotated[
        int, typer.Option("--seed", help="Of the random control, permutations and intervals.")
    ] = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Explain diagnoses in a cohort and write the page.

    Relevance of the logit by integrated gradients, averaged over classes, leads and aligned beats,
    cases against controls, beside a network with random weights.

    Examples: `leadlight explain path/to/ptbxl --study my-study`;
    `leadlight explain --study my-study --classes LBBB,RBBB --overwrite`
    """
    from leadlight.classify.models import DEFAULT_MODEL
    from leadlight.errors import LeadlightError
    from leadlight.study.explaining import explain_study

    set_quiet(quiet)
    if method != "integrated-gradients":
        raise LeadlightError(
            f"There is no method {method!r}.", advice="Give --method integrated-gradients."
        )
    done = explain_study(
        study,
        sources or (),
        labels=labels,
        model=model or DEFAULT_MODEL,
        classes=[name.strip() for name in classes.split(",") if name.strip()],
        control=control,
        most_per_group=most_per_group,
        tolerance=tolerance,
        memory_mb=memory_mb,
        workers=workers,
        seed=seed,
        overwrite=overwrite,
    )
    typer.echo(f"The page: {done.page}")
    print_summary(json_, done.summary | {"page": str(done.page)})
