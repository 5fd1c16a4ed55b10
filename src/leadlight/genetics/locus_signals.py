"""One trait at one locus: its independent signals and its credible sets.

With the people of the association the signals are conditioned on individual data; with linkage
alone they come from summary statistics; without either there is the lead variant, and the credible
set of a single effect.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight.genetics.conditional import Signals, conditional_scan, stepwise_signals
from leadlight.genetics.fine_mapping import (
    PRIOR_SD,
    CredibleSet,
    FineMapping,
    linkage_mismatch,
    single_effect,
    susie_from_z,
)
from leadlight.genetics.genotypes import GenotypeSource
from leadlight.genetics.log_tails import LN10
from leadlight.genetics.summary_signals import (
    Moments,
    conditional_fit,
    moments,
    summary_signals,
)
from leadlight.genetics.traits import Matched

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
LOG_ODDS_PRIOR_SD = 0.2  # of an effect on a diagnosis (Wakefield 2009)
_LEAST_PIP = 1e-3  # of variants outside a set that are still listed
_MISMATCH = 0.1


@dataclass(frozen=True)
class FineMapRule:
    """p: of a further signal; coverage, min_purity: of sets; effects: at most in SuSiE."""

    p: float = 5e-8
    coverage: float = 0.95
    min_purity: float = 0.5
    effects: int = 10
    max_signals: int = 10
    max_r2: float = 0.9


@dataclass(frozen=True)
class Individual:
    """The people of the association on this chromosome, and the calibration of its tests."""

    source: GenotypeSource
    matched: Matched
    calibration: float


@dataclass
class TraitAtLocus:
    """Rows of `signals` and of `credible_sets`, and what is to be said of them."""

    signals: list[dict[str, Any]] = field(default_factory=list)
    sets: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    mismatch: float | None = None
    difference: float | None = None
    converged: bool | None = None

    def add(self, other: "TraitAtLocus") -> None:
        """Append what another stretch of the locus holds; its signals and sets are numbered on."""
        signals = max((row["signal"] for row in self.signals), default=0)
        self.signals += [row | {"signal": row["signal"] + signals} for row in other.signals]
        last = {
            method: max((r["signal"] for r in self.sets if r["method"] == method), default=0)
            for method in {row["method"] for row in other.sets}
        }
        self.sets += [r | {"signal": r["signal"] + last[r["method"]]} for r in other.sets]
        self.notes += other.notes
        worst = [d for d in (self.difference, other.difference) if d is not None]
        self.difference = max(worst, default=None)


def trait_at_locus(
    rows: pl.DataFrame,
    rule: FineMapRule,
    *,
    numbers: Integers | None = None,
    r: Floats | None = None,
    own_linkage: bool = False,
    individual: Individual | None = None,
    exact: Moments | None = None,
    trait: str = "",
    spent: int = 2,
    binary: bool = False,
) -> TraitAtLocus:
    """Signals and credible sets of one trait among `rows` of its scan.

    rows: in the columns of a scan, effects of the allele that r's variants count; numbers: (row,)
    theirs in the genotypes; r: (row, row); own_linkage: r is of the scan's own people after its
    covariates; exact: sums of squares of the association's people, where neither the trait nor a
    call has a gap; spent: degrees of freedom of a single test; binary: effects are log odds.
    """
    out = TraitAtLocus()
    beta, error = rows["beta"].to_numpy(), rows["standard_error"].to_numpy()
    n = rows["n"].fill_null(0).to_numpy().astype(np.float64)
    usable = np.isfinite(beta) & np.isfinite(error) & (error > 0)
    if not usable.any():
        return out
    prior = LOG_ODDS_PRIOR_SD if binary else PRIOR_SD * _trait_sd(rows, usable)
    whole = bool((n[usable] > spent + 10).all())
    signals: Signals | None = None
    if r is not None:
        numbers = np.arange(rows.height) if numbers is None else numbers
        signals, scans = _signals(
            rows, numbers, r, usable, rule, individual, exact, trait, spent, whole, out
        )
    if r is None or signals is None or not len(signals):
        strength = np.where(usable, rows["neg_log_10_p_value"].to_numpy(), -1)
        lead = int(np.argmax(strength))
        out.signals.append(_signal(rows, lead, 1, "lead", None, 0))
        found = single_effect(beta, error, prior_sd=prior, coverage=rule.coverage, r=r)
        out.sets += _set_rows(rows, found, "single-effect", [1])
        return out
    method = "individual" if individual is not None else "summary"
    for k in range(len(signals)):
        out.signals.append(_signal(rows, int(signals.variants[k]), k + 1, method, signals, k))
        leads = signals.variants
        out.signals[-1]["r2_with_first"] = float(r[leads[0], leads[k]] ** 2)
    for k, (own_beta, own_error) in enumerate(scans):
        found = single_effect(own_beta, own_error, prior_sd=prior, coverage=rule.coverage, r=r)
        out.sets += _set_rows(rows, found, "single-effect", [k + 1])
    _susie(rows, r, usable, n, rule, own_linkage, whole, out)
    return out


def _signals(
    rows: pl.DataFrame,
    numbers: Integers,
    r: Floats,
    usable: npt.NDArray[np.bool_],
    rule: FineMapRule,
    individual: Individual | None,
    exact: Moments | None,
    trait: str,
    spent: int,
    whole: bool,
    out: TraitAtLocus,
) -> tuple[Signals, list[tuple[Floats, Floats]]]:
    """The signals, and of each the scan's effects and errors given the others."""
    count = rows.height
    if exact is not None:
        # Without gaps the sums of squares hold all that the regressions on people would.
        _, _, strength = conditional_fit(exact, [])
        out.difference = _largest(strength, rows)
        signals = summary_signals(exact, p=rule.p, max_r2=rule.max_r2, max_signals=rule.max_signals)
        fits = [
            conditional_fit(exact, np.delete(signals.variants, k).tolist())
            for k in range(len(signals))
        ]
        return signals, [(beta, error) for beta, error, _ in fits]
    if individual is not None:
        source, matched = individual.source, individual.matched
        signals, steps = stepwise_signals(
            source,
            matched,
            trait,
            numbers,
            p=rule.p,
            max_r2=rule.max_r2,
            max_signals=rule.max_signals,
            calibration=individual.calibration,
        )
        out.difference = _largest(steps[0].neg_log_10_p, rows)
        given = []
        for k in range(len(signals)):
            others = [int(numbers[at]) for at in np.delete(signals.variants, k)]
            scan = steps[0]
            if others:
                scan = conditional_scan(
                    source, matched, trait, numbers, others, calibration=individual.calibration
                )
            given.append((scan.beta, scan.standard_error))
        return signals, given
    some = np.flatnonzero(usable)
    beta, error = rows["beta"].to_numpy()[some], rows["standard_error"].to_numpy()[some]
    n = rows["n"].fill_null(0).to_numpy().astype(np.float64)[some]
    if not whole:
        out.notes.append("the scan does not say n: taken as many")
        n = np.full(len(some), 1e6)
    made = moments(beta, error, n, r[np.ix_(some, some)], removed=spent)
    found = summary_signals(made, p=rule.p, max_r2=rule.max_r2, max_signals=rule.max_signals)
    given = []
    for k in range(len(found)):
        some_beta, some_error, _ = conditional_fit(made, np.delete(found.variants, k).tolist())
        all_beta, all_error = np.full(count, np.nan), np.full(count, np.nan)
        all_beta[some], all_error[some] = some_beta, some_error
        given.append((all_beta, all_error))
    return _moved(found, some), given


def _susie(
    rows: pl.DataFrame,
    r: Floats,
    usable: npt.NDArray[np.bool_],
    n: Floats,
    rule: FineMapRule,
    own_linkage: bool,
    whole: bool,
    out: TraitAtLocus,
) -> None:
    some = np.flatnonzero(usable)
    own = r if len(some) == len(r) else r[np.ix_(some, some)]
    z = rows["beta"].to_numpy()[some] / rows["standard_error"].to_numpy()[some]
    if not own_linkage:
        out.mismatch = linkage_mismatch(z, own)
        if out.mismatch > _MISMATCH:
            out.notes.append(
                f"linkage explains the z-scores badly (mismatch {out.mismatch:.2f}): judge sets "
                "beyond the first with care"
            )
        own = (1 - out.mismatch) * own + out.mismatch * np.eye(len(own))
    found = susie_from_z(
        z,
        own,
        float(np.median(n[some])) if whole else 1e6,
        effects=rule.effects,
        coverage=rule.coverage,
        min_purity=rule.min_purity,
        estimate_residual=own_linkage and whole,
    )
    out.converged = found.converged
    if not found.converged:
        out.notes.append("SuSiE did not converge")
    out.sets += _set_rows(rows[some.tolist()], found, "susie", range(1, len(found.sets) + 1))


def _set_rows(
    rows: pl.DataFrame, found: FineMapping, method: str, signals: Sequence[int]
) -> list[dict[str, Any]]:
    out = []
    for signal, own in zip(signals, found.sets, strict=True):
        probability = found.probabilities[own.effect]
        inside = set(own.variants.tolist())
        listed = [*own.variants.tolist()]
        others = np.flatnonzero(probability >= _LEAST_PIP)
        listed += [int(at) for at in others if int(at) not in inside]
        chosen = rows[listed]
        for at, row in zip(listed, chosen.iter_rows(named=True), strict=True):
            out.append(
                {
                    "method": method,
                    "signal": int(signal),
                    "rsid": row["rsid"],
                    "chromosome": row["chromosome"],
                    "base_pair_location": row["base_pair_location"],
                    "effect_allele": row["effect_allele"],
                    "other_allele": row["other_allele"],
                    "pip": float(found.pip[at]),
                    "probability": float(probability[at]),
                    "in_set": at in inside,
                    **_set_summary(own),
                }
            )
    return out


def _set_summary(own: CredibleSet) -> dict[str, Any]:
    return {
        "set_size": len(own.variants),
        "set_coverage": own.coverage,
        "set_purity": own.purity,
        "log_10_bayes_factor": own.log_bayes_factor / LN10,
    }


def _signal(
    rows: pl.DataFrame, at: int, signal: int, method: str, found: Signals | None, k: int
) -> dict[str, Any]:
    row = rows.row(at, named=True)
    said = {name: row[name] for name in rows.columns}
    said |= {"signal": signal, "method": method, "r2_with_first": 1.0 if signal == 1 else None}
    for name in ("conditional", "joint"):
        own: tuple[float | None, ...] = (None, None, None)
        if found is not None:
            own = tuple(
                float(getattr(found, f"{name}_{what}")[k])
                for what in ("beta", "error", "neg_log_10_p")
            )
        said |= {
            f"{name}_beta": own[0],
            f"{name}_standard_error": own[1],
            f"{name}_neg_log_10_p_value": own[2],
        }
    return said


def _largest(strength: Floats, rows: pl.DataFrame) -> float | None:
    """The largest difference of −log10 p from the scan's."""
    with np.errstate(invalid="ignore"):
        gaps = np.abs(strength - rows["neg_log_10_p_value"].to_numpy())
    return float(np.nanmax(gaps)) if np.isfinite(gaps).any() else None


def _moved(found: Signals, some: Integers) -> Signals:
    return replace(found, variants=some[found.variants])


def _trait_sd(rows: pl.DataFrame, usable: npt.NDArray[np.bool_]) -> float:
    """The trait's SD after covariates, from errors, frequencies and n; 1 where not told."""
    frequency = rows["effect_allele_frequency"].fill_null(np.nan).to_numpy()[usable]
    n = rows["n"].fill_null(np.nan).to_numpy()[usable]
    error = rows["standard_error"].to_numpy()[usable]
    spread = 2 * frequency * (1 - frequency)
    with np.errstate(invalid="ignore"):
        known = np.isfinite(spread * n) & (spread > 0.01)
    if not known.any():
        return 1.0
    return float(np.sqrt(np.median(error[known] ** 2 * n[known] * spread[known])))
