"""Connections to backends as requests use them: shared, queued for, replaced when they turn out dead."""

from __future__ import annotations

from twisted.internet.error import ConnectError, DNSLookupError, TCPTimedOutError, TimeoutError

from txproxy.test.talk import GET, OK, POST_5, TalkCase, head, reply, request

TWO = ("10.0.0.1:80", "10.0.0.2:80")
EMPTY = "<Pool 0 idle, 0 leased, 0 connecting, 0 waiting>"


class SharingTests(TalkCase):
    """P1, P3, D8."""

    def test_oneConnection(self) -> None:
        """A hundred requests one after the other use one connection (P1)."""
        dialogue = self.proxy()
        backend = dialogue.script("10.0.0.1:80", OK)
        client = dialogue.client()
        for _ in range(100):
            client.says(GET)
        self.assertEqual((len(backend.peers), len(backend.requests)), (1, 100))
        self.assertEqual((dialogue.pool.stats.created, dialogue.pool.stats.reused), (1, 99))

    def test_lifeInThePool(self) -> None:
        """What the pool shows at each point of a request's life."""
        dialogue = self.proxy()
        client = dialogue.client()
        client.says(GET)
        self.assertEqual(repr(dialogue.pool), "<Pool 0 idle, 0 leased, 1 connecting, 1 waiting>")
        backend = dialogue.backend()
        self.assertEqual(repr(dialogue.pool), "<Pool 0 idle, 1 leased, 0 connecting, 0 waiting>")
        backend.says(head(b"Content-Length: 2"))
        self.assertEqual(repr(dialogue.pool), "<Pool 0 idle, 1 leased, 0 connecting, 0 waiting>")
        backend.says(b"ok")
        self.assertEqual(repr(dialogue.pool), "<Pool 1 idle, 0 leased, 0 connecting, 0 waiting>")
        backend.finishes()
        self.assertEqual(repr(dialogue.pool), EMPTY)
        self.assertFalse(backend.is_open)

    def test_limit(self) -> None:
        """Ten requests at once and three connections: the rest wait in order (P3, D8)."""
        dialogue = self.proxy(cluster="pool.max_connections = 3")
        clients = [dialogue.client() for _ in range(10)]
        for number, client in enumerate(clients):
            client.says(request(b"GET /%d HTTP/1.1" % number))
        self.assertEqual(len(dialogue.attempts), 3)
        backends = [dialogue.backend() for _ in range(3)]
        order: list[int] = []
        for _ in range(4):
            for backend in backends:
                if backend.gets().startswith(b"GET /%d " % len(order)):
                    order.append(len(order))
                    backend.says(OK)
        self.assertEqual(order, list(range(10)))
        for client in clients:
            self.assertStatus(client, 200)
        self.assertEqual(dialogue.pool.stats.queued, 7)

    def test_queueTimeout(self) -> None:
        """Who waits for more than 5 s gets 503 with Retry-After, and the place in the queue is free again."""
        dialogue = self.proxy(cluster="pool.max_connections = 1\npool.queue = 1")
        first, backend = self.busy(dialogue)
        second = dialogue.client()
        second.says(GET)
        dialogue.advance(4.8)
        self.assertEqual(second.gets(), b"")
        dialogue.advance(0.4)
        got = second.gets_head()
        self.assertEqual((got.line[9:12], got.get(b"Retry-After")), (b"503", b"1"))
        self.assertEnd(dialogue, "queue-timeout", 503)
        self.assertTrue(second.is_open)
        third = dialogue.client()
        third.says(GET)
        backend.says(OK)
        backend.says(OK)
        self.assertStatus(third, 200)
        self.assertStatus(first, 200)

    def test_queueFull(self) -> None:
        """Who finds pool and queue full gets 503 with Retry-After at once."""
        dialogue = self.proxy(cluster="pool.max_connections = 1\npool.queue = 1")
        _, backend = self.busy(dialogue)
        second, third = dialogue.client(), dialogue.client()
        second.says(GET)
        third.says(GET)
        got = third.gets_head()
        self.assertEqual((got.line[9:12], got.get(b"Retry-After")), (b"503", b"1"))
        self.assertEnd(dialogue, "queue-full", 503)
        self.assertEqual(dialogue.pool.stats.exhausted, 1)
        backend.says(OK)
        backend.says(OK)
        self.assertStatus(second, 200)

    def test_refuse(self) -> None:
        """when_full = refuse: nobody waits."""
        dialogue = self.proxy(cluster='pool.max_connections = 1\npool.when_full = "refuse"')
        _, backend = self.busy(dialogue)
        second = dialogue.client()
        second.says(GET)
        self.assertStatus(second, 503)
        backend.says(OK)

    def test_overflow(self) -> None:
        """when_full = overflow: further connections are made, and closed after one request."""
        dialogue = self.proxy(cluster='pool.max_connections = 1\npool.when_full = "overflow"')
        _, backend = self.busy(dialogue)
        second = dialogue.client()
        second.says(GET)
        extra = dialogue.backend()
        extra.says(OK)
        self.assertStatus(second, 200)
        self.assertFalse(extra.is_open)
        backend.says(OK)
        self.assertTrue(backend.is_open)

    def test_fullGoesToAnother(self) -> None:
        """A backend whose pool is full: another one's turn, before anybody waits."""
        dialogue = self.proxy(backends=TWO, cluster="pool.max_connections = 1")
        first = dialogue.client()
        first.says(GET)
        busy = dialogue.backend("10.0.0.1:80")
        for _ in range(3):
            client = dialogue.client()
            client.says(GET)
            if dialogue.attempts:
                other = dialogue.backend("10.0.0.2:80")
            other.says(OK)
            self.assertStatus(client, 200)
        busy.says(OK)
        self.assertStatus(first, 200)

    def test_idleTimeout(self) -> None:
        """Idle connections are closed after 30 s (D8); each request starts the time anew."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        backend.says(OK)
        dialogue.advance(25)
        client.says(GET)
        backend.says(OK)
        dialogue.advance(29.8)
        self.assertTrue(backend.is_open)
        dialogue.advance(0.4)
        self.assertFalse(backend.is_open)
        self.assertEqual(repr(dialogue.pool), EMPTY)
        self.assertEqual(dialogue.pool.stats.discarded, 1)

    def test_freshConnectionThatNobodyNeeds(self) -> None:
        """A connection whose client has left before it was made is closed after the same time."""
        dialogue = self.proxy()
        client = dialogue.client()
        client.says(GET)
        client.finishes()
        backend = dialogue.backend()
        self.assertIn("1 idle", repr(dialogue.pool))
        dialogue.advance_past(30)
        self.assertFalse(backend.is_open)
        self.assertEqual(repr(dialogue.pool), EMPTY)

    def test_maxAge(self) -> None:
        """A connection is not used once it is too old."""
        dialogue = self.proxy(cluster="pool.max_age_s = 20")
        client, backend = self.busy(dialogue)
        backend.says(OK)
        dialogue.advance(19)
        client.says(GET)
        self.assertTrue(backend.gets())
        backend.says(OK)
        dialogue.advance(1.5)
        client.says(GET)
        self.assertFalse(backend.is_open)
        dialogue.backend().says(OK)

    def test_maxRequests(self) -> None:
        """A connection is closed after max_requests."""
        dialogue = self.proxy(cluster="pool.max_requests = 2")
        backend = dialogue.script("10.0.0.1:80", OK)
        client = dialogue.client()
        for _ in range(4):
            client.says(GET)
            self.assertStatus(client, 200)
        self.assertEqual([peer.is_open for peer in backend.peers], [False, False])


class DeadConnectionTests(TalkCase):
    """Idle connections that the backend has closed (P2, R2)."""

    def test_closedBetween(self) -> None:
        """A close that is seen in time costs nothing: the next request has a new connection, any method."""
        for says in (GET, POST_5):
            for way in ("finishes", "resets"):
                dialogue = self.proxy()
                client, backend = self.busy(dialogue)
                backend.says(OK)
                client.gets()
                getattr(backend, way)()
                client.says(says)
                dialogue.backend().says(OK)
                self.assertStatus(client, 200)
                self.assertEqual(self.assertEnd(dialogue, "ok")["tries"], 1)

    def test_closedJustThen(self) -> None:
        """A close that crosses a GET: it is sent again on a new connection, once; the client sees nothing of it."""
        for way in ("finishes", "resets"):
            dialogue = self.proxy()
            client, backend = self.busy(dialogue)
            backend.says(OK)
            client.gets()
            client.says(GET)
            self.assertTrue(backend.gets())
            getattr(backend, way)()
            second = dialogue.backend()
            self.assertEqual(second.gets_head().line, b"GET / HTTP/1.1")
            second.says(reply(b"new"))
            self.assertEqual(self.assertStatus(client, 200), b"new")

    def test_onceOnly(self) -> None:
        """If the new connection is closed as well, the answer is 502 (D6): no endless loop."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        backend.says(OK)
        client.gets()
        client.says(GET)
        backend.finishes()
        dialogue.backend().finishes()
        self.assertStatus(client, 502)
        self.assertEqual(dialogue.attempts, [])
        self.assertEnd(dialogue, "bad-reply", 502)

    def test_notIfItMayHaveHadAnEffect(self) -> None:
        """A POST is never sent twice: 502, one backend saw it (R2)."""
        for method in (b"POST", b"PATCH", b"MOVE"):
            dialogue = self.proxy()
            client, backend = self.busy(dialogue)
            backend.says(OK)
            client.gets()
            client.says(request(method + b" / HTTP/1.1", body=b"x"))
            backend.finishes()
            self.assertStatus(client, 502)
            self.assertEqual(dialogue.attempts, [])

    def test_postLooksFirst(self) -> None:
        """Before a POST goes out on an idle connection the kernel is asked whether it is still alive."""
        for way in ("finishes", "says"):
            dialogue = self.proxy()
            client, backend = self.busy(dialogue)
            backend.says(OK)
            client.gets()
            # It waits in the kernel, not noticed yet, when the request comes.
            backend.transport.pauseProducing()
            getattr(backend, way)(*((b"x",) if way == "says" else ()), noticed=False)
            client.says(POST_5)
            self.assertEqual(backend.gets(), b"")
            self.assertFalse(backend.is_open)
            dialogue.backend().says(OK)
            self.assertStatus(client, 200)

    def test_notAtOnceIfTheReplyHasBegun(self) -> None:
        """A connection on which a reply had begun, if only by a byte, was alive: that is a failure like any other."""
        dialogue = self.proxy(cluster="retry.idempotent_tries = 1")
        client, backend = self.busy(dialogue)
        backend.says(OK)
        client.gets()
        client.says(GET)
        backend.says(b"H")
        backend.finishes()
        self.assertStatus(client, 502)
        self.assertEqual(dialogue.attempts, [])

    def test_notAfterATimeout(self) -> None:
        """A GET that was not answered in time is not sent to the same backend again: it was alive, if slow."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        backend.says(OK)
        client.gets()
        client.says(GET)
        dialogue.advance_past(60)
        self.assertStatus(client, 504)
        self.assertEqual(dialogue.attempts, [])

    def test_allIdleOnesAreDead(self) -> None:
        """A backend that was restarted: all idle connections are dead, one retry is enough."""
        dialogue = self.proxy()
        clients = [dialogue.client() for _ in range(3)]
        for client in clients:
            client.says(GET)
        backends = [dialogue.backend() for _ in range(3)]
        for backend in backends:
            backend.says(OK)
        for backend in backends:
            backend.transport.pauseProducing()
            backend.finishes(noticed=False)
        clients[0].gets()
        clients[0].says(GET)
        for backend in backends:
            backend.transport.resumeProducing()
        dialogue.settle()
        dialogue.backend().says(reply(b"new"))
        self.assertEqual(self.assertStatus(clients[0], 200), b"new")

    def test_unsolicited(self) -> None:
        """Bytes on an idle connection are nobody's reply: it is closed (P2, D3)."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        backend.says(OK)
        client.gets()
        backend.says(reply(b"evil"))
        self.assertFalse(backend.is_open)
        self.assertEqual(client.gets(), b"")
        client.says(GET)
        dialogue.backend().says(reply(b"good"))
        self.assertEqual(self.assertStatus(client, 200), b"good")

    def test_unsolicitedWithTheReply(self) -> None:
        """Bytes right behind a reply, in the same packet, as well."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue, GET + GET)
        backend.says(reply(b"good") + reply(b"evil"))
        dialogue.backend().says(reply(b"fine"))
        got = client.gets()
        self.assertNotIn(b"evil", got)
        self.assertIn(b"fine", got)

    def test_speaksFirst(self) -> None:
        """A backend that speaks before it was asked: 502 (D3)."""
        for says in (b"220 smtp ready\r\n", OK):
            dialogue = self.proxy()
            client = dialogue.client()
            client.says(GET)
            backend = dialogue.backend(says=says)
            self.assertStatus(client, 502)
            self.assertFalse(backend.is_open)
            self.assertEnd(dialogue, "bad-reply", 502)
            self.assertEqual(repr(dialogue.pool), EMPTY)


class ConnectFailureTests(TalkCase):
    """Backends that cannot be reached (R1, R13, D6)."""

    THREE = (*TWO, "10.0.0.3:80")

    def test_refused(self) -> None:
        """The only backend refuses: 502 connect-failed; when it is back it is served with no restart (D6)."""
        dialogue = self.proxy()
        client = dialogue.client()
        client.says(GET)
        dialogue.refuse()
        self.assertStatus(client, 502)
        self.assertEnd(dialogue, "connect-failed", 502)
        self.assertTrue(client.is_open)
        client.says(GET)
        dialogue.backend().says(OK)
        self.assertStatus(client, 200)

    def test_otherFailures(self) -> None:
        """Unreachable, no such name, timed out: each in its own way."""
        for error, status, reason in (
            (ConnectError(), 502, "connect-failed"),
            (DNSLookupError(), 502, "connect-failed"),
            (TimeoutError(), 504, "connect-timeout"),
            (TCPTimedOutError(), 504, "connect-timeout"),
            (OSError(24, "too many open files"), 502, "connect-failed"),
        ):
            dialogue = self.proxy()
            client = dialogue.client()
            client.says(GET)
            dialogue.refuse(error=error)
            self.assertStatus(client, status)
            self.assertEnd(dialogue, reason, status)

    def test_timeout(self) -> None:
        """A backend that does not accept within 5 s: 504 (Q6)."""
        dialogue = self.proxy()
        client = dialogue.client()
        client.says(GET)
        dialogue.advance(4.9)
        self.assertEqual(client.gets(), b"")
        dialogue.advance(0.2)
        self.assertStatus(client, 504)
        self.assertEnd(dialogue, "connect-timeout", 504)

    def test_another(self) -> None:
        """Another backend is tried, any method, and never the same twice while another is up (R1)."""
        for says in (GET, POST_5):
            dialogue = self.proxy(backends=TWO)
            client = dialogue.client()
            client.says(says)
            dialogue.refuse("10.0.0.1:80")
            dialogue.backend("10.0.0.2:80").says(OK)
            self.assertStatus(client, 200)
            line = self.assertEnd(dialogue, "ok")
            self.assertEqual((line["tries"], line["backend"]), (2, "10.0.0.1:80,10.0.0.2:80"))
            self.assertEqual(dialogue.assembled.counters.retries, 1)

    def test_allRefuse(self) -> None:
        """Three backends refuse: each is tried once, then 502."""
        dialogue = self.proxy(backends=self.THREE)
        client = dialogue.client()
        client.says(GET)
        tried = []
        for _ in self.THREE:
            tried += [attempt.address for attempt in dialogue.attempts]
            dialogue.refuse()
        self.assertEqual(sorted(tried), list(self.THREE))
        self.assertStatus(client, 502)
        self.assertEqual(dialogue.attempts, [])
        self.assertEqual(self.assertEnd(dialogue, "connect-failed")["tries"], 3)

    def test_tries(self) -> None:
        """No more backends are tried than the cluster's tries."""
        for tries in (1, 2):
            dialogue = self.proxy(backends=self.THREE, cluster=f"retry.tries = {tries}")
            client = dialogue.client()
            client.says(GET)
            for _ in range(tries):
                dialogue.refuse()
            self.assertStatus(client, 502)
            self.assertEqual(dialogue.attempts, [])

    def test_clientLeavesDuringTheSecondTry(self) -> None:
        """The second try is given up like the first."""
        dialogue = self.proxy(backends=TWO)
        client = dialogue.client()
        client.says(GET)
        dialogue.refuse("10.0.0.1:80")
        client.resets()
        self.assertEqual(self.assertEnd(dialogue, "client-left", 499)["tries"], 2)

    def test_shareOfADeadBackendIsSpread(self) -> None:
        """The share of a dead backend goes to all others, not to one."""
        dialogue = self.proxy(backends=self.THREE, cluster="passive.failures = 1000")
        for address in self.THREE[1:]:
            dialogue.script(address, OK)
        client = dialogue.client()
        served = []
        for _ in range(30):
            client.says(GET)
            if dialogue.attempts:
                dialogue.refuse("10.0.0.1:80")
            served.append(dialogue.lines[-1]["backend"].split(",")[-1])
        self.assertEqual({served.count(address) for address in self.THREE[1:]}, {15})


class RoundRobinTests(TalkCase):
    """Shares of several backends (D7, B1)."""

    def test_equal(self) -> None:
        """Three backends, thirty requests: ten each."""
        addresses = ("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")
        dialogue = self.proxy(backends=addresses)
        backends = [dialogue.script(address, OK) for address in addresses]
        client = dialogue.client()
        for _ in range(30):
            client.says(GET)
        self.assertEqual([len(backend.requests) for backend in backends], [10, 10, 10])


class BackendTimeTests(TalkCase):
    """Backends that keep a client waiting (Q6)."""

    def test_firstByte(self) -> None:
        """60 s without a reply: 504, the backend is reset, the client's connection stays."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        dialogue.advance(59.8)
        self.assertEqual(client.gets(), b"")
        dialogue.advance(0.4)
        self.assertStatus(client, 504)
        self.assertTrue(backend.sees_reset)
        self.assertTrue(client.is_open)
        self.assertEnd(dialogue, "reply-timeout", 504)
        self.assertEqual(repr(dialogue.pool), EMPTY)

    def test_halfAHead(self) -> None:
        """The head must be complete by then: single bytes do not help."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        for byte in OK[:10]:
            backend.says(bytes((byte,)))
            dialogue.advance(5.9)
        dialogue.advance_past(1)
        self.assertStatus(client, 504)

    def test_afterTheBody(self) -> None:
        """The time runs from the end of the request's body."""
        dialogue = self.proxy()
        client = dialogue.client()
        client.says(request(b"POST / HTTP/1.1", b"Content-Length: 2") + b"a")
        dialogue.backend()
        dialogue.advance(50)
        client.says(b"b")
        dialogue.advance(59.8)
        self.assertEqual(client.gets(), b"")
        dialogue.advance(0.4)
        self.assertStatus(client, 504)

    def test_betweenBytes(self) -> None:
        """60 s without a byte in mid-body: both connections end, no clean end for the client."""
        for framing in (b"Content-Length: 100", b"Transfer-Encoding: chunked", b"X: until-close"):
            dialogue = self.proxy()
            client, backend = self.busy(dialogue)
            backend.says(head(framing) + b"2\r\nab\r\n")
            dialogue.advance(40)
            backend.says(b"1\r\n")
            client.gets_head()
            before = client.gets()
            dialogue.advance(59.8)
            self.assertTrue(client.is_open)
            dialogue.advance(0.4)
            self.assertFalse(client.is_open)
            self.assertNotIn(b"0\r\n\r\n", before + client.gets())
            self.assertTrue(backend.sees_reset)
            self.assertEnd(dialogue, "reply-cut", 200)

    def test_afterTheHead(self) -> None:
        """The same right after the head."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        backend.says(head(b"Content-Length: 10"))
        client.gets_head()
        dialogue.advance_past(60)
        self.assertFalse(client.is_open)
        self.assertEnd(dialogue, "reply-cut", 200)

    def test_eventStream(self) -> None:
        """An event stream may be silent for an hour."""
        dialogue = self.proxy()
        client, backend = self.busy(dialogue)
        backend.says(head(b"Content-Type: Text/Event-Stream; charset=utf-8") + b"data: 1\n\n")
        dialogue.advance(3599)
        self.assertTrue(client.is_open)
        dialogue.advance(2)
        self.assertFalse(client.is_open)

    def test_slowClientIsNotTheBackendsFault(self) -> None:
        """While the client does not read, the backend's time does not run."""
        dialogue = self.proxy(listener="write_timeout_s = 600")
        client, backend = self.busy(dialogue)
        client.stops_reading()
        backend.says(head(b"Content-Length: 200000") + bytes(100_000))
        dialogue.advance(300)
        client.reads()
        backend.says(bytes(100_000))
        self.assertEqual(len(self.assertStatus(client, 200)), 200_000)

    def test_replyTimeoutIsNotRetried(self) -> None:
        """A POST that one backend did not answer in time does not go to another."""
        dialogue = self.proxy(backends=TWO)
        client, _ = self.busy(dialogue, POST_5)
        dialogue.advance_past(60)
        self.assertStatus(client, 504)
        self.assertEqual(dialogue.attempts, [])


class BadReplyTests(TalkCase):
    """Replies that are no replies (R13, D3)."""

    def test_garbage(self) -> None:
        """Each is a 502, the backend's connection is reset, the client's stays."""
        for bad in (
            b"220 ready\r\n\r\n",
            b"HTTP/2.0 200 OK\r\n\r\n",
            b"HTTP/1.1 99 Low\r\n\r\n",
            b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
            b"HTTP/1.1 200 OK\r\n Folded: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nNo colon\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 300 + b"\r\n",
            b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000,
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ):
            dialogue = self.proxy()
            client, backend = self.busy(dialogue)
            backend.says(bad)
            self.assertStatus(client, 502)
            self.assertTrue(backend.sees_reset, bad[:60])
            self.assertTrue(client.is_open)
            self.assertEnd(dialogue, "bad-reply", 502)
            self.assertEqual(repr(dialogue.pool), EMPTY)

    def test_endsBeforeItsHead(self) -> None:
        """A backend that closes or resets before its head is complete: 502, if the request cannot be sent again."""
        for says in (b"", b"HTTP/1.1 200 OK\r\n"):
            for way in ("finishes", "resets"):
                dialogue = self.proxy()
                client, backend = self.busy(dialogue, POST_5)
                if says:
                    backend.says(says)
                getattr(backend, way)()
                self.assertStatus(client, 502)
                self.assertEnd(dialogue, "bad-reply", 502)
