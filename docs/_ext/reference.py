"""The reference pages: filled from the program and its docstrings while the manual is built.

A page holds `<!-- reference: command-line -->`, `<!-- reference: study-file -->`,
`<!-- reference: room ecg -->` for the public functions and classes of a room, or
`<!-- reference: house -->` for those that all rooms use. The line is replaced by what is there now,
so that a page cannot say what the program does not.
"""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from command_line import command_line

import leadlight
from leadlight.study.study_file import StudyFile

PACKAGE = Path(leadlight.__file__).parent
_PLACE = re.compile(r"<!-- reference: (?P<what>[a-z-]+)(?: (?P<room>\w+))? -->")
# What numpy's arrays are called where their types are spelled out.
_ARRAY = re.compile(
    r"~?(?:numpy\.)?ndarray\[(?:~?(?:typing|builtins)?\.?tuple\[~?(?:typing\.)?Any, \.\.\.\]"
    r"|~?(?:typing\.)?Any), ~?(?:numpy\.)?dtype\[(?P<kind>[^\]]+)\]\]"
)
# A type with the checks that pydantic makes of it.
_CHECKED = re.compile(
    r"~?(?:typing\.)?Annotated\[(?P<kind>(?:[^,\[\]]|\[[^\]]*\])+), (?:[^\[\]]|\[[^\[\]]*\])*\]"
)
# Plain text that reStructuredText would read as markup: bars, stars, names that end in "_".
# "low, high: what is plausible": several names that share a line of Args or Attributes.
_NAMES = re.compile(r"^( *)(\w+(?:, \w+)+)(?=: )")
_MARKUP = re.compile(r"(?<!\\)([|*]|(?<=\w)_(?!\w))")


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", _fill)
    app.connect("autodoc-process-docstring", _escape, priority=100)
    app.connect("autodoc-process-signature", _shorten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _fill(app: Any, name: str, source: list[str]) -> None:
    source[0] = _PLACE.sub(lambda found: _text(found["what"], found["room"]), source[0])


def _text(what: str, room: str | None) -> str:
    if what == "command-line":
        return command_line()
    if what == "study-file":
        return "\n".join(_study_file())
    folder = PACKAGE / room if room else PACKAGE
    paths = sorted(folder.rglob("*.py") if room else folder.glob("[!_]*.py"))
    return "\n".join(line for path in paths for line in _module(path))


def _module(path: Path) -> Iterator[str]:
    """What is public in a module, under the module's name; nothing where there is nothing."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not any(_is_public(node) for node in tree.body):
        return
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    yield from (f"## {name.removesuffix('.__init__')}", "", "```{eval-rst}")
    yield from (f".. automodule:: {name.removesuffix('.__init__')}", "   :members:", "```", "")


def _is_public(node: ast.stmt) -> bool:
    kinds = (ast.FunctionDef, ast.ClassDef)
    return isinstance(node, kinds) and not node.name.startswith("_")


def _study_file() -> Iterator[str]:
    """A table of the keys of each section of the study file, with kind and default."""
    for name, field in StudyFile.model_fields.items():
        section = next(
            kind for kind in (field.annotation, *_members(field.annotation)) if _is_section(kind)
        )
        yield from (f"## [{field.alias or name}]", "", inspect.cleandoc(section.__doc__ or ""), "")
        if section.model_fields:
            yield from ("| key | kind | default |", "|---|---|---|")
        for key, one in section.model_fields.items():
            default = "needed" if one.is_required() else f"`{_toml(one.default)}`"
            yield f"| `{key}` | {_kind(one.annotation)} | {default} |"
        yield ""


def _members(kind: Any) -> tuple[Any, ...]:
    return getattr(kind, "__args__", ())


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and hasattr(kind, "model_fields")


def _kind(kind: Any) -> str:
    """In words: a list of text, one of some words, a number."""
    plain = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    members = [one for one in _members(kind) if one is not type(None)]
    if kind in plain:
        return plain[kind]
    if str(kind).startswith("typing.Literal"):
        return " or ".join(f"`{word}`" for word in members)
    if str(kind).startswith("list"):
        return f"list of {_kind(members[0])}"
    return " or ".join(_kind(one) for one in members)


def _toml(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(_toml(one) for one in value) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _escape(app: Any, what: str, name: str, member: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with code between back quotes."""
    in_code = False
    for number, line in enumerate(lines):
        pieces = line.split("`")
        for place in range(len(pieces)):
            if in_code == (place % 2 == 1):
                pieces[place] = _MARKUP.sub(r"\\\1", pieces[place])
        lines[number] = _NAMES.sub(_joined, "`".join(pieces))
        in_code ^= len(pieces) % 2 == 0


def _joined(found: re.Match[str]) -> str:
    """Without spaces, or all but the last would be read as a type."""
    return found[1] + found[2].replace(", ", ",")


def _shorten(
    app: Any, what: str, name: str, member: Any, options: Any, signature: str, returns: str
) -> tuple[str, str]:
    """Types as they are read: `NDArray[float64]`, not what that is made of."""
    return _short(signature), _short(returns)


def _short(text: str) -> str:
    if not text:
        return text
    text = _CHECKED.sub(lambda found: found["kind"], text)
    return _ARRAY.sub(lambda found: f"NDArray[{found['kind']}]", text)
