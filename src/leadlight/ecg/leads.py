"""The algebra of the twelve leads, and the many names that files give them.

Two limb leads span all six (Einthoven 1912, Goldberger 1942): III = II - I,
aVR = -(I + II)/2, aVL = I - II/2, aVF = II - I/2.
"""

from functools import cache

import numpy as np
import numpy.typing as npt
import xarray as xr

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
INDEPENDENT_LEADS = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
CHEST_LEADS = ("V1", "V2", "V3", "V4", "V5", "V6")

# Each derived limb lead as weights of (I, II).
DERIVED_FROM_I_II: dict[str, tuple[float, float]] = {
    "III": (-1.0, 1.0),
    "aVR": (-0.5, -0.5),
    "aVL": (1.0, -0.5),
    "aVF": (-0.5, 1.0),
}
_LIMB_WEIGHTS: dict[str, tuple[float, float]] = {
    "I": (1.0, 0.0),
    "II": (0.0, 1.0),
    **DERIVED_FROM_I_II,
}

_SYNONYMS = {
    "1": "I", "2": "II", "3": "III",
    "L1": "I", "L2": "II", "L3": "III",
    "DI": "I", "DII": "II", "DIII": "III",
    "R": "aVR", "L": "aVL", "F": "aVF",
    "C1": "V1", "C2": "V2", "C3": "V3", "C4": "V4", "C5": "V5", "C6": "V6",
}  # fmt: skip
_BY_UPPER = {lead.upper(): lead for lead in LEADS}


def canonical_lead(name: str) -> str | None:
    """The standard name of a lead as a file writes it ("AVR", "Lead V1", "MDC_ECG_LEAD_AVF").

    Returns None for a name that is none of the twelve, so that the caller can refuse it by name.
    """
    key = name.strip().upper()
    for prefix in ("MDC_ECG_LEAD_", "LEAD", "ECG"):
        key = key.removeprefix(prefix).strip(" _-:")
    key = key.split("(")[0].strip(" _-")
    return _BY_UPPER.get(key) or _SYNONYMS.get(key)


def complete_leads(
    signal_mv: npt.NDArray[np.float32], names: list[str]
) -> tuple[xr.DataArray, list[str], list[str]]:
    """Twelve leads in the standard order from whatever standard leads a file holds.

    Any two limb leads give the other four by the algebra; a lead that cannot be derived is NaN.

    Args:
        signal_mv: (lead, sample) float32 in millivolt.
        names: standard names (`canonical_lead`) of the rows, without repeats.

    Returns:
        The signal (lead, sample) with all of `LEADS`, the leads derived, the leads missing.
    """
    have = {name: signal_mv[row] for row, name in enumerate(names)}
    limb = [name for name in LEADS if name in have and name in _LIMB_WEIGHTS]
    derived: list[str] = []
    absent_limb = [name for name in _LIMB_WEIGHTS if name not in have]
    if len(limb) >= 2 and absent_limb:
        first, second = limb[:2]
        weights = np.array([_LIMB_WEIGHTS[first], _LIMB_WEIGHTS[second]])
        one_two = np.linalg.solve(weights, np.eye(2)) @ np.stack([have[first], have[second]])
        for name in absent_limb:
            have[name] = (np.array(_LIMB_WEIGHTS[name]) @ one_two).astype(np.float32)
            derived.append(name)
    missing = [name for name in LEADS if name not in have]
    empty = np.full(signal_mv.shape[1], np.nan, dtype=np.float32)
    full = np.stack([have.get(name, empty) for name in LEADS]).astype(np.float32)
    return as_leads(full), derived, missing


def as_leads(signal_mv: npt.NDArray[np.float32]) -> xr.DataArray:
    """Label a (lead, sample) array in the order of `LEADS`."""
    return xr.DataArray(signal_mv, dims=("lead", "sample"), coords=_lead_coordinate())


@cache  # building labels takes longer than what is done to many a signal
def _lead_coordinate() -> xr.Coordinates:
    return xr.Coordinates({"lead": list(LEADS)})


def named_rows(signal_mv: xr.DataArray) -> tuple[list[str], npt.NDArray[np.floating]]:
    """The names and the bare (lead, sample) of a labelled signal; no copy is made."""
    ordered = (
        signal_mv if signal_mv.dims == ("lead", "sample") else signal_mv.transpose("lead", ...)
    )
    return [str(name) for name in signal_mv.indexes["lead"]], ordered.values


def algebra_residual_mv(signal_mv: xr.DataArray) -> dict[str, float]:
    """How far each derived limb lead is from what I and II say: 99th percentile of |error|, mV.

    Robust to a few artefact samples; NaN where a lead is missing.
    """
    one, two = signal_mv.sel(lead="I").values, signal_mv.sel(lead="II").values
    residual: dict[str, float] = {}
    for name, (of_one, of_two) in DERIVED_FROM_I_II.items():
        error = np.abs(signal_mv.sel(lead=name).values - (of_one * one + of_two * two))
        residual[name] = (
            float("nan") if np.isnan(error).all() else float(np.nanpercentile(error, 99))
        )
    return residual
