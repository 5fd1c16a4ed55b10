"""The results of associations as files: which traits there are, their hits, and regions of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from leadlight.errors import LeadlightError
from leadlight.genetics.summary_statistics import read_summary_statistics

JOINT = "joint"
_TEXT_ENDINGS = (".tsv", ".tsv.gz", ".regenie", ".regenie.gz", ".glm.linear",
                 ".glm.logistic", ".glm.logistic.hybrid", ".glm.firth")  # fmt: skip
_NOT_TRAITS = ("components.parquet",)
_COLUMNS = (
    "chromosome", "base_pair_location", "rsid", "effect_allele", "other_allele", "beta",
    "standard_error", "effect_allele_frequency", "neg_log_10_p_value", "n",
)  # fmt: skip


@dataclass(frozen=True)
class ScanFile:
    """One trait's summary statistics. label: of the set of results it belongs to."""

    label: str
    trait: str
    path: Path

    @property
    def is_joint(self) -> bool:
        """Whether it holds joint tests of all traits, which have no effect."""
        return self.trait == JOINT

    def hits(self, neg_log_10_p: float) -> pl.DataFrame:
        """Rows with at least this −log10 p, in `columns`, by chromosome and place."""
        return self._collect(pl.col("neg_log_10_p_value") >= neg_log_10_p)

    def region(self, chromosome: str, first: int, last: int) -> pl.DataFrame:
        """Rows between two places, both included, by place."""
        place = pl.col("base_pair_location")
        return self._collect(
            (pl.col("chromosome").cast(pl.String) == chromosome)
            & (place >= first)
            & (place <= last)
        )

    def some(self, count: int) -> pl.DataFrame:
        """The first rows of each of up to ten even stretches, `count` in all: to tell the build."""
        frame = self._frame
        rows = frame.select(pl.len()).collect().item()
        each, step = max(count // 10, 1), max(rows // 10, 1)
        parts = [frame.slice(start, each) for start in range(0, rows, step)]
        return self._shown(pl.concat(parts)).collect()

    def _collect(self, wanted: pl.Expr) -> pl.DataFrame:
        table = self._shown(self._frame.filter(wanted)).collect()
        return table.sort("chromosome", "base_pair_location", maintain_order=True)

    def _shown(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        there = frame.collect_schema().names()
        shown = []
        for name in _COLUMNS:
            text = name in ("chromosome", "rsid", "effect_allele", "other_allele")
            kind: Any = pl.String if text else pl.Float64
            kind = pl.Int64 if name == "base_pair_location" else kind
            column = pl.col(name) if name in there else pl.lit(None)
            shown.append(column.cast(kind).alias(name))
        return frame.select(shown)

    @cached_property
    def _frame(self) -> pl.LazyFrame:
        if self.path.suffix != ".parquet":
            return read_summary_statistics(self.path).lazy()
        try:
            frame = pl.scan_parquet(self.path)
            names = frame.collect_schema().names()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise LeadlightError(
                f"{self.path} cannot be read: {str(error).splitlines()[0]}."
            ) from error
        for name in ("chromosome", "base_pair_location", "neg_log_10_p_value"):
            if name not in names:
                raise LeadlightError(
                    f"{self.path} has no column {name}.", advice="Is it a table of leadlight gwas?"
                )
        return frame


@dataclass(frozen=True)
class ScanSet:
    """One set of results under a label, and what made it as far as it says so.

    settings: `parameters` of its provenance; empty where there is none.
    """

    label: str
    folder: Path
    scans: tuple[ScanFile, ...]
    settings: dict[str, Any]


def labelled(words: Sequence[str], what: str) -> list[tuple[str, Path]]:
    """`label=PATH` or `PATH` → label and path; without a label the path's name is one.

    Raises LeadlightError where two have one label, or a path does not exist.
    """
    out: list[tuple[str, Path]] = []
    for word in words:
        label, mark, rest = word.partition("=")
        path = Path(rest) if mark and not Path(word).exists() else Path(word)
        label = label if mark and not Path(word).exists() else path.name.partition(".")[0]
        if not path.exists():
            raise LeadlightError(f"{path} does not exist.", advice=f"Give {what} that is there.")
        if not label or label in [known for known, _ in out]:
            raise LeadlightError(
                f"Two of {what} are called {label!r}.", advice="Name them: label=PATH."
            )
        out.append((label, path))
    return out


def read_scan_set(label: str, path: Path, traits: Sequence[str] | None = None) -> ScanSet:
    """The traits of a folder of `leadlight gwas` (or of another program), or of one file.

    traits: only these; those the folder lacks are left to other sets.
    """
    settings: dict[str, Any] = {}
    if path.is_file():
        scans = [ScanFile(label, _trait_of(path), path)]
        folder = path.parent
    else:
        folder = path
        found = [
            file
            for file in sorted(path.iterdir())
            if _is_scan(file) and file.name not in _NOT_TRAITS
        ]
        # Of a trait in both forms the table is read.
        tables = {_trait_of(file) for file in found if file.suffix == ".parquet"}
        scans = [
            ScanFile(label, _trait_of(file), file)
            for file in found
            if file.suffix == ".parquet" or _trait_of(file) not in tables
        ]
        said = path / "provenance.json"
        if said.is_file():
            settings = json.loads(said.read_text(encoding="utf-8")).get("parameters", {})
    if not scans:
        raise LeadlightError(
            f"{path} holds no summary statistics.",
            advice="Give the folder that leadlight gwas wrote.",
        )
    if traits is not None:
        scans = [scan for scan in scans if scan.trait in traits]
    return ScanSet(label, folder, tuple(scans), settings)


def _is_scan(path: Path) -> bool:
    if not path.is_file() or path.name.startswith("."):
        return False
    if path.suffix == ".parquet":
        return not path.name.endswith(".sex.parquet")
    return path.name.endswith(_TEXT_ENDINGS)


def _trait_of(path: Path) -> str:
    name = path.name
    for ending in sorted((".parquet", *_TEXT_ENDINGS), key=len, reverse=True):
        if name.endswith(ending):
            name = name.removesuffix(ending)
            break
    # PLINK 2 writes PREFIX.TRAIT.glm.linear, REGENIE PREFIX_TRAIT.regenie.
    return name.rpartition(".")[2] if ".glm" in path.name else name
