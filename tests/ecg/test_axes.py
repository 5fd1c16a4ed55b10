"""Axes and angles, and the inverse Dower matrix against a cart's own vector loops."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadlight.ecg.axes import (
    INVERSE_DOWER,
    KORS,
    angle_deg,
    frontal_angle_deg,
    frontal_axis_deg,
    mean_vector,
)
from leadlight.ecg.formats import read_recording
from leadlight.ecg.leads import INDEPENDENT_LEADS
from leadlight.simulate.lead_field import DOWER


def limb_areas(axis_deg: float, size: float = 10.0) -> dict[str, float]:
    """What leads I (0°) and II (60°) see of a vector in the frontal plane."""
    return {
        "I": size * np.cos(np.radians(axis_deg)),
        "II": size * np.cos(np.radians(axis_deg - 60)),
    }


@given(axis=st.floats(-179.9, 180))
def test_the_frontal_axis_is_einthovens(axis: float) -> None:
    found = frontal_axis_deg(limb_areas(axis))
    assert frontal_angle_deg(found, axis) < 1e-6


def test_an_axis_needs_both_limb_leads_and_some_length() -> None:
    assert np.isnan(frontal_axis_deg({"I": 3.0}))
    assert np.isnan(frontal_axis_deg(limb_areas(45, 0.1) | {"V2": 10.0}))


@given(a=st.floats(-180, 180), b=st.floats(-180, 180))
def test_the_frontal_angle_is_the_short_way_round(a: float, b: float) -> None:
    angle = frontal_angle_deg(a, b)
    assert 0 <= angle <= 180
    assert angle == pytest.approx(frontal_angle_deg(b, a))
    assert np.cos(np.radians(angle)) == pytest.approx(np.cos(np.radians(a - b)), abs=1e-9)


def test_angles_in_space() -> None:
    assert angle_deg(np.array([1.0, 0, 0]), np.array([0, 2.0, 0])) == pytest.approx(90)
    assert angle_deg(np.array([1.0, 0, 0]), np.array([-3.0, 0, 0])) == pytest.approx(180)
    assert np.isnan(angle_deg(np.zeros(3), np.ones(3)))


@pytest.mark.parametrize(("matrix", "within_deg"), [(KORS, 30), (INVERSE_DOWER, 8)])
def test_a_dipole_seen_through_dowers_torso_keeps_its_direction(
    matrix: np.ndarray, within_deg: float
) -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        dipole = rng.standard_normal(3)
        areas = dict(zip(INDEPENDENT_LEADS, DOWER @ dipole, strict=True))
        assert angle_deg(mean_vector(areas, matrix), dipole) < within_deg


def test_a_missing_lead_leaves_no_vector() -> None:
    assert np.isnan(mean_vector(dict.fromkeys(INDEPENDENT_LEADS[:-1], 1.0))).all()


def test_inverse_dower_gives_the_loops_that_the_cart_computed(shared_data: Path) -> None:
    path = shared_data / "formats" / "cardiosoft" / "ukb_ecg_demo_20205_2_0.xml"
    text = path.read_text(encoding="latin-1")
    beat = read_recording(path).median_beat_mv
    assert beat is not None
    ours = INVERSE_DOWER @ (beat.sel(lead=list(INDEPENDENT_LEADS)).values / 0.005)
    for row, (tag, sign) in enumerate(
        (('Frontal Lead="X"', 1), ('Frontal Lead="-Y"', -1), ('Horizontal Lead="Z"', 1))
    ):
        found = re.search(f"<{tag}>([^<]*)<", text)
        assert found is not None
        theirs = np.array([float(v) for v in found[1].split(",") if v.strip()])
        # The cart writes whole bits, cut off towards zero.
        assert np.abs(sign * ours[row, : theirs.size] - theirs).max() < 1.001
