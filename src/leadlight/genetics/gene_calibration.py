"""Corrects the Cauchy combinations of gene tests where they are not exact.

The Cauchy combination is exact for independent p-values and far in the tail. Tests of one gene
share their data, and between p = 0.3 and 0.003 their combination rejects up to a tenth too often.
Scores are drawn from the null of some of the study's genes (the very covariance that the tests
see), tested like traits, and what the combination says is set right by how often it says it. The
tests that it combines are exact: how often they pass in the draws says how lucky the draws were
(control variates).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from leadlight.genetics.gene_tests import (
    JOINED,
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
_LEVELS = np.geomspace(0.003, 0.9, 40)  # p at which the shares are counted
_WEIGHED_TO = 0.05  # p above which more precise counts weigh no more
_UNCHANGED = 1e-4  # p from which on downwards nothing is corrected
# Sets are corrected with others of as many columns: up to so many.
_SIZES = (3, 8, 20, np.inf)
_FEWEST = 5_000  # draws of a correction of its own
DRAWS = 100_000
# −log10 p of a combination (draw,), and of each kind of test that it combines, of each set.
_Parts = tuple[tuple[Floats, ...], ...]
_Drawn = tuple[Floats, _Parts]


@dataclass(frozen=True)
class Correction:
    """log p of a combination → what is added to it, (point,) each; linear between."""

    log_p: Floats
    added: Floats

    def apply(self, neg_log_10_p: Floats) -> Floats:
        """Corrected −log10 p."""
        log_p = -LN10 * neg_log_10_p
        return -np.minimum(log_p + np.interp(log_p, self.log_p, self.added), 0.0) / LN10


@dataclass(frozen=True)
class Corrections:
    """of_sets: of ACAT-O, by the number of columns up to `_SIZES`; of_genes: over a gene's sets."""

    of_sets: tuple[Correction, ...]
    of_genes: Correction

    def of_set(self, columns: int) -> Correction:
        """The correction of ACAT-O of a set with so many tested columns."""
        return self.of_sets[int(np.searchsorted(_SIZES, columns))]


_NOTHING = Correction(np.array([-1.0, 0.0]), np.zeros(2))
NO_CORRECTIONS = Corrections((_NOTHING,) * len(_SIZES), _NOTHING)


def combination_corrections(
    genes: Sequence[PreparedGene],
    design: GeneDesign,
    settings: GeneSettings,
    *,
    draws: int | None = None,
    seed: int = 0,
) -> Corrections:
    """Corrections of ACAT-O of one set and of the combination over a gene's sets.

    genes: some of the study's, together drawn `draws` times (None: DRAWS).
    """
    rng = np.random.default_rng(seed)
    of_sets: list[list[_Drawn]] = [[] for _ in _SIZES]
    of_genes: list[_Drawn] = []
    each = max((draws or DRAWS) // max(len(genes), 1), 1)
    for prepared in genes:
        products = _drawn(products_of(prepared.matrix, design), design.degrees, each, rng)
        norms = np.ones(each)
        tests = []
        for own in prepared.sets:
            found = set_tests(
                own, products, prepared.minor, norms, design.degrees, settings, optimal=False
            )[2]
            tests.append(found)
            if own.combines and np.isfinite(found["acat-o"]).all():
                parts: _Parts = tuple((found[test],) for test in JOINED)
                group = int(np.searchsorted(_SIZES, len(own.tested)))
                of_sets[group].append((found["acat-o"], parts))
        if len(tests) > 1 or prepared.sets[0].combines:
            parts = tuple(tuple(found[test] for found in tests) for test in JOINED)
            of_genes.append((combined(prepared.sets, tests), parts))
    everything = [one for group in of_sets for one in group]
    shape = _shape(everything or of_genes)
    return Corrections(tuple(_correction(group, shape) for group in of_sets),
                       _correction(of_genes, shape))  # fmt: skip


def _drawn(products: Products, degrees: float, count: int, rng: np.random.Generator) -> Products:
    """Scores of `count` random directions instead of the traits' residuals."""
    sizes, vectors = np.linalg.eigh(products.covariance)
    root = vectors * np.sqrt(np.maximum(sizes, 0))
    normal = rng.standard_normal((len(root), count))
    rest = rng.chisquare(max(degrees - len(root), 1), count)
    return Products(root @ normal / np.sqrt((normal**2).sum(axis=0) + rest), products.covariance)


def _shape(found: Sequence[_Drawn]) -> Floats:
    """(level,) what is to be added to log p, smooth and 0 at both ends."""
    if not found:
        return np.zeros(len(_LEVELS))
    added, precision = _counted(found)
    place = 1 - np.log(_LEVELS) / np.log(_UNCHANGED)
    basis = np.stack([place * (1 - place) * place**power for power in range(4)], axis=1)
    fit = np.linalg.lstsq(basis * precision[:, None], added * precision, rcond=None)[0]
    return np.asarray(basis @ fit)


def _correction(found: Sequence[_Drawn], shape: Floats) -> Correction:
    """The shape that all sets share, as high as these draws have it."""
    height = 1.0
    if sum(len(p) for p, _ in found) >= _FEWEST and shape.any():
        added, precision = _counted(found)
        weight = precision**2
        height = float(np.sum(weight * added * shape) / np.sum(weight * shape**2))
    at = np.concatenate([[np.log(_UNCHANGED)], np.log(_LEVELS), [0.0]])
    return Correction(at, np.concatenate([[0.0], height * shape, [0.0]]))


def _counted(found: Sequence[_Drawn]) -> tuple[Floats, Floats]:
    """(level,) the logarithm of how much too often the draws pass, and its precision."""
    added, precision = np.zeros(len(_LEVELS)), np.zeros(len(_LEVELS))
    for at, level in enumerate(_LEVELS):
        limit = -np.log10(level)
        passed = np.concatenate([p > limit for p, _ in found]).astype(np.float64)
        controls = np.stack(
            [
                np.concatenate([_share(parts[k], limit) for _, parts in found]) - level
                for k in range(len(found[0][1]))
            ],
            axis=1,
        )
        centred = controls - controls.mean(axis=0)
        slope = np.linalg.lstsq(centred, passed - passed.mean(), rcond=None)[0]
        left = passed - passed.mean() - centred @ slope
        share = passed.mean() - float(controls.mean(axis=0) @ slope)
        share = min(max(share, level / 2), 2 * level)
        added[at] = np.log(share / level)
        precision[at] = share / max(left.std() / np.sqrt(len(left)), 1e-9)
    return added, np.minimum(precision, precision[np.abs(_LEVELS - _WEIGHED_TO).argmin()])


def _share(parts: Sequence[Floats], limit: float) -> Floats:
    """(draw,) share of the tests that pass."""
    known = [p for p in parts if np.isfinite(p).all()]
    return np.asarray(np.mean([p > limit for p in known], axis=0))
