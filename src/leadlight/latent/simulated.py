"""Median beats of simulated hearts, made at scale for training, with the traits that made them.

Strips are shorter than a recording and R is taken from the simulator, so a beat costs a fifth of
simulating, importing and measuring a study; the beats differ from measured ones by less than the
beats' own noise (tests/latent/test_simulated.py).
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight.cohort.splits import split_of
from leadlight.ecg.leads import INDEPENDENT_LEADS
from leadlight.ecg.median_beat import R_SAMPLE, RATE_HZ, median_beat
from leadlight.errors import LeadlightError
from leadlight.latent.beats import LIMITS, Beats, beats_of_arrays, own_samples
from leadlight.progress import bar
from leadlight.simulate.heart import Fiducials
from leadlight.simulate.people import draw_people
from leadlight.simulate.population import SimulatedRecording, simulate_recordings

_PARTS = {
    "p_onset": "p_onset_s", "p_offset": "p_offset_s", "qrs_onset": "qrs_onset_s",
    "qrs_offset": "qrs_offset_s", "t_onset": "t_onset_s", "t_offset": "t_offset_s",
}  # fmt: skip


def simulate_beats(
    people: int,
    *,
    seed: int,
    first: int = 0,
    duration_s: float = 6.0,
    noise: float = 1.0,
    severities: Mapping[str, float] | None = None,
) -> tuple[Beats, npt.NDArray[np.float64]]:
    """Median beats of simulated people, and their scores.

    Args:
        people: how many.
        seed: of the population; see `simulate_recordings`.
        first: number of the first person.
        duration_s: of each strip.
        noise: factor on the electrode noise.
        severities: what everybody has; {} makes all healthy. Drawn as in an archive where None.

    Returns:
        Beats, whose `split` follows the usual hash of the name, and z (record, trait of
        `simulate.traits.TRAIT_NAMES`). A person whose strip holds no whole beat is left out.
    """
    drawn = draw_people(range(first, first + people), seed)
    made = simulate_recordings(
        people, seed=seed, duration_s=duration_s, noise=noise, people=drawn, severities=severities
    )
    beats, rows, limits, measured, scores = [], [], [], [], []
    with bar("Simulating beats", people) as progress:
        for person, one in enumerate(made):
            progress.step()
            try:
                r_peaks = np.rint(one.fiducials.r_peak_s * RATE_HZ).astype(np.int64)
                beat = median_beat(one.recording.signal_mv, RATE_HZ, r_peaks)
            except LeadlightError:
                continue
            beats.append(beat.beat_mv.sel(lead=list(INDEPENDENT_LEADS)).values)
            limits.append(_limits(one.fiducials))
            measured.append(_intervals(one))
            scores.append(drawn.z[person])
            rows.append(
                {
                    "record_id": one.recording.record_id,
                    "patient_id": one.recording.patient_id or one.recording.record_id,
                    "study": "simulated",
                    "split": split_of(f"{seed}-{first + person}"),
                    "labels": list(one.labels),
                    "age": float(drawn.age_years[person]),
                    "sex": str(drawn.sex[person]),
                }
            )
    own = own_samples(pl.DataFrame(measured))
    whole = np.stack(beats).astype(np.float32)
    found = beats_of_arrays(whole, pl.DataFrame(rows), own, np.stack(limits).astype(np.float32))
    return found, np.stack(scores)


def _limits(fiducials: Fiducials) -> npt.NDArray[np.float64]:
    """(limit of LIMITS) in samples of the median beat: the median over beats; NaN where absent."""
    found = np.full(len(LIMITS), np.nan)
    for place, name in enumerate(LIMITS):
        from_r = getattr(fiducials, _PARTS[name]) - fiducials.r_peak_s
        known = from_r[np.isfinite(from_r)]
        if len(known):
            found[place] = np.median(known) * RATE_HZ + R_SAMPLE
    return found


def _intervals(one: SimulatedRecording) -> dict[str, float]:
    rr_ms = np.diff(one.fiducials.r_peak_s) * 1e3
    has = len(rr_ms) > 0
    return {
        "rr_ms": float(rr_ms.mean()) if has else float("nan"),
        "rr_sd_ms": float(rr_ms.std()) if has else float("nan"),
        "pr_ms": float(one.truth["pr_ms"]),
        "qt_ms": float(one.truth["qt_ms"]),
    }
