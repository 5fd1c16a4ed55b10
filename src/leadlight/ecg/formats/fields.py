"""What every format has and writes in its own way: lead names, units, age, sex."""

import math
import re
from collections.abc import Sequence
from pathlib import Path

from leadlight.ecg.leads import canonical_lead
from leadlight.errors import UnreadableRecording

# Signals longer than this (all leads together) are refused before memory is asked for: 12 leads
# at 1000 Hz for more than two hours. A header can claim any number.
MAX_VALUES = 100_000_000

_MV_PER_UNIT = {"V": 1e3, "MV": 1.0, "UV": 1e-3, "NV": 1e-6}
# PTB-XL and others write 300 for people of 90 and above.
_OVER_89 = 300.0
_OLDEST = 120.0


def standard_channels(path: Path, names: Sequence[str]) -> tuple[list[int], list[str], list[str]]:
    """Which of a file's channels are standard leads.

    Returns:
        The channels' positions, their standard names, and the file's names of all others.

    Raises:
        UnreadableRecording: two channels are the same lead, or none is one of the twelve.
    """
    positions: list[int] = []
    leads: list[str] = []
    ignored: list[str] = []
    for position, name in enumerate(names):
        lead = canonical_lead(name)
        if lead is None:
            ignored.append(name)
        elif lead in leads:
            raise UnreadableRecording(
                f"{path} holds lead {lead} twice.",
                advice="Nothing says which one is right; keep one channel per lead.",
            )
        else:
            positions.append(position)
            leads.append(lead)
    if not leads:
        found = ", ".join(repr(name) for name in ignored[:12]) or "no channel at all"
        raise UnreadableRecording(
            f"{path} holds none of the twelve standard leads (it has {found}).",
            advice="Name its channels I, II, III, aVR, aVL, aVF, V1 to V6.",
        )
    return positions, leads, ignored


def mv_per_unit(path: Path, unit: str) -> float:
    """How many millivolt one `unit` ("uV", "mV", "V") is.

    Raises:
        UnreadableRecording: it is not a unit of voltage.
    """
    key = unit.strip().upper().replace("\u00b5", "U").replace("\u03bc", "U").replace("\u039c", "U")
    if key not in _MV_PER_UNIT:
        raise UnreadableRecording(
            f"{path} states its ECG in {unit!r}, which is not a voltage.",
            advice="Leadlight reads nV, uV, mV and V.",
        )
    return _MV_PER_UNIT[key]


def age_years(text: str) -> float | None:
    """Age from what a header says ("74", "74.5", "NaN", "300"); None where that is no age."""
    match = re.match(r"\s*(\d+(?:\.\d+)?)\s*(?:years?|y|yrs?)?\s*$", text, re.IGNORECASE)
    if match is None:
        return None
    age = float(match[1])
    if age == _OVER_89:
        return 90.0
    return age if math.isfinite(age) and age <= _OLDEST else None


def sex_letter(text: str) -> str | None:
    """ "F" or "M" from what a header says; None where it says neither.

    Numbers are not read as a sex: 1 is a woman in PTB-XL's table and a man in ISO/IEC 5218.
    """
    word = text.strip().upper()
    if word in ("F", "FEMALE", "W", "WOMAN"):
        return "F"
    return "M" if word in ("M", "MALE", "MAN") else None
