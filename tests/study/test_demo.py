"""The demo: a study like any other, whose people are simulated and say so."""

from pathlib import Path

import polars as pl
import pytest

from leadlight.errors import LeadlightError
from leadlight.study.demo import Demo, real_ecg, run_demo
from leadlight.study.running import plan_study


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Demo]:
    pytest.importorskip("msprime")
    study = tmp_path_factory.mktemp("demo") / "study"
    return study, run_demo(study, people=60, patients=40, seed=2, workers=1)


@pytest.mark.slow
def test_the_demo_explains_the_real_ecg_and_says_what_is_simulated(demo: tuple[Path, Demo]) -> None:
    study, done = demo
    page = done.page.read_text(encoding="utf-8")
    assert "100 of 101 records are simulated" in page
    assert "not a medical device" in page
    records = pl.read_parquet(study / "findings" / "records.parquet")
    real = records.filter(pl.col("record_id") == "waveform_ecg", pl.col("model") == "trained")
    assert set(real["class"]) == {"AF", "LBBB"}
    assert real["group"].unique().to_list() == ["unlabelled"]
    # A sinus rhythm with narrow QRS: the shipped network must not see either diagnosis in it.
    assert float(real["probability"].max()) < 0.5
    assert (study / "report" / "figures" / "ecg-AF-unlabelled.png").exists()


@pytest.mark.slow
def test_both_studies_and_the_join_are_in_the_demo(demo: tuple[Path, Demo]) -> None:
    study, done = demo
    stages = ["measure", "classify", "explain", "latent", "gwas", "loci", "effect", "report"]
    assert list(done.run.done) == stages
    for name in ("factors", "measurements"):
        people = pl.read_parquet(study / "gwas" / f"{name}-phenotypes.parquet")["IID"]
        # The patients and the real ECG have no genomes, and are matched away by their names.
        tested = pl.read_parquet(next((study / "gwas" / name).glob("*_*.parquet")))
        assert tested["n"].max() <= 60 < len(people)
    assert (study / "loci" / "loci.parquet").exists()
    assert (study / "effects" / "cards.parquet").exists()
    for name in ("data-explorer", "data-manhattan", "data-records"):
        assert f'id="{name}' in done.page.read_text(encoding="utf-8"), name


@pytest.mark.slow
def test_the_demo_is_a_study_that_run_finds_done(demo: tuple[Path, Demo]) -> None:
    _, steps = plan_study(demo[0])
    assert {step.action for step in steps} == {"leave"}


@pytest.mark.slow
def test_trained_and_random_networks_explain_the_same_records(demo: tuple[Path, Demo]) -> None:
    study, _ = demo
    records = pl.read_parquet(study / "findings" / "records.parquet")
    of = {name: part for (name,), part in records.group_by("model")}
    assert set(of) == {"trained", "random"}
    assert set(of["trained"]["record_id"]) == set(of["random"]["record_id"])
    cases = of["trained"].filter(pl.col("class") == pl.col("group"))
    controls = of["trained"].filter(pl.col("group") == "NORM")
    assert cases["logit"].median() > controls["logit"].median() + 3


@pytest.mark.slow
def test_a_demo_is_not_overwritten_without_being_told(demo: tuple[Path, Demo]) -> None:
    with pytest.raises(LeadlightError, match="already exists"):
        run_demo(demo[0], people=60)


def test_the_real_ecg_is_the_one_that_ships_with_pydicom() -> None:
    assert real_ecg().name == "waveform_ecg.dcm"
