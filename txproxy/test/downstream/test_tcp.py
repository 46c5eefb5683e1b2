"""Connections of tcp listeners: how they get a backend, and what becomes of them."""

from __future__ import annotations

from typing import Any

from twisted.logger import formatEvent, globalLogPublisher

from txproxy.errors import ShuttingDown
from txproxy.observe.exchange_debug import log_exchange
from txproxy.observe.log import set_level
from txproxy.policy.facts import RequestFacts, TlsFacts
from txproxy.test.talk import TalkCase
from txproxy.test.wire.hellos import hello
from txproxy.testing import Dialogue, Peer, tcp_site

TWO = ("10.0.0.1:80", "10.0.0.2:80")
NO_POOL = "<Pool 0 idle, 0 leased, 0 connecting, 0 waiting>"


class TcpCase(TalkCase):
    """What the tests below have in common."""

    def tcp(self, **parts: Any) -> Dialogue:
        return Dialogue.of(self, tcp_site(**parts))

    def opened(self, dialogue: Dialogue, address: str | None = None, **who: Any) -> tuple[Peer, Peer]:
        """Return a client and the backend at the other end of its tunnel."""
        return dialogue.client(**who), dialogue.backend(address)

    def ends(self, client: Peer, backend: Peer) -> None:
        """Let both say that they send no more."""
        client.finishes()
        backend.finishes()
        self.assertFalse(client.sees_reset or backend.sees_reset)


class TunnelTests(TcpCase):
    """A client and its backend."""

    def test_bytesAreUnread(self) -> None:
        """What either says comes to the other as it is, whoever says the first word; a connection serves one client."""
        dialogue = self.tcp()
        for first in ("client", "backend"):
            client, backend = self.opened(dialogue)
            if first == "client":
                client.says(b"\x00\xffGET / HTTP/1.1\r\n\r\n")
                self.assertEqual(backend.gets(), b"\x00\xffGET / HTTP/1.1\r\n\r\n")
            backend.says(b"220 hello\r\n")
            self.assertEqual(client.gets(), b"220 hello\r\n")
            self.ends(client, backend)
            self.assertFalse(client.is_open or backend.is_open)
            self.assertEqual(repr(dialogue.pool), NO_POOL)

    def test_halfClose(self) -> None:
        """A client that has sent all still gets its answer; so does a backend (L1)."""
        dialogue = self.tcp()
        client, backend = self.opened(dialogue)
        client.says(b"question")
        client.finishes()
        self.assertEqual(backend.gets(), b"question")
        self.assertTrue(backend.sees_end)
        self.assertTrue(client.is_open)
        backend.says(b"answer")
        backend.finishes()
        self.assertEqual(client.gets(), b"answer")
        self.assertTrue(client.sees_end)
        client, backend = self.opened(dialogue)
        backend.finishes()
        self.assertTrue(client.sees_end)
        client.says(b"still")
        client.finishes()
        self.assertEqual(backend.gets(), b"still")
        self.assertEqual([line["end"] for line in dialogue.lines], ["ok", "ok"])

    def test_whatComesBeforeTheBackendIsThere(self) -> None:
        """It waits, most of it in the kernel, and comes first; so does the end."""
        dialogue = self.tcp()
        client = dialogue.client()
        client.says(b"a" * 100)
        client.says(b"b" * 200_000)
        client.finishes()
        self.assertEqual(len(client.transport.arriving), 200_000)
        backend = dialogue.backend()
        self.assertEqual(backend.gets(), b"a" * 100 + b"b" * 200_000)
        self.assertTrue(backend.sees_end)
        backend.finishes()

    def test_finishedBeforeTheBackendIsThere(self) -> None:
        """A client that only listens is not one that has left."""
        dialogue = self.tcp()
        client = dialogue.client()
        client.finishes()
        backend = dialogue.backend()
        self.assertTrue(backend.sees_end)
        backend.says(b"news")
        backend.finishes()
        self.assertEqual(client.gets(), b"news")
        self.assertEnd(dialogue, "ok")

    def test_theBackendIsNotReadBeforeItsClientIsThere(self) -> None:
        """What it says first waits in the kernel until the tunnel is open, and is not lost."""
        dialogue = self.tcp()
        client = dialogue.client()
        backend = dialogue.backend(says=b"220 hello\r\n")
        self.assertEqual(client.gets(), b"220 hello\r\n")
        self.ends(client, backend)

    def test_aSlowSide(self) -> None:
        """Whoever reads slowly stops the other, and misses nothing."""
        dialogue = self.tcp()
        client, backend = self.opened(dialogue)
        for fast, slow in ((client, backend), (backend, client)):
            slow.stops_reading()
            fast.says(b"x" * 1_000_000)
            self.assertFalse(fast.transport.is_reading)
            self.assertGreater(len(fast.transport.arriving), 700_000)
            slow.reads()
            self.assertEqual(len(slow.gets()), 1_000_000)
        self.ends(client, backend)

    def test_lost(self) -> None:
        """A side that is reset has the other reset, and the log says which it was."""
        for who, reason in ((0, "client-left"), (1, "backend-closed")):
            dialogue = self.tcp()
            sides = self.opened(dialogue)
            sides[who].resets()
            self.assertTrue(sides[1 - who].sees_reset)
            self.assertEnd(dialogue, reason)
            self.assertEqual(repr(dialogue.pool), NO_POOL)

    def test_time(self) -> None:
        """A tunnel may be idle for an hour, and last for ever, unless the cluster says otherwise."""
        for cluster, still_s, reason in (
            ("", 3600, "idle-timeout"),
            ("timeouts.tunnel_idle_s = 5", 5, "idle-timeout"),
            ("timeouts.tunnel_max_s = 3", 3, "max-age"),
        ):
            dialogue = self.tcp(cluster=cluster)
            client, backend = self.opened(dialogue)
            dialogue.advance(still_s - 0.2)
            self.assertTrue(client.is_open and backend.is_open)
            dialogue.advance_past(0.2)
            self.assertTrue(client.sees_reset and backend.sees_reset)
            self.assertEnd(dialogue, reason)

    def test_tls(self) -> None:
        """What was in a client's TLS is passed on as it was; the log has the version."""
        dialogue = self.tcp()
        client = dialogue.client(tls=TlsFacts("TLSv1.3", "x"))
        backend = dialogue.backend()
        client.says(b"secret")
        self.assertEqual(backend.gets(), b"secret")
        self.ends(client, backend)
        self.assertEqual(self.assertEnd(dialogue, "ok")["tls"], "TLSv1.3")


class BackendTests(TcpCase):
    """Which backend a connection gets."""

    def test_inTurn(self) -> None:
        """Connections are balanced as requests are."""
        dialogue = self.tcp(backends=TWO)
        pairs = [self.opened(dialogue, TWO[number % 2]) for number in range(4)]
        for pair in pairs:
            self.ends(*pair)
        self.assertEqual([line["backend"] for line in dialogue.lines], [*TWO, *TWO])

    def test_leastConnections(self) -> None:
        """Open tunnels are what a backend is busy with."""
        dialogue = self.tcp(backends=TWO, cluster='balance = "least_connections"')
        first = self.opened(dialogue, TWO[0])
        second = self.opened(dialogue, TWO[1])
        self.ends(*second)
        third = self.opened(dialogue, TWO[1])
        for pair in (first, third):
            self.ends(*pair)

    def test_byClient(self) -> None:
        """One client, one backend."""
        dialogue = self.tcp(backends=TWO, cluster='balance = "ip_hash"')
        chosen: dict[str, set[str]] = {}
        for _ in range(2):
            for number in range(12):
                address = f"192.0.2.{number}"
                client = dialogue.client(address)
                where = dialogue.attempts[0].address
                chosen.setdefault(address, set()).add(where)
                self.ends(client, dialogue.backend())
        self.assertEqual({len(places) for places in chosen.values()}, {1})
        self.assertEqual(set().union(*chosen.values()), set(TWO))

    def test_aUsersPolicy(self) -> None:
        """It is told of the client, the listener and the name in the ClientHello; there is no request."""
        seen: list[RequestFacts] = []

        def last(candidates: Any, facts: RequestFacts, now: float, random: Any) -> Any:
            seen.append(facts)
            return reversed(candidates)

        text = tcp_site(
            'cluster = "app"\nsni_clusters = { "a.example" = "app" }', 'balance = "heapq:merge"', backends=TWO
        )
        dialogue = Dialogue.of(self, text, {"heapq:merge": last})
        client = dialogue.client()
        client.says(hello(b"a.example"))
        self.ends(client, dialogue.backend(TWO[1]))
        facts = seen[0]
        self.assertEqual((facts.client, facts.listener, facts.scheme), ("192.0.2.1", "web", "tcp"))
        self.assertEqual((facts.host, facts.method, facts.path, dict(facts.headers)), ("a.example", "", "", {}))

    def test_anotherIfOneCannotBeReached(self) -> None:
        """What the client has sent meanwhile comes to the one that can."""
        dialogue = self.tcp(backends=TWO)
        client = dialogue.client()
        client.says(b"question")
        dialogue.refuse(TWO[0])
        backend = dialogue.backend(TWO[1])
        self.assertEqual(backend.gets(), b"question")
        self.ends(client, backend)
        line = self.assertEnd(dialogue, "ok")
        self.assertEqual((line["backend"], line["tries"]), (",".join(TWO), 2))

    def test_noneCanBeReached(self) -> None:
        """The client sees a reset, once every backend was tried; the log says why."""
        for cluster, reason in (("", "connect-failed"), ("pool.connect_timeout_s = 2", "connect-timeout")):
            dialogue = self.tcp(backends=TWO, cluster=cluster)
            client = dialogue.client()
            for _ in TWO:
                if cluster:
                    dialogue.advance_past(2)
                else:
                    dialogue.refuse()
            self.assertTrue(client.sees_reset)
            line = self.assertEnd(dialogue, reason)
            self.assertEqual((line["tries"], line["retry"], line["status"]), (2, "no-backend-left", None))

    def test_failuresEject(self) -> None:
        """Connections that cannot be made take a backend out, and one that can brings it back."""
        dialogue = self.tcp(backends=TWO, cluster="passive = { failures = 2, ejection_s = 10 }")
        pairs = []
        for _ in range(2):
            client = dialogue.client()
            dialogue.refuse(TWO[0])
            pairs.append((client, dialogue.backend(TWO[1])))
            pairs.append(self.opened(dialogue, TWO[1]))
        self.assertEqual(dialogue.roster.cluster.members.ejected, 1)
        pairs += [self.opened(dialogue, TWO[1]) for _ in range(3)]
        dialogue.advance_past(10)
        pairs.append(self.opened(dialogue, TWO[0]))
        self.assertEqual(dialogue.roster.cluster.members.ejected, 0)
        for pair in pairs:
            self.ends(*pair)

    def test_limits(self) -> None:
        """Above the pool's limit connections wait, then they are sent away; who leaves makes no room for nobody."""
        dialogue = self.tcp(cluster="pool = { max_connections = 1, queue = 1 }")
        first, backend = self.opened(dialogue)
        second, third = dialogue.client(), dialogue.client()
        self.assertTrue(third.sees_reset)
        self.assertEnd(dialogue, "queue-full")
        second.says(b"patience")
        self.ends(first, backend)
        backend = dialogue.backend()
        self.assertEqual(backend.gets(), b"patience")
        fourth = dialogue.client()
        dialogue.advance_past(5)
        self.assertTrue(fourth.sees_reset)
        self.assertEnd(dialogue, "queue-timeout")
        fifth = dialogue.client()
        fifth.resets()
        self.assertEnd(dialogue, "client-left")
        self.ends(second, backend)

    def test_leftWhileConnecting(self) -> None:
        """The connection that was being made for a client that has left is closed, and not another's."""
        dialogue = self.tcp()
        client = dialogue.client()
        client.resets()
        backend = dialogue.backend(says=b"hello, you")
        self.assertFalse(backend.is_open)
        self.assertEqual(repr(dialogue.pool), NO_POOL)
        self.assertEnd(dialogue, "client-left")

    def test_nothingKnownYet(self) -> None:
        """Connections wait for the first checks, as requests do."""
        dialogue = self.tcp(cluster='health = { type = "tcp" }')
        client = dialogue.client()
        client.says(b"question")
        dialogue.backend()  # The check.
        backend = dialogue.backend()
        self.assertEqual(backend.gets(), b"question")
        self.ends(client, backend)

    def test_draining(self) -> None:
        """A backend that drains gets no more, and keeps what it has."""
        dialogue = self.tcp(backends=TWO)
        old = self.opened(dialogue, TWO[0])
        dialogue.roster.drain(TWO[0])
        new = [self.opened(dialogue, TWO[1]) for _ in range(3)]
        old[0].says(b"still here")
        self.assertEqual(old[1].gets(), b"still here")
        for pair in (old, *new):
            self.ends(*pair)

    def test_noBackend(self) -> None:
        """If none may be tried, the client is sent away at once."""
        dialogue = self.tcp(backends=TWO)
        for name in TWO:
            dialogue.roster.drain(name)
        self.assertTrue(dialogue.client().sees_reset)
        self.assertEnd(dialogue, "no-backend")


HELLO_CLUSTERS = """
sni_clusters = { "a.example" = "a", "*.example" = "b" }
alpn_clusters = { "acme-tls/1" = "acme" }
"""
CLUSTERS = "".join(
    f'[cluster.{name}]\nbackends = [{{ address = "10.0.0.{number}:443" }}]\n'
    for number, name in enumerate(("a", "b", "acme"), 2)
)
A, B, ACME, DEFAULT = "10.0.0.2:443", "10.0.0.3:443", "10.0.0.4:443", "10.0.0.1:80"


class HelloTests(TcpCase):
    """Listeners that look at the ClientHello."""

    def by_hello(self, default: str = 'cluster = "app"', more: str = "") -> Dialogue:
        listener = HELLO_CLUSTERS + more + default
        return Dialogue.of(self, tcp_site(listener or "# cluster =", rest=CLUSTERS))

    def test_byNameAndProtocol(self) -> None:
        """The bytes come to the backend as they were, however they came; the log has what was asked for."""
        dialogue = self.by_hello()
        for name, protocols, address in (
            (b"a.example", (), A),
            (b"A.EXAMPLE", (b"h2",), A),
            (b"x.y.example", (), B),
            (b"a.example", (b"acme-tls/1",), ACME),
            (b"elsewhere.test", (), DEFAULT),
            (b"", (), DEFAULT),
        ):
            data = hello(name, protocols) + b"more"
            for way in ("says", "says_bytewise"):
                client = dialogue.client()
                getattr(client, way)(data)
                backend = dialogue.backend(address)
                self.assertEqual(backend.gets(), data)
                client.says(b"!")
                self.assertEqual(backend.gets(), b"!")
                self.ends(client, backend)
                line = self.assertEnd(dialogue, "ok")
                self.assertEqual(line["host"], name.decode().lower() or None)
                self.assertEqual(line["alpn"], [each.decode() for each in protocols])
                self.assertEqual(line["bytes_in"], len(data) + 1)

    def test_whatIsNoClientHello(self) -> None:
        """It goes to the default; where there is none, it is sent away."""
        for data in (b"SSH-2.0-x\r\n", hello(b"a b")):
            dialogue = self.by_hello()
            client = dialogue.client()
            client.says(data)
            backend = dialogue.backend(DEFAULT)
            self.assertEqual(backend.gets(), data)
            self.ends(client, backend)
            dialogue = self.by_hello("# cluster =")
            client = dialogue.client()
            client.says(data)
            self.assertTrue(client.sees_reset)
            self.assertEnd(dialogue, "no-route")

    def test_tooSlow(self) -> None:
        """A ClientHello has as much time as a head, whatever progress it makes."""
        for data in (b"", hello(b"a.example")[:-1]):
            dialogue = self.by_hello(more="header_timeout_s = 3\n")
            client = dialogue.client()
            for byte in data[:4]:
                dialogue.advance(0.7)
                client.says(bytes([byte]))
            client.says(data[4:])
            dialogue.advance_past(3)
            self.assertTrue(client.sees_reset)
            self.assertEnd(dialogue, "request-timeout")

    def test_tooLong(self) -> None:
        """No more is kept than a ClientHello may have; then it goes to the default."""
        dialogue = self.by_hello()
        client = dialogue.client()
        client.says(b"\x16\x03\x01\x40\x00\x01\x00\x3f\x00" + b"x" * 16000 + b"\x16\x03\x01\x00")
        client.says(b"\x16\x03\x01\x00\x01x" * 2000)
        backend = dialogue.backend(DEFAULT)
        self.assertEqual(len(backend.gets()), 16009 + 4 + 12000)
        self.ends(client, backend)

    def test_leftBeforeItWasComplete(self) -> None:
        """Nobody is asked for a client that is gone."""
        for way in ("finishes", "resets"):
            dialogue = self.by_hello()
            client = dialogue.client()
            client.says(hello(b"a.example")[:20])
            getattr(client, way)()
            self.assertFalse(client.is_open)
            self.assertEqual(dialogue.attempts, [])
            self.assertEnd(dialogue, "client-left")


class SiteTests(TcpCase):
    """What all listeners have."""

    def talked(self, format: str) -> Any:
        """Return the line of a connection that waited for half a second and then lasted for two."""
        dialogue = self.tcp(rest=f'[log]\nformat = "{format}"\n')
        client = dialogue.client()
        dialogue.advance(0.5)
        backend = dialogue.backend()
        client.says(b"12345")
        dialogue.advance(2)
        backend.says(b"123")
        self.ends(client, backend)
        (line,) = dialogue.lines
        return line

    def test_jsonLine(self) -> None:
        """Who, where to, how many bytes, how long, why it ended; nothing of requests (L1)."""
        line = self.talked("json")
        told = {key: value for key, value in line.items() if value is not None and key not in ("ts", "request_id")}
        expected = {"client": "192.0.2.1", "listener": "web", "cluster": "app", "backend": "10.0.0.1:80", "tries": 1}
        expected |= {"bytes_in": 5, "bytes_out": 3, "end": "ok"}
        expected |= {"queue_ms": 0, "connect_ms": 500, "first_byte_ms": 0, "transfer_ms": 2000, "total_ms": 2500}
        self.assertEqual(told, expected)

    def test_combinedLine(self) -> None:
        """The same, where a request has its line; what has no place in that stands behind it (L1)."""
        begin, _, rest = self.talked("combined").partition("] ")
        self.assertTrue(begin.startswith("192.0.2.1 - - ["), begin)
        quoted, _, rest = rest.partition(' "-" "-" ')
        self.assertEqual(quoted, '"-" - 3')
        expected = "10.0.0.1:80 1 0 500000 0 2000000 2500000 ok listener=web cluster=app bytes_in=5"
        self.assertEqual(rest.partition(" ")[2], expected)

    def test_combinedLineWithAName(self) -> None:
        """Name and protocols stand behind, where they were looked at; a protocol can forge nothing."""
        listener = 'cluster = "app"\nsni_clusters = { "a.example" = "app" }'
        dialogue = self.tcp(listener=listener, rest='[log]\nformat = "combined"\n')
        client = dialogue.client()
        client.says(hello(b"a.example", [b"h2", b"x end=\n"]))
        self.ends(client, dialogue.backend())
        self.assertTrue(dialogue.lines[0].endswith(" sni=a.example alpn=h2,x\\x20end=\\x0A"), dialogue.lines[0])

    def test_tooManyOfOneAddress(self) -> None:
        """The listener's limit holds."""
        dialogue = self.tcp(listener="max_connections_per_ip = 1")
        pair = self.opened(dialogue)
        self.assertRaises(AssertionError, dialogue.client)
        self.ends(*pair)
        self.ends(*self.opened(dialogue))

    def test_cut(self) -> None:
        """What is cut by the end of a stop sees a reset, in whatever state it is."""
        dialogue = self.tcp(cluster="pool = { max_connections = 1, queue = 9 }")
        client, backend = self.opened(dialogue)
        waiting = dialogue.client()
        site = dialogue.assembled.sites["web"]
        site.drain()
        client.says(b"still here")
        self.assertEqual(backend.gets(), b"still here")
        self.assertEqual(site.cut(ShuttingDown(), tunnels=False), 0)
        self.assertEqual(site.cut(ShuttingDown(), tunnels=True), 2)
        dialogue.settle()
        self.assertTrue(client.sees_reset and backend.sees_reset and waiting.sees_reset)
        self.assertEqual([line["end"] for line in dialogue.lines], ["shutdown", "shutdown"])

    def test_debugLog(self) -> None:
        """A connection without a request can be shown there too."""
        dialogue = self.tcp()
        client, backend = self.opened(dialogue)
        (connection,) = dialogue.assembled.sites["web"].connections
        exchange = connection.exchange
        self.ends(client, backend)
        events: list[str] = []
        observe: Any = lambda event: events.append(str(formatEvent(event)))  # noqa: E731 - for its type
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        set_level("debug")
        self.addCleanup(set_level, "info")
        log_exchange(exchange)
        self.assertIn("backend 10.0.0.1:80", events[-1])
