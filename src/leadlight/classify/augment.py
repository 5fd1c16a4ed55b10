"""Disturbances that real recordings have, added to a batch while a network is trained.

Noise arises at electrodes, so it is made there and projected to leads by their definition: what
holds between the limb leads of a clean record (III = II - I, Einthoven 1912) holds in the disturbed
one. Records reach the network filtered as its card says; noise outside that band would have been
filtered too, and is attenuated here in the same way.

Every disturbance takes `x`, (record, lead, sample) float32 in the network's unit, and `valid`,
(record, sample) bool, False where a record is padded, and returns both anew. Padding and missing
leads (all zero) stay zero. `spec` is the card's input. All randomness comes from `generator`, which
lives on the device of `x`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import ConfigDict, Field

from leadlight.classify.cards import InputSection
from leadlight.ecg.leads import CHEST_LEADS, DERIVED_FROM_I_II

ELECTRODES = ("RA", "LA", "LL", *CHEST_LEADS)

Probability = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]
Range = tuple[float, float]

# Leads by electrodes: bipolar (Einthoven), augmented (Goldberger), chest against Wilson's terminal.
_LIMB_POTENTIALS: dict[str, tuple[float, float, float]] = {
    "I": (-1.0, 1.0, 0.0),
    "II": (-1.0, 0.0, 1.0),
    "III": (0.0, -1.0, 1.0),
    "aVR": (1.0, -0.5, -0.5),
    "aVL": (-0.5, 1.0, -0.5),
    "aVF": (-0.5, -0.5, 1.0),
}


@dataclass(frozen=True)
class AugmentSettings:
    """How often each disturbance is added to a record, and how strong it is.

    Attributes:
        crop: how often a record is cut to between `crop_s` seconds and padded as the card says.
        stretch: how often time is stretched by up to ± `stretch_by` (a share; it changes intervals
            and rate by that share, so keep it small).
        shift: how often a record is moved by up to ± `shift_s` seconds in its window.
        gain: how often amplitudes change; `gain_sd` is the spread of the log gain of the whole
            record, `channel_gain_sd` that of each recorded channel (I, II and the chest leads).
        wander: how often the baseline wanders, by up to `wander_mv` at `wander_hz`.
        noise: how often white noise is added, at `noise_snr_db` over the record's own power.
        muscle: how often bursts of noise in `muscle_hz` are added, at `muscle_snr_db`.
        mains: how often hum at 50 or 60 Hz is added, of up to `mains_mv`.
        lead_dropout: how often leads go missing (zeros), each with `dropped_share`.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    crop: Probability = 0.3
    crop_s: Range = (5.0, 10.0)
    stretch: Probability = 0.0
    stretch_by: NotNegative = 0.02
    shift: Probability = 0.5
    shift_s: NotNegative = 0.5
    gain: Probability = 0.5
    gain_sd: NotNegative = 0.2
    channel_gain_sd: NotNegative = 0.05
    wander: Probability = 0.3
    wander_mv: NotNegative = 0.3
    wander_hz: Range = (0.05, 0.7)
    noise: Probability = 0.3
    noise_snr_db: Range = (10.0, 30.0)
    muscle: Probability = 0.3
    muscle_snr_db: Range = (8.0, 30.0)
    muscle_hz: Range = (15.0, 150.0)
    mains: Probability = 0.2
    mains_mv: NotNegative = 0.1
    lead_dropout: Probability = 0.1
    dropped_share: Probability = 0.2


NO_AUGMENTATION = AugmentSettings(
    crop=0, shift=0, gain=0, wander=0, noise=0, muscle=0, mains=0, lead_dropout=0
)

Batch = tuple[torch.Tensor, torch.Tensor]


def augment(
    x: torch.Tensor,
    valid: torch.Tensor,
    spec: InputSection,
    settings: AugmentSettings,
    generator: torch.Generator,
) -> torch.Tensor:
    """A disturbed copy of the batch `x`, each disturbance in as many records as `settings` say."""
    x, valid = x.clone(), valid.clone()
    for probability, disturb in (
        (settings.crop, crop_and_pad),
        (settings.stretch, stretch_time),
        (settings.shift, shift_time),
        (settings.gain, change_gain),
        (settings.wander, add_baseline_wander),
        (settings.noise, add_noise),
        (settings.muscle, add_muscle_noise),
        (settings.mains, add_mains_hum),
        (settings.lead_dropout, drop_leads),
    ):
        if probability == 0:
            continue
        rows = (_uniform((len(x),), x, generator) < probability).nonzero().flatten()
        if len(rows):
            x[rows], valid[rows] = disturb(x[rows], valid[rows], spec, settings, generator)
    return x


def crop_and_pad(
    x: torch.Tensor,
    valid: torch.Tensor,
    spec: InputSection,
    settings: AugmentSettings,
    generator: torch.Generator,
) -> Batch:
    """A random piece of each record, of a length in `crop_s`, padded where the card pads.

    A record that is no longer than the piece stays whole.
    """
    first, length = valid.int().argmax(dim=1), valid.sum(dim=1)
    shortest, longest = (round(seconds * spec.rate_hz) for seconds in settings.crop_s)
    wanted = shortest + _uniform((len(x),), x, generator) * (longest - shortest + 1)
    kept = torch.minimum(wanted.long(), length)
    start = first + (_uniform((len(x),), x, generator) * (length - kept + 1)).long()
    lacking = x.shape[-1] - kept
    before = {"both": lacking // 2, "start": lacking, "end": 0 * lacking}[spec.padding]
    here = torch.arange(x.shape[-1], device=x.device) - before[:, None]
    index = torch.where((here >= 0) & (here < kept[:, None]), here + start[:, None], -1)
    return _take(x, index), _take(valid[:, None], index)[:, 0]


def stretch_time(
    x: torch.Tensor,
    valid: torch.Tensor,
    spec: InputSection,
    settings: AugmentSettings,
    generator: torch.Generator,
) -> Batch:
    """Stretch each record about its window's centre, by linear interpolation."""
    factor = 1 + (_uniform((len(x),), x, generator) * 2 - 1) * settings.stretch_by
    centre = (x.shape[-1] - 1) / 2
    at = (torch.arange(x.shape[-1], device=x.device) - centre) / factor[:, None] + centre
    below = at.floor().long()
    share = (at - below)[:, None]
    both = _take(valid[:, None], below) & _take(valid[:, None], below + 1)
    mixed = _take(x, below) * (1 - share) + _take(x, below + 1) * share
    return mixed * both, both[:, 0]


def shift_time(
    x: torch.Tensor,
    valid: torch.Tensor,
    spec: InputSection,
    settings: AugmentSettings,
    generator: torch.Generator,
) -> Batch:
    """Move each record in its window; what leaves is lost, zeros come in."""
    most = settings.shift_s * spec.rate_hz
    shift = ((_uniform((len(x),), x, generator) * 2 - 1) * most).round().long()
    index = torch.arange(x.shape[-1], device=x.device) - shift[:, None]
    return _take(x, index), _take(valid[:, None], index)[:, 0]


def change_gain(
    x: torch.Tensor,
    valid: torch.Tensor,
    spec: InputSection,
    settings: AugmentSettings,
    generator: torch.Generator,
) -> Batch:
    """Scale each record, and each channel that a cart records, by log-normal factors.

    A cart records I, II and the chest leads and derives the other four, so those are derived again
    here. Limb leads of a record that lacks one of them keep a common gain.
    """
    x = x * (_normal((len(x), 1, 1), x, generator) * settings.gain_sd).exp()
    column = {lead: i for i, lead in enumerate(spec.leads)}
    gain = (_normal((len(x), len(column), 1), x, generator) * settings.channel_gain_sd).exp()
    limb = [column[lead] for lead in _LIMB_POTENTIALS if lead in column]
    gain[:, [column[lead] for lead in DERIVED_FROM_I_II if lead in column]] = 1
    whole = _present(x)[:, limb].all(dim=1) & ("I" in column and "II" in column)
    gain[:, limb] = torch.where(whole[:, None], gain[:, limb], 1)
    scaled = x * gain
    if "I" in column and "II" in column:
        one, two = scaled[:, column["I"]], scaled[:, column["II"]]
        for lead, (of_one, of_two) in DERIVED_FROM_I_II.items():
            if lead in column:
                same = scaled[:, column[lead]]
                scaled[:, column[lead]] = torch.where(whole, of_one * one + of_two * two, same)
    return scaled, valid


def add_baseline_wander(
    x: torch.Tensor,
    valid: torch.Tensor,
    spec: InputSection,
    settings: AugmentSettings,
    generator: torch.Generator,
) -> Batch:
    """Four slow sines, each of one phase for the whole body and its own strength per electrode."""
    low, high = settings.wander_hz
    frequency = low + _uniform((len(x), 4), x, generator) * (high - low)
    strength = _uniform((len(x), len(ELECTRODES), 4), x, generator) * 2 - 1
    strength *= _uniform((len(x), 1, 1), x, generator) * spec.unit_scale * settings.wander_mv / 4
    strength *= _passed(frequency, spec)[:, None]
    return _add_at_electrodes(x, valid, spec, strength @ _sines(frequency, x, spec, generator))


def add_noise(
    x: torch.Tensor,
    valid: torch.Tensor,
    spec: InputSection,
    settings: AugmentSettings,
    generator: torch.Generator,
) -> Batch:
    """White Gaussian noise, at a random ratio of the record's power to the noise's.

    The ratio is that before the card's filter, which then takes its part of the noise.
    """
    level = _noise_level(x, valid, spec, settings.noise_snr_db, generator)
    noise = _band_noise(x, spec, (0.0, spec.rate_hz / 2), generator)
    return _add_at_electrodes(x, valid, spec, noise * level)


def add_muscle_noise(
    x: torch.Tensor,
    valid: torch.Tensor,
    spec: InputSection,
    settings: AugmentSettings,
    generator: torch.Generator,
) -> Batch:
    """Noise in `muscle_hz` that swells and fades (at 0.1 to 1 Hz) and differs by electrode."""
    level = _noise_level(x, valid, spec, settings.muscle_snr_db, generator)
    level = level * 2 * _uniform((len(x), len(ELECTRODES), 1), x, generator)
    swell = _band_noise(x, spec, (0.1, 1.0), generator, filtered=False).abs()
    noise = _band_noise(x, spec, settings.muscle_hz, generator)
    return _add_at_electrodes(x, valid, spec, noise * swell * level)


def add_mains_hum(
    x: torch.Tensor,
    valid: torch.Tensor,
    spec: InputSection,
    settings: AugmentSettings,
    generator: torch.Generator,
) -> Batch:
    """A sine at 50 or 60 Hz, of one phase and its own strength at each electrode."""
    frequency = torch.where(_uniform((len(x), 1), x, generator) < 0.5, 50.0, 60.0)
    strength = _uniform((len(x), len(ELECTRODES), 1), x, generator)
    strength *= spec.unit_scale * settings.mains_mv
    strength *= _passed(frequency, spec)[:, None]
    return _add_at_electrodes(x, valid, spec, strength @ _sines(frequency, x, spec, generator))


def drop_leads(
    x: torch.Tensor,
    valid: torch.Tensor,
    spec: InputSection,
    settings: AugmentSettings,
    generator: torch.Generator,
) -> Batch:
    """Make each lead zeros with probability `dropped_share`; one that is there always stays."""
    draw = _uniform(x.shape[:2], x, generator)
    stays = (draw + _present(x)[..., 0]).argmax(dim=1, keepdim=True)
    keep = (draw >= settings.dropped_share).scatter(1, stays, True)
    return x * keep[..., None], valid


def electrode_weights(leads: Sequence[str]) -> torch.Tensor:
    """What each lead is of the electrodes' potentials: (lead, electrode)."""
    rows = []
    for lead in leads:
        if lead in _LIMB_POTENTIALS:
            rows.append([*_LIMB_POTENTIALS[lead], *[0.0] * len(CHEST_LEADS)])
        else:
            chest = [1.0 if lead == name else 0.0 for name in CHEST_LEADS]
            rows.append([-1 / 3, -1 / 3, -1 / 3, *chest])
    return torch.tensor(rows)


def _add_at_electrodes(
    x: torch.Tensor, valid: torch.Tensor, spec: InputSection, potential: torch.Tensor
) -> Batch:
    """potential: (record, electrode, sample)"""
    added = electrode_weights(spec.leads).to(x) @ potential
    return x + added * (_present(x) & valid[:, None]), valid


def _noise_level(
    x: torch.Tensor,
    valid: torch.Tensor,
    spec: InputSection,
    snr_db: Range,
    generator: torch.Generator,
) -> torch.Tensor:
    """The electrodes' noise amplitude that gives a random signal-to-noise ratio: (record, 1, 1)."""
    low, high = snr_db
    ratio_db = low + _uniform((len(x), 1, 1), x, generator) * (high - low)
    weight = (valid[:, None] & _present(x)).to(x.dtype)
    mean = (x * weight).sum(dim=-1, keepdim=True) / weight.sum(dim=-1, keepdim=True).clamp(min=1)
    power = ((x - mean).square() * weight).sum(dim=(1, 2), keepdim=True)
    power = power / weight.sum(dim=(1, 2), keepdim=True).clamp(min=1)
    from_electrodes = electrode_weights(spec.leads).square().sum(dim=1).mean().to(x)
    level: torch.Tensor = (power / from_electrodes).sqrt() * 10 ** (-ratio_db / 20)
    return level


def _band_noise(
    x: torch.Tensor,
    spec: InputSection,
    band_hz: Range,
    generator: torch.Generator,
    *,
    filtered: bool = True,
) -> torch.Tensor:
    """Gaussian noise (record, electrode, sample), of variance 1 before the card's filter."""
    samples = x.shape[-1]
    frequency = torch.fft.rfftfreq(samples, 1 / spec.rate_hz, device=x.device)
    inside = (frequency > 0) & (frequency >= band_hz[0]) & (frequency <= band_hz[1])
    bins = inside.nonzero().flatten()
    shape = (len(x), len(ELECTRODES), len(bins))
    drawn = torch.complex(_normal(shape, x, generator), _normal(shape, x, generator))
    if filtered:
        drawn = drawn * _passed(frequency[bins], spec)
    spectrum = drawn.new_zeros(len(x), len(ELECTRODES), len(frequency))
    spectrum[..., bins] = drawn
    noise: torch.Tensor = torch.fft.irfft(spectrum, n=samples)
    return noise * (samples / (2 * math.sqrt(max(len(bins), 1))))


def _sines(
    frequency: torch.Tensor, x: torch.Tensor, spec: InputSection, generator: torch.Generator
) -> torch.Tensor:
    """Sines of (record, wave) frequencies with random phases: (record, wave, sample)."""
    phase = 2 * math.pi * _uniform(frequency.shape, x, generator)
    time_s = torch.arange(x.shape[-1], device=x.device) / spec.rate_hz
    return torch.sin(2 * math.pi * frequency[..., None] * time_s + phase[..., None])


def _passed(frequency: torch.Tensor, spec: InputSection) -> torch.Tensor:
    """What the card's filter (second-order Butterworth, both ways) leaves of each frequency."""
    left = torch.ones_like(frequency)
    if spec.highpass_hz is not None:
        left = left / (1.0 + (spec.highpass_hz / frequency.clamp(min=1e-6)) ** 4)
    if spec.lowpass_hz is not None:
        left = left / (1.0 + (frequency / spec.lowpass_hz) ** 4)
    return left


def _present(x: torch.Tensor) -> torch.Tensor:
    """Which leads a record has, (record, lead, 1): those that are not zero throughout."""
    return (x != 0).any(dim=-1, keepdim=True)


def _take(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """x (record, lead, sample) at index (record, sample); zero where the index is outside."""
    inside = (index >= 0) & (index < x.shape[-1])
    index = index.clamp(0, x.shape[-1] - 1)[:, None].expand(-1, x.shape[1], -1)
    return x.gather(-1, index) * inside[:, None]


def _uniform(shape: Sequence[int], like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(tuple(shape), generator=generator, device=like.device)


def _normal(shape: Sequence[int], like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(tuple(shape), generator=generator, device=like.device)
