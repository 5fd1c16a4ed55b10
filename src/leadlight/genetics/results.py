"""Summary statistics on disk: a store that a killed run goes on from, and one table per trait."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from leadlight.atomic import write_json, written_whole
from leadlight.errors import LeadlightError

COLUMNS = (
    "chromosome",
    "base_pair_location",
    "effect_allele",
    "other_allele",
    "beta",
    "standard_error",
    "effect_allele_frequency",
    "neg_log_10_p_value",
    "rsid",
    "n",
)
BETA, STANDARD_ERROR, NEG_LOG_10_P, FREQUENCY = range(4)
ROWS_PER_GROUP = 1 << 15
PARTIAL = ".gwas-partial"
_MISSING = "#NA"  # of GWAS-SSF


class PartialResults:
    """Statistics of all variants and traits while they are made, in a folder of plain arrays.

    statistics: (4, trait, variant) float32: beta, standard error, −log10 p, frequency; n: (trait,
    variant) int32; failed: (trait, variant) int8, the filter that a variant fails, or -1. What
    `checkpoint` was told is done survives a kill.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Mapping[str, Any],
        n_traits: int,
        n_variants: int,
        tasks: int,
        n_statistics: int = 4,
    ) -> None:
        """Open what an earlier run with the same `manifest` left in `folder`, or start anew.

        n_statistics: more than the four named above where a test has more to say.
        """
        self.folder = folder
        said = folder / "manifest.json"
        text = json.loads(json.dumps(manifest, default=str))
        done = _done_of(folder, tasks) if is_left(folder, manifest) else None
        same = done is not None
        if not same:
            if folder.exists():
                self.remove()
            folder.mkdir(parents=True)
        shape = (n_traits, n_variants)
        self.statistics = _on_disk(
            folder / "statistics.f32", np.float32, (n_statistics, *shape), same
        )
        self.n = _on_disk(folder / "n.i32", np.int32, shape, same)
        self.failed = _on_disk(folder / "failed.i8", np.int8, shape, same)
        if done is not None:
            self.done = done
        else:
            self.statistics[:] = np.nan
            self.failed[:] = -1
            self.done = np.zeros(tasks, dtype=np.bool_)
            self.checkpoint()
            write_json(said, text)

    def checkpoint(self) -> None:
        """Make what `done` says survive a kill or the loss of the machine."""
        for array in (self.statistics, self.n, self.failed):
            array.flush()
        with written_whole(self.folder / "done.npy") as partial, partial.open("wb") as stream:
            np.save(stream, self.done)

    def remove(self) -> None:
        """Delete the folder: the tables are written."""
        # First: without it, what a kill leaves of the others is not gone on with.
        (self.folder / "manifest.json").unlink(missing_ok=True)
        shutil.rmtree(self.folder)


def is_left(folder: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether a killed run with this manifest left its statistics in `folder`."""
    text = json.loads(json.dumps(manifest, default=str))
    try:
        return bool(json.loads((folder / "manifest.json").read_text(encoding="utf-8")) == text)
    except (OSError, ValueError):
        return False


def _done_of(folder: Path, tasks: int) -> npt.NDArray[np.bool_] | None:
    """(task,) what an earlier run finished; None where that is damaged."""
    try:
        done = np.load(folder / "done.npy")
    except (OSError, ValueError, EOFError):
        return None
    there = all((folder / name).is_file() for name in ("statistics.f32", "n.i32", "failed.i8"))
    return done if there and done.shape == (tasks,) and done.dtype == np.bool_ else None


def _on_disk(path: Path, kind: type[Any], shape: tuple[int, ...], there: bool) -> Any:
    """An array in a file whose room on the disk is taken beforehand.

    A full disk is then an OSError at the start; found out while writing, it would be a crash.
    """
    if not there:
        with path.open("wb") as stream:
            size = int(np.prod(shape)) * np.dtype(kind).itemsize
            os.posix_fallocate(stream.fileno(), 0, max(size, 1))
    return np.memmap(path, kind, "r+", shape=shape)


def write_trait(
    path: Path,
    trait: str,
    variants: pa.Table,
    statistics: npt.NDArray[np.float32],
    n: npt.NDArray[np.int32],
    order: npt.NDArray[np.int64] | None = None,
) -> int:
    """Write one trait's Parquet table, sorted by place; returns its number of rows.

    statistics: (4, variant), n: (variant,), in the order of `variants`; order: sorts by place.
    Variants without a statistic (NaN) have no row. Row groups carry their chromosomes and places,
    so that a region is read alone.
    """
    there = np.isfinite(statistics[NEG_LOG_10_P])
    if order is not None or not there.all():
        chosen = np.flatnonzero(there) if order is None else order[there[order]]
        variants = variants.take(chosen)
        statistics, n = statistics[:, chosen], n[chosen]
    table = trait_table(trait, variants, statistics, n)
    with written_whole(path) as partial:
        pq.write_table(
            table,
            partial,
            row_group_size=ROWS_PER_GROUP,
            compression="snappy",
            use_dictionary=["chromosome", "effect_allele", "other_allele", "n"],
            write_statistics=["chromosome", "base_pair_location"],
        )
    return int(table.num_rows)


def trait_table(
    trait: str,
    variants: pa.Table,
    statistics: npt.NDArray[np.float32],
    n: npt.NDArray[np.int32],
) -> pa.Table:
    """The columns of a trait's table, row by row as `variants`."""
    return pa.table(
        {
            "chromosome": variants["chromosome"],
            "base_pair_location": variants["base_pair_location"],
            "effect_allele": variants["effect_allele"],
            "other_allele": variants["other_allele"],
            "beta": statistics[BETA],
            "standard_error": statistics[STANDARD_ERROR],
            "effect_allele_frequency": statistics[FREQUENCY],
            "neg_log_10_p_value": statistics[NEG_LOG_10_P],
            "rsid": variants["rsid"],
            "n": n,
        }
    ).replace_schema_metadata({"trait": trait})


def write_gwas_ssf(path: Path, table: pa.Table) -> None:
    """Write a table with our columns as GWAS-SSF text, gzipped if the name ends in `.gz`.

    X, Y and MT are 23, 24 and 25 there; ids that are no rs numbers go to `variant_id` alone.
    """
    import pyarrow.compute as pc
    import pyarrow.csv as pa_csv

    chromosome = pc.cast(table["chromosome"], pa.string())
    for name, number in (("X", "23"), ("Y", "24"), ("MT", "25")):
        chromosome = pc.if_else(pc.equal(chromosome, name), number, chromosome)
    place = pc.cast(table["base_pair_location"], pa.string())
    other = pc.cast(table["other_allele"], pa.string())
    effect = pc.cast(table["effect_allele"], pa.string())
    rsid = pc.cast(table["rsid"], pa.string())
    rsid = pc.if_else(pc.match_substring_regex(rsid, r"^rs[0-9]+$"), rsid, _MISSING)
    shown = pa.table(
        {
            "chromosome": chromosome,
            **{name: table[name] for name in COLUMNS[1:8]},
            "rsid": rsid,
            "variant_id": pc.binary_join_element_wise(chromosome, place, other, effect, "_"),
            "n": table["n"],
        }
    )
    with written_whole(path) as partial:
        kind = "gzip" if path.suffix == ".gz" else None
        with pa.output_stream(str(partial), compression=kind) as stream:
            stream.write(("\t".join(shown.column_names) + "\n").encode())
            options = pa_csv.WriteOptions(
                include_header=False, delimiter="\t", quoting_style="none"
            )
            pa_csv.write_csv(shown, stream, options)


def read_region(
    path: Path, chromosome: str, first: int, last: int, columns: Sequence[str] | None = None
) -> pa.Table:
    """Rows of a trait's table in a region, both ends included, reading only its row groups."""
    if not path.is_file():
        raise LeadlightError(f"{path} does not exist.", advice="Run leadlight gwas first.")
    file = pq.ParquetFile(path)
    at = {file.schema.names[i]: i for i in range(len(file.schema.names))}
    groups = []
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        place = group.column(at["base_pair_location"]).statistics
        name = group.column(at["chromosome"]).statistics
        if name.min == name.max and (
            name.min != chromosome or place.max < first or place.min > last
        ):
            continue
        groups.append(number)
    wanted = None
    if columns is not None:
        wanted = sorted({*columns, "chromosome", "base_pair_location"})
    table = file.read_row_groups(groups, columns=wanted)
    place = table["base_pair_location"].to_numpy()
    # Our tables keep names as a dictionary, others' as plain text.
    there = pc.equal(pc.cast(table["chromosome"], pa.string()), chromosome).to_numpy()
    inside = (place >= first) & (place <= last) & there.astype(np.bool_)
    return table.filter(pa.array(inside)).select(columns or table.column_names)
