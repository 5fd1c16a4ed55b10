"""What a training step sees: which records, how often, how much a positive counts."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from leadlight.classify.augment import augment
from leadlight.classify.dataset import PreparedSplit
from leadlight.classify.distributed import Place
from leadlight.classify.fitting import epoch_seed
from leadlight.classify.recipe import TrainingSettings
from leadlight.cohort.splits import TRAIN
from leadlight.errors import LeadlightError

# Inputs, which samples are not padding, labels, which labels are known.
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def epoch_batches(
    parts: Sequence[PreparedSplit],
    shares: npt.NDArray[np.float64],
    n_records: int,
    steps: int,
    number: int,
    settings: TrainingSettings,
    place: Place,
) -> Iterator[Batch]:
    """The disturbed batches of an epoch; what fills no batch waits for another epoch.

    Of several processes each takes its share of the records of every batch, so that all together
    see what one alone would see; disturbances are each process's own.
    """
    seed, device = epoch_seed(settings.seed, number), place.device
    generator = torch.Generator(device).manual_seed(seed + place.rank * 2**48)
    order = draw_epoch(parts, shares, n_records, np.random.default_rng(seed))
    size = settings.fit.batch_size
    for step in range(steps):
        drawn = order[step * size : (step + 1) * size]
        x, valid, truth, known = _gather(parts, drawn[place.rank :: place.processes])
        x, valid = x.to(device), valid.to(device)
        x = augment(x, valid, settings.input, settings.augment, generator)
        yield x, valid, truth.to(device), known.to(device)


def study_shares(sizes: Sequence[int], weights: Sequence[float]) -> npt.NDArray[np.float64]:
    """Each study's share of an epoch: by `weights`, or by size where there are none."""
    wanted = np.asarray(weights if len(weights) else sizes, dtype=np.float64)
    wanted = np.where(np.asarray(sizes) > 0, wanted, 0.0)
    shares: npt.NDArray[np.float64] = wanted / wanted.sum()
    return shares


def draw_epoch(
    parts: Sequence[PreparedSplit],
    shares: npt.NDArray[np.float64],
    n_records: int,
    rng: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """Which records an epoch trains on, in order: (record, 2) of study and index in it.

    A study's records are gone through in a random order, again and again until its share is full,
    so that none is drawn twice before all were drawn once.

    Raises:
        LeadlightError: a part holds a record that is not of the train split.
    """
    for part in parts:
        if part.split != TRAIN or not (part.records["split"] == TRAIN).all():
            raise LeadlightError(
                f"Records of {part.study} that are not of its train split reached the training."
            )
    quota = np.floor(shares * n_records).astype(np.int64)
    remainder = shares * n_records - quota
    quota[np.argsort(-remainder, kind="stable")[: n_records - quota.sum()]] += 1
    drawn = []
    for study, (part, wanted) in enumerate(zip(parts, quota, strict=True)):
        rounds = math.ceil(wanted / max(len(part), 1))
        order = [rng.permutation(len(part)) for _ in range(rounds)]
        index = np.concatenate([np.zeros(0, dtype=np.int64), *order])[:wanted]
        drawn.append(np.stack([np.full(len(index), study), index], axis=1))
    return rng.permutation(np.concatenate(drawn)).astype(np.int64)


def positive_weights(
    parts: Sequence[PreparedSplit], shares: npt.NDArray[np.float64], cap: float
) -> npt.NDArray[np.float64]:
    """How much a positive of each class weighs against a negative: (class,).

    Negatives over positives as they are drawn (records weighted by their study's share), within
    [1 / cap, cap]; 1 for a class of which only one kind is known.
    """
    n_classes = parts[0].truth.shape[1]
    positive, negative = np.zeros(n_classes), np.zeros(n_classes)
    for part, share in zip(parts, shares, strict=True):
        if len(part):
            per_record = share / len(part)
            positive += per_record * (part.truth * part.known).sum(axis=0)
            negative += per_record * ((1 - part.truth) * part.known).sum(axis=0)
    both = (positive > 0) & (negative > 0)
    ratio = np.divide(negative, positive, out=np.ones(n_classes), where=both)
    weights: npt.NDArray[np.float64] = np.clip(ratio, 1 / cap, cap)
    return weights


def _gather(parts: Sequence[PreparedSplit], drawn: npt.NDArray[np.int64]) -> Batch:
    """The records of (record, 2) study and index, study after study."""
    found: list[Batch] = []
    for study, part in enumerate(parts):
        index = np.sort(drawn[drawn[:, 0] == study, 1])
        if len(index):
            truth, known = torch.from_numpy(part.truth[index]), torch.from_numpy(part.known[index])
            found.append((part.values(index), part.valid(index), truth, known))
    x, valid, truth, known = (torch.cat(tensors) for tensors in zip(*found, strict=True))
    return x, valid, truth, known
