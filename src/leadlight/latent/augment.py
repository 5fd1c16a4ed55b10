"""Other beats that the same people could have shown: changes of a beat that leave an ECG.

A few hundred real hearts do not show how freely waves vary. So a training beat may take its P from
one record and its T from another, lie between two beats, have waves that are longer or shorter,
a heart that is turned in the chest, electrodes with other gains, and noise that the network is not
asked to draw.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import ConfigDict, Field

from leadlight.ecg.median_beat import R_SAMPLE
from leadlight.simulate.lead_field import DOWER

Share = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]

# Where limits are not known, in samples from R.
_USUAL_QRS = (-22.0, 25.0)


@dataclass(frozen=True)
class Augmentation:
    """How training beats are changed.

    Attributes:
        exchange: share of beats that take what lies before the QRS from a second record and what
            lies after it from a third.
        blend: share of beats that are a mean of two records with a random weight.
        stretch: standard deviation of the factors by which the time before the QRS, the QRS and
            the time after it are stretched, each on its own.
        turn_rad: standard deviation of the heart's rotation about each of three axes.
        gain: standard deviation of the logarithm of the gain of all leads together.
        lead_gain: the same of each lead.
        noise_mv: median over beats of the noise that the network sees.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    exchange: Share = 0.6
    blend: Share = 0.4
    stretch: NotNegative = 0.07
    turn_rad: NotNegative = 0.2
    gain: NotNegative = 0.15
    lead_gain: NotNegative = 0.08
    noise_mv: NotNegative = 0.006


NO_AUGMENTATION = Augmentation(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class BeatBatch:
    """Beats to learn from.

    Attributes:
        seen: (record, lead, sample) in mV, what the network gets; zero outside of `own`.
        wanted: (record, lead, sample) in mV, what it is to draw.
        own: (record, sample) bool.
    """

    seen: torch.Tensor
    wanted: torch.Tensor
    own: torch.Tensor


@dataclass(frozen=True)
class _Drawn:
    beats_mv: torch.Tensor
    own: torch.Tensor
    qrs: torch.Tensor  # (record, 2) onset and offset in samples from R

    def at(self, rows: torch.Tensor) -> "_Drawn":
        return _Drawn(self.beats_mv[rows], self.own[rows], self.qrs[rows])


def augment(
    beats_mv: torch.Tensor,
    own: torch.Tensor,
    qrs: torch.Tensor,
    settings: Augmentation,
    generator: torch.Generator,
) -> BeatBatch:
    """Change a batch of beats; partners for exchanges and blends come from the batch itself.

    Args:
        beats_mv: (record, lead of INDEPENDENT_LEADS, sample) in mV.
        own: (record, sample) bool.
        qrs: (record, 2) onset and offset of the QRS in samples of the beat; NaN where not known.
        settings: see `Augmentation`.
        generator: of all randomness.
    """
    usual = torch.tensor(_USUAL_QRS, device=qrs.device)
    from_r = torch.where(torch.isfinite(qrs), qrs - R_SAMPLE, usual).float()
    made = _Drawn(beats_mv, own, from_r)
    if settings.exchange:
        made = _exchanged(made, settings.exchange, generator)
    if settings.blend:
        made = _blended(made, settings.blend, generator)
    if settings.stretch:
        made = _stretched(made, settings.stretch, generator)
    wanted = _through_another_chest(made.beats_mv, settings, generator)
    seen = wanted
    if settings.noise_mv:
        level = settings.noise_mv * _normal((len(wanted), 1, 1), generator).exp()
        seen = wanted + level * _normal(tuple(wanted.shape), generator)
    return BeatBatch(seen * made.own[:, None], wanted, made.own)


def _exchanged(made: _Drawn, share: float, generator: torch.Generator) -> _Drawn:
    """P from another record, ST and T from a third, joined at the limits of the QRS."""
    n, _, samples = made.beats_mv.shape
    before, after = (made.at(_shuffled(n, generator)) for _ in range(2))
    time = torch.arange(samples, device=generator.device) - R_SAMPLE
    early, early_own = _shifted(before, made.qrs[:, 0] - before.qrs[:, 0])
    late, late_own = _shifted(after, made.qrs[:, 1] - after.qrs[:, 1])
    # Two milliseconds of transition on either side of the QRS keep the joins smooth.
    to_early = torch.sigmoid((made.qrs[:, :1] - 4 - time) / 2)[:, None]
    to_late = torch.sigmoid((time - made.qrs[:, 1:] - 4) / 3)[:, None]
    joined = made.beats_mv * (1 - to_early) * (1 - to_late) + early * to_early + late * to_late
    is_early, is_late = time < made.qrs[:, :1], time > made.qrs[:, 1:]
    own = torch.where(is_early, early_own, torch.where(is_late, late_own, made.own))
    chosen = _uniform((n,), generator) < share
    return _Drawn(
        torch.where(chosen[:, None, None], joined, made.beats_mv),
        torch.where(chosen[:, None], own, made.own),
        made.qrs,
    )


def _blended(made: _Drawn, share: float, generator: torch.Generator) -> _Drawn:
    n = len(made.own)
    other = made.at(_shuffled(n, generator))
    chosen = _uniform((n,), generator) < share
    weight = torch.where(chosen, _uniform((n,), generator), torch.ones(n, device=chosen.device))
    weight = weight[:, None, None]
    beats_mv = weight * made.beats_mv + (1 - weight) * other.beats_mv
    own = torch.where(chosen[:, None], made.own & other.own, made.own)
    return _Drawn(beats_mv, own, made.qrs)


def _stretched(made: _Drawn, spread: float, generator: torch.Generator) -> _Drawn:
    """Time is stretched about R, with a factor of its own before, in and after the QRS."""
    n, leads, samples = made.beats_mv.shape
    factor = (1 + spread * _normal((n, 3), generator)).clamp(0.7, 1.35)
    early, inside, late = factor[:, :1], factor[:, 1:2], factor[:, 2:]
    onset, offset = made.qrs[:, :1], made.qrs[:, 1:]
    time = (torch.arange(samples, device=generator.device) - R_SAMPLE).float()
    source = torch.where(
        time < onset,
        onset * inside + (time - onset) * early,
        torch.where(time < offset, time * inside, offset * inside + (time - offset) * late),
    )
    source = (source + R_SAMPLE).clamp(0, samples - 1)
    low = source.floor().long().clamp(max=samples - 2)
    part = (source - low)[:, None]
    index = low[:, None].expand(-1, leads, -1)
    first = made.beats_mv.gather(2, index)
    beats_mv = first + (made.beats_mv.gather(2, index + 1) - first) * part
    return _Drawn(beats_mv, made.own.gather(1, low), made.qrs)


def _through_another_chest(
    beats_mv: torch.Tensor, settings: Augmentation, generator: torch.Generator
) -> torch.Tensor:
    """The heart is turned (on the part of the leads that a dipole explains) and gains change."""
    n = len(beats_mv)
    leads = beats_mv.shape[1]
    device = generator.device
    mixing = torch.eye(leads, device=device).expand(n, leads, leads)
    if settings.turn_rad:
        field = torch.from_numpy(DOWER.astype(np.float32)).to(device)
        angle = settings.turn_rad * _normal((n, 3), generator)
        zero = torch.zeros(n, device=device)
        x, y, z = angle.unbind(dim=1)
        generatrix = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).view(n, 3, 3)
        turn = torch.matrix_exp(generatrix) - torch.eye(3, device=device)
        mixing = mixing + field @ turn @ torch.linalg.pinv(field)
    gain = torch.exp(settings.gain * _normal((n, 1, 1), generator))
    gain = gain * torch.exp(settings.lead_gain * _normal((n, leads, 1), generator))
    return (mixing * gain) @ beats_mv


def _shifted(made: _Drawn, by: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Beats and own samples, later by (record) samples; the ends repeat."""
    samples = made.own.shape[1]
    at = torch.arange(samples, device=by.device) - by.round().long()[:, None]
    index = at.clamp(0, samples - 1)
    leads = made.beats_mv.shape[1]
    return (
        made.beats_mv.gather(2, index[:, None].expand(-1, leads, -1)),
        made.own.gather(1, index) & (at == index),
    )


def _shuffled(n: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randperm(n, generator=generator, device=generator.device)


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    return torch.rand(shape, generator=generator, device=generator.device)


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    return torch.randn(shape, generator=generator, device=generator.device)
