"""The ECG difference itself: what people's beats say of every sample, with its bands.

The direct estimate is a regression of each sample of each lead of the median beat. It is unbiased,
and its bands mean what they say. It is also noisy where the locus is weak, so beside it stands a
shrunken one (empirical Bayes): what one would bet on.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm
from scipy.stats import t as student

from leadlight.genetics.effect.people import PeopleBeats
from leadlight.genetics.effect.regression import Regression
from leadlight.genetics.effect.shift import root
from leadlight.latent.network import varimax

Floats = npt.NDArray[np.float64]

_DRAWS = 2000
# Standard deviations of the prior of an effect in units of its standard error; 0 is no effect.
_SCALES = np.array([0, 0.5, 1, 1.5, 2.2, 3.2, 4.7, 7, 10, 15, 20])
# So many of the leading directions of the beats are turned so that each moves few samples.
_TURNED = 40
_OWN = 0.9


@dataclass(frozen=True)
class Bands:
    """A difference with its errors, all (lead of LEADS, sample) in mV.

    Attributes:
        difference_mv: per step of the exposure.
        error_mv: standard error.
        critical: standard errors from the line to the edge of the pointwise 95 % band.
        critical_everywhere: the same for the band that holds the whole beat at once with 95 %,
            over the samples of `shown`.
        shown: (sample) whether most people's sample is their beat's own.
    """

    difference_mv: Floats
    error_mv: Floats
    critical: float
    critical_everywhere: float
    shown: npt.NDArray[np.bool_]

    @property
    def beyond_chance(self) -> float:
        """Share of the shown samples at which the whole beat's band leaves zero out.

        With no effect it is 0 in 95 of 100 drawings.
        """
        reach = self.critical_everywhere * self.error_mv[:, self.shown]
        return float((np.abs(self.difference_mv[:, self.shown]) > reach).mean())

    @property
    def reliability(self) -> float:
        """Share of the difference's energy (over `shown`) that is beyond the noise's, 0 to 1.

        The root of it is the correlation with the true difference that is to be expected.
        """
        energy = float((self.difference_mv[:, self.shown] ** 2).sum())
        noise = float((self.error_mv[:, self.shown] ** 2).sum())
        return max(0.0, 1 - noise / energy) if energy > 0 else 0.0


def direct_difference(beats: PeopleBeats, found: Regression, *, seed: int = 0) -> Bands:
    """From the regression of the beats' components, the difference at every sample."""
    count = len(beats.basis)
    beta, covariance = found.beta[:count], found.covariance[:count, :count]
    paths = beats.to_twelve(root(covariance).T)
    shown = beats.own_share >= _OWN
    return bands(beats.to_twelve(beta), paths, shown, found.degrees, seed=seed)


def bands(
    difference_mv: Floats,
    paths_mv: Floats,
    shown: npt.NDArray[np.bool_],
    degrees: float,
    *,
    seed: int = 0,
) -> Bands:
    """Pointwise and simultaneous bands of a difference.

    Args:
        difference_mv: (lead of LEADS, sample).
        paths_mv: (direction, lead of LEADS, sample) whose products sum to the error's covariance.
        shown: (sample) over which the simultaneous band holds.
        degrees: of freedom of the errors.
        seed: of the draws that the simultaneous band is made from.
    """
    error = np.sqrt((paths_mv**2).sum(axis=0))
    rng = np.random.default_rng(seed)
    # Every third sample (6 ms) is enough to find the largest: beats are smooth.
    some = np.flatnonzero(shown)[::3]
    scale = np.maximum(error[:, some], 1e-12)
    flat = (paths_mv[:, :, some] / scale).reshape(len(paths_mv), -1).astype(np.float32)
    largest = np.abs(rng.standard_normal((_DRAWS, len(flat))).astype(np.float32) @ flat).max(axis=1)
    chance = float(student.ppf(0.975, degrees))
    everywhere = float(np.quantile(largest, 0.95)) * chance / float(norm.ppf(0.975))
    return Bands(difference_mv, error, chance, max(everywhere, chance), shown)


def shrunken_difference(beats: PeopleBeats, found: Regression) -> Floats:
    """(lead of LEADS, sample) posterior mean of the difference in mV, by empirical Bayes.

    The beats' directions of spread, in units of it, have independent errors of the same size; the
    leading ones are turned to simple structure, so that an effect lies on few of them. Their
    effects are taken to come from a mixture of normal distributions about zero, fitted to them
    (Stephens 2017, Biostatistics 18:275), apart for leading and other directions.
    """
    count = len(beats.basis)
    sizes, vectors = np.linalg.eigh(found.covariance[:count, :count])
    order = np.argsort(-sizes)
    order = order[sizes[order] > 1e-12 * sizes.max()]
    spread = np.sqrt(sizes[order])
    z = (found.beta[:count] @ vectors[:, order]) / spread
    turned = min(_TURNED, len(order))
    rows = (vectors[:, order[:turned]] * spread[:turned]).T @ beats.basis
    turn = varimax(rows.T[::5])
    shrunk = np.concatenate(
        [turn @ posterior_mean(turn.T @ z[:turned]), posterior_mean(z[turned:])]
    )
    return beats.to_twelve((shrunk * spread) @ vectors[:, order].T)


def posterior_mean(z: Floats, *, null_weight: float = 2.0, rounds: int = 400) -> Floats:
    """What effects with these z scores are expected to be, in standard errors.

    null_weight: effects of zero that are thought to have been seen before.
    """
    if not len(z):
        return z
    prior = np.zeros(len(_SCALES))
    prior[0] = null_weight
    likelihood = norm.pdf(z[:, None], 0, np.sqrt(1 + _SCALES**2)) + 1e-300
    weight = np.full(len(_SCALES), 1 / len(_SCALES))
    for _ in range(rounds):
        share = likelihood * weight
        share /= share.sum(axis=1, keepdims=True)
        weight = share.sum(axis=0) + prior
        weight /= weight.sum()
    share = likelihood * weight
    share /= share.sum(axis=1, keepdims=True)
    return np.asarray((share @ (_SCALES**2 / (1 + _SCALES**2))) * z)
