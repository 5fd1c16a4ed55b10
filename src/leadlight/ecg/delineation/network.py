"""The delineation network: a U-Net that runs over every lead and lets the leads speak together.

Each lead goes through the same layers. At every level the mean and the maximum over the leads
that are present pass through layers of their own and are added back to each lead, so that a P wave
that is lost in one lead's noise is placed by the others (permutation-equivariant layers, Zaheer et
al. 2017; U-Net, Ronneberger et al. 2015). Any subset of the leads in any order will do. Which lead
it is goes in as an offset of the features, because waves are marked differently in different leads
(P in V1 and aVL above all).
The stream that all leads share is one lead wide, so that its width costs a twelfth.
"""

from itertools import pairwise
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from leadlight.ecg.leads import LEADS

RATE_HZ = 500.0
# The signal enters as four phases at a quarter of the rate; the last layer gives four phases
# back. Most of the cost is at the highest rate, so the layers there are narrow.
PHASES = 4
# Samples are given in whole multiples of this, so that every level halves without remainder.
MULTIPLE = PHASES * 8
N_WAVES = 3

_BASELINE_BINS = 101  # of 8 ms: a moving mean of 0.8 s, twice
_LEAST_SIZE_MV = 0.04


def as_phases(signal_mv: torch.Tensor) -> torch.Tensor:
    """(record, lead, sample) → (record, lead, phase, bin) without wander, each lead at unit size.

    Args:
        signal_mv: at RATE_HZ; samples a multiple of MULTIPLE.
    """
    records, leads, samples = signal_mv.shape
    phases = signal_mv.reshape(records, leads, samples // PHASES, PHASES).transpose(2, 3)
    baseline = phases.mean(dim=2)
    for _ in range(2):
        baseline = F.avg_pool1d(
            baseline, _BASELINE_BINS, 1, _BASELINE_BINS // 2, count_include_pad=False
        )
    phases = phases - baseline[:, :, None]
    size = phases.square().mean(dim=(2, 3), keepdim=True).sqrt()
    return phases / (size + _LEAST_SIZE_MV)


class _Layer(nn.Module):
    """Convolution, batch normalisation (folded into it in what ships), ReLU."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int, folded: bool) -> None:
        super().__init__()
        self.conv = nn.Conv1d(n_in, n_out, kernel, stride, (kernel - 1) // 2, bias=folded)
        self.norm: nn.Module = nn.Identity() if folded else nn.BatchNorm1d(n_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.norm(self.conv(x)), inplace=True)


class _Together(nn.Module):
    """Adds to every lead what the leads say together."""

    def __init__(self, width: int, shared_width: int, kernel: int, folded: bool) -> None:
        super().__init__()
        self.first = _Layer(2 * width, shared_width, kernel, 1, folded)
        self.second = _Layer(shared_width, shared_width, kernel, 1, folded)
        self.back = nn.Conv1d(shared_width, width, 1)

    def forward(self, x: torch.Tensor, records: int) -> torch.Tensor:
        by_lead = x.reshape(records, -1, *x.shape[1:])
        mean, largest = by_lead.mean(dim=1), by_lead.amax(dim=1)
        shared = self.back(self.second(self.first(torch.cat([mean, largest], dim=1))))
        together: torch.Tensor = by_lead + shared[:, None]
        return together.reshape(x.shape)


class DelineationNetwork(nn.Module):
    """(record, lead, sample) millivolt at 500 Hz → (record, lead, wave, sample) logits.

    A logit says whether a cardiologist would have put that sample inside the lead's P, QRS or T.

    Args:
        widths: channels per lead at 125, 62.5, 31.3 and 15.6 Hz.
        shared_widths: channels of the layers that all leads share, at the same rates.
        kernel: of all convolutions but those named below.
        stem_kernel: of the first convolution.
        bottom_kernel: of the shared layers at the lowest rate, where the strip is overlooked.
        folded: batch normalisation is folded into the convolutions (inference only).
    """

    def __init__(
        self,
        widths: tuple[int, ...] = (16, 32, 32, 64),
        shared_widths: tuple[int, ...] = (32, 64, 64, 96),
        kernel: int = 5,
        stem_kernel: int = 9,
        bottom_kernel: int = 15,
        folded: bool = False,
    ) -> None:
        super().__init__()
        steps = list(pairwise(widths))
        shared_kernels = [kernel] * (len(widths) - 1) + [bottom_kernel]
        shared = list(zip(widths, shared_widths, shared_kernels, strict=True))
        self.stem = _Layer(PHASES, widths[0], stem_kernel, 1, folded)
        self.lead_first = nn.Embedding(len(LEADS) + 1, widths[0])
        self.lead_last = nn.Embedding(len(LEADS) + 1, widths[0])
        self.down = nn.ModuleList(_Layer(a, b, kernel, 2, folded) for a, b in steps)
        self.along = nn.ModuleList(_Layer(b, b, kernel, 1, folded) for _, b in steps)
        self.together = nn.ModuleList(_Together(a, b, k, folded) for a, b, k in shared[1:])
        self.lift = nn.ModuleList(nn.Conv1d(b, a, 1) for a, b in steps)
        self.up = nn.ModuleList(_Layer(a, a, kernel, 1, folded) for a, _ in steps)
        self.together_up = nn.ModuleList(_Together(a, b, k, folded) for a, b, k in shared[:-1])
        self.last = _Layer(widths[0], widths[0], kernel, 1, folded)
        self.head = nn.Conv1d(widths[0], N_WAVES * PHASES, 1)

    def forward(self, signal_mv: torch.Tensor, lead: torch.Tensor) -> torch.Tensor:
        """Logits.

        Args:
            signal_mv: (record, lead, sample).
            lead: (record, lead) place of its name in LEADS, or len(LEADS) where it is none of them.
        """
        records, leads, samples = signal_mv.shape
        which = lead.flatten()
        x = self.stem(as_phases(signal_mv).flatten(0, 1))
        x = x + self.lead_first(which)[:, :, None]
        skips = [x]
        for down, along, together in zip(self.down, self.along, self.together, strict=True):
            x = together(along(down(x)), records)
            skips.append(x)
        for level in reversed(range(len(self.up))):
            lifted = F.interpolate(self.lift[level](x), scale_factor=2.0, mode="nearest")
            x = self.up[level](skips[level] + lifted)
            x = self.together_up[level](x, records)
        x = x + self.lead_last(which)[:, :, None]
        logits: torch.Tensor = self.head(self.last(x))
        logits = logits.reshape(records, leads, N_WAVES, PHASES, samples // PHASES)
        return logits.transpose(3, 4).reshape(records, leads, N_WAVES, samples)


def folded_copy(network: DelineationNetwork, **settings: object) -> DelineationNetwork:
    """The same function with every batch normalisation folded into its convolution."""
    copy = DelineationNetwork(**settings, folded=True)  # type: ignore[arg-type]
    state = dict(copy.state_dict())
    for name, module in network.named_modules():
        if isinstance(module, _Layer):
            fused = nn.utils.fusion.fuse_conv_bn_eval(
                module.conv.eval(), cast(nn.BatchNorm1d, module.norm).eval()
            )
            state[f"{name}.conv.weight"], state[f"{name}.conv.bias"] = fused.weight, fused.bias
        elif isinstance(module, nn.Embedding):
            state[f"{name}.weight"] = module.weight
        elif isinstance(module, nn.Conv1d) and f"{name}.bias" in state and ".conv" not in name:
            state[f"{name}.weight"], state[f"{name}.bias"] = module.weight, module.bias
    copy.load_state_dict(state)
    return copy.eval()
