"""Cases against controls, one value per patient: effect sizes, intervals, p and q.

A patient is the unit: records of one patient are averaged first, so that ten records of one person
are not ten witnesses.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from leadlight.explain.averages import MeanInterval, mean_interval

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Delta:
    """Cliff's delta, from -1 (every case below every control) to 1, with its interval."""

    delta: Array
    low: Array
    high: Array


@dataclass(frozen=True)
class Comparison:
    """Cases against controls for each measure; all attributes are (measure).

    Attributes:
        case, control: mean over patients with its interval.
        difference, difference_low, difference_high: of the means, Welch's interval.
        cliffs_delta: with its interval.
        p_value: two-sided Mann-Whitney test; NaN where a group is empty.
    """

    case: MeanInterval
    control: MeanInterval
    difference: Array
    difference_low: Array
    difference_high: Array
    cliffs_delta: Delta
    p_value: Array


def compare(case: Array, control: Array) -> Comparison:
    """Compare (patient, measure) of cases with (patient, measure) of controls.

    NaN elements (a lead that a patient's records lack) are left out.
    """
    of_case, of_control = mean_interval(case), mean_interval(control)
    difference, reach = _welch(case, control)
    return Comparison(
        case=of_case,
        control=of_control,
        difference=difference,
        difference_low=difference - reach,
        difference_high=difference + reach,
        cliffs_delta=cliffs_delta(case, control),
        p_value=rank_test(case, control),
    )


def cliffs_delta(case: Array, control: Array, level: float = 0.95) -> Delta:
    """Cliff's delta of (patient, measure) against (patient, measure): P(case > control) - P(<).

    The interval is Cliff's asymmetric one with the unbiased variance (Cliff 1996, Ordinal methods;
    Feng & Cliff 2004, J Mod Appl Stat Methods 3:322), which keeps within -1 and 1. Where the groups
    do not overlap the variance is 0, and the bound of the same paper is used:
    (n - z²)/(n + z²) with n the smaller group.

    Returns:
        (measure) each; NaN where a group is empty, NaN bounds where one has a single patient.
    """
    bounds = np.full((3, case.shape[1]), np.nan)
    for column in range(case.shape[1]):
        x, y = case[:, column], control[:, column]
        bounds[:, column] = _delta_of(x[np.isfinite(x)], y[np.isfinite(y)], level)
    return Delta(*bounds)


def rank_test(case: Array, control: Array) -> Array:
    """(measure) two-sided p of the Mann-Whitney test; exact where a group is small, without ties.

    It tests the same thing that Cliff's delta measures.
    """
    p = np.full(case.shape[1], np.nan)
    for column in range(case.shape[1]):
        x, y = case[:, column], control[:, column]
        x, y = x[np.isfinite(x)], y[np.isfinite(y)]
        if x.size and y.size:
            everything = np.concatenate([x, y])
            # scipy divides by zero where all values are tied; such groups do not differ.
            tied = bool((everything == everything[0]).all())
            p[column] = 1.0 if tied else stats.mannwhitneyu(x, y, alternative="two-sided").pvalue
    return p


def benjamini_hochberg(p_value: Array) -> Array:
    """q values (any shape) of one family of tests (Benjamini & Hochberg 1995); NaN stays NaN."""
    tested = np.isfinite(p_value)
    q = np.full(p_value.shape, np.nan)
    if tested.any():
        q[tested] = stats.false_discovery_control(p_value[tested], method="bh")
    return q


def _delta_of(x: Array, y: Array, level: float) -> tuple[float, float, float]:
    n, m = x.size, y.size
    if not n or not m:
        return np.nan, np.nan, np.nan
    of_x, ties = _dominance(x, y)
    of_y = -_dominance(y, x)[0]
    delta = float(of_x.mean())
    if min(n, m) < 2:
        return delta, np.nan, np.nan
    z = float(stats.t.ppf(0.5 + level / 2, n + m - 2))
    if abs(delta) == 1.0:
        bound = (min(n, m) - z**2) / (min(n, m) + z**2)
        return (delta, bound, 1.0) if delta > 0 else (delta, -1.0, -bound)
    rows, columns = ((of_x - delta) ** 2).sum(), ((of_y - delta) ** 2).sum()
    cells = (n * m - ties) - n * m * delta**2
    variance = (m**2 * rows + n**2 * columns - cells) / (n * m * (n - 1) * (m - 1))
    variance = max(float(variance), (1 - delta**2) / (n * m - 1))
    centre = delta - delta**3
    reach = z * np.sqrt(variance) * np.sqrt((1 - delta**2) ** 2 + z**2 * variance)
    scale = 1 - delta**2 + z**2 * variance
    return delta, max(-1.0, (centre - reach) / scale), min(1.0, (centre + reach) / scale)


def _dominance(x: Array, y: Array) -> tuple[Array, int]:
    """For each x the share of y below it less the share above it, and the number of tied pairs."""
    ordered = np.sort(y)
    below = np.searchsorted(ordered, x, side="left")
    not_above = np.searchsorted(ordered, x, side="right")
    dominance = (below - (y.size - not_above)) / y.size
    return dominance.astype(np.float64), int((not_above - below).sum())


def _welch(case: Array, control: Array, level: float = 0.95) -> tuple[Array, Array]:
    """Difference of means over (patient, measure), and half its interval's width."""
    parts = []
    for group in (case, control):
        interval = mean_interval(group)
        n = interval.n_patients.astype(np.float64)
        enough = n >= 2
        centred = np.where(np.isfinite(group), group - interval.mean, 0.0)
        of = np.where(enough, n, 2.0)
        error = (centred**2).sum(axis=0) / (of - 1) / of
        parts.append((interval.mean, np.where(enough, error, np.nan), of - 1))
    (mean_x, error_x, df_x), (mean_y, error_y, df_y) = parts
    error = error_x + error_y
    some = np.where(error > 0, error, 1.0)
    df = some**2 / np.where(error > 0, error_x**2 / df_x + error_y**2 / df_y, 1.0)
    return mean_x - mean_y, stats.t.ppf(0.5 + level / 2, df) * np.sqrt(error)
