import contextlib
import gzip
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cyvcf2
import numpy as np
import pytest

from leadlight.errors import LeadlightError
from leadlight.genetics.genotypes import GenotypeSource, open_genotypes
from leadlight.genetics.variant_tables import (
    DIPLOID,
    HAPLOID,
    X_LINKED,
    Y_LINKED,
    read_people,
    read_variants,
    sorted_order,
)


def all_calls(source: GenotypeSource) -> np.ndarray:
    return np.concatenate([calls for _, calls in source.blocks(300)])


def test_bed_pgen_and_bgen_of_the_same_people_hold_the_same_calls(
    shared_data: Path, tmp_path: Path
) -> None:
    folder = shared_data / "genotypes" / "formats_500"
    bed = open_genotypes(folder / "example.bed")
    pgen = open_genotypes(folder / "example.pgen")
    bgen = open_genotypes(folder / "example.bgen", cache=tmp_path)
    assert bed.people.person_ids == pgen.people.person_ids == bgen.people.person_ids
    assert np.array_equal(all_calls(bed), all_calls(pgen))
    # This BGEN counts its second allele, which is the .bim's second: the other one.
    assert bgen.variants.table["effect_allele"].equals(bed.variants.table["other_allele"])
    assert np.array_equal(all_calls(bgen), 2 - all_calls(bed))


def test_a_block_of_chosen_people_is_a_cut_of_the_whole(shared_data: Path) -> None:
    source = open_genotypes(shared_data / "genotypes" / "hapmap3_957_bed" / "data")
    chosen = np.array([3, 4, 100, 956], dtype=np.uint32)
    numbers = np.array([5, 14_388])
    with source.reader() as everybody, source.reader(chosen) as some:
        assert np.array_equal(everybody.read(numbers)[:, chosen], some.read(numbers))


def test_missing_calls_are_negative_or_nan(write_genotypes: Callable[..., Path]) -> None:
    calls = np.array([[0, 1, -9], [2, -9, 1]], dtype=np.int8)
    assert np.array_equal(all_calls(open_genotypes(write_genotypes(calls))), calls)
    dosages = np.array([[0.25, 1.5, -9], [2, 0, 1]])
    source = open_genotypes(write_genotypes(dosages, name="dosages"))
    assert source.has_dosages.tolist() == [True, False]
    expected = np.where(dosages < 0, np.nan, dosages)
    assert np.allclose(all_calls(source), expected, equal_nan=True, atol=1e-4)


def test_several_files_follow_each_other(write_genotypes: Callable[..., Path]) -> None:
    rng = np.random.default_rng(0)
    parts = [rng.integers(0, 3, (3, 10)).astype(np.int8) for _ in range(3)]
    files = [write_genotypes(p, [str(i + 1)] * 3, name=f"chr{i}") for i, p in enumerate(parts)]
    source = open_genotypes(files)
    assert np.array_equal(all_calls(source), np.concatenate(parts))
    with source.reader() as reader:
        picked = reader.read(np.array([1, 4, 5, 8]))
    assert np.array_equal(picked, np.concatenate(parts)[[1, 4, 5, 8]])


def test_files_of_different_people_are_refused(write_genotypes: Callable[..., Path]) -> None:
    one = write_genotypes(np.zeros((1, 5), np.int8), name="one")
    two = write_genotypes(np.zeros((1, 6), np.int8), name="two")
    with pytest.raises(LeadlightError, match="same people"):
        open_genotypes([one, two])


@pytest.mark.parametrize("ending", [".pgen", ".bed"])
def test_a_file_that_is_cut_off_or_not_its_tables_is_refused(
    shared_data: Path, tmp_path: Path, ending: str
) -> None:
    folder = shared_data / "genotypes" / "formats_500"
    for beside in (".pvar", ".psam", ".bim", ".fam"):
        shutil.copy(folder / f"example{beside}", tmp_path / f"x{beside}")
    data = (folder / f"example{ending}").read_bytes()
    broken = tmp_path / f"x{ending}"
    broken.write_bytes(data[:-1000])
    with pytest.raises(LeadlightError, match=r"x\.(pgen|bed) (has|cannot be read)"):
        all_calls(open_genotypes(broken))
    broken.write_bytes(b"not genotypes at all")
    with pytest.raises(LeadlightError, match=r"is no"):
        open_genotypes(broken)
    broken.write_bytes(data)
    table = tmp_path / ("x.pvar" if ending == ".pgen" else "x.bim")
    table.write_text("\n".join(table.read_text().splitlines()[:-5]) + "\n")
    with pytest.raises(LeadlightError, match=r"tables name|variants need"):
        open_genotypes(broken)


def test_what_is_not_there_is_named(tmp_path: Path, write_genotypes: Callable[..., Path]) -> None:
    with pytest.raises(LeadlightError, match="no genotypes at"):
        open_genotypes(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(LeadlightError, match="holds no genotype file"):
        open_genotypes(tmp_path / "empty")
    prefix = write_genotypes(np.zeros((1, 5), np.int8))
    Path(f"{prefix}.psam").unlink()
    with pytest.raises(LeadlightError, match=r"genotypes\.psam is absent"):
        open_genotypes(prefix)


def test_duplicate_people_are_refused(write_genotypes: Callable[..., Path]) -> None:
    prefix = write_genotypes(np.zeros((1, 3), np.int8))
    table = Path(f"{prefix}.psam")
    table.write_text(table.read_text().replace("p2", "p1"))
    with pytest.raises(LeadlightError, match="names p1 twice"):
        open_genotypes(prefix)


def test_chromosomes_are_named_one_way_and_counted_by_their_copies(tmp_path: Path) -> None:
    path = tmp_path / "x.pvar"
    rows = ["chr1\t5", "23\t3000000", "chrX\t100000", "24\t8", "XY\t9", "26\t1", "chrM\t2"]
    text = "".join(f"{row}\t.\tA\tC\n" for row in rows)
    path.write_text(f"##comment\n#CHROM\tPOS\tID\tREF\tALT\n{text}")
    variants = read_variants(path)
    names = variants.table["chromosome"].to_pylist()
    assert names == ["1", "X", "X", "Y", "X", "MT", "MT"]
    kinds = [DIPLOID, X_LINKED, X_LINKED, Y_LINKED, DIPLOID, HAPLOID, HAPLOID]
    assert variants.kind.tolist() == kinds
    assert variants.table["rsid"].to_pylist()[:2] == ["1:5:A:C", "X:3000000:A:C"]
    # The region at 60,001–2,699,520 of X has two copies in men as well.
    assert read_variants(path, "GRCh37").kind.tolist()[1:3] == [X_LINKED, DIPLOID]
    order = sorted_order(variants)
    assert order is not None
    assert [names[i] for i in order] == ["1", "X", "X", "X", "Y", "MT", "MT"]


def test_a_table_that_is_none_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x.pvar"
    path.write_text("#CHROM\tPOS\tID\tREF\tALT\n1\tfive\trs1\tA\tC\n")
    with pytest.raises(LeadlightError, match="no table of variants"):
        read_variants(path)
    path.write_text("#CHROM\tPOS\tID\tREF\n1\t5\trs1\tA\n")
    with pytest.raises(LeadlightError, match="no column ALT"):
        read_variants(path)
    people = tmp_path / "x.psam"
    people.write_text("")
    with pytest.raises(LeadlightError, match="names nobody"):
        read_people(people)


VCF = """##fileformat=VCFv4.2
##contig=<ID=1>
##contig=<ID=X>
##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">
##FORMAT=<ID=DS,Number=1,Type=Float,Description="Dosage">
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tann\tbob\tcyd
1\t10\trs1\tA\tG\t.\tPASS\t.\tGT\t0/1\t1|1\t./.
1\t20\trs2\tA\tG,T\t.\tPASS\t.\tGT\t0/1\t1|2\t0/0
1\t30\trs3\tA\tG\t.\tPASS\t.\tGT:DS\t0/1:0.75\t1|1:1.5\t0/0:.
1\t40\trs4\tA\tG\t.\tPASS\t.\tGT\t0/1\t1/.\t0/0
X\t50\trs5\tA\tG\t.\tPASS\t.\tGT\t0/1\t1\t0/0
"""


def test_vcf_dosages_and_calls_of_one_allele(tmp_path: Path) -> None:
    path = tmp_path / "x.vcf"
    path.write_text(VCF)
    source = open_genotypes(path, cache=tmp_path / "cache")
    assert source.people.person_ids == ("ann", "bob", "cyd")
    assert source.people.sex.tolist() == [2, 1, 2]
    assert source.variants.table["rsid"].to_pylist() == ["rs1", "rs3", "rs4", "rs5"]
    expected = [[1, 2, np.nan], [0.75, 1.5, np.nan], [1, np.nan, 0], [1, 2, 0]]
    assert np.allclose(all_calls(source), expected, equal_nan=True, atol=1e-4)


def test_a_bcf_holds_what_its_vcf_does(tmp_path: Path) -> None:
    text, binary = tmp_path / "x.vcf", tmp_path / "x.bcf"
    text.write_text(VCF)
    read = cyvcf2.VCF(str(text))
    with contextlib.closing(cyvcf2.Writer(str(binary), read, mode="wb")) as writer:
        for row in read:
            writer.write_record(row)
    one = open_genotypes(text, cache=tmp_path / "one")
    other = open_genotypes(binary, cache=tmp_path / "other")
    assert other.variants.table.equals(one.variants.table)
    assert np.array_equal(all_calls(other), all_calls(one), equal_nan=True)


def write_bgen(path: Path, dosages: np.ndarray, bits: int, squeezed: int) -> None:
    """BGEN 1.2, layout 2, unphased, of (variant, person) dosages of the second allele in [0, 2].

    A dosage d is stored as P(AB) = 1 - |d - 1| and P(AA) = max(0, 1 - d); NaN as missing.
    squeezed: 0 plain, 1 zlib.
    """
    n_variants, n_people = dosages.shape
    names = b"".join(struct.pack("<H", 2) + b"p%d" % person for person in range(n_people))
    sample_block = struct.pack("<II", 8 + len(names), n_people) + names
    flags = squeezed | 2 << 2 | 1 << 31
    header = struct.pack("<III4sI", 20, n_variants, n_people, b"bgen", flags)
    found = struct.pack("<I", len(header) + len(sample_block)) + header + sample_block
    top = 2**bits - 1
    for number, row in enumerate(dosages):
        missing = np.isnan(row)
        known = np.where(missing, 0, row)
        both = np.round(np.stack([np.maximum(0, 1 - known), 1 - np.abs(known - 1)], 1) * top)
        both[missing] = 0
        ploidy = np.where(missing, 0x82, 2).astype(np.uint8).tobytes()
        stored = both.astype(np.uint8 if bits == 8 else "<u2").tobytes()
        block = struct.pack("<IHBB", n_people, 2, 2, 2) + ploidy + struct.pack("<BB", 0, bits)
        block += stored
        body = zlib.compress(block) if squeezed else block
        body = struct.pack("<I", len(block)) + body if squeezed else body
        rsid = b"rs%d" % number
        found += struct.pack("<H", len(rsid)) + rsid + struct.pack("<H", len(rsid)) + rsid
        found += struct.pack("<H", 1) + b"1" + struct.pack("<IH", 10 + number, 2)
        found += struct.pack("<I", 1) + b"A" + struct.pack("<I", 1) + b"G"
        found += struct.pack("<I", len(body)) + body
    path.write_bytes(found)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("squeezed", [0, 1])
def test_dosages_of_a_bgen_come_back(tmp_path: Path, bits: int, squeezed: int) -> None:
    rng = np.random.default_rng(bits + squeezed)
    dosages = rng.uniform(0, 2, (12, 9))
    dosages[rng.random(dosages.shape) < 0.1] = np.nan
    write_bgen(tmp_path / "x.bgen", dosages, bits, squeezed)
    source = open_genotypes(tmp_path / "x.bgen", cache=tmp_path / "cache")
    assert source.people.person_ids == tuple(f"p{person}" for person in range(9))
    assert set(source.variants.table["effect_allele"].to_pylist()) == {"G"}
    # Two probabilities are rounded, then the dosage to 1/16384.
    assert np.allclose(all_calls(source), dosages, equal_nan=True, atol=2 / (2**bits - 1) + 1e-4)


def test_a_vcf_is_converted_once_and_again_when_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "x.vcf"
    path.write_text(VCF)
    made = open_genotypes(path, cache=tmp_path / "cache").files[0].path
    before = made.stat().st_mtime_ns
    assert open_genotypes(path, cache=tmp_path / "cache").files[0].path == made
    assert made.stat().st_mtime_ns == before
    path.write_text(VCF.replace("rs5", "rs55"))
    again = open_genotypes(path, cache=tmp_path / "cache")
    assert again.variants.table["rsid"].to_pylist()[-1] == "rs55"


def test_a_vcf_or_bgen_that_is_cut_off_leaves_nothing_behind(
    shared_data: Path, tmp_path: Path
) -> None:
    folder = shared_data / "genotypes"
    whole = next((folder / "kg_1126_vcf").glob("*chr22.vcf.gz"))
    names = {"cut.vcf.gz": whole, "cut.bgen": folder / "formats_500" / "example.bgen"}
    for name, file in names.items():
        data = file.read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        with pytest.raises(LeadlightError, match=r"cut\.(vcf\.gz|bgen)"):
            open_genotypes(tmp_path / name, cache=tmp_path / "cache")
    assert not any((tmp_path / "cache").iterdir())
    plain = tmp_path / "plain.vcf.gz"
    data = gzip.compress(VCF.encode() * 50)
    plain.write_bytes(data[: len(data) - 20])
    with pytest.raises(LeadlightError, match=r"plain\.vcf\.gz"):
        open_genotypes(plain, cache=tmp_path / "cache")
