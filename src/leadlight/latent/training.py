"""Training a factor model on one or more studies, from median beats to a model with its card."""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from leadlight.atomic import refuse_overwrite
from leadlight.classify.distributed import (
    Place,
    average_gradients,
    joined,
    own_checkpoints,
    remove_checkpoints,
    wait_for_all,
)
from leadlight.classify.fitting import Fit, epoch_seed, fit, last_checkpoint
from leadlight.cohort.splits import TRAIN, VALIDATION
from leadlight.errors import LeadlightError
from leadlight.latent.augment import NO_AUGMENTATION, BeatBatch, augment
from leadlight.latent.beats import LIMITS, Beats, concatenate, gather_beats
from leadlight.latent.card import CARD_FILE
from leadlight.latent.choosing import (
    Choice,
    choose_factors,
    largest_correlation,
    latents_of,
)
from leadlight.latent.linear import PrincipalComponents, principal_components
from leadlight.latent.model import (
    Factors,
    LatentModel,
    load_latent_model,
    round_to_half,
    save_latent_model,
)
from leadlight.latent.network import FactorNetwork, varimax
from leadlight.latent.objective import Objective, Terms, beta_at, loss_of, terms
from leadlight.latent.reconstruction import reconstruction_errors
from leadlight.latent.settings import LatentSettings, study_shares
from leadlight.latent.training_card import card_of_training, write_trained_on
from leadlight.progress import say
from leadlight.provenance import write_provenance

_QRS = (LIMITS.index("qrs_onset"), LIMITS.index("qrs_offset"))


@dataclass(frozen=True)
class Trained:
    """What a training made.

    Attributes:
        model: as a user would load it.
        history: one row per epoch.
        best_epoch: whose weights were kept.
        records_per_s: trained on.
    """

    model: LatentModel
    history: pl.DataFrame
    best_epoch: int
    records_per_s: float


def train(
    studies: Sequence[Path],
    out: Path,
    settings: LatentSettings,
    *,
    cache: Path | None = None,
    validation_study: str = "",
    exclude_patients: frozenset[str] = frozenset(),
    resume: bool = False,
    overwrite: bool = False,
) -> Trained:
    """Train on the train splits of `studies` and write the model with its card into `out`.

    `out` gets `card.toml`, `weights.safetensors`, `baseline.safetensors` (principal components of
    the same training beats), `history.parquet`, `trained-on.parquet` and `provenance.json`. While
    it runs there is `checkpoint/`. Started by `torchrun`, all processes train together.

    Args:
        studies: study folders that have been measured.
        out: the model's folder.
        settings: see `LatentSettings`.
        cache: folder for beats that are read once; `out/cache` where None.
        validation_study: name of the study whose validation split decides when to stop; the first
            where empty.
        exclude_patients: who is left out of training and validation.
        resume: go on with a run that was stopped.
        overwrite: replace a model or an unfinished run.

    Raises:
        LeadlightError: a study has no median beats, a split is empty, a model or an unfinished run
            is in `out`, or a loss is not finite.
    """
    with joined(settings.device) as place:
        if place.writes:
            _claim(out, resume, overwrite)
        cache = out / "cache" if cache is None else cache
        if place.writes:
            gather_beats(studies, cache)
        wait_for_all(place)
        names = [study.resolve().name for study in studies]
        parts = [_without(gather_beats([study], cache), exclude_patients) for study in studies]
        training = [part.of_split(TRAIN) for part in parts]
        decides = names.index(validation_study) if validation_study in names else 0
        deciding = parts[decides].of_split(VALIDATION)
        _check(names, training, deciding, settings, validation_study)
        torch.manual_seed(settings.seed)
        goes_on = resume and last_checkpoint(out / "checkpoint") is not None
        # A checkpoint holds the basis too: it need not be made again.
        network = (
            FactorNetwork(**settings.architecture.model_dump())
            if goes_on
            else start_network(training, settings)
        ).to(place.device)
        fitted = fit_network(
            network, training, deciding, settings, out / "checkpoint", place, resume=resume
        )
        best = fitted.network.cpu()
        assert isinstance(best, FactorNetwork)
        network = best
        round_to_half(network)
        reference = [
            place_of
            for place_of, name in enumerate(names)
            if not settings.reference or name in settings.reference
        ]
        population = concatenate([training[place_of] for place_of in reference])
        latents = latents_of(network, population)
        measured = pl.concat(
            [_measurements(studies[at], training[at]) for at in reference], how="diagonal_relaxed"
        )
        choice = choose_factors(latents, settings.rule, measured)
        factors = factors_of(network, choice)
        baseline = linear_baseline(training, settings).first(len(choice.factors))
        if place.writes:
            card = card_of_training(
                factors, choice, population, deciding, settings, names, training, fitted
            )
            save_latent_model(factors, card, out, baseline=baseline, overwrite=True)
            write_trained_on(out / "trained-on.parquet", training, deciding)
            write_provenance(
                out, "latent train", {"settings": dataclasses.asdict(settings), "studies": names}
            )
        remove_checkpoints(out / "checkpoint", place)
        wait_for_all(place)
    return Trained(load_latent_model(out), fitted.history, fitted.best_epoch, fitted.records_per_s)


def fit_network(
    network: FactorNetwork,
    training: Sequence[Beats],
    deciding: Beats,
    settings: LatentSettings,
    folder: Path,
    place: Place,
    *,
    resume: bool = False,
) -> Fit:
    """Fit a network, in place, to the training beats of some studies; see `classify.fitting`."""
    steps = max(1, settings.records_per_epoch // (settings.fit.batch_size * place.processes))
    shares = study_shares(training, settings.study_weights)
    n_records = sum(len(part) for part in training)
    points = network.leads * network.samples
    beta = {"now": settings.objective.beta}
    noise = torch.Generator(device=place.device)

    def batches(number: int) -> Iterator[BeatBatch]:
        beta["now"] = beta_at(number, settings.fit.epochs, settings.objective)
        seed = epoch_seed(settings.seed, number) * place.processes + place.rank
        noise.manual_seed(seed + 1)
        return epoch_batches(training, shares, steps, seed, settings, place.device)

    def loss(network: torch.nn.Module, batch: BeatBatch) -> torch.Tensor:
        assert isinstance(network, FactorNetwork)
        parts = _terms(network, batch, settings.objective, n_records, noise)
        return loss_of(parts, settings.objective, beta["now"], points)

    def validate(network: torch.nn.Module) -> tuple[float, dict[str, float | None]]:
        assert isinstance(network, FactorNetwork)
        return validation_score(network, deciding, settings.objective)

    average_gradients(network, place)
    n_parameters = sum(p.numel() for p in network.parameters())
    say(
        f"Training {n_parameters:,} parameters on {n_records:,} beats, "
        f"{steps * settings.fit.batch_size * place.processes:,} an epoch, on {place.device}"
        f"{f' and {place.processes - 1} more' if place.processes > 1 else ''}."
    )
    return fit(
        network,
        batches=batches,
        steps_per_epoch=steps,
        loss=loss,
        validate=validate,
        settings=settings.fit,
        seed=settings.seed,
        folder=own_checkpoints(folder, place),
        made_from=_fingerprint(settings, training, deciding),
        resume=resume,
    )


def epoch_batches(
    training: Sequence[Beats],
    shares: npt.NDArray[np.float64],
    steps: int,
    seed: int,
    settings: LatentSettings,
    device: torch.device,
) -> Iterator[BeatBatch]:
    """Batches of changed beats, drawn with replacement; the same seed, the same batches."""
    rng = np.random.default_rng(seed)
    generator = torch.Generator(device=device).manual_seed(seed)
    for _ in range(steps):
        counts = rng.multinomial(settings.fit.batch_size, shares)
        drawn = [
            part.take(np.sort(rng.integers(len(part), size=count)))
            for part, count in zip(training, counts, strict=True)
            if count
        ]
        batch = concatenate(drawn)
        beats_mv, own = batch.millivolts(slice(None))
        yield augment(
            torch.from_numpy(beats_mv).to(device),
            torch.from_numpy(own).to(device),
            torch.from_numpy(batch.limits[:, _QRS]).to(device),
            settings.augmentation,
            generator,
        )


def start_network(training: Sequence[Beats], settings: LatentSettings) -> FactorNetwork:
    """The network as it is before training: rotated principal components of changed beats.

    Depends on the training beats and the settings but not on the seed, so factors of different
    seeds have a common start and can be matched.
    """
    sizes = settings.architecture
    shares = study_shares(training, settings.study_weights)
    steps = -(-settings.basis_beats // settings.fit.batch_size)
    batches = epoch_batches(training, shares, steps, 0, settings, torch.device("cpu"))
    seen = ((batch.wanted * batch.own[:, None]).numpy() for batch in batches)
    found = principal_components(seen, sizes.components)
    if len(found.spread) < max(sizes.components, sizes.latents):
        raise LeadlightError(
            f"The training beats span {len(found.spread)} components, fewer than the "
            f"{sizes.components} asked for.",
            advice="Give more records or fewer components.",
        )
    network = FactorNetwork(**sizes.model_dump())
    loadings = (found.spread[: sizes.latents, None] * found.basis[: sizes.latents]).T
    rotation = varimax(loadings) if settings.simple_start else np.eye(sizes.latents)
    return network.start_linear(found.basis, found.centre, found.spread, rotation)


def linear_baseline(training: Sequence[Beats], settings: LatentSettings) -> PrincipalComponents:
    """Principal components of the training beats as they are, weighted as in training."""
    plain = dataclasses.replace(settings, augmentation=NO_AUGMENTATION)
    shares = study_shares(training, settings.study_weights)
    steps = -(-settings.basis_beats // settings.fit.batch_size)
    batches = epoch_batches(training, shares, steps, 1, plain, torch.device("cpu"))
    seen = ((batch.wanted * batch.own[:, None]).numpy() for batch in batches)
    return principal_components(seen, settings.architecture.latents)


def factors_of(network: FactorNetwork, choice: Choice) -> Factors:
    """The network with the chosen factors."""
    made = Factors(network, len(choice.factors))
    for name in ("to_factors", "from_factors", "offset"):
        getattr(made, name).copy_(torch.from_numpy(getattr(choice, name).astype(np.float32)))
    return made.eval().requires_grad_(False)


@torch.inference_mode()
def validation_score(
    network: FactorNetwork, beats: Beats, objective: Objective
) -> tuple[float, dict[str, float | None]]:
    """The negative lower bound per point at the posterior means, and figures for the history."""
    device = network.centre.device
    beats_mv, own = beats.millivolts(slice(None))
    truth = torch.from_numpy(beats_mv * own[:, None]).to(device)
    mask = torch.from_numpy(own).to(device)
    mean, log_variance = network.encode(truth)
    decoded = network.decode(mean)
    parts = terms(truth, decoded, mask, (mean, log_variance, mean), objective, len(beats))
    points = truth.shape[1] * truth.shape[2]
    score = float(loss_of(parts, dataclasses.replace(objective, decorrelation=0.0,
                          total_correlation=0.0), objective.beta, points))  # fmt: skip
    errors = reconstruction_errors(beats_mv, decoded.cpu().numpy(), own)
    figures: dict[str, float | None] = {
        "mae_uv": float(errors.mae_uv.mean()),
        "r": float(np.nanmean(errors.r)),
        "kl_nats": float(parts.kl.sum()),
        "latents_above_half_a_nat": float((parts.kl > 0.5).sum()),
        "largest_correlation": largest_correlation(mean.cpu().numpy()),
    }
    return score, figures


def _terms(
    network: FactorNetwork,
    batch: BeatBatch,
    objective: Objective,
    n_records: int,
    noise: torch.Generator,
) -> Terms:
    mean, log_variance = network.encode(batch.seen)
    sample = mean
    if objective.beta:
        draw = torch.randn(mean.shape, generator=noise, device=mean.device)
        sample = mean + (0.5 * log_variance).exp() * draw
    decoded = network.decode(sample)
    posterior = (mean, log_variance, sample)
    return terms(batch.wanted, decoded, batch.own, posterior, objective, n_records)


def _measurements(study: Path, beats: Beats) -> pl.DataFrame:
    wanted = beats.records.select("record_id")
    if not (study / "measurements.parquet").exists():
        return wanted
    table = pl.read_parquet(study / "measurements.parquet")
    return wanted.join(table, on="record_id", how="left", maintain_order="left")


def _without(beats: Beats, patients: frozenset[str]) -> Beats:
    if not patients:
        return beats
    left = ~beats.records["patient_id"].is_in(list(patients)).to_numpy()
    return beats.take(np.flatnonzero(left))


def _fingerprint(settings: LatentSettings, training: Sequence[Beats], deciding: Beats) -> str:
    tables = dataclasses.asdict(settings) | {"architecture": settings.architecture.model_dump()}
    digest = hashlib.sha256(json.dumps(tables, sort_keys=True).encode())
    for part in [*training, deciding]:
        digest.update("\n".join(part.records["record_id"]).encode())
        digest.update(np.ascontiguousarray(part.own).tobytes())
    return digest.hexdigest()


def _claim(out: Path, resume: bool, overwrite: bool) -> None:
    refuse_overwrite(out / CARD_FILE, overwrite)
    unfinished = last_checkpoint(out / "checkpoint")
    if unfinished is not None and not resume:
        if not overwrite:
            raise LeadlightError(
                f"{out} holds an unfinished training.",
                advice="Give --resume to go on with it, or --overwrite to begin anew.",
            )
        shutil.rmtree(out / "checkpoint")


def _check(
    names: Sequence[str],
    training: Sequence[Beats],
    deciding: Beats,
    settings: LatentSettings,
    validation_study: str,
) -> None:
    if len(set(names)) < len(names):
        raise LeadlightError("Two studies have the same name.", advice="Rename one folder.")
    if validation_study and validation_study not in names:
        raise LeadlightError(
            f"The validation study {validation_study} is none of {', '.join(names)}."
        )
    if settings.study_weights and len(settings.study_weights) != len(names):
        raise LeadlightError(
            f"There are {len(names)} studies and {len(settings.study_weights)} weights."
        )
    if unknown := set(settings.reference) - set(names):
        raise LeadlightError(f"The reference study {sorted(unknown)[0]} is not trained on.")
    for name, part in zip(names, training, strict=True):
        if not len(part):
            raise LeadlightError(f"{name} has no usable record in its train split.")
    if not len(deciding):
        raise LeadlightError(
            f"{validation_study or names[0]} has no usable record in its validation split.",
            advice="Name a study that has one as the validation study.",
        )
