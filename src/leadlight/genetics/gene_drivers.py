"""Which variants drive a gene's result: each variant's own effect, and the gene without it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from leadlight.genetics.gene_burden import burden_column, linear_tests
from leadlight.genetics.gene_tests import (
    Columns,
    GeneDesign,
    GeneSettings,
    PreparedGene,
    Products,
    products_of,
    set_tests,
    single_products,
    tested_columns,
)


@dataclass(frozen=True)
class Driver:
    """One variant of a set, for one trait.

    place: among the gene's variants. beta, standard_error, neg_log_10_p: of the variant alone.
    without: test → −log10 p of the set without the variant (empty where nothing is left).
    """

    place: int
    n_carriers: int
    beta: float
    standard_error: float
    neg_log_10_p: float
    without: dict[str, float]


def leave_one_out(
    prepared: PreparedGene,
    number: int,
    one: GeneDesign,
    trait: int,
    settings: GeneSettings,
) -> Iterator[Driver]:
    """Test the set `number` of a gene without each of its variants in turn.

    trait: its place among the design's traits.
    """
    variants, carriers = prepared.sets[number].variants, prepared.carriers
    norms = one.norms[[trait]]
    scores, variances = single_products(carriers.dosages[:, variants], one)
    single = linear_tests(scores[:, [trait]], variances, norms, one.degrees)
    for at, place in enumerate(variants):
        rest = np.delete(variants, at)
        without: dict[str, float] = {}
        if len(rest):
            tested, collapsed = tested_columns(carriers, rest, settings)
            parts = [carriers.dosages[:, tested]]
            minor = [np.minimum(carriers.frequency, 1 - carriers.frequency)[tested]]
            if collapsed is not None:
                parts.append(collapsed)
                share = collapsed.sum() / (2 * collapsed.shape[0])
                minor.append(np.array([min(share, 1 - share)]))
            parts.append(burden_column(carriers.dosages[:, rest], settings.rule))
            matrix = sparse.hstack(parts, format="csc")
            last = matrix.shape[1] - 1
            products = products_of(matrix, one)
            tests = set_tests(
                Columns(rest, last, np.arange(last)),
                Products(products.scores[:, [trait]], products.covariance),
                np.append(np.concatenate(minor), np.nan),
                norms,
                one.degrees,
                settings,
            )[2]
            without = {test: float(values[0]) for test, values in tests.items()}
        who = carriers.called[:, [place]].indices
        carry = len(who) if one.places is None else int((one.places[who] >= 0).sum())
        yield Driver(
            int(place),
            carry,
            float(single.beta[at, 0]),
            float(single.standard_error[at, 0]),
            float(single.neg_log_10_p[at, 0]),
            without,
        )
