import mpmath
import numpy as np
import pytest

from leadlight.genetics.tail_probability import neg_log_10_p


@pytest.mark.parametrize("degrees", [1, 3, 59, 60, 300, 9_988, 30_000])
@pytest.mark.parametrize("t", [1e-4, 0.3, 1.0, 2.5, 5.99, 6.01, 9.0, 40.0, 150.0])
def test_p_is_exact_from_the_middle_to_far_beyond_double_underflow(t: float, degrees: int) -> None:
    with mpmath.workdps(60):
        x = mpmath.mpf(degrees) / (degrees + mpmath.mpf(t) ** 2)
        p = mpmath.betainc(mpmath.mpf(degrees) / 2, mpmath.mpf(1) / 2, 0, x, regularized=True)
        expected = float(-mpmath.log10(p))
    assert neg_log_10_p(t, degrees) == pytest.approx(expected, abs=1e-8, rel=1e-12)


def test_infinite_degrees_of_freedom_give_the_normal_tail() -> None:
    expected = float(-mpmath.log10(mpmath.erfc(mpmath.mpf(50) / mpmath.sqrt(2))))
    assert expected > 500
    assert neg_log_10_p(50.0, np.inf) == pytest.approx(expected, rel=1e-9)


def test_not_a_number_stays_not_a_number() -> None:
    assert np.isnan(neg_log_10_p(np.array([np.nan]), np.array([5.0, 500.0]))).all()


def test_no_effect_has_p_of_one() -> None:
    assert neg_log_10_p(0.0, 20) == 0
    assert neg_log_10_p(0.0, 2_000) == 0
