"""Clumps: the strongest variants of a scan, each with what is linked to it.

The rule is PLINK's `--clump`: variants with p ≤ p1 are taken from the smallest p upwards (ties in
the file's order); each that is still free becomes the lead of a clump and takes all free variants
that lie nearer than `kb` and whose r² with it is above `r2`, whatever their p. p2 decides only
which of them are named.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from leadlight.errors import LeadlightError
from leadlight.genetics.linkage import Linkage

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ClumpRule:
    """p1: of leads; p2: of the members that are named; r2, kb: what joins a clump (see above).

    by_distance: members join by distance alone.
    """

    p1: float = 5e-8
    p2: float = 1e-4
    r2: float = 0.1
    kb: float = 1000.0
    by_distance: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.p1 <= 1 or not 0 < self.p2 <= 1:
            raise LeadlightError(f"p1 {self.p1:g} and p2 {self.p2:g} must lie between 0 and 1.")
        if not 0 <= self.r2 < 1:
            raise LeadlightError(f"r² {self.r2:g} of clumps must lie between 0 and 1.")
        if self.kb <= 0:
            raise LeadlightError(f"A clump can't reach {self.kb:g} kb.", advice="Give more than 0.")

    @property
    def radius(self) -> int:
        """The largest distance from the lead, in base pairs."""
        return round(self.kb * 1000) - 1


def clump(
    positions: Integers,
    neg_log_10_p: Floats,
    rule: ClumpRule,
    numbers: Integers | None = None,
    linkage: Linkage | None = None,
) -> Integers:
    """Clump the variants of one chromosome; r² is worked out for leads alone.

    positions: (variant,) ascending; neg_log_10_p: (variant,); numbers: (variant,) theirs in the
    source of `linkage`, −1 for those it lacks, which belong to no clump. Without `linkage`, or with
    the rule `by_distance`, distance decides alone. Returns (variant,) the lead's place in these
    arrays, a lead's own place for itself, −1 for variants in no clump.
    """
    owner = np.full(len(positions), -1, dtype=np.int64)
    with np.errstate(invalid="ignore"):
        candidate = neg_log_10_p >= -np.log10(rule.p1) - 1e-12
    candidates = np.flatnonzero(candidate)
    if linkage is None or numbers is None or rule.by_distance:
        numbers, linkage = np.arange(len(positions)), None
    else:
        candidates = candidates[numbers[candidates] >= 0]
        there = np.flatnonzero(numbers >= 0)
        place = np.full(len(positions), -1, dtype=np.int64)
        place[there] = linkage.places(numbers[there])
    first = np.searchsorted(positions, positions - rule.radius, side="left")
    last = np.searchsorted(positions, positions + rule.radius, side="right")
    for lead in candidates[np.argsort(-neg_log_10_p[candidates], kind="stable")].tolist():
        if owner[lead] >= 0:
            continue
        near = np.arange(first[lead], last[lead])
        near = near[(owner[near] < 0) & (numbers[near] >= 0) & (near != lead)]
        if linkage is not None and len(near):
            with np.errstate(invalid="ignore"):
                near = near[linkage.r2_with(int(numbers[lead]), place[near]) > rule.r2]
        owner[near] = lead
        owner[lead] = lead
    return owner


def counted(owner: Integers, neg_log_10_p: Floats, rule: ClumpRule) -> dict[str, Any]:
    """What PLINK prints of clumps, one entry per clump, the strongest first.

    lead: (clump,) places; total: other variants in it; not_significant (p > 0.05), and p of 0.05,
    0.01, 0.001, 0.0001 in PLINK's bins; members: their places with p < p2, in the file's order.
    """
    leads = np.flatnonzero(owner == np.arange(len(owner)))
    leads = leads[np.argsort(-neg_log_10_p[leads], kind="stable")]
    place = np.full(len(owner) + 1, -1, dtype=np.int64)
    place[leads] = np.arange(len(leads))
    others = np.flatnonzero((owner >= 0) & (owner != np.arange(len(owner))))
    of = place[owner[others]]
    edges = -np.log10([0.05, 0.01, 0.001, 0.0001])
    binned = np.searchsorted(edges, neg_log_10_p[others], side="left")
    counts = np.zeros((len(leads), 5), dtype=np.int64)
    np.add.at(counts, (of, binned), 1)
    named = neg_log_10_p[others] > -np.log10(rule.p2)
    members = [others[named & (of == k)] for k in range(len(leads))]
    return {
        "lead": leads,
        "total": counts.sum(axis=1),
        "not_significant": counts[:, 0],
        "p_05": counts[:, 1],
        "p_01": counts[:, 2],
        "p_001": counts[:, 3],
        "p_0001": counts[:, 4],
        "members": members,
    }
