"""Diagnoses as phecodes: cases, controls and those who are neither."""

from pathlib import Path

import numpy as np
import pytest

from leadlight.errors import LeadlightError
from leadlight.genetics.phecodes import (
    phecode_outcomes,
    read_codes,
    read_observed,
    read_phecode_map,
)

MAP = """ICD10,PHECODE,Phenotype,Category,Exl. Phecodes,Sex
I48.0,427.21,Atrial fibrillation,circulatory,426-427.99,Both
I48.3,427.22,Atrial flutter,circulatory,426-427.99,Both
I44.7,426.32,Left bundle branch block,circulatory,426-427.99,Both
C61,185,Cancer of prostate,neoplasms,184-185.99,Male
"""
CODES = """IID,code,date
a,I480,2010-01-01
a,I48.0,2012-01-01
b,i48.0,2011-05-05
c,I44.7,2011-05-05
c,I44.7,2011-06-05
d,I48.0,2013-01-01
d,I48.3,2013-01-01
e,C61.9,2011-01-01
e,C61.9,2011-02-01
e,Z99,2011-02-01
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "map.csv").write_text(MAP)
    (tmp_path / "codes.csv").write_text(CODES)
    return tmp_path / "map.csv", tmp_path / "codes.csv"


def _status(table, name):
    outcome = next(one for one in table.outcomes if one.name == name)
    return dict(zip(table.person_ids, outcome.values.tolist(), strict=True)), outcome


def test_two_occasions_make_a_case_one_makes_neither_and_neighbours_are_no_controls(files):
    table, counts = phecode_outcomes(read_codes(files[1]), read_phecode_map(files[0]))
    status, outcome = _status(table, "427.21")
    assert status == {"a": 1, "b": -1, "c": -1, "d": -1, "e": 0}
    assert outcome.description == "Atrial fibrillation"
    assert table.absent == 0  # who has no diagnosis at all is a control
    assert counts["codes without a phecode"] == 1


def test_codes_of_children_count_for_the_parent_once_a_day(files):
    table, _ = phecode_outcomes(read_codes(files[1]), read_phecode_map(files[0]))
    status, _ = _status(table, "427.2")
    assert status["a"] == 1
    assert status["d"] == -1  # fibrillation and flutter on one day are one occasion
    once, _ = phecode_outcomes(read_codes(files[1]), read_phecode_map(files[0]), min_count=1)
    assert _status(once, "427.2")[0] == {"a": 1, "b": 1, "c": -1, "d": 1, "e": 0}


def test_a_code_finer_than_the_map_is_read_by_its_beginning_and_the_sex_is_known(files):
    table, _ = phecode_outcomes(read_codes(files[1]), read_phecode_map(files[0]))
    status, outcome = _status(table, "185")
    assert status["e"] == 1
    assert outcome.sex == 1


def test_only_those_observed_count(files, tmp_path):
    (tmp_path / "seen.csv").write_text("IID\na\ne\nf\n")
    seen = read_observed(tmp_path / "seen.csv")
    table, _ = phecode_outcomes(read_codes(files[1]), read_phecode_map(files[0]), observed=seen)
    assert _status(table, "427.21")[0] == {"a": 1, "e": 0, "f": 0}
    assert table.absent == -1


def test_times_run_to_the_first_occasion_and_stop_at_the_end_of_observation(files, tmp_path):
    rows = "\n".join(f"{one},2011-01-01,2012-06-01" for one in "abcdf")
    (tmp_path / "seen.csv").write_text(f"IID,entry,exit\n{rows}\n")
    seen = read_observed(tmp_path / "seen.csv")
    table, _ = phecode_outcomes(
        read_codes(files[1]), read_phecode_map(files[0]), observed=seen, survival=True
    )
    status, outcome = _status(table, "427.21")
    assert status == {"a": 1, "b": -1, "c": -1, "d": 0, "f": 0}  # d's came after the end
    assert outcome.exit[0] < outcome.entry[0]  # a had it before: prevalent
    assert outcome.exit[4] - outcome.entry[4] == 517
    flutter, later = _status(table, "426.32")
    assert flutter["c"] == 1
    assert later.exit[2] - later.entry[2] == 124


def test_what_cannot_be_used_is_said(files, tmp_path):
    mapping = read_phecode_map(files[0])
    with pytest.raises(LeadlightError, match="need the diagnoses' dates"):
        phecode_outcomes(read_codes(files[1]), mapping, survival=True)
    (tmp_path / "other.csv").write_text("IID,code\na,427.31\n")
    with pytest.raises(LeadlightError, match="No diagnosis has a phecode"):
        phecode_outcomes(read_codes(tmp_path / "other.csv"), mapping)
    (tmp_path / "bad.csv").write_text("code,name\nI48,AF\n")
    with pytest.raises(LeadlightError, match="no column for the phecode"):
        read_phecode_map(tmp_path / "bad.csv")
    (tmp_path / "ranges.csv").write_text("code,phecode,exclusion_range\nI48,427,all of them\n")
    with pytest.raises(LeadlightError, match="is no range of phecodes"):
        read_phecode_map(tmp_path / "ranges.csv")


def test_ranges_compare_phecodes_as_numbers(tmp_path):
    (tmp_path / "map.csv").write_text('code,phecode,exclusion_range\nA,10.5,"9-10.9, 40"\n')
    found = read_phecode_map(tmp_path / "map.csv").phecodes["10.5"]
    assert found.excluded == ((9.0, 10.9), (40.0, 40.0))
    assert np.isfinite(found.excluded).all()
