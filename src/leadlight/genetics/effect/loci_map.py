"""The factors' signed z at the lead variants of loci, for a map of factors by loci."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.stats import false_discovery_control, norm

from leadlight.errors import LeadlightError
from leadlight.genetics.effect.shift import find_row, trait_files


@dataclass(frozen=True)
class LociMap:
    """Which factor moves at which locus.

    Attributes:
        loci, factors, labels: names; `labels` say what a factor follows.
        z: (locus, factor).
        q: (locus, factor) Benjamini–Hochberg over the whole table.
    """

    loci: list[str]
    factors: list[str]
    labels: list[str]
    z: npt.NDArray[np.float64]
    q: npt.NDArray[np.float64]


def loci_map(
    gwas: Path, variants: Sequence[str], names: Sequence[str], factors: Sequence[str],
    labels: Sequence[str],
) -> LociMap:  # fmt: skip
    """Look variants (by id) up in every factor's table.

    names: what the loci are called. Variants that a table lacks are left out.
    """
    files = trait_files(gwas, factors)
    absent = [name for name in factors if name not in files]
    if absent:
        raise LeadlightError(f"{gwas} has no summary statistics of {absent[0]}.")
    z = np.full((len(variants), len(factors)), np.nan)
    for column, factor in enumerate(factors):
        found = _rows(files[factor], variants)
        for row, variant in enumerate(variants):
            z[row, column] = found.get(variant, np.nan)
    known = np.isfinite(z).all(axis=1)
    if not known.any():
        raise LeadlightError(f"{gwas} has none of the {len(variants)} lead variants.")
    z = z[known]
    p = 2 * norm.sf(np.abs(z))
    q = false_discovery_control(p.ravel()).reshape(p.shape)
    kept = [name for name, there in zip(names, known, strict=True) if there]
    return LociMap(kept, list(factors), list(labels), z, q)


def lead_variants(loci: Path) -> tuple[list[str], list[str]]:
    """Ids of the lead variants and names of the loci, from a folder of `leadlight loci`."""
    path = loci / "loci.parquet"
    if not path.is_file():
        raise LeadlightError(f"{path} does not exist.", advice="Run leadlight loci first.")
    table = pl.read_parquet(path)
    column = next(
        (c for c in ("lead_rsid", "lead_variant", "lead", "rsid") if c in table.columns), ""
    )
    if not column:
        raise LeadlightError(f"{path} has no column of lead variants.")
    gene = next((c for c in ("nearest_gene", "gene", "nearest") if c in table.columns), "")
    ids = [str(one) for one in table[column].to_list()]
    names = [
        f"{row[gene]} ({row[column]})" if gene and row[gene] else str(row[column])
        for row in table.to_dicts()
    ]
    return ids, names


def _rows(path: Path, variants: Sequence[str]) -> dict[str, float]:
    if path.suffix == ".parquet":
        table = (
            pl.scan_parquet(path)
            .select(pl.col("rsid").cast(pl.String), "beta", "standard_error")
            .filter(pl.col("rsid").is_in(list(variants)))
            .collect()
        )
        z = (table["beta"] / table["standard_error"]).to_list()
        return dict(zip(table["rsid"].to_list(), z, strict=True))
    found = {one: find_row(path, one) for one in variants}
    return {one: row["beta"] / row["standard_error"] for one, row in found.items() if row}
