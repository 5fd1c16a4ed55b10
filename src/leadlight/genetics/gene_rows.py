"""Gene tests as tables: one row for each gene, mask, bin, test and trait; one for each driver."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight.genetics.gene_drivers import Driver
from leadlight.genetics.gene_tests import COMBINED, MaskResult, PreparedGene
from leadlight.genetics.masks import WHOLE_GENE
from leadlight.genetics.variant_tables import Variants

Floats = npt.NDArray[np.float64]
_WORD = pl.Categorical()
GENES_SCHEMA: dict[str, pl.DataType] = {
    "gene": pl.String(),
    "domain": _WORD,
    "chromosome": _WORD,
    "start": pl.Int64(),
    "end": pl.Int64(),
    "mask": _WORD,
    "aaf_bin": _WORD,
    "test": _WORD,
    "trait": _WORD,
    "n": pl.Int32(),
    "n_variants": pl.Int32(),
    "n_carriers": pl.Int32(),
    "beta": pl.Float64(),
    "standard_error": pl.Float64(),
    "neg_log_10_p_value": pl.Float64(),
}
DRIVERS_SCHEMA: dict[str, pl.DataType] = {
    "gene": pl.String(),
    "domain": pl.String(),
    "mask": pl.String(),
    "aaf_bin": pl.String(),
    "trait": pl.String(),
    "variant": pl.String(),
    "chromosome": pl.String(),
    "base_pair_location": pl.Int64(),
    "effect_allele": pl.String(),
    "other_allele": pl.String(),
    "effect_allele_frequency": pl.Float64(),
    "allele_count": pl.Float64(),
    "n_carriers": pl.Int32(),
    "beta": pl.Float64(),
    "standard_error": pl.Float64(),
    "neg_log_10_p_value": pl.Float64(),
    "burden_neg_log_10_p": pl.Float64(),
    "burden_without": pl.Float64(),
    "skat_o_neg_log_10_p": pl.Float64(),
    "skat_o_without": pl.Float64(),
}


def gene_rows(
    prepared: PreparedGene,
    results: Sequence[MaskResult],
    together: Floats,
    traits: Sequence[str],
) -> pl.DataFrame:
    """Rows of one gene; tests that could not be made have none.

    results: of its masks and bins, named; together: (trait,) −log10 p over all of them.
    """
    gene, count = prepared.gene, len(traits)
    blocks: list[tuple[str, str, str, str, MaskResult, Floats]] = [
        (one.domain, one.mask, one.bin, test, one, p)
        for one in results
        for test, p in one.neg_log_10_p.items()
    ]
    columns: dict[str, list[npt.NDArray[np.generic]]] = {
        name: [] for name in ("n", "n_carriers", "beta", "standard_error", "neg_log_10_p_value")
    }
    nothing = np.full(count, np.nan)
    for _, _, _, test, one, p in blocks:
        columns["n"].append(one.n_people)
        columns["n_carriers"].append(one.n_carriers)
        columns["beta"].append(one.beta if test == "burden" else nothing)
        columns["standard_error"].append(one.standard_error if test == "burden" else nothing)
        columns["neg_log_10_p_value"].append(p)
    used = np.unique(np.concatenate([one.variants for one in results]))
    everybody = np.unique(prepared.carriers.called[:, used].indices).size
    columns["n"].append(np.max([one.n_people for one in results], axis=0))
    columns["n_carriers"].append(np.full(count, everybody))
    columns["beta"].append(nothing)
    columns["standard_error"].append(nothing)
    columns["neg_log_10_p_value"].append(together)
    words = [(*block[:4], len(block[4].variants)) for block in blocks]
    words.append((WHOLE_GENE, "all", "all", COMBINED, len(used)))
    repeated = {
        name: np.repeat([word[at] for word in words], count)
        for at, name in enumerate(("domain", "mask", "aaf_bin", "test", "n_variants"))
    }
    rows = len(words) * count
    table = pl.DataFrame(
        {
            "gene": np.repeat(gene.name, rows),
            "chromosome": np.repeat(gene.chromosome, rows),
            "start": np.repeat(gene.start, rows),
            "end": np.repeat(gene.end, rows),
            "trait": np.tile(np.array(traits), len(words)),
            **repeated,
            **{name: np.concatenate(parts) for name, parts in columns.items()},
        }
    )
    known = pl.col("neg_log_10_p_value").is_not_nan()
    return (
        table.filter(known)
        .with_columns(pl.col("beta", "standard_error").fill_nan(None))
        .select(pl.col(name).cast(kind) for name, kind in GENES_SCHEMA.items())
    )


def driver_rows(
    prepared: PreparedGene,
    result: MaskResult,
    trait: str,
    at: int,
    drivers: Sequence[Driver],
    variants: Variants,
) -> pl.DataFrame:
    """Rows of one gene's set and one trait, whose place among the study's traits is `at`."""
    gene, carriers = prepared.gene, prepared.carriers
    rows = []
    for one in drivers:
        row = variants.table.slice(int(gene.numbers[one.place]), 1).to_pylist()[0]
        rows.append(
            {
                "gene": gene.name,
                "domain": result.domain,
                "mask": result.mask,
                "aaf_bin": result.bin,
                "trait": trait,
                "variant": row["rsid"],
                "chromosome": row["chromosome"],
                "base_pair_location": row["base_pair_location"],
                "effect_allele": row["effect_allele"],
                "other_allele": row["other_allele"],
                "effect_allele_frequency": carriers.frequency[one.place],
                "allele_count": carriers.allele_count[one.place],
                "n_carriers": one.n_carriers,
                "beta": one.beta,
                "standard_error": one.standard_error,
                "neg_log_10_p_value": one.neg_log_10_p,
                "burden_neg_log_10_p": result.neg_log_10_p["burden"][at],
                "burden_without": one.without.get("burden"),
                "skat_o_neg_log_10_p": result.neg_log_10_p["skat-o"][at],
                "skat_o_without": one.without.get("skat-o"),
            }
        )
    return pl.DataFrame(rows, schema=DRIVERS_SCHEMA)
