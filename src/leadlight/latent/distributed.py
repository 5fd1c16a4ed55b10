"""Training on several devices or machines: every process its own batches, one set of weights.

Started by `torchrun`, each process finds its place in the environment. Gradients are averaged over
processes as they come, so all weights stay the same to the bit; the first process writes.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import distributed, nn


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
        device: "auto" (cuda where there is one), "cpu" or "cuda".
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    on_cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    local = int(os.environ.get("LOCAL_RANK", "0"))
    chosen = torch.device("cuda", local) if on_cuda else torch.device("cpu")
    if processes == 1:
        yield Place(0, 1, chosen)
        return
    distributed.init_process_group("nccl" if on_cuda else "gloo")
    try:
        yield Place(distributed.get_rank(), processes, chosen)
    finally:
        distributed.destroy_process_group()


def wait_for_all(place: Place) -> None:
    """Go on once every process has come here."""
    if place.processes > 1:
        distributed.barrier()


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


def own_checkpoints(folder: Path, place: Place) -> Path:
    """Where a process keeps its checkpoints: the first in `folder`, the others beside it.

    The others begin from a copy of the first one's, so that a run that was stopped goes on in all.
    """
    if place.writes:
        return folder
    own = folder.with_name(f".{folder.name}-{place.rank}")
    shutil.rmtree(own, ignore_errors=True)
    if folder.is_dir():
        shutil.copytree(folder, own / folder.name)
    return own / folder.name
