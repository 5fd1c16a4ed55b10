"""Waves of the QRS, and voltage sums."""

import numpy as np
import pytest
import xarray as xr

from leadlight.ecg.amplitudes import qrs_waves, voltage_sums, wave_amplitudes
from leadlight.ecg.leads import LEADS, as_leads

RATE = 500.0


def complex_of(*waves: tuple[float, float]) -> np.ndarray:
    """Half sine waves of the given (mV, ms) one after another."""
    parts = [
        size * np.sin(np.pi * (np.arange(round(ms / 2)) + 0.5) / round(ms / 2))
        for size, ms in waves
    ]
    return np.concatenate([*parts, [0.0]])


@pytest.mark.parametrize(
    ("waves", "expected"),
    [
        ([(-0.2, 20), (1.0, 40), (-0.4, 24)], {"q": -0.2, "r": 1.0, "s": -0.4}),
        ([(1.2, 60)], {"r": 1.2}),
        ([(0.3, 24), (-1.0, 40), (0.5, 30)], {"r": 0.3, "s": -1.0, "r_prime": 0.5}),
        ([(-1.4, 80)], {"s": -1.4}),
        ([(-0.1, 16), (0.6, 30), (-0.3, 20), (0.2, 20)],
         {"q": -0.1, "r": 0.6, "s": -0.3, "r_prime": 0.2}),
        ([(-0.01, 20), (1.0, 40)], {"r": 1.0}),  # under 20 µV
        ([(-0.3, 4), (1.0, 40)], {"r": 1.0}),  # under 6 ms
        ([(0.8, 30), (-0.01, 10), (0.9, 30)], {"r": 0.9}),  # a notch is one wave
        ([], {}),
    ],
)  # fmt: skip
def test_the_qrs_is_spelt(waves: list[tuple[float, float]], expected: dict[str, float]) -> None:
    found = qrs_waves(complex_of(*waves), RATE)
    present = {name: value for name, value in found.items() if np.isfinite(value)}
    assert present == pytest.approx(expected, rel=0.03)


def test_an_st_elevation_is_no_r_prime() -> None:
    rising = np.linspace(0.0, 0.25, 10)
    found = qrs_waves(np.concatenate([complex_of((0.8, 40), (-0.5, 30))[:-1], rising]), RATE)
    assert np.isnan(found["r_prime"])
    assert found["s"] == pytest.approx(-0.5, rel=0.03)


def beat_with(lead_sizes: dict[str, tuple[float, float]]) -> tuple[xr.DataArray, xr.DataArray]:
    """A beat on an offset of 0.3 mV, with (R, S) per lead and an ST level of 0.1 mV."""
    values = np.full((12, 600), 0.3, dtype=np.float32)
    for lead, (r, s) in lead_sizes.items():
        qrs = complex_of((r, 50), (s, 50))
        values[LEADS.index(lead), 200 : 200 + len(qrs)] += qrs
    values[:, 251:295] += 0.1
    values[:, 295:350] += (0.4 * np.sin(np.pi * np.arange(55) / 54)).astype(np.float32)
    values[:, 110:140] -= 0.05
    limits = xr.DataArray(
        [[110, 125, 139], [199, 212, 252], [295, 320, 349]],
        dims=("wave", "point"),
        coords={"wave": ["P", "QRS", "T"], "point": ["onset", "peak", "offset"]},
    )
    return as_leads(values), limits.astype(float)


SIZES = {"V1": (0.2, -1.1), "V3": (0.3, -0.9), "V5": (1.6, -0.1), "V6": (1.2, -0.1),
         "aVL": (0.4, -0.1)}  # fmt: skip


def test_amplitudes_are_from_the_level_before_the_wave() -> None:
    found = wave_amplitudes(*beat_with(SIZES), RATE, 599)
    assert found["r_mv_V5"] == pytest.approx(1.6, rel=0.02)
    assert found["s_mv_V1"] == pytest.approx(-1.1, rel=0.02)
    assert found["j_mv_V6"] == pytest.approx(0.1, abs=1e-3)
    assert found["st60_mv_V6"] == found["st80_mv_V6"] == pytest.approx(0.1, abs=1e-3)
    assert found["t_mv_II"] == pytest.approx(0.4, abs=1e-3)
    assert len(found) == 9 * 12


def test_st_is_not_read_into_the_next_beat() -> None:
    found = wave_amplitudes(*beat_with(SIZES), RATE, 285)
    assert np.isfinite(found["st60_mv_V6"])
    assert np.isnan(found["st80_mv_V6"])


def test_voltage_sums_are_the_textbooks() -> None:
    found = voltage_sums(wave_amplitudes(*beat_with(SIZES), RATE, 599))
    assert found["sokolow_lyon_mv"] == pytest.approx(1.1 + 1.6, rel=0.02)
    assert found["cornell_mv"] == pytest.approx(0.4 + 0.9, rel=0.02)


def test_a_dead_lead_makes_its_sum_nan_and_only_that() -> None:
    beat, limits = beat_with(SIZES)
    beat.loc[{"lead": "V1"}] = np.nan
    found = voltage_sums(wave_amplitudes(beat, limits, RATE, 599))
    assert np.isnan(found["sokolow_lyon_mv"])
    assert np.isfinite(found["cornell_mv"])
