"""What is wrong with a recording: flags per record and lead, and which of them exclude it."""

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import xarray as xr

from leadlight.ecg.filtering import both_ways, halved
from leadlight.ecg.leads import DERIVED_FROM_I_II, LEADS, algebra_residual_mv
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
STILL_MV = 1e-4
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
_LEAST_HZ = 250.0  # rate at which a beat's height and shape are looked at


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
    if _breaks_algebra(signal_mv):
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
    by_name = _rows(signal_mv)
    present = [lead for lead in LEADS if lead not in missing]
    values = np.stack([by_name[lead] for lead in present]) if present else np.zeros((0, 1))
    suspects = _suspects(values, rate_hz)
    for lead, row, suspect in zip(present, values, suspects, strict=True):
        if not suspect:
            continue
        known = row[np.isfinite(row)]
        if known.size < row.size:
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


def _breaks_algebra(signal_mv: xr.DataArray) -> bool:
    rows = _rows(signal_mv)
    with np.errstate(invalid="ignore"):
        far = [
            np.abs(rows[lead] - (of_one * rows["I"] + of_two * rows["II"])) > ALGEBRA_MV
            for lead, (of_one, of_two) in DERIVED_FROM_I_II.items()
        ]
    # The percentile takes ten times as long, and is below the limit where hardly a sample is above.
    if max(int(each.sum()) for each in far) < 0.005 * signal_mv.sizes["sample"]:
        known = [np.isfinite(rows[lead]).mean() for lead in (*DERIVED_FROM_I_II, "I", "II")]
        if min(known) == 1.0:
            return False
    residual = [error for error in algebra_residual_mv(signal_mv).values() if np.isfinite(error)]
    return max(residual, default=0.0) > ALGEBRA_MV


def _rows(signal_mv: xr.DataArray) -> dict[str, npt.NDArray[np.float64]]:
    """(sample,) by lead."""
    values = signal_mv.transpose("lead", "sample").values.astype(np.float64)
    return dict(zip(map(str, signal_mv["lead"].values), values, strict=True))


def _suspects(values_mv: npt.NDArray[np.float64], rate_hz: float) -> npt.NDArray[np.bool_]:
    """(lead,) whether anything of `_of_leads` may hold; most leads are cleared here, together."""
    if values_mv.shape[1] < 4:
        return np.ones(len(values_mv), dtype=np.bool_)
    high, low = values_mv.max(axis=1, keepdims=True), values_mv.min(axis=1, keepdims=True)
    ranges = (high - low)[:, 0]
    still = (np.abs(np.diff(values_mv, axis=1)) < STILL_MV).mean(axis=1) >= 0.9 * _FLAT_SHARE
    quiet = values_mv.std(axis=1) < 1.01 * FLAT_SD_MV
    wide = ranges > WANDER_MV
    for lead in np.flatnonzero(ranges >= _CLIP_LEAST_MV):
        row = values_mv[lead]
        at_ends = (high[lead] - row < STILL_MV).sum(), (row - low[lead] < STILL_MV).sum()
        wide[lead] |= max(at_ends) >= 3
    noisy = _noise_mv(values_mv, rate_hz) > 0.99 * NOISE_MV
    # NaN makes every comparison false, the last one excepted.
    return np.asarray(still | quiet | wide | noisy | ~np.isfinite(ranges))


def is_flat(values_mv: npt.NDArray[np.float64], rate_hz: float) -> bool:
    """Whether a lead (sample) hardly moves, or stands still for half of the strip or more.

    Standing still is a run of equal samples of at least 200 ms; an electrode that came off for
    part of the strip gives such runs between swings.
    """
    if values_mv.std() < FLAT_SD_MV:
        return True
    runs = _runs(np.abs(np.diff(values_mv)) < STILL_MV)
    still = runs[runs >= _FLAT_RUN_S * rate_hz].sum()
    return bool(still >= _FLAT_SHARE * values_mv.size)


def is_saturated(values_mv: npt.NDArray[np.float64], rate_hz: float) -> bool:
    """Whether a lead (sample) stays for 20 ms or more on its own extreme, 2 mV or more away."""
    centre = np.median(values_mv)
    for extreme in (values_mv.max(), values_mv.min()):
        if abs(extreme - centre) >= _CLIP_LEAST_MV:
            runs = _runs(np.abs(values_mv - extreme) < STILL_MV)
            if runs.max(initial=0) >= max(3, _CLIP_RUN_S * rate_hz):
                return True
    return False


def noise_mv(values_mv: npt.NDArray[np.float64], rate_hz: float) -> float:
    """Noise of a lead (sample) between its QRS complexes.

    The standard deviation of what changes faster than a T wave does, in windows of 100 ms; the
    lower quartile over the windows, which leaves QRS complexes out.
    """
    return float(_noise_mv(values_mv[None], rate_hz)[0])


def _noise_mv(values_mv: npt.NDArray[np.float64], rate_hz: float) -> npt.NDArray[np.float64]:
    """(lead,) of (lead, sample); NaN where a lead has gaps."""
    second = np.diff(values_mv, 2, axis=1)
    width = max(4, int(0.1 * rate_hz))
    n_windows = second.shape[1] // width
    if n_windows == 0:
        return np.zeros(len(values_mv))
    windows = second[:, : n_windows * width].reshape(len(values_mv), n_windows, width)
    # White noise of unit size gives second differences of size sqrt(6).
    return np.asarray(np.quantile(windows.std(axis=2), 0.25, axis=1) / np.sqrt(6))


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
    leads = _rows(signal_mv)
    times_s, beat = _beat_for_shape(leads, rate_hz, peaks)
    within = (times_s >= -0.06) & (times_s <= 0.06)
    height_mv = float(np.median(np.ptp(beat[:, within], axis=1)))
    if not GAIN_RANGE_MV[0] <= height_mv <= GAIN_RANGE_MV[1]:
        flags.append("wrong-gain")
    if _arms_swapped(dict(zip(leads, beat, strict=True)), times_s):
        flags.append("swapped-limb-leads")
    return flags


def _beat_for_shape(
    leads_mv: Mapping[str, npt.NDArray[np.float64]], rate_hz: float, peaks: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(sample,) seconds from R, 0.25 before to 0.4 after, and (lead, sample) the median beat."""
    rows = np.stack(list(leads_mv.values()))
    gap = ~np.isfinite(rows)
    bridged = rows
    if gap.any():
        bridged = rows.copy()
        at = np.arange(rows.shape[1])
        for row, missing in zip(bridged, gap, strict=True):
            if missing.all():
                row[:] = 0.0
            elif missing.any():
                row[missing] = np.interp(at[missing], at[~missing], row[~missing])
    while rate_hz >= 2 * _LEAST_HZ and rate_hz % (2 * _LEAST_HZ) == 0:
        bridged, gap, peaks, rate_hz = halved(bridged), gap[:, ::2], peaks // 2, rate_hz / 2
    smooth = both_ways(bridged, rate_hz, 0.5, min(40.0, 0.45 * rate_hz))
    if gap.any():
        smooth[gap] = 0.0
    before, after = int(0.25 * rate_hz), int(0.4 * rate_hz)
    around = np.arange(-before, after + 1)
    inside = peaks[(peaks >= before) & (peaks < smooth.shape[1] - after)]
    used = inside if inside.size else peaks
    beats = smooth[:, np.clip(used[:, None] + around, 0, smooth.shape[1] - 1)]
    return around / rate_hz, np.asarray(np.median(beats, axis=1))


def _arms_swapped(
    beat_mv: Mapping[str, npt.NDArray[np.float64]], times_s: npt.NDArray[np.float64]
) -> bool:
    """Whether the left and right arm electrodes look swapped."""
    lateral = next((lead for lead in ("V6", "V5") if lead in beat_mv), None)
    if "I" not in beat_mv or lateral is None:
        return False
    for first, last in ((-0.25, -0.08), (-0.06, 0.06), (0.12, 0.4)):
        part = (times_s >= first) & (times_s <= last)
        if not _correlation(beat_mv["I"][part], beat_mv[lateral][part]) < _SWAP_CORRELATION:
            return False
    return True


def _correlation(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    left, right = first - first.mean(), second - second.mean()
    length = float(np.sqrt((left**2).sum() * (right**2).sum()))
    return float((left * right).sum() / length) if length > 0 else 0.0


def _runs(true: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Lengths of the runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], true.astype(np.int8), [0]))))
    return edges[1::2] - edges[::2]
