import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadlight.genetics.linear_kernels import prepare_calls


@settings(deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 700),
    st.sampled_from([0.0, 0.01, 0.5, 1.0]),
    st.integers(0, 7),
    st.sampled_from([np.int8, np.float32]),
)
def test_counts_missing_people_and_flips_are_those_of_the_calls(
    seed: int, people: int, missing: float, shift: int, dtype: type
) -> None:
    """At any length and alignment, for calls and dosages alike."""
    rng = np.random.default_rng(seed)
    calls = rng.integers(0, 3, (4, people))
    calls[1] = 2
    calls[rng.random(calls.shape) < missing] = -9
    room = np.empty(4 * people + shift, dtype=dtype)
    given_calls = room[shift:].reshape(4, people)
    given_calls[:] = calls
    male = rng.integers(0, 2, people).astype(np.uint8)
    out, counts = np.empty(calls.shape, np.float32), np.empty((4, 6))
    flipped, first = np.empty(4, np.uint8), np.empty(5, np.int64)
    absent = prepare_calls(given_calls, male, True, out, counts, flipped, first)
    there = calls >= 0
    filled = np.where(there, calls, 0)
    expected = np.stack(
        [
            there.sum(axis=1),
            filled.sum(axis=1),
            (filled**2).sum(axis=1),
            (calls == 1).sum(axis=1),
            filled @ male,
            there @ male.astype(np.int64),
        ],
        axis=1,
    )
    assert np.array_equal(counts, expected)
    assert np.array_equal(absent, np.nonzero(~there)[1])
    assert np.array_equal(np.diff(first), (~there).sum(axis=1))
    assert np.array_equal(flipped == 1, expected[:, 1] > expected[:, 0])
    minor = np.where(flipped[:, None] == 1, 2 - filled, filled)
    assert np.array_equal(out, np.where(there, minor, 0))


def test_a_dosage_is_not_rounded() -> None:
    calls = np.array([[0.25, 1.5, -9.0]], dtype=np.float32)
    out, counts = np.empty((1, 3)), np.empty((1, 6))
    flipped, first = np.empty(1, np.uint8), np.empty(2, np.int64)
    prepare_calls(calls, np.zeros(3, np.uint8), False, out, counts, flipped, first)
    assert out.tolist() == [[0.25, 1.5, 0.0]]
    assert counts[0, 2] == pytest.approx(0.0625 + 2.25)
