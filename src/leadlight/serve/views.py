"""The pages: from an address to HTML."""

from collections.abc import Callable, Mapping
from functools import partial

from leadlight.report import explorer_data
from leadlight.report.factor_words import spoken
from leadlight.report.record_data import SCRIPTS as RECORD_SCRIPTS
from leadlight.serve import factors as factor_settings
from leadlight.serve import loci as genome
from leadlight.serve import pages
from leadlight.serve.answers import Answer
from leadlight.serve.folder import REPORT_PAGE, StudyFolder, unmoved
from leadlight.serve.overview import overview
from leadlight.serve.record_list import (
    NONE,
    ORDERS,
    PAGE_SIZES,
    RecordQuery,
    facets,
    list_records,
    read_query,
)
from leadlight.serve.record_view import record_view
from leadlight.serve.region import MOST_BP, read_place, region
from leadlight.serve.variant import variant

Given = Mapping[str, str]
MANHATTAN_SCRIPTS = ("manhattan.js", "ecg_effect.js", "locus.js")


def start(study: StudyFolder, given: Given) -> Answer:
    """The study's page where it was made, else what the study has."""
    there = (study.path / REPORT_PAGE).is_file()
    return _redirect(f"/{REPORT_PAGE}" if there else "/study")


def study_page(study: StudyFolder, given: Given) -> Answer:
    """What the study has."""
    return pages.page(study, "study.html", here="/study", about=overview(study))


def records_page(study: StudyFolder, given: Given) -> Answer:
    """A page of the table of records."""
    query = read_query(given)
    found = list_records(study, query)
    return pages.page(
        study, "records.html", here="/records", found=found, query=query, facets=facets(study),
        orders=ORDERS, sizes=PAGE_SIZES, none=NONE, address=partial(_records_address, query),
    )  # fmt: skip


def record_page(study: StudyFolder, given: Given) -> Answer:
    """One record: its signal with relevance, and what is known of it."""
    found = record_view(
        study, given.get("record_id") or given.get("id", ""), given.get("model", "")
    )
    asks = given.get("explain", "")
    return pages.page(
        study, "record.html", here="/records", found=found, asks=asks,
        scripts=[*RECORD_SCRIPTS, "explain_record.js"],
        script_data={
            "record": found["drawing"],
            "explain": {"record_id": found["record_id"], "model": found["model"],
                        "asks": asks, "can": found["can_explain"]},
        },
    )  # fmt: skip


def factors_page(study: StudyFolder, given: Given) -> Answer:
    """The factor explorer, with a record or a variant of one's own beside its choice."""
    data = factor_settings.explorer(study, given.get("model", ""))
    said = []
    record_id = given.get("record", "")
    if record_id:
        decoder = factor_settings.decoder_of(study, given.get("model", ""))
        needed = [study.records, study.measurements, study.path / "beats.zarr" / "zarr.json"]
        one = unmoved(
            study, needed,
            lambda: explorer_data.explorer_record(
                study.path, record_id, folder=decoder.folder if decoder else None,
                why="asked for",
            ),
        )  # fmt: skip
        if one is None:
            said.append(f"{record_id} has no whole median beat, so it has no factors.")
        else:
            data = {**data, "records": [one, *data["records"]]}
            said.append(f"{record_id} is the first under “Start from”.")
    if given.get("variant"):
        place = read_place(given["variant"])
        shift = variant(study, place, given.get("effect", ""), given.get("other", ""))
        found = _as_locus(shift, [one["name"] for one in data["factors"]])
        if found is None:
            said.append(f"The effect of {given['variant']} on every factor is not known.")
        else:
            data = {**data, "loci": [found, *data["loci"]]}
            said.append(f"{found['name']} is the first under “Add a locus”.")
    return pages.page(
        study, "factors.html", here="/factors", said=said, data=data,
        scripts=list(explorer_data.SCRIPTS), script_data={"explorer": data},
    )  # fmt: skip


def loci_page(study: StudyFolder, given: Given) -> Answer:
    """The Manhattan plot and the table of loci; `?place=` goes to a region."""
    if given.get("place", "").strip():
        place = read_place(given["place"])
        if place.first == place.last:
            place = place.scaled(250_000)
        return _redirect(f"/loci/{place}")
    rows = genome.loci(study)
    data = genome.manhattan(study)
    return pages.page(
        study, "loci.html", here="/loci", loci=rows, sets=study.sets(),
        most_mb=MOST_BP // 10**6,
        scripts=MANHATTAN_SCRIPTS,
        script_data={"manhattan": data},
    )  # fmt: skip


def region_page(study: StudyFolder, given: Given) -> Answer:
    """A region: every variant of it, zoomable, and the strongest in a table."""
    place = read_place(given["place"])
    found = region(study, place, given.get("set", ""), given.get("trait", ""))
    moves = {
        "Region to the left": place.moved(-0.5), "Region to the right": place.moved(0.5),
        "A third of it": place.scaled(1 / 3), "Three times as wide": place.scaled(3),
    }  # fmt: skip
    traits = {label: list(one.all_tables()) for label, one in study.sets().items()}
    return pages.page(
        study, "region.html", here="/loci", place=place, found=found, moves=moves, traits=traits,
        scripts=["region.js"], script_data={"region": found},
    )  # fmt: skip


def variant_page(study: StudyFolder, given: Given) -> Answer:
    """One variant: every trait, and the factors' part as an ECG."""
    place = read_place(given["place"])
    found = variant(study, place, given.get("effect", ""), given.get("other", ""))
    lead = str(found["chosen"]["rsid"])
    card = next((one["card"] for one in genome.loci(study) if one["lead"] == lead), "")
    return pages.page(
        study, "variant.html", here="/loci", found=found, card=card, around=place.scaled(200_000),
        spoken=spoken, scripts=["beat_panels.js", "variant.js"],
        script_data={"variant": found["drawing"]},
    )  # fmt: skip


def file(study: StudyFolder, given: Given, folder: str = "") -> Answer:
    """A file of the report or of a card."""
    return pages.study_file(study, f"{folder}/{given['path']}")


def api_page(study: StudyFolder, given: Given) -> Answer:
    """What the API answers."""
    from leadlight.serve.api import DESCRIBED

    return pages.page(study, "api.html", here="/study", described=DESCRIBED)


VIEWS: dict[str, Callable[[StudyFolder, Given], Answer]] = {
    "/": start,
    "/study": study_page,
    "/records": records_page,
    "/record": record_page,
    "/records/{record_id:.+}": record_page,
    "/factors": factors_page,
    "/loci": loci_page,
    "/loci/{place}": region_page,
    "/variants/{place}": variant_page,
    "/api": api_page,
    **{f"/{folder}/{{path:.+}}": partial(file, folder=folder)
       for folder in ("report", "effects", "latent", "gwas")},
}  # fmt: skip


def _as_locus(shift: Mapping[str, object], names: list[str]) -> dict[str, object] | None:
    """A variant's effect on the factors as the explorer takes it."""
    chosen, traits, drawing = (shift[key] for key in ("chosen", "traits", "drawing"))
    assert isinstance(chosen, dict)
    assert isinstance(traits, list)
    if not isinstance(drawing, dict):
        return None
    rows = {row["trait"]: row for row in traits if row["set"] == drawing["set"]}
    joint = rows.get("joint", {})
    return {
        "name": chosen["rsid"] or f"{chosen['chromosome']}:{chosen['base_pair_location']}",
        "kind": "variant", "step": f"copy of {chosen['effect_allele']}",
        "people": int(rows[names[0]]["n"] or 0), "gene": None,
        "neg_log_10_p": joint.get("neg_log_10_p_value"),
        "beta": drawing["beta"], "standard_error": drawing["standard_error"],
        "logits": [], "card": None,
    }  # fmt: skip


def _records_address(query: RecordQuery, page: int) -> str:
    from urllib.parse import urlencode

    named = {
        "search": query.search, "label": query.label, "flag": query.flag, "split": query.split,
        "model": query.model, "class": query.of_class, "low": query.low, "high": query.high,
        "order": query.order, "size": query.size if query.size != 50 else "", "page": page,
    }  # fmt: skip
    kept = {name: str(value) for name, value in named.items() if value not in ("", None)}
    return f"/records?{urlencode(kept)}"


def _redirect(to: str) -> Answer:
    return Answer(b"", status=303, headers={"Location": to})
