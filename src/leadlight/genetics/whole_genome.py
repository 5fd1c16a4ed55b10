"""Whole-genome regression: what all chromosomes but one predict of a trait.

The two-level ridge of REGENIE (Mbatchou et al., Nature Genetics 53:1097, 2021). A trait minus its
prediction is free of the background that relatives and populations share; it then goes into the
same linear model. Binary traits take the prediction as an offset on the log-odds scale.

Missing calls take the variant's mean. A missing trait value is left out when the trait is
residualised and in level 1; in level 0, whose Gram matrices all traits share, it stands as the
mean, as in REGENIE.
"""

import hashlib
import json
import os
import shutil
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from leadlight.atomic import refuse_overwrite, write_json, written_whole
from leadlight.errors import LeadlightError
from leadlight.genetics.background_calibration import (
    calibration_of,
    explained,
    interpolated,
    jobs,
    simulate_traits,
)
from leadlight.genetics.binary import fit_logistic
from leadlight.genetics.designs import orthonormal_basis, standard_residuals
from leadlight.genetics.ridge import (
    KEPT_IN_MEMORY,
    Calls,
    Floats,
    ReadPeople,
    Singles,
    Stack,
    block_predictions,
    predict,
    shrinkages,
    stack_linear,
    stack_logistic,
)
from leadlight.progress import track

ReadBlock = Callable[[int, int], Calls]  # first, last -> (variant, person)
HERITABILITIES = (0.01, 0.25, 0.5, 0.75, 0.99)  # REGENIE's grid, at both levels
STORE = "whole_genome.zarr"
NO_CHROMOSOME = "none"  # nothing left out: for variants of chromosomes that the regression lacks
_LEVEL_0 = "whole_genome_level_0"


def whole_genome_regression(
    read: ReadBlock,
    chromosomes: Sequence[str],
    traits: Floats,
    covariates: Floats,
    folder: Path,
    *,
    trait_names: Sequence[str],
    person_ids: Sequence[str],
    family_ids: Sequence[str] | None = None,
    binary: bool = False,
    block_size: int = 1000,
    folds: int = 5,
    heritabilities: Sequence[float] = HERITABILITIES,
    workers: int | None = None,
    memory_mb: int = 2000,
    source: str = "",
    calibrate: bool = True,
    seed: int = 1,
    keep_level_0: bool = False,
    overwrite: bool = False,
) -> xr.Dataset:
    """Predict every trait from all chromosomes but one, for each chromosome.

    read(first, last): (variant, person) calls of those variants, int8 with negative values
    missing or floats with NaN; it is never called by two threads at once. chromosomes: (variant,),
    each chromosome's variants together; prune them for linkage first. traits: (person, trait), NaN
    missing; binary ones 0 and 1. covariates: (person, covariate) without the constant, complete.
    source: names the genotypes (a fingerprint, say). memory_mb: fewer blocks at a time are worked
    on where they would need more.

    Returns, and writes to `folder / STORE`, a dataset with `loco` (trait, chromosome, person)
    float32: predictions without each chromosome, in the trait's unit (binary: log odds), NaN where
    the trait is missing; chromosome `none` leaves nothing out. Also `score` (trait): the
    cross-validated squared correlation (binary: share of the deviance explained); `heritability`
    (trait): the level-1 grid value chosen; `residual_sd` (trait); `calibration` (trait): see
    `calibrated`, 1 without `calibrate`, for binary traits and where there is one chromosome.

    Each block's level-0 predictions are kept in `folder` until the end: the same call goes on where
    a killed one stopped. Raises LeadlightError on constant traits, incomplete covariates, too few
    people, scattered chromosomes, or level-0 files of another run.
    """
    names = np.asarray(chromosomes, dtype=str)
    _check(names, traits, covariates, trait_names, person_ids, folds, binary)
    store = folder / STORE
    refuse_overwrite(store, overwrite)
    basis = orthonormal_basis(covariates)
    residuals, residual_sd = standard_residuals(traits, basis)
    for name, sd in zip(trait_names, residual_sd, strict=True):
        if not sd > 0:
            raise LeadlightError(
                f"Trait {name} is constant, or nothing of it is left after the covariates.",
                advice="Leave it out.",
            )
    blocks = list(_blocks(names, block_size))
    level_0 = folder / _LEVEL_0
    calibrate = calibrate and not binary and len(set(names.tolist())) > 1
    plan = _plan(names, traits, covariates, person_ids, blocks, folds, heritabilities, source)
    _claim(level_0, plan | {"calibrate": calibrate, "seed": seed}, overwrite)
    columns, simulated = residuals, None
    with threadpool_limits(1):
        if calibrate:
            simulated = simulate_traits(read, names, blocks, basis, seed)
            columns = np.concatenate([residuals, simulated.values], axis=1)
    at_once = memory_mb * 1_000_000 // _block_bytes(blocks, columns, folds, heritabilities)
    predictors, power = _level_0(
        read,
        blocks,
        basis,
        columns,
        folds,
        heritabilities,
        level_0,
        max(1, min(_workers(workers), at_once)),
    )
    of_chromosome = np.repeat([names[first] for first, _ in blocks], len(heritabilities))
    left_out = [*dict.fromkeys(names.tolist()), NO_CHROMOSOME]

    def stack(at: int) -> Stack:
        reader = _reader(predictors, at)
        if not binary:
            return stack_linear(reader, residuals[:, at], heritabilities, folds)
        offset = fit_logistic(basis, traits[:, at]).log_odds
        return stack_logistic(reader, traits[:, at], offset, heritabilities, folds)

    with written_whole(store) as unfinished:
        group = _create(unfinished, trait_names, left_out, person_ids, family_ids, binary)
        predictions: Any = group["loco"]
        done: list[Stack] = []
        ratios = np.ones(len(trait_names))
        with threadpool_limits(1), ThreadPoolExecutor(_workers(workers)) as pool:
            stacks = pool.map(stack, range(len(trait_names)))
            for at, fitted in enumerate(track(stacks, "stacking", len(trait_names))):
                unit = 1.0 if binary else residual_sd[at]
                rows = [of_chromosome != name for name in left_out]
                loco = predict(_reader(predictors, at), fitted, rows, len(person_ids)) * unit
                loco[:, ~np.isfinite(traits[:, at])] = np.nan
                predictions[at] = loco.astype(np.float32)
                done.append(fitted)
            if simulated is not None:
                measure = partial(
                    calibration_of,
                    simulated,
                    lambda column, first, last: _reader(predictors, len(trait_names) + column)(
                        first, last
                    ),
                    of_chromosome,
                    basis,
                    heritabilities,
                    folds,
                )
                wanted = jobs()
                found = list(track(pool.map(measure, wanted), "calibrating", len(wanted)))
                freedom = len(basis) - basis.shape[1]
                ratios = interpolated(explained(power, len(trait_names), freedom), found)
        for name, values in (
            ("score", np.array([fitted.score for fitted in done])),
            ("heritability", np.array([fitted.heritability for fitted in done])),
            ("residual_sd", residual_sd),
            ("calibration", ratios),
        ):
            group.create_array(name, data=values, dimension_names=("trait",))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Consolidated metadata")
            zarr.consolidate_metadata(str(unfinished))
    predictors.clear()
    if not keep_level_0:
        shutil.rmtree(level_0, ignore_errors=True)
    return open_predictions(store)


def open_predictions(store: Path) -> xr.Dataset:
    """Open what `whole_genome_regression` wrote; values are read when they are used."""
    if not (store / "zarr.json").is_file():
        raise LeadlightError(
            f"There are no whole-genome predictions at {store}.",
            advice="Run the whole-genome regression first.",
        )
    opened: xr.Dataset = xr.open_zarr(store, chunks=None)
    return opened


def background(predictions: xr.Dataset, chromosome: str, person_ids: Sequence[str]) -> Floats:
    """(person, trait) predictions without one chromosome, for these people in this order.

    People without a prediction, and missing traits, are NaN. Raises LeadlightError where the
    chromosome was not left out and `none` is not there to stand in.
    """
    known = predictions["chromosome"].values.tolist()
    name = chromosome if chromosome in known else NO_CHROMOSOME
    if name not in known:
        raise LeadlightError(
            f"The predictions leave out no chromosome {chromosome}.",
            advice=f"They know {', '.join(known)}.",
        )
    row_of = {person: i for i, person in enumerate(predictions["person"].values.tolist())}
    rows = np.array([row_of.get(str(person), -1) for person in person_ids])
    values = predictions["loco"].sel(chromosome=name).values.astype(np.float64).T
    return np.where(rows[:, None] >= 0, values[np.maximum(rows, 0)], np.nan)


def calibrated(beta: Floats, standard_error: Floats, calibration: float) -> tuple[Floats, Floats]:
    """Effects and standard errors of a trait minus its background, freed of what that took away.

    calibration: of the trait, from the predictions. A t statistic grows by its square root's
    inverse, the effect by its inverse.
    """
    return beta / calibration, standard_error / np.sqrt(calibration)


def _level_0(
    read: ReadBlock,
    blocks: Sequence[tuple[int, int]],
    basis: Floats,
    residuals: Floats,
    folds: int,
    heritabilities: Sequence[float],
    level_0: Path,
    workers: int,
) -> tuple[list[Singles], Floats]:
    """Predictions of every block, (trait, penalty, person), as memory maps of their files.

    And the sum of the blocks' powers, as `block_predictions` gives them.
    """
    penalties = shrinkages(heritabilities, blocks[-1][1])
    basis_32 = basis.astype(np.float32)
    filled = np.nan_to_num(residuals).astype(np.float32)
    reading = threading.Lock()

    def one(number: int) -> None:
        path = level_0 / f"block_{number:05d}.npy"
        if path.is_file():
            return
        with reading:
            calls = read(*blocks[number])
        values, power = block_predictions(calls, basis_32, filled, penalties, folds)
        # The predictions last: with them, a block counts as done.
        for name, array in ((_power(path), power), (path, values)):
            with written_whole(name) as part, part.open("wb") as stream:
                np.save(stream, array)

    # One thread of linear algebra per block: a library's own threads wait on each other by
    # spinning, which another busy program turns into minutes.
    with threadpool_limits(1), ThreadPoolExecutor(workers) as pool:
        for _ in track(pool.map(one, range(len(blocks))), "ridge by blocks", len(blocks)):
            pass
    paths = [level_0 / f"block_{number:05d}.npy" for number in range(len(blocks))]
    powers = np.stack([np.load(_power(path)) for path in paths]).sum(axis=0)
    return [np.load(path, mmap_mode="r") for path in paths], powers


def _block_bytes(
    blocks: Sequence[tuple[int, int]],
    columns: Floats,
    folds: int,
    heritabilities: Sequence[float],
) -> int:
    """Roughly what one block of level 0 needs: calls, Gram matrices and predictions."""
    variants = max(last - first for first, last in blocks)
    people, n_columns = len(columns), len(columns.T)
    calls = people * variants + min(4 * people * variants, KEPT_IN_MEMORY)
    predictions = 4 * people * n_columns * len(heritabilities)
    return calls + 4 * variants**2 * (folds + 4) + predictions


def _power(path: Path) -> Path:
    return path.with_name(f"{path.stem}_power.npy")


def _reader(predictors: Sequence[Singles], trait: int) -> ReadPeople:
    def read(first: int, last: int) -> Singles:
        return np.concatenate([block[trait, :, first:last] for block in predictors])

    return read


def _blocks(names: npt.NDArray[np.str_], size: int) -> Iterator[tuple[int, int]]:
    """(first, last) of blocks of at most `size` variants, none across two chromosomes."""
    edges = [0, *(np.flatnonzero(names[1:] != names[:-1]) + 1).tolist(), len(names)]
    for start, stop in pairwise(edges):
        for first in range(start, stop, size):
            yield first, min(first + size, stop)


def _check(
    names: npt.NDArray[np.str_],
    traits: Floats,
    covariates: Floats,
    trait_names: Sequence[str],
    person_ids: Sequence[str],
    folds: int,
    binary: bool,
) -> None:
    people = len(person_ids)
    if traits.shape != (people, len(trait_names)) or len(covariates) != people:
        raise LeadlightError(
            f"Traits {traits.shape} and covariates {covariates.shape} don't fit {people} people "
            f"and {len(trait_names)} traits."
        )
    if not np.isfinite(covariates).all():
        raise LeadlightError(
            "Some people have no value of a covariate.", advice="Drop those people first."
        )
    if people < max(10 * folds, 2 * (covariates.shape[1] + 1)):
        raise LeadlightError(
            f"{people} people are too few for {folds} folds and {covariates.shape[1]} covariates."
        )
    n_chromosomes = 1 + int(np.count_nonzero(names[1:] != names[:-1]))
    if not len(names) or n_chromosomes != len(set(names.tolist())):
        raise LeadlightError(
            "There are no variants, or those of a chromosome don't stand together.",
            advice="Sort the genotypes by chromosome and position.",
        )
    known = traits[np.isfinite(traits)]
    if binary and not np.isin(known, (0, 1)).all():
        raise LeadlightError("A binary trait has values other than 0 and 1.")


def _plan(
    names: npt.NDArray[np.str_],
    traits: Floats,
    covariates: Floats,
    person_ids: Sequence[str],
    blocks: Sequence[tuple[int, int]],
    folds: int,
    heritabilities: Sequence[float],
    source: str,
) -> dict[str, object]:
    digest = hashlib.sha256()
    for values in (traits, covariates):
        digest.update(np.ascontiguousarray(values, dtype=np.float64).tobytes())
    digest.update("\n".join([*names.tolist(), "", *map(str, person_ids)]).encode())
    return {
        "inputs": digest.hexdigest(),
        "source": source,
        "blocks": len(blocks),
        "variants": len(names),
        "folds": folds,
        "heritabilities": list(heritabilities),
    }


def _claim(level_0: Path, plan: dict[str, object], overwrite: bool) -> None:
    """Make the folder of block predictions, or go on in one of the same plan."""
    said = level_0 / "plan.json"
    if said.is_file() and json.loads(said.read_text(encoding="utf-8")) != plan:
        if not overwrite:
            raise LeadlightError(
                f"{level_0} holds blocks of a regression of other data or settings.",
                advice="Give --overwrite to replace them, or another folder.",
            )
        shutil.rmtree(level_0)
    write_json(said, plan)


def _create(
    store: Path,
    trait_names: Sequence[str],
    left_out: Sequence[str],
    person_ids: Sequence[str],
    family_ids: Sequence[str] | None,
    binary: bool,
) -> zarr.Group:
    group = zarr.create_group(
        str(store), attributes={"kind": "binary" if binary else "quantitative"}
    )
    group.create_array(
        "loco",
        shape=(len(trait_names), len(left_out), len(person_ids)),
        chunks=(1, 1, len(person_ids)),
        dtype="float32",
        fill_value=float("nan"),
        dimension_names=("trait", "chromosome", "person"),
    )
    families = person_ids if family_ids is None else family_ids
    for name, axis, values in (
        ("trait", "trait", trait_names),
        ("chromosome", "chromosome", left_out),
        ("person", "person", person_ids),
        ("family", "person", families),
    ):
        coordinate = group.create_array(
            name,
            shape=(len(values),),
            chunks=(min(len(values), 100_000),),
            dtype=str,
            dimension_names=(axis,),
        )
        coordinate[:] = np.array([str(value) for value in values], dtype=object)
    return group


def _workers(asked: int | None) -> int:
    return max(1, len(os.sched_getaffinity(0)) if asked is None else asked)
