"""Nobody reads a study without the token, from another origin, or beside the tables of names."""

import base64
import hashlib
import socket
from pathlib import Path

import pytest
from study_to_serve import CANARY, HOSTILE

from leadlight.report.rendering import template_text
from leadlight.serve.guard import Pass, is_loopback
from leadlight.serve.pages import standing
from leadlight.serve.server import bind

ADDRESSES = (
    "/", "/study", "/records", "/records/plain000", "/factors", "/loci", "/loci/3:1-2",
    "/variants/3:5", "/report/index.html", "/static/base.js", "/api/study", "/api/records", "/nope",
)  # fmt: skip


@pytest.mark.parametrize("path", ADDRESSES)
def test_without_the_token_nothing_is_told(ask, path):
    reply = ask(path, token=False)
    assert reply.status == 403
    assert "a-study" not in reply.text
    assert "plain" not in reply.headers.get("Content-Type", "") or "token" in reply.text


def test_a_wrong_token_or_cookie_is_refused(ask, running):
    for wrong in ("x", running.token[:-1], running.token + "x", "", "%C3%BC" * 40):
        assert ask(f"/?token={wrong}", token=False).status == 403
    assert ask("/study", token=False, Authorization="Bearer nonsense").status == 403
    cookie = f"leadlight-{running.port}=nonsense"
    assert ask("/study", token=False, Cookie=cookie).status == 403
    # The token is no cookie, and counts in the first address only.
    cookie = f"leadlight-{running.port}={running.token}"
    assert ask("/study", token=False, Cookie=cookie).status == 403
    assert ask(f"/study?token={running.token}", token=False).status == 403


def test_the_token_is_exchanged_for_a_cookie_and_leaves_the_address(ask, running):
    reply = ask(f"/?token={running.token}", token=False)
    assert reply.status == 303
    assert reply.headers["Location"] == "/"
    cookie = reply.headers["Set-Cookie"]
    assert running.token not in cookie
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert ask("/study", token=False, Cookie=cookie.partition(";")[0]).status == 200


def test_from_another_site_a_page_of_ours_leads_on(ask, running):
    reply = ask(f"/?token={running.token}", token=False, Sec_Fetch_Site="cross-site",
                Sec_Fetch_Mode="navigate")  # fmt: skip
    assert reply.status == 200
    assert "SameSite=Strict" in reply.headers["Set-Cookie"]
    assert 'content="0; url=/"' in reply.text
    assert running.token not in reply.text


def test_every_run_has_secrets_of_its_own():
    one, two = Pass(), Pass()
    assert len({one.token, two.token, one.session, two.session}) == 4
    assert len(one.token) >= 43  # 256 bits
    assert one.is_token(one.token)
    assert not one.is_token(one.session)
    assert not one.is_token("")


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "evil.example:80", "localhost.evil.example",
     "0.0.0.0", "127.0.0.1@evil.example", "[::2]:80", "localhost:99999999", "localhost\tx"],
)  # fmt: skip
def test_other_names_of_the_machine_are_refused(ask, host):
    assert ask("/study", host=host).status in (400, 403)


def test_loopback_names_are_answered_whatever_the_tunnels_port(ask):
    for host in ("localhost", "localhost:1234", "127.0.0.1:8888", "[::1]:8888", "LOCALHOST:80"):
        assert ask("/study", host=host).status == 200
    assert not is_loopback("")


def test_two_host_headers_or_none_are_refused(running):
    for hosts in (["127.0.0.1", "evil.example"], []):
        lines = ["GET /study HTTP/1.1", *(f"Host: {host}" for host in hosts),
                 f"Authorization: Bearer {running.token}", "Connection: close"]  # fmt: skip
        assert _raw(running.port, lines).split(b" ")[1] in (b"400", b"403")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_only_reading_is_answered(ask, method):
    reply = ask("/study", method)
    assert reply.status == 405
    assert reply.headers["Allow"] == "GET, HEAD"
    assert "Access-Control-Allow-Origin" not in reply.headers


def test_head_has_the_headers_and_no_body(ask):
    reply = ask("/study", "HEAD")
    assert reply.status == 200
    assert reply.body == b""
    assert int(reply.headers["Content-Length"]) > 1000


def test_a_page_of_another_origin_may_not_ask(ask, running):
    assert ask("/api/study", Origin="http://evil.example").status == 403
    assert ask("/api/study", Origin="null").status == 403
    assert ask("/api/study", Origin=f"http://127.0.0.1:{running.port}").status == 200
    for site in ("cross-site", "same-site"):
        assert ask("/api/study", Sec_Fetch_Site=site, Sec_Fetch_Mode="no-cors").status == 403
        assert ask("/study", Sec_Fetch_Site=site, Sec_Fetch_Mode="navigate").status == 200


@pytest.mark.parametrize("path", [*ADDRESSES[1:], "/records?page=x"])
def test_every_answer_is_guarded(ask, path):
    headers = ask(path).headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in headers
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "Python" not in headers["Server"]


TRAVERSALS = (
    "/report/../secret.csv", "/report/../../secret.csv", "/report/%2e%2e/secret.csv",
    "/report/%2e%2e%2fsecret.csv", "/report/..%2fsecret.csv", "/report/..\\secret.csv",
    "/report/%252e%252e/secret.csv", "/report//secret.csv", "/report/./../secret.csv",
    "/report/link.csv", "/report/.hidden.csv", "/effects/../secret.csv", "/report/%00secret.csv",
    "/static/../secret.csv", "/static/..%2f..%2fsecret.csv", "/../secret.csv", "//secret.csv",
    "/latent/../secret.csv", "/report/figures/..%2f..%2fsecret.csv", "/etc/passwd",
    "/report//etc/passwd", "/records/..%2fsecret.csv", "/secret.csv",
)  # fmt: skip


@pytest.mark.parametrize("path", TRAVERSALS)
def test_no_address_reaches_a_file_that_is_not_listed(ask, path):
    reply = ask(path)
    assert reply.status in (400, 404)
    assert CANARY not in reply.text
    assert "root:" not in reply.text


def test_files_of_the_report_are_given_as_they_lie_there(ask, served_study: Path):
    for name in ("figures/one.png", "figures/one.csv"):
        assert ask(f"/report/{name}").body == (served_study / "report" / name).read_bytes()


def test_a_page_that_stands_alone_runs_no_script_that_is_not_ours(ask):
    reply = ask("/report/index.html")
    policy = reply.headers["Content-Security-Policy"]
    assert "script-src 'none'" in policy
    assert "style-src 'sha256-" in policy  # its style may stay: it cannot ask for anything
    assert "connect-src" not in policy
    assert 'href="/records"' in reply.text  # the way to the rest
    assert "another version" in reply.text.lower()


def test_a_page_of_this_version_keeps_its_scripts_and_nothing_that_records_put_in():
    own, somebodys = (script_hash(text) for text in (template_text("tables.js"), "alert(1)"))
    policy = f"default-src &#39;none&#39;; script-src {own} {somebodys}".replace("'", "&#39;")
    head = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    found = standing(head.encode())
    assert own in found.policy
    assert somebodys not in found.policy
    assert not found.whole
    only = head.replace(somebodys.replace("'", "&#39;"), "").encode()
    later = f'<meta http-equiv="Content-Security-Policy" content="script-src {somebodys}">'
    assert standing(only).whole
    assert somebodys not in standing(only + later.encode()).policy
    assert "script-src 'none'" in standing(b"<html>").policy


def test_large_addresses_and_headers_are_refused_and_the_server_lives(ask):
    assert ask("/records?search=" + "x" * 5000).status == 414
    assert ask("/records?search=" + "x" * 50_000).status in (400, 414, 431)
    assert ask("/study", X_Long="x" * 50_000).status in (400, 431)
    assert ask("/records?" + "&".join(f"a{n}=1" for n in range(500))).status in (414, 422)
    assert ask("/study").status == 200


def test_rubbish_on_the_line_is_refused_and_the_server_lives(running, ask):
    for lines in (
        ["\x00\x01\x02"],
        ["GET"],
        ["GET / HTTP/9.9"],
        ["GET /study HTTP/1.1", "x" * 100],
    ):
        assert b" 200 " not in _raw(running.port, lines)[:20]
    assert ask("/study").status == 200


def test_only_loopback_is_listened_on(running):
    assert running.bound[0] == "127.0.0.1"
    table = Path("/proc/net/tcp")
    if not table.is_file():
        pytest.skip("this system does not list its sockets in /proc")
    listening = [
        line.split()[1]
        for line in table.read_text().splitlines()[1:]
        if line.split()[3] == "0A" and line.split()[1].endswith(f":{running.port:04X}")
    ]
    assert listening == [f"0100007F:{running.port:04X}"]


def test_another_address_of_this_machine_does_not_answer(running):
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        probe.connect(("192.0.2.1", 9))  # sends nothing
        own = probe.getsockname()[0]
    except OSError:
        pytest.skip("this machine has no address but loopback")
    finally:
        probe.close()
    if own.startswith("127."):
        pytest.skip("this machine has no address but loopback")
    with pytest.raises(OSError, match=r"refused|unreachable|timed out"):
        socket.create_connection((own, running.port), timeout=2)


def test_a_free_port_is_chosen_and_held(running):
    other = bind(0)
    try:
        assert other.getsockname()[0] == "127.0.0.1"
        assert other.getsockname()[1] != running.port
    finally:
        other.close()


def test_what_records_hold_is_not_written_to_the_terminal(ask, capfd):
    for name in HOSTILE:
        ask("/api/record?id=" + "".join(f"%{byte:02x}" for byte in name.encode()))
    ask("/api/record?id=nobody")
    said = capfd.readouterr()
    assert said.out + said.err == ""


def script_hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _raw(port: int, lines: list[str]) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        line.settimeout(3)
        try:
            return line.recv(65536)
        except TimeoutError:
            return b""
