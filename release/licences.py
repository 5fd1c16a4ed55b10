"""The licences of everything that Leadlight installs, by extra: a table and a CycloneDX SBOM.

    python release/licences.py                       # write docs/licences.md
    python release/licences.py --sbom leadlight.cdx.json

Reads what pyproject.toml asks for and what that asks for in turn, as it is installed here, which is
what requirements.lock pins. Nothing is looked up anywhere else. Ends with exit code 1 and the name
of the package where a licence is unknown, or is not one that its extra may have.
"""

import argparse
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
RUNTIME = "runtime"
PERMISSIVE = {
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC", "MIT",
    "MIT-0", "MIT-CMU", "PSF-2.0", "Unlicense", "Zlib", "Apache-2.0 WITH LLVM-exception",
    "LicenseRef-Public-Domain",
}  # fmt: skip
# Copyleft that stops at the library's own files: using it unchanged asks nothing of Leadlight.
WEAK = {"MPL-2.0", "LGPL-2.1-or-later", "LGPL-3.0-only", "LGPL-3.0-or-later"}
STRONG = {"GPL-2.0-or-later", "GPL-3.0-only", "GPL-3.0-or-later"}
# The only extra that may bring the GPL: see docs/licences.md.
MAY_BE_STRONG = {"simulate"}

# What a package says badly or not at all, read in its wheel.
SAID_BADLY = {
    # The GPL of its classifiers is an Emacs file that the wheel does not hold.
    "docutils": "BSD-2-Clause AND LicenseRef-Public-Domain",
    "matplotlib": "PSF-2.0",  # of that kind, by its own name
    "packaging": "Apache-2.0 OR BSD-2-Clause",
    # "BSD License" and no text in the wheel; as their repositories have it.
    "sphinxcontrib-applehelp": "BSD-2-Clause",
    "sphinxcontrib-devhelp": "BSD-2-Clause",
    "sphinxcontrib-htmlhelp": "BSD-2-Clause",
    "sphinxcontrib-jsmath": "BSD-2-Clause",
    "sphinxcontrib-qthelp": "BSD-2-Clause",
    "sphinxcontrib-serializinghtml": "BSD-2-Clause",
}
_CLASSIFIERS = {
    "Apache Software License": "Apache-2.0", "ISC License (ISCL)": "ISC", "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0", "The Unlicense (Unlicense)": "Unlicense",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0-only",
    "GNU General Public License v3 or later (GPLv3+)": "GPL-3.0-or-later",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
}  # fmt: skip
_FIELDS = {
    "Apache 2.0": "Apache-2.0", "Apache License, Version 2.0": "Apache-2.0", "MIT license": "MIT",
    "MIT License": "MIT", "ISC License": "ISC", "2-clause BSD": "BSD-2-Clause",
    "BSD 3-Clause License": "BSD-3-Clause",
}  # fmt: skip
# Of a licence's text, the first that is found.
_TEXTS = (
    (r"GNU AFFERO", "AGPL-3.0-only"),
    (r"GNU LESSER GENERAL PUBLIC LICENSE\s+Version 3", "LGPL-3.0-only"),
    (r"GNU GENERAL PUBLIC LICENSE\s+Version 3", "GPL-3.0-only"),
    (r"Mozilla Public License,? [Vv]ersion 2", "MPL-2.0"),
    (r"Apache License\s+Version 2\.0", "Apache-2.0"),
    (r"Permission is hereby granted, free of charge", "MIT"),
    (r"Redistribution and use in source and binary forms[\s\S]*([Nn]either the name|may not be"
     r"\s+used to endorse)", "BSD-3-Clause"),
    (r"Redistribution and use in source and binary forms", "BSD-2-Clause"),
)  # fmt: skip
# Libraries of others that lie inside wheels: name of the file's beginning → licence.
BUNDLED = {
    "libXau": "MIT", "libaec": "BSD-2-Clause", "libavif": "BSD-2-Clause", "libbrotli": "MIT",
    "libbz2": "bzip2-1.0.6", "libcom_err": "MIT", "libcrc32c": "BSD-3-Clause",
    "libcrypt.": "LGPL-2.1-or-later", "libcrypto": "OpenSSL", "libcurl": "curl",
    "libdeflate": "MIT", "libfreetype": "FTL", "libgfortran": "GPL-3.0-or-later WITH "
    "GCC-exception-3.1", "libgomp": "GPL-3.0-or-later WITH GCC-exception-3.1",
    "libgsl": "GPL-3.0-or-later", "libgssapi": "MIT", "libharfbuzz": "MIT",
    "libhdf5": "BSD-3-Clause", "libidn2": "LGPL-3.0-or-later", "libjpeg": "IJG",
    "libk5crypto": "MIT", "libkeyutils": "LGPL-2.1-or-later", "libkrb5": "MIT",
    "liblber": "OLDAP-2.8", "liblcms2": "MIT", "libldap": "OLDAP-2.8", "liblzma": "0BSD",
    "libnghttp2": "MIT", "libopenjp2": "BSD-2-Clause", "libpcre2": "BSD-3-Clause",
    "libpng": "libpng-2.0", "libpsl": "MIT", "libquadmath": "LGPL-2.1-or-later",
    "libsasl2": "BSD-4-Clause", "libscipy_openblas": "BSD-3-Clause",
    "libselinux": "LicenseRef-Public-Domain", "libsharpyuv": "BSD-3-Clause",
    "libsndfile": "LGPL-2.1-or-later", "libssh": "LGPL-2.1-or-later", "libssl": "OpenSSL",
    "libsz": "BSD-2-Clause", "libtiff": "libtiff", "libunistring": "LGPL-3.0-or-later",
    "libwebp": "BSD-3-Clause", "libxcb": "MIT", "libzstd": "BSD-3-Clause",
}  # fmt: skip


@dataclass(frozen=True)
class Package:
    """An installed package: name, version, licence (SPDX), libraries inside and their licences."""

    name: str
    version: str
    licence: str
    bundled: tuple[tuple[str, str], ...]


class UnknownLicence(Exception):
    """A package's licence, or that of a library inside it, could not be told."""


def packages_by_extra(project: Mapping[str, object] | None = None) -> dict[str, list[Package]]:
    """Runtime, then each extra, with what it adds to the runtime.

    project: `[project]` of pyproject.toml. Packages that are not locked are left out.

    Raises:
        UnknownLicence: with the package's name.
    """
    project = project or tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    runtime = _closure(_strings(project["dependencies"]))
    found = {RUNTIME: runtime}
    extras = project["optional-dependencies"]
    assert isinstance(extras, Mapping)
    for extra, asked in extras.items():
        found[extra] = _closure(_strings(asked)) - runtime
    locked = versions_locked()
    return {
        extra: [_package(name) for name in sorted(names) if name in locked]
        for extra, names in found.items()
    }


def versions_locked() -> dict[str, str]:
    """Package → version, as requirements.lock pins it."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {canonicalize_name(name): version.strip() for name, version in pairs}


def faults(found: Mapping[str, Sequence[Package]]) -> list[str]:
    """What may not be: a licence that its extra may not have, or the GPL inside a wheel."""
    out = []
    for extra, packages in found.items():
        allowed = PERMISSIVE | WEAK | (STRONG if extra in MAY_BE_STRONG else set())
        for package in packages:
            if not _is_within(package.licence, allowed):
                out.append(f"{package.name} ({extra}) is under {package.licence}.")
            for library, licence in package.bundled:
                if licence in STRONG and extra not in MAY_BE_STRONG:
                    out.append(f"{package.name} ({extra}) holds {library} under {licence}.")
    return out


def as_page(found: Mapping[str, Sequence[Package]]) -> str:
    """The manual's page."""
    counts = {extra: len(packages) for extra, packages in found.items()}
    lines = [
        "# Licences of what Leadlight installs",
        "",
        "Written by `python release/licences.py` from the installed packages that"
        " `requirements.lock` pins (Linux); a test holds that it is current.",
        "",
        "Leadlight itself is under Apache-2.0. What it needs to run is under permissive licences,"
        " or under ones whose copyleft stops at their own files (LGPL: `pgenlib`; MPL: `certifi`,"
        " `tqdm`). Nothing under the GPL is among it. `msprime` (GPL-3.0) comes with the extra"
        " `simulate` alone: only the simulation of genomes imports it, and no other part needs it."
        " Who passes on Leadlight together with `msprime` passes that whole on under the GPL.",
        "",
        "On Linux without a choice of index `pip` fetches a build of torch for NVIDIA's cards, with"
        " NVIDIA's own libraries under NVIDIA's own terms; the build for processors"
        " (`--index-url https://download.pytorch.org/whl/cpu`) has none of them.",
        "",
        "| needed for | packages |",
        "|---|---|",
        *(f"| {extra} | {count} |" for extra, count in counts.items()),
        "",
    ]
    for extra, packages in found.items():
        lines += [f"## {extra.capitalize()}", ""]
        if extra != RUNTIME:
            lines += [f"Added by `leadlight[{extra}]`.", ""]
        if not packages:
            lines += ["Not locked: only benchmarks that compare with other programs need it.", ""]
            continue
        lines += ["| package | version | licence |", "|---|---|---|"]
        lines += [f"| {one.name} | {one.version} | {one.licence} |" for one in packages]
        lines.append("")
    lines += [
        "## Libraries inside the wheels",
        "",
        "Wheels carry libraries of others, which are under licences of their own. `libgfortran` and"
        " `libgomp` have GCC's exception: what is linked with them may be under any licence.",
        "",
        "| package | library | licence |",
        "|---|---|---|",
        *(
            f"| {one.name} | {library} | {licence} |"
            for one in _each_once(found)
            for library, licence in one.bundled
        ),
    ]
    return "\n".join(lines) + "\n"


def as_sbom(found: Mapping[str, Sequence[Package]]) -> str:
    """A CycloneDX 1.6 bill of materials; each component says which extras bring it."""
    from cyclonedx.model import Property
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.license import LicenseExpression
    from cyclonedx.output import make_outputter
    from cyclonedx.schema import OutputFormat, SchemaVersion
    from packageurl import PackageURL

    bom = Bom()
    version = importlib.metadata.version("leadlight")
    root = Component(
        name="leadlight", version=version, type=ComponentType.APPLICATION,
        licenses=[LicenseExpression("Apache-2.0")], bom_ref="leadlight",
        purl=PackageURL("pypi", None, "leadlight", version),
    )  # fmt: skip
    bom.metadata.component = root
    components = []
    for package in _each_once(found):
        name = canonicalize_name(package.name)
        extras = [extra for extra, packages in found.items() if package in packages]
        components.append(
            Component(
                name=package.name, version=package.version, type=ComponentType.LIBRARY,
                bom_ref=name, purl=PackageURL("pypi", None, name, package.version),
                licenses=[LicenseExpression(package.licence)],
                properties=[
                    *(Property(name="leadlight:needed-for", value=extra) for extra in extras),
                    *(Property(name="leadlight:holds", value=f"{library} {licence}")
                      for library, licence in package.bundled),
                ],
            )
        )  # fmt: skip
        bom.components.add(components[-1])
    bom.register_dependency(root, components)
    return make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2)


def _closure(asked: Iterable[str]) -> set[str]:
    """Names of all that the requirements need, themselves included."""
    todo = [Requirement(text) for text in asked]
    seen: dict[str, frozenset[str]] = {}
    while todo:
        one = todo.pop()
        name, extras = canonicalize_name(one.name), frozenset(one.extras)
        if name in seen and extras <= seen[name]:
            continue
        seen[name] = seen.get(name, frozenset()) | extras
        found = _distribution(name)
        for text in (found.requires or []) if found is not None else []:
            needed = Requirement(text)
            marker = needed.marker
            if marker is None or any(marker.evaluate({"extra": e}) for e in (*extras, "")):
                todo.append(needed)
    return set(seen)


def _distribution(name: str) -> importlib.metadata.Distribution | None:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _package(name: str) -> Package:
    found = _distribution(name)
    if found is None:
        raise UnknownLicence(f"{name} is not installed.")
    version = found.version.partition("+")[0]  # "+cpu" is a build of the same
    return Package(found.metadata["Name"], version, _licence(name, found), _bundled(found))


def _licence(name: str, found: importlib.metadata.Distribution) -> str:
    """As SPDX, from the first of these that says it: our list, the expression, a classifier, the
    licence's short name, the licence's text."""
    if name in SAID_BADLY:
        return SAID_BADLY[name]
    about = found.metadata
    if expression := about.get("License-Expression"):
        return str(expression)
    said = [
        text.rpartition("::")[2].strip()
        for text in about.get_all("Classifier") or []
        if text.startswith("License")
    ]
    known = {_CLASSIFIERS[text] for text in said if text in _CLASSIFIERS}
    if said and len(known) == len(set(said)):
        return " AND ".join(sorted(known))
    short = (about.get("License") or "").strip()
    short = _FIELDS.get(short, short)
    if short and all(one in PERMISSIVE | WEAK | STRONG for one in re.split(r" AND | OR ", short)):
        return short
    texts = [short] if len(short) > 200 else []
    texts += [
        (found.locate_file(path)).read_text(encoding="utf-8", errors="replace")  # type: ignore[attr-defined]
        for path in found.files or []
        if re.search(r"\.dist-info/(licenses/)?(LICEN[CS]E|COPYING)[^/]*$", path.as_posix(), re.I)
    ]
    # The text may go on with the licences of what is linked in; which BSD it is stands first.
    patterns = [each for each in _TEXTS if said != ["BSD License"] or "BSD" in each[1]]
    told = {
        next((name for pattern, name in patterns if re.search(pattern, text)), "") for text in texts
    } - {""}
    if not told:
        raise UnknownLicence(f"The licence of {about['Name']} is unknown.")
    return " AND ".join(sorted(told))


def _bundled(found: importlib.metadata.Distribution) -> tuple[tuple[str, str], ...]:
    """Libraries in the wheel's `.libs`, and their licences."""
    names = {
        re.sub(r"-[0-9a-f]{8,}", "", path.name).partition(".so")[0]
        for path in found.files or []
        if ".so" in path.name
        and (path.parent.name.endswith(".libs") or path.name.startswith("libsndfile"))
    }
    out = []
    for name in sorted(names):
        of = [key for key in BUNDLED if f"{name}.".startswith(key)]
        if not of:
            raise UnknownLicence(
                f"{found.metadata['Name']} holds {name}, whose licence is unknown."
            )
        out.append((name, BUNDLED[max(of, key=len)]))
    return tuple(out)


def _is_within(licence: str, allowed: set[str]) -> bool:
    """Whether an SPDX expression without brackets is met by these: any of OR, all of AND."""
    return any(
        all(one.strip() in allowed for one in each.split(" AND ")) for each in licence.split(" OR ")
    )


def _each_once(found: Mapping[str, Sequence[Package]]) -> list[Package]:
    every = {package.name: package for packages in found.values() for package in packages}
    return sorted(every.values(), key=lambda one: canonicalize_name(one.name))


def _strings(value: object) -> list[str]:
    assert isinstance(value, list)
    return [str(one) for one in value]


def main() -> None:
    """Write the page, or the bill of materials."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sbom", type=Path, help="write the bill of materials here instead")
    asked = parser.parse_args()
    try:
        found = packages_by_extra()
    except UnknownLicence as error:
        sys.exit(str(error))
    if wrong := faults(found):
        sys.exit("\n".join(wrong))
    path = asked.sbom or ROOT / "docs" / "licences.md"
    path.write_text(as_sbom(found) if asked.sbom else as_page(found), encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
