"""Integrated gradients of the full-size network: Leadlight beside Captum, in one run.

    python benchmarks/integrated_gradients.py --data ../shared/data/ptbxl/records500 --records 3

Both explain all six classes of the same real records. Captum is used as its manual says: one class
a call, 50 Gauss-Legendre steps. The network is the shipped model where there is one, else the
published architecture with random weights and batch norm fitted to the records. Random weights
hurt: their logits change little from the baseline and wind on the way, so the 90th percentile of
the completeness error was three times that of the shipped network, for both programs.

Time is CPU time of the process (wall time is printed too), because other work on the machine moves
wall time but hardly CPU time. "map" is the relative distance (L1) of the relevance from that of a
reference with 486 points in float32.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import captum
import captum.attr
import numpy as np
import torch

from leadlight.classify.cards import ModelCard, card_from_tables
from leadlight.classify.models import (
    DEFAULT_MODEL,
    Model,
    build_network,
    calibrate_batch_norm,
    load_model,
    shipped_models,
)
from leadlight.classify.prepare import prepare
from leadlight.cohort.labels import CLASSES
from leadlight.ecg.formats import find_recordings, read_recording
from leadlight.explain.integrated_gradients import integrated_gradients

CAPTUM_STEPS = 50


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    recordings = [read_recording(path) for path in find_recordings(arguments.data)]
    # Spread over the folder, so that not all are of one day.
    recordings = recordings[:: max(1, len(recordings) // (arguments.records + 8))]
    named = arguments.model or (DEFAULT_MODEL if DEFAULT_MODEL in shipped_models() else None)
    model = None if arguments.random or named is None else load_model(named)
    card = _plain_card() if model is None else model.card
    x = torch.stack([torch.from_numpy(prepare(r, card).values.values) for r in recordings])
    name, network = _network(model, card, x)
    x = x[: arguments.records]
    classes = list(range(len(CLASSES)))
    difference = _difference(network, x)
    print(f"{len(x)} records, network: {name}, {arguments.threads} thread(s)")

    def captum_way() -> torch.Tensor:
        method = captum.attr.IntegratedGradients(network)
        parts = [
            method.attribute(x[i : i + 1], target=c, n_steps=CAPTUM_STEPS, internal_batch_size=10)
            for i in range(len(x))
            for c in classes
        ]
        return torch.cat(parts).unflatten(0, (len(x), len(classes))).float()

    def ours(**options: object) -> Callable[[], torch.Tensor]:
        return lambda: integrated_gradients(network, x, classes=classes, **options).relevance

    reference = ours(min_steps=486, max_steps=486)() if arguments.reference else None
    fixed = {"tolerance": 1e9}  # so that nothing but the number of steps decides
    ways = {
        "captum 50 Gauss-Legendre": captum_way,
        "ours float32 18": ours(**fixed, min_steps=18, max_steps=18),
        "ours float32 36": ours(**fixed, min_steps=36, max_steps=36),
        "ours bfloat16 12": ours(**fixed, min_steps=12, max_steps=12, precision="bfloat16"),
        "ours bfloat16 18": ours(**fixed, min_steps=18, max_steps=18, precision="bfloat16"),
        "ours bfloat16 36": ours(**fixed, min_steps=36, max_steps=36, precision="bfloat16"),
        "ours float32 to 2 %": ours(tolerance=0.02),
        "ours bfloat16 to 2 %": ours(tolerance=0.02, precision="bfloat16"),
    }
    rows = [_measured(label, way, difference, reference, len(x)) for label, way in ways.items()]
    for row in rows:
        row["ratio"] = rows[0]["cpu_s_per_record"] / row["cpu_s_per_record"]
        print(
            f"{row['name']:26s} CPU {row['cpu_s_per_record']:7.2f} s/record  "
            f"wall {row['wall_s_per_record']:7.2f}  1/{row['ratio']:<5.1f} of Captum  "
            f"completeness error median {row['median']:.2%} p90 {row['p90']:.2%}"
            + (f"  map {row['map']:.1%}" if reference is not None else "")
        )
    if arguments.out:
        about = {"network": name, "n": len(x), "peer": "captum", "version": captum.__version__}
        arguments.out.write_text(json.dumps({**about, "rows": rows}, indent=2) + "\n")


def _measured(
    label: str,
    way: Callable[[], torch.Tensor],
    difference: np.ndarray,
    reference: torch.Tensor | None,
    n_records: int,
) -> dict[str, object]:
    cpu, wall = time.process_time(), time.perf_counter()
    relevance = way()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    summed = relevance.double().sum(dim=(2, 3)).numpy()
    error = np.abs(summed - difference) / np.abs(difference)
    row: dict[str, object] = {
        "name": label,
        "cpu_s_per_record": cpu / n_records,
        "wall_s_per_record": wall / n_records,
        "median": float(np.median(error)),
        "p90": float(np.quantile(error, 0.9)),
    }
    if reference is not None:
        distance = (relevance - reference).abs().sum(dim=(2, 3)) / reference.abs().sum(dim=(2, 3))
        row["map"] = float(distance.median())
    return row


def _difference(network: torch.nn.Module, x: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        return (network(x).double() - network(torch.zeros_like(x[:1])).double()).numpy()


def _network(model: Model | None, card: ModelCard, x: torch.Tensor) -> tuple[str, torch.nn.Module]:
    if model is not None:
        return card.model.name, model.network
    network = build_network(card, torch.Generator().manual_seed(0))
    calibrate_batch_norm(network, x.split(8))
    return "random weights, batch norm fitted", network.eval().requires_grad_(False)


def _plain_card() -> ModelCard:
    return card_from_tables(
        {"model": {"name": "random"}, "output": {"classes": list(CLASSES)}}, "the benchmark"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of recordings")
    parser.add_argument("--records", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", help="a card, instead of the shipped model")
    parser.add_argument("--random", action="store_true", help="random weights in any case")
    parser.add_argument("--reference", action="store_true", help="also measure the maps")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    return parser.parse_args()


if __name__ == "__main__":
    main()
