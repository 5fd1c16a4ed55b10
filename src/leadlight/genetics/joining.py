"""The associations of parts of the genotypes (a chromosome each, say) as one result."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from leadlight.atomic import refuse_overwrite, write_json, written_whole
from leadlight.errors import LeadlightError
from leadlight.genetics.results import ROWS_PER_GROUP
from leadlight.genetics.variant_tables import chromosome_rank
from leadlight.locking import one_at_a_time
from leadlight.progress import track
from leadlight.provenance import write_provenance

LOCK = ".gwas.lock"
# Of a part's summary and provenance, what its own genotypes decide.
_OWN = ("genotype_files",)


@dataclass(frozen=True)
class _Stretch:
    """Neighbouring rows of a part's table, all of one chromosome. first, last: their places."""

    path: Path
    row: int
    rows: int
    chromosome: str
    first: int
    last: int


@one_at_a_time("out", LOCK, "associating into")
def join_gwas(
    parts: Sequence[Path], out: Path, *, inputs: Sequence[Path] = (), overwrite: bool = False
) -> list[str]:
    """Write the tables of `out` from those of parts of its genotypes, and say what made them.

    A trait's rows are sorted by chromosome and place, as if all had been tested in one run. Memory:
    some row groups at a time, unless the places of two parts of one chromosome overlap.

    Args:
        parts: folders of `run_gwas` on different genotypes, with the same traits and settings.
        out: a folder of `prepare_gwas`, or an empty one.
        inputs: tables of the association, for the provenance.
        overwrite: replace tables that are there.

    Returns:
        The traits.

    Raises:
        LeadlightError: a part is not finished, parts differ in traits, people or settings, or
            tables are there.
    """
    summaries = [_json(part / "summary.json") for part in parts]
    said = [_json(part / "provenance.json")["parameters"] for part in parts]
    _refuse_different(parts, summaries, said)
    # Binary traits name no files: a table a trait.
    files = list(summaries[0]["files"]) or [f"{name}.parquet" for name in summaries[0]["traits"]]
    for name in files:
        refuse_overwrite(out / name, overwrite)
    (out / "summary.json").unlink(missing_ok=True)
    rows = {name: _join_table([part / name for part in parts], out / name)
            for name in track(files, "Joining tables", len(files))}  # fmt: skip
    traits = {trait: rows[f"{trait}.parquet"] for trait in summaries[0]["traits"]}
    errors = [one["largest_single_precision_error"] for one in summaries]
    whole = {
        **summaries[0],
        "out": out.name,
        "traits": traits,
        "variants": _added([one["variants"] for one in summaries]),
        "largest_single_precision_error": max((e for e in errors if e is not None), default=None),
    }
    genotype_files = [file for one in said for file in one["genotype_files"]]
    write_provenance(out, "gwas", said[0] | {"genotype_files": genotype_files}, inputs)
    write_json(out / "summary.json", whole)
    return list(traits)


def _join_table(sources: Sequence[Path], target: Path) -> int:
    """Write one trait's table from those of the parts; the number of rows."""
    stretches = [one for path in sources for one in _stretches(path)]
    ranks = chromosome_rank([one.chromosome for one in stretches])
    stretches.sort(key=lambda one: (ranks[one.chromosome], one.first))
    overlapping = {
        one.chromosome
        for one, after in pairwise(stretches)
        if one.chromosome == after.chromosome and one.last > after.first
    }
    n_rows = 0
    with written_whole(target) as partial:
        schema = pq.read_schema(sources[0])
        options: dict[str, Any] = {}
        if target.stem != "joint":
            options = {
                "compression": "snappy",
                "use_dictionary": ["chromosome", "effect_allele", "other_allele", "n"],
                "write_statistics": ["chromosome", "base_pair_location"],
            }
        with pq.ParquetWriter(partial, schema, **options) as writer:
            for table in _in_order(stretches, overlapping):
                writer.write_table(table.cast(schema), row_group_size=ROWS_PER_GROUP)
                n_rows += table.num_rows
    return n_rows


def _in_order(stretches: Sequence[_Stretch], overlapping: set[str]) -> Iterator[pa.Table]:
    """Pieces of the joined table; chromosomes whose stretches overlap come sorted, whole."""
    waiting: list[pa.Table] = []
    for number, one in enumerate(stretches):
        if one.chromosome not in overlapping:
            for start in range(0, one.rows, ROWS_PER_GROUP):
                yield _rows(one, start, min(ROWS_PER_GROUP, one.rows - start))
            continue
        waiting.append(_rows(one, 0, one.rows))
        after = stretches[number + 1 : number + 2]
        if not after or after[0].chromosome != one.chromosome:
            together = pa.concat_tables(waiting).unify_dictionaries()
            order = pc.sort_indices(together["base_pair_location"])
            yield together.take(order)
            waiting = []


def _stretches(path: Path) -> list[_Stretch]:
    """What a table holds, chromosome by chromosome, from two of its columns."""
    if not path.is_file():
        raise LeadlightError(f"{path} is absent.", advice="Finish this part first.")
    table = pq.read_table(path, columns=["chromosome", "base_pair_location"])
    names = pc.cast(table["chromosome"], pa.string())
    ends = pc.run_end_encode(names.combine_chunks()) if len(names) else None
    if ends is None:
        return []
    found, start = [], 0
    for name, end in zip(ends.values.to_pylist(), ends.run_ends.to_pylist(), strict=True):
        places = table["base_pair_location"].slice(start, end - start)
        least, most = pc.min_max(places).as_py().values()
        found.append(_Stretch(path, start, end - start, name, least, most))
        start = end
    return found


def _rows(stretch: _Stretch, start: int, count: int) -> pa.Table:
    """Some rows of a stretch, reading only the row groups that hold them."""
    file = pq.ParquetFile(stretch.path)
    low, high, before = stretch.row + start, stretch.row + start + count, 0
    groups: list[int] = []
    offset = 0
    for number in range(file.metadata.num_row_groups):
        rows = file.metadata.row_group(number).num_rows
        if before + rows > low and before < high:
            offset = before if not groups else offset
            groups.append(number)
        before += rows
    return file.read_row_groups(groups).slice(low - offset, count)


def _added(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Counts of variants added up; what was tested stands last, as in a whole run."""
    names = list(dict.fromkeys(name for one in counts for name in one if name != "tested"))
    return {name: sum(one.get(name, 0) for one in counts) for name in [*names, "tested"]}


def _refuse_different(
    parts: Sequence[Path], summaries: Sequence[Mapping[str, Any]], said: Sequence[Mapping[str, Any]]
) -> None:
    def alike(summary: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
        of_summary = {key: summary[key] for key in ("people", "precision", "files", "dropped")}
        settings = {key: value for key, value in parameters.items() if key not in _OWN}
        return of_summary | {"traits": list(summary["traits"]), "settings": settings}

    first = alike(summaries[0], said[0])
    for part, summary, parameters in zip(parts, summaries, said, strict=True):
        own = alike(summary, parameters)
        if odd := [key for key in first if first[key] != own[key]]:
            raise LeadlightError(
                f"{part} and {parts[0]} differ in {', '.join(odd)}.",
                advice="Parts of one association share tables and settings.",
            )


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise LeadlightError(f"{path} cannot be read.", advice="Finish this part first.") from error
