"""The manual's pages as examples that run: how their blocks are marked, found and evaluated.

A block runs because of its language: `sh` in bash, `python` in the page's own namespace, both in
the page's own folder, from the top to the bottom. A comment on the line before a block says more,
and readers do not see it:

    <!-- prints -->         this `text` is what the block before it printed; "..." is anything
    <!-- file: NAME -->     the reader writes this into a file of that name
    <!-- needs: NAME -->    the block is left out where this real data or program is absent
    <!-- not run: WHY -->   the block is not run

and `<!-- prepare: SHELL -->` anywhere makes what a reader would bring.
"""

import contextlib
import io
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

import pytest
from sybil import Document, Example, Region, Sybil
from warm_shell import WarmShell

ROOT = Path(__file__).parents[2]
# Its study is what the other pages work on.
TUTORIAL = ROOT / "docs" / "tutorial-genetics.md"
# Languages that run, and those that show what a file or a screen holds.
RUN = ("sh", "python")
SHOWN = ("text", "toml", "yaml", "json", "r")
_BLOCK = re.compile(
    r"(?:^ *<!-- (?P<mark>[^\n]*?) -->\n)?"
    r"^ *(?P<fence>`{3,})(?P<language>[^\n`]*)\n(?P<text>.*?)^ *(?P=fence) *$",
    re.MULTILINE | re.DOTALL,
)
_PREPARE = re.compile(r"^ *<!-- prepare:(?P<text>.*?)-->$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block (or a comment that prepares) and what its mark says."""

    language: str
    text: str
    mark: str = ""

    def marked(self, word: str) -> str | None:
        """What stands behind `word:` in the mark, or None."""
        return self.mark.removeprefix(f"{word}:").strip() if self.mark.startswith(word) else None


@dataclass
class Sitting:
    """A page that is being followed: its folder, its shell, and what was printed last."""

    folder: Path
    shell: WarmShell
    data: Path | None
    printed: str = ""
    ran: int = 0
    left_out: list[str] = field(default_factory=list)


def manual_pages() -> list[Path]:
    """The README, and every page of the manual."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks_of(page: Path) -> list[tuple[int, Block]]:
    """The line and the block of every example of a page."""
    return [(example.line, example.parsed) for example in _parsed(page).examples()]


def follow(page: Path, sitting: Sitting) -> None:
    """Do what the page says, in its order.

    Raises:
        Exception: of the first block that fails; the message begins with page and line.
    """
    document = _parsed(page)
    document.namespace["sitting"] = sitting
    before = Path.cwd()
    os.chdir(sitting.folder)
    try:
        for example in document.examples():
            try:
                example.evaluate()
            except Exception as error:
                error.add_note(f"{page.relative_to(ROOT)}, line {example.line}")
                raise
    finally:
        os.chdir(before)
    if sitting.left_out:
        pytest.skip(f"{sitting.ran} blocks ran; left out: {', '.join(sitting.left_out)}")


def _parsed(page: Path) -> Document:
    return Sybil(parsers=[_blocks]).parse(page)


def _blocks(document: Document) -> Iterator[Region]:
    for found in _BLOCK.finditer(document.text):
        language = found["language"].strip()
        if not language.startswith("{"):
            block = Block(language, dedent(found["text"]), found["mark"] or "")
            yield Region(found.start(), found.end(), block, _evaluate)
    for found in _PREPARE.finditer(document.text):
        yield Region(
            found.start(), found.end(), Block("sh", dedent(found["text"]), "prepare"), _evaluate
        )


def _evaluate(example: Example) -> None:
    block: Block = example.parsed
    sitting: Sitting = example.namespace["sitting"]
    needs = block.marked("needs")
    if block.marked("not run") is not None:
        return
    if needs and not _is_there(needs, sitting.data):
        sitting.left_out.append(f"line {example.line} needs {needs}")
        return
    if (name := block.marked("file")) is not None:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(block.text)
    elif block.marked("prints") is not None:
        assert_printed(block.text, sitting.printed)
    elif block.language == "sh":
        around = {"LEADLIGHT_ROOT": str(ROOT), "LEADLIGHT_DATA": str(sitting.data or "")}
        sitting.printed = sitting.shell.run(block.text, sitting.folder, around)
        sitting.ran += 1
    elif block.language == "python":
        sitting.printed = _run_python(example, block.text)
        sitting.ran += 1


def _is_there(name: str, data: Path | None) -> bool:
    return shutil.which(name) is not None or (data is not None and (data / name).exists())


def _run_python(example: Example, text: str) -> str:
    # Empty lines before it, so that a traceback shows the page's own line.
    code = compile("\n" * example.line + text, example.path, "exec", dont_inherit=True)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, example.namespace)
    return printed.getvalue()


def assert_printed(expected: str, printed: str) -> None:
    """Compare by words; "..." in the page stands for any words."""
    parts = [re.escape(" ".join(part.split())) for part in expected.split("...")]
    pattern = r"\s*.*?\s*".join(part for part in parts)
    plain = " ".join(printed.split())
    assert re.fullmatch(rf"\s*{pattern}\s*", plain, re.DOTALL), (
        f"the page shows\n{expected}\nand this was printed\n{printed}"
    )
