"""What is wrong with a heart, and how badly: conditions with continuous severities.

Severity 0 is the healthy heart, 1 a typical case, more a severe one. `CONDITIONS` are those that
have a twin without them (`twins`). Look-alikes that carry none of the six labels are drawn beside
them, so that a network has to learn the difference.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from leadlight.errors import LeadlightError

CONDITIONS = ("1dAVb", "RBBB", "LBBB", "SB", "AF", "ST", "PVC", "PAC")

# How often each rhythm and each conduction is drawn: diseases far more often than in a clinic,
# since a network has to learn them, and look-alikes that carry none of the six labels.
RHYTHMS = {"sinus": 0.44, "bradycardia": 0.12, "tachycardia": 0.12, "AF": 0.24, "flutter": 0.06,
           "junctional": 0.02}  # fmt: skip
CONDUCTIONS = {"normal": 0.50, "LBBB": 0.12, "RBBB": 0.12, "IRBBB": 0.06, "LAFB": 0.08,
               "IVCD": 0.06, "LVH": 0.06}  # fmt: skip
FIRST_DEGREE_SHARE = 0.16
INFARCT_SHARE = 0.10
REPOLARISATION_SHARE = 0.16
PATIENT_SHARE = 0.40  # of those whose conduction, rhythm and history do not say "normal"
ATRIAL_ECTOPY_SHARE, VENTRICULAR_ECTOPY_SHARE = 0.15, 0.14


@dataclass(frozen=True)
class Conditions:
    """One person's conditions.

    Attributes:
        severity: condition of CONDITIONS → severity; absent is 0.
        rhythm: of RHYTHMS.
        conduction: of CONDUCTIONS.
        infarct: 0, or the share of early force that is lost.
        repolarisation: 0, or how much an ST-T change of another cause weighs.
        group: of the fitted hearts, "normal" or "patients".
        discordance: share of the QRS's gained area that ST-T loses in a bundle branch block;
            0 or less is a concordant T.
        absent: conditions that a twin lacks.
        same_beats: whether the twin's ventricles beat when the original's do.
    """

    severity: Mapping[str, float]
    rhythm: str = "sinus"
    conduction: str = "normal"
    infarct: float = 0.0
    repolarisation: float = 0.0
    group: str = "normal"
    discordance: float = 0.9
    absent: tuple[str, ...] = ()
    same_beats: bool = False

    def of(self, condition: str) -> float:
        """Severity of a condition; 0 where the person does not have it."""
        return 0.0 if condition in self.absent else self.severity.get(condition, 0.0)

    def without(self, condition: str, *, same_beats: bool = False) -> "Conditions":
        """The same person without one condition, perhaps with the beats where they were.

        Raises:
            LeadlightError: the condition is none of CONDITIONS.
        """
        absent = (*self.absent, checked(condition))
        return replace(self, absent=absent, same_beats=same_beats)

    @property
    def of_beats(self) -> "Conditions":
        """The conditions that say when the ventricles beat."""
        return replace(self, absent=()) if self.same_beats else self


def checked(condition: str) -> str:
    """The condition's name.

    Raises:
        LeadlightError: it is none of CONDITIONS.
    """
    if condition not in CONDITIONS:
        raise LeadlightError(
            f"{condition} is not a condition that the simulator knows.",
            advice="It knows " + ", ".join(CONDITIONS) + ".",
        )
    return condition


def draw_conditions(
    rng: np.random.Generator, rhythms: Mapping[str, float], conductions: Mapping[str, float]
) -> Conditions:
    """Draw what one person has; rhythms and conductions by their shares."""
    rhythm, conduction = _pick(rng, rhythms), _pick(rng, conductions)
    uniform = rng.random(8)
    degree = np.exp(rng.normal(0.0, 0.35, len(CONDITIONS)))
    has = {
        "1dAVb": uniform[0] < FIRST_DEGREE_SHARE
        and rhythm in ("sinus", "bradycardia", "tachycardia"),
        "RBBB": conduction == "RBBB",
        "LBBB": conduction == "LBBB",
        "SB": rhythm == "bradycardia",
        "AF": rhythm == "AF",
        "ST": rhythm == "tachycardia",
        "PVC": uniform[1] < VENTRICULAR_ECTOPY_SHARE,
        "PAC": uniform[2] < ATRIAL_ECTOPY_SHARE and rhythm not in ("AF", "flutter"),
    }
    severity = {name: float(x) for name, x in zip(CONDITIONS, degree, strict=True) if has[name]}
    infarct = float(rng.uniform(0.2, 0.7)) if uniform[3] < INFARCT_SHARE else 0.0
    changed = float(rng.uniform(0.3, 1.5)) if uniform[4] < REPOLARISATION_SHARE else 0.0
    plain = set(severity) <= {"SB", "ST", "1dAVb", "PAC"} and conduction == "normal"
    patient = uniform[5] < PATIENT_SHARE and (not plain or uniform[6] < 0.55)
    discordance = rng.normal(0.9, 0.22)
    if uniform[7] < 0.15:
        discordance = rng.uniform(-0.4, 0.4)
    return Conditions(
        severity, rhythm, conduction, infarct, changed,
        "patients" if patient else "normal", float(discordance),
    )  # fmt: skip


def given(severities: Mapping[str, float], discordance: float = 0.9) -> Conditions:
    """Exactly these conditions and nothing else.

    Raises:
        LeadlightError: a condition is unknown, a severity is negative, or two exclude each other.
    """
    for condition, severity in severities.items():
        if severity < 0 or not np.isfinite(severity):
            raise LeadlightError(
                f"{checked(condition)} has severity {severity}.",
                advice="0 is healthy, 1 typical, above 1 severe.",
            )
        checked(condition)
    own = {name: float(x) for name, x in severities.items() if x > 0}
    for one, other in (("SB", "ST"), ("RBBB", "LBBB"), ("AF", "1dAVb"), ("AF", "SB"), ("AF", "ST")):
        if one in own and other in own:
            raise LeadlightError(
                f"Nobody has {one} and {other} at once.", advice="Ask for one of them."
            )
    rhythm = (
        "AF" if "AF" in own else "bradycardia" if "SB" in own
        else "tachycardia" if "ST" in own else "sinus"
    )  # fmt: skip
    conduction = "RBBB" if "RBBB" in own else "LBBB" if "LBBB" in own else "normal"
    return Conditions(own, rhythm, conduction, discordance=discordance)


def _pick(rng: np.random.Generator, shares: Mapping[str, float]) -> str:
    names = list(shares)
    weights = np.cumsum([shares[name] for name in names])
    return names[min(int(np.searchsorted(weights, rng.random() * weights[-1])), len(names) - 1)]
