import json
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

import leadlight.classify.predict
import leadlight.genetics.loci_stage
import leadlight.genetics.stage
import leadlight.report.association_figures
from leadlight.cli.app import app
from leadlight.errors import LeadlightError
from leadlight.study.beginning import KINDS, write_study_file
from leadlight.study.people import write_person_table
from leadlight.study.running import plan_study, run_study
from leadlight.study.study_file import parse_study_file, read_study_file

FILE = """
[study]
folder = "study"
[import]
sources = ["ecgs"]
[measure]
[latent]
[classify]
"""


@pytest.fixture
def ward(shared_data: Path, tmp_path: Path) -> Path:
    """A folder with four real ECGs and a study file."""
    (tmp_path / "ecgs").mkdir()
    for number in range(1, 5):
        for file in (shared_data / "ptbxl" / "records500" / "00000").glob(f"0000{number}_hr.*"):
            (tmp_path / "ecgs" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "study.toml").write_text(FILE)
    return tmp_path / "study.toml"


def actions(file: Path, **options: object) -> dict[str, str]:
    _, steps = plan_study(file, **options)  # type: ignore[arg-type]
    return {step.stage.name: step.action for step in steps}


def test_a_stage_is_done_once_and_again_when_it_or_what_comes_before_changes(ward: Path) -> None:
    assert set(actions(ward).values()) == {"run"}
    done = run_study(ward)
    assert list(done.done) == ["import", "measure", "classify", "latent"]
    factors = ward.parent / "study" / "latent" / "leadlight-factors" / "factors.parquet"
    assert pl.read_parquet(factors).height == 4
    assert set(actions(ward).values()) == {"leave"}
    assert run_study(ward).done == {}

    ward.write_text(FILE.replace("[measure]", '[measure]\nmedians = "cart"'))
    wanted = {"import": "leave", "measure": "run", "latent": "run", "classify": "leave"}
    assert actions(ward) == wanted
    assert list(run_study(ward, only=["measure"]).done) == ["measure"]
    assert actions(ward) == wanted | {"measure": "leave"}
    run_study(ward)

    (ward.parent / "ecgs" / "00004_hr.dat").touch()
    assert set(actions(ward).values()) == {"run"}
    factors.unlink()
    assert actions(ward, only=["latent"]) == {"latent": "run"}


def test_a_run_that_was_cut_off_goes_on_where_it_was(
    ward: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(leadlight.classify.predict, "classify_cohort", cut_off)
        with pytest.raises(KeyboardInterrupt):
            run_study(ward)
    assert actions(ward) == {
        "import": "leave", "measure": "leave", "classify": "go on", "latent": "run",
    }  # fmt: skip
    assert list(run_study(ward).done) == ["classify", "latent"]


def test_results_that_the_file_did_not_make_are_not_replaced_unasked(ward: Path) -> None:
    run_study(ward)
    (ward.parent / "study" / "run.json").unlink()
    with pytest.raises(LeadlightError, match="did not make it"):
        plan_study(ward)
    assert set(actions(ward, overwrite=True).values()) == {"run"}
    made = (ward.parent / "study" / "records.parquet").stat().st_mtime_ns
    ward.write_text('[study]\nfolder = "study"\n[measure]\n[latent]\n')
    with pytest.raises(LeadlightError, match="did not make it"):
        run_study(ward, only=["measure"])
    assert (ward.parent / "study" / "records.parquet").stat().st_mtime_ns == made


def test_the_command_plans_runs_and_says_what_is_wrong(ward: Path) -> None:
    runner = CliRunner()
    planned = runner.invoke(app, ["run", str(ward), "--dry-run", "--json", "--quiet"])
    assert planned.exit_code == 0, planned.output
    plan = json.loads(planned.output.strip().splitlines()[-1])["plan"]
    assert [step["stage"] for step in plan] == ["import", "measure", "classify", "latent"]
    assert not (ward.parent / "study").exists()
    done = runner.invoke(app, ["run", str(ward), "--quiet", "--only", "import,measure", "--json"])
    assert done.exit_code == 0, done.output
    assert list(json.loads(done.output.strip().splitlines()[-1])["done"]) == ["import", "measure"]
    failed = runner.invoke(app, ["run", str(ward), "--only", "gwas"])
    assert isinstance(failed.exception, LeadlightError)
    assert "no stage gwas" in str(failed.exception)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[mesure]\n", r"\[mesure\] is unknown"),
        ("[measure]\nmedian = 'own'\n", r"\[measure\] median is unknown"),
        ("[import]\n", r"\[import\] sources is missing"),
        ("[measure]\nmedians = 'mine'\n", r"\[measure\] medians"),
        ("[study]\nworkers = '2'\n", r"\[study\] workers"),
        ("[study\n", "no TOML"),
        ("[study]\n", "asks for nothing"),
        ("[measure]\n", r"\[measure\] needs records.parquet"),
        ("[import]\nsources = ['nowhere']\n", "nowhere does not exist"),
        ("[import]\nsources = ['.']\n[gwas]\ngenotypes = ['x']\n", r"needs factors.parquet"),
        ("[loci]\n", "no results to look at"),
    ],
)
def test_a_faulty_study_file_is_told_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "study.toml").write_text(text)
    with pytest.raises(LeadlightError, match=said):
        plan_study(tmp_path / "study.toml")


@pytest.mark.parametrize("kind", KINDS)
def test_every_study_file_to_begin_with_is_a_whole_one(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "new" / "study.toml"
    write_study_file(kind, file)
    read_study_file(file)
    with pytest.raises(LeadlightError, match="does not exist"):
        plan_study(file)
    with pytest.raises(LeadlightError, match="already exists"):
        write_study_file(kind, file)


def test_an_association_gets_one_row_per_person_and_is_not_done_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tmp_path / "study"
    (study / "latent" / "leadlight-factors").mkdir(parents=True)
    ids = ["a_1", "a_2", "b_1", "c_1"]
    flags: list[list[str]] = [[], [], ["no-beats"], []]
    pl.DataFrame(
        {"record_id": ids, "patient_id": ["a", "a", "b", "c"], "flags": flags}
    ).write_parquet(study / "records.parquet")
    factors = study / "latent" / "leadlight-factors" / "factors.parquet"
    pl.DataFrame(
        {"record_id": ids, "factor_01": [1.0, 2, 3, 4], "error_uv": [9.0] * 4}
    ).write_parquet(factors)
    names = write_person_table(study, factors, study / "t.parquet", people="patient_id")
    assert names == ["factor_01"]
    table = pl.read_parquet(study / "t.parquet")
    assert table.rows() == [("a", 1.0), ("c", 4.0)]
    with pytest.raises(LeadlightError, match="no column qrs_ms"):
        write_person_table(study, factors, study / "t.parquet", columns=["qrs_ms"])

    pl.DataFrame({"record_id": ids, "qrs_ms": [80.0, 90, 100, 110]}).write_parquet(
        study / "measurements.parquet"
    )
    (tmp_path / "chr1.pgen").touch()
    file = tmp_path / "study.toml"
    file.write_text(
        '[study]\nfolder = "study"\n[gwas]\ngenotypes = ["chr1"]\npeople = "patient_id"\n'
        'measurements = ["qrs_ms"]\n[loci]\n'
    )
    asked: list[str] = []

    def associate(genotypes: object, phenotypes: Path, out: Path, **options: object) -> None:
        asked.append(out.name)
        assert pl.read_parquet(phenotypes)["IID"].to_list() == ["a", "c"]
        if asked == ["factors", "measurements"]:
            raise KeyboardInterrupt  # cut off in the second of the two
        out.mkdir(parents=True)
        (out / "summary.json").write_text("{}")

    def locate(results: list[str], out: Path, **options: object) -> None:
        asked.append("loci")
        assert [text.partition("=")[0] for text in results] == ["factors", "measurements"]
        out.mkdir()
        (out / "loci.parquet").touch()

    monkeypatch.setattr(leadlight.genetics.stage, "run_gwas", associate)
    monkeypatch.setattr(leadlight.genetics.loci_stage, "find_loci", locate)
    monkeypatch.setattr(
        leadlight.report.association_figures, "draw_association", lambda *_, **__: None
    )
    with pytest.raises(KeyboardInterrupt):
        run_study(file)
    assert actions(file) == {"gwas": "go on", "loci": "run"}
    run_study(file)
    assert asked == ["factors", "measurements", "measurements", "permuted", "loci"]
    assert set(actions(file).values()) == {"leave"}


def test_sections_of_a_file_are_what_the_verbs_take() -> None:
    file = parse_study_file({"explain": {}, "loci": {"results": ["a=b"]}}, "study.toml")
    assert file.explain is not None
    assert file.explain.classes == ["AF", "LBBB"]
    assert file.measure is None
