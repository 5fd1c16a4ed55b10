"""The command line as a user meets it: help, one-line errors, exit codes, bad files."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import wfdb

VERBS = ("demo", "import", "measure", "classify", "explain", "report", "train", "simulate", "card")


def leadlight(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "leadlight.cli.app", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def write_wfdb(folder: Path, name: str) -> None:
    rng = np.random.default_rng(1)
    leads = ["I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6"]
    wfdb.wrsamp(
        name,
        fs=500,
        units=["mV"] * 12,
        sig_name=leads,
        p_signal=rng.normal(0, 0.1, (5000, 12)),
        fmt=["16"] * 12,
        write_dir=str(folder),
    )


@pytest.fixture
def mixed_folder(tmp_path: Path) -> Path:
    """One sound recording among files that are broken in the ways that files break."""
    folder = tmp_path / "ecgs"
    folder.mkdir()
    write_wfdb(folder, "sound")
    write_wfdb(folder, "truncated")
    signal = folder / "truncated.dat"
    signal.write_bytes(signal.read_bytes()[:5001])
    write_wfdb(folder, "orphan")
    (folder / "orphan.dat").unlink()
    (folder / "letter.dcm").write_text("Dear colleague, thank you for referring this patient.")
    (folder / "empty.dcm").write_bytes(b"")
    return folder


def test_help_names_every_verb() -> None:
    done = leadlight("--help")
    assert done.returncode == 0
    for verb in VERBS:
        assert verb in done.stdout


def test_a_bad_file_never_stops_an_import_and_is_rejected_with_its_reason(
    mixed_folder: Path, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    done = leadlight("import", mixed_folder, "--study", study, "--quiet", "--json")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    summary = json.loads(done.stdout.strip().splitlines()[-1])
    assert summary["n_imported"] == 1
    rejects = pl.read_parquet(study / "rejects.parquet")
    reasons = {Path(row["source"]).stem: row["reason"] for row in rejects.iter_rows(named=True)}
    assert set(reasons) == {"truncated", "orphan", "letter", "empty"}
    assert all(reasons.values())
    assert all(rejects["advice"].str.len_chars() > 0)
    assert pl.read_parquet(study / "records.parquet")["record_id"].to_list() == ["sound"]


def test_strict_says_by_its_exit_code_that_something_was_rejected(
    mixed_folder: Path, tmp_path: Path
) -> None:
    done = leadlight("import", mixed_folder, "--study", tmp_path / "s", "--strict", "--quiet")
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["classify", "--study", "nowhere"], "nowhere holds no cohort"),
        (["explain", "--study", "nowhere"], "nowhere holds no cohort"),
        (["report", "--study", "nowhere"], "nowhere"),
        (["import", "nowhere", "--study", "s"], "nowhere"),
        (["explain", "--study", "s", "--model", "nobody"], "nobody"),
        (["explain", "--study", "s", "--classes", "WPW"], "WPW"),
    ],
)
def test_a_fault_is_one_line_with_advice_and_exit_code_1(
    words: list[str], told: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "leadlight.cli.app", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_wrong_usage_is_exit_code_2() -> None:
    assert leadlight("explain").returncode == 2
    assert leadlight("import", "--nonsense").returncode == 2
