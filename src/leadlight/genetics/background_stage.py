"""Whole-genome regression of a genotype source, and an association's people without it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xarray as xr

from leadlight import __version__
from leadlight.atomic import write_json
from leadlight.errors import LeadlightError
from leadlight.genetics.genotypes import Calls, GenotypeSource
from leadlight.genetics.gwas_summary import fingerprint
from leadlight.genetics.principal_components import pruned_variants
from leadlight.genetics.traits import Matched
from leadlight.genetics.variant_tables import DIPLOID, sorted_order
from leadlight.genetics.whole_genome import (
    STORE,
    background,
    open_predictions,
    whole_genome_regression,
)

_BLOCK = 1000
_MOST_VARIANTS = 100_000
_MAX_R2 = 0.5
_MADE_FROM = "whole_genome.json"


def regress_background(
    source: GenotypeSource,
    matched: Matched,
    folder: Path,
    *,
    binary: bool = False,
    variants: npt.NDArray[np.int64] | None = None,
    min_maf: float = 0.01,
    max_missing: float = 0.1,
    block_size: int = _BLOCK,
    workers: int | None = None,
    overwrite: bool = False,
    seed: int = 1,
) -> xr.Dataset:
    """Fit the whole-genome regression of all traits; see `whole_genome_regression`.

    variants: numbers in the source of those to use, best some ten or hundred thousand of low
    linkage; None: all. Of them, those with two copies in everybody, two alleles, and within the
    limits on the people of the study are used.
    """
    numbers = usable_variants(source, matched, variants, min_maf, max_missing)
    table = source.variants.table.select(["chromosome"])
    chromosomes = np.array(table["chromosome"].to_pylist(), dtype=str)[numbers]
    people = matched.rows.astype(np.intp)
    files = [f"{file.path.name}:{file.path.stat().st_size}" for file in source.files]
    with source.reader(matched.rows) as reader:

        def read(first: int, last: int) -> Calls:
            return reader.read(numbers[first:last])

        return whole_genome_regression(
            read,
            chromosomes.tolist(),
            matched.traits,
            matched.covariates,
            folder,
            trait_names=matched.trait_names,
            person_ids=[source.people.person_ids[row] for row in people],
            family_ids=[source.people.family_ids[row] for row in people],
            binary=binary,
            block_size=block_size,
            workers=workers,
            source=f"{files} {numbers.size} {int(numbers.sum())}",
            seed=seed,
            overwrite=overwrite,
        )


def without_background(
    matched: Matched, predictions: xr.Dataset, chromosome: str, person_ids: Sequence[str]
) -> Matched:
    """The same people with each trait minus its prediction without `chromosome`.

    For quantitative traits; binary ones take `background(...)` as the offset of `null_model`.
    person_ids: of the people of `matched`, in their order. Raises LeadlightError where a trait has
    no prediction.
    """
    known = predictions["trait"].values.tolist()
    absent = [name for name in matched.trait_names if name not in known]
    if absent:
        raise LeadlightError(
            f"There is no whole-genome prediction of {absent[0]}.",
            advice="Run the whole-genome regression with the same traits.",
        )
    values = background(predictions, chromosome, person_ids)
    columns = [known.index(name) for name in matched.trait_names]
    return replace(matched, traits=matched.traits - values[:, columns])


def usable_variants(
    source: GenotypeSource,
    matched: Matched,
    variants: npt.NDArray[np.int64] | None,
    min_maf: float,
    max_missing: float,
) -> npt.NDArray[np.int64]:
    """Numbers of the variants that a whole-genome regression can use, chromosome by chromosome."""
    order = sorted_order(source.variants)
    numbers = np.arange(len(source.variants)) if order is None else order
    if variants is not None:
        numbers = numbers[np.isin(numbers, variants)]
    fit = (source.variants.kind == DIPLOID) & ~source.variants.multiallelic
    numbers, keep = numbers[fit[numbers]], []
    with source.reader(matched.rows) as reader:
        for first in range(0, len(numbers), _BLOCK):
            calls = reader.read(numbers[first : first + _BLOCK])
            there = calls >= 0 if np.issubdtype(calls.dtype, np.integer) else ~np.isnan(calls)
            count = np.maximum(there.sum(axis=1), 1)
            frequency = np.where(there, calls, 0).sum(axis=1, dtype=np.float64) / (2 * count)
            rarer = np.minimum(frequency, 1 - frequency)
            missing = 1 - there.mean(axis=1)
            keep.append((rarer >= min_maf) & (rarer > 0) & (missing <= max_missing))
    chosen: npt.NDArray[np.int64] = numbers[np.concatenate(keep)] if keep else numbers
    if len(chosen) < 10:
        raise LeadlightError(
            f"{len(chosen)} variants are left for the whole-genome regression.",
            advice="Give more variants, or a lower minor allele frequency.",
        )
    return chosen


@dataclass(frozen=True)
class Background:
    """Whole-genome predictions of the people of one association.

    person_ids: of the people of `Matched`, in their order; fingerprint: of all that decided the
    predictions.
    """

    predictions: xr.Dataset
    person_ids: tuple[str, ...]
    fingerprint: str

    def without(self, matched: Matched, chromosome: str) -> Matched:
        """See `without_background`."""
        return without_background(matched, self.predictions, chromosome, self.person_ids)

    def offsets(self, names: Sequence[str], chromosome: str) -> npt.NDArray[np.float64]:
        """(person, trait) log odds of these binary traits, predicted without a chromosome."""
        values = background(self.predictions, chromosome, self.person_ids)
        return values[:, self._columns(names)]

    def calibration(self, names: Sequence[str]) -> npt.NDArray[np.float64]:
        """(trait,) calibrations of these traits, see `calibrated`."""
        return np.asarray(self.predictions["calibration"].values[self._columns(names)])

    def _columns(self, names: Sequence[str]) -> list[int]:
        known = self.predictions["trait"].values.tolist()
        return [known.index(name) for name in names]


def background_of(
    source: GenotypeSource,
    matched: Matched,
    out: Path,
    *,
    binary: bool = False,
    variants: Sequence[str] | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    seed: int = 1,
) -> Background:
    """The background of these traits, from `out` if an earlier run left it there, or made now.

    variants: ids of those to use; None: `default_variants`.
    """
    names = tuple(source.people.person_ids[row] for row in matched.rows)
    if len(set(names)) < len(names):
        raise LeadlightError(
            "The whole-genome regression needs an IID that no two people share.",
            advice="Rename them, for example to FID_IID (plink2 --update-ids).",
        )
    if variants is None:
        numbers = default_variants(source, matched)
    else:
        numbers = np.flatnonzero(
            pc.is_in(source.variants.table["rsid"], value_set=pa.array(variants, pa.string()))
        )
    digest = sha256(__version__.encode())
    for array in (matched.rows, matched.traits, matched.covariates, numbers):
        digest.update(np.ascontiguousarray(array).tobytes())
    digest.update(
        json.dumps(
            [matched.trait_names, binary, seed, [fingerprint(file.path) for file in source.files]]
        ).encode()
    )
    said, made = out / _MADE_FROM, digest.hexdigest()
    same = said.is_file() and json.loads(said.read_text(encoding="utf-8"))["sha256"] == made
    if same and (out / STORE).is_dir():
        return Background(open_predictions(out / STORE), names, made)
    predictions = regress_background(
        source,
        matched,
        out,
        binary=binary,
        variants=numbers,
        workers=workers,
        overwrite=overwrite,
        seed=seed,
    )
    write_json(said, {"sha256": made, "variants": len(numbers)})
    return Background(predictions, names, made)


def default_variants(source: GenotypeSource, matched: Matched) -> npt.NDArray[np.int64]:
    """Pruned autosomal variants (r² ≤ 0.5, MAF ≥ 1 %), evenly thinned to at most 100,000."""
    numbers = pruned_variants(source, matched.rows, max_r2=_MAX_R2, max_missing=0.1)
    if len(numbers) > _MOST_VARIANTS:
        numbers = numbers[np.linspace(0, len(numbers) - 1, _MOST_VARIANTS).astype(np.int64)]
    return numbers
