"""`leadlight init`: a study file to begin with."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from leadlight.cli.options import Json, Overwrite, Quiet, print_summary
from leadlight.progress import say, set_quiet


class Kind(StrEnum):
    """What there is to begin with."""

    folder = "folder"
    labelled = "labelled"
    biobank = "biobank"
    summary = "summary"


def init(
    kind: Annotated[
        Kind,
        typer.Argument(
            help="folder: a folder of ECGs; labelled: with a table of diagnoses; biobank: UK "
            "Biobank's XML and genotypes; summary: summary statistics alone."
        ),
    ] = Kind.folder,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The new study file.")] = Path(
        "study.toml"
    ),
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Write a commented study file for what you have; edit it, then `leadlight run`.

    Example: leadlight init biobank --out study.toml
    """
    from leadlight.study.beginning import write_study_file

    set_quiet(quiet)
    write_study_file(kind.value, out, overwrite=overwrite)
    say(f"{out} is written. Edit its paths, then: leadlight run {out} --dry-run")
    print_summary(json_, {"file": str(out), "kind": kind.value})
