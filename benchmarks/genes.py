"""Gene tests: their null levels on a study's genes, and their time.

    python benchmarks/genes.py --study biobank --genes 20 --traits 10000

The study is one of `leadlight simulate`. Its genotypes and covariates are used, with traits that
are drawn: normal, skewed (exponential), and skewed after the rank-based normal transform. The
largest set of each gene is counted, so that all tests are independent but for linkage between
genes; shares come with 95 % binomial intervals around the level. Genes that correct the Cauchy
combinations are others than those tested.
"""

import argparse
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from scipy.stats import binom

from leadlight.atomic import write_json
from leadlight.genetics.carriers import read_carriers
from leadlight.genetics.designs import make_designs, rank_normal
from leadlight.genetics.gene_calibration import combination_corrections
from leadlight.genetics.gene_tests import (
    TESTS,
    GeneSettings,
    PreparedGene,
    combined,
    gene_designs,
    gene_results,
    prepare_gene,
)
from leadlight.genetics.genotypes import open_genotypes
from leadlight.genetics.masks import read_genes
from leadlight.genetics.traits import Matched, match_people, read_person_table
from leadlight.genetics.variant_tables import DIPLOID

LEVELS = (0.05, 1e-2, 1e-3, 1e-4)
BATCH = 2000
KINDS = ("normal", "skewed", "skewed, rank-normal")


def drawn(kind: str, people: int, count: int, rng: np.random.Generator) -> np.ndarray:
    if kind == "normal":
        return rng.standard_normal((people, count))
    traits = rng.exponential(size=(people, count))
    if kind == "skewed":
        return traits
    return np.stack([rank_normal(column) for column in traits.T], axis=1)


def with_traits(matched: Matched, traits: np.ndarray) -> Matched:
    names = tuple(f"t{at}" for at in range(traits.shape[1]))
    return Matched(
        matched.rows, matched.sex, names, traits, matched.covariate_names, matched.covariates, {}
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", type=Path, required=True)
    parser.add_argument("--genes", type=int, default=20)
    parser.add_argument("--traits", type=int, default=10_000)
    parser.add_argument("--kinds", nargs="*", default=["normal"], choices=KINDS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    folder = asked.study / "genotypes"
    source = open_genotypes(folder / "genotypes")
    files = read_genes(
        folder / "annotations.txt", folder / "sets.txt", folder / "masks.txt", source.variants
    )
    matched = match_people(
        source.people,
        read_person_table(asked.study / "phenotypes.parquet", ["null_1"]),
        read_person_table(asked.study / "covariates.parquet", categories=True),
    )
    settings = GeneSettings(limits=(0.01, 0.001))
    at = np.linspace(0, len(files.genes) - 1, 150 + asked.genes).astype(int)
    tested_at = set(at[:: max(len(at) // asked.genes, 1)][: asked.genes])
    started = time.process_time()
    prepared: dict[bool, list[PreparedGene]] = {True: [], False: []}
    with source.reader(matched.rows) as reader:
        for number in at:
            gene = files.genes[number]
            carriers = read_carriers(reader, gene.numbers, DIPLOID, matched.sex)
            prepared[number in tested_at].append(
                prepare_gene(gene, files.masks, carriers, settings)
            )
    print(f"{len(at)} genes read and prepared in {time.process_time() - started:.1f} s of CPU")
    rng = np.random.default_rng(asked.seed)
    started = time.process_time()
    designs = gene_designs(
        make_designs(with_traits(matched, drawn("normal", len(matched.rows), 2, rng)), DIPLOID),
        matched.rows,
    )
    corrections = combination_corrections(prepared[False], designs[0], settings)
    print(f"corrections in {time.process_time() - started:.1f} s of CPU")
    entries = {}
    for kind in asked.kinds:
        counts = {test: np.zeros(len(LEVELS)) for test in (*TESTS, "gene")}
        raw = {test: np.zeros(len(LEVELS)) for test in ("acat-o", "gene")}
        done, spent = 0, defaultdict(float)
        for _ in range(0, asked.traits, BATCH):
            clock = time.process_time()
            traits = drawn(kind, len(matched.rows), BATCH, rng)
            own = with_traits(matched, traits)
            designs = gene_designs(make_designs(own, DIPLOID, shared=False), matched.rows)
            spent["traits"] += time.process_time() - clock
            clock = time.process_time()
            for one in prepared[True]:
                results = gene_results(one, designs, BATCH, settings)
                at = max(range(len(results)), key=lambda k: len(results[k].variants))
                largest = results[at]
                of_set = corrections.of_set(len(one.sets[at].tested))
                together = combined(one.sets, [result.neg_log_10_p for result in results])
                p = dict(largest.neg_log_10_p)
                for test, values, correction in (
                    ("acat-o", p["acat-o"], of_set),
                    ("gene", together, corrections.of_genes),
                ):
                    raw[test] += [(10**-values < level).sum() for level in LEVELS]
                    p[test] = correction.apply(values)
                for test, values in p.items():
                    counts[test] += [(10**-values < level).sum() for level in LEVELS]
                done += BATCH
            spent["tests"] += time.process_time() - clock
        print(f"\n{kind}: {done:,} tests, {len(prepared[True])} genes")
        limits = [binom.interval(0.95, done, level) for level in LEVELS]
        print("level   " + "  ".join(f"{level:>24g}" for level in LEVELS))
        print(
            "95 %    "
            + "  ".join(f"{f'{low / done:.3g} to {high / done:.3g}':>24}" for low, high in limits)
        )
        uncorrected = {f"{test}, not corrected": values for test, values in raw.items()}
        for test, values in (counts | uncorrected).items():
            cells = []
            for count, (low, high) in zip(values, limits, strict=True):
                mark = " " if low <= count <= high else "*"
                cells.append(f"{f'{count / done:.3g}{mark}':>24}")
            print(f"{test:8}" + "  ".join(cells))
        print({name: f"{value:.0f} s of CPU" for name, value in spent.items()})
        entries[kind] = {
            "tests": done,
            "shares": {
                test: dict(zip(map(str, LEVELS), (values / done).tolist(), strict=True))
                for test, values in counts.items()
            },
        }
    if asked.out is not None:
        write_json(asked.out, entries)


if __name__ == "__main__":
    main()
