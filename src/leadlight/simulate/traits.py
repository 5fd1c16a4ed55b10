"""The heart's traits: what a person's heart is made of, as standard-normal scores with names.

A heart is a vector of independent z-scores, one per trait. `population` maps them to intervals,
axes, voltages and wave shapes by distributions fitted to real ECGs, given sex, age, height and
body mass. The order matters: a trait changes nothing that a trait before it in the table
describes, so the shapes are invisible to every interval, axis and voltage.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["interval", "axis", "voltage", "shape"]


@dataclass(frozen=True)
class HeartTrait:
    """One axis along which hearts differ.

    Attributes:
        name: as it is in tables and in `People.z`.
        meaning: what a positive score does.
        unit: of the physical parameter that it moves first.
        kind: what an ordinary measurement sees of it: an interval, an axis, a voltage, or
            ("shape") none of these.
    """

    name: str
    meaning: str
    unit: str
    kind: Kind


HEART_TRAITS: tuple[HeartTrait, ...] = (
    HeartTrait("heart_rate", "a faster sinus rate", "1/min", "interval"),
    HeartTrait("p_duration", "a longer P wave", "ms", "interval"),
    HeartTrait("pr_segment", "a longer way from the end of P to the QRS", "ms", "interval"),
    HeartTrait("qrs_duration", "a longer QRS", "ms", "interval"),
    HeartTrait("qt_corrected", "a longer QT at the same rate", "ms", "interval"),
    HeartTrait("qrs_axis_frontal", "QRS turned to the right and down", "deg", "axis"),
    HeartTrait("qrs_axis_horizontal", "QRS turned to the back", "deg", "axis"),
    HeartTrait("t_axis_frontal", "T turned to the right and down", "deg", "axis"),
    HeartTrait("p_voltage", "a larger P wave", "mV", "voltage"),
    HeartTrait("qrs_voltage", "a larger QRS", "mV", "voltage"),
    HeartTrait("t_voltage", "a larger T wave", "mV", "voltage"),
    HeartTrait("r_progression", "R grows earlier from V1 to V6", "mV", "shape"),
    HeartTrait("q_septal", "a deeper septal q in I, V5 and V6", "mV", "shape"),
    HeartTrait("s_terminal", "a deeper terminal S in I, V5 and V6", "mV", "shape"),
    HeartTrait("qrs_notch", "a slur or notch late in the QRS of the inferior leads", "mV", "shape"),
    HeartTrait("j_point", "a higher J point in V2 to V4", "mV", "shape"),
    HeartTrait("st_slope", "an ST segment that rises more", "mV", "shape"),
    HeartTrait("t_asymmetry", "a T wave that rises more slowly than it falls", "mV", "shape"),
    HeartTrait("t_horizontal", "T larger in V1 to V3 than in V5 and V6", "mV", "shape"),
    HeartTrait("p_terminal_v1", "a deeper end of P in V1", "mV", "shape"),
)
TRAIT_NAMES: tuple[str, ...] = tuple(trait.name for trait in HEART_TRAITS)
