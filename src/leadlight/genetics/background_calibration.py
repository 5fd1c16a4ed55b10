"""How far a trait minus its whole-genome prediction is from independent people, measured.

Among relatives the prediction takes away more than it should: a person's residual is then
negatively correlated with the relatives', and a test that takes people for independent is
conservative, its effects too small. Mixed models correct by the ratio of the true variance of the
score to the assumed one (GRAMMAR-Gamma; Svishcheva et al., Nature Genetics 44:1166, 2012). Here
that ratio comes from simulated polygenic traits on the same genotypes, put through the very same
regression: its weights are kept as they were chosen for the trait, and the trait's heritability
(Haseman & Elston's estimate) is given to the simulated ones, which have no effects on the
chromosomes where their variants are tested.
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
    Stack,
    decoded,
    means_where_missing,
)

SIMULATED = 8  # polygenic traits per half of the chromosomes
TESTED_PER_CHROMOSOME = 200
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


def calibrations(
    simulated: SimulatedTraits,
    stacks: Sequence[Stack],
    read: Callable[[int, int, int], Singles],
    of_chromosome: npt.NDArray[np.str_],
    basis: Floats,
    power: Floats,
) -> tuple[Floats, Floats]:
    """(trait,) ratios of the score's true variance to the assumed one, and heritabilities.

    read(column, first, last): level-0 (predictor, person) of a simulated column. power: (trait or
    simulated column, then 1), the last the number of variants, as `block_predictions` gives it,
    summed over blocks: traits first.
    """
    people, n_traits = len(basis), len(stacks)
    share = heritabilities(power, n_traits, people - basis.shape[1])
    chromosomes = list(simulated.tested)
    folds = len(stacks[0].weights)
    keep = np.stack([of_chromosome != name for name in chromosomes])
    # (fold, trait × chromosome, predictor): every trait's weights without each chromosome.
    weights = np.stack(
        [
            np.concatenate([stack.weights[fold] * keep for stack in stacks]).astype(np.float32)
            for fold in range(folds)
        ]
    )
    n_chromosomes, columns = len(chromosomes), simulated.values.shape[1]
    widths = [len(simulated.tested[name]) for name in chromosomes]
    shape = columns, n_traits, n_chromosomes
    with_variants = np.zeros((*shape, max(widths)))
    with_basis = np.zeros((*shape, basis.shape[1]))
    squares = np.zeros((columns, n_traits, n_chromosomes))
    crossed = np.zeros((columns, n_traits, n_chromosomes))
    for first in range(0, people, PEOPLE_AT_ONCE):
        last = min(first + PEOPLE_AT_ONCE, people)
        noise: list[npt.NDArray[np.float32]] = []
        for column in reversed(range(columns)):
            predictors = read(column, first, last)
            left = np.empty((n_traits * n_chromosomes, last - first), dtype=np.float32)
            for fold in range(folds):
                mine = slice((fold - first) % folds, None, folds)
                left[:, mine] = -(weights[fold] @ predictors[:, mine])
            left += simulated.values[first:last, column].astype(np.float32)
            left = left.reshape(n_traits, n_chromosomes, -1)
            for at, name in enumerate(chromosomes):
                calls = simulated.tested[name][:, first:last]
                with_variants[column, :, at, : len(calls)] += left[:, at] @ calls.T
            with_basis[column] += left @ basis[first:last].astype(np.float32)
            squares[column] += np.einsum("tcp,tcp->tc", left, left)
            if column >= 2 * SIMULATED:
                noise.insert(0, left)
            else:
                crossed[column] += np.einsum("tcp,tcp->tc", left, noise[column % SIMULATED])
    ratios: list[list[Floats]] = [[] for _ in range(n_traits)]
    for at, name in enumerate(chromosomes):
        calls = simulated.tested[name].astype(np.float64)
        loadings = calls @ basis
        sizes = np.einsum("vp,vp->v", calls, calls) - np.einsum("vc,vc->v", loadings, loadings)
        good = sizes > 1e-6 * people
        scores = with_variants[:, :, at, : len(calls)] - with_basis[:, :, at] @ loadings.T
        lengths = squares[:, :, at] - np.sum(with_basis[:, :, at] ** 2, axis=2)
        other = 1 - simulated.halves[name]  # effects on the other half of the chromosomes
        for sim in range(SIMULATED):
            x, e = other * SIMULATED + sim, 2 * SIMULATED + sim
            overlap = crossed[x, :, at] - np.sum(
                with_basis[x, :, at] * with_basis[e, :, at], axis=1
            )
            for trait in range(n_traits):
                a, b = np.sqrt(share[trait]), np.sqrt(1 - share[trait])
                score = a * scores[x, trait] + b * scores[e, trait]
                length = (
                    a * a * lengths[x, trait]
                    + b * b * lengths[e, trait]
                    + 2 * a * b * overlap[trait]
                )
                statistic = score[good] ** 2 / sizes[good] / (length / (people - basis.shape[1]))
                ratios[trait].append(statistic)
    return np.array([np.concatenate(one).mean() for one in ratios]), share


def heritabilities(power: Floats, n_traits: int, freedom: int) -> Floats:
    """(trait,) Haseman–Elston estimates of the variance that the variants explain, within 0 to 1.

    A trait's product with the relatedness matrix, over that of a trait which is all polygenic.
    """
    products = power[:-1] / power[-1] / freedom
    whole = products[n_traits : n_traits + 2 * SIMULATED].mean() - 1
    if whole <= 0:
        return np.zeros(n_traits)
    return np.clip((products[:n_traits] - 1) / whole, 0, 1)
