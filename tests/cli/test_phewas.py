"""`leadlight phewas` from the command line."""

import json
from pathlib import Path

import numpy as np
import pgenlib
import polars as pl
import pytest
import typer
from typer.testing import CliRunner, Result

from leadlight.cli.phewas import phewas
from leadlight.errors import LeadlightError

N = 600


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Genotypes, two factors (the first moved by rs4), two diseases, a quantity, times."""
    folder = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    calls = rng.binomial(2, 0.3, (30, N)).astype(np.int8)
    with pgenlib.PgenWriter(
        str(folder / "g.pgen").encode(), N, variant_ct=30, nonref_flags=False
    ) as writer:
        writer.append_biallelic_batch(calls)
    rows = [f"1\t{1000 * v + 1}\trs{v}\tA\tG" for v in range(30)]
    (folder / "g.pvar").write_text("\n".join(["#CHROM\tPOS\tID\tREF\tALT", *rows, ""]))
    ids = [f"p{i}" for i in range(N)]
    (folder / "g.psam").write_text("#IID\tSEX\n" + "".join(f"{one}\t1\n" for one in ids))
    f1 = (0.8 * (calls[4] - 0.6) + rng.normal(size=N)).astype(np.float32)
    factors = {"record_id": ids, "factor_01": f1, "factor_02": rng.normal(size=N)}
    words = {"flags": [["clean"]] * N, "error_uv": rng.normal(size=N)}
    pl.DataFrame(factors | words).write_parquet(folder / "factors.parquet")
    ill = (rng.random(N) < 1 / (1 + np.exp(1 - f1))).astype(int)
    traits = {"IID": ids, "af": ill, "rare": (np.arange(N) < 10).astype(int), "qt": f1 * 20 + 400}
    pl.DataFrame(traits).write_csv(folder / "outcomes.tsv", separator="\t")
    pl.DataFrame({"IID": ids, "sex": rng.integers(1, 3, N), "age": rng.normal(60, 8, N)}).write_csv(
        folder / "cov.tsv", separator="\t"
    )
    g = calls - calls.mean(axis=1)[:, None]
    half, xx = slice(0, N // 2), (g**2).sum(axis=1) / 2
    beta = g[:, half] @ (f1[half] - f1[half].mean()) / xx
    pl.DataFrame(
        {
            "chromosome": ["1"] * 30, "base_pair_location": [1000 * v + 1 for v in range(30)],
            "effect_allele": ["G"] * 30, "other_allele": ["A"] * 30, "beta": beta,
            "standard_error": f1.std() / np.sqrt(xx), "effect_allele_frequency": [0.3] * 30,
            "neg_log_10_p_value": [1.0] * 30, "rsid": [f"rs{v}" for v in range(30)],
            "n": [N // 2] * 30,
        }
    ).write_parquet(folder / "factor_01.parquet")  # fmt: skip
    (folder / "train.txt").write_text("\n".join(ids[: N // 2]))
    (folder / "lead.txt").write_text("rs4\n")
    return folder


def _run(study: Path, out: Path, *more: str) -> Result:
    app = typer.Typer()
    app.command()(phewas)
    base = ["--out", str(out), "--covariates", str(study / "cov.tsv"), "--workers", "1"]
    base += ["--outcomes", str(study / "outcomes.tsv"), "--quiet", "--json"]
    return CliRunner().invoke(app, [*base, *more])


def test_factors_loci_and_scores_meet_diseases_in_one_table(study, tmp_path):
    done = _run(
        study, tmp_path / "out", "--exposures", str(study / "factors.parquet"),
        "--exposure-columns", "factor_*", "--genotypes", str(study / "g"),
        "--loci", str(study / "lead.txt"), "--scores-of", str(study / "factor_01.parquet"),
        "--trained-on", str(study / "train.txt"), "--figures",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    rows = pl.read_parquet(tmp_path / "out" / "phewas.parquet")
    found = set(zip(rows["exposure"], rows["exposure_kind"], strict=True))
    assert found == {
        ("factor_01", "factor"), ("factor_02", "factor"), ("rs4", "locus"),
        ("factor_01_score", "score"),
    }  # fmt: skip
    af = rows.filter((pl.col("outcome") == "af") & (pl.col("direction") == "predicts"))
    pairs = zip(af["beta"], af["neg_log_10_p_value"], strict=True)
    beta = dict(zip(af["exposure"], pairs, strict=True))
    assert beta["factor_01"][0] > 0.7
    assert beta["rs4"][1] > 3
    score = rows.row(
        by_predicate=(pl.col("exposure") == "factor_01_score") & (pl.col("outcome") == "qt"),
        named=True,
    )
    assert score["n"] == N // 2  # only those whom the weights did not see
    assert score["partial_r2_low"] > 0.02
    assert score["note"] == ""
    summary = json.loads(done.output.strip().splitlines()[-1])
    assert summary["left_out"]["rare"] == "10 cases and 590 controls"
    assert "relatives" in summary["warnings"][0]
    assert json.loads((tmp_path / "out" / "provenance.json").read_text())["verb"] == "phewas"
    names = sorted(path.name for path in (tmp_path / "out" / "figures").glob("*.png"))
    assert "predicts_volcano.png" in names
    assert len(names) == 6
    weights = tmp_path / "out" / "score_weights.parquet"
    assert pl.read_parquet(weights)["score"].unique().to_list() == ["factor_01_score"]
    again = _run(
        study, tmp_path / "again", "--genotypes", str(study / "g"), "--weights", str(weights),
        "--trained-on", str(study / "train.txt"),
    )  # fmt: skip
    assert again.exit_code == 0, again.output
    same = pl.read_parquet(tmp_path / "again" / "phewas.parquet")
    assert same["exposure"].unique().to_list() == ["factor_01_score"]
    row = same.row(by_predicate=pl.col("outcome") == "qt", named=True)
    assert row["beta"] == pytest.approx(score["beta"], rel=1e-5)


def test_scores_of_unknown_training_are_marked_and_warned_of(study, tmp_path):
    done = _run(
        study, tmp_path / "out", "--genotypes", str(study / "g"),
        "--scores-of", str(study / "factor_01.parquet"),
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    rows = pl.read_parquet(tmp_path / "out" / "phewas.parquet")
    assert all("not known" in note for note in rows["note"])
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert any("--trained-on" in warning for warning in summary["warnings"])


def test_diagnoses_become_phecodes(study, tmp_path):
    lines = ["IID,code,date"]
    lines += [f"p{i},I48.0,2010-0{m}-01" for i in range(80) for m in (1, 2)]
    (tmp_path / "codes.csv").write_text("\n".join(lines))
    (tmp_path / "map.csv").write_text(
        "code,phecode,description,category\nI48.0,427.2,AF and flutter,circulatory system\n"
    )
    done = _run(
        study, tmp_path / "out", "--exposures", str(study / "factors.parquet"),
        "--codes", str(tmp_path / "codes.csv"), "--phecodes", str(tmp_path / "map.csv"),
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    rows = pl.read_parquet(tmp_path / "out" / "phewas.parquet").filter(pl.col("outcome") == "427.2")
    assert set(rows["n_cases"]) == {80}
    assert set(rows["n"]) == {N}
    assert set(rows["category"]) == {"circulatory system"}


def test_results_are_not_replaced_unasked(study, tmp_path):
    given = "--exposures", str(study / "factors.parquet"), "--direction", "looks"
    assert _run(study, tmp_path / "out", *given).exit_code == 0
    refused = _run(study, tmp_path / "out", *given)
    assert isinstance(refused.exception, LeadlightError)
    assert "already exists" in str(refused.exception)
    assert _run(study, tmp_path / "out", *given, "--overwrite").exit_code == 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "No exposure was given"),
        (["--loci", "lead.txt"], "need genotypes"),
        (["--exposures", "factors.parquet", "--codes", "outcomes.tsv"], "go together"),
        (["--exposures", "nowhere.parquet"], "does not exist"),
        (["--exposures", "factors.parquet", "--family", "mine"], "no family"),
        (["--exposures", "factors.parquet", "--exposure-columns", "factor_09"], "no column"),
    ],
)
def test_what_cannot_be_run_is_a_sentence(study, tmp_path, more, said):
    given = [str(study / one) if "." in one and "-" not in one else one for one in more]
    done = _run(study, tmp_path / "out", *given)
    assert isinstance(done.exception, LeadlightError)
    assert said in str(done.exception)
