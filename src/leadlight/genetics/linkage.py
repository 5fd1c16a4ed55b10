"""Linkage between variants: r and r² of allele counts or dosages, and of haplotypes.

Two measures, as in PLINK: the correlation of the counts (`--r2-unphased` of PLINK 2, `--r2` of
PLINK 1.9), and r² of the haplotype frequencies that are likeliest given the counts (`--ld` and, on
unphased data, `--clump` of both). People whose call of one of the two variants is missing are left
out of that pair. On X men count as one chromosome each: 0 or 2 with half the weight.

Counts are whole numbers, whose sums of products are exact even in single precision up to four
million people; r then differs from the exact value by rounding of the last division alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from leadlight.errors import LeadlightError
from leadlight.genetics.genotypes import MISSING, Calls, GenotypeSource, Reader
from leadlight.genetics.linkage_kernels import (
    correlation,
    count_pairs,
    haplotype_correlation,
    precision,
    product,
    r2_of_tables,
    values_of,
)
from leadlight.genetics.variant_tables import MALE, UNKNOWN_SEX, X_LINKED, Y_LINKED

Floats = npt.NDArray[np.float64]
MEASURES = ("counts", "haplotypes")
_NO_PARENT = ("0", "NA", ".", "")
_CALLS_AT_ONCE = 1 << 24
_HELD_BYTES = 1 << 30
_ROWS_KEPT = 512


class Linkage:
    """Linkage among chosen people of a genotype source; reads variants as they are asked for.

    Not to be shared between threads. Use as a context manager.
    """

    def __init__(
        self,
        source: GenotypeSource,
        people: npt.NDArray[np.uint32] | None = None,
        *,
        measure: str = "counts",
    ) -> None:
        """people: ascending row numbers, None for all founders (`founders`)."""
        if measure not in MEASURES:
            raise LeadlightError(f"{measure!r} is no measure of linkage.", advice=f"{MEASURES}")
        self.people = founders(source) if people is None else np.asarray(people, dtype=np.uint32)
        if len(self.people) < 2:
            raise LeadlightError(
                f"Linkage among {len(self.people)} people can't be worked out.",
                advice="Give genotypes of more people (those with parents are left out).",
            )
        self.measure, self._source = measure, source
        self._reader: Reader = source.reader(self.people)
        self._held: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._rows: dict[int, Floats] = {}
        self._calls: Calls | None = None
        sex = source.people.sex[self.people]
        self._men = sex == MALE
        self._weights = {
            X_LINKED: np.where(sex == MALE, 0.5, np.where(sex == UNKNOWN_SEX, 0.0, 1.0)),
            Y_LINKED: np.where(sex == MALE, 1.0, 0.0),
        }

    def __enter__(self) -> "Linkage":
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.__exit__()

    def read(self, numbers: npt.NDArray[np.int64]) -> Calls:
        """(variant, person) calls of these people; see `GenotypeSource.blocks`.

        Men's heterozygous calls on X are missing, as in PLINK.
        """
        hard = self.measure == "haplotypes"
        calls = self._reader.read_hard_calls(numbers) if hard else self._reader.read(numbers)
        on_x = self._source.variants.kind[numbers] == X_LINKED
        if on_x.any() and calls.dtype == np.int8:
            calls[on_x[:, None] & self._men & (calls == 1)] = MISSING
        return calls

    def hold(self, numbers: npt.NDArray[np.int64]) -> None:
        """Read variants once for many calls of `r2_with`, if a gibibyte has room for them.

        What was held before is forgotten.
        """
        self._held = np.asarray(numbers)
        self._rows, self._calls = {}, None
        if len(numbers) * len(self.people) <= _HELD_BYTES and len(numbers):
            self._calls = self.read(self._held)

    def places(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """(variant,) where these variants stand among those held; held now if not all
        were."""
        order = np.argsort(self._held, kind="stable")
        at = np.searchsorted(self._held, numbers, sorter=order)
        found = order[np.minimum(at, len(order) - 1)] if len(order) else at
        if not len(order) or not np.array_equal(self._held[found], numbers):
            self.hold(numbers)
            found = np.arange(len(numbers))
        return np.asarray(found)

    def r2_with(self, number: int, others: npt.NDArray[np.int64]) -> Floats:
        """(other,) r² of one variant with places `others` of the variants held.

        NaN as in `r`, and for variants of another kind.
        """
        if number not in self._rows:
            if len(self._rows) >= _ROWS_KEPT:
                self._rows.clear()
            self._rows[number] = np.full(len(self._held), -1.0)
        known = self._rows[number]
        new = others[known[others] < 0]
        kinds = self._source.variants.kind
        new = new[kinds[self._held[new]] == kinds[number]]
        if len(new):
            weights = self._weights_of(np.array([number]), self._held[new])
            one = self.read(np.array([number]))
            for span in _spans(len(new), self.variants_at_once()):
                at = new[span]
                whole = self._calls
                near = self.read(self._held[at]) if whole is None else whole[at]
                if weights is None and one.dtype == np.int8 and near.dtype == np.int8:
                    tables = np.zeros((len(near), 9), dtype=np.int64)
                    count_pairs(one[0], near, tables)
                    known[at] = r2_of_tables(tables, self.measure)
                else:
                    known[at] = self._correlation(one, near, weights)[0] ** 2
        found: Floats = known[others]
        return np.where(found < 0, np.nan, found)

    def r(self, first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> Floats:
        """(first, second) correlation of the effect alleles' counts, NaN for constant variants.

        With the measure `haplotypes`, the signed root of r² of the haplotype frequencies. The
        variants must be of one kind (autosomal, X, Y or MT).
        """
        weights = self._weights_of(first, second)
        same = first is second or np.array_equal(first, second)
        one = self.read(first)
        return self._correlation(one, one if same else self.read(second), weights)

    def _correlation(self, one: Calls, other: Calls, weights: Floats | None) -> Floats:
        if self.measure == "haplotypes":
            return haplotype_correlation(one, other, weights)
        return correlation(one, other, weights)

    def matrix(self, numbers: npt.NDArray[np.int64], *, size: int = 1024) -> Floats:
        """(variant, variant) correlations, 1 on the diagonal, 0 with constant variants."""
        out = np.empty((len(numbers), len(numbers)))
        for rows in _spans(len(numbers), size):
            for columns in _spans(len(numbers), size):
                if columns.start < rows.start:
                    continue
                part = self.r(numbers[rows], numbers[columns])
                out[rows, columns] = part
                out[columns, rows] = part.T
        np.nan_to_num(out, copy=False, nan=0.0)
        np.fill_diagonal(out, 1.0)
        return out

    def variants_at_once(self) -> int:
        """How many variants of all people make a block of moderate size."""
        return int(np.clip(_CALLS_AT_ONCE // len(self.people), 16, 2048))

    def _weights_of(
        self, first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]
    ) -> Floats | None:
        kinds = np.unique(self._source.variants.kind[np.concatenate([first, second])])
        if len(kinds) > 1:
            raise LeadlightError("Linkage between an autosome and X, Y or MT is not defined.")
        return self._weights.get(int(kinds[0])) if len(kinds) else None


@dataclass(frozen=True)
class ResidualProducts:
    """Variants and traits as the linear model sees them, after the covariates.

    r: (variant, variant) correlations; squares: (variant,) sums of squares; products: (variant,
    trait) with the traits at unit length; complete: whether no call was missing.
    """

    r: Floats
    squares: Floats
    products: Floats
    complete: bool


def residual_products(
    source: GenotypeSource,
    people: npt.NDArray[np.uint32],
    numbers: npt.NDArray[np.int64],
    basis: Floats,
    traits: Floats,
) -> ResidualProducts:
    """Correlations of counts after covariates, and products with traits.

    people: ascending rows; basis: (person, column) orthonormal, of the constant and the covariates;
    traits: (person, trait) residuals on it. Missing calls count as the variant's mean. Variants
    that the covariates explain have r 0, and 1 with themselves.
    """
    with source.reader(people) as reader:
        calls = reader.read(numbers)
    values, there = values_of(calls, precision(calls, calls, None))
    del calls
    if there is not None:
        values = values.astype(np.float64)
        mean = values.sum(axis=1) / np.maximum(there.sum(axis=1, dtype=np.float64), 1)
        values += (1 - there) * mean[:, None]
    right = np.column_stack([basis, traits])
    both = np.concatenate(
        [values[rows].astype(np.float64) @ right for rows in _spans(len(values), 256)]
        or [np.zeros((0, right.shape[1]))]
    )
    projected, products = both[:, : basis.shape[1]], both[:, basis.shape[1] :]
    gram = product(values, values)
    whole = np.diag(gram).copy()
    gram -= projected @ projected.T
    left = np.diag(gram).copy()
    known = left > 1e-6 * np.maximum(whole, 1e-300)
    size = np.sqrt(np.where(known, left, np.inf))
    gram /= size
    gram /= size[:, None]
    np.clip(gram, -1, 1, out=gram)
    np.fill_diagonal(gram, 1.0)
    return ResidualProducts(gram, np.where(known, left, np.nan), products, there is None)


def founders(source: GenotypeSource) -> npt.NDArray[np.uint32]:
    """Ascending rows of the people without a named parent, whom PLINK takes for linkage."""
    path = source.files[0].path
    table = path.with_suffix(".psam" if path.suffix == ".pgen" else ".fam")
    lines = [line.split() for line in table.read_text(encoding="utf-8").splitlines()]
    lines = [line for line in lines if line and not line[0].startswith("##")]
    columns = ["FID", "IID", "PAT", "MAT", "SEX", "PHENO1"]
    if lines and lines[0][0].startswith("#"):
        columns, lines = [lines[0][0].removeprefix("#"), *lines[0][1:]], lines[1:]
    parents = [columns.index(name) for name in ("PAT", "MAT") if name in columns]
    alone = [all(at >= len(row) or row[at] in _NO_PARENT for at in parents) for row in lines]
    return np.flatnonzero(alone).astype(np.uint32)


def _spans(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
