import numpy as np
import pytest

from leadlight.ecg.delineation.fiducials import Fiducials, label_fiducials
from leadlight.ecg.delineation.ludb import AnnotatedRecord, part_of, read_annotated, record_numbers
from leadlight.ecg.delineation.scoring import calibration, score, stated_and_true, tally
from leadlight.ecg.leads import LEADS, as_leads
from leadlight.errors import LeadlightError

MARKS = np.array([[500.0, 520.0, 540.0], [1000.0, 1020.0, 1040.0], [1500.0, 1520.0, 1540.0]])
NONE = np.zeros((0, 3))


def record_of(marks: np.ndarray) -> AnnotatedRecord:
    return AnnotatedRecord(
        number=1,
        signal_mv=as_leads(np.zeros((12, 2000), dtype=np.float32)),
        rate_hz=500.0,
        waves={"II": {"P": NONE, "QRS": marks, "T": NONE}},
        span={"II": (500, 1540)},
    )


def found_of(waves: np.ndarray) -> dict:
    return {"II": {"P": NONE, "QRS": waves, "T": NONE}}


def test_errors_are_in_ms_and_signed_late_positive():
    late = tally(record_of(MARKS), found_of(MARKS + np.array([2.0, 0.0, -3.0])))
    np.testing.assert_allclose(late["QRS", "onset"].errors_ms, 4.0)
    np.testing.assert_allclose(late["QRS", "offset"].errors_ms, -6.0)


def test_a_reading_is_matched_once_and_never_beyond_150_ms():
    twice = np.concatenate([MARKS, MARKS[1:2] + 5.0])
    one = tally(record_of(MARKS), found_of(twice))["QRS", "onset"]
    assert (one.errors_ms.size, one.missed, one.invented) == (3, 0, 1)
    far = MARKS.copy()
    far[1] += 76.0  # 152 ms
    one = tally(record_of(MARKS), found_of(far))["QRS", "onset"]
    assert (one.errors_ms.size, one.missed, one.invented) == (2, 1, 1)


def test_readings_of_unmarked_beats_at_the_ends_do_not_count():
    more = np.concatenate([MARKS - [[450.0]], MARKS, [[1800.0, 1820.0, 1840.0]]])
    more = more[more[:, 0] > 0]
    one = tally(record_of(MARKS), found_of(more))["QRS", "onset"]
    assert one.invented == np.sum((more[:, 0] >= 500) & (more[:, 0] <= 1540)) - 3


def test_absent_waves_are_missed_marks():
    one = tally(record_of(MARKS), found_of(np.full((3, 3), np.nan)))["QRS", "onset"]
    assert (one.errors_ms.size, one.missed, one.invented) == (0, 3, 0)


def test_the_pooled_figures_are_those_of_all_errors_together():
    rng = np.random.default_rng(1)
    tallies, errors = [], []
    for _ in range(6):
        shift = rng.normal(1.0, 4.0, (3, 1))
        tallies.append(tally(record_of(MARKS), found_of(MARKS + shift)))
        errors.append(2.0 * shift[:, 0])
    pooled = score(tallies, seed=0)["QRS", "onset"]
    assert pooled.mean_ms == pytest.approx(np.concatenate(errors).mean())
    assert pooled.sd_ms == pytest.approx(np.concatenate(errors).std(ddof=1))
    assert pooled.marks == 18
    low, high = pooled.intervals["mean_ms"]
    assert low < pooled.mean_ms < high


def test_a_third_of_ludb_is_held_back():
    held = {number for number in range(1, 101) if part_of(number) == "test"}
    assert held == set(range(3, 100, 3))
    assert {part_of(number) for number in set(range(1, 101)) - held} == {"training"}


def sure_of(waves: np.ndarray, confidence: np.ndarray) -> Fiducials:
    """QRS of lead II as given, P and T absent."""
    per_lead = np.full((1, len(waves), 3, 3), np.nan)
    sure = np.zeros_like(per_lead)
    per_lead[0, :, 1], sure[0, :, 1] = waves, confidence[:, None]
    return label_fiducials(
        per_lead, per_lead[0], sure, sure[0], leads=["II"], r_peaks=waves[:, 1].astype(int),
        rate_hz=500.0,
    )  # fmt: skip


def test_confidence_is_held_against_the_tolerance_of_each_limit():
    moved = MARKS + np.array([[0.0], [4.0], [90.0]])  # 0 and 8 ms off, and no match
    stated = stated_and_true(record_of(MARKS), sure_of(moved, np.array([0.9, 0.5, 0.7])))
    np.testing.assert_allclose(stated["QRS", "onset"], [[0.9, 0.5], [1, 0]])  # 6.5 ms
    np.testing.assert_allclose(stated["QRS", "offset"], [[0.9, 0.5], [1, 1]])  # 11.6 ms
    assert stated["P", "onset"].shape == (2, 0)


def test_calibration_tells_confidence_and_truth_from_least_to_most_sure():
    stated = [{("T", "offset"): np.array([[0.9, 0.2], [1, 0]])},
              {("T", "offset"): np.array([[0.4, 0.7], [0, 1]])}]  # fmt: skip
    overall, low, high = calibration(stated, parts=2)["T", "offset"]
    np.testing.assert_allclose(overall, (0.55, 0.5))
    np.testing.assert_allclose(low, (0.3, 0.0))
    np.testing.assert_allclose(high, (0.8, 1.0))


def test_marks_are_read_whole_and_in_order(shared_data):
    record = read_annotated(shared_data / "ludb", 1)
    assert list(record.signal_mv["lead"].values) == list(LEADS)
    qrs = record.waves["II"]["QRS"]
    # The first marks of lead II as `rdann -r 1 -a ii` prints them.
    np.testing.assert_array_equal(qrs[0], [644, 662, 682])
    np.testing.assert_array_equal(record.waves["II"]["P"][0], [1250, 1278, 1302])
    for waves in record.waves.values():
        for rows in waves.values():
            assert (np.diff(rows, axis=1) >= 0).all()


def test_a_folder_without_ludb_is_refused(tmp_path):
    with pytest.raises(LeadlightError, match=r"data/\*\.hea"):
        record_numbers(tmp_path)
    with pytest.raises(LeadlightError, match="cannot be read"):
        read_annotated(tmp_path, 3)
