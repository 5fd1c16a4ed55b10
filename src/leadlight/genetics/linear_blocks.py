"""Blocks of variants through the linear model, in threads: reading, algebra, calibration."""

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from leadlight.genetics import linear_kernels as kernels
from leadlight.genetics.designs import Design
from leadlight.genetics.genotypes import GenotypeSource, Reader
from leadlight.genetics.results import PartialResults
from leadlight.genetics.tail_probability import neg_log_10_p
from leadlight.genetics.variant_filters import VariantFilter
from leadlight.genetics.variant_tables import HAPLOID, X_LINKED, Y_LINKED

Floats = npt.NDArray[Any]
# In single precision, variants with a −log10 p above this are worked out again in double.
_AGAIN_ABOVE = 6.0


@dataclass(frozen=True)
class Task:
    """A block: variants of one kind and, where a background is taken away, of one chromosome.

    design: its number in the plan; numbers: (variant,) in the source.
    """

    design: int
    kind: int
    numbers: npt.NDArray[np.int64]
    chromosome: str | None = None


@dataclass(frozen=True)
class Plan:
    """designs: of the tasks; has_dosages, nobody: (variant,), the latter without any design."""

    designs: tuple[Design, ...]
    kinds: tuple[int, ...]
    tasks: tuple[Task, ...]
    precision: str
    has_dosages: npt.NDArray[np.bool_]
    nobody: npt.NDArray[np.bool_]


class LinearBlocks:
    """The work on one block; readers and buffers are kept, one set per thread."""

    def __init__(
        self,
        source: GenotypeSource,
        plan: Plan,
        variant_filter: VariantFilter,
        results: PartialResults,
        calibration: Floats | None = None,
    ) -> None:
        """calibration: (trait,) of all traits of the study, see `whole_genome.calibrated`."""
        self._source, self._plan, self._results = source, plan, results
        self._filter = variant_filter
        self._local = threading.local()
        self._lock = threading.Lock()
        self._readers: list[Reader] = []
        self._calibration = calibration
        self._compiled = {
            number: Compiled(plan.designs[number]) for number in {t.design for t in plan.tasks}
        }

    def __enter__(self) -> "LinearBlocks":
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

    def work(self, number: int) -> float | None:
        """Test the plan's block `number` and put its statistics into the results."""
        task = self._plan.tasks[number]
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
        if self._calibration is not None:
            ratio = self._calibration[rows][:, None]
            statistics[0] /= ratio
            statistics[1] /= np.sqrt(ratio)
            degrees = n[pattern].astype(np.float64) - design.q - 1
            statistics[2] = neg_log_10_p(statistics[0] / statistics[1], degrees)
        where = slice(int(numbers[0]), int(numbers[-1]) + 1)
        at: Any = where if where.stop - where.start == len(numbers) else numbers
        for place, trait in enumerate(rows):
            self._results.statistics[:3, trait, at] = statistics[:, place]
            self._results.statistics[3, trait, at] = frequency[pattern[place]]
            self._results.n[trait, at] = n[pattern[place]]
            self._results.failed[trait, at] = failed
        return error


class Compiled:
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
