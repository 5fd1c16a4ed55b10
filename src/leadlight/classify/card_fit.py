"""Which lead order, unit and padding a network was trained with, judged on labelled records.

Public weights come with documents that contradict each other. Each combination that they leave open
is tried: the better a card describes the training, the better the network tells positives from
negatives. What the records cannot tell apart is said to be undecided and left as the card has it.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, permutations, product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from leadlight.classify.cards import ModelCard
from leadlight.classify.models import Model
from leadlight.classify.prepare import prepare
from leadlight.classify.scoring import MIN_POSITIVE_PATIENTS, _auroc, _groups
from leadlight.cohort.store import open_cohort
from leadlight.ecg.recording import Recording
from leadlight.errors import LeadlightError
from leadlight.progress import track

Padding = Literal["both", "end", "start"]
Floats = npt.NDArray[np.float64]

AUGMENTED_LEADS = ("aVR", "aVL", "aVF")
# As documents of the Ribeiro weights state or imply them: millivolt, twice that, units of 1e-4 V.
UNIT_SCALES = (1.0, 2.0, 10.0)
PADDINGS: tuple[Padding, ...] = ("both", "end")

SETTINGS = ("leads", "unit_scale", "padding")


@dataclass(frozen=True)
class Candidate:
    """One way to feed the network; the names are those of a card's `[input]`."""

    leads: tuple[str, ...]
    unit_scale: float
    padding: Padding


@dataclass(frozen=True)
class Verdict:
    """Best candidate against the best one that differs in `setting`.

    `difference` is of the macro AUROC, with its 95 % interval from a paired bootstrap by patient;
    `decided` when that interval lies above 0. Settings with one value only have no rival.
    """

    setting: str
    best: Any
    rival: Any
    difference: float
    low: float
    high: float
    decided: bool


@dataclass(frozen=True)
class CardFit:
    """Outcome of `fit_card`.

    Attributes:
        best: the candidate with the largest macro AUROC (log-likelihood where equal).
        card: the given card with the settings that are decided; others are left as they were.
        decided: whether the best candidate is told from the second best.
        verdicts: one for each setting that has more than one value among the candidates.
        table: one row per candidate, best first: leads, unit_scale, padding, auroc with interval,
            its difference from the best with interval, log_likelihood.
        statement: the outcome in words.
        n_records, n_patients, n_refused: what it rests on.
        classes: those with enough positive and negative patients to count.
    """

    best: Candidate
    card: ModelCard
    decided: bool
    verdicts: tuple[Verdict, ...]
    table: pl.DataFrame
    statement: str
    n_records: int
    n_patients: int
    n_refused: int
    classes: tuple[str, ...]


def candidates(
    card: ModelCard,
    *,
    unit_scales: Collection[float] = UNIT_SCALES,
    paddings: Collection[Padding] = PADDINGS,
) -> list[Candidate]:
    """The card's own settings, and every order of the augmented leads x unit x padding.

    Orders permute aVR, aVL and aVF among the places that they have in the card.
    """
    own = card.input
    places = [place for place, lead in enumerate(own.leads) if lead in AUGMENTED_LEADS]
    orders = []
    for order in permutations([own.leads[place] for place in places]):
        leads = list(own.leads)
        for place, lead in zip(places, order, strict=True):
            leads[place] = lead
        orders.append(tuple(leads))
    return [
        Candidate(*settings)
        for settings in product(
            orders,
            dict.fromkeys((own.unit_scale, *unit_scales)),
            dict.fromkeys((own.padding, *paddings)),
        )
    ]


def fit_card(
    model: Model,
    labelled: Iterable[tuple[Recording, Collection[str]]],
    tried: Sequence[Candidate] | None = None,
    *,
    batch: int = 32,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> CardFit:
    """Try candidates on labelled records and tell which settings the records decide.

    The figure is the macro AUROC over the classes with at least `MIN_POSITIVE_PATIENTS` positive
    and as many negative patients. Intervals are 95 % percentile intervals over resamples of
    patients, the same ones for all candidates. They take no account of the best being chosen among
    many, so a difference that is barely decided deserves more records.

    Args:
        model: whose card is in doubt.
        labelled: recordings, each with the names of its classes (empty: none of them).
        tried: by default `candidates(model.card)`. The card's own settings are always among them.
        batch: records that pass the network at once.
        n_bootstrap: resamples.
        seed: of the bootstrap.

    Raises:
        LeadlightError: no class has enough patients, no record can be prepared, or a candidate
            has other leads than the card.
    """
    own = Candidate(model.card.input.leads, model.card.input.unit_scale, model.card.input.padding)
    tried = list(dict.fromkeys([own, *(candidates(model.card) if tried is None else tried)]))
    for candidate in tried:
        if sorted(candidate.leads) != sorted(own.leads):
            raise LeadlightError(
                f"A candidate has the leads {', '.join(candidate.leads)}; they must be the card's, "
                f"{', '.join(own.leads)}, in any order."
            )
    classes = model.card.output.classes
    logits: list[npt.NDArray[np.float32]] = []
    truth: list[list[bool]] = []
    patients: list[str] = []
    n_given = 0
    remaining = iter(labelled)
    while some := list(islice(remaining, batch)):
        n_given += len(some)
        of_batch, usable = _batch_logits(model, some, tried)
        logits.append(of_batch)
        for recording, labels in (some[place] for place in usable):
            truth.append([name in labels for name in classes])
            patients.append(recording.patient_id or recording.record_id)
    if not truth:
        raise LeadlightError(f"None of {n_given} labelled records can be given to the model.")
    return _judge(
        model.card,
        tried,
        np.concatenate(logits, axis=1),
        np.array(truth),
        np.unique(patients, return_inverse=True)[1],
        n_given - len(truth),
        n_bootstrap,
        seed,
    )


def fit_card_on_study(
    model: Model,
    study: Path,
    tried: Sequence[Candidate] | None = None,
    *,
    max_records: int = 400,
    batch: int = 32,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> CardFit:
    """`fit_card` on the labelled records of a study, at most `max_records` of them.

    Where there are more, each class of the model first gets its equal share of positives, and
    records of any kind fill the rest, all drawn at random with `seed`: rare classes decide too.

    Every candidate is one pass of the network over all records: 36 by default.

    Raises:
        LeadlightError: as `fit_card`, or the study has no cohort or no labelled record.
    """
    cohort = open_cohort(study)
    rows = _balanced_rows(cohort.records["labels"], model.card.output.classes, max_records, seed)
    if not rows:
        raise LeadlightError(
            f"{study} has no labelled record.",
            advice="Import it with --labels, or use a study that is labelled.",
        )
    labels = cohort.records["labels"]

    def labelled() -> Iterator[tuple[Recording, Collection[str]]]:
        streamed = track(cohort.stream(rows), f"fit card of {model.card.model.name}", len(rows))
        for row, recording in zip(rows, streamed, strict=True):
            yield recording, labels[row].to_list()

    return fit_card(model, labelled(), tried, batch=batch, n_bootstrap=n_bootstrap, seed=seed)


def _balanced_rows(
    labels: pl.Series, classes: Sequence[str], max_records: int, seed: int
) -> list[int]:
    rng = np.random.default_rng(seed)
    known = np.flatnonzero(labels.is_not_null().to_numpy())
    if len(known) <= max_records:
        return [int(row) for row in known]
    shuffled = rng.permutation(known)
    share = max_records // (len(classes) + 1)
    chosen: dict[int, None] = {}
    for name in classes:
        positive = labels.list.contains(name).fill_null(False).to_numpy()
        chosen.update(dict.fromkeys(int(r) for r in shuffled[positive[shuffled]][:share]))
    for row in shuffled:
        if len(chosen) >= max_records:
            break
        chosen.setdefault(int(row))
    return sorted(chosen)


def _batch_logits(
    model: Model,
    some: Sequence[tuple[Recording, Collection[str]]],
    tried: Sequence[Candidate],
) -> tuple[npt.NDArray[np.float32], list[int]]:
    """Logits (candidate, record, class) and which of `some` could be prepared.

    Preparing is done once per padding, in millivolt; order and unit are applied to the result.
    """
    base = model.card.input.leads
    inputs: dict[str, torch.Tensor] = {}
    usable: list[int] = []
    for padding in dict.fromkeys(candidate.padding for candidate in tried):
        card = model.card.with_input(padding=padding, unit_scale=1.0)
        values, usable = [], []
        for place, (recording, _) in enumerate(some):
            try:
                values.append(prepare(recording, card).values.values)
            except LeadlightError:
                continue
            usable.append(place)
        shape = (0, len(base), card.input.samples)
        stacked = np.stack(values) if values else np.zeros(shape, dtype=np.float32)
        inputs[padding] = torch.from_numpy(stacked)
    result = np.zeros((len(tried), len(usable), len(model.card.output.classes)), dtype=np.float32)
    if usable:
        for row, candidate in enumerate(tried):
            order = [base.index(lead) for lead in candidate.leads]
            with torch.inference_mode():
                x = inputs[candidate.padding][:, order] * candidate.unit_scale
                result[row] = model.network(x).cpu().numpy()
    return result, usable


def _judge(
    card: ModelCard,
    tried: Sequence[Candidate],
    logits: npt.NDArray[np.float32],
    truth: npt.NDArray[np.bool_],
    patient: npt.NDArray[np.int64],
    n_refused: int,
    n_bootstrap: int,
    seed: int,
) -> CardFit:
    n_patients = int(patient.max()) + 1
    counted = [
        column
        for column in range(truth.shape[1])
        if min(len(np.unique(patient[truth[:, column] == kind])) for kind in (True, False))
        >= MIN_POSITIVE_PATIENTS
    ]
    classes = tuple(card.output.classes[column] for column in counted)
    if not counted:
        raise LeadlightError(
            f"No class has {MIN_POSITIVE_PATIENTS} positive and as many negative patients among "
            f"{n_patients}.",
            advice="Give more labelled records.",
        )
    # The first row of weights is the cohort itself; the others are resamples of its patients.
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(n_patients, np.full(n_patients, 1 / n_patients), size=n_bootstrap)
    weights = np.concatenate([np.ones((1, n_patients)), drawn])[:, patient]
    auroc = np.stack([_macro_auroc(rows, truth, counted, weights) for rows in logits])
    likelihood = [_log_likelihood(rows[:, counted], truth[:, counted]) for rows in logits]
    order = sorted(range(len(tried)), key=lambda row: (-auroc[row, 0], -likelihood[row], row))
    best = order[0]
    verdicts = tuple(
        _verdict(setting, tried, order, auroc)
        for setting in SETTINGS
        if len({getattr(candidate, setting) for candidate in tried}) > 1
    )
    decided = len(order) == 1 or _interval(auroc[best, 1:] - auroc[order[1], 1:])[0] > 0
    changes = {v.setting: v.best for v in verdicts if v.decided}
    return CardFit(
        best=tried[best],
        card=card.with_input(**changes) if changes else card,
        decided=decided,
        verdicts=verdicts,
        table=_fit_table(tried, order, auroc, likelihood),
        statement=_statement(verdicts, decided, len(patient), n_patients, classes),
        n_records=len(patient),
        n_patients=n_patients,
        n_refused=n_refused,
        classes=classes,
    )


def _macro_auroc(
    logits: npt.NDArray[np.float32],
    truth: npt.NDArray[np.bool_],
    counted: Sequence[int],
    weights: Floats,
) -> Floats:
    """Mean AUROC over classes for each row of weights (resample, record); NaN where undefined."""
    of_class = [_auroc(*_groups(truth[:, c], logits[:, c], weights)) for c in counted]
    return np.asarray(np.mean(of_class, axis=0), dtype=np.float64)


def _log_likelihood(logits: npt.NDArray[np.float32], truth: npt.NDArray[np.bool_]) -> float:
    """Mean over records and classes of the log probability of what is true."""
    signed = np.where(truth, logits, -logits).astype(np.float64)
    return float(-np.logaddexp(0.0, -signed).mean())


def _verdict(
    setting: str, tried: Sequence[Candidate], order: Sequence[int], auroc: Floats
) -> Verdict:
    best = order[0]
    value = getattr(tried[best], setting)
    rival = next(row for row in order if getattr(tried[row], setting) != value)
    low, high = _interval(auroc[best, 1:] - auroc[rival, 1:])
    return Verdict(
        setting=setting,
        best=value,
        rival=getattr(tried[rival], setting),
        difference=float(auroc[best, 0] - auroc[rival, 0]),
        low=low,
        high=high,
        decided=low > 0,
    )


def _interval(values: Floats) -> tuple[float, float]:
    """95 % percentile interval over the resamples in which every class has both kinds."""
    defined = values[np.isfinite(values)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.percentile(defined, (2.5, 97.5))
    return float(low), float(high)


def _fit_table(
    tried: Sequence[Candidate], order: Sequence[int], auroc: Floats, likelihood: Sequence[float]
) -> pl.DataFrame:
    rows = []
    for row in order:
        low, high = _interval(auroc[row, 1:])
        behind_low, behind_high = _interval(auroc[row, 1:] - auroc[order[0], 1:])
        rows.append(
            {
                "leads": ",".join(tried[row].leads),
                "unit_scale": tried[row].unit_scale,
                "padding": tried[row].padding,
                "auroc": float(auroc[row, 0]),
                "auroc_low": low,
                "auroc_high": high,
                "difference": float(auroc[row, 0] - auroc[order[0], 0]),
                "difference_low": behind_low,
                "difference_high": behind_high,
                "log_likelihood": likelihood[row],
            }
        )
    return pl.DataFrame(rows)


def _statement(
    verdicts: Sequence[Verdict],
    decided: bool,
    n_records: int,
    n_patients: int,
    classes: Sequence[str],
) -> str:
    sentences = [
        f"Macro AUROC over {', '.join(classes)} on {n_records} records of {n_patients} patients."
    ]
    for verdict in verdicts:
        shown = ", ".join(verdict.best) if isinstance(verdict.best, tuple) else verdict.best
        gap = f"{verdict.difference:.3f} ({verdict.low:.3f} to {verdict.high:.3f})"
        sentences.append(
            f"{verdict.setting} is decided: {shown}, ahead by {gap}."
            if verdict.decided
            else f"{verdict.setting} is undecided: the best two values differ by {gap}; "
            "the card's is kept."
        )
    if not decided:
        sentences.append("The best two candidates are not told apart by these records.")
    return " ".join(sentences)
