from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from matplotlib import _pylab_helpers
from matplotlib.figure import Figure
from PIL import Image

from leadlight.ecg.leads import LEADS
from leadlight.report.beat_figures import draw_beats, draw_lead_beats
from leadlight.report.colours import RELEVANCE_MAP, symmetric_limit
from leadlight.report.figures import draw_distributions, draw_identity, write_figure
from leadlight.report.lead_figures import draw_leads

Drawn = tuple[Figure, pl.DataFrame]
DRAWINGS: dict[str, Callable[[dict[str, pl.DataFrame]], Drawn]] = {
    "identity": lambda t: draw_identity(t["records"], "AF"),
    "distributions": lambda t: draw_distributions(t["records"], "AF"),
    "leads-share": lambda t: draw_leads(t["leads"], "AF", "absolute_share"),
    "leads-mean": lambda t: draw_leads(t["leads"], "LBBB", "mean_relevance"),
    "beats": lambda t: draw_beats(t["beats"], "AF", "trained"),
    "lead-beats": lambda t: draw_lead_beats(t["beats"], "LBBB", "aVL"),
}


@pytest.fixture(scope="session")
def tables(whole_study: Path) -> dict[str, pl.DataFrame]:
    return {
        name: pl.read_parquet(whole_study / "findings" / f"{name}.parquet")
        for name in ("records", "leads", "beats")
    }


@pytest.mark.parametrize("name", DRAWINGS)
def test_each_figure_lies_beside_the_numbers_that_it_draws(
    name: str, tables: dict[str, pl.DataFrame], tmp_path: Path
) -> None:
    figure, data = DRAWINGS[name](tables)
    written = write_figure(figure, data, tmp_path, name)
    with Image.open(written.png) as picture:
        assert picture.width >= 1200
        assert len(picture.convert("L").getcolors()) > 8  # type: ignore[arg-type]
    read = pl.read_csv(written.csv)
    assert read.height == data.height > 0
    assert set(read.columns) == set(data.columns)


@pytest.mark.parametrize("name", DRAWINGS)
def test_no_global_state_of_pyplot_is_touched(name: str, tables: dict[str, pl.DataFrame]) -> None:
    DRAWINGS[name](tables)
    assert not _pylab_helpers.Gcf.get_all_fig_managers()


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_class_without_rows_gives_an_empty_figure_and_no_error(
    name: str, tables: dict[str, pl.DataFrame], tmp_path: Path
) -> None:
    empty = {key: table.clear() for key, table in tables.items()}
    figure, data = DRAWINGS[name](empty)
    assert data.height == 0
    write_figure(figure, data, tmp_path, name)


def test_every_record_lies_on_the_line_of_the_identity(tables: dict[str, pl.DataFrame]) -> None:
    figure, data = draw_identity(tables["records"], "AF")
    (line,) = [x for x in figure.axes[0].get_lines() if "identity" in str(x.get_label())]
    trained = data.filter(pl.col("model") == "trained").sort("probability")
    on_line = np.interp(trained["probability"], line.get_xdata(), line.get_ydata())  # type: ignore[arg-type]
    spread = np.ptp(trained["mean_relevance"].to_numpy())
    assert np.allclose(on_line, trained["mean_relevance"], atol=0.01 * spread)


def test_the_lead_figure_places_each_mean_in_the_row_of_its_lead(
    tables: dict[str, pl.DataFrame],
) -> None:
    figure, data = draw_leads(tables["leads"], "AF", "absolute_share")
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == list(LEADS)
    v1 = data.filter((pl.col("lead") == "V1") & (pl.col("model") == "trained"))["mean_case"][0]
    dots = {
        round(float(line.get_ydata()[0]) + 0.14): float(line.get_xdata()[0])
        for line in figure.axes[0].get_lines()
        if line.get_marker() == "o"
    }
    assert dots[LEADS.index("V1")] == pytest.approx(100 * v1)


def test_colours_end_at_the_stated_percentile() -> None:
    values = np.arange(-1000, 1001)
    assert symmetric_limit(values, 99.0) == pytest.approx(990, abs=1)
    assert symmetric_limit(np.zeros(5)) == 1.0
    assert symmetric_limit(np.array([np.nan, -2.0, 0.0])) == pytest.approx(2.0, rel=0.02)


def test_the_neutral_colour_can_be_read_on_white_paper() -> None:
    def luminance(colour: tuple[float, ...]) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    for place in np.linspace(0, 1, 33):
        contrast = 1.05 / (luminance(RELEVANCE_MAP(place)) + 0.05)
        assert contrast > 2.5
