"""One process at a time where two would spoil each other's work."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from leadlight.errors import LeadlightError

if sys.platform != "win32":
    import fcntl


@contextmanager
def only_one(lock: Path, doing: str) -> Iterator[None]:
    """Hold `lock` while the block runs.

    The system drops the lock with the process that holds it, so a kill leaves nothing behind that
    blocks; the file itself says nothing and stays.

    Args:
        lock: a file that need not exist, in a folder that does.
        doing: what the other run would be doing, for the message: "measuring ward".

    Raises:
        LeadlightError: another process holds it.
    """
    with lock.open("w") as held:
        if sys.platform != "win32":
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise LeadlightError(
                    f"Another run is {doing}.", advice="Wait until it has finished."
                ) from error
        yield
