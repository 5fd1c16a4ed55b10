"""GE CardioSoft's resting ECG in XML, the format of UK Biobank's field 20205, through defusedxml.

The file holds the rhythm strip (`StripData`, 12 leads × 10 s), the cart's own median beat
(`MedianSamples`, 12 × 600 at 500 Hz), where the cart put the waves on that beat, and what it
measured. Samples are whole numbers of the resolution that each part states (5 µV as a rule).
"""

import math
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import numpy as np
import numpy.typing as npt
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse

from leadlight.ecg.formats.fields import (
    MAX_VALUES,
    age_years,
    mv_per_unit,
    sex_letter,
    standard_channels,
)
from leadlight.ecg.leads import LEADS, complete_leads
from leadlight.ecg.recording import Recording
from leadlight.errors import UnreadableRecording

_ROOT = b"<CardiologyXML"
# A resting ECG is half a megabyte; one with an hour of full disclosure stays below this.
_LARGEST_BYTES = 200_000_000
_EXPORT = "Export it from CardioSoft again as a resting ECG in XML."
_REST, _MEDIANS = "RestingECGMeasurements", "RestingECGMeasurements/MedianSamples"

# The cart's name for each number that we measure too, and ours (`leadlight.ecg.measurements`).
_MEASUREMENTS = {
    "VentricularRate": "heart_rate_bpm",
    "RRInterval": "rr_ms",
    "PPInterval": "pp_ms",
    "PDuration": "p_duration_ms",
    "PQInterval": "pr_ms",
    "QRSDuration": "qrs_ms",
    "QTInterval": "qt_ms",
    "QTCInterval": "qtc_bazett_ms",
    "PAxis": "p_axis_deg",
    "RAxis": "qrs_axis_deg",
    "TAxis": "t_axis_deg",
    "SokolovLVHIndex": "sokolow_lyon_mv",
    "QRSNum": "n_beats",
}
# Milliseconds from the first sample of the cart's median beat.
_FIDUCIALS = {
    "POnset": "median_p_onset_ms",
    "POffset": "median_p_offset_ms",
    "QOnset": "median_qrs_onset_ms",
    "QOffset": "median_qrs_offset_ms",
    "TOffset": "median_t_offset_ms",
}
# Per lead. The cart writes Q and S as sizes; ours are signed, so theirs become negative.
_AMPLITUDES = {
    "PAmplitude": ("p", 1.0),
    "QAmplitude": ("q", -1.0),
    "RAmplitude": ("r", 1.0),
    "SAmplitude": ("s", -1.0),
    "R1Amplitude": ("r_prime", 1.0),
    "JAmplitude": ("j", 1.0),
    "TAmplitude": ("t", 1.0),
}


def recognises(path: Path, head: bytes) -> bool:
    """Whether a file is CardioSoft XML, by its root element."""
    return _ROOT in head


def read_cardiosoft(path: Path) -> Recording:
    """Read a CardioSoft resting ECG: strip, the cart's median beat, fiducials and measurements.

    `Recording.cart_measurements` has the cart's numbers under our names and units:
    `heart_rate_bpm`, `pr_ms`, ..., amplitudes as `r_mv_V5` (Q and S negative), and its fiducials on
    `median_beat_mv` as `median_p_onset_ms`, `median_p_offset_ms`, `median_qrs_onset_ms`,
    `median_qrs_offset_ms`, `median_t_offset_ms`, from that beat's first sample. What the cart left
    blank is not there. Its statements are in `notes["interpretation"]`.

    Raises:
        UnreadableRecording: the file is no sound XML, declares entities (which could make a small
            file fill the memory, or read other files), holds no strip, or a strip without stated
            rate or resolution, with leads of unequal length, or with none of the twelve leads.
    """
    root = _root(path)
    strip = root.find("StripData")
    if strip is None or strip.find("WaveformData") is None:
        raise UnreadableRecording(f"{path} holds no rhythm strip (StripData).", advice=_EXPORT)
    rate_hz, names, signal_mv = _waveforms(path, strip)
    positions, leads, ignored = standard_channels(path, names)
    signal, derived, missing = complete_leads(signal_mv[positions], leads)

    median = median_rate_hz = None
    beat = root.find(_MEDIANS)
    if beat is not None and beat.find("WaveformData") is not None:
        median_rate_hz, beat_names, beat_mv = _waveforms(path, beat)
        beat_positions, beat_leads, _ = standard_channels(path, beat_names)
        median = complete_leads(beat_mv[beat_positions], beat_leads)[0]

    patient = root.find("PatientInfo")
    age = _text(patient, "Age")
    years = _attribute(patient, "Age", "units").upper() in ("", "YEARS")
    return Recording(
        signal_mv=signal,
        rate_hz=rate_hz,
        record_id=path.stem if path.suffix.lower() == ".xml" else path.name,
        patient_id=_text(patient, "PID") or None,
        age_years=age_years(age) if years else None,
        sex=sex_letter(_text(patient, "Gender")),
        derived_leads=tuple(derived),
        missing_leads=tuple(missing),
        median_beat_mv=median,
        median_beat_rate_hz=median_rate_hz,
        source_format="cardiosoft",
        notes=_notes(root, ignored),
        cart_measurements=_cart_measurements(root.find(_REST)),
    )


def _root(path: Path) -> Element:
    size = path.stat().st_size
    if size > _LARGEST_BYTES:
        raise UnreadableRecording(
            f"{path} has {size / 1e6:.0f} MB, which no resting ECG has.", advice=_EXPORT
        )
    try:
        root = parse(path).getroot()
    except DefusedXmlException as error:
        raise UnreadableRecording(
            f"{path} declares XML entities, which an ECG has no use for; it was not read.",
            advice="Such a file may be an attack; get the ECG from its source again.",
        ) from error
    except (ParseError, UnicodeDecodeError, LookupError, ValueError) as error:
        raise UnreadableRecording(
            f"{path} is damaged XML ({error}).", advice="Copy or export the file again."
        ) from error
    if not isinstance(root, Element) or root.tag != "CardiologyXML":
        raise UnreadableRecording(f"{path} is no CardioSoft XML.", advice=_EXPORT)
    return root


def _waveforms(path: Path, part: Element) -> tuple[float, list[str], npt.NDArray[np.float32]]:
    """Rate, lead names and (lead, sample) millivolt of a strip or of the medians."""
    rate_hz = _number(part, "SampleRate")
    if not rate_hz > 0:
        raise UnreadableRecording(
            f"{path} states no sampling rate in {part.tag}.", advice="Times cannot be told."
        )
    unit = _attribute(part, "Resolution", "units").lower().removesuffix("perlsb")
    resolution = _number(part, "Resolution")
    if not resolution > 0:
        raise UnreadableRecording(
            f"{path} states no resolution in {part.tag}.", advice="Voltages cannot be told."
        )
    mv_per_bit = resolution * mv_per_unit(path, unit or "uV")
    names, rows = [], []
    for waveform in part.iterfind("WaveformData"):
        names.append(waveform.get("lead", ""))
        try:
            row = [float(value) for value in (waveform.text or "").split(",") if value.strip()]
        except ValueError as error:
            raise UnreadableRecording(
                f"{path} has samples that are no numbers in lead {names[-1]} of {part.tag}.",
                advice=_EXPORT,
            ) from error
        rows.append(row)
    lengths = sorted({len(row) for row in rows})
    stated = _number(part, "ChannelSampleCountTotal")
    if len(lengths) != 1 or lengths[0] == 0 or (stated > 0 and lengths[0] != stated):
        expected = f"{stated:.0f} are stated" if stated > 0 else "they should be equal"
        raise UnreadableRecording(
            f"{path} has {', '.join(map(str, lengths))} samples per lead in {part.tag}; "
            f"{expected}.",
            advice="The file is cut short or damaged; export it again.",
        )
    if len(rows) * lengths[0] > MAX_VALUES:
        raise UnreadableRecording(
            f"{path} claims {lengths[0]} samples per lead.", advice="That is no resting ECG."
        )
    return rate_hz, names, (np.array(rows) * mv_per_bit).astype(np.float32)


def _cart_measurements(rest: Element | None) -> dict[str, float]:
    if rest is None:
        return {}
    found = {ours: _number(rest, theirs) for theirs, ours in (_MEASUREMENTS | _FIDUCIALS).items()}
    table = rest.find("MeasurementTable")
    leads = [name.strip() for name in _text(table, "LeadOrder").split(",")]
    for theirs, (wave, sign) in _AMPLITUDES.items():
        values = _text(table, theirs).split(",")
        if table is None or len(values) != len(leads):
            continue
        scale = sign * {"uv": 1e-3, "mv": 1.0}.get(_attribute(table, theirs, "units").lower(), 1e-3)
        for lead, value in zip(leads, values, strict=True):
            if lead in LEADS:
                found[f"{wave}_mv_{lead}"] = scale * _float(value)
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _notes(root: Element, ignored: list[str]) -> dict[str, str]:
    notes = {"ignored_channels": ", ".join(ignored)} if ignored else {}
    device = root.find("ClinicalInfo/DeviceInfo")
    named = [_text(device, key) for key in ("Desc", "SoftwareVer", "AnalysisVer")]
    if any(named):
        notes["device"] = " ".join(filter(None, named))
    filters = root.find("FilterSetting")
    if filters is not None:
        notes["filters"] = ", ".join(
            f"{part.tag} {(part.text or '').strip()}{(' ' + part.get('units', '')).rstrip()}"
            for part in filters
        )
    statements = root.iterfind("Interpretation/Diagnosis/DiagnosisText")
    said = [text for part in statements if (text := (part.text or "").strip())]
    if said:
        notes["interpretation"] = "; ".join(said)
    return notes


def _text(part: Element | None, tag: str) -> str:
    return (part.findtext(tag) or "").strip() if part is not None else ""


def _attribute(part: Element | None, tag: str, name: str) -> str:
    child = part.find(tag) if part is not None else None
    return (child.get(name) or "").strip() if child is not None else ""


def _number(part: Element, tag: str) -> float:
    return _float(_text(part, tag))


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
