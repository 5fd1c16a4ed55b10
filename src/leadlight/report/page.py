"""The report: one HTML file that opens anywhere, with its figures and their numbers beside it.

The page holds everything it needs and asks for nothing: pictures are inlined, and its policy allows
no other source and no script or style but its own, by their hashes.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
from matplotlib.figure import Figure

from leadlight.atomic import refuse_overwrite, write_text, written_whole
from leadlight.progress import track
from leadlight.provenance import describe, write_provenance
from leadlight.report import sections
from leadlight.report.beat_figures import draw_beats, draw_lead_beats
from leadlight.report.examples import choose_examples, draw_example
from leadlight.report.figures import draw_distributions, draw_identity, write_figure
from leadlight.report.lead_figures import HIGHLIGHTED_LEAD, draw_leads
from leadlight.report.loci_section import loci_section
from leadlight.report.rendering import inline_png, render
from leadlight.report.results import Results, read_results
from leadlight.report.sentences import (
    beat_sentences,
    beyond_random_sentences,
    identity_sentences,
    lead_sentences,
    number,
    signed_sentences,
    spoken_lead,
)

# Pictures beyond this are linked, not inlined: the page stays below 15 MB with its text.
INLINE_BYTES = 14_000_000

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


def write_report(study: Path, *, overwrite: bool = False) -> Path:
    """Write `report/index.html` and `report/figures/*.png` and `*.csv` of a study.

    Shows what there is: a study with a cohort only, or without findings, still gets a page. The
    folder `report/` appears once all of it is whole.

    Args:
        study: the study folder.
        overwrite: replace a report that is there.

    Returns:
        The path of the page.

    Raises:
        LeadlightError: there is nothing to report, a report exists already, or a result is of
            another version.
    """
    folder = study / "report"
    refuse_overwrite(folder, overwrite)
    results = read_results(study)
    plans = list(_plans(results))
    with written_whole(folder) as partial_folder:
        figures = _draw_all(plans, partial_folder / "figures")
        write_text(partial_folder / "index.html", _render(results, figures))
        inputs = [study / "records.parquet", *sorted((study / "findings").glob("*.parquet"))]
        inputs += sorted((study / "classify").glob("*/scores.json"))
        write_provenance(partial_folder, "report", {"study": study.resolve().name}, inputs)
    return folder / "index.html"


def _plans(results: Results) -> Iterator[Plan]:
    for class_name in results.classes:
        if results.records is not None and class_name in results.records["class"]:
            yield from _record_plans(results.records, class_name)
        if results.leads is not None and class_name in results.leads["class"]:
            yield from _lead_plans(results.leads, class_name, results.control)
        if results.beats is not None and class_name in results.beats["class"]:
            yield from _beat_plans(results, results.beats, class_name)
        yield from _example_plans(results, class_name)


def _record_plans(records: pl.DataFrame, class_name: str) -> Iterator[Plan]:
    slug = _slug(class_name)
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
            "leads", class_name, f"leads-{measure.replace('_', '-')}-{_slug(class_name)}",
            f"{class_name}: {what} per lead",
            f"Dot plot of the {what} of 12 leads, {class_name} against {control}, trained network "
            f"beside random weights, with Cliff's delta. {finding}",
            "Bars are 95 % intervals by patient; q is Benjamini–Hochberg's over leads and classes, "
            f"for the trained network.{marked}"
            + (" Each network has its own scale." if measure == "mean_relevance" else ""),
            partial(draw_leads, leads, class_name, measure, control),
        )  # fmt: skip


def _beat_plans(results: Results, beats: pl.DataFrame, class_name: str) -> Iterator[Plan]:
    control, slug = results.control, _slug(class_name)
    mine = beats.filter((pl.col("class") == class_name) & (pl.col("group") == class_name))
    if mine["mean_relevance"].null_count() == mine.height:  # there are no cases
        return
    lead = _beat_lead(results, class_name)
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
            "examples", class_name, f"ecg-{_slug(class_name)}-{example.outcome.lower()}", title,
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


def _draw_all(plans: list[Plan], folder: Path) -> list[dict[str, Any]]:
    """Draw and write every figure; what the template needs of each."""
    folder.mkdir(parents=True)
    drawn, inlined = [], 0
    for plan in track(plans, "Drawing"):
        figure, data = plan.draw()
        written = write_figure(figure, data, folder, plan.name)
        width, height = figure.canvas.get_width_height()
        size = written.png.stat().st_size * 4 // 3
        source = ""
        if inlined + size <= INLINE_BYTES:
            source = inline_png(written.png)
            inlined += size
        drawn.append(
            {
                "section": plan.section, "class_name": plan.class_name, "name": plan.name,
                "title": plan.title, "alt": plan.alt, "caption": plan.caption, "source": source,
                "png": f"figures/{written.png.name}", "csv": f"figures/{written.csv.name}",
                "width": round(width), "height": round(height),
            }
        )  # fmt: skip
    return drawn


def _render(results: Results, figures: list[dict[str, Any]]) -> str:
    leads, control = results.leads, results.control
    classes = []
    for class_name in results.classes:
        mine = [figure for figure in figures if figure["class_name"] == class_name]
        lead = _beat_lead(results, class_name)
        classes.append(
            {
                "name": class_name,
                "slug": _slug(class_name),
                "figures": {
                    section: [figure for figure in mine if figure["section"] == section]
                    for section in ("identity", "leads", "beats", "examples")
                },
                "identity": identity_sentences(results.records, class_name)
                if results.records is not None
                else [],
                "leads": lead_sentences(leads, class_name, control) if leads is not None else [],
                "signed": [
                    *beyond_random_sentences(leads, class_name, control),
                    *signed_sentences(leads, class_name, control),
                ]
                if leads is not None
                else [],
                "beats": beat_sentences(results.beats, class_name, lead, control)
                if results.beats is not None and lead is not None
                else [],
                "share_table": sections.lead_table(leads, class_name, "absolute_share")
                if leads is not None
                else [],
                "mean_table": sections.lead_table(leads, class_name, "mean_relevance")
                if leads is not None
                else [],
            }
        )
    made = describe("report", {})
    return render(
        "page.html",
        scripts=["base.js", "page.js"],
        study=results.study.resolve().name,
        made_at=made["made_at"],
        model=results.model_name,
        control=control,
        classes=classes,
        has_findings=results.records is not None,
        has_relevance=results.relevance is not None,
        data=sections.data_section(results),
        missing_groups=sections.missing_groups(results),
        scores=sections.score_tables(results),
        predicted=results.predicted,
        card=sections.card_rows(results),
        card_limits=[str(limit) for limit in results.card.get("limits", ())],
        completeness=sections.completeness_sentence(results),
        provenance=sections.provenance_rows(results),
        loci=loci_section(results.study),
    )


def _beat_lead(results: Results, class_name: str) -> str | None:
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


def _slug(name: str) -> str:
    """A class's name as part of a file name and of an anchor."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")
    changed = "" if plain == name else f"-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
    return f"{plain or 'class'}{changed}"
