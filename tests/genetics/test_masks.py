"""REGENIE's three files: what is read, what is refused, and the masks that REGENIE published."""

import numpy as np
import pytest

from leadlight.errors import LeadlightError
from leadlight.genetics.carriers import read_carriers
from leadlight.genetics.gene_tests import GeneSettings, prepare_gene
from leadlight.genetics.genotypes import open_genotypes
from leadlight.genetics.masks import (
    read_annotations,
    read_frequencies,
    read_genes,
    read_masks,
    read_set_list,
)
from leadlight.genetics.variant_tables import DIPLOID


@pytest.fixture
def write(tmp_path):
    def _write(name, text):
        path = tmp_path / name
        path.write_text(text)
        return path

    return _write


@pytest.fixture
def example(shared_data):
    return shared_data / "genotypes" / "formats_500"


def test_annotations_have_three_columns_or_four_with_domains(write):
    three = read_annotations(write("a", "v1 G lof\nv2\tG\tmissense\nv1 H lof\n"))
    assert three.rows() == [
        ("v1", "G", "", "lof"), ("v2", "G", "", "missense"), ("v1", "H", "", "lof")
    ]  # fmt: skip
    four = read_annotations(write("b", "v1 G helix lof\n"))
    assert four.rows() == [("v1", "G", "helix", "lof")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("v1 G\n", "line 1 has 2 columns"),
        ("v1 G lof\nv2 G helix lof\n", "line 2 has 4 columns"),
        ("v1 G lof\nv1 G missense\n", "v1 twice for G"),
        ("", "is empty"),
    ],
)
def test_odd_annotations_are_refused_by_line(write, text, said):
    with pytest.raises(LeadlightError, match=said):
        read_annotations(write("a", text))


def test_a_set_list_may_part_variants_by_commas_or_spaces(write):
    table = read_set_list(write("s", "G 1 100 v1,v2,v3\nH chr23 5 v4 v5\n"))
    assert table.rows() == [
        ("G", "1", "v1"), ("G", "1", "v2"), ("G", "1", "v3"), ("H", "X", "v4"), ("H", "X", "v5")
    ]  # fmt: skip
    with pytest.raises(LeadlightError, match="line 1 has 3 columns"):
        read_set_list(write("s", "G 1 v1,v2\n"))
    with pytest.raises(LeadlightError, match="gene G twice"):
        read_set_list(write("s", "G 1 1 v1\nG 1 2 v2\n"))


def test_masks_join_categories(write):
    assert read_masks(write("m", "M1\tlof\nM2 lof,missense\n")) == {
        "M1": frozenset({"lof"}), "M2": frozenset({"lof", "missense"})
    }  # fmt: skip
    with pytest.raises(LeadlightError, match="without categories"):
        read_masks(write("m", "M1\n"))


def test_frequencies_may_mark_singletons(write):
    table = read_frequencies(write("f", "v1 0.01\nv2 0.0001 1\n"))
    assert table.rows() == [("v1", 0.01, None), ("v2", 0.0001, True)]
    with pytest.raises(LeadlightError, match="line 1"):
        read_frequencies(write("f", "v1 often\n"))


def test_only_annotated_variants_with_genotypes_of_the_sets_chromosome_are_used(
    write, write_genotypes
):
    calls = np.array([[0, 1, 2, 0], [1, 0, 0, 0], [0, 0, 1, 0], [1, 1, 0, 0]], dtype=np.int8)
    source = open_genotypes(write_genotypes(calls, chromosomes=["1", "1", "2", "1"]))
    files = read_genes(
        write("a", "rs0 G lof\nrs1 G other\nrs2 G lof\nrs9 G lof\nrs3 H lof\n"),
        write("s", "G 1 1 rs0,rs1,rs2,rs9\nH 1 1 rs3,rs0\n"),
        write("m", "M lof\nN nothing\n"),
        source.variants,
    )
    assert [(gene.name, gene.numbers.tolist()) for gene in files.genes] == [("G", [0]), ("H", [3])]
    assert files.counts["variants in the set list"] == 6
    assert files.counts["of them in the genotypes"] == 4
    assert files.counts["of them in a mask"] == 2
    assert files.counts["categories of the masks that no variant has"] == 1


def test_nothing_in_common_is_refused(write, write_genotypes):
    source = open_genotypes(write_genotypes(np.ones((1, 3), dtype=np.int8)))
    with pytest.raises(LeadlightError, match="No variant of"):
        read_genes(
            write("a", "x G lof\n"), write("s", "G 1 1 x\n"), write("m", "M lof\n"), source.variants
        )


def burden_of(example, source, people, number, mask, limit):
    files = read_genes(
        example / "example_3chr.annotations",
        example / "example_3chr.setlist",
        example / "example_3chr.masks",
        source.variants,
    )
    gene = files.genes[number]
    some = read_carriers(source.reader(people), gene.numbers, DIPLOID, source.people.sex[people])
    carriers = read_carriers(source.reader(), gene.numbers, DIPLOID, source.people.sex)
    prepared = prepare_gene(
        gene, files.masks, carriers, GeneSettings((limit,)), frequencies=some.frequency
    )
    own = prepared.sets[prepared.names["all", mask, f"{limit:g}"]]
    return prepared.matrix[:, [own.burden]].toarray()[:, 0]


def test_our_burdens_are_the_masks_that_regenie_published(example):
    """`SET1.M1.0.2` is ours to the person. `SET2.M2.0.2` is, once the frequencies are those of the
    people its example analysed: two variants lie at 0.2 with the six it removed, above without."""
    source = open_genotypes(example / "example_3chr.bed")
    published = open_genotypes(example / "example_3chr_masks.bed").reader().read(np.arange(2))
    lines = (example / "fid_iid_to_remove.txt").read_text().splitlines()
    removed = {line.split()[1] for line in lines if line.strip()}
    ids = source.people.person_ids
    analysed = np.array([i for i, one in enumerate(ids) if one not in removed], dtype=np.uint32)
    everybody = np.arange(len(ids), dtype=np.uint32)
    np.testing.assert_array_equal(burden_of(example, source, everybody, 0, "M1", 0.2), published[0])
    np.testing.assert_array_equal(burden_of(example, source, analysed, 1, "M2", 0.2), published[1])
    with_all = burden_of(example, source, everybody, 1, "M2", 0.2)
    assert (with_all != published[1]).sum() == 26


def test_domains_are_tested_beside_the_whole_gene(example):
    source = open_genotypes(example / "example_3chr.bed")
    files = read_genes(
        example / "example_3chr.annotationsV2",
        example / "example_3chr.setlist",
        example / "example_3chr.masks",
        source.variants,
    )
    gene = files.genes[0]
    carriers = read_carriers(source.reader(), gene.numbers, DIPLOID, source.people.sex)
    prepared = prepare_gene(gene, files.masks, carriers, GeneSettings((0.5,), singletons=False))
    domains = {domain for domain, _, _ in prepared.names}
    assert domains == {"all", "B-sheet", "Catalytic", "C‐terminal"}
    parts = [
        prepared.sets[prepared.names[domain, "M2", "0.5"]].variants
        for domain in sorted(domains - {"all"})
    ]
    whole = prepared.sets[prepared.names["all", "M2", "0.5"]].variants
    assert sorted(np.concatenate(parts).tolist()) == whole.tolist()
