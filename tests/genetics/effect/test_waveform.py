import numpy as np
import pytest
from scipy import stats

from leadlight.genetics.effect.waveform import bands, posterior_mean

SHAPE = (12, 60)


def _paths(rng: np.random.Generator, directions: int = 15) -> np.ndarray:
    smooth = np.exp(-0.5 * ((np.arange(60)[:, None] - np.arange(0, 60, 4)) / 3) ** 2)
    return rng.standard_normal((directions, 12, 15)) @ smooth.T


def test_the_whole_beat_band_holds_everything_at_once_at_its_rate() -> None:
    rng = np.random.default_rng(0)
    paths = _paths(rng)
    found = bands(np.zeros(SHAPE), paths, np.ones(60, dtype=bool), 1e9)
    drawn = np.einsum("nk,klt->nlt", rng.standard_normal((1500, len(paths))), paths)
    inside = (np.abs(drawn) <= found.critical_everywhere * found.error_mv).all(axis=(1, 2))
    low, high = stats.binom.interval(0.999, 1500, 0.95)
    assert low - 15 <= inside.sum() <= high + 15


def test_the_pointwise_band_holds_each_sample_at_its_rate() -> None:
    rng = np.random.default_rng(1)
    paths = _paths(rng)
    found = bands(np.zeros(SHAPE), paths, np.ones(60, dtype=bool), 1e9)
    drawn = np.einsum("nk,klt->nlt", rng.standard_normal((1500, len(paths))), paths)
    share = (np.abs(drawn) <= found.critical * found.error_mv).mean()
    assert share == pytest.approx(0.95, abs=0.01)


def test_few_degrees_of_freedom_widen_both_bands() -> None:
    paths = _paths(np.random.default_rng(2))
    many, few = (bands(np.zeros(SHAPE), paths, np.ones(60, dtype=bool), k) for k in (1e9, 8))
    assert few.critical > 1.15 * many.critical
    assert few.critical_everywhere > 1.15 * many.critical_everywhere


def test_reliability_foretells_the_correlation_with_the_truth() -> None:
    rng = np.random.default_rng(3)
    paths = _paths(rng)
    truth = np.einsum("k,klt->lt", 2.0 * rng.standard_normal(15), paths)
    stated, real = [], []
    for _ in range(200):
        seen = truth + np.einsum("k,klt->lt", rng.standard_normal(15), paths)
        stated.append(np.sqrt(bands(seen, paths, np.ones(60, dtype=bool), 1e9).reliability))
        real.append((seen * truth).sum() / np.linalg.norm(seen) / np.linalg.norm(truth))
    assert np.mean(stated) == pytest.approx(np.mean(real), abs=0.03)


def test_shrinkage_takes_noise_to_nothing_and_leaves_what_is_plain() -> None:
    rng = np.random.default_rng(4)
    noise = rng.standard_normal(100)
    assert np.abs(posterior_mean(noise)).max() < 0.8
    z = noise.copy()
    z[:6] += 12
    shrunk = posterior_mean(z)
    assert shrunk[:6] == pytest.approx(z[:6], rel=0.12)
    truth = np.r_[np.full(6, 12.0), np.zeros(94)]
    assert ((shrunk - truth) ** 2).sum() < 0.35 * ((z - truth) ** 2).sum()


def test_shrinkage_never_turns_or_enlarges_an_effect() -> None:
    z = np.random.default_rng(5).standard_normal(60) * 3
    shrunk = posterior_mean(z)
    assert (np.sign(shrunk) == np.sign(z)).all()
    assert (np.abs(shrunk) <= np.abs(z)).all()
