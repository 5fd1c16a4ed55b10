"""Signals as they are stored."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from leadlight.cohort.signals import MISSING, from_microvolts, to_microvolts
from leadlight.ecg.leads import LEADS, as_leads

# float32 itself resolves 32 mV to 0.002 µV.
HALF_MICROVOLT_MV = 0.0005 + 4e-6


@settings(max_examples=50, deadline=None)
@given(
    arrays(
        np.float32,
        st.tuples(st.just(12), st.integers(1, 40)),
        elements=st.one_of(st.floats(-32.75, 32.75, width=32), st.just(float("nan"))),
    )
)
def test_a_signal_comes_back_within_half_a_microvolt_and_nan_as_nan(values: np.ndarray) -> None:
    stored, clipped = to_microvolts(as_leads(values))
    back = from_microvolts(stored).values
    assert stored.dtype == np.int16
    assert not clipped
    assert np.array_equal(np.isnan(back), np.isnan(values))
    assert np.nanmax(np.abs(back - values), initial=0) <= HALF_MICROVOLT_MV


@pytest.mark.parametrize("value", [40.0, -40.0, 1e9, float("inf"), float("-inf")])
def test_a_value_beyond_the_range_is_clipped_and_said_never_wrapped(value: float) -> None:
    values = np.zeros((12, 3), dtype=np.float32)
    values[4, 1] = value
    stored, clipped = to_microvolts(as_leads(values))
    assert clipped
    assert stored[4, 1] == np.sign(value) * 32767
    assert (stored == MISSING).sum() == 0


def test_leads_are_found_by_name_whatever_their_order() -> None:
    values = np.arange(12, dtype=np.float32)[:, None] * np.ones((1, 4), dtype=np.float32)
    shuffled = as_leads(values).isel(lead=[5, 0, 11, 2, 1, 3, 4, 6, 10, 9, 8, 7])
    transposed = xr.DataArray(
        shuffled.values.T, dims=("sample", "lead"), coords={"lead": shuffled.lead.values}
    )
    stored, _ = to_microvolts(transposed)
    assert stored[:, 0].tolist() == [1000 * position for position in range(len(LEADS))]
