"""Haseman–Elston regression: heritability from the genotypes of the people themselves.

y ~ N(0, σ²_g K + σ²_e I), K = Z Zᵀ/M of standardised genotypes; both sides are projected off the
covariates (P), and the two variances follow from the moments yᵀPKPy and yᵀPy. The trace of PKPK is
estimated with random vectors while the genotypes stream by once, for all traits together (Wu &
Sankararaman, Bioinformatics 34:i187, 2018). Standard errors: jackknife over blocks of contiguous
variants.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from leadlight.errors import LeadlightError
from leadlight.genetics.genotypes import GenotypeSource
from leadlight.genetics.ld_scores import standardised
from leadlight.progress import bar

Floats = npt.NDArray[np.float64]
_VARIANTS_AT_ONCE = 512
_MOST_BYTES = 1 << 30  # of the blocks' products that the jackknife keeps


@dataclass(frozen=True)
class HasemanElston:
    """h2, h2_se: (trait,). covariance, covariance_se: (trait, trait) genetic, each trait with a
    residual variance of 1."""

    h2: Floats
    h2_se: Floats
    covariance: Floats
    covariance_se: Floats
    n_people: int
    n_variants: int


def haseman_elston(
    source: GenotypeSource,
    rows: npt.NDArray[np.uint32],
    numbers: npt.NDArray[np.int64],
    traits: Floats,
    basis: Floats,
    *,
    min_maf: float = 0.01,
    max_missing: float = 0.1,
    vectors: int = 40,
    blocks: int = 100,
    seed: int = 0,
) -> HasemanElston:
    """Estimate the heritability of all traits on the same people.

    rows: (person,) ascending. numbers: of autosomal variants of two alleles, sorted by place; those
    within the limits are used. traits: (person, trait) residuals on the covariates, complete.
    basis: (person, covariate) orthonormal, with the constant. Raises LeadlightError where fewer
    than ten variants for each block are fit.
    """
    n, t = traits.shape
    rng = np.random.default_rng(seed)
    values = traits / np.sqrt((traits**2).sum(axis=0) / (n - basis.shape[1]))
    random = rng.standard_normal((n, vectors))
    random -= basis @ (basis.T @ random)
    both = np.concatenate([values, random], axis=1).astype(np.float32)
    loadings = basis.astype(np.float32)
    blocks = int(np.clip(_MOST_BYTES // (4 * n * vectors), 10, blocks))
    pushed = np.zeros((blocks, n, vectors), dtype=np.float32)
    products, traces = np.zeros((blocks, t, t)), np.zeros(blocks)
    counts = np.zeros(blocks)
    owner = np.arange(len(numbers)) * blocks // max(len(numbers), 1)
    with source.reader(rows) as reader, bar("Haseman-Elston", len(numbers)) as progress:
        for block in range(blocks):
            own = numbers[owner == block]
            for start in range(0, len(own), _VARIANTS_AT_ONCE):
                some = own[start : start + _VARIANTS_AT_ONCE]
                z, _, fit = standardised(reader.read(some), min_maf, max_missing)
                z *= np.float32(np.sqrt(n))
                progress.step(len(some))
                across = z @ both
                pushed[block] += z.T @ across[:, t:]
                of_traits = across[:, :t].astype(np.float64)
                products[block] += of_traits.T @ of_traits
                traces[block] += n * fit.sum() - np.sum((z @ loadings) ** 2, dtype=np.float64)
                counts[block] += fit.sum()
    if counts.sum() < 10 * blocks:
        raise LeadlightError(
            f"{counts.sum():.0f} variants are too few for Haseman–Elston regression.",
            advice="Give thousands, all over the genome.",
        )
    for one in pushed:
        one -= loadings @ (loadings.T @ one)
    together = pushed.sum(axis=0, dtype=np.float64)
    degrees = float(n - basis.shape[1])
    plain = values.T @ values

    def estimate(pushing: Floats, product: Floats, trace: float, m: float) -> Floats:
        """(trait, trait) genetic covariance, in units of the total on the diagonal."""
        squared = float(np.sum(pushing**2, dtype=np.float64) / vectors / m**2)
        left = trace / m
        determinant = squared * degrees - left**2
        genetic = (degrees * product / m - left * plain) / determinant
        rest = (squared * plain - left * product / m) / determinant
        total = np.sqrt(np.maximum(np.diag(genetic + rest), 1e-12))
        return np.asarray(genetic / total / total[:, None])

    whole = estimate(together, products.sum(axis=0), float(traces.sum()), float(counts.sum()))
    deleted = np.stack(
        [
            estimate(
                together - pushed[block],
                products.sum(axis=0) - products[block],
                float(traces.sum() - traces[block]),
                float(counts.sum() - counts[block]),
            )
            for block in range(blocks)
        ]
    )
    spread = np.sqrt((blocks - 1) / blocks * ((deleted - deleted.mean(axis=0)) ** 2).sum(axis=0))
    return HasemanElston(
        np.diag(whole).copy(), np.diag(spread).copy(), whole, spread, n, int(counts.sum())
    )
