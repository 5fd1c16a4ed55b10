"""The phenome scan: who is compared with whom, what is left out, what is corrected together."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from leadlight.errors import LeadlightError
from leadlight.genetics.phewas_scan import scan
from leadlight.genetics.phewas_tables import (
    FACTOR,
    LOCUS,
    Exposures,
    Outcome,
    OutcomeTable,
    joined,
    match_scan,
    read_outcomes,
    read_survival,
)
from leadlight.genetics.traits import PersonTable

N = 800
IDS = tuple(f"p{i}" for i in range(N))


@pytest.fixture(scope="module")
def people():
    """Covariates with sex, two factors and a locus, and what they do."""
    rng = np.random.default_rng(4)
    sex = rng.integers(1, 3, N).astype(float)
    covariates = PersonTable(
        Path("c"), None, IDS, ("sex", "age"), np.column_stack([sex, rng.normal(60, 8, N)])
    )
    values = np.column_stack([rng.normal(5, 20, N), rng.normal(size=N), rng.binomial(2, 0.3, N)])
    exposures = Exposures(IDS, ("f1", "f2", "rs1"), (FACTOR, FACTOR, LOCUS), values)
    return rng, sex, covariates, exposures


def _binary(name, cases, **more):
    return Outcome(name, "binary", np.asarray(cases, dtype=np.int8), **more)


def _scanned(exposures, outcomes, covariates, **more):
    table = OutcomeTable(IDS, tuple(outcomes))
    return scan(match_scan(exposures, [table], covariates), workers=1, **more)


def test_effects_are_per_sd_of_factors_and_per_allele_and_recover_what_was_planted(people):
    rng, _, covariates, exposures = people
    f1, rs = (exposures.values[:, 0] - 5) / 20, exposures.values[:, 2]
    outcome = Outcome("bnp", "quantitative", 100 * (0.5 * f1 + 0.4 * rs + rng.normal(size=N)))
    rows = _scanned(exposures, [outcome], covariates).results
    sd = outcome.values.std() / 100
    for name, beta, per in (("f1", 0.5, "SD"), ("f2", 0.0, "SD"), ("rs1", 0.4, "allele")):
        row = rows.row(by_predicate=pl.col("exposure") == name, named=True)
        assert row["per"] == per
        assert row["low"] < beta / sd < row["high"]
        assert row["high"] - row["low"] < 0.3
    assert rows["direction"].unique().to_list() == ["predicts"]


def test_who_has_the_disease_looks_is_asked_of_factors_only(people):
    rng, _, covariates, exposures = people
    cases = (rng.random(N) < 1 / (1 + np.exp(1.5 - exposures.values[:, 1]))).astype(int)
    rows = _scanned(exposures, [_binary("af", cases)], covariates).results
    looks = rows.filter(pl.col("direction") == "looks")
    assert sorted(looks["exposure"]) == ["f1", "f2"]
    f2 = looks.row(by_predicate=pl.col("exposure") == "f2", named=True)
    shift = exposures.values[cases == 1, 1].mean() - exposures.values[cases == 0, 1].mean()
    assert f2["beta"] == pytest.approx(shift / exposures.values[:, 1].std(ddof=1), abs=0.05)
    assert f2["per"] == "case"
    assert f2["n_cases"] == cases.sum()


def test_too_few_cases_are_left_out_by_name(people):
    _, _, covariates, exposures = people
    few, enough = np.zeros(N, int), np.zeros(N, int)
    few[:40], enough[:60] = 1, 1
    found = _scanned(exposures, [_binary("few", few), _binary("enough", enough)], covariates)
    assert found.results["outcome"].unique().to_list() == ["enough"]
    assert found.left_out["few"] == "40 cases and 760 controls"


def test_an_outcome_of_women_is_compared_among_women(people):
    rng, sex, covariates, exposures = people
    cases = ((sex == 2) & (rng.random(N) < 0.3)).astype(int)
    rows = _scanned(exposures, [_binary("endometriosis", cases)], covariates).results
    assert set(rows["n"]) == {int((sex == 2).sum())}
    assert all("women only" in note for note in rows["note"])
    told = _binary("prostate", (sex == 1) * (rng.random(N) < 0.3), sex=1)
    rows = _scanned(exposures, [told], covariates).results
    assert set(rows["n"]) == {int((sex == 1).sum())}
    assert all("men only" in note for note in rows["note"])


def test_missing_values_take_people_out_of_their_own_tests_only(people):
    rng, _, covariates, exposures = people
    values = exposures.values.copy()
    values[:100, 0] = np.nan
    holes = Exposures(IDS, exposures.names, exposures.kinds, values)
    outcome = rng.normal(size=N)
    outcome[700:] = np.nan
    rows = _scanned(holes, [Outcome("ldl", "quantitative", outcome)], covariates).results
    n = dict(zip(rows["exposure"], rows["n"], strict=True))
    assert n == {"f1": 600, "f2": 700, "rs1": 700}


def test_the_family_is_all_tests_of_a_direction_or_of_an_exposure(people):
    rng, _, covariates, exposures = people
    outcomes = [Outcome(f"o{k}", "quantitative", rng.normal(size=N)) for k in range(10)]
    for family, size in (("direction", 30), ("exposure", 10)):
        rows = _scanned(exposures, outcomes, covariates, family=family).results
        gain = rows["neg_log_10_p_value"] - rows["neg_log_10_p_bonferroni"]
        assert gain.max() == pytest.approx(np.log10(size))
        assert rows["q_value"].max() <= 1
    with pytest.raises(LeadlightError, match="no family"):
        _scanned(exposures, outcomes, covariates, family="mine")


def test_prevalent_cases_are_seen_looking_and_incident_ones_predicted(people, tmp_path):
    rng, _, covariates, exposures = people
    f2 = exposures.values[:, 1]
    time = rng.exponential(10 * np.exp(-0.6 * f2))
    prevalent = time < 2
    lines = ["IID,outcome,entry,exit,event"]
    for i in range(N):
        end = min(time[i], 12.0)
        lines.append(f"p{i},af,2,{end},{int(time[i] <= 12)}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    given = match_scan(exposures, [read_survival(tmp_path / "t.csv")], covariates)
    rows = scan(given, workers=1).results
    cox = rows.row(
        by_predicate=(pl.col("exposure") == "f2") & (pl.col("direction") == "predicts"), named=True
    )
    assert cox["model"] == "cox"
    assert cox["n"] == int((~prevalent).sum())
    assert cox["n_cases"] == int((~prevalent & (time <= 12)).sum())
    assert cox["low"] < 0.6 * f2.std() < cox["high"]
    looks = rows.row(
        by_predicate=(pl.col("exposure") == "f2") & (pl.col("direction") == "looks"), named=True
    )
    assert looks["n_cases"] == int(prevalent.sum())
    assert looks["low"] > 0


def test_an_effect_that_wanes_is_noted_as_non_proportional(people):
    rng, _, covariates, exposures = people
    f2 = exposures.values[:, 1]
    early = rng.exponential(4 * np.exp(-1.2 * f2))
    time = np.where(early < 1, early, 1 + rng.exponential(4, N))
    outcome = Outcome("af", "survival", np.ones(N, np.int8), np.zeros(N), time)
    rows = _scanned(exposures, [outcome], covariates, directions=("predicts",)).results
    notes = dict(zip(rows["exposure"], rows["note"], strict=True))
    assert "non-proportional" in notes["f2"]
    assert notes["rs1"] == ""


def test_a_table_is_read_as_0_1_or_as_a_quantity(tmp_path):
    (tmp_path / "o.csv").write_text("IID,af,scd,qt\na,1,2,400\nb,0,1,380\nc,NA,-9,\n")
    table = read_outcomes(tmp_path / "o.csv", binary=["scd"])
    assert [one.kind for one in table.outcomes] == ["binary", "binary", "quantitative"]
    assert table.outcomes[0].values.tolist() == [1, 0, -1]
    assert table.outcomes[1].values.tolist() == [1, 0, -1]
    counted = read_outcomes(tmp_path / "o.csv", ["af"], quantitative=["af"])
    assert counted.outcomes[0].kind == "quantitative"


def test_people_are_matched_by_name_and_counted(people):
    _, _, covariates, exposures = people
    shuffled = Exposures(IDS[::-1], ("f1",), (FACTOR,), exposures.values[::-1, :1])
    both = joined([shuffled, Exposures(("p5", "x"), ("f3",), (FACTOR,), np.array([[7.0], [1.0]]))])
    table = OutcomeTable(IDS[:300], (Outcome("o", "quantitative", np.arange(300.0)),))
    given = match_scan(both, [table], covariates, keep=IDS[:200])
    assert given.counts == {
        "people with exposures": 801,
        "with outcomes too": 300,
        "among those to keep": 200,
        "with all covariates": 200,
        "people analysed": 200,
    }
    five = given.person_ids.index("p5")
    assert given.outcomes[0].values[five] == 5
    assert given.exposures.values[five].tolist() == [exposures.values[5, 0], 7.0]
    with pytest.raises(LeadlightError, match="Nobody has both"):
        match_scan(exposures, [OutcomeTable(("q",), table.outcomes)], covariates)


def test_workers_change_nothing(people):
    rng, _, covariates, exposures = people
    outcomes = [_binary(f"d{k}", rng.random(N) < 0.2) for k in range(4)]
    table = [OutcomeTable(IDS, tuple(outcomes))]
    given = match_scan(exposures, table, covariates)
    assert scan(given, workers=1).results.equals(scan(given, workers=3).results)


def test_relatives_make_intervals_of_a_heritable_exposure_too_narrow_as_the_summary_says():
    """Why the summary warns: twice the same people give the same estimate with a smaller error."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(100, 1)), rng.normal(size=100)

    def error(times):
        ids = tuple(f"p{i}" for i in range(100 * times))
        exposures = Exposures(ids, ("f",), (FACTOR,), np.tile(x, (times, 1)))
        table = OutcomeTable(ids, (Outcome("o", "quantitative", np.tile(y, times)),))
        return scan(match_scan(exposures, [table], None), workers=1).results["standard_error"][0]

    assert error(2) / error(1) == pytest.approx(0.5**0.5, rel=0.02)


def test_a_skewed_factor_of_few_cases_is_noted_where_the_ill_are_looked_at(people):
    rng, _, covariates, exposures = people
    values = exposures.values[:, :2].copy()
    values[:, 0] = np.exp(1.5 * rng.normal(size=N))
    skewed = Exposures(IDS, ("f1", "f2"), (FACTOR, FACTOR), values)
    cases = np.arange(N) < 60
    rows = _scanned(skewed, [_binary("af", cases)], covariates, directions=("looks",)).results
    notes = dict(zip(rows["exposure"], rows["note"], strict=True))
    assert notes == {"f1": "skewed: p is rough", "f2": ""}
    ranked = _scanned(
        skewed, [_binary("af", cases)], covariates, directions=("looks",), transform="rank-normal"
    )
    assert set(ranked.results["note"]) == {""}


def test_a_factor_that_nobody_with_the_event_has_is_firths_in_coxs_model(people):
    rng, _, covariates, exposures = people
    time, follow = rng.exponential(10, N), rng.uniform(0, 3, N)
    event = (time < follow).astype(np.int8)
    never = np.zeros(N)
    never[np.flatnonzero(event == 0)[:15]] = 1
    values = np.column_stack([exposures.values[:, 1], never])
    both = Exposures(IDS, ("f2", "never"), (FACTOR, FACTOR), values)
    outcome = Outcome("af", "survival", event, np.zeros(N), np.minimum(time, follow))
    rows = _scanned(both, [outcome], covariates, directions=("predicts",)).results
    assert dict(zip(rows["exposure"], rows["model"], strict=True)) == {
        "f2": "cox",
        "never": "cox-firth",
    }
    assert dict(zip(rows["exposure"], rows["note"], strict=True)) == {"f2": "", "never": "firth"}
    assert rows["beta"].is_finite().all()
