"""Heritability and genetic correlations, files to files: what `leadlight heritability` calls."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from leadlight.atomic import refuse_overwrite, write_json, written_whole
from leadlight.errors import LeadlightError
from leadlight.genetics.designs import make_designs, rank_normal, with_usable_traits
from leadlight.genetics.genotypes import open_genotypes
from leadlight.genetics.gwas_summary import fingerprint
from leadlight.genetics.haseman_elston import haseman_elston
from leadlight.genetics.heritability_warnings import heritability_warnings
from leadlight.genetics.ld_score_regression import (
    GeneticCorrelation,
    Heritability,
    genetic_correlation,
    heritability,
    jackknife_blocks,
    too_large,
)
from leadlight.genetics.ld_scores import LdScores, ld_scores, read_ld_scores, write_ld_scores
from leadlight.genetics.log_tails import LN10, log_two_sided
from leadlight.genetics.summary_statistics import read_summary_statistics
from leadlight.genetics.traits import match_people, read_person_table
from leadlight.genetics.variant_tables import DIPLOID, sorted_order
from leadlight.progress import say, track
from leadlight.provenance import write_provenance

Floats = npt.NDArray[np.float64]
TABLE, CORRELATIONS, SCORES = "heritability.parquet", "genetic_correlations.parquet", "ld_scores"
_NO_TRAITS = frozenset({"joint"})
_ENDINGS = (".gz", ".parquet", ".tsv", ".txt", ".regenie", ".glm.linear")


@dataclass(frozen=True)
class HeritabilitySummary:
    """What a run found; warnings: trait → sentences."""

    out: Path
    traits: dict[str, dict[str, float | None]]
    pairs: int
    scores: dict[str, float]
    warnings: dict[str, list[str]]
    files: list[str]

    def as_json(self) -> dict[str, Any]:
        """JSON-ready, for `--json` and for `summary.json`."""
        return asdict(self) | {"out": self.out.name}


@dataclass(frozen=True)
class _Trait:
    """One trait's statistics at the LD scores' variants, (variant,), NaN where it has none."""

    name: str
    z: Floats
    n: Floats
    alleles: pl.DataFrame


def run_heritability(
    summary_statistics: Sequence[Path],
    out: Path,
    *,
    scores: Path | None = None,
    genotypes: Path | Sequence[Path] | None = None,
    weight_scores: Path | None = None,
    phenotypes: Path | None = None,
    covariates: Path | None = None,
    transform: str = "none",
    window_kb: float = 1000,
    min_maf: float = 0.01,
    ld_people: int | None = 5000,
    common: bool = True,
    intercept: float | None = None,
    correlations: bool = True,
    overwrite: bool = False,
    seed: int = 0,
) -> HeritabilitySummary:
    """Estimate, and write `out/heritability.parquet`, `out/genetic_correlations.parquet`.

    summary_statistics: a file per trait, named after it, or folders of `leadlight gwas`. scores: LD
    scores to read; otherwise they are worked out from `genotypes` (at most `ld_people` of them,
    drawn) and written to `out/ld_scores`. common: the heritability of the variants above 5 % (LD
    score programs' convention) and not of all. intercept: fixed for every trait (and 0 between
    traits). phenotypes (with genotypes): Haseman–Elston regression of the traits of the same names
    goes beside. Raises LeadlightError on any input that can't be used.
    """
    if scores is None and genotypes is None:
        raise LeadlightError("Neither LD scores nor genotypes were given.", advice="Give one.")
    if phenotypes is not None and genotypes is None:
        raise LeadlightError("Haseman–Elston regression needs genotypes.", advice="--genotypes")
    for name in (TABLE, CORRELATIONS):
        refuse_overwrite(out / name, overwrite)
    paths = _paths(summary_statistics)
    used = _scores(scores, genotypes, out, window_kb, min_maf, ld_people, overwrite, seed)
    weights = None if weight_scores is None else read_ld_scores(weight_scores)
    table = _sorted(used.table, weights)
    m = used.n_common if common and used.n_common else used.n_variants
    traits = [_trait(name, path, table, min_maf) for name, path in paths.items()]
    blocks_of = _Blocks(table)
    moments = (
        None
        if phenotypes is None or genotypes is None
        else _haseman_elston(
            genotypes, phenotypes, covariates, list(paths), out, transform, min_maf, seed
        )
    )
    rows, warnings = [], {}
    for trait in traits:
        found, removed = _one(trait, table, m, blocks_of, intercept)
        he = None if moments is None else moments.get(trait.name)
        n = float(np.nanmedian(trait.n))
        warnings[trait.name] = heritability_warnings(found, n, removed, he)
        rows.append(_row(trait.name, found, n, removed, he, warnings[trait.name]))
    pairs = _pairs(traits, table, m, blocks_of, intercept) if correlations else []
    with written_whole(out / TABLE) as partial:
        pl.DataFrame(rows, infer_schema_length=None).write_parquet(partial)
    with written_whole(out / CORRELATIONS) as partial:
        pl.DataFrame(pairs, schema=_PAIRS).write_parquet(partial)
    summary = HeritabilitySummary(
        out,
        {
            row["trait"]: {
                k: _plain(row[k]) for k in ("h2", "h2_se", "intercept", "he_h2", "he_se")
            }
            for row in rows
        },
        len(pairs),
        {"variants": used.table.height, "m": used.n_variants, "m_5_50": used.n_common, "used": m},
        warnings,
        [TABLE, CORRELATIONS],
    )
    write_provenance(
        out,
        "heritability",
        {
            "window_kb": window_kb,
            "min_maf": min_maf,
            "ld_people": ld_people,
            "common": common,
            "intercept": intercept,
            "transform": transform,
            "seed": seed,
            "summary_statistics": [fingerprint(path) for path in paths.values()],
        },
        [path for path in (phenotypes, covariates) if path is not None],
    )
    write_json(out / "summary.json", summary.as_json())
    return summary


def _paths(given: Sequence[Path]) -> dict[str, Path]:
    """Trait → its file."""
    out: dict[str, Path] = {}
    for path in given:
        files = [path]
        if path.is_dir():
            files = [
                one
                for one in sorted(path.glob("*.parquet"))
                if one.stem not in _NO_TRAITS and not one.name.endswith(".sex.parquet")
                and "neg_log_10_p_value" in pl.read_parquet_schema(one)
                and "standard_error" in pl.read_parquet_schema(one)
            ]  # fmt: skip
        for one in files:
            name = one.name
            for ending in _ENDINGS:
                name = name.removesuffix(ending)
            if name in out:
                raise LeadlightError(f"Two files are named {name}.", advice="Rename one.")
            out[name] = one
    if not out:
        raise LeadlightError(f"{given[0]} holds no summary statistics.")
    return out


def _scores(
    scores: Path | None,
    genotypes: Path | Sequence[Path] | None,
    out: Path,
    window_kb: float,
    min_maf: float,
    ld_people: int | None,
    overwrite: bool,
    seed: int,
) -> LdScores:
    if scores is not None:
        return read_ld_scores(scores)
    assert genotypes is not None
    refuse_overwrite(out / SCORES, overwrite)
    source = open_genotypes(genotypes, cache=out / "genotypes")
    rows = np.arange(len(source.people), dtype=np.uint32)
    if ld_people is not None and len(rows) > ld_people:
        drawn = np.random.default_rng(seed).choice(len(rows), ld_people, replace=False)
        rows = np.sort(drawn).astype(np.uint32)
    say(f"LD scores of {len(rows):,} people.")
    with threadpool_limits(1):
        made = ld_scores(source, rows, window_kb=window_kb, min_maf=min_maf)
    with written_whole(out / SCORES) as partial:
        partial.mkdir()
        write_ld_scores(made, partial / "all")
    return made


def _sorted(table: pl.DataFrame, weights: LdScores | None) -> pl.DataFrame:
    """Scores by place, with `weight_score`; ids that are there once."""
    table = table.filter(~pl.col("rsid").is_duplicated())
    if weights is not None:
        own = weights.table.select("rsid", pl.col("ld_score").alias("weight_score"))
        table = table.join(own, on="rsid", how="inner")
    else:
        table = table.with_columns(pl.col("ld_score").alias("weight_score"))
    number = pl.col("chromosome").cast(pl.Int64, strict=False).fill_null(99)
    return table.sort(number, "chromosome", "base_pair_location")


def _trait(name: str, path: Path, table: pl.DataFrame, min_maf: float) -> _Trait:
    own = read_summary_statistics(path)
    frequency = pl.col("effect_allele_frequency")
    own = own.filter(
        pl.col("beta").is_finite()
        & (pl.col("standard_error") > 0)
        & (frequency.is_null() | frequency.is_between(min_maf, 1 - min_maf))
        & ~pl.col("rsid").is_duplicated()
    ).select(
        "rsid",
        pl.col("effect_allele").str.to_uppercase(),
        pl.col("other_allele").str.to_uppercase(),
        (pl.col("beta") / pl.col("standard_error")).cast(pl.Float64).alias("z"),
        pl.col("n").cast(pl.Float64),
    )
    joined = table.select("rsid").join(own, on="rsid", how="left", maintain_order="left")
    if joined["z"].null_count() == joined.height:
        raise LeadlightError(
            f"No variant of {path} has an LD score.",
            advice="Compare the ids (rsid) of both: rs numbers, or chromosome:position:alleles.",
        )
    if own["n"].null_count() == own.height:
        raise LeadlightError(f"{path} does not say how many people it is of (n).")
    z = joined["z"].fill_null(np.nan).to_numpy()
    n = joined["n"].fill_null(float(own["n"].median() or 0)).to_numpy()  # type: ignore[arg-type]
    return _Trait(name, z, np.where(np.isfinite(z), n, np.nan), joined)


class _Blocks:
    """Jackknife blocks of some of the variants."""

    def __init__(self, table: pl.DataFrame) -> None:
        self._chromosome = table["chromosome"].cast(pl.Categorical).to_physical().to_numpy()
        self._position = table["base_pair_location"].to_numpy()

    def of(self, there: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        return jackknife_blocks(self._chromosome[there], self._position[there])


def _one(
    trait: _Trait, table: pl.DataFrame, m: float, blocks: _Blocks, intercept: float | None
) -> tuple[Heritability, int]:
    known = np.isfinite(trait.z)
    with np.errstate(invalid="ignore"):
        huge = known & (trait.z**2 > too_large(trait.n))
    there = known & ~huge
    found = heritability(
        trait.z[there] ** 2,
        trait.n[there],
        table["ld_score"].to_numpy()[there],
        m,
        blocks.of(there),
        weight_scores=table["weight_score"].to_numpy()[there],
        intercept=intercept,
    )
    return found, int(huge.sum())


def _pairs(
    traits: Sequence[_Trait],
    table: pl.DataFrame,
    m: float,
    blocks: _Blocks,
    intercept: float | None,
) -> list[dict[str, Any]]:
    scores, weights = table["ld_score"].to_numpy(), table["weight_score"].to_numpy()
    found = []
    both = list(combinations(traits, 2))
    for one, other in track(both, "genetic correlations", len(both)):
        sign = _sign(one.alleles, other.alleles)
        with np.errstate(invalid="ignore"):
            there = np.isfinite(one.z * other.z * sign)
            for trait in (one, other):
                there &= ~(trait.z**2 > too_large(trait.n))
        fit = genetic_correlation(
            (one.z[there], (other.z * sign)[there]),
            (one.n[there], other.n[there]),
            scores[there],
            m,
            blocks.of(there),
            weight_scores=weights[there],
            intercept=None if intercept is None else 0.0,
            intercepts=(intercept, intercept),
        )
        found.append(_pair_row(one.name, other.name, fit))
    return found


def _sign(one: pl.DataFrame, other: pl.DataFrame) -> Floats:
    """1 where both count the same allele, −1 where they are swapped, NaN where they are others."""
    a, b, c, d = (
        table[name] for table in (one, other) for name in ("effect_allele", "other_allele")
    )
    same, swapped = (a == c) & (b == d), (a == d) & (b == c)
    sign = np.where(swapped.fill_null(False).to_numpy(), -1.0, np.nan)
    return np.where(same.fill_null(False).to_numpy(), 1.0, sign)


def _haseman_elston(
    genotypes: Path | Sequence[Path],
    phenotypes: Path,
    covariates: Path | None,
    names: Sequence[str],
    out: Path,
    transform: str,
    min_maf: float,
    seed: int,
) -> dict[str, tuple[float, float]]:
    """Trait → h² and standard error, of the traits of `names` that the phenotypes have."""
    if transform not in ("none", "rank-normal"):
        raise LeadlightError(f"{transform!r} is no transform.", advice="none or rank-normal.")
    source = open_genotypes(genotypes, cache=out / "genotypes")
    there = [name for name in names if name in read_person_table(phenotypes).columns]
    if not there:
        raise LeadlightError(
            f"{phenotypes} has none of the traits {', '.join(names[:5])}.",
            advice="Summary statistics are named after their trait: heart_rate.parquet.",
        )
    adjusted = None if covariates is None else read_person_table(covariates, categories=True)
    matched = match_people(source.people, read_person_table(phenotypes, there), adjusted)
    if transform == "rank-normal":
        columns = [rank_normal(column) for column in matched.traits.T]
        matched = replace(matched, traits=np.stack(columns, axis=1))
    matched = with_usable_traits(matched)
    order = sorted_order(source.variants)
    numbers = np.arange(len(source.variants)) if order is None else order
    fit = (source.variants.kind == DIPLOID) & ~source.variants.multiallelic
    out_of: dict[str, tuple[float, float]] = {}
    with threadpool_limits(1):
        for design in make_designs(matched, DIPLOID, shared=False):
            count = len(design.traits)
            found = haseman_elston(
                source,
                design.rows,
                numbers[fit[numbers]],
                design.matrix[:, design.q : design.q + count],
                design.matrix[:, : design.q],
                min_maf=min_maf,
                seed=seed,
            )
            for at, trait in enumerate(design.traits):
                out_of[matched.trait_names[trait]] = float(found.h2[at]), float(found.h2_se[at])
    return out_of


def _row(
    name: str,
    found: Heritability,
    n: float,
    removed: int,
    he: tuple[float, float] | None,
    warnings: list[str],
) -> dict[str, Any]:
    return {
        "trait": name,
        "h2": found.h2,
        "h2_se": found.h2_se,
        "z": found.z,
        "intercept": found.intercept,
        "intercept_se": found.intercept_se,
        "ratio": found.ratio,
        "ratio_se": found.ratio_se,
        "mean_chi_squared": found.mean_chi_squared,
        "lambda_gc": found.lambda_gc,
        "n": n,
        "n_variants": found.n_variants,
        "n_removed": removed,
        "n_blocks": found.n_blocks,
        "he_h2": None if he is None else he[0],
        "he_se": None if he is None else he[1],
        "warnings": warnings,
    }


_PAIRS: dict[str, Any] = {
    "trait_1": pl.String,
    "trait_2": pl.String,
    "correlation": pl.Float64,
    "correlation_se": pl.Float64,
    "neg_log_10_p_value": pl.Float64,
    "covariance": pl.Float64,
    "covariance_se": pl.Float64,
    "intercept": pl.Float64,
    "intercept_se": pl.Float64,
    "n_variants": pl.Int64,
}


def _pair_row(one: str, other: str, fit: GeneticCorrelation) -> dict[str, Any]:
    z = fit.correlation / fit.correlation_se if fit.correlation_se > 0 else np.nan
    values = asdict(fit) | {"neg_log_10_p_value": float(-log_two_sided(np.array(z)) / LN10)}
    return {"trait_1": one, "trait_2": other} | {k: _plain(v) for k, v in values.items()}


def _plain(value: Any) -> Any:
    """NaN as null."""
    return None if isinstance(value, float) and not np.isfinite(value) else value
