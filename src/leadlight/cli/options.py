"""The options that every verb has, worded once."""

import json
import os
from collections.abc import Mapping
from typing import Annotated, Any

import typer

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace results that are there.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress and no notes.")]
Json = Annotated[
    bool, typer.Option("--json", help="Print a machine-readable summary as the last line.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of all that is random.")]
Workers = Annotated[
    int, typer.Option("--workers", min=1, help="Processes or threads; the result is the same.")
]


def print_summary(asked: bool, summary: Mapping[str, Any]) -> None:
    """The summary as one line of JSON, where `--json` asked for it.

    Of processes that work together (`torchrun`), the first prints it.
    """
    if asked and os.environ.get("RANK", "0") == "0":
        typer.echo(json.dumps(summary, ensure_ascii=False, default=str))
