import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from leadlight.ecg.delineation import POINTS, WAVES, Fiducials, ask_network, delineate
from leadlight.ecg.filtering import resample
from leadlight.ecg.leads import LEADS
from leadlight.errors import LeadlightError
from leadlight.simulate.population import SimulatedRecording, simulate_recordings

SINUS = {"sinus": 1.0}
NORMAL = {"normal": 1.0}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def heart() -> SimulatedRecording:
    return next(simulate_recordings(1, seed=5, severities={}, noise=0.3))


@pytest.fixture(scope="session")
def found(heart: SimulatedRecording) -> Fiducials:
    return delineate(heart.recording.signal_mv, heart.recording.rate_hz)


def _at_true_beats(found: Fiducials, true_onset_s: np.ndarray) -> np.ndarray:
    """(true beat) row of the found beat whose R follows each true QRS onset."""
    r_s = found.r_peaks / found.rate_hz
    return np.array([int(np.argmin(np.abs(r_s - onset - 0.04))) for onset in true_onset_s])


def test_every_wave_of_a_simulated_heart_is_near_the_truth(heart, found):
    true = heart.fiducials
    rows = _at_true_beats(found, true.qrs_onset_s)
    read_ms = found.global_.values[rows] / found.rate_hz * 1e3
    truth_ms = 1e3 * np.stack(
        [true.p_onset_s, true.p_offset_s, true.qrs_onset_s, true.qrs_offset_s, true.t_offset_s]
    )
    read_ms = np.stack(
        [read_ms[:, 0, 0], read_ms[:, 0, 2], read_ms[:, 1, 0], read_ms[:, 1, 2], read_ms[:, 2, 2]]
    )
    inner = slice(1, -1)
    apart = np.median(np.abs(read_ms - truth_ms)[:, inner], axis=1)
    # The simulator's limits are where Gaussians fade, not where a cardiologist marks them.
    assert (apart <= [20, 20, 15, 20, 30]).all(), apart


def test_strips_that_are_asked_about_together_read_as_they_do_alone(heart, found):
    signal, rate = heart.recording.signal_mv, heart.recording.rate_hz
    half = signal.isel(sample=slice(0, signal.sizes["sample"] // 2))
    gap = signal.copy()
    gap[{"lead": 3}] = np.nan
    nothing = xr.zeros_like(signal)
    strips = [signal, half, gap, nothing, signal * 1.5]
    answers = ask_network([(strip, rate) for strip in strips])
    assert answers[3] is None
    for strip, asked in zip(strips, answers, strict=True):
        beats = found.r_peaks[found.r_peaks < strip.sizes["sample"]]
        together = delineate(strip, rate, beats, asked=asked)
        alone = delineate(strip, rate, beats)
        np.testing.assert_allclose(together.per_lead, alone.per_lead, atol=0.01)
        np.testing.assert_allclose(together.global_, alone.global_, atol=0.01)


def test_axes_are_named_and_beats_are_the_given_ones(heart):
    signal, rate = heart.recording.signal_mv, heart.recording.rate_hz
    r_peaks = delineate(signal, rate).r_peaks[2:5]
    found = delineate(signal, rate, r_peaks)
    assert found.per_lead.dims == ("lead", "beat", "wave", "point")
    assert found.per_lead.shape == (12, 3, 3, 3)
    assert list(found.per_lead["lead"].values) == list(LEADS)
    assert list(found.global_["wave"].values) == list(WAVES)
    assert list(found.global_["point"].values) == list(POINTS)
    assert found.confidence.dims == found.global_.dims
    assert found.confidence_per_lead.dims == found.per_lead.dims
    assert found.r_peaks.dtype == np.int64
    np.testing.assert_array_equal(found.r_peaks, r_peaks)
    qrs = found.global_.sel(wave="QRS").values
    assert (qrs[:, 0] < r_peaks).all()
    assert (r_peaks < qrs[:, 2]).all()


def assert_in_order(found: Fiducials) -> None:
    for points in (*found.per_lead.values, found.global_.values):
        onset, peak, offset = points[..., 0], points[..., 1], points[..., 2]
        there = np.isfinite(onset)
        np.testing.assert_array_equal(there, np.isfinite(peak) & np.isfinite(offset))
        assert (onset[there] < peak[there]).all()
        assert (peak[there] < offset[there]).all()
        # (wave in time order, onset/offset), absent waves left out
        limits = points.reshape(-1, 3)[:, ::2]
        limits = limits[np.isfinite(limits[:, 0])]
        assert (limits[1:, 0] >= limits[:-1, 1]).all()


def test_waves_of_hearts_of_all_kinds_are_in_order_and_do_not_overlap():
    for one in simulate_recordings(12, seed=21):
        found = delineate(one.recording.signal_mv, one.recording.rate_hz)
        assert_in_order(found)
        sure = found.confidence_per_lead.values
        assert ((sure >= 0) & (sure <= 1)).all()
        np.testing.assert_array_equal(sure[~np.isfinite(found.per_lead.values)], 0)
        np.testing.assert_array_equal(
            found.confidence.values[~np.isfinite(found.global_.values)], 0
        )


def test_fibrillation_has_no_p():
    beats = with_p = 0
    for one in simulate_recordings(8, seed=3, rhythms={"AF": 1.0}):
        found = delineate(one.recording.signal_mv, one.recording.rate_hz)
        assert np.isfinite(found.global_.sel(wave="QRS", point="onset").values[1:-1]).all()
        p = np.isfinite(found.global_.sel(wave="P", point="peak").values)
        beats, with_p = beats + p.size, with_p + p.sum()
    assert beats > 60
    assert with_p / beats < 0.05


def test_sinus_rhythm_has_a_p_before_nearly_every_qrs():
    beats = with_p = 0
    for one in simulate_recordings(8, seed=4, rhythms=SINUS):
        found = delineate(one.recording.signal_mv, one.recording.rate_hz)
        p = np.isfinite(found.global_.sel(wave="P", point="peak").values)[1:-1]
        beats, with_p = beats + p.size, with_p + p.sum()
    assert with_p / beats > 0.9


@pytest.mark.parametrize("rate_hz", [250.0, 360.0, 400.0, 1000.0])
def test_another_rate_gives_the_same_times(heart, found, rate_hz):
    signal = resample(heart.recording.signal_mv, 500.0, rate_hz)
    r_peaks = np.rint(found.r_peaks * rate_hz / 500.0).astype(np.int64)
    other = delineate(signal, rate_hz, r_peaks)
    inner = slice(1, -1)
    apart_ms = np.abs(other.global_.values / rate_hz - found.global_.values / 500.0)[inner] * 1e3
    assert np.nanmedian(apart_ms[..., ::2]) < 2.0
    assert np.nanquantile(apart_ms[..., ::2], 0.9) < 8.0
    both = np.isfinite(other.global_.values) == np.isfinite(found.global_.values)
    assert both[inner].all()


@settings(max_examples=8, deadline=None)
@given(shift=st.integers(1, 400))
def test_a_shifted_strip_gives_shifted_waves(heart, found, shift):
    signal = heart.recording.signal_mv
    inside = found.r_peaks[
        (found.r_peaks > shift + 600) & (found.r_peaks < signal.sizes["sample"] - 600)
    ]
    moved = delineate(signal.isel(sample=slice(shift, None)), 500.0, inside - shift)
    here = np.isin(found.r_peaks, inside)
    apart = moved.global_.values + shift - found.global_.values[here]
    assert np.nanquantile(np.abs(apart[..., ::2]), 0.9) < 3.0  # samples of 2 ms


def test_the_same_signal_gives_the_same_numbers(heart, found):
    again = delineate(heart.recording.signal_mv, heart.recording.rate_hz)
    xr.testing.assert_identical(again.per_lead, found.per_lead)
    xr.testing.assert_identical(again.global_, found.global_)
    xr.testing.assert_identical(again.confidence, found.confidence)


def test_the_order_of_the_leads_does_not_matter(heart, found):
    reverse = heart.recording.signal_mv.isel(lead=slice(None, None, -1))
    other = delineate(reverse, 500.0, found.r_peaks).per_lead.sel(lead=list(LEADS))
    np.testing.assert_allclose(other.values, found.per_lead.values, atol=0.05)


def test_an_absent_lead_is_nan_and_leaves_the_others_nearly_as_they_were(heart, found):
    signal = heart.recording.signal_mv.copy()
    signal.loc[{"lead": "V3"}] = np.nan
    signal.loc[{"lead": "aVL"}] = 0.25  # flat
    other = delineate(signal, 500.0, found.r_peaks)
    for lead in ("V3", "aVL"):
        assert np.isnan(other.per_lead.sel(lead=lead)).all()
        assert (other.confidence_per_lead.sel(lead=lead) == 0).all()
    apart = np.abs(other.global_.values - found.global_.values)[1:-1, :, ::2] * 2
    assert np.nanmedian(apart) < 5.0


@pytest.mark.parametrize("lead", ["II", "V2", "V6"])
def test_one_lead_alone_is_read(heart, found, lead):
    alone = delineate(heart.recording.signal_mv.sel(lead=[lead]), 500.0, found.r_peaks)
    assert alone.per_lead.shape[0] == 1
    apart_ms = 2 * np.abs(
        alone.per_lead.sel(lead=lead).values - found.per_lead.sel(lead=lead).values
    )
    assert np.nanmedian(apart_ms[1:-1, 1, ::2]) < 12.0
    np.testing.assert_allclose(
        alone.global_.values[..., ::2], alone.per_lead.values[0, ..., ::2], atol=0.5
    )


def test_waves_under_a_long_gap_are_absent(heart, found):
    signal = heart.recording.signal_mv.copy()
    r = int(found.r_peaks[4])
    signal[:, r - 40 : r + 40] = np.nan
    other = delineate(signal, 500.0, found.r_peaks)
    assert np.isnan(other.global_.sel(wave="QRS").values[4]).all()
    assert np.isfinite(other.global_.sel(wave="QRS").values[[2, 6]]).all()


def test_the_wave_that_the_strip_cuts_is_absent(heart, found):
    onset, _, offset = found.global_.sel(wave="QRS").values[3]
    cut = int((onset + offset) / 2)
    r = int(found.r_peaks[3])
    cut = min(cut, r)
    other = delineate(
        heart.recording.signal_mv.isel(sample=slice(cut, None)), 500.0, found.r_peaks[3:] - cut
    )
    assert np.isnan(other.global_.sel(wave="QRS").values[0]).all()
    assert np.isfinite(other.global_.sel(wave="QRS").values[1]).all()


@pytest.mark.parametrize("samples", [1, 10, 200, 260, 511, 700])
def test_short_strips_are_read_without_fault(heart, samples):
    signal = heart.recording.signal_mv.isel(sample=slice(0, samples))
    found = delineate(signal, 500.0)
    assert found.per_lead.sizes["beat"] == found.r_peaks.size
    forced = delineate(signal, 500.0, np.array([samples // 2]))
    assert forced.global_.shape == (1, 3, 3)
    assert_in_order(forced)


def test_no_beats_give_an_empty_beat_axis():
    for values in (0.0, np.nan):
        signal = xr.DataArray(
            np.full((12, 5000), values, dtype=np.float32),
            dims=("lead", "sample"),
            coords={"lead": list(LEADS)},
        )
        found = delineate(signal, 500.0)
        assert found.per_lead.shape == (12, 0, 3, 3)
        assert found.global_.shape == (0, 3, 3)
        given_one = delineate(signal, 500.0, np.array([1000]))
        assert np.isnan(given_one.per_lead).all()


@pytest.mark.parametrize(
    ("rate_hz", "r_peaks"),
    [(50.0, None), (float("nan"), None), (500.0, [9000]), (500.0, [-1]), (500.0, [900, 800])],
)
def test_what_cannot_be_read_is_refused(heart, rate_hz, r_peaks):
    given_peaks = None if r_peaks is None else np.array(r_peaks)
    with pytest.raises(LeadlightError):
        delineate(heart.recording.signal_mv, rate_hz, given_peaks)


def test_readings_on_noise_are_less_sure_than_on_a_clean_strip(heart, found):
    noise = np.random.default_rng(0).normal(0, 0.15, heart.recording.signal_mv.shape)
    noisy = heart.recording.signal_mv + noise.astype(np.float32)
    other = delineate(noisy, 500.0, found.r_peaks)
    assert float(other.confidence_per_lead.mean()) < 0.9 * float(found.confidence_per_lead.mean())
