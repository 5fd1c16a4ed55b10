"""DICOM ECG waveforms (12-lead and general), through pydicom.

DICOM PS3.3 C.10.9 (waveform module); lead codes of PS3.16 CID 3001 in MDC and SCP-ECG form.
"""

import warnings
import zlib
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

from leadlight.ecg.formats.fields import MAX_VALUES, mv_per_unit, standard_channels
from leadlight.ecg.leads import complete_leads
from leadlight.ecg.recording import Recording
from leadlight.errors import UnreadableRecording

_WANTED = [
    "SpecificCharacterSet", "SOPClassUID", "Modality", "Manufacturer", "ManufacturerModelName",
    "PatientID", "PatientAge", "PatientSex", "PatientBirthDate", "StudyDate",
    "AcquisitionDateTime", "WaveformSequence",
]  # fmt: skip
# Lead numbers that MDC (2:n) and SCP-ECG (5.6.3-9-n) share.
_LEAD_BY_NUMBER = {
    1: "I", 2: "II", 3: "V1", 4: "V2", 5: "V3", 6: "V4", 7: "V5", 8: "V6",
    61: "III", 62: "aVR", 63: "aVL", 64: "aVF",
}  # fmt: skip
_SAMPLE_TYPES = {
    (8, "SB"): "i1", (8, "UB"): "u1", (16, "SS"): "i2", (16, "US"): "u2",
    (32, "SL"): "i4", (32, "UL"): "u4",
}  # fmt: skip
_YEARS_PER = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}
# A strip this short that the file calls derived is a representative beat, not a rhythm.
_LONGEST_BEAT_S = 2.5
_EXPORT = "Export it again as a DICOM 12-lead or general ECG waveform."


@dataclass(frozen=True)
class _Group:
    """One multiplex group: channels that were sampled together."""

    label: str
    derived: bool
    offset_ms: float
    rate_hz: float
    leads: list[str]
    ignored: list[str]
    signal_mv: npt.NDArray[np.float32]
    filters: str

    @property
    def is_beat(self) -> bool:
        words = self.label.upper()
        named = any(word in words for word in ("MEDIAN", "AVERAGE", "TEMPLATE", "BEAT"))
        return named or (self.derived and self.signal_mv.shape[1] / self.rate_hz <= _LONGEST_BEAT_S)


def recognises(path: Path, head: bytes) -> bool:
    """Whether a file is DICOM: the mark at byte 128, or a data set without preamble."""
    if head[128:132] == b"DICM":
        return True
    starts_as_data_set = head[:4] in (b"\x02\x00\x00\x00", b"\x08\x00\x00\x00", b"\x08\x00\x05\x00")
    return path.suffix.lower() in (".dcm", ".dicom") and starts_as_data_set


def read_dicom(path: Path) -> Recording:
    """Read a DICOM ECG: its rhythm strip, and its median beat where it holds one.

    Channels in multiplex groups of equal rate, length and time are put together; a group that
    covers another time, and channels that are none of the twelve leads, are named in `notes`.

    Raises:
        UnreadableRecording: the file is damaged, no ECG waveform, compressed beyond reason, states
            no rate, unit or known sample type, or holds no standard lead.
    """
    dataset = _read_dataset(path)
    groups = _groups(path, dataset)
    strips = [group for group in groups if not group.is_beat]
    beats = [group for group in groups if group.is_beat]
    if not strips:
        raise UnreadableRecording(
            f"{path} holds a median beat only, no rhythm strip.", advice=_EXPORT
        )
    strip = max(strips, key=lambda group: (len(group.leads), group.signal_mv.shape[1]))
    leads, rows = list(strip.leads), [strip.signal_mv]
    notes = {"ignored_channels": ", ".join(strip.ignored)} if strip.ignored else {}
    for other in strips:
        together = (other.rate_hz, other.offset_ms, other.signal_mv.shape[1]) == (
            strip.rate_hz,
            strip.offset_ms,
            strip.signal_mv.shape[1],
        )
        new = [row for row, lead in enumerate(other.leads) if lead not in leads]
        if other is not strip and together and new:
            leads += [other.leads[row] for row in new]
            rows.append(other.signal_mv[new])
        elif other is not strip:
            notes["ignored_group"] = other.label or "unnamed"
    signal, derived, missing = complete_leads(np.concatenate(rows), leads)
    median = complete_leads(beats[0].signal_mv, beats[0].leads)[0] if beats else None
    if strip.filters:
        notes["filters"] = strip.filters
    device = [str(dataset.get(key, "") or "") for key in ("Manufacturer", "ManufacturerModelName")]
    if any(device):
        notes["device"] = " ".join(filter(None, device))
    return Recording(
        signal_mv=signal,
        rate_hz=strip.rate_hz,
        record_id=path.stem if path.suffix.lower() in (".dcm", ".dicom") else path.name,
        patient_id=str(dataset.get("PatientID", "") or "").strip() or None,
        age_years=_age(dataset),
        sex={"F": "F", "M": "M"}.get(str(dataset.get("PatientSex", "") or "").strip().upper()),
        derived_leads=tuple(derived),
        missing_leads=tuple(missing),
        median_beat_mv=median,
        median_beat_rate_hz=beats[0].rate_hz if beats else None,
        source_format="dicom",
        notes=notes,
    )


def _read_dataset(path: Path) -> Any:
    """The elements that are needed, nothing of an image's pixels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            _refuse_bomb(path)
            dataset = pydicom.dcmread(path, force=True, specific_tags=_WANTED)
            held = "WaveformSequence" in dataset and len(dataset.WaveformSequence)
        except (UnreadableRecording, OSError):
            raise
        except Exception as error:  # pydicom lets errors of every kind through
            raise UnreadableRecording(
                f"{path} is a damaged DICOM file ({_first_line(error)}).",
                advice="Fetch the file again.",
            ) from None
    if not held:
        kind = getattr(dataset.get("SOPClassUID", None), "name", "") or "an unknown object"
        raise UnreadableRecording(
            f"{path} is DICOM, but holds no ECG waveform (it is {kind}).", advice=_EXPORT
        )
    return dataset


def _refuse_bomb(path: Path) -> None:
    """A deflated data set is inflated piece by piece first, and refused where it grows too far."""
    meta = read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    with path.open("rb") as file:
        file.seek(132 + 12 + int(meta.FileMetaInformationGroupLength))
        pending = file.read()
    while pending and not inflater.eof:
        size += len(inflater.decompress(pending, 1 << 20))
        pending = inflater.unconsumed_tail
        if size > 2 * MAX_VALUES:
            raise UnreadableRecording(
                f"{path} inflates to more than {size >> 20} MB; it was not opened.",
                advice="Export it without compression.",
            )


def _groups(path: Path, dataset: Any) -> list[_Group]:
    groups, faults = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for item in dataset.WaveformSequence:
            try:
                groups.append(_group(path, item, bool(dataset.is_little_endian)))
            except UnreadableRecording as fault:
                faults.append(fault)
            except Exception as error:  # pydicom converts values on access and lets errors through
                faults.append(
                    UnreadableRecording(
                        f"{path} is a damaged DICOM waveform ({_first_line(error)}).",
                        advice="Fetch the file again.",
                    )
                )
    if not any(not group.is_beat for group in groups) and faults:
        raise faults[0]
    return groups


def _group(path: Path, item: Any, little_endian: bool) -> _Group:
    n_channels, n_samples = int(item.NumberOfWaveformChannels), int(item.NumberOfWaveformSamples)
    rate_hz = float(item.SamplingFrequency)
    kind = (int(item.WaveformBitsAllocated), str(item.WaveformSampleInterpretation))
    if not rate_hz > 0 or n_samples < 1 or n_channels < 1:
        raise UnreadableRecording(
            f"{path} states {n_samples} samples at {rate_hz:g} Hz in {n_channels} channels.",
            advice=_EXPORT,
        )
    if kind not in _SAMPLE_TYPES:
        raise UnreadableRecording(
            f"{path} stores {kind[0]}-bit samples of kind {kind[1]}, which ECGs do not use.",
            advice=_EXPORT,
        )
    dtype = np.dtype(("<" if little_endian else ">") + _SAMPLE_TYPES[kind])
    stored = bytes(item.WaveformData)
    have = len(stored) // (dtype.itemsize * n_channels)
    if have < n_samples:
        raise UnreadableRecording(
            f"{path} is truncated: it holds {have} of the {n_samples} samples that it states.",
            advice="Fetch the file again.",
        )
    raw = np.frombuffer(stored, dtype, n_samples * n_channels).reshape(n_samples, n_channels)
    channels = list(item.ChannelDefinitionSequence)
    kept, leads, ignored = standard_channels(path, [_lead_name(each) for each in channels])
    padding = _padding(item, dtype)
    rows = []
    for position in kept:
        values = _in_mv(path, channels[position], raw[:, position])
        if padding is not None:
            values[raw[:, position] == padding] = np.nan
        rows.append(values)
    return _Group(
        label=str(item.get("MultiplexGroupLabel", "") or ""),
        derived=str(item.get("WaveformOriginality", "")).upper() == "DERIVED",
        offset_ms=float(item.get("MultiplexGroupTimeOffset", 0) or 0),
        rate_hz=rate_hz,
        leads=leads,
        ignored=ignored,
        signal_mv=np.stack(rows).astype(np.float32),
        filters=_filters(channels[kept[0]]),
    )


def _lead_name(channel: Any) -> str:
    """The lead by its code where the coding scheme is known, otherwise by its meaning."""
    sources = channel.get("ChannelSourceSequence")
    if not sources:
        return str(channel.get("ChannelLabel", "") or "")
    code, scheme = str(sources[0].get("CodeValue", "")), sources[0].get("CodingSchemeDesignator")
    prefix = {"MDC": "2:", "SCPECG": "5.6.3-9-"}.get(str(scheme), "\0")
    number = code.removeprefix(prefix)
    if number != code and number.isdecimal() and int(number) in _LEAD_BY_NUMBER:
        return _LEAD_BY_NUMBER[int(number)]
    meaning = str(sources[0].get("CodeMeaning", "") or "")
    return meaning or code


def _in_mv(path: Path, channel: Any, raw: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """(sample) in millivolt: stored value × sensitivity × correction + baseline."""
    units = channel.get("ChannelSensitivityUnitsSequence")
    if channel.get("ChannelSensitivity") is None or not units:
        raise UnreadableRecording(
            f"{path} does not say how large a step of its signal is.", advice=_EXPORT
        )
    correction = channel.get("ChannelSensitivityCorrectionFactor")
    step = float(channel.ChannelSensitivity) * float(1 if correction is None else correction)
    baseline = float(channel.get("ChannelBaseline") or 0)
    return (raw * step + baseline) * mv_per_unit(path, str(units[0].CodeValue))


def _padding(item: Any, dtype: np.dtype[Any]) -> int | None:
    """The stored value that stands for "no sample".

    Only the ends of the number range are believed: carts also write 0 here, which is an ordinary
    sample of their signal.
    """
    stored = item.get("WaveformPaddingValue")
    if not stored:
        return None
    value = int(np.frombuffer(stored, dtype, 1)[0]) if isinstance(stored, bytes) else int(stored)
    limits = np.iinfo(dtype)
    return value if value in (limits.min, limits.max) else None


def _filters(channel: Any) -> str:
    keys = (
        ("FilterLowFrequency", "high-pass"),
        ("FilterHighFrequency", "low-pass"),
        ("NotchFilterFrequency", "notch"),
    )
    stated = [(name, channel.get(key)) for key, name in keys]
    return ", ".join(f"{name} {float(value):g} Hz" for name, value in stated if value is not None)


def _age(dataset: Any) -> float | None:
    """From PatientAge ("045Y", "011M"), otherwise from the dates of birth and recording."""
    text = str(dataset.get("PatientAge", "") or "").strip().upper()
    if len(text) >= 2 and text[:-1].isdecimal() and text[-1] in _YEARS_PER:
        return round(int(text[:-1]) * _YEARS_PER[text[-1]], 2)
    born = _date(dataset.get("PatientBirthDate"))
    recorded = _date(dataset.get("AcquisitionDateTime")) or _date(dataset.get("StudyDate"))
    if born is None or recorded is None or recorded < born:
        return None
    return round((recorded - born).days / 365.25, 2)


def _date(value: Any) -> date | None:
    text = str(value or "")[:8]
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8]))
    except ValueError:
        return None


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
