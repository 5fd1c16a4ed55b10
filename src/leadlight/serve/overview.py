"""What the study has, in numbers: for its page and for whoever asks the API."""

import time
from typing import Any

import polars as pl

from leadlight import __version__
from leadlight.report.explorer_data import latent_folders
from leadlight.serve.folder import REPORT_PAGE, StudyFolder
from leadlight.serve.record_list import facets
from leadlight.serve.region import tables_of


def overview(study: StudyFolder) -> dict[str, Any]:
    """JSON-ready: `study`, `version`, `records` with labels, flags and splits, `classifiers`,
    `explained`, `factors`, `sets` with their traits, `loci`, `report`."""
    report = study.path / REPORT_PAGE
    decodable = {one.name for one in latent_folders(study.path)}
    return {
        "study": study.name,
        "version": __version__,
        "records": facets(study) if study.records.is_file() else None,
        "classifiers": list(study.classifiers()),
        "explained": study.explained_model() if (study.path / "relevance.zarr").is_dir() else "",
        "factors": [
            {"model": name, "decoder": name in decodable} for name in study.factor_tables()
        ],
        "sets": [
            {
                "name": label, "traits": list(tables_of(one)), "people": one.people,
                "variants": one.variants, "null": one.is_null,
            }
            for label, one in study.sets().items()
        ],
        "loci": _count(study),
        "report": time.strftime("%Y-%m-%d %H:%M", time.localtime(report.stat().st_mtime))
        if report.is_file()
        else None,
    }  # fmt: skip


def _count(study: StudyFolder) -> int | None:
    path = study.path / "loci" / "loci.parquet"
    if not path.is_file():
        return None
    return int(pl.scan_parquet(path).select(pl.len()).collect().item())
