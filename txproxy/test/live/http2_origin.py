"""What the backend behind a proxy answers to foreign clients of HTTP/2, by path."""

from __future__ import annotations

import random

from .helpers import MIB
from .judge import JudgedRequest
from .peers import BackendConnection, Handler, fixed, http_reply, raw

LARGE = 64 * MIB
PIECE = random.Random(64).randbytes(MIB)
_TRAILED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, X-Last\r\n\r\n"
    b"5\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 11\r\nX-Last: yes\r\nContent-Length: 3\r\n\r\n"
)
_EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 102 Processing\r\nX-Step: 1\r\n\r\n"
_HOPS = (
    "Connection: X-Bar, keep-alive\r\nX-Bar: 1\r\nKeep-Alive: timeout=9\r\nProxy-Connection: keep-alive\r\n"
    "Upgrade: h2c\r\nX-Kept: 2\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\nX-MIXED-Case: Kept As It Is\r\n"
)


def _large(connection: BackendConnection, request: JudgedRequest) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE)
    for _ in range(LARGE // len(PIECE)):
        connection.send(PIECE)


def _trailed(connection: BackendConnection, request: JudgedRequest) -> None:
    connection.send(_TRAILED)


def count_body(connection: BackendConnection, request: JudgedRequest) -> None:
    connection.send(http_reply(body=b"%d %b" % (request.body_length, request.body_sha256.encode())))


HANDLERS: dict[str, Handler] = {
    "/trailers": _trailed,
    "/early": raw(_EARLY + http_reply(body=b"late")),
    "/empty": raw(b"HTTP/1.1 204 No Content\r\nX-Empty: yes\r\n\r\n"),
    "/same": raw(b'HTTP/1.1 304 Not Modified\r\nETag: "v1"\r\nContent-Length: 5\r\n\r\n'),
    "/hops": fixed(fields=_HOPS),
    "/moved": fixed(302, b"", "Location: /echo/there\r\n"),
    "/small": fixed(body=b"s" * 1000),
    "/middle": fixed(body=PIECE[:100_000]),
    "/large": _large,
    "/count": count_body,
}
"""By the beginning of a path; whatever else is asked for is echoed."""
