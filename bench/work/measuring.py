"""What one request of a scenario costs: the difference of windows that differ by the number of their requests only.

A window is some requests, one after the other, then a step of the clock by which all is due that was put off, such as
the lines of the log. So what is done in batches counts as far as it grows with the requests, and what is done every
second does not count. The least of several windows counts: what comes with every hundredth request, such as a full
memory that is emptied, does not either.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.work.clients import Client
from bench.work.counting import CALLS, Counts
from bench.work.proxy import Backend, CountedProxy
from bench.work.scenarios import Scenario, reply

WARM_UP = 2500
"""Requests before any is counted: more than most memories hold, so that differing heads find them as full as ever."""
FEW, MANY = 20, 60
WINDOWS = 4
"""Of each size."""
_FIRST_NUMBER = 100_000
"""Of a request, so that all have the same number of digits."""

SYSTEM_CALLS = {
    "epoll.poll": "epoll_wait",
    "epoll.register": "epoll_ctl",
    "epoll.modify": "epoll_ctl",
    "epoll.unregister": "epoll_ctl",
    "socket._accept": "accept",
    "socket.setblocking": "ioctl",
    "socket.settimeout": "ioctl",
    "_openssl.SSL_read": "SSL_read",
    "_openssl.SSL_write": "SSL_write",
    "_openssl.SSL_do_handshake": "SSL_do_handshake",
    "_openssl.SSL_shutdown": "SSL_shutdown",
    "fcntl.ioctl": "ioctl",
    "TextIOWrapper.flush": "write",
}
"""System calls by the C functions that make them. OpenSSL's are no system calls, but make one each at least."""
_OF_SOCKETS = frozenset(
    (
        "recv", "recv_into", "recvfrom", "recvmsg", "send", "sendall", "sendmsg", "sendto", "connect", "connect_ex",
        "bind", "listen", "close", "shutdown", "setsockopt", "getsockopt", "getsockname", "getpeername",
    )
)  # fmt: skip
_OF_POSIX = frozenset(("read", "write", "splice", "pipe", "pipe2", "close", "open", "fstat", "stat", "lseek", "dup"))


@dataclass(frozen=True, slots=True)
class Work:
    """What one request costs.

    :ivar functions: for each function its own calls, calls of C functions, and bytecodes.
    :ivar c_names: calls of each C function.
    :ivar lines: bytecodes of each line, if they were asked for.
    """

    calls: float
    c_calls: float
    bytecodes: float
    system_calls: dict[str, float]
    functions: dict[str, tuple[float, float, float]]
    c_names: dict[str, float]
    lines: dict[str, float]


def system_call_of(c_name: str) -> str:
    """Return the system call that a C function makes, or an empty string."""
    if c_name in SYSTEM_CALLS:
        return SYSTEM_CALLS[c_name]
    owner, _, name = c_name.rpartition(".")
    if (owner in ("socket", "_socket.socket") and name in _OF_SOCKETS) or (owner == "posix" and name in _OF_POSIX):
        return name
    return ""


def measure(scenario: Scenario, by_line: bool = False) -> Work:
    """Count what one request of *scenario* costs.

    :param by_line: count bytecodes by line too.
    :raises StartError: the proxy does not start, or does not answer.
    :raises ReplyError: a reply is not what it should be.
    """
    with tempfile.TemporaryDirectory(prefix="txproxy-work-") as name, Backend() as backend:
        directory = Path(name)
        with CountedProxy(directory, scenario.config(directory, backend.port), by_line) as proxy:
            client = scenario.client(proxy.port)
            try:
                return _measure(Talk(scenario, proxy, backend, client))
            finally:
                client.close()


class Talk:
    """Makes the requests of a scenario."""

    def __init__(self, scenario: Scenario, proxy: CountedProxy, backend: Backend, client: Client) -> None:
        self.proxy = proxy
        self._scenario = scenario
        self._backend = backend
        self._client = client
        self._number = _FIRST_NUMBER
        self._reply = reply(scenario.cached)

    def request(self) -> None:
        """Make a request and wait for its end."""
        scenario, number = self._scenario, self._number
        self._number += 1
        target, fields = scenario.request(number)
        if scenario.at_once:
            self.proxy.tell("hold")
        self._client.send(target, fields, scenario.body)
        if scenario.at_once:
            self.proxy.tell("go")
        if not scenario.cached or number == _FIRST_NUMBER:
            self._backend.answer(self._reply)
        self._client.receive()

    def window(self, requests: int) -> None:
        """Make so many requests, and have the clocks go on by a second."""
        for _ in range(requests):
            self.request()
            self.proxy.tell("idle")
        self.proxy.tell("tick")
        self.proxy.tell("idle")

    def counts_of(self, requests: int) -> Counts:
        """Return what such a window costs."""
        before = self.proxy.counts()
        self.window(requests)
        return difference(self.proxy.counts(), before)


def _measure(talk: Talk) -> Work:
    for _ in range(WARM_UP // MANY):
        talk.window(MANY)
    talk.proxy.tell("count")
    talk.window(FEW)
    # Not by turns: what comes every other second would come with one size only.
    few, many = (least([talk.counts_of(size) for _ in range(WINDOWS)]) for size in (FEW, MANY))
    return work_of(few, many, MANY - FEW)


def least(windows: list[Counts]) -> Counts:
    """Return the least of each number."""
    return {
        key: {name: min(each[key].get(name, 0) for each in windows) for name in windows[0][key]} for key in windows[0]
    }


def difference(after: Counts, before: Counts) -> Counts:
    """Return what was counted between two readings."""
    return {
        key: {
            name: count - before.get(key, {}).get(name, 0)
            for name, count in counts.items()
            if count != before.get(key, {}).get(name, 0)
        }
        for key, counts in after.items()
    }


def work_of(few: Counts, many: Counts, requests: int) -> Work:
    """Return what one request costs of two windows, of which one has so many *requests* more."""
    costs = {
        key: {name: count / requests for name, count in counts.items()} for key, counts in difference(many, few).items()
    }
    calls, bytecodes = costs["calls"], costs["bytecodes"]
    c_calls: dict[str, float] = {}
    c_names: dict[str, float] = {}
    system_calls: dict[str, float] = {}
    for pair, cost in costs["c_calls"].items():
        caller, _, called = pair.partition(CALLS)
        c_calls[caller] = c_calls.get(caller, 0.0) + cost
        c_names[called] = c_names.get(called, 0.0) + cost
        if kind := system_call_of(called):
            system_calls[kind] = system_calls.get(kind, 0.0) + cost
    names = {*calls, *c_calls, *bytecodes}
    return Work(
        sum(calls.values()),
        sum(c_calls.values()),
        sum(bytecodes.values()),
        system_calls,
        {name: (calls.get(name, 0.0), c_calls.get(name, 0.0), bytecodes.get(name, 0.0)) for name in names},
        c_names,
        costs.get("lines", {}),
    )
