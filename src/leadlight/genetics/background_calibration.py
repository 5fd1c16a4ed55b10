"""How far a trait minus its whole-genome prediction is from independent people, measured.

Among relatives the prediction takes away more than it should: a person's residual is then
negatively correlated with the relatives', and a test that takes people for independent is
conservative, its effects too small. Mixed models correct by the ratio of the true variance of the
score to the assumed one (GRAMMAR-Gamma; Svishcheva et al., Nature Genetics 44:1166, 2012). Here
that ratio is measured on simulated polygenic traits of the same people, put through the same
regression, which have no effects on the chromosomes where variants are tested. It depends on the
heritability, so it is measured at some and interpolated at the trait's (Haseman & Elston's).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from leadlight.genetics.ridge import (
    PEOPLE_AT_ONCE,
    Calls,
    Floats,
    Singles,
    decoded,
    means_where_missing,
    predict,
    stack_linear,
)

SIMULATED = 8  # polygenic traits per half of the chromosomes
SHARES = (0.2, 0.5, 0.8)  # heritabilities at which the ratio is measured
TESTED_PER_CHROMOSOME = 400
TESTED_BYTES = 200_000_000


@dataclass(frozen=True)
class SimulatedTraits:
    """values: (person, column): polygenic ones of the even chromosomes, of the odd ones, noise.

    tested: per chromosome (variant, person) int8 or float calls in which nothing is missing.
    """

    values: Floats
    tested: dict[str, Singles]
    halves: dict[str, int]


def simulate_traits(
    read: Callable[[int, int], Calls],
    names: npt.NDArray[np.str_],
    blocks: Sequence[tuple[int, int]],
    basis: Floats,
    seed: int,
) -> SimulatedTraits:
    """Polygenic traits and noise on these genotypes, residualised on the basis, unit variance."""
    people = len(basis)
    draw = np.random.default_rng(seed)
    order = list(dict.fromkeys(names.tolist()))
    halves = {name: at % 2 for at, name in enumerate(order)}
    per_chromosome = max(10, min(TESTED_PER_CHROMOSOME, TESTED_BYTES // (4 * people * len(order))))
    chosen = {
        name: set(draw.permutation(np.flatnonzero(names == name))[:per_chromosome].tolist())
        for name in order
    }
    tested: dict[str, list[Singles]] = {name: [] for name in order}
    polygenic = np.zeros((2 * SIMULATED, people), dtype=np.float32)
    for first, last in blocks:
        calls, name = read(first, last), str(names[first])
        fill = means_where_missing(calls)
        mean = fill if fill is not None else calls.mean(axis=1, dtype=np.float64)
        frequency = np.clip(mean / 2, 0, 1)
        spread = np.sqrt(2 * frequency * (1 - frequency))
        weights = draw.standard_normal((last - first, SIMULATED))
        weights *= np.where(spread > 1e-3, 1 / np.maximum(spread, 1e-3), 0)[:, None]
        rows = slice(halves[name] * SIMULATED, (halves[name] + 1) * SIMULATED)
        single = weights.T.astype(np.float32)
        for start in range(0, people, PEOPLE_AT_ONCE):
            part = slice(start, start + PEOPLE_AT_ONCE)
            polygenic[rows, part] += single @ decoded(calls[:, part], fill)
        wanted = [at - first for at in range(first, last) if at in chosen[name]]
        some = None if fill is None else fill[wanted]
        tested[name].append(decoded(calls[wanted], some))
    values = np.concatenate(
        [polygenic.astype(np.float64), draw.standard_normal((SIMULATED, people))]
    )
    values -= (values @ basis) @ basis.T
    spread = np.linalg.norm(values, axis=1, keepdims=True)
    values *= np.sqrt(people - basis.shape[1]) / np.where(spread > 0, spread, 1)
    joined = {name: np.concatenate(parts) for name, parts in tested.items()}
    return SimulatedTraits(values.T, joined, halves)


def calibration_of(
    simulated: SimulatedTraits,
    read: Callable[[int, int, int], Singles],
    of_chromosome: npt.NDArray[np.str_],
    basis: Floats,
    grid: Sequence[float],
    folds: int,
    job: tuple[float, int, int],
) -> float:
    """The ratio of the score's true variance to the assumed one, for one simulated trait.

    read(column, first, last): level-0 (predictor, person) of a simulated column. of_chromosome:
    (predictor,). job: the trait's heritability, which half of the chromosomes carries its effects,
    and its number. The trait goes through level 1 as a real one does.
    """
    share, half, number = job
    polygenic, noise = half * SIMULATED + number, 2 * SIMULATED + number
    genes, chance = np.float32(np.sqrt(share)), np.float32(np.sqrt(1 - share))
    values = genes * simulated.values[:, polygenic] + chance * simulated.values[:, noise]

    def predictors(first: int, last: int) -> Singles:
        return genes * read(polygenic, first, last) + chance * read(noise, first, last)

    stack = stack_linear(predictors, values, grid, folds)
    tested = [name for name, own in simulated.halves.items() if own != half]
    used = [of_chromosome != name for name in tested]
    left = (values - predict(predictors, stack, used, len(values))).astype(np.float64)
    left -= (left @ basis) @ basis.T
    variance = np.einsum("cp,cp->c", left, left) / (len(basis) - basis.shape[1])
    ratios = []
    for at, name in enumerate(tested):
        calls = simulated.tested[name]
        loadings = (calls @ basis.astype(np.float32)).astype(np.float64)
        sizes = np.einsum("vp,vp->v", calls, calls) - np.einsum("vc,vc->v", loadings, loadings)
        scores = calls @ left[at].astype(np.float32)
        good = sizes > 1e-3 * len(basis)
        ratios.append(scores[good].astype(np.float64) ** 2 / sizes[good] / variance[at])
    return float(np.concatenate(ratios).mean())


def interpolated(shares: Floats, ratios: Sequence[float]) -> Floats:
    """(trait,) calibrations at these heritabilities, given those of all `jobs()`; 1 at zero."""
    known = np.array(SHARES)
    means = np.asarray(ratios).reshape(len(known), -1).mean(axis=1)
    found: Floats = np.interp(shares, np.append(0, known), np.append(1, means))
    return found


def jobs() -> list[tuple[float, int, int]]:
    """What `calibration_of` is to be called with: all heritabilities, halves and numbers."""
    return [(share, half, at) for share in SHARES for half in (0, 1) for at in range(SIMULATED)]


def explained(power: Floats, n_traits: int, freedom: int) -> Floats:
    """(trait,) Haseman–Elston estimates of the variance that the variants explain, within 0 to 1.

    A trait's product with the relatedness matrix, over that of a trait which is all polygenic.
    """
    products = power[:-1] / power[-1] / freedom
    whole = products[n_traits : n_traits + 2 * SIMULATED].mean() - 1
    if whole <= 0:
        return np.zeros(n_traits)
    shares: Floats = np.clip((products[:n_traits] - 1) / whole, 0, 1)
    return shares
