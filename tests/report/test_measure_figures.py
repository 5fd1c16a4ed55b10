"""Figures of measured records: drawn from what was measured, named by record."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from leadlight.cohort.measuring import measure_cohort
from leadlight.cohort.store import write_cohort
from leadlight.ecg.formats import read_recording
from leadlight.ecg.leads import as_leads
from leadlight.errors import LeadlightError
from leadlight.report.measure_figures import FOLDER, write_measure_figures


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    real = read_recording(shared_data / "ptbxl" / "records500" / "00000" / "00001_hr.hea")
    empty = as_leads(np.zeros((12, 5000), dtype=np.float32))
    flat = replace(real, record_id="flat", signal_mv=empty)
    write_cohort(folder, [(flat, None), (replace(real, record_id="ward/3"), None), (real, None)])
    measure_cohort(folder)
    return folder


def test_each_record_gets_its_paper_and_its_beat(study: Path) -> None:
    written = write_measure_figures(study, ["ward/3"], first=1)
    assert [path.name for path in written] == ["ward_3-ecg.png", "ward_3-beat.png"]
    for path in written:
        assert path.parent == study / FOLDER
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.stat().st_size > 50_000
    with pytest.raises(LeadlightError, match="already exists"):
        write_measure_figures(study, ["ward/3"])


def test_what_cannot_be_drawn_is_refused_with_its_reason(study: Path, tmp_path: Path) -> None:
    with pytest.raises(LeadlightError, match="No beat is found"):
        write_measure_figures(study, ["flat"])
    with pytest.raises(LeadlightError, match="has no record"):
        write_measure_figures(study, ["nobody"])
    with pytest.raises(LeadlightError, match="no cohort"):
        write_measure_figures(tmp_path, ["one"])
