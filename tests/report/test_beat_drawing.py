"""The delineated ECG and the median beat, drawn where they were read."""

import os
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from leadlight.ecg.delineation import Fiducials
from leadlight.ecg.delineation.fiducials import label_fiducials
from leadlight.ecg.leads import LEADS, as_leads
from leadlight.ecg.measurements import measure_recording
from leadlight.ecg.median_beat import R_SAMPLE, MedianBeat, median_beat
from leadlight.ecg.recording import Recording
from leadlight.report.beat_drawing import draw_delineated_ecg, draw_median_beat

RATE = 500.0


def kept(figure: Figure, folder: Path, name: str) -> None:
    """Render; LEADLIGHT_FIGURES names a folder where all figures can be looked at together."""
    where = Path(os.environ.get("LEADLIGHT_FIGURES", folder))
    where.mkdir(parents=True, exist_ok=True)
    figure.savefig(where / f"{name}.png", dpi=100)
    assert (where / f"{name}.png").stat().st_size > 20_000


def ramp() -> xr.DataArray:
    """Every lead rises by 0.1 mV a second, so that height tells time."""
    return as_leads(np.tile(np.arange(5000, dtype=np.float32) / 5000, (12, 1)))


def one_beat(at: float, lead_shift: float = 0.0) -> Fiducials:
    points = np.array([[[at - 100, at - 80, at - 60], [at - 20, at, at + 25],
                        [at + 80, at + 150, at + 200]]])  # fmt: skip
    per_lead = np.stack([points + lead_shift * row for row in range(12)])
    return label_fiducials(
        per_lead, points, np.ones(per_lead.shape), np.ones(points.shape),
        leads=list(LEADS), r_peaks=np.array([at], dtype=np.int64), rate_hz=RATE,
    )  # fmt: skip


def drawn(figure: Figure, name: str) -> list[np.ndarray]:
    return [
        np.asarray(line.get_xydata()) for line in figure.axes[0].get_lines()
        if line.get_gid() == name
    ]  # fmt: skip


@pytest.mark.parametrize("layout", ["3x4", "12x1"])
def test_limits_lie_where_they_were_read(layout: str) -> None:
    figure = draw_delineated_ecg(ramp(), RATE, one_beat(800.0), layout=layout)  # type: ignore[arg-type]
    left = drawn(figure, "lead-I")[0][0, 0]
    ticks = drawn(figure, "limits-QRS-I")[0]
    assert ticks[0, 0] == pytest.approx(left + 780 / RATE * 25)
    assert ticks[3, 0] == pytest.approx(left + 825 / RATE * 25)


def test_each_lead_shows_its_own_reading() -> None:
    figure = draw_delineated_ecg(ramp(), RATE, one_beat(800.0, lead_shift=2.0), layout="12x1")
    first, last = (drawn(figure, f"limits-T-{lead}")[0][0, 0] for lead in ("I", "V6"))
    assert last - first == pytest.approx(22 / RATE * 25)


def test_a_lead_that_shows_another_time_has_no_mark() -> None:
    figure = draw_delineated_ecg(ramp(), RATE, one_beat(800.0))
    assert drawn(figure, "limits-QRS-V1") == []  # its column shows 5 to 7.5 s
    assert len(drawn(figure, "limits-QRS-II")) == 2  # its column and the rhythm strip


def test_an_absent_wave_is_plain_ink() -> None:
    fiducials = one_beat(800.0)
    fiducials.per_lead[{"wave": 0}] = np.nan
    figure = draw_delineated_ecg(ramp(), RATE, fiducials)
    assert drawn(figure, "wave-P-I") == drawn(figure, "limits-P-I") == []
    assert len(drawn(figure, "wave-QRS-I")) == 1


def synthetic_beat() -> tuple[MedianBeat, xr.DataArray]:
    time_s = np.arange(5000) / RATE
    pulse = sum(np.exp(-0.5 * ((time_s - at) / 0.012) ** 2) for at in np.arange(0.6, 9.5, 0.9))
    signal = np.tile(np.asarray(pulse, dtype=np.float32), (12, 1)) * np.linspace(1, 2, 12)[:, None]
    beat = median_beat(as_leads(signal.astype(np.float32)), RATE)
    limits = xr.DataArray(
        [[np.nan] * 3, [R_SAMPLE - 20, R_SAMPLE, R_SAMPLE + 25], [305, 350, 400]],
        dims=("wave", "point"),
        coords={"wave": ["P", "QRS", "T"], "point": ["onset", "peak", "offset"]},
    )
    return beat, limits


def test_the_median_beats_limits_are_at_their_times() -> None:
    figure = draw_median_beat(*synthetic_beat())
    together = figure.axes[-1]
    at = {str(line.get_gid()): line.get_xdata()[0] for line in together.get_lines()}
    assert at["QRS-onset"] == pytest.approx(-40)
    assert at["QRS-offset"] == pytest.approx(50)
    assert at["T-offset"] == pytest.approx(350)
    assert "P-onset" not in at
    assert "QRS 90 ms" in [text.get_text() for text in together.texts]


def test_the_title_says_only_what_was_measured() -> None:
    beat, limits = synthetic_beat()
    figure = draw_median_beat(beat, limits, values={"qt_ms": 380.0, "pr_ms": np.nan})
    heading = figure.get_suptitle()
    assert "QT 380 ms" in heading
    assert "PR" not in heading
    assert f"{beat.n_beats} of {beat.n_found} beats" in heading


def test_a_real_recording_is_drawn(one_recording: Recording, tmp_path: Path) -> None:
    found = measure_recording(one_recording.signal_mv, one_recording.rate_hz)
    figure = draw_delineated_ecg(
        one_recording.signal_mv, one_recording.rate_hz, found.fiducials, title="Delineated"
    )
    kept(figure, tmp_path, "delineated")
    figure = draw_median_beat(found.beat, found.limits, values=found.measurements.values)
    kept(figure, tmp_path, "median_beat")
