"""The report: one HTML file that opens anywhere, with its figures and their numbers beside it.

The page holds everything it needs and asks for nothing: pictures are inlined, and its policy allows
no other source and no script or style but its own, by their hashes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from leadlight.atomic import refuse_overwrite, write_text, written_whole
from leadlight.progress import track
from leadlight.provenance import describe, write_provenance
from leadlight.report import explorer_data, record_data, sections
from leadlight.report.association_sets import association_sets
from leadlight.report.example_records import example_records
from leadlight.report.explain_plans import Plan, beat_lead, figure_plans, slug_of
from leadlight.report.factors_section import factors_section, read_factors
from leadlight.report.figures import write_figure
from leadlight.report.loci_section import association_section, loci_section
from leadlight.report.locus_data import loci_table, locus_facts
from leadlight.report.manhattan_data import MOST_POINTS, manhattan_data
from leadlight.report.overview import overview
from leadlight.report.paper_claims import paper_claims
from leadlight.report.qq_data import qq_data
from leadlight.report.rendering import inline_png, render, script_json
from leadlight.report.results import Results, read_results
from leadlight.report.sentences import (
    beat_sentences,
    beyond_random_sentences,
    identity_sentences,
    lead_sentences,
    signed_sentences,
)

# What pictures and data together may take, so that the page stays below 15 MB with its text;
# pictures beyond it are linked, not inlined.
INLINE_BYTES = 14_000_000
RECORD_SCRIPTS = (*record_data.SCRIPTS, "records.js")
MANHATTAN_SCRIPTS = ("manhattan.js", "ecg_effect.js", "locus.js")


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
    results = _read(study)
    scripts, data = _interactive(results)
    room = INLINE_BYTES - sum(len(script_json(value)) for value in data.values())
    with written_whole(folder) as partial_folder:
        figures = _draw_all(list(figure_plans(results)), partial_folder / "figures", room)
        values = _first_study(results, figures) | _second_study(results, data)
        html = render("page.html", scripts=scripts, script_data=data, **values)
        write_text(partial_folder / "index.html", html)
        inputs = [study / "records.parquet", *sorted((study / "findings").glob("*.parquet"))]
        inputs += sorted((study / "classify").glob("[!.]*/scores.json"))
        inputs += sorted((study / "loci").glob("[!.]*.parquet"))
        write_provenance(partial_folder, "report", {"study": study.resolve().name}, inputs)
    return folder / "index.html"


def _read(study: Path) -> Results:
    """The results; a study of summary statistics alone has no cohort and no findings."""
    has_records = (study / "records.parquet").is_file() or (study / "findings").is_dir()
    if not has_records and (association_sets(study) or (study / "loci").is_dir()):
        return Results(study)
    return read_results(study)


def _interactive(results: Results) -> tuple[list[str], dict[str, Any]]:
    """Scripts of the page in their order, and what they read: of each part that the study has."""
    study = results.study
    scripts, data = ["base.js", "tables.js"], {}
    for name, needed, value in (
        ("records", RECORD_SCRIPTS, example_records(results)),
        ("explorer", explorer_data.SCRIPTS, explorer_data.explorer_data(study)),
        ("manhattan", MANHATTAN_SCRIPTS, manhattan_data(study)),
        ("qq", ("qq.js",), qq_data(study)),
    ):
        if value:
            data[name] = value
            scripts += [script for script in needed if script not in scripts]
    return [*scripts, "page.js"], data


def _draw_all(plans: list[Plan], folder: Path, room: int) -> list[dict[str, Any]]:
    """Draw and write every figure; what the template needs of each. `room`: bytes to inline."""
    folder.mkdir(parents=True)
    drawn, inlined = [], 0
    for plan in track(plans, "Drawing"):
        figure, data = plan.draw()
        written = write_figure(figure, data, folder, plan.name)
        width, height = figure.canvas.get_width_height()
        size = written.png.stat().st_size * 4 // 3
        source = ""
        if inlined + size <= room:
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


def _first_study(results: Results, figures: list[dict[str, Any]]) -> dict[str, Any]:
    """What the template shows of records, classification and explanation."""
    return {
        "study": results.study.resolve().name,
        "made_at": describe("report", {})["made_at"],
        "model": results.model_name,
        "control": results.control,
        "classes": [_class(results, name, figures) for name in results.classes],
        "has_findings": results.records is not None,
        "has_relevance": results.relevance is not None,
        "data": sections.data_section(results),
        "missing_groups": sections.missing_groups(results),
        "claims": paper_claims(results),
        "scores": sections.score_tables(results),
        "predicted": results.predicted,
        "card": sections.card_rows(results),
        "card_limits": [str(limit) for limit in results.card.get("limits", ())],
        "completeness": sections.completeness_sentence(results),
        "provenance": sections.provenance_rows(results),
        "slug": slug_of,
    }


def _class(results: Results, name: str, figures: list[dict[str, Any]]) -> dict[str, Any]:
    leads, control, lead = results.leads, results.control, beat_lead(results, name)
    mine = [figure for figure in figures if figure["class_name"] == name]
    found: dict[str, Any] = {
        "name": name, "slug": slug_of(name),
        "figures": {section: [figure for figure in mine if figure["section"] == section]
                    for section in ("identity", "leads", "beats", "examples")},
        "identity": [], "leads": [], "signed": [], "beats": [], "share_table": [], "mean_table": [],
    }  # fmt: skip
    if results.records is not None:
        found["identity"] = identity_sentences(results.records, name)
    if leads is not None:
        found["leads"] = lead_sentences(leads, name, control)
        found["signed"] = [
            *beyond_random_sentences(leads, name, control),
            *signed_sentences(leads, name, control),
        ]
        found["share_table"] = sections.lead_table(leads, name, "absolute_share")
        found["mean_table"] = sections.lead_table(leads, name, "mean_relevance")
    if results.beats is not None and lead is not None:
        found["beats"] = beat_sentences(results.beats, name, lead, control)
    return found


def _second_study(results: Results, data: Mapping[str, Any]) -> dict[str, Any]:
    """What the template shows of factors and genes, and the overview of it all."""
    study = results.study
    factors, sets = read_factors(study), association_sets(study)
    facts = data["manhattan"]["loci"] if "manhattan" in data else locus_facts(study)
    table = loci_table(study)
    known = int(table["known"].cast(pl.Boolean).sum()) if table is not None else 0
    counts = {"known": known, "new": (table.height if table is not None else 0) - known}
    layers = [layer for one in data.get("manhattan", {}).get("sets", ()) for layer in one["layers"]]
    return {
        "topics": overview(results, factors, sets, facts if table is not None else None, counts),
        "factors": factors_section(factors) if factors else None,
        "loci": loci_section(study, facts),
        "association": association_section(study),
        "most_points": MOST_POINTS,
        "hits_left_out": sum(layer["hits_left_out"] for layer in layers),
        **{name: name in data for name in ("records", "explorer", "manhattan", "qq")},
    }
