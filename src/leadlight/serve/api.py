"""The same in JSON, for a notebook: one function for each address under `/api/`."""

from collections.abc import Mapping

from leadlight.serve import factors as factor_settings
from leadlight.serve import loci as genome
from leadlight.serve.answers import Answer, json_answer
from leadlight.serve.folder import StudyFolder
from leadlight.serve.overview import overview
from leadlight.serve.record_list import list_records, read_query
from leadlight.serve.record_view import explain_record, record_view
from leadlight.serve.refusals import NotThere
from leadlight.serve.region import read_place, region
from leadlight.serve.variant import variant

Given = Mapping[str, str]

# Address, its parameters, what it gives.
DESCRIBED = (
    ("/api/study", "", "what the study has"),
    (
        "/api/records", "search, label, flag, split, model, class, low, high, order, page, size",
        "a page of the table of records",
    ),
    ("/api/record", "id, model", "one record: signal, measurements, probabilities, factors"),
    (
        "/api/explain", "id, class, model",
        "relevance of a record; status 202 while it is being worked out: ask again",
    ),
    ("/api/explorer", "model", "the decoder, the factors and their distributions"),
    (
        "/api/factors", "model, factor_01, factor_02, …",
        "the 12-lead beat of any setting, in microvolt",
    ),
    ("/api/manhattan", "", "points of the Manhattan plot"),
    ("/api/loci", "", "the loci with their key facts"),
    ("/api/region", "place, set, trait", "every variant of a region"),
    (
        "/api/variant", "place, effect, other",
        "one variant: every trait, and the factors' part as an ECG",
    ),
)  # fmt: skip


def study(one: StudyFolder, given: Given) -> Answer:
    """`overview`."""
    return json_answer(overview(one))


def records(one: StudyFolder, given: Given) -> Answer:
    """`list_records`."""
    return json_answer(list_records(one, read_query(given)))


def record(one: StudyFolder, given: Given) -> Answer:
    """`record_view`."""
    return json_answer(record_view(one, given.get("id", ""), given.get("model", "")))


def explain(one: StudyFolder, given: Given) -> Answer:
    """`explain_record`; status 202 while it is being worked out."""
    found = explain_record(one, given.get("id", ""), given.get("class", ""), given.get("model", ""))
    if found is None:
        return json_answer({"running": True}, 202)
    return json_answer({"running": False, **found})


def explorer(one: StudyFolder, given: Given) -> Answer:
    """`factors.explorer`."""
    return json_answer(factor_settings.explorer(one, given.get("model", "")))


def factors(one: StudyFolder, given: Given) -> Answer:
    """`factors.decode`."""
    setting = {name: value for name, value in given.items() if name != "model"}
    return json_answer(factor_settings.decode(one, setting, given.get("model", "")))


def manhattan(one: StudyFolder, given: Given) -> Answer:
    """`loci.manhattan`."""
    return json_answer(genome.manhattan(one))


def loci(one: StudyFolder, given: Given) -> Answer:
    """`loci.loci`."""
    return json_answer({"loci": genome.loci(one)})


def region_of(one: StudyFolder, given: Given) -> Answer:
    """`region.region`."""
    place = read_place(given.get("place", ""))
    return json_answer(region(one, place, given.get("set", ""), given.get("trait", "")))


def variant_of(one: StudyFolder, given: Given) -> Answer:
    """`variant.variant`."""
    place = read_place(given.get("place", ""))
    return json_answer(variant(one, place, given.get("effect", ""), given.get("other", "")))


def nothing(one: StudyFolder, given: Given) -> Answer:
    """No such address."""
    raise NotThere("The API has no such address.", advice="/api lists them.")


VIEWS = {
    "/api/study": study, "/api/records": records, "/api/record": record, "/api/explain": explain,
    "/api/explorer": explorer, "/api/factors": factors, "/api/manhattan": manhattan,
    "/api/loci": loci, "/api/region": region_of, "/api/variant": variant_of,
    "/api/{rest:.*}": nothing,
}  # fmt: skip
