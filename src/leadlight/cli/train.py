"""`leadlight train`: fit a classifier to one or more studies."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from leadlight.cli.options import Json, Overwrite, Quiet, print_summary
from leadlight.progress import say, set_quiet


def train(
    study: Annotated[
        list[Path], typer.Option("--study", help="Study folder with labels; may be repeated.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the new model.")],
    recipe: Annotated[
        str, typer.Option("--recipe", help="A recipe that comes with Leadlight, or a TOML file.")
    ] = "leadlight-ecg-6",
    weight: Annotated[
        list[float] | None,
        typer.Option("--weight", help="A study's share of an epoch, in the order of --study."),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="In place of the recipe's.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="In place of the recipe's.")
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="In place of the recipe's: auto, cpu, cuda.")
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option("--cache", help="Folder of prepared records, to share between runs."),
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Processes that prepare records.")
    ] = 1,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a training that was stopped.")
    ] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Train a network on the train splits of studies; score it once on their test splits.

    The model's folder gets a card, the weights, the scores, and a list of the records trained on.

    Example: leadlight train --study ward --study simulated --out my-model
    """
    from leadlight.classify.recipe import read_recipe
    from leadlight.classify.training import train as train_model

    set_quiet(quiet)
    settings = read_recipe(recipe)
    if weight:
        settings = replace(settings, study_weights=tuple(weight))
    if epochs is not None:
        settings = replace(settings, fit=replace(settings.fit, epochs=epochs))
    if seed is not None:
        settings = replace(settings, seed=seed)
    if device is not None:
        settings = replace(settings, device=device)
    done = train_model(
        study, out, settings, cache=cache, workers=workers, resume=resume, overwrite=overwrite
    )
    say(f"The model is {done.card_path}. AUROC on test records it never saw:")
    for name, scores in done.scores.items():
        for label, figures in scores["splits"]["test"]["classes"].items():
            say(f"  {name} {label:>6}  {_figure(figures)}")
    print_summary(
        json_,
        {
            "card": str(done.card_path),
            "epochs": done.history.height,
            "best_epoch": done.best_epoch,
            "parameters": done.n_parameters,
            "records_per_s": round(done.records_per_s, 1),
            "thresholds": done.card.output.thresholds,
            "metrics": done.card.metrics,
        },
    )


def _figure(figures: dict[str, dict[str, float | None]]) -> str:
    auroc = figures["auroc"]
    count = f"{figures['n_positive_records']} of {figures['n_records']} records positive"
    if auroc["value"] is None:
        return f"undefined ({count})"
    interval = "" if auroc["low"] is None else f" ({auroc['low']:.3f} to {auroc['high']:.3f})"
    return f"{auroc['value']:.3f}{interval}, {count}"
