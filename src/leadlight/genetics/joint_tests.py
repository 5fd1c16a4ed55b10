"""One p-value per variant over all factors: is any of them, or all of them together, moved?

From the t or z statistics of the single traits and the traits' correlation R under the null:

- omnibus: zᵀR⁻¹z, chi-squared; from t statistics of complete traits the exact F test of the
  regression of the variant on all traits (Hotelling). Best for effects spread over many factors.
- least p: the smallest single p-value with its exact distribution under R, and, beside it, the
  simpler Šidák correction by the effective number of tests (Li & Ji). Best for one factor.
- variance component: Σz², a mixture of chi-squares. Best for effects along what the traits share.
- adaptive: the Cauchy combination of the three (Liu & Xie 2020), whose own approximation rejects
  about a tenth too often between p = 0.1 and 0.003 under such correlation, and is corrected there
  by draws from the null.

The effective number of tests rejects up to a third too often where factors are shared; the exact
least p does not, and is the one to use.

All p-values are natural logarithms inside and −log10 outside: no underflow.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight.errors import LeadlightError
from leadlight.genetics.effective_tests import li_ji
from leadlight.genetics.log_tails import (
    LN10,
    deviate,
    log_cauchy_combination,
    log_chi_squared_tail,
    log_f_tail,
    log_mixture_tail,
    log_sidak,
    log_two_sided,
)
from leadlight.genetics.tail_probability import neg_log_10_p

Floats = npt.NDArray[np.float64]

SMALLEST_EIGENVALUE = 1e-3  # of R: directions in which the traits are one another's copies
DRAWS = 50_000
_KEY = ("chromosome", "base_pair_location")
_COMPLEMENT = {"A": "T", "T": "A", "C": "G", "G": "C"}


@dataclass(frozen=True)
class JointNull:
    """What the joint tests need to know of R, worked out once (`joint_null`).

    decorrelate: (direction, trait), rows √λ⁻¹ eigenvector; effective_tests: Li & Ji's number;
    log_least, log_component, log_adaptive: log p as functions of the log single p, of Σz², and of
    the Cauchy combination's log p.
    """

    correlation: Floats
    decorrelate: Floats
    effective_tests: float
    log_least: Callable[[Floats], Floats]
    log_component: Callable[[Floats], Floats]
    log_adaptive: Callable[[Floats], Floats]
    _parts: dict[bytes, "JointNull"] = field(default_factory=dict, compare=False, repr=False)

    def part(self, traits: npt.NDArray[np.bool_]) -> "JointNull":
        """The null of some of the traits, (trait,) bool; made once."""
        if traits.all():
            return self
        key = traits.tobytes()
        if key not in self._parts:
            self._parts[key] = joint_null(self.correlation[np.ix_(traits, traits)])
        return self._parts[key]


@dataclass(frozen=True)
class JointResults:
    """All arrays (variant,); p-values as −log10 p; NaN where no trait has a statistic.

    omnibus_statistic: F with `omnibus_degrees` and residual degrees, or chi-squared;
    strongest_trait: its number (−1: none); n_traits: how many had a statistic.
    """

    omnibus_statistic: Floats
    omnibus_degrees: npt.NDArray[np.int64]
    omnibus: Floats
    least_p: Floats
    least_p_effective: Floats
    variance_component: Floats
    adaptive: Floats
    strongest_trait: npt.NDArray[np.int64]
    n_traits: npt.NDArray[np.int64]


def trait_correlation(residuals: Floats) -> Floats:
    """(trait, trait) correlation of the traits' null statistics, from the traits themselves.

    residuals: (person, trait) residuals on the covariates, NaN missing. Traits measured in
    different people share less: each pair counts its common people over the root of both numbers.
    """
    known = np.isfinite(residuals)
    values = np.where(known, residuals, 0)
    values = np.where(known, values - values.sum(axis=0) / known.sum(axis=0), 0)
    products = values.T @ values
    scale = np.sqrt(np.diag(products))
    if not (scale > 0).all():
        raise LeadlightError(
            f"Trait number {int(np.argmin(scale)) + 1} is constant.", advice="Leave it out."
        )
    return np.asarray(products / scale / scale[:, None])


def null_correlation(z: Floats, *, keep: float = 1e-2, rounds: int = 5) -> Floats:
    """(trait, trait) correlation of null statistics, estimated from summary statistics.

    z: (variant, trait), best of variants in low linkage; NaN missing. Variants whose omnibus p is
    below `keep` are left out, again after each estimate, until the selection stays. What the cut
    takes from the variances cancels in a correlation.
    """
    whole = z[np.isfinite(z).all(axis=1)]
    if len(whole) < 10 * z.shape[1]:
        raise LeadlightError(
            f"{len(whole)} variants with all {z.shape[1]} statistics are too few for their "
            "correlation.",
            advice=f"Give at least {10 * z.shape[1]}, or the traits' correlation.",
        )
    chosen = np.ones(len(whole), dtype=np.bool_)
    for _ in range(rounds):
        correlation = _as_correlation(whole[chosen].T @ whole[chosen])
        rotated = whole @ _decorrelation(correlation).T
        # In units of the bulk, so that inflated statistics don't all fall to the cut.
        size = np.sum(rotated**2, axis=1)
        middle = _chi_squared_median(rotated.shape[1])
        log_p = log_chi_squared_tail(size / max(np.median(size) / middle, 1), rotated.shape[1])
        again = log_p > np.log(keep)
        if (again == chosen).all():
            break
        chosen = again
    return correlation


def joint_null(correlation: Floats, *, seed: int = 1) -> JointNull:
    """Prepare the joint tests for traits of this correlation.

    Directions with an eigenvalue below SMALLEST_EIGENVALUE are left out of the omnibus test, and
    its degrees of freedom with them. The least p-value's distribution is P(∪|Zᵢ| > c) = Σ P(|Zᵢ| >
    c) · E[1 / number exceeding], each expectation over draws with one trait made to exceed: as
    exact at p = 1e-300 as at 0.05 (relative error about 0.3 %; Naiman & Priebe, Journal of
    Computational and Graphical Statistics 10:296, 2001).
    """
    if correlation.ndim != 2 or correlation.shape[0] != correlation.shape[1]:
        raise LeadlightError(f"A correlation of shape {correlation.shape} is not square.")
    if not np.isfinite(correlation).all() or not np.allclose(np.diag(correlation), 1, atol=1e-6):
        raise LeadlightError("A correlation has gaps, or not 1 on its diagonal.")
    if not np.allclose(correlation, correlation.T, atol=1e-6):
        raise LeadlightError("A correlation is not symmetric.")
    correlation = np.asarray(correlation, dtype=np.float64)
    sizes: Floats = np.linalg.eigvalsh(correlation).astype(np.float64)
    draw = np.random.default_rng(seed)
    raw = JointNull(
        correlation,
        _decorrelation(correlation),
        li_ji(correlation),
        _least_p(correlation, draw),
        log_mixture_tail(sizes[sizes > 1e-10]),
        lambda log_p: log_p,
    )
    if len(correlation) == 1:
        return raw
    return replace(raw, log_adaptive=_adaptive(raw, draw))


def joint_tests(statistics: Floats, null: JointNull, degrees: float | None = None) -> JointResults:
    """Test variants over all traits.

    statistics: (variant, trait) z statistics, NaN missing; or, with `degrees`, the t statistics of
    linear models on the same people with that many residual degrees of freedom: the omnibus test
    is then exact for normal traits. Variants that miss some traits are tested on those they have.
    """
    n_variants, n_traits = statistics.shape
    if n_traits != len(null.correlation):
        raise LeadlightError(
            f"{n_traits} traits have statistics, the correlation is of {len(null.correlation)}."
        )
    columns = {
        name: np.full(n_variants, np.nan)
        for name in (
            "omnibus_statistic", "omnibus", "least_p", "least_p_effective", "variance_component",
            "adaptive",
        )
    }  # fmt: skip
    omnibus_degrees = np.zeros(n_variants, dtype=np.int64)
    strongest = np.full(n_variants, -1, dtype=np.int64)
    known = np.isfinite(statistics)
    patterns, of_variant = np.unique(known, axis=0, return_inverse=True)
    for at, pattern in enumerate(patterns):
        if not pattern.any():
            continue
        rows, traits = np.flatnonzero(of_variant.ravel() == at), np.flatnonzero(pattern)
        part = null.part(pattern)
        values, freedom = _test(statistics[np.ix_(rows, traits)], part, degrees)
        for name, column in values.items():
            columns[name][rows] = column
        omnibus_degrees[rows] = freedom
        strongest[rows] = traits[np.abs(statistics[np.ix_(rows, traits)]).argmax(axis=1)]
    return JointResults(
        omnibus_degrees=omnibus_degrees,
        strongest_trait=strongest,
        n_traits=known.sum(axis=1),
        **columns,
    )


def aligned_z(tables: Mapping[str, pl.DataFrame]) -> tuple[pl.DataFrame, Floats]:
    """Join several traits' summary statistics by variant and allele.

    tables: trait → columns chromosome, base_pair_location, effect_allele, other_allele, beta and
    standard_error. Returns the variants (those four columns, as the first table that has a variant
    counts its alleles) and z (variant, trait), NaN where a trait lacks the variant. Where the
    alleles are swapped z changes sign; where they are the other strand's (and not A/T or C/G, which
    look the same from both) they are matched; other alleles are another variant. Raises
    LeadlightError on missing columns, or where a trait has one variant twice.
    """
    joined: pl.DataFrame | None = None
    for number, (trait, table) in enumerate(tables.items()):
        needed = (*_KEY, "effect_allele", "other_allele", "beta", "standard_error")
        absent = [name for name in needed if name not in table.columns]
        if absent:
            raise LeadlightError(
                f"The summary statistics of {trait} have no column {absent[0]}.",
                advice=f"Expected {', '.join(needed)}.",
            )
        own = _canonical(table).select(
            *_KEY,
            "_pair",
            pl.col("effect_allele"),
            pl.col("other_allele"),
            (pl.col("_sign") * pl.col("beta") / pl.col("standard_error")).alias(f"_z{number}"),
            pl.col("_sign").alias(f"_sign{number}"),
        )
        if own.select(pl.struct(*_KEY, "_pair").is_duplicated().any()).item():
            raise LeadlightError(
                f"The summary statistics of {trait} name a variant twice.",
                advice="Keep one line for each variant and pair of alleles.",
            )
        if joined is None:
            joined = own.rename({f"_sign{number}": "_sign"})
            continue
        joined = joined.join(
            own, on=[*_KEY, "_pair"], how="full", coalesce=True, suffix="_own"
        ).with_columns(
            pl.coalesce("effect_allele", "effect_allele_own").alias("effect_allele"),
            pl.coalesce("other_allele", "other_allele_own").alias("other_allele"),
            pl.coalesce("_sign", f"_sign{number}").alias("_sign"),
        ).drop("effect_allele_own", "other_allele_own", f"_sign{number}")  # fmt: skip
    if joined is None:
        raise LeadlightError("No summary statistics were given.")
    joined = joined.sort(*_KEY, "_pair")
    z = joined.select([f"_z{number}" for number in range(len(tables))]).to_numpy()
    sign = joined["_sign"].to_numpy()
    return (
        joined.select(*_KEY, "effect_allele", "other_allele"),
        np.asarray(z, dtype=np.float64) * sign[:, None],
    )


def _test(
    statistics: Floats, null: JointNull, degrees: float | None
) -> tuple[dict[str, Floats], int]:
    freedom = len(null.decorrelate)
    if degrees is None:
        log_single = log_two_sided(statistics)
        z = statistics
        omnibus = np.sum((z @ null.decorrelate.T) ** 2, axis=1)
        log_omnibus = log_chi_squared_tail(omnibus, freedom)
    else:
        log_single = -LN10 * neg_log_10_p(statistics, degrees)
        z = deviate(log_single)
        z *= np.sign(statistics)
        # Partial correlations with each trait give the multiple one, and that the F statistic.
        partial = statistics / np.sqrt(statistics**2 + degrees)
        share = np.minimum(np.sum((partial @ null.decorrelate.T) ** 2, axis=1), 1 - 1e-15)
        residual = degrees + 1 - freedom
        if residual <= 0:
            raise LeadlightError(f"{freedom} traits are too many for {degrees} degrees of freedom.")
        omnibus = share / freedom / ((1 - share) / residual)
        log_omnibus = log_f_tail(omnibus, freedom, residual)
    log_best = log_single.min(axis=1)
    log_least = null.log_least(log_best)
    log_component = null.log_component(np.sum(z**2, axis=1))
    together = np.stack([log_omnibus, log_least, log_component], axis=1)
    logs = {
        "omnibus": log_omnibus,
        "least_p": log_least,
        "least_p_effective": log_sidak(log_best, null.effective_tests),
        "variance_component": log_component,
        "adaptive": null.log_adaptive(log_cauchy_combination(together))
        if z.shape[1] > 1
        else log_omnibus,
    }
    return {name: -log / LN10 for name, log in logs.items()} | {"omnibus_statistic": omnibus}, (
        freedom
    )


def _decorrelation(correlation: Floats) -> Floats:
    sizes, vectors = np.linalg.eigh(correlation)
    good = sizes > SMALLEST_EIGENVALUE
    return np.asarray((vectors[:, good] / np.sqrt(sizes[good])).T)


def _as_correlation(products: Floats) -> Floats:
    scale = np.sqrt(np.diag(products))
    return np.asarray(products / scale / scale[:, None])


def _chi_squared_median(degrees: int) -> float:
    return degrees * (1 - 2 / (9 * degrees)) ** 3


def _least_p(correlation: Floats, draw: np.random.Generator) -> Callable[[Floats], Floats]:
    """log P(min p ≤ p₁) as a function of log p₁."""
    count = len(correlation)
    if count == 1:
        return lambda log_p: log_p
    # log p₁ from 0 to −20,000; far out the traits exceed one at a time.
    grid = -np.concatenate([[1e-4, 1e-3, 0.01, 0.05], np.geomspace(0.1, 20_000, 60)])
    sizes, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(np.maximum(sizes, 0))
    normal = draw.standard_normal((DRAWS, count)) @ root.T
    chosen = draw.integers(count, size=DRAWS)
    own = normal[np.arange(DRAWS), chosen]
    log_uniform = np.log1p(-draw.random(DRAWS))
    sign = draw.choice([-1.0, 1.0], DRAWS)
    loading = correlation[chosen]
    mean_inverse = np.empty(len(grid))
    for at, log_p in enumerate(grid):
        # The chosen trait beyond the threshold; the others given it.
        forced = sign * deviate(log_p + log_uniform)
        values = normal + loading * (forced - own)[:, None]
        threshold = deviate(np.array(log_p)) * (1 - 1e-12)
        mean_inverse[at] = np.mean(1 / np.maximum((np.abs(values) >= threshold).sum(axis=1), 1))
    # The expectation rises from 1/count to 1 as the threshold does; smooth the draws' noise out.
    factor = np.maximum.accumulate(np.minimum(count * mean_inverse, count))
    at_log = np.log(-grid)

    def log_least(log_p: Floats) -> Floats:
        with np.errstate(divide="ignore"):
            return np.asarray(
                np.minimum(log_p + np.log(np.interp(np.log(-log_p), at_log, factor)), 0)
            )

    return log_least


def _adaptive(raw: JointNull, draw: np.random.Generator) -> Callable[[Floats], Floats]:
    """log p of the combined statistic: corrected by draws to 0.01, less and less to 0.0001."""
    sizes, vectors = np.linalg.eigh(raw.correlation)
    root = vectors * np.sqrt(np.maximum(sizes, 0))
    found = [
        -LN10 * _test(draw.standard_normal((DRAWS, len(root))) @ root.T, raw, None)[0]["adaptive"]
        for _ in range(4)
    ]
    combined = np.sort(np.concatenate(found))
    levels = np.log(np.append(np.geomspace(0.01, 0.9, 40), 1.0))
    share = np.maximum(np.searchsorted(combined, levels, side="right") / combined.size, 1e-4)
    at = np.concatenate([[np.log(1e-4)], levels])
    correction = np.concatenate([[0.0], np.log(share) - levels])
    correction[-1] = 0.0

    def log_adaptive(log_p: Floats) -> Floats:
        return np.asarray(np.minimum(log_p + np.interp(log_p, at, correction), 0))

    return log_adaptive


def _canonical(table: pl.DataFrame) -> pl.DataFrame:
    """Add `_pair`, the alleles in an order and strand that all tables share, and `_sign`.

    `_sign` is −1 where the pair's first allele is not the effect allele.
    """
    effect = pl.col("effect_allele").cast(pl.String).str.to_uppercase()
    other = pl.col("other_allele").cast(pl.String).str.to_uppercase()
    table = table.with_columns(
        pl.col("chromosome").cast(pl.String),
        pl.col("base_pair_location").cast(pl.Int64),
        effect.alias("effect_allele"),
        other.alias("other_allele"),
    )
    own = pl.col("effect_allele"), pl.col("other_allele")
    turned = tuple(column.replace_strict(_COMPLEMENT, default=None) for column in own)
    # Of A/C and its other strand T/G, the one that holds an A or, for C/T and G/A, … is kept: the
    # smaller text of the two, each with its alleles in order.
    pair = pl.min_horizontal(*own) + "/" + pl.max_horizontal(*own)
    other_pair = pl.min_horizontal(*turned) + "/" + pl.max_horizontal(*turned)
    has_strand = turned[0].is_not_null() & turned[1].is_not_null()
    keep = ~has_strand | (pair <= other_pair)
    first = pl.when(keep).then(own[0] <= own[1]).otherwise(turned[0] <= turned[1])
    return table.with_columns(
        pl.when(keep).then(pair).otherwise(other_pair).alias("_pair"),
        pl.when(first).then(1).otherwise(-1).cast(pl.Int8).alias("_sign"),
    )
