"""Which rare variants are tested together: REGENIE's annotations, set list and masks.

- annotations: `variant gene category`, or with four columns `variant gene domain category`;
- set list: `gene chromosome position variant,variant,…`;
- masks: `name category,category,…`.

Columns are parted by spaces or tabs. A gene of annotations with domains is tested as a whole and
domain by domain.
"""

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight.errors import LeadlightError
from leadlight.genetics.variant_tables import Variants

WHOLE_GENE = "all"
SINGLETONS = "singleton"


@dataclass(frozen=True)
class Gene:
    """One set of the set list, with those of its variants that have genotypes.

    numbers: (variant,) ascending places in the genotypes; categories, domains: (variant,) as
    annotated ("" without a domain).
    """

    name: str
    chromosome: str
    start: int
    end: int
    numbers: npt.NDArray[np.int64]
    categories: tuple[str, ...]
    domains: tuple[str, ...]


@dataclass(frozen=True)
class GeneFiles:
    """The genes to test, in the order of the genome, and the masks.

    masks: name → categories. counts: what was found and what was not.
    """

    genes: tuple[Gene, ...]
    masks: dict[str, frozenset[str]]
    counts: dict[str, int]


def read_genes(
    annotations: Path,
    sets: Path,
    masks: Path,
    variants: Variants,
    only: Sequence[str] | None = None,
) -> GeneFiles:
    """Read the three files and look their variants up by name in the genotypes.

    only: names of genes. A variant that several records of its chromosome share a name with is left
    out and counted, as are those of several alleles and those of the set list without annotation.
    Raises LeadlightError where a file has other columns, a gene is named twice, or nothing is left.
    """
    defined = read_masks(masks)
    annotated = read_annotations(annotations)
    listed = read_set_list(sets)
    if only is not None:
        absent = [name for name in only if name not in set(listed["gene"].to_list())]
        if absent:
            raise LeadlightError(f"{sets} has no gene {absent[0]}.", advice="Look at its names.")
        listed = listed.filter(pl.col("gene").is_in(list(only)))
    found = listed.join(_table(variants), on=["chromosome", "variant"], how="inner")
    joined = found.join(annotated, on=["gene", "variant"], how="inner")
    used = sorted(set().union(*defined.values()))
    chosen = joined.filter(pl.col("category").is_in(used))
    counts = {
        "genes in the set list": listed["gene"].n_unique(),
        "variants in the set list": listed.height,
        "of them in the genotypes": found.height,
        "of them annotated for their gene": joined.height,
        "of them in a mask": chosen.height,
        "categories of the masks that no variant has": len(
            set(used) - set(annotated["category"].unique().to_list())
        ),
    }
    if chosen.is_empty():
        raise LeadlightError(
            f"No variant of {sets} has genotypes and a category of {masks}.",
            advice=f"Compare the ids in {annotations}, in the set list and in the genotypes.",
        )
    genes = []
    order = chosen.sort("number").group_by("gene", maintain_order=True)
    for (name,), part in order:
        place = part["position"]
        genes.append(
            Gene(
                str(name),
                str(part["chromosome"][0]),
                int(place.min()),  # type: ignore[arg-type]
                int(place.max()),  # type: ignore[arg-type]
                part["number"].to_numpy(),
                tuple(part["category"].to_list()),
                tuple(part["domain"].to_list()),
            )
        )
    counts["genes tested"] = len(genes)
    return GeneFiles(tuple(genes), defined, counts)


def read_annotations(path: Path) -> pl.DataFrame:
    """variant, gene, domain ("" where the file has three columns), category.

    Raises LeadlightError where a variant has two categories or domains in one gene.
    """
    rows = _words(path, (3, 4))
    table = pl.DataFrame(rows, orient="row", schema=["variant", "gene", "domain", "category"])
    twice = table.select(pl.struct("variant", "gene").is_duplicated()).to_series()
    if twice.any():
        first = table.filter(twice).row(0)
        raise LeadlightError(
            f"{path} names the variant {first[0]} twice for {first[1]}.",
            advice="Keep one category (and domain) of a variant for each gene.",
        )
    return table


def read_set_list(path: Path) -> pl.DataFrame:
    """gene, chromosome (as our genotype tables name it), variant: a row for each variant."""
    genes, chromosomes, lists = [], [], []
    for number, line in enumerate(_lines(path), 1):
        words = line.split()
        if not words:
            continue
        if len(words) < 4:
            raise LeadlightError(
                f"{path}: line {number} has {len(words)} columns.",
                advice="Expected gene, chromosome, position and variants with commas between.",
            )
        genes.append(words[0])
        chromosomes.append(_chromosome(words[1]))
        lists.append(" ".join(words[3:]).replace(",", " ").split())
    if not genes:
        raise LeadlightError(f"{path} names no gene.")
    if len(set(genes)) < len(genes):
        first = next(name for name in genes if genes.count(name) > 1)
        raise LeadlightError(f"{path} names the gene {first} twice.", advice="Join its lines.")
    table = pl.DataFrame({"gene": genes, "chromosome": chromosomes, "variant": lists})
    return table.explode("variant").unique(maintain_order=True)


def read_masks(path: Path) -> dict[str, frozenset[str]]:
    """Mask → its categories."""
    masks: dict[str, frozenset[str]] = {}
    for number, line in enumerate(_lines(path), 1):
        words = line.replace(",", " ").split()
        if not words:
            continue
        if len(words) < 2:
            raise LeadlightError(
                f"{path}: line {number} names a mask without categories.",
                advice="Expected a name and categories with commas between.",
            )
        if words[0] in masks or words[0] == WHOLE_GENE:
            raise LeadlightError(f"{path} names the mask {words[0]} twice, or reserves it.")
        masks[words[0]] = frozenset(words[1:])
    if not masks:
        raise LeadlightError(f"{path} names no mask.")
    return masks


def read_frequencies(path: Path) -> pl.DataFrame:
    """variant, frequency of the effect allele, singleton (null where the file does not say)."""
    rows = []
    for number, line in enumerate(_lines(path), 1):
        words = line.split()
        try:
            value = float(words[1])
            mark = None if len(words) < 3 else {"0": False, "1": True}[words[2]]
        except (IndexError, ValueError, KeyError) as error:
            raise LeadlightError(
                f"{path}: line {number} is no variant with a frequency.",
                advice="Expected: variant, frequency, and 0 or 1 for singletons (optional).",
            ) from error
        rows.append((words[0], value, mark))
    schema = {"variant": pl.String, "frequency": pl.Float64, "singleton": pl.Boolean}
    return pl.DataFrame(rows, orient="row", schema=schema)


def bin_name(limit: float | None) -> str:
    """The name of a frequency bin: its upper limit, or `singleton` for None."""
    return SINGLETONS if limit is None else f"{limit:g}"


def _table(variants: Variants) -> pl.DataFrame:
    """chromosome, variant, number, position of variants whose name is theirs alone."""
    table = pl.DataFrame(
        {
            "chromosome": variants.table["chromosome"].to_pylist(),
            "variant": variants.table["rsid"].to_pylist(),
            "position": variants.table["base_pair_location"].to_numpy(),
            "number": np.arange(len(variants)),
            "multiallelic": variants.multiallelic,
        }
    )
    alone = ~pl.struct("chromosome", "variant").is_duplicated()
    return table.filter(alone & ~pl.col("multiallelic")).drop("multiallelic")


def _chromosome(written: str) -> str:
    name = written.removeprefix("chr").upper()
    return {"23": "X", "24": "Y", "25": "X", "XY": "X", "26": "MT", "M": "MT"}.get(name, name)


def _words(path: Path, columns: tuple[int, int]) -> list[tuple[str, str, str, str]]:
    rows: list[tuple[str, str, str, str]] = []
    count = 0
    for number, line in enumerate(_lines(path), 1):
        words = line.split()
        if not words:
            continue
        count = count or len(words)
        if len(words) != count or count not in columns:
            raise LeadlightError(
                f"{path}: line {number} has {len(words)} columns.",
                advice="Expected variant, gene, category, or variant, gene, domain, category.",
            )
        domain = words[2] if count == 4 else ""
        rows.append((words[0], words[1], domain, words[-1]))
    if not rows:
        raise LeadlightError(f"{path} is empty.")
    return rows


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise LeadlightError(f"{path} does not exist.")
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig") as stream:
            return stream.read().splitlines()
    except (UnicodeDecodeError, OSError, EOFError) as error:
        raise LeadlightError(f"{path} cannot be read as text: {error}.") from error
