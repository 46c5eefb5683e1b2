"""Words that dialogues with a cache have in common."""

from __future__ import annotations

import gc
from typing import Any

from txproxy.cache.content import WholeContent
from txproxy.cache.engine import CacheEngine
from txproxy.cache.fetch import Fetch
from txproxy.cache.reader import Reader
from txproxy.test.talk import TalkCase, reply, request
from txproxy.testing import Dialogue, Head, Peer

FRESH = b"Cache-Control: max-age=60"
ETAG = b'ETag: "1"'
NOT_MODIFIED = b"HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=60\r\n" + ETAG + b"\r\n\r\n"
STORABLE = reply(b"stored", FRESH)
LARGE = bytes(range(256)) * 4096
"""Of content: more than any watermark lets wait."""
PRIVATE = reply(b"private", b"Cache-Control: private")


def get(path: bytes = b"/", *fields: bytes) -> bytes:
    """Return a GET."""
    return request(b"GET %b HTTP/1.1" % path, *fields)


def chunks(*pieces: bytes, last: bool = False) -> bytes:
    """Return content in chunks; with the last of them if that is wanted."""
    return b"".join([b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]) + (b"0\r\n\r\n" if last else b"")


def whole(data: bytes) -> bytes:
    """Return the content of a complete body in chunks.

    :raises AssertionError: if it is not complete.
    """
    content = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        count = int(size, 16)
        if not count:
            assert data == b"\r\n", data[:100]
            return content
        content, data = content + data[:count], data[count + 2 :]


class CacheCase(TalkCase):
    """A test case whose proxies have a cache."""

    def setUp(self) -> None:
        self.backends: list[Peer] = []
        """All that ``asked`` has met."""

    def asked(self, dialogue: Dialogue, *names: bytes, line: bytes = b"") -> Peer:
        """Return the backend that is asked next; of conditions and ranges these fields were with it.

        :param line: a part of the request line.
        """
        while dialogue.attempts:
            self.backends.append(dialogue.backend())
        for backend in self.backends:
            if backend.is_open and backend.transport.sent:
                self.request = self.assertAsked(backend, *names)
                self.assertIn(line, self.request.line)
                return backend
        raise AssertionError("\n".join(("no backend is asked", *dialogue.trace)))

    def cached(self, cache: str = "true", route: str = "", shared: str = "", **parts: Any) -> Dialogue:
        """Return a proxy.

        :param cache: of the route.
        :param route: further lines of the route.
        :param shared: lines of the section of the cache.
        """
        # A connection outlives what is stored, so that tests have one backend.
        parts["cluster"] = f"pool.idle_timeout_s = 86400\n{parts.get('cluster', '')}"
        rest = parts.pop("rest", "") + (f"\n[cache]\n{shared}\n" if shared else "")
        return self.proxy(route=f"cache = {cache}\n{route}", rest=rest, **parts)

    def cache_of(self, dialogue: Dialogue) -> CacheEngine:
        cache = dialogue.assembled.cache
        assert cache is not None
        return cache

    def asks(self, dialogue: Dialogue, path: bytes = b"/", *fields: bytes, address: str = "192.0.2.1") -> Peer:
        """Return a client that has asked for something."""
        client = dialogue.client(address)
        client.says(get(path, *fields))
        return client

    def store(self, dialogue: Dialogue, path: bytes = b"/", says: bytes = STORABLE, *fields: bytes) -> Peer:
        """Have something stored; return the backend, whose connection is kept."""
        client = self.asks(dialogue, path, *fields)
        backend = self.asked(dialogue)
        backend.says(says)
        client.gets()
        client.finishes()
        return backend

    def assertGets(self, client: Peer, word: bytes, body: bytes | None = None, status: int = 200) -> Head:
        """Check the next reply: what the cache did, its status, and its content; return its head."""
        head = client.gets_head()
        content = client.gets()
        self.assertEqual(head.line.split(b" ")[1], b"%d" % status, head)
        self.assertEqual(head.get(b"X-Cache-Status"), word, head)
        if head.get(b"Transfer-Encoding"):
            content = whole(content)
        if body is not None:
            self.assertEqual(content, body)
        return head

    def assertStill(self, dialogue: Dialogue, word: bytes, body: bytes, path: bytes = b"/", *fields: bytes) -> Head:
        """Check what a new client is answered without a backend."""
        client = self.asks(dialogue, path, *fields)
        head = self.assertGets(client, word, body)
        client.finishes()
        return head

    def assertAsked(self, backend: Peer, *names: bytes) -> Head:
        """Check that a backend was asked, and that of conditions and ranges these fields were with it."""
        head = backend.gets_head()
        backend.gets()
        conditions = {b"if-none-match", b"if-modified-since", b"if-match", b"if-range", b"range"}
        got = sorted(name.lower() for name, _ in head.fields if name.lower() in conditions)
        self.assertEqual(got, sorted(name.lower() for name in names))
        return head

    def assertNotAsked(self, dialogue: Dialogue, *backends: Peer) -> None:
        """Check that no backend is asked anything, nor connected to."""
        self.assertEqual([data for backend in (*backends, *self.backends) if (data := backend.gets())], [])
        self.assertEqual(dialogue.attempts, [])

    def assertCounted(self, dialogue: Dialogue, **numbers: int) -> None:
        """Check the numbers of a cache; what is not named is 0."""
        counters = self.cache_of(dialogue).counters
        found = {name: getattr(counters, name) for name in counters.__slots__ if getattr(counters, name)}
        self.assertEqual(found, numbers)

    def assertNoneLeft(self) -> None:
        """Check that nothing of fetches is left in memory, without the garbage collector's help."""
        left = [each for each in gc.get_objects() if isinstance(each, Fetch | Reader | WholeContent)]
        self.assertEqual([repr(each) for each in left], [])
