"""A cohort of simulated people in a study folder, with the truth beside it."""

from pathlib import Path

import numpy as np
import polars as pl

from leadlight.atomic import written_whole
from leadlight.cohort.store import Cohort, CohortWriter, open_cohort
from leadlight.ecg.quality import quality_flags
from leadlight.errors import LeadlightError
from leadlight.progress import bar
from leadlight.provenance import write_provenance
from leadlight.simulate.heart import Fiducials
from leadlight.simulate.population import SimulatedRecording, simulate_recordings


def simulate_cohort(
    study: Path,
    people: int,
    *,
    seed: int,
    rate_hz: float = 500.0,
    duration_s: float = 10.0,
    noise: float = 1.0,
    overwrite: bool = False,
) -> Cohort:
    """Make `people` simulated ECGs in `study`, and `truth/` with what made them.

    `truth/parameters.parquet` has one row per record (rhythm, conduction, intervals in ms, ...);
    `truth/fiducials.parquet` has `record_id, beat, wave (P, QRS, T), onset, peak, offset` in
    samples, NaN where a wave is absent or the simulator does not define the point.

    Raises:
        LeadlightError: `people` is not positive, or the folder holds a cohort already.
    """
    if people < 1:
        raise LeadlightError(f"{people} people were asked for.", advice="Ask for one or more.")
    settings = {
        "people": people,
        "seed": seed,
        "rate_hz": rate_hz,
        "duration_s": duration_s,
        "noise": noise,
    }
    parameters: list[dict[str, object]] = []
    fiducials: list[pl.DataFrame] = []
    made = simulate_recordings(
        people, seed=seed, rate_hz=rate_hz, duration_s=duration_s, noise=noise
    )
    with (
        CohortWriter(study, overwrite=overwrite, verb="simulate", parameters=settings) as writer,
        bar("Simulating hearts", people) as progress,
    ):
        for one in made:
            writer.add(one.recording, one.labels, flags=quality_flags(one.recording))
            parameters.append({"record_id": one.recording.record_id, **one.truth})
            fiducials.append(_fiducial_rows(one, rate_hz))
            progress.step()
    with written_whole(study / "truth") as folder:
        folder.mkdir()
        pl.DataFrame(parameters).write_parquet(folder / "parameters.parquet")
        pl.concat(fiducials).write_parquet(folder / "fiducials.parquet")
        write_provenance(folder, "simulate", settings)
    return open_cohort(study)


def _fiducial_rows(one: SimulatedRecording, rate_hz: float) -> pl.DataFrame:
    found: Fiducials = one.fiducials
    count = len(found.qrs_onset_s)
    unknown = np.full(count, np.nan)
    waves = {
        "P": (found.p_onset_s, unknown, found.p_offset_s),
        "QRS": (found.qrs_onset_s, unknown, found.qrs_offset_s),
        "T": (unknown, found.t_peak_s, found.t_offset_s),
    }
    return pl.concat(
        pl.DataFrame(
            {
                "record_id": [one.recording.record_id] * count,
                "beat": np.arange(count),
                "wave": [wave] * count,
                "onset": onset * rate_hz,
                "peak": peak * rate_hz,
                "offset": offset * rate_hz,
            }
        )
        for wave, (onset, peak, offset) in waves.items()
    )
