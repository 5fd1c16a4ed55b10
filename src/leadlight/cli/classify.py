"""`leadlight classify`: a model's probabilities for every record of a study."""

from pathlib import Path
from typing import Annotated

import typer

from leadlight.cli.options import Json, Overwrite, Quiet, print_summary
from leadlight.progress import say, set_quiet


def classify(
    study: Annotated[Path, typer.Option("--study", help="Study folder with a cohort.")],
    model: Annotated[
        str | None,
        typer.Option("--model", help="A shipped model's name, or the path of a model card."),
    ] = None,
    batch: Annotated[
        int, typer.Option("--batch", min=1, help="Records that pass the network at once.")
    ] = 32,
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", min=0, help="Resamples for the intervals of the scores.")
    ] = 1000,
    device: Annotated[
        str, typer.Option("--device", help="Where to compute: cpu, cuda, mps.")
    ] = "cpu",
    seed: Annotated[int, typer.Option("--seed", help="Of the bootstrap.")] = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Predict every record of a study, and score the predictions where records are labelled.

    Results lie in `classify/<model>/` of the study folder. Records that the model cannot take are
    listed there with the reason.

    Example: leadlight classify --study ward --model my-model/card.toml
    """
    from leadlight.classify.models import DEFAULT_MODEL, load_model
    from leadlight.classify.predict import classify_cohort

    set_quiet(quiet)
    loaded = load_model(model or DEFAULT_MODEL)
    done = classify_cohort(
        study,
        loaded,
        batch=batch,
        overwrite=overwrite,
        seed=seed,
        n_bootstrap=bootstrap,
        device=device,
    )
    say(f"{done.n_predicted} of {done.n_records} records predicted, in {done.folder}.")
    if done.n_refused:
        say(f"{done.n_refused} cannot be given to the model: {done.folder / 'refused.parquet'}.")
    for name, count in done.n_called.items():
        threshold = loaded.card.output.thresholds[name]
        say(f"  {name:>6}  {count} at or above {threshold:.3g}")
    print_summary(
        json_,
        {
            "model": loaded.card.model.name,
            "folder": str(done.folder),
            "records": done.n_records,
            "predicted": done.n_predicted,
            "refused": done.n_refused,
            "excluded_from_scores": done.n_excluded,
            "called": done.n_called,
            "scored": done.scores is not None,
        },
    )
