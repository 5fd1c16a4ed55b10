"""Gene tests of cases and controls: burden and ACAT-V, each p by Firth's test where it matters."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from leadlight.genetics.binary import BinaryResults, NullModel, associate_binary
from leadlight.genetics.gene_tests import GeneSettings, MaskResult, PreparedGene, combined
from leadlight.genetics.log_tails import LN10, log_cauchy_combination
from leadlight.genetics.variance_tests import LARGEST_P, beta_weights

Floats = npt.NDArray[np.float64]
BINARY_TESTS = ("burden", "acat-v", "acat-o")
_COLUMNS_AT_ONCE = 32


def binary_results(
    prepared: PreparedGene, nulls: Sequence[NullModel], settings: GeneSettings
) -> list[MaskResult]:
    """Test all sets of a gene against all traits; beta is the log odds per unit of the burden.

    nulls: of each trait, over the people of the study (`binary.null_model`). SKAT and SKAT-O are
    not made: with few cases the scores of rare variants are far from normal, and Firth's test,
    which mends that for single columns, has no counterpart for a kernel here. ACAT-O joins the
    burden test and ACAT-V.
    """
    parts = []
    for first in range(0, prepared.matrix.shape[1], _COLUMNS_AT_ONCE):
        columns = prepared.matrix[:, first : first + _COLUMNS_AT_ONCE].toarray().T
        parts.append(associate_binary(columns, nulls))
    beta, error, p, n = (
        np.concatenate([_of(part, name) for part in parts])
        for name in ("beta", "standard_error", "neg_log_10_p", "n")
    )
    results = []
    known = np.stack([null.known for null in nulls])
    for own in prepared.sets:
        who = np.unique(prepared.carriers.called[:, own.variants].indices)
        minor = prepared.minor[own.tested]
        share = beta_weights(minor, settings.weights) ** 2 * minor * (1 - minor)
        logs = -LN10 * p[own.tested]
        acat = np.full(len(nulls), np.nan)
        for at in range(len(nulls)):
            there = np.isfinite(logs[:, at])
            if there.any():
                acat[at] = log_cauchy_combination(logs[there, at], share[there], LARGEST_P)
        burden = -LN10 * p[own.burden]
        both = log_cauchy_combination(np.stack([burden, acat], axis=-1), None, LARGEST_P)
        tests = {"burden": p[own.burden], "acat-v": -acat / LN10, "acat-o": -both / LN10}
        results.append(
            MaskResult(
                "", "", "", own.variants, n[own.burden], known[:, who].sum(axis=1),
                beta[own.burden], error[own.burden], tests,
            )
        )  # fmt: skip
    return results


def binary_combined(prepared: PreparedGene, results: Sequence[MaskResult]) -> Floats:
    """(trait,) −log10 p over all different sets of a gene, of burden tests and ACAT-V."""
    return combined(prepared.sets, [one.neg_log_10_p for one in results], ("burden", "acat-v"))


def _of(part: BinaryResults, name: str) -> Floats:
    return np.asarray(getattr(part, name))
