"""Which latents are factors, in which order, with which sign and name; and matching over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from pydantic import ConfigDict, Field
from scipy.optimize import linear_sum_assignment

from leadlight.ecg.measurements import QUANTITIES
from leadlight.errors import LeadlightError
from leadlight.latent.beats import Beats
from leadlight.latent.card import FactorSection
from leadlight.latent.disentanglement import correlations, rank_normal
from leadlight.latent.network import FactorNetwork
from leadlight.latent.objective import kl_nats

Array = npt.NDArray[np.float64]

_CHUNK = 2048
_LEAST_RECORDS = 30  # with a measurement, for a name
_ALSO = 3


@dataclass(frozen=True)
class Rule:
    """When a latent is kept.

    Attributes:
        least_nats: of information, the mean KL divergence over the reference population.
        most_variance: mean posterior variance at most (the prior's is 1).
        most_correlation: of two latents that correlate by more, the less informative goes.
        most: factors at most, the most informative.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    least_nats: Annotated[float, Field(ge=0)] = 0.5
    most_variance: Annotated[float, Field(gt=0, le=1)] = 0.5
    most_correlation: Annotated[float, Field(gt=0, le=1)] = 0.6
    most: Annotated[int, Field(ge=1)] = 24


@dataclass(frozen=True)
class Latents:
    """What the encoder says of a population: (record, latent) means and log variances."""

    mean: Array
    log_variance: Array

    @property
    def kl_nats(self) -> Array:
        """(latent) mean information over the population."""
        each = kl_nats(torch.from_numpy(self.mean), torch.from_numpy(self.log_variance))
        return np.asarray(each.mean(dim=0).numpy())


@dataclass(frozen=True)
class Choice:
    """The kept factors and the linear maps between them and the latents.

    Attributes:
        to_factors: (factor, latent).
        from_factors: (latent, factor).
        offset: (latent) means.
        factors: one section of the card each.
        dropped: why each latent that is not kept is not.
    """

    to_factors: Array
    from_factors: Array
    offset: Array
    factors: tuple[FactorSection, ...]
    dropped: dict[int, str]


@torch.inference_mode()
def latents_of(network: FactorNetwork, beats: Beats) -> Latents:
    """The posterior of every record."""
    device = network.centre.device
    means, variances = [], []
    for low in range(0, len(beats), _CHUNK):
        beats_mv, own = beats.millivolts(slice(low, low + _CHUNK))
        seen = torch.from_numpy(beats_mv * own[:, None]).to(device)
        mean, log_variance = network.encode(seen)
        means.append(mean.double().cpu().numpy())
        variances.append(log_variance.double().cpu().numpy())
    return Latents(np.concatenate(means), np.concatenate(variances))


def choose_factors(
    latents: Latents, rule: Rule, measurements: pl.DataFrame | None = None
) -> Choice:
    """Keep, order, decorrelate, sign and name.

    Kept latents are turned as little as possible to be uncorrelated in the reference population,
    with unit variance (symmetric whitening, Löwdin 1950). The correlations are of the
    rank-normalised values, as an association uses them: a few extreme hearts would otherwise decide
    them, and in people who were held out factors would correlate more, by either measure. The sign
    makes the correlation with the measurement that a factor follows most positive.

    Args:
        latents: of the reference population.
        rule: see `Rule`.
        measurements: one row per record of the population with columns of
            `ecg.measurements.QUANTITIES`; without it factors have no names and keep their signs.

    Raises:
        LeadlightError: no latent passes the rule, or there are too few records to decorrelate.
    """
    kl, mean = latents.kl_nats, latents.mean
    uncertainty = np.exp(latents.log_variance).mean(axis=0)
    n, n_latents = mean.shape
    if n <= 2 * n_latents:
        raise LeadlightError(
            f"{n} records are too few to choose among {n_latents} latents.",
            advice="Use a larger reference population or fewer latents.",
        )
    correlation = np.atleast_2d(np.corrcoef(mean.T))
    kept: list[int] = []
    dropped: dict[int, str] = {}
    for latent in np.argsort(-kl).tolist():
        twin = [other for other in kept if abs(correlation[latent, other]) > rule.most_correlation]
        if kl[latent] < rule.least_nats:
            dropped[latent] = f"{kl[latent]:.2f} nats of information"
        elif uncertainty[latent] > rule.most_variance:
            dropped[latent] = f"posterior variance {uncertainty[latent]:.2f}"
        elif twin:
            dropped[latent] = f"|r| {abs(correlation[latent, twin[0]]):.2f} with latent {twin[0]}"
        elif len(kept) >= rule.most:
            dropped[latent] = f"{rule.most} others carry more information"
        else:
            kept.append(latent)
    if not kept:
        raise LeadlightError(
            "No latent carries enough information to be kept.", advice="Train with a smaller beta."
        )
    offset = mean.mean(axis=0)
    spread = mean[:, kept].std(axis=0)
    values, vectors = np.linalg.eigh(correlations(rank_normal(mean[:, kept])))
    half = vectors @ np.diag(np.sqrt(np.maximum(values, 1e-9))) @ vectors.T
    forward = np.zeros((len(kept), n_latents))
    forward[:, kept] = np.linalg.inv(half) / spread[None, :]
    size = ((mean - offset) @ forward.T).std(axis=0)
    forward /= size[:, None]
    half = half * size[None, :]
    factors = (mean - offset) @ forward.T
    sections, signs = [], []
    for place, latent in enumerate(kept):
        follows = _follows(factors[:, place], measurements)
        sign = -1.0 if follows and follows[0][1] < 0 else 1.0
        signs.append(sign)
        noise = float(np.sqrt(np.exp(latents.log_variance) @ forward[place] ** 2).mean())
        sections.append(
            FactorSection(
                name=f"factor_{place + 1:02d}",
                latent=latent,
                kl_nats=round(float(kl[latent]), 3),
                uncertainty=round(noise, 4),
                follows=follows[0][0] if follows else "",
                correlation=round(abs(follows[0][1]), 3) if follows else 0.0,
                also=tuple(f"{name} ({sign * r:+.2f})" for name, r in follows[1:]),
            )
        )
    forward *= np.array(signs)[:, None]
    backward = np.zeros((n_latents, len(kept)))
    backward[kept] = (spread[:, None] * half) * np.array(signs)[None, :]
    return Choice(forward, backward, offset, tuple(sections), dropped)


def largest_correlation(factors: npt.NDArray[np.floating]) -> float:
    """The largest |r| between two factors of (record, factor)."""
    correlation = np.corrcoef(np.asarray(factors, dtype=np.float64).T)
    return float(np.abs(correlation - np.diag(np.diagonal(correlation))).max())


def match_factors(first: Array, second: Array) -> tuple[npt.NDArray[np.int64], Array]:
    """Which factor of `second` is which of `first`, by the largest sum of |r| (Hungarian).

    Args:
        first: (record, factor) of some records.
        second: (record, other factor) of the same records.

    Returns:
        (factor) the partner, −1 where `second` has fewer, and (factor) r with it.
    """
    k = first.shape[1]
    correlation = np.corrcoef(first.T, second.T)[:k, k:]
    rows, columns = linear_sum_assignment(-np.abs(correlation))
    partner = np.full(k, -1, dtype=np.int64)
    r = np.zeros(k)
    partner[rows], r[rows] = columns, correlation[rows, columns]
    return partner, r


def correlations_with(
    factors: npt.NDArray[np.floating], measurements: pl.DataFrame, names: Sequence[str]
) -> Array:
    """(factor, name) Pearson r over the records where the measurement exists; NaN where few."""
    values = np.asarray(factors, dtype=np.float64)
    found = np.full((values.shape[1], len(names)), np.nan)
    for column, name in enumerate(names):
        one = measurements[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        has = np.isfinite(one)
        if has.sum() < _LEAST_RECORDS or one[has].std() < 1e-12:
            continue
        scaled = (one[has] - one[has].mean()) / one[has].std()
        own = values[has] - values[has].mean(axis=0)
        found[:, column] = own.T @ scaled / has.sum() / np.maximum(own.std(axis=0), 1e-12)
    return found


def _follows(factor: Array, measurements: pl.DataFrame | None) -> list[tuple[str, float]]:
    """The measurements that a factor correlates with most, with r, the largest first."""
    if measurements is None:
        return []
    names = [name for name in QUANTITIES if name in measurements.columns]
    r = correlations_with(factor[:, None], measurements, names)[0]
    order = np.argsort(-np.abs(np.nan_to_num(r)))[: _ALSO + 1]
    return [(names[place], float(r[place])) for place in order.tolist() if np.isfinite(r[place])]
