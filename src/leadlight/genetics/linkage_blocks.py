"""Correlation matrices of consecutive blocks of variants, on disk, for methods that need all.

A block ends where linkage across the cut is least, so that little is lost by treating blocks as
independent of each other.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from leadlight.errors import LeadlightError
from leadlight.genetics.genotypes import GenotypeSource, Reader
from leadlight.progress import bar

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LinkageBlocks:
    """Variants of all blocks in the order of the genotype file, and their correlations.

    numbers: (variant,) in the genotype source; first: (block + 1,) where blocks begin among them;
    mean, sd: (variant,) of the effect allele's count among the reference people; n_people of those;
    path: float32, the blocks' (variant, variant) matrices one after the other.
    """

    numbers: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    mean: Floats
    sd: Floats
    n_people: int
    path: Path

    def __len__(self) -> int:
        return len(self.first) - 1

    def matrices(self) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
        """Each block's variants among `numbers` and its (variant, variant) correlations."""
        place = 0
        for start, stop in zip(self.first[:-1], self.first[1:], strict=True):
            size = int(stop - start)
            matrix = np.memmap(self.path, np.float32, "r", place * 4, (size, size))
            place += size * size
            yield slice(int(start), int(stop)), matrix

    def linkage_scores(self) -> Floats:
        """(variant,) Σ r² over the block, less what chance adds in so many people."""
        scores = np.empty(len(self.numbers))
        for rows, matrix in self.matrices():
            squares = np.square(matrix, dtype=np.float64)
            squares -= (1 - squares) / max(self.n_people - 2, 1)
            scores[rows] = squares.sum(axis=1)
        return scores


def write_linkage_blocks(
    source: GenotypeSource,
    numbers: npt.NDArray[np.int64],
    people: npt.NDArray[np.uint32],
    path: Path,
    *,
    min_maf: float = 0.01,
    largest: int = 1000,
) -> LinkageBlocks:
    """Work out the blocks of the variants `numbers`, sorted by chromosome and position.

    people: ascending rows of the reference. Variants rarer than `min_maf` among them are left out.
    Missing calls take the variant's mean. Raises LeadlightError where no variant is left.
    """
    chromosome = source.variants.table["chromosome"].combine_chunks().indices.to_numpy()[numbers]
    kept: list[npt.NDArray[np.int64]] = []
    sizes: list[int] = []
    means: list[Floats] = []
    sds: list[Floats] = []
    with (
        path.open("wb") as stream,
        source.reader(people) as reader,
        bar("linkage", len(numbers)) as running,
    ):
        for name in dict.fromkeys(chromosome.tolist()):
            left = numbers[chromosome == name]
            held = _Held(np.zeros(0, np.int64), np.zeros((0, len(people)), np.float32))
            while len(left) or len(held.numbers):
                while len(held.numbers) < largest and len(left):
                    taken = left[: largest - len(held.numbers)]
                    left = left[len(taken) :]
                    held = held.with_more(reader, taken, min_maf)
                    running.step(len(taken))
                if not len(held.numbers):
                    break
                r = held.values @ held.values.T / np.float32(len(people))
                cut = _cut(r) if len(left) else len(r)
                block = np.ascontiguousarray(r[:cut, :cut])
                np.fill_diagonal(block, 1.0)
                stream.write(block.tobytes())
                kept.append(held.numbers[:cut])
                sizes.append(cut)
                means.append(held.mean[:cut])
                sds.append(held.sd[:cut])
                held = held.after(cut)
    if not kept:
        raise LeadlightError(
            f"No variant has a minor allele frequency of {min_maf} among the reference people.",
            advice="Look at the summary statistics and the genotypes.",
        )
    return LinkageBlocks(
        np.concatenate(kept),
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        np.concatenate(means),
        np.concatenate(sds),
        len(people),
        path,
    )


class _Held:
    """Variants read and not yet in a block: values (variant, person) of mean 0 and SD 1."""

    def __init__(
        self,
        numbers: npt.NDArray[np.int64],
        values: npt.NDArray[np.float32],
        mean: Floats | None = None,
        sd: Floats | None = None,
    ) -> None:
        self.numbers, self.values = numbers, values
        self.mean = np.zeros(0) if mean is None else mean
        self.sd = np.zeros(0) if sd is None else sd

    def with_more(self, reader: Reader, numbers: npt.NDArray[np.int64], min_maf: float) -> "_Held":
        values = reader.read(numbers).astype(np.float32)
        values[values < 0] = np.nan
        missing = np.isnan(values)
        if missing.any():
            count = np.maximum((~missing).sum(axis=1), 1)
            mean = np.where(missing, 0, values).sum(axis=1, dtype=np.float64) / count
            values = np.where(missing, mean[:, None].astype(np.float32), values)
        mean = values.mean(axis=1, dtype=np.float64)
        sd = values.std(axis=1, dtype=np.float64)
        fine = (np.minimum(mean, 2 - mean) / 2 >= min_maf) & (sd > 1e-6)
        scaled = (values[fine] - mean[fine, None].astype(np.float32)) / sd[fine, None].astype(
            np.float32
        )
        return _Held(
            np.concatenate([self.numbers, numbers[fine]]),
            np.concatenate([self.values, scaled]),
            np.concatenate([self.mean, mean[fine]]),
            np.concatenate([self.sd, sd[fine]]),
        )

    def after(self, cut: int) -> "_Held":
        return _Held(self.numbers[cut:], self.values[cut:], self.mean[cut:], self.sd[cut:])


def _cut(r: npt.NDArray[np.float32]) -> int:
    """Where, in the last 40 % of the variants, the sum of r² across a cut is least."""
    size = len(r)
    squares = np.square(r, dtype=np.float64)
    # across(c) = Σ over i < c ≤ j: from across(c − 1) a variant changes sides.
    upper = np.triu(squares, 1)
    across = np.cumsum(upper.sum(axis=1) - upper.sum(axis=0))
    low = max(1, int(0.6 * size))
    return int(low + np.argmin(across[low - 1 : size - 1])) if size - 1 > low else size
