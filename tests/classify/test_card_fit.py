from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from leadlight.classify.card_fit import Candidate, candidates, fit_card, fit_card_on_study
from leadlight.classify.cards import ModelCard, card_from_tables
from leadlight.classify.models import Model
from leadlight.cohort.store import write_cohort
from leadlight.ecg.leads import LEADS, as_leads
from leadlight.ecg.recording import Recording
from leadlight.errors import LeadlightError

SAMPLES = 512
TRUE_LEADS = ("I", "II", "III", "aVL", "aVF", "aVR", "V1", "V2", "V3", "V4", "V5", "V6")
Labelled = list[tuple[Recording, tuple[str, ...]]]


class PeakNetwork(nn.Module):
    """Was "trained" on aVL, aVF, aVR, twice millivolt, padding at the end.

    AF is a bump of 1 mV, neither smaller nor larger, in aVL; LBBB one in aVR, both around sample
    200 of the input. All settings of the card matter to it, and no weights need training.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        window = x[:, :, 180:220].amax(dim=2)
        return 1.0 - 2.0 * (window[:, [3, 5]] - 2.0).abs()


def card(**input_settings: object) -> ModelCard:
    settings = {"samples": SAMPLES, **input_settings}
    return card_from_tables(
        {
            "model": {"name": "peaks"},
            "input": settings,
            "output": {"classes": ["AF", "LBBB"]},
        },
        "here",
    )


def people(n: int, seed: int = 0, samples: int = 400) -> Labelled:
    """Bumps of 1 mV at sample 200 where a label says so; elsewhere smaller, larger or later."""
    rng = np.random.default_rng(seed)
    labelled: Labelled = []
    for person in range(n):
        signal = 0.02 * rng.normal(size=(12, samples))
        labels = []
        for lead in LEADS:
            row = signal[LEADS.index(lead)]
            kind = rng.choice(["none", "half", "double", "late"])
            height, at = {"none": (0, 0), "half": (0.5, 200), "double": (2.0, 200)}.get(
                str(kind), (1.0, 144)
            )
            name = {"aVL": "AF", "aVR": "LBBB"}.get(lead)
            if name and rng.random() < 0.4:
                labels.append(name)
                height, at = 1.0, 200
            if height:
                row[at - 3 : at + 4] += height * np.hanning(9)[1:-1]
        rec = Recording(as_leads(signal.astype(np.float32)), 400.0, f"r{person}", f"p{person}")
        labelled.append((rec, tuple(labels)))
    return labelled


def model(**input_settings: object) -> Model:
    return Model(card(**input_settings), PeakNetwork().eval(), Path("card.toml"))


def test_a_wrong_card_is_put_right_by_labelled_records() -> None:
    wrong = model(leads=list(LEADS), unit_scale=1.0, padding="both")
    fit = fit_card(wrong, people(150), n_bootstrap=400)
    assert fit.best == Candidate(TRUE_LEADS, 2.0, "end")
    assert fit.decided
    assert {v.setting: v.decided for v in fit.verdicts} == {
        "leads": True,
        "unit_scale": True,
        "padding": True,
    }
    assert fit.card.input.leads == TRUE_LEADS
    assert (fit.card.input.unit_scale, fit.card.input.padding) == (2.0, "end")
    assert fit.card.output == wrong.card.output
    best, second = fit.table.row(0, named=True), fit.table.row(1, named=True)
    assert best["auroc"] > 0.95
    assert best["auroc_low"] <= best["auroc"] <= best["auroc_high"]
    assert second["difference_high"] < 0
    assert (fit.n_records, fit.n_patients, fit.n_refused) == (150, 150, 0)


def test_what_the_records_cannot_tell_is_undecided_and_kept() -> None:
    # Records as long as the input have no padding, so both sides give the same logits.
    given = model(padding="both", unit_scale=2.0)
    fit = fit_card(given, people(120, samples=SAMPLES), n_bootstrap=300)
    verdict = {v.setting: v for v in fit.verdicts}
    assert verdict["leads"].decided
    assert not verdict["padding"].decided
    assert verdict["padding"].difference == 0
    assert not fit.decided
    assert "padding is undecided" in fit.statement
    assert "not told apart" in fit.statement
    assert fit.card.input.padding == "both"
    assert fit.card.input.leads == TRUE_LEADS


def test_labels_that_have_nothing_to_do_with_the_records_decide_nothing() -> None:
    rng = np.random.default_rng(3)
    labelled = [
        (rec, tuple(name for name in ("AF", "LBBB") if rng.random() < 0.4)) for rec, _ in people(60)
    ]
    fit = fit_card(model(), labelled, n_bootstrap=400)
    assert not fit.decided
    assert fit.card == model().card


def test_records_of_one_patient_count_as_one() -> None:
    labelled = people(60)
    # Ten copies of each record: the interval must not become ten times surer.
    copies: Labelled = [
        (Recording(rec.signal_mv, rec.rate_hz, f"{rec.record_id}-{copy}", rec.patient_id), labels)
        for rec, labels in labelled
        for copy in range(10)
    ]
    tried = [Candidate(TRUE_LEADS, 2.0, "end")]
    once = fit_card(model(), labelled, tried, n_bootstrap=800).verdicts[0]
    tenfold = fit_card(model(), copies, tried, n_bootstrap=800).verdicts[0]
    assert tenfold.difference == pytest.approx(once.difference)
    assert tenfold.low == pytest.approx(once.low, abs=1e-9)


def test_candidates_are_every_order_of_the_augmented_leads_unit_and_padding() -> None:
    tried = candidates(card(unit_scale=5.0))
    assert len(tried) == len(set(tried)) == 6 * 4 * 2
    assert {c.unit_scale for c in tried} == {5.0, 1.0, 2.0, 10.0}
    assert {c.leads[:3] for c in tried} == {("I", "II", "III")}
    assert TRUE_LEADS in {c.leads for c in tried}
    eight = candidates(card(leads=["I", "II", "V1"]))
    assert {c.leads for c in eight} == {("I", "II", "V1")}


def test_the_fit_is_the_same_for_any_batch_size_and_repeatable() -> None:
    labelled = people(40)
    one = fit_card(model(), labelled, batch=7, n_bootstrap=100, seed=5)
    other = fit_card(model(), labelled, batch=40, n_bootstrap=100, seed=5)
    assert one.table.equals(other.table)


def test_too_few_positive_patients_are_refused() -> None:
    labelled: Sequence[tuple[Recording, tuple[str, ...]]] = [
        (rec, ("AF",) if place < 4 else ()) for place, (rec, _) in enumerate(people(30))
    ]
    with pytest.raises(LeadlightError, match="5 positive and as many negative patients"):
        fit_card(model(), labelled)


def test_records_that_cannot_be_prepared_are_counted() -> None:
    labelled = people(60)
    rec, labels = labelled[0]
    broken = rec.signal_mv.copy(deep=True)
    broken.loc["V6"] = np.nan
    labelled[0] = (Recording(broken, rec.rate_hz, "broken"), labels)
    fit = fit_card(model(), labelled, n_bootstrap=100)
    assert (fit.n_records, fit.n_refused) == (59, 1)
    with pytest.raises(LeadlightError, match="None of 1 labelled records"):
        fit_card(model(), labelled[:1])


def test_a_candidate_with_other_leads_is_refused() -> None:
    with pytest.raises(LeadlightError, match=r"leads I, II; they must be the card's"):
        fit_card(model(), people(1), [Candidate(("I", "II"), 1.0, "end")])


def test_a_study_gives_its_labelled_records(tmp_path: Path) -> None:
    def cohort() -> Iterator[tuple[Recording, tuple[str, ...] | None]]:
        for place, (rec, labels) in enumerate(people(130)):
            yield rec, None if place >= 120 else labels

    write_cohort(tmp_path, cohort())
    fit = fit_card_on_study(model(), tmp_path, max_records=90, n_bootstrap=200)
    assert fit.n_records == 90
    assert fit.best == Candidate(TRUE_LEADS, 2.0, "end")
    assert fit_card_on_study(model(), tmp_path, n_bootstrap=100).n_records == 120


def test_a_study_without_labels_is_refused(tmp_path: Path) -> None:
    write_cohort(tmp_path, [(rec, None) for rec, _ in people(3)])
    with pytest.raises(LeadlightError, match="no labelled record"):
        fit_card_on_study(model(), tmp_path)
