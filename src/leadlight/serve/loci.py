"""The genome at a glance: the Manhattan plot's points and the table of loci."""

from typing import Any

from leadlight.report.locus_data import locus_facts
from leadlight.report.manhattan_data import manhattan_data
from leadlight.serve.folder import StudyFolder, chosen
from leadlight.serve.region import Place
from leadlight.serve.remembered import Stamp, stamp_of

MOST_LOCI = 1000
_MARGIN_BP = 100_000


def manhattan(study: StudyFolder) -> dict[str, Any]:
    """What `Leadlight.manhattan` draws; read once for each state of the tables.

    Raises:
        NotThere: the study has no association.
    """
    sets = study.sets()
    chosen(sets, "", "association")
    tables = [path for one in sets.values() for path in one.all_tables().values()]
    stamp = (*stamp_of(tables), *_stamp(study))
    found = study.large.get("manhattan", stamp, lambda: manhattan_data(study.path))
    chosen(sets if found else {}, "", "variant in its associations")
    assert found is not None
    return found


def loci(study: StudyFolder) -> list[dict[str, Any]]:
    """The loci, the strongest first, with the region around each (`region`); [] without any."""

    def work() -> list[dict[str, Any]]:
        found = locus_facts(study.path, most=MOST_LOCI, drawn=0)
        for one in found:
            one["region"] = str(
                Place(
                    one["chromosome"],
                    max(1, min(one["start"], one["position"]) - _MARGIN_BP),
                    max(one["end"], one["position"]) + _MARGIN_BP,
                )
            )
            # As the report's folder links it, so as the server does.
            one["card"] = one["card"].removeprefix("..")
        return found

    return study.memory.get("loci", _stamp(study), work)


def _stamp(study: StudyFolder) -> Stamp:
    folder = study.path / "loci"
    cards = study.path / "effects" / "cards.parquet"
    return stamp_of([folder / "loci.parquet", folder / "locus_traits.parquet", cards])
