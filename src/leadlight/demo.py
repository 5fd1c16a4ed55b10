"""The demonstration: one real ECG that ships with pydicom, and simulated people around it."""

from pathlib import Path

from pydicom.data import get_testdata_file

from leadlight.atomic import refuse_overwrite
from leadlight.cohort.store import CohortWriter
from leadlight.ecg.formats import read_recording
from leadlight.ecg.quality import quality_flags
from leadlight.errors import LeadlightError
from leadlight.progress import bar
from leadlight.simulate.population import simulate_recordings
from leadlight.study.explaining import ExplainedStudy, explain_study

REAL_ECG = "waveform_ecg.dcm"
# So that the page is there within three minutes on two cores.
MOST_PER_GROUP = 24
# More of the two explained diagnoses, and more normals, than the usual mixture has.
_RHYTHMS = {"sinus": 0.62, "AF": 0.26, "bradycardia": 0.05, "tachycardia": 0.05, "flutter": 0.02}
_CONDUCTIONS = {"normal": 0.68, "LBBB": 0.22, "RBBB": 0.05, "LVH": 0.05}


def run_demo(
    study: Path, *, people: int = 160, seed: int = 1, overwrite: bool = False
) -> ExplainedStudy:
    """Make the demo's cohort, explain AF and LBBB in it, and write the page.

    The same seed makes the same people. Records of people carry `source_format` "simulated"; the
    real ECG carries no label and is shown as an example.

    Raises:
        LeadlightError: the folder holds another result and `overwrite` is not given, or pydicom was
            installed without its sample files.
    """
    refuse_overwrite(study / "records.parquet", overwrite)
    real = real_ecg()
    settings = {"people": people, "seed": seed, "real_ecg": REAL_ECG}
    with (
        CohortWriter(study, overwrite=overwrite, verb="demo", parameters=settings) as writer,
        bar("Simulating hearts", people) as progress,
    ):
        recording = read_recording(real)
        writer.add(recording, None, flags=quality_flags(recording), source=f"pydicom/{REAL_ECG}")
        for one in simulate_recordings(
            people, seed=seed, rhythms=_RHYTHMS, conductions=_CONDUCTIONS
        ):
            writer.add(one.recording, one.labels, flags=quality_flags(one.recording))
            progress.step()
    return explain_study(study, most_per_group=MOST_PER_GROUP, seed=seed, overwrite=True)


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
