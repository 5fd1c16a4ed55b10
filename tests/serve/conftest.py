"""One small study and one server of it for all tests that change neither."""

import http.client
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from leadlight.serve.server import Running, served

sys.path.insert(0, str(Path(__file__).parent))
from study_to_serve import write_served_study


@dataclass(frozen=True)
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8")

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Asker:
    """Asks as no browser would: the address goes out as it is given."""

    running: Running

    def __call__(
        self, path: str, method: str = "GET", *, token: bool = True, host: str | None = None,
        **headers: str,
    ) -> Reply:  # fmt: skip
        connection = http.client.HTTPConnection("127.0.0.1", self.running.port, timeout=60)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            connection.putheader("Host", host or f"127.0.0.1:{self.running.port}")
            if token:
                connection.putheader("Authorization", f"Bearer {self.running.token}")
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            connection.endheaders()
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read())
        finally:
            connection.close()


@pytest.fixture(scope="session")
def served_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_served_study(tmp_path_factory.mktemp("served") / "a-study")


@pytest.fixture(scope="session")
def running(served_study: Path) -> Iterator[Running]:
    with served(served_study) as one:
        yield one


@pytest.fixture(scope="session")
def ask(running: Running) -> Asker:
    return Asker(running)


@pytest.fixture
def own_study(served_study: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(served_study, tmp_path / "own-study", symlinks=True))


@pytest.fixture
def serve_it() -> Iterator[Callable[..., Asker]]:
    """Serve a study of one's own; it stops with the test."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield lambda study, **kwargs: Asker(stack.enter_context(served(study, **kwargs)))
