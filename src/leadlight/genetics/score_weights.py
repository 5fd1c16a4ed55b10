"""Weights of polygenic scores from summary statistics and linkage, by shrinkage.

`infinitesimal`: the posterior mean where every variant has an effect from one normal distribution
(LDpred-inf, Vilhjálmsson et al., American Journal of Human Genetics 97:576, 2015), block by block.
`sparse`: the posterior mean where a share of the variants has one, by Gibbs sampling, with the
share and the heritability learnt from the data (the same paper's model; learnt as by Privé et al.,
Bioinformatics 36:5424, 2020).

All effects here are in SD of the trait per SD of the variant's count.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from numba import njit

from leadlight.errors import LeadlightError
from leadlight.genetics.linkage_blocks import LinkageBlocks
from leadlight.progress import track

Floats = npt.NDArray[np.float64]
LEAST_HERITABILITY = 1e-3
# Reference linkage is uncertain: correlations are shrunk by so much before the Gibbs sampler.
SHRINKAGE = 0.95
_BURN_IN, _SAMPLES = 150, 250


@dataclass(frozen=True)
class Marginal:
    """One trait's effects, variant by variant, in the order of the blocks' variants.

    effect: (variant,) in SD per SD; n: people behind them (median).
    """

    effect: Floats
    n: float


@dataclass(frozen=True)
class Weighted:
    """weights: (variant,) in SD per SD; settings: what was learnt or chosen; warnings: in words."""

    weights: Floats
    settings: dict[str, float]
    warnings: tuple[str, ...] = field(default_factory=tuple)


def heritability(marginal: Marginal, scores: Floats) -> float:
    """Share of the trait's variance that the variants explain, by moments.

    E χ² = 1 + n h² ℓ / m, summed over variants; scores: linkage scores ℓ. May be negative.
    """
    chi = marginal.n * marginal.effect**2 / np.maximum(1 - marginal.effect**2, 1e-9)
    return float((chi - 1).sum() * len(chi) / (marginal.n * scores.sum()))


def infinitesimal(
    blocks: LinkageBlocks, marginals: Sequence[Marginal], heritabilities: Sequence[float | None]
) -> list[Weighted]:
    """Solve (R + m / (n h²) I) w = marginal effects in each block; one answer per trait.

    heritabilities: None estimates it by moments.
    """
    scores = blocks.linkage_scores() if any(h is None for h in heritabilities) else np.zeros(0)
    m = len(blocks.numbers)
    out = [np.zeros(m) for _ in marginals]
    ridges, settings, warnings = [], [], []
    for marginal, given in zip(marginals, heritabilities, strict=True):
        used, said = _usable(given if given is not None else heritability(marginal, scores))
        ridges.append(m / (marginal.n * used))
        settings.append({"heritability": used, "n": marginal.n, "variants": float(m)})
        warnings.append(said)
    for rows, matrix in track(blocks.matrices(), "weights", len(blocks)):
        own = matrix.astype(np.float64)
        diagonal = np.einsum("ii->i", own)
        for at, (marginal, ridge) in enumerate(zip(marginals, ridges, strict=True)):
            diagonal[:] = 1 + ridge
            out[at][rows] = np.linalg.solve(own, marginal.effect[rows])
    return [Weighted(w, s, v) for w, s, v in zip(out, settings, warnings, strict=True)]


def sparse(
    blocks: LinkageBlocks,
    marginal: Marginal,
    *,
    seed: int,
    burn_in: int = _BURN_IN,
    samples: int = _SAMPLES,
) -> Weighted:
    """Gibbs sampling of effects, of which a share is not zero; see the module's head."""
    m = len(blocks.numbers)
    start, warnings = _usable(heritability(marginal, blocks.linkage_scores()))
    rng = np.random.default_rng(seed)
    matrices = [(rows, np.ascontiguousarray(matrix)) for rows, matrix in blocks.matrices()]
    effects, carried = np.zeros(m), np.zeros(m)  # carried: R @ effects
    total = np.zeros(m)
    h2, share = start, 0.01
    shares, h2s = [], []
    for step in track(range(burn_in + samples), "sampling"):
        mean = np.zeros(m)
        causal = 0
        for rows, matrix in matrices:
            size = rows.stop - rows.start
            causal += _sweep(
                matrix, marginal.effect[rows], effects[rows], carried[rows], mean[rows],
                marginal.n, h2 / (m * share), share, SHRINKAGE,
                rng.random(size), rng.standard_normal(size),
            )  # fmt: skip
        share = float(np.clip(rng.beta(1 + causal, 1 + m - causal), 1 / m, 1.0))
        h2 = float(np.clip(effects @ carried, LEAST_HERITABILITY, 1.0))
        if step >= burn_in:
            total += mean
            shares.append(share)
            h2s.append(h2)
    weights = total / samples
    if not np.isfinite(weights).all() or np.abs(weights).max() > 1:
        raise LeadlightError(
            "The sampler of the sparse weights diverged: linkage and statistics don't fit.",
            advice="Use --score-method infinitesimal, or the linkage of the people of the scan.",
        )
    settings = {
        "heritability": float(np.mean(h2s)),
        "share_with_effect": float(np.mean(shares)),
        "n": marginal.n,
        "variants": float(m),
    }
    return Weighted(weights, settings, warnings)


@njit(nogil=True, cache=True)
def _sweep(
    r: npt.NDArray[np.float32],
    marginal: Floats,
    effects: Floats,
    carried: Floats,
    mean: Floats,
    n: float,
    variance: float,
    share: float,
    shrinkage: float,
    uniform: Floats,
    normal: Floats,
) -> int:
    """One pass over a block: draw each effect given all others; returns how many are not zero.

    effects, carried and mean (the posterior means) are changed in place. variance: of an effect
    that is not zero.
    """
    causal = 0
    spread = 1.0 / (n + 1.0 / variance)
    bar_ = np.log((1.0 - share) / share) + 0.5 * np.log(variance / spread)
    for j in range(len(marginal)):
        left = marginal[j] - (carried[j] - effects[j])
        centre = spread * n * left
        odds = bar_ - 0.5 * centre * centre / spread
        chance = 1.0 / (1.0 + np.exp(min(odds, 700.0)))
        mean[j] = chance * centre
        new = 0.0
        if uniform[j] < chance:
            new = centre + np.sqrt(spread) * normal[j]
            causal += 1
        change = new - effects[j]
        if change != 0.0:
            effects[j] = new
            scaled = change * shrinkage
            for k in range(len(marginal)):
                carried[k] += r[j, k] * scaled
            carried[j] += change - scaled
    return causal


def _usable(h2: float) -> tuple[float, tuple[str, ...]]:
    if h2 >= LEAST_HERITABILITY:
        return min(h2, 1.0), ()
    return LEAST_HERITABILITY, (
        f"the heritability is estimated at {h2:.3f}: {LEAST_HERITABILITY} was taken, and the score "
        "says little",
    )
