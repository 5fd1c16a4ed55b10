from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from leadlight.classify.cards import ModelCard, card_from_tables
from leadlight.classify.prepare import prepare
from leadlight.ecg.leads import LEADS, as_leads
from leadlight.ecg.recording import Recording
from leadlight.errors import LeadlightError


def card(**input_settings: object) -> ModelCard:
    return card_from_tables(
        {"model": {"name": "m"}, "input": input_settings, "output": {"classes": ["AF"]}}, "here"
    )


def recording(signal_mv: np.ndarray, rate_hz: float) -> Recording:
    return Recording(as_leads(signal_mv.astype(np.float32)), rate_hz, "r1")


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(12, samples))


@given(
    rate_hz=st.sampled_from([100.0, 250.0, 257.0, 360.0, 400.0, 500.0, 1000.0]),
    duration_s=st.floats(1.5, 20.0),
    where=st.floats(0.02, 0.98),
    padding=st.sampled_from(["both", "start", "end"]),
    crop=st.sampled_from(["centre", "start"]),
    lost=st.floats(0.0, 0.5),
)
@settings(max_examples=120, deadline=None)
def test_an_impulse_is_where_sample_of_says(
    rate_hz: float, duration_s: float, where: float, padding: str, crop: str, lost: float
) -> None:
    n = int(duration_s * rate_hz)
    at = int(where * n)
    signal = np.zeros((12, n))
    signal[:, at] = 1.0
    signal[:, : int(min(lost, where / 2) * rate_hz)] = np.nan  # the recorder began late
    prepared = prepare(recording(signal, rate_hz), card(padding=padding, crop=crop))
    sample = int(prepared.sample_of(at / rate_hz))
    values = prepared.values.sel(lead="II").values
    if sample == -1:
        # Cut off: nothing of it but the filter's ripple is left.
        assert np.abs(values).max() < 0.5
        return
    assert abs(int(np.abs(values).argmax()) - sample) <= 1
    time = float(prepared.time_of(sample))
    assert abs(time - at / rate_hz) <= 0.5 / prepared.rate_hz + 1e-9


@pytest.mark.parametrize(("padding", "first"), [("both", 48), ("end", 0), ("start", 96)])
def test_ten_seconds_are_padded_where_the_card_says(padding: str, first: int) -> None:
    prepared = prepare(recording(noise(5000), 500.0), card(padding=padding))
    assert prepared.values.shape == (12, 4096)
    assert (prepared.first_valid, prepared.n_valid) == (first, 4000)
    padded = np.delete(prepared.values.values, np.arange(4096)[prepared.valid], axis=1)
    assert (padded == 0).all()
    assert (prepared.values.values[:, prepared.valid] != 0).mean() > 0.99


@pytest.mark.parametrize(("crop", "start_s"), [("centre", 4.88), ("start", 0.0)])
def test_twenty_seconds_are_cropped_where_the_card_says(crop: str, start_s: float) -> None:
    signal = noise(8000)
    prepared = prepare(recording(signal, 400.0), card(crop=crop))
    begin = round(start_s * 400)
    assert prepared.start_s == pytest.approx(start_s)
    assert prepared.n_valid == 4096
    np.testing.assert_array_equal(
        prepared.values.values, signal[:, begin : begin + 4096].astype(np.float32)
    )
    assert prepared.sample_of([0.0, start_s, 19.9]).tolist() == [0 if begin == 0 else -1, 0, -1]


def test_leads_are_given_by_name_in_the_cards_order_and_unit() -> None:
    signal = noise(4096)
    prepared = prepare(recording(signal, 400.0), card(leads=["V1", "aVF", "I"], unit_scale=10.0))
    assert prepared.values.coords["lead"].values.tolist() == ["V1", "aVF", "I"]
    for lead in ("V1", "aVF", "I"):
        expected = 10 * signal[LEADS.index(lead)]
        np.testing.assert_allclose(prepared.values.sel(lead=lead), expected, rtol=1e-5)
    np.testing.assert_allclose(
        prepared.valid_mv().sel(lead="aVF"), signal[LEADS.index("aVF")], rtol=1e-5
    )


def test_the_order_of_leads_in_the_recording_does_not_matter() -> None:
    whole = recording(noise(4096), 400.0)
    turned = Recording(whole.signal_mv.isel(lead=slice(None, None, -1)), 400.0, "r1")
    xr.testing.assert_identical(prepare(whole, card()).values, prepare(turned, card()).values)


def test_a_missing_lead_is_refused_by_name_or_zero() -> None:
    signal = noise(4000)
    signal[LEADS.index("V6")] = np.nan
    with pytest.raises(LeadlightError, match="r1 lacks V6"):
        prepare(recording(signal, 400.0), card())
    prepared = prepare(recording(signal, 400.0), card(missing_leads="zero"))
    assert prepared.missing_leads == ("V6",)
    assert (prepared.values.sel(lead="V6") == 0).all()
    assert prepare(recording(signal, 400.0), card(leads=["I"])).missing_leads == ()


def test_a_short_gap_is_bridged_by_a_line_and_a_long_one_refused() -> None:
    signal = noise(4096)
    signal[3, 1000:1010] = np.nan
    signal[3, 999], signal[3, 1010] = 1.0, 2.0
    bridged = prepare(recording(signal, 400.0), card()).values.values[3, 999:1011]
    np.testing.assert_allclose(bridged, np.linspace(1.0, 2.0, 12), rtol=1e-5)
    signal[3, 1000:1017] = np.nan  # 42.5 ms
    with pytest.raises(LeadlightError, match="Lead aVR of record r1 has a gap of 42 ms"):
        prepare(recording(signal, 400.0), card())


def test_infinite_values_are_gaps() -> None:
    signal = noise(4096)
    signal[0, 5] = np.inf
    assert np.isfinite(prepare(recording(signal, 400.0), card()).values.values).all()


def test_ends_without_any_value_are_padding_not_signal() -> None:
    signal = noise(4096)
    cut = signal.copy()
    cut[:, :400], cut[:, 3600:] = np.nan, np.nan
    prepared = prepare(recording(cut, 400.0), card(padding="end"))
    assert (prepared.first_valid, prepared.n_valid) == (0, 3200)
    assert prepared.start_s == pytest.approx(1.0)
    np.testing.assert_array_equal(
        prepared.values.values[:, :3200], signal[:, 400:3600].astype(np.float32)
    )


def test_a_record_without_values_is_refused() -> None:
    with pytest.raises(LeadlightError, match="no value in any lead"):
        prepare(recording(np.full((12, 100), np.nan), 400.0), card(missing_leads="zero"))


def test_the_filter_of_the_card_takes_out_wander_and_keeps_beats() -> None:
    time = np.arange(4096) / 400
    wander, wave = np.sin(2 * np.pi * 0.1 * time), np.sin(2 * np.pi * 10 * time)
    rec = recording(np.tile(wander + wave, (12, 1)), 400.0)
    kept = prepare(rec, card(highpass_hz=0.5, lowpass_hz=100.0)).values.values[0, 800:3300]
    np.testing.assert_allclose(kept, wave[800:3300], atol=0.1)
    untouched = prepare(rec, card()).values.values[0]
    np.testing.assert_allclose(untouched, wander + wave, atol=1e-5)


def test_preparing_leaves_the_recording_as_it_was() -> None:
    signal = noise(5000)
    signal[2, 70:72] = np.nan
    rec = recording(signal, 500.0)
    before = rec.signal_mv.copy(deep=True)
    prepare(rec, card(unit_scale=10.0))
    xr.testing.assert_identical(rec.signal_mv, before)


def test_times_that_are_not_known_have_no_sample() -> None:
    prepared = prepare(recording(noise(4000), 400.0), card())
    samples = prepared.sample_of([np.nan, -0.1, 0.0, 9.9975, 10.1])
    assert samples.tolist() == [-1, -1, 48, 4047, -1]
    assert np.isnan(prepared.time_of([0, 4095])).all()


def test_a_real_recording_keeps_its_r_peaks(shared_data: Path) -> None:
    from leadlight.ecg.formats import read_recording

    path = sorted(shared_data.rglob("*_hr.hea"))[0]
    rec = read_recording(path)
    prepared = prepare(rec, card())
    lead = rec.signal_mv.sel(lead="II").values
    peaks = [int(lead[s : s + 500].argmax()) + s for s in range(0, len(lead) - 500, 500)]
    mapped = prepared.sample_of(np.array(peaks) / rec.rate_hz)
    values = prepared.values.sel(lead="II").values
    assert (mapped >= 0).all()
    for peak, sample in zip(peaks, mapped, strict=True):
        assert values[sample] == pytest.approx(lead[peak], abs=0.05)
