"""One process at a time where two would spoil each other's work."""

import errno
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import IO, ParamSpec, TypeVar

from leadlight.errors import LeadlightError
from leadlight.progress import say

if sys.platform != "win32":
    import fcntl

P = ParamSpec("P")
R = TypeVar("R")


def one_at_a_time(folder: str, lock: str, doing: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Have a function refuse to run while another process runs it on the same folder.

    Args:
        folder: which of the function's arguments is the folder.
        lock: name of the file in it that is locked.
        doing: for the message, before the folder's name: "associating into".
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @wraps(function)
        def alone(*arguments: P.args, **named: P.kwargs) -> R:
            place = Path(signature.bind(*arguments, **named).arguments[folder])
            is_new = not place.exists()
            place.mkdir(parents=True, exist_ok=True)
            try:
                with only_one(place / lock, f"{doing} {place}"):
                    return function(*arguments, **named)
            except BaseException:
                if is_new and not any(place.iterdir()):  # refused: leave no trace of it
                    place.rmdir()
                raise

        return alone

    return decorate


@contextmanager
def only_one(lock: Path, doing: str) -> Iterator[None]:
    """Hold `lock` while the block runs; arguments and errors as `take_lock`."""
    with take_lock(lock, doing):
        yield


class Lock:
    """A lock that is held until it is closed; a context manager."""

    def __init__(self, path: Path, held: IO[str]) -> None:
        self._path, self._held = path, held

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others have it, and leave no file behind."""
        if not self._held.closed:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
            self._held.close()


@contextmanager
def in_turn(lock: Path) -> Iterator[None]:
    """Hold `lock` while the block runs; a process that has it is waited for."""
    while True:
        held = lock.open("w")
        if sys.platform != "win32":
            with suppress(OSError):  # some file systems of networks have no locks
                fcntl.flock(held, fcntl.LOCK_EX)
        if _is_still(lock, held):
            break
        held.close()
    with Lock(lock, held):
        yield


def take_lock(lock: Path, doing: str) -> Lock:
    """The lock, held until what is returned is closed.

    The system drops the lock with the process that holds it, so a kill leaves nothing behind that
    blocks; the file that it leaves says nothing.

    Args:
        lock: a file that need not exist, in a folder that does.
        doing: what the other run would be doing, for the message: "measuring ward".

    Raises:
        LeadlightError: another process holds it, or the folder cannot be written.
    """
    while True:
        try:
            held = lock.open("w")
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise
            raise LeadlightError(
                f"{lock.parent} cannot be written ({error.strerror}).",
                advice="Mend its permissions, or take another folder.",
            ) from error
        if sys.platform == "win32":
            return Lock(lock, held)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            held.close()
            raise LeadlightError(
                f"Another run is {doing}.", advice="Wait until it has finished."
            ) from error
        except OSError:  # some file systems of networks have no locks
            say(f"{lock.parent} cannot be locked: see to it that nothing else is {doing}.")
            return Lock(lock, held)
        if _is_still(lock, held):
            return Lock(lock, held)
        held.close()


def _is_still(path: Path, held: IO[str]) -> bool:
    """Whether a path names the file that was opened: who held it before may have removed it."""
    try:
        return sys.platform == "win32" or path.stat().st_ino == os.fstat(held.fileno()).st_ino
    except FileNotFoundError:
        return False
