"""Average beats, aligned on R: signal and relevance in one fixed window.

The window is the same for every heart rate. Windows that scale with the rate and are centred on
their midpoint put R up to 90 ms apart between a fast and a slow cohort, and smear what they show.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from leadlight.classify.prepare import PreparedInput
from leadlight.ecg.recording import Recording
from leadlight.ecg.rpeaks import find_r_peaks
from leadlight.errors import LeadlightError


@dataclass(frozen=True)
class BeatWindow:
    """Milliseconds around R. The default holds P and T of most beats and overlaps little."""

    before_ms: float = 250.0
    after_ms: float = 450.0

    def offsets(self, rate_hz: float) -> npt.NDArray[np.int64]:
        """Samples from R, ascending, all within the window.

        Raises:
            LeadlightError: the window holds no sample.
        """
        first = -int(self.before_ms / 1000 * rate_hz + 1e-9)
        last = int(self.after_ms / 1000 * rate_hz + 1e-9)
        if self.before_ms < 0 or self.after_ms < 0:
            raise LeadlightError(
                f"A beat's window of {self.before_ms:g} ms before and {self.after_ms:g} ms after R "
                "does not hold R."
            )
        return np.arange(first, last + 1)


@dataclass(frozen=True)
class BeatPlaces:
    """R of the beats whose window lies inside the record, and how many do not.

    Attributes:
        samples: (beat) input samples of R.
        n_left_out: beats too near an end of what the model saw, or cut off.
    """

    samples: npt.NDArray[np.int64]
    n_left_out: int


def beat_places(
    recording: Recording, prepared: PreparedInput, window: BeatWindow | None = None
) -> BeatPlaces:
    """Find R on the recording and map it to the model's input.

    A beat whose window is not fully inside the part that stands for the record is left out: its
    padding would be averaged as if it were signal.
    """
    peaks = find_r_peaks(recording.signal_mv, recording.rate_hz)
    samples = prepared.sample_of(peaks / recording.rate_hz)
    offsets = (window or BeatWindow()).offsets(prepared.rate_hz)
    first, last = prepared.valid.start - offsets[0], prepared.valid.stop - 1 - offsets[-1]
    kept = samples[(samples >= first) & (samples <= last)]
    return BeatPlaces(kept, int(samples.size - kept.size))


def average_beat(
    field: xr.DataArray,
    r_samples: npt.NDArray[np.int64],
    rate_hz: float,
    window: BeatWindow | None = None,
) -> xr.DataArray:
    """The mean over beats of a field around R.

    Args:
        field: any axes, one of them `sample`: signal or relevance.
        r_samples: (beat) samples of R; the windows are inside the field (`beat_places`).
        rate_hz: samples per second of the field.
        window: around R.

    Returns:
        The field's axes with `time_ms` (from R) in the place of `sample`; NaN where no beat is.

    Raises:
        LeadlightError: a window reaches beyond the field.
    """
    offsets = (window or BeatWindow()).offsets(rate_hz)
    index = r_samples[:, None] + offsets
    if index.size and (index.min() < 0 or index.max() >= field.sizes["sample"]):
        raise LeadlightError("A beat's window reaches beyond the record.")
    last = field.transpose(..., "sample")
    beats = last.values[..., index].astype(np.float64)  # (..., beat, time)
    shape = (*beats.shape[:-2], offsets.size)
    mean = beats.mean(axis=-2) if r_samples.size else np.full(shape, np.nan)
    names = [str(name) for name in last.dims[:-1]]
    return xr.DataArray(
        mean,
        dims=(*names, "time_ms"),
        coords={
            **{name: last.coords[name] for name in names if name in last.coords},
            "time_ms": 1000.0 * offsets / rate_hz,
        },
    )
