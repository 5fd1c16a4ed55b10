"""Train, validation and test, fixed by patient."""

import hashlib

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)


def split_of(patient_id: str) -> str:
    """The split of a patient: 80 % train, 10 % validation, 10 % test, by a fixed hash.

    The first eight bytes of SHA-256 of the UTF-8 patient_id, read as a big-endian integer and
    divided by 2^64, give u in [0, 1): below 0.8 is train, below 0.9 validation, else test. It
    depends on nothing else, so a cohort may grow, or be imported again elsewhere, and no patient
    changes sides.
    """
    u = int.from_bytes(hashlib.sha256(patient_id.encode()).digest()[:8], "big") / 2**64
    return TRAIN if u < 0.8 else VALIDATION if u < 0.9 else TEST


def split_of_fold(fold: int) -> str:
    """The split of a PTB-XL `strat_fold`: 1 to 8 train, 9 validation, 10 test.

    The folds keep patients together (Wagner et al. 2020, Scientific Data 7:154), and folds 9 and 10
    hold the records that a human validated.

    Raises:
        ValueError: when the fold is none of 1 to 10.
    """
    if not 1 <= fold <= 10:
        raise ValueError(f"fold {fold} is none of 1 to 10")
    return TRAIN if fold <= 8 else VALIDATION if fold == 9 else TEST
