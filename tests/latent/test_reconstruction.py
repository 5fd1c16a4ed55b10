import numpy as np
import pytest

from leadlight.latent.beats import Beats, own_mask, wave_masks
from leadlight.latent.reconstruction import (
    error_table,
    errors_of,
    patient_interval,
    reconstruction_errors,
)


def test_a_perfect_reconstruction_has_no_error(healthy: tuple[Beats, np.ndarray]) -> None:
    beats_mv, own = healthy[0].millivolts(slice(0, 10))
    found = reconstruction_errors(beats_mv, beats_mv, own)
    assert found.mae_uv.max() == 0
    assert np.nanmin(found.r) == pytest.approx(1)


def test_an_offset_in_one_wave_is_found_in_this_wave(healthy: tuple[Beats, np.ndarray]) -> None:
    beats = healthy[0].take(np.arange(20))
    drawn, _ = beats.millivolts(slice(None))
    in_t = wave_masks(beats)[:, 4]
    drawn[:, 1:2] += 0.03 * in_t[:, None]  # lead II
    table = error_table(errors_of(beats, drawn), beats.records["patient_id"].to_list())

    def value(lead: str, wave: str) -> float:
        row = table.filter(
            (table["lead"] == lead) & (table["wave"] == wave) & (table["measure"] == "mae_uv")
        )
        return float(row["value"][0])

    assert value("II", "T") == pytest.approx(30, rel=1e-3)
    assert value("aVR", "T") == pytest.approx(15, rel=1e-3)  # by the algebra
    assert value("V1", "T") == 0
    assert value("II", "QRS") == 0


def test_errors_outside_of_own_samples_do_not_count(healthy: tuple[Beats, np.ndarray]) -> None:
    beats = healthy[0]
    fast = np.flatnonzero(beats.own[:, 1] < 560)[:5]
    assert len(fast)
    beats_mv, own = beats.millivolts(fast)
    drawn = beats_mv + ~own[:, None] * np.float32(3.0)
    assert reconstruction_errors(beats_mv, drawn, own).mae_uv.max() == 0
    assert (own_mask(beats.own[fast]) == own).all()


def test_the_interval_holds_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(100):
        of_patient = rng.standard_normal(60)
        patients = np.repeat(np.arange(60), 2)
        values = of_patient[patients] + 0.1 * rng.standard_normal(120)
        _, low, high = patient_interval(values, [str(p) for p in patients], seed=trial)
        hits += low <= 0 <= high
    assert 86 <= hits <= 99
