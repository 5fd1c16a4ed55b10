from pathlib import Path

import numpy as np
import polars as pl
import pytest

from leadlight.errors import LeadlightError
from leadlight.genetics.results import COLUMNS
from leadlight.genetics.summary_statistics import (
    FORMATS,
    read_summary_statistics,
    write_summary_statistics,
)


def table(rows: int = 50) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    beta, error = rng.standard_normal(rows), rng.uniform(0.1, 1, rows)
    return pl.DataFrame(
        {
            "chromosome": ["1", "X"] * (rows // 2),
            "base_pair_location": np.arange(rows) + 1_000_000,
            "effect_allele": ["A"] * rows,
            "other_allele": ["GT"] * rows,
            "beta": beta,
            "standard_error": error,
            "effect_allele_frequency": rng.uniform(0, 1, rows),
            "neg_log_10_p_value": rng.exponential(200, rows),
            "rsid": [f"rs{i}" for i in range(rows)],
            "n": np.full(rows, 4_321),
        }
    )


@pytest.mark.parametrize("style", FORMATS)
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_what_is_written_in_a_format_is_read_back(tmp_path: Path, style: str, ending: str) -> None:
    path = tmp_path / f"trait.{style}{ending if style != 'leadlight' else ''}"
    write_summary_statistics(table(), path, style)
    again = read_summary_statistics(path)
    assert again.columns == list(COLUMNS)
    for name in COLUMNS:
        if again[name].dtype.is_float():
            assert np.allclose(again[name], table()[name], rtol=1e-12)
        else:
            assert again[name].to_list() == table()[name].to_list()


def test_regenies_own_file_is_read(shared_data: Path) -> None:
    path = shared_data / "genotypes" / "formats_500" / "test_bin_out_firth_Y1.regenie"
    read = read_summary_statistics(path)
    first = path.read_text().splitlines()[1].split()
    row = read.row(0, named=True)
    assert (row["other_allele"], row["effect_allele"]) == (first[3], first[4])
    assert row["beta"] == float(first[9])
    assert row["neg_log_10_p_value"] == float(first[12])
    assert read.height == len(path.read_text().splitlines()) - 1


def test_plink_2s_a1_may_be_its_ref_and_other_tests_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "x.glm.linear"
    path.write_text(
        "#CHROM\tPOS\tID\tREF\tALT\tA1\tTEST\tOBS_CT\tBETA\tSE\tT_STAT\tP\n"
        "1\t5\trs1\tC\tT\tT\tADD\t90\t0.5\t0.1\t5\t1e-6\n"
        "1\t5\trs1\tC\tT\tT\tCOV1\t90\t0.5\t0.1\t5\t1e-6\n"
        "23\t6\trs2\tC\tT\tC\tADD\t91\t-0.5\t0.1\t-5\t0.001\n"
        "23\t7\trs3\tC\tT\tC\tADD\t91\tNA\tNA\tNA\tNA\n"
    )
    read = read_summary_statistics(path)
    assert read["rsid"].to_list() == ["rs1", "rs2"]
    assert read["chromosome"].to_list() == ["1", "X"]
    assert read["other_allele"].to_list() == ["C", "T"]
    assert read["neg_log_10_p_value"].to_list() == pytest.approx([6, 3])
    assert read["effect_allele_frequency"].null_count() == 2


def test_an_odds_ratio_becomes_its_logarithm(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_text(
        "chromosome\tbase_pair_location\teffect_allele\tother_allele\todds_ratio\tstandard_error\t"
        "effect_allele_frequency\tp_value\n2\t7\tA\tG\t2.0\t0.1\t0.3\t1e-10\n"
    )
    row = read_summary_statistics(path).row(0, named=True)
    assert row["beta"] == pytest.approx(np.log(2))
    assert row["neg_log_10_p_value"] == pytest.approx(10)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a\tb\n1\t2\n", "nobody's that we know"),
        ("#CHROM\tPOS\tA1\tBETA\tSE\n1\t2\tA\t1\t1\n", "no REF and ALT"),
        (
            "chromosome\tbase_pair_location\teffect_allele\tother_allele\tbeta\tstandard_error\t"
            "p_value\n1\t2\tA\tC\t1\t1\t0\n",
            "p-values of 0",
        ),
        (
            "chromosome\tbase_pair_location\teffect_allele\tother_allele\tbeta\tstandard_error\n"
            "1\t2\tA\tC\tbig\t1\n",
            "words among its numbers",
        ),
        ("", "x.tsv"),
    ],
)
def test_a_bad_file_says_what_is_wrong(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "x.tsv"
    path.write_text(text)
    with pytest.raises(LeadlightError, match=complaint):
        read_summary_statistics(path)


@pytest.mark.parametrize("count", ["-1e999500", "inf", "1e300"])
def test_a_number_of_people_that_is_no_count_is_refused(tmp_path: Path, count: str) -> None:
    path = tmp_path / "trait.tsv"
    path.write_text(
        "chromosome\tbase_pair_location\teffect_allele\tother_allele\tbeta\tstandard_error\tn\n"
        f"1\t1000\tA\tG\t0.1\t0.02\t{count}\n"
    )
    with pytest.raises(LeadlightError, match="has a n that is no count"):
        read_summary_statistics(path)
