"""`leadlight demo`: the main job on what ships with the program."""

from pathlib import Path
from typing import Annotated

import typer

from leadlight.cli.options import Json, Overwrite, Quiet, print_summary
from leadlight.progress import set_quiet


def demo(
    study: Annotated[
        Path, typer.Option("--study", metavar="DIR", help="Where the demo's study goes.")
    ] = Path("demo-study"),
    people: Annotated[
        int, typer.Option("--people", min=30, help="Simulated people with genomes.")
    ] = 1200,
    patients: Annotated[
        int, typer.Option("--patients", min=30, help="Simulated patients without genomes.")
    ] = 140,
    seed: Annotated[int, typer.Option("--seed", help="The same seed makes the same people.")] = 1,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes.")] = 2,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """The whole system on a simulated cohort with genomes and one real ECG; needs no data.

    The real ECG is the one that comes with the pydicom package; the page says what is simulated.
    """
    from leadlight.study.demo import run_demo

    set_quiet(quiet)
    done = run_demo(
        study, people=people, patients=patients, seed=seed, workers=workers, overwrite=overwrite
    )
    typer.echo(f"The page: {done.page.resolve()}")
    print_summary(json_, done.as_json())
