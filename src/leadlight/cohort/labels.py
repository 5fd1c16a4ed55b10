"""What a record is labelled with: six diagnoses and "normal", from codes and from label tables.

Labels are those that the Ribeiro network names (Ribeiro et al. 2020, Nature Communications 11:1760)
and `NORMAL` for healthy controls. A record's labels are None where nobody looked for them, and ()
where somebody did and found none of ours.
"""

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import polars as pl

from leadlight.cohort.splits import SPLITS, split_of_fold
from leadlight.ecg.formats.fields import age_years, sex_letter
from leadlight.errors import LeadlightError

CLASSES = ("1dAVb", "RBBB", "LBBB", "SB", "AF", "ST")
NORMAL = "NORM"
LABELS = (*CLASSES, NORMAL)

PTBXL_TABLE = "ptbxl_database.csv"

# SCP-ECG statements of PTB-XL (its scp_statements.csv). Only complete bundle branch blocks count:
# IRBBB and ILBBB are other diagnoses, and so are flutter (AFLT) and other fast rhythms (SVTAC,
# PSVT).
LABEL_OF_SCP = {
    "1AVB": "1dAVb",
    "CRBBB": "RBBB",
    "CLBBB": "LBBB",
    "SBRAD": "SB",
    "AFIB": "AF",
    "STACH": "ST",
    "NORM": NORMAL,
}

# SNOMED CT as PhysioNet/CinC Challenge 2020 and 2021 use it (dx_mapping_scored.csv and
# dx_mapping_unscored.csv of github.com/physionetchallenges/evaluation-2021). As its scoring does,
# "complete" and plain bundle branch block are the same; incomplete ones (713426002, 251120003) and
# one whose side is not said (6374002) are not ours. Nor are a long PR interval (164947007), a
# bradycardia not said to be sinus (426627000), flutter (164890007), "fibrillation and flutter"
# (195080001), and paroxysmal fibrillation (282825002), which need not show on the ECG at hand.
LABEL_OF_SNOMED = {
    "270492004": "1dAVb",  # first degree atrioventricular block
    "59118001": "RBBB",  # right bundle branch block
    "713427006": "RBBB",  # complete right bundle branch block
    "164909002": "LBBB",  # left bundle branch block
    "733534002": "LBBB",  # complete left bundle branch block
    "426177001": "SB",  # sinus bradycardia
    "164889003": "AF",  # atrial fibrillation
    "426749004": "AF",  # chronic atrial fibrillation
    "314208002": "AF",  # rapid atrial fibrillation
    "427084000": "ST",  # sinus tachycardia
}
SINUS_RHYTHM_SNOMED = "426783006"

T = TypeVar("T")

# Words of a user's table for "somebody looked, and it is none of ours".
_NONE_OF_OURS = ("other", "none")
_TRUE, _FALSE = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")
_USER_COLUMNS = ("record_id", "labels", "patient_id", "age", "sex", "fold", "split")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a label table says of one record; None where it says nothing."""

    labels: tuple[str, ...] | None = None
    patient_id: str | None = None
    age_years: float | None = None
    sex: str | None = None
    fold: int | None = None
    split: str | None = None


@dataclass(frozen=True)
class LabelTable:
    """A label table as read.

    Attributes:
        path: the file.
        kind: "PTB-XL" or "user".
        facts: what it says, by the table's name of the record. A PTB-XL row stands under the file
            names of both its rates ("00001_hr", "00001_lr").
        n_rows: rows of the file.
        notes: sentences on what was read in a way that the user should know.
    """

    path: Path
    kind: str
    facts: Mapping[str, Facts]
    n_rows: int
    notes: tuple[str, ...] = ()


def settle(labels: Iterable[str]) -> tuple[str, ...]:
    """Labels in the order of `LABELS`, without repeats, and NORM only where it stands alone.

    PTB-XL calls an ECG NORM whose only finding is of rhythm ({'NORM': 80, 'SBRAD': 0}). Here such a
    record is a case of that finding and not a healthy control, so that the controls of an
    explanation carry none of the six classes.
    """
    found = set(labels)
    ours = tuple(label for label in CLASSES if label in found)
    return ours if ours or NORMAL not in found else (NORMAL,)


def labels_of_scp(likelihoods: Mapping[str, float]) -> tuple[str, ...]:
    """Labels of a PTB-XL record from its SCP statements, whatever their likelihood.

    PTB-XL writes likelihood 0 where it is unknown, which is so for all statements of rhythm, AF
    and sinus tachycardia among them; so 0 counts as any other.
    """
    return settle(LABEL_OF_SCP[code] for code in likelihoods if code in LABEL_OF_SCP)


def labels_of_codes(codes: Sequence[str]) -> tuple[str, ...] | None:
    """Labels of a record from the diagnosis codes in its file.

    Returns:
        None where the codes are no SNOMED CT concepts (or there are none): nobody looked. NORM
        where sinus rhythm is the only code: the Challenge has no code for a normal ECG, and a
        record with sinus rhythm and nothing else was found to be free of the rest.
    """
    if not codes or not all(_is_snomed_concept(code) for code in codes):
        return None
    found = [LABEL_OF_SNOMED[code] for code in codes if code in LABEL_OF_SNOMED]
    if set(codes) == {SINUS_RHYTHM_SNOMED}:
        found.append(NORMAL)
    return settle(found)


def read_label_table(path: Path) -> LabelTable:
    """Read a label table: PTB-XL's `ptbxl_database.csv`, or the user's own.

    A user's table (CSV with commas, semicolons or tabs, or Parquet) has a column `record_id` and
    either `labels` (names separated by ";", `other` for none of ours, empty for not labelled) or
    one 0/1 column for each class; a row with an empty cell among those is not labelled. It may have
    `patient_id`, `age` (years), `sex` (F or M), `fold` (1 to 10 as in PTB-XL) and `split`
    (train, validation, test; it wins over `fold`).

    Raises:
        LeadlightError: the file cannot be read as a table, a column or a value is unknown, a
            record is in it twice, or a patient is in two splits.
    """
    table = _read_table(path)
    if {"scp_codes", "filename_hr"} <= set(table.columns):
        return _ptbxl(path, table)
    return _user(path, table)


def _is_snomed_concept(code: str) -> bool:
    # A concept's identifier has 6 to 18 digits, of which the third and second last, its partition,
    # are 00 or 10 (SNOMED CT Release File Specifications).
    return bool(re.fullmatch(r"\d{3,15}[01]0\d", code))


def _read_table(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise LeadlightError(f"The label table {path} is not there.")
    try:
        if path.suffix.lower() == ".parquet":
            frame = pl.read_parquet(path)
            lists = [name for name, kind in frame.schema.items() if kind == pl.List(pl.String)]
            frame = frame.with_columns(pl.col(name).list.join(";") for name in lists)
            table = frame.with_columns(pl.all().cast(pl.String))
        else:
            with path.open(encoding="utf-8-sig", errors="replace") as stream:
                header = stream.readline()
            separator = max(",;\t", key=header.count)
            table = pl.read_csv(
                path, separator=separator, infer_schema=False, encoding="utf8-lossy"
            )
    except (pl.exceptions.PolarsError, OSError) as error:
        raise LeadlightError(
            f"The label table {path} cannot be read as a table ({str(error).splitlines()[0]}).",
            advice="Give a CSV, TSV or Parquet file with a header line.",
        ) from error
    return table.rename({name: name.strip().lstrip("\ufeff") for name in table.columns})


def _ptbxl(path: Path, table: pl.DataFrame) -> LabelTable:
    facts: dict[str, Facts] = {}
    counts: Counter[str] = Counter()
    for row in table.iter_rows(named=True):
        name = Path(row["filename_hr"] or "").name or f"ecg_id {row.get('ecg_id')}"
        try:
            codes = ast.literal_eval(row["scp_codes"])
            fold = _number(row.get("strat_fold"))
            if not isinstance(codes, dict):
                raise ValueError("scp_codes is no dictionary")
            said = Facts(
                labels=labels_of_scp(codes),
                patient_id=_whole(row.get("patient_id")),
                age_years=age_years(row.get("age") or ""),
                # Coded male 0, female 1: Wagner et al. 2020, Scientific Data 7:154, table 2.
                sex={"0": "M", "1": "F"}.get(_whole(row.get("sex")) or ""),
                fold=None if fold is None else int(fold),
                split=None if fold is None else split_of_fold(int(fold)),
            )
        except (ValueError, SyntaxError, TypeError) as error:
            raise LeadlightError(
                f"{path}: the row of {name} cannot be read ({error}).",
                advice="Fetch the table again.",
            ) from error
        ours = {LABEL_OF_SCP[code]: likelihood for code, likelihood in codes.items()
                if code in LABEL_OF_SCP}  # fmt: skip
        counts["unlikely"] += any(not likelihood for likelihood in ours.values())
        counts["normal"] += NORMAL in ours and NORMAL not in (said.labels or ())
        counts["old"] += _number(row.get("age")) == 300.0
        for column in ("filename_hr", "filename_lr"):
            if row.get(column):
                _put(path, facts, Path(row[column]).name, said)
    _refuse_split_patients(path, facts)
    notes = (
        (counts["unlikely"], "records have a label of likelihood 0 (unknown); it counts"),
        (counts["normal"], "records are NORM with one of the six classes; they are no controls"),
        (counts["old"], "ages are written as 300 (over 89) and kept as 90"),
    )
    said_so = tuple(f"{path.name}: {count} {what}." for count, what in notes if count)
    return LabelTable(path, "PTB-XL", facts, table.height, said_so)


def _user(path: Path, table: pl.DataFrame) -> LabelTable:
    table = table.rename(_known_columns(path, table.columns))
    classes = [name for name in LABELS if name in table.columns]
    if "labels" in table.columns and classes:
        raise LeadlightError(
            f"{path} has both a column labels and columns of classes ({', '.join(classes)}).",
            advice="Keep one of the two.",
        )
    facts: dict[str, Facts] = {}
    for row in table.iter_rows(named=True):
        name = (row["record_id"] or "").strip()
        if not name:
            raise LeadlightError(f"{path} has a row without a record_id.")
        fold = _user_fold(path, name, row.get("fold"))
        split = (row.get("split") or "").strip().lower() or None
        if split is not None and split not in SPLITS:
            raise _bad_cell(path, name, "split", split, f"use {', '.join(SPLITS)}")
        said = Facts(
            labels=_labels_of_row(path, name, row, classes),
            patient_id=(row.get("patient_id") or "").strip() or None,
            age_years=_checked(path, name, "age", row.get("age"), age_years, "years"),
            sex=_checked(path, name, "sex", row.get("sex"), sex_letter, "F or M"),
            fold=fold,
            split=split or (None if fold is None else split_of_fold(fold)),
        )
        _put(path, facts, name, said)
    _refuse_split_patients(path, facts)
    notes = []
    if classes and (absent := [name for name in CLASSES if name not in classes]):
        notes.append(
            f"{path.name} has no column for {', '.join(absent)}: counted as absent in its records."
        )
    return LabelTable(path, "user", facts, table.height, tuple(notes))


def _known_columns(path: Path, columns: Sequence[str]) -> dict[str, str]:
    known = {name.lower(): name for name in (*_USER_COLUMNS, *LABELS)}
    if unknown := [name for name in columns if name.lower() not in known]:
        raise LeadlightError(
            f"{path} has unknown columns: {', '.join(unknown)}.",
            advice=f"Known are {', '.join(known.values())}; remove or rename the others.",
        )
    names = {name: known[name.lower()] for name in columns}
    if len(set(names.values())) < len(names):
        raise LeadlightError(f"{path} has a column twice, but for upper and lower case.")
    if "record_id" not in names.values():
        raise LeadlightError(
            f"{path} has no column record_id.",
            advice="It names each record by its file's name without ending.",
        )
    if len(names) == 1:
        raise LeadlightError(
            f"{path} has only record_id.",
            advice=f"Add a column labels, or 0/1 columns named {', '.join(LABELS)}.",
        )
    return names


def _labels_of_row(
    path: Path, name: str, row: Mapping[str, str | None], classes: Sequence[str]
) -> tuple[str, ...] | None:
    if "labels" in row:
        words = [word.strip() for word in (row["labels"] or "").split(";") if word.strip()]
        if not words:
            return None
        by_lower = {label.lower(): label for label in LABELS}
        ours = [word for word in words if word.lower() not in _NONE_OF_OURS]
        if unknown := [word for word in ours if word.lower() not in by_lower]:
            raise _bad_cell(
                path, name, "label", unknown[0], f"use {', '.join(LABELS)}, or other for the rest"
            )
        return settle(by_lower[word.lower()] for word in ours)
    if not classes:
        return None
    cells = {label: (row[label] or "").strip().lower() for label in classes}
    for label, cell in cells.items():
        if cell and cell not in (*_TRUE, *_FALSE):
            raise _bad_cell(path, name, label, cell, "use 0 or 1")
    if not all(cells.values()):
        return None
    return settle(label for label, cell in cells.items() if cell in _TRUE)


def _user_fold(path: Path, name: str, cell: str | None) -> int | None:
    if not (cell or "").strip():
        return None
    fold = _number(cell)
    if fold is None or fold not in range(1, 11):
        raise _bad_cell(path, name, "fold", str(cell), "use whole numbers from 1 to 10")
    return int(fold)


def _checked(
    path: Path, name: str, column: str, cell: str | None, read: Callable[[str], T | None], use: str
) -> T | None:
    if not (cell or "").strip():
        return None
    assert cell is not None
    value = read(cell)
    if value is None:
        raise _bad_cell(path, name, column, cell, f"use {use}")
    return value


def _bad_cell(path: Path, name: str, column: str, cell: str, use: str) -> LeadlightError:
    return LeadlightError(f"{path}: record {name} has {column} {cell!r}.", advice=f"There, {use}.")


def _put(path: Path, facts: dict[str, Facts], name: str, said: Facts) -> None:
    if name in facts:
        raise LeadlightError(
            f"{path} has record {name} twice.", advice="Keep one row for each record."
        )
    facts[name] = said


def _refuse_split_patients(path: Path, facts: Mapping[str, Facts]) -> None:
    split_of_patient: dict[str, str] = {}
    for name, said in facts.items():
        if said.patient_id is None or said.split is None:
            continue
        if split_of_patient.setdefault(said.patient_id, said.split) != said.split:
            raise LeadlightError(
                f"{path} puts patient {said.patient_id} into two splits, "
                f"{split_of_patient[said.patient_id]} and, with record {name}, {said.split}.",
                advice="Give all records of a patient the same split or fold.",
            )


def _number(cell: str | None) -> float | None:
    try:
        return float(cell or "")
    except ValueError:
        return None


def _whole(cell: str | None) -> str | None:
    # pandas wrote PTB-XL's patient_id as 15709.0.
    number = _number(cell)
    if number is None:
        return (cell or "").strip() or None
    return str(int(number)) if number.is_integer() else cell
