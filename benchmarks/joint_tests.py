"""Joint tests over factors: their null levels, and what they find beside the best single factor.

    python benchmarks/joint_tests.py --factors 20 --variants 20000

Statistics are drawn from N(effect, R), as those of many people are, for two correlations of the
factors: kept latent factors (|r| about 0.1) and conventional traits that share two directions. The
patterns of effects: one factor; five, opposite in sign; all, at random; along the direction that
the factors share most. Effects are sized so that zᵀR⁻¹z has the same expectation in all patterns,
where they are compared at all. The best single factor is judged at 5e-8 over the number of factors
(Bonferroni), the joint tests at 5e-8: equal false positives. Intervals are binomial, 95 %.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from scipy.stats import binom

from leadlight.atomic import write_json
from leadlight.genetics.joint_tests import joint_null, joint_tests
from leadlight.genetics.log_tails import LN10, log_two_sided

TESTS = ("omnibus", "least_p", "least_p_effective", "variance_component", "adaptive")
LEVELS = (0.05, 1e-3, 1e-4)
GENOME_WIDE = 5e-8


def correlations(count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    found = {}
    for name, strength in (("latent factors", 0.3), ("shared directions", 1.0)):
        loadings = strength * rng.standard_normal((count, 2))
        covariance = loadings @ loadings.T + np.eye(count)
        scale = np.sqrt(np.diag(covariance))
        found[name] = covariance / scale / scale[:, None]
    return found


def effects(
    pattern: str, correlation: np.ndarray, variants: int, rng: np.random.Generator
) -> np.ndarray:
    """(variant, factor) directions of the effects."""
    count = len(correlation)
    out = np.zeros((variants, count))
    if pattern == "one factor":
        out[np.arange(variants), rng.integers(count, size=variants)] = 1
    elif pattern == "five, opposite signs":
        for row in out:
            chosen = rng.choice(count, min(5, count), replace=False)
            row[chosen] = np.array([1, -1, 1, -1, 1])[: len(chosen)]
    elif pattern == "all factors":
        out = rng.standard_normal((variants, count))
    elif pattern == "shared direction":
        out[:] = np.linalg.eigh(correlation)[1][:, -1]
    return out


def share(hits: np.ndarray) -> tuple[float, float, float]:
    low, high = binom.interval(0.95, hits.size, hits.mean()) if hits.any() else (0, 0)
    return float(hits.mean()), float(low / hits.size), float(high / hits.size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--factors", type=int, default=20)
    parser.add_argument("--variants", type=int, default=20_000)
    parser.add_argument("--nulls", type=int, default=1_000_000)
    parser.add_argument("--size", type=float, default=55.0, help="of zᵀR⁻¹z beyond its null mean")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    rng = np.random.default_rng(asked.seed)
    found: dict[str, object] = {}
    for name, correlation in correlations(asked.factors, rng).items():
        started = time.process_time()
        null = joint_null(correlation)
        prepared = time.process_time() - started
        root = np.linalg.cholesky(correlation)
        counts = {test: np.zeros(len(LEVELS)) for test in TESTS}
        started, done = time.process_time(), 0
        while done < asked.nulls:
            z = rng.standard_normal((min(100_000, asked.nulls - done), asked.factors)) @ root.T
            results = joint_tests(z, null)
            for test in TESTS:
                p = getattr(results, test)
                counts[test] += [(p > -np.log10(level)).sum() for level in LEVELS]
            done += len(z)
        rate = asked.nulls / (time.process_time() - started)
        print(
            f"\n{name}: largest |r| {np.abs(correlation - np.eye(asked.factors)).max():.2f}, ",
            end="",
        )
        print(
            f"effective tests {null.effective_tests:.1f}; prepared in {prepared:.1f} s CPU, ",
            end="",
        )
        print(f"{rate:,.0f} variants/s (with the draws)")
        print(f"{'null level / nominal':24s}" + "".join(f"{level:>22g}" for level in LEVELS))
        for test in TESTS:
            cells = []
            for level, seen in zip(LEVELS, counts[test], strict=True):
                half = 1.96 * np.sqrt(level * (1 - level) / asked.nulls) / level
                cells.append(f"{seen / asked.nulls / level:.3f} (1 ± {half:.3f})")
            print(f"{test:24s}" + "".join(f"{cell:>22s}" for cell in cells))
        powers: dict[str, dict[str, tuple[float, float, float]]] = {}
        for pattern in ("one factor", "five, opposite signs", "all factors", "shared direction"):
            effect = effects(pattern, correlation, asked.variants, rng)
            length = np.einsum("vi,ij,vj->v", effect, np.linalg.inv(correlation), effect)
            effect *= np.sqrt(asked.size / length)[:, None]
            z = effect + rng.standard_normal(effect.shape) @ root.T
            results = joint_tests(z, null)
            best = (-log_two_sided(z) / LN10).max(axis=1)
            powers[pattern] = {
                "best single factor": share(best > -np.log10(GENOME_WIDE / asked.factors)),
                **{
                    test: share(getattr(results, test) > -np.log10(GENOME_WIDE))
                    for test in TESTS
                    if test != "least_p_effective"
                },
            }
        columns = list(powers["one factor"])
        print(f"{'found at 5e-8':24s}" + "".join(f"{column:>22s}" for column in columns))
        for pattern, row in powers.items():
            cells = [f"{mean:.3f} ({low:.3f}–{high:.3f})" for mean, low, high in row.values()]
            print(f"{pattern:24s}" + "".join(f"{cell:>22s}" for cell in cells))
        found[name] = {
            "null": {test: (counts[test] / asked.nulls).tolist() for test in TESTS},
            "power": powers,
            "variants_per_cpu_s": rate,
        }
    if asked.out:
        write_json(asked.out, found)


if __name__ == "__main__":
    main()
