"""A cohort of simulated people in a study folder, with the truth beside it.

Records are made in parts of 256 (a shard of the cohort), by any number of processes, and each part
is kept once it is whole: the same command goes on behind the last one after a kill, and what it
ends with is the same to the byte. `.simulate.partial/` holds what is under way.
"""

import json
import multiprocessing
import shutil
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight import __version__
from leadlight.atomic import (
    put_in_place,
    refuse_overwrite,
    take_away,
    write_json,
    written_whole,
)
from leadlight.cohort.journal import PARTIAL as COHORT_PARTIAL
from leadlight.cohort.signals import SHARD_RECORDS
from leadlight.cohort.store import Cohort, CohortWriter, open_cohort
from leadlight.ecg.quality import quality_flags
from leadlight.errors import LeadlightError
from leadlight.locking import one_at_a_time
from leadlight.processes import end_with_parent
from leadlight.progress import bar, say
from leadlight.provenance import write_provenance
from leadlight.simulate.effects import DIAGNOSES
from leadlight.simulate.genotyped_people import (
    PREFIX,
    Genomes,
    GenotypedPeople,
    make_genotyped_people,
)
from leadlight.simulate.heart import Fiducials
from leadlight.simulate.people import People, draw_people
from leadlight.simulate.population import SimulatedRecording, simulate_recordings

PARTIAL = ".simulate.partial"
LOCK = ".simulate.lock"
# What a simulated study holds beside its cohort.
RESULTS = (PREFIX, "phenotypes.parquet", "covariates.parquet", "truth")

# Ectopic beats are no diagnosis with a liability: so many people have some.
_ECTOPY = {"PVC": 0.03, "PAC": 0.04}
_ECTOPY_STREAM = 30
# How severe a diagnosis is at the threshold, and per standard deviation of liability above it.
_LEAST_SEVERITY, _SEVERITY_SLOPE = 1.0, 0.6

# What the recording truly shows of the heart's intervals.
_TRUE_VALUES = ("rate_bpm", "p_ms", "pr_ms", "qrs_ms", "qt_ms")

_TASK_RECORDS = 32
_AHEAD = 3


@dataclass(frozen=True)
class _Task:
    """Some people for one worker; all that their recordings depend on.

    `excess`: of `GenotypedPeople`; None for people without genomes.
    """

    people: People
    excess: npt.NDArray[np.float64] | None
    seed: int
    rate_hz: float
    duration_s: float
    noise: float


@dataclass(frozen=True)
class _Made:
    """One person's recording with its quality flags."""

    simulated: SimulatedRecording
    flags: tuple[str, ...]


@one_at_a_time("study", LOCK, "simulating into")
def simulate_cohort(
    study: Path,
    people: int,
    *,
    seed: int,
    rate_hz: float = 500.0,
    duration_s: float = 10.0,
    noise: float = 1.0,
    genomes: Genomes | None = None,
    workers: int = 1,
    overwrite: bool = False,
) -> Cohort:
    """Make `people` simulated ECGs in `study`, and `truth/` with what made them.

    `truth/parameters.parquet` has one row per record (rhythm, conduction, intervals in ms, ...);
    `truth/fiducials.parquet` has `record_id, beat, wave (P, QRS, T), onset, peak, offset` in
    samples, NaN where a wave is absent, and whether the beat is `ectopic`. With `genomes`
    there are also `genotypes/`, `phenotypes.parquet`, `covariates.parquet` and more of `truth/`
    (docs/simulate.md), and the hearts are those of a population, in which diseases are as rare as
    their liabilities make them; without, every diagnosis is common, for training.

    The same arguments give the same people and the same bytes at any number of `workers`.

    Args:
        study: the study folder.
        people: how many.
        seed: of everything.
        rate_hz, duration_s: of each recording.
        noise: factor on the electrode noise; 0 is clean.
        genomes: what genomes to give them; none where None.
        workers: processes. With more than one, a script needs `if __name__ == "__main__":`.
        overwrite: replace what the folder holds.

    Raises:
        LeadlightError: `people` is not positive, the folder holds results already or an unfinished
            simulation of other settings, or what `genomes` needs is out of range or not installed.
    """
    if people < 1:
        raise LeadlightError(f"{people} people were asked for.", advice="Ask for one or more.")
    if genomes is not None:
        genomes.checked(people)
    settings: dict[str, Any] = {
        "people": people,
        "seed": seed,
        "rate_hz": rate_hz,
        "duration_s": duration_s,
        "noise": noise,
        "genomes": None if genomes is None else asdict(genomes),
    }
    folder = study / PARTIAL
    _take_folder(study, folder, {"layout": 1, "version": __version__, **settings}, overwrite)
    # `ready` with no unfinished cohort: only the last moves were cut off.
    if not ((folder / "ready").exists() and not (study / COHORT_PARTIAL).exists()):
        genotyped = None
        if genomes is not None:
            genotyped = make_genotyped_people(
                folder,
                people,
                [_record_id(number) for number in range(people)],
                seed=seed,
                genomes=genomes,
                workers=workers,
            )
        _make_records(study, folder, settings, genotyped, workers, overwrite)
    _publish(study, folder)
    return open_cohort(study)


def _record_id(number: int) -> str:
    return f"sim{number:06d}"


def _take_folder(study: Path, folder: Path, key: dict[str, Any], overwrite: bool) -> None:
    """Make the working folder, or go on with one of the same settings.

    Raises:
        LeadlightError: results are there, or unfinished work of other settings, and `overwrite` is
            not given.
    """
    key = json.loads(json.dumps(key))
    try:
        found = json.loads((folder / "key.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if found == key:
        say("Going on with an unfinished simulation.")
        return
    if found is not None and not overwrite:
        raise LeadlightError(
            f"{folder} holds an unfinished simulation of other settings.",
            advice="Run that one again to finish it, or give --overwrite to drop it.",
        )
    for name in ("records.parquet", "cohort.zarr", *RESULTS):
        refuse_overwrite(study / name, overwrite)
    (folder / "key.json").unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_json(folder / "key.json", key)


def _make_records(
    study: Path,
    folder: Path,
    settings: Mapping[str, Any],
    genotyped: GenotypedPeople | None,
    workers: int,
    overwrite: bool,
) -> None:
    """Stream the recordings into the cohort and their truth into parts, then finish both."""
    count = int(settings["people"])
    parts = folder / "truth-parts"
    parts.mkdir(exist_ok=True)
    with (
        CohortWriter(
            study,
            # What may not be replaced was refused before the work began.
            overwrite=overwrite,
            made_from={"simulation": dict(settings)},
            verb="simulate",
            parameters=settings,
        ) as writer,
        bar("Simulating hearts", count) as progress,
    ):
        done = len(writer)
        progress.step(done)
        parameters: list[dict[str, object]] = []
        fiducials: list[pl.DataFrame] = []
        rate_hz = float(settings["rate_hz"])
        for number, one in enumerate(_recordings(settings, genotyped, done, workers), start=done):
            parameters.append({"record_id": _record_id(number), **one.simulated.truth})
            fiducials.append(_fiducial_rows(one.simulated, rate_hz))
            if len(parameters) == SHARD_RECORDS or number == count - 1:
                # Before the shard itself, which is committed with its last record.
                _write_truth_part(parts, number // SHARD_RECORDS, parameters, fiducials)
                parameters, fiducials = [], []
            writer.add(one.simulated.recording, one.simulated.labels, flags=one.flags)
            progress.step()
        _finish_tables(folder, count, settings)
        write_json(folder / "ready", True)


def _recordings(
    settings: Mapping[str, Any], genotyped: GenotypedPeople | None, first: int, workers: int
) -> Iterator[_Made]:
    """The recordings from person `first` on, in order, from this process or from several."""
    tasks = _tasks(settings, genotyped, first)
    if workers <= 1:
        for task in tasks:
            yield from _make(task)
        return
    # A fork would copy the locks of the array libraries; a fork server starts clean.
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent) as pool:
        under_way: deque[Future[list[_Made]]] = deque()
        for task in tasks:
            under_way.append(pool.submit(_make, task))
            if len(under_way) >= workers * _AHEAD:
                yield from under_way.popleft().result()
        while under_way:
            yield from under_way.popleft().result()


def _tasks(
    settings: Mapping[str, Any], genotyped: GenotypedPeople | None, first: int
) -> Iterator[_Task]:
    count, seed = int(settings["people"]), int(settings["seed"])
    for start in range(first, count, _TASK_RECORDS):
        rows = np.arange(start, min(start + _TASK_RECORDS, count))
        yield _Task(
            draw_people(rows.tolist(), seed) if genotyped is None else _of(genotyped.people, rows),
            None if genotyped is None else genotyped.excess[rows],
            seed,
            float(settings["rate_hz"]),
            float(settings["duration_s"]),
            float(settings["noise"]),
        )


def _make(task: _Task) -> list[_Made]:
    """The recordings of a task's people, in their order."""
    if task.excess is None:
        made = list(
            simulate_recordings(
                len(task.people),
                seed=task.seed,
                rate_hz=task.rate_hz,
                duration_s=task.duration_s,
                noise=task.noise,
                people=task.people,
            )
        )
    else:
        made = _population_recordings(task)
    return [_Made(one, quality_flags(one.recording)) for one in made]


def _population_recordings(task: _Task) -> list[SimulatedRecording]:
    """People whose diagnoses follow from their liabilities, and who have nothing else."""
    assert task.excess is not None
    made: list[SimulatedRecording] = []
    for row, number in enumerate(task.people.number.tolist()):
        severities = {
            name: _LEAST_SEVERITY + _SEVERITY_SLOPE * float(excess)
            for name, excess in zip(DIAGNOSES, task.excess[row], strict=True)
            if excess > 0
        }
        if "LBBB" in severities:  # nobody has both blocks
            severities.pop("RBBB", None)
        drawn = np.random.default_rng([task.seed, number, _ECTOPY_STREAM]).random(len(_ECTOPY))
        for (name, share), uniform in zip(_ECTOPY.items(), drawn, strict=True):
            if uniform < share and not (name == "PAC" and "AF" in severities):
                severities[name] = 1.0
        made += simulate_recordings(
            1,
            seed=task.seed,
            rate_hz=task.rate_hz,
            duration_s=task.duration_s,
            noise=task.noise,
            people=_of(task.people, np.array([row])),
            severities=severities,
        )
    return made


def _of(people: People, rows: npt.NDArray[np.int64]) -> People:
    return replace(
        people,
        **{
            name: getattr(people, name)[rows]
            for name in ("number", "sex", "age_years", "height_cm", "body_mass_index", "z")
        },
    )


def _write_truth_part(
    parts: Path, part: int, parameters: list[dict[str, object]], fiducials: list[pl.DataFrame]
) -> None:
    with written_whole(parts / f"parameters-{part:05d}.parquet") as partial:
        pl.DataFrame(parameters, infer_schema_length=None).write_parquet(partial)
    with written_whole(parts / f"fiducials-{part:05d}.parquet") as partial:
        pl.concat(fiducials).write_parquet(partial)


def _finish_tables(folder: Path, count: int, settings: Mapping[str, Any]) -> None:
    """Put all that is published beside the cohort into `final/`."""
    with written_whole(folder / "final") as final:
        final.mkdir()
        tables = folder / "tables"
        if tables.exists():
            shutil.copytree(tables, final, dirs_exist_ok=True)
            (final / "people.npz").unlink()
        truth = final / "truth"
        truth.mkdir(exist_ok=True)
        n_parts = -(-count // SHARD_RECORDS)
        for table in ("parameters", "fiducials"):
            names = [folder / "truth-parts" / f"{table}-{n:05d}.parquet" for n in range(n_parts)]
            pl.scan_parquet(names).sink_parquet(truth / f"{table}.parquet", row_group_size=100_000)
        if tables.exists():
            _add_true_values(final / "phenotypes.parquet", truth / "parameters.parquet")
        write_provenance(truth, "simulate", settings)


def _add_true_values(phenotypes: Path, parameters: Path) -> None:
    """Add to the scores what they came to in each recording, null where there is no such wave."""
    values = pl.read_parquet(parameters, columns=list(_TRUE_VALUES))
    table = pl.read_parquet(phenotypes)
    pl.concat([table, values.fill_nan(None)], how="horizontal").write_parquet(phenotypes)


def _publish(study: Path, folder: Path) -> None:
    """Move everything to its final name; what an earlier simulation left is replaced."""
    final = folder / "final"
    if (folder / PREFIX).exists():
        (folder / PREFIX).replace(final / PREFIX)
    if not (folder / "cleared").exists():  # once: after a kill, what is missing here was moved
        for name in RESULTS:
            if not (final / name).exists():
                take_away(study / name)
        write_json(folder / "cleared", True)
    for name in RESULTS:
        if (final / name).exists():
            put_in_place(final / name, study / name)
    # First: without it, what a kill leaves of the others is not gone on with.
    (folder / "key.json").unlink(missing_ok=True)
    shutil.rmtree(folder)


def _fiducial_rows(one: SimulatedRecording, rate_hz: float) -> pl.DataFrame:
    found: Fiducials = one.fiducials
    count = len(found.qrs_onset_s)
    waves = {
        "P": (found.p_onset_s, found.p_peak_s, found.p_offset_s),
        "QRS": (found.qrs_onset_s, found.r_peak_s, found.qrs_offset_s),
        "T": (found.t_onset_s, found.t_peak_s, found.t_offset_s),
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
                "ectopic": found.ectopic,
            }
        )
        for wave, (onset, peak, offset) in waves.items()
    )
