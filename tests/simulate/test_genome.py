import sys
from pathlib import Path

import numpy as np
import pytest

from leadlight.errors import LeadlightError
from leadlight.simulate import genome
from leadlight.simulate.chromosome import ChromosomeTask, make_chromosome, part_files
from leadlight.simulate.genome import draw_genetic_map, stretches
from leadlight.simulate.genotype_files import read_blocks
from leadlight.simulate.pedigree import draw_pedigree, inherit
from leadlight.simulate.people import draw_people
from leadlight.simulate.variants import CONSEQUENCES, lay_genes


def test_a_map_is_as_long_as_the_chromosomes_rate_says_and_mostly_hot_spots() -> None:
    for stretch in stretches((1, 19), 5_000_000):
        found = draw_genetic_map(stretch, np.random.default_rng(4))
        per_mb = 100 * found.cumulated[-1] / 5
        assert per_mb == pytest.approx({1: 1.15, 19: 1.82}[stretch.chromosome], rel=1e-6)
        width, morgans = np.diff(found.position), np.diff(found.cumulated)
        hottest = np.argsort(-found.rate)
        in_fifth = np.cumsum(width[hottest]) <= 0.2 * width.sum()
        assert morgans[hottest][in_fifth].sum() > 0.7 * morgans.sum()


def test_crossovers_fall_as_often_as_the_map_is_long_and_where_it_is_hot() -> None:
    found = draw_genetic_map(stretches((1,), 20_000_000)[0], np.random.default_rng(4))
    rng = np.random.default_rng(0)
    drawn = [found.crossovers(rng) for _ in range(8000)]
    expected = found.cumulated[-1]
    counts = np.array([len(one) for one in drawn])
    assert counts.mean() == pytest.approx(expected, abs=4 * np.sqrt(expected / 8000))
    middle = np.interp(0.5 * expected, found.cumulated, found.position)
    left = np.concatenate(drawn) < middle
    assert left.mean() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(left.size))


@pytest.mark.parametrize(
    ("chromosomes", "length", "words"),
    [((23,), 1_000_000, "chromosome 23"), ((1, 1), 1_000_000, "once"), ((1,), 10, "0.05 to 30")],
)
def test_a_genome_that_cannot_be_is_refused(
    chromosomes: tuple[int, ...], length: int, words: str
) -> None:
    with pytest.raises(LeadlightError, match=words):
        stretches(chromosomes, length)


def test_no_msprime_gives_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "msprime", None)
    with pytest.raises(LeadlightError) as caught:
        genome.load_msprime()
    assert "\n" not in str(caught.value)
    assert "leadlight[simulate]" in str(caught.value)
    assert "--no-genomes" in str(caught.value)


@pytest.fixture(scope="session")
def chromosome(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ChromosomeTask]:
    pytest.importorskip("msprime", reason="genomes need the extra leadlight[simulate]")
    folder = tmp_path_factory.mktemp("parts")
    _, pedigree = draw_pedigree(draw_people(range(300), 1), 0.9, np.random.default_rng(2))
    task = ChromosomeTask(stretches((3,), 2_000_000)[0], 900, pedigree, seed=5, keep_trees=True)
    make_chromosome(task, folder)
    return folder, task


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(
    chromosome: tuple[Path, ChromosomeTask], tmp_path: Path
) -> None:
    folder, task = chromosome
    make_chromosome(task, tmp_path)
    for one, two in zip(part_files(folder, 3), part_files(tmp_path, 3), strict=True):
        assert one.read_bytes() == two.read_bytes()
    other = ChromosomeTask(task.stretch, 900, task.pedigree, seed=6)
    make_chromosome(other, tmp_path)
    assert part_files(folder, 3)[0].read_bytes() != part_files(tmp_path, 3)[0].read_bytes()


def test_a_persons_calls_are_the_founders_alleles_that_she_inherited(
    chromosome: tuple[Path, ChromosomeTask],
) -> None:
    import polars as pl
    import tskit

    folder, task = chromosome
    trees = tskit.load(folder / "chr03.trees")
    rng = np.random.default_rng([task.seed, 3, 0])
    genetic_map = draw_genetic_map(task.stretch, rng)
    inherited = inherit(task.pedigree, genetic_map, np.random.default_rng([task.seed, 3, 2]))
    assert len(inherited.position) > 3  # there is something to get wrong
    table = pl.read_parquet(part_files(folder, 3)[1])
    positions = table["position"].to_numpy() - task.stretch.start - 1
    alleles = {int(v.site.position): v.genotypes.copy() for v in trees.variants()}
    calls = np.concatenate(list(read_blocks(part_files(folder, 3)[0])))
    source = inherited.source.copy()
    switch = 0
    for row, position in enumerate(positions):
        while switch < len(inherited.position) and inherited.position[switch] <= position:
            source[inherited.haplotype[switch]] = inherited.new_source[switch]
            switch += 1
        carried = alleles[int(position)][source]
        np.testing.assert_array_equal(calls[row], carried[0::2] + carried[1::2])
    np.testing.assert_array_equal(table["alternative_count"], calls.sum(axis=1))


def test_variants_are_common_low_and_rare_exonic_as_stated(
    chromosome: tuple[Path, ChromosomeTask],
) -> None:
    import polars as pl

    folder, _ = chromosome
    table = pl.read_parquet(part_files(folder, 3)[1])
    assert table.height == 900
    assert table["position"].is_sorted()
    assert table["position"].n_unique() == 900
    frequency = table["alternative_count"].to_numpy() / 600
    assert ((frequency > 0) & (frequency < 1)).all()
    minor = np.minimum(frequency, 1 - frequency)
    assert (minor >= 0.01).mean() > 0.6
    exonic = table["gene"].is_not_null().to_numpy()
    assert 0.05 < exonic.mean() < 0.3
    assert set(table["consequence"].drop_nulls()) <= set(CONSEQUENCES)
    assert (table["consequence"].is_null() == table["gene"].is_null()).all()
    genes = pl.read_parquet(part_files(folder, 3)[2])
    assert "SCN5A" in genes["gene"].to_list()
    assert (genes["start"].to_numpy()[1:] > genes["end"].to_numpy()[:-1]).all()
    inside = table.filter(pl.col("gene") == "SCN5A")["position"]
    assert inside.min() >= 38_589_548
    assert inside.max() <= 38_691_178


def test_exons_lie_in_their_genes_and_do_not_overlap() -> None:
    genes = lay_genes(stretches((14,), 4_000_000)[0], np.random.default_rng(8))
    start = genes.table["start"].to_numpy()[genes.exon_gene]
    end = genes.table["end"].to_numpy()[genes.exon_gene]
    assert (genes.exon_start >= start).all()
    assert (genes.exon_end <= end).all()
    assert (genes.exon_start[1:] > genes.exon_end[:-1]).all()
    assert (genes.gene_of(genes.exon_start) == genes.exon_gene).all()
    assert (genes.gene_of(genes.exon_end + 1) == -1).all()


def test_too_many_variants_for_a_stretch_are_refused_with_advice(tmp_path: Path) -> None:
    pytest.importorskip("msprime")
    _, pedigree = draw_pedigree(draw_people(range(30), 1), 0.0, np.random.default_rng(2))
    task = ChromosomeTask(stretches((21,), 50_000)[0], 100_000, pedigree, seed=5)
    with pytest.raises(LeadlightError, match="longer chromosomes"):
        make_chromosome(task, tmp_path)
