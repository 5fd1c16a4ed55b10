"""One variant on demand: what it does to every trait, and the factors' part of that as an ECG."""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.parquet as pq

from leadlight.ecg.leads import LEADS
from leadlight.ecg.median_beat import R_SAMPLE, RATE_HZ, SAMPLES
from leadlight.latent.beats import twelve_leads
from leadlight.report.association_sets import AssociationSet
from leadlight.serve.factors import Decoder, decoder_of
from leadlight.serve.folder import StudyFolder, chosen
from leadlight.serve.refusals import NotThere
from leadlight.serve.region import Place, tables_of, variant_rows, variants_in
from leadlight.serve.remembered import stamp_of
from leadlight.serve.tables import BATCH, keyed, reading

Floats = npt.NDArray[np.float64]

_PLACES = 300  # people whose factors the decoder's answer is averaged over
_SLOPE_PLACES = 60
_STEP_SD = 0.1
_EVERY = 2  # of the beat's samples at 500 Hz one is drawn
_UNIT_UV = 0.05
_Z95 = 1.959963984540054


def variant(
    study: StudyFolder, place: Place, effect_allele: str = "", other_allele: str = ""
) -> dict[str, Any]:
    """What a variant does to every trait of the study, JSON-ready.

    Args:
        study: with associations in `gwas/`.
        place: its chromosome and position.
        effect_allele, other_allele: which of the variants there; not needed where there is one.

    Returns:
        `variants`: those at the place; `chosen`: its `chromosome, base_pair_location, rsid,
        effect_allele, other_allele, effect_allele_frequency`; `traits`: `set, trait, beta,
        standard_error, z, neg_log_10_p_value, n, rank_normal`, the strongest first; `drawing`: see
        `drawing`, or None with `why_not`.

    Raises:
        NotThere: no table has a variant there, or not these alleles.
    """
    sets = study.sets()
    chosen(sets, "", "set of results")
    stamp = stamp_of([path for one in sets.values() for path in one.all_tables().values()])
    alleles = (effect_allele, other_allele)
    key = ("variant", place, alleles)
    return study.recent.get(key, stamp, lambda: _variant(study, sets, place, alleles))


def _variant(
    study: StudyFolder,
    sets: Mapping[str, AssociationSet],
    place: Place,
    alleles: tuple[str, str],
) -> dict[str, Any]:
    here: dict[tuple[str, str], dict[str, Any]] = {}
    rows: list[dict[str, Any]] = []
    for label, one in sets.items():
        for trait in tables_of(one):
            for row in variant_rows(variants_in(one, trait, place)):
                pair = (row["effect_allele"], row["other_allele"])
                if pair not in here and pair[::-1] in here:
                    pair = pair[::-1]
                here.setdefault(pair, row)
                rows.append({**row, "pair": pair, "set": label, "trait": trait,
                             "rank_normal": one.rank_normal})  # fmt: skip
    if not here:
        raise NotThere(f"No table has a variant at {place.chromosome}:{place.first}.")
    wanted = next((p for p in here if alleles in (("", ""), p, p[::-1])), None)
    if wanted is None:
        raise NotThere(
            f"No table has {alleles[0]}/{alleles[1]} at {place.chromosome}:{place.first}.",
            advice=f"There is {', '.join('/'.join(map(str, p)) for p in here)}.",
        )
    traits = [_told(row, here[wanted]) for row in rows if row["pair"] == wanted]
    picture, why_not = drawing(study, sets, traits)
    about = ("chromosome", "base_pair_location", "rsid", "effect_allele", "other_allele",
             "effect_allele_frequency")  # fmt: skip
    traits.sort(key=lambda row: -(row["neg_log_10_p_value"] or 0))
    return {
        "variants": [{name: row[name] for name in about} for row in here.values()],
        "chosen": {name: here[wanted][name] for name in about},
        "traits": traits,
        "drawing": picture,
        "why_not": why_not,
    }


def drawing(
    study: StudyFolder, sets: Mapping[str, AssociationSet], traits: list[dict[str, Any]]
) -> tuple[dict[str, Any] | None, str]:
    """The shift of all factors, decoded: the mean beat and one copy's difference in 12 leads.

    The decoder's answer is averaged over the study's people; its 95 % band comes from the factors'
    standard errors and their correlation through the decoder's mean slope. What the factors do not
    hold of the ECG is not in it.

    Returns:
        The drawing (`leads`, `start_ms`, `step_ms`, `samples`, `unit_uv`; base64 int16 (lead,
        sample) `reference` in µV, `difference`, `low`, `high` in `unit_uv`; `largest`; `set`,
        `model`, `people`) or None, and then why there is none.
    """
    decoder = decoder_of(study)
    if decoder is None:
        return None, "The study has no factors with a decoder (leadlight latent encode)."
    for label, one in sets.items():
        mine = {row["trait"]: row for row in traits if row["set"] == label}
        found = [mine.get(name) for name in decoder.names]
        if all(row is not None and row["beta"] is not None and row["standard_error"] is not None
               for row in found):  # fmt: skip
            kept = [row for row in found if row is not None]
            return _decoded(study, decoder, one, kept), ""
    return None, "No set of results has the effect on every factor."


def _decoded(
    study: StudyFolder, decoder: Decoder, one: AssociationSet, rows: list[dict[str, Any]]
) -> dict[str, Any]:
    people = _people(study, decoder)
    spread = people["spread"] if one.rank_normal else np.ones(len(rows))
    beta = np.array([row["beta"] for row in rows]) * spread
    error = np.array([row["standard_error"] for row in rows]) * spread
    here, slope = people["mean_uv"], people["slope_uv"]
    there = _mean_beat(decoder, people["places"] + beta)
    difference = twelve_leads(1e3 * there) - here
    covariance = people["correlation"] * error * error[:, None]
    band = _Z95 * np.sqrt(
        np.maximum(np.einsum("flt,fg,glt->lt", slope, covariance, slope, optimize=True), 0)
    )
    time = (np.arange(SAMPLES) - R_SAMPLE) * 1e3 / RATE_HZ
    sure = np.abs(difference) / np.maximum(band, 1e-9)
    lead, sample = np.unravel_index(int(np.argmax(np.abs(difference))), difference.shape)
    z = np.array([row["z"] for row in rows])
    inverse = np.linalg.pinv(people["correlation"], hermitian=True)
    return {
        "set": one.label, "model": decoder.model, "people": int(people["count"]),
        "beta": np.round(beta, 6).tolist(), "standard_error": np.round(error, 6).tolist(),
        "leads": list(LEADS), "start_ms": float(time[0]),
        "step_ms": 1e3 * _EVERY / RATE_HZ, "samples": len(time[::_EVERY]), "unit_uv": _UNIT_UV,
        "reference": _packed(here, 1.0), "difference": _packed(difference, _UNIT_UV),
        "low": _packed(difference - band, _UNIT_UV), "high": _packed(difference + band, _UNIT_UV),
        "largest": {
            "lead": LEADS[int(lead)], "time_ms": float(time[int(sample)]),
            "uv": round(float(difference[lead, sample]), 3),
            "band_uv": round(float(band[lead, sample]), 3),
        },
        "clear_share": round(float((sure > 1).mean()), 4),
        "chi_squared": round(float(z @ inverse @ z), 3),
        "degrees": len(rows),
    }  # fmt: skip


def _people(study: StudyFolder, decoder: Decoder) -> dict[str, Any]:
    """Where the study's people are among the factors, and how the decoder answers there."""

    def work() -> dict[str, Any]:
        table = keyed(study, decoder.table)
        count, spread, correlation = _moments(decoder)
        rows = np.unique(np.linspace(0, len(table) - 1, 2 * _PLACES).astype(np.int64))
        known = table.read(rows.tolist(), decoder.names).cast(pl.Float64).fill_nan(None)
        places = known.drop_nulls().to_numpy()[:: max(1, len(rows) // _PLACES)][:_PLACES]
        if not len(places):
            places = np.zeros((1, len(decoder.names)))
        few = places[:: max(1, len(places) // _SLOPE_PLACES)][:_SLOPE_PLACES]
        slopes = []
        for at in range(len(decoder.names)):
            step = np.zeros(len(decoder.names))
            step[at] = _STEP_SD
            change = _mean_beat(decoder, few + step) - _mean_beat(decoder, few - step)
            slopes.append(twelve_leads(1e3 * change / (2 * _STEP_SD)))
        return {
            "places": places, "count": count, "spread": spread, "correlation": correlation,
            "mean_uv": twelve_leads(1e3 * _mean_beat(decoder, places)),
            "slope_uv": np.stack(slopes),
        }  # fmt: skip

    return study.large.get(("people", decoder.table), stamp_of([decoder.table, decoder.file]), work)


def _moments(decoder: Decoder) -> tuple[int, Floats, Floats]:
    """Number of people, standard deviations and correlation of the factors, in one pass."""
    size = len(decoder.names)
    count, total, products = 0, np.zeros(size), np.zeros((size, size))
    with reading(decoder.table), pq.ParquetFile(decoder.table) as file:
        for batch in file.iter_batches(BATCH, columns=list(decoder.names)):
            frame = pl.DataFrame(pl.from_arrow(batch)).select(decoder.names)
            values = frame.cast(pl.Float64).fill_nan(None).drop_nulls().to_numpy()
            count += len(values)
            total += values.sum(axis=0)
            products += values.T @ values
    if count < 3:
        return count, np.ones(size), np.eye(size)
    covariance = (products - np.outer(total, total) / count) / (count - 1)
    spread = np.sqrt(np.maximum(np.diag(covariance), 1e-12))
    return count, spread, covariance / np.outer(spread, spread)


def _mean_beat(decoder: Decoder, places: Floats) -> Floats:
    """(lead of INDEPENDENT_LEADS, sample) in mV, mean of the beats at the places."""
    return np.asarray(decoder.decode(places).mean(axis=0))


def _told(row: dict[str, Any], first: dict[str, Any]) -> dict[str, Any]:
    """A trait's row, its effect per copy of the first table's effect allele."""
    beta, error = row["beta"], row["standard_error"]
    if beta is not None and row["effect_allele"] != first["effect_allele"]:
        beta = -beta
    names = ("set", "trait", "standard_error", "neg_log_10_p_value", "n", "rank_normal",
             "strongest_trait")  # fmt: skip
    z = None if beta is None or not error else round(beta / error, 4)
    return {**{name: row[name] for name in names}, "beta": beta, "z": z}


def _packed(values: Floats, unit: float) -> str:
    whole = np.clip(np.rint(values[:, ::_EVERY] / unit), -32767, 32767).astype("<i2")
    return base64.b64encode(whole.tobytes()).decode("ascii")
