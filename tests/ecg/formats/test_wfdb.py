import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import wfdb

from leadlight.ecg.formats import find_recordings, read_recording
from leadlight.ecg.leads import LEADS, canonical_lead
from leadlight.errors import UnreadableRecording


@pytest.fixture
def record(shared_data: Path, tmp_path: Path) -> Path:
    """A copy of a real CPSC record (header and .mat); the header's path."""
    for ending in (".hea", ".mat"):
        shutil.copy(shared_data / "cinc" / f"A0001{ending}", tmp_path)
    return tmp_path / "A0001.hea"


def written(
    folder: Path, name: str, signal_mv: np.ndarray, leads: list[str], **how: object
) -> Path:
    """Write (lead, sample) as a WFDB record with the reference library; the header's path."""
    settings = {"fs": 500, "units": ["mV"] * len(leads), "fmt": ["16"] * len(leads)} | how
    wfdb.wrsamp(name, p_signal=signal_mv.T, sig_name=leads, write_dir=str(folder), **settings)
    return folder / f"{name}.hea"


def some_mv(n_leads: int, n_samples: int = 3000) -> np.ndarray:
    steps = np.random.default_rng(0).normal(0, 0.02, (n_leads, n_samples))
    return np.cumsum(steps, axis=1)


@pytest.mark.parametrize("folder", ["ptbxl", "ludb", "cinc"])
def test_numbers_equal_the_reference_library(
    shared_data: Path, tmp_path: Path, folder: str
) -> None:
    for path in find_recordings(shared_data / folder)[::4]:
        name = path.with_suffix("")
        first, _, rest = path.read_text().partition(" ")
        if first.endswith(".mat"):
            # The library refuses Georgia's headers, whose record name has an ending.
            (tmp_path / path.name).write_text(f"{path.stem} {rest}")
            shutil.copy(path.with_suffix(".mat"), tmp_path)
            name = tmp_path / path.stem
        reference = wfdb.rdrecord(str(name))
        ours = read_recording(path)
        assert ours.rate_hz == reference.fs
        assert ours.derived_leads == ours.missing_leads == ()
        for column, label in enumerate(reference.sig_name):
            np.testing.assert_array_equal(
                ours.signal_mv.sel(lead=canonical_lead(label)).values,
                reference.p_signal[:, column].astype(np.float32),
            )


def test_age_sex_and_diagnoses_come_from_the_comments(shared_data: Path) -> None:
    read = read_recording(shared_data / "cinc" / "HR00938.hea")
    assert (read.age_years, read.sex, read.codes) == (48.0, "M", ("426783006", "713426002"))
    assert read_recording(shared_data / "cinc" / "E00002.hea").age_years is None
    ludb = read_recording(shared_data / "ludb" / "data" / "39.hea")
    assert (ludb.age_years, ludb.sex, ludb.codes) == (74.0, "M", ())
    assert "Sinus bradycardia" in ludb.notes["comments"]


@pytest.mark.parametrize(
    ("said", "age", "sex"),
    [
        ("#Age: 300\n#Sex: F\n", 90.0, "F"),
        ("# age: 61\n# sex: female\n", 61.0, "F"),
        ("#Age: -4\n#Sex: 1\n", None, None),
        ("#Age: NaN\n#Sex: Unknown\n", None, None),
        ("", None, None),
    ],
)
def test_the_many_ways_to_say_age_and_sex(
    record: Path, said: str, age: float | None, sex: str | None
) -> None:
    lines = [line for line in record.read_text().splitlines() if not line.startswith("#")]
    record.write_text("\n".join(lines) + "\n" + said)
    read = read_recording(record)
    assert (read.age_years, read.sex) == (age, sex)


def test_a_truncated_signal_is_refused_with_both_counts(record: Path) -> None:
    signal = record.with_suffix(".mat")
    signal.write_bytes(signal.read_bytes()[: 24 + 12 * 2 * 1000])
    with pytest.raises(UnreadableRecording, match="truncated: it holds 1000 of the 7500"):
        read_recording(record)


def test_a_header_without_its_signal_is_refused(record: Path) -> None:
    record.with_suffix(".mat").unlink()
    with pytest.raises(UnreadableRecording, match=r"A0001\.mat, which is absent"):
        read_recording(record)


def test_a_flipped_bit_is_noticed_by_the_checksum(record: Path) -> None:
    signal = record.with_suffix(".mat")
    content = bytearray(signal.read_bytes())
    content[24 + 2 * (12 * 500 + 1)] ^= 1 << 5
    signal.write_bytes(bytes(content))
    assert read_recording(record).notes["checksum_mismatch"] == "II"


@pytest.mark.parametrize(
    "name", ["../A0001.mat", "/etc/passwd", "sub/A0001.mat", "..\\A0001.mat", "s3://b/A0001.mat"]
)
def test_a_path_in_a_header_is_not_followed(record: Path, name: str) -> None:
    record.write_text(record.read_text().replace("A0001.mat", name))
    with pytest.raises(UnreadableRecording, match="was not opened"):
        read_recording(record)


def test_an_absurd_length_is_refused_before_memory_is_taken(record: Path) -> None:
    record.write_text(record.read_text().replace("500 7500", "500 99999999999"))
    with pytest.raises(UnreadableRecording, match="claims"):
        read_recording(record)


def test_an_unknown_unit_and_a_repeated_lead_are_refused_by_name(record: Path) -> None:
    text = record.read_text()
    record.write_text(text.replace("/mV", "/mmHg"))
    with pytest.raises(UnreadableRecording, match="mmHg"):
        read_recording(record)
    record.write_text(text.replace(" aVF", " V1"))
    with pytest.raises(UnreadableRecording, match="V1 twice"):
        read_recording(record)


def test_microvolts_and_volts_become_millivolts(tmp_path: Path) -> None:
    signal = some_mv(2)
    for unit, per_mv in [("uV", 1000.0), ("V", 0.001), ("mV", 1.0)]:
        path = written(tmp_path, f"in_{unit}", signal * per_mv, ["I", "II"], units=[unit] * 2)
        values = read_recording(path).signal_mv.sel(lead=["I", "II"]).values
        np.testing.assert_allclose(values, signal, atol=2e-4)


def test_two_leads_give_six_and_the_rest_is_missing(tmp_path: Path) -> None:
    signal = some_mv(3)
    read = read_recording(written(tmp_path, "few", signal, ["II", "vx", "I"]))
    assert read.derived_leads == ("III", "aVR", "aVL", "aVF")
    assert read.missing_leads == ("V1", "V2", "V3", "V4", "V5", "V6")
    assert read.notes["ignored_channels"] == "vx"
    np.testing.assert_allclose(read.signal_mv.sel(lead="III"), signal[0] - signal[2], atol=5e-4)


def test_a_file_without_any_standard_lead_is_refused_by_name(tmp_path: Path) -> None:
    path = written(tmp_path, "breath", some_mv(2), ["RESP", "PLETH"])
    with pytest.raises(UnreadableRecording, match=r"none of the twelve .*'RESP', 'PLETH'"):
        read_recording(path)


@pytest.mark.parametrize("form", ["16", "212", "24", "32"])
def test_invalid_samples_are_gaps_in_every_storage_format(tmp_path: Path, form: str) -> None:
    signal = some_mv(12)
    signal[3, 100:150] = np.nan
    path = written(tmp_path, f"as_{form}", signal, list(LEADS), fmt=[form] * 12)
    read = read_recording(path).signal_mv
    assert np.flatnonzero(np.isnan(read.sel(lead="aVR").values)).tolist() == list(range(100, 150))
    assert int(np.isnan(read.values).sum()) == 50
    np.testing.assert_allclose(read.values, signal, atol=2e-3)


@pytest.mark.parametrize("form", ["212", "24", "32"])
def test_truncation_is_noticed_in_every_storage_format(tmp_path: Path, form: str) -> None:
    path = written(tmp_path, "cut", some_mv(12), list(LEADS), fmt=[form] * 12)
    signal = path.with_suffix(".dat")
    signal.write_bytes(signal.read_bytes()[:-4000])
    with pytest.raises(UnreadableRecording):
        read_recording(path)


def test_a_record_in_segments_is_read_as_one(tmp_path: Path) -> None:
    signal = some_mv(12, 4000)
    for part in (0, 1):
        piece = signal[:, part * 2000 : (part + 1) * 2000]
        written(tmp_path, f"whole_000{part + 1}", piece, list(LEADS))
    header = tmp_path / "whole.hea"
    header.write_text("whole/2 12 500 4000\nwhole_0001 2000\nwhole_0002 2000\n")
    assert find_recordings(tmp_path) == [header]
    np.testing.assert_allclose(read_recording(header).signal_mv.values, signal, atol=1e-3)
    evil = tmp_path / "whole_0002.hea"
    evil.write_text(re.sub(r"whole_0002\.dat", "../whole_0002.dat", evil.read_text()))
    with pytest.raises(UnreadableRecording, match="was not opened"):
        read_recording(header)


def test_an_odd_rate_is_kept(tmp_path: Path) -> None:
    read = read_recording(written(tmp_path, "odd", some_mv(12), list(LEADS), fs=257.5))
    assert read.rate_hz == 257.5
