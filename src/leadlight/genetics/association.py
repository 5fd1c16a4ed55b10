"""Association of all traits with all variants by the linear model, block by block.

A block is read, multiplied with all traits and covariates at once, and turned into effects,
standard errors and −log10 p by exact algebra (`linear_kernels`). Blocks depend on the data alone,
so the results don't depend on the number of threads, or on where a run was killed and taken up.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from leadlight.atomic import refuse_overwrite
from leadlight.errors import LeadlightError
from leadlight.genetics.block_runs import Group, work_off
from leadlight.genetics.designs import Design, make_designs, with_usable_traits
from leadlight.genetics.genotypes import GenotypeSource
from leadlight.genetics.gwas_summary import (
    GwasSummary,
    finish,
    manifest_of,
    refuse_tables,
    variant_counts,
)
from leadlight.genetics.linear_blocks import LinearBlocks, Plan, Task
from leadlight.genetics.results import PARTIAL, PartialResults, is_left, write_gwas_ssf, write_trait
from leadlight.genetics.traits import Matched
from leadlight.genetics.variant_filters import REASONS, VariantFilter
from leadlight.genetics.variant_tables import DIPLOID, HAPLOID, X_LINKED, Y_LINKED, sorted_order

if TYPE_CHECKING:
    from leadlight.genetics.background_stage import Background

Floats = npt.NDArray[Any]
KINDS = (DIPLOID, X_LINKED, Y_LINKED, HAPLOID)
# Calls of one block: small enough to stay near the processor, large enough for the product.
_CALLS_PER_BLOCK = 1 << 22
_MOST_VARIANTS = 2048
# Up to this many multiplications in all, double precision costs less than a second or two.
_DOUBLE_UP_TO = 2e10


def associate(
    source: GenotypeSource,
    matched: Matched,
    out: Path,
    *,
    variant_filter: VariantFilter | None = None,
    background: "Background | None" = None,
    joint: bool = False,
    precision: str = "auto",
    text: bool = False,
    workers: int | None = None,
    overwrite: bool = False,
    parameters: dict[str, Any] | None = None,
    inputs: Sequence[Path] = (),
) -> GwasSummary:
    """Test every variant against every trait and write `out/<trait>.parquet`.

    background: each chromosome is tested on the traits minus their whole-genome prediction without
    it, and the statistics are calibrated. joint: also `out/joint.parquet`, see `joint_stage`.
    precision: `double`; `single` (matrix products in float32; whatever reaches −log10 p > 6 is
    worked out again in double, and the largest difference seen is reported); or `auto`: double
    where it costs a second or two. text: also GWAS-SSF, `<trait>.tsv.gz`. A killed run goes on
    where it was when it is given again with the same inputs. Raises LeadlightError where results
    are there and `overwrite` is False, or where nothing can be analysed.
    """
    matched = with_usable_traits(matched)
    if joint:
        from leadlight.genetics.joint_stage import JOINT, refuse_joint, write_joint

        refuse_joint(matched)
    variant_filter = variant_filter or VariantFilter()
    plan = _plan(source, matched, precision, by_chromosome=background is not None)
    settings: dict[str, Any] = {
        "precision": plan.precision,
        "blocks": len(plan.tasks),
        "background": None,
    }
    if background is not None:
        settings["background"] = background.fingerprint
    manifest = manifest_of(source, matched, variant_filter, settings, parameters or {}, inputs)
    # Tables that the same run wrote before it was killed are its own.
    overwrite = overwrite or is_left(out / PARTIAL, manifest)
    refuse_tables(out, matched.trait_names, overwrite)
    if joint:
        refuse_overwrite(out / JOINT, overwrite)
    results = PartialResults(
        out / PARTIAL, manifest, len(matched.trait_names), len(source.variants), len(plan.tasks)
    )
    results.failed[:, source.variants.multiallelic] = REASONS.index("multiallelic")
    results.failed[:, plan.nobody] = REASONS.index("sex unknown or of one kind")
    resumed = int(results.done.sum())
    threads = workers or len(os.sched_getaffinity(0))
    groups = _groups(source, matched, plan, variant_filter, results, background)
    files = [f"{name}.parquet" for name in matched.trait_names]
    with threadpool_limits(1):
        worst = work_off(groups, results, threads, "association")
        if joint:
            results.checkpoint()
            write_joint(out / JOINT, source, matched, results, background)
            files.append(JOINT)
        # A summary beside tables of another run would be wrong unnoticed: it goes first.
        (out / "summary.json").unlink(missing_ok=True)
        written = _write(source, matched, results, out, text, threads)
    summary = GwasSummary(
        out,
        written,
        matched.counts,
        variant_counts(results.failed),
        matched.dropped,
        plan.precision,
        worst,
        resumed,
        files,
    )
    finish(summary, source, matched, variant_filter, parameters or {}, inputs)
    results.remove()
    return summary


def precision_of(
    source: GenotypeSource, matched: Matched, precision: str, *, by_chromosome: bool
) -> str:
    """`single` or `double`: what `auto` comes to for these genotypes."""
    usable = with_usable_traits(matched)
    return _plan(source, usable, precision, by_chromosome=by_chromosome).precision


def chromosomes_of(source: GenotypeSource) -> npt.NDArray[np.object_]:
    """(variant,) names of the chromosomes."""
    column = source.variants.table["chromosome"].combine_chunks()
    names = np.array(column.dictionary.to_pylist(), dtype=object)
    return names[column.indices.to_numpy()] if len(column) else names[:0]


def _plan(source: GenotypeSource, matched: Matched, precision: str, *, by_chromosome: bool) -> Plan:
    """Which variants are tested in which design, in blocks."""
    if precision not in ("auto", "single", "double"):
        raise LeadlightError(f"{precision!r} is no precision.", advice="auto, single or double.")
    designs: list[Design] = []
    kinds: list[int] = []
    tasks: list[Task] = []
    usable = ~source.variants.multiallelic
    nobody = np.zeros(len(usable), dtype=np.bool_)
    chromosomes = chromosomes_of(source) if by_chromosome else None
    work = 0.0
    for kind in KINDS:
        numbers = np.flatnonzero((source.variants.kind == kind) & usable)
        if not len(numbers):
            continue
        own = make_designs(matched, kind)
        nobody[numbers] = not own
        parts: list[tuple[str | None, npt.NDArray[np.int64]]] = [(None, numbers)]
        if chromosomes is not None:
            names = chromosomes[numbers]
            parts = [(name, numbers[names == name]) for name in dict.fromkeys(names.tolist())]
        for design in own:
            size = int(np.clip(_CALLS_PER_BLOCK // len(design), 16, _MOST_VARIANTS))
            tasks += [
                Task(len(designs), kind, some[start : start + size], name)
                for name, some in parts
                for start in range(0, len(some), size)
            ]
            designs.append(design)
            kinds.append(kind)
            work += len(numbers) * design.matrix.size
    if not tasks:
        raise LeadlightError("No variant can be tested.", advice="Look at the variant table.")
    if precision == "auto":
        precision = "double" if work <= _DOUBLE_UP_TO else "single"
    has_dosages = source.has_dosages
    return Plan(tuple(designs), tuple(kinds), tuple(tasks), precision, has_dosages, nobody)


def _groups(
    source: GenotypeSource,
    matched: Matched,
    plan: Plan,
    variant_filter: VariantFilter,
    results: PartialResults,
    background: "Background | None",
) -> list[Group]:
    """The blocks of all chromosomes, or, with a background, chromosome by chromosome."""
    if background is None:
        return [
            Group(
                range(len(plan.tasks)), lambda: LinearBlocks(source, plan, variant_filter, results)
            )
        ]
    calibration = background.calibration(matched.trait_names)

    def prepared(chromosome: str, numbers: list[int]) -> Group:
        def start() -> LinearBlocks:
            designs = _without(background, matched, plan, chromosome, numbers)
            own = replace(
                plan, designs=designs, tasks=tuple(plan.tasks[number] for number in numbers)
            )
            return LinearBlocks(source, own, variant_filter, results, calibration)

        return Group(numbers, start)

    of: dict[str, list[int]] = {}
    for number, task in enumerate(plan.tasks):
        of.setdefault(str(task.chromosome), []).append(number)
    return [prepared(name, numbers) for name, numbers in of.items()]


def _without(
    background: "Background", matched: Matched, plan: Plan, chromosome: str, numbers: Sequence[int]
) -> tuple[Design, ...]:
    """The plan's designs, those of a chromosome's blocks with the traits minus their background."""
    left = background.without(matched, chromosome)
    designs = list(plan.designs)
    for kind in {plan.tasks[number].kind for number in numbers}:
        places = [place for place, its in enumerate(plan.kinds) if its == kind]
        own = make_designs(left, kind)
        if [one.traits for one in own] != [plan.designs[place].traits for place in places]:
            raise LeadlightError(
                f"Nothing is left of a trait without its background on chromosome {chromosome}.",
                advice="Leave out traits that are constant or copies of covariates.",
            )
        for place, design in zip(places, own, strict=True):
            designs[place] = design
    return tuple(designs)


def _write(
    source: GenotypeSource,
    matched: Matched,
    results: PartialResults,
    out: Path,
    text: bool,
    threads: int,
) -> dict[str, int]:
    """Write the tables of all traits; returns the number of rows of each."""
    table, order = source.variants.table, sorted_order(source.variants)

    def one(trait: int) -> int:
        name = matched.trait_names[trait]
        path = out / f"{name}.parquet"
        statistics = np.asarray(results.statistics[:, trait])
        rows = write_trait(path, name, table, statistics, results.n[trait], order)
        if text:
            write_gwas_ssf(out / f"{name}.tsv.gz", pq.read_table(path))
        return rows

    with ThreadPoolExecutor(threads) as pool:
        rows = list(pool.map(one, range(len(matched.trait_names))))
    return dict(zip(matched.trait_names, rows, strict=True))
