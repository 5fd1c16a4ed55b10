"""Relevance of a record that has none, on demand: in a process of its own, one at a time.

The process holds the network and nothing else of the server; it is started by the first question,
ends where it is not asked for some minutes, and is killed where it takes too long.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from importlib import resources
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from leadlight.errors import LeadlightError
from leadlight.serve.refusals import Busy, Refusal

_MOST_KEPT = 64
_LONGEST_S = 300.0
_REST_AFTER_S = 180.0


@dataclass(frozen=True)
class Explained:
    """Relevance of one record for one class.

    Attributes:
        relevance: (lead, sample) float32 in logits, at the model's rate.
        leads: names of its rows.
        rate_hz: of the samples.
        first_valid, n_valid: samples that stand for the record.
        start_s: time in the record of sample `first_valid`.
        logit, baseline_logit, completeness_error: see `explain.integrated_gradients`.
        model: whose logit.
    """

    relevance: npt.NDArray[np.float32]
    leads: list[str]
    rate_hz: float
    first_valid: int
    n_valid: int
    start_s: float
    logit: float
    baseline_logit: float
    completeness_error: float
    model: str


@dataclass(frozen=True)
class Question:
    """What is to be explained. signal_uv: (lead of LEADS, sample) int16 as the cohort holds it."""

    record_id: str
    rate_hz: float
    signal_uv: npt.NDArray[np.int16]
    model: str
    of_class: str

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What makes two questions the same."""
        return (self.record_id, self.model, self.of_class, hash(self.signal_uv.tobytes()))


class Explainer:
    """Asks the process, one question after another, and remembers the last answers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Any, Explained | LeadlightError] = OrderedDict()
        self._asked: Any = None
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._last = 0.0
        self._closed = False

    def ask(self, question: Question) -> Explained | None:
        """The answer; None while it is being worked out, which the first question starts.

        Raises:
            Busy: another record is being explained.
            LeadlightError: the record or class cannot be explained.
        """
        with self._lock:
            found = self._kept.get(question.key)
            if isinstance(found, LeadlightError):
                raise Refusal(found.message, advice=found.advice)
            if found is not None or self._asked == question.key:
                return found
            if self._asked is not None or self._closed:
                raise Busy(
                    "Another record is being explained; one is done at a time.",
                    advice="Ask again in a few seconds.",
                )
            self._asked = question.key
        threading.Thread(
            target=self._work, args=(question,), name="leadlight-explaining", daemon=True
        ).start()
        return None

    def known(self, record_id: str) -> list[tuple[str, Explained]]:
        """Classes of a record that were explained, with their relevance."""
        with self._lock:
            return [
                (key[2], found)
                for key, found in self._kept.items()
                if key[0] == record_id and isinstance(found, Explained)
            ]

    def rest(self) -> None:
        """End the process where nobody has asked for a while."""
        with self._lock:
            if self._asked is None and time.monotonic() - self._last > _REST_AFTER_S:
                self._end()

    def close(self) -> None:
        """End the process, whatever it does."""
        with self._lock:
            self._closed = True
            self._end()

    def _work(self, question: Question) -> None:
        found: Explained | LeadlightError
        try:
            found = self._ask_process(question)
        except LeadlightError as error:
            found = error
        except (OSError, EOFError):
            found = LeadlightError("The process that explains has ended.", advice="Ask again.")
        with self._lock:
            self._asked = None
            self._last = time.monotonic()
            if not isinstance(found, LeadlightError) or "ended" not in found.message:
                self._kept[question.key] = found
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)

    def _ask_process(self, question: Question) -> Explained | LeadlightError:
        with self._lock:
            if self._closed:
                raise EOFError
            if self._process is None or not self._process.is_alive() or self._pipe is None:
                self._end()
                context = multiprocessing.get_context("spawn")
                self._pipe, theirs = context.Pipe()
                self._process = context.Process(target=answer_all, args=(theirs,), daemon=True)
                self._process.start()
                theirs.close()
            pipe = self._pipe
        pipe.send(question)
        if not pipe.poll(_LONGEST_S):
            with self._lock:
                self._end()
            raise LeadlightError(f"It took longer than {_LONGEST_S:g} s to explain this record.")
        found: Explained | LeadlightError = pipe.recv()
        return found

    def _end(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None and self._process.is_alive():
            self._process.kill()
            self._process.join(5)
        self._process = self._pipe = None


def answer_all(pipe: Connection) -> None:
    """The process: answer questions until the server goes away."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the server's to answer
    if hasattr(os, "nice"):
        os.nice(5)
    models: dict[str, Any] = {}
    while True:
        try:
            question = pipe.recv()
        except (EOFError, OSError):
            return
        found: Explained | LeadlightError
        try:
            found = explain(question, models)
        except LeadlightError as error:
            found = LeadlightError(error.message, advice=error.advice)
        except Exception as error:
            found = LeadlightError(f"This record cannot be explained ({type(error).__name__}).")
        pipe.send(found)


def explain(question: Question, models: dict[str, Any]) -> Explained:
    """Integrated gradients of one class of one record. models: those that were loaded before.

    Raises:
        LeadlightError: there is no such model or class, or the record cannot be given to it.
    """
    import torch

    from leadlight.classify.models import load_model
    from leadlight.classify.prepare import prepare
    from leadlight.cohort.signals import from_microvolts
    from leadlight.ecg.recording import Recording
    from leadlight.explain.integrated_gradients import integrated_gradients

    if question.model not in models:
        models[question.model] = load_model(question.model)
    model = models[question.model]
    classes = list(model.card.output.classes)
    if question.of_class not in classes:
        raise LeadlightError(
            f"{model.card.model.name} has no class {question.of_class!r}.",
            advice=f"Classes: {', '.join(classes)}.",
        )
    recording = Recording(
        signal_mv=from_microvolts(question.signal_uv), rate_hz=question.rate_hz,
        record_id=question.record_id, patient_id=question.record_id,
    )  # fmt: skip
    prepared = prepare(recording, model.card)
    inputs = torch.from_numpy(prepared.values.values[None])
    found = integrated_gradients(
        model.network, inputs, classes=[classes.index(question.of_class)], max_steps=162
    )
    return Explained(
        relevance=found.relevance[0, 0].numpy(),
        leads=list(model.card.input.leads),
        rate_hz=prepared.rate_hz,
        first_valid=prepared.first_valid,
        n_valid=prepared.n_valid,
        start_s=prepared.start_s,
        logit=float(found.logit[0, 0]),
        baseline_logit=float(found.baseline_logit[0, 0]),
        completeness_error=float(found.completeness_error[0, 0]),
        model=model.card.model.name,
    )


def model_of(study: Path, name: str) -> str:
    """What `load_model` takes for a classifier of a study: the shipped one, or the card's path.

    Raises:
        Refusal: the study does not hold the model's card and weights.
    """
    shipped = resources.files("leadlight.classify") / "shipped" / name / "card.toml"
    if shipped.is_file():
        return name
    card = study / "classify" / name / "card.toml"
    if card.is_file():
        return str(card)
    raise Refusal(
        f"The network {name} is not at hand here, so it cannot be asked.",
        advice="Explain the record with leadlight explain, or copy its card and weights to "
        f"classify/{name}/ of the study.",
    )
