"""Relevance on disk."""

import numpy as np
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from leadlight.explain.relevance_store import create_store, finish_store, rounded, write_shard


@given(st.floats(width=32, allow_infinity=False, allow_nan=False))
def test_rounding_keeps_ten_bits_and_rounds_to_the_nearest(number: float):
    value = np.array([number], dtype=np.float32)
    kept = rounded(value)
    assert kept.view(np.uint32)[0] & 0x1FFF == 0
    if 1e-37 < abs(number) < 1e38:
        assert abs(float(kept[0]) - number) <= abs(number) * 2.0**-11
    np.testing.assert_array_equal(rounded(kept), kept)


def test_gaps_zeros_and_signs_survive_rounding():
    values = np.array([0.0, -0.0, np.nan, -1.0009765625, 3.0], dtype=np.float32)
    np.testing.assert_array_equal(rounded(values), values)


def test_the_store_opens_with_xarray_by_record_and_lead(tmp_path):
    rng = np.random.default_rng(0)
    relevance = rng.normal(0, 1e-3, (70, 2, 3, 40)).astype(np.float32)
    relevance[5] = np.nan
    ids = [f"r{n}" for n in range(70)]
    store = tmp_path / "relevance.zarr"
    create_store(store, ids, ["AF", "LBBB"], ["V1", "II", "V6"], 40, {"rate_hz": 400.0})
    write_shard(store, 1, relevance[64:])
    write_shard(store, 0, relevance[:64])
    places = np.arange(70)
    finish_store(store, places, places * 2, places / 10)
    found = xr.open_zarr(store, chunks=None).set_coords("record_id").swap_dims(record="record_id")
    one = found["relevance"].sel({"record_id": "r66", "class": "LBBB", "lead": "V6"})
    np.testing.assert_allclose(one.values, relevance[66, 1, 2], rtol=5e-4)
    assert np.isnan(found["relevance"].sel(record_id="r5")).all()
    assert found["relevance"].attrs["units"] == "logit"
    assert float(found["start_s"].sel(record_id="r7")) == 0.7
    assert len(list((store / "relevance" / "c").iterdir())) == 2
