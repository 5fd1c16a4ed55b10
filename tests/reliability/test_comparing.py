"""The comparison behind the fault tests finds what a fault would leave."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from comparing import differences
from PIL import Image


def cut(path: Path, share: float = 0.6) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def without_a_chunk(study: Path) -> None:
    next(p for p in (study / "cohort.zarr" / "signal" / "c").rglob("*") if p.is_file()).unlink()


def other_number(study: Path) -> None:
    path = study / "measurements.parquet"
    pl.read_parquet(path).with_columns(pl.col("qrs_ms") + 0.5).write_parquet(path)


def other_text(study: Path) -> None:
    path = study / "classify" / "leadlight-ecg-6" / "scores.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"n_records_excluded": 999}))


def picture(seed: int) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def other_picture(study: Path) -> None:
    picture(1).save(study / "report" / "beat.png")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda s: cut(s / "records.parquet"), "records.parquet: cannot be read"),
        (lambda s: cut(s / "report" / "index.html"), "report/index.html: another page"),
        (lambda s: cut(s / "measure-provenance.json"), "measure-provenance.json: cannot be read"),
        (lambda s: cut(s / "report" / "beat.png", 0.9), "beat.png: cannot be"),
        (other_picture, "beat.png: another picture"),
        (without_a_chunk, "cohort.zarr: other files"),
        (other_number, "measurements.parquet: the columns qrs_ms differ"),
        (other_text, "scores.json: differs: n_records_excluded"),
        (lambda s: (s / "findings" / "leads.parquet").unlink(), "leads.parquet is missing"),
        (lambda s: (s / "report" / "extra.csv").touch(), "extra.csv: no result"),
        (lambda s: (s / ".measure.partial").mkdir(), ".measure.partial was left behind"),
    ],
)
def test_a_fault_is_seen(
    whole: Path, tmp_path: Path, harm: Callable[[Path], object], said: str
) -> None:
    study, reference = tmp_path / "study", tmp_path / "reference"
    for copy, made_at in ((study, "2026-01-02 10:11"), (reference, "2026-03-04 05:06")):
        shutil.copytree(whole / "study", copy)
        (copy / "report").mkdir()
        page = f"<html><p>Made at {made_at}.</p>{'words ' * 99}</html>"
        (copy / "report" / "index.html").write_text(page)
        picture(0).save(copy / "report" / "beat.png")
    assert differences(study, reference, finished=True) == []
    harm(study)
    found = differences(study, reference, finished=True)
    assert any(said in fault for fault in found), found
