"""The manual holds together: every block runs or says why not, and names only what there is."""

import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from manual_pages import ROOT, RUN, SHOWN, Block, blocks_of, manual_pages
from warm_shell import WarmShell

from leadlight.study.study_file import parse_study_file

sys.path.insert(0, str(ROOT / "docs" / "_ext"))

from command_line import command_line, verb_names

# Blocks that no test can run; each says why. A new one is a decision.
MOST_NOT_RUN = 14
_PAGES = [pytest.param(page, id=str(page.relative_to(ROOT))) for page in manual_pages()]


def _all_blocks() -> list[tuple[str, Block]]:
    return [
        (f"{page.relative_to(ROOT)}, line {line}", block)
        for page in manual_pages()
        for line, block in blocks_of(page)
    ]


@pytest.mark.parametrize("page", _PAGES)
def test_every_block_has_a_language_that_runs_or_shows(page: Path) -> None:
    known = {*RUN, *SHOWN}
    unknown = [
        f"line {line}: {block.language or 'no language'}"
        for line, block in blocks_of(page)
        if block.language not in known
    ]
    assert not unknown


@pytest.mark.parametrize("page", _PAGES)
def test_no_code_hides_in_an_indented_block(page: Path) -> None:
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    assert not re.findall(r"\n\n {4,}(?:leadlight|python|from|import|\$) .*", text)


def test_only_a_few_blocks_are_not_run_and_each_says_why(
    record_property: Callable[[str, object], None],
) -> None:
    not_run = [
        (where, block.marked("not run"))
        for where, block in _all_blocks()
        if "not run" in block.mark
    ]
    for where, why in not_run:
        print(f"{where}: {why}")
        record_property(where, why)
        assert why
    assert len(not_run) <= MOST_NOT_RUN


def test_study_files_that_are_shown_can_be_read() -> None:
    shown = [(w, b) for w, b in _all_blocks() if b.language == "toml" and "[study]" in b.text]
    assert len(shown) >= 2
    for where, block in shown:
        parse_study_file(tomllib.loads(block.text), where)


def test_verbs_that_the_manual_names_exist() -> None:
    known = {name.split()[0] for name in verb_names()}
    for page in manual_pages():
        named = re.findall(r"[`\n]leadlight ([a-z]+)\b", page.read_text())
        assert set(named) <= known, page


def test_the_reference_has_every_verb_and_says_what_each_option_means() -> None:
    reference = command_line()
    for name in verb_names():
        assert re.search(rf"^##+ leadlight {name}$", reference, re.MULTILINE)
    rows = [line for line in reference.splitlines() if line.startswith("| `")]
    assert len(rows) > 100
    assert not [row for row in rows if row.endswith("|  |")]


@pytest.mark.parametrize("page", _PAGES)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)\s]+)\)", page.read_text()):
        assert (page.parent / target.partition("#")[0]).exists(), target


def test_a_command_that_fails_fails_its_block(shell: WarmShell, tmp_path: Path) -> None:
    assert shell.run("leadlight --version", tmp_path, {}).startswith("leadlight ")
    with pytest.raises(AssertionError, match="exit code 2"):
        shell.run("leadlight nonsense", tmp_path, {})
    with pytest.raises(AssertionError, match="nix holds neither"):
        shell.run("leadlight report --study nix\necho on", tmp_path, {})
