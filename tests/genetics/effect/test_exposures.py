from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from leadlight.errors import LeadlightError
from leadlight.genetics.effect.exposures import (
    burden_exposure,
    score_exposure,
    trait_exposure,
    variant_exposure,
)
from leadlight.genetics.genotypes import open_genotypes

CALLS = np.array([[0, 1, 2, -9, 1, 0], [1, 0, 0, 0, 0, 0], [2, 2, 2, 2, 1, 2]])


def test_a_variant_is_found_by_id_and_by_place(write_genotypes: Callable[..., Path]) -> None:
    source = open_genotypes(write_genotypes(CALLS))
    for name in ("rs0", "1:100", "1:100:A:G", "chr1:100"):
        found = variant_exposure(source, name)
        assert found.values[[0, 1, 2, 4]].tolist() == [0, 1, 2, 1]
        assert np.isnan(found.values[3])
        assert found.group.tolist() == [0, 1, 2, -1, 1, 0]
    assert found.groups == ("A/A", "A/G", "G/G")
    with pytest.raises(LeadlightError, match="rs77"):
        variant_exposure(source, "rs77")


def test_a_burden_counts_the_rarer_allele_of_the_masks_variants(
    write_genotypes: Callable[..., Path], tmp_path: Path
) -> None:
    source = open_genotypes(write_genotypes(CALLS))
    paths = [tmp_path / name for name in ("annotations", "sets", "masks")]
    paths[0].write_text("rs0 GENE missense\nrs1 GENE lof\nrs2 GENE lof\n")
    paths[1].write_text("GENE 1 100 rs0,rs1,rs2\n")
    paths[2].write_text("strict lof\nwide lof,missense\n")
    strict = burden_exposure(source, "GENE", *paths, rare_below=0.2)
    # rs1's alternative allele and rs2's reference allele are the rare ones.
    assert strict.values.tolist() == [1, 0, 0, 0, 1, 0]
    assert strict.about["carriers"] == 2
    with pytest.raises(LeadlightError, match="nothing"):
        burden_exposure(source, "GENE", *paths, mask="nothing")
    with pytest.raises(LeadlightError, match="Nobody carries"):
        burden_exposure(source, "GENE", *paths, rare_below=0.01)


def test_a_disease_counts_per_case_and_a_quantity_per_sd(
    write_table: Callable[..., Path],
) -> None:
    rng = np.random.default_rng(0)
    values = np.column_stack([rng.integers(0, 2, 200), rng.normal(120, 15, 200)])
    values[:, 0][:2] = 0, 1
    path = write_table("traits.tsv", ["AF", "pressure"], values)
    disease, pressure = (trait_exposure(path, name) for name in ("AF", "pressure"))
    assert disease.values.tolist() == values[:, 0].tolist()
    assert disease.groups == ("without AF", "with AF")
    assert np.nanstd(pressure.values) == pytest.approx(1)
    assert (pressure.group == 0).sum() == (pressure.group == 1).sum() == 20


def test_a_score_comes_from_weights_or_from_a_table_of_people(
    write_genotypes: Callable[..., Path], write_table: Callable[..., Path], tmp_path: Path
) -> None:
    calls = np.random.default_rng(1).binomial(2, 0.4, (3, 60))
    source = open_genotypes(write_genotypes(calls))
    weights = tmp_path / "score.parquet"
    pl.DataFrame(
        {
            "chromosome": ["1", "1"],
            "base_pair_location": [100, 300],
            "effect_allele": ["G", "A"],
            "other_allele": ["A", "G"],
            "weight": [1.0, 0.5],
        }
    ).write_parquet(weights)
    from_weights = score_exposure(source, weights)
    expected = calls[0] - 0.5 * calls[2]
    assert np.corrcoef(from_weights.values, expected)[0, 1] == pytest.approx(1)
    table = write_table("score.tsv", ["score"], expected[:, None].astype(float))
    assert score_exposure(None, table).values == pytest.approx(from_weights.values)
