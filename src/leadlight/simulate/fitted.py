"""From a person's scores to the shape of the heart, by summaries fitted to real ECGs.

`fitted/hearts.json` (made by training/fit_hearts.py from PTB-XL; CC BY 4.0, Wagner et al. 2020)
holds, for people with a normal ECG and for other patients with a P wave and a narrow QRS, the mean
of everything given sex and age, and the leading components of its covariance. A heart is mean +
components x scores. The named traits are orthonormal directions among the scores: the direction in
which a trait's own quantity grows most, freed of the directions of the traits before it. So the
population has the fitted covariance whatever the traits are called, and no trait moves the
quantity of a trait above it in the table.

Body size acts beside them, with slopes from the literature (PTB-XL hardly states it). Per 10 cm of
height PR is 4.2 and QRS 2.1 ms longer, QTc and Sokolow-Lyon the same (Kofler et al. 2017, Circ
Arrhythm Electrophysiol 10:e004735). With body mass P grows longer (Magnani et al. 2012, Obesity
20:666), the axes turn left and QRS shrinks (Alpert et al. 2000, Am J Cardiol 85:908; Fraley et al.
2005, Obes Rev 6:275); these papers give directions and differences between groups, so the slopes
per kg/m2 are our reading of them.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from leadlight.ecg.leads import INDEPENDENT_LEADS
from leadlight.simulate import waves
from leadlight.simulate.lead_field import DOWER
from leadlight.simulate.traits import TRAIT_NAMES
from leadlight.simulate.waves import LEAD

Array = npt.NDArray[np.float64]

FITTED = Path(__file__).parent / "fitted" / "hearts.json"
INTERVALS = ("log_rate", "p_duration_ms", "pr_segment_ms", "qrs_ms", "qtc_ms")
VOLTAGES = ("P", "QRS", "T")
BLOCKS = ("P", "QRS", "T", "U")
_EVENTS = {
    "P": (waves.P_SPAN, waves.P_EVENTS),
    "QRS": (waves.QRS_SPAN, waves.QRS_EVENTS),
    "T": (waves.T_SPAN, waves.T_EVENTS),
    "U": (waves.U_SPAN, waves.U_EVENTS),
}
_LEADS = len(INDEPENDENT_LEADS)
_TO_DIPOLE = np.linalg.pinv(DOWER)

# Change per cm of height above what sex and age lead one to expect, and per kg/m² of body mass
# above 27: ms, log mV and degrees of the frontal QRS axis.
HEIGHT_SLOPES = {"p_duration_ms": 0.15, "pr_segment_ms": 0.267, "qrs_ms": 0.206}
MASS_SLOPES = {"p_duration_ms": 0.25, "pr_segment_ms": 0.20, "qrs_ms": 0.10}
MASS_ON_LOG_QRS_VOLTAGE = -0.008
MASS_ON_AXIS_DEG = -0.9


@dataclass(frozen=True)
class Shape:
    """One healthy heart: rate and intervals, and each wave's events.

    Attributes:
        rate_bpm: sinus rate.
        p_ms, pr_segment_ms, qrs_ms: durations.
        qtc_ms: QT at 60 beats a minute (Fridericia).
        strengths_mv: block of BLOCKS → (event, lead of INDEPENDENT_LEADS); the last row of P is
            the atria's recovery.
    """

    rate_bpm: float
    p_ms: float
    pr_segment_ms: float
    qrs_ms: float
    qtc_ms: float
    strengths_mv: dict[str, Array]


def shape_of(
    group: str,
    z: npt.ArrayLike,
    rng: np.random.Generator,
    *,
    male: bool,
    age_years: float,
    height_cm: float,
    body_mass_index: float,
) -> Shape:
    """The heart of one person.

    Args:
        group: "normal" or "patients".
        z: (trait of TRAIT_NAMES).
        rng: gives what is left of the shape beside the named traits.
    """
    fit = _group(group)
    components = len(fit.loadings)
    free = rng.standard_normal(components)
    scores = fit.directions @ np.asarray(z, dtype=float)
    scores += free - fit.directions @ (fit.directions.T @ free)
    who = np.array([1.0, float(male) - 0.5, (np.clip(age_years, 18, 95) - 60.0) / 15.0])
    everything = who @ fit.mean + scores @ fit.loadings
    count = len(INTERVALS)
    shown = scores @ fit.loadings[:, :count]
    intervals = who @ fit.interval_mean + fit.quantile(shown)
    taller = height_cm - ((176.5 if male else 163.0) - 0.1 * max(age_years - 40.0, 0.0))
    heavier = body_mass_index - 27.0
    for column, name in enumerate(INTERVALS):
        intervals[column] += HEIGHT_SLOPES.get(name, 0.0) * taller
        intervals[column] += MASS_SLOPES.get(name, 0.0) * heavier
    log_voltage = everything[count : count + len(VOLTAGES)]
    log_voltage[1] += MASS_ON_LOG_QRS_VOLTAGE * heavier
    size = dict(zip(VOLTAGES, np.exp(log_voltage), strict=True))
    size["U"] = size["T"]
    strengths = {}
    for block in BLOCKS:
        part = everything[fit.columns[block]].reshape(-1, _LEADS)
        if block != "U":  # the size is the voltage's own
            part = part / np.sqrt((part[: _EVENTS[block][1]] ** 2).mean())
        strengths[block] = size[block] * part
    strengths["QRS"] = _turned(strengths["QRS"], np.deg2rad(MASS_ON_AXIS_DEG * heavier))
    log_rate, p_ms, pr_segment_ms, qrs_ms, qtc_ms = (float(x) for x in intervals)
    return Shape(float(np.exp(log_rate)), p_ms, pr_segment_ms, qrs_ms, qtc_ms, strengths)


def _turned(strengths: Array, by_rad: float) -> Array:
    """Events whose dipole is turned in the frontal plane; the rest of them stays."""
    cos, sin = np.cos(by_rad), np.sin(by_rad)
    turn = np.array([[cos - 1, -sin, 0], [sin, cos - 1, 0], [0, 0, 0]])
    return np.asarray(strengths + strengths @ (DOWER @ turn @ _TO_DIPOLE).T)


@dataclass(frozen=True)
class _Group:
    mean: Array  # (covariate, column)
    loadings: Array  # (component, column)
    interval_mean: Array  # (covariate, interval)
    interval_quantiles: Array  # (quantile, interval)
    quantile_scores: Array  # (quantile) as normal scores
    directions: Array  # (component, trait), orthonormal
    columns: dict[str, slice]

    def quantile(self, scores: Array) -> Array:
        """(interval) real residuals at these normal scores, straight lines beyond the table."""
        out = np.empty(len(scores))
        at, table = self.quantile_scores, self.interval_quantiles
        for column, score in enumerate(scores):
            of = table[:, column]
            out[column] = np.interp(score, at, of)
            beyond = score - np.clip(score, at[0], at[-1])
            out[column] += beyond * (of[-1] - of[0]) / (at[-1] - at[0])
        return out


@cache
def _group(name: str) -> _Group:
    from scipy.stats import norm

    file = json.loads(FITTED.read_text())
    held = {key: np.array(value) for key, value in file["groups"][name].items()}
    columns, first = {}, len(INTERVALS) + len(VOLTAGES)
    for block in BLOCKS:
        rows = _EVENTS[block][1] + (block == "P")  # the atria's recovery comes last
        columns[block] = slice(first, first + rows * _LEADS)
        first += rows * _LEADS
    loadings = held["loadings"]
    middle = held["mean_on_covariates"][0]
    return _Group(
        mean=held["mean_on_covariates"],
        loadings=loadings,
        interval_mean=held["interval_on_covariates"],
        interval_quantiles=held["interval_quantiles"],
        quantile_scores=norm.ppf(np.array(file["quantiles_at"])),
        directions=_directions(loadings, middle, columns),
        columns=columns,
    )


def _directions(loadings: Array, middle: Array, columns: dict[str, slice]) -> Array:
    """(component, trait) Gram-Schmidt over the traits' own directions, in the table's order."""
    found: list[Array] = []
    for trait in TRAIT_NAMES:
        own = loadings @ _quantity(trait, middle, columns)
        for _ in range(2):  # twice, for the sake of rounding
            for before in found:
                own = own - before * (before @ own)
        found.append(own / np.linalg.norm(own))
    return np.stack(found, axis=1)


def _quantity(trait: str, middle: Array, columns: dict[str, slice]) -> Array:
    """(column) the gradient at the mean heart of what a trait is about."""
    gradient = np.zeros(len(middle))
    first = ("heart_rate", "p_duration", "pr_segment", "qrs_duration", "qt_corrected")
    voltages = ("p_voltage", "qrs_voltage", "t_voltage")
    if trait in first:
        gradient[first.index(trait)] = 1.0
        return gradient
    if trait in voltages:
        gradient[len(INTERVALS) + voltages.index(trait)] = 1.0
        return gradient
    block = "P" if trait.startswith("p_") else "T" if trait in _OF_T else "QRS"
    at = waves.centres(*_EVENTS[block])[:, None]
    strengths = middle[columns[block]].reshape(-1, _LEADS)
    part = np.zeros_like(strengths)
    of_wave = slice(None, len(at))
    if trait in ("qrs_axis_frontal", "t_axis_frontal"):
        area = strengths.sum(axis=0)
        one, foot = area[LEAD["I"]], (area[LEAD["II"]] - 0.5 * area[LEAD["I"]]) * 2 / np.sqrt(3)
        part[:, LEAD["II"]] = one * 2 / np.sqrt(3)
        part[:, LEAD["I"]] = -foot - one / np.sqrt(3)
    elif trait == "qrs_axis_horizontal":
        x, _, z = _TO_DIPOLE @ strengths.sum(axis=0)
        part[:] = x * _TO_DIPOLE[2] - z * _TO_DIPOLE[0]
    else:
        for leads, low, high, sign in _SHAPES[trait]:
            inside = np.exp(-0.5 * ((at - (low + high) / 2) / ((high - low) / 2)) ** 2)
            for lead in leads.split():
                part[of_wave, LEAD[lead]] += sign * inside[:, 0]
    gradient[columns[block]] = part.reshape(-1)
    return gradient


_OF_T = ("t_axis_frontal", "t_asymmetry", "t_horizontal", "j_point", "st_slope")
# Leads, from, to (fractions of the wave), sign: what a shape trait adds up.
_SHAPES: dict[str, tuple[tuple[str, float, float, float], ...]] = {
    "r_progression": (("V2 V3 V4", 0.30, 0.60, 1.0), ("V5 V6", 0.30, 0.60, -0.5)),
    "q_septal": (("I V5 V6", 0.08, 0.24, -1.0),),
    "s_terminal": (("I V5 V6", 0.62, 0.90, -1.0),),
    "qrs_notch": (("II", 0.72, 0.86, 1.0), ("II", 0.55, 0.70, -0.5), ("II", 0.88, 1.0, -0.5)),
    "j_point": (("V2 V3 V4", -0.04, 0.12, 1.0),),
    "st_slope": (("II V2 V3 V4 V5", 0.30, 0.45, 1.0), ("II V2 V3 V4 V5", 0.0, 0.15, -1.0)),
    "t_asymmetry": (("I II V3 V4 V5", 0.45, 0.60, 1.0), ("I II V3 V4 V5", 0.82, 0.95, -1.0)),
    "t_horizontal": (("V1 V2 V3", 0.55, 0.85, 1.0), ("V5 V6", 0.55, 0.85, -1.0)),
    "p_terminal_v1": (("V1", 0.60, 0.90, -1.0),),
}  # fmt: skip
