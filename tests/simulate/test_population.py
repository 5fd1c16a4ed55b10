import numpy as np
import pytest

from leadlight.ecg.leads import DERIVED_FROM_I_II
from leadlight.ecg.rpeaks import find_r_peaks
from leadlight.simulate.population import CONDUCTIONS, RHYTHMS, simulate_recordings

ONLY_SINUS = {"sinus": 1.0}
ONLY_NORMAL = {"normal": 1.0}


def test_the_same_seed_gives_the_same_people() -> None:
    one = [s.recording.signal_mv.values for s in simulate_recordings(3, seed=5)]
    two = [s.recording.signal_mv.values for s in simulate_recordings(3, seed=5)]
    other = [s.recording.signal_mv.values for s in simulate_recordings(3, seed=6)]
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_a_person_does_not_depend_on_how_many_are_made() -> None:
    among_four = list(simulate_recordings(4, seed=5))[3]
    (alone,) = simulate_recordings(1, seed=5, first=3)
    assert among_four.recording.record_id == alone.recording.record_id
    np.testing.assert_array_equal(among_four.recording.signal_mv, alone.recording.signal_mv)


def test_the_lead_algebra_holds_with_noise() -> None:
    for simulated in simulate_recordings(5, seed=2, noise=3.0):
        signal_mv = simulated.recording.signal_mv
        one, two = signal_mv.sel(lead="I").values, signal_mv.sel(lead="II").values
        for lead, (of_one, of_two) in DERIVED_FROM_I_II.items():
            np.testing.assert_allclose(
                signal_mv.sel(lead=lead).values, of_one * one + of_two * two, atol=2e-6
            )


def test_fibrillation_has_no_p_wave_and_no_regular_rhythm() -> None:
    variation = {}
    for rhythm in ("AF", "sinus"):
        people = list(
            simulate_recordings(
                40, seed=3, rhythms={rhythm: 1.0}, conductions=ONLY_NORMAL, noise=0.0
            )
        )
        absent = [np.isnan(p.fiducials.p_onset_s).mean() for p in people]
        # A ventricular beat of somebody in sinus rhythm has no P wave either.
        assert np.mean(absent) == 1.0 if rhythm == "AF" else np.mean(absent) < 0.05
        variation[rhythm] = np.median(
            [
                np.std(np.diff(p.fiducials.qrs_onset_s)) / np.mean(np.diff(p.fiducials.qrs_onset_s))
                for p in people
            ]
        )
    assert variation["AF"] > 0.12
    assert variation["sinus"] < 0.05


@pytest.mark.parametrize(
    ("rhythm", "label", "low", "high"),
    [("bradycardia", "SB", 30, 59.6), ("tachycardia", "ST", 100.4, 180)],
)
def test_a_rate_label_is_the_rate_that_a_detector_counts(
    rhythm: str, label: str, low: float, high: float
) -> None:
    checked = 0
    for person in simulate_recordings(
        25, seed=8, rhythms={rhythm: 1.0}, conductions=ONLY_NORMAL, noise=0.0
    ):
        if label not in person.labels or person.truth["ventricular_ectopic_share"]:
            continue
        peaks = find_r_peaks(person.recording.signal_mv, person.recording.rate_hz)
        rate_bpm = 60.0 * person.recording.rate_hz / np.mean(np.diff(peaks))
        # The label counts the intervals that end inside the strip, the detector those within.
        assert low - 2.5 < rate_bpm < high + 2.5
        checked += 1
    assert checked >= 15


def _mean_beat(conduction: str, lead: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean over people of one lead around the QRS onset (mV), and its time in ms."""
    beats = []
    for person in simulate_recordings(
        40, seed=seed, rhythms=ONLY_SINUS, conductions={conduction: 1.0}, noise=0.0
    ):
        signal = person.recording.signal_mv.sel(lead=lead).values
        onset = round(float(person.fiducials.qrs_onset_s[2]) * person.recording.rate_hz)
        beats.append(signal[onset - 25 : onset + 150] - signal[onset - 5])
    return np.mean(beats, axis=0), (np.arange(175) - 25) * 2.0


def test_bundle_branch_blocks_show_where_cardiology_looks_for_them() -> None:
    left_v1, time_ms = _mean_beat("LBBB", "V1", 1)
    left_v6, _ = _mean_beat("LBBB", "V6", 1)
    right_v1, _ = _mean_beat("RBBB", "V1", 1)
    right_one, _ = _mean_beat("RBBB", "I", 1)
    normal_v1, _ = _mean_beat("normal", "V1", 1)
    late = (time_ms > 85) & (time_ms < 115)
    assert left_v1[late].mean() < -0.4  # the QRS of LBBB is still deep in V1 ...
    assert left_v6[late].mean() > 0.3  # ... and high in V6
    assert right_v1[late].mean() > 0.2  # R' in V1
    assert right_one[late].mean() < -0.1  # broad S in I
    assert abs(normal_v1[late].mean()) < 0.15


def test_every_class_and_the_normal_ones_are_drawn() -> None:
    labels = [label for s in simulate_recordings(150, seed=4) for label in s.labels]
    assert set(labels) == {"1dAVb", "RBBB", "LBBB", "SB", "AF", "ST", "NORM"}
    assert sum(RHYTHMS.values()) == pytest.approx(1.0)
    assert sum(CONDUCTIONS.values()) == pytest.approx(1.0)


def test_first_degree_block_is_a_pr_above_200_ms() -> None:
    for person in simulate_recordings(80, seed=9):
        assert ("1dAVb" in person.labels) == (float(person.truth["pr_ms"]) > 200.0)
