"""Principal components of the genotypes: pruned variants, unrelated people, others projected.

The components are the leading singular vectors of the standardised calls (Price et al., Nature
Genetics 38:904, 2006), found by a randomised method (Halko et al., SIAM Review 53:217, 2011) that
reads the genotypes in blocks.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from leadlight.atomic import written_whole
from leadlight.errors import LeadlightError
from leadlight.genetics.genotypes import GenotypeSource
from leadlight.genetics.kinship import unrelated_people
from leadlight.genetics.variant_tables import DIPLOID, People
from leadlight.progress import say

Floats = npt.NDArray[Any]
_BLOCK = 512
_MOST_VARIANTS = 100_000
_KEPT_IN_MEMORY = 1 << 29  # bytes of standardised calls that are not read again in every pass
# Regions of long linkage, GRCh37 in millions of base pairs (Price et al., American Journal of Human
# Genetics 83:132, 2008): the MHC, and the inversions of 8p23 and 17q21.
LONG_LINKAGE = (("6", 24.0, 36.0), ("8", 7.0, 13.0), ("17", 40.0, 46.0))


@dataclass(frozen=True)
class Components:
    """Principal components of the people asked for.

    scores: (person, component), unit variance over the unrelated; variance: (component,) share of
    the variance of the variants used; variants: their numbers; unrelated: (person,) bool, who made
    the components (the others are projected).
    """

    scores: npt.NDArray[np.float64]
    variance: npt.NDArray[np.float64]
    variants: npt.NDArray[np.int64]
    unrelated: npt.NDArray[np.bool_]


def principal_components(
    source: GenotypeSource,
    rows: npt.NDArray[np.uint32],
    components: int,
    *,
    min_maf: float = 0.01,
    max_missing: float = 0.02,
    max_r2: float = 0.2,
    max_kinship: float = 0.0884,
    passes: int = 8,
    seed: int = 0,
    workers: int | None = None,
) -> Components:
    """Components of the people `rows` from autosomal variants.

    max_r2: of pairs of variants within a window; max_kinship: 0.0884 takes second-degree relatives
    and closer out before the components are made. Deterministic for a seed. Raises LeadlightError
    where fewer variants or people are left than twice the components.
    """
    with threadpool_limits(1):
        candidates = pruned_variants(
            source, rows, min_maf=min_maf, max_missing=max_missing, max_r2=max_r2
        )
        if len(candidates) > _MOST_VARIANTS:
            step = len(candidates) / _MOST_VARIANTS
            candidates = candidates[(np.arange(_MOST_VARIANTS) * step).astype(np.int64)]
        unrelated = unrelated_people(source, rows, candidates, max_kinship)
        left = min(int(unrelated.sum()), len(candidates))
        if left < 2 * components:
            raise LeadlightError(
                f"{components} principal components need more than {len(candidates)} independent "
                f"variants and {unrelated.sum()} unrelated people.",
                advice="Ask for fewer, or give more variants.",
            )
        if not unrelated.all():
            say(f"{(~unrelated).sum():,} relatives are projected onto the principal components.")
        return _components(source, rows, candidates, unrelated, components, passes, seed, workers)


def pruned_variants(
    source: GenotypeSource,
    rows: npt.NDArray[np.uint32],
    *,
    min_maf: float = 0.01,
    max_missing: float = 0.02,
    max_r2: float = 0.2,
    window: int = 200,
) -> npt.NDArray[np.int64]:
    """Numbers of autosomal variants of which no two within `window` variants have r² > max_r2.

    Greedy, along each chromosome, the earlier variant stays; regions of long linkage are left out.
    """
    table = source.variants.table
    chromosome = np.array(table["chromosome"].to_pylist())
    place = table["base_pair_location"].to_numpy() / 1e6
    usable = (source.variants.kind == DIPLOID) & ~source.variants.multiallelic & (chromosome != "X")
    for name, first, last in LONG_LINKAGE:
        usable &= ~((chromosome == name) & (place >= first) & (place <= last))
    kept: list[int] = []
    with source.reader(rows) as reader:
        for name in dict.fromkeys(chromosome.tolist()):
            here = np.flatnonzero(usable & (chromosome == name))
            here = here[np.argsort(place[here], kind="stable")]
            recent = np.zeros((0, len(rows)), dtype=np.float32)
            since = np.zeros(0, dtype=np.int64)
            for start in range(0, len(here), _BLOCK):
                numbers = here[start : start + _BLOCK]
                calls, good = _standardised(reader.read(np.sort(numbers)), min_maf, max_missing)
                numbers, calls = np.sort(numbers)[good], calls[good]
                ranks = start + np.flatnonzero(good)
                near = calls @ np.concatenate([recent, calls]).T
                taken: list[int] = []
                before = len(recent)
                for i in range(len(numbers)):
                    close = np.flatnonzero(ranks[i] - since < window)
                    others = np.array([before + j for j in taken if ranks[i] - ranks[j] < window])
                    against = np.concatenate([close, others]).astype(np.int64)
                    if not len(against) or (near[i, against] ** 2).max() <= max_r2:
                        taken.append(i)
                kept += numbers[taken].tolist()
                recent = np.concatenate([recent, calls[taken]])
                since = np.concatenate([since, ranks[taken]])
                still = since > start + len(good) - window
                recent, since = recent[still], since[still]
    return np.array(sorted(kept), dtype=np.int64)


def write_components(
    path: Path, people: People, rows: npt.NDArray[np.uint32], found: Components
) -> None:
    """Write `FID, IID, PC1…, unrelated` of the people analysed, as a Parquet table."""
    table = pa.table(
        {
            "FID": [people.family_ids[i] for i in rows],
            "IID": [people.person_ids[i] for i in rows],
            **{f"PC{k + 1}": column for k, column in enumerate(found.scores.T)},
            "unrelated": found.unrelated,
        }
    )
    with written_whole(path) as unfinished:
        pq.write_table(table, unfinished)


def _standardised(
    calls: Floats, min_maf: float, max_missing: float
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """(variant, person) float32 of unit length, missing calls at the mean; which are usable."""
    missing = ~(calls >= 0)
    values = np.where(missing, 0, calls).astype(np.float32)
    called = (~missing).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = values.sum(axis=1) / called
        values = np.where(missing, 0, values - mean[:, None])
        length = np.sqrt((values**2).sum(axis=1))
        good = np.minimum(mean, 2 - mean) >= 2 * min_maf
        good &= (called >= (1 - max_missing) * calls.shape[1]) & (length > 0)
        values /= length[:, None]
    return values, good


def _components(
    source: GenotypeSource,
    rows: npt.NDArray[np.uint32],
    numbers: npt.NDArray[np.int64],
    unrelated: npt.NDArray[np.bool_],
    components: int,
    passes: int,
    seed: int,
    workers: int | None,
) -> Components:
    rng = np.random.default_rng(seed)
    n = int(unrelated.sum())
    width = min(components + 10, n, len(numbers))
    blocks = [numbers[i : i + _BLOCK] for i in range(0, len(numbers), _BLOCK)]

    kept: dict[int, Floats] = {}
    room = len(numbers) * len(rows) * 4 <= _KEPT_IN_MEMORY

    def scaled(block: npt.NDArray[np.int64]) -> Floats:
        """(variant, person) standardised by the unrelated people's mean and spread."""
        if int(block[0]) in kept:
            return kept[int(block[0])]
        with source.reader(rows) as reader:
            calls = reader.read(block)
        missing = ~(calls >= 0)
        values = np.where(missing, 0, calls).astype(np.float32)
        mean = values[:, unrelated].sum(axis=1) / (~missing[:, unrelated]).sum(axis=1)
        values = np.where(missing, 0, values - mean[:, None].astype(np.float32))
        spread = np.sqrt((values[:, unrelated] ** 2).mean(axis=1))
        values /= np.where(spread > 0, spread, np.inf)[:, None]
        if room:
            kept[int(block[0])] = values
        return values

    def times(basis: Floats, block: npt.NDArray[np.int64]) -> Floats:
        values = scaled(block)[:, unrelated]
        return np.asarray(values.T @ (values @ basis.astype(np.float32)))

    with ThreadPoolExecutor(workers) as pool:
        basis = np.linalg.qr(rng.standard_normal((n, width)))[0]
        for _ in range(passes):
            # Added up in the blocks' order, so that threads change nothing.
            total = np.zeros((n, width))
            for part in pool.map(partial(times, basis), blocks):
                total += part
            basis = np.linalg.qr(total)[0]
        total = np.zeros((n, width))
        for part in pool.map(partial(times, basis), blocks):
            total += part
        inner = basis.T @ total
        values, vectors = np.linalg.eigh((inner + inner.T) / 2)
        values = values[::-1][:components]
        directions = basis @ vectors[:, ::-1][:, :components]
        scores = np.zeros((len(rows), components))

        def projected(block: npt.NDArray[np.int64]) -> Floats:
            all_people = scaled(block)
            weights = all_people[:, unrelated] @ directions.astype(np.float32)
            return np.asarray(all_people.T @ weights)

        for part in pool.map(projected, blocks):
            scores += part
    scores *= np.sqrt(n) / values
    # The sign is free; the largest score of a component is positive.
    scores *= np.sign(scores[np.abs(scores).argmax(axis=0), np.arange(components)])
    return Components(scores, values / (n * len(numbers)), numbers, unrelated)
