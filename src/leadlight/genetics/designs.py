"""What the linear model needs of traits and covariates, worked out once before the genome.

The order is fixed: people without covariates are gone already (`traits.match_people`); then the
transform, on the people who have the trait; then both sides are projected off the covariates; then
the model, with the degrees of freedom that the projection leaves.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from leadlight.errors import LeadlightError
from leadlight.genetics.traits import Matched
from leadlight.genetics.variant_tables import FEMALE, MALE, UNKNOWN_SEX, X_LINKED, Y_LINKED

Floats = npt.NDArray[np.float64]
PAD = 16  # columns of the design are filled up to a multiple: the matrix product is faster

# A covariate with less than this share of its variance left by those before it is collinear.
_COLLINEAR = 1e-8
# Beyond this share of missing people, a trait is analysed on its own people.
_MANY_MISSING = 0.25


@dataclass(frozen=True)
class Design:
    """Traits that are analysed in one pass over the same people.

    rows: (person,) uint32 in the genotype file; male: (person,) uint8; matrix: (person, column)
    float64 [Q | Y | 0] as `linear_kernels` describes; q: columns of Q; traits: their numbers in the
    study, in the order of the columns; norm: (trait,) length of the residual trait; pattern_first
    (pattern + 1,) and pattern_people: the people without the traits of each pattern; trait_first:
    (pattern + 1,) where a pattern's traits begin.
    """

    rows: npt.NDArray[np.uint32]
    male: npt.NDArray[np.uint8]
    matrix: Floats
    q: int
    traits: tuple[int, ...]
    norm: Floats
    pattern_people: npt.NDArray[np.int32]
    pattern_first: npt.NDArray[np.int64]
    trait_first: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def n_patterns(self) -> int:
        """How many different sets of people have no value."""
        return len(self.trait_first) - 1


def rank_normal(values: Floats) -> Floats:
    """Rank-based inverse normal transform of the values that are there, (r − 3/8)/(n + 1/4).

    values: (person,), NaN where missing and in the answer. Ties get their mean rank. Blom, 1958.
    """
    out = np.full(values.shape, np.nan)
    there = np.isfinite(values)
    _, place, count = np.unique(values[there], return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(count) - (count - 1) / 2
    out[there] = ndtri((mean_rank[place] - 0.375) / (there.sum() + 0.25))
    return out


def with_usable_traits(matched: Matched) -> Matched:
    """Without constant traits, collinear covariates and traits of too few people, by name.

    Raises LeadlightError where no trait is left.
    """
    dropped = dict(matched.dropped)
    keep_covariates = _independent(matched, dropped)
    keep: list[int] = []
    for i, name in enumerate(matched.trait_names):
        there = matched.traits[np.isfinite(matched.traits[:, i]), i]
        if len(there) < len(keep_covariates) + 3:
            dropped[name] = f"only {len(there)} people have it"
        elif np.ptp(there) == 0:
            dropped[name] = "constant"
        else:
            keep.append(i)
    if not keep:
        first = next(iter(n for n in matched.trait_names if n in dropped), "")
        raise LeadlightError(
            f"No trait can be analysed: {first} is left out ({dropped.get(first, 'none given')}).",
            advice="Look at the phenotype table and at the people it shares with the genotypes.",
        )
    return replace(
        matched,
        trait_names=tuple(matched.trait_names[i] for i in keep),
        traits=matched.traits[:, keep],
        covariate_names=tuple(matched.covariate_names[i] for i in keep_covariates),
        covariates=matched.covariates[:, keep_covariates],
        dropped=dropped,
    )


def make_designs(matched: Matched, kind: int, *, shared: bool = True) -> list[Design]:
    """The designs for variants of one kind (see `variant_tables`).

    On X, people of unknown sex are left out and sex is a covariate, as in PLINK 2; on Y only men.
    Traits that miss no more than a quarter of the people share one design; each other pattern of
    missing people has its own, and so have traits whose people make covariates collinear. Without
    `shared`, every pattern has its own.
    """
    keep = np.ones(len(matched.rows), dtype=np.bool_)
    covariates = matched.covariates
    if kind == X_LINKED:
        keep = matched.sex != UNKNOWN_SEX
        covariates = np.column_stack([covariates, (matched.sex == FEMALE).astype(np.float64)])
    elif kind == Y_LINKED:
        keep = matched.sex == MALE
    absent = ~np.isfinite(matched.traits)
    n_missing = absent[keep].sum(axis=0)
    many = n_missing > (_MANY_MISSING * keep.sum() if shared else -1)
    together = [i for i in range(len(many)) if not many[i]]
    designs: list[Design] = []
    apart: list[list[int]] = []
    if together:
        made, apart = _design(matched, covariates, keep, together)
        designs += made
    alone: dict[bytes, list[int]] = {}
    for i in np.flatnonzero(many):
        alone.setdefault((keep & ~absent[:, i]).tobytes(), []).append(int(i))
    for group in [*apart, *alone.values()]:
        own = keep & ~absent[:, group[0]]
        designs += _design(matched, covariates, own, group)[0]
    return designs


def orthonormal_basis(covariates: Floats) -> Floats:
    """(person, 1 + covariate) orthonormal; the first column is constant.

    Collinear covariates get no column.
    """
    n = len(covariates)
    centred = covariates - covariates.mean(axis=0)
    length = np.sqrt((centred**2).sum(axis=0))
    usable = length > 1e-10 * (1 + np.abs(covariates).max(axis=0, initial=0.0)) * np.sqrt(n)
    centred = centred[:, usable] / length[usable]
    basis = np.full((n, 1), 1 / np.sqrt(n))
    for column in centred.T:
        left = column - basis @ (basis.T @ column)
        left -= basis @ (basis.T @ left)
        size = np.sqrt(left @ left)
        if size**2 > _COLLINEAR:
            basis = np.column_stack([basis, left / size])
    return basis


def standard_residuals(traits: Floats, basis: Floats) -> tuple[Floats, Floats]:
    """(person, trait) residuals on the basis in units of their SD, NaN kept; (trait,) the SDs.

    Each trait is fitted on the people who have it. This SD, with n − rank degrees of freedom, is
    REGENIE's unit of a prediction.
    """
    residuals = np.full(traits.shape, np.nan)
    sds = np.zeros(traits.shape[1])
    for at, trait in enumerate(traits.T):
        known = np.isfinite(trait)
        values, design = trait[known], basis[known]
        values = values - values.mean()
        left = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
        freedom = known.sum() - basis.shape[1]
        spread = np.sqrt(left @ left / freedom) if freedom > 0 else 0.0
        if spread > 1e-9 * max(float(np.abs(trait[known]).max(initial=0)), 1e-300):
            sds[at], residuals[known, at] = spread, left / spread
    return residuals, sds


def _independent(matched: Matched, dropped: dict[str, str]) -> list[int]:
    kept: list[int] = []
    for i, name in enumerate(matched.covariate_names):
        if np.ptp(matched.covariates[:, i]) == 0:
            dropped[name] = "constant covariate"
        elif orthonormal_basis(matched.covariates[:, [*kept, i]]).shape[1] < len(kept) + 2:
            dropped[name] = "covariate collinear with those before it"
        else:
            kept.append(i)
    return kept


def _design(
    matched: Matched, covariates: Floats, keep: npt.NDArray[np.bool_], traits: list[int]
) -> tuple[list[Design], list[list[int]]]:
    """One design over the people `keep` (none: too few), and the groups that need their own."""
    basis = orthonormal_basis(covariates[keep]) if keep.any() else np.zeros((0, 1))
    n, q = basis.shape
    patterns: dict[bytes, list[int]] = {}
    absent = ~np.isfinite(matched.traits[keep])
    for i in traits:
        patterns.setdefault(absent[:, i].tobytes(), []).append(i)
    order: list[int] = []
    columns, norms, people = [basis], [], []
    pattern_first, trait_first = [0], [0]
    apart: list[list[int]] = []
    for group in patterns.values():
        gone = absent[:, group[0]]
        if n - gone.sum() < q + 2:
            continue
        left = np.eye(q) - basis[gone].T @ basis[gone]
        if np.linalg.eigvalsh(left)[0] < 1e-6:
            apart.append(group)
            continue
        values = np.where(gone[:, None], 0.0, matched.traits[keep][:, group])
        values[~gone] -= values[~gone].mean(axis=0)
        present = np.where(gone[:, None], 0.0, basis)
        for _ in range(2):
            values -= present @ np.linalg.solve(left, present.T @ values)
        norm = np.sqrt((values**2).sum(axis=0))
        spread = np.nanstd(matched.traits[keep][:, group], axis=0) * np.sqrt(n)
        good = norm > 1e-7 * np.maximum(spread, 1e-300)
        if not good.any():
            continue
        order += [i for i, fine in zip(group, good, strict=True) if fine]
        columns.append(values[:, good] / norm[good])
        norms.append(norm[good])
        people.append(np.flatnonzero(gone))
        pattern_first.append(pattern_first[-1] + int(gone.sum()))
        trait_first.append(len(order))
    if not order:
        return [], apart
    matrix = np.concatenate(columns, axis=1)
    padding = -matrix.shape[1] % PAD
    design = Design(
        matched.rows[keep],
        (matched.sex[keep] == MALE).astype(np.uint8),
        np.ascontiguousarray(np.pad(matrix, ((0, 0), (0, padding)))),
        q,
        tuple(order),
        np.concatenate(norms),
        np.concatenate(people).astype(np.int32),
        np.array(pattern_first, dtype=np.int64),
        np.array(trait_first, dtype=np.int64),
    )
    return [design], apart
