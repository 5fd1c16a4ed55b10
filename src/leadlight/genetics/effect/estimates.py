"""What an exposure does to the ECG: from people, or from summary statistics and a decoder."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight.classify.models import DEFAULT_MODEL as DEFAULT_CLASSIFIER
from leadlight.classify.models import load_model
from leadlight.cohort.signals import UV_PER_MV
from leadlight.ecg.median_beat import R_SAMPLE, RATE_HZ, SAMPLES
from leadlight.errors import LeadlightError
from leadlight.genetics.effect.classifier import logits_in_people, strip_relevance
from leadlight.genetics.effect.decoding import (
    DecodedShift,
    decode_shift,
    effect_size,
    reference_places,
    unseen_spread,
)
from leadlight.genetics.effect.exposures import Exposure
from leadlight.genetics.effect.intervals import (
    TOLD,
    changes_from_tables,
    changes_in_people,
    changes_through_factors,
    drawn_people,
)
from leadlight.genetics.effect.people import match_study, read_people_beats
from leadlight.genetics.effect.regression import adjust, regress
from leadlight.genetics.effect.shift import FactorShift, root, shift_from_summary_statistics
from leadlight.genetics.effect.tables import EffectTables, group_table, make_tables
from leadlight.genetics.effect.waveform import (
    bands,
    direct_difference,
    posterior_mean,
    shrunken_difference,
)
from leadlight.genetics.traits import read_person_table
from leadlight.latent.beats import stream_beats, twelve_leads
from leadlight.latent.model import DEFAULT_MODEL, LatentModel, load_latent_model
from leadlight.progress import say

Floats = npt.NDArray[np.float64]

_PLACES = 400
# Outside this stretch a beat of the reference population is often a neighbour's.
_SHOWN_MS = (-330.0, 450.0)
_FEWEST = 30
_UNSEEN_PEOPLE = 1500
_MANY = 1e9  # degrees of freedom of what is normal


def effect_in_people(
    exposure: Exposure,
    study: Path,
    *,
    model: str | Path | None = None,
    covariates: Path | None = None,
    beside: Sequence[Exposure] = (),
    classifier: str | Path | None = None,
    seed: int = 0,
) -> EffectTables:
    """What an exposure does, from people whose median beats a study holds.

    The line is the direct estimate: a regression of each sample. The factors' shift, decoded, is
    given beside it where the study was encoded.

    Args:
        exposure: of people named as the study's records are (`record_id`, or else `patient_id`).
        study: measured; with factors and logits where they are wanted.
        model: factor model; the shipped one where None.
        covariates: a table of people.
        beside: other variants of the same genotypes whose part is taken out.
        classifier: card or name of the explained network; the shipped one where None.
        seed: of draws.
    """
    table = None if covariates is None else read_person_table(covariates, categories=True)
    others = {one.name: one.values for one in beside}
    people = match_study(study, exposure, table, others)
    say(f"Reading the median beats of {len(people.rows):,} people.")
    people, beats = read_people_beats(study, people, len(exposure.groups))
    adjusted = adjust(people.exposure, people.covariates, exposure.name)
    latent, factors = _factors_of(study, model, people.record_ids)
    found = regress(adjusted, beats.scores)
    direct = direct_difference(beats, found, seed=seed)
    shift: FactorShift | None = None
    decoded: DecodedShift | None = None
    if factors is not None:
        known = np.isfinite(factors).all(axis=1)
        if known.sum() >= _FEWEST:
            own = adjusted if known.all() else adjust(
                people.exposure[known], people.covariates[known], exposure.name
            )  # fmt: skip
            of_factors = regress(own, factors[known])
            shift = FactorShift(latent.names, of_factors.beta, of_factors.covariance, of_factors.n)
            decoded = decode_shift(latent, shift, factors[known], most=_PLACES, seed=seed)
    reference = twelve_leads((beats.centre).reshape(-1, SAMPLES))
    shrunken = shrunken_difference(beats, found)
    measurements = changes_in_people(study, people, exposure.name)
    network = load_model(classifier or DEFAULT_CLASSIFIER)
    logits = logits_in_people(study, network.card.model.name, people, exposure.name)
    rr = _mean_rr(study, people.record_ids)
    steps = 2.0 if exposure.kind == "variant" else 1.0
    strip = strip_relevance(network, reference, steps * shrunken, rr)
    summary = {
        "name": exposure.name,
        "kind": exposure.kind,
        "step": exposure.step,
        "from": "people",
        "n": found.n,
        "degrees_of_freedom": round(found.degrees, 1),
        "counts": people.counts,
        "covariates": list(people.covariate_names),
        "group_names": list(exposure.groups),
        "group_n": beats.group_n.tolist(),
        "components": len(beats.basis),
        "variance_kept": round(beats.kept, 5),
        "about": exposure.about,
        "estimate": "direct",
        "strip_steps": steps,
    }
    return make_tables(
        reference, direct, shrunken, latent, shift, decoded, measurements,
        group_table(exposure, beats), logits, strip, beats.own_share, summary,
    )  # fmt: skip


def effect_from_summary_statistics(
    gwas: Path,
    variant: str,
    *,
    model: str | Path | None = None,
    study: Path | None = None,
    classifier: str | Path | None = None,
    seed: int = 0,
) -> EffectTables:
    """What a variant does, from an association of the factors and the decoder alone.

    The line is the decoder's. What the factors do not hold of the ECG is not in it.

    Args:
        gwas: folder with a table per factor.
        variant: its id.
        model: the factor model that the factors are of.
        study: people whose factors and measurements stand for everybody's; without one, places are
            drawn from the model's reference population and the decoder's own beats are measured.
        classifier: as `effect_in_people` takes it.
        seed: of draws.
    """
    latent = load_latent_model(model or DEFAULT_MODEL)
    shift = shift_from_summary_statistics(gwas, latent.names, variant)
    notes = []
    factors = None
    if study is not None:
        factors = _factors_of(study, model, None)[1]
        if factors is not None:
            factors = factors[np.isfinite(factors).all(axis=1)]
    normal_scores = _transform(gwas) == "rank-normal"
    if normal_scores:
        spread = np.ones(len(latent.names)) if factors is None else factors.std(axis=0, ddof=1)
        shift = FactorShift(
            shift.names, shift.beta * spread, shift.covariance * spread * spread[:, None],
            shift.n, shift.about,
        )  # fmt: skip
        notes.append(
            "The factors were tested as normal scores; one of them is taken for "
            + ("one SD of the model's reference." if factors is None else "one SD of the study's.")
        )
    places = reference_places(len(latent.names), 2 * _PLACES, seed) if factors is None else factors
    decoded = decode_shift(latent, shift, places, most=_PLACES, seed=seed)
    time = (np.arange(SAMPLES) - R_SAMPLE) * 1e3 / RATE_HZ
    shown = (time >= _SHOWN_MS[0]) & (time <= _SHOWN_MS[1])
    paths = np.einsum("flt,fg->glt", decoded.slope_mv, root(shift.covariance))
    if study is not None and factors is not None:
        unseen = _unseen(study, latent, str(model or DEFAULT_MODEL))
        paths = np.concatenate([paths, np.sqrt(effect_size(shift, factors)) * unseen])
        notes.append(
            "The bands are widened by what the factors do not hold of these people's beats, taking "
            "the effect there to be as large, in standard deviations, as on the factors."
        )
    line = bands(decoded.difference_mv, paths, shown, _MANY, seed=seed)
    z = shift.beta / shift.standard_error
    shrunken = np.einsum("f,flt->lt", posterior_mean(z) * shift.standard_error, decoded.slope_mv)
    if study is not None and factors is not None:
        whole = _factors_of(study, model, None)[1]
        assert whole is not None
        names, values = _measurements_of(study)
        changes = changes_through_factors(shift, whole, names, values, "factors of the study")
    else:
        drawn, names, values = drawn_people(latent, places)
        changes = changes_through_factors(shift, drawn, names, values, "decoder")
    if not normal_scores:
        own = changes_from_tables(gwas, variant)
        changes = pl.concat(
            [own, changes.filter(~pl.col("quantity").is_in(own["quantity"].to_list()))]
        )
    chosen = places[:_PLACES]
    reference = twelve_leads(latent.decode(chosen).mean(axis=0, dtype=np.float64))
    network = load_model(classifier or DEFAULT_CLASSIFIER)
    strip = strip_relevance(network, reference, 2 * shrunken)
    summary = {
        "name": shift.about.get("rsid") or variant,
        "kind": "variant",
        "step": f"copy of {shift.about['effect_allele']}",
        "from": "summary statistics",
        "n": shift.n,
        "about": shift.about,
        "estimate": "decoder",
        "notes": notes,
        "strip_steps": 2.0,
        "group_names": [],
        "group_n": [],
    }
    empty = pl.DataFrame(schema={"class": pl.String(), "change": pl.Float64()})
    groups = pl.DataFrame(schema={"group": pl.String()})
    return make_tables(
        reference, line, shrunken, latent, shift, decoded, changes, groups, empty, strip,
        shown.astype(np.float64), summary,
    )  # fmt: skip


def _unseen(study: Path, latent: LatentModel, model: str) -> Floats:
    """`unseen_spread` of some of a study's people."""
    factors = _factors_of(study, model, None)[1]
    assert factors is not None
    known = np.flatnonzero(np.isfinite(factors).all(axis=1))
    chosen = known[:: max(1, len(known) // _UNSEEN_PEOPLE)]
    parts = []
    for rows, stored, _, _ in stream_beats(study):
        low, high = np.searchsorted(chosen, [rows.start, rows.stop])
        parts.append(stored[chosen[low:high] - rows.start].astype(np.float32) / UV_PER_MV)
    return unseen_spread(latent, np.concatenate(parts), factors[chosen])


def _factors_of(
    study: Path, model: str | Path | None, record_ids: Sequence[str] | None
) -> tuple[LatentModel, Floats | None]:
    """The model, and (record, factor) of the study, None where it was not encoded."""
    latent = load_latent_model(model or DEFAULT_MODEL)
    path = study / "latent" / latent.card.model.name / "factors.parquet"
    if not path.is_file():
        say(f"{study.name} has no factors of {latent.card.model.name}; the decoder is not asked.")
        return latent, None
    _same_weights(path, latent)
    table = pl.read_parquet(path, columns=["record_id", *latent.names])
    if record_ids is not None:
        wanted = pl.DataFrame({"record_id": list(record_ids)})
        table = wanted.join(table, on="record_id", how="left", maintain_order="left")
    values = table.select(pl.col(latent.names).cast(pl.Float64).fill_null(float("nan")))
    return latent, values.to_numpy()


def _same_weights(path: Path, latent: LatentModel) -> None:
    said = path.with_name(f"{path.stem}-provenance.json")
    if not said.is_file():
        return
    parameters = json.loads(said.read_text(encoding="utf-8")).get("parameters", {})
    weights = parameters.get("weights", latent.card.model.weights_sha256)
    if weights != latent.card.model.weights_sha256:
        raise LeadlightError(
            f"{path} was made with other weights of {latent.card.model.name}.",
            advice="Encode the study again: leadlight latent encode --overwrite.",
        )


def _measurements_of(study: Path) -> tuple[list[str], Floats]:
    path = study / "measurements.parquet"
    if not path.is_file():
        raise LeadlightError(
            f"{study} holds no measurements.", advice=f"leadlight measure --study {study}"
        )
    names = [one for one in TOLD if one in pl.read_parquet_schema(path)]
    table = pl.read_parquet(path, columns=names)
    values = table.select(pl.col(names).cast(pl.Float64).fill_null(float("nan"))).to_numpy()
    return names, np.asarray(values, dtype=np.float64)


def _mean_rr(study: Path, record_ids: Sequence[str]) -> float:
    table = pl.read_parquet(study / "measurements.parquet", columns=["record_id", "rr_ms"])
    own = table.filter(pl.col("record_id").is_in(list(record_ids)))["rr_ms"].drop_nans()
    middle = own.median()
    return float(middle) if isinstance(middle, int | float) else 900.0


def _transform(gwas: Path) -> str:
    """What an association did to its traits, as far as its provenance says."""
    path = gwas / "provenance.json"
    if not path.is_file():
        return "none"
    said = json.loads(path.read_text(encoding="utf-8"))
    return str(said.get("parameters", {}).get("transform", "none"))
