"""The command line, run as often as one likes without starting Python each time.

Started as a script it imports all of Leadlight once, computes nothing (so that no thread is up),
and forks a process in a session of its own for every command that it is given. The process is the
command as a user runs it: arguments, exit code, standard error. Kill it with its whole group.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

MODULES = (
    "leadlight.cohort.importing", "leadlight.cohort.measuring", "leadlight.classify.models",
    "leadlight.classify.predict", "leadlight.explain.cohort", "leadlight.latent.encoding",
    "leadlight.latent.model", "leadlight.genetics.stage", "leadlight.genetics.joint_stage",
    "leadlight.genetics.loci_stage", "leadlight.genetics.effect.stage",
    "leadlight.study.effect_cards", "leadlight.report.page",
    "leadlight.report.association_figures", "leadlight.study.running",
)  # fmt: skip

# What a process does to names on the disk.
STEPS = ("rename", "replace", "unlink", "rmdir", "mkdir")
# Threads that imports start and that a fork does not hurt: allocators see to their own locks, and
# Polars's cleaner of spilled tables has nothing to do.
FORK_SAFE = {"jemalloc_bg_thd", "polars-ooc-clea"}


class Command:
    """A command under way. log: its standard output and error."""

    def __init__(self, runner: "Runner", pid: int, log: Path) -> None:
        self._runner, self.pid, self.log = runner, pid, log
        self.exit_code: int | None = None

    def poll(self) -> int | None:
        """Its exit code (minus the signal that ended it), None while it runs."""
        self._runner.listen(0.0)
        return self.exit_code

    def wait(self, timeout: float = 300.0) -> int:
        until = time.monotonic() + timeout
        while self.exit_code is None:
            assert time.monotonic() < until, f"still running: {self.told()}"
            self._runner.listen(0.2)
        return self.exit_code

    def kill(self) -> None:
        """SIGKILL to it and to every process that it started."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:  # it is so new that it has no group of its own yet
            os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def told(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")


class Runner:
    """A server that forks commands."""

    def __init__(self) -> None:
        one = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        environment = os.environ | dict.fromkeys(one, "1")
        self._server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        self._logs = tempfile.TemporaryDirectory(prefix="leadlight-logs-")
        self._commands: dict[int, Command] = {}
        self._count = 0
        self._said(self._pipe(self._server.stdout).readline())

    def start(
        self, *words: str | Path, cwd: Path | None = None, killed_before: int | None = None
    ) -> Command:
        """Begin `leadlight WORDS`.

        killed_before: the process kills itself before its so-many-th step on the disk (see STEPS).
        """
        self._count += 1
        log = Path(self._logs.name) / f"{self._count}.log"
        order: dict[str, Any] = {"argv": [str(word) for word in words], "log": str(log)}
        order["killed_before"] = killed_before
        order["cwd"] = str(cwd or Path.cwd())
        stdin = self._pipe(self._server.stdin)
        stdin.write(json.dumps(order) + "\n")
        stdin.flush()
        while True:
            said = self._said(self._pipe(self._server.stdout).readline())
            if "started" in said:
                command = Command(self, said["started"], log)
                self._commands[command.pid] = command
                return command
            self._ended(said)

    def run(self, *words: str | Path, cwd: Path | None = None) -> tuple[int, str]:
        """Exit code and output of `leadlight WORDS`."""
        command = self.start(*words, cwd=cwd)
        return command.wait(), command.told()

    def listen(self, seconds: float) -> None:
        """Take note of commands that have ended, waiting so long for one."""
        stream = self._pipe(self._server.stdout)
        with selectors.DefaultSelector() as ready:
            ready.register(stream, selectors.EVENT_READ)
            if ready.select(seconds):
                self._ended(self._said(stream.readline()))

    def close(self) -> None:
        self._pipe(self._server.stdin).close()
        self._server.wait(timeout=120)
        self._logs.cleanup()

    def _ended(self, said: dict[str, Any]) -> None:
        self._commands.pop(said["ended"]).exit_code = said["code"]

    @staticmethod
    def _pipe(stream: IO[str] | None) -> IO[str]:
        assert stream is not None
        return stream

    def _said(self, line: str) -> dict[str, Any]:
        assert line, "the server of commands is gone"
        return dict(json.loads(line))


def serve() -> None:
    """Fork a process for every line of standard input until it ends."""
    import importlib

    for name in MODULES:
        importlib.import_module(name)
    own = str(os.getpid())
    tasks = [task for task in Path("/proc/self/task").iterdir() if task.name != own]
    threads = {(task / "comm").read_text().strip() for task in tasks}
    if odd := threads - FORK_SAFE:
        raise SystemExit(f"threads are up: a fork would lose the locks of {', '.join(odd)}")
    _say({"ready": True})
    with selectors.DefaultSelector() as ready:
        ready.register(sys.stdin, selectors.EVENT_READ)
        running = 0
        while True:
            # Lines are read one at a time, unbuffered, so that select sees all that is waiting.
            if ready.select(0.01 if running else None):
                line = _line()
                if not line:
                    return
                _start(json.loads(line))
                running += 1
            while running:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    break
                running -= 1
                _say({"ended": pid, "code": os.waitstatus_to_exitcode(status)})


def _line() -> bytes:
    found = bytearray()
    while not found.endswith(b"\n"):
        more = os.read(0, 1)
        if not more:
            break
        found += more
    return bytes(found)


def _start(order: dict[str, Any]) -> None:
    pid = os.fork()
    if pid:
        _say({"started": pid})
        return
    code = 1
    try:
        os.setsid()
        os.chdir(order["cwd"])
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if order["killed_before"] is not None:
            _kill_before(order["killed_before"])
        code = _run(order["argv"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _kill_before(step: int) -> None:
    """Have this process die instead of doing its step-th renaming, removing or making."""
    done = 0

    def dying(sound: Callable[..., Any]) -> Callable[..., Any]:
        def take(*arguments: Any, **named: Any) -> Any:
            nonlocal done
            if done >= step:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1
            return sound(*arguments, **named)

        return take

    for name in STEPS:
        setattr(os, name, dying(getattr(os, name)))


def _run(words: list[str]) -> int:
    from leadlight.cli.app import main

    sys.argv = ["leadlight", *words]
    try:
        main()
    except SystemExit as end:
        if isinstance(end.code, int):
            return end.code
        return 0 if end.code is None else 1
    return 0


def _say(what: dict[str, Any]) -> None:
    os.write(1, (json.dumps(what) + "\n").encode())


if __name__ == "__main__":
    serve()
