"""How far factors are independent, and how far each is one true trait: correlation, total
correlation, mutual information, DCI, MIG, and what a linear probe recovers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import digamma
from scipy.stats import norm, rankdata
from sklearn.linear_model import LassoCV, RidgeCV
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.neighbors import KDTree

Array = npt.NDArray[np.float64]

_RIDGE = np.logspace(-3, 4, 15)
_BINS = 20


@dataclass(frozen=True)
class Independence:
    """How far factors depend on each other in some records.

    Attributes:
        largest_r: the largest |Pearson r| between two factors.
        largest_rank_r: the same after a rank-based inverse normal transform, in which outliers
            count no more than others, as in an association.
        expected_largest_r: mean of the largest |r| of as many independent factors in as many
            records: what chance alone gives.
        root_mean_square_r: over pairs, of the rank-normalised factors, freed of what chance gives.
        gaussian_total_correlation: −½ log det of the rank-normalised correlations, in nats, less
            what chance gives.
        largest_mutual_information: between two factors, in nats (Kraskov et al. 2004, k = 5).
        records: how many.
    """

    largest_r: float
    largest_rank_r: float
    expected_largest_r: float
    root_mean_square_r: float
    gaussian_total_correlation: float
    largest_mutual_information: float
    records: int


def independence(factors: npt.NDArray[np.floating], *, seed: int = 0) -> Independence:
    """Dependence between the columns of (record, factor)."""
    values = np.asarray(factors, dtype=np.float64)
    n, k = values.shape
    normal = rank_normal(values)
    r, rank_r = correlations(values), correlations(normal)
    pairs = np.triu_indices(k, 1)
    rng = np.random.default_rng(seed)
    largest, chance = [], []
    for _ in range(100):
        drawn = correlations(rng.standard_normal((n, k)))
        largest.append(np.abs(drawn[pairs]).max())
        chance.append(_gaussian_total_correlation(drawn))
    squares = (rank_r[pairs] ** 2).mean() - 1 / (n - 1)
    order = np.argsort(-np.abs(rank_r[pairs]))[:10]
    mutual = [mutual_information(normal[:, pairs[0][at]], normal[:, pairs[1][at]]) for at in order]
    return Independence(
        largest_r=float(np.abs(r[pairs]).max()),
        largest_rank_r=float(np.abs(rank_r[pairs]).max()),
        expected_largest_r=float(np.mean(largest)),
        root_mean_square_r=float(np.sqrt(max(squares, 0.0))),
        gaussian_total_correlation=_gaussian_total_correlation(rank_r) - float(np.mean(chance)),
        largest_mutual_information=float(max(mutual)),
        records=n,
    )


def correlations(values: Array) -> Array:
    """(factor, factor) Pearson r of (record, factor)."""
    return np.asarray(np.atleast_2d(np.corrcoef(values.T)), dtype=np.float64)


def rank_normal(values: Array) -> Array:
    """Each column's ranks as normal quantiles (Blom 1958)."""
    ranks = rankdata(values, axis=0)
    return np.asarray(norm.ppf((ranks - 0.375) / (len(values) + 0.25)))


def mutual_information(x: Array, y: Array, neighbours: int = 5) -> float:
    """Mutual information of two columns in nats (Kraskov, Stögbauer and Grassberger 2004)."""
    both = np.stack([x, y], axis=1)
    radius = KDTree(both, metric="chebyshev").query(both, neighbours + 1)[0][:, -1]
    radius = np.nextafter(radius, 0)
    near = [
        KDTree(one[:, None], metric="chebyshev").query_radius(one[:, None], radius, count_only=True)
        for one in (x, y)
    ]
    found = digamma(neighbours) + digamma(len(x))
    return float(max(0.0, found - (digamma(near[0]) + digamma(near[1])).mean()))


@dataclass(frozen=True)
class Recovery:
    """How well true traits are recovered from factors.

    Attributes:
        traits: their names.
        r2: (trait) of a linear probe (ridge), cross-validated.
        disentanglement: how far each factor tells of one trait only (DCI, Eastwood and Williams
            2018), from 0 to 1, weighted by importance.
        completeness: how far each trait is told by one factor only.
        mig: mean mutual information gap (Chen et al. 2018): for each trait the difference between
            the two factors that tell most of it, over its entropy.
        importance: (factor, trait) absolute weights of a sparse (lasso) probe.
    """

    traits: tuple[str, ...]
    r2: Array
    disentanglement: float
    completeness: float
    mig: float
    importance: Array


def recovery(
    factors: npt.NDArray[np.floating],
    traits: Array,
    names: Sequence[str],
    *,
    groups: Sequence[str] | None = None,
    folds: int = 5,
) -> Recovery:
    """What factors (record, factor) say of true traits (record, trait).

    `groups` are the patients, who are kept together in a fold; each record its own where None.
    """
    values = _standard(np.asarray(factors, dtype=np.float64))
    truth = _standard(np.asarray(traits, dtype=np.float64))
    r2 = np.array(
        [probe_r2(values, truth[:, at], groups=groups, folds=folds) for at in range(truth.shape[1])]
    )
    importance = np.stack(
        [
            np.abs(LassoCV(alphas=20, cv=folds, max_iter=5000).fit(values, truth[:, at]).coef_)
            for at in range(truth.shape[1])
        ],
        axis=1,
    )
    told = importance.sum()
    by_factor = importance / np.maximum(importance.sum(axis=1, keepdims=True), 1e-12)
    by_trait = importance / np.maximum(importance.sum(axis=0, keepdims=True), 1e-12)
    purity = 1 - _entropy(by_factor, axis=1) / np.log(importance.shape[1])
    unity = 1 - _entropy(by_trait, axis=0) / np.log(importance.shape[0])
    weights = importance.sum(axis=1) / max(told, 1e-12)
    return Recovery(
        traits=tuple(names),
        r2=r2,
        disentanglement=float((purity * weights).sum()),
        completeness=float(unity.mean()),
        mig=_mutual_information_gap(values, truth),
        importance=importance,
    )


def probe_r2(
    values: Array, truth: Array, *, groups: Sequence[str] | None = None, folds: int = 5
) -> float:
    """R² of a ridge regression of `truth` (record) on `values` (record, factor), cross-validated.

    NaN in the truth is left out.
    """
    predicted, known = probe_predictions(values, truth, groups=groups, folds=folds)
    y = truth[known]
    return float(1 - ((y - predicted) ** 2).sum() / ((y - y.mean()) ** 2).sum())


def probe_predictions(
    values: Array, truth: Array, *, groups: Sequence[str] | None = None, folds: int = 5
) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Held-out predictions of `probe_r2` for the records where the truth is known, and which."""
    known = np.isfinite(truth)
    n = int(known.sum())
    who = np.arange(n) if groups is None else np.asarray(groups)[known]
    predicted = cross_val_predict(
        RidgeCV(_RIDGE),
        values[known],
        truth[known],
        groups=who,
        cv=GroupKFold(folds, shuffle=True, random_state=0),
    )
    return np.asarray(predicted, dtype=np.float64), known


def _mutual_information_gap(values: Array, truth: Array) -> float:
    edges = np.linspace(0, 1, _BINS + 1)[1:-1]
    x = np.stack([np.digitize(c, np.quantile(c, edges)) for c in values.T], axis=1)
    y = np.stack([np.digitize(c, np.quantile(c, edges)) for c in truth.T], axis=1)
    gaps = []
    for trait in range(y.shape[1]):
        shared = np.sort([_binned_information(x[:, f], y[:, trait]) for f in range(x.shape[1])])
        gaps.append((shared[-1] - shared[-2]) / np.log(_BINS))
    return float(np.mean(gaps))


def _binned_information(x: npt.NDArray[np.int64], y: npt.NDArray[np.int64]) -> float:
    joint = np.zeros((_BINS, _BINS))
    np.add.at(joint, (x, y), 1)
    joint /= joint.sum()
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    some = joint > 0
    return float((joint[some] * np.log(joint[some] / apart[some])).sum())


def _gaussian_total_correlation(correlation: Array) -> float:
    return float(-0.5 * np.linalg.slogdet(correlation)[1])


def _entropy(shares: Array, axis: int) -> Array:
    safe = np.where(shares > 0, shares, 1.0)
    return np.asarray(-(shares * np.log(safe)).sum(axis=axis))


def _standard(values: Array) -> Array:
    spread = np.maximum(values.std(axis=0), 1e-12)
    return np.asarray((values - values.mean(axis=0)) / spread)
