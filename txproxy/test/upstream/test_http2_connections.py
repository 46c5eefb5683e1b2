"""Connections to backends that speak HTTP/2: how they begin, what they carry, and how they end."""

from __future__ import annotations

from h2.errors import ErrorCodes
from h2.events import RemoteSettingsChanged, WindowUpdated
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame, SettingsFrame

from txproxy.net.tls_failure import TlsFailure, TlsFault
from txproxy.test.talk import GET, POST_5
from txproxy.test.upstream.http2_backend import Http2Backend, Http2Case
from txproxy.test.upstream.observing import logged
from txproxy.tls.verification import PeerRefused

A, B = "10.0.0.1:80", "10.0.0.2:80"
GREETING = SettingsFrame(0).serialize()


class GreetingTests(Http2Case):
    """Before its SETTINGS have come, nobody knows that a backend speaks HTTP/2: nothing is sent to it."""

    def test_waits(self) -> None:
        """The request goes out when they have come."""
        dialogue = self.h2_proxy()
        client = dialogue.client()
        client.says(GET)
        peer = dialogue.backend()
        backend = Http2Backend(peer, greets=False)
        events = backend.h2.receive_data(peer.gets())
        self.assertEqual([type(event) for event in events], [RemoteSettingsChanged, WindowUpdated])
        self.assertPool(dialogue, 0, 0, 0, 1, 1)
        backend.says()
        backend.reply(1)
        self.assertStatus(client, 200)

    def test_speaksHttp1(self) -> None:
        """Whatever else it says: it cannot be reached by HTTP/2, and any method goes elsewhere. The log has it once."""
        dialogue = self.h2_proxy(backends=(A, B), cluster="passive.failures = 1000")
        with logged() as lines:
            for _ in range(3):
                client = dialogue.client()
                client.says(POST_5)
                while dialogue.attempts:
                    if dialogue.attempts[0].address == A:
                        dialogue.backend(A).says(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                    else:
                        other = self.answer(dialogue, B)
                other.reads()
                other.reply(max(other.streams))
                self.assertStatus(client, 200)
        self.assertEqual(len([line for line in lines if "does not speak HTTP/2" in line]), 1, lines)

    def test_alone(self) -> None:
        """Without another backend: 502 connect-failed."""
        dialogue = self.h2_proxy()
        client = dialogue.client()
        client.says(GET)
        dialogue.backend().says(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.assertStatus(client, 502)
        self.assertEnd(dialogue, "connect-failed", 502)
        self.assertPool(dialogue, 0, 0, 0)

    def test_closes(self) -> None:
        """One that closes at once."""
        for act in ("finishes", "resets"):
            dialogue = self.h2_proxy()
            client = dialogue.client()
            client.says(GET)
            getattr(dialogue.backend(), act)()
            self.assertStatus(client, 502)
            self.assertEnd(dialogue, "connect-failed", 502)

    def test_silent(self) -> None:
        """One that says nothing: that is a part of connecting, and has no time of its own."""
        dialogue = self.h2_proxy("pool.connect_timeout_s = 3")
        client = dialogue.client()
        client.says(GET)
        dialogue.advance(2)
        peer = dialogue.backend()
        dialogue.advance(0.8)
        self.assertTrue(peer.is_open)
        dialogue.advance(0.4)
        self.assertFalse(peer.is_open)
        self.assertStatus(client, 504)
        self.assertEnd(dialogue, "connect-timeout", 504)

    def test_manyFail(self) -> None:
        """All who rely on a connection that is not made are told."""
        dialogue = self.h2_proxy()
        clients = [dialogue.client() for _ in range(5)]
        for client in clients:
            client.says(GET)
        self.assertEqual(len(dialogue.attempts), 1)
        dialogue.refuse()
        for client in clients:
            self.assertStatus(client, 502)
        self.assertPool(dialogue, 0, 0, 0)

    def test_refusedUs(self) -> None:
        """A backend that asks for a certificate that we have not says so before its SETTINGS, or within a request."""
        refused = PeerRefused("it asks for a certificate of ours (certificate required)")
        for greets in (False, True):
            dialogue = self.h2_proxy("tls = { enabled = true, verify = false }", backends=("10.0.0.1:443",))
            client = dialogue.client()
            client.says(POST_5)
            peer = dialogue.backend()
            Http2Backend(peer, greets=greets)
            with logged() as lines:
                peer.transport.lose(refused)
                dialogue.settle()
            self.assertStatus(client, 502)
            self.assertEnd(dialogue, "connect-failed", 502)
            self.assertEqual(len([line for line in lines if "asks for a certificate" in line]), 1, lines)

    def test_goesAtOnce(self) -> None:
        """SETTINGS and GOAWAY together, before the connection was even handed out."""
        dialogue = self.h2_proxy()
        client = dialogue.client()
        client.says(GET)
        dialogue.backend(says=GREETING + GoAwayFrame(0).serialize())
        self.assertStatus(client, 502)
        self.assertEnd(dialogue, "connect-failed", 502)
        self.assertPool(dialogue, 0, 0, 0)

    def test_early(self) -> None:
        """SETTINGS that come before the connection was handed out are not missed; nor is an end."""
        dialogue = self.h2_proxy()
        client = dialogue.client()
        client.says(GET)
        peer = dialogue.backend(says=GREETING)
        Http2Backend(peer, greets=False).reply(1)
        self.assertStatus(client, 200)
        dialogue = self.h2_proxy()
        client = dialogue.client()
        client.says(GET)
        dialogue.backend(says=b"garbage ending")
        self.assertStatus(client, 502)

    def test_tlsCut(self) -> None:
        """TLS that ends without an alert before the SETTINGS: it could not be reached."""
        dialogue = self.h2_proxy("tls = { enabled = true, verify = false }", backends=("10.0.0.1:443",))
        client = dialogue.client()
        client.says(POST_5)
        dialogue.backend().transport.lose(TlsFailure(TlsFault.NETWORK, "closed without a close alert"))
        dialogue.settle()
        self.assertStatus(client, 502)
        self.assertEnd(dialogue, "connect-failed", 502)


class LimitTests(Http2Case):
    """How many requests a connection carries."""

    def test_settings(self) -> None:
        """What the backend's SETTINGS allow; more connections are made for more."""
        dialogue = self.h2_proxy()
        clients, backend = self.asked(dialogue, *[GET] * 5, most=2)
        self.assertEqual(len(backend.streams), 2)
        others = [self.answer(dialogue, most=2) for _ in range(len(dialogue.attempts))]
        self.assertEqual([len(other.stream(1).fields) > 0 for other in others], [True, True])
        for each in (backend, *others):
            for stream in each.under_way:
                each.reply(stream.id)
        for client in clients:
            self.assertStatus(client, 200)
        self.assertPool(dialogue, 3, 0, 0)

    def test_noLimit(self) -> None:
        """A backend that names no limit gets a hundred."""
        dialogue = self.h2_proxy("pool.max_connections = 1")
        clients, backend = self.asked(dialogue, *[GET] * 102, most=None)
        self.assertEqual(len(backend.streams), 100)
        for id in range(1, 205, 2):
            backend.reply(id)
        for client in clients:
            self.assertStatus(client, 200)

    def test_changes(self) -> None:
        """It may be lower than what there is, none at all for a while, and more again."""
        dialogue = self.h2_proxy("pool.max_connections = 1")
        clients, backend = self.asked(dialogue, *[GET] * 3)
        backend.settles({SettingCodes.MAX_CONCURRENT_STREAMS: 0})
        late = [dialogue.client() for _ in range(3)]
        for client in late:
            client.says(GET)
        for id in (1, 3, 5):
            backend.reply(id)
        for client in clients:
            self.assertStatus(client, 200)
        backend.reads()
        self.assertEqual(len(backend.streams), 3)
        self.assertPool(dialogue, 1, 0, 0, 0, 3)
        backend.settles({SettingCodes.MAX_CONCURRENT_STREAMS: 2})
        backend.reads()
        self.assertEqual(len(backend.streams), 5)
        for id in (7, 9, 11):
            backend.reply(id)
        for client in late:
            self.assertStatus(client, 200)

    def test_noneElsewhere(self) -> None:
        """A backend that allows none gets no more requests while another has room."""
        dialogue = self.h2_proxy("pool.queue_timeout_s = 3", backends=(A, B))
        clients = [dialogue.client() for _ in range(2)]
        for client in clients:
            client.says(GET)
        self.answer(dialogue, A, most=0)
        other = self.answer(dialogue, B)
        late = [dialogue.client() for _ in range(6)]
        for client in late:
            client.says(GET)
        other.reads()
        self.assertEqual(len(other.streams), 7)
        for id in other.streams:
            other.reply(id)
        for client in late:
            self.assertStatus(client, 200)
        dialogue.advance_past(3)
        self.assertEqual(sorted(line["status"] for line in dialogue.lines), [200] * 7 + [503])

    def test_noneAtFirst(self) -> None:
        """None from the beginning: who waits is not let wait for ever, and no connection is made in vain."""
        dialogue = self.h2_proxy("pool.queue_timeout_s = 3")
        (client,), backend = self.asked(dialogue, GET, most=0)
        self.assertEqual(dialogue.attempts, [])
        dialogue.advance_past(3)
        self.assertStatus(client, 503)
        self.assertEqual(backend.streams, {})

    def test_attributes(self) -> None:
        """A connection has no more than fit into the compact form of CPython 3.11; see ``patience``."""
        (client,), backend = self.asked(self.h2_proxy(), GET)
        self.assertLessEqual(len(vars(backend.peer.transport.protocol)), 29)
        backend.reply(1)
        self.assertStatus(client, 200)

    def test_queueFull(self) -> None:
        """Beyond what connections carry, so many wait as may; more are refused, until places are free again."""
        dialogue = self.h2_proxy("pool = { max_connections = 2, queue = 1 }")
        clients, backend = self.asked(dialogue, GET, GET, most=1)
        second = self.answer(dialogue, most=1)
        second.reads()
        waits, late = dialogue.client(), dialogue.client()
        for client in (waits, late):
            client.says(GET)
        self.assertStatus(late, 503)
        self.assertEnd(dialogue, "queue-full", 503)
        status = dialogue.roster.status()[0]
        self.assertEqual((status.active, status.queued, status.connections, status.idle), (3, 1, 2, 0))
        backend.reply(1)
        backend.reply(3)
        second.reply(1)
        for client in (*clients, waits):
            self.assertStatus(client, 200)
        status = dialogue.roster.status()[0]
        self.assertEqual((status.active, status.queued, status.connections, status.idle), (0, 0, 2, 2))

    def test_maxRequests(self) -> None:
        """After max_requests a connection is let go, with grace."""
        dialogue = self.h2_proxy("pool.max_requests = 2")
        clients, backend = self.asked(dialogue, GET, GET, GET)
        self.assertEqual(len(backend.streams), 2)
        second = self.answer(dialogue)
        second.reply(1)
        self.assertStatus(clients[2], 200)
        backend.reply(3)
        self.assertTrue(backend.peer.is_open)
        backend.reply(1)
        backend.reads()
        self.assertEqual((backend.goaway, backend.peer.is_open), (ErrorCodes.NO_ERROR, False))
        for client in clients[:2]:
            self.assertStatus(client, 200)

    def test_maxRequestsAndConnections(self) -> None:
        """Connections that have had their last request count, as long as it is under way: others wait."""
        dialogue = self.h2_proxy("pool = { max_connections = 2, max_requests = 1 }")
        clients, backend = self.asked(dialogue, *[GET] * 5)
        backends = [backend, self.answer(dialogue)]
        for open_backend in backends:
            self.assertEqual(dialogue.attempts, [])
            open_backend.reply(1)
            backends += [self.answer(dialogue)] if len(backends) < 5 else []
        for client in clients:
            self.assertStatus(client, 200)
        self.assertEqual(len(backends), 5)

    def test_drained(self) -> None:
        """A backend that is drained completes what it has, and keeps no connection."""
        dialogue = self.h2_proxy(backends=(A, B))
        (client,), backend = self.asked(dialogue, GET)
        dialogue.roster.drain(A)
        backend.reads()
        self.assertIsNone(backend.goaway)
        backend.reply(1)
        self.assertStatus(client, 200)
        backend.reads()
        self.assertEqual(backend.goaway, ErrorCodes.NO_ERROR)
        self.assertPool(dialogue, 0, 0, 0)

    def test_removed(self) -> None:
        """So does one that is removed, and who waits for it goes elsewhere."""
        dialogue = self.h2_proxy("pool.max_connections = 1", backends=(A, B))
        (client,), backend = self.asked(dialogue, GET, most=1)
        dialogue.roster.remove(A)
        backend.reply(1)
        self.assertStatus(client, 200)
        self.assertFalse(backend.peer.is_open)

    def test_minIdle(self) -> None:
        """Connections that are made in advance, greeting included."""
        dialogue = self.h2_proxy("pool.min_idle = 1")
        dialogue.advance(1.2)
        backend = self.answer(dialogue)
        self.assertPool(dialogue, 1, 0, 0)
        client = dialogue.client()
        client.says(GET)
        backend.reply(1)
        self.assertStatus(client, 200)

    def test_floodOfQuestions(self) -> None:
        """A backend that asks and asks and reads no answer cannot fill our memory."""
        dialogue = self.h2_proxy("retry.idempotent_tries = 1")
        (client,), backend = self.asked(dialogue, GET)
        backend.peer.stops_reading()
        ping = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + b"x" * 8
        for _ in range(200):
            if backend.peer.is_open:
                backend.peer.says(ping * 3000)
        self.assertFalse(backend.peer.is_open)
        self.assertLess(backend.peer.transport.queued_bytes, 8 << 20)
        self.assertStatus(client, 502)
