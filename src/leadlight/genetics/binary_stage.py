"""Cases and controls through files: `associate_binary` block by block, to a table per trait."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from leadlight.atomic import written_whole
from leadlight.errors import LeadlightError
from leadlight.genetics import linear_kernels as kernels
from leadlight.genetics.association import KINDS, chromosomes_of
from leadlight.genetics.binary import FAILED, METHODS, NullModel, associate_binary, null_model
from leadlight.genetics.block_runs import Group, work_off
from leadlight.genetics.designs import orthonormal_basis, with_usable_traits
from leadlight.genetics.genotypes import GenotypeSource
from leadlight.genetics.gwas_summary import (
    GwasSummary,
    finish,
    manifest_of,
    refuse_tables,
    variant_counts,
)
from leadlight.genetics.results import (
    NEG_LOG_10_P,
    PARTIAL,
    ROWS_PER_GROUP,
    PartialResults,
    is_left,
    trait_table,
    write_gwas_ssf,
)
from leadlight.genetics.traits import Matched
from leadlight.genetics.variant_filters import REASONS, VariantFilter
from leadlight.genetics.variant_tables import (
    DIPLOID,
    FEMALE,
    HAPLOID,
    MALE,
    UNKNOWN_SEX,
    X_LINKED,
    Y_LINKED,
    sorted_order,
)

if TYPE_CHECKING:
    from leadlight.genetics.background_stage import Background

# After the four of `results`: what only cases and controls have.
_IN_CASES, _IN_CONTROLS, _CASES, _METHOD = range(4, 8)
_CALLS_PER_BLOCK = 1 << 22
_MOST_VARIANTS = 1024


@dataclass(frozen=True)
class _Task:
    kind: int
    numbers: npt.NDArray[np.int64]
    chromosome: str | None


def associate_cases(
    source: GenotypeSource,
    matched: Matched,
    out: Path,
    *,
    variant_filter: VariantFilter | None = None,
    background: "Background | None" = None,
    text: bool = False,
    workers: int | None = None,
    overwrite: bool = False,
    parameters: dict[str, Any] | None = None,
    inputs: Sequence[Path] = (),
) -> GwasSummary:
    """Test every variant against every binary trait (1, 0, NaN) and write `out/<trait>.parquet`.

    The score test, and Firth's where its p is below 0.05; missing calls take the mean. background:
    the whole-genome predictions without the tested chromosome are offsets. On X men count 0 or 2,
    sex is a covariate and people of unknown sex are left out; on Y men only. The filters look at
    all people of the study. Columns beyond those of quantitative traits: `method`, `n_cases`,
    `n_controls`, and the effect allele's frequency in each. Resumes as `associate` does.
    """
    matched = with_usable_traits(matched)
    variant_filter = variant_filter or VariantFilter()
    tasks = _tasks(source, matched, by_chromosome=background is not None)
    settings: dict[str, Any] = {"binary": True, "blocks": len(tasks), "background": None}
    if background is not None:
        settings["background"] = background.fingerprint
    manifest = manifest_of(source, matched, variant_filter, settings, parameters or {}, inputs)
    refuse_tables(out, matched.trait_names, overwrite or is_left(out / PARTIAL, manifest))
    shape = len(matched.trait_names), len(source.variants), len(tasks)
    results = PartialResults(out / PARTIAL, manifest, *shape, n_statistics=8)
    results.failed[:, source.variants.multiallelic] = REASONS.index("multiallelic")
    resumed = int(results.done.sum())
    threads = workers or len(os.sched_getaffinity(0))
    of: dict[tuple[int, str | None], list[int]] = {}
    for number, task in enumerate(tasks):
        of.setdefault((task.kind, task.chromosome), []).append(number)

    def prepared(kind: int, chromosome: str | None, numbers: list[int]) -> Group:
        def start() -> _Blocks:
            own = [tasks[number] for number in numbers]
            people, nulls = _nulls(matched, kind, chromosome, background)
            return _Blocks(source, matched, own, people, nulls, variant_filter, results)

        return Group(numbers, start)

    groups = [prepared(*key, numbers) for key, numbers in of.items()]
    with threadpool_limits(1):
        work_off(groups, results, threads, "association")
        order = sorted_order(source.variants)

        def write(trait: int) -> int:
            return _write(source, matched, results, out, text, order, trait)

        with ThreadPoolExecutor(threads) as pool:
            rows = list(pool.map(write, range(shape[0])))
    summary = GwasSummary(
        out,
        dict(zip(matched.trait_names, rows, strict=True)),
        matched.counts,
        variant_counts(results.failed),
        matched.dropped,
        "double",
        None,
        resumed,
        [f"{name}.parquet" for name in matched.trait_names],
    )
    finish(summary, source, matched, variant_filter, parameters or {}, inputs)
    results.remove()
    return summary


def _tasks(source: GenotypeSource, matched: Matched, *, by_chromosome: bool) -> list[_Task]:
    size = int(np.clip(_CALLS_PER_BLOCK // len(matched.rows), 16, _MOST_VARIANTS))
    chromosomes = chromosomes_of(source) if by_chromosome else None
    tasks: list[_Task] = []
    for kind in KINDS:
        numbers = np.flatnonzero((source.variants.kind == kind) & ~source.variants.multiallelic)
        parts: list[tuple[str | None, npt.NDArray[np.int64]]] = [(None, numbers)]
        if chromosomes is not None:
            names = chromosomes[numbers]
            parts = [(name, numbers[names == name]) for name in dict.fromkeys(names.tolist())]
        tasks += [
            _Task(kind, some[start : start + size], name)
            for name, some in parts
            for start in range(0, len(some), size)
        ]
    if not tasks:
        raise LeadlightError("No variant can be tested.", advice="Look at the variant table.")
    return tasks


def _nulls(
    matched: Matched, kind: int, chromosome: str | None, background: "Background | None"
) -> tuple[npt.NDArray[np.bool_], dict[int, NullModel]]:
    """(person,) who is tested, and the null models of the traits that have cases and controls."""
    keep = np.ones(len(matched.rows), dtype=np.bool_)
    covariates = matched.covariates
    if kind == X_LINKED:
        keep = matched.sex != UNKNOWN_SEX
        covariates = np.column_stack([covariates, matched.sex == FEMALE])
    elif kind == Y_LINKED:
        keep = matched.sex == MALE
    nulls: dict[int, NullModel] = {}
    if not keep.any():
        return keep, nulls
    offsets = None
    if background is not None and chromosome is not None:
        offsets = background.offsets(matched.trait_names, chromosome)[keep]
    basis = orthonormal_basis(covariates[keep])
    for trait, name in enumerate(matched.trait_names):
        cases = matched.traits[keep, trait]
        known = cases[np.isfinite(cases)]
        if not len(known) or np.ptp(known) == 0:
            if kind == DIPLOID:
                raise LeadlightError(f"The binary trait {name} has not both cases and controls.")
            continue
        nulls[trait] = null_model(cases, basis, None if offsets is None else offsets[:, trait])
    return keep, nulls


class _Blocks:
    """The work on the blocks of one kind and, with a background, of one chromosome."""

    def __init__(
        self,
        source: GenotypeSource,
        matched: Matched,
        tasks: Sequence[_Task],
        people: npt.NDArray[np.bool_],
        nulls: dict[int, NullModel],
        variant_filter: VariantFilter,
        results: PartialResults,
    ) -> None:
        self._source, self._tasks, self._results = source, tasks, results
        self._rows = matched.rows[people]
        self._male = (matched.sex[people] == MALE).astype(np.uint8)
        self._nulls, self._filter = nulls, variant_filter

    def __enter__(self) -> "_Blocks":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def work(self, number: int) -> None:
        """Test one block and put its statistics into the results."""
        task = self._tasks[number]
        numbers, by_sex = task.numbers, task.kind == X_LINKED
        if not self._nulls:
            self._results.failed[:, numbers] = REASONS.index("sex unknown or of one kind")
            return
        with self._source.reader(self._rows) as reader:
            calls = reader.read(numbers)
        counts = np.empty((len(numbers), 6))
        scratch = np.empty(calls.shape, dtype=np.float32)
        kernels.prepare_calls(
            np.where(np.isnan(calls), -9, calls) if calls.dtype == np.float32 else calls,
            self._male,
            by_sex,
            scratch,
            counts,
            np.empty(len(numbers), dtype=np.uint8),
            np.empty(len(numbers) + 1, dtype=np.int64),
        )
        dosages = self._source.has_dosages[numbers]
        failed = self._filter.failed(counts, len(self._rows), by_sex=by_sex, dosages=dosages)
        good = np.flatnonzero(failed < 0)
        self._results.failed[:, numbers] = failed
        if not len(good):
            return
        found = associate_binary(calls[good], list(self._nulls.values()))
        scale = 2.0 if task.kind in (Y_LINKED, HAPLOID) else 1.0
        works = (found.method != FAILED) & np.isfinite(found.neg_log_10_p)
        in_cases, in_controls = found.frequency_cases, found.frequency_controls
        share = found.n_cases / np.maximum(found.n, 1)
        overall = np.where(share > 0, share * np.nan_to_num(in_cases), 0)
        overall += np.where(share < 1, (1 - share) * np.nan_to_num(in_controls), 0)
        if by_sex:
            in_cases, in_controls, overall = self._by_sex(calls[good])
        columns = (
            scale * found.beta,
            scale * found.standard_error,
            np.where(works, found.neg_log_10_p, np.nan),
            overall,
            in_cases,
            in_controls,
            found.n_cases,
            found.method,
        )
        traits = np.array(list(self._nulls))
        for row, values in enumerate(columns):
            self._results.statistics[row][np.ix_(traits, numbers[good])] = values.T
        self._results.n[np.ix_(traits, numbers[good])] = found.n.T

    def _by_sex(self, calls: npt.NDArray[Any]) -> tuple[Any, Any, Any]:
        """(variant, trait) frequencies on X, where a man has one allele: cases, controls, all."""
        there = (calls >= 0).astype(np.float64)
        alleles = 2.0 - self._male
        counted = np.where(there > 0, calls, 0) * alleles / 2
        known = np.stack([null.known for null in self._nulls.values()], axis=1).astype(np.float64)
        cases = np.stack([null.cases for null in self._nulls.values()], axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return tuple(
                (counted @ who) / ((there * alleles) @ who) for who in (cases, known - cases, known)
            )


def _write(
    source: GenotypeSource,
    matched: Matched,
    results: PartialResults,
    out: Path,
    text: bool,
    order: npt.NDArray[np.int64] | None,
    trait: int,
) -> int:
    name = matched.trait_names[trait]
    statistics = np.asarray(results.statistics[:, trait])
    there = np.isfinite(statistics[NEG_LOG_10_P])
    chosen = np.flatnonzero(there) if order is None else order[there[order]]
    statistics, n = statistics[:, chosen], np.asarray(results.n[trait, chosen])
    cases = statistics[_CASES].astype(np.int32)
    methods = pa.DictionaryArray.from_arrays(
        pa.array(statistics[_METHOD].astype(np.int32)), pa.array(METHODS)
    )
    table = trait_table(name, source.variants.table.take(chosen), statistics, n)
    for column, values in (
        ("method", methods),
        ("n_cases", pa.array(cases)),
        ("n_controls", pa.array(n - cases)),
        ("effect_allele_frequency_cases", pa.array(statistics[_IN_CASES])),
        ("effect_allele_frequency_controls", pa.array(statistics[_IN_CONTROLS])),
    ):
        table = table.append_column(column, values)
    with written_whole(out / f"{name}.parquet") as partial:
        pq.write_table(table, partial, row_group_size=ROWS_PER_GROUP, compression="snappy")
    if text:
        write_gwas_ssf(out / f"{name}.tsv.gz", table)
    return int(table.num_rows)
