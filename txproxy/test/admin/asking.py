"""An admin interface in memory, and requests to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from txproxy.admin.guard import Guard
from txproxy.admin.operator import Conflict, Reloaded
from txproxy.admin.resources import Api
from txproxy.admin.server import AdminSite
from txproxy.config.model import AdminSettings
from txproxy.testing import FakeTransport

HERE = IPv4Address("TCP", "127.0.0.1", 9901)
NEAR = IPv4Address("TCP", "127.0.0.1", 50000)
FAR = IPv4Address("TCP", "192.0.2.7", 50000)
UNIX = UNIXAddress(b"/run/admin.sock")
JSON = "Content-Type: application/json\r\n"


class FakeOperator:
    """Notes what it is told, and answers what a test says."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.result: Any = None
        """What the next call returns; an exception is raised."""
        self.is_ready, self.is_stopping = True, False

    def _take(self, *call: Any) -> Any:
        self.told.append(call)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def report(self) -> Any:
        return {"version": "1", "cache": self.result}

    def order(self, cluster: str, backend: str, order: str) -> Any:
        return self._take(order, cluster, backend)

    def set_weight(self, cluster: str, backend: str, weight: int) -> Any:
        return self._take("weight", cluster, backend, weight)

    def add(self, cluster: str, address: str, weight: int, max_connections: int | None, backup: bool) -> Any:
        return self._take("add", cluster, address, weight, max_connections, backup)

    def remove(self, cluster: str, backend: str) -> Any:
        return self._take("remove", cluster, backend)

    def purge(self, kind: str, value: str) -> Any:
        return self._take("purge", kind, value)

    def reload(self) -> Any:
        return self._take("reload")

    def set_level(self, level: str) -> Any:
        return self._take("level", level)


class Told(NamedTuple):
    """A reply."""

    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def exposed(report: Any, accept: str) -> tuple[Iterator[bytes], str]:
    pieces = (str(report["version"]), " for ", accept)
    return (piece.encode() for piece in pieces), "text/plain; version=0.0.4"


class AskingCase(SynchronousTestCase):
    """Requests as they come on a connection."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.operator = FakeOperator()
        self.make()

    def make(self, **settings: Any) -> None:
        guard = Guard(AdminSettings(**settings))
        self.site = AdminSite(Api(self.operator, exposed, self.reactor.callLater), guard, self.reactor)

    def connected(self, peer: Any = NEAR, host: Any = HERE) -> FakeTransport:
        transport = FakeTransport(peer, host)
        protocol = self.site.buildProtocol(peer)
        if protocol is None:
            transport.disconnected = True
        else:
            transport.connect(protocol)
        return transport

    def sends(self, transport: FakeTransport, data: bytes) -> None:
        transport.arriving += data
        self.settle(transport)

    def settle(self, transport: FakeTransport) -> None:
        while transport.turn() or any(
            call.getTime() <= self.reactor.seconds() for call in self.reactor.getDelayedCalls()
        ):
            self.reactor.advance(0)

    def ask(self, line: str, fields: str = "", body: Any = None, **connected: Any) -> Told:
        """Make one request on a connection of its own; ``Host`` is added unless it is among the fields."""
        transport = self.connected(**connected)
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        host = "" if f"\n{fields}".lower().find("\nhost:") >= 0 else "Host: localhost:9901\r\n"
        length = f"Content-Length: {len(content)}\r\n" if body is not None else ""
        self.sends(transport, f"{line} HTTP/1.1\r\n{host}{fields}{length}\r\n".encode() + content)
        told = self.replies(transport)
        self.assertEqual(len(told), 1, bytes(transport.sent))
        transport.lose()
        self.settle(transport)
        self.assertEqual([each for each in self.reactor.getDelayedCalls() if each.active()], [])
        return told[0]

    def change(self, path: str, body: Any = None, method: str = "POST", fields: str = "", **more: Any) -> Told:
        """Ask for a change as ``ctl`` does."""
        return self.ask(f"{method} {path}", JSON + fields, body if body is not None else {}, **more)

    def replies(self, transport: FakeTransport, is_head: bool = False) -> list[Told]:
        data, told = bytes(transport.sent), []
        while data:
            head, _, data = data.partition(b"\r\n\r\n")
            lines = head.decode().split("\r\n")
            fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
            size = 0 if is_head else int(fields.get("content-length", 0))
            told.append(Told(int(lines[0].split()[1]), fields, data[:size]))
            data = data[size:]
        return told


__all__ = [
    "FAR",
    "HERE",
    "JSON",
    "NEAR",
    "UNIX",
    "AskingCase",
    "Conflict",
    "Deferred",
    "FakeOperator",
    "Reloaded",
    "Told",
]
