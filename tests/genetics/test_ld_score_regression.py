"""LD score regression: exact on exact data, as a plain twin has it, as precise as it says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadlight.errors import LeadlightError
from leadlight.genetics.heritability_warnings import heritability_warnings
from leadlight.genetics.ld_score_regression import (
    genetic_correlation,
    heritability,
    jackknife_blocks,
)

M = 4000
BLOCKS = np.arange(M) * 50 // M


@pytest.fixture(scope="module")
def scores():
    return np.random.default_rng(0).gamma(2, 15, M) + 1


@settings(max_examples=20, deadline=None)
@given(st.floats(0.05, 0.9), st.floats(0.9, 1.3))
def test_data_on_the_line_give_the_line(h2, intercept):
    scores = np.random.default_rng(0).gamma(2, 15, M) + 1
    n = np.full(M, 20_000.0)
    chi = intercept + n * h2 * scores / 120_000
    found = heritability(chi, n, scores, 120_000, BLOCKS)
    assert found.h2 == pytest.approx(h2, rel=1e-9)
    assert found.intercept == pytest.approx(intercept, rel=1e-9)
    assert found.h2_se < 1e-9
    fixed = heritability(chi, n, scores, 120_000, BLOCKS, intercept=intercept)
    assert fixed.h2 == pytest.approx(h2, rel=1e-9)
    assert fixed.intercept_se == 0


def slow(chi, n, scores, m, blocks):
    """Two steps by plain weighted least squares, every jackknife sample fitted anew."""
    x, linked = n * scores / m, 1 / np.maximum(scores, 1)

    def weights(slope, level, keep):
        return (linked / (2 * (level + np.clip(slope, 0, 1) * x) ** 2))[keep]

    def line(keep, w, level=None):
        root = np.sqrt(w)
        if level is not None:
            return np.linalg.lstsq(
                (root * x[keep])[:, None], root * (chi[keep] - level), rcond=None
            )[0][0]
        design = np.column_stack([x[keep], np.ones(keep.sum())])
        return np.linalg.lstsq(design * root[:, None], root * chi[keep], rcond=None)[0]

    small, every = chi < 30, np.ones(len(chi), bool)
    start = (chi.mean() - 1) / x.mean()
    w1 = weights(start, 1.0, small)
    for _ in range(2):
        slope, level = line(small, w1)
        w1 = weights(slope, level, small)
    level = line(small, w1)[1]
    w2 = weights(start, level, every)
    for _ in range(2):
        slope = line(every, w2, level)
        w2 = weights(slope, level, every)
    slope = line(every, w2, level)
    deleted = []
    for block in range(blocks.max() + 1):
        out = blocks != block
        own = line(small & out, w1[out[small]])[1]
        deleted.append(line(out, w2[out], own))
    deleted = np.array(deleted)
    count = len(deleted)
    return slope, level, np.sqrt((count - 1) / count * ((deleted - deleted.mean()) ** 2).sum())


def test_it_is_two_steps_of_least_squares_with_a_jackknife(scores):
    rng = np.random.default_rng(3)
    n = rng.uniform(15_000, 20_000, M)
    chi = (1.05 + n * 0.3 * scores / 120_000) * rng.chisquare(1, M)
    found = heritability(chi, n, scores, 120_000, BLOCKS)
    h2, intercept, error = slow(chi, n, scores, 120_000, BLOCKS)
    assert (chi > 30).any()
    assert found.h2 == pytest.approx(h2, rel=1e-8)
    assert found.intercept == pytest.approx(intercept, rel=1e-8)
    assert found.h2_se == pytest.approx(error, rel=1e-8)


def test_intervals_hold_what_they_promise(scores):
    rng = np.random.default_rng(5)
    n = np.full(M, 20_000.0)
    inside, correlations = 0, []
    for _ in range(60):
        shared = rng.standard_normal((2, M))
        size = np.sqrt(n * 0.4 * scores / 120_000)
        second = 0.6 * shared[0] + 0.8 * shared[1]
        noise = rng.standard_normal((2, M))
        z = size * shared[0] + noise[0], size * second + 0.3 * noise[0] + np.sqrt(0.91) * noise[1]
        found = heritability(z[0] ** 2, n, scores, 120_000, BLOCKS)
        inside += abs(found.h2 - 0.4) < 2 * found.h2_se
        both = genetic_correlation(z, (n, n), scores, 120_000, BLOCKS)
        correlations.append((both.correlation, both.correlation_se, both.intercept))
    assert inside >= 52  # P(fewer | 95.4 %) is below 0.001
    correlation, error, intercept = np.array(correlations).T
    assert correlation.mean() == pytest.approx(0.6, abs=0.02)
    assert (np.abs(correlation - 0.6) < 2 * error).sum() >= 52
    assert intercept.mean() == pytest.approx(0.3, abs=0.05)


def test_a_trait_correlates_fully_with_itself_and_minus_with_its_opposite(scores):
    rng = np.random.default_rng(6)
    n = np.full(M, 20_000.0)
    z = np.sqrt(1 + n * 0.4 * scores / 120_000) * rng.standard_normal(M)
    for sign in (1, -1):
        found = genetic_correlation((z, sign * z), (n, n), scores, 120_000, BLOCKS)
        assert found.correlation == pytest.approx(sign, abs=0.05)


def test_no_signal_is_said_in_words(scores):
    rng = np.random.default_rng(7)
    n = np.full(M, 900.0)
    found = heritability(rng.chisquare(1, M), n, scores, 120_000, BLOCKS)
    said = " ".join(heritability_warnings(found, 900, 12, (found.h2 + 5 * found.h2_se, 1e-6)))
    for words in ("12 variants", "fewer than 200,000", "900 people", "standard errors from 0",
                  "hardly any polygenic signal", "the two disagree"):  # fmt: skip
        assert words in said
    none = heritability(np.full(M, 0.9), n, scores, 120_000, BLOCKS, intercept=1.0)
    assert any("negative" in one for one in heritability_warnings(none, 900, 0))


def test_structure_is_seen_in_the_intercept(scores):
    rng = np.random.default_rng(8)
    n = np.full(M, 20_000.0)
    chi = (1.5 + n * 0.2 * scores / 120_000) * rng.chisquare(1, M)
    found = heritability(chi, n, scores, 120_000, BLOCKS)
    assert found.intercept == pytest.approx(1.5, abs=4 * found.intercept_se)
    assert any("not polygenic" in one for one in heritability_warnings(found, 20_000, 0))


def test_blocks_are_contiguous_and_no_shorter_than_a_megabase():
    chromosome = np.repeat(np.array(["1", "2"], dtype=object), 5000)
    position = np.tile(np.arange(5000) * 1000, 2)  # 5 Mb each
    blocks = jackknife_blocks(chromosome, position)
    assert blocks.max() + 1 == 9
    assert (np.diff(blocks) >= 0).all()
    assert jackknife_blocks(chromosome, position * 1000).max() + 1 == 200


def test_too_few_variants_are_refused(scores):
    with pytest.raises(LeadlightError, match="100 variants have"):
        heritability(np.ones(100), np.ones(100), scores[:100], M, BLOCKS[:100])
