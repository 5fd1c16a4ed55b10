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
        int, typer.Option("--people", min=30, help="Simulated people beside the real ECG.")
    ] = 160,
    seed: Annotated[int, typer.Option("--seed", help="The same seed makes the same people.")] = 1,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Explain a real 12-lead ECG and a small simulated cohort; needs no data and no network.

    The real ECG is the one that comes with the pydicom package; the page says what is simulated.
    """
    from leadlight.demo import run_demo

    set_quiet(quiet)
    done = run_demo(study, people=people, seed=seed, overwrite=overwrite)
    typer.echo(f"The page: {done.page.resolve()}")
    print_summary(json_, done.summary | {"page": str(done.page)})
