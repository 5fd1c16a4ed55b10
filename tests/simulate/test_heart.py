from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy.signal import welch

from leadlight.ecg.leads import DERIVED_FROM_I_II, LEADS
from leadlight.ecg.measurements import measure_recording
from leadlight.simulate.noise import (
    NoiseLevels,
    _fitted,
    draw_levels,
    make_noise,
    recorded,
)
from leadlight.simulate.population import simulate_recordings
from leadlight.simulate.waves import (
    QRS_EVENTS,
    QRS_SPAN,
    Wave,
    events,
    t_limits_ms,
    visible_limits_ms,
    wave,
)


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_measurements_of_clean_normals_read_the_truth_back(one_thread: None) -> None:
    errors = []
    for one in simulate_recordings(20, seed=31, severities={}, noise=0.0):
        found = measure_recording(one.recording.signal_mv, one.recording.rate_hz)
        true, values = one.fiducials, found.measurements.values
        onset = true.qrs_onset_s
        errors.append(
            [
                values["pr_ms"] - 1e3 * np.nanmedian(onset - true.p_onset_s),
                values["qrs_ms"] - 1e3 * np.median(true.qrs_offset_s - onset),
                values["qt_ms"] - 1e3 * np.median(true.t_offset_s - onset),
                values["heart_rate_bpm"] - 60.0 / np.diff(onset).mean(),
            ]
        )
    spread = np.nanstd(np.array(errors), axis=0, ddof=1)
    assert (spread <= [6.0, 4.0, 8.0, 0.7]).all(), spread


def test_the_lead_algebra_holds_to_the_last_bit() -> None:
    for one in simulate_recordings(4, seed=8):
        row = dict(zip(LEADS, one.recording.signal_mv.values, strict=True))
        for lead, (of_one, of_two) in DERIVED_FROM_I_II.items():
            derived = np.float32(of_one) * row["I"] + np.float32(of_two) * row["II"]
            np.testing.assert_array_equal(row[lead], derived)


@pytest.mark.parametrize(("rate_hz", "duration_s"), [(250.0, 4.0), (400.0, 10.0), (1000.0, 3.3)])
def test_any_length_and_rate(rate_hz: float, duration_s: float) -> None:
    for one in simulate_recordings(2, seed=4, rate_hz=rate_hz, duration_s=duration_s):
        assert one.recording.signal_mv.shape == (12, round(rate_hz * duration_s))
        assert np.isfinite(one.recording.signal_mv.values).all()


def test_a_heart_is_the_same_at_two_rates() -> None:
    slow, fast = (
        next(simulate_recordings(1, seed=6, severities={}, noise=0.0, rate_hz=rate))
        for rate in (500.0, 1000.0)
    )
    apart = slow.recording.signal_mv.values - fast.recording.signal_mv.values[:, ::2]
    assert np.abs(apart).max() < 1e-4
    np.testing.assert_allclose(slow.fiducials.qrs_onset_s, fast.fiducials.qrs_onset_s)


def test_waves_are_nowhere_seen_outside_their_limits() -> None:
    """Between the end of T and the next P nothing exceeds the stated threshold by much."""
    for one in simulate_recordings(6, seed=15, severities={}, noise=0.0):
        true, rate = one.fiducials, one.recording.rate_hz
        before = [
            one.recording.signal_mv.values[:, int(onset * rate) - 14 : int(onset * rate) - 1]
            for onset in true.qrs_onset_s[1:]
        ]
        flat = np.array([np.ptp(part, axis=1).max() for part in before])
        whole = [
            np.ptp(one.recording.signal_mv.values[:, int(a * rate) : int(b * rate)], axis=1).max()
            for a, b in zip(true.qrs_onset_s[1:], true.qrs_offset_s[1:], strict=True)
        ]
        assert np.median(flat / np.array(whole)) < 0.06


def test_events_are_bells_that_end() -> None:
    at = np.linspace(-0.5, 1.5, 2001)
    drawn = events(QRS_SPAN, QRS_EVENTS, at)
    outside = (at < QRS_SPAN[0] - 1e-9) | (at > QRS_SPAN[1] + 1e-9)
    assert np.abs(drawn[:, outside]).max() == 0.0
    np.testing.assert_allclose(drawn.max(axis=1), 1.0, atol=1e-3)


def test_limits_of_a_known_wave_are_where_it_crosses_its_threshold() -> None:
    time_ms = np.arange(-100.0, 100.5, 0.5)
    bell = np.exp(-0.5 * (time_ms / 20.0) ** 2)
    leads = np.zeros((8, len(time_ms)), dtype=np.float32)
    leads[4] = bell  # V3 alone
    onset, peak, offset = visible_limits_ms(Wave(leads, -100.0, 0.5), 0.0, 0.05)
    crossing = 20.0 * np.sqrt(-2 * np.log(0.05))
    assert (onset, peak, offset) == pytest.approx((-crossing, 0.0, crossing), abs=0.1)
    assert np.isnan(visible_limits_ms(Wave(0 * leads, -100.0, 0.5), 0.01, 0.05)).all()


def test_the_end_of_a_gaussian_t_is_where_four_per_cent_are_left() -> None:
    time_ms = np.arange(0.0, 400.0, 1.0)
    leads = np.zeros((8, len(time_ms)), dtype=np.float32)
    leads[1] = 0.3 * np.exp(-0.5 * ((time_ms - 200.0) / 30.0) ** 2)
    _, peak, end = t_limits_ms(Wave(leads, 0.0, 1.0), 290.0)
    assert peak == pytest.approx(200.0, abs=1.0)
    assert end == pytest.approx(200.0 + 1.28 * 2 * 30.0, abs=1.5)


def test_a_wave_scales_with_its_duration() -> None:
    strengths = np.random.default_rng(0).standard_normal((QRS_EVENTS, 8))
    short, long = wave(strengths, QRS_SPAN, 80.0), wave(strengths, QRS_SPAN, 120.0)
    np.testing.assert_array_equal(short.leads_mv, long.leads_mv)
    assert long.step_ms == pytest.approx(1.5 * short.step_ms)


def test_noise_has_the_spectrum_that_was_fitted() -> None:
    fit = _fitted()
    levels = NoiseLevels(0.0, 0.0, 0.0, 50.0, 0.0, log_psd=fit.mean)
    rng = np.random.default_rng(3)
    made = np.stack([make_noise(rng, levels, 5000, 500.0) for _ in range(30)])
    hz, power = welch(made[:, 0].astype(float), 500.0, nperseg=1000)  # lead I: two arms
    for knot in (8.0, 32.0, 100.0):
        column = list(fit.knots_hz).index(knot)
        wanted = np.exp(fit.mean[0, column]) + np.exp(fit.mean[1, column])
        found = power.mean(axis=0)[np.abs(hz - knot) < 1.1].mean()
        assert found == pytest.approx(wanted, rel=0.25)


def test_without_noise_there_is_none_and_its_amount_scales() -> None:
    rng = np.random.default_rng
    assert make_noise(rng(0), draw_levels(rng(1), 0.0), 1000, 500.0) is None
    one, two = (draw_levels(rng(1), amount).log_psd for amount in (1.0, 2.0))
    assert one is not None
    assert two is not None
    np.testing.assert_allclose(two - one, 2 * np.log(2.0))


def test_a_recorder_rounds_to_its_step_and_clips() -> None:
    leads = np.random.default_rng(0).standard_normal((8, 400)).astype(np.float32)
    rounded = recorded(leads, NoiseLevels(0, 0, 0, 50, 0, quantum_mv=0.005, clip_mv=1.0))
    assert np.abs(rounded).max() <= 1.0 + 1e-6
    inside = np.abs(leads) < 1
    np.testing.assert_allclose(rounded[inside], leads[inside], atol=0.0026)
    np.testing.assert_allclose(rounded / 0.005, np.rint(rounded / 0.005), atol=1e-3)


def test_swapped_arms_turn_lead_one_upside_down() -> None:
    plain, swapped = (
        next(simulate_recordings(1, seed=9, severities={}, noise=0.0, arms_swapped=share))
        for share in (0.0, 1.0)
    )
    right, wrong = plain.recording.signal_mv, swapped.recording.signal_mv
    np.testing.assert_allclose(wrong.sel(lead="I"), -right.sel(lead="I"), atol=1e-5)
    np.testing.assert_allclose(wrong.sel(lead="II"), right.sel(lead="III"), atol=1e-5)
    np.testing.assert_allclose(wrong.sel(lead="V3"), right.sel(lead="V3"), atol=1e-5)
