from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from leadlight.errors import LeadlightError
from leadlight.genetics.inflation import genomic_inflation
from leadlight.report.manhattan import GENOME_WIDE, SUGGESTIVE, Points, manhattan, thinned
from leadlight.report.qq import drawn_ranks, expected_and_band, qq


def write(path: Path, seed: int, variants: int = 30_000, scale: float = 1.0) -> Path:
    """Null tests on 22 chromosomes and X, with three peaks."""
    rng = np.random.default_rng(seed)
    per = variants // 23
    length = np.array([*np.linspace(249, 51, 22), 155]) * 1e6
    position = np.concatenate([np.sort(rng.uniform(1, end, per)) for end in length])
    y = -np.log10(stats.chi2.sf(scale * rng.chisquare(1, 23 * per), 1))
    for chromosome, height in ((2, 30), (seed % 20, 12), (22, 8.2)):
        peak = chromosome * per + rng.integers(50, per - 50)
        y[peak - 15 : peak + 15] += height * np.exp(-(np.arange(-15, 15) ** 2) / 30)
    names = np.repeat([*map(str, range(1, 23)), "X"], per)
    pq.write_table(
        pa.table(
            {
                "chromosome": pa.array(names).dictionary_encode(),
                "base_pair_location": position.astype(np.int64),
                "neg_log_10_p_value": y.astype(np.float32),
            }
        ),
        path,
    )
    return path


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, Path]:
    return {f"factor_{k:02d}": write(tmp_path / f"{k}.parquet", k) for k in range(1, 7)}


def test_thinning_keeps_every_hit_and_few_of_the_rest() -> None:
    rng = np.random.default_rng(0)
    y = rng.exponential(0.43, 500_000)
    y[:300] = rng.uniform(SUGGESTIVE, 40, 300)
    x = rng.uniform(0, 1, len(y))
    points = Points(x, y, np.full(len(y), "1"))
    drawn = thinned(points, 1.0, 40.0)
    assert set(np.flatnonzero(y >= SUGGESTIVE)) <= set(drawn)
    assert len(drawn) < 60_000
    # What is left out lies in a pixel that is drawn.
    cells = {(int(a * 1600), int(b * 6)) for a, b in zip(x[drawn], y[drawn], strict=True)}
    assert {(int(a * 1600), int(b * 6)) for a, b in zip(x, y, strict=True)} == cells


def test_the_manhattan_plot_draws_every_hit_of_every_trait(
    tables: dict[str, Path], tmp_path: Path
) -> None:
    figure = manhattan(tables)
    upper, lower = figure.axes
    hits = 0
    for path in tables.values():
        hits += int((pq.read_table(path)["neg_log_10_p_value"].to_numpy() >= GENOME_WIDE).sum())
    assert hits > 50
    assert sum(len(c.get_offsets()) for c in lower.collections) == hits
    high = [c.get_offsets()[:, 1] for c in upper.collections if len(c.get_offsets())]
    assert (np.concatenate(high) >= GENOME_WIDE).sum() == hits
    assert [label.get_text() for label in lower.get_yticklabels()] == list(tables)
    shown = [label.get_text() for label in lower.get_xticklabels() if label.get_text()]
    assert {"1", "2", "X"} <= set(shown)
    figure.savefig(tmp_path / "manhattan.png")
    assert (tmp_path / "manhattan.png").stat().st_size > 20_000


def test_qq_shows_each_traits_lambda(tables: dict[str, Path], tmp_path: Path) -> None:
    tables["inflated"] = write(tmp_path / "i.parquet", 9, scale=1.3)
    figure = qq(tables)
    said = {axes.get_title(loc="left"): [t.get_text() for t in axes.texts] for axes in figure.axes}
    said = {trait: text for trait, text in said.items() if text}
    assert len(said) == 7
    assert float(said["inflated"][0].split()[1]) == pytest.approx(1.3, abs=0.06)
    assert float(said["factor_01"][0].split()[1]) == pytest.approx(1.0, abs=0.05)
    figure.savefig(tmp_path / "qq.png")


def test_the_band_holds_uniform_p_values() -> None:
    rng = np.random.default_rng(1)
    n = 2_000
    ranks = drawn_ranks(n)
    assert ranks[0] == 1
    assert ranks[-1] == n
    _, low, high, _ = expected_and_band(n, ranks)
    observed = -np.log10(np.sort(rng.uniform(size=(400, n)), axis=1)[:, ranks - 1])
    inside = ((observed >= low) & (observed <= high)).mean()
    assert inside == pytest.approx(0.95, abs=0.01)


def test_the_interval_of_lambda_covers_the_truth_under_linkage() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(60):
        z = np.repeat(rng.standard_normal(2_000), 5)
        found = genomic_inflation(-np.log10(stats.chi2.sf(z**2, 1)))
        covered += found.low <= 1 <= found.high
        assert found.n == 10_000
    assert covered >= 51  # 57 expected; fewer than 51 has p < 0.01


def test_nothing_to_draw_is_said(tmp_path: Path) -> None:
    for draw in (manhattan, qq):
        with pytest.raises(LeadlightError, match="No trait"):
            draw({})
    with pytest.raises(LeadlightError, match="no meaning"):
        genomic_inflation([1.0, 0.3])
