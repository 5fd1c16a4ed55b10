"""Rate and QT corrections against worked values."""

import numpy as np
import pytest

from leadlight.ecg.intervals import corrected_qt, rate_and_rr


def test_rate_is_of_all_beats() -> None:
    found = rate_and_rr(np.array([0, 400, 700, 1000]), 500.0)
    assert found["rr_ms"] == pytest.approx(2000 / 3)
    assert found["heart_rate_bpm"] == pytest.approx(90)
    assert found["rr_sd_ms"] == pytest.approx(np.std([800, 600, 600], ddof=1))
    assert found["rmssd_ms"] == pytest.approx(np.sqrt(200**2 / 2))


def test_too_few_beats_give_nan() -> None:
    assert np.isnan(list(rate_and_rr(np.array([100]), 500.0).values())).all()
    two = rate_and_rr(np.array([100, 600]), 500.0)
    assert two["heart_rate_bpm"] == 60
    assert np.isnan(two["rr_sd_ms"])


def test_all_corrections_agree_at_sixty_a_minute() -> None:
    assert set(corrected_qt(400.0, 1000.0).values()) == {400.0}


def test_corrections_at_ninety_six_a_minute() -> None:
    # RR 0.625 s: 360/√0.625, 360/∛0.625, 360 + 154·0.375, 360 + 1.75·36.
    assert corrected_qt(360.0, 625.0) == pytest.approx(
        {
            "qtc_bazett_ms": 455.37,
            "qtc_fridericia_ms": 421.06,
            "qtc_framingham_ms": 417.75,
            "qtc_hodges_ms": 423.0,
        },
        abs=0.01,
    )
