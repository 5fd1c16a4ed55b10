"""Labels from PTB-XL's table, from SNOMED CT codes and from a user's table."""

from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadlight.cohort.labels import (
    CLASSES,
    LABEL_OF_SNOMED,
    LABELS,
    NORMAL,
    labels_of_codes,
    labels_of_scp,
    read_label_table,
    settle,
)
from leadlight.errors import LeadlightError

SINUS, AF, RBBB, PAC = "426783006", "164889003", "59118001", "284470004"


@given(st.lists(st.sampled_from(LABELS)))
def test_a_healthy_control_has_none_of_the_six(labels: list[str]) -> None:
    settled = settle(labels)
    assert set(settled) <= set(labels)
    assert NORMAL not in settled or settled == (NORMAL,)
    assert [label for label in CLASSES if label in labels] == [
        label for label in settled if label != NORMAL
    ]
    assert settle(settled) == settled


def test_a_rhythm_of_unknown_likelihood_counts_and_takes_the_record_from_the_controls() -> None:
    assert labels_of_scp({"NORM": 80.0, "SBRAD": 0.0}) == ("SB",)
    assert labels_of_scp({"NORM": 100.0, "LVOLT": 0.0, "SR": 0.0}) == (NORMAL,)
    assert labels_of_scp({"AFIB": 0.0, "CRBBB": 100.0}) == ("RBBB", "AF")


@pytest.mark.parametrize("code", ["IRBBB", "ILBBB", "AFLT", "LPR", "SR", "SVTAC", "2AVB"])
def test_neighbouring_diagnoses_are_not_ours(code: str) -> None:
    assert labels_of_scp({code: 100.0}) == ()


def test_codes_give_labels_only_where_they_are_snomed_concepts() -> None:
    assert labels_of_codes([SINUS]) == (NORMAL,)
    assert labels_of_codes([SINUS, PAC]) == ()
    assert labels_of_codes([AF, RBBB]) == ("RBBB", "AF")
    assert labels_of_codes(["713427006"]) == labels_of_codes([RBBB]) == ("RBBB",)
    assert labels_of_codes([]) is None
    assert labels_of_codes(["AFIB"]) is None
    assert labels_of_codes(["131328"]) is None
    assert all(labels_of_codes([code]) for code in LABEL_OF_SNOMED)


def test_ptbxl_counts_are_those_of_the_data(shared_data: Path) -> None:
    path = shared_data / "ptbxl/ptbxl_database.csv"
    table = read_label_table(path)
    high = {name: facts for name, facts in table.facts.items() if name.endswith("_hr")}
    counts = Counter(label for facts in high.values() for label in facts.labels or ())
    # NORM stands in 297 records, ten of them with one of the six.
    assert counts == {
        "AF": 13, "1dAVb": 10, "SB": 9, "LBBB": 8, "RBBB": 8, "ST": 5, "NORM": 287,
    }  # fmt: skip
    assert (table.kind, table.n_rows, len(high)) == ("PTB-XL", 500, 500)
    assert any("10 records are NORM with" in note for note in table.notes)
    first = table.facts["00001_lr"]
    assert (first.patient_id, first.age_years, first.sex) == ("15709", 56.0, "F")
    assert (first.fold, first.split) == (3, "train")
    source = pl.read_csv(path)
    for name, facts in high.items():
        fold = source.filter(pl.col("ecg_id") == int(name[:5]))["strat_fold"].item()
        assert facts.split == ("train" if fold < 9 else "validation" if fold == 9 else "test")


def ptbxl_row(tmp_path: Path, **cells: str) -> Path:
    row = {
        "ecg_id": "1", "patient_id": "7.0", "age": "300.0", "sex": "0",
        "scp_codes": "{'AFIB': 0.0}", "strat_fold": "10",
        "filename_lr": "records100/00000/00001_lr", "filename_hr": "records500/00000/00001_hr",
    } | cells  # fmt: skip
    path = tmp_path / "ptbxl_database.csv"
    pl.DataFrame({name: [cell] for name, cell in row.items()}).write_csv(path)
    return path


def test_an_age_written_as_300_is_kept_as_90_and_said(tmp_path: Path) -> None:
    table = read_label_table(ptbxl_row(tmp_path))
    facts = table.facts["00001_hr"]
    assert (facts.age_years, facts.sex, facts.split) == (90.0, "M", "test")
    assert any("1 ages are written as 300" in note for note in table.notes)


@pytest.mark.parametrize(
    "cells",
    [
        {"scp_codes": "{'AFIB': "},
        {"scp_codes": "__import__('os').getcwd()"},
        {"scp_codes": "['AFIB']"},
        {"scp_codes": ""},
        {"strat_fold": "11"},
    ],
)
def test_a_broken_row_of_ptbxl_is_named_and_nothing_in_it_is_run(
    tmp_path: Path, cells: dict[str, str]
) -> None:
    with pytest.raises(LeadlightError, match="row of 00001_hr cannot be read"):
        read_label_table(ptbxl_row(tmp_path, **cells))


def written(tmp_path: Path, text: str, name: str = "labels.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_one_meaning_in_every_shape_of_table(tmp_path: Path) -> None:
    names = "record_id,labels,age,sex\na,RBBB;af,61,f\nb,other,,male\nc,,,\nd,NORM,300,M\n"
    columns = "record_id\tAF\trbbb\tLBBB\tSB\tST\t1dAVb\tNORM\tage\tsex\n" + "\n".join(
        [
            "a\t1\t1\t0\t0\t0\t0\t0\t61\tF",
            "b\t0\t0\t0\t0\t0\t0\tfalse\t\tM",
            "c\t1\t\t0\t0\t0\t0\t0\t\t",
            "d\t0\t0\t0.0\t0\t0\t0\ttrue\t300\tM",
        ]
    )
    lists = pl.DataFrame(
        {
            "record_id": ["a", "b", "c", "d"],
            "labels": [["AF", "RBBB"], ["none"], None, ["NORM"]],
            "age": [61, None, None, 300],
            "sex": ["F", "M", None, "M"],
        }
    )
    lists.write_parquet(tmp_path / "labels.parquet")
    tables = [
        read_label_table(written(tmp_path, "\ufeff" + names)),
        read_label_table(written(tmp_path, names.replace(";", "+").replace(",", ";")
                                 .replace("+", ";").replace("RBBB;af", '"RBBB;af"'), "semi.csv")),
        read_label_table(written(tmp_path, columns, "labels.tsv")),
        read_label_table(tmp_path / "labels.parquet"),
    ]  # fmt: skip
    assert {key: facts.labels for key, facts in tables[0].facts.items()} == {
        "a": ("RBBB", "AF"), "b": (), "c": None, "d": (NORMAL,),
    }  # fmt: skip
    assert tables[0].facts["d"].age_years == 90.0
    for table in tables[1:]:
        assert table.facts == tables[0].facts


def test_a_split_wins_over_a_fold(tmp_path: Path) -> None:
    text = "record_id,patient_id,fold,split\na,p,10,\nb,q,10,Train\nc,r,,\n"
    facts = read_label_table(written(tmp_path, text)).facts
    assert [facts[name].split for name in "abc"] == ["test", "train", None]
    assert facts["c"].labels is None


def test_classes_without_a_column_are_said(tmp_path: Path) -> None:
    table = read_label_table(written(tmp_path, "record_id,AF\na,1\n"))
    assert table.facts["a"].labels == ("AF",)
    assert any("no column for 1dAVb, RBBB, LBBB, SB, ST" in note for note in table.notes)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("record_id,labels,hight\na,AF,1\n", "unknown columns: hight"),
        ("record_id,LBB\na,1\n", "unknown columns: LBB"),
        ("name,labels\na,AF\n", "unknown columns: name"),
        ("labels,age\nAF,1\n", "no column record_id"),
        ("record_id\na\n", "only record_id"),
        ("record_id,labels,AF\na,AF,1\n", "both a column labels and columns of classes"),
        ("record_id,AF,af\na,1,1\n", "column twice"),
        ("record_id,labels\na,AFIB\n", "record a has label 'AFIB'"),
        ("record_id,AF\na,2\n", "record a has AF '2'"),
        ("record_id,labels\na,AF\na,SB\n", "record a twice"),
        ("record_id,labels\n,AF\n", "without a record_id"),
        ("record_id,sex\na,1\n", "record a has sex '1'"),
        ("record_id,age\na,old\n", "record a has age 'old'"),
        ("record_id,fold\na,11\n", "record a has fold '11'"),
        ("record_id,fold\na,1.5\n", "record a has fold '1.5'"),
        ("record_id,split\na,dev\n", "record a has split 'dev'"),
        ("record_id,patient_id,fold\na,p,1\nb,p,9\n", "patient p into two splits"),
        ("record_id,labels\na,AF,3,4\n", "cannot be read as a table"),
        ("", "cannot be read as a table"),
    ],
)
def test_a_fault_in_a_users_table_is_named(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(LeadlightError, match=fault) as caught:
        read_label_table(written(tmp_path, text))
    assert "labels.csv" in str(caught.value)


def test_an_absent_table_and_a_false_parquet_are_said(tmp_path: Path) -> None:
    with pytest.raises(LeadlightError, match="is not there"):
        read_label_table(tmp_path / "none.csv")
    with pytest.raises(LeadlightError, match="cannot be read as a table"):
        read_label_table(written(tmp_path, "no parquet", "x.parquet"))
