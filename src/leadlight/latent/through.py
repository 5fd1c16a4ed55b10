"""Explain a classifier through factors: how much of its logit they carry, and along which ECG."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import RidgeCV

from leadlight.errors import LeadlightError
from leadlight.latent.disentanglement import probe_predictions
from leadlight.latent.model import LatentModel

Array = npt.NDArray[np.float64]

_RIDGE = np.logspace(-2, 4, 13)
_RESAMPLES = 300


@dataclass(frozen=True)
class ThroughFactors:
    """A class's logit as a weighted sum of factors.

    Attributes:
        class_name: of the classifier.
        share, share_low, share_high: of the logit's variance that the factors explain, in people
            who were held out, with the interval over bootstrap draws of patients.
        weights, weights_low, weights_high: (factor) change of the logit per SD of each factor.
        direction_mv: (lead of LEADS, sample) the ECG difference that goes with the class: from the
            mean beat one SD of the factors' sum along their covariance with the logit.
        records, patients: how many.
    """

    class_name: str
    share: float
    share_low: float
    share_high: float
    weights: Array
    weights_low: Array
    weights_high: Array
    direction_mv: Array
    records: int
    patients: int


def through_factors(
    model: LatentModel,
    factors: npt.NDArray[np.floating],
    logit: npt.NDArray[np.floating],
    patients: Sequence[str],
    class_name: str,
    *,
    seed: int = 0,
) -> ThroughFactors:
    """Regress a classifier's logit (record) on factors (record, factor).

    Raises:
        LeadlightError: fewer than 30 records have a logit, or it never changes.
    """
    x = np.asarray(factors, dtype=np.float64)
    y = np.asarray(logit, dtype=np.float64)
    who = np.asarray(patients)
    known = np.isfinite(y) & np.isfinite(x).all(axis=1)
    x, y, who = x[known], y[known], who[known]
    if len(y) < 30 or y.std() < 1e-9:
        raise LeadlightError(
            f"The logit of {class_name} cannot be explained: {len(y)} records have one, with a "
            f"standard deviation of {y.std() if len(y) else 0:.2g}.",
            advice="Classify and encode the same study first.",
        )
    predicted, _ = probe_predictions(x, y, groups=who.tolist())
    names, person = np.unique(who, return_inverse=True)
    order = np.argsort(person, kind="stable")
    edges = np.searchsorted(person[order], np.arange(len(names) + 1))
    rng = np.random.default_rng(seed)
    shares, weights = [], []
    best = RidgeCV(_RIDGE).fit(x, y)
    eye = best.alpha_ * np.eye(x.shape[1])
    for _ in range(_RESAMPLES):
        drawn = rng.integers(len(names), size=len(names))
        at = np.concatenate([order[edges[one] : edges[one + 1]] for one in drawn])
        shares.append(_share(y[at], predicted[at]))
        a = x[at] - x[at].mean(axis=0)
        weights.append(np.linalg.solve(a.T @ a + eye, a.T @ (y[at] - y[at].mean())))
    low, high = np.quantile(weights, [0.025, 0.975], axis=0)
    share_low, share_high = np.quantile(shares, [0.025, 0.975])
    return ThroughFactors(
        class_name=class_name,
        share=_share(y, predicted),
        share_low=float(share_low),
        share_high=float(share_high),
        weights=np.asarray(best.coef_, dtype=np.float64),
        weights_low=low,
        weights_high=high,
        direction_mv=_direction(model, x, best.coef_),
        records=len(y),
        patients=len(names),
    )


def _direction(model: LatentModel, factors: Array, weights: Array) -> Array:
    """Decoded difference along what the factors do, on average, when their sum rises by one SD."""
    covariance = np.cov(factors.T)
    along = covariance @ weights
    along = along / max(float(np.sqrt(weights @ covariance @ weights)), 1e-12)
    centre = factors.mean(axis=0)
    beats = model.decode_twelve(np.stack([centre + along, centre - along]))
    return np.asarray((beats[0] - beats[1]) / 2)


def _share(y: Array, predicted: Array) -> float:
    return float(1 - ((y - predicted) ** 2).sum() / max(((y - y.mean()) ** 2).sum(), 1e-12))
