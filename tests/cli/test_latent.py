import json
from pathlib import Path

from typer.testing import CliRunner

from leadlight.cli.app import app
from leadlight.latent.beats import save_beats
from leadlight.latent.simulated import simulate_beats

_RECIPE = """
name = "tiny"
records_per_epoch = 256
basis_beats = 256
device = "cpu"
[architecture]
latents = 4
components = 20
hidden = 16
[fit]
epochs = 1
batch_size = 64
"""


def test_a_model_is_trained_by_a_recipe_and_a_sweep_compares_seeds(tmp_path: Path) -> None:
    beats, _ = simulate_beats(200, seed=4, severities={})
    save_beats(beats, tmp_path / "hearts")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(_RECIPE)
    common = ["--study", str(tmp_path / "hearts"), "--recipe", str(recipe), "--quiet", "--json"]
    one = CliRunner().invoke(app, ["latent", "train", *common, "--out", str(tmp_path / "one")])
    assert one.exit_code == 0, one.output
    summary = json.loads(one.stdout.splitlines()[-1])
    assert Path(summary["card"]).exists()
    many = CliRunner().invoke(
        app,
        ["latent", "train", *common, "--out", str(tmp_path / "many"), "--sweep",
         "--seed", "0", "--seed", "1"],
    )  # fmt: skip
    assert many.exit_code == 0, many.output
    rows = json.loads(many.stdout.splitlines()[-1])["models"]
    assert [row["seed"] for row in rows] == [0, 1]
    assert rows[0]["matched"] == rows[0]["factors"]  # the first is its own partner


def test_a_misspelt_setting_is_refused_by_name(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("[objective]\nbetta = 3\n")
    found = CliRunner().invoke(
        app,
        ["latent", "train", "--study", str(tmp_path), "--out", str(tmp_path / "x"),
         "--recipe", str(recipe)],
    )  # fmt: skip
    assert found.exit_code == 1
    assert "betta" in str(found.exception)
