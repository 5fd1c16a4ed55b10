"""`leadlight measure`: median beats, wave limits and measurements of a study."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from leadlight.progress import set_quiet

_UNITS = {
    "heart_rate_bpm": ("rate", "a minute"),
    "pr_ms": ("PR", "ms"),
    "qrs_ms": ("QRS", "ms"),
    "qt_ms": ("QT", "ms"),
    "qtc_fridericia_ms": ("QTc (Fridericia)", "ms"),
}


def measure(
    study: Annotated[
        Path,
        typer.Option(
            "--study", metavar="DIR", help="Study folder with a cohort.", show_default=False
        ),
    ],
    medians: Annotated[
        Literal["own", "cart"],
        typer.Option(
            "--medians",
            help="Whose median beats: made from the strips, or the cart's where a file has one.",
        ),
    ] = "own",
    workers: Annotated[
        int,
        typer.Option("--workers", min=1, help="Processes that measure; the result is the same."),
    ] = 1,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace measurements that are there.")
    ] = False,
    seed: Annotated[
        int, typer.Option("--seed", help="Taken by every verb; nothing in measuring is random.")
    ] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no notes.")] = False,
    json_: Annotated[
        bool, typer.Option("--json", help="Print a machine-readable summary as the last line.")
    ] = False,
) -> None:
    """Find the waves of every record and measure them.

    Writes `beats.zarr` (one median beat per record), `measurements.parquet` (rate, PR, QRS, QT,
    QTc, axes, amplitudes, ... one row per record) and `fiducials.parquet` (the limits of every
    wave). A record that cannot be measured gets a row that says why. When it is cut off, the same
    command goes on from there.

    Example: `leadlight measure --study my-study --workers 4`
    """
    from leadlight.cohort.measuring import measure_cohort

    set_quiet(quiet)
    summary = measure_cohort(study, medians=medians, workers=workers, overwrite=overwrite)
    if not quiet:
        typer.echo(f"{summary.n_measured} of {summary.n_records} records measured in {study}.")
        for reason, count in list(summary.failures.items())[:5]:
            typer.echo(f"  {count} not measured: {reason}")
        middles = [
            f"{label} {value:.0f} {unit}"
            for name, (label, unit) in _UNITS.items()
            if (value := summary.medians[name]) is not None
        ]
        if middles:
            typer.echo(f"Medians: {', '.join(middles)}; {summary.n_without_p} without P wave.")
    if json_:
        typer.echo(json.dumps(summary.as_json() | {"seed": seed}, ensure_ascii=False))
