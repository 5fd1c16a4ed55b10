"""The median beat: one clean beat per record, aligned, in the lead algebra."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from leadlight.ecg.cart_beat import cart_median_beat, cart_sample
from leadlight.ecg.filtering import resample
from leadlight.ecg.formats import read_recording
from leadlight.ecg.leads import LEADS, as_leads
from leadlight.ecg.median_beat import R_SAMPLE, SAMPLES, MedianBeat, median_beat
from leadlight.ecg.recording import Recording
from leadlight.errors import LeadlightError
from leadlight.simulate.population import simulate_recordings

Array = npt.NDArray[np.float64]
RATE = 500.0


def dipole_beat(time_ms: Array, kind: str = "normal") -> Array:
    """(lead of I, II, V1..V6, sample) of one beat whose R is at 0 ms."""
    shapes = {
        "normal": ((-160, 22, 0.1), (-25, 8, -0.15), (0, 11, 1.0), (26, 9, -0.3), (270, 45, 0.3)),
        "ectopic": ((0, 28, 1.4), (60, 25, -0.9), (300, 60, -0.5)),
    }[kind]
    rng = np.random.default_rng(4 if kind == "normal" else 9)
    total = np.zeros((8, time_ms.size))
    for centre, width, size in shapes:
        lead_sizes = size * (0.6 + 0.8 * rng.random((8, 1)))
        total += lead_sizes * np.exp(-0.5 * ((time_ms - centre) / width) ** 2)
    return total


def strip(
    at_s: list[float],
    kinds: dict[int, str] | None = None,
    wander_mv: float = 0.0,
    noise_mv: float = 0.0,
    seed: int = 0,
) -> xr.DataArray:
    """A strip of 10 s with beats at the given times, in the lead algebra."""
    time_s = np.arange(round(10 * RATE)) / RATE
    total = np.zeros((8, time_s.size))
    for beat, start in enumerate(at_s):
        total += dipole_beat((time_s - start) * 1e3, (kinds or {}).get(beat, "normal"))
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 2 * np.pi, (8, 1))
    total += wander_mv * np.sin(2 * np.pi * 0.25 * time_s + phase)
    total += noise_mv * rng.standard_normal(total.shape)
    one, two = total[:2]
    limb = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    return as_leads(np.stack([*limb, *total[2:]]).astype(np.float32))


@cache
def steady() -> MedianBeat:
    return median_beat(strip(REGULAR), RATE)


def own_difference_uv(one: MedianBeat, other: MedianBeat) -> float:
    """The largest difference about the beat, over all leads."""
    part = slice(R_SAMPLE - 120, R_SAMPLE + 220)
    return float(1e3 * np.abs(one.beat_mv.values - other.beat_mv.values)[:, part].max())


REGULAR = [0.6 + 0.9 * beat for beat in range(10)]


def test_the_beat_has_twelve_leads_and_r_at_its_sample() -> None:
    found = steady()
    assert found.beat_mv.dims == ("lead", "sample")
    assert found.beat_mv.shape == (12, SAMPLES)
    assert found.beat_mv.dtype == np.float32
    size = np.sqrt((found.beat_mv.values**2).sum(axis=0))
    assert int(np.argmax(size[150:300])) + 150 == R_SAMPLE
    assert (found.n_beats, found.n_found) == (10, 10)


def test_a_clean_beat_comes_back_as_it_was() -> None:
    beat = steady().beat_mv
    time_ms = (np.arange(SAMPLES) - R_SAMPLE) * 2.0
    true = dipole_beat(time_ms)
    part = slice(R_SAMPLE - 110, R_SAMPLE + 200)
    for row, lead in enumerate(("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")):
        expected = true[row] - true[row, R_SAMPLE - 40]
        assert np.abs(beat.sel(lead=lead).values - expected)[part].max() < 0.015


@given(
    beat=st.integers(1, 8),
    early_s=st.floats(0.0, 0.35),
    seed=st.integers(0, 100),
)
@settings(max_examples=25, deadline=None)
def test_the_median_beat_is_unmoved_by_one_ectopic_beat(
    beat: int, early_s: float, seed: int
) -> None:
    times = [*REGULAR]
    times[beat] -= early_s
    ectopic = median_beat(strip(times, {beat: "ectopic"}, noise_mv=0.005, seed=seed), RATE)
    plain = median_beat(strip(REGULAR, noise_mv=0.005, seed=seed), RATE)
    assert not ectopic.used[beat]
    # The first and last beat may be cut by the strip's ends: they are not counted.
    assert 0.99 / len(times) < ectopic.other_shape_share < 1 / (len(times) - 3)
    assert plain.other_shape_share == 0
    assert own_difference_uv(ectopic, plain) < 12


def test_in_bigeminy_the_beats_on_time_win() -> None:
    pairs = [start for beat in range(6) for start in (0.5 + 1.6 * beat, 1.0 + 1.6 * beat)]
    times = [start for start in pairs if start < 9.8]
    kinds = dict.fromkeys(range(1, len(times), 2), "ectopic")
    found = median_beat(strip(times, kinds), RATE)
    assert not found.used[1::2].any()
    assert found.used[0::2].sum() >= 3


@given(wander_mv=st.floats(0.0, 0.6), seed=st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_slow_wander_leaves_no_trace(wander_mv: float, seed: int) -> None:
    found = median_beat(strip(REGULAR, wander_mv=wander_mv, seed=seed), RATE)
    assert own_difference_uv(found, steady()) < 6 + 25 * wander_mv


@given(seed=st.integers(0, 1000), noise=st.floats(0.0, 3.0))
@settings(max_examples=15, deadline=None)
def test_the_lead_algebra_holds_to_the_bit(seed: int, noise: float) -> None:
    one = next(iter(simulate_recordings(1, seed=seed, noise=noise)))
    try:
        beat = median_beat(one.recording.signal_mv, one.recording.rate_hz).beat_mv
    except LeadlightError:
        return
    lead = {str(name): beat.sel(lead=name).values for name in LEADS}
    assert np.array_equal(lead["III"], lead["II"] - lead["I"])
    assert np.allclose(lead["aVR"], -(lead["I"] + lead["II"]) / 2, atol=1e-7)
    assert np.allclose(lead["aVL"], lead["I"] - lead["II"] / 2, atol=1e-7)
    assert np.allclose(lead["aVF"], lead["II"] - lead["I"] / 2, atol=1e-7)


def test_beats_between_samples_are_not_smeared() -> None:
    # Without alignment to a fraction of a sample, R would lose about 1 % here and its slopes more.
    apart = [0.6 + 0.9 * beat + 0.002 * (beat % 10) / 10 for beat in range(10)]
    found = median_beat(strip(apart), RATE)
    assert own_difference_uv(found, steady()) < 4


@given(shift=st.integers(0, 200))
@settings(max_examples=10, deadline=None)
def test_the_median_beat_does_not_depend_on_when_the_recording_began(shift: int) -> None:
    signal = strip([start + 0.4 for start in REGULAR][:9])
    later = signal.isel(sample=slice(shift, None))
    assert own_difference_uv(median_beat(later, RATE), median_beat(signal, RATE)) < 3


@pytest.mark.parametrize("rate_hz", [250.0, 400.0, 1000.0])
def test_other_rates_give_the_same_beat(rate_hz: float) -> None:
    other = resample(strip(REGULAR), RATE, rate_hz)
    assert own_difference_uv(median_beat(other, rate_hz), steady()) < 12


def test_the_noise_estimate_is_the_standard_error() -> None:
    errors, estimates = [], []
    for seed in range(12):
        found = median_beat(strip(REGULAR, noise_mv=0.02, seed=seed), RATE)
        part = slice(R_SAMPLE - 120, R_SAMPLE + 150)
        apart = (found.beat_mv - steady().beat_mv).sel(lead="V2").values[part] * 1e3
        errors.append(np.std(apart))
        estimates.append(float(found.noise_uv.sel(lead="V2")))
    assert np.mean(estimates) == pytest.approx(np.mean(errors), rel=0.25)
    assert np.mean(estimates) == pytest.approx(20 / np.sqrt(10), rel=0.15)


def test_a_missing_lead_stays_missing_and_harms_no_other() -> None:
    signal = strip(REGULAR)
    signal.loc[{"lead": "V3"}] = np.nan
    found = median_beat(signal, RATE)
    assert np.isnan(found.beat_mv.sel(lead="V3").values).all()
    assert np.isnan(float(found.noise_uv.sel(lead="V3")))
    others = [lead for lead in LEADS if lead != "V3"]
    apart = found.beat_mv.sel(lead=others) - steady().beat_mv.sel(lead=others)
    assert float(np.abs(apart).max()) < 0.01


def test_a_recording_that_breaks_the_algebra_keeps_its_own_leads() -> None:
    signal = strip(REGULAR)
    signal.loc[{"lead": "aVF"}] = signal.sel(lead="V2").values
    beat = median_beat(signal, RATE).beat_mv
    apart = beat.sel(lead="aVF").values - beat.sel(lead="V2").values
    assert np.abs(apart).max() < 0.002


def test_above_eighty_beats_a_minute_the_neighbours_are_named() -> None:
    fast = median_beat(strip([0.5 + 0.5 * beat for beat in range(19)]), RATE)
    start, stop = fast.own
    assert stop == pytest.approx(R_SAMPLE + 250 - 40, abs=2)
    assert start == pytest.approx(max(0, R_SAMPLE - 250 + 40), abs=2)
    assert steady().own == (0, SAMPLES)  # at 67 a minute the next R is 450 samples away


def test_a_strip_with_one_beat_gives_that_beat_without_a_noise_estimate() -> None:
    found = median_beat(strip([5.0]), RATE)
    assert found.n_beats == 1
    assert np.isnan(found.noise_uv.values).all()
    assert own_difference_uv(found, steady()) < 12


def test_a_strip_without_beats_is_refused() -> None:
    with pytest.raises(LeadlightError, match="no whole beat"):
        median_beat(as_leads(np.zeros((12, 5000), dtype=np.float32)), RATE)


def test_the_carts_median_beat_is_ours(shared_data: Path) -> None:
    path = shared_data / "formats" / "cardiosoft" / "ukb_ecg_demo_20205_2_0.xml"
    recording = read_recording(path)
    ours = median_beat(recording.signal_mv, recording.rate_hz)
    cart = cart_median_beat(recording, ours)
    assert cart.source == "cart"
    assert cart.n_beats == 8
    part = slice(R_SAMPLE - 120, R_SAMPLE + 220)
    for lead in LEADS:
        pair = np.stack([beat.beat_mv.sel(lead=lead).values[part] for beat in (cart, ours)])
        assert np.corrcoef(pair)[0, 1] > 0.98, lead
    # The cart puts QRS onset at 432 ms, so R lies some 40 ms behind it.
    assert R_SAMPLE - cart_sample(recording, ours, 432) == pytest.approx(20, abs=6)


def test_a_carts_beat_moved_in_its_window_comes_out_the_same(shared_data: Path) -> None:
    path = shared_data / "formats" / "cardiosoft" / "ukb_ecg_demo_20205_2_0.xml"
    recording = read_recording(path)
    assert recording.median_beat_mv is not None
    moved = recording.median_beat_mv.roll(sample=-9)
    other: Recording = replace(recording, median_beat_mv=moved)
    assert own_difference_uv(cart_median_beat(other), cart_median_beat(recording)) < 1
