"""Credible sets on real linkage: do they hold the planted variant as often as they say?

    python benchmarks/loci.py --genotypes FOLDER --loci 200

FOLDER holds PLINK files of one people (1000 Genomes, say). A locus is a stretch of consecutive
common variants of one of its chromosomes. Planted are one variant, two (r² below 0.5), or none:
(a) traits of the people themselves, with which everything is worked out as on individual data;
(b) z-scores of a larger study with the same linkage, drawn from N(√n R b, R); (c) the same z-scores
analysed with the linkage of half of the people, as with a reference panel. Intervals are exact
binomial, 95 %.
"""

import argparse
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from scipy.stats import beta as beta_distribution

from leadlight.atomic import write_json
from leadlight.genetics.fine_mapping import linkage_mismatch, single_effect, susie_from_z
from leadlight.genetics.genotypes import open_genotypes
from leadlight.genetics.tail_probability import neg_log_10_p

GENOME_WIDE = -np.log10(5e-8)


def interval(hits: int, of: int) -> tuple[float, float]:
    low = beta_distribution.ppf(0.025, hits, of - hits + 1) if hits else 0.0
    high = beta_distribution.ppf(0.975, hits + 1, of - hits) if hits < of else 1.0
    return float(low), float(high)


def stretches(folder: Path, variants: int, rng: np.random.Generator):
    """Forever: standardised calls (person, variant) of a stretch, without copies of a variant."""
    source = open_genotypes(folder)
    names = np.array(source.variants.table["chromosome"].to_pylist())
    with source.reader() as reader:
        while True:
            name = rng.choice(np.unique(names))
            here = np.flatnonzero(names == name)
            start = rng.integers(max(len(here) - 4 * variants, 1))
            calls = reader.read(here[start : start + 4 * variants]).astype(np.float64)
            calls[calls < 0] = np.nan
            mean = np.nanmean(calls, axis=1, keepdims=True)
            common = np.minimum(mean[:, 0], 2 - mean[:, 0]) > 0.02
            values = np.where(np.isnan(calls), mean, calls)[common] - mean[common]
            _, first = np.unique(values, axis=0, return_index=True)
            values = values[np.sort(first)][:variants].T
            if values.shape[1] == variants:
                yield values / values.std(axis=0)


def plant(r: np.ndarray, signals: int, rng: np.random.Generator) -> np.ndarray:
    while True:
        chosen = rng.choice(len(r), signals, replace=False)
        if signals < 2 or r[chosen[0], chosen[1]] ** 2 < 0.5:
            return chosen


class Tally:
    def __init__(self) -> None:
        self.counts: dict[str, list[float]] = defaultdict(list)

    def add(self, z, r, n, planted, *, own: bool) -> None:
        strongest = float(neg_log_10_p(z, n - 2.0).max())
        if strongest >= GENOME_WIDE or not len(planted):
            beta, error = z / np.sqrt(z**2 + n - 2), 1 / np.sqrt(z**2 + n - 2)
            one = single_effect(beta, error, prior_sd=0.15 * 0.65, r=r)
            if len(planted) == 1:
                inside = bool(np.isin(planted, one.sets[0].variants).any())
                self.counts["single-effect set holds it"].append(inside)
                self.counts["single-effect set size"].append(len(one.sets[0].variants))
        if not len(planted):
            self.counts["genome-wide significant"].append(strongest >= GENOME_WIDE)
        if not own:
            mismatch = linkage_mismatch(z, r)
            r = (1 - mismatch) * r + mismatch * np.eye(len(r))
        found = susie_from_z(z, r, n, estimate_residual=own)
        for made in found.sets:
            self.counts["SuSiE set holds one"].append(bool(np.isin(planted, made.variants).any()))
            self.counts["SuSiE set size"].append(len(made.variants))
        held = [v for made in found.sets for v in made.variants]
        for variant in planted:
            self.counts["planted variant in a SuSiE set"].append(variant in held)
        self.counts["number of SuSiE sets"].append(len(found.sets))
        self.counts["SuSiE converged"].append(found.converged)
        if not len(planted):
            self.counts["any SuSiE set"].append(len(found.sets) > 0)

    def report(self) -> dict[str, object]:
        out: dict[str, object] = {}
        for name, values in self.counts.items():
            if "size" in name or "number" in name:
                out[name] = {"median": float(np.median(values)), "mean": float(np.mean(values))}
                print(f"    {name:34s} median {np.median(values):g}, mean {np.mean(values):.2f}")
                continue
            hits, of = int(np.sum(values)), len(values)
            low, high = interval(hits, of)
            out[name] = {"hits": hits, "of": of, "low": low, "high": high}
            print(f"    {name:34s} {hits}/{of} = {hits / of:.3f} ({low:.3f} to {high:.3f})")
        return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--genotypes", type=Path, required=True)
    parser.add_argument("--loci", type=int, default=200)
    parser.add_argument("--variants", type=int, default=300, help="of a locus")
    parser.add_argument("--explains", type=float, default=0.1, help="of a trait, each, in (a)")
    parser.add_argument("--people", type=int, default=20_000, help="of the larger study, (b) (c)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    rng = np.random.default_rng(asked.seed)
    source = stretches(asked.genotypes, asked.variants, rng)
    tallies: dict[str, Tally] = defaultdict(Tally)
    started = time.process_time()
    for _ in range(asked.loci):
        x = next(source)
        people = len(x)
        r = x.T @ x / people
        half = rng.permutation(people)[: people // 2]
        part = x[half] - x[half].mean(axis=0)
        spread = part.std(axis=0)
        keep = spread > 0.05
        other = (part[:, keep] / spread[keep]).T @ (part[:, keep] / spread[keep]) / len(half)
        values, vectors = np.linalg.eigh(r)
        root = vectors * np.sqrt(np.maximum(values, 0))
        for signals in (1, 2, 0):
            chosen = plant(r, signals, rng)
            sign = rng.choice([-1, 1], signals)
            # (a) people
            noise = rng.standard_normal(people)
            size = np.sqrt(asked.explains / (1 - signals * asked.explains))
            y = x[:, chosen] @ (sign * size) + noise
            y = (y - y.mean()) / y.std()
            rho = x.T @ y / people
            z = rho * np.sqrt((people - 2) / (1 - rho**2))
            tallies[f"a, {signals} planted"].add(z, r, people, chosen, own=True)
            # (b) and (c) z-scores; effects as of a study that finds them at 5e-8 mostly
            strength = rng.uniform(6, 12, signals) * sign
            z = r[:, chosen] @ strength + root @ rng.standard_normal(len(r))
            tallies[f"b, {signals} planted"].add(z, r, asked.people, chosen, own=True)
            place = np.cumsum(keep) - 1
            if keep[chosen].all():
                tallies[f"c, {signals} planted"].add(
                    z[keep], other, asked.people, place[chosen], own=False
                )
    found = {}
    for name in sorted(tallies):
        print(name)
        found[name] = tallies[name].report()
    print(f"{time.process_time() - started:.0f} s of processor time")
    if asked.out:
        write_json(asked.out, found)


if __name__ == "__main__":
    main()
