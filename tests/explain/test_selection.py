"""Which records are explained, and what is left out."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from leadlight.classify.models import Model
from leadlight.cohort.store import RECORDS_SCHEMA
from leadlight.errors import LeadlightError
from leadlight.explain.selection import TRAINED_ON_FILE, select_records

Rows = list[dict[str, object]]


def table(*rows: dict[str, object]) -> pl.DataFrame:
    """A cohort's records; each row is given by what matters."""
    full: Rows = []
    for number, row in enumerate(rows):
        blank: dict[str, object] = dict.fromkeys(RECORDS_SCHEMA)
        blank |= {
            "record_id": f"r{number}", "patient_id": f"p{number}", "flags": [],
            "missing_leads": [], "signal_sha256": f"{number:064x}", "split": "test",
        }  # fmt: skip
        full.append(blank | row)
    return pl.DataFrame(full, schema=RECORDS_SCHEMA)


@pytest.fixture
def trained_on(small_model: Model, tmp_path: Path) -> Callable[..., Model]:
    """The small model with a list of what it was trained on."""

    def make(*numbers: int, length: int = 64) -> Model:
        hashes = [f"{number:064x}"[-length:] for number in numbers]
        pl.DataFrame({"signal_sha256": hashes}, schema={"signal_sha256": pl.String}).write_parquet(
            tmp_path / TRAINED_ON_FILE
        )
        return replace(small_model, source=tmp_path / "card.toml")

    return make


def choose(records: pl.DataFrame, model: Model, **options):
    asked = {"classes": ["AF", "LBBB"], "control": "NORM"} | options
    return select_records(records, model, **asked)


def test_a_record_with_two_classes_is_a_case_of_both_and_comes_once(small_model: Model):
    found = choose(table({"labels": ["AF", "LBBB"]}, {"labels": ["NORM"]}), small_model)
    assert found.groups["AF"].rows == found.groups["LBBB"].rows == (0,)
    assert found.groups["NORM"].rows == (1,)
    assert found.rows == (0, 1)


def test_records_with_another_diagnosis_are_left_alone(small_model: Model):
    found = choose(table({"labels": ["AF"]}, {"labels": ["ST"]}, {"labels": []}), small_model)
    assert found.rows == (0,)


def test_records_without_a_label_are_explained_and_belong_to_no_group(small_model: Model):
    records = table({"labels": ["AF"]}, {"labels": None, "flags": ["noisy:V2"]})
    found = choose(records, small_model)
    assert found.rows == (0, 1)
    assert found.unlabelled == (1,)
    assert all(1 not in group.rows for group in found.groups.values())
    alone = choose(table({"labels": None}), small_model)
    assert alone.rows == alone.unlabelled == (0,)


def test_controls_are_other_people_than_the_cases(small_model: Model):
    records = table(
        {"labels": ["AF"], "patient_id": "a"},
        {"labels": ["NORM"], "patient_id": "a"},
        {"labels": ["NORM"], "patient_id": "b"},
    )
    found = choose(records, small_model)
    assert found.groups["NORM"].rows == (2,)
    assert found.left_out == {"control of a patient who is a case": 1}


def test_excluding_flags_and_leads_that_the_model_needs_leave_records_out(small_model: Model):
    records = table(
        {"labels": ["AF"]},
        {"labels": ["AF"], "flags": ["algebra-violated"]},
        {"labels": ["AF"], "flags": ["no-beats"]},
        {"labels": ["AF"], "missing_leads": ["V6"]},
    )
    found = choose(records, small_model)
    assert found.groups["AF"].rows == (0, 1)
    assert found.left_out == {"no-beats": 1, "lacks a lead that the model needs": 1}


def test_records_of_a_patient_come_together(small_model: Model):
    patients = ["a", "b", "a", "c", "b", "a"]
    found = choose(table(*({"labels": ["AF"], "patient_id": p} for p in patients)), small_model)
    assert found.rows == (0, 2, 5, 1, 4, 3)


def test_only_records_that_the_model_has_not_seen_are_used_where_there_are_enough(trained_on):
    records = table(*({"labels": ["AF"]} for _ in range(6)), {"labels": ["LBBB"]})
    found = choose(records, trained_on(0, 1, 6), min_held_out=4)
    assert found.groups["AF"].rows == (2, 3, 4, 5)
    assert found.groups["AF"].held_out is True
    # Too few held out: all are used and the group says so.
    assert found.groups["LBBB"].rows == (6,)
    assert found.groups["LBBB"].held_out is False
    assert found.groups["LBBB"].n_trained_on == 1
    assert found.trained_on[6] is True
    assert found.trained_on[2] is False


def test_a_patient_whom_the_model_has_seen_once_counts_as_seen(trained_on):
    records = table(
        {"labels": ["AF"], "patient_id": "a"},
        {"labels": ["AF"], "patient_id": "a"},
        {"labels": ["AF"], "patient_id": "b"},
    )
    found = choose(records, trained_on(0), min_held_out=1)
    assert found.groups["AF"].rows == (2,)


def test_without_a_list_of_training_records_it_is_unknown(small_model: Model):
    found = choose(table({"labels": ["AF"]}), small_model)
    assert found.trained_on == {0: None}
    assert found.groups["AF"].held_out is None


def test_a_limit_chooses_by_seed_and_not_by_place(small_model: Model):
    records = table(*({"labels": ["AF"]} for _ in range(60)))
    first = choose(records, small_model, most_per_group=20).groups["AF"].rows
    assert len(first) == 20
    assert first == choose(records, small_model, most_per_group=20).groups["AF"].rows
    assert first != choose(records, small_model, most_per_group=20, seed=1).groups["AF"].rows
    assert max(first) > 30


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"classes": ["WPW"]}, "no class 'WPW'"),
        ({"classes": ["AF", "AF"]}, "twice"),
        ({"classes": []}, "No class"),
        ({"classes": ["LBBB"]}, "No usable record"),
        ({"control": "AF"}, "both"),
        ({"rows": [7]}, "Row 7"),
    ],
)
def test_what_cannot_be_chosen_is_refused_by_name(small_model: Model, options, words):
    with pytest.raises(LeadlightError, match=words):
        choose(table({"labels": ["AF"]}), small_model, **options)
