"""All exposures against all outcomes: which people, which model, one table of results."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from leadlight.errors import LeadlightError
from leadlight.genetics.designs import rank_normal
from leadlight.genetics.multiple_testing import neg_log_10_q
from leadlight.genetics.phewas_models import (
    COX,
    COX_FIRTH,
    FIRTH,
    FIRTH_BELOW,
    Fits,
    fit_cox_scan,
    fit_linear,
    fit_logistic_scan,
    fit_welch,
)
from leadlight.genetics.phewas_tables import FACTOR, LOCUS, SEXES, Outcome, ScanInput
from leadlight.genetics.variant_tables import UNKNOWN_SEX
from leadlight.progress import bar

Floats = npt.NDArray[np.float64]
PREDICTS, LOOKS = "predicts", "looks"
FAMILIES = ("direction", "exposure")
# So many cases of one sex, and none of the other: the outcome is that sex's own.
_ENOUGH_OF_ONE_SEX = 20
_UNITS = {
    "quantitative": "SD of the outcome",
    "binary": "log odds",
    "survival": "log hazard",
    "looks": "SD of the exposure",
}
NO_ESTIMATE, DRIFTS = "no finite estimate", "non-proportional"
SKEWED = "skewed: p is rough"
# Skewness over √cases from which the two groups' comparison misses its level: the error of a
# t statistic grows with this ratio (Edgeworth's expansion).
_ROUGH = 0.3


@dataclass(frozen=True)
class Scan:
    """results: one row per test (see `docs/phewas.md`); left_out: outcome → why it has none."""

    results: pl.DataFrame
    left_out: dict[str, str]


@dataclass(frozen=True)
class _Task:
    """Outcomes that are fitted together, in one direction."""

    direction: str
    outcomes: tuple[Outcome, ...]
    people: npt.NDArray[np.int64]
    note: str
    n_cases: int | None


def scan(
    given: ScanInput,
    *,
    directions: Sequence[str] = (PREDICTS, LOOKS),
    min_cases: int = 50,
    firth_below: int = FIRTH_BELOW,
    transform: str = "none",
    family: str = "direction",
    workers: int | None = None,
) -> Scan:
    """Test every exposure against every outcome.

    `predicts`: the outcome given the exposure. `looks`: who has the disease (0/1, or before entry)
    has which value of a factor; for factors only. Outcomes with fewer than `min_cases` cases
    (events), or controls, are left out. transform: `rank-normal` for what is explained, that is
    quantitative outcomes, and factors where the ill are looked at. family: what is corrected
    together: all tests of a `direction`, or those of a direction and an `exposure`. Exposures are
    in units of their SD among the people analysed, loci in alleles.
    """
    if family not in FAMILIES:
        raise LeadlightError(f"{family!r} is no family.", advice=f"One of {', '.join(FAMILIES)}.")
    if transform not in ("none", "rank-normal"):
        raise LeadlightError(f"{transform!r} is no transform.", advice="none or rank-normal.")
    x = _in_units(given)
    left_out: dict[str, str] = {}
    tasks: list[_Task] = []
    if PREDICTS in directions:
        tasks += _forward(given, min_cases, left_out)
    if LOOKS in directions and FACTOR in given.exposures.kinds:
        tasks += _backward(given, min_cases, left_out)
    if not tasks:
        first = next(iter(left_out.items()), ("", "none was given"))
        raise LeadlightError(
            f"No outcome can be tested: {first[0]} ({first[1]}).",
            advice="Look at the outcomes and at --min-cases.",
        )

    def work(task: _Task) -> list[pl.DataFrame]:
        try:
            return _fit(given, x, task, firth_below, transform)
        except LeadlightError as error:
            for outcome in task.outcomes:
                left_out[f"{outcome.name} ({task.direction})"] = str(error)
            return []

    threads = workers or len(os.sched_getaffinity(0))
    done: list[pl.DataFrame] = []
    with (
        threadpool_limits(1),
        bar("outcomes", len(tasks)) as running,
        ThreadPoolExecutor(threads) as pool,
    ):
        for rows in pool.map(work, tasks):
            done += rows
            running.step()
    if not done:
        raise LeadlightError(
            "No outcome could be fitted.", advice=next(iter(left_out.values()), "")
        )
    return Scan(_corrected(pl.concat(done), family), left_out)


def _in_units(given: ScanInput) -> Floats:
    """Exposures (person, exposure) with the SD 1, loci as they are."""
    x = given.exposures.values.copy()
    for at, (name, kind) in enumerate(
        zip(given.exposures.names, given.exposures.kinds, strict=True)
    ):
        known = x[np.isfinite(x[:, at]), at]
        if not len(known) or not np.ptp(known) > 0:
            raise LeadlightError(f"The exposure {name} is constant among the people analysed.")
        if kind != LOCUS:
            x[:, at] = (x[:, at] - known.mean()) / known.std(ddof=1)
    return x


def _forward(given: ScanInput, min_cases: int, left_out: dict[str, str]) -> list[_Task]:
    tasks: list[_Task] = []
    quantitative: dict[bytes, list[Outcome]] = {}
    for outcome in given.outcomes:
        if outcome.kind == "quantitative":
            there = np.isfinite(outcome.values) & _of_sex(given, outcome)
            known = outcome.values[there]
            if len(known) < given.covariates.shape[1] + 10:
                left_out[outcome.name] = f"only {len(known)} people have it"
            elif not np.ptp(known) > 0:
                left_out[outcome.name] = "constant"
            else:
                quantitative.setdefault(np.packbits(there).tobytes(), []).append(outcome)
            continue
        there = (outcome.values >= 0) & _of_sex(given, outcome)
        if outcome.kind == "survival":
            assert outcome.entry is not None
            assert outcome.exit is not None
            with np.errstate(invalid="ignore"):
                there &= outcome.exit > outcome.entry
        task = _cases(given, outcome, there, outcome.values, PREDICTS, min_cases, left_out)
        tasks += task
    for outcomes in quantitative.values():
        first = outcomes[0]
        people = np.flatnonzero(np.isfinite(first.values) & _of_sex(given, first))
        tasks.append(_Task(PREDICTS, tuple(outcomes), people, _sex_note(first.sex), None))
    return tasks


def _backward(given: ScanInput, min_cases: int, left_out: dict[str, str]) -> list[_Task]:
    tasks: list[_Task] = []
    for outcome in given.outcomes:
        if outcome.kind == "quantitative":
            continue
        there = (outcome.values >= 0) & _of_sex(given, outcome)
        ill = outcome.values
        if outcome.kind == "survival":
            with np.errstate(invalid="ignore"):
                ill = ((ill == 1) & (np.asarray(outcome.exit) <= outcome.entry)).astype(np.int8)
            if not (ill[there] == 1).any():
                continue  # no prevalent case: nobody has it yet
        tasks += _cases(given, outcome, there, ill, LOOKS, min_cases, left_out)
    return tasks


def _cases(
    given: ScanInput,
    outcome: Outcome,
    there: npt.NDArray[np.bool_],
    ill: npt.NDArray[Any],
    direction: str,
    min_cases: int,
    left_out: dict[str, str],
) -> list[_Task]:
    """The task of an outcome with cases, among those who can have it; none if they are few."""
    note = _sex_note(outcome.sex)
    cases = there & (ill == 1)
    seen = {its: int((cases & (given.sex == its)).sum()) for its in SEXES}
    for its, count in seen.items():
        if count >= _ENOUGH_OF_ONE_SEX and count == cases.sum() and outcome.sex == UNKNOWN_SEX:
            there = there & (given.sex == its)
            note = _sex_note(its)
    n_cases, n_controls = int(cases.sum()), int((there & ~cases).sum())
    timed = outcome.kind == "survival" and direction == PREDICTS  # all may have the event
    if n_cases < min_cases or (n_controls < min_cases and not timed):
        key = outcome.name if direction == PREDICTS else f"{outcome.name} ({direction})"
        left_out[key] = f"{n_cases} cases and {n_controls} controls"
        return []
    own = Outcome(
        outcome.name, outcome.kind, ill, outcome.entry, outcome.exit, outcome.category,
        outcome.description, outcome.sex,
    )  # fmt: skip
    return [_Task(direction, (own,), np.flatnonzero(there), note, n_cases)]


def _fit(
    given: ScanInput, x: Floats, task: _Task, firth_below: int, transform: str
) -> list[pl.DataFrame]:
    """Results of a task: exposures with the same missing people are fitted together."""
    kinds = np.array(given.exposures.kinds)
    wanted = np.flatnonzero(kinds == FACTOR) if task.direction == LOOKS else np.arange(len(kinds))
    here = x[np.ix_(task.people, wanted)]
    covariates = given.covariates[task.people]
    groups: dict[bytes, list[int]] = {}
    for at in range(len(wanted)):
        groups.setdefault(np.packbits(np.isfinite(here[:, at])).tobytes(), []).append(at)
    out: list[pl.DataFrame] = []
    for group in groups.values():
        known = np.isfinite(here[:, group[0]])
        people, columns = task.people[known], wanted[group]
        fits = _models(
            task, people, here[known][:, group], covariates[known],
            kinds[columns] == LOCUS, firth_below, transform,
        )  # fmt: skip
        for outcome, found in zip(task.outcomes, fits, strict=True):
            cases = None
            if task.n_cases is not None:
                cases = int((outcome.values[people] == 1).sum())
            table = _rows(given, task, outcome, columns, found, len(people), cases)
            if task.direction == LOOKS and transform == "none":
                skewed = _skewness(here[known][:, group]) > _ROUGH * np.sqrt(max(cases or 0, 1))
                table = _with_note(table, skewed, SKEWED)
            out.append(table)
    return out


def _skewness(values: Floats) -> Floats:
    """(column,) |third moment| of the columns in SD."""
    centred = values - values.mean(axis=0)
    return np.asarray(np.abs((centred**3).mean(axis=0)) / (centred**2).mean(axis=0) ** 1.5)


def _with_note(table: pl.DataFrame, rows: npt.NDArray[np.bool_], word: str) -> pl.DataFrame:
    more = pl.concat_str(pl.col("note"), pl.lit(f"; {word}")).str.strip_prefix("; ")
    chosen = pl.when(pl.Series(rows)).then(more).otherwise(pl.col("note"))
    return table.with_columns(chosen.alias("note"))


def _models(
    task: _Task,
    people: npt.NDArray[np.int64],
    exposures: Floats,
    covariates: Floats,
    copies: npt.NDArray[np.bool_],
    firth_below: int,
    transform: str,
) -> list[Fits]:
    first = task.outcomes[0]
    if first.kind == "quantitative":
        values = np.stack([outcome.values[people] for outcome in task.outcomes], axis=1)
        if transform == "rank-normal":
            values = np.stack([rank_normal(column) for column in values.T], axis=1)
        spread = values.std(axis=0, ddof=1)
        return fit_linear(exposures, values / np.where(spread > 0, spread, 1), covariates)
    cases = first.values[people].astype(np.float64)
    if task.direction == LOOKS:
        if transform == "rank-normal":
            exposures = np.stack([rank_normal(column) for column in exposures.T], axis=1)
        return [fit_welch(exposures, cases, covariates)]
    if first.kind == "binary":
        return [
            fit_logistic_scan(exposures, cases, covariates, copies=copies, firth_below=firth_below)
        ]
    assert first.entry is not None
    assert first.exit is not None
    entry, left, event = first.entry[people], first.exit[people], cases == 1
    return [fit_cox_scan(exposures, entry, left, event, covariates)]


def _rows(
    given: ScanInput,
    task: _Task,
    outcome: Outcome,
    columns: npt.NDArray[np.int64],
    found: Fits,
    n: int,
    n_cases: int | None,
) -> pl.DataFrame:
    exposures, count = given.exposures, len(columns)
    names = [exposures.names[at] for at in columns]
    kinds = [exposures.kinds[at] for at in columns]
    notes = []
    for name, beta, model in zip(names, found.beta, found.model, strict=True):
        said = [
            task.note,
            exposures.notes.get(name, ""),
            "firth" if model in (FIRTH, COX_FIRTH) else "",
        ]
        said.append("" if np.isfinite(beta) else NO_ESTIMATE)
        notes.append("; ".join(word for word in said if word))
    looks = task.direction == LOOKS
    unit = _UNITS["looks" if looks else outcome.kind]
    per = ["case" if looks else "allele" if kind == LOCUS else "SD" for kind in kinds]
    numbers = {
        "beta": found.beta, "standard_error": found.standard_error, "low": found.low,
        "high": found.high, "neg_log_10_p_value": found.neg_log_10_p,
        "proportionality_neg_log_10_p": found.drift, "partial_r2": found.r2,
        "partial_r2_low": found.r2_low, "partial_r2_high": found.r2_high,
    }  # fmt: skip
    return pl.DataFrame(
        {
            "direction": [task.direction] * count,
            "exposure": names,
            "exposure_label": [exposures.labels.get(name, name) for name in names],
            "exposure_kind": kinds,
            "outcome": [outcome.name] * count,
            "description": [outcome.description or outcome.name] * count,
            "category": [outcome.category or "other"] * count,
            "model": list(found.model),
            **numbers,
            "n": np.full(count, n),
            "n_cases": pl.Series([n_cases] * count, dtype=pl.Int64),
            "per": per,
            "unit": [unit] * count,
            "note": notes,
        }
    ).with_columns(pl.col(*numbers).fill_nan(None))


def _corrected(table: pl.DataFrame, family: str) -> pl.DataFrame:
    """With q values of each family, who passes Bonferroni's line, and where hazards drift."""
    keys = ["direction"] if family == "direction" else ["direction", "exposure"]
    parts = []
    for part in table.partition_by(keys, maintain_order=True):
        p = part["neg_log_10_p_value"].to_numpy().astype(np.float64)
        tests = int(np.isfinite(p).sum())
        bonferroni = np.maximum(p - np.log10(max(tests, 1)), 0)
        parts.append(
            part.with_columns(
                pl.Series("q_value", 10.0 ** -neg_log_10_q(p)).fill_nan(None),
                pl.Series("neg_log_10_p_bonferroni", bonferroni).fill_nan(None),
            )
        )
    table = pl.concat(parts)
    cox = table["model"].is_in([COX, COX_FIRTH]).to_numpy()
    drift = np.where(cox, table["proportionality_neg_log_10_p"].to_numpy(), np.nan)
    moves = neg_log_10_q(drift.astype(np.float64)) > -np.log10(0.05)
    table = _with_note(table, moves, DRIFTS)
    order = ["direction", "exposure", "neg_log_10_p_value"]
    return table.sort(order, descending=[True, False, True], nulls_last=True, maintain_order=True)


def _of_sex(given: ScanInput, outcome: Outcome) -> npt.NDArray[np.bool_]:
    if outcome.sex == UNKNOWN_SEX:
        return np.ones(len(given.sex), dtype=np.bool_)
    return np.asarray(given.sex == outcome.sex)


def _sex_note(sex: int) -> str:
    return "" if sex == UNKNOWN_SEX else f"{SEXES[sex]} only"
