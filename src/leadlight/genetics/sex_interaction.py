"""Whether a variant's effect differs between women and men: the linear model with g and g × sex.

Sex is a covariate, and so are those that were given. With s = 1 for women, (g·s)ᵀW = gᵀ(s·W): one
matrix product with twice the columns gives both regressors, and people without a call are taken out
by the same downdating as in `linear_kernels`.
"""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from numba import njit
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from leadlight.atomic import refuse_overwrite, written_whole
from leadlight.errors import LeadlightError
from leadlight.genetics import linear_kernels as kernels
from leadlight.genetics.designs import Design, make_designs, with_usable_traits
from leadlight.genetics.genotypes import GenotypeSource
from leadlight.genetics.tail_probability import two_sided_neg_log_10_p
from leadlight.genetics.traits import Matched
from leadlight.genetics.variant_filters import VariantFilter
from leadlight.genetics.variant_tables import (
    DIPLOID,
    FEMALE,
    UNKNOWN_SEX,
    X_LINKED,
    sorted_order,
)
from leadlight.progress import track

Array = npt.NDArray[Any]
STATISTICS = (
    "beta_men",
    "standard_error_men",
    "beta_women",
    "standard_error_women",
    "beta_interaction",
    "standard_error_interaction",
    "neg_log_10_p_interaction",
)
_CALLS_PER_BLOCK = 1 << 22


def associate_with_sex(
    source: GenotypeSource,
    matched: Matched,
    out: Path,
    *,
    variant_filter: VariantFilter | None = None,
    workers: int | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write `out/<trait>.sex.parquet`: effects in men and in women and their difference.

    The difference is women's effect less men's. People of unknown sex are left out. On X, men count
    0 or 2. Variants on Y and MT are not tested. Raises LeadlightError where there is one sex only,
    or results are there and `overwrite` is False.
    """
    known = matched.sex != UNKNOWN_SEX
    if len(set(matched.sex[known].tolist())) < 2:
        raise LeadlightError(
            "An interaction with sex needs women and men in the genotypes' table of people.",
            advice="Fill in SEX in the .psam or .fam.",
        )
    women = (matched.sex[known] == FEMALE).astype(np.float64)
    matched = with_usable_traits(
        replace(
            matched,
            rows=matched.rows[known],
            sex=matched.sex[known],
            traits=matched.traits[known],
            covariates=np.column_stack([women, matched.covariates[known]]),
            covariate_names=("sex", *matched.covariate_names),
        )
    )
    paths = [out / f"{name}.sex.parquet" for name in matched.trait_names]
    for path in paths:
        refuse_overwrite(path, overwrite)
    shape = (len(STATISTICS), len(paths), len(source.variants))
    statistics = np.full(shape, np.nan, dtype=np.float32)
    n = np.zeros(shape[1:], dtype=np.int32)
    tasks = list(_tasks(source, matched))
    variant_filter = variant_filter or VariantFilter()

    def work(task: tuple[Design, int, npt.NDArray[np.int64]]) -> None:
        design, kind, numbers = task
        answer, people, good = _block(source, design, kind, numbers, variant_filter)
        for place, trait in enumerate(design.traits):
            statistics[:, trait, numbers[good]] = answer[:, place][:, good]
            n[trait, numbers[good]] = people[good]

    with threadpool_limits(1), ThreadPoolExecutor(workers) as pool:
        for _ in track(pool.map(work, tasks), "interaction with sex", len(tasks)):
            pass
    order = sorted_order(source.variants)
    order = np.arange(shape[2]) if order is None else order
    for trait, path in enumerate(paths):
        chosen = order[np.isfinite(statistics[-1, trait, order])]
        table = source.variants.table.take(chosen)
        for number, name in enumerate(STATISTICS):
            table = table.append_column(name, pa.array(statistics[number, trait, chosen]))
        table = table.append_column("n", pa.array(n[trait, chosen]))
        with written_whole(path) as partial:
            pq.write_table(table, partial, row_group_size=1 << 15, compression="snappy")
    return paths


def _tasks(
    source: GenotypeSource, matched: Matched
) -> Iterator[tuple[Design, int, npt.NDArray[np.int64]]]:
    for kind in (DIPLOID, X_LINKED):
        chosen = (source.variants.kind == kind) & ~source.variants.multiallelic
        numbers = np.flatnonzero(chosen)
        for design in make_designs(matched, kind, shared=False) if len(numbers) else ():
            size = int(np.clip(_CALLS_PER_BLOCK // len(design), 16, 2048))
            for start in range(0, len(numbers), size):
                yield design, kind, numbers[start : start + size]


def _block(
    source: GenotypeSource,
    design: Design,
    kind: int,
    numbers: npt.NDArray[np.int64],
    variant_filter: VariantFilter,
) -> tuple[Array, Array, Array]:
    """(7, trait, variant) statistics, (variant,) people, (variant,) passes the filter."""
    by_sex = kind == X_LINKED
    dosages = source.has_dosages[numbers]
    with source.reader(design.rows) as reader:
        calls: Array
        read = reader.read_dosages if dosages.any() else reader.read_hard_calls
        calls = read(numbers)
    ready = np.empty(calls.shape)
    counts = np.empty((len(numbers), 6))
    flipped = np.empty(len(numbers), dtype=np.uint8)
    first = np.empty(len(numbers) + 1, dtype=np.int64)
    missing = kernels.prepare_calls(calls, design.male, by_sex, ready, counts, flipped, first)
    failed = variant_filter.failed(counts, len(design), by_sex=by_sex, dosages=dosages)
    woman = (design.male == 0).astype(np.float64)
    matrix = design.matrix[:, : design.q + len(design.traits)]
    out = np.empty((len(STATISTICS), len(design.traits), len(numbers)))
    _interaction(
        ready @ matrix,
        ready @ (woman[:, None] * matrix),
        np.einsum("vp,vp->v", ready, ready),
        np.einsum("vp,vp,p->v", ready, ready, woman),
        flipped,
        first,
        missing,
        np.ascontiguousarray(matrix),
        design.q,
        design.norm,
        out,
    )
    return out, counts[:, kernels.N_CALLED], failed < 0


@njit(nogil=True, cache=True)
def _interaction(
    product: Array,
    product_women: Array,
    squares: Array,
    squares_women: Array,
    flipped: Array,
    first: Array,
    missing: Array,
    design: Array,
    q: int,
    norm: Array,
    out: Array,
) -> None:
    """Solve the two-regressor model for each variant and trait; see `linear_kernels` for names."""
    n = len(design)
    for v in range(len(product)):
        gone = design[missing[first[v] : first[v + 1]]]
        basis = np.ascontiguousarray(gone[:, :q])
        factor = np.linalg.cholesky(np.eye(q) - basis.T @ basis)
        both = np.empty((q, 2))
        both[:, 0] = product[v, :q]
        both[:, 1] = product_women[v, :q]
        solved = np.linalg.solve(factor, both)
        s11 = squares[v] - (solved[:, 0] ** 2).sum()
        s12 = squares_women[v] - (solved[:, 0] * solved[:, 1]).sum()
        s22 = squares_women[v] - (solved[:, 1] ** 2).sum()
        determinant = s11 * s22 - s12 * s12
        degrees = n - len(gone) - q - 2.0
        sign = -1.0 if flipped[v] else 1.0
        usable = (
            degrees > 0
            and s11 > kernels.COLLINEAR * squares[v]
            and determinant > kernels.COLLINEAR * s11 * squares_women[v]
        )
        for t in range(len(norm)):
            if not usable:
                out[:, t, v] = math.nan
                continue
            taken = np.linalg.solve(factor, basis.T @ np.ascontiguousarray(gone[:, q + t]))
            x1 = product[v, q + t] + (solved[:, 0] * taken).sum()
            x2 = product_women[v, q + t] + (solved[:, 1] * taken).sum()
            length = 1.0 - (gone[:, q + t] ** 2).sum() - (taken**2).sum()
            men = (s22 * x1 - s12 * x2) / determinant
            difference = (s11 * x2 - s12 * x1) / determinant
            spread = (length - men * x1 - difference * x2) / degrees / determinant
            scale = norm[t]
            out[0, t, v] = sign * scale * men
            out[1, t, v] = scale * math.sqrt(spread * s22)
            out[2, t, v] = sign * scale * (men + difference)
            out[3, t, v] = scale * math.sqrt(spread * (s11 + s22 - 2 * s12))
            out[4, t, v] = sign * scale * difference
            out[5, t, v] = scale * math.sqrt(spread * s11)
            out[6, t, v] = two_sided_neg_log_10_p(difference**2 / (spread * s11), degrees)
