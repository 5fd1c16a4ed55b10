"""Effective numbers of tests at the two ends where all authors agree, and a worked example."""

import numpy as np
import pytest

from leadlight.genetics.effective_tests import galwey, li_ji, nyholt


@pytest.mark.parametrize("count", [1, 2, 7, 30])
def test_independent_tests_count_each_and_copies_count_once(count):
    for number in (li_ji, galwey, nyholt):
        assert number(np.eye(count)) == pytest.approx(count)
        assert number(np.ones((count, count))) == pytest.approx(1)


def test_a_worked_example():
    # Eigenvalues 1.5 and 0.5.
    pair = np.array([[1, 0.5], [0.5, 1]])
    assert li_ji(pair) == pytest.approx((1 + 0.5) + (0 + 0.5))
    assert galwey(pair) == pytest.approx((1.5**0.5 + 0.5**0.5) ** 2 / 2)
    assert nyholt(pair) == pytest.approx(1 + 1 * (1 - 0.5 / 2))
