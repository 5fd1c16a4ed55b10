"""Polygenic scores: from summary statistics to weights, from weights to a number per person.

Scores tell the truth only of people whom the weights did not see. Who was in the association is
asked for; where nobody says, every result says that it is not known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight.errors import LeadlightError
from leadlight.genetics.clumping import ClumpRule, clump
from leadlight.genetics.genotypes import GenotypeSource
from leadlight.genetics.linkage import Linkage
from leadlight.genetics.linkage_blocks import LinkageBlocks, write_linkage_blocks
from leadlight.genetics.score_weights import (
    Marginal,
    Weighted,
    infinitesimal,
    sparse,
)
from leadlight.genetics.summary_statistics import read_summary_statistics
from leadlight.genetics.variant_tables import DIPLOID, Variants
from leadlight.progress import bar

Floats = npt.NDArray[np.float64]
METHODS = ("infinitesimal", "sparse", "threshold")
REFERENCE_PEOPLE = 5000
# Clumps of scores: r² from which, and kilobases up to which, a variant belongs to a better one.
CLUMP_R2, CLUMP_KB = 0.1, 250.0
_COMPLEMENT = str.maketrans("ACGT", "TGCA")
_VARIANTS_AT_ONCE = 512


@dataclass(frozen=True)
class ScoreWeights:
    """One score's weights per copy of the effect allele.

    numbers, weight: (variant,), the first in the genotype source; settings and warnings: how they
    were made.
    """

    name: str
    numbers: npt.NDArray[np.int64]
    weight: Floats
    settings: Mapping[str, float | str]
    warnings: tuple[str, ...]


def make_weights(
    tables: Mapping[str, Path],
    source: GenotypeSource,
    scratch: Path,
    *,
    method: str = "infinitesimal",
    p_threshold: float = 1e-4,
    min_maf: float = 0.01,
    reference_people: int = REFERENCE_PEOPLE,
    seed: int = 0,
) -> list[ScoreWeights]:
    """Weights of one score per table (name → summary statistics).

    method: `infinitesimal`, `sparse` (see `score_weights`), or `threshold`: the leads of clumps
    with p up to `p_threshold`. Linkage is that of (evenly chosen) people of the genotypes.
    Autosomal variants that all tables share with the genotypes count, alleles matched and, where
    that is unambiguous, turned to the other strand. scratch: a file for the linkage, removed by the
    caller. Raises LeadlightError where a table shares nothing.
    """
    if method not in METHODS:
        raise LeadlightError(
            f"{method!r} makes no weights.", advice=f"One of {', '.join(METHODS)}."
        )
    variants = source.variants
    matched = {name: _matched(variants, path) for name, path in tables.items()}
    usable = (variants.kind == DIPLOID) & ~variants.multiallelic
    for own in matched.values():
        usable &= np.isfinite(own.effect)
    numbers = np.flatnonzero(usable)
    if not len(numbers):
        raise LeadlightError(
            f"{', '.join(str(path) for path in list(tables.values())[:3])} and the genotypes share "
            "no autosomal variant.",
            advice="Do they name the same build's positions?",
        )
    numbers = numbers[_by_place(variants, numbers)]
    everybody = len(source.people)
    step = max(everybody / max(reference_people, 1), 1.0)
    people = np.unique(np.arange(0, everybody, step).astype(np.uint32))
    if method == "threshold":
        return [
            _clumped(name, source, numbers, own, people, p_threshold, min_maf)
            for name, own in matched.items()
        ]
    blocks = write_linkage_blocks(source, numbers, people, scratch, min_maf=min_maf)
    marginals = [Marginal(own.effect[blocks.numbers], own.n) for own in matched.values()]
    if method == "infinitesimal":
        made = infinitesimal(blocks, marginals, [None] * len(marginals))
    else:
        made = [sparse(blocks, marginal, seed=seed) for marginal in marginals]
    return [_per_allele(name, blocks, one, method) for name, one in zip(matched, made, strict=True)]


def read_weights(path: Path, source: GenotypeSource) -> list[ScoreWeights]:
    """Read scores' weights: chromosome, base_pair_location, effect_allele, other_allele, weight.

    As `score_table` makes them, with the scores' names in the column score; without it there is one
    score, named as the file. Variants that the genotypes lack are counted in a warning.
    """
    if not path.is_file():
        raise LeadlightError(f"{path} does not exist.")
    try:
        table = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise LeadlightError(f"{path} is no Parquet table.") from error
    needed = {"chromosome", "base_pair_location", "effect_allele", "other_allele", "weight"}
    if absent := sorted(needed - set(table.columns)):
        raise LeadlightError(f"{path} has no column {absent[0]}.")
    if "score" not in table.columns:
        table = table.with_columns(pl.lit(path.stem).alias("score"))
    found = []
    for own in table.partition_by("score", maintain_order=True):
        name = str(own["score"][0])
        rows, sign, numbers = _matched_rows(source.variants, own)
        if not len(rows):
            raise LeadlightError(f"{path}: {name} and the genotypes share no variant.")
        lacking = own.height - len(rows)
        said: tuple[str, ...] = ()
        if lacking:
            said = (f"{lacking:,} of {own.height:,} variants are not in the genotypes",)
        weight = own["weight"].to_numpy()[rows] * sign
        found.append(ScoreWeights(name, numbers, weight, {"method": "given"}, said))
    return found


def score_table(weights: Sequence[ScoreWeights], source: GenotypeSource) -> pl.DataFrame:
    """The long table of all scores' weights that are not zero, with the variants' names."""
    parts = []
    for one in weights:
        kept = one.weight != 0
        table = source.variants.table.take(one.numbers[kept])
        parts.append(
            pl.DataFrame(
                {
                    "score": [one.name] * int(kept.sum()),
                    **{name: table[name].to_pylist() for name in table.column_names},
                    "weight": one.weight[kept],
                },
                schema_overrides={"weight": pl.Float64},
            )
        )
    return pl.concat(parts, how="vertical_relaxed")


def score_people(
    source: GenotypeSource, weights: Sequence[ScoreWeights], rows: npt.NDArray[np.uint32] | None
) -> Floats:
    """(person, score) Σ weight × (count − mean); missing calls count as the mean.

    rows: ascending rows of the people in the genotypes, None for all.
    """
    numbers = np.unique(np.concatenate([one.numbers[one.weight != 0] for one in weights]))
    place = np.full(len(source.variants), -1, dtype=np.int64)
    place[numbers] = np.arange(len(numbers))
    table = np.zeros((len(numbers), len(weights)))
    for at, one in enumerate(weights):
        used = one.weight != 0
        table[place[one.numbers[used]], at] = one.weight[used]
    with source.reader(rows) as reader, bar("scores", len(numbers)) as running:
        out = np.zeros((reader.n_people, len(weights)))
        for start in range(0, len(numbers), _VARIANTS_AT_ONCE):
            part = slice(start, start + _VARIANTS_AT_ONCE)
            calls = reader.read(numbers[part]).astype(np.float32)
            calls[calls < 0] = np.nan
            missing = np.isnan(calls)
            count = np.maximum((~missing).sum(axis=1), 1)
            mean = np.where(missing, 0, calls).sum(axis=1, dtype=np.float64) / count
            calls = np.where(missing, np.float32(0), calls - mean[:, None].astype(np.float32))
            out += calls.T @ table[part].astype(np.float32)
            running.step(len(numbers[part]))
    return out


@dataclass(frozen=True)
class _Statistics:
    """By variant of the genotypes, NaN where the table has none: see `Marginal`."""

    effect: Floats
    neg_log_10_p: Floats
    n: float


def _matched(variants: Variants, path: Path) -> _Statistics:
    table = read_summary_statistics(path)
    rows, sign, numbers = _matched_rows(variants, table)
    if table["n"].null_count() == table.height:
        raise LeadlightError(f"{path} does not say how many people are behind it (n).")
    n = float(table["n"].median())  # type: ignore[arg-type]
    z = (table["beta"] / table["standard_error"]).to_numpy()[rows] * sign
    effect, p = np.full(len(variants), np.nan), np.full(len(variants), np.nan)
    own = table["n"].fill_null(n).to_numpy()[rows]
    effect[numbers] = z / np.sqrt(own + z**2)
    p[numbers] = table["neg_log_10_p_value"].to_numpy()[rows]
    return _Statistics(effect, p, n)


def _matched_rows(
    variants: Variants, table: pl.DataFrame
) -> tuple[npt.NDArray[np.int64], Floats, npt.NDArray[np.int64]]:
    """Rows of the table, whether alleles are swapped (−1), and the variants' numbers."""
    own = pl.from_arrow(variants.table.drop_columns(["rsid"]))
    assert isinstance(own, pl.DataFrame)
    own = own.with_columns(pl.col("chromosome", "effect_allele", "other_allele").cast(pl.String))
    own = own.with_row_index("number").unique(
        ["chromosome", "base_pair_location", "effect_allele", "other_allele"], keep="first"
    )
    theirs = table.select(
        "chromosome",
        "base_pair_location",
        pl.col("effect_allele").alias("effect"),
        pl.col("other_allele").alias("other"),
    ).with_columns(
        pl.col("chromosome").cast(pl.String), pl.col("base_pair_location").cast(pl.Int64)
    )
    both = theirs.with_row_index("row").join(own, on=["chromosome", "base_pair_location"])
    a, b = both["effect"].str.to_uppercase(), both["other"].str.to_uppercase()
    one, two = both["effect_allele"], both["other_allele"]
    letters = "ACGT"
    turned_a = a.replace(list(letters), [c.translate(_COMPLEMENT) for c in letters])
    turned_b = b.replace(list(letters), [c.translate(_COMPLEMENT) for c in letters])
    ambiguous = turned_a == b  # A/T and C/G read the same on both strands
    same = (a == one) & (b == two) | ~ambiguous & (turned_a == one) & (turned_b == two)
    swapped = (a == two) & (b == one) | ~ambiguous & (turned_a == two) & (turned_b == one)
    found = both.with_columns(sign=same.cast(pl.Float64) - swapped.cast(pl.Float64))
    found = found.filter(pl.col("sign") != 0).unique("number", keep="first", maintain_order=True)
    return (
        found["row"].to_numpy().astype(np.int64),
        found["sign"].to_numpy(),
        found["number"].to_numpy().astype(np.int64),
    )


def _clumped(
    name: str,
    source: GenotypeSource,
    numbers: npt.NDArray[np.int64],
    own: _Statistics,
    people: npt.NDArray[np.uint32],
    p: float,
    min_maf: float,
) -> ScoreWeights:
    """Clumping and thresholding: the effects of the leads of clumps. numbers: by place."""
    places = source.variants.table["base_pair_location"].to_numpy()
    chromosomes = source.variants.table["chromosome"].combine_chunks().indices.to_numpy()
    rule = ClumpRule(p1=p, r2=CLUMP_R2, kb=CLUMP_KB)
    leads: list[npt.NDArray[np.int64]] = []
    with Linkage(source, people) as linkage:
        for chromosome in np.unique(chromosomes[numbers]):
            here = numbers[chromosomes[numbers] == chromosome]
            owner = clump(places[here], own.neg_log_10_p[here], rule, here, linkage)
            leads.append(here[owner == np.arange(len(here))])
    chosen = np.sort(np.concatenate(leads))
    with source.reader(people) as reader:
        calls = reader.read(chosen).astype(np.float64)
    calls[calls < 0] = np.nan
    mean, sd = np.nanmean(calls, axis=1), np.nanstd(calls, axis=1)
    common = (np.minimum(mean, 2 - mean) / 2 >= min_maf) & (sd > 0)
    chosen, sd = chosen[common], sd[common]
    settings: dict[str, float | str] = {
        "method": "threshold", "p": p, "r2": CLUMP_R2, "kb": CLUMP_KB, "n": own.n,
        "variants": float(len(chosen)),
    }  # fmt: skip
    return ScoreWeights(name, chosen, own.effect[chosen] / sd, settings, ())


def _by_place(variants: Variants, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    chromosome = variants.table["chromosome"].combine_chunks().indices.to_numpy()[numbers]
    position = variants.table["base_pair_location"].to_numpy()[numbers]
    return np.lexsort((position, chromosome))


def _per_allele(name: str, blocks: LinkageBlocks, made: Weighted, method: str) -> ScoreWeights:
    return ScoreWeights(
        name,
        blocks.numbers,
        made.weights / blocks.sd,
        {"method": method, "reference_people": float(blocks.n_people), **made.settings},
        made.warnings,
    )
