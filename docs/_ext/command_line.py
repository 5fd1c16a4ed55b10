"""The command line as Markdown, read from the program itself so that it cannot drift."""

import inspect
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, get_args

import typer.main

from leadlight.cli.app import app

_KINDS = {int: "N", float: "X", Path: "PATH"}
# Typer's own kind of command, parameter and context; it does not export their types.
Command = Any
Parameter = Any


def command_line() -> str:
    """A section for each verb: what it does, how it is called, every option with its default."""
    root = typer.main.get_command(app)
    return "\n".join(line for name, command in _verbs(root, "") for line in _section(name, command))


def verb_names() -> list[str]:
    """Every verb with the name of its group before it, such as `latent train`."""
    return [name for name, _ in _verbs(typer.main.get_command(app), "")]


def _verbs(group: Command, prefix: str) -> Iterator[tuple[str, Command]]:
    for name, command in getattr(group, "commands", {}).items():
        if getattr(command, "hidden", False):
            continue
        yield f"{prefix}{name}", command
        yield from _verbs(command, f"{prefix}{name} ")


def _section(name: str, command: Command) -> list[str]:
    below = hasattr(command, "commands")
    level = "##" if " " not in name else "###"
    lines = [f"(verb-{name.replace(' ', '-')})=", f"{level} leadlight {name}", ""]
    lines += [_prose(command.help or ""), ""]
    if below:
        return lines
    context = command.context_class(command, info_name=f"leadlight {name}")
    usage = " ".join(["leadlight", name, *command.collect_usage_pieces(context)])
    lines += ["```text", usage, "```", ""]
    rows = [row for each in command.params if (row := _row(each))]
    if rows:
        lines += ["| option | default | meaning |", "|---|---|---|", *rows, ""]
    return lines


def _prose(help_text: str) -> str:
    """A help text as paragraphs; what follows `Example:` stands as code."""
    paragraphs = []
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(help_text).replace("\b", "")):
        text = " ".join(paragraph.split())
        example = re.match(r"(?:Examples?:)?\s*(`?leadlight .*|$)", text)
        if example:
            calls = re.split(r";?\s+(?=leadlight )", example.group(1).replace("`", ""))
            text = "```text\n" + "\n".join(calls) + "\n```" if calls != [""] else ""
        paragraphs.append(text)
    return "\n\n".join(paragraphs)


def _row(parameter: Parameter) -> str | None:
    if "--help" in parameter.opts:
        return None
    names = ", ".join(f"`{option}`" for option in parameter.opts + parameter.secondary_opts)
    kind = _kind(parameter)
    if parameter.param_type_name == "argument":
        names = f"`{kind}`"
    elif not parameter.is_flag:
        names += f" `{kind}`"
    words = " ".join((parameter.help or "").split())
    several = getattr(parameter, "multiple", False) and not re.search("repeated|times", words)
    again = " May be given several times." if several else ""
    return f"| {_cell(names)} | {_cell(_default(parameter))} | {_cell(words + again)} |"


def _kind(parameter: Parameter) -> str:
    """What stands for its value: its own word, the words to choose from, or its kind."""
    if parameter.metavar:
        return str(parameter.metavar)
    if parameter.param_type_name == "argument":
        return str(parameter.name).upper()
    kind = parameter.type_descriptor.annotation
    kind = next(iter(get_args(kind)), kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " or ".join(str(each.value) for each in kind)
    return _KINDS.get(kind, "WORD")


def _default(parameter: Parameter) -> str:
    if parameter.required:
        return "needed"
    value = parameter.default
    if value is None or value == () or value == [] or getattr(parameter, "is_flag", False):
        return ""
    if callable(value):
        return ""
    if isinstance(value, (list, tuple)):
        return " ".join(f"`{_plain(each)}`" for each in value)
    return f"`{_plain(value)}`" if str(value) else ""


def _plain(value: object) -> str:
    shown = getattr(value, "value", value)
    return f"{shown:g}" if isinstance(shown, float) else str(shown)


def _cell(text: str) -> str:
    return text.replace("|", r"\|")
