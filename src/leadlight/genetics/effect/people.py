"""The people of a study who have an exposure, covariates, and a median beat: matched by id.

Beats are held as scores on the principal components of the study's own beats, so that a large
cohort fits into memory and every sample of every lead is still there: a regression of the scores is
a regression of each sample.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight.cohort.signals import UV_PER_MV
from leadlight.cohort.store import open_cohort
from leadlight.ecg.leads import DERIVED_FROM_I_II, INDEPENDENT_LEADS, LEADS
from leadlight.ecg.median_beat import SAMPLES
from leadlight.ecg.quality import excludes
from leadlight.errors import LeadlightError
from leadlight.genetics.effect.exposures import Exposure
from leadlight.genetics.traits import PersonTable, match_people
from leadlight.latent.beats import own_mask, stream_beats, twelve_leads
from leadlight.latent.linear import principal_components

Floats = npt.NDArray[np.float64]

# Of the median beats' variance next to nothing lies beyond so many components.
COMPONENTS = 240
_CENSUS = 5000  # beats that the components are made from
_FEWEST = 30


@dataclass(frozen=True)
class StudyPeople:
    """Who is analysed, in the order of the study's records.

    Attributes:
        rows: (person) int64, ascending, the person's record in the study.
        record_ids: (person) their names.
        exposure: (person) float64.
        group: (person) int8, −1 for none.
        covariates: (person, covariate) float64.
        covariate_names: in order.
        counts: how many people each step left.
    """

    rows: npt.NDArray[np.int64]
    record_ids: list[str]
    exposure: Floats
    group: npt.NDArray[np.int8]
    covariates: Floats
    covariate_names: tuple[str, ...]
    counts: dict[str, int]

    def take(self, keep: npt.NDArray[np.bool_], why: str) -> "StudyPeople":
        """Only the people of whom `keep` (person) says so."""
        counts = {**self.counts, why: int(keep.sum())}
        rows = np.flatnonzero(keep)
        return StudyPeople(
            self.rows[keep],
            [self.record_ids[row] for row in rows],
            self.exposure[keep],
            self.group[keep],
            self.covariates[keep],
            self.covariate_names,
            counts,
        )


@dataclass(frozen=True)
class PeopleBeats:
    """The median beats of `StudyPeople`.

    Attributes:
        centre: (lead · sample) the mean beat in mV, eight independent leads.
        basis: (component, lead · sample) orthonormal.
        scores: (person, component) float32 in mV.
        kept: share of the beats' variance that the components hold.
        group_mean_mv: (group, lead of LEADS, sample) means of real beats, nothing adjusted.
        group_error_mv: (group, lead of LEADS, sample) their standard errors.
        group_n: (group) people.
        own_share: (sample) share of people whose beat the sample belongs to, and no neighbour's.
    """

    centre: Floats
    basis: Floats
    scores: npt.NDArray[np.float32]
    kept: float
    group_mean_mv: Floats
    group_error_mv: Floats
    group_n: npt.NDArray[np.int64]
    own_share: Floats

    def to_twelve(self, components: Floats) -> Floats:
        """(…, lead of LEADS, sample) in mV from (…, component): differences, without the mean."""
        flat = components @ self.basis
        shape = (*components.shape[:-1], len(INDEPENDENT_LEADS), SAMPLES)
        return twelve_leads(flat.reshape(shape))


def match_study(
    study: Path,
    exposure: Exposure,
    covariates: PersonTable | None,
    beside: Mapping[str, Floats] | None = None,
) -> StudyPeople:
    """People with the exposure, all covariates, and a record without an excluding flag.

    A person's IID is the record's `record_id`, or else its `patient_id`; of several records of a
    patient the first is taken.

    Args:
        study: with a cohort.
        exposure: of people named as its records.
        covariates: a table of people.
        beside: more covariates: name → (person of the exposure), missing ones at the mean.

    Raises:
        LeadlightError: nobody is left, or too few.
    """
    records = open_cohort(study).records
    usable = np.array([not excludes(flags or ()) for flags in records["flags"].to_list()])
    wanted = set(exposure.people.person_ids)
    by_record = sum(one in wanted for one in records["record_id"])
    name = "record_id" if by_record else "patient_id"
    first: dict[str, int] = {}
    for row, person in enumerate(records[name].to_list()):
        if usable[row] and person is not None:
            first.setdefault(person, row)
    if not first:
        raise LeadlightError(f"{study} has no record that can be used.")
    table = PersonTable(
        study / "records.parquet",
        None,
        tuple(first),
        ("row",),
        np.array(list(first.values()), dtype=np.float64)[:, None],
    )
    matched = match_people(exposure.people, table, covariates)
    values = exposure.values[matched.rows]
    keep = np.isfinite(values)
    rows = matched.traits[:, 0].astype(np.int64)
    order = np.argsort(rows, kind="stable")
    order = order[keep[order]]
    more = {name: _filled(one[matched.rows][order]) for name, one in (beside or {}).items()}
    found = StudyPeople(
        rows[order],
        records["record_id"].gather(rows[order].tolist()).to_list(),
        values[order],
        exposure.group[matched.rows][order],
        np.column_stack([matched.covariates[order], *more.values()]),
        (*matched.covariate_names, *more),
        {
            f"people with {exposure.name}": int(np.isfinite(exposure.values).sum()),
            "usable records": len(first),
            "with covariates too": len(order),
        },
    )
    return _enough(found, exposure)


def read_people_beats(
    study: Path, people: StudyPeople, groups: int
) -> tuple[StudyPeople, PeopleBeats]:
    """Stream the study's median beats twice: for the components, and for everybody's scores.

    Returns:
        The people who have a whole median beat, and their beats.
    """
    centre, basis = _components(study, people)
    n = len(people.rows)
    scores = np.zeros((n, len(basis)), dtype=np.float32)
    whole_people = np.zeros(n, dtype=np.bool_)
    total = np.zeros((groups, len(centre)))
    squares = np.zeros((groups, len(centre)))
    counts = np.zeros(groups, dtype=np.int64)
    # The derived leads' squares are not those of I and II: their products are needed too.
    cross = np.zeros((groups, SAMPLES))
    own_people = np.zeros(SAMPLES)
    energy = kept_energy = 0.0
    to_scores = basis.T.astype(np.float32)
    for rows, stored, own, whole in stream_beats(study):
        low, high = np.searchsorted(people.rows, [rows.start, rows.stop])
        at = people.rows[low:high] - rows.start
        good = whole[at]
        where = np.flatnonzero(good) + low
        if not len(where):
            continue
        beats = stored[at[good]].astype(np.float32).reshape(len(where), -1) / np.float32(UV_PER_MV)
        left = beats - centre.astype(np.float32)
        scores[where] = left @ to_scores
        whole_people[where] = True
        energy += float((left.astype(np.float64) ** 2).sum())
        kept_energy += float((scores[where].astype(np.float64) ** 2).sum())
        own_people += own_mask(own[at[good]]).sum(axis=0)
        for group in range(groups):
            chosen = left[people.group[where] == group].astype(np.float64)
            total[group] += chosen.sum(axis=0)
            squares[group] += (chosen**2).sum(axis=0)
            cross[group] += (chosen[:, :SAMPLES] * chosen[:, SAMPLES : 2 * SAMPLES]).sum(axis=0)
            counts[group] += len(chosen)
    if whole_people.sum() < _FEWEST:
        raise LeadlightError(
            f"{int(whole_people.sum())} of these people have a whole median beat.",
            advice=f"At least {_FEWEST} are needed; was the study measured?",
        )
    kept = people.take(whole_people, "with a whole median beat")
    mean = total / np.maximum(counts, 1)[:, None]
    found = PeopleBeats(
        centre,
        basis,
        scores[whole_people],
        kept_energy / energy,
        twelve_leads((mean + centre).reshape(groups, -1, SAMPLES)),
        _errors(mean, squares, cross, counts),
        counts,
        own_people / whole_people.sum(),
    )
    return kept, found


def read_columns(
    table: Path, people: StudyPeople, columns: Sequence[str] | None = None
) -> tuple[list[str], Floats]:
    """Names and (person, column) values of a study's table by `record_id`, NaN where absent.

    columns: all columns of floating point numbers where None.
    """
    read = pl.read_parquet(table)
    names = list(columns) if columns is not None else [
        name for name, kind in read.schema.items() if kind.is_float()
    ]  # fmt: skip
    wanted = pl.DataFrame({"record_id": people.record_ids})
    joined = wanted.join(read, on="record_id", how="left", maintain_order="left")
    values = joined.select(pl.col(names).cast(pl.Float64).fill_null(float("nan"))).to_numpy()
    return names, np.asarray(values, dtype=np.float64)


def _filled(values: Floats) -> Floats:
    return np.where(np.isfinite(values), values, np.nanmean(values))


def _components(study: Path, people: StudyPeople) -> tuple[Floats, Floats]:
    """Mean and principal components of some thousand of the people's beats."""
    step = max(1, len(people.rows) // _CENSUS)
    chosen = people.rows[::step]

    def batches() -> "list[npt.NDArray[np.float32]]":
        found = []
        for rows, stored, _, whole in stream_beats(study):
            low, high = np.searchsorted(chosen, [rows.start, rows.stop])
            at = chosen[low:high] - rows.start
            part = stored[at[whole[at]]]
            if len(part):
                found.append(part.astype(np.float32) / np.float32(UV_PER_MV))
        return found

    beats = batches()
    if sum(len(part) for part in beats) < _FEWEST:
        raise LeadlightError(
            f"{study} has too few whole median beats of these people.",
            advice=f"At least {_FEWEST} are needed.",
        )
    found = principal_components(beats, COMPONENTS)
    return found.centre, found.basis


def _errors(mean: Floats, squares: Floats, cross: Floats, counts: npt.NDArray[np.int64]) -> Floats:
    """(group, lead of LEADS, sample) standard errors of means, for the derived leads as well."""
    n = np.maximum(counts, 2)[:, None]
    variance = np.maximum(squares / n - mean**2, 0) / (n - 1)
    by_lead = variance.reshape(len(mean), len(INDEPENDENT_LEADS), SAMPLES)
    one, two = mean[:, :SAMPLES], mean[:, SAMPLES : 2 * SAMPLES]
    together = (cross / n - one * two) / (n - 1)
    rows = {lead: by_lead[:, place] for place, lead in enumerate(INDEPENDENT_LEADS)}
    for lead, (a, b) in DERIVED_FROM_I_II.items():
        rows[lead] = np.maximum(a * a * rows["I"] + b * b * rows["II"] + 2 * a * b * together, 0)
    return np.asarray(np.sqrt(np.stack([rows[lead] for lead in LEADS], axis=1)))


def _enough(people: StudyPeople, exposure: Exposure) -> StudyPeople:
    if len(people.rows) < _FEWEST:
        raise LeadlightError(
            f"{len(people.rows)} people have {exposure.name}, all covariates and a usable record.",
            advice=f"At least {_FEWEST} are needed; look at the ids.",
        )
    if np.ptp(people.exposure) == 0:
        raise LeadlightError(f"{exposure.name} is the same in everybody who has a usable record.")
    return people
