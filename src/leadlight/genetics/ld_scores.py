"""LD scores: how much each variant is correlated with all others around it.

ℓ = Σ r² over the variants within a window, each r² less what chance adds among n people,
(1 − r²)/(n − 2) (Bulik-Sullivan et al., Nature Genetics 47:291, 2015). Worked out from genotypes,
or read and written in the files that LD score programs share: `NAME.l2.ldscore.gz` (CHR SNP BP L2),
`NAME.l2.M` and `NAME.l2.M_5_50`, one for each chromosome or one for all.
"""

import gzip
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight.atomic import write_text, written_whole
from leadlight.errors import LeadlightError
from leadlight.genetics.genotypes import Calls, GenotypeSource
from leadlight.genetics.variant_tables import DIPLOID, sorted_order
from leadlight.progress import bar

Floats = npt.NDArray[np.float64]
COMMON = 0.05  # smallest minor allele frequency of what M_5_50 counts
_BLOCK = 512
_ENDINGS = (".l2.ldscore.gz", ".l2.ldscore")


@dataclass(frozen=True)
class LdScores:
    """Scores and the number of variants that they sum over.

    table: chromosome (text), base_pair_location, rsid, ld_score, sorted by place. n_variants: all
    that were summed over; n_common: those of a minor allele frequency above 5 % (0: unknown).
    """

    table: pl.DataFrame
    n_variants: float
    n_common: float


def ld_scores(
    source: GenotypeSource,
    rows: npt.NDArray[np.uint32],
    *,
    window_kb: float = 1000,
    min_maf: float = 0.01,
    max_missing: float = 0.1,
    variants: npt.NDArray[np.int64] | None = None,
) -> LdScores:
    """Work LD scores out among the people `rows` (ascending).

    window_kb: on each side. variants: numbers in the source, None for all; of them the autosomal
    ones of two alleles within the limits among these people are used. Missing calls take the
    variant's mean. Raises LeadlightError with fewer than 50 people, or where no variant is left.
    """
    if len(rows) < 50:
        raise LeadlightError(
            f"LD scores of {len(rows)} people are noise.", advice="Give 50 or more, best hundreds."
        )
    order = sorted_order(source.variants)
    numbers = np.arange(len(source.variants)) if order is None else order
    fit = (source.variants.kind == DIPLOID) & ~source.variants.multiallelic
    if variants is not None:
        fit &= np.isin(np.arange(len(fit)), variants)
    numbers = numbers[fit[numbers]]
    names = np.array(source.variants.table["chromosome"].to_pylist(), dtype=object)[numbers]
    position = source.variants.table["base_pair_location"].to_numpy()[numbers]
    kept, scores, frequency = [], [], []
    with source.reader(rows) as reader, bar("LD scores", len(numbers)) as progress:
        for name in dict.fromkeys(names.tolist()):
            inside = np.flatnonzero(names == name)
            held: deque[_Block] = deque()
            done: list[_Block] = []
            for start in range(0, len(inside), _BLOCK):
                some = inside[start : start + _BLOCK]
                block = _block(
                    reader.read(numbers[some]), some, position[some], min_maf, max_missing
                )
                progress.step(len(some))
                if not len(block.places):
                    continue
                while held and held[0].position[-1] < block.position[0] - 1000 * window_kb:
                    done.append(held.popleft())
                for other in (*held, block):
                    _add(block, other, 1000 * window_kb)
                held.append(block)
            for block in (*done, *held):
                kept.append(block.places)
                squares, count = block.squares, block.count
                scores.append(squares - (count - squares) / (len(rows) - 2))
                frequency.append(block.minor)
    if not kept:
        raise LeadlightError("No variant is fit for LD scores.", advice="A lower --min-maf?")
    places = np.concatenate(kept)
    table = pl.DataFrame(
        {
            "chromosome": names[places].astype(str),
            "base_pair_location": position[places],
            "rsid": source.variants.table["rsid"].take(numbers[places]).to_pylist(),
            "ld_score": np.concatenate(scores),
        }
    )
    minor = np.concatenate(frequency)
    return LdScores(table, float(len(places)), float((minor > COMMON).sum()))


def read_ld_scores(where: Path) -> LdScores:
    """Read scores: a file, a folder of them, a prefix, or a prefix with @ for the chromosome.

    The column of scores is the one whose name ends in L2. The numbers of variants are in the `.M`
    and `.M_5_50` files beside; without any, the scores' own variants are counted. Raises
    LeadlightError where there is no such file or column.
    """
    files = _files(where)
    tables, every, common = [], 0.0, 0.0
    for path in files:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8") as stream:
            lines = stream.read().splitlines()
        header = lines[0].split() if lines else []
        score = [i for i, name in enumerate(header) if name.endswith("L2")]
        absent = [name for name in ("CHR", "SNP", "BP") if name not in header]
        if absent or len(score) != 1:
            raise LeadlightError(
                f"{path} has the columns {', '.join(header)}.",
                advice="Expected CHR, SNP, BP and one column of scores, L2.",
            )
        at = [header.index("CHR"), header.index("BP"), header.index("SNP"), score[0]]
        words = [line.split() for line in lines[1:]]
        tables.append(
            pl.DataFrame(
                {
                    "chromosome": [row[at[0]] for row in words],
                    "base_pair_location": [int(float(row[at[1]])) for row in words],
                    "rsid": [row[at[2]] for row in words],
                    "ld_score": [float(row[at[3]]) for row in words],
                },
                schema={
                    "chromosome": pl.String,
                    "base_pair_location": pl.Int64,
                    "rsid": pl.String,
                    "ld_score": pl.Float64,
                },
            )
        )
        stem = str(path)
        for ending in _ENDINGS:
            stem = stem.removesuffix(ending)
        own, of_common = _count(Path(stem + ".l2.M")), _count(Path(stem + ".l2.M_5_50"))
        every += own if own is not None else (of_common or len(words))
        common += of_common or 0.0
    table = pl.concat(tables).filter(pl.col("ld_score").is_finite())
    return LdScores(table.unique("rsid", maintain_order=True), every, common)


def write_ld_scores(scores: LdScores, prefix: Path) -> None:
    """Write `PREFIX.l2.ldscore.gz`, `PREFIX.l2.M` and `PREFIX.l2.M_5_50`."""
    shown = scores.table.select(
        pl.col("chromosome").alias("CHR"),
        pl.col("rsid").alias("SNP"),
        pl.col("base_pair_location").alias("BP"),
        pl.col("ld_score").round(4).alias("L2"),
    )
    text = shown.write_csv(separator="\t").encode()
    with written_whole(prefix.with_name(prefix.name + _ENDINGS[0])) as partial:
        partial.write_bytes(gzip.compress(text, mtime=0))
    write_text(prefix.with_name(prefix.name + ".l2.M"), f"{scores.n_variants:.0f}\n")
    write_text(prefix.with_name(prefix.name + ".l2.M_5_50"), f"{scores.n_common:.0f}\n")


@dataclass
class _Block:
    """Standardised calls (variant, person) / √n, and the sums so far of their variants."""

    values: npt.NDArray[np.float32]
    places: npt.NDArray[np.int64]
    position: npt.NDArray[np.int64]
    minor: Floats
    squares: Floats
    count: Floats


def standardised(
    calls: Calls, min_maf: float, max_missing: float
) -> tuple[npt.NDArray[np.float32], Floats, npt.NDArray[np.bool_]]:
    """Calls (variant, person) of mean 0 and length 1, minor allele frequencies, and which are fit.

    Missing calls take the mean; only the fit variants are in the first two.
    """
    there = calls >= 0 if np.issubdtype(calls.dtype, np.integer) else ~np.isnan(calls)
    count = there.sum(axis=1)
    values = np.where(there, calls, 0).astype(np.float32)
    mean = values.sum(axis=1, dtype=np.float64) / np.maximum(count, 1)
    minor = np.minimum(mean / 2, 1 - mean / 2)
    fit = (minor >= min_maf) & (minor > 0) & (count >= (1 - max_missing) * calls.shape[1])
    values = np.where(there[fit], values[fit] - mean[fit, None].astype(np.float32), np.float32(0))
    length = np.sqrt(np.einsum("vp,vp->v", values, values, dtype=np.float64))
    values /= np.maximum(length, 1e-30)[:, None].astype(np.float32)
    return values, minor[fit], fit


def _block(
    calls: Calls,
    places: npt.NDArray[np.int64],
    position: npt.NDArray[np.int64],
    min_maf: float,
    max_missing: float,
) -> _Block:
    values, minor, fit = standardised(calls, min_maf, max_missing)
    zeros = np.zeros(len(minor))
    return _Block(values, places[fit], position[fit], minor, zeros, zeros.copy())


def _add(block: _Block, other: _Block, window: float) -> None:
    """Add the pairs of two blocks to both (once, where they are the same)."""
    r2 = (block.values @ other.values.T) ** 2
    close = np.abs(block.position[:, None] - other.position) <= window
    if block is other:
        np.fill_diagonal(r2, 1.0)
    r2 *= close
    block.squares += r2.sum(axis=1, dtype=np.float64)
    block.count += close.sum(axis=1)
    if block is not other:
        other.squares += r2.sum(axis=0, dtype=np.float64)
        other.count += close.sum(axis=0)


def _files(where: Path) -> list[Path]:
    found: list[Path] = []
    if where.is_file():
        found = [where]
    elif where.is_dir():
        found = sorted(p for p in where.iterdir() if p.name.endswith(_ENDINGS))
    else:
        names = [where.name.replace("@", str(c)) for c in range(1, 23)]
        if "@" not in where.name:
            names = [where.name, *(f"{where.name}{c}" for c in range(1, 23))]
        for name in names:
            beside = [where.with_name(name + ending) for ending in _ENDINGS]
            found += [path for path in beside if path.is_file()][:1]
    if not found:
        raise LeadlightError(
            f"There are no LD scores at {where}.",
            advice="Expected files that end in .l2.ldscore.gz, or give --genotypes.",
        )
    return found


def _count(path: Path) -> float | None:
    if not path.is_file():
        return None
    return float(np.sum([float(word) for word in path.read_text().split()]))
