"""A whole proxy without sockets: a test speaks for its clients and its backends."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Container, Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionRefusedError, TimeoutError
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from txproxy.assembly import Clocks, assemble
from txproxy.config.load import load_text
from txproxy.downstream.http1 import Http1Connection
from txproxy.downstream.tcp import TcpConnection
from txproxy.downstream.tcp_site import SecureTcpSite, TcpSite
from txproxy.pipeline.host_guard import HostGuard
from txproxy.policy.facts import TlsFacts
from txproxy.testing.peer import Peer
from txproxy.testing.scripted import ScriptedBackend
from txproxy.testing.transport import FakePort, FakeTransport

START_S = 1000.0
"""What the monotonic clock says at first."""
EPOCH_S = 1_700_000_000.0
"""What the wall clock says at the same moment."""

_MOST_TURNS = 10_000
_SEED = 1
"""Chance is the same each time."""


def site(
    listener: str = "", route: str = "", cluster: str = "", backends: Sequence[str] = ("10.0.0.1:80",), rest: str = ""
) -> str:
    """Return a configuration in TOML: a listener ``web``, a route ``all`` and a cluster ``app``.

    :param listener: further lines of the listener.
    :param route: further lines of the route.
    :param cluster: further lines of the cluster, dotted keys like ``pool.queue = 0`` included.
    :param backends: their addresses, or tables of TOML with braces around them.
    :param rest: further sections.
    """
    tables = ", ".join(each if each.startswith("{") else f'{{ address = "{each}" }}' for each in backends)
    return f"""
[[listener]]
name = "web"
address = "127.0.0.1:8080"
{listener}
[[route]]
name = "all"
cluster = "app"
{route}
[cluster.app]
backends = [{tables}]
{cluster}
{rest}
"""


def tcp_site(listener: str = "", cluster: str = "", backends: Sequence[str] = ("10.0.0.1:80",), rest: str = "") -> str:
    """Return a configuration in TOML: a tcp listener ``web`` that leads to a cluster ``app``.

    :param listener: further lines of the listener, ``cluster = ...`` included if it is to be another.
    :param cluster: further lines of the cluster, dotted keys like ``pool.queue = 0`` included.
    :param backends: their addresses, or tables of TOML with braces around them.
    :param rest: further sections.
    """
    tables = ", ".join(each if each.startswith("{") else f'{{ address = "{each}" }}' for each in backends)
    if "cluster =" not in listener:
        listener += '\ncluster = "app"'
    return f"""
[[listener]]
name = "web"
address = "127.0.0.1:8080"
protocol = "tcp"
{listener}
[cluster.app]
backends = [{tables}]
{cluster}
{rest}
"""


class Attempt(NamedTuple):
    """A connection that the proxy tries to make."""

    address: str
    factory: Any
    connector: Any
    expires_at: float

    @property
    def is_given_up(self) -> bool:
        """The proxy does not want it any more."""
        return self.connector.stoppedConnecting or self.connector._disconnected  # noqa: SLF001 - it has no other name


class Dialogue:
    """A proxy assembled from a configuration, and everybody who talks to it.

    The access log goes to ``lines``, as JSON unless the configuration names a format.

    :param text: the configuration in TOML.
    :param functions: users' functions by their references, beside those that the configuration can import.
    :param resolver: resolves the names of backends; see ``txproxy.upstream.names.resolver``.
    """

    def __init__(
        self, text: str, functions: Mapping[str, Callable[..., Any]] | None = None, resolver: Any = None
    ) -> None:
        loaded = load_text(text)
        log = loaded.config.log
        descriptor, path = tempfile.mkstemp()
        self._log = os.fdopen(descriptor, encoding="utf-8")
        format = log.format if "format" in log.model_fields_set else "json"
        log = log.model_copy(update={"access": path, "format": format})
        self.reactor = MemoryReactorClock()
        self.reactor.advance(START_S)
        clocks = Clocks(self.reactor.seconds, lambda: self.reactor.seconds() - START_S + EPOCH_S, Random(_SEED).random)
        try:
            self.assembled = assemble(
                loaded.config.model_copy(update={"log": log}),
                {**loaded.functions, **(functions or {})},
                self.reactor,
                clocks,
                resolver,
            )
        finally:
            os.unlink(path)
        self.port = FakePort()
        self.assembled.gate.add_port(self.port)
        self.trace: list[str] = []
        """What everybody said and got, for messages of failed tests."""
        self.attempts: list[Attempt] = []
        """Connections that the proxy is making; ``backend`` and ``refuse`` take them from here."""
        self._transports: list[FakeTransport] = []
        self._scripted: dict[str, ScriptedBackend] = {}
        self._lines: list[str] = []
        self._seen = 0
        self.assembled.start()
        self.settle()

    @classmethod
    def of(
        cls,
        case: Any,
        text: str,
        functions: Mapping[str, Callable[..., Any]] | None = None,
        resolver: Any = None,
    ) -> Dialogue:
        """Return a dialogue that is checked by ``assert_clean`` and closed when a test case has ended."""
        dialogue = cls(text, functions, resolver)
        case.addCleanup(dialogue.close)
        case.addCleanup(dialogue.assert_clean)
        return dialogue

    # Clients and backends.

    def client(
        self,
        address: str = "192.0.2.1",
        listener: str = "web",
        tls: TlsFacts | None = None,
        names: Container[bytes] | None = None,
    ) -> Peer:
        """Return a client that has connected.

        :param address: its IP address, or ``unix``.
        :param tls: what the client's handshake has settled: it is complete, and the listener's own settings of TLS
            do not matter; None for a connection that is not encrypted.
        :param names: hosts that have the certificate of this handshake, in lower case; all if omitted.
        :raises AssertionError: if the listener refuses it.
        """
        transport = FakeTransport(_address(f"{address}:50000"), _address("127.0.0.1:8080"))
        site = self.assembled.sites[listener]
        if tls is not None:
            router = site.router if names is None else HostGuard(site.router, names.__contains__)
            connection: Any
            if isinstance(site, TcpSite | SecureTcpSite):
                connection = TcpConnection(site)
            else:
                connection = site.make_http2() if tls.alpn == "h2" else Http1Connection(site)
            connection.take_over(transport, tls, router)
            site.opened(connection)
            return self._peer("client", transport)
        protocol = self.assembled.factories.get(listener, site).buildProtocol(transport.getPeer())
        assert protocol is not None, f"{address} was refused"
        transport.connect(protocol)
        return self._peer("client", transport)

    def backend(self, address: str | None = None, says: bytes = b"") -> Peer:
        """Accept the connection that the proxy has been making for the longest time.

        :param address: as in the configuration; any if omitted.
        :param says: sent at once, so that it comes before the proxy can have asked anything.
        :raises AssertionError: if the proxy is making none.
        """
        return self._accept(self._take_attempt(address), says)

    def script(self, address: str, *answers: Any) -> ScriptedBackend:
        """Have the connections to an address accepted and their requests answered; see ``ScriptedBackend``."""
        self._scripted[address] = backend = ScriptedBackend(*answers)
        for attempt in [each for each in self.attempts if each.address == address]:
            self._follow_script(attempt)
        self.settle()
        return backend

    def refuse(self, address: str | None = None, error: Exception | None = None) -> None:
        """Refuse the connection that the proxy has been making for the longest time.

        :param error: what the attempt fails with; ``ConnectionRefusedError`` if omitted.
        """
        self._refuse(self._take_attempt(address), error)

    def _refuse(self, attempt: Attempt, error: Exception | None = None) -> None:
        self.trace.append(f"{attempt.address} refuses")
        attempt.factory.clientConnectionFailed(attempt.connector, Failure(error or ConnectionRefusedError()))
        self.settle()

    def _take_attempt(self, address: str | None) -> Attempt:
        for index, attempt in enumerate(self.attempts):
            if not attempt.is_given_up and (address is None or attempt.address == address):
                return self.attempts.pop(index)
        raise AssertionError("\n".join((f"the proxy is not connecting to {address or 'any backend'}", *self.trace)))

    def _accept(self, attempt: Attempt, says: bytes = b"") -> Peer:
        transport = FakeTransport(_address(attempt.address), _address("10.0.0.100:40000"))
        transport.arriving += says
        transport.connect(attempt.factory.buildProtocol(transport.getPeer()))
        return self._peer(attempt.address, transport)

    def _peer(self, name: str, transport: FakeTransport) -> Peer:
        self._transports.append(transport)
        self.trace.append(f"{name} is connected")
        if transport.arriving:
            transport.turn()  # ClientCreator hands a connection out one turn later: bytes can come before that.
        self.settle()
        return Peer(name, transport, self.settle, self.trace)

    # Time.

    def settle(self) -> None:
        """Let everything happen that needs no more time."""
        for _ in range(_MOST_TURNS):
            self.reactor.advance(0)
            self._collect_attempts()
            busy = any([transport.turn() for transport in self._transports])
            busy = any([backend.turn() for backend in self._scripted.values()]) or busy
            if not busy and all(call.getTime() > self.reactor.seconds() for call in self.reactor.getDelayedCalls()):
                break
        else:
            raise AssertionError("\n".join(("it does not come to rest", *self.trace)))
        self._transports = [each for each in self._transports if not each.disconnected or each.producer is not None]

    def advance(self, seconds: float) -> None:
        """Let time pass; deadlines are looked at as the service does it, a tick apart."""
        deadlines, reactor = self.assembled.deadlines, self.reactor
        end = reactor.seconds() + seconds
        while (left := end - reactor.seconds()) > 1e-9:
            something_is_due = bool(reactor.getDelayedCalls())
            reactor.advance(min(left, deadlines.tick_s))
            expired = deadlines.expire(reactor.seconds())
            for item in expired:
                item.deadline_passed()  # type: ignore[attr-defined]
            late = [each for each in self.attempts if each.expires_at <= reactor.seconds() and not each.is_given_up]
            for attempt in late:
                if attempt in self.attempts:
                    self.attempts.remove(attempt)
                    self._refuse(attempt, TimeoutError())
            if expired or something_is_due or reactor.getDelayedCalls():
                self.settle()

    def advance_past(self, limit_s: float) -> None:
        """Let a limit pass, by as much as its deadline may be noticed late."""
        self.advance(limit_s + 2 * self.assembled.deadlines.tick_s)

    def _collect_attempts(self) -> None:
        reactor = self.reactor
        self.attempts = [attempt for attempt in self.attempts if not attempt.is_given_up]
        new = [(f"{host}:{port}", factory, limit) for host, port, factory, limit, _ in reactor.tcpClients]
        new += [(f"unix:{path}", factory, limit) for path, factory, limit, _ in reactor.unixClients]
        connectors = reactor.connectors[:]
        for each in (reactor.tcpClients, reactor.unixClients, reactor.connectors):
            each.clear()
        for (address, factory, limit), connector in zip(new, connectors, strict=True):
            attempt = Attempt(address, factory, connector, reactor.seconds() + limit)
            self.attempts.append(attempt)
            self._follow_script(attempt)

    def _follow_script(self, attempt: Attempt) -> None:
        script = self._scripted.get(attempt.address)
        if script is not None:
            if script.refuses():
                self.attempts.remove(attempt)
                self._refuse(attempt)
            else:
                self.attempts.remove(attempt)
                script.peers.append(self._accept(attempt))

    # What is left.

    @property
    def lines(self) -> list[Any]:
        """The access log: one object per exchange, or one string if the configuration names a format."""
        self.assembled.ending.flush()
        self._lines += self._log.read().splitlines()
        is_json = self.assembled.config.log.format == "json"
        return [json.loads(line) for line in self._lines] if is_json else list(self._lines)

    @property
    def pool(self) -> Any:
        """The pool of the first backend of the cluster ``app``."""
        return self.assembled.clusters["app"].backends[0].pool

    @property
    def roster(self) -> Any:
        """Who belongs to the cluster ``app``."""
        return self.assembled.rosters["app"]

    def assert_clean(self) -> None:
        """Stop checking backends and certificates; check that nothing is under way and that nothing was left behind.

        :raises AssertionError: if there is an exchange without an end, a connection that is leased or waited for, a
            producer on a closed transport, or a delayed call.
        """
        self.advance(0.2)
        for roster in self.assembled.rosters.values():
            roster.pause()
        for section in self.assembled.tls.values():
            section.stop()
        cache, keeper = self.assembled.cache, self.assembled.cache_keeper
        if cache is not None and keeper is not None:
            keeper.stop()
            self.settle()
        left = [] if cache is None else [repr(fetch) for fetch in cache.fetches]
        left += [f"{each!r} has a producer" for each in self._transports if each.disconnected and each.producer]
        alive = {each.protocol for each in self._transports if not each.disconnected}
        for listener in self.assembled.sites.values():
            left += [repr(each) for each in listener.connections if each.under_way]
            left += [f"{each!r} was lost" for each in listener.connections if each not in alive]
        open_clients = sum(len(each.connections) for each in self.assembled.sites.values())
        if self.assembled.gate.connections != open_clients:
            left.append(f"the gate counts {self.assembled.gate.connections} connections, {open_clients} are open")
        for cluster in self.assembled.clusters.values():
            for backend in cluster.backends:
                pool = backend.pool
                if pool.leased or pool.waiting or pool.connecting > len(self.attempts):
                    left.append(repr(backend))
        left += [repr(call) for call in self.reactor.getDelayedCalls()]
        if left:
            raise AssertionError("\n".join(("not clean:", *left, "after:", *self.trace)))

    def close(self) -> None:
        """Close the access log."""
        self.assembled.ending.stop()
        if self.assembled.access_log is not None:
            self.assembled.access_log.close()
        self._log.close()


def _address(text: str) -> IPv4Address | IPv6Address | UNIXAddress:
    if text.startswith("unix"):
        return UNIXAddress(text.partition(":")[2] or None)
    host, _, port = text.rpartition(":")
    return (IPv6Address if ":" in host else IPv4Address)("TCP", host.strip("[]"), int(port))
