"""`leadlight import`: ECG files into a study folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leadlight.cli.options import Json, Overwrite, Quiet, print_summary
from leadlight.progress import set_quiet

if TYPE_CHECKING:
    from leadlight.cohort.importing import ImportSummary


def import_(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SRC...",
            help="ECG files, folders (read with all below them), or text files that list them.",
            show_default=False,
        ),
    ],
    study: Annotated[
        Path,
        typer.Option(
            "--study",
            metavar="DIR",
            help="The study folder: cohort.zarr, records.parquet and rejects.parquet go there.",
            show_default=False,
        ),
    ],
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            metavar="FILE",
            help="Diagnoses as CSV, TSV or Parquet: `record_id` (the file's name without ending) "
            "and either `labels` (1dAVb, RBBB, LBBB, SB, AF, ST, NORM, separated by `;`; `other` "
            "for none of them, empty for not labelled) or one 0/1 column for each; if known also "
            "`patient_id`, `age`, `sex` (F, M), `fold` (1 to 10), `split`. Without it, PTB-XL's "
            "own table is found beside its recordings, and SNOMED CT codes are read from headers.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Processes that read; the result is the same.")
    ] = 1,
    overwrite: Overwrite = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 when any file was rejected.")
    ] = False,
    seed: Annotated[
        int, typer.Option("--seed", help="Taken by every verb; nothing in an import is random.")
    ] = 0,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Read ECG files into a study folder.

    A file that cannot be read goes to `rejects.parquet` with reason and advice, and the import goes
    on. When it is cut off, the same command goes on from there. Patients are split into train,
    validation and test (80/10/10) by a fixed hash, unless a table gives a fold or split.

    Example: `leadlight import ecgs/ --study my-study --labels diagnoses.csv --workers 4`
    """
    set_quiet(quiet)
    from leadlight.cohort.importing import import_cohort

    summary = import_cohort(
        sources, study, labels=labels, workers=workers, overwrite=overwrite, strict=strict
    )
    if not quiet:
        for line in _lines(summary):
            typer.echo(line)
    print_summary(json_, summary.as_json() | {"seed": seed})
    if summary.failed:
        raise typer.Exit(1)


def _lines(summary: "ImportSummary") -> list[str]:
    """The summary as a short table, one line a string."""
    lines = [
        f"{'imported':<12}{summary.n_imported:>8}  of {summary.n_sources} files, into "
        f"{summary.study}",
        f"{'rejected':<12}{summary.n_rejected:>8}",
    ]
    lines += [f"{'':<12}{n:>8}  {reason}" for reason, n in summary.reject_reasons.items()]
    if summary.n_rejected:
        lines.append(f"{'':<22}each with advice in {summary.study / 'rejects.parquet'}")
    lines.append(
        f"{'labelled':<12}{summary.n_labelled:>8}  of which {summary.n_none_of_ours} "
        "with none of the labels below"
    )
    lines += [
        f"  {label:<10}{n:>8}  of {summary.label_patients[label]} patients"
        for label, n in summary.label_counts.items()
        if summary.n_labelled
    ]
    lines += [
        f"{split:<12}{n:>8}  of {summary.split_patients[split]} patients"
        for split, n in summary.split_counts.items()
    ]
    if summary.flag_counts:
        flags = ", ".join(f"{flag} {n}" for flag, n in summary.flag_counts.items())
        lines.append(f"Records with quality flags: {flags}.")
    if summary.collisions:
        shown = ", ".join(summary.collisions[:5]) + (", ..." * (len(summary.collisions) > 5))
        lines.append(
            f"{len(summary.collisions)} file names are shared by several recordings ({shown}); "
            "these records are named with their folders."
        )
    if summary.n_repeated_sources:
        lines.append(f"{summary.n_repeated_sources} files were named twice and read once.")
    if summary.n_same_signal:
        lines.append(
            f"{summary.n_same_signal} records have exactly the signal of an earlier one "
            "(equal signal_sha256 in records.parquet)."
        )
    return lines + list(summary.notes)
