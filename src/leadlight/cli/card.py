"""`leadlight card`: look at model cards, convert weights, find out a card's doubtful settings."""

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from leadlight.cli.options import Json, Overwrite, Quiet, print_summary
from leadlight.progress import say, set_quiet

card_app = typer.Typer(
    name="card",
    no_args_is_help=True,
    help="Model cards: what a network expects and gives.",
)

_ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="A shipped model's name, or a model card's path.")
]


class Padding(StrEnum):
    """Where zeros go when a record is shorter than the input."""

    both = "both"
    end = "end"
    start = "start"


@card_app.command("show")
def show(model: _ModelArgument, json_: Json = False) -> None:
    """Print a model's card.

    Example: leadlight card show my-model/card.toml
    """
    from leadlight.classify.cards import card_text, read_card
    from leadlight.classify.models import find_card

    card = read_card(find_card(model))
    typer.echo(card_text(card))
    print_summary(json_, card.model_dump(mode="json"))


@card_app.command("check")
def check(model: _ModelArgument, quiet: Quiet = False, json_: Json = False) -> None:
    """Load a model as every verb does: the card is sound, and the weights are those it names.

    Example: leadlight card check my-model
    """
    from leadlight.classify.models import check_model, load_model

    set_quiet(quiet)
    loaded = load_model(model)
    checked = check_model(loaded)
    say(
        f"{loaded.card.model.name}: {checked.n_parameters:,} parameters, "
        f"{len(loaded.card.input.leads)} leads x {loaded.card.input.samples} samples at "
        f"{loaded.card.input.rate_hz:g} Hz."
    )
    for name, logit in checked.logit_of_zeros.items():
        say(f"  {name:>6}  logit of an empty input {logit:.3f}")
    print_summary(json_, {"model": loaded.card.model.name, **asdict(checked)})


@card_app.command("convert")
def convert(
    h5: Annotated[
        Path, typer.Argument(metavar="H5", help="Keras HDF5 file of the Ribeiro family.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for weights and card.")],
    name: Annotated[str, typer.Option("--name", help="Of the model.")] = "ribeiro-keras",
    leads: Annotated[
        str | None,
        typer.Option(
            "--leads",
            help="Lead order that the network was trained on, separated by commas.",
        ),
    ] = None,
    unit_scale: Annotated[
        float,
        typer.Option("--unit-scale", help="The network's input is millivolt times this."),
    ] = 1.0,
    padding: Annotated[
        Padding, typer.Option("--padding", help="Where zeros go in short records.")
    ] = Padding.both,
    rate_hz: Annotated[
        float, typer.Option("--rate-hz", help="Samples per second that it was trained on.")
    ] = 400.0,
    classes: Annotated[
        str | None,
        typer.Option("--classes", help="Names of the outputs in order, separated by commas."),
    ] = None,
    licence: Annotated[str, typer.Option("--licence", help="Of the weights.")] = "",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Convert Keras weights of the Ribeiro network, unchanged, and write a card for them.

    Lead order and unit are not in the file and its documents disagree: `leadlight card fit` finds
    them on labelled records.

    Example: leadlight card convert model.hdf5 --out ribeiro
    """
    from leadlight.classify.keras_weights import convert_keras
    from leadlight.classify.models import save_model

    set_quiet(quiet)
    network, card = convert_keras(
        h5,
        name=name,
        leads=_names(leads),
        unit_scale=unit_scale,
        padding=padding.value,
        rate_hz=rate_hz,
        classes=_names(classes),
        licence=licence,
    )
    # Single precision, so that the converted network is the one in the file.
    stored = save_model(network, card, out, half=False, overwrite=overwrite)
    say(f"{stored.model.name} is in {out}: leads {', '.join(stored.input.leads)}.")
    say("Lead order and unit are settings, not facts of the file: see leadlight card fit.")
    print_summary(
        json_,
        {
            "folder": str(out),
            "leads": stored.input.leads,
            "unit_scale": unit_scale,
            "weights_sha256": stored.model.weights_sha256,
        },
    )


@card_app.command("fit")
def fit(
    model: _ModelArgument,
    study: Annotated[Path, typer.Option("--study", help="Study folder with labelled records.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for the model with the decided settings."),
    ] = None,
    table: Annotated[
        Path | None, typer.Option("--table", help="CSV file for all candidates.")
    ] = None,
    max_records: Annotated[
        int, typer.Option("--max-records", min=10, help="Labelled records to use at most.")
    ] = 400,
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", min=100, help="Resamples for the intervals.")
    ] = 1000,
    seed: Annotated[int, typer.Option("--seed", help="Of the sample and the bootstrap.")] = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Find the lead order, unit and padding that a network was trained with.

    Tries what documents leave open on labelled records. What the records cannot tell apart is said
    to be undecided and left as it is in the card.

    Example: leadlight card fit ribeiro --study ward --out ribeiro-fitted
    """
    from leadlight.atomic import refuse_overwrite, write_text
    from leadlight.classify.card_fit import fit_card_on_study
    from leadlight.classify.cards import CARD_FILE
    from leadlight.classify.models import load_model, save_model

    set_quiet(quiet)
    # Before the work, not after it.
    for target in (table, out and out / CARD_FILE):
        if target is not None:
            refuse_overwrite(target, overwrite)
    loaded = load_model(model)
    found = fit_card_on_study(
        loaded, study, max_records=max_records, n_bootstrap=bootstrap, seed=seed
    )
    for row in found.table.head(8).iter_rows(named=True):
        say(
            f"  {row['auroc']:.3f} ({row['auroc_low']:.3f} to {row['auroc_high']:.3f})  "
            f"unit_scale {row['unit_scale']:g}, padding {row['padding']}, {row['leads']}"
        )
    say(found.statement)
    if table is not None:
        write_text(table, found.table.write_csv())
    if out is not None:
        save_model(loaded.network, found.card, out, half=False, overwrite=overwrite)
        say(f"The model with this card is in {out}.")
    print_summary(
        json_,
        {
            "decided": found.decided,
            "best": asdict(found.best),
            "verdicts": [asdict(verdict) for verdict in found.verdicts],
            "card": found.card.input.model_dump(mode="json"),
            "records": found.n_records,
            "patients": found.n_patients,
            "statement": found.statement,
        },
    )


def _names(listed: str | None) -> tuple[str, ...] | None:
    return None if listed is None else tuple(part.strip() for part in listed.split(","))
