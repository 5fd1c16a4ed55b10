import shutil
from pathlib import Path

import pydicom.data
import pytest

from leadlight.ecg.formats import find_recordings, read_recording
from leadlight.errors import LeadlightError, UnreadableRecording


@pytest.fixture
def record(shared_data: Path, tmp_path: Path) -> Path:
    """A copy of a real record's header and signal; the header's path."""
    for ending in (".hea", ".dat"):
        source = shared_data / "ptbxl" / "records500" / "00000" / f"00001_hr{ending}"
        shutil.copy(source, tmp_path)
    return tmp_path / "00001_hr.hea"


@pytest.mark.parametrize("name", ["00001_hr.hea", "00001_hr.dat", "00001_hr"])
def test_header_signal_and_bare_name_all_give_the_record(record: Path, name: str) -> None:
    read = read_recording(record.with_name(name))
    assert read.record_id == "00001_hr"
    assert read.signal_mv.equals(read_recording(record).signal_mv)


def test_content_decides_before_the_ending(tmp_path: Path) -> None:
    source = pydicom.data.get_testdata_file("waveform_ecg.dcm", download=False)
    for name in ("ecg", "ecg.dat", "ecg.xml"):
        shutil.copy(str(source), tmp_path / name)
        assert read_recording(tmp_path / name).source_format == "dicom"


def test_an_empty_file_says_so(tmp_path: Path) -> None:
    for name, words in [("a.dcm", "is empty"), ("a.hea", "is empty"), ("a.xml", "is empty")]:
        (tmp_path / name).touch()
        with pytest.raises(UnreadableRecording, match=words):
            read_recording(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("letter.dcm", "Dear colleague, " * 40, "its content is not DICOM"),
        ("letter.hea", "Dear colleague, " * 40, "is not a WFDB header"),
        ("letter.xyz", "Dear colleague, " * 40, "does not read"),
        ("letter.dat", "Dear colleague, " * 40, "has no header"),
    ],
)
def test_a_text_under_a_wrong_name_is_refused_in_a_sentence(
    tmp_path: Path, name: str, text: str, words: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UnreadableRecording, match=words) as refused:
        read_recording(tmp_path / name)
    assert name in str(refused.value)
    assert refused.value.advice


def test_what_is_absent_or_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableRecording, match="does not exist"):
        read_recording(tmp_path / "nothing.dcm")
    with pytest.raises(UnreadableRecording, match="does not exist"):
        read_recording(tmp_path / "nothing.hea")
    with pytest.raises(UnreadableRecording, match="is a folder"):
        read_recording(tmp_path)
    with pytest.raises(LeadlightError, match="does not exist"):
        find_recordings(tmp_path / "nothing.dcm")


def test_a_folder_gives_one_file_per_record(record: Path) -> None:
    folder = record.parent
    (folder / "deep" / "er").mkdir(parents=True)
    source = pydicom.data.get_testdata_file("waveform_ecg.dcm", download=False)
    shutil.copy(str(source), folder / "deep" / "er" / "IM000001")
    (folder / "00001_hr.atr").write_bytes(b"\0\0")
    (folder / "README").write_text("notes")
    (folder / ".hidden.hea").write_text("x 1 500 10")
    (folder / "orphan.dat").write_bytes(b"\0" * 100)
    found = [path.relative_to(folder).as_posix() for path in find_recordings(folder)]
    assert found == ["00001_hr.hea", "deep/er/IM000001", "orphan.dat"]
    with pytest.raises(UnreadableRecording, match="has no header"):
        read_recording(folder / "orphan.dat")


def test_a_list_is_read_relative_to_itself_and_keeps_what_is_absent(record: Path) -> None:
    listed = record.with_name("RECORDS")
    listed.write_text("00001_hr\n\n# a note\n00001_hr.dat\nlost_record\n")
    found = find_recordings(listed)
    assert [path.name for path in found] == ["00001_hr.hea", "lost_record.hea"]
    with pytest.raises(UnreadableRecording, match="does not exist"):
        read_recording(found[1])


def test_one_file_stands_for_its_record(record: Path) -> None:
    assert find_recordings(record.with_suffix(".dat")) == [record]
    assert find_recordings(record.with_suffix("")) == [record]


def test_the_shared_recordings_are_all_found(shared_data: Path) -> None:
    assert len(find_recordings(shared_data / "ptbxl")) == 500
    assert len(find_recordings(shared_data / "ludb")) == 100
    assert len(find_recordings(shared_data / "cinc")) == 166
