"""A backend that answers by itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from txproxy.testing.peer import Head, Peer

REFUSE = "refuse"
"""Refuse a connection."""
CLOSE = "close"
"""Read a request and close without a reply."""
RESET = "reset"
"""Read a request and reset the connection."""
SILENT = "silent"
"""Read a request and say nothing."""

Answer = bytes | str | Callable[["Request"], bytes]

_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]+)\r\n")


class Request(NamedTuple):
    """A request as the backend got it."""

    head: Head
    content: bytes


class ScriptedBackend:
    """Accepts all connections to an address and answers each request that comes on them.

    :param answers: one for each connection that is refused and each request that is read, in turn; the last one again
        and again. An answer is the bytes of a reply, a function that makes them of the request, ``REFUSE``,
        ``CLOSE``, ``RESET`` or ``SILENT``.
    """

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.peers: list[Peer] = []
        self.requests: list[Request] = []

    def refuses(self) -> bool:
        """Return whether the next connection is refused."""
        if self.answers[0] is not REFUSE:
            return False
        self._next_answer()
        return True

    def turn(self) -> bool:
        """Answer what has come.

        :return: whether there was anything to answer.
        """
        return any([self._answer(peer) for peer in self.peers])

    def _answer(self, peer: Peer) -> bool:
        request = _take_request(peer.transport.sent)
        if request is None:
            return False
        self.requests.append(request)
        answer = self._next_answer()
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, bytes):
            peer.says(answer, noticed=False)
        elif answer is CLOSE:
            peer.finishes(noticed=False)
        elif answer is RESET:
            peer.transport.lose()
        return True

    def _next_answer(self) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def _take_request(data: bytearray) -> Request | None:
    """Take one complete request from what has come; None if there is none."""
    end = data.find(b"\r\n\r\n") + 4
    if end == 3:
        return None
    line, *lines = bytes(data[: end - 4]).split(b"\r\n")
    head = Head(line, [(name, value.strip(b" ")) for name, _, value in (each.partition(b":") for each in lines)])
    if head.get(b"Transfer-Encoding") is not None:
        return _take_chunked(data, head, end)
    after = end + int(head.get(b"Content-Length") or 0)
    if len(data) < after:
        return None
    content = bytes(data[end:after])
    del data[:after]
    return Request(head, content)


def _take_chunked(data: bytearray, head: Head, start: int) -> Request | None:
    content = b""
    while (found := _CHUNK_SIZE.match(data, start)) is not None:
        size = int(found.group(1), 16)
        if not size:
            end = data.find(b"\r\n\r\n", found.end() - 2) + 4
            if end == 3:
                return None
            del data[:end]
            return Request(head, content)
        start = found.end() + size + 2
        if len(data) < start:
            return None
        content += data[found.end() : found.end() + size]
    return None
