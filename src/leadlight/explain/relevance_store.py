"""`relevance.zarr`: the relevance of every explained record, and its checkpointed making.

The array is (record, class, lead, sample) float32 in logits, one record a chunk, 64 records a
shard, so that one record is one small read and many records are few files. Ten bits of mantissa are
kept (relative error below 0.05 %, far below what integrated gradients are good to), which makes it
some four times smaller under zstd with bit shuffle.
"""

import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec

from leadlight.atomic import sync

SHARD_RECORDS = 64
MANTISSA_BITS = 10


def create_store(
    store: Path,
    record_ids: Sequence[str],
    classes: Sequence[str],
    leads: Sequence[str],
    samples: int,
    attributes: dict[str, Any],
) -> None:
    """Make the store with all its rows, NaN until they are written.

    Besides the array and the coordinates `record_id`, `class` and `lead` it gets, per record, where
    the record lies in the model's input: `first_valid`, `n_valid` (samples) and `start_s` (time in
    the original recording of the first valid sample); -1, 0 and NaN for a record that the model
    could not be given.
    """
    group = zarr.create_group(
        store, zarr_format=3, overwrite=True,
        attributes={"title": "Leadlight relevance", "layout_version": 1, **attributes},
    )  # fmt: skip
    shape = (len(record_ids), len(classes), len(leads), samples)
    group.create_array(
        "relevance",
        shape=shape,
        chunks=(1, *shape[1:]),
        shards=(SHARD_RECORDS, *shape[1:]),
        dtype="float32",
        fill_value=np.nan,
        compressors=BloscCodec(typesize=4, cname="zstd", clevel=3, shuffle="bitshuffle"),
        dimension_names=("record", "class", "lead", "sample"),
        attributes={
            "units": "logit",
            "mantissa_bits": MANTISSA_BITS,
            "coordinates": "record_id first_valid n_valid start_s",
            **attributes,
        },
        config={"write_empty_chunks": False},
    )
    for name, axis, values in (
        ("record_id", "record", record_ids), ("class", "class", classes), ("lead", "lead", leads)
    ):  # fmt: skip
        coordinate = group.create_array(
            name, shape=(len(values),), chunks=(min(max(len(values), 1), 100_000),), dtype=str,
            dimension_names=(axis,),
        )  # fmt: skip
        coordinate[:] = np.array(list(values), dtype=object)


def write_shard(store: Path, shard: int, relevance: npt.NDArray[np.float32]) -> None:
    """Write the records of one shard: (record, class, lead, sample), 64 or what is left."""
    array: Any = zarr.open_group(store, mode="r+")["relevance"]
    first = shard * SHARD_RECORDS
    array[first : first + relevance.shape[0]] = rounded(relevance)
    sync(store / "relevance" / "c" / str(shard))


def copy_shard(source: Path, store: Path, shard: int) -> None:
    """Copy one shard's file from a store of the same records, where it holds anything."""
    have, copy = (place / "relevance" / "c" / str(shard) for place in (source, store))
    if have.is_dir():
        shutil.copytree(have, copy, dirs_exist_ok=True)
        sync(copy)


def finish_store(
    store: Path,
    first_valid: npt.NDArray[np.int64],
    n_valid: npt.NDArray[np.int64],
    start_s: npt.NDArray[np.float64],
) -> None:
    """Add where each record lies in the model's input, and consolidate the metadata."""
    group = zarr.open_group(store, mode="r+")
    for name, values in (("first_valid", first_valid), ("n_valid", n_valid), ("start_s", start_s)):
        coordinate = group.create_array(
            name,
            shape=values.shape,
            chunks=(min(max(values.size, 1), 100_000),),
            dtype=values.dtype,
            dimension_names=("record",),
            overwrite=True,
        )
        coordinate[:] = values
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        zarr.consolidate_metadata(store)


def rounded(values: npt.NDArray[np.float32], bits: int = MANTISSA_BITS) -> npt.NDArray[np.float32]:
    """Float32 rounded to nearest (ties to even) at `bits` bits of mantissa; NaN and 0 stay."""
    drop = 23 - bits
    raw = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    half = np.uint32((1 << (drop - 1)) - 1)
    even = (raw >> np.uint32(drop)) & np.uint32(1)
    kept = (raw + half + even) & np.uint32(0xFFFFFFFF << drop & 0xFFFFFFFF)
    finite = np.isfinite(values)
    return np.where(finite, kept.view(np.float32), values).astype(np.float32)
