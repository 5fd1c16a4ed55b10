"""What a factor does to the ECG: decoded beats over its range, their measurements, and where the
encoder looks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from leadlight.ecg.leads import DERIVED_FROM_I_II, INDEPENDENT_LEADS, LEADS, as_leads
from leadlight.ecg.measurements import measure_recording
from leadlight.ecg.median_beat import RATE_HZ, SAMPLES
from leadlight.errors import LeadlightError
from leadlight.explain.integrated_gradients import integrated_gradients
from leadlight.latent.beats import Beats, own_mask, twelve_leads
from leadlight.latent.model import LatentModel
from leadlight.progress import track

Array = npt.NDArray[np.float64]

STEPS_SD = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
# What a decoded beat is measured by, beside amplitudes.
QUANTITIES = (
    "p_duration_ms", "pr_ms", "qrs_ms", "qt_ms", "jt_ms", "t_peak_end_ms", "p_axis_deg",
    "qrs_axis_deg", "t_axis_deg", "qrs_t_angle_deg", "sokolow_lyon_mv", "cornell_mv",
    "p_mv_II", "p_mv_V1", "q_mv_I", "q_mv_V6", "r_mv_V1", "r_mv_V5", "s_mv_V1", "s_mv_V5",
    "j_mv_V2", "st80_mv_V2", "st80_mv_V5", "t_mv_II", "t_mv_V2", "t_mv_V5",
)  # fmt: skip
_REPEATS = 6  # beats of the strip that is measured: a decoded beat every 1.2 s
_JOIN = 20  # samples over which the end of one beat goes over into the next


def algebra_residual(twelve_mv: npt.NDArray[np.floating]) -> float:
    """The largest |derived lead − its weights of I and II| in (…, lead of LEADS, sample), in mV."""
    row = {lead: twelve_mv[..., place, :] for place, lead in enumerate(LEADS)}
    return float(
        max(
            np.abs(row[lead] - (one * row["I"] + two * row["II"])).max()
            for lead, (one, two) in DERIVED_FROM_I_II.items()
        )
    )


def traverse(model: LatentModel, steps_sd: Sequence[float] = STEPS_SD) -> Array:
    """(factor, step, lead of LEADS, sample) in mV: each factor alone over its range.

    All others stay at zero, the mean of the reference population.
    """
    n = len(model.names)
    factors = np.zeros((n, len(steps_sd), n))
    for place in range(n):
        factors[place, :, place] = steps_sd
    beats = model.decode_twelve(factors.reshape(-1, n))
    return beats.reshape(n, len(steps_sd), len(LEADS), SAMPLES)


def two_factor_map(
    model: LatentModel, first: int, second: int, steps_sd: Sequence[float] = (-2.0, 0.0, 2.0)
) -> Array:
    """(step of first, step of second, lead of LEADS, sample) in mV: two factors together."""
    n = len(model.names)
    k = len(steps_sd)
    factors = np.zeros((k, k, n))
    factors[:, :, first] += np.asarray(steps_sd)[:, None]
    factors[:, :, second] += np.asarray(steps_sd)[None, :]
    return model.decode_twelve(factors.reshape(-1, n)).reshape(k, k, len(LEADS), SAMPLES)


def measure_beat(twelve_mv: npt.NDArray[np.floating]) -> dict[str, float]:
    """Intervals, axes and amplitudes of one decoded beat (lead of LEADS, sample).

    The beat is repeated every 1.2 s and measured as any strip is; rate is the strip's and is not
    returned. All NaN where no beat is found.
    """
    ramp = np.linspace(0, 1, _JOIN)
    beat = np.array(twelve_mv, dtype=np.float64)
    # The end goes over into the beginning, so that the strip has no steps.
    beat[:, -_JOIN:] = beat[:, -_JOIN:] * (1 - ramp) + beat[:, :1] * ramp
    strip = as_leads(np.tile(beat, (1, _REPEATS)).astype(np.float32))
    try:
        values = measure_recording(strip, RATE_HZ).measurements.values
    except LeadlightError:
        return dict.fromkeys(QUANTITIES, float("nan"))
    return {name: values[name] for name in QUANTITIES}


def effects(model: LatentModel, steps_sd: Sequence[float] = STEPS_SD) -> pl.DataFrame:
    """What each factor does to measurements: `factor, quantity, step_sd, value, per_sd`.

    `per_sd` is the slope over the steps from −1 to +1 SD; angles are unwrapped first.
    """
    beats = traverse(model, steps_sd)
    rows = []
    inner = np.abs(np.asarray(steps_sd)) <= 1
    for place, name in enumerate(track(model.names, "Measuring factors")):
        found = [measure_beat(beat) for beat in beats[place]]
        for quantity in QUANTITIES:
            values = np.array([one[quantity] for one in found])
            if quantity.endswith("_axis_deg"):
                known = np.isfinite(values)
                values[known] = np.rad2deg(np.unwrap(np.deg2rad(values[known])))
            both = inner & np.isfinite(values)
            slope = (
                float(np.polyfit(np.asarray(steps_sd)[both], values[both], 1)[0])
                if both.sum() >= 2
                else float("nan")
            )
            rows += [
                (name, quantity, step, float(value), slope)
                for step, value in zip(steps_sd, values, strict=True)
            ]
    names = ["factor", "quantity", "step_sd", "value", "per_sd"]
    return pl.DataFrame(rows, schema=names, orient="row")


@dataclass(frozen=True)
class Sensitivity:
    """Where the encoder finds each factor.

    Attributes:
        relevance: (factor, lead of INDEPENDENT_LEADS, sample) mean of |relevance| over records, by
            integrated gradients from the population's mean beat, in the factor's SD.
        completeness_error: (factor) median over records.
        records: how many.
    """

    relevance: Array
    completeness_error: Array
    records: int


def sensitivity(
    model: LatentModel, beats: Beats, *, records: int = 60, tolerance: float = 0.05, seed: int = 0
) -> Sensitivity:
    """Integrated gradients of each factor, over some records.

    Args:
        model: the factor model; the factor takes the part of a network's logit.
        beats: records to draw from.
        records: how many, at most.
        tolerance: largest completeness error wanted.
        seed: of the choice of records.
    """
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(beats))[:records])
    beats_mv, own = beats.millivolts(rows)
    baseline = model.decode(np.zeros((1, len(model.names))))
    # Samples that are a neighbour's are as in the baseline, so they get no relevance.
    seen = beats_mv * own_mask(beats.own[rows])[:, None]
    start = baseline * own[:, None]
    found = integrated_gradients(
        model.factors,
        torch.from_numpy(seen.astype(np.float32)),
        classes=range(len(model.names)),
        baseline=torch.from_numpy(start.astype(np.float32)),
        tolerance=tolerance,
        max_steps=54,
    )
    return Sensitivity(
        found.relevance.abs().mean(dim=0).double().numpy(),
        found.completeness_error.median(dim=0).values.numpy(),
        len(rows),
    )


@dataclass(frozen=True)
class Deciles:
    """Real beats at both ends of a factor, beside what the decoder draws there.

    Attributes:
        low, high: (lead of LEADS, sample) mean of the real beats in the lowest and highest tenth.
        drawn_low, drawn_high: the decoder's beat at the mean factors of those records.
    """

    low: Array
    high: Array
    drawn_low: Array
    drawn_high: Array


def decile_means(
    model: LatentModel, beats: Beats, factors: npt.NDArray[np.floating], factor: int
) -> Deciles:
    """Means over the records in the lowest and highest tenth of a factor; own samples only."""
    order = np.argsort(factors[:, factor])
    tenth = max(1, len(order) // 10)
    real, drawn = [], []
    for rows in (order[:tenth], order[-tenth:]):
        beats_mv, own = beats.millivolts(np.sort(rows))
        inside = own[:, None].astype(np.float64)
        mean = (beats_mv * inside).sum(axis=0) / np.maximum(inside.sum(axis=0), 1)
        real.append(twelve_leads(mean))
        drawn.append(model.decode_twelve(factors[rows].mean(axis=0, keepdims=True))[0])
    return Deciles(real[0], real[1], drawn[0], drawn[1])


def lead_shares(found: Sensitivity) -> pl.DataFrame:
    """`factor` (from 0), `lead`, `share` of the absolute relevance."""
    mass = found.relevance.sum(axis=2)
    share = mass / np.maximum(mass.sum(axis=1, keepdims=True), 1e-12)
    rows = [
        (factor, lead, float(share[factor, place]))
        for factor in range(len(share))
        for place, lead in enumerate(INDEPENDENT_LEADS)
    ]
    return pl.DataFrame(rows, schema=["factor", "lead", "share"], orient="row")
