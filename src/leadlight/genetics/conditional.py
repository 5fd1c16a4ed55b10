"""Independent signals of a locus: stepwise conditioning on individual data.

Each step adds the strongest remaining variant to the covariates and tests all others again, by the
linear model of `leadlight gwas`: the same numbers as PLINK 2's `--glm --condition`, gaps in calls
and traits included. `summary_signals` does the same without individual data.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from leadlight.errors import LeadlightError
from leadlight.genetics import linear_kernels as kernels
from leadlight.genetics.designs import make_designs, orthonormal_basis
from leadlight.genetics.genotypes import GenotypeSource
from leadlight.genetics.linear_blocks import Compiled
from leadlight.genetics.tail_probability import neg_log_10_p
from leadlight.genetics.traits import Matched
from leadlight.genetics.variant_tables import HAPLOID, X_LINKED, Y_LINKED

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
_CALLS_PER_BLOCK = 1 << 22


@dataclass(frozen=True)
class Scan:
    """One trait's statistics, all (variant,): NaN where a variant can't be tested."""

    beta: Floats
    standard_error: Floats
    neg_log_10_p: Floats
    effect_allele_frequency: Floats
    n: Integers

    @property
    def z(self) -> Floats:
        """Effects over their standard errors."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.beta / self.standard_error)


@dataclass(frozen=True)
class Signals:
    """Independent signals, in the order in which they were found; all (signal,).

    variants: places in what was tested; conditional: given the earlier ones, when it was added;
    joint: in the model of all signals together.
    """

    variants: Integers
    conditional_beta: Floats
    conditional_error: Floats
    conditional_neg_log_10_p: Floats
    joint_beta: Floats
    joint_error: Floats
    joint_neg_log_10_p: Floats

    def __len__(self) -> int:
        return len(self.variants)


def conditional_scan(
    source: GenotypeSource,
    matched: Matched,
    trait: str,
    numbers: Integers,
    conditions: Sequence[int] = (),
    *,
    calibration: float = 1.0,
) -> Scan:
    """Test the variants `numbers` (all of one kind) given the variants `conditions`.

    matched: the people, traits and covariates of the association; people without a call of a
    condition are left out, as in PLINK. calibration: see `Background.calibration`. Variants that
    the conditions explain all but 1e-6 of have NaN.
    """
    kinds = np.unique(source.variants.kind[numbers])
    if len(kinds) != 1:
        raise LeadlightError("Variants of autosomes and of X or Y can't be tested together.")
    kind = int(kinds[0])
    own = _given(source, matched, trait, conditions)
    designs = make_designs(own, kind)
    if not designs:
        raise LeadlightError(f"Too few people have {trait} and all calls to test a locus.")
    design = designs[0]
    compiled, by_sex = Compiled(design), kind == X_LINKED
    scale = 2.0 if kind in (Y_LINKED, HAPLOID) else 1.0
    out = np.full((4, len(numbers)), np.nan)
    people = np.zeros(len(numbers), dtype=np.int64)
    size = int(np.clip(_CALLS_PER_BLOCK // len(design), 16, 2048))
    with source.reader(design.rows) as reader:
        for start in range(0, len(numbers), size):
            some = numbers[start : start + size]
            calls = np.ascontiguousarray(reader.read(some))
            if calls.dtype != np.int8:
                calls = np.where(np.isnan(calls), np.float32(-9), calls)
            ready = np.empty(calls.shape)
            counts = np.empty((len(some), 6))
            flipped = np.empty(len(some), dtype=np.uint8)
            first = np.empty(len(some) + 1, dtype=np.int64)
            absent = kernels.prepare_calls(
                calls, design.male, by_sex, ready, counts, flipped, first
            )
            statistics, frequency, n = compiled.statistics(
                ready, counts, flipped, first, absent, by_sex, scale
            )
            where = slice(start, start + len(some))
            out[:3, where], out[3, where], people[where] = statistics[:, 0], frequency[0], n[0]
    if calibration != 1.0:
        out[0] /= calibration
        out[1] /= np.sqrt(calibration)
        out[2] = neg_log_10_p(out[0] / out[1], (people - design.q - 1).astype(np.float64))
    return Scan(out[0], out[1], out[2], out[3], people)


def stepwise_signals(
    source: GenotypeSource,
    matched: Matched,
    trait: str,
    numbers: Integers,
    *,
    p: float = 5e-8,
    max_r2: float = 0.9,
    max_signals: int = 10,
    calibration: float = 1.0,
) -> tuple[Signals, list[Scan]]:
    """Independent signals among the variants `numbers` of one locus, and the scan of every step.

    A variant is added while its p, given those before it, is at most `p`. Variants of which the
    signals explain more than `max_r2` are passed over. At the end, signals whose p in the joint
    model is above `p` are taken out again, the weakest first. The scans: unconditional, given the
    first signal, given the first two …; the last finds nothing more.
    """
    chosen: list[int] = []
    entered: list[tuple[float, float, float]] = []
    scans: list[Scan] = []
    while True:
        given = [int(numbers[at]) for at in chosen]
        scan = conditional_scan(source, matched, trait, numbers, given, calibration=calibration)
        scans.append(scan)
        strength = np.where(np.isfinite(scan.neg_log_10_p), scan.neg_log_10_p, -1.0)
        strength[chosen] = -1.0
        found = -1
        for at in np.argsort(-strength, kind="stable")[:50]:
            if strength[at] < -np.log10(p):
                break
            number = int(numbers[at])
            if not chosen or explained(source, matched, number, given) <= max_r2:
                found = int(at)
                break
        if found < 0 or len(chosen) == max_signals:
            break
        chosen.append(found)
        entered.append(
            (
                float(scan.beta[found]),
                float(scan.standard_error[found]),
                float(scan.neg_log_10_p[found]),
            )
        )
    while True:
        joint = []
        for at in chosen:
            others = [int(numbers[other]) for other in chosen if other != at]
            joint.append(_one(source, matched, trait, int(numbers[at]), others, calibration))
        weakest = min(range(len(chosen)), key=lambda k: joint[k][2], default=-1)
        if len(chosen) < 2 or joint[weakest][2] >= -np.log10(p):
            break
        del chosen[weakest], entered[weakest]
    return _signals(chosen, entered, joint), scans


def explained(
    source: GenotypeSource, matched: Matched, number: int, conditions: Sequence[int]
) -> float:
    """Share of a variant's variance that other variants explain, among people with all calls."""
    with source.reader(matched.rows) as reader:
        calls = _floats(reader.read(np.array([number, *conditions])))
    calls = calls[:, np.isfinite(calls).all(axis=0)]
    value = calls[0] - calls[0].mean()
    total = value @ value
    if total <= 0:
        return 1.0
    basis = orthonormal_basis(calls[1:].T)
    return float(((basis.T @ value) ** 2).sum() / total)


def _given(
    source: GenotypeSource, matched: Matched, trait: str, conditions: Sequence[int]
) -> Matched:
    """The people with this trait and the conditions' calls, which are covariates."""
    at = matched.trait_names.index(trait)
    keep = np.isfinite(matched.traits[:, at])
    covariates = matched.covariates
    if len(conditions):
        with source.reader(matched.rows) as reader:
            calls = _floats(reader.read(np.array(conditions, dtype=np.int64)))
        keep &= np.isfinite(calls).all(axis=0)
        covariates = np.column_stack([covariates, calls.T])
    names = (*matched.covariate_names, *(f"variant {number}" for number in conditions))
    return replace(
        matched,
        rows=matched.rows[keep],
        sex=matched.sex[keep],
        trait_names=(trait,),
        traits=matched.traits[keep][:, [at]],
        covariate_names=names,
        covariates=covariates[keep],
    )


def _one(
    source: GenotypeSource,
    matched: Matched,
    trait: str,
    number: int,
    others: Sequence[int],
    calibration: float,
) -> tuple[float, float, float]:
    numbers = np.array([number])
    scan = conditional_scan(source, matched, trait, numbers, others, calibration=calibration)
    return float(scan.beta[0]), float(scan.standard_error[0]), float(scan.neg_log_10_p[0])


def _signals(
    chosen: Sequence[int],
    entered: Sequence[tuple[float, float, float]],
    joint: Sequence[tuple[float, float, float]],
) -> Signals:
    columns: Any = [np.array(column, dtype=np.float64) for column in zip(*entered, strict=True)]
    finals: Any = [np.array(column, dtype=np.float64) for column in zip(*joint, strict=True)]
    if not chosen:
        columns = finals = [np.zeros(0)] * 3
    return Signals(np.array(chosen, dtype=np.int64), *columns, *finals)


def _floats(calls: npt.NDArray[Any]) -> Floats:
    values = calls.astype(np.float64)
    values[calls < 0] = np.nan
    return values
