"""Which records are explained: cases, controls, and what is left out and why."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from leadlight.classify.models import Model
from leadlight.ecg.quality import excludes
from leadlight.errors import LeadlightError

# Written by training beside the card: every record that the weights, their choice or that of the
# thresholds has seen, with `signal_sha256` as in a cohort's records.parquet.
TRAINED_ON_FILE = "trained-on.parquet"
# Group of the records without labels: explained one by one, compared with nobody.
UNLABELLED = "unlabelled"


@dataclass(frozen=True)
class Group:
    """The records of one class, or of the controls.

    Attributes:
        name: the class, or the control label.
        rows: of the cohort, in the order in which they are explained.
        patient_ids: of the rows.
        held_out: whether only records are used that the model was not trained on; None where the
            card does not say what it was trained on.
        n_trained_on: rows that the model was trained on (0 where unknown).
        n_available: records of the group that nothing excludes, held out or not.
        n_held_out_available: of these, held out.
    """

    name: str
    rows: tuple[int, ...]
    patient_ids: tuple[str, ...]
    held_out: bool | None
    n_trained_on: int
    n_available: int
    n_held_out_available: int

    @property
    def n_patients(self) -> int:
        """Different patients."""
        return len(set(self.patient_ids))


@dataclass(frozen=True)
class Selection:
    """What will be explained.

    Attributes:
        rows: of the cohort, each once, all records of a patient together.
        groups: by name, the classes in the order asked for, then the control.
        trained_on: row to whether the model has seen the patient; None where unknown.
        left_out: reason to number of labelled records left out.
        unlabelled: rows without labels: explained, but neither case nor control.
    """

    rows: tuple[int, ...]
    groups: Mapping[str, Group]
    trained_on: Mapping[int, bool | None]
    left_out: Mapping[str, int] = field(default_factory=dict)
    unlabelled: tuple[int, ...] = ()


def select_records(
    records: pl.DataFrame,
    model: Model,
    *,
    classes: Sequence[str],
    control: str,
    rows: Sequence[int] | None = None,
    min_held_out: int = 20,
    most_per_group: int | None = None,
    seed: int = 0,
) -> Selection:
    """Choose cases and controls from a cohort's table.

    Cases of a class are the records labelled with it; a record with two of the classes is a case
    of both. Controls are labelled with the control and with none of the classes, and are of no
    patient who is a case: groups that share people are not independent. A labelled record that a
    quality flag excludes, or that lacks a lead that the model refuses to do without, is left out.
    Records without labels are explained too, whatever their flags: they enter no comparison.

    A group is of records that the model was not trained on where at least `min_held_out` of them
    are there, else of all. What it was trained on lies beside its card (`trained_hashes`); a
    patient with one such record counts as seen altogether.

    Args:
        records: a cohort's `records`.
        model: whose training records and needed leads matter.
        classes: to explain.
        control: label of the controls.
        rows: candidates; all where None.
        min_held_out: see above.
        most_per_group: keep this many records of each group, chosen by a hash of seed and record.
        seed: of that choice.

    Raises:
        LeadlightError: a class is not one of the model's, there is nothing to explain, or a row is
            not in the table.
    """
    _check_classes(model, classes, control)
    if rows is not None and (outside := [r for r in rows if not 0 <= r < records.height]):
        raise LeadlightError(f"Row {outside[0]} is not among the cohort's {records.height}.")
    wanted = None if rows is None else set(rows)
    table = records.with_row_index("row").select(
        "row", "record_id", "patient_id", "labels", "flags", "missing_leads", "signal_sha256"
    )
    seen_patients = _seen_patients(table, trained_hashes(model))
    members: dict[str, list[tuple[int, str, str]]] = {name: [] for name in (*classes, control)}
    left_out: Counter[str] = Counter()
    case_patients: set[str] = set()
    unlabelled: list[tuple[int, str]] = []
    for row, record_id, patient_id, labels, flags, missing, _ in table.iter_rows():
        if wanted is not None and row not in wanted:
            continue
        if labels is None:
            unlabelled.append((row, patient_id))
            continue
        of = [name for name in classes if name in labels]
        of = of or ([control] if control in labels else [])
        if not of:
            continue
        reasons = _reasons(flags or [], missing or [], model)
        if reasons:
            left_out.update(reasons[:1])
            continue
        for name in of:
            members[name].append((row, record_id, patient_id))
        if of != [control]:
            case_patients.add(patient_id)
    independent = [one for one in members[control] if one[2] not in case_patients]
    if shared := len(members[control]) - len(independent):
        left_out["control of a patient who is a case"] = shared
    members[control] = independent
    groups = {
        name: _group(name, those, seen_patients, min_held_out, most_per_group, seed)
        for name, those in members.items()
    }
    if not unlabelled and not any(groups[name].rows for name in classes):
        raise LeadlightError(
            f"No usable record of the cohort is labelled {' or '.join(classes)}.",
            advice="Import it with other labels or with none, or name other classes.",
        )
    patient_of = {
        row: who for g in groups.values() for row, who in zip(g.rows, g.patient_ids, strict=True)
    }
    patient_of |= dict(unlabelled)
    first_of: dict[str, int] = {}
    for row in sorted(patient_of):
        first_of.setdefault(patient_of[row], row)
    ordered = sorted(patient_of, key=lambda row: (first_of[patient_of[row]], row))
    trained = {
        row: None if seen_patients is None else patient_of[row] in seen_patients for row in ordered
    }
    unlabelled_rows = tuple(row for row, _ in unlabelled)
    return Selection(tuple(ordered), groups, trained, dict(left_out), unlabelled_rows)


def trained_hashes(model: Model) -> frozenset[str] | None:
    """`signal_sha256` of the records that the model has seen; None where nothing tells.

    Read from `trained-on.parquet` beside the card. A column of shortened hashes will do.

    Raises:
        LeadlightError: the file is there and lacks that column.
    """
    path = model.source.parent / TRAINED_ON_FILE
    if not path.is_file():
        return None
    table = pl.read_parquet(path)
    if "signal_sha256" not in table.columns:
        raise LeadlightError(f"{path} has no column signal_sha256.")
    return frozenset(table["signal_sha256"].drop_nulls().to_list())


def _seen_patients(table: pl.DataFrame, hashes: frozenset[str] | None) -> set[str] | None:
    if hashes is None:
        return None
    length = min((len(h) for h in hashes), default=64)
    short = {h[:length] for h in hashes}
    return {
        patient
        for patient, digest in table.select("patient_id", "signal_sha256").iter_rows()
        if digest is not None and digest[:length] in short
    }


def _reasons(flags: Sequence[str], missing: Sequence[str], model: Model) -> list[str]:
    """Why a record is left out; a reason is a flag without its lead, or the model's need."""
    reasons = [flag.partition(":")[0] for flag in excludes(flags)]
    if model.card.input.missing_leads == "refuse" and set(missing) & set(model.card.input.leads):
        reasons.append("lacks a lead that the model needs")
    return reasons


def _group(
    name: str,
    members: Sequence[tuple[int, str, str]],
    seen_patients: set[str] | None,
    min_held_out: int,
    most: int | None,
    seed: int,
) -> Group:
    seen = seen_patients or set()
    held = [one for one in members if one[2] not in seen]
    only_held = len(held) >= min_held_out or len(held) == len(members)
    used = held if only_held else list(members)
    if most is not None and len(used) > most:
        used = sorted(used, key=lambda one: hashlib.sha256(f"{seed}:{one[1]}".encode()).digest())
        used = sorted(used[:most])
    return Group(
        name=name,
        rows=tuple(row for row, _, _ in used),
        patient_ids=tuple(patient for _, _, patient in used),
        held_out=None if seen_patients is None else only_held,
        n_trained_on=sum(patient in seen for _, _, patient in used),
        n_available=len(members),
        n_held_out_available=len(held),
    )


def _check_classes(model: Model, classes: Sequence[str], control: str) -> None:
    if not classes:
        raise LeadlightError("No class was named to explain.")
    for name in classes:
        if name not in model.card.output.classes:
            raise LeadlightError(
                f"{model.card.model.name} has no class {name!r}.",
                advice=f"Its classes are {', '.join(model.card.output.classes)}.",
            )
        if list(classes).count(name) > 1:
            raise LeadlightError(f"The class {name} is named twice.")
    if control in classes:
        raise LeadlightError(f"{control} is both a class to explain and the control.")
