"""The columns of the tables of `leadlight loci`, also where no locus was found."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

Schema = dict[str, Any]
_TEXT, _WHOLE, _REAL, _YES, _TEXTS = (
    pl.String(), pl.Int64(), pl.Float64(), pl.Boolean(), pl.List(pl.String()),
)  # fmt: skip
# A row of a scan, as `ScanFile` reads it.
_SCAN: Schema = {
    "chromosome": _TEXT, "base_pair_location": _WHOLE, "rsid": _TEXT, "effect_allele": _TEXT,
    "other_allele": _TEXT, "beta": _REAL, "standard_error": _REAL,
    "effect_allele_frequency": _REAL, "neg_log_10_p_value": _REAL, "n": _REAL,
}  # fmt: skip
_ABOUT: Schema = {"locus": _WHOLE, "label": _TEXT, "trait": _TEXT}

CLUMPS: Schema = {
    **_ABOUT, **_SCAN, "start": _WHOLE, "end": _WHOLE, "by_linkage": _YES, "total": _WHOLE,
    "not_significant": _WHOLE, "p_05": _WHOLE, "p_01": _WHOLE, "p_001": _WHOLE, "p_0001": _WHOLE,
    "members": _TEXTS,
}  # fmt: skip
LOCUS_TRAITS: Schema = {
    **_ABOUT, "significant": _YES, "chromosome": _TEXT, "rsid": _TEXT,
    "base_pair_location": _WHOLE, "effect_allele": _TEXT, "other_allele": _TEXT, "beta": _REAL,
    "standard_error": _REAL, "neg_log_10_p_value": _REAL, "n": _REAL, "r2_with_lead": _REAL,
    "lead_variant": _TEXT, "lead_effect_allele": _TEXT, "lead_beta": _REAL,
    "lead_standard_error": _REAL, "lead_neg_log_10_p_value": _REAL,
}  # fmt: skip
SIGNALS: Schema = {
    **_ABOUT, **_SCAN, "signal": _WHOLE, "method": _TEXT, "r2_with_first": _REAL,
    "conditional_beta": _REAL, "conditional_standard_error": _REAL,
    "conditional_neg_log_10_p_value": _REAL, "joint_beta": _REAL, "joint_standard_error": _REAL,
    "joint_neg_log_10_p_value": _REAL, "stretch": _WHOLE,
}  # fmt: skip
CREDIBLE_SETS: Schema = {
    **_ABOUT, "method": _TEXT, "signal": _WHOLE, "rsid": _TEXT, "chromosome": _TEXT,
    "base_pair_location": _WHOLE, "effect_allele": _TEXT, "other_allele": _TEXT, "pip": _REAL,
    "probability": _REAL, "in_set": _YES, "set_size": _WHOLE, "set_coverage": _REAL,
    "set_purity": _REAL, "log_10_bayes_factor": _REAL, "primary": _YES,
}  # fmt: skip


def loci_schema(labels: Sequence[str]) -> Schema:
    """The columns of the table of loci; several sets of results have one of traits each."""
    each = labels if len(labels) > 1 else ()
    return {
        "locus": _WHOLE, "chromosome": _TEXT, "start": _WHOLE, "end": _WHOLE,
        "lead_variant": _TEXT, "lead_position": _WHOLE, "lead_label": _TEXT, "lead_trait": _TEXT,
        "lead_neg_log_10_p_value": _REAL, "traits": _TEXTS, "labels": _TEXTS, "only": _TEXT,
        "clumps": _WHOLE, **{f"traits_{label}": _TEXTS for label in each},
        "nearest_gene": _TEXT, "nearest_gene_distance": _WHOLE, "genes": _TEXTS,
        "gene_source": _TEXT, "known": _YES, "known_traits": _TEXTS, "known_references": _TEXTS,
        "known_genes": _TEXTS, "nearest_published": _TEXT, "nearest_published_trait": _TEXT,
        "nearest_published_reference": _TEXT, "nearest_published_distance": _WHOLE,
    }  # fmt: skip


def as_table(rows: Sequence[Mapping[str, Any]], schema: Schema) -> pl.DataFrame:
    """Rows as a table with just these columns.

    Raises:
        ValueError: a row has another column, which would be lost.
    """
    if odd := {name for row in rows for name in row if name not in schema}:
        raise ValueError(f"the schema lacks {', '.join(sorted(odd))}")
    return pl.DataFrame([dict(row) for row in rows], schema=schema, infer_schema_length=None)
