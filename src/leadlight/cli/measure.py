"""`leadlight measure`: median beats, wave limits and measurements of a study."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from leadlight.cli.options import Json, Overwrite, Quiet, print_summary
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
    figures: Annotated[
        int,
        typer.Option("--figures", min=0, help="Draw so many of the first measured records."),
    ] = 0,
    draw: Annotated[
        list[str] | None,
        typer.Option("--draw", metavar="RECORD_ID", help="Draw this record; may be repeated."),
    ] = None,
    workers: Annotated[
        int,
        typer.Option("--workers", min=1, help="Processes that measure; the result is the same."),
    ] = 1,
    overwrite: Overwrite = False,
    seed: Annotated[
        int, typer.Option("--seed", help="Taken by every verb; nothing in measuring is random.")
    ] = 0,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Find the waves of every record and measure them.

    Writes `beats.zarr` (one median beat per record), `measurements.parquet` (rate, PR, QRS, QT,
    QTc, axes, amplitudes, ... one row per record) and `fiducials.parquet` (the limits of every
    wave). A record that cannot be measured gets a row that says why. When it is cut off, the same
    command goes on from there.

    `--figures` and `--draw` write `measure-figures/ID-ecg.png` (the recording on paper with its
    waves) and `ID-beat.png` (its median beat with its limits); a study that is measured already is
    then only drawn.

    Example: `leadlight measure --study my-study --workers 4`
    """
    from leadlight.cohort.measuring import measure_cohort

    set_quiet(quiet)
    drawn = [] if draw is None else draw
    measured = (study / "measurements.parquet").is_file()
    if measured and not overwrite and (figures or drawn):
        _draw_figures(study, drawn, figures, overwrite, quiet)
        return
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
    if figures or drawn:
        _draw_figures(study, drawn, figures, overwrite, quiet)
    print_summary(json_, summary.as_json() | {"seed": seed})


def _draw_figures(
    study: Path, record_ids: list[str], first: int, overwrite: bool, quiet: bool
) -> None:
    from leadlight.report.measure_figures import write_measure_figures

    written = write_measure_figures(study, record_ids, first=first, overwrite=overwrite)
    if not quiet:
        typer.echo(f"{len(written)} figures in {study / 'measure-figures'}.")
