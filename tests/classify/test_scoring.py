"""Figures of merit agree with scikit-learn's and their intervals are by patient."""

import json
import time

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from leadlight.classify.scoring import (
    MIN_POSITIVE_PATIENTS,
    auroc,
    average_precision,
    best_f1_threshold,
    score_table,
)
from leadlight.errors import LeadlightError


def cohort(n_patients, per_patient, *, classes=("AF", "LBBB"), seed=0, prevalence=0.3, signal=1.5):
    """Labels and probabilities that go together, several records a patient."""
    rng = np.random.default_rng(seed)
    n = n_patients * per_patient
    patient = np.repeat(np.arange(n_patients), per_patient)
    sick = (rng.random((n_patients, len(classes))) < prevalence)[patient]
    logit = rng.normal(size=sick.shape) + signal * sick - 1
    names = [f"r{i:05d}" for i in range(n)]
    split = np.array(["train", "validation", "test"])[patient % 3]
    records = pl.DataFrame(
        {
            "record_id": names,
            "patient_id": [f"p{i}" for i in patient],
            "split": split.tolist(),
            "labels": [[c for c, is_in in zip(classes, row, strict=True) if is_in] for row in sick],
        },
        schema_overrides={"labels": pl.List(pl.String)},
    )
    probability = pl.DataFrame(
        {"record_id": names, **dict(zip(classes, 1 / (1 + np.exp(-logit.T)), strict=True))}
    )
    return probability, records


HALF = {"AF": 0.5, "LBBB": 0.5}


@given(st.integers(0, 10_000), st.integers(2, 60), st.integers(1, 12))
@settings(max_examples=150, deadline=None)
def test_auroc_and_average_precision_equal_scikit_learns_with_ties_and_weights(seed, n, levels):
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.5
    truth[0], truth[1] = True, False
    score = rng.integers(0, levels, n) / levels
    weights = rng.integers(0, 4, n).astype(float)
    weights[:2] += 1
    assert auroc(truth, score) == pytest.approx(roc_auc_score(truth, score), abs=1e-12)
    assert auroc(truth, score, weights) == pytest.approx(
        roc_auc_score(truth, score, sample_weight=weights), abs=1e-12
    )
    assert average_precision(truth, score, weights) == pytest.approx(
        average_precision_score(truth, score, sample_weight=weights), abs=1e-12
    )


def test_figures_of_the_table_equal_scikit_learns_on_each_split():
    probability, records = cohort(90, 2)
    table = score_table(probability, records, card_thresholds=HALF, n_bootstrap=20)
    joined = records.join(probability, on="record_id")
    for split in ("train", "validation", "test", "all"):
        rows = joined if split == "all" else joined.filter(pl.col("split") == split)
        for name in ("AF", "LBBB"):
            truth = rows["labels"].list.contains(name).to_numpy()
            figures = table["splits"][split]["classes"][name]
            score = rows[name].to_numpy()
            assert figures["auroc"]["value"] == pytest.approx(roc_auc_score(truth, score))
            called = score >= figures["threshold"]
            assert figures["f1"]["value"] == pytest.approx(f1_score(truth, called))
            assert figures["sensitivity"]["value"] == pytest.approx(called[truth].mean())
            assert figures["specificity"]["value"] == pytest.approx((~called[~truth]).mean())
            assert figures["ppv"]["value"] == pytest.approx(truth[called].mean())
            at_card = figures["at_card_threshold"]
            assert at_card["f1"]["value"] == pytest.approx(f1_score(truth, score >= 0.5))
            assert figures["n_positive_records"] == truth.sum()
            assert figures["n_records"] == len(rows)
            assert figures["n_patients"] == rows["patient_id"].n_unique()


def test_the_bootstrap_is_the_plain_one_over_patients_done_by_hand():
    """Same mean and spread as resampling patients in a loop and asking scikit-learn each time."""
    probability, records = cohort(60, 3, seed=3)
    table = score_table(probability, records, card_thresholds=HALF, n_bootstrap=2000, seed=5)
    joined = records.join(probability, on="record_id")
    truth = joined["labels"].list.contains("AF").to_numpy()
    score = joined["AF"].to_numpy()
    patient = joined["patient_id"].to_numpy()
    rows_of = {name: np.flatnonzero(patient == name) for name in np.unique(patient)}
    rng = np.random.default_rng(0)
    by_hand = []
    for _ in range(1000):
        drawn = rng.choice(list(rows_of), size=len(rows_of))
        rows = np.concatenate([rows_of[name] for name in drawn])
        by_hand.append(roc_auc_score(truth[rows], score[rows]))
    low, high = np.percentile(by_hand, (2.5, 97.5))
    ours = table["splits"]["all"]["classes"]["AF"]["auroc"]
    assert ours["low"] == pytest.approx(low, abs=0.01)
    assert ours["high"] == pytest.approx(high, abs=0.01)


def test_copies_of_a_patients_record_do_not_narrow_the_interval():
    """Ten identical records a patient say no more than one: an interval by record would shrink."""
    probability, records = cohort(60, 1, seed=1)
    copies = pl.DataFrame({"copy": [str(i) for i in range(10)]})
    many = records.join(copies, how="cross").with_columns(
        record_id=pl.col("record_id") + "-" + pl.col("copy")
    )
    many_probability = probability.join(copies, how="cross").with_columns(
        record_id=pl.col("record_id") + "-" + pl.col("copy")
    )
    widths = []
    for p, r in ((probability, records), (many_probability.drop("copy"), many.drop("copy"))):
        table = score_table(p, r, card_thresholds=HALF, n_bootstrap=1500)
        figure = table["splits"]["all"]["classes"]["AF"]["auroc"]
        widths.append(figure["high"] - figure["low"])
    assert widths[1] == pytest.approx(widths[0], rel=0.1)


def test_the_interval_covers_the_true_auroc_about_as_often_as_it_says():
    from scipy.stats import norm

    true_auroc = norm.cdf(1.5 / np.sqrt(2))
    covered = 0
    for seed in range(100):
        probability, records = cohort(150, 1, classes=("AF",), seed=seed)
        table = score_table(
            probability, records, card_thresholds=HALF, n_bootstrap=300, splits=("all",)
        )
        figure = table["splits"]["all"]["classes"]["AF"]["auroc"]
        covered += figure["low"] <= true_auroc <= figure["high"]
    assert 86 <= covered <= 100


def test_undefined_figures_are_none_and_counts_still_stand():
    probability, records = cohort(30, 1, classes=("AF",))
    healthy = records.with_columns(labels=pl.lit([], dtype=pl.List(pl.String)))
    figures = score_table(probability, healthy, card_thresholds=HALF)["splits"]["all"]["classes"]
    for key in ("auroc", "auprc", "f1", "sensitivity"):
        assert figures["AF"][key]["value"] is None
        assert figures["AF"][key]["low"] is None
    assert figures["AF"]["specificity"]["value"] is not None
    assert figures["AF"]["n_positive_records"] == 0
    assert figures["AF"]["n_records"] == 30


def test_one_positive_patient_gives_a_figure_but_no_interval():
    probability, records = cohort(30, 1, classes=("AF",), prevalence=0)
    one = records.with_columns(
        labels=pl.when(pl.col("record_id") == "r00004")
        .then(pl.lit(["AF"]))
        .otherwise(pl.lit([], dtype=pl.List(pl.String)))
    )
    figure = score_table(probability, one, card_thresholds=HALF)["splits"]["all"]["classes"]["AF"]
    assert figure["auroc"]["value"] is not None
    assert figure["auroc"]["low"] is None


def test_a_class_with_few_validation_positives_keeps_the_cards_threshold_and_says_so():
    probability, records = cohort(90, 1)
    few = records.with_columns(
        labels=pl.when(pl.col("split") == "validation")
        .then(pl.col("labels").list.set_difference(pl.lit(["LBBB"])))
        .otherwise(pl.col("labels"))
    )
    table = score_table(probability, few, card_thresholds={"AF": 0.9, "LBBB": 0.17}, n_bootstrap=0)
    assert table["thresholds"]["LBBB"]["source"] == "card"
    assert table["thresholds"]["LBBB"]["value"] == 0.17
    assert str(MIN_POSITIVE_PATIENTS) in table["thresholds"]["LBBB"]["reason"]
    assert table["thresholds"]["AF"]["source"] == "validation"


def test_without_a_card_threshold_a_class_with_few_positives_is_called_at_one_half():
    probability, records = cohort(30, 1, classes=("AF",), prevalence=0)
    table = score_table(probability, records, card_thresholds={}, n_bootstrap=0)
    assert table["thresholds"]["AF"]["value"] == 0.5
    assert table["thresholds"]["AF"]["source"] == "half"
    assert table["splits"]["all"]["classes"]["AF"]["at_card_threshold"] is None


def test_the_threshold_depends_on_the_validation_split_alone():
    probability, records = cohort(90, 1)
    before = score_table(probability, records, card_thresholds=HALF, n_bootstrap=0)["thresholds"]
    scrambled = records.with_columns(
        labels=pl.when(pl.col("split") == "validation")
        .then(pl.col("labels"))
        .otherwise(pl.lit(["AF", "LBBB"]))
    )
    after = score_table(probability, scrambled, card_thresholds=HALF, n_bootstrap=0)["thresholds"]
    assert before == after


@given(st.integers(0, 10_000), st.integers(2, 40), st.integers(1, 8))
@settings(max_examples=100, deadline=None)
def test_no_other_threshold_has_a_larger_f1(seed, n, levels):
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.4
    truth[0] = True
    probability = rng.integers(0, levels + 1, n) / levels
    best = best_f1_threshold(truth, probability)
    reached = f1_score(truth, probability >= best)
    for other in np.unique(probability):
        assert reached >= f1_score(truth, probability >= other) - 1e-12


def test_records_without_labels_or_probabilities_are_left_out_and_counted():
    probability, records = cohort(30, 1)
    rows = pl.int_range(pl.len())
    unlabelled = records.with_columns(labels=pl.when(rows < 4).then(None).otherwise("labels"))
    table = score_table(probability[:-3], unlabelled, card_thresholds=HALF, n_bootstrap=0)
    assert table["n_records_without_labels"] == 4
    assert table["n_records_without_probabilities"] == 3
    assert table["splits"]["all"]["n_records"] == 23


def test_the_table_is_json_and_the_same_for_the_same_seed():
    probability, records = cohort(40, 2)
    tables = [
        json.dumps(score_table(probability, records, card_thresholds=HALF, seed=s), allow_nan=False)
        for s in (1, 1, 2)
    ]
    assert tables[0] == tables[1]
    assert tables[0] != tables[2]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda p, r: (p.with_columns(AF=pl.lit(float("nan"))), r), "between 0 and 1"),
        (lambda p, r: (p.with_columns(AF=pl.lit(1.5)), r), "between 0 and 1"),
        (lambda p, r: (p, r[1:]), "not in this cohort"),
        (lambda p, r: (pl.concat([p, p[:1]]), r), "more than once"),
        (lambda p, r: (p.select("record_id"), r), "no class column"),
    ],
)
def test_a_table_that_cannot_be_scored_is_refused_by_name(spoil, said):
    with pytest.raises(LeadlightError, match=said):
        score_table(*spoil(*cohort(10, 1)), card_thresholds=HALF)


def test_a_thousand_resamples_of_500_records_and_six_classes_take_about_two_seconds():
    classes = ("1dAVb", "RBBB", "LBBB", "SB", "AF", "ST")
    probability, records = cohort(466, 1, classes=classes)
    start = time.process_time()
    score_table(probability, records, card_thresholds=dict.fromkeys(classes, 0.5), splits=("all",))
    assert time.process_time() - start < 4
