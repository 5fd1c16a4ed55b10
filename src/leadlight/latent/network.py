"""The network: a linear factor model of the whole beat, and dense layers for what bends.

Beats are aligned on R, so a sample has the same meaning in every record and a dense layer can use
it. A fixed basis (principal components of the training beats) takes the 4,800 values of a beat to
some 160 numbers; a linear map and a small residual network lead from there to the factors, and the
same way back. Before training it is a rotated principal component analysis to the bit; training
adds what lines cannot do, which is waves that move or widen. On real beats held back it needs a
fifth of the time of residual convolutions for a lower error (benchmarks/latent.py).
"""

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

Array = npt.NDArray[np.float64]


class FactorNetwork(nn.Module):
    """Variational autoencoder of median beats.

    Beats are (record, lead of INDEPENDENT_LEADS, sample) float32 in millivolt, zero outside their
    own samples; latents are (record, latent).

    Attributes:
        basis: (component, lead · sample) orthonormal, fixed.
        centre: (lead · sample) the mean beat, fixed.
        spread: (component) standard deviation of each component in the training beats, fixed.
    """

    basis: torch.Tensor
    centre: torch.Tensor
    spread: torch.Tensor

    def __init__(
        self,
        *,
        latents: int = 24,
        components: int = 160,
        hidden: int = 512,
        dropout: float = 0.0,
        leads: int = 8,
        samples: int = 600,
    ) -> None:
        """`hidden` is the width of the residual network's two layers on either side."""
        super().__init__()
        self.leads, self.samples = leads, samples
        self.register_buffer("basis", torch.zeros(components, leads * samples))
        self.register_buffer("centre", torch.zeros(leads * samples))
        self.register_buffer("spread", torch.ones(components))
        self.to_latent = nn.Linear(components, latents)
        self.from_latent = nn.Linear(latents, components)
        self.encoder = _dense(components, hidden, dropout)
        self.decoder = _dense(latents, hidden, dropout)
        self.bend_latent = _nothing(hidden, latents)
        self.bend_components = _nothing(hidden, components)
        self.log_variance = _nothing(hidden, latents)
        nn.init.constant_(self.log_variance.bias, 2 * math.log(0.05))

    @property
    def n_latents(self) -> int:
        """How many latents there are."""
        return self.to_latent.out_features

    def encode(self, beats_mv: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log variance of the posterior, (record, latent) each."""
        components = (beats_mv.flatten(1) - self.centre) @ self.basis.T
        # The first components are a hundred times the last: the square root of that is left to
        # the dense layers, and what is far out of range is held.
        damped = (
            torch.clamp(components / self.spread, -8, 8) * (self.spread / self.spread[0]).sqrt()
        )
        hidden = self.encoder(damped)
        mean = self.to_latent(components) + self.bend_latent(hidden)
        return mean, self.log_variance(hidden).clamp(-14.0, 2.0)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Beats (record, lead, sample) in millivolt."""
        components = self.from_latent(latents) + self.bend_components(self.decoder(latents))
        beats: torch.Tensor = components @ self.basis + self.centre
        return beats.view(len(latents), self.leads, self.samples)

    @torch.no_grad()
    def start_linear(
        self, basis: Array, centre: Array, spread: Array, rotation: Array
    ) -> "FactorNetwork":
        """Start as a rotated principal component analysis.

        Args:
            basis: (component, lead · sample), the most important first.
            centre: (lead · sample) in millivolt.
            spread: (component) standard deviations in millivolt.
            rotation: (latent, latent) orthogonal, of the first components scaled to unit variance.
        """
        latents = self.n_latents
        self.basis.copy_(torch.from_numpy(basis.astype(np.float32)))
        self.centre.copy_(torch.from_numpy(centre.astype(np.float32)))
        self.spread.copy_(torch.from_numpy(spread.astype(np.float32)))
        encode = rotation.T / spread[:latents][None, :]
        decode = spread[:latents][:, None] * rotation
        for layer, weights in ((self.to_latent, encode), (self.from_latent, decode)):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
            into = layer.weight[:, :latents] if layer is self.to_latent else layer.weight[:latents]
            into.copy_(torch.from_numpy(weights.astype(np.float32)))
        return self


def varimax(loadings: Array, *, rounds: int = 200, tolerance: float = 1e-7) -> Array:
    """The rotation (factor, factor) that makes loadings (variable, factor) simple (Kaiser 1958).

    Each rotated factor then moves few samples, mostly those of one wave. Factors that were
    uncorrelated with unit variance stay so.
    """
    rotation = np.eye(loadings.shape[1])
    last = 0.0
    for _ in range(rounds):
        turned = loadings @ rotation
        gradient = loadings.T @ (turned**3 - turned * (turned**2).mean(axis=0))
        left, values, right = np.linalg.svd(gradient)
        rotation = left @ right
        if values.sum() < last * (1 + tolerance):
            break
        last = float(values.sum())
    return rotation


def _dense(inputs: int, hidden: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, hidden),
        nn.GELU(),
    )


def _nothing(inputs: int, outputs: int) -> nn.Linear:
    """A layer that gives zero until it is trained."""
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
