"""The wave limits of one recording, per lead and over all leads."""

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from leadlight.ecg.delineation.fiducials import Fiducials, label_fiducials
from leadlight.ecg.delineation.network import RATE_HZ, STEP, DelineationNetwork
from leadlight.ecg.delineation.reading import read_together, read_waves
from leadlight.ecg.delineation.weights import load_network
from leadlight.ecg.filtering import resample
from leadlight.ecg.leads import LEADS, named_rows
from leadlight.ecg.rpeaks import find_r_peaks
from leadlight.errors import LeadlightError

_SHORTEST_S = 0.5
# A gap longer than this is not bridged: waves that touch it are not read.
_LONGEST_BRIDGE_S = 0.02
# What the strip is continued by at each end, in samples; a whole number of steps.
_MARGIN = 32


def delineate(
    signal_mv: xr.DataArray,
    rate_hz: float,
    r_peaks: npt.NDArray[np.int64] | None = None,
    *,
    network: DelineationNetwork | None = None,
) -> Fiducials:
    """P, QRS and T of every beat: onset, peak and offset, in each lead and over all leads.

    The network reads all leads with a signal at once, at 500 Hz; a lead is helped by the others,
    and any number of leads will do, one included. What is absent is NaN: P in fibrillation, waves
    that the strip cuts or that a gap covers, leads without signal.

    Args:
        signal_mv: (lead, sample) in millivolt with names in `lead`; NaN where there is no value.
        rate_hz: its samples per second, 100 or more.
        r_peaks: (beat) QRS references in samples, ascending; found (`find_r_peaks`) when None.
        network: another than the shipped one.

    Returns:
        `Fiducials` in samples at `rate_hz`, one row per beat in `r_peaks`. No beats give arrays
        with a `beat` axis of length 0.

    Raises:
        LeadlightError: the rate is below 100 Hz, or `r_peaks` lie outside the strip or are not
            ascending.
    """
    if not (np.isfinite(rate_hz) and rate_hz >= 100):
        raise LeadlightError(
            f"A signal at {rate_hz} Hz cannot be delineated.", advice="Give 100 Hz or more."
        )
    leads, rows = named_rows(signal_mv)
    values = rows.astype(np.float32, copy=False)
    n = values.shape[1]
    beats = find_r_peaks(signal_mv, rate_hz) if r_peaks is None else np.asarray(r_peaks, np.int64)
    if beats.size and (beats[0] < 0 or beats[-1] >= n or (np.diff(beats) <= 0).any()):
        raise LeadlightError(
            f"R peaks from {beats.min()} to {beats.max()} do not fit a strip of {n} samples.",
            advice="Give ascending sample indices inside the strip.",
        )
    shape = (len(leads), beats.size, 3, 3)
    per_lead = np.full(shape, np.nan, dtype=np.float32)
    confidence = np.zeros(shape, dtype=np.float32)
    with_signal = _with_signal(values)
    together = np.full(shape[1:], np.nan, dtype=np.float32)
    together_confidence = np.zeros(shape[1:], dtype=np.float32)
    if beats.size and with_signal.any() and n / rate_hz >= _SHORTEST_S:
        if rate_hz != RATE_HZ:
            labelled = xr.DataArray(values, dims=("lead", "sample"))
            values = resample(labelled, rate_hz, RATE_HZ).values
        bridged, gaps = _bridged(values[with_signal])
        named = [name for name, has in zip(leads, with_signal, strict=True) if has]
        inside = inside_waves(bridged, named, network or load_network())
        to_source = rate_hz / RATE_HZ
        found = read_waves(inside, bridged, beats / to_source, gaps, step=STEP)
        all_leads = read_together(found, bridged)
        per_lead[with_signal], confidence[with_signal] = found.points * to_source, found.confidence
        together, together_confidence = all_leads.points * to_source, all_leads.confidence
    return label_fiducials(
        per_lead,
        together,
        confidence,
        together_confidence,
        leads=leads,
        r_peaks=beats,
        rate_hz=rate_hz,
    )


def inside_waves(
    signal_mv: npt.NDArray[np.float32], leads: list[str], network: DelineationNetwork
) -> npt.NDArray[np.float32]:
    """(lead, wave, step) share of every STEP samples that lies inside P, QRS or T.

    Args:
        signal_mv: (lead, sample) at 500 Hz without NaN, leads with a signal only.
        leads: their names; one that is none of `LEADS` is read as a lead of no known place.
        network: as `load_network` gives it.
    """
    n = signal_mv.shape[1]
    after = -(n + _MARGIN) % network.multiple + _MARGIN
    padded = np.pad(signal_mv, ((0, 0), (_MARGIN, after)), mode="edge")
    places = [LEADS.index(name) if name in LEADS else len(LEADS) for name in leads]
    with torch.inference_mode():
        logits = network(torch.from_numpy(padded[None]), torch.tensor([places]))[
            0, ..., _MARGIN // STEP : (_MARGIN + n + STEP - 1) // STEP
        ]
        return np.asarray(torch.sigmoid(logits).numpy())


def _with_signal(leads_mv: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """(lead) whether the lead has values that are not all the same."""
    finite = np.isfinite(leads_mv)
    low = np.where(finite, leads_mv, np.inf).min(axis=1, initial=np.inf)
    high = np.where(finite, leads_mv, -np.inf).max(axis=1, initial=-np.inf)
    return np.asarray(high > low)


def _bridged(
    leads_mv: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Gaps as straight lines, and (lead, sample) where a gap is too long to be read across."""
    missing = ~np.isfinite(leads_mv)
    long = np.zeros_like(missing)
    if not missing.any():
        return leads_mv, long
    whole = leads_mv.copy()
    at = np.arange(leads_mv.shape[1])
    for row in np.flatnonzero(missing.any(axis=1)):
        gap = missing[row]
        whole[row, gap] = np.interp(at[gap], at[~gap], leads_mv[row, ~gap])
        edges = np.flatnonzero(np.diff(np.concatenate([[0], gap.astype(np.int8), [0]])))
        for first, last in edges.reshape(-1, 2):
            long[row, first:last] = last - first > _LONGEST_BRIDGE_S * RATE_HZ
    return whole, long
