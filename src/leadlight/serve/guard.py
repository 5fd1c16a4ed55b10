"""Who may ask: loopback names only, a token for everything, reading only.

A page of another origin in the same browser must not be able to ask either. It cannot send our
cookie from elsewhere (SameSite=Strict), a name of its own that it points at 127.0.0.1 is refused by
the `Host` header, and what browsers say of where a request is from (`Sec-Fetch-Site`, `Origin`) is
heeded.
"""

import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

_LOOPBACK_NAMES = {"127.0.0.1", "localhost", "[::1]"}
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::(\d{1,5}))?")
METHODS = ("GET", "HEAD")
MOST_URL = 4096


@dataclass(frozen=True)
class Pass:
    """A token for the first visit and the cookie that it is exchanged for, for this run only."""

    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    session: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    def is_token(self, given: str) -> bool:
        """Compared in a time that does not tell how much of it is right."""
        return _same(given, self.token)

    def is_session(self, given: str) -> bool:
        """Likewise for the cookie's value."""
        return _same(given, self.session)


@dataclass(frozen=True)
class Denied:
    """status and sentence of a request that is not answered."""

    status: int
    sentence: str


def denied(method: str, url: str, hosts: list[str], headers: Mapping[str, str]) -> Denied | None:
    """Why a request is refused whoever asks; None where it is not.

    Args:
        method: of HTTP.
        url: as it was sent.
        hosts: all `Host` headers.
        headers: all headers, by name.
    """
    if len(hosts) != 1 or not is_loopback(hosts[0]):
        return Denied(403, "This server answers to loopback names only.")
    if method not in METHODS:
        return Denied(405, "This server only answers GET and HEAD.")
    if len(url) > MOST_URL:
        return Denied(414, f"An address may have {MOST_URL} characters.")
    origin = headers.get("Origin")
    if origin is not None and origin.partition("://")[2].lower() != hosts[0].lower():
        return Denied(403, "A page of another origin may not ask.")
    fetched_by = headers.get("Sec-Fetch-Site", "none")
    if fetched_by in ("cross-site", "same-site") and headers.get("Sec-Fetch-Mode") != "navigate":
        return Denied(403, "A page of another origin may not ask.")
    return None


def is_loopback(host: str) -> bool:
    """Whether a `Host` header names this machine itself. Any port: a tunnel may change it."""
    found = _HOST.fullmatch(host.strip().lower())
    return found is not None and found[1] in _LOOPBACK_NAMES


def bearer(headers: Mapping[str, str]) -> str:
    """The token of `Authorization: Bearer TOKEN`; empty where there is none."""
    kind, _, value = headers.get("Authorization", "").partition(" ")
    return value.strip() if kind.lower() == "bearer" else ""


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode("utf-8"))
