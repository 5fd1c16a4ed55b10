"""Reads many files, in one process or several, and gives what came of each in order."""

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from leadlight.ecg.formats import read_recording
from leadlight.ecg.quality import quality_flags
from leadlight.ecg.recording import Recording
from leadlight.errors import LeadlightError
from leadlight.processes import end_with_parent

# Files that are being read or wait to be stored, for each worker: bounds memory.
_AHEAD = 4
_TELL_US = "Check the file in the program that wrote it; if it is sound there, tell us its format."


@dataclass(frozen=True)
class Outcome:
    """What came of one file: a recording with its quality flags, or why there is none."""

    path: Path
    recording: Recording | None = None
    flags: tuple[str, ...] = ()
    reason: str = ""
    advice: str = ""


def read_all(
    paths: Sequence[Path], workers: int = 1, read: Callable[[Path], Outcome] | None = None
) -> Iterator[Outcome]:
    """Read `paths` in `workers` processes; outcomes come in the order of `paths`.

    No fault of a file ends the reading, not even one that takes its process down with it. At most
    four files a worker are held at a time. `read` is what reads one file, `read_one` where None.
    """
    read = read or read_one
    if workers <= 1:
        yield from map(read, paths)
        return
    rest = deque(paths)
    while rest:
        yield from _read_in_pool(rest, workers, read)
        # A process died. Each file that was under way is read alone; the rest goes on as before.
        for _ in range(min(len(rest), workers * _AHEAD)):
            yield _read_alone(rest.popleft(), read)


def read_one(path: Path) -> Outcome:
    """Read one file and judge its quality; a fault becomes the outcome's reason."""
    try:
        recording = read_recording(path)
    except LeadlightError as error:
        return Outcome(path, reason=error.message, advice=error.advice)
    except Exception as error:  # a reader's own fault must not end an import of many files
        return Outcome(path, reason=f"reader failed: {type(error).__name__}", advice=_TELL_US)
    if recording.n_samples == 0 or not np.isfinite(recording.signal_mv.values).any():
        return Outcome(path, reason="The recording holds no values.", advice="Export it again.")
    if not (np.isfinite(recording.rate_hz) and recording.rate_hz > 0):
        reason = f"The recording states a rate of {recording.rate_hz} Hz."
        return Outcome(path, reason=reason, advice="Correct the rate in its header.")
    try:
        flags = quality_flags(recording)
    except Exception as error:
        return Outcome(
            path, reason=f"quality check failed: {type(error).__name__}", advice=_TELL_US
        )
    return Outcome(path, recording, tuple(flags))


def _read_in_pool(
    rest: deque[Path], workers: int, read: Callable[[Path], Outcome]
) -> Iterator[Outcome]:
    """Yield outcomes and take their paths off `rest`, until it is empty or a process dies."""
    with _pool(workers) as pool:
        try:
            coming = iter(tuple(rest))
            under_way: deque[Future[Outcome]] = deque(
                pool.submit(read, path) for path in islice(coming, workers * _AHEAD)
            )
            while under_way:
                outcome = under_way[0].result()
                under_way.popleft()
                rest.popleft()
                yield outcome
                if (path := next(coming, None)) is not None:
                    under_way.append(pool.submit(read, path))
        except BrokenProcessPool:
            return
        except GeneratorExit:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _read_alone(path: Path, read: Callable[[Path], Outcome]) -> Outcome:
    with _pool(1) as pool:
        try:
            return pool.submit(read, path).result()
        except BrokenProcessPool:
            return Outcome(path, reason="reader failed: its process died", advice=_TELL_US)


def _pool(workers: int) -> ProcessPoolExecutor:
    # A fork would copy the threads' locks of the array library; a fork server starts clean.
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload([__name__])
    return ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent)
