"""What happens to PR, QRS, QT, axes and amplitudes.

With people at hand each measurement is regressed on the exposure, on those who have it. From
summary statistics alone the factors have to carry the news: the measurements of reference people,
or of beats that the decoder draws, are regressed on factors, and the shift goes through the slopes.
What factors do not hold of a measurement (`held` says how much they do) is then missed, so such a
change is nearer to zero than the true one.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight.ecg.measurements import QUANTITIES
from leadlight.errors import LeadlightError
from leadlight.genetics.effect.people import StudyPeople, read_columns
from leadlight.genetics.effect.regression import regress_each
from leadlight.genetics.effect.shift import FactorShift, find_row, trait_files
from leadlight.latent.model import LatentModel
from leadlight.latent.traversal import measure_beat
from leadlight.progress import track

Floats = npt.NDArray[np.float64]

# What is told first; the rest of the amplitudes follows in the table.
MAIN = (
    "heart_rate_bpm", "p_duration_ms", "pr_ms", "qrs_ms", "qt_ms", "qtc_fridericia_ms", "jt_ms",
    "t_peak_end_ms", "p_axis_deg", "qrs_axis_deg", "t_axis_deg", "qrs_t_angle_deg",
    "sokolow_lyon_mv", "cornell_mv",
)  # fmt: skip
_AMPLITUDES = tuple(
    f"{wave}_mv_{lead}"
    for wave, leads in {
        "p": ("II", "V1"), "q": ("I", "V6"), "r": ("II", "V1", "V3", "V5"), "s": ("V1", "V3", "V5"),
        "j": ("V2", "V5"), "st80": ("V2", "V5"), "t": ("II", "V2", "V5"),
    }.items()
    for lead in leads
)  # fmt: skip
TOLD = (*MAIN, *_AMPLITUDES)
_DRAWN_BEATS = 240
_FEWEST = 200
_Z95 = 1.959963984540054
SCHEMA = {
    "quantity": pl.String(), "unit": pl.String(), "change": pl.Float64(), "low": pl.Float64(),
    "high": pl.Float64(), "standard_error": pl.Float64(), "n": pl.Int64(), "source": pl.String(),
    "held": pl.Float64(),
}  # fmt: skip


def changes_in_people(study: Path, people: StudyPeople, name: str) -> pl.DataFrame:
    """Change of each quantity of `TOLD` per step of the exposure, with 95 % interval.

    Columns of `SCHEMA`; `source` is "people", `held` null. Angles are taken from their mean
    direction, so that none jumps at 180°.
    """
    path = study / "measurements.parquet"
    if not path.is_file():
        raise LeadlightError(
            f"{study} holds no measurements.", advice=f"leadlight measure --study {study}"
        )
    there = [one for one in TOLD if one in pl.read_parquet_schema(path)]
    names, values = read_columns(path, people, there)
    values = unwrapped(names, values)
    beta, error, critical, n = regress_each(people.exposure, people.covariates, values, name)
    return _table(names, beta, error, critical, n, "people")


def changes_from_tables(folder: Path, variant: str) -> pl.DataFrame:
    """The quantities that an association was run on itself, from its tables."""
    found = trait_files(folder, TOLD)
    rows = {name: find_row(path, variant) for name, path in found.items()}
    kept = {name: row for name, row in rows.items() if row is not None}
    column = {
        key: np.array(
            [row[key] if row[key] is not None else np.nan for row in kept.values()], float
        )
        for key in ("beta", "standard_error", "n")
    }
    n = np.nan_to_num(column["n"]).astype(np.int64)
    critical = np.full(len(kept), _Z95)
    return _table(list(kept), column["beta"], column["standard_error"], critical, n, "association")


def changes_through_factors(
    shift: FactorShift, factors: Floats, names: Sequence[str], measurements: Floats, source: str
) -> pl.DataFrame:
    """Change of each quantity as far as factors carry it.

    Args:
        shift: of the factors.
        factors: (person, factor) of reference people.
        names: of the quantities.
        measurements: (person, quantity) of the same people, NaN where absent.
        source: what the table says of where the slopes come from.
    """
    values = unwrapped(names, measurements)
    count = len(names)
    beta, error, held = (np.full(count, np.nan) for _ in range(3))
    n = np.zeros(count, dtype=np.int64)
    whole = np.isfinite(factors).all(axis=1)
    for place in range(count):
        known = whole & np.isfinite(values[:, place])
        n[place] = int(known.sum())
        if n[place] < max(_FEWEST, 4 * factors.shape[1]):
            continue
        x = factors[known] - factors[known].mean(axis=0)
        y = values[known, place] - values[known, place].mean()
        products = x.T @ x
        slope = np.linalg.lstsq(products, x.T @ y, rcond=None)[0]
        left = y - x @ slope
        inverse = np.linalg.pinv(products, hermitian=True)
        weighted = x * left[:, None]
        of_slope = inverse @ (weighted.T @ weighted) @ inverse
        beta[place] = slope @ shift.beta
        error[place] = np.sqrt(
            slope @ shift.covariance @ slope + shift.beta @ of_slope @ shift.beta
        )
        held[place] = 1 - float(left @ left) / max(float(y @ y), 1e-12)
    return _table(list(names), beta, error, np.full(count, _Z95), n, source, held)


def drawn_people(
    model: LatentModel, places: Floats, count: int = _DRAWN_BEATS
) -> tuple[Floats, list[str], Floats]:
    """Places, names of quantities, and the measurements of the beats drawn at the places.

    Regressed on normally distributed places, a measurement's slopes are the mean slopes of the
    decoder (Stein's lemma): single readings may jump, their average does not.
    """
    from leadlight.latent.traversal import QUANTITIES as read_on_beats

    chosen = places[:count]
    beats = model.decode_twelve(chosen)
    found = [measure_beat(beat) for beat in track(list(beats), "Measuring drawn beats")]
    names = [name for name in TOLD if name in read_on_beats]
    return chosen, names, np.array([[one[name] for name in names] for one in found])


def unwrapped(names: Sequence[str], values: Floats) -> Floats:
    """Axes (person, quantity) within 180° of their mean direction."""
    out = np.array(values, dtype=np.float64)
    for place, name in enumerate(names):
        if name.endswith("_axis_deg"):
            known = np.isfinite(out[:, place])
            angle = np.deg2rad(out[known, place])
            if not len(angle):
                continue
            middle = np.rad2deg(np.arctan2(np.sin(angle).mean(), np.cos(angle).mean()))
            out[known, place] = (out[known, place] - middle + 180) % 360 - 180 + middle
    return out


def _table(
    names: Sequence[str], beta: Floats, error: Floats, critical: Floats,
    n: npt.NDArray[np.int64], source: str, held: Floats | None = None,
) -> pl.DataFrame:  # fmt: skip
    table = pl.DataFrame(
        {
            "quantity": list(names),
            "unit": [QUANTITIES[name].unit for name in names],
            "change": beta,
            "low": beta - critical * error,
            "high": beta + critical * error,
            "standard_error": error,
            "n": n,
            "source": [source] * len(names),
            "held": held if held is not None else np.full(len(names), np.nan),
        },
        schema=SCHEMA,
    )
    floats = pl.selectors.float()
    return table.with_columns(floats.fill_nan(None)).drop_nulls("change")
