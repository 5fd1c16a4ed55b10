"""The server starts, says where it is, stops by itself or when told to, and says why it cannot."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

from leadlight.cli.app import app
from leadlight.errors import LeadlightError
from leadlight.serve import server
from leadlight.serve.folder import open_study
from leadlight.serve.server import Bounds, Running, bind, serve_study, served


def test_ctrl_c_stops_it_with_exit_code_0(served_study):
    process = subprocess.Popen(
        [sys.executable, "-m", "leadlight.cli.app", "serve", str(served_study), "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"http://127.0.0.1:{said['port']}/static/base.js")
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert err == ""
    assert "token" not in out


def test_it_stops_by_itself_when_nobody_asks(served_study):
    began = time.monotonic()
    why = serve_study(served_study, bounds=Bounds(idle_minutes=0.01))
    assert "nobody asked" in why
    assert 0.5 < time.monotonic() - began < 30


def test_the_browser_is_not_started_with_the_token(served_study, monkeypatch):
    opened: list[tuple[str, Path, int, str]] = []

    def opens(address: str) -> None:
        path = Path(urllib.request.url2pathname(address.removeprefix("file://")))
        opened.append((address, path, path.stat().st_mode & 0o777, path.read_text()))

    said: list[Running] = []
    monkeypatch.setattr(server.webbrowser, "open", opens)
    serve_study(
        served_study, open_browser=True, bounds=Bounds(idle_minutes=0.02),
        say=lambda running, _: said.append(running),
    )  # fmt: skip
    [(address, path, mode, text)] = opened
    assert said[0].token not in address
    assert said[0].url in text
    assert mode == 0o600
    assert not path.exists()


def test_a_port_that_is_taken_is_one_line(served_study):
    held = bind(0)
    held.listen()
    port = held.getsockname()[1]
    try:
        with pytest.raises(LeadlightError, match=rf"Port {port} of this machine cannot be used"):
            bind(port)
        found = CliRunner().invoke(app, ["serve", str(served_study), "--port", str(port)])
        assert found.exit_code == 1
        assert isinstance(found.exception, LeadlightError)
    finally:
        held.close()


def test_a_folder_that_is_no_study_is_one_line(tmp_path):
    for folder, said in ((tmp_path, "is no study"), (tmp_path / "nothing", "is no folder")):
        found = CliRunner().invoke(app, ["serve", str(folder)])
        assert isinstance(found.exception, LeadlightError)
        assert said in str(found.exception)


def test_a_study_of_summary_statistics_alone_is_served(served_study, tmp_path):
    study = tmp_path / "only-gwas"
    study.mkdir()
    (study / "gwas").symlink_to(served_study / "gwas")
    assert not open_study(study).has_cohort()
    with served(study) as running:
        for path, status in (
            ("/api/loci", 200), ("/loci", 200), ("/records", 404), ("/factors", 404),
            ("/api/region?place=3:38700000-38800000", 200), ("/api/study", 200),
            ("/variants/3:38737659", 200),
        ):  # fmt: skip
            request = urllib.request.Request(
                f"http://127.0.0.1:{running.port}{path}",
                headers={"Authorization": f"Bearer {running.token}"},
            )
            try:
                with urllib.request.urlopen(request) as reply:
                    found = reply.status
            except urllib.error.HTTPError as error:
                found = error.code
            assert found == status, path


def test_the_block_that_serves_ends_the_server(served_study):
    with served(served_study) as running:
        socket.create_connection(("127.0.0.1", running.port), timeout=5).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", running.port), timeout=5)


def test_every_address_of_the_api_is_described(ask):
    from leadlight.serve import api

    described = {address for address, _, _ in api.DESCRIBED}
    assert described == {address for address in api.VIEWS if "{" not in address}
    page = ask("/api").text
    assert all(address in page for address in described)


def test_what_is_worth_it_is_sent_compressed(ask):
    import gzip

    plain, packed = ask("/api/explorer"), ask("/api/explorer", Accept_Encoding="gzip, br")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body)
