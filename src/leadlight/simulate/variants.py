"""Genes on a stretch, and which of its variants a study gets to see."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight.errors import LeadlightError
from leadlight.simulate.genome import Stretch

# What a study keeps: common variants as a genotyping array with imputation has them, some of low
# frequency, and rare ones in exons as sequencing finds them. Shares of the variants asked for.
COMMON_SHARE, LOW_SHARE, RARE_EXONIC_SHARE = 0.70, 0.15, 0.15
COMMON, LOW = 0.01, 0.001  # smallest minor allele frequency of either kind

# Genes in which rare variants act (GRCh37, GENCODE): exons and their mean length are near the real
# ones, their places within the gene are drawn.
RARE_VARIANT_GENES = {
    "SCN5A": (3, 38_589_548, 38_691_178, 28, 220),
    "MYH6": (14, 23_851_191, 23_877_482, 38, 155),
}
# Others are laid by rule: about as many, as long, and with as many exons as human genes.
_GENES_PER_MB = 7.0
_GENE_MEDIAN_BP, _GENE_LOG_SD = 24_000, 1.0
_EXONS, _EXON_BP = 9, 150

# What a change in an exon does, roughly as among rare variants of sequenced exomes.
CONSEQUENCES = {"synonymous": 0.32, "missense": 0.64, "loss_of_function": 0.04}


@dataclass(frozen=True)
class Genes:
    """Genes of a stretch and their exons, base pairs of the chromosome, from 1, ends included.

    Attributes:
        table: `gene, chromosome, start, end`, one row per gene in rising order.
        exon_gene, exon_start, exon_end: (exon,) row of the gene, and limits, by rising start.
    """

    table: pl.DataFrame
    exon_gene: npt.NDArray[np.int64]
    exon_start: npt.NDArray[np.int64]
    exon_end: npt.NDArray[np.int64]

    def gene_of(self, position: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """(variant,) row of the gene whose exon holds each position, -1 outside of exons."""
        if not len(self.exon_start):
            return np.full(len(position), -1)
        exon = np.searchsorted(self.exon_start, position, side="right") - 1
        inside = (exon >= 0) & (position <= self.exon_end[exon])
        return np.where(inside, self.exon_gene[exon], -1)


def lay_genes(stretch: Stretch, rng: np.random.Generator) -> Genes:
    """Genes that do not overlap; those of `RARE_VARIANT_GENES` that fit lie where they are."""
    taken = [
        (start, end, name, exons, exon_bp)
        for name, (chromosome, start, end, exons, exon_bp) in RARE_VARIANT_GENES.items()
        if chromosome == stretch.chromosome
        and start > stretch.start
        and end <= stretch.start + stretch.length
    ]
    for _ in range(rng.poisson(_GENES_PER_MB * stretch.length / 1e6)):
        length = round(_GENE_MEDIAN_BP * float(np.exp(_GENE_LOG_SD * rng.standard_normal())))
        length = min(max(length, 3_000), 300_000)
        if length + 2 >= stretch.length:
            continue
        start = stretch.start + 1 + int(rng.integers(stretch.length - length))
        if all(start + length < other[0] or start > other[1] for other in taken):
            taken.append((start, start + length, "", 2 + int(rng.poisson(_EXONS)), _EXON_BP))
    taken.sort()
    rows, gene_of_exon, starts, ends = [], [], [], []
    for number, (start, end, name, exons, exon_bp) in enumerate(taken):
        rows.append((name or f"SIM{stretch.chromosome}G{number + 1:03d}",
                     stretch.chromosome, start, end))  # fmt: skip
        # One exon somewhere in each of as many equal parts of the gene.
        part = (end - start) / exons
        lengths = np.minimum(rng.gamma(4.0, exon_bp / 4.0, exons) + 30, 0.9 * part).astype(int)
        left = (start + part * np.arange(exons) + rng.random(exons) * (part - lengths)).astype(int)
        gene_of_exon += [number] * exons
        starts += left.tolist()
        ends += (left + lengths - 1).tolist()
    schema = {"gene": pl.Utf8, "chromosome": pl.Int32, "start": pl.Int64, "end": pl.Int64}
    return Genes(
        pl.DataFrame(rows, schema=schema, orient="row"),
        np.array(gene_of_exon, dtype=np.int64),
        np.array(starts, dtype=np.int64),
        np.array(ends, dtype=np.int64),
    )


def choose_variants(
    sites: pl.DataFrame,
    stretch: Stretch,
    genes: Genes,
    n_haplotypes: int,
    count: int,
    rng: np.random.Generator,
) -> pl.DataFrame:
    """Thin the sites of a stretch to the variants of a study.

    Every rare exonic variant of a gene in `RARE_VARIANT_GENES` is kept first. Where one kind has
    too few sites the others give more.

    Args:
        sites: of `genome.sites_of`.
        stretch, genes: where they lie.
        n_haplotypes: among which `count` of `sites` counts.
        count: how many variants.
        rng: for the choice and the consequences.

    Returns:
        `site, chromosome, position` (of the chromosome, from 1)`, id, reference, alternative, gene,
        consequence` (the last two null outside of exons), by rising position.

    Raises:
        LeadlightError: the stretch has fewer sites.
    """
    if sites.height < count:
        raise LeadlightError(
            f"Chromosome {stretch.chromosome} has {sites.height} variants on its "
            f"{stretch.length / 1e6:g} Mb among these people; {count} were asked for.",
            advice="Ask for fewer variants, or for longer chromosomes (--megabases).",
        )
    position = sites["position"].to_numpy() + stretch.start + 1
    frequency = sites["count"].to_numpy() / n_haplotypes
    minor = np.minimum(frequency, 1 - frequency)
    gene = genes.gene_of(position)
    names = genes.table["gene"].to_numpy()
    acting = np.isin(gene, np.flatnonzero(np.isin(names, list(RARE_VARIANT_GENES))))
    rank = rng.random(len(position))  # a random order within each kind
    rank[acting & (minor < COMMON)] -= 1.0
    kinds = {
        "rare exonic": (minor < COMMON) & (gene >= 0),
        "common": minor >= COMMON,
        "low": (minor >= LOW) & (minor < COMMON) & (gene < 0),
        "rest": (minor < LOW) & (gene < 0),
    }
    wanted = {
        "rare exonic": round(RARE_EXONIC_SHARE * count),
        "low": round(LOW_SHARE * count),
        "rest": 0,
    }
    wanted["common"] = count - sum(wanted.values())
    have = {kind: int(mask.sum()) for kind, mask in kinds.items()}
    taken = {kind: min(wanted[kind], have[kind]) for kind in kinds}
    for kind in ("common", "low", "rare exonic", "rest"):  # who fills a gap first
        taken[kind] = min(have[kind], taken[kind] + count - sum(taken.values()))
    chosen = np.sort(
        np.concatenate(
            [
                np.flatnonzero(mask)[np.argsort(rank[mask], kind="stable")[: taken[kind]]]
                for kind, mask in kinds.items()
            ]
        )
    )
    # Every exonic site draws a consequence, so that thinning changes none.
    drawn = rng.choice(list(CONSEQUENCES), p=list(CONSEQUENCES.values()), size=len(position))
    exonic = gene[chosen] >= 0
    table = sites[chosen].select(
        "site",
        pl.lit(stretch.chromosome, dtype=pl.Int32).alias("chromosome"),
        pl.Series("position", position[chosen]),
        "reference",
        "alternative",
    )
    return table.with_columns(
        pl.format("{}:{}:{}:{}", "chromosome", "position", "reference", "alternative").alias("id"),
        pl.Series("gene", [names[g] if g >= 0 else None for g in gene[chosen]], dtype=pl.Utf8),
        pl.Series(
            "consequence",
            [str(c) if e else None for c, e in zip(drawn[chosen], exonic, strict=True)],
            dtype=pl.Utf8,
        ),
    )
