"""Rare variants as the people who carry them: sparse columns instead of everybody's calls."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from leadlight.genetics.genotypes import Reader
from leadlight.genetics.variant_tables import MALE, X_LINKED

Floats = npt.NDArray[np.float64]
_AT_ONCE = 256  # variants read together


@dataclass(frozen=True)
class Carriers:
    """Effect-allele dosages of some variants.

    dosages: (person, variant) sparse, missing calls at the variant's mean; called: the same without
    the missing calls. All other arrays (variant,): frequency of the effect allele (on X men count
    one allele); allele_count, in those called; minor_count, of the rarer allele; n_carriers, people
    called with an effect allele; n_missing.
    """

    dosages: sparse.csc_array
    called: sparse.csc_array
    frequency: Floats
    allele_count: Floats
    minor_count: Floats
    n_carriers: npt.NDArray[np.int64]
    n_missing: npt.NDArray[np.int64]


def read_carriers(
    reader: Reader,
    numbers: npt.NDArray[np.int64],
    kind: int,
    sex: npt.NDArray[np.int8],
) -> Carriers:
    """Read variants of one kind (`DIPLOID` or `X_LINKED`) of the reader's people.

    sex: (person,) of the reader's people.
    """
    male = sex == MALE
    parts: list[tuple[npt.NDArray[np.int64], Floats]] = []
    missing: list[npt.NDArray[np.int64]] = []
    for start in range(0, len(numbers), _AT_ONCE):
        for row in reader.read(numbers[start : start + _AT_ONCE]):
            whole = np.issubdtype(row.dtype, np.integer)
            people = np.flatnonzero(row)  # NaN counts as not zero
            values = row[people].astype(np.float64)
            gone = values < 0 if whole else np.isnan(values)
            parts.append((people[~gone], values[~gone]))
            missing.append(people[gone])
    n, m = len(sex), len(numbers)
    total = np.array([values.sum() for _, values in parts])
    n_missing = np.array([len(people) for people in missing], dtype=np.int64)
    counted, alleles = total.copy(), 2.0 * (n - n_missing)
    if kind == X_LINKED:
        for i, ((people, values), absent) in enumerate(zip(parts, missing, strict=True)):
            counted[i] -= values[male[people]].sum() / 2
            alleles[i] -= male.sum() - male[absent].sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        frequency = np.where(alleles > 0, counted / alleles, 0.0)
        mean = np.where(n > n_missing, total / (n - n_missing), 0.0)
    called = _columns([people for people, _ in parts], [values for _, values in parts], n)
    filled = called
    if n_missing.any():
        filled = _columns(
            [np.concatenate([p, g]) for (p, _), g in zip(parts, missing, strict=True)],
            [
                np.concatenate([v, np.full(len(g), mean[i])])
                for i, ((_, v), g) in enumerate(zip(parts, missing, strict=True))
            ],
            n,
        )
        filled.sort_indices()
    return Carriers(
        filled,
        called,
        frequency,
        counted,
        np.minimum(counted, alleles - counted),
        np.array([len(people) for people, _ in parts], dtype=np.int64).reshape(m),
        n_missing,
    )


def _columns(people: list[npt.NDArray[np.int64]], values: list[Floats], n: int) -> sparse.csc_array:
    first = np.concatenate([[0], np.cumsum([len(one) for one in people])]).astype(np.int64)
    if not people:
        return sparse.csc_array((n, 0))
    return sparse.csc_array(
        (np.concatenate(values), np.concatenate(people), first), shape=(n, len(people))
    )
