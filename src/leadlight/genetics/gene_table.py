"""Genes by place, from a BED, GTF or GFF3 file: the nearest, and those that a stretch overlaps.

No gene table ships with the program; give one of the same build as the results.
"""

import gzip
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight.errors import LeadlightError

_NAME = re.compile(r'(?:gene_name[ =]"?|(?:^|;)\s*Name=|gene=)([^";]+)')
_ID = re.compile(r'(?:gene_id[ =]"?|(?:^|;)\s*ID=(?:gene[:-])?)([^";]+)')
_CHROMOSOMES = {"23": "X", "24": "Y", "M": "MT", "26": "MT"}


@dataclass(frozen=True)
class GeneTable:
    """table: chromosome, start, end (both included, from 1), gene, gene_id; by place."""

    table: pl.DataFrame

    def __len__(self) -> int:
        return self.table.height

    def nearest(
        self, chromosome: str, positions: npt.NDArray[np.int64]
    ) -> tuple[list[str | None], npt.NDArray[np.float64]]:
        """The nearest gene of each position and how far it is, 0 inside; NaN and None for none.

        Of several that hold the position, the shortest.
        """
        own = self.table.filter(pl.col("chromosome") == chromosome)
        if not own.height or not len(positions):
            return [None] * len(positions), np.full(len(positions), np.nan)
        start, end = own["start"].to_numpy(), own["end"].to_numpy()
        place = np.asarray(positions)[:, None]
        distance = np.maximum(np.maximum(start - place, place - end), 0)
        # Length breaks ties, so that a gene inside another one's intron is named.
        best = np.lexsort((np.broadcast_to(end - start, distance.shape), distance))[:, 0]
        names = own["gene"].to_list()
        rows = np.arange(len(best))
        return [names[i] for i in best], distance[rows, best].astype(np.float64)

    def overlapping(self, chromosome: str, first: int, last: int) -> list[str]:
        """Genes of which some base lies between `first` and `last`, by place."""
        own = self.table.filter(
            (pl.col("chromosome") == chromosome)
            & (pl.col("start") <= last)
            & (pl.col("end") >= first)
        )
        return list(dict.fromkeys(own["gene"].to_list()))


def read_genes(path: Path) -> GeneTable:
    """Read genes from BED (chromosome, start, end, name, more) or GTF/GFF3, also gzipped.

    Of GTF and GFF3 the lines of genes are taken. Raises LeadlightError where a line has no place or
    no gene is found.
    """
    if not path.is_file():
        raise LeadlightError(f"{path} does not exist.", advice="Give a BED or GTF file of genes.")
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8") as stream:
            lines = [line.rstrip("\r\n") for line in stream]
    except (UnicodeDecodeError, OSError, EOFError) as error:
        raise LeadlightError(f"{path} cannot be read as text: {error}.") from error
    lines = [
        line for line in lines if line.strip() and not line.startswith(("#", "track", "browser"))
    ]
    rows = []
    for number, line in enumerate(lines, 1):
        words = line.split("\t") if "\t" in line else line.split()
        try:
            row = _feature(words) if _is_gtf(words) else _bed(words)
        except (ValueError, IndexError) as error:
            raise LeadlightError(
                f"{path}: line {number} ({line[:60]!r}) names no gene by place.",
                advice="Expected BED (chromosome, start, end, name), or GTF.",
            ) from error
        if row is not None:
            rows.append(row)
    if not rows:
        raise LeadlightError(f"{path} holds no gene.", advice="Give a BED or GTF file of genes.")
    columns = ("chromosome", "start", "end", "gene", "gene_id")
    table = pl.DataFrame(rows, schema=dict.fromkeys(columns), orient="row")
    return GeneTable(table.sort("chromosome", "start", "end"))


def _is_gtf(words: list[str]) -> bool:
    return len(words) >= 9 and words[3].isdigit() and words[4].isdigit() and "gene" in words[8]


def _bed(words: list[str]) -> tuple[str, int, int, str, str]:
    start, end = int(words[1]), int(words[2])
    if end < start or start < 0:
        raise ValueError("end before start")
    name = words[3] if len(words) > 3 else f"{words[0]}:{start + 1}-{end}"
    known = words[4] if len(words) > 4 and not words[4].replace(".", "").isdigit() else name
    return _chromosome(words[0]), start + 1, end, name, known


def _feature(words: list[str]) -> tuple[str, int, int, str, str] | None:
    if words[2] not in ("gene", "ncRNA_gene", "pseudogene"):
        return None
    name, known = _NAME.search(words[8]), _ID.search(words[8])
    if name is None and known is None:
        raise ValueError("no name")
    shown = (name or known)[1]  # type: ignore[index]
    return _chromosome(words[0]), int(words[3]), int(words[4]), shown, known[1] if known else shown


def _chromosome(written: str) -> str:
    name = written.removeprefix("chr").upper()
    return _CHROMOSOMES.get(name, name)
