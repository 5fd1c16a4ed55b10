import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leadlight.errors import LeadlightError
from leadlight.simulate.genotype_files import (
    FORMATS,
    MISSING,
    GenotypeWriter,
    check_formats,
    hard_calls,
    n_people_of,
    read_blocks,
)

pgenlib = pytest.importorskip("pgenlib")


def _variants(count: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "chromosome": [1] * (count // 2) + [2] * (count - count // 2),
            "position": [100 + 7 * number for number in range(count)],
            "id": [f"v{number}" for number in range(count)],
            "reference": ["A"] * count,
            "alternative": ["G"] * count,
        }
    )


def _write(prefix: Path, calls: np.ndarray, formats: tuple[str, ...] = FORMATS) -> None:
    names = [f"p{number}" for number in range(calls.shape[1])]
    sex = np.where(np.arange(len(names)) % 2, "M", "F")
    table = _variants(len(calls))
    with GenotypeWriter(prefix, formats, names, sex, len(calls), (1, 2)) as writer:
        for start in range(0, len(calls), 3):
            writer.write(table[start : start + 3], calls[start : start + 3])


def _drawn(n_variants: int, people: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.choice(np.array([0, 1, 2, MISSING], dtype=np.int8), size=(n_variants, people))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(1, 9), st.integers(1, 21), st.integers(0, 9999))
def test_pgen_and_bed_give_back_the_calls(
    tmp_path: Path, n_variants: int, people: int, seed: int
) -> None:
    calls = _drawn(n_variants, people, seed)
    _write(tmp_path / "x", calls, ("pgen", "bed"))
    for ending in ("pgen", "bed"):
        with pgenlib.PgenReader(
            str(tmp_path / f"x.{ending}").encode(), raw_sample_ct=people
        ) as reader:
            read = np.empty_like(calls)
            reader.read_range(0, n_variants, read)
        np.testing.assert_array_equal(read, calls)
    assert n_people_of(tmp_path / "x.pgen") == people
    np.testing.assert_array_equal(np.concatenate(list(read_blocks(tmp_path / "x.pgen"))), calls)
    some = [0, n_variants - 1] if n_variants > 1 else [0]
    np.testing.assert_array_equal(
        np.concatenate(list(read_blocks(tmp_path / "x.pgen", some))), calls[some]
    )


def test_other_readers_see_the_same_calls_in_bed_and_vcf(tmp_path: Path) -> None:
    bed_reader = pytest.importorskip(
        "bed_reader", reason="bed-reader, an independent reader, is absent"
    )
    cyvcf2 = pytest.importorskip("cyvcf2")
    calls = _drawn(11, 7, 3)
    _write(tmp_path / "x", calls)
    bed = bed_reader.open_bed(tmp_path / "x.bed", count_A1=True)
    found = bed.read(dtype="int8").T
    np.testing.assert_array_equal(np.where(found == -127, MISSING, found), calls)
    assert bed.iid.tolist() == [f"p{number}" for number in range(7)]
    assert bed.allele_1.tolist() == ["G"] * 11
    vcf = cyvcf2.VCF(str(tmp_path / "x.vcf.gz"))
    assert vcf.samples == [f"p{number}" for number in range(7)]
    code = {0: 0, 1: 1, 3: 2, 2: MISSING}  # of cyvcf2's gt_types
    rows = list(vcf)
    seen = np.array([[code[int(one)] for one in row.gt_types] for row in rows])
    np.testing.assert_array_equal(seen, calls)
    assert [row.ID for row in rows] == _variants(11)["id"].to_list()
    # BGZF, not plain gzip: the extra field names blocks.
    assert (tmp_path / "x.vcf.gz").read_bytes()[12:14] == b"BC"


def test_plink2_validates_the_pgen_and_counts_the_same_in_all_three(tmp_path: Path) -> None:
    plink2 = shutil.which("plink2")
    if plink2 is None:
        pytest.skip("plink2 is not installed")
    calls = _drawn(40, 33, 1)
    _write(tmp_path / "x", calls)
    tables = []
    for how in (["--pfile", "x"], ["--bfile", "x"], ["--vcf", "x.vcf.gz"]):
        subprocess.run(
            [plink2, *how, "--freq", "--out", "f"], cwd=tmp_path, check=True, capture_output=True
        )
        tables.append((tmp_path / "f.afreq").read_text())
    assert tables[0] == tables[1] == tables[2]
    table = pl.read_csv(tables[0].encode(), separator="\t")
    known = calls != MISSING
    np.testing.assert_array_equal(table["OBS_CT"], 2 * known.sum(axis=1))
    np.testing.assert_allclose(
        table["ALT_FREQS"], np.where(known, calls, 0).sum(axis=1) / (2 * known.sum(axis=1)),
        rtol=1e-5,
    )  # fmt: skip
    done = subprocess.run(
        [plink2, "--pfile", "x", "--validate"], cwd=tmp_path, check=True, capture_output=True
    )
    assert b"done." in done.stdout


def test_dosages_come_back_and_hard_calls_follow_from_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    dosages = rng.uniform(0, 2, (6, 50)).astype(np.float32)
    calls = hard_calls(dosages)
    names = [str(number) for number in range(50)]
    with GenotypeWriter(
        tmp_path / "d", ("pgen", "bed"), names, np.full(50, "F"), 6, (1, 2), dosages=True
    ) as writer:
        writer.write(_variants(6), calls, dosages)
    with pgenlib.PgenReader(str(tmp_path / "d.pgen").encode()) as reader:
        read = np.empty((6, 50), dtype=np.float32)
        reader.read_dosages_range(0, 6, read)
        hard = np.empty((6, 50), dtype=np.int8)
        reader.read_range(0, 6, hard)
    np.testing.assert_allclose(read, dosages, atol=1 / 16384)
    off = np.abs(dosages - np.rint(dosages))
    clear = np.abs(off - 0.1) > 1e-4  # what rounding on disk cannot move over the threshold
    np.testing.assert_array_equal(hard[clear], calls[clear])
    assert (calls == MISSING).any()


@pytest.mark.parametrize(
    ("stop", "told"), [(KeyboardInterrupt, KeyboardInterrupt), (None, RuntimeError)]
)
def test_what_broke_a_writing_is_what_is_told(
    tmp_path: Path, stop: type[BaseException] | None, told: type[BaseException]
) -> None:
    names, sex = [str(number) for number in range(5)], np.full(5, "F")

    def write_four_of_nine() -> None:
        with GenotypeWriter(tmp_path / "x", ("pgen",), names, sex, 9, (1, 2)) as writer:
            writer.write(_variants(4), _drawn(4, 5, 0))
            if stop is not None:
                raise stop

    with pytest.raises(told):
        write_four_of_nine()


def test_an_unknown_format_or_an_absent_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LeadlightError, match="bgen"):
        check_formats(("pgen", "bgen"))
    with pytest.raises(LeadlightError, match="named"):
        check_formats(())
    monkeypatch.setitem(sys.modules, "cyvcf2", None)
    check_formats(("pgen", "bed"))
    with pytest.raises(LeadlightError, match="cyvcf2"):
        check_formats(("vcf",))
