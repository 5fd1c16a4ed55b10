"""The key facts of every locus for the page: place, genes, traits, and what it does to the ECG."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight.ecg.leads import LEADS
from leadlight.report.association_sets import association_sets
from leadlight.report.effect_panels import WORDS, said
from leadlight.report.factor_words import spoken
from leadlight.report.results import read_table

MOST_LOCI = 200
# Drawings beyond these are on their own cards only; each takes some 50 kB of the page.
MOST_DRAWN = 30
COLUMNS = (
    "locus", "chromosome", "lead_variant", "lead_position", "lead_trait", "lead_label",
    "lead_neg_log_10_p_value", "labels", "only", "nearest_gene", "known",
)  # fmt: skip
_EVERY = 2  # of the beat's samples at 500 Hz one is drawn, which is finer than a screen
_UNIT_UV = 0.05  # of differences; reference beats are in whole microvolts


def loci_table(study: Path) -> pl.DataFrame | None:
    """`loci.parquet`, the strongest first; None where there is none, empty where nothing was found.

    Raises:
        LeadlightError: it cannot be read or lacks columns.
    """
    path = study / "loci" / "loci.parquet"
    if not path.is_file():
        return None
    if not pl.scan_parquet(path).select(pl.len()).collect().item():
        return pl.DataFrame(schema=dict.fromkeys(COLUMNS, pl.String))
    table = read_table(path, COLUMNS)
    assert table is not None
    return table.sort("lead_neg_log_10_p_value", "locus", descending=[True, False])


def locus_facts(
    study: Path, *, most: int = MOST_LOCI, drawn: int = MOST_DRAWN
) -> list[dict[str, Any]]:
    """JSON-ready facts of the loci, the strongest first.

    Each has `locus, name, chromosome, position, start, end, lead, p, trait, label, labels, gene,
    genes, known, published, allele, shifts` (label, trait, beta, error, p of the lead variant, per
    copy of `allele`), `strongest` (the strongest single trait of these), `credible` (its primary
    credible sets: trait, label, coverage, size, variant, probability), `card` (its page, from the
    report's folder) and `effect` (see `effect_facts`) or None.
    """
    table = loci_table(study)
    if table is None or not table.height:
        return []
    shifts = _shifts(study / "loci" / "locus_traits.parquet")
    likely = _credible(study / "loci" / "credible_sets.parquet")
    units = {one.label: one.rank_normal for one in association_sets(study)}
    folders, cards = effect_folders(study), locus_cards(study)
    facts, n_drawn = [], 0
    for row in table.head(most).to_dicts():
        lead = str(row["lead_variant"])
        effect = None
        if lead in folders and n_drawn < drawn:
            effect = effect_facts(folders[lead])
            n_drawn += 1
        mine = shifts.get(row["locus"], [])
        facts.append(
            _facts(row, mine, units)
            | {"card": cards.get(lead, ""), "effect": effect}
            | {"credible": likely.get(row["locus"], [])}
        )
    return facts


def locus_cards(study: Path) -> Mapping[str, str]:
    """Lead variant to its card, as the page links it."""
    path = study / "effects" / "cards.parquet"
    if not path.is_file():
        return {}
    made = pl.read_parquet(path).drop_nulls("card")
    return {
        str(variant): f"../effects/{card}"
        for variant, card in made.select("lead_variant", "card").iter_rows()
        if (study / "effects" / card).is_file()
    }


def effect_folders(study: Path) -> dict[str, Path]:
    """Variant to the folder of its effect, where that is whole."""
    found = {}
    for path in sorted((study / "effects").glob("[!.]*/summary.json")):
        try:
            summary = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            continue
        if summary.get("kind") == "variant" and (path.parent / "effect.parquet").is_file():
            found[str(summary["name"])] = path.parent
    return found


def effect_facts(folder: Path) -> dict[str, Any]:
    """What one effect says, JSON-ready.

    `step, n, allele, frequency, changes` (name, text, change, low, high, unit, clear), `logits`
    (class, change, low, high, clear), `strip` (class, change per step), `where` (of the network's
    strongest change: class, parts), `factors` (name, follows, z), `largest` (lead, time_ms, uv,
    low, high of the largest difference in its own errors), `reliable` and `ecg`: base64 int16
    (lead, sample) `reference` in µV, `difference, low, high, shrunken` in `unit_uv`, from
    `start_ms` on every `step_ms`, `shown` a list of 0 and 1.
    """
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    tables = {
        name: pl.read_parquet(folder / f"{name}.parquet")
        for name in ("effect", "measurements", "logits", "relevance", "factors")
    }
    about = summary.get("about", {})
    strip = [
        {"class": row["class"], "change": row["change"] / summary["strip_steps"]}
        for row in summary.get("strip", [])
    ]
    return {
        "step": summary["step"], "n": summary["n"],
        "allele": about.get("effect_allele"), "other": about.get("other_allele"),
        "frequency": about.get("effect_allele_frequency"),
        "changes": [_change(row) for row in tables["measurements"].to_dicts()
                    if row["quantity"] in WORDS and row["change"] is not None],
        "logits": [{key: row[key] for key in ("class", "change", "low", "high", "n")}
                   | {"clear": _clear(row)} for row in tables["logits"].to_dicts()
                   if row["change"] is not None],
        "strip": strip,
        "where": _where(tables["relevance"], strip),
        "factors": [{"name": row["factor"], "follows": spoken(row["follows"]),
                     "z": round(row["z"], 2)}
                    for row in tables["factors"].to_dicts()] if "z" in tables["factors"].columns
                   else [],
        "largest": _largest(tables["effect"]),
        "reliable": summary.get("expected_correlation"),
        "beyond_chance": summary.get("beyond_chance"),
        "ecg": _drawing(tables["effect"]),
    }  # fmt: skip


def _facts(
    row: Mapping[str, Any], shifts: list[dict[str, Any]], rank_normal: Mapping[str, bool]
) -> dict[str, Any]:
    single = [one for one in shifts if one["trait"] != "joint"]
    strongest = max(single, key=lambda one: one["p"], default=None)
    if strongest is not None:
        strongest = strongest | {
            "unit": "SD" if rank_normal.get(strongest["label"], True) else "units of the trait"
        }
    gene, lead = row["nearest_gene"], str(row["lead_variant"])
    return {
        "locus": row["locus"], "name": gene or lead, "chromosome": str(row["chromosome"]),
        "position": row["lead_position"], "start": row.get("start") or row["lead_position"],
        "end": row.get("end") or row["lead_position"], "lead": lead,
        "p": round(float(row["lead_neg_log_10_p_value"]), 2), "trait": row["lead_trait"],
        "label": row["lead_label"], "labels": list(row["labels"] or ()), "gene": gene,
        "gene_distance": row.get("nearest_gene_distance"),
        "genes": list(row.get("genes") or ())[:12], "traits": list(row.get("traits") or ())[:12],
        "known": bool(row["known"]),
        "published": {
            "traits": list(row.get("known_traits") or ())[:6],
            "references": list(row.get("known_references") or ())[:4],
        },
        "allele": single[0]["allele"] if single else None,
        "shifts": [{key: one[key] for key in ("label", "trait", "beta", "error", "p")}
                   for one in single],
        "strongest": strongest,
    }  # fmt: skip


def _shifts(path: Path) -> dict[int, list[dict[str, Any]]]:
    """Locus to what its lead variant does to every trait."""
    if not path.is_file():
        return {}
    names = {
        "label": "label", "trait": "trait", "lead_effect_allele": "allele", "lead_beta": "beta",
        "lead_standard_error": "error", "lead_neg_log_10_p_value": "p",
    }  # fmt: skip
    if not {"locus", *names} <= set(pl.read_parquet_schema(path)):
        return {}
    table = pl.read_parquet(path, columns=["locus", *names]).rename(names)
    table = table.drop_nulls(["beta", "error", "p"]).filter(pl.col("error") > 0)
    table = table.with_columns(
        pl.col("beta", "error").round_sig_figs(5), pl.col("p").round_sig_figs(5)
    )
    found: dict[int, list[dict[str, Any]]] = {}
    for row in table.to_dicts():
        found.setdefault(row.pop("locus"), []).append(row)
    return found


def _credible(path: Path) -> dict[int, list[dict[str, Any]]]:
    """Locus to its primary credible sets, each with its likeliest variant."""
    if not path.is_file():
        return {}
    names = ["locus", "label", "trait", "method", "signal", "rsid", "probability", "set_size",
             "set_coverage", "in_set", "primary"]  # fmt: skip
    if not set(names) <= set(pl.read_parquet_schema(path)):
        return {}
    one_set = ["locus", "label", "trait", "method", "signal"]
    table = (
        pl.read_parquet(path, columns=names)
        .filter(pl.col("primary") & pl.col("in_set"))
        .sort(*one_set, "probability", descending=[False] * len(one_set) + [True])
        .unique(one_set, keep="first", maintain_order=True)
    )
    found: dict[int, list[dict[str, Any]]] = {}
    for row in table.to_dicts():
        found.setdefault(row["locus"], []).append(
            {
                "trait": row["trait"], "label": row["label"], "size": row["set_size"],
                "coverage": round(row["set_coverage"], 3), "variant": row["rsid"],
                "probability": round(row["probability"], 3),
            }
        )  # fmt: skip
    return found


def _change(row: Mapping[str, Any]) -> dict[str, Any]:
    name, unit, scale = WORDS[row["quantity"]]
    return {
        "quantity": row["quantity"], "name": name, "unit": unit, "text": said(row),
        "z": round(row["change"] / max(row["standard_error"], 1e-12), 2),
        **{key: float(f"{scale * row[key]:.5g}") for key in ("change", "low", "high")},
        "clear": _clear(row), "n": row["n"],
    }  # fmt: skip


def _clear(row: Mapping[str, Any]) -> bool:
    """Does the interval lie on one side of zero?"""
    return bool(row["low"] > 0 or row["high"] < 0)


def _where(relevance: pl.DataFrame, strip: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Where the network finds the class that changes most on the strip: the three largest parts."""
    if not strip or not relevance.height:
        return None
    name = max(strip, key=lambda one: abs(one["change"]))["class"]
    rows = relevance.filter((pl.col("class") == name) & pl.col("relevance").is_finite())
    whole = float(rows["relevance"].abs().sum())
    if not whole:
        return None
    top = rows.sort(pl.col("relevance").abs(), descending=True).head(3).to_dicts()
    return {
        "class": name,
        "parts": [
            {"wave": row["wave"], "lead": row["lead"], "share": abs(row["relevance"]) / whole,
             "sign": 1 if row["relevance"] > 0 else -1}
            for row in top
        ],
    }  # fmt: skip


def _largest(effect: pl.DataFrame) -> dict[str, Any] | None:
    """The sample whose difference is the most standard errors away from nothing, among shown."""
    rows = effect.filter(pl.col("shown") & (pl.col("standard_error_uv") > 0))
    if not rows.height:
        return None
    row = rows.sort(
        (pl.col("difference_uv") / pl.col("standard_error_uv")).abs(), descending=True
    ).row(0, named=True)
    return {
        "lead": row["lead"], "time_ms": row["time_ms"], "uv": row["difference_uv"],
        "low": row["low_uv"], "high": row["high_uv"],
        "beyond": bool(row["low_everywhere_uv"] > 0 or row["high_everywhere_uv"] < 0),
    }  # fmt: skip


def _drawing(effect: pl.DataFrame) -> dict[str, Any]:
    first = effect.filter(pl.col("lead") == effect["lead"][0])
    time = first["time_ms"].to_numpy()[::_EVERY]

    def packed(column: str, unit_uv: float, scale: float = 1.0) -> str:
        rows = [
            effect.filter(pl.col("lead") == lead)[column].to_numpy()[::_EVERY] for lead in LEADS
        ]
        values = np.nan_to_num(np.stack(rows).astype(np.float64) * scale / unit_uv)
        whole: npt.NDArray[Any] = np.clip(np.rint(values), -32767, 32767).astype("<i2")
        return base64.b64encode(whole.tobytes()).decode("ascii")

    return {
        "leads": list(LEADS), "start_ms": float(time[0]), "step_ms": float(time[1] - time[0]),
        "samples": len(time), "unit_uv": _UNIT_UV,
        "reference": packed("reference_mv", 1.0, 1e3),
        **{name: packed(f"{name}_uv", _UNIT_UV)
           for name in ("difference", "low", "high", "shrunken")},
        "shown": [int(one) for one in first["shown"].to_list()[::_EVERY]],
    }  # fmt: skip
