"""What a difference means to the explained network: the change of its logits, and by which wave.

In people each logit is regressed on the exposure. Where the network finds it is asked on a strip
made of the mean beat at the mean rate, once without and once with the difference: integrated
gradients from the one to the other share the change of the logit out over leads and waves. Such a
strip has no rhythm of its own, so what an exposure does to rhythm is seen in people only.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
import xarray as xr
from torch import nn

from leadlight.classify.models import Model
from leadlight.classify.prepare import prepare
from leadlight.ecg.leads import LEADS, as_leads
from leadlight.ecg.measurements import measure_recording
from leadlight.ecg.median_beat import R_SAMPLE, RATE_HZ, SAMPLES
from leadlight.ecg.recording import Recording
from leadlight.errors import LeadlightError
from leadlight.explain.integrated_gradients import LOGIT_FLOOR, integrated_gradients
from leadlight.genetics.effect.people import StudyPeople, read_columns
from leadlight.genetics.effect.regression import regress_each

Floats = npt.NDArray[np.float64]

WAVES = ("P", "PR", "QRS", "ST", "T", "TP")
_STRIP_S = 10.0
_BEFORE_R = 140  # samples of the beat that a strip keeps before R where the rate leaves no more
_JOIN = 15  # samples over which one beat goes over into the next
_TOLERANCE = 0.02
_MOST_STEPS = 54


@dataclass(frozen=True)
class StripRelevance:
    """Where the network finds a difference.

    Attributes:
        classes: (class) names.
        change: (class) logit of the strip with the difference minus that without.
        logit: (class) of the strip without.
        relevance: (class, lead of LEADS, sample) of the beat's window, summed over the beats.
        waves: (class, lead of LEADS, wave of WAVES) the same by wave.
        completeness_error: (class) how far relevance and change of the logit are apart, as a share
            of the change.
        rr_ms: of the strip.
        limits_ms: wave → onset and end from R; NaN where there is none.
    """

    classes: list[str]
    change: Floats
    logit: Floats
    relevance: Floats
    waves: Floats
    completeness_error: Floats
    rr_ms: float
    limits_ms: dict[str, tuple[float, float]]


def logits_in_people(study: Path, model: str, people: StudyPeople, name: str) -> pl.DataFrame:
    """`class, change, low, high, standard_error, n` per step of the exposure; empty without logits.

    model: whose `classify/<model>/logits.parquet` is read.
    """
    path = study / "classify" / model / "logits.parquet"
    empty = {"class": pl.String()} | dict.fromkeys(
        ("change", "low", "high", "standard_error"), pl.Float64()
    )
    if not path.is_file():
        return pl.DataFrame(schema=empty | {"n": pl.Int64()})
    names, logits = read_columns(path, people)
    beta, error, critical, n = regress_each(people.exposure, people.covariates, logits, name)
    return pl.DataFrame(
        {
            "class": names, "change": beta, "low": beta - critical * error,
            "high": beta + critical * error, "standard_error": error, "n": n,
        }
    )  # fmt: skip


def strip_relevance(
    model: Model, beat_mv: Floats, difference_mv: Floats, rr_ms: float = 900.0
) -> StripRelevance:
    """Integrated gradients from a strip of `beat_mv` to one of `beat_mv + difference_mv`.

    Args:
        model: the network.
        beat_mv: (lead of LEADS, sample) the mean beat.
        difference_mv: (lead of LEADS, sample) of as many steps as are meant.
        rr_ms: time between the strip's beats.

    Raises:
        LeadlightError: no beat is found in the strip.
    """
    period = int(np.clip(round(rr_ms * RATE_HZ / 1e3), _BEFORE_R + 200, SAMPLES))
    first = max(0, min(R_SAMPLE - _BEFORE_R, SAMPLES - period))
    window = slice(first, first + period)
    both = torch.from_numpy(
        np.stack([beat_mv[:, window], (beat_mv + difference_mv)[:, window]]).astype(np.float32)
    )
    asked = _OnBeats(model, period)
    classes = list(model.card.output.classes)
    with torch.inference_mode():
        logits = asked(both).double().numpy()
    smallest = float(np.abs(logits[1] - logits[0]).min())
    found = integrated_gradients(
        asked,
        both[1:],
        classes=range(len(classes)),
        baseline=both[0],
        # Differences are far below the floor of the rule that stops: ask for less.
        tolerance=_TOLERANCE * float(np.clip(smallest / LOGIT_FLOOR, 1e-3, 1.0)),
        max_steps=_MOST_STEPS,
    )
    relevance = np.zeros((len(classes), len(LEADS), SAMPLES))
    relevance[:, :, window] = found.relevance[0].double().numpy()
    limits = _limits(strip_of(beat_mv, first, period))
    return StripRelevance(
        classes,
        (found.logit - found.baseline_logit)[0].numpy(),
        found.baseline_logit[0].numpy(),
        relevance,
        by_wave(relevance, limits),
        found.completeness_error[0].numpy(),
        1e3 * period / RATE_HZ,
        limits,
    )


class _OnBeats(nn.Module):
    """The network asked about a beat: (record, lead of LEADS, sample) to logits.

    Repeating a beat into a strip and preparing that (rate, filter, crop, padding) is linear, so it
    is one matrix, and relevance lies on the beat itself: a filter that smears a difference over the
    strip does not smear its relevance.
    """

    into: torch.Tensor

    def __init__(self, model: Model, period: int) -> None:
        super().__init__()
        self.network = model.network
        self.order = [LEADS.index(lead) for lead in model.card.input.leads]
        rows = []
        for low in range(0, period, len(LEADS)):
            impulses = np.zeros((len(LEADS), SAMPLES))
            for place in range(min(len(LEADS), period - low)):
                impulses[place, low + place] = 1.0
            prepared = prepare(_recording(strip_of(impulses, 0, period)), model.card)
            known = prepared.values.sel(lead=list(LEADS[: min(len(LEADS), period - low)]))
            rows.append(known.values)
        self.register_buffer("into", torch.from_numpy(np.concatenate(rows).astype(np.float32)))

    def forward(self, beats_mv: torch.Tensor) -> torch.Tensor:
        """Logits (record, class)."""
        logits: torch.Tensor = self.network(beats_mv[:, self.order] @ self.into)
        return logits


def by_wave(relevance: Floats, limits_ms: dict[str, tuple[float, float]]) -> Floats:
    """(class, lead, wave of WAVES) sums of relevance (class, lead, sample)."""
    owner = waves_of_samples(limits_ms)
    return np.stack(
        [relevance[:, :, owner == number].sum(axis=2) for number in range(len(WAVES))], axis=2
    )


def waves_of_samples(limits_ms: dict[str, tuple[float, float]]) -> npt.NDArray[np.int64]:
    """(sample) number in WAVES of the wave that each sample of the window lies in."""
    time = (np.arange(SAMPLES) - R_SAMPLE) * 1e3 / RATE_HZ
    p, qrs, t = (limits_ms[wave] for wave in ("P", "QRS", "T"))
    owner = np.full(SAMPLES, WAVES.index("TP"))
    t_start = t[0] if np.isfinite(t[0]) else t[1]
    for wave, (low, high) in {
        "PR": (p[1], qrs[0]), "ST": (qrs[1], t_start), "P": p, "T": (t_start, t[1]), "QRS": qrs,
    }.items():  # fmt: skip
        if np.isfinite(low + high):
            owner[(time >= low) & (time <= high)] = WAVES.index(wave)
    return owner


def strip_of(beat_mv: Floats, first: int, period: int) -> npt.NDArray[np.float32]:
    """(lead, sample) a strip of the beat's samples from `first` on, again every `period`.

    The end of each beat goes over into the beginning of the next, so that there are no steps.
    """
    beat = np.array(beat_mv[:, first : first + period])
    ramp = np.linspace(0, 1, _JOIN)
    beat[:, -_JOIN:] = beat[:, -_JOIN:] * (1 - ramp) + beat[:, :1] * ramp
    beats = int(np.ceil(_STRIP_S * RATE_HZ / period))
    return np.tile(beat, (1, beats))[:, : int(_STRIP_S * RATE_HZ)].astype(np.float32)


def _recording(strip_mv: npt.NDArray[np.float32]) -> Recording:
    return Recording(
        signal_mv=as_leads(strip_mv), rate_hz=RATE_HZ, record_id="strip", patient_id="strip"
    )


def _limits(strip_mv: npt.NDArray[np.float32]) -> dict[str, tuple[float, float]]:
    try:
        found: xr.DataArray = measure_recording(as_leads(strip_mv), RATE_HZ).limits
    except LeadlightError as error:
        raise LeadlightError(
            "No beat is found in the mean beat's strip.", advice="Look at groups.parquet."
        ) from error

    def from_r(wave: str, point: str) -> float:
        return (float(found.sel(wave=wave, point=point)) - R_SAMPLE) * 1e3 / RATE_HZ

    return {wave: (from_r(wave, "onset"), from_r(wave, "offset")) for wave in ("P", "QRS", "T")}
