"""Train the shipped delineation network: python training/delineator.py --ludb DIR

Reads LUDB (a folder with data/ and ludb.csv), adds simulated hearts, trains on one core, measures
on the records that were held back, and writes weights and card to
src/leadlight/ecg/delineation/shipped/. The same seed, data and machine give the same weights.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch.nn import functional as F

from leadlight.ecg.delineation.delineate import delineate
from leadlight.ecg.delineation.fiducials import WAVES
from leadlight.ecg.delineation.ludb import AnnotatedRecord, part_of, read_annotated, record_numbers
from leadlight.ecg.delineation.network import RATE_HZ, DelineationNetwork, folded_copy
from leadlight.ecg.delineation.scoring import by_lead, score, tally
from leadlight.ecg.delineation.weights import SHIPPED, load_network, write_network
from leadlight.ecg.leads import LEADS
from leadlight.progress import say
from leadlight.simulate.population import simulate_recordings

CROP = 3072  # samples of one training strip: 6.1 s
# How many strips a step holds for each number of leads, and how often that number is drawn.
STRIPS_OF_LEADS = {12: 3, 8: 4, 4: 8, 2: 12, 1: 20}
LEAD_SHARES = (0.6, 0.1, 0.1, 0.1, 0.1)
SIMULATED_SHARE = 0.15
# Samples about a simulated limit that are not asked for: the simulator puts limits where Gaussians
# have faded, cardiologists elsewhere. It does not say where T begins; from the end of QRS to this
# long before the peak of T nothing is asked for.
_SIMULATED_DOUBT = 20.0
_SIMULATED_T_SURE_S = 0.03
_LONGEST_UNMARKED = 20.0  # samples beyond the outermost mark of a lead that are still known

SETTINGS: dict[str, Any] = {
    "widths": [16, 32, 32, 64],
    "shared_widths": [32, 64, 64, 96],
    "kernel": 5,
    "stem_kernel": 9,
    "bottom_kernel": 15,
}
# Training steps of each cycle of the learning rate; the second starts from the first one's result
# (warm restarts, Loshchilov and Hutter 2017).
STEPS = (4000, 3500)
SIMULATED_SEED = 11
LIMITS = [
    "One centre and one group of cardiologists marked all training records: what they call the "
    "end of T or of P is what is read.",
    "A P wave without a QRS of its own (blocked, dissociated) is not reported: waves belong to "
    "beats.",
    "Few training records hold ventricular ectopy, bundle branch block or pacing; limits there "
    "are less sure than the figures say.",
    "Children, and rates below 100 Hz, were not tried.",
]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Strip:
    """A strip to train on.

    Attributes:
        signal_mv: (lead, sample) at 500 Hz.
        waves: (marked wave, 4): lead, wave, onset, offset.
        known: (lead, 2) first and last sample about which the marks say anything.
        unknown: (stretch, 4): lead, wave, from, to: samples that are not asked for.
    """

    signal_mv: Array
    waves: Array
    known: Array
    unknown: Array


def strip_of_annotated(record: AnnotatedRecord) -> Strip:
    """A hand-marked record."""
    rows, known = [], []
    for lead, name in enumerate(LEADS):
        for wave, wave_name in enumerate(WAVES):
            for onset, _, offset in record.waves[name][wave_name]:
                rows.append((lead, wave, onset, offset))
        first, last = record.span[name]
        known.append((first - _LONGEST_UNMARKED, last + _LONGEST_UNMARKED))
    return Strip(
        record.signal_mv.values.astype(np.float64),
        np.array(rows),
        np.array(known),
        np.zeros((0, 4)),
    )


def simulated_strips(people: int, seed: int) -> list[Strip]:
    """Hearts whose waves are known by construction; their limits only to `_SIMULATED_DOUBT`."""
    strips = []
    for one in simulate_recordings(people, seed=seed, rate_hz=500.0):
        true = one.fiducials
        n = one.recording.n_samples
        if not len(true.qrs_onset_s):
            continue
        rows, unknown = [], []
        for beat in range(len(true.qrs_onset_s)):
            limits = {
                0: (true.p_onset_s[beat], true.p_offset_s[beat]),
                1: (true.qrs_onset_s[beat], true.qrs_offset_s[beat]),
                2: (true.t_peak_s[beat] - _SIMULATED_T_SURE_S, true.t_offset_s[beat]),
            }
            for wave, (onset_s, offset_s) in limits.items():
                if np.isfinite(onset_s):
                    onset, offset = 500.0 * onset_s, 500.0 * offset_s
                    rows.append((wave, onset, offset))
                    before = 500.0 * true.qrs_offset_s[beat] if wave == 2 else onset
                    doubt = _SIMULATED_DOUBT if wave else 0.7 * _SIMULATED_DOUBT
                    unknown.append((wave, before - doubt, onset + doubt))
                    unknown.append((wave, offset - doubt, offset + doubt))
        first = 500.0 * true.qrs_onset_s[0] - 10.0
        last = min(500.0 * true.t_offset_s[-1] + 10.0, n - 1.0)
        leads = np.arange(len(LEADS))
        strips.append(
            Strip(
                one.recording.signal_mv.values.astype(np.float64),
                np.array([(lead, *row) for lead in leads for row in rows]),
                np.array([(first, last)] * len(leads)),
                np.array([(lead, *row) for lead in leads for row in unknown]),
            )
        )
    return strips


def example(strip: Strip, n_leads: int, rng: np.random.Generator) -> tuple[npt.NDArray[Any], ...]:
    """One altered crop of some leads.

    Gives signal (lead, sample), which lead each is (lead), inside (lead, wave, sample) and the
    weight of each of its samples. Some leads are passed off as unknown ones.
    Alters time scale, gain, polarity, wander, muscle noise, mains, bandwidth.
    """
    all_leads, n = strip.signal_mv.shape
    stretch = float(np.clip(np.exp(rng.normal(0, 0.12)), CROP / (n - 4) + 0.005, 1.4))
    start = rng.uniform(1, n - 3 - CROP / stretch)
    leads = np.sort(rng.permutation(all_leads)[:n_leads])
    signal = _resampled(strip.signal_mv[leads], start + np.arange(CROP) / stretch)

    def moved(samples: Array) -> Array:
        return (samples - start) * stretch

    row_of = {lead: row for row, lead in enumerate(leads)}
    inside = np.zeros((n_leads, len(WAVES), CROP), dtype=np.float32)
    weight = np.ones_like(inside)
    t = np.arange(CROP)
    for lead, row in row_of.items():
        first, last = moved(strip.known[lead])
        weight[row, :, (t < first) | (t > last)] = 0
    for lead, wave, onset, offset in strip.waves:
        a, b = moved(onset), moved(offset)
        low, high = max(int(a) - 1, 0), min(int(b) + 3, CROP)
        if high > low and int(lead) in row_of:
            share = np.clip(np.minimum(t[low:high] - a, b - t[low:high]) + 0.5, 0, 1)
            row = inside[row_of[int(lead)], int(wave)]
            row[low:high] = np.maximum(row[low:high], share)
    for lead, wave, first, last in strip.unknown:
        if int(lead) in row_of:
            low, high = int(max(moved(first), 0)), int(max(moved(last), 0))
            weight[row_of[int(lead)], int(wave), low:high] = 0

    signal *= np.exp(0.3 * rng.standard_normal((n_leads, 1)))
    signal *= np.where(rng.random((n_leads, 1)) < 0.05, -1.0, 1.0)
    if rng.random() < 0.1:
        signal = ndimage.gaussian_filter1d(signal, rng.uniform(0.5, 2.5), axis=1)
    signal += _noise(rng, n_leads)
    named = np.where(rng.random(n_leads) < 0.03, all_leads, leads)
    return signal.astype(np.float32), named, inside, weight


def _resampled(signal: Array, at: Array) -> Array:
    """(lead, len(at)) by cubic interpolation between four samples (Catmull and Rom 1974)."""
    low = np.floor(at).astype(np.int64)
    u = at - low
    weights = (
        (-u + 2 * u**2 - u**3) / 2,
        (2 - 5 * u**2 + 3 * u**3) / 2,
        (u + 4 * u**2 - 3 * u**3) / 2,
        (u**3 - u**2) / 2,
    )
    total = np.zeros((signal.shape[0], at.size))
    for shift, share in zip((-1, 0, 1, 2), weights, strict=True):
        total += signal[:, low + shift] * share
    return total


def _noise(rng: np.random.Generator, n_leads: int) -> Array:
    """(lead, sample) in mV."""
    time_s = np.arange(CROP) / 500.0
    noise = np.zeros((n_leads, CROP))
    if rng.random() < 0.5:
        size = np.exp(rng.normal(np.log(0.04), 0.8))
        for _ in range(3):
            phase = 2 * np.pi * (rng.uniform(0.05, 0.6) * time_s + rng.random())
            noise += size * rng.standard_normal((n_leads, 1)) * np.sin(phase)
    if rng.random() < 0.4:
        size = np.exp(rng.normal(np.log(0.008), 0.8, (n_leads, 1)))
        noise += size * rng.standard_normal(noise.shape)
    if rng.random() < 0.2:
        slow = ndimage.gaussian_filter1d(rng.standard_normal(noise.shape), 4.0, axis=1)
        noise += np.exp(rng.normal(np.log(0.008), 0.7)) * slow / slow.std()
    if rng.random() < 0.1:
        phase = 2 * np.pi * (rng.choice([50.0, 60.0]) * time_s + rng.random())
        noise += rng.exponential(0.01, (n_leads, 1)) * np.sin(phase)
    return noise


def train(
    annotated: list[Strip],
    simulated: list[Strip],
    *,
    steps: int,
    seed: int,
    start: DelineationNetwork | None = None,
    learning_rate: float = 3e-3,
    report: int = 100,
    checkpoint: Path | None = None,
) -> DelineationNetwork:
    """The running mean of the weights over training, which reads steadier than the last weights.

    A step sees strips of one number of leads, fewer strips the more leads they have; one strip in
    four is simulated, the others are hand-marked.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = DelineationNetwork()
    if start is not None:
        network.load_state_dict(start.state_dict())
    mean = torch.optim.swa_utils.AveragedModel(network, avg_fn=_running_mean, use_buffers=True)
    optimiser = torch.optim.AdamW(network.parameters(), learning_rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, learning_rate, total_steps=steps, pct_start=0.08
    )
    order: list[int] = []
    began, running = time.monotonic(), 0.0
    for step in range(1, steps + 1):
        n_leads = int(rng.choice(list(STRIPS_OF_LEADS), p=LEAD_SHARES))
        chosen = []
        for _ in range(STRIPS_OF_LEADS[n_leads]):
            if rng.random() < SIMULATED_SHARE:
                chosen.append(simulated[int(rng.integers(len(simulated)))])
                continue
            if not order:
                order = list(rng.permutation(len(annotated)))
            chosen.append(annotated[order.pop()])
        signal, lead, inside, weight = (
            torch.from_numpy(np.stack(part))
            for part in zip(*(example(strip, n_leads, rng) for strip in chosen), strict=True)
        )
        network.train()
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
        if step % report == 0:
            say(f"step {step}: loss {running / report:.4f}, {time.monotonic() - began:.0f} s")
            running = 0.0
            if checkpoint is not None:
                torch.save(mean.module.state_dict(), checkpoint)
    return mean.module.eval()


def _running_mean(mean: torch.Tensor, new: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """Over about the last tenth of the steps so far, 500 at most."""
    if not mean.is_floating_point():
        return new
    share = 1.0 / min(10.0 + 0.1 * float(count), 500.0)
    return mean + share * (new - mean)


def measured(
    network: DelineationNetwork, records: list[AnnotatedRecord], seed: int
) -> dict[str, dict[str, object]]:
    """What the card says about each fiducial: `delineate` on whole records, all leads."""
    tallies = [
        tally(one, by_lead(delineate(one.signal_mv, one.rate_hz, network=network)))
        for one in records
    ]
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ludb", type=Path, required=True, help="folder with data/ and ludb.csv")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="where weights and card go")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS, help="of each cycle")
    parser.add_argument("--simulated", type=int, default=150, help="simulated people")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    records = [read_annotated(asked.ludb, number) for number in record_numbers(asked.ludb)]
    parts = {
        part: [one for one in records if part_of(one.number) == part]
        for part in ("training", "choice", "test")
    }
    annotated = [strip_of_annotated(one) for one in parts["training"]]
    simulated = simulated_strips(asked.simulated, seed=SIMULATED_SEED)
    network = None
    for cycle, steps in enumerate(asked.steps):
        say(f"cycle {cycle + 1} of {len(asked.steps)}")
        network = train(annotated, simulated, steps=steps, seed=asked.seed + cycle, start=network)
    assert network is not None
    write_card_and_weights(network, parts, asked)


def write_card_and_weights(
    network: DelineationNetwork,
    parts: dict[str, list[AnnotatedRecord]],
    asked: argparse.Namespace,
) -> None:
    """Fold, measure what will ship, write."""
    card: dict[str, Any] = {
        "model": {
            "name": "leadlight-delineator",
            "version": "1",
            "architecture": "lead-set U-Net",
            "architecture_settings": SETTINGS,
            "weights_sha256": "",
            "licence": "Apache-2.0",
            "description": "Whether each sample of each lead lies inside P, QRS or T, as a "
            "cardiologist would have marked it; 500 Hz, any leads in any order.",
        },
        "input": {"rate_hz": RATE_HZ, "unit": "mV", "leads": "one or more, in any order"},
        "output": {"waves": list(WAVES), "kind": "logit per lead, wave and sample"},
        "training": {
            "data": "LUDB 1.0.1 records with hand-drawn limits in every lead, and hearts from "
            "leadlight.simulate (limits not used within 20 samples of theirs)",
            "licence_of_data": "LUDB: Open Data Commons Attribution License v1.0 (ODC-By 1.0)",
            "split": "record numbers divisible by 3 are test; of the others 1, 13, 25, ... choice",
            "records_training": [one.number for one in parts["training"]],
            "records_choice": [one.number for one in parts["choice"]],
            "records_test": [one.number for one in parts["test"]],
            "simulated_people": asked.simulated,
            "steps": list(asked.steps),
            "seed": asked.seed,
            "recipe": "python training/delineator.py --ludb DIR",
        },
        "limits": LIMITS,
    }
    folded = folded_copy(network, **SETTINGS)
    write_network(folded, card, asked.out)
    load_network.cache_clear()
    shipped = load_network(asked.out)
    card["metrics"] = {
        "what": "records_test, all leads and marked beats, R peaks found, reading less mark, "
        "one to one within 150 ms; 95 % intervals by drawing records",
        **measured(shipped, parts["test"], asked.seed),
    }
    write_network(folded, card, asked.out)
    say(f"wrote {asked.out}")


if __name__ == "__main__":
    main()
