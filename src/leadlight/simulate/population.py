"""People in, recordings out: how hearts differ, and which diagnoses they carry.

A person's healthy heart comes from distributions fitted to real ECGs (`fitted`), given the scores
of `people`; `conditions` says what is wrong with it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt
import xarray as xr

from leadlight.ecg.leads import LEADS, as_leads
from leadlight.ecg.recording import Recording
from leadlight.errors import LeadlightError
from leadlight.simulate.conditions import (
    CONDUCTIONS,
    RHYTHMS,
    Conditions,
    draw_conditions,
    given,
)
from leadlight.simulate.fitted import shape_of
from leadlight.simulate.heart import Fiducials, beat_into_leads
from leadlight.simulate.noise import RECORDERS, draw_levels
from leadlight.simulate.people import People, draw_people
from leadlight.simulate.person import build_heart
from leadlight.simulate.traits import TRAIT_NAMES

__all__ = ["CONDUCTIONS", "RHYTHMS", "PersonParameters", "SimulatedRecording", "simulate_person",
           "simulate_recordings"]  # fmt: skip

# What is random about a person, each from a generator of its own, so that taking one thing away
# changes nothing else.
_CONDITIONS, _SHAPE, _DISEASE, _RHYTHM, _BEATS, _NOISE, _CABLES = range(2, 9)


@dataclass(frozen=True)
class PersonParameters:
    """All that makes one recording; `simulate_person` makes it again.

    Attributes:
        seed, number: of the person.
        people: one row.
        conditions: what is wrong.
        rate_hz, duration_s, noise, recorders, artefacts, arms_swapped: see `simulate_recordings`.
    """

    seed: int
    number: int
    people: People
    conditions: Conditions
    rate_hz: float
    duration_s: float
    noise: float
    recorders: Mapping[str, float]
    artefacts: float
    arms_swapped: float = 0.0


@dataclass(frozen=True)
class SimulatedRecording:
    """One simulated person: the recording, its labels, its true fiducials and its parameters.

    `labels` are those of the six classes, or NORM; `truth` is one flat row for a table;
    `parameters` make the recording again, or its twin (`leadlight.simulate.twins`).
    """

    recording: Recording
    labels: tuple[str, ...]
    fiducials: Fiducials
    truth: Mapping[str, float | str | bool]
    parameters: PersonParameters


def simulate_recordings(
    people_count: int,
    *,
    seed: int,
    rate_hz: float = 500.0,
    duration_s: float = 10.0,
    rhythms: Mapping[str, float] = RHYTHMS,
    conductions: Mapping[str, float] = CONDUCTIONS,
    noise: float = 1.0,
    first: int = 0,
    people: People | None = None,
    z_shift: Mapping[str, npt.ArrayLike] | None = None,
    severities: Mapping[str, float] | None = None,
    recorders: Mapping[str, float] = RECORDERS,
    artefacts: float = 1.0,
    arms_swapped: float = 0.0,
) -> Iterator[SimulatedRecording]:
    """Yield `people_count` simulated 12-lead ECGs.

    Person i depends on `seed` and i alone, so that any part of a population can be made on its
    own (`first` is the number of the first person).

    Args:
        people_count: how many.
        seed: of the whole population.
        rate_hz, duration_s: of each recording.
        rhythms, conductions: shares of each, by name; see `RHYTHMS` and `CONDUCTIONS`.
        noise: factor on the electrode noise; 0 is clean.
        first: number of the first person.
        people: these people, instead of drawn ones; row i is the i-th recording, and `first` is
            not used (`People.number` tells who they are).
        z_shift: added to the z-scores of the named traits, one value for all or one per person.
        severities: condition of `CONDITIONS` → severity (0 healthy, 1 typical, more severe);
            where given, everybody has exactly these conditions and no look-alike.
        recorders: shares of how recordings are stored, by name; see `noise.RECORDERS`.
        artefacts: factor on how often a recording has an artefact.
        arms_swapped: share of recordings with the arms' cables swapped.

    Raises:
        LeadlightError: `people` are not `people_count`, or a trait or condition is unknown.
    """
    if people is None:
        people = draw_people(range(first, first + people_count), seed)
    if len(people) != people_count:
        raise LeadlightError(
            f"{people_count} recordings of {len(people)} people were asked for.",
            advice="Ask for as many recordings as there are people.",
        )
    people = replace(people, z=_shifted(people.z, z_shift or {}))
    asked = None if severities is None else given(severities)
    rhythms, conductions, recorders = dict(rhythms), dict(conductions), dict(recorders)
    for row, number in enumerate(people.number.tolist()):
        conditions = asked or draw_conditions(
            np.random.default_rng([seed, number, _CONDITIONS]), rhythms, conductions
        )
        one = People(*(getattr(people, name)[row : row + 1] for name in _PEOPLE_FIELDS))
        yield simulate_person(
            PersonParameters(
                seed,
                number,
                one,
                conditions,
                rate_hz,
                duration_s,
                noise,
                recorders,
                artefacts,
                arms_swapped,
            )
        )


_PEOPLE_FIELDS = tuple(People.__dataclass_fields__)


def _shifted(
    z: npt.NDArray[np.float64], by: Mapping[str, npt.ArrayLike]
) -> npt.NDArray[np.float64]:
    shifted = np.array(z, dtype=float)
    for name, amount in by.items():
        if name not in TRAIT_NAMES:
            raise LeadlightError(
                f"{name} is not a trait of the heart.",
                advice="The traits are " + ", ".join(TRAIT_NAMES) + ".",
            )
        shifted[:, TRAIT_NAMES.index(name)] += amount
    return shifted


def simulate_person(parameters: PersonParameters) -> SimulatedRecording:
    """The recording of these parameters; the same parameters give the same samples."""
    people, conditions = parameters.people, parameters.conditions
    seed, number = parameters.seed, parameters.number
    streams = {
        name: np.random.default_rng([seed, number, name])
        for name in (_SHAPE, _DISEASE, _RHYTHM, _BEATS, _NOISE, _CABLES)
    }
    male, age = people.sex[0] == "M", float(people.age_years[0])
    shape = shape_of(
        conditions.group,
        people.z[0],
        streams[_SHAPE],
        male=bool(male),
        age_years=age,
        height_cm=float(people.height_cm[0]),
        body_mass_index=float(people.body_mass_index[0]),
    )
    levels = draw_levels(
        streams[_NOISE], parameters.noise, parameters.recorders, parameters.artefacts
    )
    heart, truth = build_heart(
        shape, conditions, age, streams[_DISEASE], streams[_RHYTHM], levels, parameters.duration_s,
        float(streams[_CABLES].random()) < parameters.arms_swapped,
    )  # fmt: skip
    signal_mv, fiducials = beat_into_leads(
        heart,
        streams[_BEATS],
        streams[_NOISE],
        rate_hz=parameters.rate_hz,
        duration_s=parameters.duration_s,
    )
    record_id = f"sim{number:06d}"
    recording = Recording(
        signal_mv=_labelled(signal_mv.shape[1]).copy(deep=False, data=signal_mv),
        rate_hz=parameters.rate_hz,
        record_id=record_id,
        patient_id=record_id,
        age_years=round(age),
        sex=str(people.sex[0]),
        source_format="simulated",
    )
    return SimulatedRecording(recording, _labels(truth, conditions), fiducials, truth, parameters)


@cache
def _labelled(n_samples: int) -> xr.DataArray:
    """An empty recording: labelling anew costs more than beating."""
    return as_leads(np.empty((len(LEADS), n_samples), dtype=np.float32))


def _labels(truth: Mapping[str, float | str | bool], conditions: Conditions) -> tuple[str, ...]:
    sinus = truth["rhythm"] in ("sinus", "bradycardia", "tachycardia")
    rate_bpm, pr_ms, qrs_ms = (float(truth[name]) for name in ("rate_bpm", "pr_ms", "qrs_ms"))
    labels = []
    if sinus and pr_ms > 200.0:
        labels.append("1dAVb")
    for block in ("RBBB", "LBBB"):
        if conditions.of(block) >= 0.6 and qrs_ms >= 118.0:
            labels.append(block)
    if sinus and rate_bpm < 60.0:
        labels.append("SB")
    if truth["rhythm"] == "AF":
        labels.append("AF")
    if sinus and rate_bpm > 100.0:
        labels.append("ST")
    plain = (
        truth["conduction"] == "normal"
        and conditions.group == "normal"
        and not conditions.infarct
        and not conditions.repolarisation
        and not truth["ventricular_ectopic_share"]
        and not truth["atrial_ectopic_share"]
        and truth["rhythm"] == "sinus"
    )
    return tuple(labels) if labels else (("NORM",) if plain else ())
