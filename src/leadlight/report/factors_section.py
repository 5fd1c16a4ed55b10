"""What the page says of factors: what each follows and does, and how they lie in these people."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

import leadlight
from leadlight.errors import LeadlightError
from leadlight.report.effect_panels import WORDS
from leadlight.report.factor_words import spoken
from leadlight.report.heat import HeatMap, heat_map
from leadlight.report.results import facts_of, first_card
from leadlight.report.sentences import number, with_interval

# Measurements that the map shows and effects are told of.
_MEASURED = (
    *(name for name in WORDS), "p_mv_II", "p_mv_V1", "r_mv_V1", "r_mv_V5", "s_mv_V1", "s_mv_V5",
    "st80_mv_V2", "st80_mv_V5", "t_mv_II", "t_mv_V2", "t_mv_V5",
)  # fmt: skip
# An effect is told where it is larger than this, by the unit in the measurement's name.
_WORTH_SAYING = {"_ms": 2.0, "_deg": 3.0, "_mv": 0.02, "_bpm": 1.0}
_MOST_RECORDS = 100_000
_MOST_TOLD = 4
_UNUSUAL = ("unusual-beat", "far")


@dataclass(frozen=True)
class Factors:
    """The factors of a study, joined with its measurements.

    Attributes:
        model: its name.
        home: `latent/<model>/`.
        card: of the model, as plain tables; empty where it is not to be found.
        table: `factors.parquet`.
        names: of the factors, in order.
        values: (record, factor) and `measured` (record, measurement of `quantities`), of at most
            100,000 records that have both.
    """

    model: str
    home: Path
    card: dict[str, Any]
    table: pl.DataFrame
    names: list[str]
    values: npt.NDArray[np.float64]
    measured: npt.NDArray[np.float64]
    quantities: list[str]


def read_factors(study: Path) -> Factors | None:
    """The factors of a study (of the first model by name, where there are several), else None.

    Raises:
        LeadlightError: their table cannot be read.
    """
    homes = [path.parent for path in sorted((study / "latent").glob("[!.]*/factors.parquet"))]
    if not homes:
        return None
    home = homes[0]
    try:
        table = pl.read_parquet(home / "factors.parquet")
    except (pl.exceptions.PolarsError, OSError) as error:
        raise LeadlightError(
            f"{home / 'factors.parquet'} cannot be read: {error}",
            advice="Make it again: leadlight latent encode --overwrite.",
        ) from error
    names = sorted(name for name in table.columns if name.startswith("factor_"))
    card = _card(home)
    known = table.select("record_id", *names).drop_nulls().drop_nans(names)
    # Before measurements join them: those of a million records would take a gigabyte.
    if known.height > _MOST_RECORDS:
        known = known.sample(_MOST_RECORDS, seed=1)
    quantities: list[str] = []
    path = study / "measurements.parquet"
    if path.is_file():
        there = pl.read_parquet_schema(path)
        wanted = [*_MEASURED, *(str(row.get("follows")) for row in card.get("factors", []))]
        quantities = [q for q in dict.fromkeys(wanted) if q in there]
        known = known.join(
            pl.scan_parquet(path)
            .select("record_id", *quantities)
            .filter(pl.col("record_id").is_in(known["record_id"].implode()))
            .collect(),
            on="record_id",
            how="inner",
        )
    measured = known.select(pl.col(quantities).cast(pl.Float64)).fill_null(float("nan"))
    return Factors(
        home.name, home, card, table, names,
        known.select(names).cast(pl.Float64).to_numpy(), measured.to_numpy(), quantities,
    )  # fmt: skip


def factors_section(factors: Factors) -> dict[str, Any]:
    """What the template shows: sentences, the table of factors, and the map of correlations."""
    told, from_decoder = _effects(factors)
    icc = _icc(factors.home)
    correlations = correlate(factors.values, factors.measured)
    on_card = {row["name"]: row for row in factors.card.get("factors", [])}
    rows = []
    for at, name in enumerate(factors.names):
        card = on_card.get(name, {})
        follows, r = followed(factors, correlations, at, str(card.get("follows", "")))
        rows.append(
            {
                "name": name, "nats": number(card.get("kl_nats")),
                "sd": number(card.get("uncertainty"), 2),
                "follows": spoken(card.get("follows", "")) or "–",
                "card_r": number(card.get("correlation"), 2) if card.get("follows") else "–",
                "here": f"{spoken(follows)} {_r_text(r, factors)}" if follows else "–",
                "effects": "; ".join(told.get(name, [])) or "nothing measured",
                "icc": icc.get(name, "–"),
            }
        )  # fmt: skip
    page = factors.home / "report" / "index.html"
    return {
        "model": factors.model, "rows": rows, "sentences": factor_sentences(factors),
        "effects_from": "the decoder" if from_decoder else "a regression in these people",
        "has_icc": bool(icc), "map": _map(factors, correlations),
        "page": f"../latent/{factors.home.name}/report/index.html" if page.is_file() else "",
        "records": len(factors.values), "limits": [str(x) for x in factors.card.get("limits", ())],
    }  # fmt: skip


def factor_sentences(factors: Factors) -> list[str]:
    """How many factors, how well they hold the beat, how independent, and what the first follow."""
    said = [_counts(factors), *_errors(factors)]
    n = len(factors.values)
    if n > len(factors.names) + 3:
        r = correlate(factors.values, factors.values)
        np.fill_diagonal(r, 0.0)
        at, other = divmod(int(np.nanargmax(np.abs(r))), len(factors.names))
        said.append(
            f"The two factors most alike in these {n:,} records are {factors.names[at]} and "
            f"{factors.names[other]}: r = {_r_text(float(r[at, other]), factors)}."
        )
    if factors.quantities and n > 3:
        correlations = correlate(factors.values, factors.measured)
        on_card = {row["name"]: row for row in factors.card.get("factors", [])}
        told = []
        for at, name in enumerate(factors.names[:3]):
            card = str(on_card.get(name, {}).get("follows", ""))
            follows, value = followed(factors, correlations, at, card)
            if follows:
                told.append(f"{name} {spoken(follows)} (r = {_r_text(value, factors)})")
        if told:
            said.append(
                f"What the first {len(told)} follow, and how closely here: " + "; ".join(told) + "."
            )
    return said


def followed(
    factors: Factors, correlations: npt.NDArray[np.float64], at: int, on_card: str
) -> tuple[str, float]:
    """What a factor goes with here: the card's measurement, else the one it goes with most."""
    if not factors.quantities or not np.isfinite(correlations[at]).any():
        return "", float("nan")
    if on_card in factors.quantities:
        return on_card, float(correlations[at, factors.quantities.index(on_card)])
    best = int(np.nanargmax(np.abs(correlations[at])))
    return factors.quantities[best], float(correlations[at, best])


def correlate(
    left: npt.NDArray[np.float64], right: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """(column of left, column of right) rank correlation over the rows where both are known."""
    found = np.full((left.shape[1], right.shape[1]), np.nan)
    a = _ranked(left)
    for column in range(right.shape[1]):
        known = np.isfinite(right[:, column])
        if known.sum() < 4:
            continue
        b = _ranked(right[known, column : column + 1])[:, 0]
        rows = a if known.all() else _ranked(left[known])
        centred = rows - rows.mean(axis=0)
        b = b - b.mean()
        size = np.sqrt((centred**2).sum(axis=0) * (b**2).sum())
        with np.errstate(invalid="ignore", divide="ignore"):
            found[:, column] = np.where(size > 0, centred.T @ b / size, np.nan)
    return found


def _short(quantity: str) -> str:
    """A measurement as the head of a column."""
    return WORDS[quantity][0] if quantity in WORDS else spoken(quantity)


def _counts(factors: Factors) -> str:
    n = factors.table.height
    text = f"{len(factors.names)} factors of {factors.model} describe the beats of {n:,} records"
    if "flags" in factors.table.columns:
        flagged = factors.table.filter(
            pl.col("flags").list.eval(pl.element().is_in(_UNUSUAL)).list.any()
        ).height
        text += (
            f"; {flagged:,} ({100 * flagged / max(n, 1):.1f} %) are flagged as unlike the people "
            "that the model knows"
        )
    return text + "."


def _errors(factors: Factors) -> list[str]:
    said = []
    if "error_uv" in factors.table.columns:
        error = factors.table["error_uv"].drop_nulls().drop_nans()
        if error.len():
            low, middle, high = (float(error.quantile(q) or 0.0) for q in (0.05, 0.5, 0.95))
            said.append(
                f"Drawn again from its factors, a record's beat is off by {middle:.1f} µV (root "
                f"mean square; median record, 5th to 95th percentile {low:.1f} to {high:.1f})."
            )
    summary = facts_of(factors.home / "evaluation" / "summary.json")
    if "mae_uv" in summary:
        told = (
            f"On {summary['records']:,} records of people whom the model was not fitted to, the "
            f"mean absolute error is {_told(summary['mae_uv'])} µV"
        )
        if linear := summary.get("principal_components"):
            told += f"; with as many principal components {_told(linear['mae_uv'])} µV"
        said.append(told + ".")
    return said


def _told(values: list[float | None]) -> str:
    return with_interval(values[0], values[1], values[2], decimals=1)


def _r_text(r: float, factors: Factors) -> str:
    """A correlation with Fisher's 95 % interval, a record counting as one observation."""
    n = len(factors.values)
    if not np.isfinite(r) or n <= 3 or abs(r) >= 1:
        return number(r, 2)
    z, reach = np.arctanh(r), 1.96 / np.sqrt(n - 3)
    return with_interval(r, float(np.tanh(z - reach)), float(np.tanh(z + reach)), decimals=2)


def _effects(factors: Factors) -> tuple[dict[str, list[str]], bool]:
    """Factor to its largest effects per SD as words; and do they come from the decoder?"""
    path = factors.home / "traversal" / "effects.parquet"
    if path.is_file():
        table = pl.read_parquet(path).unique(["factor", "quantity"], maintain_order=True)
        slopes = {(row["factor"], row["quantity"]): row["per_sd"] for row in table.to_dicts()}
        return {name: _largest({q: s for (f, q), s in slopes.items() if f == name})
                for name in factors.names}, True  # fmt: skip
    return {
        name: _largest(dict(zip(factors.quantities, row, strict=True)))
        for name, row in zip(factors.names, slopes_in_people(factors), strict=True)
    }, False


def slopes_in_people(factors: Factors) -> npt.NDArray[np.float64]:
    """(factor, quantity) change of a measurement per SD of a factor, all others held.

    Least squares over the records that have the measurement. Axes are angles, but those of a
    cohort seldom pass through ±180°, so they are taken as they are.
    """
    found = np.full((len(factors.names), len(factors.quantities)), np.nan)
    for column in range(len(factors.quantities)):
        known = np.isfinite(factors.measured[:, column])
        if known.sum() < 3 * len(factors.names):
            continue
        x = factors.values[known]
        spread = x.std(axis=0)
        design = np.column_stack([np.ones(len(x)), x])
        slope, *_ = np.linalg.lstsq(design, factors.measured[known, column], rcond=None)
        found[:, column] = slope[1:] * spread
    return found


def _largest(slopes: dict[str, float | None]) -> list[str]:
    found = []
    for quantity, slope in slopes.items():
        unit = next((u for u in _WORTH_SAYING if u in quantity), None)
        if unit is None or slope is None or not np.isfinite(slope):
            continue
        size = abs(slope) / _WORTH_SAYING[unit]
        if size >= 1:
            shown = {
                "_ms": f"{slope:+.1f} ms", "_deg": f"{slope:+.1f}°",
                "_mv": f"{1000 * slope:+.0f} µV", "_bpm": f"{slope:+.1f}/min",
            }[unit]  # fmt: skip
            found.append((size, f"{_short(quantity)} {shown}".replace("-", "−")))
    return [text for _, text in sorted(found, reverse=True)[:_MOST_TOLD]]


def _icc(home: Path) -> dict[str, str]:
    path = home / "evaluation" / "repeatability.parquet"
    if not path.is_file():
        return {}
    return {
        row["factor"]: with_interval(row["icc"], row["low"], row["high"], decimals=2)
        for row in pl.read_parquet(path).to_dicts()
    }


def _map(factors: Factors, correlations: npt.NDArray[np.float64]) -> HeatMap | None:
    if not factors.quantities or len(factors.values) <= 3:
        return None
    shown = [at for at, quantity in enumerate(factors.quantities) if quantity in _MEASURED]
    return heat_map(
        f"Rank correlation of factors with measurements in {len(factors.values):,} records",
        "Factor", [name.removeprefix("factor_") for name in factors.names],
        [_short(factors.quantities[at]) for at in shown],
        [[float(row[at]) for at in shown] for row in correlations], limit=0.8, decimals=2,
    )  # fmt: skip


def _ranked(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    frame = pl.DataFrame({str(at): values[:, at] for at in range(values.shape[1])})
    return frame.select(pl.all().rank().cast(pl.Float64)).to_numpy()


def _card(home: Path) -> dict[str, Any]:
    """The model's card as the study keeps it, else as it ships; read here without the network's
    library, which takes seconds to load."""
    shipped = Path(leadlight.__file__).parent / "latent" / "shipped" / home.name
    return first_card([home / "card.toml", shipped / "card.toml"])
