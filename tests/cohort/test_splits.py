"""Splits by patient."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadlight.cohort.splits import SPLITS, split_of, split_of_fold


def test_the_hash_is_the_documented_one_forever() -> None:
    # From the rule itself: sha256("15709") starts with these eight bytes.
    first = int(hashlib.sha256(b"15709").hexdigest()[:16], 16) / 16**16
    expected = "train" if first < 0.8 else "validation" if first < 0.9 else "test"
    assert split_of("15709") == expected
    assert [split_of(f"patient-{n}") for n in range(12)] == [
        "train",
        "train",
        "train",
        "train",
        "train",
        "train",
        "train",
        "train",
        "test",
        "validation",
        "train",
        "train",
    ]


@given(st.text())
def test_a_patient_is_always_on_the_same_side(patient_id: str) -> None:
    assert split_of(patient_id) in SPLITS
    assert split_of(patient_id) == split_of(str(patient_id))


def test_of_many_patients_eighty_percent_train() -> None:
    counts = dict.fromkeys(SPLITS, 0)
    for number in range(20_000):
        counts[split_of(f"p{number}")] += 1
    # Five standard deviations of a binomial.
    assert abs(counts["train"] - 16_000) < 5 * (20_000 * 0.8 * 0.2) ** 0.5
    for split in ("validation", "test"):
        assert abs(counts[split] - 2_000) < 5 * (20_000 * 0.1 * 0.9) ** 0.5


def test_ptbxl_folds_one_to_eight_train_nine_validates_ten_tests() -> None:
    assert [split_of_fold(fold) for fold in range(1, 11)] == [
        *["train"] * 8, "validation", "test",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="fold 11"):
        split_of_fold(11)
