"""Two processes on one study: the second gets one line, the first is not disturbed."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from comparing import differences
from runner import Runner

from leadlight.errors import LeadlightError
from leadlight.explain.checkpoint import Checkpoint

STUDY = "STUDY"
CASES = {
    "run": ("measure", ("run", "FILE", "--only", "measure"), ".run.lock"),
    "import": (
        "import", ("import", "INPUTS/ecgs", "--labels", "INPUTS/labels.csv", "--study", STUDY),
        ".import.lock",
    ),
    "measure": ("measure", ("measure", "--study", STUDY), ".measure.lock"),
    "classify": ("classify", ("classify", "--study", STUDY), ".classify-leadlight-ecg-6.lock"),
    "gwas": (
        "loci",
        ("gwas", "--genotypes", "INPUTS/genotypes", "--phenotypes",
         "STUDY/gwas/measurements-phenotypes.parquet", "--out", "STUDY/../again"),
        "../again/.gwas.lock",
    ),
}  # fmt: skip


@pytest.mark.parametrize("verb", CASES)
def test_the_second_of_two_is_told_in_one_line_and_the_first_ends_whole(
    runner: Runner, whole: Path, at_stage: Callable[[str], Path], verb: str
) -> None:
    stage, words, lock = CASES[verb]
    study_file = at_stage(stage)
    study = study_file.parent / "study"
    names = {"FILE": study_file, "INPUTS": whole / "inputs", "STUDY": study}
    given = [_put_in(word, names) for word in words]
    first = runner.start(*given, "--quiet")
    until = time.monotonic() + 120
    while not (study / lock).exists():
        assert first.poll() is None, first.told()
        assert time.monotonic() < until
        time.sleep(0.002)
    os.killpg(first.pid, signal.SIGSTOP)  # it holds the lock for as long as it takes
    code, told = runner.run(*given, "--quiet")
    os.killpg(first.pid, signal.SIGCONT)
    assert code == 1
    assert told.startswith("leadlight: Another run is ")
    assert len(told.strip().splitlines()) == 1
    assert first.wait() == 0, first.told()
    assert not (study / lock).exists()
    assert differences(study, whole / "study", finished=False) == []


def _put_in(word: str, names: dict[str, Path]) -> str:
    for name, path in names.items():
        word = word.replace(name, str(path))
    return word


def test_two_explanations_of_one_study_are_not_made_at_once(tmp_path: Path) -> None:
    first = Checkpoint(tmp_path, {"a": 1})
    with pytest.raises(LeadlightError, match="Another run is explaining"):
        Checkpoint(tmp_path, {"a": 1})
    first.release()
    Checkpoint(tmp_path, {"a": 1}).release()
    assert [path.name for path in tmp_path.iterdir()] == [".explain.partial"]
