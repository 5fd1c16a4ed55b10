"""`leadlight demo`: the main job on what ships with the program."""

import json
from pathlib import Path
from typing import Annotated

import typer

from leadlight.progress import set_quiet


def demo(
    study: Annotated[
        Path, typer.Option("--study", metavar="DIR", help="Where the demo's study goes.")
    ] = Path("demo-study"),
    people: Annotated[
        int, typer.Option("--people", min=30, help="Simulated people beside the real ECG.")
    ] = 160,
    seed: Annotated[int, typer.Option("--seed", help="The same seed makes the same people.")] = 1,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier demo there.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bars.")] = False,
    json_: Annotated[
        bool, typer.Option("--json", help="Last line: the summary, machine-readable.")
    ] = False,
) -> None:
    """Explain a real 12-lead ECG and a small simulated cohort; needs no data and no network.

    The real ECG is the one that comes with the pydicom package; the page says what is simulated.
    """
    from leadlight.demo import run_demo

    set_quiet(quiet)
    done = run_demo(study, people=people, seed=seed, overwrite=overwrite)
    typer.echo(f"The page: {done.page.resolve()}")
    if json_:
        typer.echo(json.dumps(done.summary | {"page": str(done.page)}))
