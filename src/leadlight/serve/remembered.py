"""What was read once and is still so: a small memory that knows when files have changed."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from leadlight.serve.refusals import Busy

Found = TypeVar("Found")
Stamp = tuple[Hashable, ...]


def stamp_of(paths: Iterable[Path]) -> Stamp:
    """Which file each path is at this moment: device, number, time and size; None where absent.

    Results are replaced by renaming, so a new result is always another file.
    """
    found: list[Hashable] = []
    for path in paths:
        try:
            about = path.stat()
        except OSError:
            found.append(None)
        else:
            found.append((about.st_dev, about.st_ino, about.st_mtime_ns, about.st_size))
    return tuple(found)


class Memory:
    """The last so many results. One thread makes a result, others that want it wait for it.

    They wait for a few seconds only: what takes longer to make must not hold all threads. Who asks
    again later finds it made.
    """

    def __init__(self, most: int, wait_s: float = 5.0) -> None:
        self._most, self._wait_s = most, wait_s
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[Stamp, threading.Lock, list[Any]]] = OrderedDict()

    def get(self, key: Hashable, stamp: Stamp, make: Callable[[], Found]) -> Found:
        """What `make` gives; kept until the stamp differs or others have pushed it out.

        Raises:
            Busy: another thread has been making it for a while.
        """
        with self._lock:
            held = self._kept.get(key)
            if held is None or held[0] != stamp:
                held = (stamp, threading.Lock(), [])
                self._kept[key] = held
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        if not held[1].acquire(timeout=self._wait_s):
            raise Busy(
                "This is being worked out for the first time.", advice="Ask again in a few seconds."
            )
        try:
            if not held[2]:
                held[2].append(make())
            found: Found = held[2][0]
            return found
        finally:
            held[1].release()
