"""One exposure against many outcomes at once, with the covariance of all their effects."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from leadlight.errors import LeadlightError
from leadlight.genetics.designs import orthonormal_basis

Floats = npt.NDArray[np.float64]

# Below this share of its variance left, an exposure is what the covariates say already.
_LEFT = 1e-6
_AT_ONCE = 8192  # people whose outcomes are held in double precision at a time


@dataclass(frozen=True)
class Regression:
    """What one step of the exposure does to each outcome.

    Attributes:
        beta: (outcome) change per step.
        covariance: (outcome, outcome) of the errors of `beta`, right also where spread differs
            between people (HC3; MacKinnon and White 1985).
        n: people.
        degrees: of freedom of the interval: that of the people whose exposure tells something. As
            many as people for a common variant, about as many as carriers for a rare one.
    """

    beta: Floats
    covariance: Floats
    n: int
    degrees: float

    @property
    def standard_error(self) -> Floats:
        """(outcome)."""
        return np.asarray(np.sqrt(np.diag(self.covariance)))

    @property
    def critical(self) -> float:
        """By how many standard errors a 95 % interval reaches to either side."""
        return float(student.ppf(0.975, self.degrees))


@dataclass(frozen=True)
class AdjustedExposure:
    """An exposure freed of the covariates, ready for any number of outcomes.

    Attributes:
        basis: (person, column) orthonormal, of a constant and the covariates.
        residual: (person) what is left of the exposure.
        information: its sum of squares.
        weight: (person) residual / information / (1 − leverage): a residual's part in the error.
        degrees: see `Regression`.
    """

    basis: Floats
    residual: Floats
    information: float
    weight: Floats
    degrees: float


def adjust(exposure: Floats, covariates: Floats, name: str) -> AdjustedExposure:
    """Project an exposure (person) off the covariates (person, covariate).

    Raises:
        LeadlightError: nothing is left of it, or there are hardly more people than covariates.
    """
    basis = orthonormal_basis(covariates)
    n, columns = basis.shape
    if n < columns + 10:
        raise LeadlightError(
            f"{n} people are too few for {columns - 1} covariates.", advice="Give fewer."
        )
    centred = exposure - exposure.mean()
    residual = centred - basis @ (basis.T @ centred)
    residual -= basis @ (basis.T @ residual)
    information = float(residual @ residual)
    if information <= _LEFT * float(centred @ centred):
        raise LeadlightError(
            f"The covariates say all about {name}.", advice="Leave it out of the covariates."
        )
    leverage = (basis**2).sum(axis=1) + residual**2 / information
    weight = residual / information / np.maximum(1 - leverage, 0.05)
    effective = information**2 / float((residual**4).sum())
    degrees = min(float(n - columns - 1), max(effective, 2.0))
    return AdjustedExposure(basis, residual, information, weight, degrees)


def regress(adjusted: AdjustedExposure, outcomes: npt.NDArray[np.floating]) -> Regression:
    """Least squares of outcomes (person, outcome), all known, on the exposure and covariates."""
    n, count = outcomes.shape
    mean = outcomes.mean(axis=0, dtype=np.float64)
    parts = [slice(low, low + _AT_ONCE) for low in range(0, n, _AT_ONCE)]
    moved, explained = np.zeros(count), np.zeros((adjusted.basis.shape[1], count))
    for part in parts:
        values = outcomes[part] - mean
        moved += adjusted.residual[part] @ values
        explained += adjusted.basis[part].T @ values
    beta = moved / adjusted.information
    covariance = np.zeros((count, count))
    for part in parts:
        left = outcomes[part] - mean - adjusted.basis[part] @ explained
        left -= np.outer(adjusted.residual[part], beta)
        left *= adjusted.weight[part, None]
        covariance += left.T @ left
    return Regression(beta, covariance, n, adjusted.degrees)


def regress_each(
    exposure: Floats, covariates: Floats, outcomes: Floats, name: str, fewest: int = 30
) -> tuple[Floats, Floats, Floats, npt.NDArray[np.int64]]:
    """Each outcome alone, on the people who have it: (outcome) beta, standard error, critical, n.

    NaN where fewer than `fewest` people have the outcome or the exposure is the same in all of
    them.
    """
    count = outcomes.shape[1]
    found = np.full((3, count), np.nan)
    n = np.zeros(count, dtype=np.int64)
    made: dict[bytes, AdjustedExposure] = {}
    for place in range(count):
        known = np.isfinite(outcomes[:, place])
        n[place] = int(known.sum())
        if n[place] < fewest or np.ptp(exposure[known]) == 0:
            continue
        key = known.tobytes()
        if key not in made:
            made[key] = adjust(exposure[known], covariates[known], name)
        one = regress(made[key], outcomes[known, place : place + 1])
        found[:, place] = one.beta[0], one.standard_error[0], one.critical
    return found[0], found[1], found[2], n
