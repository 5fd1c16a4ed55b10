"""From two associations to loci, through files: what was planted is found, named and shared."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from leadlight.cli.app import app
from leadlight.errors import LeadlightError
from leadlight.genetics.association_people import association_people
from leadlight.genetics.clumping import ClumpRule
from leadlight.genetics.conditional import stepwise_signals
from leadlight.genetics.genotypes import open_genotypes
from leadlight.genetics.loci_stage import TABLES, find_loci
from leadlight.genetics.scan_files import read_scan_set
from leadlight.genetics.stage import run_gwas
from leadlight.genetics.summary_statistics import (
    read_summary_statistics,
    write_summary_statistics,
)

PEOPLE, EACH = 600, 60
SHARED, FIRST, SECOND = 20, 75, 105  # one variant of chromosome 1, two of chromosome 2
RULE = ClumpRule(1e-6, 1e-3, 0.1, 500)


def blocks_of_linkage(rng: np.random.Generator) -> np.ndarray:
    calls = []
    for _ in range(3):
        latent = rng.standard_normal((2, EACH, PEOPLE))
        for v in range(1, EACH):
            latent[:, v] = 0.9 * latent[:, v - 1] + np.sqrt(1 - 0.81) * latent[:, v]
        calls.append((latent > rng.uniform(-0.3, 0.9, (EACH, 1))).sum(axis=0))
    return np.concatenate(calls).astype(np.int8)


@pytest.fixture
def study(tmp_path: Path, write_genotypes: Callable[..., Path], write_table: Any) -> dict[str, Any]:
    """Factors share a locus on chromosome 1; a measurement has two signals on chromosome 2."""
    rng = np.random.default_rng(11)
    calls = blocks_of_linkage(rng)
    chromosomes = [str(1 + v // EACH) for v in range(3 * EACH)]
    positions = [162_000_000 + 4_000 * (v % EACH) for v in range(3 * EACH)]
    prefix = write_genotypes(calls, chromosomes=chromosomes, positions=positions)
    covariates = rng.standard_normal((PEOPLE, 2))
    factors = rng.standard_normal((PEOPLE, 2)) + covariates[:, :1]
    factors += calls[SHARED][:, None] * [0.6, -0.6]
    measured = rng.standard_normal((PEOPLE, 2))
    measured[:, 0] += 0.7 * calls[FIRST] - 0.6 * calls[SECOND]
    paths = {
        "factors": write_table("f.tsv", ["factor_01", "factor_02"], factors),
        "measured": write_table("m.tsv", ["qt_ms", "noise"], measured),
        "covariates": write_table("c.tsv", ["age", "height"], covariates),
    }
    for name in ("factors", "measured"):
        run_gwas(
            prefix,
            paths[name],
            tmp_path / name,
            covariates=paths["covariates"],
            joint=name == "factors",
            transform="rank-normal" if name == "factors" else "none",
            workers=1,
        )
    genes = tmp_path / "genes.bed"
    at = positions[SHARED]
    genes.write_text(f"1\t{at - 500}\t{at + 500}\tHERE\n1\t{at + 90_000}\t{at + 95_000}\tTHERE\n")
    return {
        "gwas": [f"factors={tmp_path / 'factors'}", f"measured={tmp_path / 'measured'}"],
        "phenotypes": [f"factors={paths['factors']}", f"measured={paths['measured']}"],
        "covariates": paths["covariates"],
        "genotypes": [prefix],
        "genes": genes,
        "out": tmp_path / "loci",
    }


def run(study: dict[str, Any], out: Path | None = None, **words: Any) -> dict[str, pl.DataFrame]:
    given = {k: v for k, v in study.items() if k not in ("gwas", "out")} | words
    given = {k: v for k, v in given.items() if v is not None}
    out = out or study["out"]
    find_loci(study["gwas"], out, **({"clump_rule": RULE, "workers": 1} | given))
    return {name: pl.read_parquet(out / f"{name}.parquet") for name in TABLES}


def test_planted_loci_are_found_once_over_all_traits(study: dict[str, Any]) -> None:
    found = run(study)
    loci = found["loci"]
    assert loci["chromosome"].to_list() == ["1", "2"]
    assert set(loci["traits"][0]) == {"factor_01", "factor_02", "joint"}
    assert loci["traits"][1].to_list() == ["qt_ms"]
    assert loci["only"].to_list() == ["factors", "measured"]
    assert abs(loci["lead_position"][0] - (162_000_000 + 4_000 * SHARED)) <= 8_000
    assert (loci["start"] <= loci["lead_position"]).all()
    assert (loci["lead_position"] <= loci["end"]).all()
    said = json.loads((study["out"] / "summary.json").read_text())
    assert said["loci_of"] == {"factors": 1, "measured": 1}
    assert said["only"] == {"factors": [1], "measured": [2]}
    assert said["notes"] == []
    provenance = json.loads((study["out"] / "provenance.json").read_text())
    assert provenance["verb"] == "loci"
    assert {"factor_01.parquet", "genes.bed"} <= set(provenance["inputs"])


def test_the_effects_of_a_shared_lead_stand_side_by_side(study: dict[str, Any]) -> None:
    shared = run(study)["locus_traits"].filter(locus=1)
    assert set(shared["trait"]) == {"factor_01", "factor_02", "joint", "qt_ms", "noise"}
    by = {row["trait"]: row for row in shared.iter_rows(named=True)}
    assert by["factor_01"]["lead_beta"] * by["factor_02"]["lead_beta"] < 0
    assert by["factor_01"]["significant"]
    assert not by["noise"]["significant"]
    assert by["factor_02"]["r2_with_lead"] > 0.6
    assert len(set(shared["lead_effect_allele"])) == 1


def test_two_signals_of_one_region_are_told_apart(study: dict[str, Any]) -> None:
    found = run(study)
    signals = found["signals"].filter(trait="qt_ms")
    assert signals["method"].to_list() == ["individual"] * 2
    places = {162_000_000 + 4_000 * (v % EACH) for v in (FIRST, SECOND)}
    for signal in (1, 2):
        near = signals.filter(signal=signal)["base_pair_location"][0]
        assert min(abs(near - place) for place in places) <= 8_000
    sets = found["credible_sets"].filter(pl.col("trait") == "qt_ms", pl.col("in_set"))
    for method in ("susie", "single-effect"):
        own = sets.filter(method=method)
        assert own["signal"].n_unique() == 2
        assert places <= set(own["base_pair_location"])


def test_each_locus_has_one_traits_sets_to_draw(study: dict[str, Any]) -> None:
    """The strongest trait's; the joint tests have no effects, and so no sets."""
    found = run(study)
    primary = found["credible_sets"].filter("primary")
    drawn = primary.select("locus", "label", "trait", "method").unique().sort("locus")
    assert drawn["locus"].to_list() == [1, 2]
    assert set(drawn["method"]) == {"susie"}
    strongest = (
        found["clumps"]
        .filter(pl.col("trait") != "joint")
        .group_by("locus")
        .agg(pl.col("trait").sort_by("neg_log_10_p_value").last())
    )
    assert drawn["trait"].to_list() == strongest.sort("locus")["trait"].to_list()


def test_without_individual_data_the_same_signals_come_from_linkage(study: dict[str, Any]) -> None:
    own = run(study)["signals"]
    summary = run(study, study["out"].with_name("other"), phenotypes=None, covariates=None)[
        "signals"
    ]
    assert set(summary["method"]) == {"summary"}
    assert summary["rsid"].to_list() == own["rsid"].to_list()
    for name in ("joint_beta", "joint_neg_log_10_p_value"):
        np.testing.assert_allclose(summary[name], own[name], rtol=0.1)


def test_gaps_go_the_long_way_to_nearly_the_same(study: dict[str, Any], tmp_path: Path) -> None:
    """A trait with a missing value is conditioned person by person, not from sums of squares."""
    own = run(study)["signals"].filter(trait="qt_ms")
    words = study["phenotypes"][1].removeprefix("measured=")
    lines = Path(words).read_text().splitlines()
    cells = lines[5].split("\t")
    lines[5] = "\t".join([cells[0], "NA", cells[2]])
    Path(words).write_text("\n".join([*lines, ""]))
    gappy = run(study, tmp_path / "gappy")["signals"].filter(trait="qt_ms")
    assert gappy["rsid"].to_list() == own["rsid"].to_list()
    np.testing.assert_allclose(gappy["joint_beta"], own["joint_beta"], rtol=0.05)
    assert not np.array_equal(gappy["joint_beta"], own["joint_beta"])


def test_genes_and_what_was_published_are_named(study: dict[str, Any]) -> None:
    loci = run(study)["loci"]
    assert loci["nearest_gene"][0] == "HERE"
    assert loci["nearest_gene_distance"][0] <= 8_000
    assert loci["known"].to_list() == [True, False]
    assert "QT interval" in loci["known_traits"][0]
    assert "NOS1AP" in loci["known_genes"][0]
    named = run(study, study["out"].with_name("ungened"), genes=None)["loci"]
    assert (named["nearest_gene"][0], named["gene_source"][0]) == (
        loci["known_genes"][0][0], "catalogue"
    )  # fmt: skip


def test_without_genotypes_distance_decides(study: dict[str, Any]) -> None:
    found = run(study, genotypes=(), phenotypes=None, covariates=None)
    assert found["loci"]["chromosome"].to_list() == ["1", "2"]
    assert not found["clumps"]["by_linkage"].any()
    assert set(found["signals"]["method"]) == {"lead"}
    assert set(found["credible_sets"]["method"]) == {"single-effect"}


def test_the_tables_do_not_depend_on_the_number_of_workers(study: dict[str, Any]) -> None:
    one, three = run(study), run(study, study["out"].with_name("three"), workers=3)
    for name in TABLES:
        assert one[name].equals(three[name]), name


def test_text_beside_the_tables_has_the_same_rows(study: dict[str, Any]) -> None:
    found = run(study)
    for name, table in found.items():
        text = pl.read_csv(study["out"] / f"{name}.tsv", separator="\t", infer_schema=False)
        assert text.columns == table.columns
        assert text.height == table.height


def test_other_phenotypes_than_the_associations_are_noticed(
    study: dict[str, Any], write_table: Any
) -> None:
    rng = np.random.default_rng(1)
    other = write_table("o.tsv", ["qt_ms", "noise"], rng.standard_normal((PEOPLE, 2)))
    summary = find_loci(
        study["gwas"][1:], study["out"], genotypes=study["genotypes"], clump_rule=RULE,
        phenotypes=[f"measured={other}"], covariates=study["covariates"], workers=1,
    )  # fmt: skip
    assert any("don't repeat the scans" in note for note in summary.notes)


def test_no_hit_makes_empty_tables(study: dict[str, Any]) -> None:
    found = run(study, traits=["noise"], phenotypes=None, covariates=None)
    assert all(table.height == 0 for table in found.values())
    assert "locus" in found["loci"].columns


def test_the_command_says_what_it_found(study: dict[str, Any]) -> None:
    words = ["loci", "--out", str(study["out"]), "--genotypes", str(study["genotypes"][0])]
    for gwas in study["gwas"]:
        words += ["--gwas", gwas]
    words += ["--p1", "1e-6", "--workers", "1", "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "2 loci (1 known, 1 new) of 5 traits" in done.stdout
    assert "factors: 1 loci, 1 found by it alone." in done.stdout
    assert json.loads(done.stdout.splitlines()[-1])["counts"]["loci"] == 2
    again = CliRunner().invoke(app, words)
    assert isinstance(again.exception, LeadlightError)
    assert "already exists" in str(again.exception)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"gwas": ["nowhere"]}, "does not exist"),
        ({"gwas": []}, "No summary statistics"),
        ({"traits": ["absent"]}, "No set of results has the trait absent"),
        ({"genotypes": ()}, "of use with genotypes only"),
        ({"phenotypes": None}, "Covariates are given without phenotypes"),
        ({"build": "hg19"}, "no build"),
        ({"phenotypes": ["strange=COVARIATES", "measured=COVARIATES"]}, "no such results"),
        ({"phenotypes": ["COVARIATES"]}, "has none of the traits"),
    ],
)
def test_input_that_cannot_be_used_is_refused_in_words(
    study: dict[str, Any], words: dict[str, Any], said: str
) -> None:
    given = dict(study) | words
    if given["phenotypes"]:
        own = str(study["covariates"])
        given["phenotypes"] = [w.replace("COVARIATES", own) for w in given["phenotypes"]]
    with pytest.raises(LeadlightError, match=said):
        run(given)
    assert not (study["out"] / "loci.parquet").exists()


def test_sums_of_squares_hold_the_regressions_on_people(study: dict[str, Any]) -> None:
    """Where nothing is missing, signals come from sums: the same numbers as person by person."""
    label, path = "measured", Path(study["gwas"][1].removeprefix("measured="))
    phenotypes = Path(study["phenotypes"][1].removeprefix("measured="))
    source = open_genotypes(study["genotypes"][0])
    people = association_people(source, read_scan_set(label, path), phenotypes, study["covariates"])
    assert people is not None
    numbers = np.arange(EACH, 2 * EACH)
    slow, _ = stepwise_signals(source, people.on("2"), "qt_ms", numbers, p=RULE.p1)
    fast = run(study)["signals"].filter(trait="qt_ms")
    assert fast["rsid"].to_list() == [f"rs{numbers[at]}" for at in slow.variants]
    for name, theirs in (
        ("conditional_beta", slow.conditional_beta),
        ("joint_beta", slow.joint_beta),
        ("joint_standard_error", slow.joint_error),
        ("joint_neg_log_10_p_value", slow.joint_neg_log_10_p),
    ):
        np.testing.assert_allclose(fast[name], theirs, rtol=1e-6)


def test_background_and_components_of_the_association_are_taken_from_its_folder(
    study: dict[str, Any], tmp_path: Path
) -> None:
    phenotypes = Path(study["phenotypes"][1].removeprefix("measured="))
    words = {"covariates": study["covariates"], "workers": 1}
    run_gwas(
        study["genotypes"][0], phenotypes, tmp_path / "adjusted", components=2, whole_genome=True,
        **words,
    )  # fmt: skip
    given = dict(study) | {"gwas": [f"measured={tmp_path / 'adjusted'}"]}
    given["phenotypes"] = study["phenotypes"][1:]
    signals = run(given)["signals"]
    assert set(signals["method"]) == {"individual"}
    assert signals.height == 2
    assert json.loads((study["out"] / "summary.json").read_text())["notes"] == []
    (tmp_path / "adjusted" / "components.parquet").unlink()
    with pytest.raises(LeadlightError, match=r"components\.parquet is absent"):
        run(given, tmp_path / "again")


def test_a_locus_on_x_is_worked_out_with_men_as_they_are(
    tmp_path: Path, write_genotypes: Callable[..., Path], write_table: Any
) -> None:
    rng = np.random.default_rng(12)
    calls = blocks_of_linkage(rng)[:EACH]
    men = np.arange(PEOPLE) % 2 == 0
    calls[:, men] = 2 * (calls[:, men] > 0)
    prefix = write_genotypes(calls, chromosomes=["X"] * EACH, positions=range(10_000, 70_000, 1000))
    y = rng.standard_normal((PEOPLE, 1)) + 0.4 * calls[30][:, None] + men[:, None]
    phenotypes = write_table("x.tsv", ["y"], y)
    run_gwas(prefix, phenotypes, tmp_path / "gwas", workers=1)
    summary = find_loci(
        [str(tmp_path / "gwas")], tmp_path / "loci", genotypes=[prefix],
        phenotypes=[str(phenotypes)], clump_rule=RULE, workers=1,
    )  # fmt: skip
    assert summary.notes == []
    signals = pl.read_parquet(tmp_path / "loci" / "signals.parquet")
    assert (signals["chromosome"][0], signals["method"][0]) == ("X", "individual")
    sets = pl.read_parquet(tmp_path / "loci" / "credible_sets.parquet").filter("in_set")
    assert "rs30" in sets.filter(method="susie")["rsid"].to_list()


@pytest.mark.parametrize(
    ("style", "name"),
    [
        ("gwas-ssf", "qt_ms.tsv.gz"),
        ("plink2", "scan.qt_ms.glm.linear"),
        ("regenie", "qt_ms.regenie"),
    ],
)
def test_other_programs_files_give_the_same_loci(
    study: dict[str, Any], tmp_path: Path, style: str, name: str
) -> None:
    table = read_summary_statistics(tmp_path / "measured" / "qt_ms.parquet")
    folder = tmp_path / "text"
    folder.mkdir()
    write_summary_statistics(table, folder / name, style)
    words = {"phenotypes": None, "covariates": None, "traits": ["qt_ms"]}
    ours = run(study, **words)
    theirs = run(dict(study) | {"gwas": [f"measured={folder}"]}, tmp_path / "from text", **words)
    columns = ["chromosome", "start", "end", "lead_variant", "lead_trait", "known"]
    assert theirs["loci"].select(columns).equals(ours["loci"].select(columns))
    assert theirs["signals"]["rsid"].to_list() == ours["signals"]["rsid"].to_list()
    np.testing.assert_allclose(
        theirs["signals"]["joint_beta"], ours["signals"]["joint_beta"], rtol=1e-2
    )
