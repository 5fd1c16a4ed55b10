"""Every block of the manual runs as it is written, from the top of its page to the bottom."""

import re
import shutil
from pathlib import Path

import pytest
from manual_pages import (
    ROOT,
    RUN,
    TUTORIAL,
    Sitting,
    assert_printed,
    blocks_of,
    follow,
    manual_pages,
)

# A page with this in a block works on the study that the genetics tutorial made.
STUDY = re.compile(r"biobank/|(?:study|serve) biobank|\"biobank\"")


# The README's commands build the environment that the tests run in.
ELSEWHERE = (TUTORIAL, ROOT / "README.md")


def _runs(page: Path) -> bool:
    return any(block.language in RUN for _, block in blocks_of(page))


@pytest.mark.parametrize(
    "page",
    [page for page in manual_pages() if _runs(page) and page not in ELSEWHERE],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_the_page_runs(page: Path, sitting: Sitting, request: pytest.FixtureRequest) -> None:
    if any(STUDY.search(block.text) for _, block in blocks_of(page)):
        made = request.getfixturevalue("finished_tutorial")
        shutil.copytree(made, sitting.folder, dirs_exist_ok=True)
    follow(page, sitting)


def test_the_genetics_tutorial_runs(finished_tutorial: Path) -> None:
    assert (finished_tutorial / "biobank" / "report" / "index.html").is_file()


def test_what_a_page_shows_is_compared_with_what_was_printed() -> None:
    assert_printed("3 loci\n... new", " 3 loci \n (2 known, 1 new) new\n")
    with pytest.raises(AssertionError, match="the page shows"):
        assert_printed("3 loci", "2 loci")
