"""One chromosome of all people, from ancestry to calls on disk, in blocks of variants."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight.atomic import written_whole
from leadlight.simulate.genome import Stretch, draw_genetic_map, simulate_ancestry, sites_of
from leadlight.simulate.genotype_files import BLOCK_VARIANTS, Calls, GenotypeWriter
from leadlight.simulate.pedigree import Inheritance, Pedigree, inherit
from leadlight.simulate.variants import choose_variants, lay_genes

# Streams of random numbers, each of the seed and the chromosome.
_MAP, _ANCESTRY, _MEIOSES, _CHOICE = range(4)


@dataclass(frozen=True)
class ChromosomeTask:
    """All that one chromosome depends on; a worker needs nothing else.

    Attributes:
        stretch: which stretch.
        n_variants: how many variants to keep.
        pedigree: the people and their relatives.
        seed: of the whole study.
        keep_trees: also write the tree sequence.
    """

    stretch: Stretch
    n_variants: int
    pedigree: Pedigree
    seed: int
    keep_trees: bool = False


def part_files(folder: Path, chromosome: int) -> tuple[Path, Path, Path]:
    """Calls (pgen), variants and genes of a finished chromosome; the variants are written last."""
    stem = f"chr{chromosome:02d}"
    return folder / f"{stem}.pgen", folder / f"{stem}.parquet", folder / f"{stem}-genes.parquet"


def make_chromosome(task: ChromosomeTask, folder: Path) -> None:
    """Simulate one chromosome and write its parts in `folder`.

    The same task gives the same bytes. `chrNN.parquet` has the columns of
    `variants.choose_variants` without `site`, and `alternative_count` over all people.
    """
    stretch, pedigree = task.stretch, task.pedigree

    def stream(purpose: int) -> np.random.Generator:
        return np.random.default_rng([task.seed, stretch.chromosome, purpose])

    genetic_map = draw_genetic_map(stretch, stream(_MAP))
    ancestry_seed = int(stream(_ANCESTRY).integers(2**62))
    trees = simulate_ancestry(stretch, genetic_map, pedigree.founder_counts, ancestry_seed)
    inheritance = inherit(pedigree, genetic_map, stream(_MEIOSES))
    # Only what the people at hand carry can be seen, so sites are counted among the founder
    # haplotypes that somebody carries whole.
    whole = np.setdiff1d(np.arange(2 * pedigree.n_people), inheritance.haplotype)
    present = np.unique(inheritance.source[whole])
    sites = sites_of(trees, present)
    rng = stream(_CHOICE)
    genes = lay_genes(stretch, rng)
    chosen = choose_variants(sites, stretch, genes, len(present), task.n_variants, rng)
    calls_file, variants_file, genes_file = part_files(folder, stretch.chromosome)
    if task.keep_trees:
        trees.dump(folder / f"chr{stretch.chromosome:02d}.trees")
    positions = chosen["position"].to_numpy() - stretch.start - 1
    haplotypes = _haplotype_blocks(trees, chosen["site"].to_numpy())
    counts = []
    prefix = calls_file.with_name(f".{calls_file.stem}")
    names = [str(number) for number in range(pedigree.n_people)]
    with GenotypeWriter(
        prefix, ("pgen",), names, np.full(len(names), "F"), chosen.height, (stretch.chromosome,)
    ) as writer:
        for start, calls in _dropped(haplotypes, positions, inheritance):
            writer.write(chosen[start : start + len(calls)], calls)
            counts.append(calls.sum(axis=1, dtype=np.int64))
    prefix.with_suffix(".pgen").replace(calls_file)
    for ending in (".pvar", ".psam"):
        prefix.with_suffix(ending).unlink()
    with written_whole(genes_file) as partial:
        genes.table.write_parquet(partial)
    with written_whole(variants_file) as partial:
        chosen.drop("site").with_columns(
            pl.Series("alternative_count", np.concatenate(counts))
        ).write_parquet(partial)


def _haplotype_blocks(trees: Any, sites: npt.NDArray[np.int64]) -> Iterator[tuple[int, Calls]]:
    """First row and founders' alleles, (variant, founder haplotype) int8, in blocks."""
    others = np.setdiff1d(np.arange(trees.num_sites), sites, assume_unique=True)
    kept = trees.delete_sites(others, record_provenance=False)
    block = np.empty((min(BLOCK_VARIANTS, len(sites)), kept.num_samples), dtype=np.int8)
    start = 0
    for number, variant in enumerate(kept.variants(copy=False)):
        block[number - start] = variant.genotypes
        if number - start + 1 == len(block) or number + 1 == len(sites):
            yield start, block[: number - start + 1]
            start = number + 1


def _dropped(
    haplotypes: Iterator[tuple[int, Calls]],
    positions: npt.NDArray[np.int64],
    inheritance: Inheritance,
) -> Iterator[tuple[int, Calls]]:
    """First row and people's calls, (variant, person) int8, in blocks."""
    source = inheritance.source.copy()
    # A switch at a base pair's position acts from that base pair on.
    row_of_switch = np.searchsorted(positions, inheritance.position)
    done = 0
    for start, alleles in haplotypes:
        stop = start + len(alleles)
        carried = np.take(alleles, source, axis=1)
        last = int(np.searchsorted(row_of_switch, stop))
        for switch in range(done, last):
            haplotype = inheritance.haplotype[switch]
            new = inheritance.new_source[switch]
            row = max(int(row_of_switch[switch]) - start, 0)
            carried[row:, haplotype] = alleles[row:, new]
            source[haplotype] = new
        done = last
        yield start, carried[:, 0::2] + carried[:, 1::2]
