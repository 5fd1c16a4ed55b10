"""Corrects the Cauchy combinations of gene tests where they are not exact.

The Cauchy combination is exact for independent p-values and far in the tail. Tests of one gene
share their data, and between p = 0.3 and 0.003 their combination rejects up to a tenth too often.
Scores are drawn from the null of some of the study's genes (the very covariance that the tests
see), tested like traits, and what the combination says is set right by how often it says it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from leadlight.genetics.gene_tests import (
    GeneDesign,
    GeneSettings,
    PreparedGene,
    Products,
    combined,
    products_of,
    set_tests,
)
from leadlight.genetics.log_tails import LN10

Floats = npt.NDArray[np.float64]
_LEVELS = np.geomspace(0.01, 0.9, 30)  # p at which the shares are counted
_UNCHANGED = 1e-4  # p from which on downwards nothing is corrected
DRAWS = 50_000


@dataclass(frozen=True)
class Correction:
    """log p of a combination → what is added to it, (point,) each; linear between."""

    log_p: Floats
    added: Floats

    def apply(self, neg_log_10_p: Floats) -> Floats:
        """Corrected −log10 p."""
        log_p = -LN10 * neg_log_10_p
        return -np.minimum(log_p + np.interp(log_p, self.log_p, self.added), 0.0) / LN10


NOTHING = Correction(np.array([-1.0, 0.0]), np.zeros(2))


def combination_corrections(
    genes: Sequence[PreparedGene],
    design: GeneDesign,
    settings: GeneSettings,
    *,
    draws: int | None = None,
    seed: int = 0,
) -> tuple[Correction, Correction]:
    """Corrections of ACAT-O of one set and of the combination over a gene's sets.

    genes: some of the study's, together drawn `draws` times (None: DRAWS).
    """
    rng = np.random.default_rng(seed)
    of_sets, of_genes = [], []
    each = max((draws or DRAWS) // max(len(genes), 1), 1)
    for prepared in genes:
        products = _drawn(products_of(prepared.matrix, design), design.degrees, each, rng)
        norms = np.ones(each)
        tests = []
        for own in prepared.sets:
            found = set_tests(own, products, prepared.minor, norms, design.degrees, settings)[2]
            tests.append(found)
            if own.combines:
                of_sets.append(found["acat-o"])
        if len(tests) > 1 or prepared.sets[0].combines:
            of_genes.append(combined(prepared.sets, tests))
    return _correction(of_sets), _correction(of_genes)


def _drawn(products: Products, degrees: float, count: int, rng: np.random.Generator) -> Products:
    """Scores of `count` random directions instead of the traits' residuals."""
    sizes, vectors = np.linalg.eigh(products.covariance)
    root = vectors * np.sqrt(np.maximum(sizes, 0))
    normal = rng.standard_normal((len(root), count))
    rest = rng.chisquare(max(degrees - len(root), 1), count)
    return Products(root @ normal / np.sqrt((normal**2).sum(axis=0) + rest), products.covariance)


def _correction(found: Sequence[Floats]) -> Correction:
    if not found:
        return NOTHING
    log_p = np.sort(-LN10 * np.concatenate(found))
    log_p = log_p[np.isfinite(log_p)]
    levels = np.log(_LEVELS)
    share = np.searchsorted(log_p, levels, side="right") / max(len(log_p), 1)
    usable = share > 0
    # A smooth curve through the counts: draws have noise, the truth has none.
    curve = np.polynomial.Polynomial.fit(
        levels[usable], np.log(share[usable]) - levels[usable], 4, w=np.sqrt(share[usable])
    )
    at = np.concatenate([[np.log(_UNCHANGED)], levels, [0.0]])
    return Correction(at, np.concatenate([[0.0], curve(levels), [0.0]]))
