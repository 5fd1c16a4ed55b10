"""Which files an import reads, and what their records are called."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from leadlight.atomic import written_whole
from leadlight.cohort.labels import PTBXL_TABLE, LabelTable, read_label_table
from leadlight.ecg.formats import find_recordings
from leadlight.errors import LeadlightError

# PTB-XL's table lies three folders above its signals: records500/00000/00001_hr.hea.
_LEVELS_UP = 4
_TABLE = {"path": pl.String(), "record_id": pl.String()}


@dataclass(frozen=True)
class Sources:
    """The files of an import, in its order.

    Attributes:
        paths: one per recording, without repeats.
        record_ids: their records' names.
        collisions: the file names that several recordings share, so that their records are named
            with some of their path.
        n_repeated: files that were named more than once.
    """

    paths: tuple[Path, ...]
    record_ids: tuple[str, ...]
    collisions: tuple[str, ...]
    n_repeated: int


def find_sources(sources: Sequence[Path]) -> Sources:
    """All recordings of files, folders and lists, in the order given and sorted within a folder.

    A list that is a table (`.parquet`) has the columns `path` and `record_id`; it is taken in its
    own order, alone, and its names are kept (`write_sources` makes one).

    Raises:
        LeadlightError: when a source is absent, or when there is no recording at all.
    """
    if any(source.suffix == ".parquet" for source in sources):
        return _read_sources(sources)
    found: dict[Path, Path] = {}
    n_repeated = 0
    for source in sources:
        if not source.exists():
            raise LeadlightError(f"{source} is not there.", advice="Check the path.")
        for path in find_recordings(source):
            n_repeated += path.absolute() in found
            found.setdefault(path.absolute(), path)
    if not found:
        named = ", ".join(str(source) for source in sources) or "nothing"
        raise LeadlightError(
            f"No recording was found in {named}.",
            advice="Give ECG files, folders of them, or a text file that lists them.",
        )
    record_ids = name_records(list(found))
    stems = Counter(path.stem for path in found)
    return Sources(
        paths=tuple(found.values()),
        record_ids=tuple(record_ids),
        collisions=tuple(sorted(stem for stem, count in stems.items() if count > 1)),
        n_repeated=n_repeated,
    )


def write_sources(files: Sources, rows: slice, out: Path) -> None:
    """Write some of the files, with the names that they have among all, as a table to import."""
    table = {
        "path": [str(path.absolute()) for path in files.paths[rows]],
        "record_id": list(files.record_ids[rows]),
    }
    with written_whole(out) as partial:
        pl.DataFrame(table, schema=_TABLE).write_parquet(partial)


def _read_sources(sources: Sequence[Path]) -> Sources:
    if len(sources) > 1:
        raise LeadlightError(
            f"{sources[0]} and {len(sources) - 1} more sources are given.",
            advice="Import a table of files alone.",
        )
    try:
        table = pl.read_parquet(sources[0], columns=list(_TABLE))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise LeadlightError(
            f"{sources[0]} is no table of files: {str(error).splitlines()[0]}.",
            advice="It has the columns path and record_id.",
        ) from error
    paths = tuple(Path(path) for path in table["path"])
    if not paths or table["record_id"].n_unique() < len(paths):
        raise LeadlightError(f"{sources[0]} names no file, or two of one record_id.")
    return Sources(paths, tuple(table["record_id"]), (), 0)


def name_records(paths: Sequence[Path]) -> list[str]:
    """A record_id for each path: its file name without ending, and more where that is shared.

    Paths that share a name take as many of their folders, joined by "/", as tell them apart; files
    in one folder that differ only in ending keep the ending.
    """
    without_ending = [path.with_suffix("") for path in paths]
    twins = Counter(without_ending)
    keys = [
        path if twins[bare] > 1 else bare for path, bare in zip(paths, without_ending, strict=True)
    ]
    parts = [[part for part in key.parts if part != key.anchor] for key in keys]
    names = [path.as_posix() for path in paths]
    unnamed = list(range(len(paths)))
    depth = 1
    while unnamed:
        tails = {position: "/".join(parts[position][-depth:]) for position in unnamed}
        sharing = Counter(tails.values())
        for position, tail in tails.items():
            if sharing[tail] == 1:
                names[position] = tail
        unnamed = [p for p in unnamed if sharing[tails[p]] > 1 and len(parts[p]) > depth]
        depth += 1
    return names


def tables_beside(paths: Sequence[Path]) -> dict[Path, LabelTable]:
    """PTB-XL's table for each folder of `paths` that lies in a copy of PTB-XL."""
    place_of: dict[Path, Path | None] = {}
    for folder in {path.parent for path in paths}:
        lineage = [folder, *folder.absolute().parents][: _LEVELS_UP + 1]
        tables = (level / PTBXL_TABLE for level in lineage)
        place_of[folder] = next((table for table in tables if table.is_file()), None)
    read: dict[Path, LabelTable] = {}
    for place in sorted({place for place in place_of.values() if place is not None}):
        table = read_label_table(place)
        if table.kind == "PTB-XL":
            read[place] = table
    return {
        folder: read[place]
        for folder, place in place_of.items()
        if place is not None and place in read
    }


def stamps(paths: Sequence[Path]) -> Iterator[str]:
    """A line for each path, its size and its time of change: what tells one import from another."""
    for path in paths:
        try:
            about = path.stat()
        except OSError:  # the reader will say what is wrong with it
            yield f"{path}\n"
            continue
        yield f"{path}\t{about.st_size}\t{about.st_mtime_ns}\n"
