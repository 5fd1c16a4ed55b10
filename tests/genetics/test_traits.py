import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from leadlight.errors import LeadlightError
from leadlight.genetics.traits import match_people, read_person_table
from leadlight.genetics.variant_tables import People


def people(ids: list[str], families: list[str] | None = None) -> People:
    return People(tuple(families or ["0"] * len(ids)), tuple(ids), np.ones(len(ids), dtype=np.int8))


@pytest.mark.parametrize(
    "text",
    [
        "FID IID a b\n1 x 1 2.5\n2 y NA -9\n",
        "#FID\tIID\ta\tb\n1\tx\t1\t2.5\n2\ty\t.\t-9\n",
        "IID,a,b\nx,1,2.5\ny,,-9\n",
        "  FID   IID  a    b\n    1   x  1  2.5\n    2   y NA   -9\n",
        "#IID\ta\tb\nx\t1.0\t2.5\ny\tnan\t-9\n\n",
        "record_id\ta\tb\nx\t1\t25e-1\ny\tNULL\t-9\n",
    ],
)
def test_the_layouts_of_plink_and_regenie_are_read_alike(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.txt"
    path.write_text(text)
    table = read_person_table(path)
    assert table.person_ids == ("x", "y")
    assert table.columns == ("a", "b")
    # −9 is a value: axes of −9° exist.
    assert np.array_equal(table.values, [[1, 2.5], [np.nan, -9]], equal_nan=True)
    packed = tmp_path / "t.txt.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    assert np.array_equal(read_person_table(packed).values, table.values, equal_nan=True)


def test_parquet_is_read_as_text_is(tmp_path: Path) -> None:
    path = tmp_path / "factors.parquet"
    pl.DataFrame({"record_id": ["x", "y"], "f1": [1.5, None], "f2": [3, 4]}).write_parquet(path)
    table = read_person_table(path)
    assert table.person_ids == ("x", "y")
    assert np.array_equal(table.values, [[1.5, 3], [np.nan, 4]], equal_nan=True)
    assert read_person_table(path, ["f2"]).columns == ("f2",)


def test_words_become_categories_where_told(tmp_path: Path) -> None:
    path = tmp_path / "c.txt"
    path.write_text("IID place\na town\nb farm\nc NA\nd sea\n")
    table = read_person_table(path, categories=True)
    assert table.columns == ("place=sea", "place=town")
    expected = [[0, 1], [0, 0], [np.nan, np.nan], [1, 0]]
    assert np.array_equal(table.values, expected, equal_nan=True)
    with pytest.raises(LeadlightError, match="'farm' in column 'place' is no number"):
        read_person_table(path)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("IID a\n", "has no rows"),
        ("", "has no rows"),
        ("a b\n1 2\n", "begins with the column 'a'"),
        ("IID a\nx 1\nx 2\n", "names 1 people more than once, x first"),
        ("IID a b\nx 1\n", "row 2 has 2 columns, the header has 3"),
        ("IID a a\nx 1 2\n", "two columns of one name"),
    ],
)
def test_a_bad_table_says_what_is_wrong(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "t.txt"
    path.write_text(text)
    with pytest.raises(LeadlightError, match=complaint):
        read_person_table(path)


def test_a_table_or_column_that_is_absent_is_named(tmp_path: Path) -> None:
    with pytest.raises(LeadlightError, match="does not exist"):
        read_person_table(tmp_path / "no.txt")
    path = tmp_path / "t.txt"
    path.write_text("IID a\nx 1\n")
    with pytest.raises(LeadlightError, match=r"no column 'b'\. It has a"):
        read_person_table(path, ["b"])
    path.write_bytes(b"PAR1 but no more")
    with pytest.raises(LeadlightError, match="cannot be read"):
        read_person_table(path)
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(LeadlightError, match="cannot be read as text"):
        read_person_table(path)


def test_people_are_matched_by_id_and_counted(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("IID y\nd 4\na 1\nz 9\nc NA\nb 2\n")
    (tmp_path / "c.txt").write_text("IID age\nb 20\nd NA\na 10\nc 30\n")
    matched = match_people(
        people(["a", "b", "c", "d", "e"]),
        read_person_table(tmp_path / "p.txt"),
        read_person_table(tmp_path / "c.txt"),
    )
    assert matched.rows.tolist() == [0, 1]
    assert matched.traits.ravel().tolist() == [1, 2]
    assert matched.covariates.ravel().tolist() == [10, 20]
    assert matched.counts == {
        "people in the genotypes": 5,
        "people in the phenotypes": 5,
        "people in both": 4,
        "people in the covariates": 4,
        "people analysed": 2,
    }


def test_people_of_one_iid_are_told_apart_by_family(tmp_path: Path) -> None:
    twins = people(["1", "1"], ["A", "B"])
    (tmp_path / "p.txt").write_text("FID IID y\nB 1 5\nA 1 3\n")
    matched = match_people(twins, read_person_table(tmp_path / "p.txt"), None)
    assert matched.traits.ravel().tolist() == [3, 5]
    (tmp_path / "p.txt").write_text("IID y\n1 5\n")
    with pytest.raises(LeadlightError, match="has only IID"):
        match_people(twins, read_person_table(tmp_path / "p.txt"), None)


def test_nobody_in_common_is_refused_with_examples_of_both_ids(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("IID y\nx 4\n")
    with pytest.raises(LeadlightError, match=r"ids there are like .*x.*, in the genotypes .*a"):
        match_people(people(["a"]), read_person_table(tmp_path / "p.txt"), None)
    (tmp_path / "p.txt").write_text("IID y\na NA\n")
    with pytest.raises(LeadlightError, match="Nobody with genotypes has a phenotype"):
        match_people(people(["a"]), read_person_table(tmp_path / "p.txt"), None)


def test_columns_of_lists_are_no_traits(tmp_path: Path) -> None:
    table = tmp_path / "factors.parquet"
    columns = {"record_id": ["a", "b"], "factor_01": [1.0, 2.0], "flags": [["far"], []]}
    pl.DataFrame(columns).write_parquet(table)
    assert read_person_table(table).columns == ("factor_01",)
    with pytest.raises(LeadlightError, match="'flags' holds lists"):
        read_person_table(table, ["flags"])
