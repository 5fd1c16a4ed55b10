"""Relevance on demand is what integrated gradients give, in a process of its own, one at a time."""

import threading
import time

import numpy as np
import pytest
from study_to_serve import CLASSIFIER

from leadlight.classify.models import load_model
from leadlight.classify.prepare import prepare
from leadlight.cohort.store import open_cohort
from leadlight.errors import LeadlightError
from leadlight.serve import explaining
from leadlight.serve.explaining import Explained, Explainer, Question, explain
from leadlight.serve.one_record import read_record
from leadlight.serve.refusals import Busy, Refusal


def _question(served_study, name="plain003", of_class="AF"):
    from leadlight.serve.folder import open_study

    one = read_record(open_study(served_study), name)
    return Question(name, 500.0, np.asarray(one.cohort.signal)[0], CLASSIFIER, of_class)


def _explained(question):
    return Explained(
        np.zeros((12, 8), np.float32), [], 400.0, 0, 8, 0.0, 1.0, 0.0, 0.0, question.model
    )


def test_relevance_adds_up_to_the_logit_of_the_record(served_study):
    import torch

    found = explain(_question(served_study), {})
    model = load_model(CLASSIFIER)
    cohort = open_cohort(served_study)
    seen = prepare(cohort.recording(cohort.row_of("plain003")), model.card)
    with torch.inference_mode():
        logits = model.network(torch.from_numpy(seen.values.values[None]))[0]
    place = list(model.card.output.classes).index("AF")
    assert found.logit == pytest.approx(float(logits[place]), abs=1e-4)
    promised = found.logit - found.baseline_logit
    assert float(found.relevance.sum()) == pytest.approx(promised, abs=0.03 * abs(promised) + 0.01)
    assert (found.first_valid, found.n_valid) == (seen.first_valid, seen.n_valid)
    with pytest.raises(LeadlightError, match="no class"):
        explain(_question(served_study, of_class="XX"), {})


def test_one_is_explained_at_a_time_and_each_once(served_study, monkeypatch):
    go, asked = threading.Event(), []

    def slowly(self, question):
        asked.append(question.of_class)
        go.wait(10)
        return _explained(question)

    monkeypatch.setattr(Explainer, "_ask_process", slowly)
    explainer = Explainer()
    first, second = _question(served_study), _question(served_study, of_class="SB")
    assert explainer.ask(first) is None
    assert explainer.ask(first) is None  # it is running
    with pytest.raises(Busy):
        explainer.ask(second)
    go.set()
    found = _until(lambda: explainer.ask(first))
    assert isinstance(found, Explained)
    assert [name for name, _ in explainer.known("plain003")] == ["AF"]
    _until(lambda: explainer.ask(second))
    assert asked == ["AF", "SB"]


def test_what_cannot_be_explained_is_a_sentence(served_study, monkeypatch):
    def fails(self, question):
        raise LeadlightError("A gap is too long.")

    monkeypatch.setattr(Explainer, "_ask_process", fails)
    explainer = Explainer()
    question = _question(served_study)
    explainer.ask(question)
    with pytest.raises(Refusal, match="A gap is too long"):
        _until(lambda: explainer.ask(question))


def test_a_process_that_takes_too_long_is_ended(served_study, monkeypatch):
    monkeypatch.setattr(explaining, "_LONGEST_S", 0.01)
    explainer = Explainer()
    question = _question(served_study)
    explainer.ask(question)
    with pytest.raises(Refusal, match="took longer"):
        _until(lambda: explainer.ask(question))
    assert explainer._process is None
    explainer.close()


def test_a_record_is_explained_through_the_server(ask):
    address = "/api/explain?id=plain002&class=LBBB"
    assert ask(address).status == 202
    reply = _until(lambda: None if (found := ask(address)).status == 202 else found, 120)
    assert reply.status == 200
    classes = {one["name"]: one for one in reply.json()["classes"]}
    assert classes["LBBB"]["relevance"] is not None
    assert classes["AF"]["relevance"] is not None  # what was stored stays
    assert classes["LBBB"]["completeness_error"] < 0.05
    found = ask("/api/record?id=plain002").json()
    assert "LBBB" not in found["can_explain"]
    assert ask("/api/explain?id=plain002").status == 422
    assert ask("/api/explain?id=nobody&class=AF").status == 404


def _until(ask, seconds=20.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (found := ask()) is not None:
            return found
        time.sleep(0.1)
    raise AssertionError("no answer in time")
