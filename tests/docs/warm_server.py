"""A process that has the libraries loaded and forks for each `leadlight` that a page's shell calls.

Starting Python and its libraries anew takes seconds for each command of the manual; here it is done
once. A call brings its arguments, folder, environment and its three standard streams, runs in a
process of its own through the same `main` as the installed command, and gives its exit code back.
"""

import contextlib
import importlib
import json
import os
import socket
import sys
import traceback
from pathlib import Path

# Loaded, not used: a library that has started threads must not be forked.
PRELOADED = ("torch", "numba", "polars", "xarray", "zarr", "scipy.stats", "leadlight.cli.app")


def serve(place: Path) -> None:
    """Take calls at the socket `place` until the process is ended."""
    for name in PRELOADED:
        importlib.import_module(name)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        listener.listen(16)
        while True:
            connection, _ = listener.accept()
            reap()
            with connection:
                if os.fork() == 0:
                    listener.close()
                    answer(connection)


def reap() -> None:
    """Take leave of the calls that have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def answer(connection: socket.socket) -> None:
    """In the forked process: become the command, run it, and send its exit code."""
    words, streams, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    call = json.loads(words)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(call["folder"])
    os.umask(call["umask"])
    os.environ.clear()
    os.environ.update(call["environment"])
    sys.argv = ["leadlight", *call["arguments"]]
    code = 1
    try:
        code = run()
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        connection.sendall(bytes([code]))
        os._exit(code)


def run() -> int:
    """The installed command's own entry point; its exit code."""
    from leadlight.cli.app import main

    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
