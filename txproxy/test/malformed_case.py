"""What one malformed or borderline message is, and what must happen to it. The table itself is ``malformed``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

UpstreamSees = Literal["nothing", "one clean request", "aborted"]
"""``nothing``: no byte of it. ``one clean request``: exactly one complete, valid request. ``aborted``: perhaps its
head and a part of its body, but never a complete message, and the connection is closed without a terminator."""

HOST = b"Host: a.example\r\n"


@dataclass(frozen=True, slots=True)
class RequestCase:
    """Bytes that a client sends on one connection, and their verdict."""

    id: str
    """Number of the case, and its variant after a hyphen."""
    raw: bytes
    section: str
    """What decides: a section of an RFC."""
    reason: str
    statuses: frozenset[int]
    """The status of the last reply is one of these; replies before it are 200."""
    upstream: UpstreamSees
    closes: bool | None = True
    """Whether the proxy closes the connection after the last reply; None: either is fine."""
    parser_error: int | None = None
    """Status of the error that a pure parser raises for the head alone; None: the head is fine by itself."""
    body_error: bool = False
    """A pure reader of the body raises, at the latest when the input ends."""
    replies: int = 1
    """How many final replies the client gets."""
    delivered: bytes | None = None
    """The body that the backend gets, without framing; None: not looked at."""
    forwarded: tuple[bytes, ...] = ()
    """Pieces that stand in what the backend received."""
    withheld: tuple[bytes, ...] = ()
    """Pieces that do not."""
    half_close: bool = False
    """The client shuts down its sending side after the last byte."""
    pause_at: int = 0
    """Bytes that reach the backend before the client sends the rest; 0: all is sent at once."""
    hasty: bool = False
    """To be sent to a listener with timeouts of a second or two, for the verdict is a deadline's."""

    @property
    def direction(self) -> str:
        """``request``."""
        return "request"

    @property
    def head(self) -> bytes:
        """All up to and including the first empty line, or all if there is none."""
        end = self.raw.find(b"\r\n\r\n")
        return self.raw if end < 0 else self.raw[: end + 4]

    @property
    def body(self) -> bytes:
        """What follows the head on the connection."""
        return self.raw[len(self.head) :]

    @property
    def method(self) -> str:
        """The first word of the request line."""
        return self.raw.split(b" ", 1)[0].decode("latin-1")


@dataclass(frozen=True, slots=True)
class ReplyCase:
    """Bytes that a backend answers with, and what must become of them."""

    id: str
    raw: bytes
    section: str
    reason: str
    statuses: frozenset[int]
    """The status that the client gets is one of these."""
    may_cut: bool = False
    """A reply that has already begun may end instead by a close without a clean end."""
    parser_error: int | None = None
    """502 if a pure parser refuses the head alone."""
    body_error: bool = False
    """A pure reader of the body raises, at the latest when the input ends."""
    method: str = "GET"
    minor: int = 1
    """Minor version of HTTP/1 that the client speaks."""
    ends: bool = False
    """The backend closes its connection after the last byte."""
    reply_body: bytes | None = None
    """The body that the client gets; None: not looked at."""
    interim: tuple[int, ...] = ()
    """Statuses of the 1xx replies that the client gets before the final one."""
    reusable: bool = False
    """Whether the backend's connection may serve another request afterwards."""
    withheld: tuple[bytes, ...] = ()
    """Pieces that the client never gets."""

    @property
    def direction(self) -> str:
        """``reply``."""
        return "reply"

    @property
    def head(self) -> bytes:
        """All up to and including the first empty line, or all if there is none."""
        end = self.raw.find(b"\r\n\r\n")
        return self.raw if end < 0 else self.raw[: end + 4]

    @property
    def body(self) -> bytes:
        """What follows the first head on the connection."""
        return self.raw[len(self.head) :]


def refused(
    name: str, raw: bytes, section: str, reason: str, *, status: int = 400, parser: int | None = 400, **more: Any
) -> RequestCase:
    """Return a case that is answered with an error and a close before any backend hears of it.

    :param parser: what the pure parser raises for the head; the same status unless the head itself is fine.
    """
    error = status if parser == 400 else parser
    return RequestCase(name, raw, section, reason, frozenset((status,)), "nothing", parser_error=error, **more)


def broken_body(name: str, raw: bytes, section: str, reason: str, **more: Any) -> RequestCase:
    """Return a case whose head is fine and whose body is not: 400, and the backend never sees its end."""
    return RequestCase(name, raw, section, reason, frozenset((400,)), "aborted", body_error=True, **more)


def accepted(name: str, raw: bytes, section: str, reason: str, *, closes: bool = False, **more: Any) -> RequestCase:
    """Return a case that reaches the backend as one clean request and is answered with its reply."""
    return RequestCase(name, raw, section, reason, frozenset((200,)), "one clean request", closes=closes, **more)


def bad_reply(name: str, raw: bytes, section: str, reason: str, *, parser: int | None = 502, **more: Any) -> ReplyCase:
    """Return a case of a backend's reply that the client sees as 502 and nothing of it.

    :param parser: None if the head is incomplete, or fine by itself.
    """
    return ReplyCase(name, raw, section, reason, frozenset((502,)), parser_error=parser, **more)


def broken_reply(name: str, raw: bytes, section: str, reason: str, **more: Any) -> ReplyCase:
    """Return a case of a reply whose head is fine and whose body is not: 502, or a cut that the client can see."""
    return ReplyCase(name, raw, section, reason, frozenset((502,)), may_cut=True, body_error=True, **more)


def good_reply(name: str, raw: bytes, section: str, reason: str, *, status: int = 200, **more: Any) -> ReplyCase:
    """Return a case of a reply that the client gets."""
    return ReplyCase(name, raw, section, reason, frozenset((status,)), **more)


def get(*lines: bytes, target: bytes = b"/case") -> bytes:
    """Return a GET whose field lines after Host are ``lines``, each with its own line end."""
    return b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"".join(lines) + b"\r\n"


def post(*lines: bytes, body: bytes = b"") -> bytes:
    """Return a POST whose field lines after Host are ``lines``, each with its own line end."""
    return b"POST /case HTTP/1.1\r\n" + HOST + b"".join(lines) + b"\r\n" + body


def chunked(body: bytes, *lines: bytes) -> bytes:
    """Return a POST with Transfer-Encoding: chunked and ``body`` as it stands on the wire."""
    return post(b"Transfer-Encoding: chunked\r\n", *lines, body=body)


def split_points(raw: bytes, at_most: int = 2048) -> Iterable[int]:
    """Return positions at which to cut ``raw`` in two: every one, or an even sample with both ends of a long input."""
    if len(raw) <= at_most:
        return range(1, len(raw))
    step = len(raw) // (at_most // 4)
    return sorted({*range(1, at_most // 4), *range(1, len(raw), step), *range(len(raw) - at_most // 4, len(raw))})
