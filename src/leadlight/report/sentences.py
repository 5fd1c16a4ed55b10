"""Findings as sentences: numbers with their intervals, and words that claim no more than these.

A difference is called one only where the 95 % interval of its effect size lies on one side of
zero, and it is credited to training only where random weights do not show as much.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from leadlight.ecg.leads import LEADS
from leadlight.report.lead_figures import HIGHLIGHTED_LEAD, q_text

# Shorter stretches of a pointwise interval off zero are what chance gives along a beat.
_SHORTEST_STRETCH_MS = 20.0
_STRETCHES_TOLD = 3


def number(value: float | None, digits: int = 3) -> str:
    """A number with so many significant digits, a true minus sign, and "n/a" for none."""
    if value is None or not math.isfinite(value):
        return "n/a"
    text = f"{value:.{digits}g}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        power = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        text = f"{mantissa} × 10{power}"
    return text.replace("-", "−")


def with_interval(
    value: float | None, low: float | None, high: float | None, *, scale: float = 1.0,
    decimals: int | None = None, unit: str = "",
) -> str:  # fmt: skip
    """ "12.1 % [10.3, 14.0]"; without an interval only the number."""

    def one(x: float) -> str:
        if decimals is None:
            return number(x * scale)
        return f"{x * scale:.{decimals}f}".replace("-", "−")

    if value is None or not math.isfinite(value):
        return "n/a"
    text = one(value) + (f"\u00a0{unit}" if unit else "")
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return text
    return f"{text} [{one(low)}, {one(high)}]"


def identity_sentences(records: pl.DataFrame, class_name: str) -> list[str]:
    """Rank correlation of mean relevance with probability for both networks, and why it is 1."""
    told = []
    for model, name in (("trained", "the trained network"), ("random", "random weights")):
        rows = records.filter((pl.col("class") == class_name) & (pl.col("model") == model))
        if rows["probability"].n_unique() > 2 and rows["mean_relevance"].n_unique() > 2:
            ranks = rows.select(pl.col("probability", "mean_relevance").rank())
            rho = float(np.corrcoef(ranks.to_numpy(), rowvar=False)[0, 1])
            told.append(f"{rho:.3f} under {name}".replace("-", "−"))
    if not told:
        return []
    sentences = [
        f"For {class_name}, the rank correlation of mean relevance with probability is "
        f"{' and '.join(told)}. It is an identity of the method (relevance sums to the change of "
        "the logit from an all-zero input), so it says nothing about what was learned."
    ]
    error = records.filter((pl.col("class") == class_name) & (pl.col("model") == "trained"))
    errors = error["completeness_error"].drop_nulls().drop_nans().to_numpy()
    if errors.size:
        # Of a logit that hardly changes any error is a large share: the largest is told in logits.
        change = error["logit"] - error["baseline_logit"]
        missed = (error["total_relevance"] - change).abs().drop_nulls().drop_nans().to_numpy()
        sentences.append(
            "Completeness error of the trained network: median "
            f"{_percent(float(np.median(errors)))}, 90th percentile "
            f"{_percent(float(np.quantile(errors, 0.9)))}; the largest in logits is "
            f"{number(float(missed.max(initial=0.0)), 2)}."
        )
    return sentences


def lead_sentences(leads: pl.DataFrame, class_name: str, control: str) -> list[str]:
    """What one class's relevance per lead says: the highlighted lead, its rank, the rest."""
    share = leads.filter((pl.col("class") == class_name) & (pl.col("measure") == "absolute_share"))
    trained = {r["lead"]: r for r in share.filter(pl.col("model") == "trained").to_dicts()}
    random = {r["lead"]: r for r in share.filter(pl.col("model") == "random").to_dicts()}
    lead = spoken_lead(leads, class_name)
    if lead is None or lead not in trained or trained[lead]["cliffs_delta"] is None:
        return []
    sentences = [_lead_sentence(class_name, control, lead, trained[lead], random.get(lead))]
    sentences.append(_verdict(class_name, control, lead, trained[lead], random.get(lead)))
    ranks = [f"{_ordinal(_rank(trained, lead))} of {len(trained)} leads under the trained network"]
    if lead in random and random[lead]["mean_case"] is not None:
        ranks.append(f"{_ordinal(_rank(random, lead))} under random weights")
    sentences.append(
        f"By its share of absolute relevance in {class_name} records, {lead} is "
        f"{' and '.join(ranks)}."
    )
    clear = [
        name
        for name in LEADS
        if name in trained and (q := trained[name]["q_value"]) is not None and q < 0.05
    ]
    sentences.append(
        f"The share differs from {control} with q < 0.05 in {len(clear)} of {len(trained)} leads"
        + (f" ({', '.join(clear)})." if clear else ".")
    )
    return sentences


def signed_sentences(leads: pl.DataFrame, class_name: str, control: str) -> list[str]:
    """In which direction the highlighted lead speaks, and the lead with the largest effect."""
    signed = leads.filter(
        (pl.col("class") == class_name) & (pl.col("measure") == "mean_relevance")
        & pl.col("cliffs_delta").is_not_null()
    )  # fmt: skip
    trained = {r["lead"]: r for r in signed.filter(pl.col("model") == "trained").to_dicts()}
    random = {r["lead"]: r for r in signed.filter(pl.col("model") == "random").to_dicts()}
    if not trained:
        return []
    largest = max(trained, key=lambda lead: abs(trained[lead]["cliffs_delta"]))
    highlighted = HIGHLIGHTED_LEAD.get(class_name)
    sentences = []
    for lead in dict.fromkeys(name for name in (highlighted, largest) if name in trained):
        row, other = trained[lead], random.get(lead)
        q = f", {q_text(row['q_value'])}" if row["q_value"] is not None else ""
        told = (
            f"Signed mean relevance of {lead} in {class_name} against {control}: Cliff's delta "
            f"{delta_text(row)}{q}"
        )
        if lead == largest:
            told += ", the largest effect of all leads"
        if other is not None:
            told += f"; random weights: {delta_text(other)}"
        told += "."
        if other is not None and None not in (row["cliffs_delta_low"], other["cliffs_delta_low"]):
            apart = (
                row["cliffs_delta_low"] > other["cliffs_delta_high"]
                or row["cliffs_delta_high"] < other["cliffs_delta_low"]
            )
            told += (
                " The intervals are apart: random weights do not give this."
                if apart
                else " The intervals overlap: it cannot be credited to training."
            )
        sentences.append(told)
    return sentences


def beyond_random_sentences(leads: pl.DataFrame, class_name: str, control: str) -> list[str]:
    """Which leads have a share of relevance that the random network does not give, if any."""
    rows = leads.filter(
        (pl.col("class") == class_name) & (pl.col("measure") == "absolute_share_beyond_random")
        & pl.col("cliffs_delta").is_not_null()
    )  # fmt: skip
    if not rows.height:
        return []
    found = rows.sort(pl.col("cliffs_delta").abs(), descending=True).to_dicts()
    clear = [row for row in found if row["q_value"] is not None and row["q_value"] < 0.05]
    told = ", ".join(
        f"{row['lead']} {delta_text(row)}, {q_text(row['q_value'])}" for row in (clear or found[:1])
    )
    if clear:
        start = f"The share beyond that of random weights, record by record, differs from {control}"
        return [f"{start} in {len(clear)} of {len(found)} leads (Cliff's delta): {told}."]
    return [
        "Taken beyond that of random weights, record by record, the share differs from "
        f"{control} in no lead with q < 0.05; the nearest (Cliff's delta): {told}."
    ]


def beat_sentences(beats: pl.DataFrame, class_name: str, lead: str, control: str) -> list[str]:
    """Where in the average beat relevance is clearly above or below zero, per group and network."""
    sentences = []
    for model, name in (("trained", "the trained network"), ("random", "random weights")):
        for group in (class_name, control):
            part = beats.filter(
                (pl.col("class") == class_name) & (pl.col("model") == model)
                & (pl.col("group") == group) & (pl.col("lead") == lead)
            ).sort("time_ms")  # fmt: skip
            if part["mean_relevance"].null_count() == part.height:
                continue
            above = _stretches(part, part["relevance_low"] > 0)
            below = _stretches(part, part["relevance_high"] < 0)
            sentences.append(
                f"Under {name}, in the average {group} beat of {lead}, the interval of mean "
                f"relevance for {class_name} lies above zero {above} and below zero {below}."
            )
    return sentences


def spoken_lead(leads: pl.DataFrame, class_name: str) -> str | None:
    """The lead that text and the large figure speak of: the paper's, else the largest effect."""
    rows = leads.filter(
        (pl.col("class") == class_name) & (pl.col("measure") == "absolute_share")
        & (pl.col("model") == "trained") & pl.col("cliffs_delta").is_not_null()
    )  # fmt: skip
    if class_name in HIGHLIGHTED_LEAD:
        return HIGHLIGHTED_LEAD[class_name]
    if not rows.height:
        return None
    return str(rows.sort(pl.col("cliffs_delta").abs(), descending=True)["lead"][0])


def clear_side(row: Mapping[str, Any]) -> int:
    """+1 or −1 where the interval of Cliff's delta lies above or below zero, else 0."""
    low, high = row["cliffs_delta_low"], row["cliffs_delta_high"]
    if low is None or high is None:
        return 0
    return 1 if low > 0 else -1 if high < 0 else 0


def share_text(row: Mapping[str, Any], kind: str) -> str:
    """A share of absolute relevance as per cent with its interval; `kind` is case or control."""
    name = f"mean_{kind}"
    return with_interval(
        row[name], row[f"{name}_low"], row[f"{name}_high"], scale=100, decimals=1, unit="%"
    )


def delta_text(row: Mapping[str, Any]) -> str:
    """Cliff's delta with its interval."""
    return with_interval(
        row["cliffs_delta"], row["cliffs_delta_low"], row["cliffs_delta_high"], decimals=2
    )


def _lead_sentence(
    class_name: str, control: str, lead: str, row: Mapping[str, Any], twin: Mapping[str, Any] | None
) -> str:
    q = f", {q_text(row['q_value'])}" if row["q_value"] is not None else ""
    text = (
        f"In {class_name} against {control}, {lead}'s share of absolute relevance is "
        f"{share_text(row, 'case')} vs {share_text(row, 'control')} "
        f"({row['n_case_records']} and {row['n_control_records']} records); "
        f"Cliff's delta {delta_text(row)}{q}."
    )
    if twin is not None:
        text += (
            f" Random weights: {share_text(twin, 'case')} vs {share_text(twin, 'control')}; "
            f"Cliff's delta {delta_text(twin)}."
        )
    return text


def _verdict(
    class_name: str, control: str, lead: str, row: Mapping[str, Any], twin: Mapping[str, Any] | None
) -> str:
    side = clear_side(row)
    if row["cliffs_delta_low"] is None:
        return f"There are too few {class_name} or {control} patients for an interval."
    if side == 0:
        return f"The interval includes zero: no clear difference in {lead}."
    more = f"{lead} has a {'greater' if side > 0 else 'smaller'} share in {class_name}"
    if twin is None or twin["cliffs_delta_low"] is None:
        return f"{more}; there is no interval for random weights to compare with."
    apart = (
        row["cliffs_delta_low"] > twin["cliffs_delta_high"]
        if side > 0
        else row["cliffs_delta_high"] < twin["cliffs_delta_low"]
    )
    if apart:
        return f"{more}, beyond what random weights give."
    return (
        f"{more}, but the interval overlaps that of random weights: the signal alone may "
        "give this difference, so it cannot be credited to training."
    )


def _rank(rows: Mapping[str, Mapping[str, Any]], lead: str) -> int:
    mine = rows[lead]["mean_case"]
    others = [row["mean_case"] for row in rows.values() if row["mean_case"] is not None]
    return 1 + sum(1 for other in others if other > mine)


def _ordinal(n: int) -> str:
    return f"{n}{'th' if 10 <= n % 100 <= 20 else {1: 'st', 2: 'nd', 3: 'rd'}.get(n % 10, 'th')}"


def _stretches(part: pl.DataFrame, holds: pl.Series) -> str:
    time_ms = part["time_ms"].to_numpy()
    inside = holds.fill_null(False).to_numpy()
    edges = np.flatnonzero(np.diff(np.concatenate(([0], inside.astype(np.int8), [0]))))
    runs = [(time_ms[a], time_ms[b - 1]) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    long = [run for run in runs if run[1] - run[0] >= _SHORTEST_STRETCH_MS]
    if not long:
        return f"for no stretch of {_SHORTEST_STRETCH_MS:g} ms or more"
    longest = sorted(sorted(long, key=lambda r: r[0] - r[1])[:_STRETCHES_TOLD])
    told = " and ".join(f"from {a:.0f} to {b:.0f}\u00a0ms" for a, b in longest).replace("-", "−")
    rest = len(long) - len(longest)
    return told + (f" (and in {rest} shorter stretches)" if rest else "")


def _percent(value: float) -> str:
    return f"{number(100 * value, 2)}\u00a0%"
