from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from leadlight.errors import LeadlightError
from leadlight.genetics.stage import run_gwas

PEOPLE = 240


def test_effects_of_men_and_women_are_those_of_least_squares(
    write_genotypes: Callable[..., Path],
    write_table: Callable[..., Path],
    tmp_path: Path,
    least_squares: Callable[..., tuple[Any, Any, int]],
) -> None:
    rng = np.random.default_rng(8)
    calls = rng.binomial(2, [[0.2], [0.7], [0.5], [0.3]], (4, PEOPLE)).astype(np.int8)
    woman = np.arange(PEOPLE) % 2 == 1
    calls[3, ~woman] = 2 * (calls[3, ~woman] > 0)
    calls[rng.random(calls.shape) < 0.05] = -9
    covariates = rng.standard_normal((PEOPLE, 2))
    traits = rng.standard_normal((PEOPLE, 2)) * [1, 30] + woman[:, None] * [0.5, 10]
    traits += (np.maximum(calls[1], 0) * woman)[:, None] * [0.8, 0]
    traits[:20, 1] = np.nan
    out = tmp_path / "out"
    run_gwas(
        write_genotypes(calls, ["1", "1", "2", "X"]),
        write_table("t.tsv", ["a", "b"], traits),
        out,
        covariates=write_table("c.tsv", ["u", "v"], covariates),
        sex_interaction=True,
    )
    for k, name in enumerate(("a", "b")):
        table = pl.read_parquet(out / f"{name}.sex.parquet")
        assert table.height == 4
        for v, row in enumerate(table.iter_rows(named=True)):
            keep = (calls[v] >= 0) & np.isfinite(traits[:, k])
            g = calls[v].astype(float)
            x = np.column_stack([g * ~woman, g * woman, np.ones(PEOPLE), woman, covariates])[keep]
            beta, error, _ = least_squares(traits[keep, k], x)
            for sex, at in (("men", 0), ("women", 1)):
                assert row[f"beta_{sex}"] == pytest.approx(beta[at], rel=1e-5, abs=1e-6 * error[at])
                assert row[f"standard_error_{sex}"] == pytest.approx(error[at], rel=1e-5)
            x[:, 0] += x[:, 1]
            beta, error, _ = least_squares(traits[keep, k], x)
            assert row["beta_interaction"] == pytest.approx(beta[1], abs=1e-5 * error[1])
            assert row["standard_error_interaction"] == pytest.approx(error[1], rel=1e-5)
            assert row["n"] == keep.sum()
    assert pl.read_parquet(out / "a.sex.parquet")["neg_log_10_p_interaction"].arg_max() == 1


def test_one_sex_alone_is_refused(
    write_genotypes: Callable[..., Path], write_table: Callable[..., Path], tmp_path: Path
) -> None:
    calls = np.random.default_rng(0).integers(0, 3, (2, 30)).astype(np.int8)
    traits = write_table("t.tsv", ["a"], np.random.default_rng(1).standard_normal((30, 1)))
    with pytest.raises(LeadlightError, match="needs women and men"):
        run_gwas(
            write_genotypes(calls, sex=[2] * 30), traits, tmp_path / "out", sex_interaction=True
        )
