"""The associations of a study: which sets of traits there are, of whom, and how calibrated."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.special import chdtri

from leadlight.errors import LeadlightError
from leadlight.genetics.inflation import MEDIAN_CHI_SQUARED, Inflation, genomic_inflation
from leadlight.report.results import facts_of

P_COLUMN = "neg_log_10_p_value"
_NOT_TRAITS = {"joint", "components", "background"}
_GENOME_WIDE = float(-np.log10(5e-8))
# Sets of which nothing but chance is expected, by the beginning of their names.
_NULL = ("null", "permut")


@dataclass(frozen=True)
class AssociationSet:
    """One folder of `gwas/`.

    Attributes:
        label: the folder's name.
        tables: trait to its table of summary statistics, in the order that was asked for.
        joint: the table of the joint test, None where it was not made.
        people: who were analysed, None where it is not written down.
        variants: tested, at most over the traits.
        rank_normal: are effects in standard deviations of a rank-normal trait?
    """

    label: str
    tables: dict[str, Path]
    joint: Path | None
    people: int | None
    variants: int | None
    rank_normal: bool

    @property
    def is_null(self) -> bool:
        """Is this a null control, by its name?"""
        return self.label.lower().startswith(_NULL)

    def all_tables(self) -> dict[str, Path]:
        """The traits' tables, and the joint test's as trait "joint"."""
        return self.tables | ({"joint": self.joint} if self.joint else {})


def association_sets(study: Path) -> list[AssociationSet]:
    """The sets in `gwas/` that hold summary statistics, null controls last."""
    found = [one for folder in sorted((study / "gwas").glob("[!.]*/")) if (one := _set(folder))]
    return sorted(found, key=lambda one: one.is_null)


def inflation_of(path: Path) -> Inflation | None:
    """λGC of a table with its interval; None where it has too few variants to speak of."""
    return _inflation(path, path.stat().st_mtime_ns)


def median_inflation(path: Path) -> float | None:
    """λGC without an interval, which is quick enough for every trait; None without variants."""
    values = p_values(path)
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    return float(chdtri(1, 10.0 ** -float(np.median(values)))) / MEDIAN_CHI_SQUARED


def p_values(path: Path) -> npt.NDArray[np.float64]:
    """(variant) −log10 p of a table of summary statistics."""
    return pl.read_parquet(path, columns=[P_COLUMN]).to_series().cast(pl.Float64).to_numpy()


def genome_wide_hits(one: AssociationSet) -> tuple[int, int]:
    """How many tests a set made over its traits and joint test, and how many pass 5e-8."""
    tests = hits = 0
    for path in one.all_tables().values():
        # Streamed: a scan may have more variants than memory has room for.
        p = pl.scan_parquet(path).select(pl.col(P_COLUMN).drop_nulls().drop_nans())
        found = p.select(pl.len(), (pl.col(P_COLUMN) > _GENOME_WIDE).sum().alias("hits")).collect()
        tests += int(found["len"][0])
        hits += int(found["hits"][0])
    return tests, hits


def inflation_sentence(label: str, found: Inflation) -> str:
    """λGC of a joint test, with what it would be by chance."""
    return (
        f"Joint test of {label}: λGC {found.lambda_gc:.3f} [{found.low:.3f}, "
        f"{found.high:.3f}] over {found.n} variants. Chance alone gives 1; effects of many "
        "variants raise it, and so do relatives and structure that covariates do not hold."
    )


@lru_cache(maxsize=32)  # half a minute for ten million variants, and the page asks four times
def _inflation(path: Path, _made_ns: int) -> Inflation | None:
    try:
        return genomic_inflation(p_values(path))
    except LeadlightError:
        return None


def _set(folder: Path) -> AssociationSet | None:
    summary, made = (facts_of(folder / name) for name in ("summary.json", "provenance.json"))
    named = [str(name) for name in summary.get("traits", {})]
    tables = {name: folder / f"{name}.parquet" for name in named}
    tables = {name: path for name, path in tables.items() if path.is_file()}
    if not named:
        tables = {
            path.stem: path
            for path in sorted(folder.glob("[!.]*.parquet"))
            if path.stem not in _NOT_TRAITS and P_COLUMN in pl.read_parquet_schema(path)
        }
    joint = folder / "joint.parquet"
    if not tables and not joint.is_file():
        return None
    counts = [n for n in (summary.get("traits") or {}).values() if isinstance(n, int)]
    transform = made.get("parameters", {}).get("transform", "rank-normal")
    return AssociationSet(
        folder.name, tables, joint if joint.is_file() else None,
        summary.get("people", {}).get("people analysed"),
        max(counts) if counts else None, transform == "rank-normal",
    )  # fmt: skip
