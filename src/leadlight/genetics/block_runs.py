"""Blocks worked off by threads, with checkpoints that a killed run goes on from."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from leadlight.genetics.results import PartialResults
from leadlight.progress import bar

_CHECKPOINT_S = 10.0


class Blocks(AbstractContextManager[Any], Protocol):
    """What works on the blocks of a group and closes its files afterwards."""

    def work(self, number: int) -> float | None:
        """Do the group's block `number`; returns its largest rounding error, if it looked."""


@dataclass(frozen=True)
class Group:
    """Blocks that share traits. numbers: theirs in the results; start: called before the first."""

    numbers: Sequence[int]
    start: Callable[[], Blocks]


def work_off(
    groups: Sequence[Group], results: PartialResults, threads: int, label: str
) -> float | None:
    """Work off the blocks that are not done; returns the largest rounding error seen."""
    worst: float | None = None
    last = time.monotonic()
    with ThreadPoolExecutor(threads) as pool, bar(label, len(results.done)) as progress:
        progress.step(int(results.done.sum()))
        for group in groups:
            todo = [at for at, number in enumerate(group.numbers) if not results.done[number]]
            if not todo:
                continue
            waiting = iter(todo)
            with group.start() as blocks:
                running: dict[Future[float | None], int] = {}
                while True:
                    # Few are handed out at a time, so that a fault leaves little to wait for.
                    while len(running) < 2 * threads and (at := next(waiting, None)) is not None:
                        running[pool.submit(blocks.work, at)] = group.numbers[at]
                    if not running:
                        break
                    finished, _ = wait(running, return_when=FIRST_COMPLETED)
                    for one in finished:
                        number = running.pop(one)
                        error = one.result()
                        results.done[number] = True
                        progress.step()
                        if error is not None:
                            worst = max(worst or 0.0, error)
                    if time.monotonic() - last > _CHECKPOINT_S:
                        results.checkpoint()
                        last = time.monotonic()
    return worst
