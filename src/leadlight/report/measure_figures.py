"""Figures of measured records: the delineated recording on paper, and its median beat."""

import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from leadlight.atomic import refuse_overwrite, written_whole
from leadlight.cohort.store import Cohort, open_cohort
from leadlight.ecg.measurements import MeasuredRecording, measure_recording, on_cart_median
from leadlight.errors import LeadlightError
from leadlight.report.beat_drawing import draw_delineated_ecg, draw_median_beat
from leadlight.report.figures import png_bytes

FOLDER = "measure-figures"


def write_measure_figures(
    study: Path, record_ids: Sequence[str] = (), *, first: int = 0, overwrite: bool = False
) -> list[Path]:
    """Draw records of a measured study into `measure-figures/`: `ID-ecg.png` and `ID-beat.png`.

    Each record is read again as `leadlight measure` read it, which takes less time than drawing.

    Args:
        study: folder with a cohort and its measurements.
        record_ids: which to draw.
        first: draw so many of the first measured records as well.
        overwrite: replace figures that are there.

    Returns:
        The files written.

    Raises:
        LeadlightError: the study is not measured, a record is unknown or could not be measured, or
            a figure exists already.
    """
    cohort, table = open_cohort(study), study / "measurements.parquet"
    if not table.is_file():
        raise LeadlightError(
            f"{study} is not measured.", advice=f"Measure it: leadlight measure --study {study}"
        )
    rows = pl.read_parquet(table, columns=["record_id", "failure", "median_beat"])
    measured = rows.filter(pl.col("failure").is_null())
    wanted = list(dict.fromkeys([*record_ids, *measured["record_id"].head(first).to_list()]))
    medians = dict(zip(measured["record_id"], measured["median_beat"], strict=True))
    for record_id in wanted:
        cohort.row_of(record_id)
        if record_id not in medians:
            reason = rows.filter(pl.col("record_id") == record_id)["failure"].to_list()
            raise LeadlightError(
                f"{record_id} has nothing to draw: {(reason or ['it is not measured'])[0]}",
                advice="Draw another record, or measure the study again.",
            )
        for path in _paths(study, record_id):
            refuse_overwrite(path, overwrite)
    written: list[Path] = []
    for record_id in wanted:
        written += _draw(cohort, record_id, medians[record_id] == "cart")
    return written


def _paths(study: Path, record_id: str) -> tuple[Path, Path]:
    name = re.sub(r"[^\w.-]", "_", record_id)
    return study / FOLDER / f"{name}-ecg.png", study / FOLDER / f"{name}-beat.png"


def _draw(cohort: Cohort, record_id: str, of_cart: bool) -> tuple[Path, Path]:
    recording = cohort.recording(cohort.row_of(record_id))
    found: MeasuredRecording = measure_recording(recording.signal_mv, recording.rate_hz)
    if of_cart:
        found = on_cart_median(found, recording)
    paths = _paths(cohort.study, record_id)
    figures = (
        draw_delineated_ecg(
            recording.signal_mv, recording.rate_hz, found.fiducials, title=record_id
        ),
        draw_median_beat(
            found.beat, found.limits, values=found.measurements.values, title=record_id
        ),
    )
    for path, figure in zip(paths, figures, strict=True):
        with written_whole(path) as partial:
            partial.write_bytes(png_bytes(figure))
    return paths
