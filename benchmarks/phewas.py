"""Type I error of every test of the phenome scan, on exposures that do nothing.

    python benchmarks/phewas.py --nulls 100000 --out phewas.json

Each test is run on many null exposures of many outcomes, with covariates that do act: shares below
p = 0.05 and 1e-4 beside the interval in which 95 % of such shares fall by chance (binomial).
Exposures are of three kinds: normal, skewed (lognormal), and counts of an allele of 5 %. --only
runs some of the tests and joins what it finds to the file.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.stats import binom

from leadlight.atomic import write_json
from leadlight.genetics.designs import rank_normal
from leadlight.genetics.phewas_models import (
    Fits,
    fit_cox_scan,
    fit_linear,
    fit_logistic_scan,
    fit_welch,
)

LEVELS = (0.05, 1e-4)
# Tests of one outcome are not independent of each other where exposures are skewed.
PER_OUTCOME = 40
KINDS = ("normal", "skewed", "allele")
Rng = np.random.Generator
Array = np.ndarray


def exposures(kind: str, n: int, count: int, rng: Rng) -> Array:
    """(person, exposure)."""
    if kind == "normal":
        return rng.standard_normal((n, count))
    if kind == "skewed":
        return np.exp(rng.standard_normal((n, count)))
    return rng.binomial(2, 0.05, (n, count)).astype(float)


def covariates(n: int, rng: Rng) -> Array:
    """(person, 3): age, sex and a component, each of which acts."""
    return np.column_stack(
        [rng.standard_normal(n), rng.integers(1, 3, n), rng.standard_normal(n)]
    ).astype(float)


def linear(kind: str, count: int, rng: Rng) -> Fits:
    """200 people, normal outcome."""
    c = covariates(200, rng)
    y = c @ [0.5, 0.3, 0.2] + rng.standard_normal(200)
    return fit_linear(exposures(kind, 200, count, rng), y[:, None], c)[0]


def logistic(kind: str, count: int, rng: Rng) -> Fits:
    """500 people, 200 cases: where Firth's likelihood hands over to the plain one."""
    c = covariates(500, rng)
    cases = most(c @ [0.6, 0.4, 0.3] + rng.logistic(size=500), 200)
    return fit_logistic_scan(exposures(kind, 500, count, rng), cases, c, copies=copies(kind, count))


def firth(kind: str, count: int, rng: Rng) -> Fits:
    """300 people, 50 cases: the fewest that are tested by default."""
    c = covariates(300, rng)
    cases = most(c @ [0.6, 0.4, 0.3] + rng.logistic(size=300), 50)
    return fit_logistic_scan(exposures(kind, 300, count, rng), cases, c, copies=copies(kind, count))


def cox(kind: str, count: int, rng: Rng) -> Fits:
    """400 people, some 40 to 130 events, late entry, times in whole units."""
    n = 400
    c = covariates(n, rng)
    entry = rng.integers(0, 5, n).astype(float)
    happens = rng.exponential(rng.uniform(20, 60) / np.exp(c @ [0.4, 0.2, 0.1]))
    followed = rng.uniform(2, 15, n)
    end = entry + np.ceil(np.minimum(happens, followed))
    x = exposures(kind, n, count, rng)
    return fit_cox_scan(x, entry, end, happens <= followed, c)


def welch(kind: str, count: int, rng: Rng) -> Fits:
    """600 people, 50 cases: normal and twice as spread in cases; or skewed alike, then ranked."""
    c = covariates(600, rng)
    cases = most(c @ [0.6, 0.4, 0.3] + rng.logistic(size=600), 50)
    x = exposures(kind, 600, count, rng)
    if kind == "skewed":
        return fit_welch(np.stack([rank_normal(one) for one in x.T], axis=1), cases, c)
    return fit_welch(x * np.where(cases == 1, 2.0, 1.0)[:, None], cases, c)


def cox_many(kind: str, count: int, rng: Rng) -> Fits:
    """700 people, some 200 to 400 events: where Firth's likelihood hands over."""
    n = 700
    c = covariates(n, rng)
    entry = rng.integers(0, 5, n).astype(float)
    happens = rng.exponential(rng.uniform(8, 12) / np.exp(c @ [0.4, 0.2, 0.1]))
    followed = rng.uniform(2, 15, n)
    end = entry + np.ceil(np.minimum(happens, followed))
    x = exposures(kind, n, count, rng)
    return fit_cox_scan(x, entry, end, happens <= followed, c)


def most(liability: Array, cases: int) -> Array:
    """The highest so many are cases."""
    return (liability >= np.sort(liability)[-cases]).astype(float)


def copies(kind: str, count: int) -> Array:
    return np.full(count, kind == "allele")


TESTS: dict[str, Callable[[str, int, Rng], Fits]] = {
    "linear": linear,
    "logistic": logistic,
    "firth": firth,
    "cox": cox,
    "welch": welch,
    "cox, many events": cox_many,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nulls", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default=";".join(TESTS))
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    found: dict[str, dict[str, object]] = {}
    if asked.out and asked.out.is_file():
        found = json.loads(asked.out.read_text())
    for name in asked.only.split(";"):
        for kind in asked.kinds.split(","):
            if name == "welch" and kind == "allele":
                continue  # loci are not asked how the ill look
            rng = np.random.default_rng([asked.seed, list(TESTS).index(name), KINDS.index(kind)])
            started = time.process_time()
            p, drift, models = [], [], set()
            for start in range(0, asked.nulls, PER_OUTCOME):
                fits = TESTS[name](kind, min(PER_OUTCOME, asked.nulls - start), rng)
                p.append(fits.neg_log_10_p)
                drift.append(fits.drift)
                models |= set(fits.model)
            took = time.process_time() - started
            label = name if models == {name} else f"{name} ({', '.join(sorted(models))})"
            found[f"{name}, {kind}"] = report(f"{label}, {kind}", np.concatenate(p), took)
            if name.startswith("cox"):
                own = f"proportional hazards{name[3:]}, {kind}"
                found[own] = report(own, np.concatenate(drift), 0.0)
            if asked.out:
                write_json(asked.out, found)


def report(label: str, neg_log_10_p: Array, took: float) -> dict[str, object]:
    p = neg_log_10_p[np.isfinite(neg_log_10_p)]
    out: dict[str, object] = {"tests": len(p), "no_estimate": len(neg_log_10_p) - len(p)}
    words = []
    for level in LEVELS:
        share = float((p > -np.log10(level)).mean())
        low, high = (float(end) / len(p) for end in binom.interval(0.95, len(p), level))
        out[f"share_below_{level:g}"] = share
        out[f"by_chance_{level:g}"] = [low, high]
        words.append(
            f"{share:.3g} at {level:g} ({low:.3g} to {high:.3g}"
            f"{'' if low <= share <= high else ', OUTSIDE'})"
        )
    print(f"{label:48s} {'; '.join(words)}; {len(p):,} tests, {took:.0f} s CPU", flush=True)
    return out


if __name__ == "__main__":
    main()
