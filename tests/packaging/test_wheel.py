"""The wheel holds all that the program reads, and works outside of the repository."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMOKE = ROOT / "release" / "smoke.sh"


def tracked() -> list[str]:
    """Files of the repository as git knows them."""
    done = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("this is no git repository")
    return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source archive of the tracked files as they are."""
    folder = tmp_path_factory.mktemp("built")
    # A copy: what earlier builds left in build/ would go into a wheel that is built in place.
    for name in tracked():
        (folder / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / "tree" / name)
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder)],
        cwd=folder / "tree",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return folder


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = [name for name in names if name.endswith("dist-info/METADATA")]
        said = archive.read(metadata).decode()
        entry = archive.read(metadata.replace("METADATA", "entry_points.txt")).decode()
    wanted = {name.removeprefix("src/") for name in tracked() if name.startswith("src/leadlight/")}
    kept = {name for name in names if ".dist-info/" not in name}
    assert wanted - kept == set(), "not in the wheel: add it to package-data"
    assert kept - wanted == set(), "in the wheel and not in the repository"
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "License-Expression: Apache-2.0" in said
    assert "leadlight = leadlight.cli.app:main" in entry
    assert wheel.stat().st_size < 40e6


def test_the_source_archive_builds_what_the_repository_does(built: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    wanted = {name for name in tracked() if name.startswith("src/leadlight/")}
    assert wanted | {"LICENSE", "README.md", "pyproject.toml"} <= names
    assert not [name for name in names if name.startswith((".ci", "build/", ".venv"))]
    assert archive.stat().st_size < 60e6


@pytest.mark.slow
def test_an_installed_wheel_works_outside_of_the_repository(built: Path, tmp_path: Path) -> None:
    """With the libraries of this environment; release/fresh_install.sh installs those too."""
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    (site,) = environment.glob("lib/python*/site-packages")
    # Only their folder: the repository's own entry in it is not followed.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (wheel,) = built.glob("*.whl")
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps",
         "--no-index", "--disable-pip-version-check", str(wheel)],
        check=True,
    )  # fmt: skip
    away = tmp_path / "away"
    away.mkdir()
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        ["bash", str(SMOKE), str(environment / "bin")],
        cwd=away,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout.strip().splitlines()[-1])
    assert Path(said["package"]).is_relative_to(environment)
    assert said["version"] == said["wheel"]
    assert (away / "hearts" / "report" / "index.html").stat().st_size > 10_000
