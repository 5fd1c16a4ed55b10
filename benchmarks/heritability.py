"""LD score regression and Haseman–Elston regression on traits of known heritability.

    python benchmarks/heritability.py --study biobank --people 10000 --traits 40

The study is one of `leadlight simulate` (linkage from msprime). Each trait is a sum of effects of
variants of 1 % and more among its unrelated people plus noise, with exactly the heritability that
is stated among these people: in thirds of the traits all variants act, one in ten, one in a
hundred. A control has no heritability; another has structure (north and south) but no genes and is
tested without covariates, all others with the study's. LD scores come from part of the people.
Intervals of shares are binomial, 95 %.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import polars as pl
from scipy.stats import binomtest

from leadlight.atomic import write_json
from leadlight.genetics.designs import orthonormal_basis
from leadlight.genetics.genotypes import open_genotypes
from leadlight.genetics.haseman_elston import haseman_elston
from leadlight.genetics.ld_score_regression import (
    genetic_correlation,
    heritability,
    jackknife_blocks,
    too_large,
)
from leadlight.genetics.ld_scores import ld_scores, standardised
from leadlight.genetics.traits import match_people, read_person_table

BLOCK = 512
POLYGENICITY = (1.0, 0.1, 0.01)


def blocks_of(source, rows, numbers):
    """(block's numbers, standardised calls (variant, person) of length √n)."""
    with source.reader(rows) as reader:
        for start in range(0, len(numbers), BLOCK):
            some = numbers[start : start + BLOCK]
            values, _, fit = standardised(reader.read(some), 0.0, 1.0)
            assert fit.all()
            yield slice(start, start + len(some)), values * np.float32(np.sqrt(len(rows)))


def common_variants(source, rows, numbers, step):
    """Every step-th of the variants of 1 % and more."""
    kept = []
    with source.reader(rows) as reader:
        for start in range(0, len(numbers), BLOCK):
            some = numbers[start : start + BLOCK]
            kept.append(some[standardised(reader.read(some), 0.01, 0.1)[2]])
    return np.concatenate(kept)[::step]


def interval(count: int, total: int) -> str:
    found = binomtest(count, total).proportion_ci(method="exact")
    return f"{count} of {total} ({100 * found.low:.0f} to {100 * found.high:.0f} %)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", type=Path, required=True)
    parser.add_argument("--people", type=int, default=10_000)
    parser.add_argument("--ld-people", type=int, default=4_000)
    parser.add_argument("--every", type=int, default=3, help="thin the variants")
    parser.add_argument("--traits", type=int, default=40)
    parser.add_argument("--h2", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    rng = np.random.default_rng(asked.seed)
    source = open_genotypes(asked.study / "genotypes" / "genotypes")
    truth = pl.read_parquet(asked.study / "truth" / "people.parquet")
    unrelated = dict(zip(truth["IID"], truth["unrelated"], strict=True))
    south = dict(zip(truth["IID"], truth["subpopulation"] == "south", strict=True))
    matched = match_people(
        source.people,
        read_person_table(asked.study / "phenotypes.parquet", ["null_1"]),
        read_person_table(asked.study / "covariates.parquet", categories=True),
    )
    alone = np.array([unrelated[source.people.person_ids[row]] for row in matched.rows])
    chosen = np.flatnonzero(alone)
    chosen = np.sort(rng.choice(chosen, min(asked.people, len(chosen)), replace=False))
    rows = matched.rows[chosen]
    basis = orthonormal_basis(matched.covariates[chosen])
    place = np.array([south[source.people.person_ids[row]] for row in rows], dtype=float)
    clock = time.process_time()
    numbers = common_variants(source, rows, np.arange(len(source.variants)), asked.every)
    print(f"{len(rows)} unrelated people, {len(numbers)} variants of 1 % and more "
          f"({time.process_time() - clock:.0f} s of CPU)")  # fmt: skip

    clock, n, m, count = time.process_time(), len(rows), len(numbers), asked.traits
    effects = rng.standard_normal((m, count))
    for at in range(count):
        effects[rng.random(m) >= POLYGENICITY[at % 3], at] = 0
    effects = effects.astype(np.float32)
    genetic = np.zeros((n, count))
    for part, values in blocks_of(source, rows, numbers):
        genetic += values.T @ effects[part]
    genetic -= basis @ (basis.T @ genetic)
    genetic *= np.sqrt(asked.h2) / genetic.std(axis=0)
    noise = rng.standard_normal((n, 2 * count + count // 2))
    traits = np.concatenate(
        [genetic + np.sqrt(1 - asked.h2) * noise[:, :count], noise[:, count : 2 * count],
         noise[:, 2 * count :] + 0.4 * place[:, None]], axis=1,
    )  # fmt: skip
    kinds = np.repeat(["polygenic", "null", "structure"], [count, count, count // 2])
    adjusted = traits - basis @ (basis.T @ traits)
    adjusted /= np.sqrt((adjusted**2).sum(axis=0))
    crude = traits[:, kinds == "structure"]
    crude = crude - crude.mean(axis=0)
    crude /= np.sqrt((crude**2).sum(axis=0))
    tested = np.concatenate([adjusted[:, kinds != "structure"], crude], axis=1)
    z = np.empty((m, tested.shape[1]))
    loading = basis.astype(np.float32)
    for part, values in blocks_of(source, rows, numbers):
        left = 1 - ((values @ loading) ** 2).sum(axis=1) / n
        r = (values @ tested.astype(np.float32)) / np.sqrt(n * left)[:, None]
        z[part] = r * np.sqrt(n - basis.shape[1] - 1) / np.sqrt(1 - r**2)
    print(f"traits made and tested in {time.process_time() - clock:.0f} s of CPU")

    clock = time.process_time()
    some = np.sort(rng.choice(rows, min(asked.ld_people, n), replace=False)).astype(np.uint32)
    made = ld_scores(source, some, variants=numbers, min_maf=0.0)
    assert made.table.height == m
    scores = made.table["ld_score"].to_numpy()
    blocks = jackknife_blocks(
        made.table["chromosome"].to_numpy(), made.table["base_pair_location"].to_numpy()
    )
    print(f"LD scores of {len(some)} people in {time.process_time() - clock:.0f} s of CPU: "
          f"mean {scores.mean():.1f} ± {scores.std():.1f}, {blocks.max() + 1} blocks")  # fmt: skip

    clock = time.process_time()
    size = np.full(m, float(n))
    found, removed = [], 0
    for column in z.T:
        keep = column**2 <= too_large(size)
        removed += int((~keep).sum())
        found.append(heritability(column[keep] ** 2, size[keep], scores[keep], float(m),
                                  blocks[keep]))  # fmt: skip
    print(f"LD score regression of {len(found)} traits in {time.process_time() - clock:.1f} s "
          f"of CPU; {removed} statistics above the limit")  # fmt: skip
    clock = time.process_time()
    he = haseman_elston(source, rows, numbers, adjusted[:, kinds != "structure"], basis)
    print(f"Haseman-Elston regression in {time.process_time() - clock:.0f} s of CPU")
    entries = {}
    for kind, h2 in (("polygenic", asked.h2), ("null", 0.0), ("structure", 0.0)):
        own = np.flatnonzero(kinds == kind)
        value = np.array([found[i].h2 for i in own])
        error = np.array([found[i].h2_se for i in own])
        level = np.array([found[i].intercept for i in own])
        mean = np.array([found[i].mean_chi_squared for i in own])
        inside = int((np.abs(value - h2) <= 2 * error).sum())
        print(f"\n{kind}: true h² {h2}, mean χ² {mean.mean():.2f}")
        print(
            f"  LD score regression {value.mean():.4f} ± {value.std():.4f} (SD), mean standard "
            f"error {error.mean():.4f}, intercept {level.mean():.3f} ± {level.std():.3f}"
        )
        print(f"  within 2 standard errors: {interval(inside, len(own))}")
        entries[kind] = {"h2": value.mean(), "sd": value.std(), "se": error.mean(),
                         "inside": inside, "of": len(own)}  # fmt: skip
        if kind != "structure":
            inside = int((np.abs(he.h2[own] - h2) <= 2 * he.h2_se[own]).sum())
            print(f"  Haseman-Elston {he.h2[own].mean():.4f} ± {he.h2[own].std():.4f}, mean "
                  f"standard error {he.h2_se[own].mean():.4f}; within 2: "
                  f"{interval(inside, len(own))}")  # fmt: skip
            entries[kind] |= {"he": he.h2[own].mean(), "he_se": he.h2_se[own].mean(),
                              "he_inside": inside}  # fmt: skip
    correlations = []
    for one, other in ((i, i + 3) for i in range(0, count - 3, 2)):
        both = genetic_correlation((z[:, one], z[:, other]), (size, size), scores, float(m), blocks)
        true = np.corrcoef(genetic[:, one], genetic[:, other])[0, 1]
        correlations.append((both.correlation - true, both.correlation_se))
    error, spread = np.array(correlations).T
    inside = int((np.abs(error) <= 2 * spread).sum())
    print(
        f"\ngenetic correlation minus truth {error.mean():.3f} ± {error.std():.3f}, mean "
        f"standard error {spread.mean():.3f}; within 2: {interval(inside, len(error))}"
    )
    if asked.out is not None:
        write_json(asked.out, {k: {a: float(b) for a, b in v.items()} for k, v in entries.items()})


if __name__ == "__main__":
    main()
