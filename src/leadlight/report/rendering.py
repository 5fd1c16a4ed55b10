"""Pages that ask for nothing: one frame, one style, pictures inlined, and a policy that says so."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from leadlight import __version__


def render(
    template: str,
    *,
    scripts: Sequence[str] = (),
    script_data: Mapping[str, Any] | None = None,
    **values: Any,
) -> str:
    """A page from a template that extends `base.html`.

    The page's policy allows no source but inlined pictures, and no style or script but its own, by
    their hashes.

    Args:
        template: its file name.
        scripts: file names of the page's scripts, in the order that they run; a script that has a
            style of its own (`explorer.css` beside `explorer.js`) brings it along.
        script_data: what scripts read: name to a JSON-ready value, which stands in the page as
            `<script type="application/json" id="data-NAME">`.
        values: what the template asks for; a value that is not given is an error.
    """
    style = "\n".join(
        [template_text("page.css"), *(s for name in scripts if (s := _style_of(name)))]
    )
    policy = "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
    policy += f"style-src '{_hash(style)}'"
    codes = [template_text(name) for name in scripts]
    if codes:
        policy += "; script-src " + " ".join(f"'{_hash(code)}'" for code in codes)
    environment = Environment(
        loader=FunctionLoader(template_text), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template(template).render(
        version=__version__, style=style, scripts=codes, policy=policy,
        script_data={name: script_json(value) for name, value in (script_data or {}).items()},
        **values,
    )  # fmt: skip


def script_json(value: Any) -> str:
    """A value as JSON that cannot end the script element it stands in."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def inline_png(png: Path) -> str:
    """A picture as the source of an `img` element."""
    return f"data:image/png;base64,{base64.b64encode(png.read_bytes()).decode('ascii')}"


def template_text(name: str) -> str:
    """The text of a file among the templates."""
    return (resources.files("leadlight.report") / "templates" / name).read_text(encoding="utf-8")


def _style_of(script: str) -> str:
    path = resources.files("leadlight.report") / "templates" / script.replace(".js", ".css")
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"
