"""Answers as bytes with a kind, and the headers that guard them."""

import gzip
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from leadlight.serve.refusals import Refusal

HTML = "text/html; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
JSON = "application/json; charset=utf-8"
MOST_BYTES = 48 << 20
_WORTH_PACKING = 2048
_PACKED_KINDS = ("text/", "application/json")

# Pages of the server itself: their scripts and styles are files, nothing stands in the page.
OWN_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# Whatever is no page loads and runs nothing.
NO_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

GUARDING = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), usb=()",
    "Server": "leadlight",
}


@dataclass(frozen=True)
class Answer:
    """What goes back. policy: the page's content security policy; headers: beside `GUARDING`."""

    body: bytes
    kind: str = HTML
    status: int = 200
    policy: str = NO_POLICY
    headers: Mapping[str, str] = field(default_factory=dict)

    def bounded(self) -> "Answer":
        """The answer, or a refusal where it is larger than an answer may be."""
        if len(self.body) > MOST_BYTES:
            raise Refusal(
                f"The answer would be {len(self.body) / 1e6:.0f} MB; "
                f"at most {MOST_BYTES / 1e6:.0f} MB are sent.",
                advice="Ask for less.",
            )
        return self

    def packed(self, accepted: str) -> "Answer":
        """Compressed where that is accepted and worth it. accepted: Accept-Encoding."""
        worth = len(self.body) > _WORTH_PACKING and self.kind.startswith(_PACKED_KINDS)
        if not worth or "gzip" not in accepted.lower():
            return self
        headers = {**self.headers, "Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        return Answer(gzip.compress(self.body, 3), self.kind, self.status, self.policy, headers)

    def all_headers(self) -> dict[str, str]:
        """Every header but length."""
        own = {"Content-Type": self.kind, "Content-Security-Policy": self.policy}
        return {**GUARDING, **own, **self.headers}


def json_answer(value: Any, status: int = 200) -> Answer:
    """A JSON-ready value; NaN and infinity become null."""

    def written(one: Any) -> str:
        return json.dumps(one, ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    try:
        text = written(value)
    except ValueError:
        text = written(without_nan(value))
    return Answer(text.encode("utf-8"), JSON, status)


def without_nan(value: Any) -> Any:
    """The same with null in place of numbers that JSON has not."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: without_nan(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(one) for one in value]
    return value


def refusal_headers(error: Refusal) -> dict[str, str]:
    """`Retry-After` where it is worth asking again."""
    after = getattr(error, "retry_after_s", None)
    return {} if after is None else {"Retry-After": str(after)}
