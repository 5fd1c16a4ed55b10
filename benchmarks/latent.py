"""Measure the factor model: throughput beside published architectures, truth, memory, seeds.

python benchmarks/latent.py throughput
python benchmarks/latent.py traits [--model NAME] [--people 1500]
python benchmarks/latent.py memory [--model NAME] [--records 1000000]
python benchmarks/latent.py stability --models DIR DIR ... --study DIR [--cache DIR]
python benchmarks/latent.py same-time --study DIR [--seconds 20] [--cache DIR]

Each prints one JSON line. Times are of the process's CPU, one thread, and ratios within one run.
"""

import argparse
import dataclasses
import json
import math
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from latent_peers import FactorEcgNetwork, MRegleNetwork
from leadlight.latent.beats import gather_beats, own_mask, twelve_leads
from leadlight.latent.disentanglement import independence, recovery
from leadlight.latent.model import load_latent_model
from leadlight.latent.network import FactorNetwork
from leadlight.latent.objective import Objective, kl_nats, loss_of, terms
from leadlight.latent.reconstruction import errors_of
from leadlight.latent.settings import LatentSettings, study_shares
from leadlight.latent.simulated import simulate_beats
from leadlight.latent.sweep import SAME, stability
from leadlight.latent.training import epoch_batches, start_network
from leadlight.simulate.traits import HEART_TRAITS, TRAIT_NAMES

_BETA_NOISE_MV = 0.02


def _cpu_s(work: Callable[[], Any], repeats: int) -> float:
    """Median CPU seconds of one call, after one to warm up."""
    work()
    found = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return float(np.median(found))


def _step_of_ours(
    network: FactorNetwork, optimiser: torch.optim.Optimizer, x: torch.Tensor
) -> None:
    settings = Objective()
    own = torch.ones(len(x), x.shape[2], dtype=torch.bool)
    mean, log_variance = network.encode(x)
    sample = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
    parts = terms(x, network.decode(sample), own, (mean, log_variance, sample), settings, 1000)
    optimiser.zero_grad()
    loss_of(parts, settings, settings.beta, 4800).backward()
    optimiser.step()


def _step_of_peer(network: nn.Module, optimiser: torch.optim.Optimizer, x: torch.Tensor) -> None:
    decoded, mean, log_variance = network(x)
    squared = (decoded - x).square().sum(dim=(1, 2)).mean() / (2 * _BETA_NOISE_MV**2)
    loss = (squared + 4.0 * kl_nats(mean, log_variance).sum(dim=1).mean()) / x[0].numel()
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 10.0)
    optimiser.step()


def throughput(_: argparse.Namespace) -> dict[str, Any]:
    """Beats a second on one thread: training steps and encoding."""
    torch.manual_seed(0)
    ours, factor_ecg, m_regle = FactorNetwork(), FactorEcgNetwork(), MRegleNetwork()
    eight, twelve = torch.randn(128, 8, 600) * 0.1, torch.randn(16, 12, 600) * 0.1
    found: dict[str, Any] = {}
    for name, network, step, x, repeats in (
        ("ours", ours, _step_of_ours, eight, 7),
        ("m_regle", m_regle, _step_of_peer, twelve, 5),
        ("factor_ecg", factor_ecg, _step_of_peer, twelve[:4], 2),
    ):
        optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4)

        def work(
            step: Any = step, network: Any = network, optimiser: Any = optimiser, x: Any = x
        ) -> None:
            step(network, optimiser, x)

        found[name] = {
            "parameters": sum(p.numel() for p in network.parameters()),
            "training_beats_per_s": len(x) / _cpu_s(work, repeats),
        }
    with torch.inference_mode():
        found["ours"]["encoding_beats_per_s"] = 128 / _cpu_s(lambda: ours.encode(eight), 15)
    for peer in ("factor_ecg", "m_regle"):
        rate = found["ours"]["training_beats_per_s"] / found[peer]["training_beats_per_s"]
        found[f"ratio_to_{peer}"] = rate
    return found


def traits(asked: argparse.Namespace) -> dict[str, Any]:
    """Recovery of simulated traits by factors and by principal components of the same number."""
    model = load_latent_model(asked.model)
    beats, z = simulate_beats(asked.people, seed=asked.seed, severities={})
    names = [name for name in TRAIT_NAMES if name != "heart_rate"]
    truth = z[:, [TRAIT_NAMES.index(name) for name in names]]
    factors = model.encode_all(beats).factors
    assert model.baseline is not None
    seen = beats.millivolts(slice(None))[0] * own_mask(beats.own)[:, None]
    linear = model.baseline.encode(seen)
    ours, theirs = recovery(factors, truth, names), recovery(linear, truth, names)
    kinds = {trait.name: trait.kind for trait in HEART_TRAITS}
    # What any linear probe can get out of these beats: all components of the model's basis.
    network = model.factors.network
    flat = torch.from_numpy(seen).flatten(1) - network.centre
    everything = ((flat @ network.basis.T) / network.spread).double().numpy()
    most = recovery_r2(everything, truth)
    return {
        "people": len(beats),
        "dci": [ours.disentanglement, theirs.disentanglement],
        "completeness": [ours.completeness, theirs.completeness],
        "mig": [ours.mig, theirs.mig],
        "independence": dataclasses.asdict(independence(factors)),
        "r2": {
            name: {
                "kind": kinds[name], "factors": float(ours.r2[at]),
                "principal_components": float(theirs.r2[at]), "all_components": float(most[at]),
            }
            for at, name in enumerate(names)
        },
    }  # fmt: skip


def recovery_r2(values: np.ndarray, truth: np.ndarray) -> np.ndarray:
    from leadlight.latent.disentanglement import probe_r2

    return np.array([probe_r2(values, truth[:, at]) for at in range(truth.shape[1])])


def memory(asked: argparse.Namespace) -> dict[str, Any]:
    """Encode many beats (a few thousand, again and again); memory must not grow."""
    model = load_latent_model(asked.model)
    beats, _ = simulate_beats(512, seed=1)
    chunk = np.concatenate([beats.millivolts(slice(None))[0]] * 2)
    own = np.concatenate([beats.own] * 2)
    peaks, total = [], np.zeros(len(model.names))
    started = time.process_time()
    done = 0
    while done < asked.records:
        total += model.encode(chunk, own).factors.sum(axis=0)
        done += len(chunk)
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    seconds = time.process_time() - started
    assert np.isfinite(total).all()
    return {
        "records": done,
        "beats_per_s": done / seconds,
        "peak_mb_after_first_tenth": peaks[len(peaks) // 10],
        "peak_mb": peaks[-1],
    }


def seeds(asked: argparse.Namespace) -> dict[str, Any]:
    """Factors of the first model that every other finds again."""
    models = [load_latent_model(path) for path in asked.models]
    beats = gather_beats([asked.study], asked.cache).of_split("validation", "test")
    table = stability(models, beats)
    others = table.filter(table["model"] > 0)
    least = others.group_by("factor", maintain_order=True).agg(r=others["r"].min())
    worst = {
        name: float(others.filter(others["factor"] == name)["r"].min()) for name in least["factor"]
    }
    return {
        "models": len(models),
        "records": len(beats),
        "matched_in_all": sum(r >= SAME for r in worst.values()),
        "lost": {name: round(r, 3) for name, r in worst.items() if r < SAME},
    }


def same_time(asked: argparse.Namespace) -> dict[str, Any]:
    """Held-out error after the same CPU time, the same changed beats, for ours and M-REGLE's."""
    beats = gather_beats([asked.study], asked.cache)
    training, held = beats.of_split("train"), beats.of_split("test")
    settings = LatentSettings(
        fit=dataclasses.replace(LatentSettings().fit, batch_size=32),
        objective=Objective(beta=4.0),
        basis_beats=4000,
    )
    shares = study_shares([training], ())
    found: dict[str, Any] = {"records": len(held), "cpu_s": asked.seconds}
    seen_mv, own = held.millivolts(slice(None))
    for name in ("ours", "m_regle", "factor_ecg"):
        torch.manual_seed(0)
        network: nn.Module
        started = time.process_time()
        if name == "ours":
            network = start_network([training], settings)
        else:
            network = MRegleNetwork() if name == "m_regle" else FactorEcgNetwork()
        optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
        epoch, steps, inside = 0, 0, True
        while inside:
            epoch += 1
            for batch in epoch_batches(
                [training], shares, 50, epoch, settings, torch.device("cpu")
            ):
                share = (time.process_time() - started) / asked.seconds
                inside = share < 1
                if not inside:
                    break
                for group in optimiser.param_groups:
                    group["lr"] = 2e-3 * (0.5 + 0.5 * math.cos(math.pi * share))
                if isinstance(network, FactorNetwork):
                    _step_of_ours(network, optimiser, batch.seen)
                else:
                    twelve = twelve_leads(batch.seen.numpy()).astype(np.float32)
                    _step_of_peer(network, optimiser, torch.from_numpy(twelve))
                steps += 1
        network.eval()
        masked = (seen_mv * own[:, None]).astype(np.float32)
        with torch.inference_mode():
            if isinstance(network, FactorNetwork):
                drawn = network.decode(network.encode(torch.from_numpy(masked))[0]).numpy()
            else:
                given = torch.from_numpy(twelve_leads(masked).astype(np.float32))
                drawn = network(given)[0].numpy()[:, [0, 1, 6, 7, 8, 9, 10, 11]]
        found[name] = {"steps": steps, "mae_uv": float(errors_of(held, drawn).mae_uv.mean())}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parts = parser.add_subparsers(required=True)
    for name, work in (
        ("throughput", throughput), ("traits", traits), ("memory", memory),
        ("stability", seeds), ("same-time", same_time),
    ):  # fmt: skip
        part = parts.add_parser(name)
        part.set_defaults(work=work)
        part.add_argument("--model", default="leadlight-factors")
        part.add_argument("--models", nargs="+", type=Path)
        part.add_argument("--people", type=int, default=1500)
        part.add_argument("--records", type=int, default=1_000_000)
        part.add_argument("--seed", type=int, default=77)
        part.add_argument("--seconds", type=float, default=20.0)
        part.add_argument("--study", type=Path)
        part.add_argument("--cache", type=Path, default=Path("latent-cache"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(json.dumps(asked.work(asked), ensure_ascii=False))


if __name__ == "__main__":
    main()
