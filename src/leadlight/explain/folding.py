"""Batch norm folded into the convolution before it: the same function with less work.

In evaluation mode batch norm is a scale and a shift per filter, which a convolution can carry in
its weights and bias.
"""

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
# Largest change of a logit, relative to the largest logit, that rounding explains.
_ROUNDING = 1e-4


@dataclass
class _Calls:
    """Which batch norms were given, untouched, what a convolution gave."""

    outputs: list[tuple[str, torch.Tensor]] = field(default_factory=list)
    pairs: list[tuple[str, str]] = field(default_factory=list)
    times: dict[str, int] = field(default_factory=dict)


def fold_batch_norm(network: nn.Module, example: torch.Tensor) -> nn.Module:
    """A copy of the network in which batch norms are folded, or the network where none can be.

    Pairs are found by running the network, so any module works, whatever its forward does. A batch
    norm is folded when it runs once, directly on the output of a convolution that runs once. That
    nothing else reads that output cannot be seen, so the copy's logits are compared with the
    network's on the example and on noise of its size; a copy that differs is not used.

    Args:
        network: in evaluation mode.
        example: (record, lead, sample), one record is enough.
    """
    with torch.no_grad():
        pairs = _pairs(network, example)
        if not pairs:
            return network
        folded = copy.deepcopy(network)
        modules = dict(folded.named_modules())
        for convolution, norm in pairs:
            _fold(modules[convolution], modules[norm])
            parent, _, name = norm.rpartition(".")
            setattr(modules[parent], name, nn.Identity())
        noise = torch.randn(example.shape, generator=torch.Generator().manual_seed(0))
        scale = example.std().clamp(min=1e-3)
        for trial in (example, noise.to(example) * scale):
            expected, found = network(trial), folded(trial)
            if not (found - expected).abs().max() <= _ROUNDING * expected.abs().max().clamp(min=1):
                return network
    return folded


def _pairs(network: nn.Module, example: torch.Tensor) -> list[tuple[str, str]]:
    """Names of (convolution, batch norm) that can be folded."""
    calls = _Calls()
    handles = []

    def watch(name: str, module: nn.Module) -> None:
        def seen(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            calls.times[name] = calls.times.get(name, 0) + 1
            if isinstance(module, _CONVOLUTIONS):
                calls.outputs.append((name, output))
            else:
                before = [other for other, given in calls.outputs if given is inputs[0]]
                calls.pairs += [(other, name) for other in before]

        handles.append(module.register_forward_hook(seen))

    for name, module in network.named_modules():
        if isinstance(module, _CONVOLUTIONS) or (
            isinstance(module, _NORMS) and not module.training and module.track_running_stats
        ):
            watch(name, module)
    try:
        network(example)
    finally:
        for handle in handles:
            handle.remove()
    return [
        (convolution, norm)
        for convolution, norm in calls.pairs
        if calls.times[convolution] == 1 and calls.times[norm] == 1
    ]


def _fold(convolution: nn.Module, norm: nn.Module) -> None:
    assert isinstance(convolution, _CONVOLUTIONS)
    assert isinstance(norm, _NORMS)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = torch.rsqrt(norm.running_var.double() + norm.eps)
    shift = -norm.running_mean.double() * scale
    if norm.affine:
        scale = scale * norm.weight.double()
        shift = shift * norm.weight.double() + norm.bias.double()
    weight = convolution.weight
    if convolution.bias is not None:
        shift = shift + convolution.bias.double() * scale
    wide = scale.reshape(-1, *[1] * (weight.ndim - 1))
    convolution.weight = nn.Parameter((weight.double() * wide).to(weight), requires_grad=False)
    convolution.bias = nn.Parameter(shift.to(weight), requires_grad=False)
