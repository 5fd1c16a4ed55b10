"""From nothing to the page, as the demo does it."""

import shutil
from pathlib import Path

import polars as pl
import pytest

from leadlight.demo import real_ecg, run_demo
from leadlight.errors import LeadlightError
from leadlight.study.explaining import ExplainedStudy, explain_study


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ExplainedStudy]:
    study = tmp_path_factory.mktemp("demo") / "study"
    return study, run_demo(study, people=40, seed=2)


@pytest.mark.slow
def test_the_demo_explains_thereal_ecg_and_says_what_is_simulated(
    demo: tuple[Path, ExplainedStudy],
) -> None:
    study, done = demo
    page = done.page.read_text(encoding="utf-8")
    assert "40 of 41 records are simulated" in page
    assert "not a medical device" in page
    records = pl.read_parquet(study / "findings" / "records.parquet")
    real = records.filter(pl.col("record_id") == "waveform_ecg", pl.col("model") == "trained")
    assert set(real["class"]) == {"AF", "LBBB"}
    assert real["group"].unique().to_list() == ["unlabelled"]
    # A sinus rhythm with narrow QRS: the shipped network must not see either diagnosis in it.
    assert float(real["probability"].max()) < 0.5
    assert (study / "report" / "figures" / "ecg-AF-unlabelled.png").exists()


@pytest.mark.slow
def test_trained_and_random_networks_explain_the_same_records(
    demo: tuple[Path, ExplainedStudy],
) -> None:
    study, _ = demo
    records = pl.read_parquet(study / "findings" / "records.parquet")
    of = {name: part for (name,), part in records.group_by("model")}
    assert set(of) == {"trained", "random"}
    assert set(of["trained"]["record_id"]) == set(of["random"]["record_id"])
    cases = of["trained"].filter(pl.col("class") == pl.col("group"))
    controls = of["trained"].filter(pl.col("group") == "NORM")
    assert cases["logit"].median() > controls["logit"].median() + 3


@pytest.mark.slow
def test_a_demo_is_not_overwritten_without_being_told(demo: tuple[Path, ExplainedStudy]) -> None:
    with pytest.raises(LeadlightError, match="already exists"):
        run_demo(demo[0], people=40)


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
