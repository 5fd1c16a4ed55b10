"""A cart's own median beat, at our rate and with R at our sample."""

import numpy as np
import xarray as xr

from leadlight.ecg.beat_windows import cut_windows, cut_windows_at, r_of_average, unit_shapes
from leadlight.ecg.filtering import resample
from leadlight.ecg.leads import LEADS, as_leads
from leadlight.ecg.median_beat import QRS, R_SAMPLE, RATE_HZ, SAMPLES, MedianBeat
from leadlight.ecg.recording import Recording
from leadlight.ecg.rpeaks import find_r_peaks
from leadlight.errors import LeadlightError


def cart_median_beat(recording: Recording, own: MedianBeat | None = None) -> MedianBeat:
    """The cart's own median beat, at our rate and with R at our sample.

    Its R is mapped, not assumed: to where it fits `own` (the median beat of the same strip) best,
    or without one to its largest QRS vector. The few samples that the shift asks for beyond the
    cart's window repeat its last value. Samples are otherwise the cart's.

    Raises:
        LeadlightError: the recording has none, or no QRS is found in it.
    """
    beat, rate_hz = recording.median_beat_mv, recording.median_beat_rate_hz
    if beat is None or not rate_hz:
        raise LeadlightError(
            f"{recording.record_id} holds no median beat of a cart.",
            advice="Make one from its strip: leadlight.ecg.median_beat.median_beat.",
        )
    at_rate = resample(beat, rate_hz, RATE_HZ).sel(lead=list(LEADS))
    r_sample = _r_of_cart(at_rate, own)
    values = np.nan_to_num(at_rate.transpose("lead", "sample").values.astype(np.float64))
    shifted = cut_windows_at(values, np.array([r_sample]), -R_SAMPLE, SAMPLES - R_SAMPLE)[0]
    shifted[np.isnan(at_rate.values).all(axis=1)] = np.nan
    noise = xr.DataArray(np.full(len(LEADS), np.nan), dims="lead", coords={"lead": list(LEADS)})
    return MedianBeat(
        beat_mv=as_leads(shifted.astype(np.float32)),
        n_beats=int(recording.cart_measurements.get("n_beats", 0)),
        n_found=int(recording.cart_measurements.get("n_beats", 0)),
        used=np.zeros(0, dtype=np.bool_),
        r_samples=np.zeros(0),
        noise_uv=noise,
        own=(0, SAMPLES) if own is None else own.own,
        source="cart",
        other_shape_share=float("nan") if own is None else own.other_shape_share,
    )


def cart_sample(recording: Recording, own: MedianBeat, ms: float) -> float:
    """The sample of `cart_median_beat` that lies `ms` from the start of the cart's own beat."""
    assert recording.median_beat_mv is not None
    assert recording.median_beat_rate_hz
    at_rate = resample(recording.median_beat_mv, recording.median_beat_rate_hz, RATE_HZ)
    return ms / 1000 * RATE_HZ - _r_of_cart(at_rate.sel(lead=list(LEADS)), own) + R_SAMPLE


def _r_of_cart(beat_mv: xr.DataArray, own: MedianBeat | None) -> float:
    """Our R reference on a cart's beat at RATE_HZ, in its samples."""
    peaks = find_r_peaks(beat_mv, RATE_HZ)
    values = np.nan_to_num(beat_mv.transpose("lead", "sample").values.astype(np.float64))
    if not len(peaks):
        raise LeadlightError(
            "The cart's median beat holds no QRS.", advice="Make one from the strip instead."
        )
    # The main beat; at high rates the window holds the one before or after as well.
    peak = int(peaks[np.argmin(np.abs(peaks - R_SAMPLE))])
    if own is None:
        return peak + r_of_average(cut_windows(values, np.array([peak]), -50, 50))
    ours = np.nan_to_num(own.beat_mv.values.astype(np.float64))
    reach = np.arange(-15, 15.01, 0.25)
    part = slice(R_SAMPLE + QRS[0], R_SAMPLE + QRS[1])
    template = unit_shapes(ours[None, :, part])[0]
    tried = cut_windows_at(values, peak + reach, *QRS)
    return float(peak + reach[int(np.argmax(unit_shapes(tried) @ template))])
