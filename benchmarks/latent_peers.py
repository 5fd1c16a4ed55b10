"""Architectures of published models, made again from their description to be measured beside ours.

No code is theirs. Where a size is not published it is chosen so that the number of parameters and
of operations comes out as it is known; weights are not theirs, so only cost and trainability can be
compared.
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
    """FactorECG (van de Leur et al. 2022): dilated causal convolutions and wide dense layers.

    32 latents, twelve leads, 108 million parameters of which 104 lie in dense layers, and some 1.5
    billion multiplications a beat (`ecgxai` 0.1.1 has 1.7). The blocks' width, kernel and number
    are ours.
    """

    def __init__(self, latents: int = 32, leads: int = 12, samples: int = 600) -> None:
        """The dense layers lead from the latents to all samples of all channels."""
        super().__init__()
        width, blocks, kernel = 128, 7, 5
        self.leads, self.samples, self.width = leads, samples, width
        sizes = [leads, *[width] * blocks]
        self.encoder = nn.Sequential(
            *(_Causal(sizes[i], sizes[i + 1], kernel, 2**i) for i in range(blocks))
        )
        self.to_latent = nn.Linear(width, 2 * latents)
        self.from_latent = nn.Sequential(
            nn.Linear(latents, 1370), nn.LeakyReLU(), nn.Linear(1370, width * samples)
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
