import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from leadlight.cli.app import app
from leadlight.cli.simulate import read_chromosomes
from leadlight.errors import LeadlightError


def test_chromosomes_are_numbers_and_ranges() -> None:
    assert read_chromosomes("1,3, 20-22") == (1, 3, 20, 21, 22)
    with pytest.raises(LeadlightError, match="X"):
        read_chromosomes("1,X")


def test_simulate_makes_a_genotyped_study_and_sums_it_up(tmp_path: Path) -> None:
    pytest.importorskip("msprime", reason="genomes need the extra leadlight[simulate]")
    study = tmp_path / "study"
    words = ["simulate", "--study", str(study), "--people", "30", "--variants", "90",
             "--chromosomes", "3,21", "--megabases", "0.2", "--rate-hz", "150", "--duration-s", "3",
             "--quiet", "--json"]  # fmt: skip
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["records"] == 30
    assert summary["variants"] == 90
    for name in ("genotypes/genotypes.pgen", "phenotypes.parquet", "truth/effects.parquet"):
        assert (study / name).exists()


def test_ecgs_alone_are_made_without_genomes(tmp_path: Path) -> None:
    words = ["simulate", "--study", str(tmp_path), "--people", "3", "--no-genomes",
             "--rate-hz", "150", "--duration-s", "3", "--json"]  # fmt: skip
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.splitlines()[-1])["variants"] == 0
    assert not (tmp_path / "genotypes").exists()
