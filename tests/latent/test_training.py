import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import tomli_w
import torch
from latent_settings import small_settings

from leadlight.errors import LeadlightError, ModelMismatch
from leadlight.latent.beats import Beats
from leadlight.latent.card import read_card, write_card
from leadlight.latent.model import load_latent_model
from leadlight.latent.reconstruction import errors_of
from leadlight.latent.training import Trained, start_network, train


def error_uv(trained: Trained, beats: Beats) -> float:
    drawn = trained.model.decode(trained.model.encode_all(beats).factors)
    return float(errors_of(beats, drawn).mae_uv.mean())


def test_training_beats_principal_components_of_the_same_beats(
    trained: Trained, healthy: tuple[Beats, np.ndarray]
) -> None:
    held = healthy[0].of_split("test")
    assert trained.model.baseline is not None
    seen = held.millivolts(slice(None))[0]
    inside = np.arange(600) >= held.own[:, :1]
    inside &= np.arange(600) < held.own[:, 1:]
    linear = trained.model.baseline
    drawn = linear.decode(linear.encode(seen * inside[:, None]))
    assert error_uv(trained, held) < errors_of(held, drawn).mae_uv.mean()


def test_a_model_is_what_its_card_says(trained: Trained, tmp_path: Path) -> None:
    card = trained.model.card
    assert [factor.name for factor in card.factors][:2] == ["factor_01", "factor_02"]
    assert card.training["seed"] == 0
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in trained.model.source.parent.glob("*.*"):
        if path.is_file():
            (broken / path.name).write_bytes(path.read_bytes())
    other = card.model.architecture.model_copy(update={"hidden": 65})
    section = card.model.model_copy(update={"architecture": other})
    write_card(card.model_copy(update={"model": section}), broken / "card.toml")
    with pytest.raises(ModelMismatch, match="64"):
        load_latent_model(broken)
    weights = bytearray((broken / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (broken / "weights.safetensors").write_bytes(bytes(weights))
    write_card(card, broken / "card.toml")
    with pytest.raises(ModelMismatch, match="SHA-256"):
        load_latent_model(broken)


def test_an_unknown_key_in_a_card_is_refused_by_name(trained: Trained, tmp_path: Path) -> None:
    text = trained.model.source.read_text() + '\n[model_2]\nname = "x"\n'
    (tmp_path / "card.toml").write_text(text)
    with pytest.raises(LeadlightError, match="model_2"):
        read_card(tmp_path)


def test_all_seeds_start_from_the_same_network(healthy: tuple[Beats, np.ndarray]) -> None:
    beats = healthy[0].millivolts(slice(0, 20))[0]
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        network = start_network([healthy[0]], small_settings(seed=seed)).eval()
        with torch.no_grad():
            found.append(network.encode(torch.from_numpy(beats))[0])
    assert torch.equal(found[0], found[1])


def test_a_training_that_was_stopped_ends_as_one_that_was_not(
    trained: Trained, beats_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "stopped"
    code = (
        "import sys; sys.path.insert(0, sys.argv[3])\n"
        "from pathlib import Path\n"
        "import torch; torch.set_num_threads(1)\n"
        "from latent_settings import small_settings\n"
        "from leadlight.latent.training import train\n"
        "train([Path(sys.argv[1])], Path(sys.argv[2]), small_settings())\n"
    )
    here = str(Path(__file__).parent)
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(beats_folder), str(out), here],
        stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("Epoch 1"):
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    assert not (out / "card.toml").exists()
    with pytest.raises(LeadlightError, match="unfinished"):
        train([beats_folder], out, small_settings())
    again = train([beats_folder], out, small_settings(), resume=True)
    assert again.model.card.model.weights_sha256 == trained.model.card.model.weights_sha256


def test_a_run_with_other_settings_does_not_go_on(beats_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    train([beats_folder], out, small_settings())
    with pytest.raises(LeadlightError, match="already exists"):
        train([beats_folder], out, small_settings())


def test_people_who_are_left_out_are_not_trained_on(
    healthy: tuple[Beats, np.ndarray], beats_folder: Path, tmp_path: Path
) -> None:
    import polars as pl

    settings = small_settings()
    fast = replace(settings, fit=replace(settings.fit, epochs=1))
    left_out = frozenset(healthy[0].records["patient_id"].to_list()[:100])
    train([beats_folder], tmp_path / "model", fast, exclude_patients=left_out)
    used = pl.read_parquet(tmp_path / "model" / "trained-on.parquet")
    assert not set(used["patient_id"]) & left_out
    assert used.height == healthy[0].of_split("train", "validation").take(
        np.flatnonzero(
            ~healthy[0].of_split("train", "validation").records["patient_id"].is_in(list(left_out))
        )
    ).records.height  # fmt: skip


@pytest.mark.slow
def test_two_processes_train_one_network(beats_folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[3])\n"
        "from dataclasses import replace\n"
        "from pathlib import Path\n"
        "import torch; torch.set_num_threads(1)\n"
        "from torch import distributed\n"
        "from latent_settings import small_settings\n"
        "from leadlight.latent import training\n"
        "from leadlight.classify.distributed import joined, average_gradients\n"
        "from leadlight.latent.beats import gather_beats\n"
        "s = small_settings(); s = replace(s, fit=replace(s.fit, epochs=1))\n"
        "folder = Path(sys.argv[1]); beats = gather_beats([folder], folder)\n"
        "with joined('cpu') as place:\n"
        "    torch.manual_seed(0)\n"
        "    network = training.start_network([beats], s)\n"
        "    fitted = training.fit_network(network, [beats.of_split('train')],\n"
        "        beats.of_split('validation'), s, Path(sys.argv[2]) / 'checkpoint', place)\n"
        "    mine = torch.cat([p.detach().flatten() for p in fitted.network.parameters()])\n"
        "    both = [torch.zeros_like(mine) for _ in range(place.processes)]\n"
        "    distributed.all_gather(both, mine)\n"
        "    assert place.processes == 2 and torch.equal(both[0], both[1])\n"
        "    print('same', place.rank)\n"
    )
    script = tmp_path / "both.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
         "--master-port", "29531", str(script), str(beats_folder), str(tmp_path),
         str(Path(__file__).parent)],
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("same") == 2


@pytest.mark.slow
def test_torchrun_trains_a_factor_model_as_good_as_that_of_one_process(
    trained: Trained, healthy: tuple[Beats, np.ndarray], beats_folder: Path, tmp_path: Path
) -> None:
    """As many records a step: half of them in each process. Not the same draws, so not the same
    weights."""
    settings = small_settings()
    tables = {
        "records_per_epoch": settings.records_per_epoch,
        "basis_beats": settings.basis_beats,
        "architecture": settings.architecture.model_dump(),
        "fit": asdict(replace(settings.fit, batch_size=settings.fit.batch_size // 2)),
    }
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(tomli_w.dumps(tables))
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "-m", "leadlight", "latent", "train", "--study", str(beats_folder), "--out",
         str(tmp_path / "both"), "--recipe", str(recipe), "--quiet"],
        capture_output=True, text=True, timeout=400,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    held = healthy[0].of_split("test")
    both = replace(trained, model=load_latent_model(tmp_path / "both"))
    assert error_uv(both, held) < 1.1 * error_uv(trained, held)
    assert not [path for path in (tmp_path / "both").iterdir() if "checkpoint" in path.name]
