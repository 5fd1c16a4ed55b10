"""Progress bars on standard error: anything longer than a second shows where it is."""

from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")

console = Console(stderr=True)
_quiet = False


def set_quiet(quiet: bool) -> None:
    """Turn all progress bars and notes off (`--quiet`) or on."""
    global _quiet
    _quiet = quiet


def say(message: str) -> None:
    """Print one line for the user on standard error, unless quiet."""
    if not _quiet:
        console.print(message, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def bar(what: str, total: int | None) -> Iterator["Bar"]:
    """A progress bar for `total` steps; call `.step()` on it."""
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=_quiet or not console.is_terminal,
        transient=False,
    ) as progress:
        yield Bar(progress, progress.add_task(what, total=total))


class Bar:
    """A running progress bar."""

    def __init__(self, progress: Progress, task: object) -> None:
        self._progress, self._task = progress, task

    def describe(self, what: str) -> None:
        """Change what the bar says it is doing."""
        self._progress.update(self._task, description=what)  # type: ignore[arg-type]

    def step(self, count: int = 1) -> None:
        """Move the bar on by `count` steps."""
        self._progress.advance(self._task, count)  # type: ignore[arg-type]


def track(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Iterate `items` under a progress bar."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with bar(what, total) as running:
        for item in items:
            yield item
            running.step()
