"""What genes do to hearts: the planted variants, the polygenic background, and people's scores.

An effect is in standard deviations of the trait per copy of the effect allele, which is always the
alternative allele. Outcomes are the heart's traits (`traits.TRAIT_NAMES`) and the liabilities of
the diagnoses (`DIAGNOSES`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import stats

from leadlight.simulate.chromosome import part_files
from leadlight.simulate.genome import NULL_CHROMOSOMES
from leadlight.simulate.genotype_files import read_blocks
from leadlight.simulate.traits import TRAIT_NAMES
from leadlight.simulate.variants import COMMON, RARE_VARIANT_GENES

Array = npt.NDArray[np.float64]

# Diagnoses with a liability: share of the population that has them.
DIAGNOSES = {"AF": 0.04, "LBBB": 0.01, "RBBB": 0.03}
OUTCOMES = (*TRAIT_NAMES, *DIAGNOSES)

# Variance that the simulated variants explain together. SNP heritability of ECG intervals is about
# half of what families give: 17 % of 36 % for QT (Hoffmann et al. 2022, Genetics 222:iyac157);
# families give 34 % for QRS, 49 % for the 12-lead sum (Silva et al. 2015, Hum Genet 134:1211) and
# 40 to 60 % for PR (van Setten et al. 2018, Nat Commun 9:2904). AF: Weng et al. 2018, Circ Genom
# Precis Med 11:e001835. Of axes, shapes and bundle branch blocks no such figure is used: they are
# set within the same range.
HERITABILITY = {
    "heart_rate": 0.15, "p_duration": 0.14, "pr_segment": 0.20, "qrs_duration": 0.15,
    "qt_corrected": 0.17, "qrs_axis_frontal": 0.12, "qrs_axis_horizontal": 0.10,
    "t_axis_frontal": 0.10, "p_voltage": 0.12, "qrs_voltage": 0.20, "t_voltage": 0.15,
    "r_progression": 0.15, "q_septal": 0.12, "s_terminal": 0.12, "qrs_notch": 0.12,
    "j_point": 0.15, "st_slope": 0.12, "t_asymmetry": 0.15, "t_horizontal": 0.12,
    "p_terminal_v1": 0.12, "AF": 0.20, "LBBB": 0.10, "RBBB": 0.10,
}  # fmt: skip
# Variants behind what the planted ones leave of each heritability.
POLYGENIC_VARIANTS = 300


@dataclass(frozen=True)
class PlantedVariant:
    """A common variant to be chosen near a place, and what it does.

    Attributes:
        name: of the signal; genes are those around the middle of the real stretch.
        chromosome, place: where; `place` is a share of the stretch, 0.5 its middle.
        variance: outcome → share of its variance that the variant explains; the signs of a
            pleiotropic variant's effects are relative to each other.
        sex: "F" or "M" where it acts in one sex only (variance is within that sex).
        frequency: range of the minor allele frequency to choose from.
        second_to: name of a signal of the same region with which it shall share no linkage.
    """

    name: str
    chromosome: int
    place: float
    variance: Mapping[str, float]
    sex: str | None = None
    frequency: tuple[float, float] = (0.10, 0.50)
    second_to: str | None = None


PLANTED = (
    PlantedVariant("NOS1AP first", 1, 0.50, {"qt_corrected": 0.012}),
    PlantedVariant("NOS1AP second", 1, 0.50, {"qt_corrected": 0.007}, second_to="NOS1AP first"),
    PlantedVariant("CCDC141", 2, 0.55, {"heart_rate": 0.008}),
    PlantedVariant("TTN", 2, 0.30, {"qrs_voltage": 0.006}),
    PlantedVariant("SCN10A", 3, 0.52,
                   {"pr_segment": 0.011, "qrs_duration": 0.006, "p_duration": 0.004}),
    PlantedVariant("SCN5A common", 3, 0.25, {"qrs_duration": 0.007, "RBBB": 0.006}),
    PlantedVariant("PITX2", 4, 0.50, {"AF": 0.020, "p_voltage": -0.005}),
    PlantedVariant("NKX2-5", 5, 0.50, {"r_progression": 0.010}),
    PlantedVariant("PLN", 6, 0.50, {"qt_corrected": 0.006, "heart_rate": -0.006}),
    PlantedVariant("SLC35F1", 6, 0.25, {"qrs_axis_frontal": 0.006}),
    PlantedVariant("KCNH2", 7, 0.50, {"qt_corrected": 0.006}),
    PlantedVariant("KCNH2 shape", 7, 0.75, {"t_asymmetry": 0.009}),
    PlantedVariant("GATA4 in women", 8, 0.50, {"t_voltage": 0.012}, sex="F"),
    PlantedVariant("GATA4 shape", 8, 0.75, {"q_septal": 0.006, "s_terminal": -0.005}),
    PlantedVariant("9q shape", 9, 0.50, {"j_point": 0.010}),
    PlantedVariant("9q low frequency", 9, 0.20, {"st_slope": 0.006}, frequency=(0.01, 0.04)),
    PlantedVariant("VTI1A", 10, 0.50, {"qrs_notch": 0.008}),
    PlantedVariant("VTI1A in men", 10, 0.75, {"qrs_voltage": 0.012}, sex="M"),
    PlantedVariant("KCNQ1", 11, 0.50, {"qt_corrected": 0.005, "st_slope": 0.006}),
    PlantedVariant("TBX5", 12, 0.50, {"pr_segment": 0.006, "p_terminal_v1": 0.007}),
    PlantedVariant("TBX3", 12, 0.75, {"LBBB": 0.015}),
    PlantedVariant("13q shape", 13, 0.50, {"t_horizontal": 0.009}),
    PlantedVariant("MYH6 common", 14, 0.40, {"heart_rate": 0.007}),
)  # fmt: skip

# Rare damaging variants of a gene together explain this much (positive controls of burden tests:
# MYH6 and SCN5A with PR, Lin et al. 2018, Circ Genom Precis Med 11:e002037).
RARE_VARIANCE = {
    "SCN5A": {"pr_segment": 0.008, "qrs_duration": 0.006},
    "MYH6": {"heart_rate": -0.006, "p_duration": 0.006},
}
_RARE_BELOW = 0.005
_DAMAGING_MISSENSE = 0.4
_LARGEST_RARE_EFFECT = 2.0

_NEAREST_SECOND_BP, _FARTHEST_SECOND_BP = 15_000, 300_000

EFFECTS_SCHEMA: dict[str, pl.DataType] = {
    "variant": pl.String(),
    "chromosome": pl.Int32(),
    "position": pl.Int64(),
    "effect_allele": pl.String(),
    "other_allele": pl.String(),
    "effect_allele_frequency": pl.Float64(),
    "outcome": pl.String(),
    "kind": pl.String(),
    "signal": pl.String(),
    "gene": pl.String(),
    "sex": pl.String(),
    "beta": pl.Float64(),
    "variance_explained": pl.Float64(),
}


def read_variants(parts: Path, chromosomes: Sequence[int]) -> pl.DataFrame:
    """All variants, with `row` (in their chromosome's part), in the order of the final files."""
    tables = [
        pl.read_parquet(part_files(parts, number)[1]).with_row_index("row")
        for number in chromosomes
    ]
    return pl.concat(tables).with_columns(pl.col("row").cast(pl.Int64))


def draw_effects(
    parts: Path,
    variants: pl.DataFrame,
    n_people: int,
    sex: npt.NDArray[np.str_],
    seed: int,
    strength: float = 1.0,
) -> pl.DataFrame:
    """Choose the variants that act and their effects.

    What is planted on chromosomes that are not simulated is left out, and so is a planted variant
    where none of its frequency is near. The background is scaled so that each outcome's whole
    genetic variance among these people is its `HERITABILITY`.

    Args:
        parts: folder of the chromosomes' calls.
        variants: of `read_variants`.
        n_people, sex: the people whose calls they are.
        seed: of the study.
        strength: factor on what planted variants and rare ones explain of a variance.

    Returns:
        One row per variant and outcome: the columns of `EFFECTS_SCHEMA`, `sex` null where it acts
        in both.
    """
    table = variants.with_columns(
        (pl.col("alternative_count") / (2 * n_people)).alias("frequency")
    ).with_columns(pl.min_horizontal("frequency", 1 - pl.col("frequency")).alias("minor"))
    rng = np.random.default_rng([seed, 0, 10])
    rows = _planted_rows(parts, table, rng, strength) + _rare_rows(table, rng, strength)
    effects = pl.DataFrame(rows, schema=EFFECTS_SCHEMA)
    background = _background_rows(
        table, set(effects["variant"]), np.random.default_rng([seed, 0, 11])
    )
    acting = pl.concat([effects, pl.DataFrame(background, schema=EFFECTS_SCHEMA)])
    return _scaled(parts, table, acting, sex)


def genetic_scores(
    parts: Path, variants: pl.DataFrame, effects: pl.DataFrame, sex: npt.NDArray[np.str_]
) -> Array:
    """(person, outcome of `OUTCOMES`) sums of effects, each with mean 0 over the people."""
    scores = np.zeros((len(sex), len(OUTCOMES)))
    place = {name: column for column, name in enumerate(OUTCOMES)}
    acting = effects.join(
        variants.select(pl.col("id").alias("variant"), "row"), on="variant", how="left"
    ).sort("chromosome", "row", maintain_order=True)
    for (chromosome,), of_one in acting.group_by("chromosome", maintain_order=True):
        rows = of_one["row"].unique().sort().to_numpy()
        for who, of_sex in of_one.group_by("sex", maintain_order=True):
            weights = np.zeros((len(rows), len(OUTCOMES)))
            np.add.at(
                weights,
                (
                    np.searchsorted(rows, of_sex["row"].to_numpy()),
                    np.array([place[name] for name in of_sex["outcome"]]),
                ),
                of_sex["beta"].to_numpy(),
            )
            affected = np.ones(len(sex)) if who[0] is None else (sex == who[0]).astype(float)
            start = 0
            pgen = part_files(parts, int(str(chromosome)))[0]
            for calls in read_blocks(pgen, rows.tolist()):
                part = calls.T.astype(np.float64) @ weights[start : start + len(calls)]
                scores += affected[:, None] * part
                start += len(calls)
    return np.asarray(scores - scores.mean(axis=0))


def with_power(
    effects: pl.DataFrame,
    variants: pl.DataFrame,
    sex: npt.NDArray[np.str_],
    covariate_variance: Mapping[str, float],
) -> pl.DataFrame:
    """Add `n`, `non_centrality` and `power` to effects.

    `non_centrality` is the mean excess of the χ² of one degree of freedom of a linear model with
    the covariates in all people (in those of the sex in which it acts): n var(g) β² over the
    trait's variance that the covariates leave. For a diagnosis the effect on the liability is
    taken to the observed scale: β times the normal density at the threshold, over the variance
    K (1 − K). `power` is the chance to pass 5e-8. The χ² that a scan shows also holds what linked
    variants do.
    """
    sizes = {None: len(sex), "F": int((sex == "F").sum()), "M": int((sex == "M").sum())}
    n = np.array([sizes[one] for one in effects["sex"]], dtype=float)
    frequency = effects["effect_allele_frequency"].to_numpy()
    explained = 2 * frequency * (1 - frequency) * effects["beta"].to_numpy() ** 2
    scale = np.array([_observed_scale(name) for name in effects["outcome"]])
    left = np.array([1.0 - covariate_variance.get(name, 0.0) for name in effects["outcome"]])
    non_centrality = n * explained * scale / left
    threshold = stats.chi2.isf(5e-8, 1)
    return effects.with_columns(
        pl.Series("n", n.astype(np.int64)),
        pl.Series("non_centrality", non_centrality),
        pl.Series("power", stats.ncx2.sf(threshold, 1, np.maximum(non_centrality, 1e-12))),
    )


def _observed_scale(outcome: str) -> float:
    if outcome not in DIAGNOSES:
        return 1.0
    prevalence = DIAGNOSES[outcome]
    density = stats.norm.pdf(stats.norm.isf(prevalence))
    return float(density**2 / (prevalence * (1 - prevalence)))


def _planted_rows(
    parts: Path, table: pl.DataFrame, rng: np.random.Generator, strength: float
) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    chosen: dict[str, dict[str, Any]] = {}
    for planted in PLANTED:
        sign = float(rng.choice([-1.0, 1.0]))
        near = table.filter(
            (pl.col("chromosome") == planted.chromosome)
            & pl.col("minor").is_between(*planted.frequency)
            & ~pl.col("id").is_in([one["id"] for one in chosen.values()])
        )
        if near.is_empty():
            continue
        if planted.second_to in chosen:
            variant = _unlinked(parts, near, chosen[planted.second_to])
        else:
            whole = table.filter(pl.col("chromosome") == planted.chromosome)["position"]
            first, last = whole.to_numpy()[[0, -1]]
            goal = first + planted.place * (last - first)
            variant = near.row(
                int(np.argmin(np.abs(near["position"].to_numpy() - goal))), named=True
            )
        chosen[planted.name] = variant
        kind = (
            "sex-specific" if planted.sex
            else "second signal" if planted.second_to
            else "pleiotropic" if len(planted.variance) > 1
            else "common"
        )  # fmt: skip
        p = float(variant["frequency"])
        for outcome, share in planted.variance.items():
            beta = sign * np.sign(share) * np.sqrt(strength * abs(share) / (2 * p * (1 - p)))
            rows.append(_row(variant, outcome, kind, planted.name, planted.sex, float(beta)))
    return rows


def _unlinked(parts: Path, near: pl.DataFrame, first: Mapping[str, Any]) -> dict[str, Any]:
    """The candidate of the region with the least linkage to a variant."""
    distance = np.abs(near["position"].to_numpy() - int(first["position"]))
    close = (distance >= _NEAREST_SECOND_BP) & (distance <= _FARTHEST_SECOND_BP)
    candidates = near.filter(close) if close.any() else near
    rows = sorted({*candidates["row"].to_list(), int(first["row"])})
    pgen = part_files(parts, int(first["chromosome"]))[0]
    calls = np.concatenate(list(read_blocks(pgen, rows))).astype(np.float32)
    calls -= calls.mean(axis=1, keepdims=True)
    calls /= np.linalg.norm(calls, axis=1, keepdims=True)
    r_squared = (calls @ calls[rows.index(int(first["row"]))]) ** 2
    at = np.searchsorted(rows, candidates["row"].to_numpy())
    return candidates.row(int(np.argmin(r_squared[at])), named=True)


def _rare_rows(
    table: pl.DataFrame, rng: np.random.Generator, strength: float
) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for gene in RARE_VARIANT_GENES:
        inside = table.filter((pl.col("gene") == gene) & (pl.col("minor") < _RARE_BELOW))
        harm = rng.random(inside.height)
        spread = rng.gamma(4.0, 0.25, inside.height)
        weight = np.array(
            [
                1.6 * s if what == "loss_of_function"
                else s if what == "missense" and h < _DAMAGING_MISSENSE
                else 0.0
                for what, h, s in zip(inside["consequence"], harm, spread, strict=True)
            ]
        )  # fmt: skip
        p = inside["frequency"].to_numpy()
        together = float(np.sum(2 * p * (1 - p) * weight**2))
        if together == 0:
            continue
        for outcome, share in RARE_VARIANCE[gene].items():
            beta = np.sign(share) * np.sqrt(strength * abs(share) / together) * weight
            # The rarer allele does the harm, be it the derived one or not.
            beta = np.clip(beta, -_LARGEST_RARE_EFFECT, _LARGEST_RARE_EFFECT)
            beta = np.where(p < 0.5, beta, -beta)
            for place in np.flatnonzero(weight):
                variant = inside.row(int(place), named=True)
                rows.append(_row(variant, outcome, "rare", gene, None, float(beta[place])))
    return rows


def _background_rows(
    table: pl.DataFrame, taken: set[str], rng: np.random.Generator
) -> list[dict[str, object]]:
    able = table.filter(
        (pl.col("minor") >= COMMON)
        & ~pl.col("chromosome").is_in(NULL_CHROMOSOMES)
        & ~pl.col("id").is_in(sorted(taken))
    )
    rows: list[dict[str, object]] = []
    for outcome in OUTCOMES:
        count = min(POLYGENIC_VARIANTS, able.height)
        if not count:
            continue
        chosen = np.sort(rng.choice(able.height, size=count, replace=False))
        effect = rng.standard_normal(count)
        for place, one in zip(chosen, effect, strict=True):
            variant = able.row(int(place), named=True)
            p = float(variant["frequency"])
            beta = float(one / np.sqrt(2 * p * (1 - p)))
            rows.append(_row(variant, outcome, "polygenic", "background", None, beta))
    return rows


def _scaled(
    parts: Path, table: pl.DataFrame, acting: pl.DataFrame, sex: npt.NDArray[np.str_]
) -> pl.DataFrame:
    """The background scaled so that all effects together reach each outcome's heritability."""
    planted = genetic_scores(parts, table, acting.filter(pl.col("kind") != "polygenic"), sex)
    ground = genetic_scores(parts, table, acting.filter(pl.col("kind") == "polygenic"), sex)
    factor = {}
    for column, outcome in enumerate(OUTCOMES):
        a, b = planted[:, column], ground[:, column]
        # var(a + f b) = h²: the larger root; none where the planted part is already too large.
        half, spread = float(np.mean(a * b)), float(b.var())
        missing = HERITABILITY[outcome] - float(a.var())
        root = half**2 + spread * missing
        factor[outcome] = max(0.0, (-half + np.sqrt(root)) / spread) if spread and root > 0 else 0.0
    scale = pl.col("outcome").replace_strict(factor, return_dtype=pl.Float64)
    scaled = acting.with_columns(
        pl.when(pl.col("kind") == "polygenic")
        .then(pl.col("beta") * scale)
        .otherwise(pl.col("beta"))
        .alias("beta")
    )
    p = pl.col("effect_allele_frequency")
    return scaled.with_columns((2 * p * (1 - p) * pl.col("beta") ** 2).alias("variance_explained"))


def _row(
    variant: Mapping[str, Any],
    outcome: str,
    kind: str,
    signal: str,
    sex: str | None,
    beta: float,
) -> dict[str, object]:
    return {
        "variant": variant["id"],
        "chromosome": variant["chromosome"],
        "position": variant["position"],
        "effect_allele": variant["alternative"],
        "other_allele": variant["reference"],
        "effect_allele_frequency": variant["frequency"],
        "outcome": outcome,
        "kind": kind,
        "signal": signal,
        "gene": variant["gene"],
        "sex": sex,
        "beta": beta,
        "variance_explained": None,
    }
