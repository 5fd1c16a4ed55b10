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
# The signal enters as eight phases at an eighth of the rate: layers at a higher rate would cost
# most of the time. What comes out is the share of every STEP samples that lies inside a wave; a
# limit is read from areas, so that its precision does not hang on the step.
PHASES = 8
STEP = 2
N_WAVES = 3

_BASELINE_BINS = 51  # of 16 ms: a moving mean of 0.8 s, twice
_LEAST_SIZE_MV = 0.04


def as_phases(signal_mv: torch.Tensor) -> torch.Tensor:
    """(record, lead, sample) → (record, lead, bin, phase) without wander, each lead at unit size.

    Args:
        signal_mv: at RATE_HZ; samples a multiple of `DelineationNetwork.multiple`.
    """
    records, leads, samples = signal_mv.shape
    phases = signal_mv.reshape(records, leads, samples // PHASES, PHASES)
    baseline = phases.mean(dim=3)
    for _ in range(2):
        baseline = F.avg_pool1d(
            baseline, _BASELINE_BINS, 1, _BASELINE_BINS // 2, count_include_pad=False
        )
    phases = phases - baseline[..., None]
    size = torch.linalg.vector_norm(phases, dim=(2, 3), keepdim=True) / samples**0.5
    normal: torch.Tensor = phases / (size + _LEAST_SIZE_MV)
    return normal


class _Layer(nn.Module):
    """Convolution along time, batch normalisation (folded into it in what ships), ReLU.

    From (strip, bin, channel) to the same: with the channels next to each other in memory every
    step is fast, and no step has to put them there.
    """

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int, folded: bool) -> None:
        super().__init__()
        padding = (0, (kernel - 1) // 2)
        self.conv = nn.Conv2d(n_in, n_out, (1, kernel), (1, stride), padding, bias=folded)
        weight = self.conv.weight.detach().contiguous(memory_format=torch.channels_last)
        self.conv.weight = nn.Parameter(weight)
        self.norm: nn.Module = nn.Identity() if folded else nn.BatchNorm2d(n_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.norm(self.conv(x.transpose(1, 2)[:, :, None])), inplace=True)
        return y[:, :, 0].transpose(1, 2)


class _Together(nn.Module):
    """Adds to every lead what the leads say together."""

    def __init__(self, width: int, shared_width: int, kernel: int, folded: bool) -> None:
        super().__init__()
        self.first = _Layer(2 * width, shared_width, kernel, 1, folded)
        self.second = _Layer(shared_width, shared_width, kernel, 1, folded)
        self.back = nn.Linear(shared_width, width)

    def forward(self, x: torch.Tensor, records: int) -> torch.Tensor:
        by_lead = x.reshape(records, -1, *x.shape[1:])
        mean, largest = by_lead.mean(dim=1), by_lead.amax(dim=1)
        shared = self.back(self.second(self.first(torch.cat([mean, largest], dim=2))))
        together: torch.Tensor = by_lead + shared[:, None]
        return together.reshape(x.shape)


class DelineationNetwork(nn.Module):
    """(record, lead, sample) millivolt at 500 Hz → (record, lead, wave, step) logits.

    A logit says what share of STEP samples a cardiologist would have put inside the lead's P, QRS
    or T.

    Args:
        widths: channels per lead at 62.5, 31.3 Hz, and so on.
        shared_widths: channels of the layers that all leads share, at the same rates.
        kernel: of all convolutions but those named below.
        stem_kernel: of the first convolution.
        bottom_kernel: of the shared layers at the lowest rate, where the strip is overlooked.
        folded: batch normalisation is folded into the convolutions (inference only).
    """

    def __init__(
        self,
        widths: tuple[int, ...] = (32, 48, 64),
        shared_widths: tuple[int, ...] = (48, 64, 96),
        kernel: int = 5,
        stem_kernel: int = 5,
        bottom_kernel: int = 15,
        folded: bool = False,
    ) -> None:
        super().__init__()
        steps = list(pairwise(widths))
        shared_kernels = [kernel] * (len(widths) - 1) + [bottom_kernel]
        shared = list(zip(widths, shared_widths, shared_kernels, strict=True))
        # Samples are given in whole multiples of this: every level halves without remainder.
        self.multiple = PHASES * 2 ** len(steps)
        self.stem = _Layer(PHASES, widths[0], stem_kernel, 1, folded)
        self.lead_first = nn.Embedding(len(LEADS) + 1, widths[0])
        self.lead_last = nn.Embedding(len(LEADS) + 1, widths[0])
        self.down = nn.ModuleList(_Layer(a, b, kernel, 2, folded) for a, b in steps)
        self.along = nn.ModuleList(_Layer(b, b, kernel, 1, folded) for _, b in steps)
        self.together = nn.ModuleList(_Together(a, b, k, folded) for a, b, k in shared[1:])
        self.lift = nn.ModuleList(nn.Linear(b, a) for a, b in steps)
        self.up = nn.ModuleList(_Layer(a, a, kernel, 1, folded) for a, _ in steps)
        self.together_up = nn.ModuleList(_Together(a, b, k, folded) for a, b, k in shared[:-1])
        self.last = _Layer(widths[0], widths[0], kernel, 1, folded)
        self.head = nn.Linear(widths[0], N_WAVES * (PHASES // STEP))

    def forward(self, signal_mv: torch.Tensor, lead: torch.Tensor) -> torch.Tensor:
        """Logits.

        Args:
            signal_mv: (record, lead, sample).
            lead: (record, lead) place of its name in LEADS, or len(LEADS) where it is none of them.
        """
        records, leads, samples = signal_mv.shape
        which = lead.flatten()
        # (strip, bin, channel) throughout, where each lead of each record is a strip.
        x = as_phases(signal_mv).flatten(0, 1)
        # Narrow convolutions in bfloat16 are not to be trusted (oneDNN on AMX).
        with torch.autocast("cpu", enabled=False):
            x = self.stem(x)
        x = x + self.lead_first(which)[:, None]
        skips = [x]
        for down, along, together in zip(self.down, self.along, self.together, strict=True):
            x = together(along(down(x)), records)
            skips.append(x)
        for level in reversed(range(len(self.up))):
            lifted = self.lift[level](x)[:, :, None]  # each bin for two of the finer ones
            x = self.up[level]((skips[level].unflatten(1, (-1, 2)) + lifted).flatten(1, 2))
            x = self.together_up[level](x, records)
        x = x + self.lead_last(which)[:, None]
        logits: torch.Tensor = self.head(self.last(x))
        logits = logits.reshape(records, leads, -1, N_WAVES, PHASES // STEP)
        return logits.transpose(2, 3).reshape(records, leads, N_WAVES, samples // STEP)


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
        elif isinstance(module, nn.Embedding | nn.Linear):
            state |= {f"{name}.{part}": value for part, value in module.state_dict().items()}
    copy.load_state_dict(state)
    return copy.eval()
