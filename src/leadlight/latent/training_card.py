"""The card of a factor model that was trained, and the list of whom it saw."""

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from leadlight.atomic import written_whole
from leadlight.classify.fitting import Fit
from leadlight.latent.beats import Beats
from leadlight.latent.card import CARD_FILE, LatentCard, ModelSection, Typical
from leadlight.latent.choosing import Choice
from leadlight.latent.model import Factors, LatentModel, beat_input
from leadlight.latent.objective import equivalents
from leadlight.latent.settings import LatentSettings, study_shares

_TYPICAL_QUANTILE = 0.99
_LEAST_TYPICAL = 40


def card_of_training(
    factors: Factors,
    choice: Choice,
    population: Beats,
    deciding: Beats,
    settings: LatentSettings,
    names: Sequence[str],
    training: Sequence[Beats],
    fitted: Fit,
) -> LatentCard:
    """The card: factors, what is typical of records not fitted to, and how it was made."""
    held = deciding if len(deciding) >= _LEAST_TYPICAL else population
    section = ModelSection(name=settings.name, architecture=settings.architecture)
    card = LatentCard(
        model=section,
        input=beat_input(),
        factors=choice.factors,
        typical=Typical(error_uv=1.0, distance=1.0, records=len(held)),
    )
    found = LatentModel(card, factors, None, Path(CARD_FILE)).encode_all(held)
    typical = Typical(
        error_uv=round(float(np.quantile(found.error_uv, _TYPICAL_QUANTILE)), 2),
        distance=round(float(np.quantile(found.distance, _TYPICAL_QUANTILE)), 3),
        records=len(held),
    )
    best = fitted.history.row(fitted.best_epoch - 1, named=True)
    return card.model_copy(
        update={
            "typical": typical,
            "objective": dataclasses.asdict(settings.objective)
            | {"equivalents": equivalents(settings.objective, latents=len(choice.offset))},
            "training": {
                "studies": list(names),
                "records": [len(part) for part in training],
                "patients": [part.records["patient_id"].n_unique() for part in training],
                "shares": study_shares(training, settings.study_weights).round(4).tolist(),
                "reference": list(settings.reference),
                "seed": settings.seed,
                "epochs": fitted.history.height,
                "best_epoch": fitted.best_epoch,
                "date": datetime.now(UTC).date().isoformat(),
                "dropped_latents": {str(latent): why for latent, why in choice.dropped.items()},
            },
            "metrics": {
                "validation": {
                    name: round(float(best[name]), 4)
                    for name in ("mae_uv", "r", "kl_nats")
                    if best.get(name) is not None
                }
            },
        }
    )


def write_trained_on(path: Path, training: Sequence[Beats], deciding: Beats) -> None:
    """`trained-on.parquet`: records of training and validation."""
    columns = ["record_id", "patient_id", "study", "split"]
    parts = [*(part.records for part in training), deciding.records]
    with written_whole(path) as partial:
        pl.concat([part.select(columns) for part in parts]).write_parquet(partial)
