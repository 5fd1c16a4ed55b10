"""`leadlight simulate`: people whose truth is known."""

import json
from pathlib import Path
from typing import Annotated

import typer

from leadlight.progress import say, set_quiet


def simulate(
    study: Annotated[Path, typer.Option("--study", help="Study folder to make.")],
    people: Annotated[int, typer.Option("--people", min=1, help="How many people.")] = 500,
    seed: Annotated[int, typer.Option("--seed", help="The same seed makes the same people.")] = 1,
    rate_hz: Annotated[
        float, typer.Option("--rate-hz", min=100, max=2000, help="Samples per second.")
    ] = 500.0,
    duration_s: Annotated[
        float, typer.Option("--duration-s", min=3, max=3600, help="Length of each recording.")
    ] = 10.0,
    noise: Annotated[
        float, typer.Option("--noise", min=0, help="Factor on the electrode noise; 0 is clean.")
    ] = 1.0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a cohort that is there.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bars.")] = False,
    json_: Annotated[
        bool, typer.Option("--json", help="Last line: the summary, machine-readable.")
    ] = False,
) -> None:
    """Make a cohort of simulated 12-lead ECGs with known truth.

    Sinus rhythm, bradycardia, tachycardia, fibrillation and flutter; bundle branch and first-degree
    blocks; ectopic beats; infarcts and other look-alikes; electrode noise. `truth/` in the study
    folder says what made each record.

    Example: leadlight simulate --study hearts --people 500 --seed 1
    """
    from leadlight.simulate.cohort import simulate_cohort

    set_quiet(quiet)
    cohort = simulate_cohort(
        study,
        people,
        seed=seed,
        rate_hz=rate_hz,
        duration_s=duration_s,
        noise=noise,
        overwrite=overwrite,
    )
    labels = cohort.records["labels"].explode().drop_nulls().value_counts(sort=True)
    counts = dict(zip(labels["labels"], labels["count"], strict=True))
    say(
        f"{len(cohort)} simulated records in {study}: "
        + ", ".join(f"{k} {n}" for k, n in counts.items())
    )
    if json_:
        typer.echo(json.dumps({"records": len(cohort), "labels": counts, "study": str(study)}))
