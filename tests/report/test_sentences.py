from typing import Any

import polars as pl
import pytest

from leadlight.report.sentences import (
    beat_sentences,
    beyond_random_sentences,
    identity_sentences,
    lead_sentences,
    number,
    signed_sentences,
    with_interval,
)


def _lead(model: str, delta: tuple[float, float | None, float | None], q: float) -> dict[str, Any]:
    return {
        "class": "AF", "model": model, "measure": "absolute_share", "lead": "V1",
        "mean_case": 0.121, "mean_case_low": 0.103, "mean_case_high": 0.14,
        "mean_control": 0.08, "mean_control_low": 0.07, "mean_control_high": 0.09,
        "n_case_records": 13, "n_control_records": 297,
        "cliffs_delta": delta[0], "cliffs_delta_low": delta[1], "cliffs_delta_high": delta[2],
        "q_value": q,
    }  # fmt: skip


def _said(
    trained: tuple[float, float | None, float | None], random: tuple[float, float, float]
) -> str:
    table = pl.DataFrame([_lead("trained", trained, 0.01), _lead("random", random, 0.9)])
    return " ".join(lead_sentences(table, "AF", "NORM")).replace("\u00a0", " ")


def test_a_finding_comes_with_its_numbers_and_intervals() -> None:
    said = _said((0.41, 0.2, 0.6), (0.02, -0.2, 0.15))
    assert "V1's share of absolute relevance is 12.1 % [10.3, 14.0] vs 8.0 % [7.0, 9.0]" in said
    assert "Cliff's delta 0.41 [0.20, 0.60], q = 0.01." in said
    assert "Cliff's delta 0.02 [−0.20, 0.15]." in said
    assert "greater share in AF, beyond what random weights give" in said


def test_no_difference_is_claimed_where_the_interval_includes_zero() -> None:
    said = _said((0.2, -0.1, 0.5), (0.0, -0.2, 0.2))
    assert "no clear difference" in said
    assert "greater" not in said


def test_nothing_is_credited_to_training_that_random_weights_show_too() -> None:
    said = _said((0.4, 0.2, 0.6), (0.3, 0.1, 0.5))
    assert "cannot be credited to training" in said
    assert "beyond" not in said


def test_a_smaller_share_is_called_smaller() -> None:
    assert "smaller share in AF, beyond" in _said((-0.5, -0.7, -0.3), (0.0, -0.2, 0.2))


def test_too_few_patients_for_an_interval_is_said() -> None:
    assert "too few" in _said((0.5, None, None), (0.0, -0.2, 0.2))


def test_stretches_off_zero_are_told_where_the_interval_excludes_it() -> None:
    time = [float(t) for t in range(-100, 101, 10)]
    low = [0.1 if -50 <= t <= 0 else -0.1 for t in time]
    high = [0.2 if t < 60 else -0.05 if t >= 60 else 0.1 for t in time]
    beats = pl.DataFrame(
        {"time_ms": time, "mean_relevance": low, "relevance_low": low, "relevance_high": high}
    ).with_columns(
        pl.lit("AF").alias("class"), pl.lit("AF").alias("group"),
        pl.lit("trained").alias("model"), pl.lit("V1").alias("lead"),
    )  # fmt: skip
    (said,) = beat_sentences(beats, "AF", "V1", "NORM")
    said = said.replace("\u00a0", " ")
    assert "above zero from −50 to 0 ms" in said
    assert "below zero from 60 to 100 ms" in said


def test_the_rise_with_probability_is_told_as_an_identity() -> None:
    records = pl.DataFrame(
        {
            "class": ["AF"] * 8, "model": ["trained"] * 4 + ["random"] * 4,
            "probability": [0.1, 0.2, 0.3, 0.4, 0.51, 0.52, 0.53, 0.54],
            "mean_relevance": [1.0, 2.0, 3.0, 4.0, 0.01, 0.02, 0.03, 0.04],
            "completeness_error": [0.01, 0.01, 0.01, 3.0] * 2,
            "logit": [1.0, 2.0, 3.0, -1.99] * 2, "baseline_logit": [-2.0] * 8,
            "total_relevance": [3.03, 4.04, 5.05, 0.04] * 2,
        }
    )  # fmt: skip
    said = " ".join(identity_sentences(records, "AF"))
    # Three hundred per cent of a hundredth: in logits the largest error is another record's.
    assert "the largest in logits is 0.05" in said
    assert "1.000 under the trained network and 1.000 under random weights" in said
    assert "identity" in said


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.000012, "1.2 × 10⁻⁵"), (-0.5, "−0.5"), (None, "n/a"), (float("nan"), "n/a"), (12.0, "12")],
)
def test_numbers_are_written_for_people(value: float | None, text: str) -> None:
    assert number(value) == text


def test_a_number_without_an_interval_is_only_a_number() -> None:
    assert with_interval(0.5, None, 0.7, decimals=2) == "0.50"


def test_nothing_is_said_of_a_class_without_records() -> None:
    row = _lead("trained", (0.5, 0.1, 0.9), 0.1)
    gone = {name: None for name in row if name.startswith(("mean_case", "cliffs"))}
    table = pl.DataFrame([_lead("random", (0.5, 0.1, 0.9), 0.1), row | gone])
    assert lead_sentences(table, "AF", "NORM") == []


def _signed(model: str, lead: str, delta: float, low: float, high: float) -> dict[str, object]:
    return {
        "class": "AF", "measure": "mean_relevance", "model": model, "lead": lead,
        "cliffs_delta": delta, "cliffs_delta_low": low, "cliffs_delta_high": high, "q_value": 0.001,
    }  # fmt: skip


def test_a_signed_effect_is_credited_only_where_it_clears_random_weights() -> None:
    apart = pl.DataFrame(
        [_signed("trained", "V1", 0.8, 0.5, 0.9), _signed("random", "V1", 0, -0.3, 0.2)]
    )
    (told,) = signed_sentences(apart, "AF", "NORM")
    assert "0.80 [0.50, 0.90]" in told
    assert "the largest effect of all leads" in told
    assert "random weights do not give this" in told
    close = pl.DataFrame(
        [_signed("trained", "V1", 0.8, 0.5, 0.9), _signed("random", "V1", 0.5, 0.2, 0.7)]
    )
    assert "cannot be credited" in signed_sentences(close, "AF", "NORM")[0]


def test_shares_beyond_random_weights_name_the_clear_leads_or_say_that_there_is_none() -> None:
    row = _signed("trained", "V1", 0.7, 0.4, 0.9) | {"measure": "absolute_share_beyond_random"}
    (told,) = beyond_random_sentences(pl.DataFrame([row]), "AF", "NORM")
    assert "in 1 of 1 leads" in told
    assert "V1 0.70 [0.40, 0.90]" in told
    (told,) = beyond_random_sentences(pl.DataFrame([row | {"q_value": 0.3}]), "AF", "NORM")
    assert "no lead with q < 0.05" in told
