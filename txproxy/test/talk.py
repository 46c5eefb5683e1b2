"""Words that dialogues have in common."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txproxy.testing import Dialogue, Peer, site

NO_ROOM = 1 << 20
"""More bytes than any watermark lets wait."""


def request(line: bytes = b"GET / HTTP/1.1", *fields: bytes, body: bytes = b"", host: bytes = b"a.example") -> bytes:
    """Return a request; a body has its Content-Length."""
    lines = [line]
    if host:
        lines.append(b"Host: " + host)
    lines += fields
    if body:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def post(length: int, *fields: bytes) -> bytes:
    """Return the head of a POST that declares so many bytes."""
    return request(b"POST / HTTP/1.1", b"Content-Length: %d" % length, *fields)


def chunked(*fields: bytes) -> bytes:
    """Return the head of a POST with chunks."""
    return request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked", *fields)


def reply(body: bytes = b"ok", *fields: bytes, status: bytes = b"200 OK") -> bytes:
    """Return a reply with its Content-Length."""
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def head(*fields: bytes, status: bytes = b"HTTP/1.1 200 OK") -> bytes:
    """Return the head of a reply."""
    return b"\r\n".join((status, *fields)) + b"\r\n\r\n"


GET = request()
POST_5 = request(b"POST / HTTP/1.1", body=b"hello")
OK = reply()


class TalkCase(SynchronousTestCase):
    """A test case whose dialogues are checked at their end."""

    def proxy(self, **parts: Any) -> Dialogue:
        """Return a proxy; see ``txproxy.testing.site`` for the parts of its configuration."""
        return Dialogue.of(self, site(**parts))

    def busy(self, dialogue: Dialogue, says: bytes = GET) -> tuple[Peer, Peer]:
        """Return a client that has sent a request, and the backend that has read all of it."""
        client = dialogue.client()
        client.says(says)
        backend = dialogue.backend()
        backend.gets()
        return client, backend

    def assertStatus(self, client: Peer, status: int) -> bytes:
        """Check the status of the next reply; return the rest of what has come."""
        line = client.gets_head().line
        self.assertEqual(line.split(b" ")[1], b"%d" % status, line)
        return client.gets()

    def assertEnd(self, dialogue: Dialogue, reason: str, status: int | None = None) -> dict[str, Any]:
        """Check the end reason of the last exchange in the access log, and its status; return its line."""
        line: dict[str, Any] = dialogue.lines[-1]
        self.assertEqual(line["end"], reason, line)
        if status is not None:
            self.assertEqual(line["status"], status, line)
        return line
