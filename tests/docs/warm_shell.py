"""A shell for the manual's `sh` blocks: bash, with `leadlight` answered by a warm process."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

_CLIENT = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as line:
    line.connect({place!r})
    call = dict(arguments=sys.argv[1:], folder=os.getcwd(), environment=dict(os.environ))
    call["umask"] = os.umask(0)
    socket.send_fds(line, [json.dumps(call).encode()], [0, 1, 2])
    code = line.recv(1)
sys.exit(code[0] if code else "leadlight: the process died")
"""


@dataclass(frozen=True)
class WarmShell:
    """Runs blocks of shell in a folder; `programs` stands first in their PATH."""

    programs: Path
    server: "subprocess.Popen[bytes]"

    def run(self, text: str, folder: Path, around: dict[str, str], *, seconds: float = 600) -> str:
        """What the block printed to its standard output; `around` joins its environment.

        Raises:
            AssertionError: a command of it failed; the message holds all that it printed.
        """
        path = [str(self.programs), str(Path(sys.executable).parent), os.environ["PATH"]]
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=folder,
            env={**os.environ, **around, "PATH": os.pathsep.join(path)},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        printed = f"{done.stdout}{done.stderr}"
        assert done.returncode == 0, f"exit code {done.returncode} of\n{text}\n{printed}"
        return done.stdout

    def stop(self) -> None:
        """End the warm process."""
        self.server.terminate()
        self.server.wait()


def start_shell(folder: Path) -> WarmShell:
    """Start the warm process; `folder` gets its socket and the programs of its PATH.

    The folder's path must be short: a socket's name holds about a hundred characters.
    """
    place = folder / "socket"
    programs = folder / "bin"
    programs.mkdir()
    client = programs / "leadlight"
    client.write_text(_CLIENT.format(python=sys.executable, place=str(place)))
    client.chmod(0o755)
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("warm_server.py")), str(place)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    until = time.monotonic() + 120
    while not place.exists():
        assert server.poll() is None, "the warm process did not start"
        assert time.monotonic() < until, "the warm process did not start in time"
        time.sleep(0.05)
    return WarmShell(programs, server)
