from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from leadlight.errors import LeadlightError
from leadlight.genetics.effect.loci_map import lead_variants, loci_map
from leadlight.genetics.effect.locus import read_bed, read_locus
from leadlight.genetics.genotypes import open_genotypes
from leadlight.genetics.results import COLUMNS

FACTORS = ["factor_01", "factor_02"]


@pytest.fixture
def gwas(tmp_path: Path) -> Path:
    folder = tmp_path / "gwas"
    folder.mkdir()
    for place, name in enumerate(FACTORS):
        pl.DataFrame(
            {
                "chromosome": pl.Series(["1"] * 5, dtype=pl.Categorical),
                "base_pair_location": [100, 200, 300, 400, 500],
                "effect_allele": ["G"] * 5,
                "other_allele": ["A"] * 5,
                "beta": [0.1, 0.5, -0.2, 0.0, 0.1 * (place + 1)],
                "standard_error": [0.1] * 5,
                "effect_allele_frequency": [0.3] * 5,
                "neg_log_10_p_value": [0.5, 6.0, 1.3, 0.0, 0.7],
                "rsid": [f"rs{k}" for k in range(5)],
                "n": [100] * 5,
            }
        ).select(COLUMNS).write_parquet(folder / f"{name}.parquet")
    return folder


def test_linkage_is_squared_correlation_with_the_lead(
    gwas: Path, write_genotypes: Callable[..., Path]
) -> None:
    rng = np.random.default_rng(0)
    calls = rng.binomial(2, 0.4, (5, 200))
    calls[2] = np.where(rng.random(200) < 0.8, calls[1], calls[2])
    source = open_genotypes(write_genotypes(calls))
    found = read_locus(gwas, "1", 200, "rs1", trait="factor_01", source=source, flank_bp=250)
    expected = [np.corrcoef(calls[1], row)[0, 1] ** 2 for row in calls[:4]]
    assert found.variants["r2"].to_list() == pytest.approx(expected, abs=1e-6)
    assert found.variants["rsid"].to_list() == ["rs0", "rs1", "rs2", "rs3"]


def test_the_credible_set_is_joined_by_name(gwas: Path, tmp_path: Path) -> None:
    pl.DataFrame(
        {
            "rsid": ["rs1", "rs2", "rs2"], "chromosome": ["1"] * 3,
            "base_pair_location": [200, 300, 300], "pip": [0.9, 0.05, 0.2],
            "in_set": [True, False, True],
        }
    ).write_parquet(tmp_path / "credible_sets.parquet")  # fmt: skip
    found = read_locus(gwas, "1", 200, "rs1", trait="factor_01", loci=tmp_path)
    assert found.variants["pip"].to_list() == [None, 0.9, 0.2, None, None]
    assert found.variants["in_set"].to_list() == [None, True, True, None, None]
    assert found.variants["r2"].null_count() == 5


def test_of_many_sets_of_a_locus_the_primary_ones_are_drawn(gwas: Path, tmp_path: Path) -> None:
    pl.DataFrame(
        {
            "rsid": ["rs1", "rs2"], "chromosome": ["1"] * 2, "base_pair_location": [200, 300],
            "pip": [0.9, 0.8], "in_set": [True, True], "primary": [True, False],
        }
    ).write_parquet(tmp_path / "credible_sets.parquet")  # fmt: skip
    found = read_locus(gwas, "1", 200, "rs1", trait="factor_01", loci=tmp_path)
    assert found.variants["in_set"].to_list() == [None, True, None, None, None]


def test_genes_that_reach_into_the_stretch_are_read(tmp_path: Path) -> None:
    path = tmp_path / "genes.bed"
    path.write_text("chr1\t0\t150\tONE\t.\t+\nchr1\t400\t900\tTWO\nchr2\t0\t900\tOTHER\n")
    found = read_bed(path, "1", 100, 300)
    assert found.rows() == [("ONE", 1, 150, "+")]
    path.write_text("chr1 somewhere ONE\n")
    with pytest.raises(LeadlightError, match="line 1"):
        read_bed(path, "1", 100, 300)


def test_a_recombination_map_is_read_where_the_locus_is(gwas: Path, tmp_path: Path) -> None:
    path = tmp_path / "map.txt"
    path.write_text(
        "Chromosome\tPosition(bp)\tRate(cM/Mb)\nchr1\t150\t2.5\nchr1\t9000\t1\nchr2\t150\t7\n"
    )
    found = read_locus(gwas, "1", 200, "rs1", trait="factor_01", recombination=path, flank_bp=250)
    assert found.recombination.rows() == [(150, 2.5)]


def test_the_map_of_loci_holds_z_and_the_false_discovery_rate(gwas: Path, tmp_path: Path) -> None:
    pl.DataFrame(
        {"locus": [1, 2], "lead_variant": ["rs1", "rs99"], "nearest_gene": ["GENE", None]}
    ).write_parquet(tmp_path / "loci.parquet")
    ids, names = lead_variants(tmp_path)
    assert names == ["GENE (rs1)", "rs99"]
    found = loci_map(gwas, ids, names, FACTORS, FACTORS)
    assert found.loci == ["GENE (rs1)"]
    assert found.z.tolist() == [[5.0, 5.0]]
    assert (found.q < 0.05).all()
    with pytest.raises(LeadlightError, match="none of the"):
        loci_map(gwas, ["rs99"], ["x"], FACTORS, FACTORS)
