"""The tables of an effect, made, written and read again."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight.atomic import refuse_overwrite, write_json, written_whole
from leadlight.ecg.leads import LEADS
from leadlight.ecg.median_beat import R_SAMPLE, RATE_HZ, SAMPLES
from leadlight.errors import LeadlightError
from leadlight.genetics.effect.classifier import WAVES, StripRelevance
from leadlight.genetics.effect.decoding import DecodedShift
from leadlight.genetics.effect.exposures import Exposure
from leadlight.genetics.effect.people import PeopleBeats
from leadlight.genetics.effect.shift import FactorShift
from leadlight.genetics.effect.waveform import Bands
from leadlight.genetics.log_tails import LN10, log_two_sided
from leadlight.latent.model import LatentModel
from leadlight.provenance import write_provenance

Floats = npt.NDArray[np.float64]

SUMMARY = "summary.json"
TABLES = ("effect", "factors", "factor_covariance", "measurements", "groups", "logits",
          "relevance", "relevance_beat")  # fmt: skip
_UV = 1e3


@dataclass(frozen=True)
class EffectTables:
    """All that was found of one exposure, as tables (see docs/effect.md)."""

    effect: pl.DataFrame
    factors: pl.DataFrame
    factor_covariance: pl.DataFrame
    measurements: pl.DataFrame
    groups: pl.DataFrame
    logits: pl.DataFrame
    relevance: pl.DataFrame
    relevance_beat: pl.DataFrame
    summary: dict[str, Any] = field(default_factory=dict)

    def by_name(self) -> dict[str, pl.DataFrame]:
        """The tables by their files' names."""
        return {name: getattr(self, name) for name in TABLES}


def write_effect(
    tables: EffectTables,
    out: Path,
    parameters: dict[str, Any],
    inputs: Sequence[Path],
    *,
    overwrite: bool = False,
) -> None:
    """Write the tables, `summary.json` and `provenance.json` into a folder."""
    refuse_overwrite(out / SUMMARY, overwrite)
    out.mkdir(parents=True, exist_ok=True)
    for name in TABLES:
        table: pl.DataFrame = getattr(tables, name)
        with written_whole(out / f"{name}.parquet") as partial:
            table.write_parquet(partial)
    write_provenance(out, "effect", parameters, inputs)
    write_json(out / SUMMARY, tables.summary)


def read_effect(folder: Path) -> EffectTables:
    """What `write_effect` wrote."""
    if not (folder / SUMMARY).is_file():
        raise LeadlightError(f"{folder} holds no effect.", advice="Make it: leadlight effect.")
    tables = {name: pl.read_parquet(folder / f"{name}.parquet") for name in TABLES}
    return EffectTables(**tables, summary=json.loads((folder / SUMMARY).read_text("utf-8")))


def make_tables(
    reference: Floats,
    line: Bands,
    shrunken: Floats,
    latent: LatentModel,
    shift: FactorShift | None,
    decoded: DecodedShift | None,
    measurements: pl.DataFrame,
    groups: pl.DataFrame,
    logits: pl.DataFrame,
    strip: StripRelevance,
    own_share: Floats,
    summary: dict[str, Any],
) -> EffectTables:
    """Everything found, as tables; see docs/effect.md for their columns."""
    lead, time = _lead_and_time()
    low, high = (line.difference_mv + sign * line.critical * line.error_mv for sign in (-1, 1))
    all_low, all_high = (
        line.difference_mv + sign * line.critical_everywhere * line.error_mv for sign in (-1, 1)
    )
    effect = pl.DataFrame(
        {
            "lead": lead,
            "time_ms": time,
            "reference_mv": reference.ravel(),
            "difference_uv": _UV * line.difference_mv.ravel(),
            "standard_error_uv": _UV * line.error_mv.ravel(),
            "low_uv": _UV * low.ravel(),
            "high_uv": _UV * high.ravel(),
            "low_everywhere_uv": _UV * all_low.ravel(),
            "high_everywhere_uv": _UV * all_high.ravel(),
            "shrunken_uv": _UV * shrunken.ravel(),
            "decoded_uv": _column(None if decoded is None else _UV * decoded.difference_mv),
            "decoded_error_uv": _column(None if decoded is None else _UV * decoded.error_mv),
            "own_share": np.tile(own_share, len(LEADS)),
            "shown": np.tile(line.shown, len(LEADS)),
        }
    ).with_columns(pl.selectors.float().fill_nan(None))
    classes, leads = strip.classes, list(LEADS)
    summary = summary | {
        "reliability": round(line.reliability, 4),
        "expected_correlation": round(float(np.sqrt(line.reliability)), 4),
        "beyond_chance": round(line.beyond_chance, 4),
        "critical": line.critical,
        "critical_everywhere": line.critical_everywhere,
        "rr_ms": strip.rr_ms,
        "limits_ms": {
            wave: [None if not np.isfinite(x) else round(x, 1) for x in span]
            for wave, span in strip.limits_ms.items()
        },
        "strip": [
            {
                "class": name,
                "change": float(strip.change[at]),
                "logit": float(strip.logit[at]),
                "completeness_error": _finite(strip.completeness_error[at]),
            }
            for at, name in enumerate(classes)
        ],
    }
    if shift is not None and decoded is not None:
        summary |= {
            "model": latent.card.model.name,
            "chi_squared": shift.chi_squared,
            "neg_log_10_p": shift.neg_log_10_p,
            "places": decoded.places,
            "draws_against_slope": round(decoded.disagreement, 4),
        }
    return EffectTables(
        effect=effect,
        factors=_factor_table(latent, shift),
        factor_covariance=_covariance_table(shift),
        measurements=measurements,
        groups=groups,
        logits=logits,
        relevance=pl.DataFrame(
            {
                "class": np.repeat(classes, len(leads) * len(WAVES)),
                "lead": np.tile(np.repeat(leads, len(WAVES)), len(classes)),
                "wave": np.tile(WAVES, len(classes) * len(leads)),
                "relevance": strip.waves.ravel(),
            }
        ),
        relevance_beat=pl.DataFrame(
            {
                "class": np.repeat(classes, len(lead)),
                "lead": np.tile(lead, len(classes)),
                "time_ms": np.tile(time, len(classes)),
                "relevance": strip.relevance.ravel().astype(np.float32),
            }
        ),
        summary=summary,
    )


def _factor_table(latent: LatentModel, shift: FactorShift | None) -> pl.DataFrame:
    follows = {factor.name: factor.follows for factor in latent.card.factors}
    if shift is None:
        return pl.DataFrame(schema={"factor": pl.String(), "beta": pl.Float64()})
    error = shift.standard_error
    return pl.DataFrame(
        {
            "factor": shift.names,
            "follows": [follows.get(name, "") for name in shift.names],
            "beta": shift.beta,
            "standard_error": error,
            "z": shift.beta / error,
            "neg_log_10_p": -log_two_sided(shift.beta / error) / LN10,
        }
    )


def _covariance_table(shift: FactorShift | None) -> pl.DataFrame:
    if shift is None:
        return pl.DataFrame(schema={"factor": pl.String()})
    columns = {name: shift.covariance[:, at] for at, name in enumerate(shift.names)}
    return pl.DataFrame({"factor": shift.names, **columns})


def group_table(exposure: Exposure, beats: PeopleBeats) -> pl.DataFrame:
    """`group, n, lead, time_ms, mean_mv, standard_error_mv`."""
    lead, time = _lead_and_time()
    parts = [
        pl.DataFrame(
            {
                "group": [name] * len(lead),
                "n": [int(beats.group_n[at])] * len(lead),
                "lead": lead,
                "time_ms": time,
                "mean_mv": beats.group_mean_mv[at].ravel(),
                "standard_error_mv": beats.group_error_mv[at].ravel(),
            }
        )
        for at, name in enumerate(exposure.groups)
        if beats.group_n[at]
    ]
    return pl.concat(parts)


def _lead_and_time() -> tuple[npt.NDArray[np.str_], Floats]:
    time = (np.arange(SAMPLES) - R_SAMPLE) * 1e3 / RATE_HZ
    return np.repeat(np.array(LEADS), SAMPLES), np.tile(time, len(LEADS))


def _column(values: Floats | None) -> Floats:
    return np.full(len(LEADS) * SAMPLES, np.nan) if values is None else values.ravel()


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
