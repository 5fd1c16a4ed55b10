from pathlib import Path

import numpy as np
import polars as pl
import pytest

from leadlight.errors import LeadlightError
from leadlight.genetics.effect.regression import adjust, regress
from leadlight.genetics.effect.shift import FactorShift, shift_from_summary_statistics
from leadlight.genetics.results import COLUMNS
from leadlight.genetics.summary_statistics import write_summary_statistics

NAMES = ["factor_01", "factor_02", "factor_03"]


@pytest.fixture(scope="module")
def association(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray, np.ndarray]:
    """Tables of three correlated factors over 3,000 independent variants; rs0 moves two of them."""
    rng = np.random.default_rng(0)
    people, variants = 1500, 3000
    frequency = rng.uniform(0.1, 0.5, variants)
    calls = rng.binomial(2, frequency, (people, variants)).astype(float)
    mixing = np.array([[1, 0, 0], [0.6, 0.8, 0], [-0.3, 0.5, 0.8]])
    factors = rng.standard_normal((people, 3)) @ mixing.T
    factors[:, :2] += calls[:, :1] * np.array([0.25, -0.2])
    folder = tmp_path_factory.mktemp("gwas")
    g = calls - calls.mean(axis=0)
    y = factors - factors.mean(axis=0)
    beta = g.T @ y / (g**2).sum(axis=0)[:, None]
    left = (y**2).sum(axis=0) - beta**2 * (g**2).sum(axis=0)[:, None]
    error = np.sqrt(left / (people - 2) / (g**2).sum(axis=0)[:, None])
    for place, name in enumerate(NAMES):
        pl.DataFrame(
            {
                "chromosome": ["1"] * variants,
                "base_pair_location": np.arange(variants) * 10_000 + 1,
                "effect_allele": ["G"] * variants,
                "other_allele": ["A"] * variants,
                "beta": beta[:, place],
                "standard_error": error[:, place],
                "effect_allele_frequency": frequency,
                "neg_log_10_p_value": np.zeros(variants),
                "rsid": [f"rs{v}" for v in range(variants)],
                "n": [people] * variants,
            }
        ).select(COLUMNS).write_parquet(folder / f"{name}.parquet")
    return folder, calls, factors


def test_summary_statistics_give_the_vector_and_covariance_that_people_give(
    association: tuple[Path, np.ndarray, np.ndarray],
) -> None:
    folder, calls, factors = association
    found = shift_from_summary_statistics(folder, NAMES, "rs0")
    people = regress(adjust(calls[:, 0], np.zeros((len(calls), 0)), "rs0"), factors)
    assert found.beta == pytest.approx(people.beta, rel=1e-6)
    scale = np.sqrt(np.outer(np.diag(people.covariance), np.diag(people.covariance)))
    assert np.abs((found.covariance - people.covariance) / scale).max() < 0.1
    assert found.neg_log_10_p > 8


def test_a_place_finds_the_variant_too(association: tuple[Path, np.ndarray, np.ndarray]) -> None:
    one, two = (
        shift_from_summary_statistics(association[0], NAMES, name) for name in ("rs7", "1:70001")
    )
    assert (one.beta == two.beta).all()
    assert two.about["rsid"] == "rs7"


def test_a_factor_whose_alleles_are_swapped_is_turned(
    association: tuple[Path, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    folder = association[0]
    for name in NAMES:
        table = pl.read_parquet(folder / f"{name}.parquet")
        if name == "factor_02":
            table = table.with_columns(
                pl.col("other_allele").alias("effect_allele"),
                pl.col("effect_allele").alias("other_allele"),
                -pl.col("beta"),
            ).select(COLUMNS)
        table.write_parquet(tmp_path / f"{name}.parquet")
    turned = shift_from_summary_statistics(tmp_path, NAMES, "rs0")
    straight = shift_from_summary_statistics(folder, NAMES, "rs0")
    assert turned.beta == pytest.approx(straight.beta)
    assert turned.covariance == pytest.approx(straight.covariance, abs=1e-6)


def test_other_programs_tables_do_as_well(
    association: tuple[Path, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    for name in NAMES:
        table = pl.read_parquet(association[0] / f"{name}.parquet")
        write_summary_statistics(table, tmp_path / f"out_{name}.regenie", "regenie")
    found = shift_from_summary_statistics(tmp_path, NAMES, "rs0")
    straight = shift_from_summary_statistics(association[0], NAMES, "rs0")
    assert found.beta == pytest.approx(straight.beta, rel=1e-4)


@pytest.mark.parametrize(
    ("names", "variant", "says"),
    [([*NAMES, "factor_04"], "rs0", "factor_04"), (NAMES, "rs99999", "rs99999")],
)
def test_what_is_absent_is_named(
    association: tuple[Path, np.ndarray, np.ndarray], names: list[str], variant: str, says: str
) -> None:
    with pytest.raises(LeadlightError, match=says):
        shift_from_summary_statistics(association[0], names, variant)


def test_draws_have_the_mean_and_covariance_of_the_shift() -> None:
    covariance = np.array([[0.04, 0.01], [0.01, 0.09]])
    shift = FactorShift(["a", "b"], np.array([0.5, -1.0]), covariance, 100)
    drawn = shift.draws(20_000, np.random.default_rng(0))
    assert drawn.mean(axis=0) == pytest.approx(shift.beta, abs=0.01)
    assert np.cov(drawn.T) == pytest.approx(covariance, abs=0.003)
