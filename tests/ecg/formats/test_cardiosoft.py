"""CardioSoft XML: the strip, the cart's median beat and what the cart measured."""

from pathlib import Path

import numpy as np
import pytest

from leadlight.ecg.formats import read_recording
from leadlight.ecg.leads import LEADS
from leadlight.errors import UnreadableRecording

HEAD = '<?xml version="1.0" encoding="ISO-8859-1" ?>\n'


def waveforms(leads: tuple[str, ...], values: list[int]) -> str:
    samples = ",".join(map(str, values))
    return "".join(f'<WaveformData lead="{lead}">\n\t{samples}</WaveformData>' for lead in leads)


def document(
    leads: tuple[str, ...] = LEADS,
    values: list[int] | None = None,
    resolution: str = '<Resolution units="uVperLsb">5</Resolution>',
    rate: str = '<SampleRate units="Hz">500</SampleRate>',
    stated: int = 4,
    rest: str = "",
) -> str:
    return (
        f"{HEAD}<CardiologyXML><PatientInfo><PID>7</PID><Age units='YEARS'>61</Age>"
        f"<Gender>FEMALE</Gender></PatientInfo>{rest}<StripData>{rate}"
        f"<ChannelSampleCountTotal>{stated}</ChannelSampleCountTotal>{resolution}"
        f"{waveforms(leads, values or [0, 1, -2, 200])}</StripData></CardiologyXML>"
    )


def written(folder: Path, text: str) -> Path:
    path = folder / "ecg.xml"
    path.write_text(text, encoding="latin-1")
    return path


@pytest.fixture(scope="session")
def demo(shared_data: Path) -> Path:
    return shared_data / "formats" / "cardiosoft" / "ukb_ecg_demo_20205_2_0.xml"


def test_the_biobank_file_gives_strip_median_and_person(demo: Path) -> None:
    recording = read_recording(demo)
    assert recording.source_format == "cardiosoft"
    assert recording.signal_mv.shape == (12, 5000)
    assert recording.rate_hz == 500
    assert recording.signal_mv.sel(lead="II").values[:3] == pytest.approx([0.110, 0.115, 0.115])
    assert recording.median_beat_mv is not None
    assert recording.median_beat_mv.shape == (12, 600)
    assert recording.median_beat_rate_hz == 500
    assert (recording.age_years, recording.sex) == (53.0, "M")
    assert recording.missing_leads == recording.derived_leads == ()
    assert "Sinus bradycardia" in recording.notes["interpretation"]


def test_the_carts_numbers_come_under_our_names_and_units(demo: Path) -> None:
    cart = read_recording(demo).cart_measurements
    assert {name: cart[name] for name in ("heart_rate_bpm", "rr_ms", "pr_ms", "qrs_ms")} == {
        "heart_rate_bpm": 50, "rr_ms": 1202, "pr_ms": 174, "qrs_ms": 92
    }  # fmt: skip
    assert cart["median_qrs_onset_ms"] - cart["median_p_onset_ms"] == cart["pr_ms"]
    assert cart["median_t_offset_ms"] - cart["median_qrs_onset_ms"] == cart["qt_ms"]
    assert cart["r_mv_V4"] == pytest.approx(1.879)
    assert cart["q_mv_V6"] == pytest.approx(-0.249)
    assert "q_mv_V1" not in cart  # left blank by the cart
    assert "sokolow_lyon_mv" not in cart


def test_the_carts_r_amplitude_is_on_its_median_beat(demo: Path) -> None:
    recording = read_recording(demo)
    assert recording.median_beat_mv is not None
    onset = round(recording.cart_measurements["median_qrs_onset_ms"] / 2)
    for lead in ("V3", "V4", "V5"):
        beat = recording.median_beat_mv.sel(lead=lead).values
        assert beat.max() - beat[onset] == pytest.approx(
            recording.cart_measurements[f"r_mv_{lead}"], abs=0.02
        )


def test_samples_are_scaled_by_the_stated_resolution(tmp_path: Path) -> None:
    path = written(tmp_path, document(resolution='<Resolution units="uVperLsb">2.5</Resolution>'))
    assert read_recording(path).signal_mv.sel(lead="V1").values == pytest.approx(
        [0, 0.0025, -0.005, 0.5]
    )


def test_derived_leads_are_made_where_only_eight_are_stored(tmp_path: Path) -> None:
    eight = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
    recording = read_recording(written(tmp_path, document(leads=eight)))
    assert set(recording.derived_leads) == {"III", "aVR", "aVL", "aVF"}
    assert recording.signal_mv.sel(lead="aVR").values[3] == pytest.approx(-1.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (document().replace("StripData", "OtherData"), "no rhythm strip"),
        (document(rate=""), "no sampling rate"),
        (document(rate='<SampleRate units="Hz">-500</SampleRate>'), "no sampling rate"),
        (document(resolution=""), "no resolution"),
        (document(stated=5000), "5000 are stated"),
        (document().replace("-2", "x"), "no numbers in lead I"),
        (document(leads=("X", "Y", "Z")), "none of the twelve"),
        (document()[:400], "damaged XML"),
    ],
)
def test_a_faulty_file_is_refused_with_its_fault(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UnreadableRecording, match=said):
        read_recording(written(tmp_path, text))


def test_leads_of_unequal_length_are_refused(tmp_path: Path) -> None:
    text = document(stated=0).replace(
        '<WaveformData lead="V6">\n\t0,1,', '<WaveformData lead="V6">\n\t'
    )
    with pytest.raises(UnreadableRecording, match="samples per lead"):
        read_recording(written(tmp_path, text))


@pytest.mark.parametrize(
    "entity",
    [
        '<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">',
        '<!ENTITY b SYSTEM "file:///etc/hostname">',
    ],
)
def test_entities_are_neither_expanded_nor_followed(tmp_path: Path, entity: str) -> None:
    text = document().replace(HEAD, f"{HEAD}<!DOCTYPE CardiologyXML [{entity}]>")
    with pytest.raises(UnreadableRecording, match="entities"):
        read_recording(written(tmp_path, text.replace("<PID>7</PID>", "<PID>&b;</PID>")))


def test_medians_without_numbers_of_the_cart_are_kept(tmp_path: Path) -> None:
    rest = (
        "<RestingECGMeasurements><MedianSamples><SampleRate units='Hz'>500</SampleRate>"
        "<Resolution units='uVperLsb'>5</Resolution>"
        f"{waveforms(LEADS, [1, 2, 3])}</MedianSamples></RestingECGMeasurements>"
    )
    recording = read_recording(written(tmp_path, document(rest=rest)))
    assert recording.median_beat_mv is not None
    assert recording.median_beat_mv.values.shape == (12, 3)
    assert np.isclose(recording.median_beat_mv.values[0, 2], 0.015)
    assert recording.cart_measurements == {}
