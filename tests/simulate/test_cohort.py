import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from leadlight.cohort.store import open_cohort
from leadlight.errors import LeadlightError
from leadlight.simulate import chromosome as chromosome_module
from leadlight.simulate import genotyped_people
from leadlight.simulate.cohort import PARTIAL, simulate_cohort
from leadlight.simulate.genotype_files import MISSING, read_blocks
from leadlight.simulate.genotyped_people import Genomes

GENOMES = Genomes(
    variants=600, chromosomes=(1, 3, 14, 21), megabases=0.3, formats=("pgen", "bed"),
    missing_share=0.01, keep_trees=True,
)  # fmt: skip
PEOPLE = 300  # one whole shard of 256 and a part of a second
SHORT = {"rate_hz": 150.0, "duration_s": 3.0}
# What says when it was made.
_DATED = {"provenance.json", "cohort-provenance.json"}


def _bytes_below(study: Path) -> dict[str, bytes]:
    return {
        path.relative_to(study).as_posix(): path.read_bytes()
        for path in sorted(study.rglob("*"))
        if path.is_file() and path.name not in _DATED
    }


@pytest.fixture(scope="session")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study made in one go by one process."""
    pytest.importorskip("msprime", reason="genomes need the extra leadlight[simulate]")
    study = tmp_path_factory.mktemp("straight") / "study"
    simulate_cohort(study, PEOPLE, seed=4, genomes=GENOMES, **SHORT)
    return study


_KILLED = """
import os, signal, sys
from pathlib import Path
from leadlight.cohort.store import CohortWriter
from leadlight.simulate.cohort import simulate_cohort
from leadlight.simulate.genotyped_people import Genomes

add = CohortWriter.add
def add_and_die(self, *given, **named):
    add(self, *given, **named)
    if len(self) == 270:
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    CohortWriter.add = add_and_die
    simulate_cohort(Path(sys.argv[1]), {people}, seed=4, genomes={genomes}, **{short})
"""


@pytest.mark.slow
def test_a_kill_in_the_middle_and_a_second_run_by_two_workers_give_the_same_bytes(
    straight: Path, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    script = tmp_path / "killed.py"
    script.write_text(_KILLED.format(people=PEOPLE, genomes=repr(GENOMES), short=repr(SHORT)))
    source = str(Path(genotyped_people.__file__).parents[2])
    died = subprocess.run(
        [sys.executable, str(script), str(study)],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    assert not (study / "records.parquet").exists()
    assert not (study / "genotypes").exists()
    simulate_cohort(study, PEOPLE, seed=4, genomes=GENOMES, workers=2, **SHORT)
    expected, found = _bytes_below(straight), _bytes_below(study)
    assert set(found) == set(expected)
    different = [name for name in expected if expected[name] != found[name]]
    # A tree sequence file holds a random identifier and the time; its tables are the same.
    assert [name for name in different if not name.endswith(".trees")] == []
    tskit = pytest.importorskip("tskit")
    for number in GENOMES.chromosomes:
        one, two = (
            tskit.load(folder / "truth" / "trees" / f"chr{number:02d}.trees").tables
            for folder in (straight, study)
        )
        assert one.equals(two, ignore_provenance=True)


def test_finished_chromosomes_are_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("msprime")
    names = [f"sim{number:06d}" for number in range(40)]
    made: list[int] = []
    real: Callable[..., None] = chromosome_module.make_chromosome

    def dying(task: chromosome_module.ChromosomeTask, folder: Path) -> None:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(task.stretch.chromosome)
        real(task, folder)

    settings = Genomes(variants=200, chromosomes=(1, 2, 21), megabases=0.2)
    monkeypatch.setattr(genotyped_people, "make_chromosome", dying)
    with pytest.raises(KeyboardInterrupt):
        genotyped_people.make_genotyped_people(tmp_path, 40, names, seed=1, genomes=settings)
    assert made == [1, 2]
    made.clear()
    genotyped_people.make_genotyped_people(tmp_path, 40, names, seed=1, genomes=settings)
    assert made == [21]


def test_tables_genotypes_and_records_name_the_same_people_in_the_same_order(
    straight: Path,
) -> None:
    records = open_cohort(straight).records
    assert records.height == PEOPLE
    for table in ("phenotypes.parquet", "covariates.parquet", "truth/people.parquet"):
        assert pl.read_parquet(straight / table)["IID"].to_list() == records["record_id"].to_list()
    psam = pl.read_csv(straight / "genotypes" / "genotypes.psam", separator="\t")
    assert psam["#IID"].to_list() == records["record_id"].to_list()
    sex = pl.read_parquet(straight / "covariates.parquet")["sex"]
    assert psam["SEX"].to_list() == sex.to_list()
    assert [{"M": 1, "F": 2}[one] for one in records["sex"]] == sex.to_list()
    pvar = pl.read_csv(
        straight / "genotypes" / "genotypes.pvar", separator="\t", comment_prefix="##"
    )
    truth = pl.read_parquet(straight / "truth" / "variants.parquet")
    assert pvar["ID"].to_list() == truth["id"].to_list()
    assert not (straight / PARTIAL).exists()


def test_who_has_a_diagnosis_has_its_ecg(straight: Path) -> None:
    phenotypes = pl.read_parquet(straight / "phenotypes.parquet")
    labels = open_cohort(straight).records["labels"].to_list()
    for name in ("AF", "RBBB", "LBBB"):
        seen = np.array([name in one for one in labels])
        has = phenotypes[name].to_numpy() == 1
        assert has.sum() > 0
        # A person with both blocks shows one of them; a block may stay below 118 ms.
        assert (seen & ~has).sum() == 0
        assert (seen & has).sum() >= 0.6 * has.sum()


def test_scores_reach_the_recordings_intervals(straight: Path) -> None:
    table = pl.read_parquet(straight / "phenotypes.parquet").filter(
        (pl.col("AF") == 0) & (pl.col("LBBB") == 0) & (pl.col("RBBB") == 0)
    )
    for score, value in (("heart_rate", "rate_bpm"), ("qrs_duration", "qrs_ms")):
        assert table.select(pl.corr(score, value)).item() > 0.5
    assert table["p_ms"].null_count() == 0


def test_missing_calls_are_as_many_as_asked_and_the_rest_is_true(straight: Path) -> None:
    calls = np.concatenate(list(read_blocks(straight / "genotypes" / "genotypes.pgen")))
    assert (calls == MISSING).mean() == pytest.approx(0.01, abs=0.002)
    known = calls != MISSING
    truth = pl.read_parquet(straight / "truth" / "variants.parquet")
    share = truth["alternative_count"].to_numpy() / (2 * PEOPLE)
    seen = np.where(known, calls, 0).sum(axis=1) / (2 * known.sum(axis=1))
    np.testing.assert_allclose(seen, share, atol=0.02)


def test_imputed_dosages_regress_on_the_genotypes_with_slope_one() -> None:
    rng = np.random.default_rng(0)
    calls = rng.binomial(2, 0.3, size=(200, 800)).astype(np.int8)
    hard, dosages = genotyped_people._degraded(calls, Genomes(dosages=True), rng)
    assert dosages is not None
    # What is known of a genotype is its dosage: E[genotype | dosage] = dosage.
    slope = [np.polyfit(d, c, 1)[0] for c, d in zip(calls, dosages, strict=True)]
    assert np.mean(slope) == pytest.approx(1.0, abs=0.1)
    r_squared = [np.corrcoef(d, c)[0, 1] ** 2 for c, d in zip(calls, dosages, strict=True)]
    assert min(r_squared) > 0.4
    assert np.mean(r_squared) == pytest.approx(0.75, abs=0.05)
    assert (hard == MISSING).any()
    assert dosages.min() >= 0
    assert dosages.max() <= 2


def test_other_settings_do_not_go_on_with_an_unfinished_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(*_: object) -> tuple[str, ...]:
        raise KeyboardInterrupt

    monkeypatch.setattr("leadlight.simulate.cohort.quality_flags", dying)
    with pytest.raises(KeyboardInterrupt):
        simulate_cohort(tmp_path, 3, seed=1, **SHORT)
    monkeypatch.undo()
    with pytest.raises(LeadlightError, match="unfinished simulation of other settings"):
        simulate_cohort(tmp_path, 3, seed=2, **SHORT)
    assert len(simulate_cohort(tmp_path, 3, seed=1, **SHORT)) == 3
    with pytest.raises(LeadlightError, match="already exists"):
        simulate_cohort(tmp_path, 3, seed=1, **SHORT)
    assert len(simulate_cohort(tmp_path, 4, seed=2, overwrite=True, **SHORT)) == 4


def test_ecgs_alone_need_no_msprime_and_leave_no_genotypes_of_before(
    straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    study = tmp_path / "study"
    shutil.copytree(straight, study)
    for name in ("msprime", "tskit", "pgenlib", "cyvcf2"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(LeadlightError, match=r"leadlight\[simulate\]"):
        simulate_cohort(tmp_path / "other", PEOPLE, seed=1, genomes=GENOMES)
    assert not (tmp_path / "other").exists()
    cohort = simulate_cohort(study, 12, seed=3, overwrite=True, **SHORT)
    assert len(cohort) == 12
    assert not (study / "genotypes").exists()
    assert not (study / "phenotypes.parquet").exists()
    assert pl.read_parquet(study / "truth" / "parameters.parquet").height == 12


def test_fiducials_are_of_the_records_beats_in_order(straight: Path) -> None:
    table = pl.read_parquet(straight / "truth" / "fiducials.parquet")
    assert set(table["wave"]) == {"P", "QRS", "T"}
    qrs = table.filter(pl.col("wave") == "QRS")
    assert qrs["record_id"].n_unique() == PEOPLE
    assert (qrs["onset"] < qrs["peak"]).all()
    assert (qrs["peak"] < qrs["offset"]).all()
    steps = qrs.select(pl.col("onset").diff().over("record_id").alias("step"))["step"].drop_nulls()
    assert (steps > 0).all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Genomes(variants=2), "at least one variant"),
        (Genomes(related_share=2.0), "related people"),
        (Genomes(missing_share=0.9), "missing calls"),
        (Genomes(formats=("bgen",)), "bgen"),
    ],
)
def test_settings_out_of_range_are_refused_before_any_work(
    settings: Genomes, words: str, tmp_path: Path
) -> None:
    with pytest.raises(LeadlightError, match=words):
        simulate_cohort(tmp_path / "study", 100, seed=1, genomes=settings)
    assert not (tmp_path / "study").exists()
