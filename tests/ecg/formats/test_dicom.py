from pathlib import Path

import defusedxml.ElementTree
import numpy as np
import pydicom
import pydicom.data
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from leadlight.ecg.formats import read_recording
from leadlight.ecg.leads import LEADS, canonical_lead
from leadlight.errors import UnreadableRecording

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR UI")


@pytest.fixture
def packaged() -> Path:
    """The real 12-lead ECG in pydicom's own wheel."""
    return Path(str(pydicom.data.get_testdata_file("waveform_ecg.dcm", download=False)))


def altered(source: Path, target: Path, change) -> Path:  # type: ignore[no-untyped-def]
    dataset = pydicom.dcmread(source)
    change(dataset)
    dataset.save_as(target)
    return target


def test_a_real_ecg_with_its_median_beat(packaged: Path) -> None:
    read = read_recording(packaged)
    assert (read.age_years, read.sex, read.patient_id) == (42.0, "F", "642341")
    assert (read.rate_hz, read.n_samples, read.source_format) == (1000.0, 10000, "dicom")
    assert read.median_beat_mv is not None
    assert (read.median_beat_mv.shape, read.median_beat_rate_hz) == ((12, 1200), 1000.0)
    assert read.notes["filters"].startswith("high-pass 0.05 Hz")
    dataset = pydicom.dcmread(packaged)
    microvolt = dataset.waveform_array(0)
    for column, channel in enumerate(dataset.WaveformSequence[0].ChannelDefinitionSequence):
        lead = canonical_lead(channel.ChannelSourceSequence[0].CodeMeaning)
        values = read.signal_mv.sel(lead=lead).values
        np.testing.assert_allclose(values, microvolt[:, column] / 1000, atol=1e-6)


def test_one_ecg_reads_the_same_from_dicom_and_from_hl7_aecg(shared_data: Path) -> None:
    read = read_recording(shared_data / "formats" / "dicom" / "same_ecg.dcm")
    root = defusedxml.ElementTree.parse(shared_data / "formats" / "aecg" / "same_ecg.xml")
    space = {"h": "urn:hl7-org:v3"}
    compared = set()
    for sequence in root.findall(
        ".//h:series/h:component/h:sequenceSet/h:component/h:sequence", space
    ):
        lead = canonical_lead(sequence.find("h:code", space).get("code"))
        digits = sequence.find("h:value/h:digits", space)
        if lead is None or digits is None or lead in compared:
            continue
        scale = float(sequence.find("h:value/h:scale", space).get("value"))
        values = np.array(digits.text.split(), dtype=float) * scale / 1000
        np.testing.assert_allclose(read.signal_mv.sel(lead=lead).values, values, atol=1e-6)
        compared.add(lead)
    assert compared == set(LEADS)
    assert read.age_years == pytest.approx(49.54, abs=0.01)
    assert (read.sex, read.patient_id) == ("M", "SBJ-123")


@pytest.mark.parametrize("name", ["guangxi_teaching_sinus_rhythm.dcm", "synthetic_muse.dcm"])
def test_general_ecgs_with_mdc_codes(shared_data: Path, name: str) -> None:
    read = read_recording(shared_data / "formats" / "dicom" / name)
    assert (read.rate_hz, read.missing_leads) == (500.0, ())
    assert read.median_beat_mv is not None
    assert read.median_beat_mv.sizes["sample"] == 600
    assert 0.3 < float(np.abs(read.signal_mv.sel(lead="II")).max()) < 5


def test_an_image_is_refused_in_a_sentence() -> None:
    for name in ("CT_small.dcm", "MR_small.dcm", "rtplan.dcm"):
        image = Path(str(pydicom.data.get_testdata_file(name, download=False)))
        with pytest.raises(UnreadableRecording, match="holds no ECG waveform"):
            read_recording(image)


def test_a_truncated_file_is_refused(packaged: Path, tmp_path: Path) -> None:
    content = packaged.read_bytes()
    for size in (200, 4000, 100_000, 200_000):
        cut = tmp_path / f"cut_{size}.dcm"
        cut.write_bytes(content[:size])
        with pytest.raises(UnreadableRecording) as refused:
            read_recording(cut)
        assert refused.value.advice


def test_baseline_correction_and_units_are_applied(packaged: Path, tmp_path: Path) -> None:
    def change(dataset: pydicom.Dataset) -> None:
        channel = dataset.WaveformSequence[0].ChannelDefinitionSequence[0]
        channel.ChannelSensitivity = "0.00125"
        channel.ChannelSensitivityCorrectionFactor = "2"
        channel.ChannelBaseline = "0.5"
        channel.ChannelSensitivityUnitsSequence[0].CodeValue = "mV"

    before = read_recording(packaged).signal_mv.sel(lead="I").values
    after = read_recording(altered(packaged, tmp_path / "a.dcm", change)).signal_mv.sel(lead="I")
    np.testing.assert_allclose(after.values, 2 * before + 0.5, atol=1e-5)


def test_a_strange_unit_is_refused_by_name(packaged: Path, tmp_path: Path) -> None:
    def change(dataset: pydicom.Dataset) -> None:
        for group in dataset.WaveformSequence:
            for channel in group.ChannelDefinitionSequence:
                channel.ChannelSensitivityUnitsSequence[0].CodeValue = "mm[Hg]"

    with pytest.raises(UnreadableRecording, match=r"mm\[Hg\]"):
        read_recording(altered(packaged, tmp_path / "a.dcm", change))


def test_a_median_beat_alone_is_no_recording(packaged: Path, tmp_path: Path) -> None:
    def change(dataset: pydicom.Dataset) -> None:
        del dataset.WaveformSequence[0]

    with pytest.raises(UnreadableRecording, match="median beat only"):
        read_recording(altered(packaged, tmp_path / "a.dcm", change))


def test_deflated_files_are_read_and_bombs_are_not(
    packaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(dataset: pydicom.Dataset) -> None:
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian

    path = altered(packaged, tmp_path / "deflated.dcm", change)
    assert read_recording(path).signal_mv.equals(read_recording(packaged).signal_mv)
    monkeypatch.setattr("leadlight.ecg.formats.dicom.MAX_VALUES", 100_000)
    with pytest.raises(UnreadableRecording, match="inflates to more than"):
        read_recording(path)


def test_no_warning_of_the_library_gets_through(
    shared_data: Path, recwarn: pytest.WarningsRecorder
) -> None:
    read_recording(shared_data / "formats" / "dicom" / "same_ecg.dcm")
    assert not recwarn.list
