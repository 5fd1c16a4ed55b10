"""What every process that works for another must do."""

import multiprocessing
import os
import threading
from multiprocessing.connection import wait


def end_with_parent() -> None:
    """End this worker when the process that it works for is gone; the initializer of every pool.

    A pool ends its workers itself, but one that is killed (for want of memory, say) cannot: they
    would wait for tasks for ever, and keep their memory.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def watch() -> None:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="end with parent", daemon=True).start()
