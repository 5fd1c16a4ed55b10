"""Summary statistics in PLINK 2's, REGENIE's and GWAS-SSF's words and in ours, read and written.

One table whatever the file: the columns of `leadlight.genetics.results.COLUMNS`. The effect allele
is PLINK 2's A1 and REGENIE's ALLELE1.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from leadlight.atomic import written_whole
from leadlight.errors import LeadlightError
from leadlight.genetics.results import COLUMNS, write_gwas_ssf

FORMATS = ("leadlight", "gwas-ssf", "plink2", "regenie")
_FREE_TEXT = ("chromosome", "rsid", "effect_allele", "other_allele")
_MISSING = ["NA", "#NA", "nan", "NaN", ""]
_PLINK2 = {
    "#CHROM": "chromosome",
    "POS": "base_pair_location",
    "ID": "rsid",
    "A1": "effect_allele",
    "A1_FREQ": "effect_allele_frequency",
    "OBS_CT": "n",
    "BETA": "beta",
    "OR": "odds_ratio",
    "SE": "standard_error",
    "LOG(OR)_SE": "standard_error",
    "LOG10_P": "neg_log_10_p_value",
    "NEG_LOG10_P": "neg_log_10_p_value",
    "P": "p_value",
}
_REGENIE = {
    "CHROM": "chromosome",
    "GENPOS": "base_pair_location",
    "ID": "rsid",
    "ALLELE1": "effect_allele",
    "ALLELE0": "other_allele",
    "A1FREQ": "effect_allele_frequency",
    "N": "n",
    "BETA": "beta",
    "SE": "standard_error",
    "LOG10P": "neg_log_10_p_value",
}
_SSF = dict.fromkeys(COLUMNS, "")
_SSF |= {name: name for name in (*COLUMNS, "p_value", "variant_id", "odds_ratio")}
# Beyond it a float is no longer exact.
_MOST_COUNT = 2.0**53
_CHROMOSOMES = {"23": "X", "24": "Y", "25": "X", "26": "MT", "XY": "X", "M": "MT"}
_CHROMOSOMES |= {"PAR1": "X", "PAR2": "X"}


def read_summary_statistics(path: Path) -> pl.DataFrame:
    """Read one trait's summary statistics, text (also gzipped) or Parquet, by the names of columns.

    Returns `COLUMNS`, sorted as in the file: chromosome is text (X, Y, MT by name), an odds ratio
    becomes its logarithm, p becomes −log10 p; what the file lacks is null. Of PLINK 2's and
    REGENIE's files only the additive test's rows are kept, and rows without a result are left out.
    Raises LeadlightError where the columns are nobody's.
    """
    if not path.is_file():
        raise LeadlightError(f"{path} does not exist.")
    if _starts_with(path, b"PAR1"):
        try:
            table = pl.read_parquet(path)
        except (pl.exceptions.PolarsError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise LeadlightError(f"{path} cannot be read as a table: {reason}") from error
        absent = [name for name in COLUMNS if name not in table.columns]
        if absent:
            raise LeadlightError(f"{path} has no column {absent[0]}.", advice="Not ours?")
        return table.select(COLUMNS).with_columns(pl.col(*_FREE_TEXT).cast(pl.String))
    try:
        table, names = _text(path)
    except (pl.exceptions.PolarsError, UnicodeDecodeError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise LeadlightError(f"{path} cannot be read as a table: {reason}") from error
    if "TEST" in table.columns:
        table = table.filter(pl.col("TEST") == "ADD")
    if names is _PLINK2:
        table = table.with_columns(_other_allele(path, table).alias("other_allele"))
    table = table.rename({k: v for k, v in names.items() if k in table.columns and k != v})
    return _in_our_columns(path, table)


def write_summary_statistics(table: pl.DataFrame, path: Path, style: str) -> None:
    """Write a table with `COLUMNS` in one of `FORMATS`; `.gz` at the end of the name packs text.

    GWAS-SSF and Parquet keep everything; PLINK 2's has T_STAT and LOG10_P, REGENIE's CHISQ and
    LOG10P.
    """
    absent = [name for name in COLUMNS if name not in table.columns]
    if absent:
        raise LeadlightError(f"The table has no column {absent[0]}.", advice=f"Needs {COLUMNS}.")
    if style == "leadlight":
        with written_whole(path) as partial:
            table.select(COLUMNS).write_parquet(partial, row_group_size=1 << 15)
    elif style == "gwas-ssf":
        write_gwas_ssf(path, table.select(COLUMNS).to_arrow())
    elif style == "plink2":
        t = (pl.col("beta") / pl.col("standard_error")).alias("T_STAT")
        error = pl.lit(".").alias("ERRCODE")
        test = pl.lit("ADD").alias("TEST")
        columns = _named(_PLINK2, "chromosome", "base_pair_location", "rsid")
        columns += [pl.col("other_allele").alias("REF"), pl.col("effect_allele").alias("ALT")]
        columns += _named(_PLINK2, "effect_allele", "effect_allele_frequency")
        columns += [test, *_named(_PLINK2, "n", "beta"), pl.col("standard_error").alias("SE")]
        columns += [t, pl.col("neg_log_10_p_value").alias("LOG10_P"), error]
        _write_text(table.select(columns), path, "\t")
    elif style == "regenie":
        columns = _named(_REGENIE, "chromosome", "base_pair_location", "rsid", "other_allele")
        columns += _named(_REGENIE, "effect_allele", "effect_allele_frequency", "n")
        columns += [pl.lit("ADD").alias("TEST"), *_named(_REGENIE, "beta", "standard_error")]
        columns += [((pl.col("beta") / pl.col("standard_error")) ** 2).alias("CHISQ")]
        columns += [*_named(_REGENIE, "neg_log_10_p_value"), pl.lit("NA").alias("EXTRA")]
        numbered = pl.col("chromosome").replace({"X": "23", "Y": "24", "MT": "26"})
        _write_text(table.with_columns(numbered).select(columns), path, " ")
    else:
        raise LeadlightError(f"{style!r} is no format.", advice=f"One of {', '.join(FORMATS)}.")


def _text(path: Path) -> tuple[pl.DataFrame, Mapping[str, str]]:
    """The table with everything as text, and whose names its columns have."""
    head = pl.read_csv(path, separator="\n", has_header=False, n_rows=1, infer_schema=False)
    line = str(head.item(0, 0)) if head.height else ""
    separator = "\t" if "\t" in line else " "
    words = line.split(separator)
    if {"CHROM", "GENPOS", "LOG10P"} <= set(words):
        names: Mapping[str, str] = _REGENIE
    elif {"#CHROM", "POS", "A1"} <= set(words):
        names = _PLINK2
    elif {"chromosome", "base_pair_location", "effect_allele"} <= set(words):
        names = _SSF
    else:
        raise LeadlightError(
            f"{path} has the columns {', '.join(words[:6])}, which are nobody's that we know.",
            advice="Expected PLINK 2's, REGENIE's or GWAS-SSF's.",
        )
    table = pl.read_csv(path, separator=separator, infer_schema=False, null_values=_MISSING)
    return table, names


def _other_allele(path: Path, table: pl.DataFrame) -> pl.Expr:
    if not {"REF", "ALT"} <= set(table.columns):
        raise LeadlightError(f"{path} has no REF and ALT.", advice="Write cols=+ref,+alt.")
    return pl.when(pl.col("A1") == pl.col("REF")).then(pl.col("ALT")).otherwise(pl.col("REF"))


def _in_our_columns(path: Path, table: pl.DataFrame) -> pl.DataFrame:
    numbers = [
        name
        for name in (*COLUMNS, "p_value", "odds_ratio")
        if name in table.columns and name not in _FREE_TEXT
    ]
    try:
        table = table.with_columns(pl.col(*numbers).cast(pl.Float64))
    except pl.exceptions.InvalidOperationError as error:
        reason = str(error).splitlines()[0]
        raise LeadlightError(f"{path} has words among its numbers: {reason}") from error
    if "beta" not in table.columns and "odds_ratio" in table.columns:
        table = table.with_columns(pl.col("odds_ratio").log().alias("beta"))
    if "neg_log_10_p_value" not in table.columns and "p_value" in table.columns:
        p = pl.col("p_value")
        if table.select((p <= 0).any()).item():
            raise LeadlightError(
                f"{path} has p-values of 0.", advice="They ran out of range: write −log10 p."
            )
        table = table.with_columns((-p.log10()).alias("neg_log_10_p_value"))
    if "rsid" not in table.columns and "variant_id" in table.columns:
        table = table.rename({"variant_id": "rsid"})
    elif "variant_id" in table.columns:
        table = table.with_columns(pl.col("rsid").fill_null(pl.col("variant_id")))
    needed = ("beta", "standard_error", "effect_allele", "other_allele")
    lacking = [name for name in needed if name not in table.columns]
    if lacking:
        raise LeadlightError(f"{path} has no column for {lacking[0]}.")
    for name in COLUMNS:
        if name not in table.columns:
            kind = pl.String if name in _FREE_TEXT else pl.Float64
            table = table.with_columns(pl.lit(None, dtype=kind).alias(name))
    table = table.filter(pl.col("beta").is_not_null() & pl.col("standard_error").is_not_null())
    if table["neg_log_10_p_value"].null_count():
        from leadlight.genetics.tail_probability import neg_log_10_p

        t = table["beta"].to_numpy() / table["standard_error"].to_numpy()
        normal = pl.Series(neg_log_10_p(t, np.inf))
        table = table.with_columns(pl.col("neg_log_10_p_value").fill_null(normal))
    chromosome = pl.col("chromosome").str.replace("^chr", "").replace(_CHROMOSOMES)
    counts = pl.col("base_pair_location", "n").fill_nan(None)
    for name, far in table.select((counts.abs() > _MOST_COUNT).any()).row(0, named=True).items():
        if far:
            raise LeadlightError(f"{path} has a {name} that is no count.", advice="Correct it.")
    return table.with_columns(chromosome, counts.cast(pl.Int64)).select(COLUMNS)


def _named(names: Mapping[str, str], *columns: str) -> list[pl.Expr]:
    """Our columns under the first of another program's names for them."""
    first = {ours: theirs for theirs, ours in reversed(list(names.items()))}
    return [pl.col(column).alias(first[column]) for column in columns]


def _write_text(table: pl.DataFrame, path: Path, separator: str) -> None:
    import gzip

    with written_whole(path) as partial:
        text = table.write_csv(separator=separator, null_value="NA")
        data = text.encode()
        partial.write_bytes(gzip.compress(data, 6, mtime=0) if path.suffix == ".gz" else data)


def _starts_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(magic)) == magic
