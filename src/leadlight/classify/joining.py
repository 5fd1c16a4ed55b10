"""The predictions of parts of a cohort as those of the whole."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from leadlight.atomic import refuse_overwrite
from leadlight.classify.models import Model
from leadlight.classify.predict import ClassifySummary, write_predictions
from leadlight.cohort.joining import parts_with_records, refuse_other_records
from leadlight.cohort.store import open_cohort
from leadlight.errors import LeadlightError


def join_predictions(
    parts: Sequence[Path],
    study: Path,
    model: Model,
    *,
    overwrite: bool = False,
    seed: int = 0,
    n_bootstrap: int = 1000,
) -> ClassifySummary:
    """Write `classify/<model>/` of `study` from those of `parts`; scores are worked out anew.

    Args:
        parts: study folders, in the order of the joined cohort's records.
        study: with the joined cohort.
        model: that the parts were classified with.
        overwrite, seed, n_bootstrap: see `classify_cohort`.

    Raises:
        LeadlightError: a part was not classified with this model, or its records are not the
            cohort's.
    """
    cohort = open_cohort(study)
    refuse_overwrite(study / "classify" / model.card.model.name, overwrite)
    folders = [part / "classify" / model.card.model.name for part in parts_with_records(parts)]
    for folder in folders:
        if not (folder / "logits.parquet").is_file():
            raise LeadlightError(f"{folder} is absent.", advice="Finish this part first.")
    tables = pl.read_parquet([folder / "logits.parquet" for folder in folders])
    refused = pl.read_parquet([folder / "refused.parquet" for folder in folders])
    both = pl.concat([tables["record_id"], refused["record_id"]])
    own = cohort.records["record_id"]
    refuse_other_records(study, own.filter(own.is_in(both.to_list())), "predictions")
    logits = tables.select(model.card.output.classes).cast(pl.Float32).to_numpy()
    return write_predictions(
        cohort, model, tables["record_id"].to_list(), logits, refused.rows(),
        {"n_records": len(cohort), "parts": len(parts)}, seed=seed, n_bootstrap=n_bootstrap,
    )  # fmt: skip
