"""WFDB records: a `.hea` header with a `.dat` signal, or the PhysioNet Challenges' `.mat`.

A header of the common kind (one segment, 16-bit samples) is read here, and gives the same numbers
as the `wfdb` library; that library reads every other kind. Format: PhysioNet, header(5), signal(5).
"""

import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from leadlight.ecg.formats.fields import (
    MAX_VALUES,
    age_years,
    mv_per_unit,
    sex_letter,
    standard_channels,
)
from leadlight.ecg.leads import complete_leads
from leadlight.ecg.recording import Recording
from leadlight.errors import UnreadableRecording

SIGNAL_ENDINGS = (".dat", ".mat")

_RECORD_LINE = re.compile(r"^(?P<name>[^\s/]+)(?:/(?P<segments>\d+))?\s+(?P<signals>\d+)(?:\s|$)")
_GAIN = re.compile(r"^(?P<gain>\d+(?:\.\d+)?)(?:\((?P<baseline>-?\d+)\))?(?:/(?P<unit>\S+))?$")
_FORMAT_16 = re.compile(r"^16(?:\+(?P<offset>\d+))?$")
_INVALID_16 = -32768
_FETCH = "Fetch the record again, header and signal together."


@dataclass(frozen=True)
class _Channel:
    """One signal line of a header: where its samples lie and what they mean."""

    file: str
    byte_offset: int
    gain: float
    baseline: int
    unit: str
    checksum: str
    name: str


def recognises(path: Path, head: bytes) -> bool:
    """Whether `path` names a WFDB record: a header, a signal file, or a bare record name."""
    header = header_of(path)
    return header is not None and (header.exists() or (path.exists() and bool(head)))


def header_of(path: Path) -> Path | None:
    """The header of the record that `path` names; None where `path` cannot be such a name."""
    ending = path.suffix.lower()
    if ending == ".hea":
        return path
    if ending in SIGNAL_ENDINGS:
        return path.with_suffix(".hea")
    bare = path.with_name(path.name + ".hea") if path.name else None
    return bare if bare is not None and (bare.is_file() or not ending) else None


def segments_among(folder: Path, records: Iterable[str]) -> set[str]:
    """Of the records in a folder, those that are segments of another one there.

    Segments are told by their custom of naming: the record's name, "_", and a number or "layout".
    """
    known = set(records)
    segments: set[str] = set()
    for whole in {name.rpartition("_")[0] for name in known} & known:
        lines = _content_lines(_read_text(folder / f"{whole}.hea"))
        match = _RECORD_LINE.match(lines[0]) if lines else None
        if match and match["segments"]:
            segments.update(line.split()[0] for line in lines[1:])
    return segments & known


def signal_files(header: Path) -> set[str]:
    """The names of the files that a header's signal lines give, as they stand there."""
    return {line.split()[0] for line in _content_lines(_read_text(header))[1:]}


def read_wfdb(path: Path) -> Recording:
    """Read a WFDB record.

    Args:
        path: its header, its signal file, or its name without ending.

    Returns:
        The recording; invalid samples are NaN. `codes` are the header's entries `Dx`, age and sex
        its `Age` and `Sex`; other comments are kept in `notes["comments"]`.
        Leads whose samples do not fit the header's checksum are named in
        `notes["checksum_mismatch"]`.

    Raises:
        UnreadableRecording: header or signal is absent, empty, truncated or damaged, a signal file
            lies outside the header's folder, a unit is not a voltage, a lead occurs twice, or no
            channel is a standard lead.
    """
    header = header_of(path)
    if header is None or not header.is_file():
        wanted = header if header is not None else path
        raise UnreadableRecording(f"{path} has no header: {wanted} is absent.", advice=_FETCH)
    text = _read_text(header)
    lines = _content_lines(text)
    if not lines:
        raise UnreadableRecording(f"{header} is empty.", advice=_FETCH)
    match = _RECORD_LINE.match(lines[0])
    if match is None:
        raise UnreadableRecording(
            f"{header} is not a WFDB header: its first line names no record and signal count.",
            advice=_FETCH,
        )
    _refuse_paths(header, lines[1:])
    plain = None if match["segments"] else _plain_header(lines)
    if plain is not None:
        rate_hz, n_samples, channels = plain
        names = [channel.name for channel in channels]
        kept, leads, ignored = standard_channels(header, names)
        signal_mv, damaged = _plain_signal(header, n_samples, channels)
        signal_mv = signal_mv[kept]
    else:
        damaged = []
        rate_hz, names, units, physical = _through_library(header, bool(match["segments"]))
        kept, leads, ignored = standard_channels(header, names)
        factors = [mv_per_unit(header, units[position]) for position in kept]
        signal_mv = (physical[kept] * np.array(factors)[:, None]).astype(np.float32)
    if not rate_hz > 0 or signal_mv.shape[1] == 0:
        raise UnreadableRecording(f"{header} describes a recording without samples.", advice=_FETCH)
    signal, derived, missing = complete_leads(signal_mv, leads)
    age, sex, codes, notes = _comments(text)
    if damaged:
        notes["checksum_mismatch"] = ", ".join(damaged)
    if ignored:
        notes["ignored_channels"] = ", ".join(ignored)
    return Recording(
        signal_mv=signal,
        rate_hz=rate_hz,
        record_id=header.stem,
        age_years=age,
        sex=sex,
        codes=codes,
        derived_leads=tuple(derived),
        missing_leads=tuple(missing),
        source_format="wfdb",
        notes=notes,
    )


def _read_text(header: Path) -> str:
    return header.read_text(encoding="utf-8", errors="replace")


def _content_lines(text: str) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _refuse_paths(header: Path, lines: list[str]) -> None:
    """A header names files beside it; one that points elsewhere is not followed."""
    for line in lines:
        name = line.split()[0]
        if "/" in name or "\\" in name or ".." in name or ":" in name or name.startswith("."):
            raise UnreadableRecording(
                f"{header} points to {name!r}, which is not a plain file name; it was not opened.",
                advice="Signal files lie beside their header.",
            )


def _plain_header(lines: list[str]) -> tuple[float, int, list[_Channel]] | None:
    """Rate, samples and channels of a header of the common kind; None for any other kind."""
    record = lines[0].split()
    if len(record) < 4 or not record[3].isdecimal() or int(record[1]) != len(lines) - 1:
        return None
    try:
        rate_hz = float(record[2])
    except ValueError:
        return None
    channels = []
    for line in lines[1:]:
        part = line.split(None, 8)
        if len(part) != 9:
            return None
        gain, form = _GAIN.match(part[2]), _FORMAT_16.match(part[1])
        if gain is None or form is None or float(gain["gain"]) == 0:
            return None
        baseline = gain["baseline"] or part[4]
        if not re.fullmatch(r"-?\d+", baseline):
            return None
        channels.append(
            _Channel(
                file=part[0],
                byte_offset=int(form["offset"] or 0),
                gain=float(gain["gain"]),
                baseline=int(baseline),
                unit=gain["unit"] or "mV",
                checksum=part[6],
                name=part[8],
            )
        )
    return rate_hz, int(record[3]), channels


def _plain_signal(
    header: Path, n_samples: int, channels: list[_Channel]
) -> tuple[npt.NDArray[np.float32], list[str]]:
    """(channel, sample) in millivolt from 16-bit files whose channels are interleaved.

    Also the standard leads whose checksum in the header does not fit their samples. A channel that
    is no standard lead is not looked at and stays NaN.
    """
    if n_samples * len(channels) > MAX_VALUES:
        raise UnreadableRecording(
            f"{header} claims {n_samples} samples in {len(channels)} channels.",
            advice="Cut the recording into strips of minutes.",
        )
    signal_mv = np.full((len(channels), n_samples), np.nan, dtype=np.float32)
    kept, leads, _ = standard_channels(header, [channel.name for channel in channels])
    damaged = []
    for file in dict.fromkeys(channel.file for channel in channels):
        rows = [row for row, channel in enumerate(channels) if channel.file == file]
        raw = _read_16(header.parent / file, header, channels[rows[0]].byte_offset, n_samples, rows)
        for column, row in enumerate(rows):
            if row not in kept:
                continue
            channel = channels[row]
            in_unit = (raw[:, column] - float(channel.baseline)) / channel.gain
            values = in_unit * mv_per_unit(header, channel.unit)
            values[raw[:, column] == _INVALID_16] = np.nan
            signal_mv[row] = values
            stated, actual = channel.checksum, int(raw[:, column].sum(dtype=np.int64))
            if re.fullmatch(r"-?\d+", stated) and (int(stated) - actual) % 65536:
                damaged.append(leads[kept.index(row)])
    return signal_mv, damaged


def _read_16(
    path: Path, header: Path, byte_offset: int, n_samples: int, rows: list[int]
) -> npt.NDArray[np.int16]:
    """(sample, channel of this file) as stored."""
    if not path.is_file():
        raise UnreadableRecording(
            f"{header} names the signal file {path.name}, which is absent.", advice=_FETCH
        )
    count = n_samples * len(rows)
    have = (path.stat().st_size - byte_offset) // 2
    if have < count:
        raise UnreadableRecording(
            f"{path} is truncated: it holds {max(have, 0) // len(rows)} of the {n_samples} samples "
            "that its header states.",
            advice=_FETCH,
        )
    raw = np.fromfile(path, dtype="<i2", count=count, offset=byte_offset)
    return raw.reshape(n_samples, len(rows))


def _through_library(
    header: Path, segmented: bool
) -> tuple[float, list[str], list[str], npt.NDArray[np.float64]]:
    """Rate, channel names, units and (channel, sample) values of any record that `wfdb` reads."""
    if segmented:
        for line in _content_lines(_read_text(header))[1:]:
            part = header.with_name(f"{line.split()[0]}.hea")
            if part.is_file():
                _refuse_paths(part, _content_lines(_read_text(part))[1:])
    name = str(header.absolute().with_suffix(""))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import wfdb  # here, because it takes half a second and few records need it

        try:
            stated = wfdb.rdheader(name)
            claimed = (stated.sig_len or 0) * (stated.n_sig or 0)
            record = None if claimed > MAX_VALUES else wfdb.rdrecord(name)
        except Exception as error:  # the library lets errors of every kind through
            raise UnreadableRecording(
                f"{header} cannot be read as a WFDB record ({_first_line(error)}).", advice=_FETCH
            ) from None
    if record is None or record.p_signal is None:
        raise UnreadableRecording(
            f"{header} claims {claimed} values, too many or none.",
            advice="Cut the recording into strips of minutes.",
        )
    values = np.ascontiguousarray(record.p_signal.T)
    return float(record.fs), list(record.sig_name), list(record.units), values


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__


def _comments(
    text: str,
) -> tuple[float | None, str | None, tuple[str, ...], dict[str, str]]:
    """Age, sex, diagnosis codes and everything else that a header's comment lines say."""
    age: float | None = None
    sex: str | None = None
    codes: tuple[str, ...] = ()
    rest = []
    for line in text.splitlines():
        if not line.startswith("#"):
            continue
        comment = line[1:].strip()
        key, _, value = comment.partition(":")
        match key.strip(" <>").lower():
            case "age" if age_years(value) is not None:
                age = age_years(value)
            case "sex" if sex_letter(value) is not None:
                sex = sex_letter(value)
            case "dx":
                entries = (entry.strip() for entry in value.split(","))
                codes = tuple(entry for entry in entries if entry.isdecimal())
            case _ if comment and value.strip().lower() != "unknown":
                rest.append(comment)
    return age, sex, codes, ({"comments": "\n".join(rest)} if rest else {})
