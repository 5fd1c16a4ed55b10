"""The wave limits of one recording, per lead and over all leads."""

from collections.abc import Sequence
from dataclasses import dataclass

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
_PLACES = {lead: place for place, lead in enumerate(LEADS)}

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class AskedStrip:
    """A strip with what the network says of it, before waves are read.

    Attributes:
        rows: (lead,) places, among all leads of the strip, of the leads that have a signal.
        signal_mv: (lead, sample) these leads at 500 Hz, gaps bridged.
        gaps: (lead, sample) where a gap is too long to be read across.
        inside: (lead, wave, step) as of `inside_waves`.
    """

    rows: npt.NDArray[np.int64]
    signal_mv: Array
    gaps: npt.NDArray[np.bool_]
    inside: Array


def delineate(
    signal_mv: xr.DataArray,
    rate_hz: float,
    r_peaks: npt.NDArray[np.int64] | None = None,
    *,
    network: DelineationNetwork | None = None,
    asked: AskedStrip | None = None,
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
        asked: what `ask_network` gave for this very strip, where many were asked about together.

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
    n = signal_mv.sizes["sample"]
    beats = find_r_peaks(signal_mv, rate_hz) if r_peaks is None else np.asarray(r_peaks, np.int64)
    if beats.size and (beats[0] < 0 or beats[-1] >= n or (np.diff(beats) <= 0).any()):
        raise LeadlightError(
            f"R peaks from {beats.min()} to {beats.max()} do not fit a strip of {n} samples.",
            advice="Give ascending sample indices inside the strip.",
        )
    leads = [str(name) for name in signal_mv.indexes["lead"]]
    shape = (len(leads), beats.size, 3, 3)
    per_lead = np.full(shape, np.nan, dtype=np.float32)
    confidence = np.zeros(shape, dtype=np.float32)
    together = np.full(shape[1:], np.nan, dtype=np.float32)
    together_confidence = np.zeros(shape[1:], dtype=np.float32)
    if asked is None and beats.size:
        asked = ask_network([(signal_mv, rate_hz)], network)[0]
    if asked is not None and beats.size:
        to_source = rate_hz / RATE_HZ
        found = read_waves(asked.inside, asked.signal_mv, beats / to_source, asked.gaps, step=STEP)
        all_leads = read_together(found, asked.signal_mv)
        per_lead[asked.rows] = found.points * to_source
        confidence[asked.rows] = found.confidence
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


def ask_network(
    strips: Sequence[tuple[xr.DataArray, float]], network: DelineationNetwork | None = None
) -> list[AskedStrip | None]:
    """What the network says of several strips, for `delineate`.

    Strips with the same number of samples and leads go through it together, which takes an eighth
    less time than one by one; what it says of a strip differs by rounding only.

    Args:
        strips: (lead, sample) millivolt and rate of each, as `delineate` takes them.
        network: another than the shipped one.

    Returns:
        One for each strip; None where it has no lead with a signal, is shorter than half a second
        or at a rate that `delineate` refuses.
    """
    network = network or load_network()
    ready = [_ready(signal_mv, rate_hz) for signal_mv, rate_hz in strips]
    together: dict[tuple[int, ...], list[int]] = {}
    for place, one in enumerate(ready):
        if one is not None:
            together.setdefault(one.signal_mv.shape, []).append(place)
    answers: list[AskedStrip | None] = [None] * len(ready)
    for places in together.values():
        alike = [one for one in (ready[place] for place in places) if one is not None]
        inside = _inside([one.signal_mv for one in alike], [one.leads for one in alike], network)
        for place, one, answer in zip(places, alike, inside, strict=True):
            answers[place] = AskedStrip(one.rows, one.signal_mv, one.gaps, answer)
    return answers


def inside_waves(signal_mv: Array, leads: list[str], network: DelineationNetwork) -> Array:
    """(lead, wave, step) share of every STEP samples that lies inside P, QRS or T.

    Args:
        signal_mv: (lead, sample) at 500 Hz without NaN, leads with a signal only.
        leads: their names; one that is none of `LEADS` is read as a lead of no known place.
        network: as `load_network` gives it.
    """
    return np.asarray(_inside([signal_mv], [leads], network)[0])


def _inside(
    signals_mv: Sequence[Array], leads: Sequence[list[str]], network: DelineationNetwork
) -> Array:
    """(strip, lead, wave, step) of strips of one shape (lead, sample)."""
    n = signals_mv[0].shape[1]
    after = -(n + _MARGIN) % network.multiple + _MARGIN
    padded = np.pad(np.stack(signals_mv), ((0, 0), (0, 0), (_MARGIN, after)), mode="edge")
    places = [[_PLACES.get(name, len(LEADS)) for name in names] for names in leads]
    with torch.inference_mode():
        logits = network(torch.from_numpy(padded), torch.tensor(places))
        kept = logits[..., _MARGIN // STEP : (_MARGIN + n + STEP - 1) // STEP]
        return np.asarray(torch.sigmoid(kept).numpy())


@dataclass(frozen=True)
class _Ready:
    """`AskedStrip` before the network, and the names of its leads."""

    leads: list[str]
    rows: npt.NDArray[np.int64]
    signal_mv: Array
    gaps: npt.NDArray[np.bool_]


def _ready(signal_mv: xr.DataArray, rate_hz: float) -> _Ready | None:
    leads, given = named_rows(signal_mv)
    values = given.astype(np.float32, copy=False)
    if not (np.isfinite(rate_hz) and rate_hz >= 100) or values.shape[1] / rate_hz < _SHORTEST_S:
        return None
    rows = np.flatnonzero(_with_signal(values))
    if not rows.size:
        return None
    if rate_hz != RATE_HZ:
        labelled = xr.DataArray(values, dims=("lead", "sample"))
        values = resample(labelled, rate_hz, RATE_HZ).values
    bridged, gaps = _bridged(values if rows.size == len(values) else values[rows])
    return _Ready([leads[row] for row in rows], rows, bridged, gaps)


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
