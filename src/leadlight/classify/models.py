"""Networks with their cards: loading, saving, and the random twin that serves as a control.

Weights are read from safetensors only: a pickle (.pt, .pth) can run code when it is opened.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from leadlight.atomic import refuse_overwrite, written_whole
from leadlight.classify.cards import CARD_FILE, WEIGHTS_FILE, ModelCard, read_card, write_card
from leadlight.classify.ribeiro import ResidualNetwork
from leadlight.errors import LeadlightError, ModelMismatch

DEFAULT_MODEL = "leadlight-ecg-6"

_PICKLES = {".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".joblib"}
_KERAS = {".h5", ".hdf5", ".keras"}
# Counts of batches seen in training: of no use afterwards, and not stored.
_BATCH_COUNT = "num_batches_tracked"


@dataclass(frozen=True)
class Model:
    """A network ready to use, with its card.

    `network` maps (record, lead, sample) float32 to logits (record, class); it is in evaluation
    mode and its parameters take no gradients. `source` is the card's path.
    """

    card: ModelCard
    network: nn.Module
    source: Path


def load_model(name_or_card: str | Path) -> Model:
    """A shipped model by name, or any model by the path of its card or of the card's folder.

    Raises:
        LeadlightError: there is no such model, or the weights are in a format that is not read.
        ModelMismatch: weights and card disagree; both values are named.
    """
    card_path = find_card(name_or_card)
    card = read_card(card_path)
    return Model(card, _load_network(card, card_path), card_path)


def save_model(
    network: nn.Module,
    card: ModelCard,
    folder: Path,
    *,
    half: bool = True,
    overwrite: bool = False,
) -> ModelCard:
    """Write weights and card into `folder`; the card there carries the weights' SHA-256.

    With `half`, convolution and dense weights are rounded to half precision (relative error below
    0.05 %); batch norm and biases, which are few and may be tiny, always stay in single precision.
    The card is written last, so that a folder with a card is a whole model.

    Returns:
        The card as written.

    Raises:
        LeadlightError: the folder holds a model already, or a weight is not finite.
        ModelMismatch: the network is not what the card says.
    """
    refuse_overwrite(folder / CARD_FILE, overwrite)
    tensors = {
        name: _on_disk(tensor, half)
        for name, tensor in network.state_dict().items()
        if not name.endswith(_BATCH_COUNT)
    }
    _check_tensors(tensors, blank_network(card), "the network", "the card")
    stored = card.model_copy(
        update={
            "model": card.model.model_copy(
                update={
                    "weights": WEIGHTS_FILE,
                    "weights_sha256": hashlib.sha256(safetensors.torch.save(tensors)).hexdigest(),
                }
            )
        }
    )
    with written_whole(folder / WEIGHTS_FILE) as partial:
        partial.write_bytes(safetensors.torch.save(tensors))
    write_card(stored, folder / CARD_FILE)
    return stored


def shipped_models() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(path.parent.name for path in _shipped_folder().glob(f"*/{CARD_FILE}"))


def find_card(name_or_card: str | Path) -> Path:
    """Where the card of a model lies.

    Raises:
        LeadlightError: there is no such model, or the file is weights without a card.
    """
    if isinstance(name_or_card, str) and name_or_card in shipped_models():
        return _shipped_folder() / name_or_card / CARD_FILE
    path = Path(name_or_card)
    if path.suffix.lower() in _KERAS:
        raise LeadlightError(
            f"{path} is a Keras file; it says nothing of lead order and unit.",
            advice=f"Make it a model first: leadlight card convert {path} --out FOLDER",
        )
    if path.suffix.lower() in _PICKLES:
        raise LeadlightError(
            f"{path} is a pickle, which can run code when opened; it is not read.",
            advice="Save the state dict with safetensors and write a card beside it.",
        )
    if path.suffix.lower() == ".safetensors":
        raise LeadlightError(
            f"{path} holds weights only.", advice="Give the path of their model card (card.toml)."
        )
    if path.is_dir() and (path / CARD_FILE).is_file():
        return path / CARD_FILE
    if path.is_file():
        return path
    if path.is_dir():
        raise LeadlightError(f"The folder {path} holds no {CARD_FILE}.")
    shipped = ", ".join(shipped_models()) or "none"
    raise LeadlightError(
        f'There is no model "{name_or_card}": neither a file, nor one of those that come with '
        f"Leadlight ({shipped}).",
        advice="Give a shipped model's name or the path of a model card.",
    )


@dataclass(frozen=True)
class ModelCheck:
    """What a loaded model is: its size as Keras counts it, and its logits for zeros."""

    n_parameters: int
    logit_of_zeros: dict[str, float]


def check_model(model: Model) -> ModelCheck:
    """Run the network once, on zeros.

    Raises:
        ModelMismatch: a logit is not finite, or there is not one for each class.
    """
    spec, classes = model.card.input, model.card.output.classes
    with torch.inference_mode():
        logits = model.network(torch.zeros(1, len(spec.leads), spec.samples))[0]
    if logits.shape != (len(classes),) or not bool(torch.isfinite(logits).all()):
        raise ModelMismatch(
            f"{model.card.model.name} gives {logits.tolist()} for zeros; {len(classes)} finite "
            "logits were expected."
        )
    stored = model.network.state_dict()
    return ModelCheck(
        n_parameters=sum(
            tensor.numel() for name, tensor in stored.items() if not name.endswith(_BATCH_COUNT)
        ),
        logit_of_zeros=dict(zip(classes, logits.tolist(), strict=True)),
    )


def build_network(card: ModelCard, generator: torch.Generator | None = None) -> ResidualNetwork:
    """The card's network with fresh weights, in training mode."""
    settings = card.model.architecture_settings
    return ResidualNetwork(
        n_leads=len(card.input.leads),
        n_classes=len(card.output.classes),
        samples=card.input.samples,
        stem_filters=settings.stem_filters,
        filters=settings.filters,
        kernel=settings.kernel,
        strides=settings.strides,
        dropout=settings.dropout,
        pooling=settings.pooling,
        generator=generator,
    )


def blank_network(card: ModelCard) -> ResidualNetwork:
    """The card's network on torch's meta device: shapes without memory."""
    with torch.device("meta"):
        return build_network(card)


def random_twin(
    model: Model, seed: int, *, calibrate_on: Iterable[torch.Tensor] | None = None
) -> Model:
    """The same architecture with fresh weights: the control that has learnt nothing.

    With batch norm's default statistics (mean 0, variance 1) the activations of such a network grow
    or fade from block to block with the scale of the input, which is no fair control for a network
    whose statistics were fitted. `calibrate_on` fits them, and nothing else, to the given inputs
    (no labels are used).

    Args:
        model: whose architecture, input and classes the twin has; its weights are not used.
        seed: of the weights.
        calibrate_on: batches (record, lead, sample) for `calibrate_batch_norm`.
    """
    network = build_network(model.card, torch.Generator().manual_seed(seed))
    if calibrate_on is not None:
        calibrate_batch_norm(network, calibrate_on)
    card = model.card.model_copy(
        update={
            "model": model.card.model.model_copy(
                update={
                    "name": f"{model.card.model.name}-random-{seed}",
                    "weights_sha256": "",
                    "description": "Fresh random weights: a control that has learnt nothing.",
                }
            ),
            "metrics": {},
        }
    )
    return Model(card, _frozen(network), model.source)


def calibrate_batch_norm(network: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Set batch norm's running means and variances to those of the network's own activations.

    Averages over batches, each weighted the same; layers see inputs normalised by their batch, as
    in training. Weights are not changed and dropout is off.

    Raises:
        LeadlightError: there is no batch.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm1d)]
    momenta = [norm.momentum for norm in norms]
    was_training = network.training
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's way to ask for the plain average over batches
        norm.train()
    seen = 0
    try:
        with torch.no_grad():
            for batch in batches:
                network(batch)
                seen += 1
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        network.train(was_training)
    if not seen:
        raise LeadlightError("Batch norm cannot be calibrated without inputs.")


def _load_network(card: ModelCard, card_path: Path) -> ResidualNetwork:
    if card.output.kind == "probability":
        raise ModelMismatch(
            f"{card_path} says that the network gives probabilities; the architecture "
            f'"{card.model.architecture}" ends in logits.',
            advice='Write kind = "logit": weights before a sigmoid are the same either way.',
        )
    weights_path = _weights_path(card, card_path)
    tensors = _read_tensors(weights_path, card, card_path)
    network = blank_network(card)
    _check_tensors(tensors, network, str(weights_path), f"the card {card_path}")
    state = {name: tensor.float() for name, tensor in tensors.items()}
    for name in network.state_dict():
        if name.endswith(_BATCH_COUNT):
            state[name] = torch.zeros((), dtype=torch.int64)
    network.load_state_dict(state, assign=True)
    return _frozen(network)


def _weights_path(card: ModelCard, card_path: Path) -> Path:
    folder = card_path.resolve().parent
    path = (folder / card.model.weights).resolve()
    if not path.is_relative_to(folder):
        raise LeadlightError(
            f"The weights that {card_path} names lie outside its folder.",
            advice="Put the file itself beside the card.",
        )
    if not path.is_file():
        raise LeadlightError(f"The weights {path} that {card_path} names are not there.")
    return path


def _read_tensors(weights_path: Path, card: ModelCard, card_path: Path) -> dict[str, torch.Tensor]:
    content = weights_path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if card.model.weights_sha256 and digest != card.model.weights_sha256:
        raise ModelMismatch(
            f"{weights_path} has SHA-256 {digest}; {card_path} expects "
            f"{card.model.weights_sha256}.",
            advice="The weights are not those that the card was written for.",
        )
    try:
        return safetensors.torch.load(content)
    except SafetensorError as error:
        raise LeadlightError(f"{weights_path} is no safetensors file: {error}.") from error


def _check_tensors(
    tensors: dict[str, torch.Tensor], network: nn.Module, found_in: str, expected_by: str
) -> None:
    expected = {
        name: tuple(tensor.shape)
        for name, tensor in network.state_dict().items()
        if not name.endswith(_BATCH_COUNT)
    }
    for name, shape in expected.items():
        if name not in tensors:
            raise ModelMismatch(f"{found_in} has no {name}, which {expected_by} asks for {shape}.")
        found = tuple(tensors[name].shape)
        if found != shape:
            raise ModelMismatch(
                f"{name} is {found} in {found_in} and {shape} by {expected_by}.",
                advice=_which_setting(name),
            )
        if not bool(torch.isfinite(tensors[name]).all()):
            raise LeadlightError(f"{name} in {found_in} holds values that are not finite.")
    unknown = [name for name in tensors if name not in expected]
    if unknown:
        raise ModelMismatch(f"{found_in} holds {', '.join(unknown)}, unknown to {expected_by}.")


def _which_setting(name: str) -> str:
    if name == "stem.weight":
        return "Its axes are stem_filters, the number of leads, kernel."
    if name == "dense.weight":
        return "Its axes are the number of classes, and filters x samples after all strides."
    if name == "dense.bias":
        return "Its length is the number of classes."
    return "Compare [model.architecture_settings] with the network that was trained."


def _on_disk(tensor: torch.Tensor, half: bool) -> torch.Tensor:
    tensor = tensor.detach().cpu().contiguous()
    return tensor.half() if half and tensor.ndim > 1 else tensor.float()


def _frozen(network: ResidualNetwork) -> ResidualNetwork:
    return network.eval().requires_grad_(False)


def _shipped_folder() -> Path:
    return Path(str(resources.files("leadlight.classify"))) / "shipped"
