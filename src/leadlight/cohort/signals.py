"""The signals of a cohort on disk: int16 at 1 µV in one sharded Zarr v3 array.

A chunk is ten seconds of one record at 500 Hz, all twelve leads (1, 12, 5000); a longer record
spans chunks along the sample axis, a shorter one is padded with "missing". A shard is one file that
holds the same ten seconds of 256 records, so a million ten-second records are some 4,000 files;
a stretch in which no record of a shard has a value has no chunk and no file.

Where recordings bring a median beat of their cart (`median_beat_mv`), the same group holds these
as `cart_beat` (record, lead, cart_sample), as the files gave them.

Chosen by measurement (benchmarks/cohort_store.py, 500 records of PTB-XL): Blosc zstd level 3 with
byte shuffle takes 36 % of the raw size, bit shuffle 39 %, lz4 45 to 50 %, and what a read takes
beyond reading uncompressed chunks is mostly the library's own time, nearly the same for all.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import xarray as xr
import zarr
from zarr.codecs import BloscCodec

from leadlight.ecg.leads import LEADS, as_leads, named_rows

MISSING = -32768
LIMIT_UV = 32767
UV_PER_MV = 1000
CHUNK_SAMPLES = 5000
SHARD_RECORDS = 256
CART_CHUNK_SAMPLES = 600  # what GE carts write
_NAMES_CHUNK = 10_000

Microvolts = npt.NDArray[np.int16]


def to_microvolts(signal_mv: xr.DataArray) -> tuple[Microvolts, bool]:
    """A signal as stored: int16 in µV, `MISSING` where it is NaN.

    Args:
        signal_mv: (lead, sample) in millivolt, with all of `LEADS` in any order.

    Returns:
        (lead, sample) int16 in the order of `LEADS`, and whether anything was clipped: values
        beyond ±32.767 mV are set to that limit, never wrapped.
    """
    names, rows = named_rows(signal_mv)
    values = rows if tuple(names) == LEADS else rows[[names.index(lead) for lead in LEADS]]
    microvolts = np.rint(values.astype(np.float64) * UV_PER_MV)
    missing = np.isnan(microvolts)
    clipped = bool((np.abs(microvolts) > LIMIT_UV).any())
    bounded = np.clip(np.where(missing, 0, microvolts), -LIMIT_UV, LIMIT_UV)
    stored = bounded.astype(np.int16)
    stored[missing] = MISSING
    return stored, clipped


def from_microvolts(stored: Microvolts) -> xr.DataArray:
    """What `to_microvolts` stored, (lead, sample) float32 in millivolt, NaN where missing."""
    signal = stored.astype(np.float32)
    signal /= UV_PER_MV
    signal[stored == MISSING] = np.nan
    return as_leads(signal)


def create(store: Path, shard_records: int) -> zarr.Array[Any]:
    """A new, empty signal array (0, 12, 0) in the Zarr group at `store`."""
    group = zarr.create_group(
        store, zarr_format=3, attributes={"title": "Leadlight cohort", "layout_version": 1}
    )
    return _empty(group, "signal", "sample", CHUNK_SAMPLES, shard_records)


def create_cart_beats(store: Path, shard_records: int) -> zarr.Array[Any]:
    """A new, empty array (0, 12, 0) for the carts' median beats in the group at `store`."""
    group = zarr.open_group(store, mode="r+")
    return _empty(group, "cart_beat", "cart_sample", CART_CHUNK_SAMPLES, shard_records)


def _empty(
    group: zarr.Group, name: str, axis: str, chunk_samples: int, shard_records: int
) -> zarr.Array[Any]:
    return group.create_array(
        name,
        shape=(0, len(LEADS), 0),
        chunks=(1, len(LEADS), chunk_samples),
        shards=(shard_records, len(LEADS), chunk_samples),
        dtype="int16",
        fill_value=MISSING,
        compressors=BloscCodec(typesize=2, cname="zstd", clevel=3, shuffle="shuffle"),
        dimension_names=("record", "lead", axis),
        attributes={
            "units": "mV",
            "scale_factor": 1 / UV_PER_MV,
            "_FillValue": MISSING,
            "coordinates": "record_id",
        },
        config={"write_empty_chunks": False},
    )


def write_shard(
    signal: zarr.Array[Any], shard: int, stored: npt.NDArray[np.int16], lengths: list[int]
) -> None:
    """Write the records of one shard, one chunk's stretch of all of them at a time.

    Args:
        signal: the array of `create` or `create_cart_beats`; it grows as needed, in whole shards.
        shard: which shard along the record axis.
        stored: the records' samples one after another, each (lead, sample) in C order; a
            memory-mapped file will do, and then memory is flat however long the records are.
        lengths: samples per lead of each record; 0 where it has none.
    """
    assert signal.shards is not None
    shard_records, _, chunk_samples = signal.shards
    blocks = -(-max(lengths) // chunk_samples)
    signal.resize(
        (
            max(signal.shape[0], (shard + 1) * shard_records),
            len(LEADS),
            max(signal.shape[2], blocks * chunk_samples),
        )
    )
    ends = np.cumsum([length * len(LEADS) for length in lengths])
    rows = slice(shard * shard_records, (shard + 1) * shard_records)
    for block in range(blocks):
        samples = slice(block * chunk_samples, (block + 1) * chunk_samples)
        values = np.full((shard_records, len(LEADS), chunk_samples), MISSING, dtype=np.int16)
        for record, (end, length) in enumerate(zip(ends, lengths, strict=True)):
            whole = stored[end - length * len(LEADS) : end].reshape(len(LEADS), length)
            part = whole[:, samples]
            values[record, :, : part.shape[1]] = part
        signal[rows, :, samples] = values


def finish(store: Path, record_ids: pl.Series, longest: int, longest_cart: int = 0) -> None:
    """Cut the arrays to their records and their longest record, and label their axes.

    `cart_beat` is removed where no record has one (`longest_cart` is 0).
    """
    group = zarr.open_group(store, mode="r+")
    for name, samples in (("signal", longest), ("cart_beat", longest_cart)):
        if name == "cart_beat" and name in group and not samples:
            del group[name]
        elif name in group:
            array = group[name]
            assert isinstance(array, zarr.Array)
            array.resize((len(record_ids), len(LEADS), samples))
    write_names(group, "record_id", "record", record_ids)
    write_names(group, "lead", "lead", pl.Series(LEADS))
    with (
        warnings.catch_warnings()
    ):  # one read opens the store; readers that know no such key skip it
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        zarr.consolidate_metadata(store)


def write_names(group: zarr.Group, name: str, axis: str, values: pl.Series) -> None:
    """Write the labels of an axis, chunk by chunk: as Python strings all at once they take tens of
    bytes each."""
    coordinate = group.create_array(
        name,
        shape=(len(values),),
        chunks=(max(1, min(len(values), _NAMES_CHUNK)),),
        dtype=str,
        dimension_names=(axis,),
        overwrite=True,
    )
    for start in range(0, len(values), _NAMES_CHUNK):
        part = values.slice(start, _NAMES_CHUNK)
        coordinate[start : start + len(part)] = np.array(part.to_list(), dtype=object)


def open_signal(store: Path) -> zarr.Array[Any]:
    """The signal array of a finished cohort, for reading."""
    signal: Any = zarr.open_group(store, mode="r")["signal"]
    assert isinstance(signal, zarr.Array)
    return signal


def open_cart_beats(store: Path) -> zarr.Array[Any] | None:
    """The carts' median beats of a finished cohort, for reading; None where it has none."""
    group = zarr.open_group(store, mode="r")
    found: Any = group.get("cart_beat")
    assert found is None or isinstance(found, zarr.Array)
    return found
