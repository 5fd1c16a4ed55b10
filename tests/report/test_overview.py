"""The overview's numbers are those of the tables that it points to."""

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).parent))
from gene_study import write_factors, write_second_study

from leadlight.report.association_sets import association_sets, inflation_of, p_values
from leadlight.report.factors_section import factors_section, read_factors, slopes_in_people
from leadlight.report.heat import cell
from leadlight.report.loci_section import loci_section
from leadlight.report.locus_data import locus_facts
from leadlight.report.overview import (
    gene_statements,
    join_statements,
    open_statements,
    overview,
    verdict_statement,
)
from leadlight.report.page import write_report
from leadlight.report.paper_claims import (
    CONTRADICTED,
    SUPPORTED,
    UNDECIDED,
    Mean,
    lead_verdict,
    paper_claims,
    wave_verdict,
    window_mean,
)
from leadlight.report.results import Results


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("second")
    write_second_study(folder)
    write_factors(folder)
    return folder


def _interval(text: str) -> tuple[float, float, float]:
    found = re.search(r"(−?[\d.]+)[^\[\d]*\[(−?[\d.]+), (−?[\d.]+)\]", text)
    assert found is not None, text
    value, low, high = (float(part.replace("−", "-")) for part in found.groups())
    return value, low, high


def test_genes_are_told_with_the_numbers_of_their_tables(study: Path) -> None:
    sets, facts = association_sets(study), locus_facts(study)
    said = gene_statements(sets, facts, {"known": 1, "new": 1})
    texts = [one.text for one in said]
    assert "2 loci found" in texts[0]
    assert "1 near a published ECG locus, 1 not" in texts[0]
    for one, text in zip(sets, texts[1:4], strict=True):
        assert one.joint is not None
        found = inflation_of(one.joint)
        assert found is not None
        assert one.label in text
        assert _interval(text) == tuple(
            round(v, 3) for v in (found.lambda_gc, found.low, found.high)
        )
        assert ("null control" in text) == (one.label == "permuted")
    (control,) = [one for one in sets if one.is_null]
    values = np.concatenate([p_values(path) for path in control.all_tables().values()])
    values = values[np.isfinite(values)]
    hits = int((values > -np.log10(5e-8)).sum())
    assert f"{hits} test" in texts[4]
    assert f"among {len(values):,} of" in texts[4]
    strongest = texts[5]
    assert "SCN10A" in strongest
    assert "−log₁₀ p = 14.0 of pr_ms" in strongest
    assert "a copy of C moves PR interval by −0.300 [−0.359, −0.241] SD" in strongest
    assert said[5].place == "locus-2"


def test_the_join_tells_ecg_and_logits_of_the_strongest_locus(study: Path) -> None:
    said = " ".join(one.text for one in join_statements(locus_facts(study)))
    assert "Each copy of C of SCN10A" in said
    assert "PR by −5.0 ms [−6.0, −4.0], Cornell by +30 µV [10, 50] in 1,200 people" in said
    assert "in II at −150 ms from R: −20.0\u00a0µV [−24.0, −16.0]" in said
    assert "change by 1dAVb −0.400 [−0.500, −0.300] per copy of C" in said
    assert "those of AF, LBBB do not" in said
    assert "P of II (22 %)" in said


def test_a_locus_that_changes_nothing_is_told_so(study: Path) -> None:
    facts = locus_facts(study)
    effect = facts[0]["effect"]
    quiet: dict[str, Any] = facts[0] | {
        "effect": effect | {
            "changes": [one | {"clear": False} for one in effect["changes"]],
            "logits": [one | {"clear": False} for one in effect["logits"]],
        }
    }  # fmt: skip
    said = " ".join(one.text for one in join_statements([quiet]))
    assert "changes no interval, axis or voltage sum beyond" in said
    assert "None of the classifier’s logits changes" in said


def test_what_stays_open_is_told(study: Path, whole_study: Path) -> None:
    from leadlight.report.results import read_results

    sets, facts = association_sets(study), locus_facts(study)
    texts = [one.text for one in open_statements(Results(study), sets, facts)]
    assert texts == ["What 1 locus of the 2 listed does to the ECG is not drawn on this page."]
    without = [one for one in sets if not one.is_null]
    lonely = [fact | {"labels": ["factors"]} for fact in facts]
    texts = [one.text for one in open_statements(Results(study), without, lonely)]
    assert texts[0] == "No locus is seen by measurements."
    assert "No null control" in texts[-1]
    results = read_results(whole_study)
    undecided = [one.text for one in paper_claims(results) if one.verdict == UNDECIDED]
    said = " ".join(one.text for one in open_statements(results, [], None))
    assert said.count(";") == max(len(undecided) - 1, 0)
    assert bool(said) == bool(undecided)


def test_nothing_found_is_a_finding(study: Path) -> None:
    (one,) = gene_statements([], [], {"known": 0, "new": 0})
    assert one.text == "No variant reaches the threshold: no locus was found."
    topics = {topic.title: topic for topic in overview(Results(study), None, [], None, {})}
    assert "leadlight explain" in topics["What the network saw"].missing
    assert "leadlight latent encode" in topics["The ECG’s own factors"].missing
    assert "leadlight gwas" in topics["The genes"].missing
    assert topics["Both together"].missing


def test_factors_are_told_with_the_numbers_of_their_table(study: Path) -> None:
    factors = read_factors(study)
    assert factors is not None
    section = factors_section(factors)
    said = section["sentences"]
    assert "3 factors of tiny describe the beats of 400 records; 20 (5.0 %) are flagged" in said[0]
    assert "off by 20.0 µV" in said[1]
    r = spearmanr(factors.values[:, 0], factors.values[:, 2]).statistic
    assert "factor_01 and factor_03" in said[2]
    assert _interval(said[2].split("r = ")[1])[0] == round(r, 2)
    pr = factors.quantities.index("pr_ms")
    with_pr = spearmanr(factors.values[:, 0], factors.measured[:, pr]).statistic
    assert f"factor_01 PR interval (r = {with_pr:.2f} [" in said[3]
    assert section["rows"][0]["effects"].startswith("PR +")


def test_slopes_in_people_hold_the_other_factors(study: Path) -> None:
    factors = read_factors(study)
    assert factors is not None
    slopes = slopes_in_people(factors)
    pr = factors.quantities.index("pr_ms")
    spread = factors.values[:, 0].std()
    assert slopes[0, pr] == pytest.approx(10 * spread, abs=0.3)
    # The third goes with PR only through the first.
    assert abs(slopes[2, pr]) < 0.3
    assert np.isnan(slopes[:, factors.quantities.index("t_mv_V2")]).all()


def test_the_map_shows_correlations_and_leaves_out_what_is_not_known(study: Path) -> None:
    factors = read_factors(study)
    assert factors is not None
    heat = factors_section(factors)["map"]
    rows = {row["name"]: dict(zip(heat.columns, row["cells"], strict=True)) for row in heat.rows}
    text, shade = rows["01"]["PR"]
    assert float(text) > 0.9
    assert shade == "heat-p5"
    assert rows["01"]["T in V2"] == ("–", "heat-none")


@pytest.mark.parametrize(
    ("value", "shade"), [(0.0, "heat-0"), (0.1, "heat-p1"), (-1.0, "heat-n5"), (-9.0, "heat-n5")]
)
def test_shades_follow_the_sign_and_end_at_the_limit(value: float, shade: str) -> None:
    assert cell(value, 0.8, 2)[1] == shade


def test_loci_by_factors_are_z_of_the_lead(study: Path) -> None:
    found = loci_section(study)
    assert found is not None
    heat = found["map"]
    assert heat.columns == ["01", "02", "03"]
    first = heat.rows[0]
    assert first["name"].startswith("SCN10A")
    assert [float(text.replace("−", "-")) for text, _ in first["cells"]] == pytest.approx(
        [-0.02 / 0.03, 0.0, 0.02 / 0.03], abs=0.051
    )


def _delta(value: float, low: float, high: float) -> dict[str, float]:
    return {"cliffs_delta": value, "cliffs_delta_low": low, "cliffs_delta_high": high}


def test_a_lead_supports_only_where_random_weights_show_less() -> None:
    clear = _delta(0.6, 0.4, 0.8)
    assert lead_verdict(clear, _delta(0.0, -0.2, 0.2)) == SUPPORTED
    assert lead_verdict(clear, _delta(0.5, 0.3, 0.7)) == UNDECIDED
    assert lead_verdict(clear, None) == UNDECIDED
    assert lead_verdict(_delta(0.1, -0.1, 0.3), _delta(0, -0.2, 0.2)) == UNDECIDED
    assert lead_verdict(_delta(-0.6, -0.8, -0.4), _delta(0, -0.2, 0.2)) == CONTRADICTED


BELOW, ABOVE, AROUND = (-2.0, -3.0, -1.0), (2.0, 1.0, 3.0), (0.1, -1.0, 1.2)


@pytest.mark.parametrize(
    ("trained", "random", "verdict"),
    [
        (BELOW, AROUND, SUPPORTED), (BELOW, ABOVE, SUPPORTED), (BELOW, BELOW, UNDECIDED),
        (AROUND, AROUND, UNDECIDED), (ABOVE, AROUND, CONTRADICTED), (ABOVE, ABOVE, UNDECIDED),
        (BELOW, None, UNDECIDED),
    ],
)  # fmt: skip
def test_a_wave_supports_only_where_random_weights_do_not(
    trained: Mean, random: Mean | None, verdict: str
) -> None:
    assert wave_verdict(trained, random) == verdict


def test_the_mean_over_a_stretch_covers_at_least_at_its_rate() -> None:
    # Samples that vary together are the worst case; independent ones are covered more often.
    rng = np.random.default_rng(3)
    time = np.arange(-240.0, -60.0, 10.0)
    for shared, least, most in ((1.0, 0.93, 0.97), (0.0, 0.99, 1.0)):
        held = []
        for _ in range(400):
            noise = shared * rng.normal() + (1 - shared) * rng.normal(size=len(time))
            beats = pl.DataFrame(
                {
                    "time_ms": time, "mean_relevance": noise, "relevance_low": noise - 1.96,
                    "relevance_high": noise + 1.96,
                }
            ).with_columns(
                pl.lit("AF").alias("class"), pl.lit("NORM").alias("group"),
                pl.lit("trained").alias("model"), pl.lit("V1").alias("lead"),
            )  # fmt: skip
            found = window_mean(beats, "AF", "NORM", "trained", "V1", (-240.0, -60.0))
            assert found is not None
            held.append(found[1] <= 0 <= found[2])
        assert least <= np.mean(held) <= most
    assert window_mean(beats, "AF", "NORM", "random", "V1", (-240.0, -60.0)) is None


def test_verdicts_are_counted_as_they_are_shown(whole_study: Path) -> None:
    from leadlight.report.results import read_results

    claims = paper_claims(read_results(whole_study))
    assert {one.class_name for one in claims} == {"AF", "LBBB"}
    (said,) = verdict_statement(claims)
    supported = sum(one.verdict == SUPPORTED for one in claims)
    assert f"Of {len(claims)} statements" in said.text
    assert f"{supported} {'is' if supported == 1 else 'are'} supported" in said.text
    assert "2 would be true of any network" in said.text


def test_summary_statistics_alone_get_a_page(study: Path, tmp_path: Path) -> None:
    for name in ("gwas", "loci", "effects"):
        (tmp_path / name).symlink_to(study / name)
    html = write_report(tmp_path).read_text(encoding="utf-8")
    assert "2 loci found" in html
    assert "Nothing has been explained" in html
    assert "There are no factors" in html
    assert html.count("What this does not show.") >= 6
