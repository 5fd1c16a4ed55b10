import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import butter, sosfiltfilt

from leadlight.ecg.filtering import band_pass, both_ways, halved, resample
from leadlight.ecg.leads import as_leads
from leadlight.errors import LeadlightError

RATES = [250.0, 257.0, 360.0, 400.0, 500.0, 1000.0]


def twelve_of(values: np.ndarray) -> xr.DataArray:
    return as_leads(np.tile(values, (12, 1)).astype(np.float32))


def sine(frequency_hz: float, rate_hz: float, duration_s: float = 4.0) -> np.ndarray:
    return np.sin(2 * np.pi * frequency_hz * np.arange(round(duration_s * rate_hz)) / rate_hz)


@settings(max_examples=40, deadline=None)
@given(
    frequency_hz=st.floats(1.0, 40.0),
    rate_hz=st.sampled_from(RATES),
    to_hz=st.sampled_from(RATES),
)
def test_a_sine_keeps_its_amplitude_frequency_and_phase(
    frequency_hz: float, rate_hz: float, to_hz: float
) -> None:
    out = resample(twelve_of(sine(frequency_hz, rate_hz)), rate_hz, to_hz)
    inside = slice(round(0.5 * to_hz), round(3.5 * to_hz))
    expected = sine(frequency_hz, to_hz)[inside]
    assert np.abs(out.sel(lead="V2").values[inside] - expected).max() < 0.01


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000),
    n=st.integers(40, 900),
    rate_hz=st.sampled_from(RATES),
    to_hz=st.sampled_from(RATES),
    factor=st.floats(-3, 3),
)
def test_resampling_is_linear_and_gives_the_promised_length(
    seed: int, n: int, rate_hz: float, to_hz: float, factor: float
) -> None:
    rng = np.random.default_rng(seed)
    one, two = (xr.DataArray(rng.normal(size=(3, n)), dims=("lead", "sample")) for _ in range(2))
    together = resample(one + factor * two, rate_hz, to_hz)
    apart = resample(one, rate_hz, to_hz) + factor * resample(two, rate_hz, to_hz)
    assert together.sizes["sample"] == int(np.floor(n * to_hz / rate_hz + 0.5))
    np.testing.assert_allclose(together.values, apart.values, atol=1e-9)


def test_what_the_new_rate_cannot_carry_is_removed_and_not_folded_back() -> None:
    out = resample(twelve_of(sine(180.0, 1000.0)), 1000.0, 250.0)
    assert np.abs(out.values[:, 100:-100]).max() < 0.02


def test_an_offset_survives_to_the_ends_of_the_strip() -> None:
    out = resample(twelve_of(np.full(5000, 2.5)), 500.0, 400.0)
    np.testing.assert_allclose(out.values, 2.5, atol=1e-5)


@pytest.mark.parametrize(
    "change", [lambda x: resample(x, 500.0, 400.0), lambda x: band_pass(x, 500.0)]
)
def test_a_missing_lead_stays_missing_and_touches_no_other(change) -> None:  # type: ignore[no-untyped-def]
    whole = twelve_of(sine(5.0, 500.0))
    holed = whole.copy(deep=True)
    holed.loc[{"lead": "V3"}] = np.nan
    holed.loc[{"lead": "V4", "sample": slice(1000, 1099)}] = np.nan
    out, expected = change(holed), change(whole)
    assert np.isnan(out.sel(lead="V3").values).all()
    share = np.isnan(out.sel(lead="V4").values).mean()
    assert share == pytest.approx(100 / 2000, abs=0.002)
    others = [lead for lead in whole["lead"].values if lead not in ("V3", "V4")]
    np.testing.assert_array_equal(out.sel(lead=others).values, expected.sel(lead=others).values)


def test_the_filter_removes_drift_and_leaves_the_beat_where_it_was() -> None:
    time_s = np.arange(5000) / 500.0
    beat = np.exp(-0.5 * ((time_s - 5.0) / 0.02) ** 2)
    out = band_pass(twelve_of(beat + 3.0 + 0.4 * time_s), 500.0, 0.5, 40.0).sel(lead="I").values
    assert int(out.argmax()) == 2500
    assert abs(out[500:2000].mean()) < 0.05
    assert out.max() == pytest.approx(1.0, abs=0.12)


@pytest.mark.parametrize(
    ("low_hz", "high_hz"), [(0.0, 40.0), (0.5, 250.0), (40.0, 0.5), (-1.0, None)]
)
def test_an_impossible_filter_is_refused(low_hz: float, high_hz: float | None) -> None:
    with pytest.raises(LeadlightError, match="cannot be made"):
        band_pass(twelve_of(sine(5.0, 500.0)), 500.0, low_hz, high_hz)


@pytest.mark.parametrize("rate_hz", [0.0, -500.0, float("nan"), float("inf")])
def test_an_impossible_rate_is_refused(rate_hz: float) -> None:
    with pytest.raises(LeadlightError, match="impossible"):
        resample(twelve_of(sine(5.0, 500.0)), rate_hz, 500.0)


@pytest.mark.parametrize("n", [3, 50, 5000])
@pytest.mark.parametrize("corners", [(0.5, None), (0.5, 30.0), (None, 40.0)])
def test_both_ways_is_scipys_zero_phase_filter(
    n: int, corners: tuple[float | None, float | None]
) -> None:
    rows = np.random.default_rng(n).normal(size=(3, n)) + 4
    known = [corner for corner in corners if corner is not None]
    kind = "bandpass" if len(known) == 2 else "highpass" if corners[1] is None else "lowpass"
    sos = butter(2, known if len(known) == 2 else known[0], kind, False, "sos", 500.0)
    settle = min(n - 1, int(np.ceil(500 / known[0])))
    theirs = sosfiltfilt(sos, rows, axis=-1, padlen=settle)
    np.testing.assert_allclose(both_ways(rows, 500.0, *corners), theirs, atol=1e-12)


def test_halved_keeps_slow_waves_and_their_times() -> None:
    for n in (1000, 1001):
        time_s = np.arange(n) / 500
        wave = np.sin(2 * np.pi * 20 * time_s)[None]
        slower = halved(wave)
        assert slower.shape == (1, -(-n // 2))
        inside = slice(5, -5)
        assert np.abs(slower - wave[:, ::2])[:, inside].max() < 0.002
    fast = np.sin(2 * np.pi * 225 * np.arange(1000) / 500)[None]
    assert np.abs(halved(fast))[:, 5:-5].max() < 0.03
