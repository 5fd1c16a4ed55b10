"""From recordings to the page in one go."""

import shutil
from pathlib import Path

import pytest

from leadlight.errors import LeadlightError
from leadlight.study.demo import real_ecg
from leadlight.study.explaining import explain_study


def test_the_same_command_goes_on_behind_a_finished_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "ecgs"
    source.mkdir()
    shutil.copyfile(real_ecg(), source / "one.dcm")
    study = tmp_path / "study"

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("leadlight.study.explaining.explain_cohort", killed)
        with pytest.raises(KeyboardInterrupt):
            explain_study(study, [source])
    stored = (study / "records.parquet").stat().st_mtime_ns
    assert explain_study(study, [source]).page.exists()
    assert (study / "records.parquet").stat().st_mtime_ns == stored
    other = tmp_path / "others"
    other.mkdir()
    shutil.copyfile(real_ecg(), other / "two.dcm")
    with pytest.raises(LeadlightError, match="already exists"):
        explain_study(study, [other])


def test_a_study_without_cohort_or_sources_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LeadlightError, match="holds no cohort"):
        explain_study(tmp_path / "nothing")


def test_a_class_that_the_model_does_not_name_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(LeadlightError, match="WPW"):
        explain_study(tmp_path / "nothing", [tmp_path], classes=["WPW"])
    assert not (tmp_path / "nothing").exists()
