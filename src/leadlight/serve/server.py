"""Starting, watching and stopping the server."""

import asyncio
import logging
import os
import signal
import socket
import tempfile
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from leadlight.errors import LeadlightError
from leadlight.serve.application import Activity, make_application, print_note
from leadlight.serve.folder import StudyFolder, open_study
from leadlight.serve.guard import Pass
from leadlight.serve.workers import Workers

LOOPBACK = "127.0.0.1"
_BACKLOG = 128
_MOST_LINE = 8190  # bytes of a request's line, or of one of its headers


@dataclass(frozen=True)
class Bounds:
    """What the server takes on.

    Attributes:
        threads: questions that are worked on at once.
        waiting: that may wait beside them; one more is answered 503.
        limit_s: seconds a question may take.
        idle_minutes: without a question for so long, it stops; never where 0.
    """

    threads: int = 2
    waiting: int = 64
    limit_s: float = 30.0
    idle_minutes: float = 240.0


@dataclass(frozen=True)
class Running:
    """A server that answers.

    Attributes:
        port: that it is bound to, on loopback.
        url: its address with the token, for the first visit.
        token: for `Authorization: Bearer`.
        bound: the socket's own address.
    """

    port: int
    url: str
    token: str
    bound: tuple[str, int]


def serve_study(
    path: Path,
    *,
    port: int = 0,
    open_browser: bool = False,
    bounds: Bounds | None = None,
    say: Callable[[Running, StudyFolder], None] | None = None,
) -> str:
    """Serve a study until it is stopped: Ctrl-C, a signal to end, or nobody asks any more.

    Args:
        path: the study folder.
        port: of loopback; a free one where 0.
        open_browser: show the first page in the default browser.
        bounds: what the server takes on.
        say: is told the address once the server answers.

    Returns:
        Why it stopped, in words.

    Raises:
        LeadlightError: the folder is no study, or the port is taken.
    """
    study = open_study(path)
    listening = bind(port)

    def started(running: Running) -> None:
        if say is not None:
            say(running, study)
        if open_browser:
            led = leading_page(running.url)
            leading.append(led)
            # Some browsers keep the terminal until they end.
            threading.Thread(target=webbrowser.open, args=(led.as_uri(),), daemon=True).start()

    leading: list[Path] = []
    try:
        return asyncio.run(
            _serve(study, listening, bounds or Bounds(), started, asyncio.Event(), signals=True)
        )
    finally:
        for page in leading:
            page.unlink(missing_ok=True)


def leading_page(url: str) -> Path:
    """A page that leads to an address and that only this user can read.

    Everybody on a computer can see what programs were started with, so the address with the token
    is not what the browser is started with.
    """
    number, name = tempfile.mkstemp(prefix="leadlight-", suffix=".html")  # for its owner only
    with os.fdopen(number, "w", encoding="utf-8") as stream:
        stream.write(
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Leadlight</title>'
            f'<meta name="referrer" content="no-referrer">'
            f'<meta http-equiv="refresh" content="0; url={url}"></head>'
            f'<body><p><a href="{url}">To the study</a></p></body></html>'
        )
    return Path(name)


@contextmanager
def served(path: Path, *, port: int = 0, bounds: Bounds | None = None) -> Iterator[Running]:
    """A server in a thread of this process, for notebooks and tests; it stops with the block."""
    study = open_study(path)
    listening = bind(port)
    running: list[Running] = []
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    def started(one: Running) -> None:
        running.append(one)
        ready.set()

    def work() -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(
                _serve(study, listening, bounds or Bounds(), started, stop, signals=False)
            )
        finally:
            ready.set()
            loop.close()

    thread = threading.Thread(target=work, name="leadlight-serve-loop", daemon=True)
    thread.start()
    ready.wait(30)
    if not running:
        raise LeadlightError("The server did not start.")
    try:
        yield running[0]
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)
        thread.join(30)


def bind(port: int) -> socket.socket:
    """A socket on loopback, for nobody outside of this machine.

    Raises:
        LeadlightError: the port is taken or not allowed.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if os.name == "posix":  # elsewhere this would let two servers have one port
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((LOOPBACK, port))
    except (OSError, OverflowError) as error:
        listening.close()
        raise LeadlightError(
            f"Port {port} of this machine cannot be used: it is taken, or needs more rights.",
            advice="Give another with --port, or leave it out for a free one.",
        ) from error
    listening.setblocking(False)
    return listening


async def _serve(
    study: StudyFolder,
    listening: socket.socket,
    bounds: Bounds,
    started: Callable[[Running], None],
    stop: asyncio.Event,
    *,
    signals: bool,
) -> str:
    allowed, activity = Pass(), Activity()
    workers = Workers(bounds.threads, bounds.waiting, bounds.limit_s)
    loop = asyncio.get_running_loop()
    # A fault outside of any answer (a connection that breaks off, say) is one line at most.
    loop.set_exception_handler(
        lambda _, about: (
            print_note(f"A fault of the server: {about.get('message', '')}")
            if not isinstance(about.get("exception"), ConnectionError)
            else None
        )
    )
    application = make_application(
        study, allowed, workers=workers, activity=activity, note=print_note
    )
    silent = logging.Logger("leadlight.serve", logging.CRITICAL + 1)  # requests are not logged
    runner = web.AppRunner(
        application, access_log=None, logger=silent, handle_signals=False, shutdown_timeout=2.0,
        keepalive_timeout=30.0, max_line_size=_MOST_LINE, max_field_size=_MOST_LINE,
    )  # fmt: skip
    await runner.setup()
    await web.SockSite(runner, listening, backlog=_BACKLOG).start()
    address, port = listening.getsockname()[:2]
    why = ["stopped"]
    caught = []
    if signals:
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                loop.add_signal_handler(number, stop.set)
                caught.append(number)
            except (NotImplementedError, RuntimeError, ValueError):  # not in the main thread
                pass
    watching = asyncio.create_task(_watch(activity, bounds.idle_minutes, stop, why, study))
    started(Running(port, f"http://{LOOPBACK}:{port}/?token={allowed.token}", allowed.token,
                    (address, port)))  # fmt: skip
    try:
        await stop.wait()
    finally:
        watching.cancel()
        await runner.cleanup()
        workers.close()
        study.explainer.close()
        for number in caught:
            loop.remove_signal_handler(number)
    return why[0]


async def _watch(
    activity: Activity, idle_minutes: float, stop: asyncio.Event, why: list[str], study: StudyFolder
) -> None:
    """Stop where nobody asks any more, and let go of a process that nobody needs."""
    while True:
        await asyncio.sleep(min(15.0, idle_minutes * 15.0) if idle_minutes else 15.0)
        study.explainer.rest()
        if idle_minutes and activity.idle_s() >= 60 * idle_minutes:
            why[0] = f"stopped: nobody asked for {idle_minutes:g} minutes"
            stop.set()
            return
