"""A small made-up second study: associations, loci, one effect, factors. Its numbers are known."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl

from leadlight.ecg.leads import LEADS
from leadlight.report.effect_panels import WORDS

CHROMOSOMES = ("1", "3", "6")
VARIANTS = 1500  # a chromosome
SPACING, FIRST = 2000, 10_000_000
LEAD = {"SCN10A": ("3", 700), "NOS1AP": ("1", 300)}  # chromosome and number of the variant
CLASSES = ("AF", "LBBB", "1dAVb")


def write_second_study(study: Path) -> None:
    """`gwas/` (two sets and a null control), `loci/` and `effects/` with one card."""
    write_set(study, "factors", [f"factor_0{n}" for n in (1, 2, 3)], seed=1)
    write_set(study, "measurements", ["pr_ms", "qrs_ms"], seed=2, peak=14.0)
    write_set(study, "permuted", ["factor_01"], seed=3, peak=0.0)
    write_loci(study)
    write_effect_of(study, variant("SCN10A"))


def variant(gene: str) -> str:
    """The id of a locus's lead variant."""
    chromosome, number = LEAD[gene]
    return f"{chromosome}:{FIRST + number * SPACING}:T:C"


def write_set(study: Path, label: str, traits: list[str], *, seed: int, peak: float = 9.0) -> None:
    """Null p-values with a peak at each lead variant, as `leadlight gwas` writes them."""
    folder = study / "gwas" / label
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    chromosome = np.repeat(CHROMOSOMES, VARIANTS)
    position = np.tile(FIRST + SPACING * np.arange(VARIANTS), len(CHROMOSOMES))
    place = pl.DataFrame(
        {
            "chromosome": pl.Series(chromosome).cast(pl.Categorical),
            "base_pair_location": position,
            "rsid": [f"{c}:{p}:T:C" for c, p in zip(chromosome, position, strict=True)],
        }
    )
    least = np.zeros(place.height)
    strongest = np.zeros(place.height, dtype=np.int64)
    for at, trait in enumerate(traits):
        p = -np.log10(rng.uniform(size=place.height))
        for where, number in LEAD.values() if peak else ():
            middle = list(CHROMOSOMES).index(where) * VARIANTS + number
            shape = (peak - at) * np.exp(-np.abs(np.arange(-8, 9)) / 4.0)
            p[middle - 8 : middle + 9] = np.maximum(p[middle - 8 : middle + 9], shape)
        place.with_columns(pl.Series("neg_log_10_p_value", p)).write_parquet(
            folder / f"{trait}.parquet"
        )
        strongest[p > least] = at
        least = np.maximum(least, p)
    uniform = -np.log10(1 - (1 - 10.0**-least) ** len(traits) + 1e-300)
    place.with_columns(
        pl.Series("neg_log_10_p_value", np.maximum(uniform, 0.0)),
        pl.Series("strongest_trait", [traits[at] for at in strongest]),
    ).write_parquet(folder / "joint.parquet")
    summary = {
        "traits": dict.fromkeys(traits, place.height),
        "people": {"people analysed": 1234},
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    made = {"verb": "gwas", "parameters": {"transform": "rank-normal"}}
    (folder / "provenance.json").write_text(json.dumps(made))


def write_loci(study: Path) -> None:
    """Two loci, one of them published; what their leads do to five traits."""
    folder = study / "loci"
    folder.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    shifts: list[dict[str, Any]] = []
    for locus, (gene, p, known) in enumerate((("NOS1AP", 9.0, False), ("SCN10A", 14.0, True)), 1):
        chromosome, number = LEAD[gene]
        position = FIRST + number * SPACING
        rows.append(
            {
                "locus": locus, "chromosome": chromosome, "start": position - 8000,
                "end": position + 8000, "lead_variant": variant(gene), "lead_position": position,
                "lead_label": "measurements", "lead_trait": "pr_ms",
                "lead_neg_log_10_p_value": p, "traits": ["pr_ms", "joint"],
                "labels": ["factors", "measurements"], "only": None, "nearest_gene": gene,
                "nearest_gene_distance": 0, "genes": [gene, f"{gene}-AS1"], "known": known,
                "known_traits": ["PR interval"] if known else [],
                "known_references": ["Somebody 2010"] if known else [],
            }
        )  # fmt: skip
        for at, (label, trait) in enumerate(
            [("factors", f"factor_0{n}") for n in (1, 2, 3)]
            + [("measurements", "pr_ms"), ("measurements", "qrs_ms")]
        ):
            beta = -0.3 if trait == "pr_ms" else 0.02 * (at - 1)
            shifts.append(
                {
                    "locus": locus, "label": label, "trait": trait,
                    "lead_variant": variant(gene), "lead_effect_allele": "C", "lead_beta": beta,
                    "lead_standard_error": 0.03,
                    "lead_neg_log_10_p_value": p if trait == "pr_ms" else 1.0 + abs(beta),
                }
            )  # fmt: skip
    pl.DataFrame(rows).write_parquet(folder / "loci.parquet")
    pl.DataFrame(shifts).write_parquet(folder / "locus_traits.parquet")
    pl.DataFrame(
        [
            (2, "measurements", "pr_ms", "susie", 1, variant("SCN10A"), 0.7, True, 3, 0.96, True),
            (2, "measurements", "pr_ms", "susie", 1, "3:1:A:G", 0.2, True, 3, 0.96, True),
            (2, "factors", "factor_01", "susie", 1, "3:2:A:G", 0.9, True, 1, 0.97, False),
        ],
        schema=["locus", "label", "trait", "method", "signal", "rsid", "probability", "in_set",
                "set_size", "set_coverage", "primary"], orient="row",
    ).write_parquet(folder / "credible_sets.parquet")  # fmt: skip
    (folder / "provenance.json").write_text(json.dumps({"verb": "loci"}))


def write_effect_of(study: Path, name: str) -> Path:
    """An effect with a bump of −20 µV before R in II, PR −5 ms and a logit of 1dAVb −0.4."""
    folder = study / "effects" / name.replace(":", "-")
    folder.mkdir(parents=True)
    time = (np.arange(600) - 225) * 2.0
    beat = np.exp(-((time / 15) ** 2)) + 0.15 * np.exp(-(((time + 160) / 25) ** 2))
    bump = -20.0 * np.exp(-(((time + 150) / 30) ** 2))
    rows = []
    for at, lead in enumerate(LEADS):
        difference = bump * (1.0 if lead == "II" else 0.3)
        rows.append(
            pl.DataFrame(
                {
                    "lead": [lead] * 600, "time_ms": time, "reference_mv": beat * (1 - 0.1 * at),
                    "difference_uv": difference, "standard_error_uv": np.full(600, 2.0),
                    "low_uv": difference - 4, "high_uv": difference + 4,
                    "low_everywhere_uv": difference - 8, "high_everywhere_uv": difference + 8,
                    "shrunken_uv": 0.8 * difference, "shown": (time > -300) & (time < 500),
                }
            )
        )  # fmt: skip
    pl.concat(rows).write_parquet(folder / "effect.parquet")
    changes = dict.fromkeys(WORDS, (0.1, 1.0)) | {
        "pr_ms": (-5.0, 0.5),
        "cornell_mv": (0.03, 0.01),
    }
    pl.DataFrame(
        [
            {"quantity": name, "unit": "", "change": c, "low": c - 1.96 * e, "high": c + 1.96 * e,
             "standard_error": e, "n": 1200, "source": "people", "held": None}
            for name, (c, e) in changes.items()
        ]
    ).write_parquet(folder / "measurements.parquet")  # fmt: skip
    pl.DataFrame(
        [(name, c, c - 0.1, c + 0.1, 0.05, 1200)
         for name, c in zip(CLASSES, (0.02, -0.05, -0.4), strict=True)],
        schema=["class", "change", "low", "high", "standard_error", "n"], orient="row",
    ).write_parquet(folder / "logits.parquet")  # fmt: skip
    waves = ("P", "PR", "QRS", "ST", "T", "TP")
    pl.DataFrame(
        [(c, lead, wave, -0.2 if (lead, wave) == ("II", "P") else 0.01)
         for c in CLASSES for lead in LEADS for wave in waves],
        schema=["class", "lead", "wave", "relevance"], orient="row",
    ).write_parquet(folder / "relevance.parquet")  # fmt: skip
    pl.DataFrame(
        [(f"factor_0{n}", "pr_ms", -0.05 * n, 0.02, -2.5 * n, 1.0) for n in (1, 2, 3)],
        schema=["factor", "follows", "beta", "standard_error", "z", "neg_log_10_p"], orient="row",
    ).write_parquet(folder / "factors.parquet")  # fmt: skip
    summary = {
        "name": name, "kind": "variant", "step": "copy of C", "n": 1200, "strip_steps": 2.0,
        "expected_correlation": 0.9, "beyond_chance": 0.2,
        "about": {"effect_allele": "C", "other_allele": "T", "effect_allele_frequency": 0.4},
        "strip": [{"class": c, "change": -0.6 if c == "1dAVb" else 0.1} for c in CLASSES],
    }  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "card.html").write_text("<!DOCTYPE html><title>card</title>")
    pl.DataFrame(
        {
            "locus": [2],
            "lead_variant": [name],
            "failure": [None],
            "card": [f"{folder.name}/card.html"],
        },
        schema_overrides={"failure": pl.String},
    ).write_parquet(study / "effects" / "cards.parquet")
    return folder


def write_factors(study: Path, n: int = 400) -> pl.DataFrame:
    """Three factors of records without a card: the first is PR with noise, the third its echo."""
    rng = np.random.default_rng(5)
    first, second = rng.normal(size=(2, n))
    third = 0.5 * first + np.sqrt(0.75) * rng.normal(size=n)
    names = [f"r{at}" for at in range(n)]
    table = pl.DataFrame(
        {
            "record_id": names, "factor_01": first, "factor_02": second, "factor_03": third,
            "error_uv": np.linspace(10, 30, n),
            "flags": [["far"] if at < n // 20 else [] for at in range(n)],
        }
    )  # fmt: skip
    folder = study / "latent" / "tiny"
    folder.mkdir(parents=True)
    table.write_parquet(folder / "factors.parquet")
    pl.DataFrame(
        {
            "record_id": names, "pr_ms": 160 + 10 * first + rng.normal(size=n),
            "qrs_ms": 90 + rng.normal(size=n), "t_mv_V2": np.full(n, np.nan),
        }
    ).write_parquet(study / "measurements.parquet")  # fmt: skip
    return table


def first_study() -> ModuleType:
    """The module that writes studies with records and findings (`write_study`)."""
    path = Path(__file__).with_name("conftest.py")
    made = importlib.util.spec_from_file_location("first_study", path)
    assert made is not None
    assert made.loader is not None
    module = importlib.util.module_from_spec(made)
    made.loader.exec_module(module)
    return module
