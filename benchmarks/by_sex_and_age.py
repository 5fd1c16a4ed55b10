"""Whether the models that ship do equally well in women and men, and in young and old.

    python benchmarks/by_sex_and_age.py --study ptbxl --study cinc --held-out ptbxl

The studies are measured, classified and encoded. Of those named by `--held-out` only the test split
counts, because the models were trained on the rest; records with an excluding flag do not. Prints
AUROC of each diagnosis with a 95 % interval by bootstrap over patients, where a group has five
positives or more, and the factor model's reconstruction error; differences between the two groups
have intervals of their own.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.metrics import roc_auc_score

from leadlight.cohort.splits import TEST
from leadlight.ecg.quality import excludes

CLASSES = ("1dAVb", "RBBB", "LBBB", "SB", "AF", "ST")
GROUPS = {
    "women": pl.col("sex") == "F",
    "men": pl.col("sex") == "M",
    "below 65": pl.col("age") < 65,
    "65 and older": pl.col("age") >= 65,
}
PAIRS = (("women", "men"), ("below 65", "65 and older"))
FEWEST = 5
DRAWS = 2000

Draws = npt.NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", type=Path, action="append", required=True)
    parser.add_argument("--held-out", action="append", default=[], help="a study's folder name")
    asked = parser.parse_args()
    records = pl.concat(
        [_records(study, study.resolve().name in asked.held_out) for study in asked.study]
    )
    known = {name: records.filter(rule) for name, rule in GROUPS.items()}
    print(", ".join(f"{name} {table.height}" for name, table in known.items()))
    for label in CLASSES:
        named = {
            name: table.filter(pl.col("labels").is_not_null()) for name, table in known.items()
        }
        _print(f"AUROC {label}", named, lambda rows, label=label: _auroc(rows, label), label)
    _print("reconstruction error, median µV", known, lambda rows: rows["error_uv"].median())


def _records(study: Path, held_out: bool) -> pl.DataFrame:
    records = pl.read_parquet(study / "records.parquet")
    records = records.filter([not excludes(tuple(flags)) for flags in records["flags"]])
    records = records.filter(pl.col("split") == TEST) if held_out else records
    classes = pl.read_parquet(study / "classify" / "leadlight-ecg-6" / "probabilities.parquet")
    factors = pl.read_parquet(study / "latent" / "leadlight-factors" / "factors.parquet")
    return (
        records.select("record_id", "patient_id", "sex", "age", "labels")
        .join(classes, on="record_id", how="left")
        .join(factors.select("record_id", "error_uv"), on="record_id", how="left")
        .with_columns(patient_id=pl.lit(f"{study.name}/") + pl.col("patient_id"))
    )


def _auroc(rows: pl.DataFrame, label: str) -> float | None:
    rows = rows.drop_nulls(label)
    positive = rows["labels"].list.contains(label).to_numpy()
    if positive.sum() < FEWEST or positive.all():
        return None
    return float(roc_auc_score(positive, rows[label].to_numpy()))


def _print(
    title: str,
    groups: dict[str, pl.DataFrame],
    figure: Callable[[pl.DataFrame], float | None],
    label: str = "",
) -> None:
    draws: dict[str, Draws] = {}
    for name, rows in groups.items():
        value = figure(rows)
        if value is None:
            continue
        draws[name] = _bootstrap(rows, figure)
        low, high = np.nanquantile(draws[name], [0.025, 0.975])
        n = rows["labels"].list.contains(label).sum() if label else rows["error_uv"].count()
        print(f"{title}, {name}: {value:.3f} [{low:.3f}, {high:.3f}] ({n})")
    for one, other in PAIRS:
        if one in draws and other in draws:
            low, high = np.nanquantile(draws[one] - draws[other], [0.025, 0.975])
            print(f"{title}, {one} less {other}: {low:+.3f} to {high:+.3f}")


def _bootstrap(rows: pl.DataFrame, figure: Callable[[pl.DataFrame], float | None]) -> Draws:
    rng = np.random.default_rng(0)
    of_patient = [part.to_numpy() for part in _rows_of_patients(rows)]
    drawn = np.full(DRAWS, np.nan)
    for number in range(DRAWS):
        chosen = rng.integers(len(of_patient), size=len(of_patient))
        value = figure(rows[np.concatenate([of_patient[one] for one in chosen])])
        drawn[number] = np.nan if value is None else value
    return drawn


def _rows_of_patients(rows: pl.DataFrame) -> list[pl.Series]:
    grouped = rows.with_row_index("row").group_by("patient_id", maintain_order=True)
    return list(grouped.agg("row")["row"])


if __name__ == "__main__":
    main()
