"""A trained factor model with its card: beats to factors, and factors to beats."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from leadlight.atomic import refuse_overwrite, written_whole
from leadlight.ecg.leads import INDEPENDENT_LEADS
from leadlight.ecg.median_beat import R_SAMPLE, RATE_HZ, SAMPLES
from leadlight.errors import LeadlightError, ModelMismatch
from leadlight.latent.beats import Beats, own_mask, twelve_leads
from leadlight.latent.card import (
    CARD_FILE,
    WEIGHTS_FILE,
    InputSection,
    LatentCard,
    read_card,
    read_tensors,
    write_card,
    write_tensors,
)
from leadlight.latent.linear import PrincipalComponents
from leadlight.latent.network import FactorNetwork

DEFAULT_MODEL = "leadlight-factors"

BASELINE_FILE = "baseline.safetensors"
_CHUNK = 2048


class Factors(nn.Module):
    """The encoder up to the kept factors: (record, lead, sample) in mV to (record, factor).

    Attributes:
        network: of all latents.
        to_factors: (factor, latent); factor = to_factors · (latent − offset).
        from_factors: (latent, factor); latent = offset + from_factors · factor.
        offset: (latent) their means in the reference population. A latent that no factor carries
            stays there.
    """

    to_factors: torch.Tensor
    from_factors: torch.Tensor
    offset: torch.Tensor

    def __init__(self, network: FactorNetwork, factors: int) -> None:
        """All zero until weights are loaded or set."""
        super().__init__()
        self.network = network
        latents = network.n_latents
        self.register_buffer("to_factors", torch.zeros(factors, latents))
        self.register_buffer("from_factors", torch.zeros(latents, factors))
        self.register_buffer("offset", torch.zeros(latents))

    def forward(self, beats_mv: torch.Tensor) -> torch.Tensor:
        """(record, factor), the posterior means."""
        return self.posterior(beats_mv)[0]

    def posterior(self, beats_mv: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(record, factor) means and variances."""
        mean, log_variance = self.network.encode(beats_mv)
        factors = (mean - self.offset) @ self.to_factors.T
        return factors, log_variance.exp() @ self.to_factors.square().T

    def decode(self, factors: torch.Tensor) -> torch.Tensor:
        """(record, lead of INDEPENDENT_LEADS, sample) in mV."""
        return self.network.decode(factors @ self.from_factors.T + self.offset)


@dataclass(frozen=True)
class Encoding:
    """Factors of some records.

    Attributes:
        factors: (record, factor) float32, in standard deviations of the reference population.
        uncertainty: (record, factor) standard deviation of the posterior.
        error_uv: (record) root mean square error of the reconstruction over own samples, all
            independent leads.
        distance: (record) Mahalanobis distance from the reference population's centre.
    """

    factors: npt.NDArray[np.float32]
    uncertainty: npt.NDArray[np.float32]
    error_uv: npt.NDArray[np.float32]
    distance: npt.NDArray[np.float32]


@dataclass(frozen=True)
class LatentModel:
    """A factor model ready to use.

    Attributes:
        card: what it expects and what its factors are.
        factors: encoder and decoder, in evaluation mode, without gradients.
        baseline: principal components of the same training beats, as many as factors; None where
            the model's folder has none.
        source: the card's path.
    """

    card: LatentCard
    factors: Factors
    baseline: PrincipalComponents | None
    source: Path

    @property
    def names(self) -> list[str]:
        """`factor_01`, ..."""
        return [factor.name for factor in self.card.factors]

    @torch.inference_mode()
    def encode(
        self, beats_mv: npt.NDArray[np.float32], own: npt.NDArray[np.int16] | None = None
    ) -> Encoding:
        """Factors of beats (record, lead of INDEPENDENT_LEADS, sample) in mV.

        Args:
            beats_mv: the beats.
            own: (record, 2) first and end of the beat's own samples; the whole window where None.
        """
        if beats_mv.ndim != 3 or beats_mv.shape[1:] != (len(INDEPENDENT_LEADS), SAMPLES):
            raise ModelMismatch(
                f"Beats are (record, {len(INDEPENDENT_LEADS)}, {SAMPLES}); these are "
                f"{beats_mv.shape}."
            )
        mask = None if own is None else torch.from_numpy(own_mask(own))[:, None]
        truth = torch.from_numpy(np.ascontiguousarray(beats_mv, dtype=np.float32))
        if mask is not None:
            truth = truth * mask
        device = self.factors.offset.device
        truth = truth.to(device)
        means, variances = self.factors.posterior(truth)
        wrong = (self.factors.decode(means) - truth).square()
        if mask is None:
            squared = wrong.mean(dim=(1, 2))
        else:
            inside = mask.to(device)
            points = inside.sum(dim=(1, 2)) * truth.shape[1]
            squared = (wrong * inside).sum(dim=(1, 2)) / points
        return Encoding(
            means.cpu().numpy(),
            variances.sqrt().cpu().numpy(),
            (1000 * squared.sqrt()).cpu().numpy(),
            means.norm(dim=1).cpu().numpy(),
        )

    @torch.inference_mode()
    def decode(self, factors: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """(record, lead of INDEPENDENT_LEADS, sample) in mV from (record, factor)."""
        given = torch.from_numpy(np.asarray(factors, dtype=np.float32))
        return self.factors.decode(given.to(self.factors.offset.device)).cpu().numpy()

    def decode_twelve(self, factors: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """(record, lead of LEADS, sample) in mV; the lead algebra holds exactly."""
        return twelve_leads(self.decode(factors))

    def encode_all(self, beats: Beats) -> Encoding:
        """Factors of a set of beats, a few thousand at a time."""
        chunks = [slice(low, low + _CHUNK) for low in range(0, len(beats), _CHUNK)]
        return joined_encodings(
            self.encode(beats.millivolts(rows)[0], beats.own[rows]) for rows in chunks
        )


def joined_encodings(parts: Iterator[Encoding]) -> Encoding:
    """Encodings of successive records as one."""
    found = list(parts)
    return Encoding(
        np.concatenate([part.factors for part in found]),
        np.concatenate([part.uncertainty for part in found]),
        np.concatenate([part.error_uv for part in found]),
        np.concatenate([part.distance for part in found]),
    )


def load_latent_model(name_or_card: str | Path = DEFAULT_MODEL) -> LatentModel:
    """A shipped factor model by name, or any by the path of its card or of the card's folder.

    Raises:
        LeadlightError: there is no such model, or a file cannot be read.
        ModelMismatch: weights and card disagree.
    """
    card_path = find_latent_card(name_or_card)
    card = read_card(card_path)
    _check_input(card, card_path)
    tensors = read_tensors(card_path.with_name(card.model.weights), card.model.weights_sha256)
    network = FactorNetwork(**card.model.architecture.model_dump())
    factors = Factors(network, len(card.factors))
    expected = {name: tuple(tensor.shape) for name, tensor in factors.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if expected != found:
        wrong = sorted(name for name in expected | found if expected.get(name) != found.get(name))[
            0
        ]
        raise ModelMismatch(
            f"Weights and card of {card.model.name} disagree: {wrong} is "
            f"{found.get(wrong, 'absent')}, the card's architecture has "
            f"{expected.get(wrong, 'none')}."
        )
    factors.load_state_dict(tensors)
    baseline_path = card_path.with_name(BASELINE_FILE)
    baseline = _read_baseline(baseline_path) if baseline_path.exists() else None
    return LatentModel(card, factors.eval().requires_grad_(False), baseline, card_path)


def save_latent_model(
    factors: Factors,
    card: LatentCard,
    folder: Path,
    *,
    baseline: PrincipalComponents | None = None,
    overwrite: bool = False,
) -> LatentCard:
    """Write `card.toml`, the weights and the baseline into `folder`; returns the card as written.

    The network is stored in half precision, the map to factors in single.
    """
    refuse_overwrite(folder / CARD_FILE, overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.half() if name.startswith("network.") else tensor
        for name, tensor in factors.state_dict().items()
    }
    with written_whole(folder / WEIGHTS_FILE) as partial:
        digest = write_tensors(tensors, partial)
    if baseline is not None:
        stored = {
            "centre": torch.from_numpy(baseline.centre).half(),
            "basis": torch.from_numpy(baseline.basis).half(),
            "spread": torch.from_numpy(baseline.spread).float(),
        }
        with written_whole(folder / BASELINE_FILE) as partial:
            write_tensors(stored, partial)
    section = card.model.model_copy(update={"weights": WEIGHTS_FILE, "weights_sha256": digest})
    card = card.model_copy(update={"model": section})
    write_card(card, folder / CARD_FILE)
    return card


def round_to_half(network: nn.Module) -> None:
    """Round all weights as they are stored, so that what is measured is what a user loads."""
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.copy_(tensor.half().float())


def beat_input() -> InputSection:
    """The input section of every factor model."""
    return InputSection(
        rate_hz=RATE_HZ, samples=SAMPLES, r_sample=R_SAMPLE, leads=INDEPENDENT_LEADS
    )


def shipped_latent_models() -> list[str]:
    """The names of the factor models that come with the package."""
    folder = _shipped_folder()
    return sorted(path.parent.name for path in folder.glob(f"*/{CARD_FILE}"))


def find_latent_card(name_or_card: str | Path) -> Path:
    """The card's path of a shipped model's name, a card, or a card's folder.

    Raises:
        LeadlightError: there is no such model.
    """
    shipped = _shipped_folder() / str(name_or_card) / CARD_FILE
    if str(name_or_card) in shipped_latent_models():
        return shipped
    path = Path(name_or_card)
    path = path / CARD_FILE if path.is_dir() else path
    if not path.is_file():
        names = ", ".join(shipped_latent_models()) or "none"
        raise LeadlightError(
            f"There is no factor model {name_or_card}.",
            advice=f"Give a card's path or a shipped model's name ({names}).",
        )
    return path


def _shipped_folder() -> Path:
    return Path(str(resources.files("leadlight.latent"))) / "shipped"


def _check_input(card: LatentCard, path: Path) -> None:
    want, have = beat_input(), card.input
    for name in ("rate_hz", "samples", "r_sample", "leads", "unit"):
        if getattr(want, name) != getattr(have, name):
            raise ModelMismatch(
                f"{path} expects beats with {name} = {getattr(have, name)}; median beats here have "
                f"{getattr(want, name)}."
            )


def _read_baseline(path: Path) -> PrincipalComponents:
    tensors = read_tensors(path)
    values = {name: tensor.double().numpy() for name, tensor in tensors.items()}
    return PrincipalComponents(values["centre"], values["basis"], values["spread"])
