"""Corrections for many tests."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from leadlight.genetics.multiple_testing import bonferroni_threshold, neg_log_10_q


@given(st.lists(st.floats(1e-12, 1), min_size=1, max_size=40))
def test_q_values_are_benjamini_and_hochbergs(p):
    peer = multipletests(p, method="fdr_bh")[1]
    assert 10 ** -neg_log_10_q(-np.log10(np.array(p))) == pytest.approx(peer, rel=1e-9)


def test_what_is_no_test_counts_for_nothing():
    q = neg_log_10_q(np.array([3.0, np.nan, 1.0]))
    assert np.isnan(q[1])
    assert q[0] == pytest.approx(3 - np.log10(2))


def test_p_beyond_the_smallest_number_still_has_a_q():
    assert neg_log_10_q(np.array([900.0, 1.0]))[0] == pytest.approx(900 - np.log10(2))


def test_bonferronis_line_of_a_thousand_tests():
    assert bonferroni_threshold(1000) == pytest.approx(-np.log10(5e-5))
