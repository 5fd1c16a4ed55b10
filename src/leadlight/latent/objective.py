"""What training minimises: the negative evidence lower bound, with options.

One convention throughout: the negative log likelihood is summed over a record's own points (leads
times samples) and β stands before the KL divergence in nats per record. Papers weigh the KL against
means, sums, millivolts or standardised units; `equivalents` prints what a β here is in theirs.
"""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import ConfigDict, Field

NotNegative = Annotated[float, Field(ge=0)]

# log(2 K₁(1)), the normaliser of the density exp(−√(1 + x²)).
_LOG_HYPERBOLIC = math.log(2 * 0.6019072301972346)


@dataclass(frozen=True)
class Objective:
    """Settings of the loss.

    Attributes:
        beta: weight of the KL divergence in nats beside the summed log likelihood. 0 makes a plain
            autoencoder, without sampling.
        likelihood: "gaussian", or "hyperbolic", which is a Gaussian for errors below `noise_mv` and
            a double exponential beyond: a QRS that is missed by 0.2 mV then counts ten times one
            that is missed by 0.02, not a hundred times, and more of the effort goes to the rest.
        noise_mv: scale of the likelihood at each point (the Gaussian's standard deviation).
        total_correlation: extra weight of the latents' total correlation, estimated within the
            batch (Chen et al. 2018, minibatch-weighted sampling); 0 is none.
        decorrelation: weight of the squared correlations between the posterior means of a batch,
            summed over pairs (after Kumar et al. 2018); 0 is none.
        free_nats: KL of a latent below this costs nothing (Kingma et al. 2016).
        cycles: β climbs from 0 to its value in the first half of each of so many equal parts of
            the training (Fu et al. 2019); 0 holds it constant.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    beta: NotNegative = 4.0
    likelihood: Literal["gaussian", "hyperbolic"] = "gaussian"
    noise_mv: Annotated[float, Field(gt=0)] = 0.02
    total_correlation: NotNegative = 0.0
    decorrelation: NotNegative = 200.0
    free_nats: NotNegative = 0.0
    cycles: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True)
class Terms:
    """Parts of the loss of a batch.

    Attributes:
        nll: negative log likelihood, summed over points, mean over records, in nats.
        kl: (latent) mean KL divergence from the standard normal, in nats.
        total_correlation: estimate in nats; 0 where not asked for.
        decorrelation: sum over pairs of squared correlations of the means; 0 where not asked for.
    """

    nll: torch.Tensor
    kl: torch.Tensor
    total_correlation: torch.Tensor
    decorrelation: torch.Tensor


def log_likelihood(
    truth: torch.Tensor, decoded: torch.Tensor, own: torch.Tensor, settings: Objective
) -> torch.Tensor:
    """(record) log likelihood in nats, summed over leads and own samples.

    Args:
        truth, decoded: (record, lead, sample) in mV.
        own: (record, sample) which samples count.
        settings: the likelihood and its scale.
    """
    each = own[:, None].to(truth.dtype)
    points = own.sum(dim=1) * truth.shape[1]
    scaled = (truth - decoded) / settings.noise_mv
    if settings.likelihood == "gaussian":
        total = 0.5 * (scaled.square() * each).sum(dim=(1, 2))
        normaliser = 0.5 * math.log(2 * math.pi)
    else:
        total = ((1 + scaled.square()).sqrt() * each).sum(dim=(1, 2))
        normaliser = _LOG_HYPERBOLIC
    return -total - points * (math.log(settings.noise_mv) + normaliser)


def kl_nats(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """(record, latent) KL divergence of the posterior from the standard normal, in nats."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def total_correlation(
    sample: torch.Tensor, mean: torch.Tensor, log_variance: torch.Tensor, records: int
) -> torch.Tensor:
    """Total correlation of the aggregate posterior in nats, from a batch.

    Minibatch-weighted sampling (Chen et al. 2018): log q(z) and log q(z_j) by the batch's own
    posteriors, weighted for `records` records in all.
    """
    at, centre = sample[:, None], mean[None]
    log_each = -0.5 * (
        (at - centre).square() / log_variance.exp()[None]
        + log_variance[None]
        + math.log(2 * math.pi)
    )
    weight = math.log(len(sample) * records)
    together = torch.logsumexp(log_each.sum(dim=2), dim=1) - weight
    apart = (torch.logsumexp(log_each, dim=1) - weight).sum(dim=1)
    return (together - apart).mean()


def squared_correlations(mean: torch.Tensor) -> torch.Tensor:
    """Sum over pairs of latents of their squared correlation in the batch, less what chance gives.

    Two independent latents have 1/(n − 1) on average in a batch of n.
    """
    n, k = mean.shape
    scaled = (mean - mean.mean(dim=0)) / mean.std(dim=0, correction=0).clamp(min=1e-6)
    correlation = scaled.T @ scaled / n
    squares = (correlation.square().sum() - correlation.diagonal().square().sum()) / 2
    return squares - k * (k - 1) / 2 / (n - 1)


def terms(
    truth: torch.Tensor,
    decoded: torch.Tensor,
    own: torch.Tensor,
    posterior: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    settings: Objective,
    records: int,
) -> Terms:
    """All parts of the loss.

    Args:
        truth, decoded: (record, lead, sample) in mV.
        own: (record, sample).
        posterior: mean, log variance and a sample, (record, latent) each.
        settings: decides which of the optional parts are computed.
        records: in the training set, for the total correlation.
    """
    mean, log_variance, sample = posterior
    nothing = truth.new_zeros(())
    return Terms(
        nll=-log_likelihood(truth, decoded, own, settings).mean(),
        kl=kl_nats(mean, log_variance).mean(dim=0),
        total_correlation=total_correlation(sample, mean, log_variance, records)
        if settings.total_correlation
        else nothing,
        decorrelation=squared_correlations(mean) if settings.decorrelation else nothing,
    )


def loss_of(parts: Terms, settings: Objective, beta: float, points: int) -> torch.Tensor:
    """The loss, divided by the number of points of a beat so that its size is of order one."""
    kl = parts.kl.clamp(min=settings.free_nats).sum()
    total = parts.nll + beta * kl
    total = total + settings.total_correlation * parts.total_correlation
    return (total + settings.decorrelation * parts.decorrelation) / points


def beta_at(epoch: int, epochs: int, settings: Objective) -> float:
    """β in an epoch (from 1)."""
    if not settings.cycles:
        return settings.beta
    length = epochs / settings.cycles
    share = ((epoch - 1) % length) / length
    return settings.beta * min(1.0, 2 * share)


def equivalents(settings: Objective, points: int = 4800, latents: int = 24) -> dict[str, float]:
    """What β is in the conventions of others; a statement of algebra, not of equal outcomes.

    Args:
        settings: β and the likelihood's noise.
        points: leads times samples.
        latents: of the network.

    Returns:
        The weight of the KL (nats, summed over latents) beside: the squared error in mV² summed
        over the points ("beside_summed_squared_error"), half of it as a unit-variance Gaussian has
        it ("beside_unit_variance_likelihood"), its mean over the points
        ("beside_mean_squared_error"); and β · latents / points ("normalised", Higgins et al. 2017).
    """
    variance = settings.noise_mv**2
    return {
        "beta_nats_per_record": settings.beta,
        "beside_summed_squared_error": 2 * variance * settings.beta,
        "beside_unit_variance_likelihood": variance * settings.beta,
        "beside_mean_squared_error": 2 * variance * settings.beta / points,
        "normalised": settings.beta * latents / points,
    }
