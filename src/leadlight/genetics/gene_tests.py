"""All tests of one gene: its masks, frequency bins and domains against all traits at once.

Everything that is tested is a column of dosages: single variants, the very rare ones of a mask
collapsed into one, and burdens. The columns' products with each other, with the covariates and with
the traits are worked out once, from the carriers alone; all statistics are algebra on those.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import sparse

from leadlight.errors import LeadlightError
from leadlight.genetics.carriers import Carriers
from leadlight.genetics.designs import Design
from leadlight.genetics.gene_burden import RULES, burden_column, linear_tests
from leadlight.genetics.log_tails import LN10, log_cauchy_combination
from leadlight.genetics.masks import WHOLE_GENE, Gene, bin_name
from leadlight.genetics.variance_tests import beta_weights, variance_tests

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
TESTS = ("burden", "skat", "skat-o", "acat-v", "acat-o")
COMBINED = "gene"  # the test that joins all masks and bins
JOINED = ("burden", "skat", "acat-v")  # in ACAT-O, and over masks and bins
_LARGEST_P = 1 - 1e-9


@dataclass(frozen=True)
class GeneSettings:
    """limits: upper frequencies of the effect allele, of bins that all begin at 0.

    singletons: also a bin of variants seen once; singleton_carriers: those with one carrier, also
    of two alleles. rule: of `RULES`. collapse_below: variants whose rarer allele is counted no more
    often go into SKAT and ACAT-V as one, by the rule `max`. weights: of the beta density.
    """

    limits: tuple[float, ...] = (0.01,)
    singletons: bool = True
    singleton_carriers: bool = False
    rule: str = "max"
    collapse_below: float = 10
    weights: tuple[float, float] = (1.0, 25.0)

    def __post_init__(self) -> None:
        if not self.limits or not all(0 < limit <= 1 for limit in self.limits):
            raise LeadlightError(
                f"{self.limits} are no frequency limits.", advice="Between 0 and 1, one or more."
            )
        if self.rule not in RULES:
            raise LeadlightError(f"{self.rule!r} is no rule.", advice=f"One of {RULES}.")
        if min(self.weights) <= 0:
            raise LeadlightError(f"{self.weights} are no parameters of a beta density.")

    @property
    def bins(self) -> tuple[float | None, ...]:
        """Limits, the lowest first; None is the bin of singletons."""
        ordered = tuple(sorted(set(self.limits)))
        return (None, *ordered) if self.singletons else ordered


@dataclass(frozen=True)
class GeneDesign:
    """A design (`designs.make_designs`, each pattern of missing people its own) and its people.

    places: (person of the study,) their rows in the design, -1 where they are not in it; None where
    everybody is. scale: (trait of the design,) by which statistics grow, of a calibration.
    """

    design: Design
    places: npt.NDArray[np.int64] | None
    scale: Floats

    @property
    def norms(self) -> Floats:
        """(trait,) lengths of the residual traits, calibrated."""
        return self.design.norm * self.scale

    @property
    def degrees(self) -> float:
        """People less the covariates and the constant."""
        return float(len(self.design) - self.design.q)


@dataclass(frozen=True)
class MaskResult:
    """One mask of a gene in one bin. Arrays (trait,), NaN where a trait can't be tested.

    variants: (variant,) their places among the gene's. neg_log_10_p: test → p.
    """

    domain: str
    mask: str
    bin: str
    variants: npt.NDArray[np.int64]
    n_people: npt.NDArray[np.int64]
    n_carriers: npt.NDArray[np.int64]
    beta: Floats
    standard_error: Floats
    neg_log_10_p: dict[str, Floats]


@dataclass(frozen=True)
class Columns:
    """Where the columns of one set of variants stand in the matrix of all.

    variants: (variant,) places among the gene's; tested: columns of SKAT and ACAT-V.
    """

    variants: npt.NDArray[np.int64]
    burden: int
    tested: npt.NDArray[np.int64]

    @property
    def combines(self) -> bool:
        """Whether its tests differ from each other: of one column they are all the same."""
        return len(self.tested) > 1


@dataclass(frozen=True)
class PreparedGene:
    """A gene's columns, whatever the traits.

    matrix: (person, column); minor: (column,) the rarer allele's frequency, NaN for burdens; sets:
    the different sets of variants; names: (domain, mask, bin) → its set's number.
    """

    gene: Gene
    carriers: Carriers
    matrix: sparse.csc_array
    minor: Floats
    sets: tuple[Columns, ...]
    names: dict[tuple[str, str, str], int]


@dataclass(frozen=True)
class Products:
    """Of columns: scores (column, trait), covariance (column, column), after the covariates."""

    scores: Floats
    covariance: Floats


def gene_designs(
    designs: Sequence[Design],
    rows: npt.NDArray[np.uint32],
    calibration: Floats | None = None,
) -> list[GeneDesign]:
    """Say where the people of the study, rows (person,) of the genotype file, are in the designs.

    calibration: (trait of the study,) of whole-genome predictions.
    """
    out = []
    for design in designs:
        places = None
        if len(design) != len(rows):
            at = np.searchsorted(design.rows, rows)
            at = np.minimum(at, len(design) - 1)
            places = np.where(design.rows[at] == rows, at, -1).astype(np.int64)
        own = np.ones(len(design.traits))
        if calibration is not None:
            own = 1 / np.sqrt(calibration[np.array(design.traits)])
        out.append(GeneDesign(design, places, own))
    return out


def prepare_gene(
    gene: Gene,
    masks: Mapping[str, frozenset[str]],
    carriers: Carriers,
    settings: GeneSettings,
    *,
    frequencies: Floats | None = None,
    singletons: Booleans | None = None,
) -> PreparedGene:
    """Make the columns of all domains, masks and bins of a gene.

    carriers: of the gene's variants, in their order. frequencies, singletons: (variant,) given from
    elsewhere instead of counted. A mask or bin without a variant has no result; one that holds the
    same variants as another has the same.
    """
    chosen = dict(_chosen(gene, masks, carriers, settings, frequencies, singletons))
    distinct = {variants.tobytes(): variants for variants in chosen.values()}
    number = {key: at for at, key in enumerate(distinct)}
    matrix, sets, minor = _matrix(carriers, list(distinct.values()), settings)
    names = {name: number[variants.tobytes()] for name, variants in chosen.items()}
    return PreparedGene(gene, carriers, matrix, minor, tuple(sets), names)


def gene_results(
    prepared: PreparedGene,
    designs: Sequence[GeneDesign],
    n_traits: int,
    settings: GeneSettings,
) -> list[MaskResult]:
    """Test each different set of a gene against all traits; `named` says of which masks it is."""
    results = [_empty(prepared.carriers, own, designs, n_traits) for own in prepared.sets]
    for one in designs:
        products = products_of(prepared.matrix, one)
        traits = np.array(one.design.traits)
        for result, own in zip(results, prepared.sets, strict=True):
            beta, error, tests = set_tests(
                own, products, prepared.minor, one.norms, one.degrees, settings
            )
            result.beta[traits], result.standard_error[traits] = beta, error
            for test, values in tests.items():
                result.neg_log_10_p[test][traits] = values
    return results


def named(prepared: PreparedGene, results: Sequence[MaskResult]) -> list[MaskResult]:
    """The results of a gene's sets, one for each domain, mask and bin."""
    return [
        replace(results[at], domain=domain, mask=mask, bin=name)
        for (domain, mask, name), at in prepared.names.items()
    ]


def set_tests(
    own: Columns,
    products: Products,
    minor: Floats,
    norms: Floats,
    degrees: float,
    settings: GeneSettings,
    *,
    optimal: bool = True,
) -> tuple[Floats, Floats, dict[str, Floats]]:
    """beta and standard error of the burden, and −log10 p of `TESTS`, each (trait,).

    Without `optimal`, SKAT-O is NaN and its time saved.
    """
    at, tested = own.burden, own.tested
    burden = linear_tests(products.scores[[at]], products.covariance[[at], [at]], norms, degrees)
    found = variance_tests(
        products.scores[tested],
        products.covariance[np.ix_(tested, tested)],
        beta_weights(minor[tested], settings.weights),
        minor[tested],
        degrees,
        optimal=optimal,
    )
    logs = {
        "burden": -LN10 * burden.neg_log_10_p[0],
        "skat": found.skat,
        "skat-o": found.skat_o,
        "acat-v": found.acat_v,
    }
    together = np.stack([logs[test] for test in JOINED], axis=-1)
    logs["acat-o"] = log_cauchy_combination(together, None, _LARGEST_P)
    tests = {test: -values / LN10 for test, values in logs.items()}
    return burden.beta[0], burden.standard_error[0], tests


def combined(
    sets: Sequence[Columns],
    tests: Sequence[Mapping[str, Floats]],
    joined: Sequence[str] = JOINED,
) -> Floats:
    """(trait,) −log10 p over all different sets of a gene: their Cauchy combination.

    Of the tests `joined` of each set; of one column, of the first of them alone.
    """
    columns = [
        -LN10 * values[test]
        for own, values in zip(sets, tests, strict=True)
        for test in (joined if own.combines else joined[:1])
    ]
    logs = np.stack([column for column in columns if np.isfinite(column).any()] or columns, axis=-1)
    whole = np.isfinite(logs).all(axis=1)
    out = np.full(len(logs), np.nan)
    out[whole] = -log_cauchy_combination(logs[whole], None, _LARGEST_P) / LN10
    for row in np.flatnonzero(~whole & np.isfinite(logs).any(axis=1)):
        known = logs[row][np.isfinite(logs[row])]
        out[row] = -float(log_cauchy_combination(known, None, _LARGEST_P)) / LN10
    return out


def products_of(matrix: sparse.csc_array, one: GeneDesign) -> Products:
    """Products of columns (person of the study, column) in a design."""
    matrix = _in_design(matrix, one)
    loadings, scores = _across(matrix, one)
    covariance = (matrix.T @ matrix).toarray() - loadings @ loadings.T
    return Products(scores, np.asarray(covariance))


def single_products(matrix: sparse.csc_array, one: GeneDesign) -> tuple[Floats, Floats]:
    """Scores (column, trait) and variances (column,) of columns, without their covariances."""
    matrix = _in_design(matrix, one)
    loadings, scores = _across(matrix, one)
    squares = np.asarray(matrix.multiply(matrix).sum(axis=0)).ravel()
    return scores, squares - (loadings**2).sum(axis=1)


def _across(matrix: sparse.csc_array, one: GeneDesign) -> tuple[Floats, Floats]:
    """Products of columns with the covariates' basis and with the traits."""
    q, t = one.design.q, len(one.design.traits)
    across = np.asarray(matrix.T.tocsr() @ one.design.matrix[:, : q + t])
    return across[:, :q], across[:, q:] * one.scale


def _in_design(matrix: sparse.csc_array, one: GeneDesign) -> sparse.csc_array:
    if one.places is not None:
        there = one.places[matrix.indices] >= 0
        owner = np.repeat(np.arange(matrix.shape[1]), np.diff(matrix.indptr))[there]
        matrix = sparse.csc_array(
            (matrix.data[there], (one.places[matrix.indices[there]], owner)),
            shape=(len(one.design), matrix.shape[1]),
        )
    return matrix


def tested_columns(
    carriers: Carriers, variants: npt.NDArray[np.int64], settings: GeneSettings
) -> tuple[npt.NDArray[np.int64], sparse.csc_array | None]:
    """Variants that are tested one by one, and the very rare ones as one column (None: none)."""
    rare = carriers.minor_count[variants] <= settings.collapse_below
    if rare.sum() <= 1:  # nothing to collapse
        return variants, None
    return variants[~rare], burden_column(carriers.dosages[:, variants[rare]], "max")


def _chosen(
    gene: Gene,
    masks: Mapping[str, frozenset[str]],
    carriers: Carriers,
    settings: GeneSettings,
    frequencies: Floats | None,
    singletons: Booleans | None,
) -> Iterator[tuple[tuple[str, str, str], npt.NDArray[np.int64]]]:
    """(domain, mask, bin) → places of its variants among the gene's."""
    frequency = carriers.frequency if frequencies is None else frequencies
    seen = carriers.allele_count > 0
    once = carriers.n_carriers == 1 if settings.singleton_carriers else carriers.allele_count == 1
    if singletons is not None:
        once = singletons
    varies = seen & (carriers.minor_count > 0)
    names = sorted({name for name in gene.domains if name})
    for domain in (WHOLE_GENE, *names):
        inside = np.array([domain in (WHOLE_GENE, name) for name in gene.domains])
        for mask, categories in masks.items():
            fits = inside & np.array([category in categories for category in gene.categories])
            for limit in settings.bins:
                within = once if limit is None else frequency <= limit
                variants = np.flatnonzero(fits & within & varies)
                if len(variants):
                    yield (domain, mask, bin_name(limit)), variants


def _matrix(
    carriers: Carriers, sets: Sequence[npt.NDArray[np.int64]], settings: GeneSettings
) -> tuple[sparse.csc_array, list[Columns], Floats]:
    """All columns, where those of each set are, and each column's rarer allele's frequency."""
    n = carriers.dosages.shape[0]
    found = [tested_columns(carriers, variants, settings) for variants in sets]
    # Of thousands of variants in a long gene most are so rare that they are only in a collapse.
    alone = np.unique(np.concatenate([tested for tested, _ in found] or [np.zeros(0, np.int64)]))
    parts, added = [carriers.dosages[:, alone]], len(alone)
    minor = [np.minimum(carriers.frequency, 1 - carriers.frequency)[alone]]
    columns = []
    for variants, (chosen, collapsed) in zip(sets, found, strict=True):
        tested = np.searchsorted(alone, chosen)
        if collapsed is not None:
            parts.append(collapsed)
            share = collapsed.sum() / (2 * n)
            minor.append(np.array([min(share, 1 - share)]))
            tested = np.append(tested, added)
            added += 1
        parts.append(burden_column(carriers.dosages[:, variants], settings.rule))
        minor.append(np.array([np.nan]))
        columns.append(Columns(variants, added, tested))
        added += 1
    return sparse.hstack(parts, format="csc"), columns, np.concatenate(minor)


def _empty(
    carriers: Carriers, own: Columns, designs: Sequence[GeneDesign], n_traits: int
) -> MaskResult:
    people, carry = np.zeros(n_traits, dtype=np.int64), np.zeros(n_traits, dtype=np.int64)
    who = np.unique(carriers.called[:, own.variants].indices)
    for one in designs:
        traits = np.array(one.design.traits)
        people[traits] = len(one.design)
        carry[traits] = len(who) if one.places is None else int((one.places[who] >= 0).sum())
    beta, error = np.full(n_traits, np.nan), np.full(n_traits, np.nan)
    tests = {test: np.full(n_traits, np.nan) for test in TESTS}
    return MaskResult("", "", "", own.variants, people, carry, beta, error, tests)
