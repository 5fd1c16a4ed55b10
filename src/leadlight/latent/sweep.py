"""Several seeds and betas of one training, compared; and how stable factors are over seeds."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from leadlight.atomic import refuse_overwrite, written_whole
from leadlight.errors import LeadlightError
from leadlight.latent.beats import Beats, concatenate, gather_beats
from leadlight.latent.card import CARD_FILE
from leadlight.latent.choosing import match_factors
from leadlight.latent.model import LatentModel, load_latent_model
from leadlight.latent.settings import LatentSettings
from leadlight.latent.training import train

SAME = 0.9  # |r| from which a factor counts as found again


def sweep(
    studies: Sequence[Path],
    out: Path,
    settings: LatentSettings,
    *,
    seeds: Sequence[int],
    betas: Sequence[float],
    cache: Path | None = None,
    validation_study: str = "",
    resume: bool = False,
    overwrite: bool = False,
) -> pl.DataFrame:
    """Train every beta with every seed, each into `out/beta-B-seed-S/`.

    Writes `out/sweep.parquet`, one row per model: `beta, seed, factors, mae_uv, r, kl_nats,
    matched` (factors that the first seed of the same beta has with |r| ≥ 0.9 on validation
    records), and `out/stability.parquet`, see `stability`. With `resume`, models that are whole
    are not trained again.
    """
    refuse_overwrite(out / "sweep.parquet", overwrite or resume)
    cache = out / "cache" if cache is None else cache
    rows, tables = [], []
    held = concatenate(
        [gather_beats([study], cache).of_split("validation", "test") for study in studies]
    )
    for beta in betas:
        models = []
        for seed in seeds:
            folder = out / f"beta-{beta:g}-seed-{seed}"
            if resume and (folder / CARD_FILE).exists():
                model = load_latent_model(folder)
            else:
                one = replace(settings, seed=seed, objective=replace(settings.objective, beta=beta))
                model = train(
                    studies, folder, one, cache=cache, validation_study=validation_study,
                    resume=resume, overwrite=overwrite,
                ).model  # fmt: skip
            models.append(model)
        table = stability(models, held).with_columns(pl.lit(beta).alias("beta"))
        tables.append(table)
        for seed, model in zip(seeds, models, strict=True):
            metrics = model.card.metrics["validation"]
            again = table.filter((pl.col("model") == seeds.index(seed)) & (pl.col("r") >= SAME))
            rows.append((beta, seed, len(model.names), metrics["mae_uv"], metrics["r"],
                         metrics["kl_nats"], again.height))  # fmt: skip
    names = ["beta", "seed", "factors", "mae_uv", "r", "kl_nats", "matched"]
    compared = pl.DataFrame(rows, schema=names, orient="row")
    for name, written in (("stability", pl.concat(tables)), ("sweep", compared)):
        with written_whole(out / f"{name}.parquet") as partial:
            written.write_parquet(partial)
    return compared


def stability(models: Sequence[LatentModel], beats: Beats) -> pl.DataFrame:
    """How the factors of the first model are found again by the others, on the same records.

    Returns:
        `model` (its place, from 0), `factor` (of the first), `partner` (of this one), `r` (|r|).
        The first model stands in it as its own partner.
    """
    if not models:
        raise LeadlightError("There is no model to compare.")
    first = models[0].encode_all(beats).factors.astype(np.float64)
    rows = []
    for place, model in enumerate(models):
        other = model.encode_all(beats).factors.astype(np.float64)
        partner, r = match_factors(first, other)
        rows += [
            (place, name, model.names[at] if at >= 0 else "", float(abs(value)))
            for name, at, value in zip(models[0].names, partner, r, strict=True)
        ]
    return pl.DataFrame(rows, schema=["model", "factor", "partner", "r"], orient="row")
