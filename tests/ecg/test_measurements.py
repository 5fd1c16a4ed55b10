"""Measurements on beats whose truth is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from leadlight.ecg.beat_limits import limits_over_beats
from leadlight.ecg.cart_beat import cart_median_beat, cart_sample
from leadlight.ecg.delineation import Fiducials
from leadlight.ecg.delineation.fiducials import label_fiducials
from leadlight.ecg.formats import read_recording
from leadlight.ecg.leads import INDEPENDENT_LEADS, LEADS
from leadlight.ecg.measurements import QUANTITIES, Measurements, measure, measure_recording
from leadlight.ecg.median_beat import MedianBeat, median_beat
from leadlight.ecg.recording import Recording
from leadlight.ecg.rpeaks import find_r_peaks
from leadlight.simulate.population import SimulatedRecording, simulate_recordings

NAN = float("nan")


def labelled(limits: list[list[float]]) -> xr.DataArray:
    return xr.DataArray(
        limits,
        dims=("wave", "point"),
        coords={"wave": ["P", "QRS", "T"], "point": ["onset", "peak", "offset"]},
    )


def true_fiducials(one: SimulatedRecording) -> Fiducials:
    """The simulator's truth as the delineator would give it, the same in every lead."""
    rate, true = one.recording.rate_hz, one.fiducials
    nothing = np.full(len(true.qrs_onset_s), np.nan)
    seconds = np.array(
        [
            [true.p_onset_s, (true.p_onset_s + true.p_offset_s) / 2, true.p_offset_s],
            [true.qrs_onset_s, (true.qrs_onset_s + true.qrs_offset_s) / 2, true.qrs_offset_s],
            [nothing, true.t_peak_s, true.t_offset_s],
        ]
    )
    r_peaks = find_r_peaks(one.recording.signal_mv, rate)
    middle = seconds[1, 1] * rate
    # One row per R peak: the true beat whose QRS it lies in, none where the strip cuts it.
    points = np.full((len(r_peaks), 3, 3), np.nan)
    for row, peak in enumerate(r_peaks):
        beat = int(np.argmin(np.abs(middle - peak)))
        if abs(middle[beat] - peak) < 0.12 * rate:
            points[row] = seconds[:, :, beat] * rate
    per_lead = np.broadcast_to(points, (len(LEADS), *points.shape))
    return label_fiducials(
        per_lead, points, np.ones(per_lead.shape), np.ones(points.shape),
        leads=list(LEADS), r_peaks=r_peaks, rate_hz=rate,
    )  # fmt: skip


def measured(one: SimulatedRecording) -> Measurements:
    signal, rate = one.recording.signal_mv, one.recording.rate_hz
    fiducials = true_fiducials(one)
    beat = median_beat(signal, rate, fiducials.r_peaks)
    return measure(beat, limits_over_beats(fiducials, beat), fiducials.r_peaks, rate)


def simulated(seed: int, rhythm: str = "sinus", **options: float) -> SimulatedRecording:
    return next(
        simulate_recordings(
            1, seed=seed, rhythms={rhythm: 1.0}, conductions={"normal": 1.0}, **options
        )
    )


def has_one_summit(one: SimulatedRecording) -> bool:
    """Whether nothing of ST-T comes within a fifth of T's largest vector, 60 ms from its peak."""
    rate, true, beat = one.recording.rate_hz, one.fiducials, 3
    start, peak, stop = (
        round(float(times[beat]) * rate)
        for times in (true.qrs_offset_s, true.t_peak_s, true.t_offset_s)
    )
    values = one.recording.signal_mv.sel(lead=list(INDEPENDENT_LEADS)).values
    onset = round(float(true.qrs_onset_s[beat]) * rate)
    level = values[:, onset - 10 : onset].mean(axis=1, keepdims=True)
    size = np.sqrt(((values - level) ** 2).sum(axis=0))
    elsewhere = np.abs(np.arange(start, stop) - peak) > 0.06 * rate
    return bool(size[start:stop][elsewhere].max() < 0.8 * size[peak])


@pytest.fixture(scope="session")
def demo(shared_data: Path) -> Recording:
    return read_recording(shared_data / "formats" / "cardiosoft" / "ukb_ecg_demo_20205_2_0.xml")


@pytest.fixture(scope="session")
def cart(demo: Recording) -> tuple[MedianBeat, xr.DataArray, Measurements]:
    """The cart's own median beat, measured by us between the cart's own limits."""
    r_peaks = find_r_peaks(demo.signal_mv, demo.rate_hz)
    own = median_beat(demo.signal_mv, demo.rate_hz, r_peaks)
    beat = cart_median_beat(demo, own)

    def at(name: str) -> float:
        return cart_sample(demo, own, demo.cart_measurements[f"median_{name}_ms"])

    limits = labelled(
        [
            [at("p_onset"), NAN, at("p_offset")],
            [at("qrs_onset"), 225, at("qrs_offset")],
            [NAN, NAN, at("t_offset")],
        ]
    )
    return beat, limits, measure(beat, limits, r_peaks, demo.rate_hz)


def test_between_the_carts_limits_we_measure_what_the_cart_measured(
    demo: Recording, cart: tuple[MedianBeat, xr.DataArray, Measurements]
) -> None:
    theirs, ours = demo.cart_measurements, cart[2].values
    for name in ("p_duration_ms", "pr_ms", "qrs_ms", "qt_ms", "qtc_bazett_ms"):
        assert ours[name] == pytest.approx(theirs[name], abs=1), name
    assert ours["heart_rate_bpm"] == pytest.approx(theirs["heart_rate_bpm"], abs=0.5)
    for name in ("p_axis_deg", "qrs_axis_deg", "t_axis_deg"):
        assert ours[name] == pytest.approx(theirs[name], abs=8), name


@pytest.mark.parametrize("wave", ["q", "r", "s", "r_prime", "j"])
def test_amplitudes_are_the_carts(
    demo: Recording, cart: tuple[MedianBeat, xr.DataArray, Measurements], wave: str
) -> None:
    theirs, ours = demo.cart_measurements, cart[2].values
    for lead in LEADS:
        name = f"{wave}_mv_{lead}"
        if name in theirs:
            assert ours[name] == pytest.approx(theirs[name], abs=0.025), name
        else:  # the cart saw no such wave: ours is none, or a small one
            assert np.isnan(ours[name]) or abs(ours[name]) < 0.05, name


def test_p_and_t_are_the_carts_where_they_have_one_phase(
    demo: Recording, cart: tuple[MedianBeat, xr.DataArray, Measurements]
) -> None:
    for lead in ("I", "II", "III", "aVR", "aVL", "aVF", "V4", "V5", "V6"):
        for wave in ("p", "t"):
            name = f"{wave}_mv_{lead}"
            theirs = demo.cart_measurements[name]
            assert cart[2].values[name] == pytest.approx(theirs, abs=0.025), name


@pytest.mark.parametrize("seed", range(4))
def test_a_simulated_hearts_intervals_come_back(seed: int) -> None:
    one = simulated(seed)
    values = measured(one).values
    true = one.fiducials
    sinus = np.isfinite(true.p_onset_s)
    pr = np.median((true.qrs_onset_s - true.p_onset_s)[sinus]) * 1e3
    assert values["pr_ms"] == pytest.approx(pr, abs=3)
    assert values["qrs_ms"] == pytest.approx(
        np.median(true.qrs_offset_s - true.qrs_onset_s) * 1e3, abs=2
    )
    assert values["qt_ms"] == pytest.approx(
        np.median(true.t_offset_s - true.qrs_onset_s) * 1e3, abs=4
    )
    if has_one_summit(one):  # of two equally high ones either may be called the peak
        assert values["t_peak_end_ms"] == pytest.approx(
            np.median(true.t_offset_s - true.t_peak_s) * 1e3, abs=15
        )


def test_no_p_wave_is_said_to_be_the_reason() -> None:
    found = measured(simulated(3, "AF"))
    for name in ("p_duration_ms", "pr_ms", "p_axis_deg", "p_mv_II"):
        assert np.isnan(found.values[name])
    assert "pr_ms:no P wave" in found.absent
    assert "p_mv_*:no P wave" in found.absent
    assert found.values["qt_ms"] > 0


def test_a_wave_that_most_beats_lack_is_absent() -> None:
    fiducials = true_fiducials(simulated(1))
    signal = simulated(1).recording.signal_mv
    beat = median_beat(signal, 500.0, fiducials.r_peaks)
    few = fiducials.global_.copy()
    few[{"beat": slice(2, None), "wave": 0}] = np.nan
    limits = limits_over_beats(replace(fiducials, global_=few), beat)
    assert np.isnan(limits.sel(wave="P").values).all()
    assert np.isfinite(limits.sel(wave="QRS").values).all()


def test_a_missing_lead_takes_only_what_needs_it() -> None:
    one = simulated(2)
    signal = one.recording.signal_mv.copy()
    signal.loc[{"lead": "V3"}] = np.nan
    found = measured(replace(one, recording=replace(one.recording, signal_mv=signal)))
    assert "*_mv_V3:no signal" in found.absent
    assert np.isnan(found.values["cornell_mv"])
    assert np.isnan(found.values["qrs_t_angle_deg"])
    assert np.isfinite(found.values["sokolow_lyon_mv"])
    assert np.isfinite(found.values["qrs_axis_deg"])


def test_what_is_not_plausible_is_withheld_with_its_value() -> None:
    one = simulated(2)
    fiducials = true_fiducials(one)
    beat = median_beat(one.recording.signal_mv, 500.0, fiducials.r_peaks)
    limits = limits_over_beats(fiducials, beat)
    limits.loc[{"wave": "QRS", "point": "offset"}] = (
        float(limits.sel(wave="QRS", point="onset")) + 160
    )
    found = measure(beat, limits, fiducials.r_peaks, 500.0)
    assert np.isnan(found.values["qrs_ms"])
    assert "qrs_ms:implausible (320 ms)" in found.absent


def test_one_beat_has_no_rate_and_says_so() -> None:
    one = simulated(2)
    fiducials = true_fiducials(one)
    beat = median_beat(one.recording.signal_mv, 500.0, fiducials.r_peaks)
    found = measure(beat, limits_over_beats(fiducials, beat), fiducials.r_peaks[:1], 500.0)
    assert np.isnan(found.values["heart_rate_bpm"])
    assert "heart_rate_bpm:too few beats" in found.absent
    assert "qtc_bazett_ms:too few beats" in found.absent
    assert np.isfinite(found.values["qt_ms"])


def test_every_quantity_is_either_a_plausible_number_or_nan() -> None:
    for seed in range(3):
        values = measured(simulated(seed, noise=3.0)).values
        assert set(values) == set(QUANTITIES)
        for name, value in values.items():
            low, high = QUANTITIES[name].low, QUANTITIES[name].high
            assert np.isnan(value) or low <= value <= high, name


def test_a_recording_is_measured_from_its_samples_alone() -> None:
    one = simulated(5)
    found = measure_recording(one.recording.signal_mv, one.recording.rate_hz)
    true = one.fiducials
    values = found.measurements.values
    rr_s = np.diff(true.qrs_onset_s)
    assert values["heart_rate_bpm"] == pytest.approx(60 / rr_s.mean(), abs=1)
    pr = np.nanmedian(true.qrs_onset_s - true.p_onset_s) * 1e3
    assert values["pr_ms"] == pytest.approx(pr, abs=25)
    qt = np.median(true.t_offset_s - true.qrs_onset_s) * 1e3
    assert values["qt_ms"] == pytest.approx(qt, abs=45)
    assert found.fiducials.global_.sizes["beat"] == found.beat.n_found


def test_fibrillation_leaves_no_p_wave_on_the_median_beat() -> None:
    without = 0
    for seed in range(6):
        one = simulated(seed, "AF")
        found = measure_recording(one.recording.signal_mv, one.recording.rate_hz)
        without += bool(np.isnan(found.measurements.values["pr_ms"]))
    assert without >= 5


def test_in_tachycardia_t_ends_before_the_next_beat() -> None:
    for seed in range(4):
        one = simulated(seed, "tachycardia")
        found = measure_recording(one.recording.signal_mv, one.recording.rate_hz)
        t_offset = float(found.limits.sel(wave="T", point="offset"))
        assert np.isnan(t_offset) or t_offset < found.beat.own[1] + 40


def test_the_cart_and_we_see_the_same_waves(demo: Recording) -> None:
    found = measure_recording(demo.signal_mv, demo.rate_hz)
    for wave, point, within_ms in (
        ("P", "onset", 12), ("P", "offset", 14), ("QRS", "onset", 5),
        ("QRS", "offset", 5), ("T", "offset", 18),
    ):  # fmt: skip
        theirs = cart_sample(
            demo, found.beat, demo.cart_measurements[f"median_{wave.lower()}_{point}_ms"]
        )
        ours = float(found.limits.sel(wave=wave, point=point))
        assert 2 * abs(ours - theirs) < within_ms, (wave, point)
