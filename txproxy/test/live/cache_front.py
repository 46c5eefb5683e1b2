"""What tests of the cache share: a backend that says what a test has told it, and the proxy with a cache before it."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from .client import DEADLINE_S
from .helpers import get
from .judge import JudgedRequest
from .moved_clock import MovedClock
from .peers import Backend, BackendConnection, Client, Handler, ProxyProcess, config_for, http_reply, wait_for
from .replies import Reply

FRESH = "Cache-Control: max-age=3600\r\n"


@dataclass(frozen=True)
class Answer:
    """One reply of a backend. If it has an ETag that the request names in If-None-Match, it is a 304."""

    body: bytes = b"stored"
    fields: str = FRESH
    status: int = 200
    not_modified_fields: str | None = None
    """Of the 304, instead of ``fields``."""

    def __call__(self, connection: BackendConnection, request: JudgedRequest) -> None:
        """Send it."""
        etag = re.search(r"ETag: (.*)\r\n", self.fields)
        if etag and request.value(b"if-none-match") == etag[1].encode():
            fields = self.fields if self.not_modified_fields is None else self.not_modified_fields
            connection.send(f"HTTP/1.1 304 Not Modified\r\n{fields}\r\n".encode())
            return
        reply = http_reply(self.status, self.body, self.fields)
        connection.send(reply[: -len(self.body)] if self.body and request.method == b"HEAD" else reply)


class Origin:
    """Answers each path as it was told; each request takes one answer, and the last one stays."""

    def __init__(self) -> None:
        self._answers: dict[str, list[Handler]] = {}
        self._requests: dict[str, list[JudgedRequest]] = {}
        self._lock = threading.Lock()

    def says(self, target: str, *answers: Handler) -> None:
        """Set what comes for a target."""
        with self._lock:
            self._answers[target] = [*answers]

    def asked(self, target: str) -> list[JudgedRequest]:
        """Return the requests that came for a target, in order, each as soon as it is complete."""
        with self._lock:
            return [*self._requests.get(target, ())]

    def count(self, target: str) -> int:
        """Return how many requests came for a target."""
        return len(self.asked(target))

    def wait_for_requests(self, target: str, count: int) -> None:
        """Wait until so many have come."""
        wait_for(lambda: self.count(target) >= count, f"{count} requests for {target}")

    def __call__(self, connection: BackendConnection, request: JudgedRequest) -> None:
        """Answer a request."""
        target = request.target.decode("latin-1")
        with self._lock:
            self._requests.setdefault(target, []).append(request)
            answers = self._answers.get(target) or [Answer()]
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
        answer(connection, request)


class Held:
    """Sends the first part of a reply at once, or nothing, and the rest when it is told.

    :param reply: all of it.
    :param first: how many bytes of it come at once.
    """

    def __init__(self, reply: bytes, first: int = 0) -> None:
        self.go_on = threading.Event()
        self._parts = reply[:first], reply[first:]

    def __call__(self, connection: BackendConnection, request: JudgedRequest) -> None:
        """Answer a request."""
        first, rest = self._parts
        if first:
            connection.send(first)
        if self.go_on.wait(2 * DEADLINE_S):
            connection.send(rest)


class Cached(NamedTuple):
    """A proxy with a cache, in front of an origin."""

    proxy: ProxyProcess
    origin: Origin
    backend: Backend
    clock: MovedClock

    @property
    def port(self) -> int:
        """Of its only listener."""
        return self.proxy.port

    def get(self, target: str, fields: str = "", **more: Any) -> Reply:
        """Make one request on a connection of its own."""
        return get(self.port, target, fields=fields, **more)

    def word(self, target: str, fields: str = "", **more: Any) -> str | None:
        """Make one request and return what X-Cache-Status says."""
        return self.get(target, fields, **more).value("X-Cache-Status")

    def wait_until_stored(self, target: str, fields: str = "") -> None:
        """Wait until a request is answered from the store alone; none of these is passed on."""
        wait_for(
            lambda: self.get(target, f"{fields}Cache-Control: only-if-cached\r\n").status != 504, "it to be stored"
        )


@contextmanager
def cached(
    route: str = "cache = true", more: str = "", cluster: str = "", listener: str = "", ahead_s: float = 0
) -> Iterator[Cached]:
    """Start a proxy with a cache in front of an origin.

    :param route: keys of the route; ``more``: further sections, such as ``[cache]``; see ``config_for``.
    :param ahead_s: of its clock.
    """
    origin = Origin()
    with Backend(origin) as backend, MovedClock(ahead_s) as clock:
        config = config_for(backend.address, route=route, more=more, cluster=cluster, listener=listener)
        with ProxyProcess(config, module=clock.module, environment=clock.environment) as proxy:
            yield Cached(proxy, origin, backend, clock)
            assert backend.violations == []


def facts(reply: Reply) -> dict[str, Any]:
    """Return what Cache-Status says, by name; of the last cache on the way to us."""
    value = reply.value("Cache-Status")
    assert value is not None, reply.fields
    name, *parts = value.split(", ")[-1].split("; ")
    found: dict[str, Any] = {"cache": name}
    for part in parts:
        key, has_value, text = part.partition("=")
        found[key] = text if has_value else True
    return found


def begun(client: Client, target: str, fields: str = "") -> None:
    """Send a request and do not wait for its reply."""
    client.send(f"GET {target} HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n".encode())


def takes(client: Client, what: bytes, count: int = 1, timeout_s: float = DEADLINE_S) -> bool:
    """Take in what comes until some bytes are among it, or so many of them; return whether they are."""
    return client.read_until(lambda: client.received.count(what) >= count, timeout_s)


def ends(client: Client, what: bytes, timeout_s: float = DEADLINE_S) -> bool:
    """Take in what comes until it ends with these bytes; return whether it does."""
    return client.read_until(lambda: client.received.endswith(what), timeout_s)
