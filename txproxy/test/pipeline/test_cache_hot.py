"""The short way of a hit to its client says the same as the long one."""

from __future__ import annotations

from typing import Any

from txproxy.downstream.replying import ReplyingConnection
from txproxy.test.pipeline.cache_case import CacheCase, get
from txproxy.test.talk import reply, request

DATED = (b"Cache-Control: max-age=60", b"Date: Tue, 14 Nov 2023 22:13:20 GMT")
SEND_STORED = ReplyingConnection.send_stored
SIZES = {b"/none": 0, b"/short": 6, b"/longer": 20_000, b"/piece": 65_536, b"/long": 70_000}


class HotTests(CacheCase):
    """Requests for what is stored, answered both ways."""

    def setUp(self) -> None:
        super().setUp()
        self.short: list[bool] = []

    def said(self, *requests: bytes, is_short: bool, **parts: Any) -> list[bytes]:
        """Return what a client is told, from a fresh proxy with everything stored."""

        def sent(*arguments: Any) -> bool:
            was_sent = is_short and SEND_STORED(*arguments)
            self.short.append(was_sent)
            return was_sent

        self.patch(ReplyingConnection, "send_stored", sent)
        dialogue = self.cached(**parts)
        self.backends.clear()
        for path, size in SIZES.items():
            self.store(dialogue, path, reply(b"x" * size, *DATED))
        dialogue.advance(7.5)
        client = dialogue.client()
        said = []
        for each in requests:
            client.says(each)
            head = client.gets_head()
            fields = [field for field in head.fields if field[0] != b"X-Request-Id"]
            said += [head.line, repr(fields).encode(), client.gets()]
        self.assertNotAsked(dialogue)
        return said

    def assertSame(self, *requests: bytes, short: bool, **parts: Any) -> None:
        """Check that both ways say the same.

        :param short: whether the short way is to be taken for all of them; else for none.
        """
        expected = self.said(*requests, is_short=False, **parts)
        self.short.clear()
        self.assertEqual(self.said(*requests, is_short=True, **parts), expected)
        self.assertEqual(set(self.short), {short})

    def test_bodies(self) -> None:
        """Bodies that are copied behind their head, and those that are not."""
        self.assertSame(*[get(path) for path, size in SIZES.items() if size <= 65_536], short=True)

    def test_head(self) -> None:
        """A reply to HEAD has the length of what it has not."""
        self.assertSame(request(b"HEAD /short HTTP/1.1"), get(b"/short"), short=True)

    def test_connections(self) -> None:
        """What is said of the connection takes the long way."""
        self.assertSame(request(b"GET /short HTTP/1.1", b"Connection: close"), short=False)
        self.assertSame(request(b"GET /short HTTP/1.0", b"Connection: keep-alive"), short=False)
        self.assertSame(get(b"/short"), short=False, listener="keepalive_requests = 1")

    def test_rules(self) -> None:
        """A route that changes replies takes the long way."""
        self.assertSame(get(b"/short"), short=False, route='reply_headers.set = { X-A = "b" }')
