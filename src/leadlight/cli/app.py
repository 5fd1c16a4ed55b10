"""The command `leadlight`: one verb per file, errors as one line, exit codes 0, 1 and 2."""

import os
import sys
from typing import Annotated

import typer

from leadlight import __version__
from leadlight.atomic import says_disk_full
from leadlight.cli.card import card_app
from leadlight.cli.classify import classify
from leadlight.cli.demo import demo
from leadlight.cli.effect import effect
from leadlight.cli.explain import explain
from leadlight.cli.genes import genes
from leadlight.cli.gwas import gwas
from leadlight.cli.heritability import heritability
from leadlight.cli.import_ import import_
from leadlight.cli.init import init
from leadlight.cli.latent import latent_app
from leadlight.cli.loci import loci
from leadlight.cli.measure import measure
from leadlight.cli.phewas import phewas
from leadlight.cli.report import report
from leadlight.cli.run import run
from leadlight.cli.serve import serve
from leadlight.cli.shards import shards_app
from leadlight.cli.simulate import simulate
from leadlight.cli.train import train
from leadlight.errors import LeadlightError

app = typer.Typer(
    name="leadlight",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help=(
        "Opens the black box of the 12-lead ECG. Research software, **not a medical device**.\n\n"
        "The usual order: `import` recordings into a study folder, `classify` them, `explain` a "
        "diagnosis, read the `report`. `explain` given files does all four. `latent` finds the "
        "factors that median beats are made of, `gwas` tests traits against genotypes, `simulate` "
        "makes people whose truth is known. `init` writes a study file and `run` does all that it "
        "asks for. `demo` shows it on what ships with the program."
    ),
)
app.command("demo")(demo)
app.command("init")(init)
app.command("run")(run)
app.command("import")(import_)
app.command("measure")(measure)
app.command("classify")(classify)
app.command("explain")(explain)
app.command("report")(report)
app.command("serve")(serve)
app.command("train")(train)
app.command("simulate")(simulate)
app.command("gwas")(gwas)
app.command("loci")(loci)
app.command("phewas")(phewas)
app.command("genes")(genes)
app.command("effect")(effect)
app.command("heritability")(heritability)
app.add_typer(card_app, name="card")
app.add_typer(latent_app, name="latent")
app.add_typer(shards_app, name="shards")


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"leadlight {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Only holds the options that stand before a verb."""


def main() -> None:
    """Run the command line; a fault that the user can act on is one line and exit code 1."""
    # Read when the network's library loads, which no verb has done yet. Threads that spin while
    # they wait cost several times the work itself where other programs want the same cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except LeadlightError as error:
        typer.echo(f"leadlight: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        typer.echo(
            "leadlight: stopped. What was finished stays; give the same command again to go on.",
            err=True,
        )
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output went away; nothing to tell anyone.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if says_disk_full(error):
            place = getattr(error, "filename", None) or "A result"
            typer.echo(
                f"leadlight: {place} could not be written: the disk is full. Free space and give "
                "the same command again.",
                err=True,
            )
        elif isinstance(error, OSError):
            where = f" ({error.filename})" if error.filename else ""
            typer.echo(f"leadlight: {error.strerror or error}{where}.", err=True)
        else:
            raise
        sys.exit(1)


if __name__ == "__main__":
    main()
