"""`leadlight serve`: a study's pages from a web server on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from leadlight.cli.options import Json, Quiet, print_summary
from leadlight.progress import set_quiet


def serve(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="Study folder.")],
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Of loopback; a free one where 0.")
    ] = 0,
    open_browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Show it in the default browser.")
    ] = False,
    idle_minutes: Annotated[
        float,
        typer.Option("--idle-minutes", min=0, help="Stop when unused for so long; never where 0."),
    ] = 240.0,
    workers: Annotated[
        int, typer.Option("--workers", min=1, max=64, help="Questions worked on at once.")
    ] = 2,
    waiting: Annotated[
        int, typer.Option("--waiting", min=0, help="That may wait; one more is told to come back.")
    ] = 64,
    limit: Annotated[
        float, typer.Option("--limit", min=1, help="Seconds a question may take.")
    ] = 30.0,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Serve a study to the browsers of this machine: any record, factor setting or locus.

    For studies too big for one page. Prints an address with a token; whoever has it may read the
    study until the server stops (Ctrl-C). It answers on loopback only: from elsewhere, use an SSH
    tunnel. Nothing in the study is changed.
    """
    from leadlight.serve.folder import StudyFolder
    from leadlight.serve.server import Bounds, Running, serve_study

    set_quiet(quiet)

    def say(running: Running, folder: StudyFolder) -> None:
        print_summary(json_, {"url": running.url, "port": running.port, "study": folder.name})
        if not json_:
            typer.echo(f"{folder.name} is served at {running.url}")
        if not quiet and not json_:
            idle = f", and by itself after {idle_minutes:g} minutes unused" if idle_minutes else ""
            typer.echo(
                f"Ctrl-C stops it{idle}. From another machine: "
                f"ssh -L {running.port}:127.0.0.1:{running.port} HOST"
            )

    why = serve_study(
        study, port=port, open_browser=open_browser, say=say,
        bounds=Bounds(workers, waiting, limit, idle_minutes),
    )  # fmt: skip
    if not quiet and not json_:
        typer.echo(f"{why[0].upper()}{why[1:]}.")
