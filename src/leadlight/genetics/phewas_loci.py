"""Loci and polygenic scores as exposures: from genotypes to a column per locus or score."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from leadlight.errors import LeadlightError
from leadlight.genetics.genotypes import GenotypeSource
from leadlight.genetics.phewas_tables import LOCUS, SCORE, Exposures, read_long_table
from leadlight.genetics.polygenic_scores import (
    REFERENCE_PEOPLE,
    ScoreWeights,
    make_weights,
    read_weights,
    score_people,
)

UNKNOWN_TRAINING = "whether the weights saw these people is not known"
_NAMES = ("rsid", "variant", "id", "snp", "lead", "lead_variant")
_GENES = ("gene", "nearest_gene", "genes")


@dataclass(frozen=True)
class ScoreSettings:
    """How scores are made: see `polygenic_scores.make_weights`."""

    method: str = "infinitesimal"
    p_threshold: float = 1e-4
    min_maf: float = 0.01
    reference_people: int = REFERENCE_PEOPLE
    seed: int = 0


def locus_exposures(source: GenotypeSource, path: Path) -> Exposures:
    """Counts of the effect alleles of the variants that a table or list names, for everybody.

    A table has a column `rsid` (or `variant`, `id`, `lead_variant`), or chromosome and
    base_pair_location; its effect_allele, where given, is the one counted; its gene is shown. A
    list has an id per line. Missing calls take the variant's mean. On X, men count as the file has
    them. Raises LeadlightError where the genotypes lack a variant.
    """
    wanted = _wanted(path)
    table = source.variants.table
    ids = {name: at for at, name in enumerate(table["rsid"].to_pylist())}
    places: dict[tuple[str, int], int] = {}
    if "rsid" not in wanted.columns:
        spots = zip(table["chromosome"].to_pylist(), table["base_pair_location"].to_pylist(),
                    strict=True)  # fmt: skip
        places = {(str(c), int(p)): at for at, (c, p) in enumerate(spots)}
    numbers, names, labels, flips = [], [], {}, []
    for row in wanted.to_dicts():
        if "rsid" in row:
            shown, at = str(row["rsid"]), ids.get(str(row["rsid"]))
        else:
            place = str(row["chromosome"]).removeprefix("chr"), int(row["base_pair_location"])
            shown, at = f"{place[0]}:{place[1]}", places.get(place)
        if at is None:
            raise LeadlightError(
                f"{path} names {shown}, which the genotypes lack.", advice="Take it out."
            )
        alleles = str(table["effect_allele"][at]), str(table["other_allele"][at])
        counted = str(row.get("effect_allele") or alleles[0])
        if counted not in alleles:
            raise LeadlightError(
                f"{path} counts the allele {counted} of {shown}, the genotypes have "
                f"{' and '.join(alleles)}.",
                advice="Is it the same variant, on the same strand?",
            )
        if shown in names:
            continue
        numbers.append(at)
        names.append(shown)
        flips.append(counted != alleles[0])
        gene = next((row[key] for key in _GENES if row.get(key) and isinstance(row[key], str)), "")
        allele = f"-{counted}" if shown.startswith("rs") else f" ({counted})"
        labels[shown] = f"{gene} {shown}{allele}".strip()
    order = np.argsort(numbers)
    with source.reader(None) as reader:
        calls = reader.read(np.array(numbers, dtype=np.int64)[order]).astype(np.float64)
    counts = np.empty_like(calls)
    counts[order] = calls
    counts[counts < 0] = np.nan
    flipped = np.array(flips)
    counts[flipped] = 2 - counts[flipped]
    for row_ in counts:
        row_[np.isnan(row_)] = np.nanmean(row_) if np.isfinite(row_).any() else 0.0
    return Exposures(
        _unique_people(source), tuple(names), (LOCUS,) * len(names), counts.T, {}, labels
    )


def score_exposures(
    source: GenotypeSource,
    tables: Sequence[Path],
    weights: Sequence[Path],
    scratch: Path,
    *,
    settings: ScoreSettings,
    trained_on: Collection[str] | None,
) -> tuple[Exposures, list[ScoreWeights]]:
    """A score per table of summary statistics and per file of weights, for everybody.

    trained_on: the people whom the weights saw; they get no score. None: nobody knows, and every
    result says so. Raises LeadlightError where nobody is left to be scored.
    """
    made: list[ScoreWeights] = []
    if tables:
        named = {f"{path.name.split('.')[0]}_score": path for path in tables}
        if len(named) < len(tables):
            raise LeadlightError("Two tables of summary statistics have one name.")
        made += make_weights(
            named,
            source,
            scratch,
            method=settings.method,
            p_threshold=settings.p_threshold,
            min_maf=settings.min_maf,
            reference_people=settings.reference_people,
            seed=settings.seed,
        )
    for path in weights:
        made += read_weights(path, source)
    empty = [one.name for one in made if not one.weight.any()]
    if empty:
        raise LeadlightError(
            f"The score {empty[0]} has no variant with a weight.",
            advice="Take a larger --score-p, or leave it out.",
        )
    people = _unique_people(source)
    values = score_people(source, made, None)
    notes: dict[str, str] = {}
    if trained_on is None:
        notes = {one.name: UNKNOWN_TRAINING for one in made}
    else:
        seen = np.isin(np.array(people), np.array(sorted(trained_on)))
        if seen.all():
            raise LeadlightError(
                "The weights saw everybody who could be scored.",
                advice="Score other people, or make weights from an association without these.",
            )
        values[seen] = np.nan
    names = tuple(one.name for one in made)
    return Exposures(people, names, (SCORE,) * len(names), values, notes), made


def _wanted(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise LeadlightError(f"{path} does not exist.")
    with path.open("rb") as stream:
        head = stream.readline()
    if not head.startswith(b"PAR1") and b"\t" not in head and b"," not in head:
        ids = [words[0] for line in path.read_text().splitlines() if (words := line.split())]
        return pl.DataFrame({"rsid": ids[1:] if ids and ids[0].lower() in _NAMES else ids})
    table = read_long_table(path, ())
    lower = {name.lower(): name for name in table.columns}
    name = next((lower[one] for one in _NAMES if one in lower), None)
    if name is not None:
        return table.rename({name: "rsid"}) if name != "rsid" else table
    if {"chromosome", "base_pair_location"} <= set(table.columns):
        return table
    raise LeadlightError(
        f"{path} names no variants.",
        advice="Give a column rsid, or chromosome and base_pair_location.",
    )


def _unique_people(source: GenotypeSource) -> tuple[str, ...]:
    people = source.people.person_ids
    if len(set(people)) < len(people):
        raise LeadlightError("The genotypes' IIDs are not unique.", advice="Make them unique.")
    return people
