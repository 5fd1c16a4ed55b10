"""QRS limits from how the leads of the median beat begin to move and settle."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from leadlight.ecg.leads import LEADS, as_leads
from leadlight.ecg.median_beat import R_SAMPLE, SAMPLES, MedianBeat
from leadlight.ecg.qrs_limits import sharpen_qrs


def beat_of(
    onset: float, offset: float, noise_mv: float = 0.0, st_slope: float = 0.0
) -> MedianBeat:
    """A QRS that moves from `onset` to `offset` only, with a slow slope behind it."""
    at = np.arange(SAMPLES, dtype=float)
    inside = np.clip((at - onset) / (offset - onset), 0, 1)
    shape = np.sin(np.pi * inside) * np.sin(3 * np.pi * inside)
    after = np.clip(at - offset, 0, 100) * st_slope
    sizes = np.linspace(0.5, 1.5, 12)[:, None]
    noise = noise_mv * np.random.default_rng(1).standard_normal((12, SAMPLES))
    return MedianBeat(
        beat_mv=as_leads((sizes * (shape + after) + noise).astype(np.float32)),
        n_beats=8,
        n_found=8,
        used=np.ones(8, dtype=bool),
        r_samples=np.arange(8.0),
        noise_uv=xr.DataArray(np.zeros(12), dims="lead", coords={"lead": list(LEADS)}),
        own=(0, SAMPLES),
    )


def limits_of(onset: float, offset: float) -> xr.DataArray:
    return xr.DataArray(
        [[120.0, 140.0, 170.0], [onset, R_SAMPLE, offset], [300.0, 350.0, 400.0]],
        dims=("wave", "point"),
        coords={"wave": ["P", "QRS", "T"], "point": ["onset", "peak", "offset"]},
    )


@given(
    onset=st.floats(195, 212),
    width=st.floats(35, 75),
    early=st.floats(0, 8),
    late=st.floats(0, 8),
)
@settings(max_examples=40, deadline=None)
def test_limits_are_where_the_vector_moves_whatever_the_first_reading(
    onset: float, width: float, early: float, late: float
) -> None:
    beat = beat_of(onset, onset + width)
    found = sharpen_qrs(beat, limits_of(onset - early, onset + width + late))
    assert float(found.sel(wave="QRS", point="onset")) == pytest.approx(onset, abs=2.5)
    assert float(found.sel(wave="QRS", point="offset")) == pytest.approx(onset + width, abs=2.5)


def test_noise_and_a_sloping_st_segment_move_them_little() -> None:
    found = sharpen_qrs(beat_of(203, 250, 0.004, 0.0015), limits_of(196, 256))
    assert float(found.sel(wave="QRS", point="onset")) == pytest.approx(203, abs=4)
    assert float(found.sel(wave="QRS", point="offset")) == pytest.approx(250, abs=4)


def with_slow_end(beat: MedianBeat, from_sample: int, size_mv: float, tau: float) -> MedianBeat:
    """An S in V3 and V4 that returns slowly to a bent ST segment in all leads."""
    at = np.arange(SAMPLES, dtype=float)
    values = beat.beat_mv.values.copy()
    tail = -size_mv * np.exp(-np.maximum(at - from_sample, 0) / tau) * (at >= from_sample - 12)
    values[[8, 9]] += tail.astype(np.float32)
    values += (2e-5 * np.maximum(at - from_sample, 0) ** 2).astype(np.float32)
    return replace(beat, beat_mv=as_leads(values))


# A return slower than 6 samples runs into the stretch that the ST course is taken from, and ends
# up to 12 ms early.
@given(size_mv=st.floats(0.15, 0.5), tau=st.floats(3, 6))
@settings(max_examples=30, deadline=None)
def test_the_slow_return_of_s_belongs_to_the_qrs_until_20_microvolts_are_left(
    size_mv: float, tau: float
) -> None:
    settles = 235 + tau * np.log(size_mv / 0.020)
    found = sharpen_qrs(with_slow_end(beat_of(203, 235), 235, size_mv, tau), limits_of(200, 262))
    offset = float(found.sel(wave="QRS", point="offset"))
    assert offset == pytest.approx(settles, abs=5)
    assert offset <= 262 + 5


def test_other_waves_stay_as_they_were() -> None:
    limits = limits_of(198, 256)
    found = sharpen_qrs(beat_of(203, 250), limits)
    assert found.drop_sel(wave="QRS").equals(limits.drop_sel(wave="QRS"))
    assert float(limits.sel(wave="QRS", point="onset")) == 198  # the given limits are not changed


def test_a_beat_without_qrs_keeps_its_limits() -> None:
    flat = replace(beat_of(203, 250), beat_mv=as_leads(np.zeros((12, SAMPLES), dtype=np.float32)))
    assert sharpen_qrs(flat, limits_of(198, 256)).equals(limits_of(198, 256))
    absent = limits_of(np.nan, np.nan)
    assert sharpen_qrs(beat_of(203, 250), absent).equals(absent)
