"""Figures of a phenome scan: labels apart, everything drawn, nothing lost on odd results."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from leadlight.errors import LeadlightError
from leadlight.report.figures import blank_figure
from leadlight.report.label_places import place_labels
from leadlight.report.phewas_figures import (
    draw_forest,
    draw_outcomes,
    draw_volcano,
    write_phewas_figures,
)


def _results(direction="predicts", outcomes=60, exposures=8, top=40.0, seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for o in range(outcomes):
        quantity = o % 10 == 0
        for e in range(exposures):
            p = float(rng.exponential(0.43))
            if rng.random() < 0.06:
                p = float(rng.uniform(6, top))
            beta = float(rng.choice([-1, 1]) * (0.02 + 0.04 * np.sqrt(p)))
            rows.append(
                {
                    "direction": direction,
                    "exposure": f"factor_{e:02d}",
                    "exposure_label": f"factor_{e:02d}",
                    "exposure_kind": "factor" if e else "locus",
                    "outcome": f"{400 + o}.1",
                    "description": f"Disease number {o} of $ome organ, unspecified",
                    "category": f"category {o // 8}",
                    "model": "linear" if quantity else "logistic",
                    "beta": beta,
                    "low": beta - 0.05,
                    "high": beta + 0.05,
                    "neg_log_10_p_value": p,
                    "n": 4000,
                    "n_cases": None if quantity else 300,
                    "per": "SD" if e else "allele",
                    "unit": "SD of the outcome" if quantity else "log odds",
                }
            )
    return pl.DataFrame(rows, infer_schema_length=None)


def _texts(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    return [
        (text, text.get_window_extent(renderer))
        for axes in figure.axes
        for text in axes.texts
        if text.get_text()
    ]


@pytest.mark.parametrize("draw", [draw_volcano, draw_outcomes, draw_forest])
def test_no_two_labels_lie_on_each_other_and_none_leaves_the_page(draw):
    figure, _ = draw(_results())
    boxes = _texts(figure)
    assert len(boxes) > 20
    width, height = figure.canvas.get_width_height()
    for text, box in boxes:
        assert box.x0 >= 0, text.get_text()
        assert box.x1 <= width, text.get_text()
        assert box.y0 >= 0
        assert box.y1 <= height
    for at, (first, a) in enumerate(boxes):
        for second, b in boxes[at + 1 :]:
            assert not a.overlaps(b), (first.get_text(), second.get_text())


def test_every_test_is_drawn_and_what_passes_bonferroni_is_coloured():
    results = _results()
    line = np.log10(results.height / 0.05)
    passing = (results["neg_log_10_p_value"] >= line).sum()
    for draw in (draw_volcano, draw_outcomes):
        figure, rows = draw(results)
        assert rows.height == results.height
        colours = [
            tuple(np.round(colour, 3))
            for axes in figure.axes
            for marks in axes.collections
            if len(marks.get_offsets()) > 1 or len(marks.get_facecolors()) == 1
            for colour in np.resize(marks.get_facecolors(), (len(marks.get_offsets()), 4))
        ]
        loud = [c for c in colours if max(c[:3]) - min(c[:3]) > 0.3]
        assert len(loud) == passing


def test_the_forest_tells_odds_ratios_and_counts():
    results = _results().with_columns(
        beta=pl.lit(float(np.log(2))), low=pl.lit(float(np.log(1.5))), high=pl.lit(float(np.log(3)))
    )
    figure, rows = draw_forest(results, rows=10)
    said = [text.get_text() for text, _ in _texts(figure)]
    logistic = rows.filter(pl.col("unit") == "log odds").height
    assert said.count("odds ratio 2.00 (1.50 to 3.00), 300 of 4,000") == logistic
    assert said.count("0.69 SD (0.41 to 1.10), n 4,000") == 10 - logistic


@pytest.mark.parametrize("case", ["one test", "nothing passes", "beyond all numbers"])
def test_odd_results_are_drawn_too(tmp_path: Path, case):
    results = _results(outcomes=3, exposures=2)
    if case == "one test":
        results = results.head(1)
    elif case == "nothing passes":
        results = results.with_columns(neg_log_10_p_value=pl.lit(0.4))
    else:
        results = results.with_columns(neg_log_10_p_value=pl.lit(2900.0))
    results.write_parquet(tmp_path / "phewas.parquet")
    written = write_phewas_figures(tmp_path)
    assert [one.png.stem for one in written] == [
        "predicts_volcano", "predicts_forest", "predicts_manhattan",
    ]  # fmt: skip
    assert all(one.png.stat().st_size > 2000 for one in written)


def test_a_folder_without_results_is_said_to_be_one(tmp_path):
    with pytest.raises(LeadlightError, match="Run leadlight phewas first"):
        write_phewas_figures(tmp_path)


def test_labels_without_room_are_left_out_rather_than_laid_on_others():
    figure = blank_figure(2, 2)
    axes = figure.subplots()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    points = [(0.5, 0.5)] * 80
    placed = place_labels(axes, points, [f"label {k}" for k in range(80)])
    assert 3 < len(placed) < 80
