"""The figures of the first study, as plans: what is drawn where, and what is said with it."""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import polars as pl
from matplotlib.figure import Figure

from leadlight.report.beat_figures import draw_beats, draw_lead_beats
from leadlight.report.examples import choose_examples, draw_example
from leadlight.report.figures import draw_distributions, draw_identity
from leadlight.report.lead_figures import HIGHLIGHTED_LEAD, draw_leads
from leadlight.report.results import Results
from leadlight.report.sentences import (
    beat_sentences,
    identity_sentences,
    lead_sentences,
    number,
    spoken_lead,
)

_OUTCOME_NAMES = {
    "TP": "true positive", "FP": "false positive", "FN": "false negative", "TN": "true negative",
    "unlabelled": "without a label",
}  # fmt: skip
Drawing = Callable[[], tuple[Figure, pl.DataFrame]]


@dataclass(frozen=True)
class Plan:
    """A figure to be drawn: where it goes on the page and what is said with it."""

    section: str
    class_name: str
    name: str
    title: str
    alt: str
    caption: str
    draw: Drawing


def figure_plans(results: Results) -> Iterator[Plan]:
    """Every figure that the results allow, class by class."""
    for class_name in results.classes:
        if results.records is not None and class_name in results.records["class"]:
            yield from _record_plans(results.records, class_name)
        if results.leads is not None and class_name in results.leads["class"]:
            yield from _lead_plans(results.leads, class_name, results.control)
        if results.beats is not None and class_name in results.beats["class"]:
            yield from _beat_plans(results, results.beats, class_name)
        yield from _example_plans(results, class_name)


def _record_plans(records: pl.DataFrame, class_name: str) -> Iterator[Plan]:
    slug = slug_of(class_name)
    told = " ".join(identity_sentences(records, class_name))
    yield Plan(
        "identity", class_name, f"identity-{slug}",
        f"{class_name}: mean relevance against probability",
        f"Scatter of mean relevance per record against probability of {class_name}, trained "
        f"network beside random weights; all points lie on the line of the identity. {told}",
        "Each mark is a record, by its outcome at the card's threshold. The line is computed from "
        "the logit of an all-zero input alone.",
        partial(draw_identity, records, class_name),
    )  # fmt: skip
    yield Plan(
        "identity", class_name, f"distribution-{slug}",
        f"{class_name}: mean relevance by group",
        f"Histograms of mean relevance per record for {class_name} by group, with a strip of "
        f"single records below. {_group_means(records, class_name)}",
        "Histograms show the share of each group; below, one tick per record (above 500 records: "
        "median, quartiles, 5th and 95th percentile).",
        partial(draw_distributions, records, class_name),
    )  # fmt: skip


def _lead_plans(leads: pl.DataFrame, class_name: str, control: str) -> Iterator[Plan]:
    told = " ".join(lead_sentences(leads, class_name, control)[:2])
    for measure, what in (
        ("absolute_share", "share of absolute relevance"),
        ("mean_relevance", "mean signed relevance"),
    ):
        rows = leads.filter((pl.col("class") == class_name) & (pl.col("measure") == measure))
        if rows["cliffs_delta"].null_count() == rows.height:  # a group is empty
            continue
        finding = told if measure == "absolute_share" else _signed_finding(leads, class_name)
        marked = (
            f" Highlighted: {HIGHLIGHTED_LEAD[class_name]}, the lead that Bender et al. show."
            if class_name in HIGHLIGHTED_LEAD
            else ""
        )
        yield Plan(
            "leads", class_name, f"leads-{measure.replace('_', '-')}-{slug_of(class_name)}",
            f"{class_name}: {what} per lead",
            f"Dot plot of the {what} of 12 leads, {class_name} against {control}, trained network "
            f"beside random weights, with Cliff's delta. {finding}",
            "Bars are 95 % intervals by patient; q is Benjamini–Hochberg's over leads and classes, "
            f"for the trained network.{marked}"
            + (" Each network has its own scale." if measure == "mean_relevance" else ""),
            partial(draw_leads, leads, class_name, measure, control),
        )  # fmt: skip


def _beat_plans(results: Results, beats: pl.DataFrame, class_name: str) -> Iterator[Plan]:
    control, slug = results.control, slug_of(class_name)
    mine = beats.filter((pl.col("class") == class_name) & (pl.col("group") == class_name))
    if mine["mean_relevance"].null_count() == mine.height:  # there are no cases
        return
    lead = beat_lead(results, class_name)
    if lead is not None:
        told = " ".join(beat_sentences(beats, class_name, lead, control))
        yield Plan(
            "beats", class_name, f"beats-{slug}-{lead}",
            f"{class_name}: the average beat in {lead}",
            f"Average beat of {lead} coloured by relevance for {class_name}, {class_name} beside "
            f"{control}, trained network above random weights. {told}",
            "R is at 0 ms. Grey: interval of the beat. Below each beat its mean relevance with a "
            "95 % interval by patient, pointwise. Each network has its own scale.",
            partial(draw_lead_beats, beats, class_name, lead, control),
        )  # fmt: skip
    models = beats.filter(pl.col("class") == class_name)["model"].unique().to_list()
    for model, name in (("trained", "trained network"), ("random", "random weights")):
        if model in models:
            yield Plan(
                "beats", class_name, f"beats-{slug}-{model}",
                f"{class_name}: average beats of all leads, {name}",
                f"Average beats of 12 leads coloured by relevance for {class_name} under the "
                f"{name}: {class_name} above {control}, with the mean relevance of both below. "
                f"{_strongest(beats, class_name, model)}",
                "Red speaks for the class, blue against it. Millivolt, relevance and colours have "
                "the same scale in all leads of this figure.",
                partial(draw_beats, beats, class_name, model, control),
            )  # fmt: skip


def _example_plans(results: Results, class_name: str) -> Iterator[Plan]:
    records, cohort, relevance = results.records, results.cohort, results.relevance
    if records is None or cohort is None or relevance is None:
        return
    stored = [str(name) for name in relevance["record_id"].values]
    classes = [str(name) for name in relevance["class"].values]
    if class_name not in classes:
        return
    available = set(stored) & set(cohort.records["record_id"])
    for example in choose_examples(records, class_name, results.control, available):
        place = stored.index(example.record_id)
        title = (
            f"{example.record_id}: {class_name} with probability {number(example.probability, 3)}, "
            f"{_OUTCOME_NAMES[example.outcome]}"
        )
        yield Plan(
            "examples", class_name, f"ecg-{slug_of(class_name)}-{example.outcome.lower()}", title,
            f"12-lead ECG of {title}, coloured by relevance for {class_name}. It is "
            f"{example.rule} of {example.n_like_it}.",
            f"Chosen by rule: {example.rule} (of {example.n_like_it}). Group {example.group}.",
            partial(_draw_stored, results, example.record_id, place, class_name, title),
        )  # fmt: skip


def _draw_stored(
    results: Results, record_id: str, place: int, class_name: str, title: str
) -> tuple[Figure, pl.DataFrame]:
    assert results.cohort is not None
    assert results.relevance is not None
    one = results.relevance.isel(record=place)
    attributes = {**results.card.get("input", {}), **one.attrs, **one["relevance"].attrs}
    for name in ("first_valid", "n_valid", "start_s"):
        if name in one and one[name].ndim == 0:
            attributes[name] = one[name].item()
    return draw_example(
        results.cohort.recording(results.cohort.row_of(record_id)),
        one["relevance"].sel({"class": class_name}).load(),
        attributes,
        title,
    )


def beat_lead(results: Results, class_name: str) -> str | None:
    """The lead whose average beat is drawn large and told of."""
    if results.leads is not None and (lead := spoken_lead(results.leads, class_name)):
        return lead
    return HIGHLIGHTED_LEAD.get(class_name)


def _group_means(records: pl.DataFrame, class_name: str) -> str:
    rows = records.filter((pl.col("class") == class_name) & (pl.col("model") == "trained"))
    means = rows.group_by("group", maintain_order=True).agg(pl.col("mean_relevance").median())
    told = [f"{row[0]} {number(row[1])}" for row in means.iter_rows()]
    return f"Medians under the trained network: {', '.join(told)} logit per sample." if told else ""


def _signed_finding(leads: pl.DataFrame, class_name: str) -> str:
    rows = leads.filter(
        (pl.col("class") == class_name) & (pl.col("measure") == "mean_relevance")
        & (pl.col("model") == "trained") & (pl.col("q_value") < 0.05)
    )  # fmt: skip
    names = ", ".join(rows["lead"].to_list()) or "none"
    return f"Leads with q below 0.05 under the trained network: {names}."


def _strongest(beats: pl.DataFrame, class_name: str, model: str) -> str:
    rows = beats.filter(
        (pl.col("class") == class_name) & (pl.col("model") == model)
        & (pl.col("group") == class_name) & pl.col("mean_relevance").is_finite()
    ).sort("mean_relevance")  # fmt: skip
    if not rows.height:
        return "There is no beat of this class."
    low, high = rows.row(0, named=True), rows.row(-1, named=True)
    return (
        f"In {class_name} beats the highest mean relevance is in {high['lead']} at "
        f"{number(high['time_ms'])} ms from R, the lowest in {low['lead']} at "
        f"{number(low['time_ms'])} ms."
    )


def slug_of(name: str) -> str:
    """A class's name as part of a file name and of an anchor."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")
    changed = "" if plain == name else f"-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
    return f"{plain or 'class'}{changed}"
