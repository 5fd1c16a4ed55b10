import time
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from leadlight.errors import LeadlightError
from leadlight.genetics.results import (
    PartialResults,
    read_region,
    write_gwas_ssf,
    write_trait,
)

ROWS = 400_000


@pytest.fixture(scope="session")
def trait(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    chromosome = np.repeat([str(k) for k in range(1, 23)] + ["X"], -(-ROWS // 23))[:ROWS]
    variants = pa.table(
        {
            "chromosome": pa.array(chromosome).dictionary_encode(),
            "base_pair_location": np.arange(ROWS) % (-(-ROWS // 23)) * 100,
            "rsid": [f"rs{i}" for i in range(ROWS)],
            "effect_allele": pa.array(["A"] * ROWS).dictionary_encode(),
            "other_allele": pa.array(["C"] * ROWS).dictionary_encode(),
        }
    )
    statistics = rng.standard_normal((4, ROWS)).astype(np.float32)
    statistics[2, 17] = np.nan
    path = tmp_path_factory.mktemp("trait") / "y.parquet"
    assert write_trait(path, "y", variants, statistics, np.full(ROWS, 9, np.int32)) == ROWS - 1
    return path


@pytest.mark.parametrize(
    ("chromosome", "first", "last"),
    [("1", 1_000, 2_000), ("2", 0, 10**9), ("X", 5_000, 5_000), ("7", 10**8, 10**9), ("Y", 0, 9)],
)
def test_a_region_holds_what_lies_in_it(
    trait: Path, chromosome: str, first: int, last: int
) -> None:
    whole = pl.read_parquet(trait).with_columns(pl.col("chromosome").cast(pl.String))
    expected = whole.filter(
        (pl.col("chromosome") == chromosome) & pl.col("base_pair_location").is_between(first, last)
    )
    region = pl.DataFrame(pl.from_arrow(read_region(trait, chromosome, first, last)))
    assert region.with_columns(pl.col("chromosome").cast(pl.String)).equals(expected)
    few = read_region(trait, chromosome, first, last, ["rsid", "beta"])
    assert few.column_names == ["rsid", "beta"]
    assert few["rsid"].to_pylist() == expected["rsid"].to_list()


def test_a_region_is_found_in_milliseconds(trait: Path) -> None:
    times = []
    for k in range(10):
        start = time.process_time()
        read_region(trait, str(k + 1), 100_000, 200_000)
        times.append(time.process_time() - start)
    # The processor's time; the whole file takes ten times as long.
    assert min(times) < 0.05


def test_gwas_ssf_text_numbers_x_and_keeps_rs_numbers_only(tmp_path: Path) -> None:
    table = pl.DataFrame(
        {
            "chromosome": ["1", "X"],
            "base_pair_location": [5, 6],
            "effect_allele": ["A", "C"],
            "other_allele": ["G", "T"],
            "beta": [0.5, -1.0],
            "standard_error": [0.1, 0.2],
            "effect_allele_frequency": [0.25, 0.5],
            "neg_log_10_p_value": [400.0, 1.5],
            "rsid": ["rs12", "X:6:T:C"],
            "n": [10, 11],
        }
    )
    write_gwas_ssf(tmp_path / "x.tsv", table.to_arrow())
    lines = [line.split("\t") for line in (tmp_path / "x.tsv").read_text().splitlines()]
    # The order of GWAS-SSF's mandatory columns (GWAS Catalog, summary statistics format 1.0).
    assert lines[0][:8] == [
        "chromosome",
        "base_pair_location",
        "effect_allele",
        "other_allele",
        "beta",
        "standard_error",
        "effect_allele_frequency",
        "neg_log_10_p_value",
    ]
    assert [row[0] for row in lines[1:]] == ["1", "23"]
    assert [row[8:10] for row in lines[1:]] == [["rs12", "1_5_G_A"], ["#NA", "23_6_T_C"]]
    assert float(lines[1][7]) == 400


def test_a_region_of_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LeadlightError, match="does not exist"):
        read_region(tmp_path / "no.parquet", "1", 0, 1)


def test_a_full_disk_is_an_error_and_no_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("leadlight.genetics.results.os.posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        PartialResults(tmp_path / "partial", {}, 3, 1_000, 4)
    monkeypatch.undo()
    results = PartialResults(tmp_path / "partial", {}, 3, 1_000, 4)
    assert np.isnan(results.statistics).all()
    assert not results.done.any()


def test_a_region_of_a_table_with_plain_names_is_read_too(trait: Path, tmp_path: Path) -> None:
    """As `write_summary_statistics` and other programs write them, not as a dictionary."""
    ours = pl.read_parquet(trait)
    plain = tmp_path / "plain.parquet"
    ours.with_columns(pl.col("chromosome").cast(pl.String)).write_parquet(plain)
    place = int(ours["base_pair_location"][3])
    chromosome = str(ours["chromosome"][3])
    one, other = (read_region(path, chromosome, place - 5, place + 500) for path in (trait, plain))
    assert one.num_rows > 0
    assert one["rsid"].to_pylist() == other["rsid"].to_pylist()
