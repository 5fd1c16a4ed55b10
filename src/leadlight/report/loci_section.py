"""What the page says of loci: a table of them, what they come to in words, and their cards."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from leadlight.errors import LeadlightError
from leadlight.genetics.inflation import genomic_inflation
from leadlight.report.results import read_table

_MOST_ROWS = 200
_COLUMNS = (
    "locus", "chromosome", "lead_variant", "lead_position", "lead_trait", "lead_label",
    "lead_neg_log_10_p_value", "labels", "only", "nearest_gene", "known",
)  # fmt: skip


def loci_section(study: Path) -> dict[str, Any] | None:
    """What the template shows of `loci/` and `effects/`; None where the study has no loci.

    Raises:
        LeadlightError: the table of loci cannot be read or lacks columns.
    """
    path = study / "loci" / "loci.parquet"
    if not path.is_file():
        return None
    if not pl.scan_parquet(path).select(pl.len()).collect().item():
        said = ["No variant reaches the threshold.", *_calibration(study)]
        return {"rows": [], "sentences": said, "left_out": 0}
    table = read_table(path, _COLUMNS)
    assert table is not None
    table = table.sort("lead_neg_log_10_p_value", descending=True)
    cards = _cards(study)
    rows = [
        {
            "place": f"{row['chromosome']}:{row['lead_position']:,}",
            "lead": row["lead_variant"],
            "p": f"{row['lead_neg_log_10_p_value']:.1f}",
            "trait": f"{row['lead_trait']} ({row['lead_label']})",
            "labels": ", ".join(row["labels"]),
            "gene": row["nearest_gene"] or "–",
            "known": "known" if row["known"] else "new",
            "card": cards.get(str(row["lead_variant"]), ""),
        }
        for row in table.head(_MOST_ROWS).to_dicts()
    ]
    return {
        "rows": rows,
        "sentences": [*_sentences(table), *_calibration(study)],
        "left_out": max(0, table.height - _MOST_ROWS),
    }


def _cards(study: Path) -> Mapping[str, str]:
    """Lead variant to its card, as the page links it."""
    path = study / "effects" / "cards.parquet"
    if not path.is_file():
        return {}
    made = pl.read_parquet(path).drop_nulls("card")
    return {
        str(variant): f"../effects/{card}"
        for variant, card in made.select("lead_variant", "card").iter_rows()
        if (study / "effects" / card).is_file()
    }


def _calibration(study: Path) -> list[str]:
    """λGC with its interval of each set's joint test, where the study made it."""
    said = []
    for path in sorted((study / "gwas").glob("*/joint.parquet")):
        values = pl.read_parquet(path, columns=["neg_log_10_p_value"]).to_series().to_numpy()
        try:
            found = genomic_inflation(values)
        except LeadlightError:  # too few variants to speak of
            continue
        said.append(
            f"Joint test of {path.parent.name}: λGC {found.lambda_gc:.3f} [{found.low:.3f}, "
            f"{found.high:.3f}] over {found.n} variants. Chance alone gives 1; effects of many "
            "variants raise it, and so do relatives and structure that covariates do not hold."
        )
    return said


def _sentences(table: pl.DataFrame) -> list[str]:
    known = int(table["known"].sum())
    new = table.height - known
    said = [f"{table.height} loci; {known} lie near a published ECG locus, {new} do not."]
    labels = sorted({label for row in table["labels"].to_list() for label in row})
    if len(labels) > 1:
        for label in labels:
            alone = int((table["only"] == label).sum())
            seen = sum(label in row for row in table["labels"].to_list())
            said.append(f"Seen by {label}: {seen}, {alone} of them by nothing else.")
    return said
