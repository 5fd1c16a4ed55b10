"""The median beats of a cohort on disk: int16 at 1 µV in one sharded Zarr v3 array.

`beats.zarr` opens with xarray: `median_beat` (record, lead, sample) in millivolt, `noise_uv`
(record, lead), `n_beats` (record), and the coordinates `record_id`, `lead` and `time_ms` (of each
sample from R). One record is one chunk, 256 records are one file.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import xarray as xr
import zarr
from zarr.codecs import BloscCodec

from leadlight.cohort.signals import MISSING, UV_PER_MV, write_names
from leadlight.ecg.leads import LEADS
from leadlight.ecg.median_beat import R_SAMPLE, RATE_HZ, SAMPLES
from leadlight.errors import LeadlightError

SHARD_RECORDS = 256


def open_beats(study: Path) -> xr.Dataset:
    """The median beats of a study, read as they are asked for; millivolt, NaN where missing.

    Raises:
        LeadlightError: the study has none.
    """
    store = study / "beats.zarr"
    if not store.is_dir():
        raise LeadlightError(
            f"{study} holds no median beats.",
            advice=f"Make them: leadlight measure --study {study}",
        )
    beats: xr.Dataset = xr.open_zarr(store, consolidated=False, chunks=None)
    return beats


def create(store: Path, record_ids: pl.Series, shard_records: int = SHARD_RECORDS) -> None:
    """A store for these records, all missing; `record_ids` are strings."""
    n = len(record_ids)
    group = zarr.create_group(
        store,
        zarr_format=3,
        overwrite=True,
        attributes={
            "title": "Leadlight median beats",
            "layout_version": 1,
            "rate_hz": RATE_HZ,
            "r_sample": R_SAMPLE,
        },
    )
    group.create_array(
        "median_beat",
        shape=(n, len(LEADS), SAMPLES),
        chunks=(1, len(LEADS), SAMPLES),
        shards=(shard_records, len(LEADS), SAMPLES),
        dtype="int16",
        fill_value=MISSING,
        compressors=BloscCodec(typesize=2, cname="zstd", clevel=3, shuffle="shuffle"),
        dimension_names=("record", "lead", "sample"),
        attributes={
            "units": "mV",
            "scale_factor": 1 / UV_PER_MV,
            "_FillValue": MISSING,
            "coordinates": "record_id time_ms",
        },
    )
    group.create_array(
        "noise_uv",
        shape=(n, len(LEADS)),
        chunks=(shard_records, len(LEADS)),
        dtype="float32",
        fill_value=np.nan,
        dimension_names=("record", "lead"),
        attributes={"units": "µV", "meaning": "standard error of the median beat"},
    )
    group.create_array(
        "n_beats",
        shape=(n,),
        chunks=(shard_records,),
        dtype="int32",
        fill_value=0,
        dimension_names=("record",),
        attributes={"meaning": "beats averaged"},
    )
    time_ms = (np.arange(SAMPLES) - R_SAMPLE) * 1000.0 / RATE_HZ
    write_names(group, "record_id", "record", record_ids)
    write_names(group, "lead", "lead", pl.Series(LEADS))
    times = group.create_array(
        "time_ms", shape=(SAMPLES,), chunks=(SAMPLES,), dtype=float, dimension_names=("sample",)
    )
    times[:] = time_ms


def open_store(store: Path, mode: Literal["r", "r+"] = "r") -> zarr.Group:
    """The group itself, for writing or for reading whole numbers of µV."""
    return zarr.open_group(store, mode=mode)


def write_rows(
    group: zarr.Group,
    rows: range,
    stored: Sequence[npt.NDArray[np.int16] | None],
    noise_uv: Sequence[npt.NDArray[np.float32] | None],
    n_beats: Sequence[int],
) -> None:
    """Write neighbouring records, (lead, sample) µV and (lead,) each; None stays missing.

    `rows` should be a whole shard, which is then written once.
    """
    values = np.full((len(rows), len(LEADS), SAMPLES), MISSING, dtype=np.int16)
    noise = np.full((len(rows), len(LEADS)), np.nan, dtype=np.float32)
    for place, (beat, error) in enumerate(zip(stored, noise_uv, strict=True)):
        if beat is not None:
            values[place] = beat
        if error is not None:
            noise[place] = error
    where = slice(rows.start, rows.stop)
    arrays: dict[str, Any] = {name: group[name] for name in ("median_beat", "noise_uv", "n_beats")}
    arrays["median_beat"][where] = values
    arrays["noise_uv"][where] = noise
    arrays["n_beats"][where] = np.asarray(n_beats, dtype=np.int32)
