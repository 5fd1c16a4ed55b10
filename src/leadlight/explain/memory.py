"""What a process takes of the memory, and giving it back."""

import ctypes
import re
import sys
from pathlib import Path


def give_back_freed_memory() -> None:
    """Let glibc return what was freed: it keeps the most that each of its threads ever used.

    Without it the process grows over the first few hundred records by some hundred megabytes.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
        if trim is not None:
            trim(0)


def peak_memory_mb() -> float | None:
    """Largest resident memory of this process so far; None where the system does not tell.

    Not getrusage: what a process starts from there is the size of the one that started it.
    """
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+)", status.read_text()) if status.is_file() else None
    return round(int(found[1]) / 1024, 1) if found else None
