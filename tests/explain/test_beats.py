"""Average beats: aligned on R, in one window, only from what the model saw whole."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from leadlight.classify.cards import card_from_tables
from leadlight.classify.prepare import prepare
from leadlight.ecg.formats import read_recording
from leadlight.ecg.leads import LEADS, as_leads
from leadlight.ecg.recording import Recording
from leadlight.ecg.rpeaks import find_r_peaks
from leadlight.errors import LeadlightError
from leadlight.explain.beats import BeatWindow, average_beat, beat_places

CARD = card_from_tables(
    {"model": {"name": "m"}, "input": {"rate_hz": 400.0, "samples": 4096},
     "output": {"classes": ["AF"]}},
    "the test",
)  # fmt: skip


def beat_train(rate_hz: float, r_times_s: list[float], duration_s: float = 10.0) -> Recording:
    time = np.arange(int(duration_s * rate_hz)) / rate_hz
    wave = sum(
        np.exp(-(((time - r) / 0.012) ** 2)) + 0.2 * np.exp(-(((time - r - 0.25) / 0.04) ** 2))
        for r in r_times_s
    )
    heights = np.linspace(0.4, 1.5, 12)[:, None]
    return Recording(as_leads((heights * wave).astype(np.float32)), rate_hz, "train")


def test_the_window_holds_r_and_whole_samples_only():
    offsets = BeatWindow().offsets(400.0)
    assert (offsets[0], offsets[-1]) == (-100, 180)
    offsets = BeatWindow(10.0, 10.0).offsets(128.0)
    assert (offsets[0], offsets[-1]) == (-1, 1)
    with pytest.raises(LeadlightError, match="does not hold R"):
        BeatWindow(-10.0, 100.0).offsets(400.0)


@pytest.mark.parametrize("rate_hz", [250.0, 500.0])
def test_r_of_the_average_beat_is_at_time_zero_at_any_rate(rate_hz: float):
    r_times = [0.9, 1.7, 2.61, 3.3, 4.25, 5.0, 5.9, 6.7, 7.5, 8.4, 9.1]
    recording = beat_train(rate_hz, r_times)
    prepared = prepare(recording, CARD)
    places = beat_places(recording, prepared)
    assert places.samples.size == len(r_times)
    beat = average_beat(prepared.values, places.samples, prepared.rate_hz)
    assert beat.dims == ("lead", "time_ms")
    peak = float(beat["time_ms"][beat.sel(lead="V6").values.argmax()])
    assert abs(peak) <= 2.5 + 1000 / rate_hz
    t_wave = beat.sel(lead="V6", time_ms=slice(150, 400))
    assert float(t_wave["time_ms"][t_wave.values.argmax()]) == pytest.approx(250, abs=6)


def test_fast_and_slow_hearts_are_aligned_alike():
    peaks = []
    for step in (0.45, 1.3):
        recording = beat_train(500.0, list(np.arange(0.6, 9.4, step)))
        prepared = prepare(recording, CARD)
        places = beat_places(recording, prepared, BeatWindow(150, 200))
        beat = average_beat(prepared.values, places.samples, 400.0, BeatWindow(150, 200))
        peaks.append(float(beat["time_ms"][beat.sel(lead="V3").values.argmax()]))
    assert peaks[0] == peaks[1]


def test_beats_whose_window_leaves_the_record_are_left_out_and_counted():
    recording = beat_train(500.0, [0.1, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 9.8])
    prepared = prepare(recording, CARD)
    places = beat_places(recording, prepared)
    found = find_r_peaks(recording.signal_mv, 500.0)
    assert places.samples.size + places.n_left_out == found.size
    assert places.n_left_out == 2
    offsets = BeatWindow().offsets(400.0)
    assert places.samples.min() + offsets[0] >= prepared.valid.start
    assert places.samples.max() + offsets[-1] < prepared.valid.stop


def test_beats_of_a_longer_record_that_the_model_does_not_see_are_left_out():
    recording = beat_train(500.0, list(np.arange(0.5, 19.5, 1.0)), duration_s=20.0)
    prepared = prepare(recording, CARD)
    places = beat_places(recording, prepared)
    assert 8 <= places.samples.size <= 10
    times = prepared.time_of(places.samples)
    assert np.abs((times - 0.5) - np.rint(times - 0.5)).max() < 0.01


def test_a_beat_of_relevance_is_the_mean_over_beats_of_each_field():
    field = xr.DataArray(
        np.arange(2 * 3 * 50, dtype=float).reshape(2, 3, 50) ** 2, dims=("class", "lead", "sample")
    )
    window = BeatWindow(20.0, 30.0)
    beat = average_beat(field, np.array([10, 30]), 100.0, window)
    assert beat.sizes == {"class": 2, "lead": 3, "time_ms": 6}
    expected = (field.values[..., 8:14] + field.values[..., 28:34]) / 2
    np.testing.assert_allclose(beat.values, expected)
    np.testing.assert_allclose(beat["time_ms"], [-20, -10, 0, 10, 20, 30])


def test_no_beat_is_nan_and_a_window_beyond_the_field_is_refused():
    field = xr.DataArray(np.zeros((12, 50)), dims=("lead", "sample"), coords={"lead": list(LEADS)})
    none = average_beat(field, np.array([], dtype=np.int64), 100.0, BeatWindow(20, 30))
    assert np.isnan(none.values).all()
    with pytest.raises(LeadlightError, match="beyond"):
        average_beat(field, np.array([49]), 100.0, BeatWindow(20, 30))


def test_real_beats_line_up_on_their_qrs(shared_data: Path):
    files = sorted((shared_data / "ptbxl" / "records500").rglob("*.hea"))[:6]
    for file in files:
        recording = read_recording(file)
        prepared = prepare(recording, CARD)
        places = beat_places(recording, prepared)
        beat = average_beat(prepared.valid_mv(), places.samples - prepared.first_valid, 400.0)
        steepest = np.abs(np.gradient(beat.values, axis=1)).sum(axis=0)
        at = float(beat["time_ms"][int(steepest.argmax())])
        assert abs(at) < 60, f"{file.name}: the steepest point is {at} ms from R"
