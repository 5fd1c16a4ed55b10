"""Pages of the server: templates, the files that they ask for, and the report as it lies there."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import unescape
from importlib import resources
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FunctionLoader, StrictUndefined

from leadlight import __version__
from leadlight.report.rendering import script_json
from leadlight.serve.answers import OWN_POLICY, Answer, without_nan
from leadlight.serve.folder import REPORT_PAGE, StudyFolder
from leadlight.serve.refusals import NotThere

_FILE_KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
# Of a page that was written to stand alone: what it may run by its own policy.
_META = re.compile(
    rb'<meta http-equiv="Content-Security-Policy" content="([^"<>]{1,20000})">', re.IGNORECASE
)
NOTHING = "'none'"
_HASH = re.compile(r"'sha256-[A-Za-z0-9+/=]{44}'")
LINKS = (
    ("/report/index.html", "Page"), ("/study", "Study"), ("/records", "Records"),
    ("/factors", "Factors"), ("/loci", "Loci"),
)  # fmt: skip


def page(
    study: StudyFolder,
    template: str,
    *,
    here: str,
    scripts: Sequence[str] = (),
    script_data: Mapping[str, Any] | None = None,
    status: int = 200,
    **values: Any,
) -> Answer:
    """A page of the server.

    Args:
        study: whose it is.
        template: among the server's own.
        here: which of `LINKS` it belongs to.
        scripts: file names, in the order that they run, before the one that starts components.
        script_data: name to a JSON-ready value that scripts read.
        status: of HTTP.
        values: what the template asks for; a value that is not given is an error.
    """
    scripts = ["base.js", *scripts, "tables.js", "page.js"]
    styles = ["page.css", *(s for name in scripts if (s := name.replace(".js", ".css")) in
                            static_files() and s != "page.css"), "serve.css"]  # fmt: skip
    text = _environment().get_template(template).render(
        version=__version__, study=study.name, links=_links(study), here=here,
        scripts=scripts, styles=styles,
        script_data={name: _json(value) for name, value in (script_data or {}).items()},
        **values,
    )  # fmt: skip
    return Answer(text.encode("utf-8"), status=status, policy=OWN_POLICY)


def static_file(name: str) -> Answer:
    """A script or style of the package.

    Raises:
        NotThere: it has none of that name.
    """
    found = static_files().get(name)
    if found is None:
        raise NotThere("There is no such file.")
    return Answer(found, _FILE_KINDS[name[name.rindex(".") :]])


@cache
def static_files() -> Mapping[str, bytes]:
    """Every script and style of the report and the server, by name; read once."""
    found = {}
    for package in ("leadlight.report", "leadlight.serve"):
        for one in (resources.files(package) / "templates").iterdir():
            if one.name.endswith(tuple(_FILE_KINDS)):
                found[one.name] = one.read_bytes()
    return found


def study_file(study: StudyFolder, name: str) -> Answer:
    """A file of the report or of a card, by its path in the study.

    Raises:
        NotThere: there is no such file among those that may be asked for.
    """
    path = study.files().get(name)
    if path is None:
        raise NotThere("The study has no such file.", advice="It may have been written anew.")
    try:
        body = path.read_bytes()
    except OSError as error:
        raise NotThere("The study has no such file any more.") from error
    kind = study.kind_of(path)
    if path.suffix == ".html":
        found = standing(body)
        return Answer(_with_links(study, body, found.whole), kind, policy=found.policy)
    headers = {}
    if path.suffix not in (".png", ".jpg"):
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(path.name)}"
    return Answer(body, kind, headers=headers)


@dataclass(frozen=True)
class Standing:
    """What a page that was written to stand alone may do here. whole: all that it asks for."""

    policy: str
    whole: bool


def standing(body: bytes) -> Standing:
    """The policy of a page that was written to stand alone.

    Its styles and scripts stand in it and are allowed by the hashes that its own policy names. That
    policy stands before anything that comes from records, so nothing that they hold is among them;
    and a script must also be one of this program's, so that a page which somebody put into the
    folder runs nothing here. No page of the kind may fetch anything but pictures.
    """
    found = _META.search(body[:65536])
    directives = unescape(found[1].decode("ascii", "replace")) if found else ""
    named: dict[str, list[str]] = {}
    for directive in directives.split(";"):
        name, _, rest = directive.strip().partition(" ")
        named[name] = _HASH.findall(rest)
    asked = named.get("script-src", [])
    scripts = [one for one in asked if one in _own_scripts()]
    styles = named.get("style-src", [])
    policy = (
        f"default-src 'none'; script-src {' '.join(scripts) or NOTHING}; "
        f"style-src {' '.join(styles) or NOTHING}; img-src 'self' data:; "
        "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    )
    return Standing(policy, len(scripts) == len(asked))


def record_link(record_id: str) -> str:
    """The address of a record's page, whatever its name is made of."""
    # A browser takes "." and ".." for steps, written as percent signs or not.
    if any(part in (".", "..") for part in record_id.split("/")):
        return f"/record?id={quote(record_id, safe='')}"
    return f"/records/{quote(record_id, safe='')}"


@cache
def _own_scripts() -> frozenset[str]:
    import base64
    import hashlib

    return frozenset(
        f"'sha256-{base64.b64encode(hashlib.sha256(body).digest()).decode('ascii')}'"
        for name, body in static_files().items()
        if name.endswith(".js")
    )


def _with_links(study: StudyFolder, body: bytes, whole: bool) -> bytes:
    """The page with links to the server's other pages above its head."""
    items = "".join(f'<li><a href="{to}">{name}</a></li>' for to, name in _links(study))
    bar = f'<nav aria-label="Served pages"><ol>{items}</ol></nav>\n'
    if not whole:
        bar += (
            '<header><p class="marker">Another version of Leadlight made this page, so what moves '
            "in it stands still here. To have it made anew: leadlight report --overwrite.</p>"
            "</header>\n"
        )
    return body.replace(b"<header>", bar.encode("utf-8") + b"<header>", 1)


def _links(study: StudyFolder) -> list[tuple[str, str]]:
    there = {
        "/report/index.html": (study.path / REPORT_PAGE).is_file(),
        "/study": True,
        "/records": study.records.is_file(),
        "/factors": bool(study.factor_tables()),
        "/loci": bool(study.sets()),
    }
    return [(to, name) for to, name in LINKS if there[to]]


def _json(value: Any) -> str:
    try:
        return script_json(value)
    except ValueError:
        return script_json(without_nan(value))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_template), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["record_link"] = record_link
    environment.filters["quoted"] = lambda text: quote(str(text), safe="")
    environment.filters["thousands"] = lambda value: f"{value:,}"
    environment.filters["signed"] = lambda text: text.replace("-", "−")
    return environment


def _template(name: str) -> str:
    return (resources.files("leadlight.serve") / "templates" / name).read_text(encoding="utf-8")
