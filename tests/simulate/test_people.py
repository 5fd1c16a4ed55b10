from dataclasses import replace

import numpy as np
import pytest

from leadlight.errors import LeadlightError
from leadlight.simulate.people import draw_people
from leadlight.simulate.population import simulate_recordings
from leadlight.simulate.traits import HEART_TRAITS

SINUS, NORMAL = {"sinus": 1.0}, {"normal": 1.0}


def test_a_person_depends_on_seed_and_number_alone() -> None:
    among, alone = draw_people(range(10), seed=3), draw_people([7], seed=3)
    for name in ("sex", "age_years", "height_cm", "body_mass_index", "z"):
        np.testing.assert_array_equal(getattr(among, name)[7:8], getattr(alone, name))
    assert not np.array_equal(alone.z, draw_people([7], seed=4).z)


def test_scores_are_standard_normal_and_independent() -> None:
    z = draw_people(range(3000), seed=1).z
    assert np.abs(z.mean(axis=0)).max() < 0.08
    assert np.abs(z.std(axis=0) - 1).max() < 0.06
    assert np.abs(np.corrcoef(z.T) - np.eye(len(HEART_TRAITS))).max() < 0.09


def test_bodies_are_plausible() -> None:
    people = draw_people(range(2000), seed=2)
    men, women = people.sex == "M", people.sex == "F"
    assert 0.45 < men.mean() < 0.55
    assert 11 < people.height_cm[men].mean() - people.height_cm[women].mean() < 16
    assert 26 < np.median(people.body_mass_index) < 30
    assert people.age_years.min() >= 18


def test_people_of_ones_own_are_the_ones_that_are_simulated() -> None:
    people = draw_people([4, 9], seed=1)
    made = list(simulate_recordings(2, seed=1, people=people))
    (alone,) = simulate_recordings(1, seed=1, first=9)
    assert [one.recording.record_id for one in made] == ["sim000004", "sim000009"]
    np.testing.assert_array_equal(made[1].recording.signal_mv, alone.recording.signal_mv)


@pytest.mark.parametrize(
    ("trait", "measured"), [("heart_rate", "rate_bpm"), ("qrs_duration", "qrs_ms"),
                            ("qt_corrected", "qt_ms"), ("pr_segment", "pr_ms")],
)  # fmt: skip
def test_a_higher_score_is_a_higher_measurement(trait: str, measured: str) -> None:
    truth = [
        np.array(
            [
                float(one.truth[measured])
                for one in simulate_recordings(
                    20, seed=5, rhythms=SINUS, conductions=NORMAL, noise=0.0,
                    z_shift={trait: shift}, duration_s=4.0,
                )
            ]
        )
        for shift in (0.0, 1.0)
    ]  # fmt: skip
    assert np.mean(truth[1] > truth[0] + 1.0) > 0.6


def test_what_does_not_fit_is_refused() -> None:
    people = draw_people(range(3), seed=1)
    with pytest.raises(LeadlightError, match="5 recordings of 3 people"):
        list(simulate_recordings(5, seed=1, people=people))
    with pytest.raises(LeadlightError, match="long_ears is not a trait"):
        list(simulate_recordings(3, seed=1, z_shift={"long_ears": 1.0}))
    with pytest.raises(LeadlightError, match="z-scores have shape"):
        replace(people, z=people.z[:, :-1])
