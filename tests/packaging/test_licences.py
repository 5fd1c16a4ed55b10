"""Nothing under the GPL is needed to run; every licence is known; the manual's page is current."""

import ast
import importlib.metadata
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "release"))

import licences
from licences import RUNTIME, Package

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def found() -> dict[str, list[Package]]:
    """All locked packages; skips where others are installed than the lock says."""
    other = {
        name: version
        for name, version in licences.versions_locked().items()
        if _installed(name) != version
    }
    if other:
        pytest.skip(f"not as requirements.lock has it: {', '.join(sorted(other)[:5])}")
    return licences.packages_by_extra()


def test_every_licence_is_one_that_its_extra_may_have(found: dict[str, list[Package]]) -> None:
    assert licences.faults(found) == []
    assert len(found[RUNTIME]) > 60
    assert [one.name for one in found["simulate"] if one.licence in licences.STRONG] == ["msprime"]


def test_the_manuals_page_is_current(found: dict[str, list[Package]]) -> None:
    page = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    assert page == licences.as_page(found), "run python release/licences.py"


def test_the_bill_of_materials_is_a_valid_one_and_names_everything(
    found: dict[str, list[Package]],
) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = licences.as_sbom(found)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    components = json.loads(text)["components"]
    names = {one["name"] for one in components}
    assert names == {package.name for packages in found.values() for package in packages}
    assert all(one["licenses"] and one["purl"].startswith("pkg:pypi/") for one in components)


@pytest.mark.parametrize(
    ("extra", "licence", "is_fault"),
    [
        (RUNTIME, "GPL-3.0-only", True),
        (RUNTIME, "MIT AND GPL-3.0-or-later", True),
        (RUNTIME, "MIT OR GPL-3.0-or-later", False),
        (RUNTIME, "AGPL-3.0-only", True),
        (RUNTIME, "Proprietary", True),
        (RUNTIME, "LGPL-3.0-only", False),
        ("dev", "GPL-3.0-only", True),
        ("simulate", "GPL-3.0-only", False),
        ("simulate", "AGPL-3.0-only", True),
    ],
)
def test_a_licence_that_may_not_be_is_a_fault(extra: str, licence: str, is_fault: bool) -> None:
    told = licences.faults({extra: [Package("thing", "1.0", licence, ())]})
    assert bool(told) is is_fault
    assert all("thing" in line and licence in line for line in told)


def test_the_gpl_inside_a_wheel_is_a_fault() -> None:
    package = Package("thing", "1.0", "MIT", (("libgsl", "GPL-3.0-or-later"),))
    assert licences.faults({RUNTIME: [package]}) == [
        "thing (runtime) holds libgsl under GPL-3.0-or-later."
    ]
    assert licences.faults({"simulate": [package]}) == []


def test_an_unknown_licence_is_told_with_the_packages_name(tmp_path: Path) -> None:
    folder = tmp_path / "mystery-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: mystery\nVersion: 1.0\n")
    (folder / "RECORD").write_text("mystery.libs/libodd-0123abcd.so.1,,\n")
    there = importlib.metadata.Distribution.at(folder)
    with pytest.raises(licences.UnknownLicence, match="The licence of mystery is unknown"):
        licences._licence("mystery", there)
    with pytest.raises(licences.UnknownLicence, match="mystery holds libodd"):
        licences._bundled(there)


def test_leadlight_imports_nothing_that_it_does_not_install() -> None:
    """And of the extra `simulate` only what simulates genomes needs it."""
    asked = licences.tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    runtime = licences._closure(asked["dependencies"])
    simulate = licences._closure(asked["optional-dependencies"]["simulate"]) - runtime
    providers = importlib.metadata.packages_distributions()
    outside = set()
    for path in (ROOT / "src").rglob("*.py"):
        for name in _imported(path):
            given = {licences.canonicalize_name(d) for d in providers.get(name, [name])}
            in_simulate = path.parent.name == "simulate" and given & simulate
            if not given & runtime and not in_simulate:
                outside.add(f"{name} in {path.relative_to(ROOT)}")
    assert not outside


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        for name in names:
            top = name.partition(".")[0]
            if top not in sys.stdlib_module_names and top != "leadlight":
                yield top


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return None
