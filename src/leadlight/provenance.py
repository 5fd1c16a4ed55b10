"""What made a result: version, verb, parameters and fingerprints of the inputs."""

import hashlib
import platform
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from leadlight import __version__
from leadlight.atomic import write_json

_LIBRARIES = (
    "numpy", "scipy", "numba", "torch", "xarray", "zarr", "polars", "pyarrow", "wfdb", "pydicom",
    "sleepecg", "pgenlib", "cyvcf2", "bgen", "msprime",
)  # fmt: skip


def fingerprint(path: Path) -> str:
    """SHA-256 of a file; for a folder, of its files' relative names and contents, in order."""
    digest = hashlib.sha256()
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        if path.is_dir():
            digest.update(file.relative_to(path).as_posix().encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return f"sha256:{digest.hexdigest()}"


def describe(
    verb: str, parameters: Mapping[str, Any], inputs: Iterable[Path] = ()
) -> dict[str, Any]:
    """The provenance of one result as a JSON-ready mapping.

    No record content and no personal path goes in: inputs are named by their last part only.
    """
    libraries = {}
    for name in _LIBRARIES:
        try:
            libraries[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "software": {"name": "leadlight", "version": __version__},
        "verb": verb,
        "parameters": {k: _plain(v) for k, v in parameters.items()},
        "inputs": {path.name: fingerprint(path) for path in inputs if path.exists()},
        "python": sys.version.split()[0],
        "machine": f"{platform.system()} {platform.machine()}",
        "libraries": libraries,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write_provenance(
    folder: Path, verb: str, parameters: Mapping[str, Any], inputs: Iterable[Path] = ()
) -> None:
    """Write `folder/provenance.json` for the results that lie in `folder`."""
    write_json(folder / "provenance.json", describe(verb, parameters, inputs))


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return value.name
    if isinstance(value, list | tuple | set):
        return [_plain(v) for v in value]
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return value if isinstance(value, str | int | float | bool | None) else str(value)
