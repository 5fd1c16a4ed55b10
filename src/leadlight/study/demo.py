"""The demonstration: one real ECG that ships with pydicom, and a simulated cohort with genomes.

It is a study like any other: a cohort, genotypes and a study file, and `run_study` does the rest.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydicom.data import get_testdata_file

from leadlight.atomic import refuse_overwrite, write_text
from leadlight.cohort.store import CohortWriter, open_cohort
from leadlight.ecg.formats import read_recording
from leadlight.ecg.quality import quality_flags
from leadlight.errors import LeadlightError
from leadlight.progress import bar
from leadlight.simulate.cohort import simulate_cohort
from leadlight.simulate.genotyped_people import Genomes
from leadlight.simulate.population import simulate_recordings
from leadlight.study.running import StudyRun, run_study

REAL_ECG = "waveform_ecg.dcm"
# People with genomes, their genotypes and what is true of them, in the study folder.
PEOPLE = "people"
# Patients have no genomes. They are numbered from here on, so that nobody has two names.
FIRST_PATIENT = 900_000
# More of the two explained diagnoses, and more normals, than the usual mixture has.
_RHYTHMS = {"sinus": 0.62, "AF": 0.26, "bradycardia": 0.05, "tachycardia": 0.05, "flutter": 0.02}
_CONDUCTIONS = {"normal": 0.68, "LBBB": 0.22, "RBBB": 0.05, "LVH": 0.05}
# Effects are this many times as strong as in life, so that so few people show some of them.
_STRENGTH = 4.0
_VARIANTS = 11_000
_MEGABASES = 1.5  # of each chromosome: variants stand as dense as on an array


@dataclass(frozen=True)
class Demo:
    """What the demo made. page: its report; run: what was done and how long each stage took."""

    page: Path
    run: StudyRun

    def as_json(self) -> dict[str, Any]:
        """JSON-ready, for `--json`."""
        return {"page": str(self.page), **self.run.as_json()}


def run_demo(
    study: Path,
    *,
    people: int = 1200,
    patients: int = 140,
    seed: int = 1,
    workers: int = 2,
    overwrite: bool = False,
) -> Demo:
    """Make the demo's cohort and genomes, and do all that its study file asks for.

    The same seed makes the same people. Simulated records carry `source_format` "simulated"; the
    real ECG carries no label and is shown as an example.

    Args:
        study: the study folder.
        people: with genomes, of a population in which diagnoses are rare.
        patients: without genomes, among whom the explained diagnoses are common.
        seed: of everything.
        workers: processes; the result is the same.
        overwrite: replace what the folder holds.

    Raises:
        LeadlightError: the folder holds another result and `overwrite` is not given, pydicom was
            installed without its sample files, or msprime is not installed.
    """
    refuse_overwrite(study / "records.parquet", overwrite)
    real = real_ecg()
    asked = Genomes(variants=_VARIANTS, megabases=_MEGABASES, strength=_STRENGTH)
    simulate_cohort(
        study / PEOPLE, people, seed=seed, genomes=asked, workers=workers, overwrite=overwrite
    )
    _gather(study, real, patients, seed, {"people": people, "strength": _STRENGTH}, overwrite)
    text = (files("leadlight.study") / "templates" / "demo.toml").read_text(encoding="utf-8")
    text = text.replace("seed = 1", f"seed = {seed}").replace("workers = 2", f"workers = {workers}")
    write_text(study / "study.toml", text)
    run = run_study(study / "study.toml", overwrite=overwrite)
    return Demo(study / "report" / "index.html", run)


def real_ecg() -> Path:
    """The path of the real ECG in pydicom's wheel; raises LeadlightError when it is absent."""
    # download=False: a wheel carries the file, and nothing may be fetched.
    path = get_testdata_file(REAL_ECG, download=False)
    if path is None:
        raise LeadlightError(
            f"pydicom was installed without its sample file {REAL_ECG}.",
            advice="Install pydicom from its wheel: pip install --force-reinstall pydicom.",
        )
    return Path(str(path))


def _gather(
    study: Path, real: Path, patients: int, seed: int, settings: dict[str, Any], overwrite: bool
) -> None:
    """One cohort of the real ECG, the people with genomes, and the patients."""
    settings = settings | {"patients": patients, "seed": seed, "real_ecg": REAL_ECG}
    with (
        CohortWriter(study, overwrite=overwrite, verb="demo", parameters=settings) as writer,
        bar("Gathering recordings", 1 + int(settings["people"]) + patients) as progress,
    ):
        recording = read_recording(real)
        writer.add(recording, None, flags=quality_flags(recording), source=f"pydicom/{REAL_ECG}")
        progress.step()
        for _ in _add_people(writer, study / PEOPLE):
            progress.step()
        for one in simulate_recordings(
            patients, seed=seed, first=FIRST_PATIENT, rhythms=_RHYTHMS, conductions=_CONDUCTIONS
        ):
            writer.add(one.recording, one.labels, flags=quality_flags(one.recording))
            progress.step()


def _add_people(writer: CohortWriter, folder: Path) -> Iterator[None]:
    cohort = open_cohort(folder)
    rows = cohort.records.select("labels", "flags", "split").iter_rows()
    for recording, (labels, flags, split) in zip(cohort.stream(), rows, strict=True):
        writer.add(recording, labels, split, flags)
        yield
