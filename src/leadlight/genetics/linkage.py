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
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from leadlight.errors import LeadlightError
from leadlight.genetics.genotypes import MISSING, Calls, GenotypeSource, Reader
from leadlight.genetics.variant_tables import MALE, UNKNOWN_SEX, X_LINKED, Y_LINKED

Floats = npt.NDArray[np.float64]
MEASURES = ("counts", "haplotypes")
_EXACT_IN_SINGLE = 1 << 22  # people
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
                    _count_pairs(one[0], near, tables)
                    known[at] = _r2_of_tables(tables, self.measure)
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
    values, there = _values(calls, _precision(calls, calls, None))
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
    gram = _product(values, values)
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


def correlation(first: Calls, second: Calls, weights: Floats | None = None) -> Floats:
    """(first, second) Pearson correlations over the people with both calls.

    first, second: (variant, person) counts (int8, negative = missing) or dosages (NaN = missing);
    weights: (person,), None for 1. NaN where a variant is constant among the people of the pair.
    """
    kind = _precision(first, second, weights)
    a, a_there = _values(first, kind)
    b, b_there = (a, a_there) if second is first else _values(second, kind)
    w = None if weights is None else weights.astype(kind)
    aw = a if w is None else a * w
    cross = _product(aw, b)
    if a_there is None and b_there is None:
        ones = np.ones((1, first.shape[1]), dtype=kind)
        count: Any = float(first.shape[1]) if weights is None else float(weights.sum())
        sum_a, sum_b = _product(aw, ones), _product(ones if w is None else ones * w, b)
        square_a, square_b = _product(aw * a, ones), _product(ones if w is None else ones * w, b**2)
    else:
        a_in = np.ones_like(a) if a_there is None else a_there
        b_in = np.ones_like(b) if b_there is None else b_there
        a_in = a_in if w is None else a_in * w
        count = _product(a_in, b_in)
        sum_a, sum_b = _product(aw, b_in), _product(a_in, b)
        square_a, square_b = _product(aw * a, b_in), _product(a_in, b**2)
    covariance = count * cross - sum_a * sum_b
    spread_a, spread_b = count * square_a - sum_a**2, count * square_b - sum_b**2
    # Dosages' rounding may leave a constant variant a spread of its last digits.
    known = (spread_a > 1e-9 * count * square_a) & (spread_b > 1e-9 * count * square_b)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = covariance / np.sqrt(spread_a * spread_b)
    return np.asarray(np.where(known, np.clip(r, -1, 1), np.nan))


def haplotype_correlation(first: Calls, second: Calls, weights: Floats | None = None) -> Floats:
    """(first, second) signed r of the likeliest haplotype frequencies; see `correlation`.

    first, second: (variant, person) int8 counts, negative = missing; weights: ½ for a person with
    one chromosome. The likelihood's maximum is a root of a cubic (Gaunt et al., BMC Bioinformatics
    8:428, 2007); of several in range the likeliest is taken.
    """
    kind = _precision(first, second, weights)
    w = None if weights is None else weights.astype(kind)

    def parts(calls: Calls) -> tuple[Any, Any, Any]:
        return (calls == 1).astype(kind), (calls == 2).astype(kind), (calls >= 0).astype(kind)

    a1, a2, a_in = parts(first)
    b1, b2, b_in = parts(second)
    if w is not None:
        a1, a2, a_in = a1 * w, a2 * w, a_in * w
    return _haplotype_r(
        2 * _product(a2, b2) + _product(a2, b1) + _product(a1, b2),
        _product(a1, b1),
        2 * _product(a_in, b_in),
        2 * _product(a2, b_in) + _product(a1, b_in),
        2 * _product(a_in, b2) + _product(a_in, b1),
    )


@njit(nogil=True, cache=True)
def _count_pairs(one: Any, others: Any, tables: Any) -> None:
    """tables: (variant, 9) people by calls, 3 × that of `one` (person,) + that of others."""
    for v in range(len(others)):
        row, table = others[v], tables[v]
        for i in range(len(one)):
            if one[i] >= 0 and row[i] >= 0:
                table[3 * one[i] + row[i]] += 1


def _r2_of_tables(tables: npt.NDArray[np.int64], measure: str) -> Floats:
    """(variant,) r² from tables of calls; see `_count_pairs`."""
    cells = tables.reshape(-1, 3, 3).astype(np.float64)
    n, calls = cells.sum(axis=(1, 2)), np.arange(3.0)
    rows, columns = cells.sum(axis=2), cells.sum(axis=1)
    first, second = rows @ calls, columns @ calls
    if measure == "haplotypes":
        both = 2 * cells[:, 2, 2] + cells[:, 2, 1] + cells[:, 1, 2]
        return _haplotype_r(both, cells[:, 1, 1], 2 * n, first, second) ** 2
    cross = np.einsum("vij,i,j->v", cells, calls, calls)
    spread = (n * (rows @ calls**2) - first**2) * (n * (columns @ calls**2) - second**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        r2 = (n * cross - first * second) ** 2 / spread
    return np.asarray(np.where(spread > 0, r2, np.nan))


def _haplotype_r(
    both: Floats, double: Floats, chromosomes: Floats, first: Floats, second: Floats
) -> Floats:
    """both: haplotypes of both effect alleles among people who are not doubly heterozygous;
    double: people who are; first, second: copies of the two alleles. All of one shape.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        p, q = first / chromosomes, second / chromosomes
        known, unknown = both / chromosomes, double / chromosomes
        x = _likeliest_haplotype(known, unknown, p, q)
        d = x - p * q
        r = d / np.sqrt(p * (1 - p) * q * (1 - q))
    usable = (p > 0) & (p < 1) & (q > 0) & (q < 1)
    return np.asarray(np.where(usable, np.clip(np.where(np.abs(d) < 1e-12, 0, r), -1, 1), np.nan))


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


def _likeliest_haplotype(known: Floats, unknown: Floats, p: Floats, q: Floats) -> Floats:
    """Frequency of the haplotype of both effect alleles.

    known: its share from people who are not doubly heterozygous; unknown: the doubly heterozygous,
    per chromosome; p, q: frequencies of the two alleles. All of one shape.
    """
    s, pq = p + q, p * q
    # 2x³ + bx² + cx + d = 0, from x = known + unknown · P(AB/ab | doubly heterozygous, x).
    b = (1 - 2 * s) - 2 * known - unknown
    c = pq - known * (1 - 2 * s) - unknown * (1 - s)
    d = -known * pq
    low, high = known, known + unknown
    best = np.where(unknown > 0, np.nan, known)
    best_log = np.full(np.shape(p), -np.inf)
    k12, k21 = p - known - unknown, q - known - unknown
    k22 = 1 - s + known
    for root in (*_cubic_roots(b / 2, c / 2, d / 2), low, high):
        x = np.clip(root, low, high)
        f12, f21, f22 = p - x, q - x, 1 - s + x
        log = unknown * _log(x * f22 + f12 * f21)
        for share, frequency in ((known, x), (k12, f12), (k21, f21), (k22, f22)):
            log = log + np.where(share > 1e-12, share * _log(frequency), 0.0)
        better = np.isfinite(root) & (log > best_log + 1e-15)
        best = np.where(better & (unknown > 0), x, best)
        best_log = np.where(better, log, best_log)
    return np.asarray(best)


def _cubic_roots(b: Floats, c: Floats, d: Floats) -> tuple[Floats, Floats, Floats]:
    """Real roots of x³ + bx² + cx + d; NaN where there is only one."""
    shift = b / 3
    p = c - b * b / 3
    q = 2 * b**3 / 27 - b * c / 3 + d
    discriminant = (q / 2) ** 2 + (p / 3) ** 3
    single = discriminant > 0
    root = np.sqrt(np.maximum(discriminant, 0))
    alone = np.cbrt(-q / 2 + root) + np.cbrt(-q / 2 - root) - shift
    radius = 2 * np.sqrt(np.maximum(-p / 3, 0))
    ratio = np.where(radius > 0, 3 * q / np.where(p * radius == 0, 1.0, p * radius), 0.0)
    angle = np.arccos(np.clip(ratio, -1, 1)) / 3
    three = [radius * np.cos(angle - 2 * np.pi * k / 3) - shift for k in range(3)]
    return (
        np.where(single, alone, three[0]),
        np.where(single, np.nan, three[1]),
        np.where(single, np.nan, three[2]),
    )


def _log(values: Floats) -> Floats:
    return np.asarray(np.log(np.maximum(values, 1e-300)))


def _precision(first: Calls, second: Calls, weights: Floats | None) -> type[Any]:
    whole = np.issubdtype(first.dtype, np.integer) and np.issubdtype(second.dtype, np.integer)
    halves = weights is None or bool(np.all(np.mod(2 * weights, 1) == 0))
    exact = whole and halves and first.shape[1] < _EXACT_IN_SINGLE
    return np.float32 if exact else np.float64


def _values(calls: Calls, kind: type[Any]) -> tuple[Any, Any]:
    """Values with 0 for missing calls, and 1 where there is a call (None: everywhere)."""
    there = calls >= 0 if np.issubdtype(calls.dtype, np.integer) else ~np.isnan(calls)
    if there.all():
        return calls.astype(kind), None
    return np.where(there, calls, 0).astype(kind), there.astype(kind)


def _product(a: Any, b: Any) -> Floats:
    return np.asarray(a @ b.T, dtype=np.float64)


def _spans(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
