import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadlight.ecg.delineation.reading import QRS, P, T, read_together, read_waves

N = 2000
R = 1000.0


def inside_of(limits: dict[int, tuple[float, float]], soft: float = 1.0, n_leads: int = 3):
    """(lead, wave, sample) probabilities that rise over `soft` samples at each limit."""
    inside = np.zeros((n_leads, 3, N), dtype=np.float32)
    t = np.arange(N)
    for wave, (onset, offset) in limits.items():
        rise = np.clip((t - onset) / soft + 0.5, 0, 1)
        fall = np.clip((offset - t) / soft + 0.5, 0, 1)
        inside[:, wave] = np.minimum(rise, fall)
    return inside


def flat(n_leads: int = 3):
    return np.zeros((n_leads, N), dtype=np.float32)


WHOLE = {P: (890.3, 945.6), QRS: (975.2, 1025.7), T: (1110.4, 1210.9)}


@settings(max_examples=40, deadline=None)
@given(
    shift=st.floats(-3, 3),
    soft=st.floats(1, 24),
    width=st.floats(35, 70),
)
def test_a_limit_is_read_between_samples_however_soft_it_is(shift, soft, width):
    onset, offset = 975.0 + shift, 975.0 + shift + width
    found = read_waves(inside_of({QRS: (onset, offset)}, soft), flat(), np.array([R]))
    assert found.points[0, 0, QRS, 0] == pytest.approx(onset, abs=0.15)
    assert found.points[0, 0, QRS, 2] == pytest.approx(offset, abs=0.15)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_beats=st.integers(1, 12),
    smooth=st.integers(1, 60),
)
def test_any_probabilities_give_ordered_waves_that_do_not_overlap(seed, n_beats, smooth):
    rng = np.random.default_rng(seed)
    inside = rng.random((2, 3, N + smooth))
    inside = np.apply_along_axis(np.convolve, 2, inside, np.ones(smooth) / smooth, "valid")
    inside = np.clip((inside - 0.5) * np.sqrt(smooth) * 2 + 0.5, 0, 1)[..., :N].astype(np.float32)
    r = np.sort(rng.choice(N, n_beats, replace=False)).astype(float)
    alone = read_waves(inside, rng.standard_normal((2, N)).astype(np.float32), r)
    together = read_together(alone, flat(2))
    for points in (*alone.points, together.points):
        waves = points.reshape(-1, 3)
        waves = waves[np.isfinite(waves[:, 0])]
        assert (waves[:, 0] < waves[:, 1]).all()
        assert (waves[:, 1] < waves[:, 2]).all()
        assert (waves[1:, 0] >= waves[:-1, 2]).all()
    assert (alone.confidence[~np.isfinite(alone.points)] == 0).all()


@settings(max_examples=30, deadline=None)
@given(shift=st.floats(-4, 4), soft=st.floats(2, 20), step=st.sampled_from([2, 4]))
def test_shares_of_longer_steps_give_the_same_limits(shift, soft, step):
    limits = {wave: (on + shift, off + shift) for wave, (on, off) in WHOLE.items()}
    fine = inside_of(limits, soft)
    coarse = fine.reshape(3, 3, N // step, step).mean(axis=3)
    a = read_waves(fine, flat(), np.array([R]))
    b = read_waves(coarse, flat(), np.array([R]), step=step)
    np.testing.assert_allclose(b.points[..., ::2], a.points[..., ::2], atol=0.3)
    if soft > 3 * step:  # a limit sharper than a step is known to the step only
        np.testing.assert_allclose(b.confidence, a.confidence, atol=0.15)


def test_a_sharp_limit_is_surer_than_a_soft_one():
    sure = [
        read_waves(inside_of(WHOLE, soft), flat(), np.array([R])).confidence[0, 0, QRS, 0]
        for soft in (1.0, 10.0, 20.0)
    ]
    assert sure[0] > 0.95
    assert sure[0] > sure[1] > sure[2] > 0.2


def test_a_wave_that_is_not_probable_is_absent():
    inside = inside_of(WHOLE)
    inside[:, P] *= 0.4
    found = read_waves(inside, flat(), np.array([R]))
    assert np.isnan(found.points[:, 0, P]).all()
    assert (found.confidence[:, 0, P] == 0).all()
    assert np.isfinite(found.points[:, 0, [QRS, T]]).all()


def test_a_spike_of_probability_is_no_wave():
    found = read_waves(inside_of({P: (900.0, 906.0), QRS: WHOLE[QRS]}), flat(), np.array([R]))
    assert np.isnan(found.points[:, 0, P]).all()


def test_the_conducted_p_is_the_one_before_the_qrs():
    inside = inside_of(WHOLE)
    inside[:, P] = np.maximum(inside[:, P], inside_of({P: (780.0, 830.0)})[:, P])
    found = read_waves(inside, flat(), np.array([R]))
    assert found.points[0, 0, P, 0] == pytest.approx(890.3, abs=0.2)


def test_overlapping_waves_meet_in_the_middle():
    inside = inside_of({P: (900.0, 985.0), QRS: (975.0, 1025.0)})
    found = read_waves(inside, flat(), np.array([R])).points[0, 0]
    assert found[P, 2] == pytest.approx(980.0, abs=0.5)
    assert found[QRS, 0] == pytest.approx(980.0, abs=0.5)


def test_peaks_are_where_the_signal_is_farthest_from_its_chord():
    t = np.arange(N)
    signal = np.stack([sign * np.exp(-0.5 * ((t - 1150.4) / 15) ** 2) for sign in (1, -1, 0.2)])
    signal = (signal + 1e-3 * t).astype(np.float32)  # a slope moves no peak
    found = read_waves(inside_of(WHOLE), signal, np.array([R]))
    np.testing.assert_allclose(found.points[:2, 0, T, 1], 1150.4, atol=1.0)


def test_the_qrs_peak_is_r_even_where_s_is_deeper():
    t = np.arange(N)
    r, s = np.exp(-0.5 * ((t - 990) / 3) ** 2), np.exp(-0.5 * ((t - 1008) / 4) ** 2)
    signal = np.stack([0.4 * r - 1.2 * s, 0.02 * r - 1.2 * s, r - 0.1 * s]).astype(np.float32)
    peaks = read_waves(inside_of(WHOLE), signal, np.array([R])).points[:, 0, QRS, 1]
    np.testing.assert_allclose(peaks, [990, 1008, 990], atol=1.5)


def test_together_waves_begin_with_the_early_leads_and_end_with_the_late_ones():
    inside = np.concatenate(
        [
            inside_of({QRS: (975.0 + early, 1025.0 + late)}, n_leads=1)
            for early, late in (
                (0, 0),
                (1, 3),
                (2, 5),
                (5, 8),
                (8, 10),
                (10, 12),
                (12, 14),
                (15, 20),
            )
        ]
    )
    alone = read_waves(inside, flat(8), np.array([R]))
    together = read_together(alone, flat(8)).points[0, QRS]
    assert 975.0 <= together[0] <= 978.5
    assert 1034.0 <= together[2] <= 1045.0


def test_one_lead_that_lies_outside_all_others_does_not_move_the_whole():
    leads = [inside_of({QRS: (975.0, 1025.0)}, n_leads=1) for _ in range(11)]
    alone = read_waves(np.concatenate(leads), flat(11), np.array([R]))
    stray = inside_of({QRS: (930.0, 1070.0)}, n_leads=1)
    with_stray = read_waves(np.concatenate([*leads, stray]), flat(12), np.array([R]))
    np.testing.assert_allclose(
        read_together(with_stray, flat(12)).points[0, QRS, ::2],
        read_together(alone, flat(11)).points[0, QRS, ::2],
        atol=0.5,
    )


def test_a_wave_seen_in_few_leads_is_not_called_there():
    inside = inside_of(WHOLE, n_leads=12)
    inside[2:, P] = 0
    found = read_together(read_waves(inside, flat(12), np.array([R])), flat(12))
    assert np.isnan(found.points[0, P]).all()
    assert found.confidence[0, P].max() == 0
    assert np.isfinite(found.points[0, QRS]).all()
