from pathlib import Path

import numpy as np
import polars as pl
import pytest
import xarray as xr

from leadlight.ecg.filtering import resample
from leadlight.ecg.leads import LEADS
from leadlight.ecg.recording import Recording
from leadlight.report.examples import choose_examples, draw_example
from leadlight.report.results import _open_relevance

RATE_HZ, ROOM = 400.0, 2048


def _cropped(recording: Recording) -> tuple[xr.DataArray, int]:
    """What a model of 2048 samples sees of a recording: its middle. As relevance: the signal."""
    at_rate = resample(recording.signal_mv, recording.rate_hz, RATE_HZ)
    cut = (at_rate.sizes["sample"] - ROOM) // 2
    return at_rate.isel(sample=slice(cut, cut + ROOM)), cut


@pytest.mark.parametrize("stated", [True, False])
def test_of_a_cropped_record_the_part_that_the_model_saw_is_drawn(
    one_recording: Recording, stated: bool
) -> None:
    seen, cut = _cropped(one_recording)
    where = {"first_valid": 0, "n_valid": ROOM, "start_s": cut / RATE_HZ} if stated else {}
    _, data = draw_example(one_recording, seen, {"rate_hz": RATE_HZ, **where}, "")
    assert data.height == 12 * ROOM
    assert np.allclose(data["mv"], data["relevance"], atol=1e-5)


def test_the_stored_position_is_read_from_the_store(
    one_recording: Recording, tmp_path: Path
) -> None:
    seen, cut = _cropped(one_recording)
    store, ids = tmp_path / "relevance.zarr", ["other", one_recording.record_id]
    values = np.stack([np.zeros((1, 12, ROOM)), seen.values[None]]).astype(np.float32)
    array = xr.DataArray(
        values,
        dims=("record", "class", "lead", "sample"),
        coords={
            "record_id": ("record", np.array(ids, dtype=object)),
            "class": np.array(["AF"], dtype=object),
            "lead": np.array(LEADS, dtype=object),
            "first_valid": ("record", [0, 0]),
            "n_valid": ("record", [ROOM, ROOM]),
            "start_s": ("record", [0.0, cut / RATE_HZ]),
        },
        attrs={"rate_hz": RATE_HZ},
    )
    array.to_dataset(name="relevance").to_zarr(store, zarr_format=3, consolidated=False)
    one = _open_relevance(store).isel(record=1)
    assert str(one["record_id"].values) == one_recording.record_id
    where = {name: one[name].item() for name in ("first_valid", "n_valid", "start_s")}
    _, data = draw_example(
        one_recording,
        one["relevance"].sel({"class": "AF"}),
        {**one["relevance"].attrs, **where},
        "",
    )
    assert np.allclose(data["mv"], data["relevance"], rtol=2e-3, atol=1e-5)


def test_examples_are_chosen_by_the_stated_rule() -> None:
    rows = pl.DataFrame(
        {
            "record_id": list("abcdefgh"),
            "class": ["AF"] * 8, "model": ["trained"] * 8,
            "group": ["AF"] * 4 + ["NORM"] * 4,
            "probability": [0.9, 0.7, 0.6, 0.1, 0.8, 0.55, 0.2, 0.3],
            "outcome": ["TP", "TP", "TP", "FN", "FP", "FP", "TN", "TN"],
        }
    )  # fmt: skip
    everyone = set(rows["record_id"])
    chosen = {e.outcome: e.record_id for e in choose_examples(rows, "AF", "NORM", everyone)}
    assert chosen == {"TP": "b", "FP": "e", "FN": "d", "TN": "g"}
    without = {
        e.outcome: e.record_id for e in choose_examples(rows, "AF", "NORM", everyone - {"d"})
    }
    assert "FN" not in without
