"""A network's gradients in bfloat16, where they can be trusted."""

import copy

import torch
from torch import nn

# oneDNN's bfloat16 convolution with AMX gives wrong values for few input channels and some kernels
# (found with torch 2.13: 8 and 12 channels, kernel 16), so such layers stay in float32. In a
# network they are the first layer, which is little of the work.
_FEWEST_CHANNELS = 16
# Cosine of the gradients in both arithmetics below which bfloat16 is not used at all: rounding
# alone costs a few hundredths on a random network, the fault above nearly all.
_LEAST_AGREEMENT = 0.8


def in_bfloat16(network: nn.Module, example: torch.Tensor) -> nn.Module | None:
    """The network with convolutions and dense layers in bfloat16, or None where it goes wrong.

    Inputs, logits, batch norm and the gradient of the input stay in float32. The gradient of the
    summed logits is compared with float32's at half of the example.

    Args:
        network: in evaluation mode; is not changed.
        example: (record, lead, sample), one record is enough.
    """
    fast = _Bfloat16(copy.deepcopy(network))
    expected, found = (_gradient(way, example / 2) for way in (network, fast))
    agreement = nn.functional.cosine_similarity(expected, found, dim=0)
    return fast if bool(agreement >= _LEAST_AGREEMENT) else None


class _Bfloat16(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        narrow = [
            name
            for name, module in network.named_modules()
            if isinstance(module, nn.Conv1d | nn.Conv2d)
            and module.in_channels // module.groups < _FEWEST_CHANNELS
        ]
        for name in narrow:
            parent, _, last = name.rpartition(".")
            holder = network.get_submodule(parent)
            setattr(holder, last, _Float32(getattr(holder, last)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            logits: torch.Tensor = self.network(x)
        return logits.float()


class _Float32(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            out: torch.Tensor = self.layer(x.float())
        return out


def _gradient(network: nn.Module, point: torch.Tensor) -> torch.Tensor:
    point = point.detach().clone().requires_grad_(True)
    return torch.autograd.grad(network(point).sum(), point)[0].flatten().double()
