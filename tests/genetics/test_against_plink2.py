"""The same numbers as PLINK 2 to its printed digits, on real genotypes, X and gaps included."""

import re
import subprocess
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from leadlight.genetics.genotypes import open_genotypes
from leadlight.genetics.stage import run_gwas

X_NAMES = {"23": "X", "24": "Y", "25": "X", "26": "MT", "XY": "X", "PAR1": "X", "PAR2": "X"}


def unit(printed: str) -> float:
    """What the last printed digit of a number is worth."""
    whole = re.fullmatch(r"-?\d+\.?(\d*)(?:e([+-]\d+))?", printed)
    assert whole is not None, printed
    return float(10.0 ** (int(whole[2] or 0) - len(whole[1])))


def tables(tmp_path: Path, ids: list[tuple[str, str]], seed: int) -> tuple[Path, Path]:
    """Four traits, three with gaps (one with more than half), and three covariates with gaps."""
    rng = np.random.default_rng(seed)
    n = len(ids)
    covariates = rng.standard_normal((n, 3))
    traits = rng.standard_normal((n, 4)) + covariates @ rng.standard_normal((3, 4)) * 0.3
    traits = traits * [1, 100, 0.01, 5] + [0, 400, 0, -9]
    for k, share in ((1, 0.03), (2, 0.03), (3, 0.55)):
        traits[rng.random(n) < share, k] = np.nan
    covariates[rng.random(n) < 0.01, 1] = np.nan
    paths = []
    for name, columns, values in (("ph", "y", traits), ("cv", "c", covariates)):
        header = ["#FID", "IID", *(f"{columns}{k}" for k in range(values.shape[1]))]
        lines = ["\t".join(header)]
        for i in rng.permutation(n):
            shown = ("NA" if np.isnan(x) else repr(float(x)) for x in values[i])
            lines.append("\t".join([*ids[i], *shown]))
        paths.append(tmp_path / f"{name}.tsv")
        paths[-1].write_text("\n".join([*lines, ""]))
    return paths[0], paths[1]


def plink_rows(plink2: str, tmp_path: Path, source: list[str], traits: list[str]) -> pl.DataFrame:
    command = [plink2, *source, "--threads", "1", "--no-input-missing-phenotype"]
    command += ["--max-alleles", "2", "--pheno", str(tmp_path / "ph.tsv")]
    command += ["--pheno-name", ",".join(traits), "--covar", str(tmp_path / "cv.tsv")]
    command += ["--glm", "omit-ref", "hide-covar", "log10", "--out", str(tmp_path / "plink")]
    subprocess.run(command, check=True, capture_output=True)
    found = []
    for trait in traits:
        table = pl.read_csv(
            tmp_path / f"plink.{trait}.glm.linear",
            separator="\t",
            null_values=["NA"],
            infer_schema=False,
        )
        found.append(table.with_columns(pl.lit(trait).alias("trait")))
    rows = pl.concat(found).filter(pl.col("BETA").is_not_null())
    return rows.with_columns(
        pl.col("#CHROM").replace(X_NAMES), pl.col("POS").cast(pl.Int64), pl.col("OBS_CT").cast(int)
    )


def assert_same(plink: pl.DataFrame, out: Path) -> pl.DataFrame:
    """Every variant and trait that PLINK 2 has, to its printed digits; returns the joined table."""
    ours = pl.concat(
        pl.read_parquet(out / f"{trait}.parquet").with_columns(
            pl.col("chromosome", "effect_allele", "other_allele").cast(pl.String),
            pl.lit(trait).alias("trait"),
        )
        for trait in plink["trait"].unique().sort()
    )
    both = plink.join(
        ours,
        left_on=["trait", "#CHROM", "POS", "A1", "REF"],
        right_on=["trait", "chromosome", "base_pair_location", "effect_allele", "other_allele"],
        how="left",
    )
    assert both["beta"].null_count() == 0
    assert both["OBS_CT"].equals(both["n"].cast(pl.Int64).alias("OBS_CT"))
    for theirs, mine in (("BETA", "beta"), ("SE", "standard_error")):
        printed = both[theirs].to_list()
        off = np.abs(np.array(printed, float) - both[mine].to_numpy().astype(float))
        # Half a digit, and the float32 in which the table is kept.
        half = 0.5 * np.array([unit(x) for x in printed]) + 1e-7 * np.abs(np.array(printed, float))
        assert (off <= half * 1.001).all(), (theirs, both.filter(pl.Series(off > half)).head(3))
    off = np.abs(both["LOG10_P"].cast(float) - both["neg_log_10_p_value"])
    assert off.max() < 1e-4
    return both


@pytest.mark.slow
def test_1000_genomes_vcf_with_x(shared_data: Path, plink2: str, tmp_path: Path) -> None:
    folder = shared_data / "genotypes" / "kg_1126_vcf"
    source = open_genotypes(folder, cache=tmp_path / "out" / "genotypes")
    ids = [("0", person) for person in source.people.person_ids]
    phenotypes, covariates = tables(tmp_path, ids, 5)
    run_gwas(folder, phenotypes, tmp_path / "out", covariates=covariates)
    sex = tmp_path / "sex.tsv"
    rows = [f"0\t{i}\t{s}" for (_, i), s in zip(ids, source.people.sex, strict=True)]
    sex.write_text("\n".join(["#FID\tIID\tSEX", *rows, ""]))
    tested = set()
    for chromosome in ("1", "13", "22", "X"):
        words = ["--vcf", str(folder / f"1KG_phase3_subset_chr{chromosome}.vcf.gz")]
        words += ["--vcf-half-call", "haploid", "--update-sex", str(sex)]
        plink = plink_rows(plink2, tmp_path, words, ["y0", "y1", "y2", "y3"])
        both = assert_same(plink, tmp_path / "out")
        tested |= set(both["#CHROM"].unique())
        assert both.height > 3_000
    assert tested == {"1", "13", "22", "X"}


def test_hapmap_bed_with_missing_calls_x_and_mt(
    shared_data: Path, plink2: str, tmp_path: Path
) -> None:
    prefix = shared_data / "genotypes" / "hapmap3_957_bed" / "data"
    people = open_genotypes(prefix).people
    ids = list(zip(people.family_ids, people.person_ids, strict=True))
    phenotypes, covariates = tables(tmp_path, ids, 6)
    run_gwas(prefix, phenotypes, tmp_path / "out", covariates=covariates)
    traits = ["y0", "y1", "y2", "y3"]
    both = assert_same(
        plink_rows(plink2, tmp_path, ["--bfile", str(prefix)], traits), tmp_path / "out"
    )
    assert both.height == 4 * 14_389
    assert {"X", "MT"} <= set(both["#CHROM"].unique())
    assert both.filter(pl.col("trait") == "y0")["OBS_CT"].n_unique() > 5


@pytest.mark.parametrize("name", ["example.pgen", "example.bed"])
def test_formats_500(shared_data: Path, plink2: str, tmp_path: Path, name: str) -> None:
    file = shared_data / "genotypes" / "formats_500" / name
    people = open_genotypes(file).people
    ids = list(zip(people.family_ids, people.person_ids, strict=True))
    phenotypes, covariates = tables(tmp_path, ids, 7)
    run_gwas(file, phenotypes, tmp_path / "out", covariates=covariates)
    option = "--pfile" if name.endswith("pgen") else "--bfile"
    words = [option, str(file.with_suffix(""))]
    assert_same(plink_rows(plink2, tmp_path, words, ["y0", "y1", "y2", "y3"]), tmp_path / "out")
