"""From a recording to what a network expects: rate, filter, lead order, unit, crop and padding.

The order of steps is fixed: gaps, resampling, filter, crop, unit, padding. The mapping of time is
kept, so that relevance at an input sample can be drawn at the right moment of the record.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from leadlight.classify.cards import InputSection, ModelCard
from leadlight.ecg.filtering import band_pass, resample
from leadlight.ecg.recording import Recording
from leadlight.errors import LeadlightError

# A straight line over a gap this short (less than a narrow QRS) invents no wave; over a longer one
# the network would be shown a flat piece that the heart did not make, so the record is refused.
LONGEST_BRIDGED_GAP_MS = 40.0


@dataclass(frozen=True)
class PreparedInput:
    """One record as a network sees it.

    Attributes:
        values: (lead, sample) float32, the card's lead order and unit, zeros where padded.
        rate_hz: the card's rate.
        first_valid: the first sample that stands for the record, after padding.
        n_valid: how many samples do; they are consecutive.
        start_s: time in the original recording of sample `first_valid`.
        missing_leads: leads that the record lacks and that are zeros here.
        unit_scale: the values are millivolt times this.
    """

    values: xr.DataArray
    rate_hz: float
    first_valid: int
    n_valid: int
    start_s: float
    missing_leads: tuple[str, ...]
    unit_scale: float = 1.0

    @property
    def valid(self) -> slice:
        """The samples that stand for the record, without padding."""
        return slice(self.first_valid, self.first_valid + self.n_valid)

    def sample_of(self, time_s: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Input samples nearest to times of the original recording; -1 where cut off or unknown.

        A time may be at most half a sample beyond the first or last valid sample.
        """
        time = np.asarray(time_s, dtype=np.float64)
        offset = np.rint((time - self.start_s) * self.rate_hz)
        inside = (offset >= 0) & (offset < self.n_valid)  # NaN compares as false
        return np.where(inside, np.where(inside, offset, 0) + self.first_valid, -1).astype(np.int64)

    def time_of(self, sample: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Seconds in the original recording of input samples; NaN for padding."""
        index = np.asarray(sample, dtype=np.int64)
        offset = index - self.first_valid
        inside = (offset >= 0) & (offset < self.n_valid)
        return np.where(inside, self.start_s + offset / self.rate_hz, np.nan)

    def valid_mv(self) -> xr.DataArray:
        """The valid samples in millivolt, (lead, sample)."""
        return self.values.isel(sample=self.valid) / np.float32(self.unit_scale)


def prepare(recording: Recording, card: ModelCard) -> PreparedInput:
    """Make a recording into the input that the card describes.

    Samples at the ends where no lead has a value are not part of the record. Gaps inside a lead of
    up to `LONGEST_BRIDGED_GAP_MS` are bridged by a straight line.

    Args:
        recording: any rate and length.
        card: of the model; only its `[input]` matters.

    Raises:
        LeadlightError: the record has no value at all, a lead that the card wants is missing and
            the card says "refuse", or a gap is too long. The record and the lead are named.
    """
    spec = card.input
    signal = recording.signal_mv.sel(lead=list(spec.leads)).transpose("lead", "sample")
    values = np.where(np.isfinite(signal.values), signal.values, np.nan).astype(np.float32)
    missing = _missing_leads(values, recording.record_id, spec)
    first, values = _without_empty_ends(values)
    _bridge_gaps(values, recording, spec)
    # Missing leads are zeros from here on: the filters take no notice of them.
    whole = xr.DataArray(
        np.nan_to_num(values, nan=0.0), dims=("lead", "sample"), coords={"lead": list(spec.leads)}
    )
    at_rate = resample(whole, recording.rate_hz, spec.rate_hz)
    if spec.highpass_hz is not None or spec.lowpass_hz is not None:
        at_rate = band_pass(at_rate, spec.rate_hz, spec.highpass_hz, spec.lowpass_hz)
    cut = _samples_before_crop(at_rate.sizes["sample"], spec)
    kept = at_rate.values[:, cut : cut + spec.samples] * np.float32(spec.unit_scale)
    before = _zeros_before(kept.shape[1], spec)
    padded = np.zeros((len(spec.leads), spec.samples), dtype=np.float32)
    padded[:, before : before + kept.shape[1]] = kept
    return PreparedInput(
        values=xr.DataArray(padded, dims=("lead", "sample"), coords={"lead": list(spec.leads)}),
        rate_hz=spec.rate_hz,
        first_valid=before,
        n_valid=kept.shape[1],
        start_s=first / recording.rate_hz + cut / spec.rate_hz,
        missing_leads=missing,
        unit_scale=spec.unit_scale,
    )


def _missing_leads(
    values: npt.NDArray[np.float32], record_id: str, spec: InputSection
) -> tuple[str, ...]:
    empty: npt.NDArray[np.bool_] = np.asarray(np.isnan(values).all(axis=1))
    if empty.all():
        raise LeadlightError(f"Record {record_id} has no value in any lead that the model expects.")
    missing = tuple(lead for lead, gone in zip(spec.leads, empty, strict=True) if gone)
    if missing and spec.missing_leads == "refuse":
        raise LeadlightError(
            f"Record {record_id} lacks {', '.join(missing)}, which the model expects.",
            advice='A card with missing_leads = "zero" accepts such records.',
        )
    return missing


def _without_empty_ends(
    values: npt.NDArray[np.float32],
) -> tuple[int, npt.NDArray[np.float32]]:
    """Where the record begins, and a copy of (lead, sample) from there to where it ends."""
    present = np.flatnonzero(~np.isnan(values).all(axis=0))
    return int(present[0]), values[:, present[0] : present[-1] + 1].copy()


def _bridge_gaps(values: npt.NDArray[np.float32], recording: Recording, spec: InputSection) -> None:
    """Fill short gaps of (lead, sample) in place; a gap at an end takes the nearest value."""
    longest = int(LONGEST_BRIDGED_GAP_MS / 1000 * recording.rate_hz)
    for lead, row in zip(spec.leads, values, strict=True):
        gap = np.isnan(row)
        if not gap.any() or gap.all():
            continue
        edges = np.flatnonzero(np.diff(gap, prepend=False, append=False))
        length = int((edges[1::2] - edges[::2]).max())
        if length > longest:
            raise LeadlightError(
                f"Lead {lead} of record {recording.record_id} has a gap of "
                f"{1000 * length / recording.rate_hz:.0f} ms; "
                f"up to {LONGEST_BRIDGED_GAP_MS:.0f} ms are bridged."
            )
        row[gap] = np.interp(np.flatnonzero(gap), np.flatnonzero(~gap), row[~gap])


def _samples_before_crop(samples: int, spec: InputSection) -> int:
    surplus = max(samples - spec.samples, 0)
    return surplus // 2 if spec.crop == "centre" else 0


def _zeros_before(samples: int, spec: InputSection) -> int:
    lacking = spec.samples - samples
    return {"both": lacking // 2, "start": lacking, "end": 0}[spec.padding]
