"""A shift of factors as an ECG: the decoder there minus the decoder here, averaged over people.

A factor does not do the same to everybody's ECG, so the difference is averaged over the places that
people have among the factors. Its error goes through the decoder's mean slope (delta method); draws
of the shift from its distribution, decoded one by one, say how far that can be trusted.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from leadlight.genetics.effect.shift import FactorShift, root
from leadlight.latent.beats import twelve_leads
from leadlight.latent.linear import principal_components
from leadlight.latent.model import LatentModel

Floats = npt.NDArray[np.float64]

_STEP_SD = 0.1  # of the slope's finite difference
_AT_ONCE = 512
_UNSEEN = 60  # directions of what the decoder does not draw


@dataclass(frozen=True)
class DecodedShift:
    """What a shift of the factors does to the beat.

    Attributes:
        difference_mv: (lead of LEADS, sample) decoder at (place + shift) minus decoder at place,
            mean over places.
        error_mv: (lead of LEADS, sample) its standard error by the decoder's mean slope.
        error_of_draws_mv: the same from draws of the shift.
        slope_mv: (factor, lead of LEADS, sample) mean change per SD of each factor.
        places: how many people's factors were averaged over.
    """

    difference_mv: Floats
    error_mv: Floats
    error_of_draws_mv: Floats
    slope_mv: Floats
    places: int

    @property
    def disagreement(self) -> float:
        """How much larger the errors by draws are than those by the slope, as a share.

        Weighted by the errors, over all samples.
        """
        return float(self.error_of_draws_mv.sum() / max(self.error_mv.sum(), 1e-12) - 1)


def reference_places(factors: int, count: int, seed: int = 0) -> Floats:
    """(person, factor) places of people who stand for the model's reference population.

    Factors there are uncorrelated with unit variance; beyond that their distribution is taken to
    be normal.
    """
    return np.random.default_rng(seed).standard_normal((count, factors))


def decode_shift(
    model: LatentModel,
    shift: FactorShift,
    places: Floats,
    *,
    draws: int = 200,
    most: int = 400,
    seed: int = 0,
) -> DecodedShift:
    """Decode a shift at the places (person, factor) of people, `most` of them at most."""
    rng = np.random.default_rng(seed)
    known = places[np.isfinite(places).all(axis=1)]
    chosen = known[np.sort(rng.permutation(len(known))[:most])]
    here = _mean_beat(model, chosen)
    difference = _mean_beat(model, chosen + shift.beta) - here
    slope = mean_slope(model, chosen)
    spread = np.einsum("flt,fg->glt", slope, root(shift.covariance))
    few = chosen[: max(1, min(len(chosen), 60))]
    few_here = _mean_beat(model, few)
    drawn = np.stack([_mean_beat(model, few + one) for one in shift.draws(draws, rng)]) - few_here
    return DecodedShift(
        difference,
        np.sqrt((spread**2).sum(axis=0)),
        drawn.std(axis=0),
        slope,
        len(chosen),
    )


def unseen_spread(model: LatentModel, beats_mv: Floats, factors: Floats) -> Floats:
    """(direction, lead of LEADS, sample) how people's beats differ from what the decoder draws.

    The leading directions of the differences, each as long as its standard deviation in mV.

    Args:
        model: the factor model.
        beats_mv: (record, lead of INDEPENDENT_LEADS, sample), some hundred to some thousand.
        factors: (record, factor) of the same records.
    """
    left = [
        beats_mv[low : low + _AT_ONCE] - model.decode(factors[low : low + _AT_ONCE])
        for low in range(0, len(beats_mv), _AT_ONCE)
    ]
    found = principal_components(left, _UNSEEN)
    directions = (found.spread[:, None] * found.basis).reshape(-1, *beats_mv.shape[1:])
    return twelve_leads(directions)


def effect_size(shift: FactorShift, factors: Floats) -> float:
    """Mean squared shift per SD of people, in any direction among the factors, freed of error.

    What a variant does to the part of the ECG that the factors do not hold is not known; that it is
    as large there, in SD of people, as where it is seen is the guess that the bands can be widened
    by.

    Args:
        shift: of the factors.
        factors: (person, factor).
    """
    known = factors[np.isfinite(factors).all(axis=1)]
    inverse = np.linalg.pinv(np.cov(known.T), hermitian=True)
    seen = float(shift.beta @ inverse @ shift.beta)
    return max(0.0, (seen - float(np.trace(inverse @ shift.covariance))) / len(shift.beta))


def mean_slope(model: LatentModel, places: Floats) -> Floats:
    """(factor, lead of LEADS, sample) the decoder's mean slope in mV per SD of each factor."""
    out = []
    for factor in range(places.shape[1]):
        step = np.zeros(places.shape[1])
        step[factor] = _STEP_SD
        both = _mean_beat(model, places + step) - _mean_beat(model, places - step)
        out.append(both / (2 * _STEP_SD))
    return np.stack(out)


def _mean_beat(model: LatentModel, places: Floats) -> Floats:
    """(lead of LEADS, sample) mean of the decoded beats."""
    total = np.zeros(())
    for low in range(0, len(places), _AT_ONCE):
        total = total + model.decode(places[low : low + _AT_ONCE]).sum(axis=0, dtype=np.float64)
    return twelve_leads(total / len(places))
