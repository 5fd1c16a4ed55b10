"""Training a classifier on one or more studies, from a cohort to a model with its card.

Records go by the split in `records.parquet`: the network is fitted to "train", stopped and given
its thresholds by "validation", and scored once, at the end, on "test". No test record is prepared
or read before the network is final.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import nn
from torch.nn import functional

from leadlight.atomic import refuse_overwrite, write_json
from leadlight.classify import scoring
from leadlight.classify.cards import CARD_FILE, ModelCard, OutputSection, read_card
from leadlight.classify.dataset import PreparedSplit, batches, prepare_split
from leadlight.classify.distributed import (
    Place,
    average_gradients,
    first_alone,
    joined,
    own_checkpoints,
    remove_checkpoints,
    share_batch_statistics,
    total,
    wait_for_all,
)
from leadlight.classify.fitting import Fit, autocast, fit, last_checkpoint
from leadlight.classify.models import build_network, load_model, save_model
from leadlight.classify.recipe import TrainingSettings, as_tables
from leadlight.classify.sampling import Batch, epoch_batches, positive_weights, study_shares
from leadlight.classify.training_card import (
    choose_thresholds,
    short_scores,
    training_table,
    write_trained_on,
)
from leadlight.cohort.splits import TEST, TRAIN, VALIDATION
from leadlight.cohort.store import open_cohort
from leadlight.errors import LeadlightError
from leadlight.progress import say
from leadlight.provenance import write_provenance


@dataclass(frozen=True)
class TrainingResult:
    """What a training run made.

    Attributes:
        card_path: of the model, for `load_model`.
        card: as written.
        scores: study to its `scoring.score_table` on validation and test.
        history: one row per epoch.
        best_epoch: whose weights were kept.
        n_parameters: of the network.
        records_per_s: trained on, in the mean over all epochs.
    """

    card_path: Path
    card: ModelCard
    scores: dict[str, dict[str, Any]]
    history: pl.DataFrame
    best_epoch: int
    n_parameters: int
    records_per_s: float


def train(
    studies: Sequence[Path],
    out: Path,
    settings: TrainingSettings,
    *,
    cache: Path | None = None,
    workers: int = 1,
    resume: bool = False,
    overwrite: bool = False,
) -> TrainingResult:
    """Train a network on the train splits of `studies` and write it with its card into `out`.

    `out` gets `card.toml` and `weights.safetensors`, `scores.json`, `history.parquet` (one row per
    epoch), `trained-on.parquet` (every record that the weights, or the choice of them and of the
    thresholds, depend on) and `provenance.json`. While it runs there is `checkpoint/`. Started by
    `torchrun`, all processes train together: each takes its share of the records of every batch,
    and the network that results is what one process makes of the same batches, up to rounding and
    to dropout and disturbances, which are drawn by each process.

    Args:
        studies: study folders with labelled cohorts.
        out: the model's folder.
        settings: see `TrainingSettings`.
        cache: folder of prepared records, which runs can share; `out/cache` where None.
        workers: processes that prepare records.
        resume: go on with a run that was killed; the outcome is that of an uninterrupted one.
        overwrite: replace a model or an unfinished run.

    Raises:
        LeadlightError: no study, two of one name, no labelled records to train on or to stop by, a
            model or an unfinished run in `out`, or a loss that is not finite.
    """
    with joined(settings.device) as place:
        cache = out / "cache" if cache is None else cache
        return _train_together(
            studies, out, settings, place, cache, workers=workers, resume=resume,
            overwrite=overwrite,
        )  # fmt: skip


@dataclass(frozen=True)
class _Data:
    """What the loop sees. parts: train splits, one for each study; weight: (class,) of positives;
    shares: of the studies in an epoch."""

    parts: Sequence[PreparedSplit]
    deciding: PreparedSplit
    shares: npt.NDArray[np.float64]
    weight: npt.NDArray[np.float64]


def _train_together(
    studies: Sequence[Path],
    out: Path,
    settings: TrainingSettings,
    place: Place,
    cache: Path,
    *,
    workers: int,
    resume: bool,
    overwrite: bool,
) -> TrainingResult:
    """What `train` does, as one of the processes that train together."""
    if place.writes:
        _claim(out, resume, overwrite)
    _check_studies(studies, settings)
    card = ModelCard(
        model=settings.model,
        input=settings.input,
        output=OutputSection(classes=settings.classes),
        limits=settings.limits,
    )

    def split_of(study: Path, split: str) -> PreparedSplit:
        unknown = settings.unknown_classes.get(_name(study), ())
        return prepare_split(study, split, card, cache, unknown=unknown, workers=workers)

    with first_alone(place):  # it prepares the records, the others find them prepared
        data = _training_data(studies, split_of, settings)
    _check_parts(data.parts, data.deciding, settings.classes)
    network = build_network(card, torch.Generator().manual_seed(settings.seed)).to(place.device)
    n_parameters = sum(p.numel() for p in network.parameters())
    fitted = _fit(network, data, settings, place, out / "checkpoint", resume)
    say(f"Trained at {fitted.records_per_s:.0f} records/s; epoch {fitted.best_epoch} is kept.")
    if place.writes:
        _finish(studies, out, settings, card, fitted, data, split_of, place.device)
    remove_checkpoints(out / "checkpoint", place)
    wait_for_all(place)
    return TrainingResult(
        card_path=out / CARD_FILE,
        card=read_card(out / CARD_FILE),
        scores=json.loads((out / "scores.json").read_text(encoding="utf-8")),
        history=fitted.history,
        best_epoch=fitted.best_epoch,
        n_parameters=n_parameters,
        records_per_s=fitted.records_per_s,
    )


def _training_data(
    studies: Sequence[Path], split_of: Callable[[Path, str], PreparedSplit],
    settings: TrainingSettings,
) -> _Data:  # fmt: skip
    held_out = _signals_outside_training(studies)
    parts = [_without(split_of(study, TRAIN), held_out) for study in studies]
    by_name = {_name(study): study for study in studies}
    deciding = split_of(by_name[settings.validation_study or _name(studies[0])], VALIDATION)
    sizes = [len(part) for part in parts]
    if not sum(sizes):  # told by `_check_parts`
        return _Data(parts, deciding, np.zeros(len(parts)), np.ones(len(settings.classes)))
    shares = study_shares(sizes, settings.study_weights)
    weight = positive_weights(parts, shares, settings.positive_weight_cap)
    return _Data(parts, deciding, shares, weight)


def _fit(
    network: nn.Module,
    data: _Data,
    settings: TrainingSettings,
    place: Place,
    folder: Path,
    resume: bool,
) -> Fit:
    """The loop; `folder` is of its checkpoints."""
    parts, deciding, batch_size = data.parts, data.deciding, settings.fit.batch_size
    if place.processes > batch_size:
        raise LeadlightError(
            f"{place.processes} processes cannot share batches of {batch_size} records.",
            advice="Train with fewer processes, or with larger batches.",
        )
    share_batch_statistics(network, place)
    average_gradients(network, place)
    n_records = settings.records_per_epoch or sum(len(part) for part in parts)
    steps = max(1, n_records // batch_size)
    say(
        f"Training {sum(p.numel() for p in network.parameters()):,} parameters on "
        f"{sum(len(p) for p in parts):,} records of {sum(p.n_patients for p in parts):,} patients, "
        f"{n_records:,} an epoch, on {place.device}"
        f"{f' and {place.processes - 1} more' if place.processes > 1 else ''}."
    )
    class_weight = torch.tensor(data.weight, dtype=torch.float32, device=place.device)

    def batches_of(number: int) -> Iterator[Batch]:
        return epoch_batches(parts, data.shares, n_records, steps, number, settings, place)

    def loss(network: nn.Module, batch: Batch) -> torch.Tensor:
        x, _, truth, known = batch
        own = masked_loss(network(x), truth, known, class_weight, settings.label_smoothing)
        if place.processes == 1:
            return own
        # Weighted so that the mean over processes is the mean over all their labels.
        return own * known.sum() * place.processes / total(known.sum(), place).clamp(min=1)

    def validate(network: nn.Module) -> tuple[float, dict[str, float | None]]:
        logits = predict_logits(network, deciding, batch_size, settings.fit.precision)
        return _validation_score(logits, deciding, class_weight.cpu(), settings)

    return fit(
        network,
        batches=batches_of,
        steps_per_epoch=steps,
        loss=loss,
        validate=validate,
        settings=settings.fit,
        seed=settings.seed * place.processes + place.rank,
        folder=own_checkpoints(folder, place),
        made_from=_fingerprint(settings, [*parts, deciding]),
        resume=resume,
    )


def _finish(
    studies: Sequence[Path],
    out: Path,
    settings: TrainingSettings,
    card: ModelCard,
    fitted: Fit,
    data: _Data,
    split_of: Callable[[Path, str], PreparedSplit],
    device: torch.device,
) -> None:
    """Choose thresholds, score on test records, and write the model with its card."""
    # What is scored is what a user will load: the weights as rounded on disk.
    save_model(fitted.network.cpu(), card, out / "checkpoint" / "best", overwrite=True)
    final = load_model(out / "checkpoint" / "best").network.to(device)
    held = [split_of(study, VALIDATION) for study in studies]
    probabilities = [_probabilities(final, part, settings) for part in held]
    classes = card.output.classes
    thresholds, chosen_on = choose_thresholds(data.deciding, held, probabilities, classes)
    card = card.with_output(thresholds=thresholds)
    scores = {}
    for study, validation, of_validation in zip(studies, held, probabilities, strict=True):
        test = split_of(study, TEST)
        scores[_name(study)] = scoring.score_table(
            pl.concat([of_validation, _probabilities(final, test, settings)]),
            pl.concat([validation.records, test.records]),
            card_thresholds=thresholds,
            n_bootstrap=settings.n_bootstrap,
            seed=settings.seed,
            splits=(VALIDATION, TEST),
        )
    told = training_table(data.parts, data.deciding, data.shares, data.weight, chosen_on, settings)
    card = card.model_copy(
        update={
            "training": told | {"epochs": fitted.history.height, "best_epoch": fitted.best_epoch},
            "metrics": {name: short_scores(table) for name, table in scores.items()},
        }
    )
    write_json(out / "scores.json", scores)
    write_trained_on(out / "trained-on.parquet", data.parts, held)
    names = [_name(study) for study in studies]
    write_provenance(out, "train", {"settings": as_tables(settings), "studies": names})
    save_model(final.cpu(), card, out, overwrite=True)


def masked_loss(
    logits: torch.Tensor,
    truth: torch.Tensor,
    known: torch.Tensor,
    class_weight: torch.Tensor,
    smoothing: float = 0.0,
) -> torch.Tensor:
    """Mean binary cross-entropy over known labels; all (record, class), `class_weight` (class,)."""
    target = truth * (1 - smoothing) + smoothing / 2
    each = functional.binary_cross_entropy_with_logits(
        logits.float(), target, pos_weight=class_weight, reduction="none"
    )
    return (each * known).sum() / known.sum().clamp(min=1)


@torch.no_grad()
def predict_logits(
    network: nn.Module, part: PreparedSplit, batch_size: int, precision: str = "float32"
) -> torch.Tensor:
    """Logits of all records of a split, in order: (record, class) float32 on the processor."""
    network.eval()
    device = next(network.parameters()).device
    found = [torch.zeros(0, part.truth.shape[1])]
    with autocast(device, precision):
        for x, _, _ in batches(part, batch_size):
            found.append(network(x.to(device)).float().cpu())
    return torch.cat(found)


def _validation_score(
    logits: torch.Tensor,
    part: PreparedSplit,
    class_weight: torch.Tensor,
    settings: TrainingSettings,
) -> tuple[float, dict[str, float | None]]:
    truth, known = torch.from_numpy(part.truth), torch.from_numpy(part.known)
    loss = float(masked_loss(logits, truth, known, class_weight))
    figures: dict[str, float | None] = {"validation_loss": loss}
    for column, name in enumerate(settings.classes):
        keep = part.known[:, column]
        score = logits[:, column].double().numpy()[keep]
        figures[f"auroc_{name}"] = scoring.auroc(part.truth[keep, column], score)
    if settings.stop_on == "loss":
        return loss, figures
    defined = [v for k, v in figures.items() if k.startswith("auroc_") and v is not None]
    if not defined:
        raise LeadlightError(
            f"The validation split of {part.study} has no class with positives and negatives.",
            advice='Stop on "loss", or name another validation_study.',
        )
    return 1 - float(np.mean(defined)), figures


def _probabilities(
    network: nn.Module, part: PreparedSplit, settings: TrainingSettings
) -> pl.DataFrame:
    """`record_id` and one column for each class that the study's labels know."""
    logits = predict_logits(network, part, settings.fit.batch_size)
    values = torch.sigmoid(logits.double()).numpy()
    unknown = settings.unknown_classes.get(part.study, ())
    columns = {
        name: values[:, column]
        for column, name in enumerate(settings.classes)
        if name not in unknown
    }
    return pl.DataFrame({"record_id": part.records["record_id"], **columns})


def _claim(out: Path, resume: bool, overwrite: bool) -> None:
    """See that `out` may be written, and clear it where the user says so."""
    refuse_overwrite(out / CARD_FILE, overwrite)
    if last_checkpoint(out / "checkpoint") is not None and not (resume or overwrite):
        raise LeadlightError(
            f"{out} holds an unfinished training.",
            advice="Give --resume to go on with it, or --overwrite to begin anew.",
        )
    if overwrite and not resume:
        shutil.rmtree(out / "checkpoint", ignore_errors=True)


def _check_studies(studies: Sequence[Path], settings: TrainingSettings) -> None:
    names = [_name(study) for study in studies]
    if not names:
        raise LeadlightError("There is no study to train on.", advice="Give at least one --study.")
    for name in names:
        if names.count(name) > 1:
            raise LeadlightError(f'Two studies are named "{name}".', advice="Rename a folder.")
    chosen = settings.validation_study
    if chosen and chosen not in names:
        raise LeadlightError(f'"{chosen}" is none of the studies {", ".join(names)}.')
    # A recipe may speak of a study that is not at hand: it serves others as it stands.
    for name, classes in settings.unknown_classes.items():
        if name not in names:
            say(
                f"No study here is named {name}: every study's silence on "
                f"{', '.join(classes)} counts as absence."
            )
    if settings.study_weights and len(settings.study_weights) != len(names):
        raise LeadlightError(
            f"{len(settings.study_weights)} weights are given for {len(names)} studies.",
            advice="Give one for each study, or none.",
        )


def _check_parts(
    parts: Sequence[PreparedSplit], deciding: PreparedSplit, classes: Sequence[str]
) -> None:
    if not sum(len(part) for part in parts):
        raise LeadlightError(
            f"There is no usable labelled record to train on ({_why(parts)}).",
            advice="Import the study with --labels.",
        )
    if not len(deciding):
        raise LeadlightError(
            f"The validation split of {deciding.study} has no usable labelled record "
            f"({_why([deciding])}).",
            advice="Name another validation_study.",
        )
    positives = np.sum([(part.truth * part.known).sum(axis=0) for part in parts], axis=0)
    for name, count in zip(classes, positives, strict=True):
        if count == 0:
            say(f"No training record is positive for {name}: the network cannot learn it.")


def _why(parts: Sequence[PreparedSplit]) -> str:
    reasons = [f"{n} {reason}" for part in parts for reason, n in part.left_out.items()]
    return ", ".join(reasons) or "the split is empty"


def _signals_outside_training(studies: Sequence[Path]) -> frozenset[str]:
    """Fingerprints of the signals in any study's validation or test split."""
    return frozenset(
        signal
        for study in studies
        for signal in open_cohort(study).records.filter(pl.col("split") != TRAIN)["signal_sha256"]
    )


def _without(part: PreparedSplit, signals: frozenset[str]) -> PreparedSplit:
    """The part without records that another study holds out: the same ECG under another name."""
    keep = np.array([s not in signals for s in part.records["signal_sha256"]], dtype=bool)
    return part.only(keep, "same signal in another study's validation or test split")


def _fingerprint(settings: TrainingSettings, parts: Sequence[PreparedSplit]) -> str:
    digest = hashlib.sha256(json.dumps(as_tables(settings), sort_keys=True).encode())
    for part in parts:
        digest.update(json.dumps([part.study, part.split]).encode())
        digest.update(json.dumps(part.records["signal_sha256"].to_list()).encode())
        digest.update(part.truth.tobytes() + part.known.tobytes())
    return digest.hexdigest()


def _name(study: Path) -> str:
    return study.resolve().name
