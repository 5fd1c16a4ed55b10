"""The same heart without one of its conditions, and which samples that changes.

A twin has the same person, body, torso, electrodes, breathing and noise; only the one condition is
away. So the difference of the two recordings is what the condition causes, and nothing else.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import xarray as xr

from leadlight.ecg.leads import LEADS
from leadlight.errors import LeadlightError
from leadlight.simulate.conditions import CONDITIONS, checked
from leadlight.simulate.population import PersonParameters, SimulatedRecording, simulate_person

LEAST_UV = 20.0


def counterfactual(
    parameters: PersonParameters, without: str, *, same_beats: bool | None = None
) -> SimulatedRecording:
    """The recording of the same heart without one condition.

    Args:
        parameters: of the original (`SimulatedRecording.parameters`).
        without: a condition of `CONDITIONS`; where the person does not have it, the twin is equal
            to the original.
        same_beats: whether the ventricles beat when the original's do. By default they do, except
            without SB and ST, whose twin beats at its own rate. With True, the twin of fibrillation
            has P waves before the same irregular beats, and an ectopic beat is conducted from the
            atria at the same early time. With False, the twin has its own sinus rhythm.

    Raises:
        LeadlightError: `without` is none of `CONDITIONS`.
    """
    if same_beats is None:
        same_beats = checked(without) not in ("SB", "ST")
    conditions = parameters.conditions.without(without, same_beats=same_beats)
    return simulate_person(replace(parameters, conditions=conditions))


def causal_masks(
    one: SimulatedRecording,
    classes: Sequence[str] | None = None,
    *,
    least_uv: float = LEAST_UV,
    same_beats: bool | None = None,
) -> xr.DataArray:
    """(class, lead, sample) bool: the samples that are as they are because of the condition.

    True where the recording differs by `least_uv` or more from its twin without the condition
    (`counterfactual`), noise held equal. A class that the person does not have is False throughout.
    With the same beats, the mask of fibrillation holds the fibrillatory waves and the missing P,
    not the irregular rhythm, which no single sample carries; without SB or ST nearly every wave
    lies elsewhere, and the mask says so.

    Args:
        one: the simulated recording.
        classes: of `CONDITIONS`; those that the person has by default.
        least_uv: the smallest difference that counts.
        same_beats: see `counterfactual`.

    Raises:
        LeadlightError: a class is none of `CONDITIONS`, or `least_uv` is not positive.
    """
    if not least_uv > 0:
        raise LeadlightError(
            f"A difference of {least_uv} µV cannot tell twins apart.",
            advice=f"Give a positive one, such as {LEAST_UV:g}.",
        )
    conditions = one.parameters.conditions
    if classes is None:
        classes = [name for name in CONDITIONS if conditions.of(name)]
    signal = one.recording.signal_mv.values
    masks = np.zeros((len(classes), *signal.shape), dtype=np.bool_)
    for row, name in enumerate(classes):
        if conditions.of(checked(name)):
            twin = counterfactual(one.parameters, name, same_beats=same_beats)
            masks[row] = np.abs(signal - twin.recording.signal_mv.values) * 1e3 >= least_uv
    return xr.DataArray(
        masks,
        dims=("class", "lead", "sample"),
        coords={"class": list(classes), "lead": list(LEADS)},
    )
