"""The rules, run for real: on this machine, and on a SLURM of this machine."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_of_one import NoSlurm, Slurm, slurm_of_one, why_not
from ward_files import tables_differ, write_ward

from leadlight.cohort.store import open_cohort
from leadlight.study.running import plan_study, run_study

WORKFLOW = Path(__file__).parents[2] / "workflow"
FILE = """\
[study]
folder = "study"
seed = 1
[import]
sources = ["ecgs", "unreadable"]
labels = "labels.csv"
"""
ASSOCIATION = """\
[measure]
[gwas]
genotypes = ["genotypes"]
covariates = "covariates.parquet"
people = "patient_id"
traits = ["measurements"]
measurements = ["heart_rate_bpm", "qrs_ms"]
transform = "rank-normal"
figures = false
control = false
min_mac = 5.0
"""
pytestmark = pytest.mark.slow


def snakemake(
    file: Path, profile: str, *words: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the workflow on a study file; `words` follow on the command line."""
    program = Path(sys.executable).with_name("snakemake")
    if not program.exists():
        pytest.skip("snakemake is not installed")
    one = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "POLARS")}
    environment = dict(os.environ) if environment is None else environment
    path = f"{program.parent}:{environment.get('PATH', '')}"
    leadlight = Path(sys.executable).with_name("leadlight")
    threads = dict.fromkeys(("shard", "join", "prepare", "associate", "stage"), 1)
    config = file.parent / "config.yaml"
    told = {"study": str(file), "leadlight": str(leadlight), "records_per_shard": 20}
    config.write_text(json.dumps(told | {"threads": threads}))  # JSON is YAML too
    done = subprocess.run(
        [str(program), "--snakefile", str(WORKFLOW / "Snakefile"), "--directory",
         str(file.parent), "--profile", str(WORKFLOW / "profiles" / profile), "--configfile",
         str(config), *words],
        env=environment | one | {"PATH": path},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    logs = [p.read_text() for p in (file.parent / "study" / ".workflow" / "logs").glob("*.log")]
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}\n{logs}"
    return done


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study file with its data, of which nothing is done."""
    return write_ward(tmp_path_factory.mktemp("ward"), FILE + ASSOCIATION, people=15)


def copy_of(ward: Path, folder: Path, text: str = FILE + ASSOCIATION) -> Path:
    shutil.copytree(ward.parent, folder, dirs_exist_ok=True)
    (folder / "study.toml").write_text(text)
    return folder / "study.toml"


def test_rules_make_the_tables_that_one_run_makes_and_nothing_twice(
    ward: Path, tmp_path: Path
) -> None:
    alone, cut = copy_of(ward, tmp_path / "alone"), copy_of(ward, tmp_path / "cut")
    run_study(alone)
    done = snakemake(cut, "local", "--cores", "2")
    assert "rule associate" in done.stderr
    one, other = alone.parent / "study", cut.parent / "study"
    assert len(list((other / "shards").glob("0*"))) == 2
    assert not tables_differ(one, other, "measurements.parquet")
    for trait in ("heart_rate_bpm", "qrs_ms", "joint"):
        name = f"gwas/measurements/{trait}.parquet"
        assert not tables_differ(one, other, name, within=1e-6), name
    # `leadlight run` finds all done, and so does the workflow.
    assert {step.action for step in plan_study(cut)[1]} == {"leave"}
    again = snakemake(cut, "local", "--cores", "2", "--dry-run")
    assert "Nothing to be done" in again.stdout + again.stderr


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """A SLURM of this machine; skips, with the reason, where there can be none."""
    if reason := why_not():
        pytest.skip(reason)
    try:
        with slurm_of_one(tmp_path_factory.mktemp("slurm")) as made:
            yield made
    except NoSlurm as error:
        pytest.skip(str(error))


def test_slurm_runs_the_shards_of_a_study(ward: Path, slurm: Slurm, tmp_path: Path) -> None:
    file = copy_of(ward, tmp_path / "study", FILE)
    snakemake(
        file, "slurm", "--slurm-status-command", "squeue", "--slurm-no-account",
        "--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "2",
        "--latency-wait", "5", "--default-resources", "slurm_partition=one", "mem_mb=500",
        "runtime=10", "--set-resources", "shard:mem_mb=2000", "join:mem_mb=1000",
        "cut:mem_mb=1000", "--slurm-logdir", str(tmp_path / "logs"),
        environment=slurm.environment,
    )  # fmt: skip
    jobs = slurm.jobs()
    assert len(jobs) == 4  # cut, two shards, join
    assert {job["JobState"] for job in jobs} == {"COMPLETED"}
    assert {job["Partition"] for job in jobs} == {"one"}
    listed = slurm.said("squeue", "--states=all", "--noheader", "--format=%k")
    assert len(listed.splitlines()) == 4
    assert len(open_cohort(file.parent / "study")) == 18
