"""`leadlight report`: one page of what a study found."""

import json
from pathlib import Path
from typing import Annotated

import typer

from leadlight.cli.options import Json, Overwrite, Quiet
from leadlight.progress import set_quiet


def report(
    study: Annotated[Path, typer.Option("--study", help="Study folder.")],
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Write `report/index.html`: findings, figures and their numbers, in one page.

    The page opens in any browser without a network. It shows what the study has: records, scores,
    an explanation, factors, loci and what these do to the ECG. Each figure lies beside it as PNG
    and CSV. Prints the path of the page.
    """
    from leadlight.study.reporting import report_study

    set_quiet(quiet)
    page = report_study(study, overwrite=overwrite)
    if json_:
        figures = sorted(p.name for p in (page.parent / "figures").glob("*.png"))
        summary = {"page": str(page), "bytes": page.stat().st_size, "figures": figures}
        typer.echo(json.dumps(summary))
    else:
        typer.echo(str(page))
