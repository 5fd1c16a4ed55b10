"""Whole-genome regression: time at scale, and calibration and power among real people's children.

    python benchmarks/whole_genome.py speed
    python benchmarks/whole_genome.py relatives --genotypes ../shared/data/genotypes/hapmap3_957_bed
    python benchmarks/whole_genome.py imbalance

`speed`: independent variants of 10,000 people, 30 traits, blocks of 1,000, 5 folds. `relatives`:
the founders have children by Mendelian transmission (random phase, one crossover per Morgan at
1 cM per Mb); polygenic traits act on the odd chromosomes, the even ones are null. The genomic
inflation of the null chromosomes and the mean chi-squared of the others are given for the linear
model, for the trait minus its background, and for that with the calibration; intervals are over
traits and pedigrees. `imbalance`: the level of the tests of a null binary trait with one case to
200 controls, by allele frequency.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import chi2

from leadlight.atomic import write_json
from leadlight.genetics.binary import associate_binary, null_model
from leadlight.genetics.designs import orthonormal_basis
from leadlight.genetics.genotypes import open_genotypes
from leadlight.genetics.whole_genome import (
    background,
    whole_genome_regression,
)

AUTOSOMES = tuple(str(number) for number in range(1, 23))
LEVELS = (0.05, 1e-3, 1e-4)


@dataclass(frozen=True)
class Families:
    calls: np.ndarray  # (variant, person) int8, founders first
    chromosome: np.ndarray
    n_founders: int


def families(folder: Path, children: int, rng: np.random.Generator) -> Families:
    """Founders of each population are paired at random; every pair has `children` children."""
    source = open_genotypes(folder / "data.bed")
    table = source.variants.table
    chromosome = np.array(table["chromosome"].to_pylist())
    autosomal = np.isin(chromosome, AUTOSOMES)
    chromosome = chromosome[autosomal]
    position = table["base_pair_location"].to_numpy()[autosomal]
    calls = source.reader().read(np.arange(len(source.variants)))[autosomal]
    frequency = np.maximum(calls, 0).sum(axis=1) / (2 * (calls >= 0).sum(axis=1))
    variant, person = np.nonzero(calls < 0)
    calls[variant, person] = rng.binomial(2, frequency[variant])
    lines = (folder / "relationships_w_pops_121708.txt").read_text().splitlines()
    population_of = {line.split()[1]: line.split()[6] for line in lines}
    populations = np.array([population_of.get(one, "?") for one in source.people.person_ids])
    first = (calls == 2) | ((calls == 1) & (rng.random(calls.shape) < 0.5))
    first = first.astype(np.int8)
    second = calls - first
    distance = np.abs(np.diff(position, prepend=position[0])) * 1e-8
    switch = (1 - np.exp(-2 * distance)) / 2
    switch[np.r_[True, chromosome[1:] != chromosome[:-1]]] = 0.5

    def gamete(parent: int) -> np.ndarray:
        side = np.cumsum(rng.random((len(switch), children)) < switch[:, None], axis=0) % 2
        return np.where(side == 0, first[:, [parent]], second[:, [parent]])

    born = []
    for population in np.unique(populations):
        who = rng.permutation(np.flatnonzero(populations == population))
        born += [gamete(a) + gamete(b) for a, b in zip(who[::2], who[1::2], strict=False)]
    everybody = np.concatenate([calls, *born], axis=1).astype(np.int8)
    varies = everybody.std(axis=1) > 0.05
    return Families(everybody[varies], chromosome[varies], calls.shape[1])


def standardised(calls: np.ndarray) -> np.ndarray:
    values = calls.astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    return values / values.std(axis=1, keepdims=True)


def components(values: np.ndarray, n_founders: int, count: int = 10) -> np.ndarray:
    """Principal components of the founders, with everybody projected on them."""
    founders = values[:, :n_founders]
    _, vectors = np.linalg.eigh(founders.T @ founders)
    scores = values.T @ (founders @ vectors[:, -count:])
    return (scores / scores.std(axis=0)).astype(np.float64)


def statistics(values: np.ndarray, traits: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """(variant, trait) squared t statistics of the linear model."""
    left = traits - basis @ (basis.T @ traits)
    values = values.astype(np.float64)
    loadings = values @ basis
    sizes = (values**2).sum(axis=1) - (loadings**2).sum(axis=1)
    share = (values @ left) ** 2 / sizes[:, None] / (left**2).sum(axis=0)
    return (len(basis) - basis.shape[1] - 1) * share / (1 - share)


def inflation(statistic: np.ndarray) -> np.ndarray:
    return np.median(statistic, axis=0) / chi2.ppf(0.5, 1)


def relatives(
    folder: Path, seed: int, children: int, heritability: float, n_traits: int, causal: int | None
) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    family = families(folder, children, rng)
    values = standardised(family.calls)
    people = values.shape[1]
    pcs = components(values, family.n_founders)
    basis = orthonormal_basis(pcs)
    odd = np.flatnonzero(np.isin(family.chromosome, AUTOSOMES[::2]))
    traits = np.empty((people, n_traits))
    for at in range(n_traits):
        chosen = odd if causal is None else rng.choice(odd, causal, replace=False)
        genes = values[chosen].T @ rng.standard_normal(len(chosen)).astype(np.float32)
        genes = genes - basis @ (basis.T @ genes)
        noise = rng.standard_normal(people)
        traits[:, at] = np.sqrt(heritability) * genes / genes.std()
        traits[:, at] += np.sqrt(1 - heritability) * noise
    names = [str(number) for number in range(people)]
    with tempfile.TemporaryDirectory() as scratch:
        predictions = whole_genome_regression(
            lambda first, last: family.calls[first:last],
            family.chromosome,
            traits,
            pcs,
            Path(scratch),
            trait_names=[f"t{at}" for at in range(n_traits)],
            person_ids=names,
            workers=1,
        ).load()
    plain: dict[bool, list[np.ndarray]] = {True: [], False: []}
    minus: dict[bool, list[np.ndarray]] = {True: [], False: []}
    for name in np.unique(family.chromosome):
        rows, null = family.chromosome == name, name not in AUTOSOMES[::2]
        plain[null].append(statistics(values[rows], traits, basis))
        left = traits - background(predictions, name, names)
        minus[null].append(statistics(values[rows], left, basis))
    ratio = predictions["calibration"].values
    null_plain, null_minus = np.concatenate(plain[True]), np.concatenate(minus[True])
    hit_plain, hit_minus = np.concatenate(plain[False]), np.concatenate(minus[False])
    return {
        "linear_lambda": inflation(null_plain),
        "minus_background_lambda": inflation(null_minus),
        "calibrated_lambda": inflation(null_minus) / ratio,
        "calibration": ratio,
        "linear_planted_at_equal_nulls": hit_plain.mean(axis=0) / null_plain.mean(axis=0),
        "calibrated_planted_at_equal_nulls": hit_minus.mean(axis=0) / null_minus.mean(axis=0),
        "people": np.array([people]),
        "variants": np.array([len(values)]),
    }


def speed(people: int, variants: int, n_traits: int, workers: int) -> dict[str, float]:
    rng = np.random.default_rng(1)
    frequency = rng.uniform(0.05, 0.5, variants)
    calls = np.empty((variants, people), dtype=np.int8)
    for at in range(variants):
        draw = rng.random((2, people), dtype=np.float32)
        calls[at] = (draw < frequency[at]).sum(axis=0)
    calls[rng.random(variants) < 0.1, ::200] = -9
    sizes = np.linspace(1.6, 0.4, 22)
    edges = np.round(np.cumsum(sizes / sizes.sum()) * variants).astype(int)
    chromosome = np.repeat(AUTOSOMES, np.diff(edges, prepend=0))
    some = rng.choice(variants, 300, replace=False)
    genes = standardised(np.maximum(calls[some], 0)).T @ rng.standard_normal((300, n_traits))
    traits = 0.6 * genes / genes.std(axis=0) + 0.8 * rng.standard_normal((people, n_traits))
    covariates = rng.standard_normal((people, 10))
    found = {}
    for calibrate in (False, True):
        with tempfile.TemporaryDirectory() as scratch:
            wall, cpu = time.perf_counter(), time.process_time()
            predictions = whole_genome_regression(
                lambda first, last: calls[first:last],
                chromosome,
                traits,
                covariates,
                Path(scratch),
                trait_names=[f"t{at}" for at in range(n_traits)],
                person_ids=[f"p{at}" for at in range(people)],
                workers=workers,
                calibrate=calibrate,
            )
            key = "calibrated" if calibrate else "plain"
            found[f"{key}_wall_s"] = time.perf_counter() - wall
            found[f"{key}_cpu_s"] = time.process_time() - cpu
            found["mean_r_squared"] = float(predictions["score"].mean())
            found["mean_calibration"] = float(predictions["calibration"].mean())
    return found


def imbalance(people: int, variants: int, controls_per_case: int) -> dict[str, list[float]]:
    """Share of p below each level, over that level, by allele frequency and kind of test."""
    rng = np.random.default_rng(2)
    basis = orthonormal_basis(rng.standard_normal((people, 4)))
    cases = np.zeros(people)
    cases[rng.choice(people, round(people / (controls_per_case + 1)), replace=False)] = 1
    null = null_model(cases, basis)
    found = {}
    for low, high in ((0.002, 0.01), (0.01, 0.05), (0.05, 0.5)):
        below = {kind: np.zeros(len(LEVELS)) for kind in ("none", "approximate", "exact")}
        cpu = dict.fromkeys(below, 0.0)
        for _ in range(0, variants, 500):
            frequency = rng.uniform(low, high, (500, 1)).astype(np.float32)
            calls = (rng.random((500, people), dtype=np.float32) < frequency).astype(np.int8)
            calls += rng.random((500, people), dtype=np.float32) < frequency
            for kind in below:
                started = time.process_time()
                p = associate_binary(calls, [null], firth=kind).neg_log_10_p[:, 0]
                cpu[kind] += time.process_time() - started
                below[kind] += [(p > -np.log10(level)).sum() for level in LEVELS]
        for kind, seen in below.items():
            cells = []
            for level, count in zip(LEVELS, seen, strict=True):
                half = 1.96 * np.sqrt(level * (1 - level) / variants) / level
                cells.append(f"{count / variants / level:.3f} (1 ± {half:.3f})")
            print(f"frequency {low:g}–{high:g}, Firth {kind:12s}", *cells, f"{cpu[kind]:.1f} s CPU")
            found[f"{low}-{high} {kind}"] = (seen / variants / np.array(LEVELS)).tolist()
    return found


def report(found: dict[str, np.ndarray]) -> Iterator[str]:
    for name, values in found.items():
        half = 1.96 * values.std(ddof=1) / np.sqrt(values.size) if values.size > 1 else 0.0
        yield f"{name:36s} {values.mean():8.3f} ± {half:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("speed", "relatives", "imbalance"))
    parser.add_argument("--genotypes", type=Path, help="the folder of hapmap3_957_bed")
    parser.add_argument("--people", type=int, default=10_000)
    parser.add_argument("--variants", type=int, default=34_000)
    parser.add_argument("--traits", type=int, default=30)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--children", type=int, default=4, help="of each pair")
    parser.add_argument("--heritability", type=float, default=0.6)
    parser.add_argument("--causal", type=int, help="causal variants (default: all)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if asked.what == "imbalance":
        levels = imbalance(asked.people, asked.variants, 200)
        if asked.out:
            write_json(asked.out, levels)
        return
    if asked.what == "speed":
        found = speed(asked.people, asked.variants, asked.traits, asked.workers)
        print("\n".join(f"{name:28s} {value:8.3f}" for name, value in found.items()))
        if asked.out:
            write_json(asked.out, found)
        return
    runs = [
        relatives(
            asked.genotypes,
            seed,
            asked.children,
            asked.heritability,
            min(asked.traits, 20),
            asked.causal,
        )
        for seed in asked.seeds
    ]
    joined = {name: np.concatenate([run[name] for run in runs]) for name in runs[0]}
    print("\n".join(report(joined)))
    if asked.out:
        write_json(asked.out, {name: values.tolist() for name, values in joined.items()})


if __name__ == "__main__":
    main()
