import io

import numpy as np
import pytest
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from leadlight.ecg.leads import LEADS, as_leads
from leadlight.ecg.recording import Recording
from leadlight.report.paper import draw_ecg

RATE_HZ = 500.0


def _steps(amplitude_mv: float = 1.0) -> xr.DataArray:
    """Ten seconds in which every lead is up by `amplitude_mv` from 0.5 s to 0.6 s."""
    signal = np.zeros((12, 5000), dtype=np.float32)
    signal[:, 250:300] = amplitude_mv
    return as_leads(signal)


def _trace(figure: Figure, lead: str) -> np.ndarray:
    """The drawn points of a lead, in pixels."""
    axes = figure.axes[0]
    (line, *_) = [a for a in axes.get_lines() if a.get_gid() == f"lead-{lead}"]
    return axes.transData.transform(line.get_xydata())


def _runs(figure: Figure, lead: str) -> LineCollection:
    return next(c for c in figure.axes[0].collections if c.get_gid() == f"lead-{lead}")


@pytest.mark.parametrize("dpi", [100.0, 150.0, 254.0])
@pytest.mark.parametrize("layout", ["3x4", "12x1"])
def test_one_millivolt_is_ten_millimetres_and_one_second_twentyfive(
    dpi: float, layout: str
) -> None:
    figure = draw_ecg(_steps(), RATE_HZ, layout=layout, dpi=dpi)  # type: ignore[arg-type]
    FigureCanvasAgg(figure).draw()
    points = _trace(figure, "I")
    mm = dpi / 25.4
    assert np.ptp(points[:, 1]) == pytest.approx(10 * mm, rel=1e-6)
    seconds = (len(points) - 1) / RATE_HZ
    assert np.ptp(points[:, 0]) == pytest.approx(25 * mm * seconds, rel=1e-6)


def test_the_picture_itself_has_the_size_that_the_scale_says() -> None:
    figure = draw_ecg(_steps(), RATE_HZ, layout="12x1", dpi=254.0)
    raw = io.BytesIO()
    figure.savefig(raw, format="rgba")
    width, height = figure.canvas.get_width_height()
    pixels = np.frombuffer(raw.getvalue(), np.uint8).reshape(height, width, 4)[..., :3]
    dark = pixels.max(axis=2) < 80
    # The calibration pulse: its upper edge is 5 mm wide, 10 pixels per mm at this resolution.
    left = dark[:, : int(13.5 * 10)]
    runs = [int(row.sum()) for row in left if row.sum() > 30]
    assert max(runs) == pytest.approx(50, abs=6)
    columns = left.sum(axis=0)
    assert columns.max() >= 12 * 98  # twelve pulses, each 10 mm high


def test_the_grid_has_a_line_each_millimetre() -> None:
    figure = draw_ecg(_steps(), RATE_HZ)
    fine, bold = (patch.get_path().vertices for patch in figure.axes[0].patches[:2])
    for lines, step in ((fine, 1.0), (bold, 5.0)):
        upright = np.unique(lines[::2][lines[::2, 0] == lines[1::2, 0], 0])
        assert np.allclose(np.diff(upright), step)


def test_red_speaks_for_the_class_and_blue_against_it() -> None:
    signal, relevance = _steps(), _steps() * 0
    relevance.loc[{"lead": "V1"}] = 1.0
    relevance.loc[{"lead": "V6"}] = -1.0
    figure = draw_ecg(signal, RATE_HZ, relevance=relevance)
    for lead, strong, weak in (("V1", 0, 2), ("V6", 2, 0)):
        colours = _runs(figure, lead).get_colors()
        assert (colours[:, strong] > colours[:, weak] + 0.3).all()
    neutral = _runs(figure, "I").get_colors()[:, :3]
    assert np.ptp(neutral, axis=1).max() < 0.05


def test_colours_follow_the_lead_by_name_whatever_the_order() -> None:
    signal, relevance = _steps(), _steps() * 0
    relevance.loc[{"lead": "aVL"}] = 1.0
    shuffled = relevance.sel(lead=list(reversed(LEADS)))
    expected = _runs(draw_ecg(signal, RATE_HZ, relevance=relevance), "aVL").get_colors()
    drawn = _runs(draw_ecg(signal, RATE_HZ, relevance=shuffled), "aVL").get_colors()
    assert np.array_equal(drawn, expected)
    assert expected[0, 0] > 0.5


def test_colour_changes_where_relevance_does() -> None:
    signal, relevance = _steps(), _steps() * 0
    relevance.loc[{"lead": "II"}] = np.where(np.arange(5000) < 2500, 1.0, -1.0)
    runs = _runs(draw_ecg(signal, RATE_HZ, relevance=relevance, layout="12x1"), "II")
    paths = zip(runs.get_paths(), runs.get_colors(), strict=True)
    ends = {tuple(colour): path.vertices[:, 0] for path, colour in paths}
    red = next(x for c, x in ends.items() if c[0] > c[2] + 0.3)
    blue = next(x for c, x in ends.items() if c[2] > c[0] + 0.3)
    middle = 15 + 5 * 25
    assert np.nanmax(red) <= middle + 0.1
    assert np.nanmin(blue) >= middle - 0.1


def test_a_missing_lead_is_said_to_be_missing() -> None:
    signal = _steps()
    signal.loc[{"lead": "V3"}] = np.nan
    for given in (signal, signal.drop_sel(lead="V3")):
        texts = [text.get_text() for text in draw_ecg(given, RATE_HZ).axes[0].texts]
        assert texts.count("missing") == 1
        assert set(LEADS) <= set(texts)


def test_the_scale_is_written_on_the_paper() -> None:
    texts = [text.get_text() for text in draw_ecg(_steps(), RATE_HZ).axes[0].texts]
    assert "25 mm/s · 10 mm/mV" in texts


def test_an_electrode_offset_does_not_move_a_lead_out_of_its_row() -> None:
    plain, offset = _steps(), _steps()
    offset.loc[{"lead": "I"}] += 20.0
    a, b = (_trace(draw_ecg(s, RATE_HZ), "I") for s in (plain, offset))
    assert np.allclose(a, b, atol=0.01)


def test_a_title_with_a_formula_in_it_is_drawn_as_it_is() -> None:
    figure = draw_ecg(_steps(), RATE_HZ, title=r"$\frac{$ <script>")
    FigureCanvasAgg(figure).draw()


def test_relevance_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="4000 samples"):
        draw_ecg(_steps(), RATE_HZ, relevance=_steps().isel(sample=slice(0, 4000)))


def test_a_real_recording_fits_its_paper(one_recording: Recording) -> None:
    for layout in ("3x4", "12x1"):
        figure = draw_ecg(one_recording.signal_mv, one_recording.rate_hz, layout=layout)  # type: ignore[arg-type]
        axes = figure.axes[0]
        bottom, top = axes.get_ylim()
        for line in axes.get_lines():
            y = line.get_ydata()
            assert np.nanmin(y) > bottom
            assert np.nanmax(y) < top


def test_a_short_and_a_long_recording_are_drawn_on_the_same_paper(
    one_recording: Recording,
) -> None:
    whole = one_recording.signal_mv
    short, long = whole.isel(sample=slice(0, 3100)), xr.concat([whole, whole], dim="sample")
    sizes = {
        round(draw_ecg(signal, one_recording.rate_hz).get_size_inches()[0], 6)
        for signal in (whole, short, long)
    }
    assert len(sizes) == 1
