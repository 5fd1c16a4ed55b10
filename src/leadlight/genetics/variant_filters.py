"""Which variants are left out of an association, and why: frequency, missing calls, INFO, HWE."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from leadlight.errors import LeadlightError
from leadlight.genetics.linear_kernels import (
    MALE_CALLED,
    MALE_SUM,
    N_CALLED,
    N_HETEROZYGOUS,
    SUM,
    SUM_OF_SQUARES,
)

Floats = npt.NDArray[np.float64]
# In the order in which they are looked at; a variant is counted under the first that it fails.
REASONS = (
    "monomorphic",
    "minor allele frequency",
    "minor allele count",
    "missing calls",
    "INFO",
    "Hardy-Weinberg",
    "multiallelic",
    "sex unknown or of one kind",
)


@dataclass(frozen=True)
class VariantFilter:
    """Thresholds on the people analysed; a value that lets everything pass switches one off.

    min_info: ratio of the dosages' variance to that of a well-called variant (MaCH's r²), on
    dosages of two copies only. min_hwe_p: p of the exact Hardy-Weinberg test, on called alleles of
    two copies (on X: women).
    """

    min_maf: float = 0.0
    min_mac: float = 0.0
    max_missing: float = 1.0
    min_info: float = 0.0
    min_hwe_p: float = 0.0

    def __post_init__(self) -> None:
        for name in ("min_maf", "max_missing", "min_info", "min_hwe_p"):
            if not 0 <= getattr(self, name) <= 1:
                raise LeadlightError(f"{name} is {getattr(self, name)}, not between 0 and 1.")
        if self.min_mac < 0:
            raise LeadlightError(f"min_mac is {self.min_mac}, not 0 or more.")

    def failed(
        self, counts: Floats, n_people: int, *, by_sex: bool, dosages: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.int8]:
        """(variant,) the number of the first reason in `REASONS` that a variant fails, -1 for none.

        counts: (variant, 6) of `linear_kernels.prepare_calls`; dosages: (variant,) bool.
        """
        called, total = counts[:, N_CALLED], counts[:, SUM]
        alleles = 2 * called
        counted = total
        if by_sex:
            alleles = alleles - counts[:, MALE_CALLED]
            counted = total - counts[:, MALE_SUM] / 2
        minor = np.minimum(counted, alleles - counted)
        with np.errstate(divide="ignore", invalid="ignore"):
            frequency = minor / alleles
            variance = counts[:, SUM_OF_SQUARES] / called - (total / called) ** 2
            share = total / called / 2
            info = variance / (2 * share * (1 - share))
        failures = [
            ~(minor > 1e-9) | ~(variance > 1e-12),
            frequency < self.min_maf,
            minor < self.min_mac,
            n_people - called > self.max_missing * n_people,
            dosages & (info < self.min_info) & (not by_sex),
        ]
        if self.min_hwe_p > 0:
            failures.append(~dosages & (hwe_exact_p(*_genotypes(counts, by_sex)) < self.min_hwe_p))
        out = np.full(len(counts), -1, dtype=np.int8)
        for number in range(len(failures) - 1, -1, -1):
            out[failures[number]] = number
        return out


def hwe_exact_p(heterozygous: Floats, homozygous_1: Floats, homozygous_2: Floats) -> Floats:
    """p of the exact test of Hardy-Weinberg proportions, of arrays of genotype counts.

    Wigginton et al., American Journal of Human Genetics 76:887, 2005.
    """
    whole = (
        np.rint(count).astype(np.int64) for count in (heterozygous, homozygous_1, homozygous_2)
    )
    return np.asarray(_hwe(*whole))


def _genotypes(counts: Floats, by_sex: bool) -> tuple[Floats, Floats, Floats]:
    heterozygous = counts[:, N_HETEROZYGOUS]
    called, total = counts[:, N_CALLED], counts[:, SUM]
    if by_sex:  # men are 0 or 2 there
        called = called - counts[:, MALE_CALLED]
        total = total - counts[:, MALE_SUM]
    two = (total - heterozygous) / 2
    return heterozygous, called - heterozygous - two, two


@njit(nogil=True, cache=True)
def _hwe(heterozygous: Any, homozygous_1: Any, homozygous_2: Any) -> Any:
    out = np.ones(len(heterozygous))
    for v in range(len(out)):
        rare_homozygous = min(homozygous_1[v], homozygous_2[v])
        n = heterozygous[v] + homozygous_1[v] + homozygous_2[v]
        rare = 2 * rare_homozygous + heterozygous[v]
        if n == 0 or rare == 0:
            continue
        # Log of the number of ways to each count of heterozygotes, from the observed one outwards.
        observed = heterozygous[v]
        total, tail = 1.0, 1.0
        weight = 1.0
        het, hom_r = observed, rare_homozygous
        hom_c = n - het - hom_r
        while het > 1:
            weight *= het * (het - 1.0) / (4.0 * (hom_r + 1.0) * (hom_c + 1.0))
            het, hom_r, hom_c = het - 2, hom_r + 1, hom_c + 1
            total += weight
            if weight <= 1.0 + 1e-9:
                tail += weight
            if weight < 1e-20 * total and het < rare - rare * rare / (2 * n):
                break
        weight = 1.0
        het, hom_r = observed, rare_homozygous
        hom_c = n - het - hom_r
        while het <= rare - 2:
            weight *= 4.0 * hom_r * hom_c / ((het + 2.0) * (het + 1.0))
            het, hom_r, hom_c = het + 2, hom_r - 1, hom_c - 1
            total += weight
            if weight <= 1.0 + 1e-9:
                tail += weight
            if weight < 1e-20 * total and het > rare - rare * rare / (2 * n):
                break
        out[v] = 0.0 if math.isinf(total) else min(1.0, tail / total)
    return out
