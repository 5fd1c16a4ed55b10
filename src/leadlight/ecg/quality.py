"""What is wrong with a recording: flags per record and lead, and which of them exclude it."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import xarray as xr

from leadlight.ecg.filtering import band_pass
from leadlight.ecg.leads import LEADS, algebra_residual_mv
from leadlight.ecg.recording import Recording
from leadlight.ecg.rpeaks import find_r_peaks

# A flag is one of these words, followed by ":" and the lead where it is about one lead.
FLAGS = {
    "missing": "the file lacks the lead and no other leads give it",
    "nan": "the lead has gaps",
    "flat": "the lead does not move",
    "saturated": "the lead is clipped at the end of its range",
    "noisy": "the lead is buried in noise",
    "wandering": "the lead's baseline jumps or drifts by millivolts",
    "damaged": "the file's checksum of the lead does not fit its samples",
    "wrong-gain": "QRS complexes are far larger or smaller than any heart's: the gain is misstated",
    "swapped-limb-leads": "lead I is upside down: the arm electrodes are swapped",
    "algebra-violated": "the limb leads contradict each other",
    "too-short": "the strip is too short for a rhythm or a median beat",
    "no-beats": "no QRS complex is found",
}
# Analyses leave out a record with any of these, which is all but one: leads that were filtered or
# scaled apart from each other (as in LUDB) contradict the lead algebra and still carry right times,
# so that flag is counted and reported only.
EXCLUDING_FLAGS = (
    "missing", "nan", "flat", "saturated", "noisy", "wandering", "damaged", "wrong-gain",
    "swapped-limb-leads", "too-short", "no-beats",
)  # fmt: skip

# Five seconds hold three beats at 36 per minute, the fewest that a median beat is made of.
SHORTEST_S = 5.0
FLAT_SD_MV = 0.005
_FLAT_RUN_S = 0.2
_FLAT_SHARE = 0.5
_CLIP_RUN_S = 0.02
_CLIP_LEAST_MV = 2.0
# Median over leads of the QRS's peak-to-peak height. Of 500 PTB-XL records 99 in 100 lie between
# 0.5 and 2.2 mV; a gain that is misstated five times puts nearly all above.
GAIN_RANGE_MV = (0.15, 2.5)
# Twice the noisiest, and beyond the drift of 99 in 100, of 500 PTB-XL records.
NOISE_MV = 0.03
WANDER_MV = 3.0
ALGEBRA_MV = 0.1
_SWAP_CORRELATION = -0.5


def quality_flags(recording: Recording) -> tuple[str, ...]:
    """Everything that is wrong with a recording, in the order of `FLAGS`, leads in theirs.

    Returns:
        Words of `FLAGS`, with ":" and a lead's name where one lead is meant; empty when all is
        well.
    """
    signal_mv, rate_hz = recording.signal_mv, recording.rate_hz
    missing = set(recording.missing_leads)
    flags = [f"missing:{lead}" for lead in LEADS if lead in missing]
    flags += _of_leads(signal_mv, rate_hz, missing)
    mismatched = recording.notes.get("checksum_mismatch", "")
    flags += [f"damaged:{lead}" for lead in LEADS if lead in mismatched.split(", ")]
    flat = {flag.partition(":")[2] for flag in flags if flag.startswith("flat:")}
    residual = [error for error in algebra_residual_mv(signal_mv).values() if np.isfinite(error)]
    if max(residual, default=0.0) > ALGEBRA_MV:
        flags.append("algebra-violated")
    if recording.duration_s < SHORTEST_S:
        flags.append("too-short")
    peaks = find_r_peaks(signal_mv, rate_hz)
    if peaks.size == 0:
        flags.append("no-beats")
    else:
        live = [lead for lead in LEADS if lead not in missing | flat]
        flags += _of_beats(signal_mv.sel(lead=live), rate_hz, peaks)
    order = list(FLAGS)
    return tuple(sorted(flags, key=lambda flag: order.index(flag.partition(":")[0])))


def excludes(flags: Iterable[str]) -> list[str]:
    """Those of `flags` that leave a record out of analyses (`EXCLUDING_FLAGS`)."""
    return [flag for flag in flags if flag.partition(":")[0] in EXCLUDING_FLAGS]


def _of_leads(signal_mv: xr.DataArray, rate_hz: float, missing: set[str]) -> list[str]:
    """Flags that look at one lead at a time."""
    flags = []
    present = [lead for lead in LEADS if lead not in missing]
    for lead in present:
        values = signal_mv.sel(lead=lead).values.astype(np.float64)
        known = values[np.isfinite(values)]
        if known.size < values.size:
            flags.append(f"nan:{lead}")
        if known.size == 0:
            continue
        if is_flat(known, rate_hz):
            flags.append(f"flat:{lead}")
            continue
        if is_saturated(known, rate_hz):
            flags.append(f"saturated:{lead}")
        if noise_mv(known, rate_hz) > NOISE_MV:
            flags.append(f"noisy:{lead}")
        if wander_mv(known, rate_hz) > WANDER_MV:
            flags.append(f"wandering:{lead}")
    return flags


def is_flat(values_mv: npt.NDArray[np.float64], rate_hz: float) -> bool:
    """Whether a lead (sample) hardly moves, or stands still for half of the strip or more.

    Standing still is a run of equal samples of at least 200 ms; an electrode that came off for
    part of the strip gives such runs between swings.
    """
    if values_mv.std() < FLAT_SD_MV:
        return True
    runs = _runs(np.abs(np.diff(values_mv)) < 1e-4)
    still = runs[runs >= _FLAT_RUN_S * rate_hz].sum()
    return bool(still >= _FLAT_SHARE * values_mv.size)


def is_saturated(values_mv: npt.NDArray[np.float64], rate_hz: float) -> bool:
    """Whether a lead (sample) stays for 20 ms or more on its own extreme, 2 mV or more away."""
    centre = np.median(values_mv)
    for extreme in (values_mv.max(), values_mv.min()):
        if abs(extreme - centre) >= _CLIP_LEAST_MV:
            runs = _runs(np.abs(values_mv - extreme) < 1e-4)
            if runs.max(initial=0) >= max(3, _CLIP_RUN_S * rate_hz):
                return True
    return False


def noise_mv(values_mv: npt.NDArray[np.float64], rate_hz: float) -> float:
    """Noise of a lead (sample) between its QRS complexes.

    The standard deviation of what changes faster than a T wave does, in windows of 100 ms; the
    lower quartile over the windows, which leaves QRS complexes out.
    """
    second = np.diff(values_mv, 2)
    width = max(4, int(0.1 * rate_hz))
    windows = second[: second.size // width * width].reshape(-1, width)
    # White noise of unit size gives second differences of size sqrt(6).
    return float(np.quantile(windows.std(axis=1), 0.25) / np.sqrt(6)) if windows.size else 0.0


def wander_mv(values_mv: npt.NDArray[np.float64], rate_hz: float) -> float:
    """Range over the strip of the medians of one-second pieces of a lead (sample)."""
    width = max(1, int(rate_hz))
    pieces = values_mv[: values_mv.size // width * width].reshape(-1, width)
    return float(np.ptp(np.median(pieces, axis=1))) if pieces.size else 0.0


def _of_beats(signal_mv: xr.DataArray, rate_hz: float, peaks: npt.NDArray[np.int64]) -> list[str]:
    """Flags that need the beats; `signal_mv` holds the leads that are not missing or flat."""
    flags: list[str] = []
    if signal_mv.sizes["lead"] == 0:
        return flags
    beat = median_beat(signal_mv, rate_hz, peaks)
    qrs = beat.sel(sample=slice(-0.06, 0.06))
    height_mv = float(np.median(np.ptp(qrs.values, axis=1)))
    if not GAIN_RANGE_MV[0] <= height_mv <= GAIN_RANGE_MV[1]:
        flags.append("wrong-gain")
    if _arms_swapped(beat):
        flags.append("swapped-limb-leads")
    return flags


def median_beat(
    signal_mv: xr.DataArray, rate_hz: float, peaks: npt.NDArray[np.int64]
) -> xr.DataArray:
    """(lead, sample) the median over beats from 0.25 s before to 0.4 s after R, `sample` in s."""
    smooth = np.nan_to_num(band_pass(signal_mv, rate_hz, 0.5, min(40.0, 0.45 * rate_hz)).values)
    before, after = int(0.25 * rate_hz), int(0.4 * rate_hz)
    around = np.arange(-before, after + 1)
    inside = peaks[(peaks >= before) & (peaks < smooth.shape[1] - after)]
    used = inside if inside.size else peaks
    beats = smooth[:, np.clip(used[:, None] + around, 0, smooth.shape[1] - 1)]
    return xr.DataArray(
        np.median(beats, axis=1),
        dims=("lead", "sample"),
        coords={"lead": signal_mv["lead"].values, "sample": around / rate_hz},
    )


def _arms_swapped(beat: xr.DataArray) -> bool:
    """Whether the left and right arm electrodes look swapped."""
    names = set(beat["lead"].values.tolist())
    if "I" not in names or not names & {"V5", "V6"}:
        return False
    one = beat.sel(lead="I")
    lateral = beat.sel(lead="V6" if "V6" in names else "V5")
    parts = (slice(-0.25, -0.08), slice(-0.06, 0.06), slice(0.12, 0.4))
    fits = [_correlation(one.sel(sample=part), lateral.sel(sample=part)) for part in parts]
    return all(fit < _SWAP_CORRELATION for fit in fits)


def _correlation(first: xr.DataArray, second: xr.DataArray) -> float:
    left, right = first.values - first.values.mean(), second.values - second.values.mean()
    length = float(np.sqrt((left**2).sum() * (right**2).sum()))
    return float((left * right).sum() / length) if length > 0 else 0.0


def _runs(true: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Lengths of the runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], true.astype(np.int8), [0]))))
    return edges[1::2] - edges[::2]
