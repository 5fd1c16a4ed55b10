"""`leadlight gwas` from the command line."""

import json
from pathlib import Path

import numpy as np
import pgenlib
import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from leadlight.cli.gwas import gwas
from leadlight.errors import LeadlightError


@pytest.fixture
def study(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    calls = rng.binomial(2, 0.3, (20, 90)).astype(np.int8)
    with pgenlib.PgenWriter(
        str(tmp_path / "g.pgen").encode(), 90, variant_ct=20, nonref_flags=False
    ) as writer:
        writer.append_biallelic_batch(calls)
    rows = [f"1\t{v + 1}\trs{v}\tA\tG" for v in range(20)]
    (tmp_path / "g.pvar").write_text("\n".join(["#CHROM\tPOS\tID\tREF\tALT", *rows, ""]))
    (tmp_path / "g.psam").write_text("#IID\tSEX\n" + "".join(f"p{i}\t1\n" for i in range(90)))
    values = calls[4] + rng.standard_normal((3, 90))
    frame = {"IID": [f"p{i}" for i in range(90)]} | {f"f{k}": values[k] for k in range(3)}
    pl.DataFrame(frame).write_parquet(tmp_path / "factors.parquet")
    return tmp_path


def run(study: Path, *more: str) -> list[str]:
    app = typer.Typer()
    app.command()(gwas)
    words = ["--genotypes", str(study / "g"), "--phenotypes", str(study / "factors.parquet")]
    result = CliRunner().invoke(app, [*words, "--out", str(study / "out"), *more])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def test_gwas_writes_a_table_per_trait_and_says_what_it_did(study: Path) -> None:
    lines = run(study, "--traits", "f2,f0", "--text", "--json")
    assert lines[0] == f"2 traits in {study / 'out'}."
    summary = json.loads(lines[-1])
    assert summary["traits"] == {"f2": 20, "f0": 20}
    assert summary["people"]["people analysed"] == 90
    names = {path.name for path in (study / "out").iterdir()}
    tables = {"f0.parquet", "f0.tsv.gz", "f2.parquet", "f2.tsv.gz"}
    assert names == tables | {"provenance.json", "summary.json"}
    table = pl.read_parquet(study / "out" / "f0.parquet")
    assert table["rsid"][table["neg_log_10_p_value"].arg_max()] == "rs4"
    assert run(study, "--traits", "f2,f0", "--quiet", "--overwrite") == []


def test_settings_that_make_no_sense_are_refused_before_any_work(study: Path) -> None:
    with pytest.raises(LeadlightError, match="no transform"):
        run(study, "--transform", "log")
    with pytest.raises(LeadlightError, match="no precision"):
        run(study, "--precision", "half")
    with pytest.raises(LeadlightError, match="no column 'f9'"):
        run(study, "--traits", "f9")
    with pytest.raises(LeadlightError, match="min_maf is 3"):
        run(study, "--min-maf", "3")
    with pytest.raises(LeadlightError, match="no known build"):
        run(study, "--build", "hg99")
    assert not list((study / "out").glob("*.parquet"))


def test_joint_tests_and_figures_come_with_a_word_each(study: Path) -> None:
    run(study, "--joint", "--figures")
    joint = pl.read_parquet(study / "out" / "joint.parquet")
    assert joint["rsid"][joint["neg_log_10_p_value"].arg_max()] == "rs4"
    drawn = {path.name for path in (study / "out" / "figures").iterdir()}
    assert drawn == {"manhattan.png", "qq.png", "joint_manhattan.png", "joint_qq.png"}
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in (study / "out/figures").iterdir())


def test_cases_and_controls_are_tested_by_score_and_firth(study: Path) -> None:
    factors = pl.read_parquet(study / "factors.parquet")
    cases = factors.select("IID", (pl.col("f0") > 1).cast(pl.Int8).alias("AF"))
    cases.write_parquet(study / "factors.parquet")
    run(study, "--binary")
    table = pl.read_parquet(study / "out" / "AF.parquet")
    assert table["rsid"][table["neg_log_10_p_value"].arg_max()] == "rs4"
    assert table["method"][table["neg_log_10_p_value"].arg_max()] == "firth"
    assert (table["n_cases"] == int(cases["AF"].sum())).all()
    with pytest.raises(LeadlightError, match="no joint tests"):
        run(study, "--binary", "--joint", "--overwrite")
