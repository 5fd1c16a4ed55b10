"""`leadlight run`: everything that a study file asks for, and no more than has to be done."""

from pathlib import Path
from typing import Annotated

import typer

from leadlight.cli.options import Json, Overwrite, Quiet, print_summary
from leadlight.progress import say, set_quiet


def run(
    file: Annotated[
        Path, typer.Argument(metavar="study.toml", help="The study file, or its folder.")
    ] = Path("study.toml"),
    only: Annotated[
        str | None,
        typer.Option("--only", metavar="A,B", help="Only these stages; leave the others."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done and why, and do nothing.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Processes or threads, in place of the file's."),
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Import, measure, classify, explain, encode, associate, find loci, report.

    A stage is left alone while its settings, its inputs and what comes before it stay the same. A
    run that was cut off goes on with the same command. Results that this file did not make are
    replaced only with --overwrite.

    Example: leadlight run study.toml --dry-run
    """
    from leadlight.study.running import plan_study, run_study

    set_quiet(quiet)
    chosen = [name.strip() for name in only.split(",") if name.strip()] if only else []
    if dry_run:
        folder, steps = plan_study(file, only=chosen, overwrite=overwrite, workers=workers)
        for step in steps:
            typer.echo(
                f"{step.stage.name:<10}{step.action:<7}{_long(step.seconds):>10}  {step.why}"
            )
        rows = [
            {"stage": s.stage.name, "action": s.action, "why": s.why, "seconds": s.seconds}
            for s in steps
        ]
        print_summary(json_, {"folder": str(folder), "plan": rows})
        return
    done = run_study(file, only=chosen, overwrite=overwrite, workers=workers)
    for name, seconds in done.done.items():
        say(f"{name:<10}{_long(seconds):>10}")
    if not done.done:
        say("Nothing had to be done.")
    page = done.folder / "report" / "index.html"
    if "report" in [*done.done, *done.left]:
        typer.echo(f"The page: {page}")
    print_summary(json_, done.as_json())


def _long(seconds: float) -> str:
    """A duration in words of one unit."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
