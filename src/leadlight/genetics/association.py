"""Association of all traits with all variants by the linear model, block by block.

A block is read, multiplied with all traits and covariates at once, and turned into effects,
standard errors and −log10 p by exact algebra (`linear_kernels`). Blocks depend on the data alone,
so the results don't depend on the number of threads, or on where a run was killed and taken up.
"""

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from leadlight import __version__
from leadlight.atomic import refuse_overwrite, write_json
from leadlight.errors import LeadlightError
from leadlight.genetics import linear_kernels as kernels
from leadlight.genetics.designs import Design, make_designs, with_usable_traits
from leadlight.genetics.genotypes import GenotypeSource, Reader
from leadlight.genetics.results import PartialResults, write_gwas_ssf, write_trait
from leadlight.genetics.traits import Matched
from leadlight.genetics.variant_filters import REASONS, VariantFilter
from leadlight.genetics.variant_tables import DIPLOID, HAPLOID, X_LINKED, Y_LINKED, sorted_order
from leadlight.progress import bar
from leadlight.provenance import write_provenance

Floats = npt.NDArray[Any]
PARTIAL = ".gwas-partial"
# Calls of one block: small enough to stay near the processor, large enough for the product.
_CALLS_PER_BLOCK = 1 << 22
_MOST_VARIANTS = 2048
# Up to this many multiplications in all, double precision costs less than a second or two.
_DOUBLE_UP_TO = 2e10
# In single precision, variants with a −log10 p above this are worked out again in double.
_AGAIN_ABOVE = 6.0
_CHECKPOINT_S = 10.0


@dataclass(frozen=True)
class GwasSummary:
    """What an association run did."""

    out: Path
    traits: dict[str, int]
    people: dict[str, int]
    variants: dict[str, int]
    dropped: dict[str, str]
    precision: str
    largest_single_precision_error: float | None
    resumed_blocks: int
    files: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """JSON-ready, for `--json` and for `summary.json`."""
        return asdict(self) | {"out": self.out.name}


def associate(
    source: GenotypeSource,
    matched: Matched,
    out: Path,
    *,
    variant_filter: VariantFilter | None = None,
    precision: str = "auto",
    text: bool = False,
    workers: int | None = None,
    overwrite: bool = False,
    parameters: dict[str, Any] | None = None,
    inputs: Sequence[Path] = (),
) -> GwasSummary:
    """Test every variant against every trait and write `out/<trait>.parquet`.

    precision: `double`; `single` (matrix products in float32; whatever reaches −log10 p > 6 is
    worked out again in double, and the largest difference seen is reported); or `auto`: double
    where it costs a second or two. text: also GWAS-SSF, `<trait>.tsv.gz`. A killed run goes on
    where it was when it is given again with the same inputs. Raises LeadlightError where results
    are there and `overwrite` is False, or where nothing can be analysed.
    """
    matched = with_usable_traits(matched)
    for name in matched.trait_names:
        if Path(name).name != name or name.startswith("."):
            raise LeadlightError(f"The trait {name!r} can't be a file's name.", advice="Rename it.")
        refuse_overwrite(out / f"{name}.parquet", overwrite)
    variant_filter = variant_filter or VariantFilter()
    plan = _plan(source, matched, precision)
    manifest = _manifest(source, matched, variant_filter, plan, parameters or {}, inputs)
    results = PartialResults(
        out / PARTIAL, manifest, len(matched.trait_names), len(source.variants), len(plan.tasks)
    )
    results.failed[:, source.variants.multiallelic] = REASONS.index("multiallelic")
    results.failed[:, plan.nobody] = REASONS.index("sex unknown or of one kind")
    resumed = int(results.done.sum())
    threads = workers or len(os.sched_getaffinity(0))
    with threadpool_limits(1):
        worst = _run(source, plan, variant_filter, results, threads)
        written = _write(source, matched, results, out, text, threads)
    # A variant is left out where every trait's people fail it; its reason is the first trait's.
    everywhere = (results.failed >= 0).all(axis=0)
    failures = Counter(results.failed[0, everywhere].tolist())
    summary = GwasSummary(
        out,
        written,
        matched.counts,
        {"in the genotypes": len(source.variants)}
        | {f"left out: {REASONS[k]}": count for k, count in sorted(failures.items())}
        | {"tested": int((~everywhere).sum())},
        matched.dropped,
        plan.precision,
        worst,
        resumed,
        [f"{name}.parquet" for name in matched.trait_names],
    )
    write_provenance(
        out,
        "gwas",
        (parameters or {})
        | {
            "variant_filter": asdict(variant_filter),
            "precision": plan.precision,
            "traits": list(matched.trait_names),
            "covariates": list(matched.covariate_names),
            "genotype_files": [_fingerprint(file.path) for file in source.files],
        },
        inputs,
    )
    # How often a run was interrupted is no part of its result.
    write_json(out / "summary.json", {**summary.as_json(), "resumed_blocks": 0})
    results.remove()
    return summary


@dataclass(frozen=True)
class _Task:
    design: int
    kind: int
    numbers: npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Plan:
    designs: tuple[Design, ...]
    tasks: tuple[_Task, ...]
    precision: str
    has_dosages: npt.NDArray[np.bool_]
    nobody: npt.NDArray[np.bool_]


def _plan(source: GenotypeSource, matched: Matched, precision: str) -> _Plan:
    """Which variants are tested in which design, in blocks."""
    if precision not in ("auto", "single", "double"):
        raise LeadlightError(f"{precision!r} is no precision.", advice="auto, single or double.")
    designs: list[Design] = []
    tasks: list[_Task] = []
    usable = ~source.variants.multiallelic
    nobody = np.zeros(len(usable), dtype=np.bool_)
    work = 0.0
    for kind in (DIPLOID, X_LINKED, Y_LINKED, HAPLOID):
        numbers = np.flatnonzero((source.variants.kind == kind) & usable)
        if not len(numbers):
            continue
        own = make_designs(matched, kind)
        nobody[numbers] = not own
        for design in own:
            size = int(np.clip(_CALLS_PER_BLOCK // len(design), 16, _MOST_VARIANTS))
            tasks += [
                _Task(len(designs), kind, numbers[start : start + size])
                for start in range(0, len(numbers), size)
            ]
            designs.append(design)
            work += len(numbers) * design.matrix.size
    if not tasks:
        raise LeadlightError("No variant can be tested.", advice="Look at the variant table.")
    if precision == "auto":
        precision = "double" if work <= _DOUBLE_UP_TO else "single"
    return _Plan(tuple(designs), tuple(tasks), precision, source.has_dosages, nobody)


def _run(
    source: GenotypeSource,
    plan: _Plan,
    variant_filter: VariantFilter,
    results: PartialResults,
    threads: int,
) -> float | None:
    """Work off the blocks that are not done; returns the largest single-precision error seen."""
    block = _Block(source, plan, variant_filter, results)
    todo = [i for i in range(len(plan.tasks)) if not results.done[i]]
    waiting = iter(todo)
    worst: float | None = None
    last = time.monotonic()
    with (
        ThreadPoolExecutor(threads) as pool,
        bar("association", len(plan.tasks)) as progress,
        block,
    ):
        progress.step(len(plan.tasks) - len(todo))
        running: dict[Future[float | None], int] = {}
        while True:
            # Few are handed out at a time, so that a fault or a kill leaves little to wait for.
            while len(running) < 2 * threads and (number := next(waiting, None)) is not None:
                running[pool.submit(block.work, plan.tasks[number])] = number
            if not running:
                return worst
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for one in finished:
                number = running.pop(one)
                error = one.result()
                results.done[number] = True
                progress.step()
                if error is not None:
                    worst = max(worst or 0.0, error)
            if time.monotonic() - last > _CHECKPOINT_S:
                results.checkpoint()
                last = time.monotonic()


class _Block:
    """The work on one block; readers and buffers are kept, one set per thread."""

    def __init__(
        self,
        source: GenotypeSource,
        plan: _Plan,
        variant_filter: VariantFilter,
        results: PartialResults,
    ) -> None:
        self._source, self._plan, self._results = source, plan, results
        self._filter = variant_filter
        self._local = threading.local()
        self._lock = threading.Lock()
        self._readers: list[Reader] = []
        self._compiled = [_Compiled(design) for design in plan.designs]

    def __enter__(self) -> "_Block":
        return self

    def __exit__(self, *_: object) -> None:
        for reader in self._readers:
            reader.__exit__()

    def _reader(self, design: int) -> Reader:
        readers = self._local.__dict__.setdefault("readers", {})
        if design not in readers:
            readers[design] = self._source.reader(self._plan.designs[design].rows)
            with self._lock:
                self._readers.append(readers[design])
        reader: Reader = readers[design]
        return reader

    def _buffer(self, name: str, shape: tuple[int, ...], dtype: type) -> Floats:
        """An array of this thread's, reused from block to block."""
        size = int(np.prod(shape))
        kept = self._local.__dict__.setdefault("buffers", {})
        if (name, dtype) not in kept or kept[name, dtype].size < size:
            kept[name, dtype] = np.empty(size, dtype=dtype)
        buffer: Floats = kept[name, dtype][:size].reshape(shape)
        return buffer

    def work(self, task: _Task) -> float | None:
        """Test one block and put its statistics into the results."""
        design, compiled = self._plan.designs[task.design], self._compiled[task.design]
        numbers, by_sex = task.numbers, task.kind == X_LINKED
        single = self._plan.precision == "single"
        shape = (len(numbers), len(design))
        reader = self._reader(task.design)
        dosages = self._plan.has_dosages[numbers]
        calls: Floats
        if dosages.any():
            calls = reader.read_dosages(numbers, self._buffer("dosages", shape, np.float32))
        else:
            calls = reader.read_hard_calls(numbers, self._buffer("calls", shape, np.int8))
        ready = self._buffer("ready", shape, np.float32 if single else np.float64)
        counts = np.empty((len(numbers), 6))
        flipped = np.empty(len(numbers), dtype=np.uint8)
        first = np.empty(len(numbers) + 1, dtype=np.int64)
        missing = kernels.prepare_calls(calls, design.male, by_sex, ready, counts, flipped, first)
        failed = self._filter.failed(counts, len(design), by_sex=by_sex, dosages=dosages)
        scale = 2.0 if task.kind in (Y_LINKED, HAPLOID) else 1.0
        statistics, frequency, n = compiled.statistics(
            ready, counts, flipped, first, missing, by_sex, scale
        )
        error = None
        if single:
            error = compiled.again_in_double(
                ready, counts, flipped, first, missing, by_sex, scale, statistics
            )
        statistics[:, :, failed >= 0] = np.nan
        rows = np.array(design.traits)
        pattern = np.repeat(np.arange(design.n_patterns), np.diff(design.trait_first))
        where = slice(int(numbers[0]), int(numbers[-1]) + 1)
        at: Any = where if where.stop - where.start == len(numbers) else numbers
        for place, trait in enumerate(rows):
            self._results.statistics[:3, trait, at] = statistics[:, place]
            self._results.statistics[3, trait, at] = frequency[pattern[place]]
            self._results.n[trait, at] = n[pattern[place]]
            self._results.failed[trait, at] = failed
        return error


class _Compiled:
    """A design as the kernels take it, in single and double precision."""

    def __init__(self, design: Design) -> None:
        self.design = design
        patterns, q = design.n_patterns, design.q
        basis = design.matrix[:, :q]
        self.gram = np.zeros((patterns, q, q))
        self.factor = np.zeros((patterns, q, q))
        self.absent = np.zeros((len(design), patterns), dtype=np.uint8)
        self.size = np.full(patterns, len(design), dtype=np.int64)
        for k in range(patterns):
            people = design.pattern_people[design.pattern_first[k] : design.pattern_first[k + 1]]
            self.gram[k] = basis[people].T @ basis[people]
            self.factor[k] = np.linalg.cholesky(np.eye(q) - self.gram[k])
            self.absent[people, k] = 1
            self.size[k] -= len(people)
        self.double = design.matrix
        self.single = design.matrix.astype(np.float32)

    def statistics(
        self,
        ready: Floats,
        counts: Floats,
        flipped: Floats,
        first: Floats,
        missing: Floats,
        by_sex: bool,
        scale: float,
    ) -> tuple[Floats, Floats, Floats]:
        """(3, trait, variant), (pattern, variant), (pattern, variant), in the calls' precision."""
        design = self.design
        matrix = self.single if ready.dtype == np.float32 else self.double
        statistics = np.empty((3, len(design.traits), len(ready)))
        frequency = np.empty((design.n_patterns, len(ready)))
        n = np.empty((design.n_patterns, len(ready)), dtype=np.int32)
        kernels.linear_statistics(
            ready @ matrix,
            counts,
            flipped,
            first,
            missing,
            matrix,
            design.q,
            design.male,
            by_sex,
            *self._absent_products(ready, matrix, by_sex),
            self.size,
            self.gram,
            self.factor,
            self.absent,
            design.trait_first,
            design.norm,
            scale,
            statistics,
            frequency,
            n,
        )
        return statistics, frequency, n

    def _absent_products(
        self, ready: Floats, matrix: Floats, by_sex: bool
    ) -> tuple[Floats, Floats, Floats]:
        """Of the people without the traits of each pattern: gᵀQ, g·g, and the men's sum of g."""
        design, q = self.design, self.design.q
        product = np.zeros((design.n_patterns, len(ready), q))
        squares = np.zeros((design.n_patterns, len(ready)))
        males = np.zeros((design.n_patterns, len(ready)))
        for k in range(design.n_patterns):
            people = design.pattern_people[design.pattern_first[k] : design.pattern_first[k + 1]]
            if not len(people):
                continue
            theirs = np.empty((len(ready), len(people)), dtype=ready.dtype)
            kernels.gather_people(ready, people, theirs, product[k, :, 0], squares[k])
            product[k, :, 1:] = (theirs @ matrix[people, :q])[:, 1:]
            # The constant's column is the sum of g, which is to be exact.
            product[k, :, 0] *= design.matrix[0, 0]
            if by_sex:
                males[k] = theirs @ design.male[people].astype(ready.dtype)
        return product, squares, males

    def again_in_double(
        self,
        ready: Floats,
        counts: Floats,
        flipped: Floats,
        first: Floats,
        missing: Floats,
        by_sex: bool,
        scale: float,
        statistics: Floats,
    ) -> float | None:
        """Replace the statistics of notable variants by double precision; largest difference."""
        with np.errstate(invalid="ignore"):
            notable = np.flatnonzero((statistics[2] > _AGAIN_ABOVE).any(axis=0))
        if not len(notable):
            return None
        spans = [missing[first[v] : first[v + 1]] for v in notable]
        starts = np.concatenate([[0], np.cumsum([len(span) for span in spans])])
        exact, _, _ = self.statistics(
            ready[notable].astype(np.float64),
            counts[notable],
            flipped[notable],
            starts.astype(np.int64),
            np.concatenate(spans).astype(np.int32),
            by_sex,
            scale,
        )
        difference = np.abs(statistics[2][:, notable] - exact[2])
        statistics[:, :, notable] = exact
        return float(np.nanmax(difference))


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


def _manifest(
    source: GenotypeSource,
    matched: Matched,
    variant_filter: VariantFilter,
    plan: _Plan,
    parameters: dict[str, Any],
    inputs: Sequence[Path],
) -> dict[str, Any]:
    """Whatever decides the results: a partial run goes on only where all of it is the same."""
    digest = sha256()
    for array in (matched.rows, matched.traits, matched.covariates, matched.sex):
        digest.update(np.ascontiguousarray(array).tobytes())
    return {
        "version": __version__,
        "parameters": json.loads(json.dumps(parameters, default=str)),
        "variant_filter": asdict(variant_filter),
        "precision": plan.precision,
        "traits": list(matched.trait_names),
        "people": digest.hexdigest(),
        "genotypes": [_fingerprint(file.path) for file in source.files],
        "blocks": len(plan.tasks),
        "inputs": [path.name for path in inputs],
    }


def _fingerprint(path: Path) -> dict[str, Any]:
    """Size and hash of the first and last MiB: genotype files are too long to be hashed whole."""
    size = path.stat().st_size
    digest = sha256()
    with path.open("rb") as stream:
        digest.update(stream.read(1 << 20))
        stream.seek(max(0, size - (1 << 20)))
        digest.update(stream.read())
    return {"file": path.name, "bytes": size, "sha256_of_both_ends": digest.hexdigest()}
