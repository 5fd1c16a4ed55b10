"""Genes by place, from BED and GTF."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from leadlight.errors import LeadlightError
from leadlight.genetics.gene_table import read_genes

BED = (
    "chr1\t99\t200\tOUTER\tENSG1\nchr1\t149\t160\tINNER\tENSG2\n"
    "chr1\t500\t600\tFAR\nX\t0\t10\tONX\n"
)


def test_bed_counts_from_0_and_we_from_1(tmp_path: Path) -> None:
    path = tmp_path / "genes.bed"
    path.write_text("# a comment\n" + BED)
    genes = read_genes(path)
    assert len(genes) == 4
    names, distance = genes.nearest("1", np.array([100, 99, 201, 155, 450, 9000]))
    assert names == ["OUTER", "OUTER", "OUTER", "INNER", "FAR", "FAR"]
    assert distance.tolist() == [0, 1, 1, 0, 51, 8400]


def test_a_stretch_overlaps_what_it_touches(tmp_path: Path) -> None:
    path = tmp_path / "genes.bed"
    path.write_text(BED)
    genes = read_genes(path)
    assert genes.overlapping("1", 160, 501) == ["OUTER", "INNER", "FAR"]
    assert genes.overlapping("1", 161, 500) == ["OUTER"]
    assert genes.overlapping("7", 1, 1000) == []
    assert genes.nearest("7", np.array([5]))[0] == [None]


def test_gtf_and_gff3_hold_the_same_genes(tmp_path: Path) -> None:
    gtf = tmp_path / "genes.gtf.gz"
    lines = [
        '1\tx\tgene\t100\t200\t.\t+\t.\tgene_id "ENSG1"; gene_name "OUTER";',
        '1\tx\texon\t100\t120\t.\t+\t.\tgene_id "ENSG1"; gene_name "OUTER";',
    ]
    with gzip.open(gtf, "wt") as stream:
        stream.write("\n".join(lines) + "\n")
    gff = tmp_path / "genes.gff3"
    gff.write_text("##gff\n1\tx\tgene\t100\t200\t.\t+\t.\tID=gene:ENSG1;Name=OUTER\n")
    one, two = read_genes(gtf), read_genes(gff)
    assert one.table.equals(two.table)
    assert one.table.row(0) == ("1", 100, 200, "OUTER", "ENSG1")


def test_the_published_gene_table_is_read(shared_data: Path) -> None:
    genes = read_genes(shared_data / "genes" / "gencode36_hg19.bed")
    assert len(genes) == 20_467
    names, distance = genes.nearest("3", np.array([38_600_000]))
    assert (names, distance.tolist()) == (["SCN5A"], [0])
    assert "NOS1AP" in genes.overlapping("1", 162_000_000, 162_400_000)


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "holds no gene"), ("1\tx\t5\tG\n", "line 1"), ("1\t500\t20\tG\n", "line 1")],
)
def test_what_is_no_gene_table_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "genes.bed"
    path.write_text(text)
    with pytest.raises(LeadlightError, match=said):
        read_genes(path)
    with pytest.raises(LeadlightError, match="does not exist"):
        read_genes(tmp_path / "none.bed")
