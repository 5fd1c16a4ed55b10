"""Burden tests: the alleles of a mask's variants made one number a person, and its linear model."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from leadlight.errors import LeadlightError
from leadlight.genetics.tail_probability import neg_log_10_p

Floats = npt.NDArray[np.float64]
# REGENIE's --build-mask: the largest count of any variant, the sum, or the sum but no more than 2.
RULES = ("max", "sum", "comphet")


@dataclass(frozen=True)
class LinearTest:
    """All arrays (column, trait): of each column's own linear model with the covariates."""

    beta: Floats
    standard_error: Floats
    neg_log_10_p: Floats


def burden_column(dosages: sparse.csc_array, rule: str) -> sparse.csc_array:
    """(person, 1) burden of the variants' dosages (person, variant).

    Raises LeadlightError on a rule that is none of `RULES`.
    """
    if rule not in RULES:
        raise LeadlightError(f"{rule!r} is no rule of burdens.", advice=f"One of {RULES}.")
    people, at = np.unique(dosages.indices, return_inverse=True)
    values = np.zeros(len(people))
    if rule == "max":
        np.maximum.at(values, at, dosages.data)
    else:
        np.add.at(values, at, dosages.data)
        if rule == "comphet":
            values = np.minimum(values, 2)
    first = np.array([0, len(people)], dtype=np.int64)
    return sparse.csc_array((values, people, first), shape=(dosages.shape[0], 1))


def linear_tests(scores: Floats, variances: Floats, norms: Floats, degrees: float) -> LinearTest:
    """The linear model of traits on columns, one at a time.

    scores: (column, trait) products of columns and residual traits of length 1; variances:
    (column,) squared lengths of the columns' residuals; norms: (trait,) lengths of the residual
    traits; degrees: people less the covariates and the constant. Columns without variance: NaN.
    """
    usable = variances > 1e-9
    variance = np.where(usable, variances, np.nan)[:, None]
    share = np.minimum(scores**2 / variance, 1 - 1e-15)
    freedom = degrees - 1
    beta = scores / variance * norms
    error = norms * np.sqrt((1 - share) / variance / freedom)
    t = np.sqrt(share * freedom / (1 - share))
    p = np.full(t.shape, np.nan)
    p[usable] = neg_log_10_p(t[usable], freedom)
    return LinearTest(beta, error, p)
