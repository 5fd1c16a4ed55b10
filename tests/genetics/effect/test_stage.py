import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from leadlight.cli.app import app
from leadlight.ecg.leads import LEADS
from leadlight.errors import LeadlightError
from leadlight.genetics.effect.stage import Files, run_effect
from leadlight.genetics.effect.tables import EffectTables
from leadlight.genetics.stage import run_gwas
from leadlight.latent.traversal import algebra_residual

# As planted in conftest.
QT_MS_PER_COPY, AF_LOGIT_PER_COPY = 6.0, 0.4


@pytest.fixture(scope="module")
def drawn(planted_study: Any, tmp_path_factory: pytest.TempPathFactory) -> EffectTables:
    files = Files(
        study=planted_study.study,
        genotypes=(planted_study.genotypes,),
        covariates=planted_study.covariates,
    )
    return run_effect("variant", "rs0", files, tmp_path_factory.mktemp("out"))[0]


def _grid(effect: pl.DataFrame, column: str) -> np.ndarray:
    return effect[column].to_numpy().reshape(len(LEADS), -1)


def test_the_drawing_is_the_planted_difference(drawn: EffectTables, planted_study: Any) -> None:
    truth = 1e3 * planted_study.difference_mv
    for column, least in (("difference_uv", 0.93), ("shrunken_uv", 0.93)):
        line = _grid(drawn.effect, column)
        r = (line * truth).sum() / np.linalg.norm(line) / np.linalg.norm(truth)
        assert r > least, column
    inside = (_grid(drawn.effect, "low_everywhere_uv") <= truth) & (
        truth <= _grid(drawn.effect, "high_everywhere_uv")
    )
    shown = drawn.effect["shown"].to_numpy().reshape(len(LEADS), -1)
    assert inside[shown].mean() > 0.99


def test_what_is_planted_lies_beyond_chance(drawn: EffectTables) -> None:
    assert drawn.summary["beyond_chance"] > 0.05
    assert drawn.summary["expected_correlation"] > 0.85


def test_the_drawing_obeys_the_lead_algebra(drawn: EffectTables) -> None:
    assert algebra_residual(_grid(drawn.effect, "difference_uv")) < 1e-9


def test_the_change_of_qt_is_the_planted_one_and_pr_does_not_change(drawn: EffectTables) -> None:
    rows = {row["quantity"]: row for row in drawn.measurements.to_dicts()}
    assert rows["qt_ms"]["low"] < QT_MS_PER_COPY < rows["qt_ms"]["high"]
    assert rows["qt_ms"]["low"] > 0
    assert rows["pr_ms"]["low"] < 0 < rows["pr_ms"]["high"]
    # An axis about 180° jumps by 360° in some people; its error must not.
    assert rows["qrs_axis_deg"]["standard_error"] < 2


def test_the_change_of_a_logit_is_the_planted_one_with_its_interval(drawn: EffectTables) -> None:
    rows = {row["class"]: row for row in drawn.logits.to_dicts()}
    assert 0 < rows["AF"]["low"] < AF_LOGIT_PER_COPY < rows["AF"]["high"]
    assert rows["RBBB"]["low"] < 0 < rows["RBBB"]["high"]


def test_groups_are_counted_and_their_means_are_those_of_their_beats(
    drawn: EffectTables, planted_study: Any
) -> None:
    counts = np.bincount(planted_study.copies)
    assert (
        drawn.groups.group_by("group", maintain_order=True).agg(pl.col("n").first())["n"].to_list()
        == counts.tolist()
    )
    at = (pl.col("lead") == "V4") & (pl.col("time_ms") == 300)
    means = drawn.groups.filter(at)["mean_mv"].to_numpy()
    truth = planted_study.difference_mv[LEADS.index("V4"), 375]
    assert (means[2] - means[0]) / 2 == pytest.approx(truth, abs=0.02)


def test_a_variant_that_does_nothing_has_a_band_over_zero(
    planted_study: Any, tmp_path: Path
) -> None:
    files = Files(
        study=planted_study.study,
        genotypes=(planted_study.genotypes,),
        covariates=planted_study.covariates,
    )
    tables, _ = run_effect("variant", "rs2", files, tmp_path / "out")
    shown = tables.effect.filter("shown")
    everywhere = (shown["low_everywhere_uv"] <= 0) & (shown["high_everywhere_uv"] >= 0)
    assert everywhere.mean() > 0.99
    assert tables.summary["beyond_chance"] < 0.01


@pytest.mark.slow
def test_a_linked_variant_draws_the_same_until_the_signal_is_taken_out(
    planted_study: Any, tmp_path: Path
) -> None:
    files = Files(
        study=planted_study.study,
        genotypes=(planted_study.genotypes,),
        covariates=planted_study.covariates,
    )
    alone, _ = run_effect("variant", "rs1", files, tmp_path / "alone")
    given, _ = run_effect("variant", "rs1", files, tmp_path / "given", condition=["rs0"])
    assert alone.summary["beyond_chance"] > 0.05
    assert given.summary["beyond_chance"] < 0.01
    assert given.summary["covariates"] == ["age", "rs0"]


@pytest.fixture(scope="module")
def association(planted_study: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Many null variants beside rs0, and the association of the study's factors with them."""
    import pgenlib

    folder = tmp_path_factory.mktemp("association")
    rng = np.random.default_rng(3)
    people = len(planted_study.copies)
    calls = np.vstack([planted_study.copies, rng.binomial(2, 0.4, (600, people))]).astype(np.int8)
    prefix = folder / "many"
    with pgenlib.PgenWriter(
        f"{prefix}.pgen".encode(), people, variant_ct=len(calls), nonref_flags=False
    ) as writer:
        for row in calls:
            writer.append_biallelic(row)
    lines = [f"1\t{10_000 * v + 1}\trs{v}\tA\tG" for v in range(len(calls))]
    Path(f"{prefix}.pvar").write_text("\n".join(["#CHROM\tPOS\tID\tREF\tALT", *lines, ""]))
    rows = [f"0\tp{i}\t1" for i in range(people)]
    Path(f"{prefix}.psam").write_text("\n".join(["#FID\tIID\tSEX", *rows, ""]))
    table = pl.read_parquet(planted_study.study / "latent" / "leadlight-factors/factors.parquet")
    table.select(IID="record_id", **{c: c for c in table.columns if c.startswith("factor_")}
                 ).write_parquet(folder / "factors.parquet")  # fmt: skip
    run_gwas(prefix, folder / "factors.parquet", folder / "gwas",
             covariates=planted_study.covariates, workers=1)  # fmt: skip
    return folder / "gwas", prefix


def test_summary_statistics_draw_what_the_factors_of_the_people_draw(
    association: tuple[Path, Path], drawn: EffectTables, planted_study: Any, tmp_path: Path
) -> None:
    files = Files(gwas=association[0], study=planted_study.study)
    tables, locus = run_effect("variant", "rs0", files, tmp_path / "out")
    one, two = _grid(tables.effect, "difference_uv"), _grid(drawn.effect, "decoded_uv")
    assert np.abs(one - two).max() < 0.05 * np.abs(two).max()
    stated = _grid(tables.effect, "decoded_error_uv")
    ratio = stated / _grid(drawn.effect, "decoded_error_uv")
    assert 0.85 < np.median(ratio) < 1.15
    # Bands are widened by what the factors do not hold of the beats.
    assert (_grid(tables.effect, "standard_error_uv") >= stated - 1e-9).all()
    assert any("widened" in note for note in tables.summary["notes"])
    assert tables.summary["estimate"] == "decoder"
    assert abs(tables.summary["draws_against_slope"]) < 0.15
    assert locus is not None
    assert locus.variants.height > 10


@pytest.mark.slow
def test_a_command_with_summary_statistics_alone_makes_a_card(
    association: tuple[Path, Path], tmp_path: Path
) -> None:
    words = ["effect", "--gwas", str(association[0]), "--variant", "rs0", "--genotypes"]
    words = [*words[:-1], "--out", str(tmp_path / "rs0"), "--quiet", "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    summary = json.loads(result.output.splitlines()[-1])
    assert summary["name"] == "rs0"
    page = (tmp_path / "rs0" / "card.html").read_text(encoding="utf-8")
    assert "data:image/png;base64," in page
    assert "http" not in page.replace("http-equiv", "")
    assert (tmp_path / "rs0" / "provenance.json").is_file()
    again = CliRunner().invoke(app, words)
    assert isinstance(again.exception, LeadlightError)
    assert "already exists" in str(again.exception)


@pytest.mark.parametrize(
    ("kind", "files", "says"),
    [
        ("variant", Files(), "summary statistics"),
        ("trait", Files(study=Path("x")), "--phenotypes"),
        ("gene", Files(study=Path("x")), "--genotypes"),
        ("score", Files(), "--study"),
    ],
)
def test_what_is_not_given_is_asked_for(kind: str, files: Files, says: str, tmp_path: Path) -> None:
    with pytest.raises(LeadlightError, match=says):
        run_effect(kind, "one", files, tmp_path / "out")
    assert not (tmp_path / "out" / "summary.json").exists()
