import numpy as np
import pytest

from leadlight.simulate.fitted import Shape, shape_of
from leadlight.simulate.traits import HEART_TRAITS, TRAIT_NAMES
from leadlight.simulate.waves import LEAD

# Who the others are compared with.
USUAL: dict[str, float] = {"age_years": 60.0, "height_cm": 168.0, "body_mass_index": 27.0}


def shapes(count: int = 60, male: bool = True, **other: float) -> list[Shape]:
    drawn = []
    for number in range(count):
        rng = np.random.default_rng(number)
        z = rng.standard_normal(len(TRAIT_NAMES))
        drawn.append(shape_of("normal", z, rng, male=male, **(USUAL | other)))
    return drawn


def mean(of: list[Shape], name: str) -> float:
    return float(np.mean([getattr(one, name) for one in of]))


def voltage(of: list[Shape], wave: str) -> float:
    return float(np.mean([np.abs(one.strengths_mv[wave]).max() for one in of]))


def frontal_axis(one: Shape) -> float:
    area = one.strengths_mv["QRS"].sum(axis=0)
    lead_one, foot = area[LEAD["I"]], area[LEAD["II"]] - 0.5 * area[LEAD["I"]]
    return float(np.degrees(np.arctan2(foot * 2 / np.sqrt(3), lead_one)))


def test_women_have_a_longer_qt_a_shorter_qrs_and_less_voltage() -> None:
    men, women = shapes(male=True, height_cm=176.0), shapes(male=False, height_cm=163.0)
    assert 3 < mean(women, "qtc_ms") - mean(men, "qtc_ms") < 30
    assert 2 < mean(men, "qrs_ms") - mean(women, "qrs_ms") < 15
    assert voltage(men, "QRS") > 1.02 * voltage(women, "QRS")
    assert voltage(men, "T") > 1.05 * voltage(women, "T")


def test_the_old_conduct_more_slowly_and_their_axis_lies_further_left() -> None:
    young, old = shapes(age_years=30.0), shapes(age_years=80.0)
    pr_ms = [mean(of, "p_ms") + mean(of, "pr_segment_ms") for of in (young, old)]
    assert pr_ms[1] > pr_ms[0] + 4
    axis = [np.median([frontal_axis(one) for one in of]) for of in (young, old)]
    assert axis[1] < axis[0] - 10


def test_body_mass_lowers_qrs_turns_it_left_and_lengthens_p() -> None:
    slim, heavy = shapes(body_mass_index=22.0), shapes(body_mass_index=38.0)
    assert voltage(heavy, "QRS") < 0.95 * voltage(slim, "QRS")
    axis = [np.median([frontal_axis(one) for one in of]) for of in (slim, heavy)]
    assert axis[1] < axis[0] - 5
    assert mean(heavy, "p_ms") > mean(slim, "p_ms") + 2


def test_the_tall_have_longer_intervals() -> None:
    short, tall = shapes(height_cm=155.0), shapes(height_cm=190.0)
    for name in ("p_ms", "pr_segment_ms", "qrs_ms"):
        assert mean(tall, name) > mean(short, name) + 2


@pytest.mark.parametrize(
    ("trait", "moves"),
    [
        ("heart_rate", "rate_bpm"), ("p_duration", "p_ms"), ("pr_segment", "pr_segment_ms"),
        ("qrs_duration", "qrs_ms"), ("qt_corrected", "qtc_ms"),
    ],
)  # fmt: skip
def test_an_interval_trait_moves_its_interval_and_those_before_it_not(
    trait: str, moves: str
) -> None:
    fields = ("rate_bpm", "p_ms", "pr_segment_ms", "qrs_ms", "qtc_ms")
    z = np.zeros(len(TRAIT_NAMES))
    higher = z.copy()
    higher[TRAIT_NAMES.index(trait)] = 1.0
    one, other = (
        shape_of("normal", of, np.random.default_rng(0), male=True, **USUAL) for of in (z, higher)
    )
    for name in fields[: fields.index(moves)]:
        assert getattr(other, name) == pytest.approx(getattr(one, name), rel=1e-6)
    assert getattr(other, moves) > getattr(one, moves)


def test_shape_traits_are_invisible_to_intervals_and_voltages() -> None:
    base = np.random.default_rng(1).standard_normal(len(TRAIT_NAMES))
    for column, trait in enumerate(HEART_TRAITS):
        if trait.kind != "shape":
            continue
        changed = base.copy()
        changed[column] += 2.0
        one, other = (
            shape_of("normal", of, np.random.default_rng(0), male=False, **USUAL)
            for of in (base, changed)
        )
        for name in ("rate_bpm", "p_ms", "pr_segment_ms", "qrs_ms", "qtc_ms"):
            assert getattr(other, name) == pytest.approx(getattr(one, name), rel=1e-6), trait.name
        moved = max(
            np.abs(other.strengths_mv[wave] - one.strengths_mv[wave]).max()
            for wave in one.strengths_mv
        )
        assert moved > 0.005, trait.name
        for wave in ("P", "QRS", "T"):
            events = slice(None, -1) if wave == "P" else slice(None)
            sizes = [np.sqrt((x.strengths_mv[wave][events] ** 2).mean()) for x in (one, other)]
            assert sizes[1] == pytest.approx(sizes[0], rel=1e-6), trait.name
