"""People: who they are and the scores of their hearts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from leadlight.errors import LeadlightError
from leadlight.simulate.traits import TRAIT_NAMES

Array = npt.NDArray[np.float64]

# Keeps the draws of who people are apart from what else is drawn for the same person.
_STREAM = 1


@dataclass(frozen=True)
class People:
    """Some people, axis `person`.

    Attributes:
        number: (person,) int; with the seed it fixes all else that is random about a person.
        sex: (person,) "F" or "M".
        age_years, height_cm, body_mass_index: (person,), the last in kg/m².
        z: (person, trait of TRAIT_NAMES) the heart's scores, standard normal and independent in
            a population; sex, age and body act on the heart beside them, not through them.

    Raises:
        LeadlightError: the arrays' lengths disagree, or `z` does not have one column per trait.
    """

    number: npt.NDArray[np.int64]
    sex: npt.NDArray[np.str_]
    age_years: Array
    height_cm: Array
    body_mass_index: Array
    z: Array

    def __post_init__(self) -> None:
        count = len(self.number)
        for name in ("sex", "age_years", "height_cm", "body_mass_index"):
            if np.shape(getattr(self, name)) != (count,):
                raise LeadlightError(
                    f"{name} of the people has shape {np.shape(getattr(self, name))}, "
                    f"expected ({count},).",
                    advice="Give one value per person.",
                )
        if np.shape(self.z) != (count, len(TRAIT_NAMES)):
            raise LeadlightError(
                f"The people's z-scores have shape {np.shape(self.z)}, expected "
                f"({count}, {len(TRAIT_NAMES)}).",
                advice="Give one row per person and one column per trait of HEART_TRAITS.",
            )

    def __len__(self) -> int:
        return len(self.number)


def draw_people(numbers: Sequence[int], seed: int) -> People:
    """The people with these numbers; each depends on `seed` and its own number alone.

    Adults as an ECG archive sees them. Height given sex and age, and body mass given age, follow
    NHANES 2015-2018 roughly (Fryar et al. 2021): men 175 ± 7.5 cm, women 161.5 ± 7 cm, about
    1 cm less per decade after 40; body mass index log-normal with median 28.
    """
    rows = np.array([_who(number, seed) for number in numbers]).reshape(-1, 4 + len(TRAIT_NAMES))
    male = rows[:, 0] < 0.5
    age = np.clip(rows[:, 1], 18.0, 95.0)
    height = np.where(male, 176.5 + 7.5 * rows[:, 2], 163.0 + 7.0 * rows[:, 2])
    height -= 0.1 * np.maximum(age - 40.0, 0.0)
    mass_index = np.exp(np.log(27.0 + 0.02 * np.minimum(age - 20.0, 40.0)) + 0.19 * rows[:, 3])
    return People(
        number=np.array(numbers, dtype=np.int64).reshape(-1),
        sex=np.where(male, "M", "F"),
        age_years=np.round(age),
        height_cm=np.clip(height, 140.0, 210.0),
        body_mass_index=np.clip(mass_index, 16.0, 55.0),
        z=rows[:, 4:].copy(),
    )


def _who(number: int, seed: int) -> Array:
    rng = np.random.default_rng([seed, number, _STREAM])
    uniform = rng.random()
    normal = rng.standard_normal(3 + len(TRAIT_NAMES))
    normal[0] = 58.0 + 17.0 * normal[0]
    return np.concatenate([[uniform], normal])
