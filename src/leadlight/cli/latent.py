"""`leadlight latent`: the ECG's own factors."""

from pathlib import Path
from typing import Annotated

import typer

from leadlight.cli.options import Json, Overwrite, Quiet, Seed, Workers, print_summary
from leadlight.errors import LeadlightError
from leadlight.progress import say, set_quiet

latent_app = typer.Typer(
    name="latent",
    no_args_is_help=True,
    help="Factors of the ECG: train a model, encode records, measure and draw what factors are.",
)

_Study = Annotated[Path, typer.Option("--study", help="Study folder that has been measured.")]
_Model = Annotated[
    str, typer.Option("--model", help="A factor model that comes with Leadlight, or a card.")
]


@latent_app.command("train")
def train(
    study: Annotated[
        list[Path],
        typer.Option("--study", help="Measured study, or a folder of beats; may be repeated."),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the new model.")],
    recipe: Annotated[
        Path | None, typer.Option("--recipe", help="TOML file of settings; see the manual.")
    ] = None,
    weight: Annotated[
        list[float] | None,
        typer.Option("--weight", help="A study's share of a batch, in the order of --study."),
    ] = None,
    validation_study: Annotated[
        str, typer.Option("--validation-study", help="Whose validation split decides the end.")
    ] = "",
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="In place of the recipe's.")
    ] = None,
    beta: Annotated[
        list[float] | None,
        typer.Option("--beta", help="In place of the recipe's; several with --sweep."),
    ] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option("--seed", min=0, help="In place of the recipe's; several with --sweep."),
    ] = None,
    sweep: Annotated[
        bool,
        typer.Option("--sweep", help="Train every --beta with every --seed and compare them."),
    ] = False,
    cache: Annotated[
        Path | None, typer.Option("--cache", help="Folder of beats, to share between runs.")
    ] = None,
    workers: Workers = 1,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a training that was stopped.")
    ] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Train a factor model on the train splits of studies.

    On several devices or machines: `torchrun --nproc-per-node 4 -m leadlight.cli.app latent train
    ...`.

    Example: leadlight latent train --study ward --out my-factors
    """
    from leadlight.latent.recipe import read_recipe, with_changes
    from leadlight.latent.sweep import sweep as sweep_models
    from leadlight.latent.training import train as train_model

    set_quiet(quiet)
    _threads(workers)
    settings = with_changes(read_recipe(recipe), weights=weight, epochs=epochs)
    if sweep:
        table = sweep_models(
            study, out, settings, seeds=seed or [settings.seed], validation_study=validation_study,
            betas=beta or [settings.objective.beta], cache=cache, resume=resume,
            overwrite=overwrite,
        )  # fmt: skip
        for row in table.to_dicts():
            say(", ".join(f"{name} {value}" for name, value in row.items()))
        print_summary(json_, {"models": table.to_dicts()})
        return
    if len(beta or []) > 1 or len(seed or []) > 1:
        raise LeadlightError("Several betas or seeds were given.", advice="Add --sweep.")
    settings = with_changes(
        settings, beta=beta[0] if beta else None, seed=seed[0] if seed else None
    )
    done = train_model(
        study, out, settings, cache=cache, validation_study=validation_study, resume=resume,
        overwrite=overwrite,
    )  # fmt: skip
    metrics = done.model.card.metrics["validation"]
    say(
        f"{len(done.model.names)} factors; on validation records {metrics['mae_uv']:.1f} µV, "
        f"r {metrics['r']:.3f}."
    )
    print_summary(
        json_,
        {
            "card": str(done.model.source),
            "factors": len(done.model.names),
            "best_epoch": done.best_epoch,
            "records_per_s": round(done.records_per_s, 1),
            "metrics": done.model.card.metrics,
        },
    )


@latent_app.command("encode")
def encode(
    study: Annotated[
        Path | None, typer.Option("--study", help="Study folder that has been measured.")
    ] = None,
    cart: Annotated[
        list[Path] | None,
        typer.Option("--cart", help="Files with a cart's own median beat; with --out."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Parquet file; in the study where not given.")
    ] = None,
    model: _Model = "leadlight-factors",
    folds: Annotated[
        int, typer.Option("--folds", help="Train without each person in turn; 0 uses the model.")
    ] = 0,
    recipe: Annotated[
        Path | None, typer.Option("--recipe", help="Settings of the folds' training.")
    ] = None,
    other: Annotated[
        list[Path] | None,
        typer.Option("--with", help="Further studies to train the folds on; may be repeated."),
    ] = None,
    workers: Workers = 1,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Write `factors.parquet`: one row per record, with flags for beats unlike those of training.

    Example: leadlight latent encode --study ward
    """
    from leadlight.latent.encoding import encode_files, encode_out_of_fold, encode_study
    from leadlight.latent.model import load_latent_model
    from leadlight.latent.recipe import read_recipe, with_changes

    set_quiet(quiet)
    _threads(workers)
    loaded = load_latent_model(model)
    if cart:
        if out is None:
            raise LeadlightError("--cart needs --out.", advice="Name the Parquet file to write.")
        summary = encode_files(cart, loaded, out, overwrite=overwrite)
    elif study is None:
        raise LeadlightError("Nothing to encode.", advice="Give --study, or --cart and --out.")
    elif folds:
        summary, matches = encode_out_of_fold(
            study, loaded, with_changes(read_recipe(recipe), seed=seed), folds,
            others=other or (), cache=study / "latent" / "folds", overwrite=overwrite,
        )  # fmt: skip
        middle = sorted(matches["r"].to_list())[matches.height // 2]
        say(f"Factors of the folds match the model's with a median |r| of {middle:.2f}.")
    else:
        summary = encode_study(study, loaded, overwrite=overwrite, out=out)
    say(
        f"{summary.n_encoded} of {summary.n_records} records encoded, {summary.n_flagged} flagged; "
        f"{summary.path}."
    )
    print_summary(json_, summary.as_json() | {"seed": seed})


@latent_app.command("evaluate")
def evaluate(
    study: _Study,
    model: _Model = "leadlight-factors",
    split: Annotated[
        list[str] | None, typer.Option("--split", help="Of the records; may be repeated.")
    ] = None,
    classifier: Annotated[
        str, typer.Option("--classifier", help="Whose logits are explained through factors.")
    ] = "leadlight-ecg-6",
    workers: Workers = 1,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Measure a factor model on records that it was not fitted to.

    Example: leadlight latent evaluate --study ward --split test
    """
    from leadlight.latent.evaluation import evaluate as evaluate_model
    from leadlight.latent.model import load_latent_model

    set_quiet(quiet)
    _threads(workers)
    done = evaluate_model(
        study, load_latent_model(model), splits=tuple(split or ("test",)), classifier=classifier,
        seed=seed, overwrite=overwrite,
    )  # fmt: skip
    value, low, high = done.summary["mae_uv"]
    say(f"MAE {value:.1f} µV ({low:.1f} to {high:.1f}); all of it in {done.folder}.")
    print_summary(json_, done.summary | {"folder": str(done.folder)})


@latent_app.command("traverse")
def traverse(
    study: _Study,
    model: _Model = "leadlight-factors",
    classifier: Annotated[
        str, typer.Option("--classifier", help="Whose classes are drawn as directions.")
    ] = "leadlight-ecg-6",
    workers: Workers = 1,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Draw what each factor does to the ECG, on one page.

    Example: leadlight latent traverse --study ward
    """
    from leadlight.latent.exploring import explore
    from leadlight.latent.model import load_latent_model
    from leadlight.report.latent_page import write_latent_page

    set_quiet(quiet)
    _threads(workers)
    folder = explore(
        study, load_latent_model(model), classifier=classifier, seed=seed, overwrite=overwrite
    )
    page = write_latent_page(folder.parent, overwrite=overwrite)
    say(f"The page is {page}.")
    print_summary(json_, {"page": str(page)})


def _threads(workers: int) -> None:
    import torch

    torch.set_num_threads(workers)
