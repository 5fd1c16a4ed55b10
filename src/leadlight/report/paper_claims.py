"""Statements of the published analysis, held against this study.

Each is supported, contradicted or undecided, by a rule that the page states. A statement
counts as supported only where the trained network shows it and random weights of the same
architecture do not show as much.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from leadlight.report.lead_figures import HIGHLIGHTED_LEAD
from leadlight.report.results import Results
from leadlight.report.sentences import clear_side, delta_text, share_text, with_interval

SUPPORTED, CONTRADICTED, UNDECIDED, NO_EVIDENCE = (
    "supported", "contradicted", "undecided", "no evidence either way",
)  # fmt: skip
# The stretches around R in which a wave lies at usual rates, in ms.
P_WINDOW_MS = (-240.0, -60.0)
T_WINDOW_MS = (150.0, 400.0)


@dataclass(frozen=True)
class Claim:
    """One statement: of which class, what was published, what holds here and why, and where."""

    class_name: str
    text: str
    verdict: str
    evidence: str
    place: str

    @property
    def place_name(self) -> str:
        """The place's name on the page."""
        names = {"identity": "Relevance and probability", "leads": "Leads", "beats": "Beats"}
        return f"{names[self.place]} of {self.class_name}"


@dataclass(frozen=True)
class WaveClaim:
    """ "Relevance for the class lies below zero in this wave of control beats.\""""

    text: str
    wave: str
    window_ms: tuple[float, float]


_WAVES = {
    "AF": WaveClaim("A visible P wave speaks against AF", "P", P_WINDOW_MS),
    "LBBB": WaveClaim("A concordant T wave speaks against LBBB", "T", T_WINDOW_MS),
}


def paper_claims(results: Results) -> list[Claim]:
    """The statements that can be judged with what this study has, class by class."""
    claims = []
    for name in results.classes:
        if results.records is not None and (one := _identity(results.records, name)):
            claims.append(one)
        if results.leads is not None and (one := _lead(results.leads, name, results.control)):
            claims.append(one)
        if results.beats is not None and (one := _wave(results.beats, name, results.control)):
            claims.append(one)
    return claims


def _identity(records: pl.DataFrame, name: str) -> Claim | None:
    told = []
    for model in ("trained", "random"):
        rows = records.filter((pl.col("class") == name) & (pl.col("model") == model))
        if rows["probability"].n_unique() <= 2 or rows["mean_relevance"].n_unique() <= 2:
            continue
        ranks = rows.select(pl.col("probability", "mean_relevance").rank())
        rho = float(np.corrcoef(ranks.to_numpy(), rowvar=False)[0, 1])
        told.append(f"{rho:.3f} {'trained' if model == 'trained' else 'random weights'}")
    if not told:
        return None
    return Claim(
        name, f"Mean relevance rises with the probability of {name}", NO_EVIDENCE,
        f"Rank correlation {', '.join(told)}: an identity of the method, true of any network."
        .replace("-", "−"),
        "identity",
    )  # fmt: skip


def _lead(leads: pl.DataFrame, name: str, control: str) -> Claim | None:
    lead = HIGHLIGHTED_LEAD.get(name)
    rows = {
        row["model"]: row
        for row in leads.filter(
            (pl.col("class") == name) & (pl.col("measure") == "absolute_share")
            & (pl.col("lead") == lead) & pl.col("cliffs_delta").is_not_null()
        ).to_dicts()
    }  # fmt: skip
    if lead is None or "trained" not in rows:
        return None
    trained, random = rows["trained"], rows.get("random")
    evidence = (
        f"Share {share_text(trained, 'case')} vs {share_text(trained, 'control')}; Cliff's delta "
        f"{delta_text(trained)}"
    )
    if random is not None:
        evidence += f"; random weights {delta_text(random)}"
    return Claim(
        name, f"{lead} carries more of the relevance in {name} than in {control}",
        lead_verdict(trained, random), f"{evidence}.", "leads",
    )  # fmt: skip


def lead_verdict(trained: Mapping[str, Any], random: Mapping[str, Any] | None) -> str:
    """Supported where the interval lies above zero and above that of random weights."""
    side = clear_side(trained)
    if side < 0:
        return CONTRADICTED
    if side == 0 or random is None or random["cliffs_delta_high"] is None:
        return UNDECIDED
    apart = trained["cliffs_delta_low"] > random["cliffs_delta_high"]
    return SUPPORTED if apart else UNDECIDED


def _wave(beats: pl.DataFrame, name: str, control: str) -> Claim | None:
    claim, lead = _WAVES.get(name), HIGHLIGHTED_LEAD.get(name)
    if claim is None or lead is None:
        return None
    found = {
        model: mean
        for model in ("trained", "random")
        if (mean := window_mean(beats, name, control, model, lead, claim.window_ms))
    }
    if "trained" not in found:
        return None
    first, last = sorted(claim.window_ms, key=abs)
    where = f"{abs(first):.0f} to {abs(last):.0f} ms {'before' if first < 0 else 'after'} R"
    told = [
        f"{'trained network' if model == 'trained' else 'random weights'} {with_interval(*mean)}"
        for model, mean in found.items()
    ]
    return Claim(
        name, f"{claim.text} (the {claim.wave} of {control} beats in {lead})",
        wave_verdict(found["trained"], found.get("random")),
        f"Mean relevance {where}, logit per sample: {'; '.join(told)}.", "beats",
    )  # fmt: skip


Mean = tuple[float, float, float]


def wave_verdict(trained: Mean, random: Mean | None) -> str:
    """From means with intervals: supported where the trained network's lies below zero.

    Contradicted where it lies above. Where random weights lie on that side too, or there are none,
    nothing can be credited to training.
    """
    _, low, high = trained
    if random is None or low <= 0 <= high:
        return UNDECIDED
    if high < 0:
        return SUPPORTED if random[2] >= 0 else UNDECIDED
    return CONTRADICTED if random[1] <= 0 else UNDECIDED


def window_mean(
    beats: pl.DataFrame, name: str, group: str, model: str, lead: str, window: tuple[float, float]
) -> Mean | None:
    """Mean relevance over a stretch of the average beat; None without such beats.

    Its interval reaches as far as the single samples' intervals on average: no correlation between
    samples could make it wider, so it holds at least at its rate.
    """
    part = beats.filter(
        (pl.col("class") == name) & (pl.col("group") == group) & (pl.col("model") == model)
        & (pl.col("lead") == lead) & pl.col("time_ms").is_between(*window)
        & pl.col("relevance_low").is_not_null()
    )  # fmt: skip
    if part.height < 2:
        return None
    columns = ("mean_relevance", "relevance_low", "relevance_high")
    mean, low, high = (float(part[column].to_numpy().mean()) for column in columns)
    return mean, low, high
