"""What `leadlight effect` draws, against what is true in a simulated study.

    python benchmarks/effect.py truth --study biobank --out truth.npz
    python benchmarks/effect.py compare --study biobank --truth truth.npz

`truth` makes people's recordings again without noise, once with each score a standard deviation
lower and once higher, and once with and without each diagnosis at its threshold: half of the mean
difference of the median beats is what one SD does. `compare` draws every planted common variant,
the rare genes and variants of null chromosomes from the study's own measured median beats.

A regression on one variant sees whatever is linked to it as well, so the true difference holds the
effects of the same chromosome in proportion to linkage; `planted` compares with the variant's own
effect alone.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from scipy.stats import norm

from leadlight.ecg.leads import INDEPENDENT_LEADS
from leadlight.ecg.median_beat import SAMPLES, median_beat
from leadlight.genetics.effect.decoding import decode_shift, effect_size, unseen_spread
from leadlight.genetics.effect.exposures import Exposure, burden_exposure, variant_exposure
from leadlight.genetics.effect.intervals import changes_in_people
from leadlight.genetics.effect.people import (
    PeopleBeats,
    StudyPeople,
    match_study,
    read_columns,
    read_people_beats,
)
from leadlight.genetics.effect.regression import adjust, regress
from leadlight.genetics.effect.shift import FactorShift
from leadlight.genetics.effect.waveform import direct_difference, shrunken_difference
from leadlight.genetics.genotypes import GenotypeSource, open_genotypes
from leadlight.genetics.traits import read_person_table
from leadlight.latent.beats import twelve_leads
from leadlight.latent.model import LatentModel, load_latent_model
from leadlight.progress import track
from leadlight.simulate import cohort as simulated_cohort
from leadlight.simulate.again import made_again
from leadlight.simulate.conditions import given
from leadlight.simulate.effects import DIAGNOSES, OUTCOMES
from leadlight.simulate.population import PersonParameters, simulate_person
from leadlight.simulate.traits import TRAIT_NAMES

Floats = npt.NDArray[np.float64]

# True name → measured name.
INTERVALS = {"p_ms": "p_duration_ms", "pr_ms": "pr_ms", "qrs_ms": "qrs_ms", "qt_ms": "qt_ms"}


def make_truth(study: Path, out: Path, people: int, seed: int) -> None:
    """(outcome, lead · sample) mV and (outcome, interval) ms per SD, with standard errors."""
    ids = pl.read_parquet(study / "records.parquet")["record_id"]
    rng = np.random.default_rng(seed)
    chosen = [ids[int(row)] for row in np.sort(rng.permutation(len(ids))[:people])]
    beats = np.full((len(chosen), len(OUTCOMES), len(INDEPENDENT_LEADS) * SAMPLES), np.nan)
    times = np.full((len(chosen), len(OUTCOMES), len(INTERVALS)), np.nan)
    for row, record in enumerate(track(chosen, "Twins")):
        parameters = replace(made_again(study, record).parameters, noise=0.0)
        for column in range(len(TRAIT_NAMES)):
            low, high = (_shifted(parameters, column, sign) for sign in (-1.0, 1.0))
            beats[row, column] = (high[0] - low[0]) / 2
            times[row, column] = (high[1] - low[1]) / 2
        for column, (name, share) in enumerate(DIAGNOSES.items(), len(TRAIT_NAMES)):
            beats[row, column], times[row, column] = _diagnosis(parameters, name, share)
    n = np.sqrt(len(chosen))
    np.savez(
        out,
        beats=np.nanmean(beats, axis=0),
        beats_error=np.nanstd(beats, axis=0) / n,
        # Whoever begins to fibrillate has no PR any more; that of the others does not change.
        times=np.nanmean(np.where(np.isnan(times).all(axis=0), 0.0, times), axis=0),
    )


def compare(study: Path, truth: Path, nulls: int, seed: int) -> dict[str, Any]:
    """Every planted variant, the rare genes and some null variants."""
    source = open_genotypes(study / "genotypes" / "genotypes")
    covariates = read_person_table(study / "covariates.parquet", categories=True)
    effects = pl.read_parquet(study / "truth" / "effects.parquet")
    planted = effects.filter(~pl.col("kind").is_in(["polygenic", "rare"]))
    names = planted["variant"].unique(maintain_order=True).to_list()
    first = variant_exposure(source, names[0])
    people, beats = read_people_beats(study, match_study(study, first, covariates), 3)
    where = {name: row for row, name in enumerate(source.people.person_ids)}
    rows = np.array([where[name] for name in people.record_ids])
    model = load_latent_model()
    _, factors = read_columns(
        study / "latent" / model.card.model.name / "factors.parquet", people, model.names
    )
    known = _Known(source, effects, people, rows, np.load(truth))
    judge = _Judge(study, people, beats, rows, model, factors, known)
    found: list[dict[str, Any]] = []
    for name in track(names, "Planted"):
        own = planted.filter(pl.col("variant") == name)
        true, alone = known.of_variant(name)
        kind = str(own["kind"][0])
        found.append(
            judge.of(variant_exposure(source, name), true, alone, str(own["signal"][0]), kind)
        )
    folder = study / "genotypes"
    for gene in ("SCN5A", "MYH6"):
        files = [folder / f"{one}.txt" for one in ("annotations", "sets", "masks")]
        exposure = burden_exposure(source, gene, *files, mask="damaging", rare_below=0.005)
        true = known.of_gene(gene, exposure)
        found.append(judge.of(exposure, true, true, gene, "rare gene"))
    for name in track(_null_variants(source, effects, nulls, seed), "Null"):
        nothing = np.zeros(len(OUTCOMES))
        found.append(judge.of(variant_exposure(source, name), nothing, nothing, name, "null"))
    return {"people": len(people.rows), "effects": found, "summary": _summary(found)}


class _Known:
    """What is true of the exposures of a simulated study."""

    def __init__(
        self,
        source: GenotypeSource,
        effects: pl.DataFrame,
        people: StudyPeople,
        rows: npt.NDArray[np.int64],
        truth: Any,
    ) -> None:
        self.source, self.effects, self.rows = source, effects, rows
        self.beats, self.times = truth["beats"], truth["times"]
        ids = source.variants.table["rsid"].to_pylist()
        self.number = {name: place for place, name in enumerate(ids)}
        self.sex = people.covariates[:, people.covariate_names.index("sex")]

    def calls(self, names: list[str]) -> Floats:
        """(variant, person)."""
        numbers = np.array([self.number[name] for name in names])
        order = np.argsort(numbers)
        out = np.empty((len(names), len(self.rows)))
        with self.source.reader(None) as reader:
            out[order] = reader.read(numbers[order])[:, self.rows]
        return out

    def of_variant(self, name: str) -> tuple[Floats, Floats]:
        """(outcome) per copy: with what is linked on the chromosome, and the variant's own."""
        own = self.effects.filter(pl.col("variant") == name)
        near = self.effects.filter(pl.col("chromosome") == own["chromosome"][0])
        names = near["variant"].unique(maintain_order=True).to_list()
        copies = self.calls([name])[0]
        slopes = dict(zip(names, self.calls(names), strict=True))
        whole, alone = np.zeros(len(OUTCOMES)), np.zeros(len(OUTCOMES))
        centred = copies - copies.mean()
        for row in near.to_dicts():
            acting = slopes[row["variant"]] * self._acts(row["sex"])
            share = centred @ (acting - acting.mean()) / (centred @ centred)
            place = OUTCOMES.index(row["outcome"])
            whole[place] += share * row["beta"]
            if row["variant"] == name:
                alone[place] += share * row["beta"]
        return whole, alone

    def of_gene(self, gene: str, exposure: Exposure) -> Floats:
        """(outcome) per rare allele: the mean of what the counted alleles do."""
        rare = self.effects.filter((pl.col("kind") == "rare") & (pl.col("signal") == gene))
        names = rare["variant"].unique(maintain_order=True).to_list()
        calls = dict(zip(names, self.calls(names), strict=True))
        burden = exposure.values[self.rows]
        burden = burden - burden.mean()
        out = np.zeros(len(OUTCOMES))
        for row in rare.to_dicts():
            acting = calls[row["variant"]]
            share = burden @ (acting - acting.mean()) / (burden @ burden)
            out[OUTCOMES.index(row["outcome"])] += share * row["beta"]
        return out

    def _acts(self, sex: str | None) -> Floats:
        if sex is None:
            return np.ones(len(self.rows))
        return np.asarray(self.sex == (2 if sex == "F" else 1), dtype=np.float64)


class _Judge:
    """Draws an exposure and compares."""

    def __init__(
        self,
        study: Path,
        people: StudyPeople,
        beats: PeopleBeats,
        rows: npt.NDArray[np.int64],
        model: LatentModel,
        factors: Floats,
        known: _Known,
    ) -> None:
        self.study, self.people, self.beats, self.rows = study, people, beats, rows
        self.model, self.factors, self.known = model, factors, known
        some = slice(None, None, max(1, len(people.rows) // 1500))
        flat = beats.centre + beats.scores[some].astype(np.float64) @ beats.basis
        seen = flat.reshape(-1, len(INDEPENDENT_LEADS), SAMPLES)
        self.unseen = unseen_spread(model, seen, factors[some])

    def of(
        self, exposure: Exposure, true: Floats, alone: Floats, signal: str, kind: str
    ) -> dict[str, Any]:
        people = replace(self.people, exposure=exposure.values[self.rows])
        adjusted = adjust(people.exposure, people.covariates, exposure.name)
        found = regress(adjusted, self.beats.scores)
        direct = direct_difference(self.beats, found)
        of_factors = regress(adjusted, self.factors)
        shift = FactorShift(self.model.names, of_factors.beta, of_factors.covariance, found.n)
        decoded = decode_shift(self.model, shift, self.factors, draws=50, most=200)
        shown = direct.shown
        unseen = effect_size(shift, self.factors) * (self.unseen**2).sum(axis=0)
        wide = np.sqrt(decoded.error_mv**2 + unseen)[:, shown]
        truth, planted = (_on_leads(one, self.known.beats)[:, shown] for one in (true, alone))
        line, error = direct.difference_mv[:, shown], direct.error_mv[:, shown]
        energy, noise = float((truth**2).sum()), float((error**2).sum())
        off = np.abs(line - truth)
        out: dict[str, Any] = {
            "signal": signal,
            "kind": kind,
            "true_rms_uv": _round(1e3 * np.sqrt((truth**2).mean())),
            "r": _correlation(line, truth),
            "r_expected": _round(np.sqrt(energy / (energy + noise))) if energy else None,
            "r_stated": _round(np.sqrt(direct.reliability)),
            "r_shrunken": _correlation(shrunken_difference(self.beats, found)[:, shown], truth),
            "r_decoded": _correlation(decoded.difference_mv[:, shown], truth),
            "r_planted": _correlation(line, planted),
            "slope": _round((line * truth).sum() / energy) if energy else None,
            "covered": _round((off <= direct.critical * error).mean()),
            "whole_covered": bool((off <= direct.critical_everywhere * error).all()),
            "covered_decoded": _round(
                (np.abs(decoded.difference_mv[:, shown] - truth)
                 <= 1.96 * decoded.error_mv[:, shown]).mean()
            ),
            "covered_decoded_widened": _round(
                (np.abs(decoded.difference_mv[:, shown] - truth) <= 1.96 * wide).mean()
            ),
            "draws_against_slope": _round(decoded.disagreement),
            "neg_log_10_p": _round(shift.neg_log_10_p, 1),
        }  # fmt: skip
        changes = {row["quantity"]: row for row in self._changes(people, exposure.name)}
        for place, (name, measured) in enumerate(INTERVALS.items()):
            row, real = changes[measured], float(true @ self.known.times[:, place])
            out[name] = {
                "true": _round(real),
                "stated": _round(row["change"]),
                "error": _round(row["standard_error"]),
                "covered": bool(row["low"] <= real <= row["high"]),
            }
        return out

    def _changes(self, people: StudyPeople, name: str) -> list[dict[str, Any]]:
        return changes_in_people(self.study, people, name).to_dicts()


def _shifted(parameters: PersonParameters, column: int, by: float) -> tuple[Floats, Floats]:
    z = parameters.people.z.copy()
    z[0, column] += by
    return _beat(replace(parameters, people=replace(parameters.people, z=z)))


def _diagnosis(parameters: PersonParameters, name: str, share: float) -> tuple[Floats, Floats]:
    """Per SD of a liability: those who pass the threshold, and those who are beyond it already."""
    density = float(norm.pdf(norm.isf(share)))
    beyond = density / share - float(norm.isf(share))
    least, slope = simulated_cohort._LEAST_SEVERITY, simulated_cohort._SEVERITY_SLOPE

    def with_severity(severity: float | None) -> tuple[Floats, Floats]:
        conditions = given({} if severity is None else {name: severity})
        return _beat(replace(parameters, conditions=conditions))

    without, onset = with_severity(None), with_severity(least)
    here, worse = (with_severity(least + slope * (beyond + more)) for more in (0.0, 0.3))
    return tuple(
        density * (onset[k] - without[k]) + share * (worse[k] - here[k]) / 0.3 for k in (0, 1)
    )  # type: ignore[return-value]


def _beat(parameters: PersonParameters) -> tuple[Floats, Floats]:
    one = simulate_person(parameters)
    beat = median_beat(one.recording.signal_mv, one.recording.rate_hz).beat_mv
    values = beat.sel(lead=list(INDEPENDENT_LEADS)).values.astype(np.float64).ravel()
    return values, np.array([float(one.truth[name]) for name in INTERVALS])


def _on_leads(weights: Floats, beats: Floats) -> Floats:
    return twelve_leads((weights @ beats).reshape(len(INDEPENDENT_LEADS), SAMPLES))


def _null_variants(
    source: GenotypeSource, effects: pl.DataFrame, count: int, seed: int
) -> list[str]:
    acting = set(effects["chromosome"].cast(pl.String).to_list())
    chromosome = np.array(source.variants.table["chromosome"].to_pylist())
    free = np.flatnonzero(~np.isin(chromosome, sorted(acting)))
    rng = np.random.default_rng(seed)
    names: list[str] = []
    with source.reader(None) as reader:
        for number in rng.permutation(free):
            frequency = float(reader.read(np.array([number])).mean()) / 2
            if 0.05 < frequency < 0.95:
                names.append(str(source.variants.table["rsid"][int(number)]))
            if len(names) == count:
                return names
    return names


def _summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    planted = [one for one in found if one["kind"] not in ("null", "rare gene")]
    null = [one for one in found if one["kind"] == "null"]

    def mean(rows: list[dict[str, Any]], key: str) -> float:
        return _round(np.mean([row[key] for row in rows if row[key] is not None]))

    intervals = [one[name]["covered"] for one in planted for name in INTERVALS]
    null_intervals = [one[name]["covered"] for one in null for name in INTERVALS]
    return {
        "planted": len(planted),
        "r_at_least_95": sum(one["r"] >= 0.95 for one in planted),
        "r_expected_at_least_95": sum(one["r_expected"] >= 0.95 for one in planted),
        **{f"median_{key}": _round(np.median([one[key] for one in planted]))
           for key in ("r", "r_expected", "r_shrunken", "r_decoded", "r_planted", "slope")},
        "covered": mean(planted, "covered"),
        "covered_within_90_and_98": sum(0.90 <= one["covered"] <= 0.98 for one in planted),
        "whole_covered": sum(one["whole_covered"] for one in planted),
        "covered_decoded": mean(planted, "covered_decoded"),
        "covered_decoded_widened": mean(planted, "covered_decoded_widened"),
        "intervals": f"{sum(intervals)} of {len(intervals)}",
        "null": len(null),
        "null_covered": mean(null, "covered"),
        "null_whole_covered": sum(one["whole_covered"] for one in null),
        "null_covered_decoded": mean(null, "covered_decoded"),
        "null_covered_decoded_widened": mean(null, "covered_decoded_widened"),
        "null_intervals": f"{sum(null_intervals)} of {len(null_intervals)}",
    }  # fmt: skip


def _correlation(one: Floats, two: Floats) -> float | None:
    scale = float(np.sqrt((one**2).sum() * (two**2).sum()))
    return _round(float((one * two).sum()) / scale) if scale > 0 else None


def _round(value: Any, digits: int = 3) -> float:
    return round(float(value), digits)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("what", choices=["truth", "compare"])
    parser.add_argument("--study", type=Path, required=True)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--nulls", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.what == "truth":
        make_truth(asked.study, asked.out, asked.people, asked.seed)
        return
    found = compare(asked.study, asked.truth, asked.nulls, asked.seed)
    for one in found["effects"]:
        print(json.dumps(one))
    print(json.dumps(found["summary"], indent=1))
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
