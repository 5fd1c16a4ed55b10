"""Training on several devices or machines: every process its own records, one set of weights.

Started by `torchrun`, each process finds its place in the environment. Gradients are averaged over
processes as they come, so all weights stay the same to the bit; the first writes and speaks.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import distributed, nn
from torch.autograd.function import FunctionCtx

from leadlight.errors import LeadlightError
from leadlight.progress import set_quiet


@dataclass(frozen=True)
class Place:
    """Which of how many processes this one is, and its device."""

    rank: int
    processes: int
    device: torch.device

    @property
    def writes(self) -> bool:
        """Whether this process writes results."""
        return self.rank == 0


@contextmanager
def joined(device: str = "auto") -> Iterator[Place]:
    """Join the processes that `torchrun` started; alone where there are none.

    Args:
        device: "auto" (cuda where there is one), "cpu", "cuda", or what else torch can compute on;
            of several processes on a machine each has its own cuda device.

    Raises:
        LeadlightError: the device cannot be used here.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    on_cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    local = int(os.environ.get("LOCAL_RANK", "0"))
    name = f"cuda:{local}" if on_cuda else "cpu" if device == "auto" else device
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise LeadlightError(f'The device "{name}" cannot be used here.') from error
    chosen = torch.device(name)
    if processes == 1:
        yield Place(0, 1, chosen)
        return
    distributed.init_process_group("nccl" if on_cuda else "gloo")
    try:
        place = Place(distributed.get_rank(), processes, chosen)
        if not place.writes:
            set_quiet(True)
        yield place
    finally:
        distributed.destroy_process_group()


def wait_for_all(place: Place) -> None:
    """Go on once every process has come here."""
    if place.processes > 1:
        distributed.barrier()


@contextmanager
def first_alone(place: Place) -> Iterator[None]:
    """Let the first process through the block before the others."""
    if not place.writes:
        wait_for_all(place)
    yield
    if place.writes:
        wait_for_all(place)


def average_gradients(network: nn.Module, place: Place) -> None:
    """From now on a backward pass leaves the mean of all processes' gradients in the parameters."""
    if place.processes == 1:
        return

    def average(parameter: torch.Tensor) -> None:
        assert parameter.grad is not None
        distributed.all_reduce(parameter.grad)
        parameter.grad /= place.processes

    for parameter in network.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(average)  # type: ignore[no-untyped-call]


def share_batch_statistics(network: nn.Module, place: Place) -> None:
    """From now on batch norms normalise by the mean and variance of all processes' records.

    A network then trains as one process would train it on all records of a step together, and its
    running statistics are the same everywhere.
    """
    if place.processes == 1:
        return
    for module in network.modules():
        if type(module) is nn.BatchNorm1d:
            module.__class__ = _SharedBatchNorm1d  # parameters, buffers and their names stay


def total(values: torch.Tensor, place: Place) -> torch.Tensor:
    """The sum over all processes of some numbers; no gradient passes."""
    if place.processes == 1:
        return values
    values = values.detach().clone()
    distributed.all_reduce(values)
    return values


class _SharedBatchNorm1d(nn.BatchNorm1d):
    """Batch norm over the records of all processes; x is (record, channel) or with samples."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(x)
        axes = (0, 2) if x.ndim == 3 else (0,)
        shape = (1, -1, 1) if x.ndim == 3 else (1, -1)
        count = x.new_tensor([x.numel() // x.shape[1]])
        distributed.all_reduce(count)
        mean: torch.Tensor = _Sum.apply(x.sum(axes)) / count  # type: ignore[no-untyped-call]
        centred = x - mean.view(shape)
        squares: torch.Tensor = _Sum.apply((centred**2).sum(axes))  # type: ignore[no-untyped-call]
        variance = squares / count
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.momentum is not None
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(squares / (count - 1), self.momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked += 1
        scale = self.weight * (variance + self.eps).rsqrt()
        return centred * scale.view(shape) + self.bias.view(shape)


class _Sum(torch.autograd.Function):
    """The sum of a tensor over processes; what comes back is the sum of all gradients."""

    @staticmethod
    def forward(ctx: FunctionCtx, values: torch.Tensor) -> torch.Tensor:
        values = values.contiguous().clone()
        distributed.all_reduce(values)
        return values

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: torch.Tensor) -> torch.Tensor:
        (gradient,) = gradients
        gradient = gradient.contiguous().clone()
        distributed.all_reduce(gradient)
        return gradient


def own_checkpoints(folder: Path, place: Place) -> Path:
    """Where a process keeps its checkpoints: the first in `folder`, the others beside it.

    The others begin from a copy of the first one's, so that a run that was stopped goes on in all.
    """
    if place.writes:
        return folder
    own = _beside(folder, place)
    shutil.rmtree(own, ignore_errors=True)
    if folder.is_dir():
        shutil.copytree(folder, own / folder.name)
    return own / folder.name


def remove_checkpoints(folder: Path, place: Place) -> None:
    """Remove what a process kept, when the training is over."""
    shutil.rmtree(folder if place.writes else _beside(folder, place), ignore_errors=True)


def _beside(folder: Path, place: Place) -> Path:
    return folder.with_name(f".{folder.name}-{place.rank}")
