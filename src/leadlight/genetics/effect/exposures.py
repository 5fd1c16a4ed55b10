"""What people differ by: copies of an allele, rare alleles of a gene, a score, or a trait."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from leadlight.errors import LeadlightError
from leadlight.genetics.genotypes import GenotypeSource
from leadlight.genetics.masks import read_genes
from leadlight.genetics.polygenic_scores import read_weights, score_people
from leadlight.genetics.traits import read_person_table
from leadlight.genetics.variant_tables import People

Floats = npt.NDArray[np.float64]

_BLOCK = 512
# Rarer than this counts as rare in a gene's burden, unless said otherwise.
RARE_BELOW = 0.01
# More than half a rare allele (of dosages) is one.
_CARRIES = 0.5


@dataclass(frozen=True)
class Exposure:
    """One number per person, and what a step of one means.

    Attributes:
        name: of the variant, gene, score or trait.
        kind: "variant", "gene", "score" or "trait".
        step: what the effect is given per, as words: "copy of A", "SD of the score".
        people: whose values they are.
        values: (person) float64, NaN where unknown.
        groups: names of the groups whose mean beats are drawn, in order.
        group: (person) int8 number of the person's group, −1 for none.
        about: facts for the page (chromosome, place, alleles, frequency, variants of a gene...).
    """

    name: str
    kind: str
    step: str
    people: People
    values: Floats
    groups: tuple[str, ...]
    group: npt.NDArray[np.int8]
    about: dict[str, Any] = field(default_factory=dict)


def find_variant(source: GenotypeSource, name: str) -> int:
    """The number of a variant by rsid, or by `chromosome:position[:allele:allele]`.

    Raises:
        LeadlightError: there is none, or there are several.
    """
    table = source.variants.table
    rows = np.flatnonzero(pc.equal(table["rsid"], name).to_numpy())
    if not len(rows):
        rows = _by_place(table, name)
    if len(rows) > 1:
        raise LeadlightError(
            f"{len(rows)} variants are called {name}.",
            advice="Give chromosome:position:other:effect.",
        )
    if not len(rows):
        raise LeadlightError(
            f"The genotypes have no variant {name}.",
            advice="Give its id as in the .pvar or .bim file, or chromosome:position.",
        )
    return int(rows[0])


def variant_exposure(source: GenotypeSource, name: str) -> Exposure:
    """Copies of the effect allele (dosages where there are)."""
    number = find_variant(source, name)
    with source.reader(None) as reader:
        calls = reader.read(np.array([number])).astype(np.float64)[0]
    calls[calls < 0] = np.nan
    row = source.variants.table.slice(number, 1).to_pylist()[0]
    effect, other = str(row["effect_allele"]), str(row["other_allele"])
    known = np.isfinite(calls)
    rounded = np.where(known, np.rint(np.nan_to_num(calls)), -1).astype(np.int8)
    names = (f"{other}/{other}", f"{other}/{effect}", f"{effect}/{effect}")
    frequency = float(np.nanmean(calls) / 2) if known.any() else float("nan")
    if not known.any() or np.nanstd(calls) == 0:
        raise LeadlightError(f"Everybody has the same number of copies of {name}.")
    return Exposure(
        name=str(row["rsid"]),
        kind="variant",
        step=f"copy of {effect}",
        people=source.people,
        values=calls,
        groups=names,
        group=rounded,
        about={
            "chromosome": str(row["chromosome"]),
            "base_pair_location": int(row["base_pair_location"]),
            "effect_allele": effect,
            "other_allele": other,
            "effect_allele_frequency": frequency,
        },
    )


def burden_exposure(
    source: GenotypeSource,
    gene: str,
    annotations: Path,
    sets: Path,
    masks: Path,
    *,
    mask: str | None = None,
    rare_below: float = RARE_BELOW,
) -> Exposure:
    """Number of rare alleles of a gene's variants, the rarer allele of each counted.

    Args:
        source: the genotypes.
        gene: its name in the set list.
        annotations, sets, masks: REGENIE's three files (`leadlight.genetics.masks`).
        mask: its name; the first of the file where None.
        rare_below: frequency above which a variant of the mask is left out.

    Raises:
        LeadlightError: the gene or the mask is unknown, or nobody carries such an allele.
    """
    files = read_genes(annotations, sets, masks, source.variants, [gene])
    if mask is None:
        mask = next(iter(files.masks))
    if mask not in files.masks:
        raise LeadlightError(
            f"{masks} has no mask {mask!r}.", advice=f"It has {', '.join(files.masks)}."
        )
    found = files.genes[0]
    kept = [category in files.masks[mask] for category in found.categories]
    rows = found.numbers[np.array(kept, dtype=np.bool_)]
    burden = np.zeros(len(source.people))
    used = 0
    with source.reader(None) as reader:
        for low in range(0, len(rows), _BLOCK):
            calls = reader.read(rows[low : low + _BLOCK]).astype(np.float64)
            calls[calls < 0] = np.nan
            share = np.nanmean(calls, axis=1, keepdims=True) / 2
            calls = np.where(share > 0.5, 2 - calls, calls)
            share = np.minimum(share, 1 - share)[:, 0]
            keep = (share > 0) & (share < rare_below)
            used += int(keep.sum())
            # Who is not called is taken to carry none, as burden tests do.
            burden += np.nan_to_num(calls[keep]).sum(axis=0)
    carriers = int((burden > _CARRIES).sum())
    if not carriers:
        raise LeadlightError(
            f"Nobody carries a rare allele of {gene}: of {len(found.numbers)} variants "
            f"{len(rows)} are in the mask {mask}, {used} of them rarer than {rare_below:g}.",
            advice="Look at the masks and at the annotations.",
        )
    return Exposure(
        name=gene,
        kind="gene",
        step=f"rare allele of {gene}",
        people=source.people,
        values=burden,
        groups=("no rare allele", "carriers"),
        group=(burden > _CARRIES).astype(np.int8),
        about={
            "chromosome": found.chromosome,
            "base_pair_location": (found.start + found.end) // 2,
            "start": found.start,
            "end": found.end,
            "mask": mask,
            "variants": used,
            "carriers": carriers,
            "rare_below": rare_below,
        },
    )


def score_exposure(source: GenotypeSource | None, path: Path) -> Exposure:
    """A polygenic score: a table of people with one column, or of variants with weights.

    Weights are Parquet as `leadlight phewas` writes them (`polygenic_scores.read_weights`) and need
    genotypes.
    """
    if not path.is_file():
        raise LeadlightError(f"{path} does not exist.")
    if not _is_weights(path):
        table = read_person_table(path)
        if len(table.columns) != 1:
            raise LeadlightError(
                f"{path} has {len(table.columns)} columns of numbers; a score is one.",
                advice="Use --phenotypes with --trait to choose a column.",
            )
        people = _people(table.family_ids, table.person_ids)
        return _scaled(table.columns[0], "score", people, table.values[:, 0], {})
    if source is None:
        raise LeadlightError(f"{path} holds weights of variants.", advice="Give --genotypes.")
    weights = read_weights(path, source)
    if len(weights) > 1:
        raise LeadlightError(
            f"{path} holds {len(weights)} scores.", advice="Give a table of one of them."
        )
    values = score_people(source, weights, None)[:, 0]
    about = {"variants": int((weights[0].weight != 0).sum())}
    return _scaled(path.stem, "score", source.people, values, about)


def trait_exposure(path: Path, column: str) -> Exposure:
    """A column of a table of people: per case where it is 0 and 1, otherwise per SD."""
    table = read_person_table(path, [column])
    people = _people(table.family_ids, table.person_ids)
    values = table.values[:, 0]
    known = values[np.isfinite(values)]
    if np.isin(known, (0.0, 1.0)).all() and len(np.unique(known)) == 2:
        group = np.where(np.isfinite(values), np.nan_to_num(values), -1).astype(np.int8)
        names = (f"without {column}", f"with {column}")
        about = {"cases": int((known == 1).sum()), "others": int((known == 0).sum())}
        return Exposure(column, "trait", f"{column}", people, values, names, group, about)
    return _scaled(column, "trait", people, values, {})


def _scaled(
    name: str, kind: str, people: People, values: Floats, about: dict[str, Any]
) -> Exposure:
    """Per SD, with the lowest and the highest tenth as groups."""
    spread = float(np.nanstd(values))
    if not spread > 0:
        raise LeadlightError(f"{name} is the same in everybody.")
    scaled = (values - np.nanmean(values)) / spread
    low, high = np.nanquantile(scaled, [0.1, 0.9])
    group = np.full(len(values), -1, dtype=np.int8)
    group[scaled <= low] = 0
    group[scaled >= high] = 1
    names = ("lowest tenth", "highest tenth")
    return Exposure(
        name, kind, f"SD of {name}", people, scaled, names, group, {**about, "sd": spread}
    )


def _people(family_ids: tuple[str, ...] | None, person_ids: tuple[str, ...]) -> People:
    families = family_ids or ("0",) * len(person_ids)
    return People(families, person_ids, np.zeros(len(person_ids), dtype=np.int8))


def _by_place(table: pa.Table, name: str) -> npt.NDArray[np.int64]:
    parts = name.removeprefix("chr").split(":")
    if len(parts) not in (2, 4) or not parts[1].isdigit():
        return np.zeros(0, dtype=np.int64)
    same = pc.and_(
        pc.equal(pc.cast(table["chromosome"], pa.string()), parts[0]),
        pc.equal(table["base_pair_location"], int(parts[1])),
    )
    rows = np.flatnonzero(same.to_numpy())
    if len(parts) == 4:
        pairs = table.take(rows).select(["effect_allele", "other_allele"]).to_pylist()
        wanted = set(parts[2:])
        keep = [{str(p["effect_allele"]), str(p["other_allele"])} == wanted for p in pairs]
        rows = rows[np.array(keep, dtype=np.bool_)]
    return rows


def _is_weights(path: Path) -> bool:
    with path.open("rb") as stream:
        if stream.read(4) != b"PAR1":
            return False
    return "weight" in pl.read_parquet_schema(path)
