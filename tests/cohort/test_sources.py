"""Which files are read and how their records are named."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadlight.cohort.sources import find_sources, name_records, tables_beside
from leadlight.errors import LeadlightError

PART = st.sampled_from(["a", "b", "ecg", "x.y", "1"])
PATH = st.tuples(st.lists(PART, max_size=3), PART, st.sampled_from(["", ".hea", ".dcm", ".xml"]))


@given(st.lists(PATH.map(lambda p: Path("/", *p[0], p[1] + p[2])), unique=True))
def test_names_are_unique_and_end_with_the_file_name(paths: list[Path]) -> None:
    names = name_records(paths)
    assert len(set(names)) == len(paths)
    for path, name in zip(paths, names, strict=True):
        assert path.stem in name
    assert dict(zip(paths[::-1], name_records(paths[::-1]), strict=True)) == dict(
        zip(paths, names, strict=True)
    )


def test_a_name_takes_no_more_of_the_path_than_it_needs() -> None:
    paths = ["/d/one.hea", "/d/p/a/two.hea", "/d/p/b/two.hea", "/d/q/a/two.hea", "/d/s/x.dcm",
             "/d/s/x.xml"]  # fmt: skip
    assert name_records([Path(path) for path in paths]) == [
        "one", "p/a/two", "b/two", "q/a/two", "x.dcm", "x.xml",
    ]  # fmt: skip


def test_a_file_named_twice_is_read_once(shared_data: Path) -> None:
    folder = shared_data / "ptbxl/records500/00000"
    files = find_sources([folder / "00002_hr.hea", folder, folder / "00001_hr.hea"])
    assert len(files.paths) == 500
    assert files.paths[0].name == "00002_hr.hea"
    assert files.n_repeated == 2
    assert files.collisions == ()


def test_ptbxl_is_known_from_any_folder_in_it(shared_data: Path) -> None:
    deep = shared_data / "ptbxl/records500/00000"
    tables = tables_beside([deep / "00001_hr.hea", shared_data / "cinc/A0001.hea"])
    assert list(tables) == [deep]
    assert tables[deep].kind == "PTB-XL"


def test_nothing_to_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(LeadlightError, match="is not there"):
        find_sources([tmp_path / "absent"])
    (tmp_path / "readme.md").write_text("no ECG")
    with pytest.raises(LeadlightError, match="No recording was found"):
        find_sources([tmp_path])
