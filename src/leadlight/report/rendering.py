"""Pages that ask for nothing: one frame, one style, pictures inlined, and a policy that says so."""

import base64
import hashlib
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from leadlight import __version__


def render(template: str, *, script: str | None = None, **values: Any) -> str:
    """A page from a template that extends `base.html`.

    The page's policy allows no source but inlined pictures, and no style or script but its own, by
    their hashes.

    Args:
        template: its file name.
        script: the file name of the page's script, if it has one.
        values: what the template asks for; a value that is not given is an error.
    """
    style = _template("page.css")
    policy = "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
    policy += f"style-src '{_hash(style)}'"
    code = ""
    if script is not None:
        code = _template(script)
        policy += f"; script-src '{_hash(code)}'"
    environment = Environment(
        loader=FunctionLoader(_template), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template(template).render(
        version=__version__, style=style, script=code, policy=policy, **values
    )


def inline_png(png: Path) -> str:
    """A picture as the source of an `img` element."""
    return f"data:image/png;base64,{base64.b64encode(png.read_bytes()).decode('ascii')}"


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _template(name: str) -> str:
    return (resources.files("leadlight.report") / "templates" / name).read_text(encoding="utf-8")
