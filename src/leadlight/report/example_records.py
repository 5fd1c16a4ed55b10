"""The records that the page's viewer shows: those that the examples' rules chose."""

from typing import Any

from leadlight.report.examples import choose_examples
from leadlight.report.record_data import record_data
from leadlight.report.results import Results
from leadlight.report.sentences import number

MOST_RECORDS = 10


def example_records(results: Results) -> list[dict[str, Any]]:
    """`why` (the rule in words) and `record` (see `record_data`) of the chosen records.

    Records that several classes chose come once, with all the reasons. Empty without signals or
    stored relevance.
    """
    if results.records is None or results.cohort is None or results.relevance is None:
        return []
    stored = {str(name) for name in results.relevance["record_id"].values}
    available = stored & set(results.cohort.records["record_id"])
    explained = {str(name) for name in results.relevance["class"].values}
    reasons: dict[str, list[str]] = {}
    for class_name in results.classes:
        if class_name not in explained:
            continue
        for one in choose_examples(results.records, class_name, results.control, available):
            reasons.setdefault(one.record_id, []).append(
                f"{class_name}: {one.rule}, probability {number(one.probability, 3)}"
            )
    return [
        {
            "why": "; ".join(why),
            "record": record_data(results, name, classes=results.classes),
        }
        for name, why in list(reasons.items())[:MOST_RECORDS]
    ]
