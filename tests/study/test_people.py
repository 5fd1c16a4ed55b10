"""The control of an association: traits and covariates are dealt to other people, together."""

from pathlib import Path

import numpy as np
import polars as pl

from leadlight.study.people import permute_people


def _tables(folder: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(3)
    people = [f"p{number:03d}" for number in range(300)]
    age = rng.normal(50, 10, 300)
    traits = pl.DataFrame({"IID": people, "factor_01": age + rng.normal(size=300)})
    traits.write_parquet(folder / "traits.parquet")
    # The last fifty have no covariates: nothing of them is analysed.
    pl.DataFrame(
        {"IID": people[:250], "age": age[:250], "site": ["north", "south"] * 125}
    ).write_csv(folder / "covariates.tsv", separator="\t")
    return folder / "traits.parquet", folder / "covariates.tsv"


def test_traits_and_covariates_stay_together_and_leave_their_person(
    tmp_path: Path,
) -> None:
    traits, covariates = _tables(tmp_path)
    before = pl.read_parquet(traits)
    permute_people(traits, covariates, tmp_path / "dealt.parquet", seed=1)
    after = pl.read_parquet(traits)
    dealt = pl.read_parquet(tmp_path / "dealt.parquet")
    both = after.join(dealt, on="IID")
    assert both.height == 250
    assert both.select(pl.corr("factor_01", "age")).item() > 0.98
    moved = before.join(after, on="IID", suffix="_dealt").head(250)
    assert (moved["factor_01"] == moved["factor_01_dealt"]).mean() < 0.05
    assert abs(moved.select(pl.corr("factor_01", "factor_01_dealt")).item()) < 0.2
    assert sorted(after["factor_01"]) == sorted(before["factor_01"])
    assert after.tail(50).equals(before.tail(50))


def test_the_same_seed_deals_the_same(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        traits, covariates = _tables(tmp_path / name)
        permute_people(traits, covariates, tmp_path / name / "dealt.parquet", seed=1)
    for name in ("traits.parquet", "dealt.parquet"):
        assert pl.read_parquet(tmp_path / "a" / name).equals(pl.read_parquet(tmp_path / "b" / name))


def test_without_covariates_all_people_are_dealt(tmp_path: Path) -> None:
    traits, _ = _tables(tmp_path)
    before = pl.read_parquet(traits)
    permute_people(traits, None, tmp_path / "none.parquet", seed=1)
    both = before.join(pl.read_parquet(traits), on="IID", suffix="_dealt").tail(50)
    assert (both["factor_01"] == both["factor_01_dealt"]).mean() < 0.2
    assert not (tmp_path / "none.parquet").exists()
