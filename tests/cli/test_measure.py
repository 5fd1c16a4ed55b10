"""`leadlight measure` from the command line."""

import json
from pathlib import Path

import polars as pl
import typer
from typer.testing import CliRunner

from leadlight.cli.measure import measure
from leadlight.cohort.store import write_cohort
from leadlight.simulate.population import simulate_recordings


def run(*arguments: str) -> list[str]:
    app = typer.Typer()
    app.command()(measure)
    result = CliRunner().invoke(app, list(arguments))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def test_measure_says_what_it_did_and_writes_one_row_per_record(tmp_path: Path) -> None:
    write_cohort(tmp_path, ((one.recording, None) for one in simulate_recordings(3, seed=1)))
    lines = run("--study", str(tmp_path), "--json")
    assert lines[0] == f"3 of 3 records measured in {tmp_path}."
    assert lines[1].startswith("Medians: rate ")
    summary = json.loads(lines[-1])
    assert summary["n_measured"] == 3
    assert pl.read_parquet(tmp_path / "measurements.parquet").height == 3
    assert run("--study", str(tmp_path), "--overwrite", "--quiet") == []
