"""Pages are opened in Debian's Chromium, without a network, and whatever goes wrong is kept."""

import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

# What a page may ask for: files, itself, and a server on this very machine.
_OWN_SCHEMES = {"file", "data", "blob", "about"}
_OWN_HOSTS = {"127.0.0.1", "localhost", "[::1]", "::1"}
_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]  # fmt: skip
OpenPage = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium; skips where it or Playwright is absent.

    It lives as long as a file of tests: Playwright keeps an event loop in this thread, in which
    tests of other files could start none of their own.
    """
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("chromium is not installed")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=found, headless=True, args=_FLAGS, chromium_sandbox=False
        )
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[OpenPage]:
    """`open_page(path_or_url, *, width, height, colour_scheme, reduced_motion, touch)` → page.

    `page.console_errors` lists errors on the console, uncaught exceptions, and whatever the page's
    policy forbade; `page.until(expression)` waits for it to be true (`wait_for_function` cannot: it
    evaluates text, which the policy forbids). A request that would have left this machine is
    refused, and fails the test when it ends.
    """
    contexts: list[Any] = []
    left: list[str] = []

    def opened(
        path_or_url: str | Path,
        *,
        width: int = 1280,
        height: int = 900,
        colour_scheme: str = "light",
        reduced_motion: str = "reduce",
        touch: bool = False,
    ) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=colour_scheme,
            reduced_motion=reduced_motion, has_touch=touch, service_workers="block",
        )  # fmt: skip
        contexts.append(context)
        context.set_default_timeout(15_000)
        guard(context, left)
        page = context.new_page()
        errors: list[str] = []
        page.console_errors = errors
        page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.add_init_script(
            "document.addEventListener('securitypolicyviolation', (event) => console.error("
            "`policy: ${event.violatedDirective} ${event.blockedURI}`));"
        )
        page.until = partial(_until, page)
        url = path_or_url.resolve().as_uri() if isinstance(path_or_url, Path) else path_or_url
        page.goto(url, wait_until="load")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not left, f"the page asked the network for {left}"


@pytest.fixture
def guarded(browser: Any) -> Iterator[tuple[Any, list[str]]]:
    """A bare context and the addresses that it was refused."""
    left: list[str] = []
    context = browser.new_context()
    guard(context, left)
    yield context, left
    context.close()


@pytest.fixture
def axe() -> Callable[[Any], list[str]]:
    """`axe(page)` → serious and critical faults of accessibility, one line each.

    The checker is put in through the browser's own door, so the page's policy stays as it is.
    """
    checker = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()

    def faults(page: Any) -> list[str]:
        found = checker.run(page).response["violations"]
        return [
            f"{one['id']} ({one['impact']}): {node['target']} {node['html'][:160]}"
            for one in found
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"]
        ]

    return faults


def guard(context: Any, left: list[str]) -> None:
    """Refuse whatever would leave this machine, and write its address into `left`."""

    def decide(route: Any) -> None:
        if _stays(route.request.url):
            route.continue_()
        else:
            left.append(route.request.url)
            route.abort()

    context.route("**/*", decide)


def _until(page: Any, expression: str, seconds: float = 15.0) -> None:
    """Ask again and again from here: the page's policy lets no waiting script ask by itself."""
    end = time.monotonic() + seconds
    while not page.evaluate(f"Boolean({expression})"):
        assert time.monotonic() < end, f"{expression} has not become true"
        page.wait_for_timeout(30)


def _stays(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in _OWN_SCHEMES or parts.hostname in _OWN_HOSTS
