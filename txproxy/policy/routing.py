"""Which route serves a request: exact host, wildcard host, any host; longest path; conditions; order in the file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, NamedTuple, TypeVar

from txproxy.wire.fields import value_of
from txproxy.wire.messages import RequestHead

T = TypeVar("T")


class Match(NamedTuple):
    """What a request must be for a route to serve it."""

    hosts: tuple[bytes, ...] = ()
    """Lower case, exact or ``*.example.com`` (one label or more); empty for any."""
    path: bytes = b"/"
    """A prefix of the normal path, byte for byte as in nginx: ``/v1/`` matches ``/v1/x``; ``/v1`` also ``/v12``."""
    exact: bool = False
    """The path must be equal."""
    methods: frozenset[bytes] = frozenset()
    """Empty for any."""
    fields: tuple[tuple[bytes, bytes], ...] = ()
    """Lower-case names and the values they must have."""

    def accepts(self, request: RequestHead) -> bool:
        """Return whether path, method and fields match; the host has been looked up before."""
        if self.exact:
            if request.path != self.path:
                return False
        elif not request.path.startswith(self.path) and (self.path != b"/" or request.path[:1] == b"/"):
            # OPTIONS * and CONNECT have no path: any route that asks for none in particular serves them.
            return False
        if self.methods and request.method not in self.methods:
            return False
        return not self.fields or all(value_of(request.fields, name) == value for name, value in self.fields)


class RouteTable(Generic[T]):
    """Routes of one listener, indexed by host.

    :param routes: what must match, and what is then returned, in the order of the file.
    """

    def __init__(self, routes: Iterable[tuple[Match, T]]) -> None:
        routes = list(routes)
        exact: dict[bytes, list[tuple[Match, T]]] = {}
        wildcard: dict[bytes, list[tuple[Match, T]]] = {}
        self._any: list[tuple[Match, T]] = []
        for match, result in routes:
            if not match.hosts:
                self._any.append((match, result))
            for host in match.hosts:
                table, key = (wildcard, host[1:]) if host.startswith(b"*.") else (exact, host)
                table.setdefault(key, []).append((match, result))
        for group in (self._any, *exact.values(), *wildcard.values()):
            # The sort is stable: routes that are equally specific keep the order of the file.
            group.sort(key=_specificity)
        # One route without conditions is the whole table of many a proxy.
        self._always = self._any[0][1] if len(routes) == 1 and routes[0][0] == Match() else None
        self._exact = exact
        self._wildcard = wildcard

    def find(self, request: RequestHead) -> T | None:
        """Return the result of the route that serves a request, or None if there is none."""
        if self._always is not None and request.path[:1] == b"/":
            return self._always
        host = request.hostname
        if self._exact and (found := _first(self._exact.get(host), request)) is not None:
            return found
        if self._wildcard:
            dot = host.find(b".", 1)  # A wildcard stands for one label at least.
            while dot >= 0:  # The longest suffix is the most specific.
                if (found := _first(self._wildcard.get(host[dot:]), request)) is not None:
                    return found
                dot = host.find(b".", dot + 1)
        for match, result in self._any:
            if match.accepts(request):
                return result
        return None


def _first(group: list[tuple[Match, T]] | None, request: RequestHead) -> T | None:
    for match, result in group or ():
        if match.accepts(request):
            return result
    return None


def _specificity(entry: tuple[Match, object]) -> tuple[bool, int, int]:
    match = entry[0]
    return (not match.exact, -len(match.path), -(len(match.fields) + bool(match.methods)))
