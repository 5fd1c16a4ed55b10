"""Reading recordings: what a file is, is decided by its content first, then by its ending."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from leadlight.ecg.formats import cardiosoft, dicom, wfdb
from leadlight.ecg.recording import Recording
from leadlight.errors import LeadlightError, UnreadableRecording

_HEAD_BYTES = 4096


@dataclass(frozen=True)
class Format:
    """One file format.

    Attributes:
        name: what `Recording.source_format` says.
        endings: of the files that stand for one recording each, lower case.
        recognises: whether a file is of this format, from its path and its first bytes.
        read: the reader; raises UnreadableRecording.
    """

    name: str
    endings: tuple[str, ...]
    recognises: Callable[[Path, bytes], bool]
    read: Callable[[Path], Recording]


# In the order in which they are asked.
FORMATS = (
    Format("dicom", (".dcm", ".dicom"), dicom.recognises, dicom.read_dicom),
    Format("cardiosoft", (".xml",), cardiosoft.recognises, cardiosoft.read_cardiosoft),
    Format("wfdb", (".hea",), wfdb.recognises, wfdb.read_wfdb),
)
# Files that hold ECGs in formats that have no reader here. A folder's import lists them, so that
# they are counted as rejected and not passed over in silence.
_KNOWN_ECG_ENDINGS = (".xml", ".scp", ".ecg", ".edf", ".bdf")
_LIST_NAMES = ("RECORDS",)


def read_recording(path: Path) -> Recording:
    """Read one recording from a file of any supported format.

    A WFDB record may be named by its header, by its signal file or without any ending.

    Raises:
        UnreadableRecording: the file is absent, empty, truncated, of another format, or holds no
            standard lead; the message says which, the advice what to do.
    """
    path = Path(path)
    if path.is_dir():
        raise UnreadableRecording(
            f"{path} is a folder, not a recording.", advice="Name the files in it, or import it."
        )
    try:
        head = _head(path)
        for form in FORMATS:
            if form.recognises(path, head):
                return form.read(path)
    except OSError as error:
        raise UnreadableRecording(
            f"{path} cannot be read ({error.strerror or error}).",
            advice="Check the path, the disk and the permissions.",
        ) from None
    if not path.exists():
        raise UnreadableRecording(f"{path} does not exist.", advice="Check the path.")
    if not head:
        raise UnreadableRecording(f"{path} is empty.", advice="Fetch the file again.")
    supported = "WFDB (.hea with .dat or .mat), DICOM (.dcm) and CardioSoft XML (.xml)"
    if path.suffix.lower() in (*FORMATS[0].endings,):
        raise UnreadableRecording(
            f"{path} is named as a DICOM file, but its content is not DICOM.",
            advice="Export it again, or give it the ending of what it is.",
        )
    raise UnreadableRecording(
        f"{path} is in a format that Leadlight does not read.",
        advice=f"It reads {supported}; export or convert the ECG to one of them.",
    )


def find_recordings(source: Path) -> list[Path]:
    """The files to read, one per recording, that a file, a folder or a list stands for.

    A folder is searched with all its subfolders; hidden files are passed over. A list is a text
    file (`.txt`, or named `RECORDS` as PhysioNet does) with one path or record name per line,
    relative to the list; what it names is returned even where it is absent, so that reading it
    says so.

    Returns:
        Sorted, without repeats: the `.hea` for a WFDB record, otherwise the file itself.

    Raises:
        LeadlightError: `source` does not exist.
    """
    source = Path(source)
    if source.is_dir():
        return sorted(set(_in_folder(source)))
    if source.is_file() and (source.suffix.lower() == ".txt" or source.name in _LIST_NAMES):
        return sorted(set(_in_list(source)))
    named = wfdb.header_of(source)
    if named is not None and named.is_file():
        return [named]
    if not source.exists():
        raise LeadlightError(f"{source} does not exist.", advice="Check the path.")
    return [source]


def _in_folder(folder: Path) -> Iterator[Path]:
    endings = {ending for form in FORMATS for ending in form.endings} | set(_KNOWN_ECG_ENDINGS)
    for parent_name, folders, names in os.walk(folder):
        parent = Path(parent_name)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        visible = {name for name in names if not name.startswith(".")}
        headers = {name[: -len(".hea")] for name in visible if name.lower().endswith(".hea")}
        segments = wfdb.segments_among(parent, headers)
        claimed = partial(_claimed, parent, frozenset(headers))
        for name in visible:
            path = parent / name
            ending = path.suffix.lower()
            if ending == ".hea":
                if path.stem not in segments:
                    yield path
            elif ending in endings:
                yield path
            elif ending in wfdb.SIGNAL_ENDINGS and path.stem not in headers:
                # A signal file beside others' headers that lacks its own: reading it says so.
                if headers and name not in claimed():
                    yield path
            elif not ending and name != "DICOMDIR" and dicom.recognises(path, _head(path)):
                yield path


@lru_cache(maxsize=1)
def _claimed(parent: Path, headers: frozenset[str]) -> set[str]:
    """The signal files that some header of this folder names."""
    return set().union(*(wfdb.signal_files(parent / f"{name}.hea") for name in headers))


def _in_list(source: Path) -> Iterator[Path]:
    for line in source.read_text(encoding="utf-8", errors="replace").splitlines():
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        path = source.parent / entry
        if path.is_dir():
            yield from _in_folder(path)
            continue
        header = wfdb.header_of(path)
        yield header if header is not None and (header.is_file() or not path.exists()) else path


def _head(path: Path) -> bytes:
    """The first bytes of a file; none where it is absent."""
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except FileNotFoundError:
        return b""
