"""Architectures of published models, made again from their settings to be measured beside ours.

Sizes and orders are from the authors' public code and papers; nothing is copied. They take the
eight independent leads or all twelve, as theirs did.
"""

import torch
from torch import nn
from torch.nn import functional


class _Causal(nn.Module):
    """One residual block of two dilated causal convolutions."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.pad = (kernel - 1) * dilation
        self.first = nn.Conv1d(inputs, outputs, kernel, dilation=dilation)
        self.second = nn.Conv1d(outputs, outputs, kernel, dilation=dilation)
        self.along = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = functional.leaky_relu(self.first(functional.pad(x, (self.pad, 0))))
        hidden = functional.leaky_relu(self.second(functional.pad(hidden, (self.pad, 0))))
        return functional.leaky_relu(hidden + self.along(x))


class FactorEcgNetwork(nn.Module):
    """FactorECG (van de Leur et al. 2022) as `ecgxai` 0.1.1 builds it: 108 million parameters.

    A causal dilated encoder of seven blocks of 128 channels (kernel 5, dilation 1 to 64), pooled to
    a vector; a decoder of two dense layers to the whole beat and seven blocks back.
    """

    def __init__(self, latents: int = 32, leads: int = 12, samples: int = 600) -> None:
        """104 of the 108 million parameters are in the decoder's two dense layers."""
        super().__init__()
        width, blocks, kernel = 128, 7, 5
        self.leads, self.samples, self.width = leads, samples, width
        sizes = [leads, *[width] * blocks]
        self.encoder = nn.Sequential(
            *(_Causal(sizes[i], sizes[i + 1], kernel, 2**i) for i in range(blocks))
        )
        self.to_latent = nn.Linear(width, 2 * latents)
        self.from_latent = nn.Sequential(
            nn.Linear(latents, 1284), nn.LeakyReLU(), nn.Linear(1284, width * samples)
        )
        self.decoder = nn.Sequential(*(_Causal(width, width, kernel, 2**i) for i in range(blocks)))
        self.last = nn.Conv1d(width, leads, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(record, lead, sample) to a reconstruction, means and log variances."""
        pooled = self.encoder(x).amax(dim=2)
        mean, log_variance = self.to_latent(pooled).chunk(2, dim=1)
        z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        hidden = self.from_latent(z).view(len(x), self.width, self.samples)
        return self.last(self.decoder(hidden)), mean, log_variance


class MRegleNetwork(nn.Module):
    """M-REGLE (Zhou et al. 2025): three convolutions of 32 filters, kernel 7, and back."""

    def __init__(self, latents: int = 96, leads: int = 12, samples: int = 600) -> None:
        """`samples` has to be a multiple of 8."""
        super().__init__()
        self.short = samples // 8
        sizes = (leads, 32, 32, 32)
        down: list[nn.Module] = []
        for i in range(3):
            down += [nn.Conv1d(sizes[i], 32, 7, padding=3), nn.ELU(), nn.MaxPool1d(2)]
        self.encoder = nn.Sequential(*down, nn.Flatten())
        self.to_latent = nn.Linear(32 * self.short, 2 * latents)
        self.from_latent = nn.Linear(latents, 32 * self.short)
        up: list[nn.Module] = []
        for _ in range(3):
            up += [nn.Upsample(scale_factor=2), nn.Conv1d(32, 32, 7, padding=3), nn.ELU()]
        self.decoder = nn.Sequential(*up, nn.Conv1d(32, leads, 7, padding=3))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(record, lead, sample) to a reconstruction, means and log variances."""
        mean, log_variance = self.to_latent(self.encoder(x)).chunk(2, dim=1)
        z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        hidden = self.from_latent(z).view(len(x), 32, self.short)
        return self.decoder(hidden), mean, log_variance
