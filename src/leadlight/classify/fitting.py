"""The training loop: epochs, schedule, moving average of weights, early stop, checkpoints, resume.

It knows nothing of ECGs: batches, loss and validation are given as functions. All randomness of an
epoch follows from the seed and the epoch's number, so a run that was killed and resumed ends where
an uninterrupted one does, to the bit on the same machine with the same number of threads.
"""

import copy
import json
import math
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import polars as pl
import torch
from pydantic import ConfigDict, Field
from safetensors.torch import load_file, save_file
from torch import nn

from leadlight.atomic import write_json, written_whole
from leadlight.errors import LeadlightError
from leadlight.progress import Bar, bar, say

B = TypeVar("B")

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class FitSettings:
    """How a network is fitted.

    Attributes:
        epochs: at most this many.
        batch_size: records in a step.
        learning_rate: the largest.
        schedule: "one-cycle" (cosine up over the first `warm_up` of all steps, cosine down to
            nothing), "plateau" (times `plateau_factor` after `plateau_patience` epochs without a
            better validation score) or "constant".
        weight_decay: of AdamW (Loshchilov and Hutter 2019), on weights with more than one axis.
        gradient_norm: gradients longer than this are shortened to it.
        average_decay: of the moving average of weights that is validated and kept; 0 is none. Early
            on it is (1 + step) / (10 + step) where that is less.
        batch_norm_momentum: how fast batch norm's statistics follow in training.
        patience: epochs without a better validation score before the end; 0 is never.
        precision: "float32", or "bfloat16" for the products of the forward and backward pass,
            which is faster on processors and devices that have it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    epochs: Count = 30
    batch_size: Annotated[int, Field(ge=2)] = 64
    learning_rate: Positive = 1e-3
    schedule: Literal["one-cycle", "plateau", "constant"] = "one-cycle"
    warm_up: Annotated[float, Field(gt=0, lt=1)] = 0.25
    plateau_factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    plateau_patience: Count = 7
    weight_decay: NotNegative = 0.01
    gradient_norm: Positive = 1.0
    average_decay: Share = 0.99
    batch_norm_momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    patience: Annotated[int, Field(ge=0)] = 9
    precision: Literal["float32", "bfloat16"] = "float32"


@dataclass(frozen=True)
class Fit:
    """The outcome: the best network, in evaluation mode, and how it came about."""

    network: nn.Module
    history: pl.DataFrame
    best_epoch: int
    records_per_s: float


def fit(
    network: nn.Module,
    *,
    batches: Callable[[int], Iterable[B]],
    steps_per_epoch: int,
    loss: Callable[[nn.Module, B], torch.Tensor],
    validate: Callable[[nn.Module], tuple[float, Mapping[str, float | None]]],
    settings: FitSettings,
    seed: int,
    folder: Path,
    made_from: str,
    resume: bool = False,
) -> Fit:
    """Fit `network`, in place, and return the weights that validated best.

    After each epoch the whole state goes to `folder/epoch-NNNN/` (safetensors and JSON) and the
    history to `folder/../history.parquet`.

    Args:
        network: on the device where it is to be trained.
        batches: from an epoch's number (from 1) to its batches; the same number, the same batches.
        steps_per_epoch: how many those are.
        loss: from the network and a batch to the mean loss over its records.
        validate: from a network in evaluation mode to a score (the lower the better) and figures
            for the history.
        settings: see `FitSettings`.
        seed: of dropout.
        folder: of the checkpoints.
        made_from: a fingerprint of everything that a checkpoint has to agree with.
        resume: go on from the checkpoint in `folder`, where there is one.

    Raises:
        LeadlightError: the loss or the validation score is not finite, or the checkpoint belongs to
            another run.
    """
    device = next(network.parameters()).device
    set_batch_norm_momentum(network, settings.batch_norm_momentum)
    optimiser = _optimiser(network, settings)
    average = copy.deepcopy(network).eval().requires_grad_(False)
    best = copy.deepcopy(average)
    state = _State()
    if resume and (checkpoint := last_checkpoint(folder)) is not None:
        state = _restore(checkpoint, network, average, best, optimiser, made_from)
        say(f"Going on after epoch {state.epoch}.")
    steps = settings.epochs * steps_per_epoch
    with bar("Training", total=steps) as running:
        running.step(state.step)
        while state.epoch < settings.epochs and not _is_over(state, settings):
            number = state.epoch + 1
            # Dropout draws from the global generator; what the caller has drawn is given back.
            with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
                torch.manual_seed(epoch_seed(seed, number))
                row = _train_epoch(
                    network,
                    average,
                    optimiser,
                    batches(number),
                    loss,
                    state,
                    settings,
                    steps,
                    running,
                )
            score, figures = validate(average)
            if not math.isfinite(score):
                raise LeadlightError(
                    f"The validation score of epoch {number} is not a number.",
                    advice="Try a lower learning rate.",
                )
            state.note(number, score, settings)
            if state.best_epoch == number:
                best.load_state_dict(average.state_dict())
            state.history.append({"epoch": number, **row, "validation_score": score, **figures})
            _save(folder, state, network, average, best, optimiser, made_from)
            _write_history(state.history, folder.parent / "history.parquet")
            say(
                f"Epoch {number}: loss {row['loss']:.4f}, validation {score:.4f}"
                f"{' (best)' if state.best_epoch == number else ''}, "
                f"{row['records_per_s']:.0f} records/s"
            )
    history = history_table(state.history)
    seconds = float(history["seconds"].sum())
    trained_on = settings.batch_size * state.step
    return Fit(best.eval(), history, state.best_epoch, trained_on / seconds)


def epoch_seed(seed: int, number: int) -> int:
    """The seed of an epoch's randomness; different seeds and epochs do not overlap."""
    return seed * 1_000_003 + number


def learning_rate(step: int, steps: int, settings: FitSettings, plateau_scale: float) -> float:
    """The learning rate of step `step` (from 0) of `steps`."""
    if settings.schedule == "one-cycle":
        turn = max(1.0, settings.warm_up * steps)
        rising = step < turn
        share = step / turn if rising else (step - turn) / max(1.0, steps - turn)
        low = settings.learning_rate / 25 if rising else settings.learning_rate / 1e4
        cosine = (1 - math.cos(math.pi * share)) / 2
        height = cosine if rising else 1 - cosine
        return low + (settings.learning_rate - low) * height
    return settings.learning_rate * plateau_scale


def set_batch_norm_momentum(network: nn.Module, momentum: float) -> None:
    """How fast all batch norms' running statistics follow their batches."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.momentum = momentum


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint in `folder`."""
    found = sorted(folder.glob("epoch-*")) if folder.is_dir() else []
    return found[-1] if found else None


def autocast(device: torch.device, precision: str) -> Any:
    """The context in which a network runs at a precision."""
    if precision == "bfloat16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def history_table(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """One row per epoch."""
    return pl.DataFrame(rows, infer_schema_length=None)


@dataclass
class _State:
    """Where a run is: all of it that is no tensor."""

    epoch: int = 0
    step: int = 0
    best_epoch: int = 0
    best_score: float = math.inf
    plateau_scale: float = 1.0
    plateau_since: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)

    def note(self, number: int, score: float, settings: FitSettings) -> None:
        self.epoch = number
        self.plateau_since += 1
        if score < self.best_score:
            self.best_epoch, self.best_score, self.plateau_since = number, score, 0
        if self.plateau_since >= settings.plateau_patience and settings.schedule == "plateau":
            self.plateau_scale *= settings.plateau_factor
            self.plateau_since = 0


def _is_over(state: _State, settings: FitSettings) -> bool:
    return settings.patience > 0 and state.epoch - state.best_epoch >= settings.patience


def _optimiser(network: nn.Module, settings: FitSettings) -> torch.optim.Optimizer:
    decayed = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    return torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
    )


def _train_epoch(
    network: nn.Module,
    average: nn.Module,
    optimiser: torch.optim.Optimizer,
    batches: Iterable[B],
    loss: Callable[[nn.Module, B], torch.Tensor],
    state: _State,
    settings: FitSettings,
    steps: int,
    running: Bar,
) -> dict[str, float]:
    device = next(network.parameters()).device
    network.train()
    total = torch.zeros((), device=device)
    started, rate, seen = time.monotonic(), 0.0, 0
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, benchmark=False):
        for batch in batches:
            rate = learning_rate(state.step, steps, settings, state.plateau_scale)
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.zero_grad(set_to_none=True)
            with autocast(device, settings.precision):
                value = loss(network, batch)
            value.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), settings.gradient_norm)
            optimiser.step()
            state.step += 1
            seen += 1
            decay = min(settings.average_decay, (1 + state.step) / (10 + state.step))
            _follow(average, network, decay if settings.average_decay else 0.0)
            total += value.detach()
            running.step()
    mean = float(total) / max(seen, 1)
    if not math.isfinite(mean):
        raise LeadlightError(
            f"The training loss of epoch {state.epoch + 1} is not a number.",
            advice="Try a lower learning rate.",
        )
    seconds = time.monotonic() - started
    return {
        "loss": mean,
        "learning_rate": rate,
        "seconds": seconds,
        "records_per_s": seen * settings.batch_size / seconds,
    }


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the average's weights and statistics towards the network's."""
    for mean, value in zip(
        average.state_dict().values(), network.state_dict().values(), strict=True
    ):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)


def _save(
    folder: Path,
    state: _State,
    network: nn.Module,
    average: nn.Module,
    best: nn.Module,
    optimiser: torch.optim.Optimizer,
    made_from: str,
) -> None:
    tensors = {
        f"{part}.{name}": tensor
        for part, module in (("network", network), ("average", average), ("best", best))
        for name, tensor in module.state_dict().items()
    }
    for index, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": tensor for name, tensor in moments.items()}
    older = last_checkpoint(folder)
    with written_whole(folder / f"epoch-{state.epoch:04d}") as partial:
        partial.mkdir(parents=True)
        save_file(
            {k: t.detach().cpu().contiguous() for k, t in tensors.items()},
            partial / "state.safetensors",
        )
        write_json(partial / "state.json", {"made_from": made_from, **asdict(state)})
    if older is not None and older != last_checkpoint(folder):
        shutil.rmtree(older)


def _restore(
    checkpoint: Path,
    network: nn.Module,
    average: nn.Module,
    best: nn.Module,
    optimiser: torch.optim.Optimizer,
    made_from: str,
) -> _State:
    about = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
    if about.pop("made_from") != made_from:
        raise LeadlightError(
            f"The unfinished training in {checkpoint.parent} has other settings or records.",
            advice="Give the same ones to go on with it, or --overwrite to begin anew.",
        )
    tensors = load_file(checkpoint / "state.safetensors")
    for part, module in (("network", network), ("average", average), ("best", best)):
        module.load_state_dict(
            {k.removeprefix(f"{part}."): t for k, t in tensors.items() if k.startswith(f"{part}.")}
        )
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith("optimiser."):
            _, index, name = key.split(".")
            moments.setdefault(int(index), {})[name] = tensor
    optimiser.load_state_dict(
        {"state": moments, "param_groups": optimiser.state_dict()["param_groups"]}
    )
    return _State(**about)


def _write_history(rows: list[dict[str, Any]], path: Path) -> None:
    with written_whole(path) as partial:
        history_table(rows).write_parquet(partial)
