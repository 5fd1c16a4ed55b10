"""The shift of all factors that goes with an exposure: one vector, one covariance.

From people: a regression of all factors together. From summary statistics: each factor's effect and
standard error, tied together by the correlation of the factors' null statistics.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.parquet as pq

from leadlight.errors import LeadlightError
from leadlight.genetics.joint_tests import aligned_z, null_correlation
from leadlight.genetics.log_tails import LN10, log_chi_squared_tail
from leadlight.genetics.summary_statistics import read_summary_statistics

Floats = npt.NDArray[np.float64]

# Neighbours say the same: of so many base pairs one variant speaks for the null correlation.
_THIN_BP = 10_000
_LEAST_FREQUENCY = 0.01
_ENDINGS = (".parquet", ".tsv.gz", ".tsv", ".txt.gz", ".txt", ".regenie.gz", ".regenie",
            ".glm.linear")  # fmt: skip
_ALLELES = ("effect_allele", "other_allele")


@dataclass(frozen=True)
class FactorShift:
    """What one step of an exposure does to the factors.

    Attributes:
        names: (factor).
        beta: (factor) shift in the factors' own unit.
        covariance: (factor, factor) of its errors.
        n: people.
        about: facts on the variant where it comes from summary statistics.
    """

    names: list[str]
    beta: Floats
    covariance: Floats
    n: int
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def standard_error(self) -> Floats:
        """(factor)."""
        return np.asarray(np.sqrt(np.diag(self.covariance)))

    @property
    def chi_squared(self) -> float:
        """Of all factors together, with as many degrees of freedom as factors."""
        return float(self.beta @ np.linalg.pinv(self.covariance, hermitian=True) @ self.beta)

    @property
    def neg_log_10_p(self) -> float:
        """Of that χ²."""
        return float(-log_chi_squared_tail(np.array(self.chi_squared), len(self.beta)) / LN10)

    def draws(self, count: int, rng: np.random.Generator) -> Floats:
        """(draw, factor) from the normal distribution of this mean and covariance."""
        return self.beta + rng.standard_normal((count, len(self.beta))) @ root(self.covariance).T


def root(covariance: Floats) -> Floats:
    """A matrix whose product with its transpose is the covariance."""
    sizes, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.maximum(sizes, 0)))


def trait_files(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """The summary statistics of these traits in a folder, whoever wrote them.

    A trait's file is `<trait>` with an ending of text or Parquet; PLINK 2's and REGENIE's may have
    the output's name before it (`out.<trait>.glm.linear`, `out_<trait>.regenie`).
    """
    if not folder.is_dir():
        raise LeadlightError(f"{folder} is no folder.", advice="Give what leadlight gwas wrote.")
    files = sorted(path for path in folder.iterdir() if path.is_file())
    found = {}
    for name in names:
        for path in files:
            stem = next((path.name.removesuffix(e) for e in _ENDINGS if path.name.endswith(e)), "")
            if stem == name or stem.endswith((f".{name}", f"_{name}")):
                found[name] = path
                break
    return found


def shift_from_summary_statistics(
    folder: Path, names: Sequence[str], variant: str, correlation: Floats | None = None
) -> FactorShift:
    """The shift of all factors from an association's tables.

    Args:
        folder: with a table per factor (`trait_files`).
        names: of the factors.
        variant: its rsid, or `chromosome:position`.
        correlation: (factor, factor) of the null statistics; estimated from the tables where None.

    Raises:
        LeadlightError: a factor's table is absent, or none has the variant.
    """
    files = trait_files(folder, names)
    absent = [name for name in names if name not in files]
    if absent:
        raise LeadlightError(
            f"{folder} has no summary statistics of {absent[0]}"
            + (f" and {len(absent) - 1} more factors." if len(absent) > 1 else "."),
            advice=f"Give a folder with {names[0]}.parquet and so on, or the model with --model.",
        )
    rows = {name: find_row(files[name], variant) for name in names}
    lost = [name for name, row in rows.items() if row is None]
    if lost:
        raise LeadlightError(f"{files[lost[0]]} has no variant {variant}.")
    first = rows[names[0]]
    assert first is not None
    beta, error, n = np.zeros(len(names)), np.zeros(len(names)), np.zeros(len(names))
    for place, name in enumerate(names):
        row = rows[name]
        assert row is not None
        beta[place] = _sign(first, row, files[name]) * row["beta"]
        error[place] = row["standard_error"]
        n[place] = row["n"] or np.nan
    if correlation is None:
        correlation = correlation_of_tables([files[name] for name in names], names)
    about = {
        "rsid": first["rsid"],
        "chromosome": str(first["chromosome"]),
        "base_pair_location": int(first["base_pair_location"]),
        "effect_allele": first["effect_allele"],
        "other_allele": first["other_allele"],
        "effect_allele_frequency": first["effect_allele_frequency"],
    }
    people = int(np.nanmedian(n)) if np.isfinite(n).any() else 0
    return FactorShift(list(names), beta, correlation * error * error[:, None], people, about)


def find_row(path: Path, variant: str) -> dict[str, Any] | None:
    """A variant's row in a table of summary statistics, None where it has none."""
    place = _place(variant)
    if path.suffix == ".parquet":
        lazy = pl.scan_parquet(path)
        wanted = pl.col("rsid").cast(pl.String) == variant
        if place is not None:
            wanted |= (pl.col("base_pair_location") == place[1]) & (
                pl.col("chromosome").cast(pl.String) == place[0]
            )
        table = lazy.filter(wanted).collect()
    else:
        table = read_summary_statistics(path)
        wanted = pl.col("rsid") == variant
        if place is not None:
            wanted |= (pl.col("base_pair_location") == place[1]) & (
                pl.col("chromosome") == place[0]
            )
        table = table.filter(wanted)
    if table.height > 1:
        raise LeadlightError(
            f"{path} has {table.height} variants {variant}.", advice="Give the id of one."
        )
    return table.row(0, named=True) if table.height else None


def correlation_of_tables(files: Sequence[Path], names: Sequence[str]) -> Floats:
    """(trait, trait) correlation of null statistics, from variants spread over the genome."""
    tables = {}
    chosen: pl.DataFrame | None = None
    for name, path in zip(names, files, strict=True):
        table = _thin_columns(path)
        if chosen is None:
            frequency = pl.col("effect_allele_frequency").fill_null(0.5)
            common = table.filter(frequency.is_between(_LEAST_FREQUENCY, 1 - _LEAST_FREQUENCY))
            bins = (pl.col("base_pair_location") // _THIN_BP).alias("bin")
            chosen = (
                common.with_columns(bins)
                .unique(["chromosome", "bin"], keep="first", maintain_order=True)
                .select("chromosome", "base_pair_location", *_ALLELES)
            )
        tables[name] = table.join(
            chosen.select("chromosome", "base_pair_location").unique(),
            on=["chromosome", "base_pair_location"],
            how="semi",
        ).unique(["chromosome", "base_pair_location"], keep="none")
    return null_correlation(aligned_z(tables)[1])


def _thin_columns(path: Path) -> pl.DataFrame:
    columns = ["chromosome", "base_pair_location", *_ALLELES, "beta", "standard_error",
               "effect_allele_frequency"]  # fmt: skip
    if path.suffix == ".parquet":
        table = pl.DataFrame(pl.from_arrow(pq.read_table(path, columns=columns)))
    else:
        table = read_summary_statistics(path).select(columns)
    return table.with_columns(pl.col("chromosome", *_ALLELES).cast(pl.String))


def _sign(first: dict[str, Any], row: dict[str, Any], path: Path) -> float:
    one = (str(first["effect_allele"]), str(first["other_allele"]))
    two = (str(row["effect_allele"]), str(row["other_allele"]))
    if one == two:
        return 1.0
    if one == two[::-1]:
        return -1.0
    raise LeadlightError(f"{path} has {'/'.join(two)} where other factors have {'/'.join(one)}.")


def _place(variant: str) -> tuple[str, int] | None:
    parts = variant.removeprefix("chr").split(":")
    return (parts[0], int(parts[1])) if len(parts) == 2 and parts[1].isdigit() else None
