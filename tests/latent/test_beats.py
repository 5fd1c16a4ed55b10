from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from leadlight.cohort.importing import import_cohort
from leadlight.cohort.measuring import measure_cohort
from leadlight.cohort.store import open_cohort
from leadlight.ecg.leads import DERIVED_FROM_I_II, LEADS
from leadlight.ecg.median_beat import R_SAMPLE
from leadlight.ecg.quality import excludes
from leadlight.errors import LeadlightError
from leadlight.latent.beats import (
    Beats,
    gather_beats,
    own_mask,
    own_samples,
    stream_beats,
    twelve_leads,
    wave_masks,
)


def intervals(rr: float, pr: float | None = 160.0, qt: float | None = 390.0) -> pl.DataFrame:
    columns = {"rr_ms": [rr], "rr_sd_ms": [0.0], "pr_ms": [pr], "qt_ms": [qt]}
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.Float64))


def test_a_slow_beat_owns_the_whole_window() -> None:
    assert own_samples(intervals(1200.0)).tolist() == [[0, 600]]


def test_a_fast_beat_ends_before_the_next_p_and_begins_after_the_t_before() -> None:
    start, stop = own_samples(intervals(600.0, pr=150.0, qt=320.0))[0]
    next_p = R_SAMPLE + (600 - 150 - 40) / 2
    last_t = R_SAMPLE - (600 - 320) / 2
    assert stop <= next_p
    assert abs(start - last_t) <= 1


def test_without_a_p_wave_a_beat_lasts_until_the_next_qrs() -> None:
    with_p = own_samples(intervals(800.0))[0, 1]
    without = own_samples(intervals(800.0, pr=None))[0, 1]
    assert with_p < without <= R_SAMPLE + 800 / 2


def test_a_beat_of_unknown_rate_owns_the_whole_window() -> None:
    unknown = intervals(float("nan"), pr=None, qt=None)
    assert own_samples(unknown).tolist() == [[0, 600]]


@given(st.floats(200, 3000), st.floats(60, 400), st.floats(180, 700))
def test_own_samples_hold_the_qrs_and_lie_in_the_window(rr: float, pr: float, qt: float) -> None:
    start, stop = own_samples(intervals(rr, pr, qt))[0]
    assert 0 <= start <= R_SAMPLE - 50
    assert R_SAMPLE + 50 <= stop <= 600


@given(arrays(np.float32, (2, 8, 5), elements=st.floats(-5, 5, width=32)))
def test_twelve_leads_obey_the_algebra_without_residual(independent: np.ndarray) -> None:
    twelve = twelve_leads(independent)
    row = {lead: twelve[:, place] for place, lead in enumerate(LEADS)}
    for lead, (one, two) in DERIVED_FROM_I_II.items():
        assert np.abs(row[lead] - (one * row["I"] + two * row["II"])).max() == 0


def test_waves_do_not_overlap_and_lie_inside_own_samples(
    healthy: tuple[Beats, np.ndarray],
) -> None:
    beats, _ = healthy
    masks = wave_masks(beats)
    assert masks.sum(axis=1).max() == 1
    assert not (masks.any(axis=1) & ~own_mask(beats.own)).any()
    assert masks[:, 2].sum(axis=1).mean() == pytest.approx(47, abs=8)  # QRS of some 95 ms


def test_beats_of_a_real_study_come_back_as_measured(shared_data: Path, tmp_path: Path) -> None:
    files = sorted((shared_data / "ptbxl").rglob("*.hea"))[:6]
    study = tmp_path / "ward"
    import_cohort(files, study)
    with pytest.raises(LeadlightError, match="no median beats"):
        gather_beats([study], tmp_path / "cache")
    measure_cohort(study)
    beats = gather_beats([study], tmp_path / "cache")
    again = gather_beats([study], tmp_path / "cache")
    assert isinstance(again.microvolts, np.memmap)
    stored = np.concatenate([part for _, part, _, _ in stream_beats(study, chunk=4)])
    flags = open_cohort(study).records["flags"].to_list()
    kept = [row for row, of_record in enumerate(flags) if not excludes(of_record)]
    assert 0 < len(kept) <= len(stored)
    assert np.array_equal(stored[kept], beats.microvolts)
    r_found = np.isfinite(beats.limits[:, 2:4])
    assert r_found.all()
    assert (beats.limits[:, 2] < R_SAMPLE).all()
    assert (beats.limits[:, 3] > R_SAMPLE).all()
    assert beats.records["patient_id"].null_count() == 0
