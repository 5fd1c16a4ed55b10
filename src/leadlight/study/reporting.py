"""The page of a study, with what the page itself may not make: it reads results, never models."""

from pathlib import Path

from leadlight.latent.decoder_file import ensure_decoder
from leadlight.latent.model import load_latent_model, shipped_latent_models
from leadlight.report.page import write_report


def report_study(study: Path, *, overwrite: bool = False) -> Path:
    """Write `report/index.html` and return its path; see `write_report`.

    Factors that were encoded with a model that comes with Leadlight get the file that the factor
    explorer decodes with, where an earlier version did not write it.
    """
    for name in shipped_latent_models():
        if (study / "latent" / name / "factors.parquet").is_file():
            ensure_decoder(study, load_latent_model(name))
    return write_report(study, overwrite=overwrite)
