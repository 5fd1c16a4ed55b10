"""Train the shipped delineation network.

    python training/delineator.py --ludb DIR --unmarked PTBXL CINC --work DIR

Teachers are trained first, each on two thirds of the LUDB records that are not for testing; the
other third tells how well it reads what it has not seen. Together they mark recordings that nobody
has marked; the first of them then goes on to learn from all hand-drawn marks and from those
(self-training: Xie et al. 2020).
Simulated hearts are added throughout. One core; what is done is kept in --work, and the same
command goes on from there. Writes weights and card to src/leadlight/ecg/delineation/shipped/. The
same seed, data and machine give the same weights.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from delineator_strips import (
    Strip,
    example,
    simulated_strips,
    strip_of_annotated,
    strip_of_unmarked,
    unmarked_signals,
)
from torch.nn import functional as F

from leadlight.atomic import written_whole
from leadlight.ecg.delineation.delineate import delineate
from leadlight.ecg.delineation.fiducials import WAVES
from leadlight.ecg.delineation.ludb import AnnotatedRecord, part_of, read_annotated, record_numbers
from leadlight.ecg.delineation.network import RATE_HZ, STEP, DelineationNetwork, folded_copy
from leadlight.ecg.delineation.scoring import (
    Tally,
    by_lead,
    calibration,
    score,
    stated_and_true,
    tally,
)
from leadlight.ecg.delineation.weights import SHIPPED, load_network, write_network
from leadlight.progress import say, track

# How many strips a step holds for each number of leads, and how often that number is drawn.
STRIPS_OF_LEADS = {12: 3, 8: 4, 4: 8, 2: 12, 1: 20}
LEAD_SHARES = (0.6, 0.1, 0.1, 0.1, 0.1)
MARKED_SHARE, UNMARKED_SHARE, SIMULATED_SHARE = 0.5, 0.4, 0.1
SETTINGS: dict[str, Any] = {
    "widths": [32, 48, 64],
    "shared_widths": [48, 64, 96],
    "kernel": 3,
    "stem_kernel": 5,
    "bottom_kernel": 15,
}
REPORT = 250
SIMULATED, SIMULATED_SEED = 150, 11
# Each teacher leaves out one of the parts.
PARTS, TEACHERS, TEACHER_STEPS, STEPS = 3, 2, 2500, 7000
LIMITS = [
    "One centre and one group of cardiologists marked all training records: what they call the "
    "end of T or of P is what is read.",
    "A P wave without a QRS of its own (blocked, dissociated) is not reported: waves belong to "
    "beats.",
    "Few training records hold ventricular ectopy, bundle branch block or pacing; limits there "
    "are less sure than the figures say.",
    "Children, and rates below 100 Hz, were not tried.",
]


@dataclass
class _Deck:
    """Strips drawn without repeats until all were seen."""

    strips: list[Strip]
    share: float
    order: list[int] = field(default_factory=list)

    def draw(self, rng: np.random.Generator) -> Strip:
        if not self.order:
            self.order = rng.permutation(len(self.strips)).tolist()
        return self.strips[self.order.pop()]


def train(
    kinds: Sequence[tuple[list[Strip], float]],
    *,
    steps: int,
    seed: int,
    settings: Mapping[str, Any] = SETTINGS,
    start: DelineationNetwork | None = None,
    learning_rate: float = 3e-3,
    checkpoint: Path | None = None,
) -> DelineationNetwork:
    """The running mean of the weights over training, which reads steadier than the last weights.

    A step sees strips of one number of leads, fewer strips the more leads they have.

    Args:
        kinds: strips of each kind and the share of the examples that are of it.
        steps: of one cycle of the learning rate.
        seed: of weights and examples.
        settings: of the network.
        start: a network whose weights are the first ones (warm restart, Loshchilov and Hutter
            2017).
        learning_rate: the highest.
        checkpoint: where the state is kept; training goes on from there when it exists.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = DelineationNetwork(**settings)
    if start is not None:
        network.load_state_dict(start.state_dict())
    mean = torch.optim.swa_utils.AveragedModel(network, avg_fn=_running_mean, use_buffers=True)
    optimiser = torch.optim.AdamW(network.parameters(), learning_rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, learning_rate, total_steps=steps, pct_start=0.08
    )
    decks = [_Deck(strips, share) for strips, share in kinds]
    shares = np.array([deck.share for deck in decks]) / sum(deck.share for deck in decks)
    parts = {"network": network, "mean": mean, "optimiser": optimiser, "schedule": schedule}
    done = 0
    if checkpoint is not None and checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        done = state["step"]
        for name, part in parts.items():
            part.load_state_dict(state[name])
        rng.bit_generator.state = state["rng"]
        for deck, order in zip(decks, state["orders"], strict=True):
            deck.order = order
        say(f"{checkpoint}: on from step {done}")
    began, running = time.monotonic(), 0.0
    network.train()
    for step in range(done + 1, steps + 1):
        n_leads = int(rng.choice(list(STRIPS_OF_LEADS), p=LEAD_SHARES))
        kind = rng.choice(len(decks), size=STRIPS_OF_LEADS[n_leads], p=shares)
        signal, lead, inside, weight = (
            torch.from_numpy(np.stack(part))
            for part in zip(*(example(decks[k].draw(rng), n_leads, rng) for k in kind), strict=True)
        )
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(signal, lead)
        loss = F.binary_cross_entropy_with_logits(
            logits.float(), inside, weight, reduction="sum"
        ) / weight.sum().clamp(min=1.0)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        mean.update_parameters(network)
        running += float(loss.detach())
        if step % REPORT == 0 or step == steps:
            say(f"step {step}: loss {running / REPORT:.4f}, {time.monotonic() - began:.0f} s")
            running = 0.0
            if checkpoint is not None:
                state = {name: part.state_dict() for name, part in parts.items()}
                state |= {"step": step, "rng": rng.bit_generator.state}
                state["orders"] = [deck.order for deck in decks]
                with written_whole(checkpoint) as partial:
                    torch.save(state, partial)
    return mean.module.eval()


def _running_mean(mean: torch.Tensor, new: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """Over about the last tenth of the steps so far, 500 at most."""
    if not mean.is_floating_point():
        return new
    share = 1.0 / min(10.0 + 0.1 * float(count), 500.0)
    return mean + share * (new - mean)


def measured(
    tallies: Sequence[Mapping[tuple[str, str], Tally]], seed: int
) -> dict[str, dict[str, object]]:
    """What the card says about each fiducial."""
    return {
        f"{wave}_{point}": {
            "marks": found.marks,
            **{
                name: {
                    "value": round(value, 4 if name in ("sensitivity", "precision") else 2),
                    "interval_95": [round(bound, 4) for bound in found.intervals[name]],
                }
                for name, value in (
                    ("mean_ms", found.mean_ms),
                    ("sd_ms", found.sd_ms),
                    ("sensitivity", found.sensitivity),
                    ("precision", found.precision),
                )
            },
        }
        for (wave, point), found in score(tallies, seed=seed).items()
    }


def main() -> None:
    """Train, measure on the held-back records, write weights and card."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ludb", type=Path, required=True, help="folder with data/ and ludb.csv")
    parser.add_argument(
        "--unmarked", type=Path, nargs="+", required=True, help="folders of 12-lead recordings"
    )
    parser.add_argument("--work", type=Path, required=True, help="where checkpoints are kept")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="where weights and card go")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--teachers", type=int, default=TEACHERS, choices=range(1, PARTS + 1))
    parser.add_argument("--teacher-steps", type=int, default=TEACHER_STEPS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--simulated", type=int, default=SIMULATED, help="simulated people")
    parser.add_argument("--note", action="append", default=[], help="a sentence for the card")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    asked.work.mkdir(parents=True, exist_ok=True)
    records = [read_annotated(asked.ludb, number) for number in record_numbers(asked.ludb)]
    own = [one for one in records if part_of(one.number) != "test"]
    marked = [strip_of_annotated(one) for one in own]
    simulated = simulated_strips(asked.simulated, seed=SIMULATED_SEED)

    teachers, trained, unseen = [], [], []
    for part in range(asked.teachers):
        say(f"teacher {part + 1} of {asked.teachers}")
        seen = [strip for i, strip in enumerate(marked) if i % PARTS != part]
        network = train(
            [(seen, MARKED_SHARE + UNMARKED_SHARE), (simulated, SIMULATED_SHARE)],
            steps=asked.teacher_steps,
            seed=asked.seed + 1 + part,
            checkpoint=asked.work / f"teacher-{part}.pt",
        )
        trained.append(network)
        teachers.append(folded_copy(network, **SETTINGS))
        for one in own[part::PARTS]:
            found = delineate(one.signal_mv, one.rate_hz, network=teachers[-1])
            unseen.append((tally(one, by_lead(found)), stated_and_true(one, found)))
    unmarked = [
        strip_of_unmarked(signal, teachers)
        for signal in track(list(unmarked_signals(asked.unmarked)), "marking")
    ]
    say(f"the network that ships, with {len(unmarked)} strips that the teachers marked")
    network = train(
        [(marked, MARKED_SHARE), (unmarked, UNMARKED_SHARE), (simulated, SIMULATED_SHARE)],
        steps=asked.steps,
        seed=asked.seed,
        start=trained[0],
        checkpoint=asked.work / "student.pt",
    )
    write_card_and_weights(network, records, unseen, len(unmarked), asked)


def write_card_and_weights(
    network: DelineationNetwork,
    records: list[AnnotatedRecord],
    unseen: Sequence[tuple[Mapping[tuple[str, str], Tally], Mapping[tuple[str, str], Any]]],
    n_unmarked: int,
    asked: argparse.Namespace,
) -> None:
    """Fold, measure what will ship, write."""
    numbers = {
        name: [one.number for one in records if (part_of(one.number) == "test") == held]
        for name, held in (("records_training", False), ("records_test", True))
    }
    card: dict[str, Any] = {
        "model": {
            "name": "leadlight-delineator",
            "version": "2",
            "architecture": "lead-set U-Net",
            "architecture_settings": SETTINGS,
            "weights_sha256": "",
            "licence": "Apache-2.0",
            "description": "What share of each step of each lead lies inside P, QRS or T, as a "
            "cardiologist would have marked it; 500 Hz, any leads in any order.",
        },
        "input": {"rate_hz": RATE_HZ, "unit": "mV", "leads": "one or more, in any order"},
        "output": {"waves": list(WAVES), "kind": f"logit per lead, wave and {STEP} samples"},
        "training": {
            "data": "LUDB 1.0.1 records with hand-drawn limits in every lead; recordings that the "
            "teachers marked; hearts from leadlight.simulate (limits not used within 20 samples "
            "of theirs)",
            "licence_of_data": "LUDB: Open Data Commons Attribution License v1.0 (ODC-By 1.0); "
            "recordings marked by the teachers: CC BY 4.0",
            "split": "record numbers divisible by 3 are test, the others training; what was chosen "
            "was chosen on the training records that a teacher had not seen",
            **numbers,
            "unmarked": "recordings of PTB-XL folds 1 to 9 and of the PhysioNet challenges of 2020 "
            "and 2021 without those from PTB-XL, marked by the teachers",
            "unmarked_recordings": n_unmarked,
            "simulated_people": asked.simulated,
            "teachers": asked.teachers,
            "teacher_steps": asked.teacher_steps,
            "steps": asked.steps,
            "seed": asked.seed,
            "recipe": "python training/delineator.py --ludb DIR --unmarked PTBXL CINC --work DIR",
            "notes": asked.note,
        },
        "limits": LIMITS,
    }
    folded = folded_copy(network, **SETTINGS)
    write_network(folded, card, asked.out)
    load_network.cache_clear()
    shipped = load_network(asked.out)
    test = [
        tally(one, by_lead(delineate(one.signal_mv, one.rate_hz, network=shipped)))
        for one in records
        if part_of(one.number) == "test"
    ]
    card["metrics"] = {
        "what": "records_test, all leads and marked beats, R peaks found, reading less mark, "
        "one to one within 150 ms; 95 % intervals by drawing records",
        **measured(test, asked.seed),
    }
    card["metrics_of_teachers"] = {
        "what": "the same on those of records_training that a teacher did not see, read by it",
        **measured([one for one, _ in unseen], asked.seed),
    }
    card["calibration_of_teachers"] = {
        "what": "on the same records, mean confidence and share of marks within the tolerance that "
        "it speaks of: all, then the four quarters from least to most sure",
        **{
            f"{wave}_{point}": [[round(value, 3) for value in pair] for pair in pairs]
            for (wave, point), pairs in calibration([one for _, one in unseen]).items()
        },
    }
    write_network(folded, card, asked.out)
    say(f"wrote {asked.out}")


if __name__ == "__main__":
    main()
