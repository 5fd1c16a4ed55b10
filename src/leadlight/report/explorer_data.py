"""What the factor explorer of a page needs: the decoder, the factors, some records, the loci.

Everything is read from the study folder; no model is loaded. Records and loci can also be asked for
one at a time, which is how a server gives any of them.
"""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from leadlight.cohort import beats as beat_store
from leadlight.cohort.signals import MISSING
from leadlight.ecg.leads import INDEPENDENT_LEADS, LEADS
from leadlight.errors import LeadlightError
from leadlight.latent.beats import own_samples
from leadlight.report.factor_words import spoken, spoken_with_r
from leadlight.report.results import read_table

# The scripts of the component, in their order; `base.js` comes before them.
SCRIPTS = ("decoder.js", "beat_panels.js", "beat_numbers.js", "explorer.js")

DECODER, ABOUT, FACTORS = "decoder.safetensors", "decoder.json", "factors.parquet"
_BINS = np.linspace(-4, 4, 33)  # of the factors' distributions, over a slider's whole way
_QUANTILES = np.linspace(0, 1, 101)
_MOST_REAL, _MOST_LOCI = 3, 40
_ROWS = [LEADS.index(lead) for lead in INDEPENDENT_LEADS]


def latent_folders(study: Path) -> list[Path]:
    """The factor models of a study that a page can decode: with factors and with the decoder."""
    wanted = (DECODER, ABOUT, FACTORS)
    found = sorted((study / "latent").glob("[!.]*/"))
    return [folder for folder in found if all((folder / name).is_file() for name in wanted)]


def explorer_data(study: Path, *, model: str | None = None) -> dict[str, Any] | None:
    """What `Leadlight.explorer` draws; None where the study has no factors or no decoder for pages.

    `model` facts of the card and the decoder's measured error; `decoder` the file in base64;
    `factors` each with its words, its information and its distribution here; `distance` quantiles
    of the records' distance from the mean; `records` (`explorer_record`) chosen by a stated rule;
    `loci` (`locus_shift`), the leading ones first.

    Args:
        study: the study folder.
        model: name of the factor model; the first by name where None.

    Raises:
        LeadlightError: a file cannot be read, or is of another version.
    """
    folders = [one for one in latent_folders(study) if model in (None, one.name)]
    if not folders:
        return None
    folder = folders[0]
    about = read_about(folder)
    names = [str(factor["name"]) for factor in about["factors"]]
    table = read_table(folder / FACTORS, ("record_id", *names, "distance", "error_uv"))
    assert table is not None
    known = table.drop_nulls(["error_uv"])
    chosen = _choose_records(study, known.select("record_id", "distance"))
    records = [
        explorer_record(study, record_id, folder=folder, why=why)
        for record_id, why in chosen.items()
    ]
    loci = [found for one in _effect_folders(study) if (found := locus_shift(one, names))]
    facts = ("model", "version", "description", "limits", "rate_hz", "samples", "r_sample",
             "leads", "typical", "error_uv")  # fmt: skip
    return {
        "model": {name: about[name] for name in facts},
        "decoder": base64.b64encode((folder / DECODER).read_bytes()).decode("ascii"),
        "factors": [_factor(factor, known) for factor in about["factors"]],
        "distance": _rounded(np.quantile(known["distance"].to_numpy(), _QUANTILES), 3)
        if known.height
        else [],
        "n_records": known.height,
        "records": [one for one in records if one is not None],
        "loci": loci[:_MOST_LOCI],
        "loci_left_out": max(0, len(loci) - _MOST_LOCI),
    }


def explorer_record(
    study: Path, record_id: str, *, folder: Path | None = None, why: str = ""
) -> dict[str, Any] | None:
    """One record for the explorer: its factors and its real median beat; None where it has none.

    Args:
        study: the study folder.
        record_id: of the record.
        folder: `latent/<model>/`; the first by name where None.
        why: said beside its name.

    Raises:
        LeadlightError: the study has no such record, or no factors.
    """
    if folder is None:
        folders = latent_folders(study)
        if not folders:
            raise LeadlightError(
                f"{study} has no factors for a page.", advice="Run leadlight latent encode."
            )
        folder = folders[0]
    names = [str(factor["name"]) for factor in read_about(folder)["factors"]]
    row = _row(folder / FACTORS, record_id)
    about = _row(study / "records.parquet", record_id)
    beat = _median_beat(study, record_id)
    if row["error_uv"] is None or beat is None:
        return None
    measured = pl.scan_parquet(study / "measurements.parquet").filter(
        pl.col("record_id") == record_id
    )
    own = own_samples(measured.collect())
    return {
        "record_id": record_id,
        "why": why,
        "simulated": about["source_format"] == "simulated",
        "labels": about["labels"],
        "factors": _rounded(np.array([row[name] for name in names], dtype=np.float64), 4),
        "beat": base64.b64encode(beat.astype("<i2").tobytes()).decode("ascii"),
        "own": own[0].tolist(),
        "error_uv": round(float(row["error_uv"]), 2),
        "distance": round(float(row["distance"]), 3),
        "flags": row["flags"],
    }


def locus_shift(folder: Path, factors: list[str]) -> dict[str, Any] | None:
    """What an effect (`effects/<name>/`) shifts the factors by; None where it has not all of them.

    Args:
        folder: with `summary.json`, `factors.parquet`, `logits.parquet`, as `leadlight effect`
            writes them.
        factors: names, in the order of the decoder.
    """
    summary, table = folder / "summary.json", folder / "factors.parquet"
    if not summary.is_file() or not table.is_file():
        return None
    about = json.loads(summary.read_text(encoding="utf-8"))
    rows = {row["factor"]: row for row in pl.read_parquet(table).to_dicts()}
    if not factors or any(name not in rows for name in factors):
        return None
    logits = folder / "logits.parquet"
    changes = pl.read_parquet(logits).to_dicts() if logits.is_file() else []
    card = folder / "card.html"
    return {
        "name": str(about["name"]),
        "kind": str(about.get("kind", "variant")),
        "step": str(about.get("step", "step")),
        "people": int(about.get("n") or 0),
        "gene": None,
        "neg_log_10_p": about.get("neg_log_10_p"),
        "beta": _rounded(np.array([rows[name]["beta"] for name in factors]), 6),
        "standard_error": _rounded(np.array([rows[name]["standard_error"] for name in factors]), 6),
        "error_root": _error_root(folder / "factor_covariance.parquet", factors),
        "logits": [
            {name: one[name] for name in ("class", "change", "low", "high")}
            for one in changes
            if one["change"] is not None
        ],
        "card": f"../effects/{folder.name}/{card.name}" if card.is_file() else None,
        **_nearest_gene(folder, str(about["name"])),
    }


def _error_root(path: Path, factors: list[str]) -> list[list[float]] | None:
    """(factor, direction) a matrix whose product with its transpose is the shift's covariance."""
    if not path.is_file():
        return None
    table = pl.read_parquet(path)
    rows = {row["factor"]: row for row in table.to_dicts()}
    if any(name not in rows or name not in table.columns for name in factors):
        return None
    covariance = np.array([[rows[one][two] for two in factors] for one in factors])
    sizes, vectors = np.linalg.eigh(covariance)
    return [_rounded(row, 7) for row in vectors * np.sqrt(np.maximum(sizes, 0.0))]


def read_about(folder: Path) -> dict[str, Any]:
    """`decoder.json` of a factor model in a study."""
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LeadlightError(
            f"{folder / ABOUT} cannot be read: {error}.",
            advice="Run leadlight latent encode --overwrite.",
        ) from error
    return dict(about)


def _factor(factor: dict[str, Any], known: pl.DataFrame) -> dict[str, Any]:
    values = known[str(factor["name"])].to_numpy()
    counts = np.histogram(np.clip(values, _BINS[0], _BINS[-1]), _BINS)[0]
    return {
        "name": factor["name"],
        "label": spoken(factor["follows"]) if factor["follows"] else "a shape without a name",
        "correlation": factor["correlation"],
        "also": [spoken_with_r(text) for text in factor["also"]],
        "kl_nats": factor["kl_nats"],
        "uncertainty": factor["uncertainty"],
        "counts": counts.tolist(),
        "quantiles": _rounded(np.quantile(values, _QUANTILES), 3) if len(values) else [],
    }


def _choose_records(study: Path, known: pl.DataFrame) -> dict[str, str]:
    """Record to the reason why it is there: real ones, the most ordinary, the surest per class."""
    chosen: dict[str, str] = {}
    formats = pl.read_parquet(study / "records.parquet", columns=["record_id", "source_format"])
    real = known.join(formats, on="record_id").filter(pl.col("source_format") != "simulated")
    if real.height < known.height:
        for name in real["record_id"].head(_MOST_REAL):
            chosen[name] = "a real recording"
    if known.height:
        nearest = known.sort("distance", "record_id")["record_id"][0]
        chosen.setdefault(nearest, "the record nearest to the mean beat")
    for path in sorted((study / "classify").glob("[!.]*/probabilities.parquet"))[:1]:
        table = pl.read_parquet(path).join(known.select("record_id"), on="record_id")
        for name in table.columns[1:]:
            best = table.drop_nulls(name).sort(name, "record_id", descending=[True, False])
            if best.height and best[name][0] >= 0.5:
                why = f"the highest probability of {name} ({best[name][0]:.2f})"
                chosen.setdefault(best["record_id"][0], why)
    return chosen


def _median_beat(study: Path, record_id: str) -> np.ndarray[Any, Any] | None:
    """(lead of INDEPENDENT_LEADS, sample) int16 in µV; None where a value is missing."""
    names = pl.read_parquet(study / "records.parquet", columns=["record_id"])["record_id"]
    place = names.index_of(record_id)
    store = study / "beats.zarr"
    if place is None or not store.is_dir():
        return None
    array: Any = beat_store.open_store(store)["median_beat"]
    if place >= array.shape[0]:
        raise LeadlightError(
            f"{store} holds fewer records than the study.", advice="Run leadlight measure again."
        )
    beat = np.asarray(array[place])[_ROWS]
    return None if (beat == MISSING).any() else beat


def _row(path: Path, record_id: str) -> dict[str, Any]:
    found = pl.scan_parquet(path).filter(pl.col("record_id") == record_id).collect()
    if not found.height:
        raise LeadlightError(
            f"{path} has no record {record_id!r}.",
            advice="records.parquet lists the records of a study.",
        )
    return found.row(0, named=True)


def _effect_folders(study: Path) -> list[Path]:
    """The folders of effects: those that `cards.parquet` lists in its order, then others."""
    home = study / "effects"
    listed: list[Path] = []
    if (home / "cards.parquet").is_file():
        cards = pl.read_parquet(home / "cards.parquet")["card"].drop_nulls()
        listed = [home / card.partition("/")[0] for card in cards]
    others = [one.parent for one in sorted(home.glob("[!.]*/summary.json"))]
    return [*listed, *(one for one in others if one not in listed)]


def _nearest_gene(folder: Path, variant: str) -> dict[str, Any]:
    table = folder.parents[1] / "loci" / "loci.parquet"
    if not table.is_file():
        return {}
    lazy = pl.scan_parquet(table)
    if not {"lead_variant", "nearest_gene"} <= set(lazy.collect_schema().names()):
        return {}
    genes = lazy.filter(pl.col("lead_variant").cast(pl.String) == variant).collect()
    return {"gene": genes["nearest_gene"][0]} if genes.height else {}


def _rounded(values: np.ndarray[Any, Any], digits: int) -> list[float]:
    return [round(float(value), digits) for value in values]
