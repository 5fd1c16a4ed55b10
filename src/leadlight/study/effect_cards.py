"""Locus cards: an effect worked out and drawn, for one name or for the leading loci of a study."""

from pathlib import Path
from typing import Any

import polars as pl

from leadlight.atomic import DiskFull, refuse_overwrite, written_whole
from leadlight.errors import LeadlightError
from leadlight.genetics.effect.stage import Files, run_effect
from leadlight.progress import track
from leadlight.report.locus_card import LocusView, write_card

CARDS = "cards.parquet"


def make_card(
    kind: str, name: str, files: Files, out: Path, *, overwrite: bool = False, **options: Any
) -> tuple[Path, dict[str, Any]]:
    """The page of a card and the effect's summary; what `leadlight effect` makes.

    Args:
        kind, name, files, out, options: see `run_effect`.
        overwrite: replace a card that is there.
    """
    tables, locus = run_effect(kind, name, files, out, overwrite=overwrite, **options)
    summary = dict(tables.summary)
    view = None
    if locus is not None:
        view = LocusView(
            locus.variants, locus.genes, locus.recombination, locus.chromosome,
            (locus.first, locus.last), locus.lead, locus.trait, _gene_span(summary),
        )  # fmt: skip
    page = write_card(out, tables.by_name(), tables.summary, view, overwrite=overwrite)
    return page, summary


def leading_variants(loci: Path, most: int) -> pl.DataFrame:
    """`lead_variant`, `chromosome`, `lead_position` and p of the loci with the least p, that first.

    Raises:
        LeadlightError: there is no table of loci.
    """
    table = loci / "loci.parquet"
    if not table.is_file():
        raise LeadlightError(f"{table} does not exist.", advice="Run leadlight loci first.")
    wanted = {
        "locus": pl.Int64, "lead_variant": pl.String, "chromosome": pl.String,
        "lead_position": pl.Int64, "lead_neg_log_10_p_value": pl.Float64,
    }  # fmt: skip
    found = pl.read_parquet(table)
    if not found.height:  # an older table without a locus has no columns of leads either
        return pl.DataFrame(schema=wanted)
    found = found.select(list(wanted))
    return found.sort("lead_neg_log_10_p_value", "locus", descending=[True, False]).head(most)


def write_leading_cards(
    files: Files, out: Path, *, most: int, overwrite: bool, begun: float, **options: Any
) -> pl.DataFrame:
    """A card for each of the leading loci, in `out/<variant>/`, and `out/cards.parquet`.

    A card that was finished after `begun` (seconds since the epoch) is not made again. A locus
    whose effect cannot be worked out gets a row with the reason.
    """
    if files.loci is None:
        raise LeadlightError("Cards of loci need loci.")
    rows: list[dict[str, Any]] = []
    for lead in track(leading_variants(files.loci, most).to_dicts(), "Drawing loci"):
        variant = str(lead["lead_variant"])
        folder = out / "".join(c if c.isalnum() or c in "-_." else "-" for c in variant)
        card = folder / "card.html"
        failure = None
        if not (card.exists() and card.stat().st_mtime >= begun):
            refuse_overwrite(card, overwrite)
            try:
                with written_whole(folder) as partial:
                    make_card("variant", variant, files, partial, **options)
            except DiskFull:
                raise
            except LeadlightError as error:
                failure = error.message
        row = {"locus": lead["locus"], "lead_variant": variant, "failure": failure}
        rows.append(row | {"card": None if failure else f"{folder.name}/card.html"})
    schema = {
        "locus": pl.Int64, "lead_variant": pl.String, "failure": pl.String, "card": pl.String,
    }  # fmt: skip
    table = pl.DataFrame(rows, schema=schema)
    out.mkdir(parents=True, exist_ok=True)
    with written_whole(out / CARDS) as partial:
        table.write_parquet(partial)
    return table


def _gene_span(summary: dict[str, Any]) -> tuple[int, int] | None:
    """Where the gene lies whose burden was asked for."""
    about = summary["about"]
    return (about["start"], about["end"]) if summary["kind"] == "gene" else None
