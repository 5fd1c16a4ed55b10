"""The factors of parts of a cohort as those of the whole."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from leadlight.atomic import refuse_overwrite, write_json, written_whole
from leadlight.cohort.joining import parts_with_records, refuse_other_records
from leadlight.errors import LeadlightError
from leadlight.latent.decoder_file import ensure_decoder
from leadlight.latent.model import LatentModel
from leadlight.provenance import describe


def join_factors(
    parts: Sequence[Path], study: Path, model: LatentModel, *, overwrite: bool = False
) -> Path:
    """Write `latent/<model>/` of `study` from those of `parts`; the path of `factors.parquet`.

    Args:
        parts: study folders, in the order of the joined cohort's records.
        study: with the joined cohort.
        model: that the parts were encoded with.
        overwrite: replace factors that are there.

    Raises:
        LeadlightError: a part was not encoded with this model, or its records are not the cohort's.
    """
    name = model.card.model.name
    target = study / "latent" / name / "factors.parquet"
    refuse_overwrite(target, overwrite)
    tables = [part / "latent" / name / "factors.parquet" for part in parts_with_records(parts)]
    if absent := [table for table in tables if not table.is_file()]:
        raise LeadlightError(f"{absent[0]} is absent.", advice="Finish this part first.")
    names = pl.scan_parquet(tables).select("record_id").collect()["record_id"]
    refuse_other_records(study, names, "factors")
    with written_whole(target) as partial:
        pl.scan_parquet(tables).sink_parquet(partial)
    said = {"model": name, "weights": model.card.model.weights_sha256, "parts": len(parts)}
    provenance = describe("latent encode", said, [study / "measurements.parquet"])
    write_json(target.with_name(f"{target.stem}-provenance.json"), provenance)
    ensure_decoder(study, model)
    return target
