"""A fetch whose readers act on each other: streams of one connection do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txproxy.cache.errand import Errand
from txproxy.cache.fetch import LAG_BYTES, Fetch
from txproxy.exchange import Exchange
from txproxy.policy.caching.cache_status import Forward
from txproxy.test.cache.entries import reply_of, request_of


class _Owner:
    """Has all readers begin; keeps what it is told to."""

    def __init__(self, keeps: bool) -> None:
        self.keeps = keeps

    def may_keep(self, fetch: Fetch, count: int) -> bool:
        return True

    def replied(self, fetch: Fetch, reply: Any) -> None:
        if self.keeps:
            fetch.keep(1000)
        for reader in fetch.readers:
            reader.begin()

    def lent(self, body: bytes, count: int) -> Any:
        return None

    def __getattr__(self, name: str) -> Any:
        return lambda *_: True


class _Client:
    """Takes content; the first piece of it makes others leave."""

    hop = settings = tls = peer = None

    def __init__(self) -> None:
        self.taken = b""
        self.pushes_out: list[Exchange] = []
        self.site = SimpleNamespace(clock=lambda: 5.0)
        self.exchange = Exchange(b"1", request_of(), self, 0.0)

    def write_reply(self, data: bytes) -> None:
        self.taken += data
        while self.pushes_out:
            self.pushes_out.pop().cancel_upstream()

    def end_reply(self, data: bytes, trailers: Any, now: float) -> None:
        self.write_reply(data)


class FetchTests(SynchronousTestCase):
    """Readers that leave while another one is given something."""

    def begun(self, keeps: bool) -> tuple[Fetch, list[_Client]]:
        clients = [_Client() for _ in range(3)]
        errand = Errand((b"http://a/ ", (), b""), None, request_of(), Forward.MISS, 0.0)
        owner: Any = _Owner(keeps)
        fetch = Fetch(owner, errand, errand.request, clients[0].exchange)
        for client in clients:
            fetch.add(client.exchange, None)
        fetch.start_reply(fetch.exchange, reply_of())
        self.assertIn("3 readers", repr(fetch))
        return fetch, clients

    def test_leavesWhileOthersTake(self) -> None:
        """Nothing is given to who has left, and nobody else misses anything; the end comes to those who are left."""
        for keeps in (False, True):
            fetch, clients = self.begun(keeps)
            clients[0].pushes_out = [clients[1].exchange]
            fetch.write_reply(b"ab")
            fetch.write_reply(b"c")
            clients[2].pushes_out = [clients[0].exchange]
            fetch.end_reply(b"d", [], 1.0)
            self.assertEqual([client.taken for client in clients], [b"abcd", b"", b"abcd"])
            self.assertIn("ended", repr(fetch))

    def test_allSlowWithoutRoom(self) -> None:
        """Where none is faster than another, none is cut for lack of room, however far behind the backend they are."""
        fetch, clients = self.begun(True)
        self.patch(fetch.owner, "may_keep", lambda fetch, count: False)
        for reader in tuple(fetch.readers):
            reader.pause_reply()
        for _ in range(3):
            fetch.write_reply(bytes(LAG_BYTES))
        self.assertEqual(len(fetch.readers), 3)
        for reader in tuple(fetch.readers):
            reader.resume_reply()
        self.assertEqual([len(client.taken) for client in clients], [3 * LAG_BYTES] * 3)

    def test_allLeaveInAWrite(self) -> None:
        """The last who is left makes itself leave: what is not kept is given up."""
        fetch, clients = self.begun(False)
        clients[0].pushes_out = [client.exchange for client in clients]
        fetch.write_reply(b"ab")
        self.assertTrue(fetch.has_ended)
        self.assertEqual([client.taken for client in clients], [b"ab", b"", b""])
