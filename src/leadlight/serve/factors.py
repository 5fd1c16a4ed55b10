"""Any setting of the factors as a beat: the decoder that the study keeps for pages."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from leadlight.ecg.leads import LEADS
from leadlight.ecg.median_beat import R_SAMPLE, RATE_HZ
from leadlight.latent.beats import twelve_leads
from leadlight.latent.page_decoder import PageDecoder, read_decoder
from leadlight.report.explorer_data import DECODER, FACTORS, explorer_data, latent_folders
from leadlight.serve.folder import StudyFolder, chosen
from leadlight.serve.refusals import NotThere, Refusal
from leadlight.serve.remembered import stamp_of

FARTHEST_SD = 8.0


@dataclass(frozen=True)
class Decoder:
    """A factor model's decoder.

    Attributes:
        model: its name.
        names: of the factors.
        folder: `latent/<model>/`.
        page: the decoder itself.
    """

    model: str
    names: tuple[str, ...]
    folder: Path
    page: PageDecoder

    @property
    def table(self) -> Path:
        """The factors of the study's records."""
        return self.folder / FACTORS

    @property
    def file(self) -> Path:
        """The decoder's file."""
        return self.folder / DECODER

    def decode(self, factors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """(record, lead of INDEPENDENT_LEADS, sample) in mV from (record, factor)."""
        return self.page.decode(factors)


def decoder_of(study: StudyFolder, model: str = "") -> Decoder | None:
    """The decoder of a factor model, the first by name where none is named; None without any."""
    folders = {one.name: one for one in latent_folders(study.path)}
    if not folders and not model:
        return None
    folder = folders[chosen(folders, model, "factor model with a decoder")]

    def read() -> Decoder:
        page = read_decoder(folder)
        names = tuple(str(one["name"]) for one in page.about["factors"])
        return Decoder(folder.name, names, folder, page)

    return study.large.get(("decoder", folder), stamp_of([folder / DECODER]), read)


def explorer(study: StudyFolder, model: str = "") -> dict[str, Any]:
    """What `Leadlight.explorer` draws.

    Raises:
        NotThere: the study has no factors, or no decoder for pages.
    """
    decoder = decoder_of(study, model)
    if decoder is None:
        raise NotThere(
            "The study has no factors that a page can decode.",
            advice="leadlight latent encode makes them.",
        )
    effects = study.path / "effects"
    stamp = stamp_of([decoder.table, decoder.file, study.records, effects / "cards.parquet"])
    found = study.large.get(
        ("explorer", decoder.model), stamp, lambda: explorer_data(study.path, model=decoder.model)
    )
    if found is None:
        raise NotThere("The factors are being written anew.", advice="Ask again in a moment.")
    return found


def decode(study: StudyFolder, given: Mapping[str, str], model: str = "") -> dict[str, Any]:
    """The beat of a setting of the factors, JSON-ready.

    Args:
        study: encoded.
        given: factor → standard deviations; factors that are not named are 0, the mean.
        model: the factor model; the first where empty.

    Returns:
        `model`, `factors`, `leads`, `rate_hz`, `r_sample` and `beat_uv` (lead, sample).

    Raises:
        Refusal: a factor is unknown, or a value is no number within ±`FARTHEST_SD`.
    """
    decoder = decoder_of(study, model)
    if decoder is None:
        raise NotThere("The study has no factors that can be decoded.")
    setting = dict.fromkeys(decoder.names, 0.0)
    for name, text in given.items():
        if name not in setting:
            raise Refusal(
                f"{decoder.model} has no factor {name!r}.",
                advice=f"Factors: {decoder.names[0]} to {decoder.names[-1]}.",
            )
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not abs(value) <= FARTHEST_SD:
            raise Refusal(f"{name} must be a number from -{FARTHEST_SD:g} to {FARTHEST_SD:g}.")
        setting[name] = value
    beat = twelve_leads(decoder.decode(np.array([list(setting.values())])))[0]
    return {
        "model": decoder.model,
        "factors": setting,
        "leads": list(LEADS),
        "rate_hz": RATE_HZ,
        "r_sample": R_SAMPLE,
        "beat_uv": np.round(1e3 * beat, 2).tolist(),
    }
