"""Backends that speak HTTP/2 and go away: what becomes of their connections and requests."""

from __future__ import annotations

from h2.errors import ErrorCodes

from txproxy.test.talk import GET, POST_5
from txproxy.test.upstream.http2_backend import Http2Case

A, B = "10.0.0.1:80", "10.0.0.2:80"


class GoawayTests(Http2Case):
    """GOAWAY (RFC 9113 section 6.8)."""

    def test_drains(self) -> None:
        """No new streams; those up to the last id are completed, then the connection closes."""
        dialogue = self.h2_proxy()
        clients, backend = self.asked(dialogue, GET, POST_5)
        backend.goes_away(2**31 - 1)
        late = dialogue.client()
        late.says(GET)
        second = self.answer(dialogue)
        second.reply(1)
        self.assertStatus(late, 200)
        backend.goes_away(3)
        for id, client in zip((1, 3), clients, strict=True):
            backend.reply(id)
            self.assertStatus(client, 200)
        backend.reads()
        self.assertFalse(backend.peer.is_open)
        self.assertPool(dialogue, 1, 0, 0)
        self.assertEqual(dialogue.roster.status()[0].failures, 0)

    def test_leftOut(self) -> None:
        """Those above the last id were not processed: any method goes out again, and nobody is blamed."""
        dialogue = self.h2_proxy("passive.failures = 1\nretry = { budget = 0.0, min_per_s = 0 }", backends=(A,))
        clients, backend = self.asked(dialogue, POST_5, POST_5, POST_5)
        backend.goes_away(1)
        second = self.answer(dialogue)
        second.reads()
        self.assertEqual([stream.content for stream in second.streams.values()], [b"hello", b"hello"])
        for id in (1, 3):
            second.reply(id)
        backend.reply(1)
        for client in clients:
            self.assertStatus(client, 200)
        self.assertEqual({line["tries"] for line in dialogue.lines}, {1})
        status = dialogue.roster.status()[0]
        self.assertEqual((status.failures, status.state), (0, "up"))

    def test_idle(self) -> None:
        """An idle connection closes at once."""
        dialogue = self.h2_proxy()
        (client,), backend = self.asked(dialogue, GET)
        backend.reply(1)
        self.assertStatus(client, 200)
        backend.goes_away(1)
        self.assertFalse(backend.peer.is_open)
        self.assertPool(dialogue, 0, 0, 0)

    def test_andCloses(self) -> None:
        """One that closes after it, with requests that it has taken, has cut them."""
        dialogue = self.h2_proxy("retry.idempotent_tries = 1")
        clients, backend = self.asked(dialogue, GET, GET)
        backend.head(3)
        backend.goes_away(3, ErrorCodes.ENHANCE_YOUR_CALM)
        backend.peer.finishes()
        self.assertStatus(clients[0], 502)
        self.assertFalse(clients[1].is_open)
        self.assertPool(dialogue, 0, 0, 0)

    def test_others(self) -> None:
        """If the backend cannot be reached any more, they go to another."""
        dialogue = self.h2_proxy(backends=(A, B))
        (client,), backend = self.asked(dialogue, POST_5)
        backend.goes_away(0)
        backend.peer.finishes()
        dialogue.refuse(A)
        other = self.answer(dialogue, B)
        other.reply(1)
        self.assertStatus(client, 200)

    def test_often(self) -> None:
        """One that ends each connection at once may be left with twice as many as it is to have, and no more."""
        dialogue = self.h2_proxy("pool = { max_connections = 2 }")
        clients, backends = [], []
        for _ in range(10):
            clients.append(dialogue.client())
            clients[-1].says(GET)
            if dialogue.attempts:
                backends.append(self.answer(dialogue))
                backends[-1].goes_away(2**31 - 1)
        self.assertEqual(len(backends), 4)
        self.assertPool(dialogue, 0, 4, 4, 0, 6)
        backends[0].reply(1)
        last = self.answer(dialogue)
        for backend in backends[1:]:
            backend.reply(1)
        for id in range(1, 13, 2):
            last.reply(id)
        for client in clients:
            self.assertStatus(client, 200)

    def test_afterOurs(self) -> None:
        """It makes room for another also if the connection took no more requests by our own limit."""
        dialogue = self.h2_proxy("pool = { max_connections = 1, max_age_s = 20 }")
        (client,), backend = self.asked(dialogue, GET)
        dialogue.advance_past(20)
        late = dialogue.client()
        late.says(GET)
        self.assertEqual(dialogue.attempts, [])
        backend.goes_away(1)
        self.answer(dialogue).reply(1)
        self.assertStatus(late, 200)
        backend.reply(1)
        self.assertStatus(client, 200)

    def test_thoseWhoWait(self) -> None:
        """Requests in the queue are served by the connection that takes its place."""
        dialogue = self.h2_proxy("pool.max_connections = 1")
        clients, backend = self.asked(dialogue, GET, GET, most=1)
        backend.goes_away(1)
        second = self.answer(dialogue, most=1)
        second.reply(1)
        self.assertStatus(clients[1], 200)
        backend.reply(1)
        self.assertStatus(clients[0], 200)
