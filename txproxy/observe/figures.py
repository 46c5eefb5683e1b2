"""What is counted of each route and of each cluster, and what went wrong last."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from txproxy.exchange import Exchange
from txproxy.observe.histogram import BOUNDS_S, BUCKETS, Histogram, histogram_numbers

_Kind = TypeVar("_Kind")

MOST_NAMES = 1000
"""Of routes, and of clusters, that have figures of their own, those included that a reload has removed."""
OTHERS = "(others)"
"""Stands for all further ones; no name of a configuration has a parenthesis."""
NO_NAME = ""
"""Of what came to no route, or to no cluster."""
MOST_ERRORS = 50
_SHORT_S = BOUNDS_S[0]
_LONG_S = 1.0
"""An exchange that took no longer is not asked whether it was a tunnel, which takes time too."""
_MOST_SHOWN = 200
"""Characters of a target that are kept."""
_UNREMARKABLE = frozenset(("client-left", "idle-timeout", "max-age", "no-route", "only-if-cached"))
"""How exchanges end although nothing is wrong: the last errors are not to be pushed out by these."""


def flat(*parts: object) -> str:
    """Return the flat name of a number."""
    return "|".join(map(str, parts))


def _bucket_names(*parts: object) -> list[str]:
    return [flat(*parts, index) for index in range(BUCKETS)]


class RouteFigures:
    """What is counted of the exchanges of one route."""

    __slots__ = ("_bucket_names", "bytes_in", "bytes_out", "name", "statuses", "total")

    def __init__(self, name: str) -> None:
        self.name = name
        self.statuses: Counter[int] = Counter()
        self.total = Histogram()
        """From the first byte of a request to the end of its reply; without tunnels that lasted."""
        self.bytes_in = 0
        self.bytes_out = 0
        self._bucket_names = _bucket_names("route", "seconds", name)

    def ended(self, exchanges: Sequence[Exchange], status: int) -> None:
        """Count exchanges that have ended.

        :param status: of all of them.
        """
        self.statuses[status] += len(exchanges)
        if status == 101:
            return
        totals = [each.ended_at - each.started_at for each in exchanges]
        if 200 <= status < 300 and max(totals) > _LONG_S:
            pairs = zip(totals, exchanges, strict=True)
            totals = [total for total, each in pairs if total <= _LONG_S or not each.is_tunnel]
        self.total.add_all(totals)

    def numbers(self) -> Iterator[tuple[str, int]]:
        """Yield its numbers that are not 0, by flat names."""
        name = self.name
        for status, count in self.statuses.items():
            yield f"route|status|{name}|{status}", count
        yield from histogram_numbers(self._bucket_names, f"route|seconds_us|{name}", self.total)
        if self.bytes_in:
            yield f"route|bytes_in|{name}", self.bytes_in
        if self.bytes_out:
            yield f"route|bytes_out|{name}", self.bytes_out


class ClusterFigures:
    """What is counted of the exchanges that a cluster served, at those backends from which the replies came."""

    __slots__ = ("_names", "connect", "first_byte", "leases", "name", "passages", "queue", "queue_s", "tries")

    def __init__(self, name: str) -> None:
        self.name = name
        self.tries = 0
        self.leases = 0
        """Exchanges that had a connection to a backend."""
        self.queue = Histogram()
        """Only those that waited longer than the first bucket has room for: the others are ``leases`` less these."""
        self.queue_s = 0.0
        """How long those others have waited together."""
        self.connect = Histogram()
        """Only those for which a connection was made; the others took one that was there, in no time."""
        self.first_byte = Histogram()
        """From the connection to the head of the reply."""
        self.passages: Counter[str] = Counter()
        """Connections of tcp listeners, by end reason."""
        self._names = {what: _bucket_names("cluster", what, name) for what in ("queue", "connect", "first_byte")}

    def ended(self, exchanges: Sequence[Exchange], end_reason: str, are_passages: bool) -> int:
        """Count exchanges that have ended.

        :param end_reason: of all of them.
        :param are_passages: they are connections of a tcp listener.
        :return: how many tries they had after the first ones, together.
        """
        # A moment that has not come is less than 0, and what is from the cache has none of these.
        leased = [each for each in exchanges if each.leased_at >= 0]
        if are_passages:
            self.passages[end_reason] += len(exchanges)
        elif leased:
            # What came to its end has had a head; else some may have failed before.
            replied = leased if end_reason == "ok" else [each for each in leased if each.replied_at >= 0]
            self.first_byte.add_all([each.replied_at - each.leased_at for each in replied])
        tries = [each.tries for each in exchanges]
        self.tries += sum(tries)
        retries = sum([count - 1 for count in tries if count > 1]) if max(tries) > 1 else 0
        if not leased:
            return retries
        self.leases += len(leased)
        waits = [each.connect_at - each.started_at for each in leased]
        if max(waits) > _SHORT_S:
            self.queue.add_all([wait for wait in waits if wait > _SHORT_S])
            waits = [wait for wait in waits if wait <= _SHORT_S]
        self.queue_s += sum(waits)
        self.connect.add_all([each.leased_at - each.connect_at for each in leased if each.leased_at > each.connect_at])
        return retries

    def numbers(self) -> Iterator[tuple[str, int]]:
        """Yield its numbers that are not 0, by flat names."""
        name = self.name
        for what, count in (("tries", self.tries), ("leases", self.leases), ("queue0_us", int(self.queue_s * 1e6))):
            if count:
                yield f"cluster|{what}|{name}", count
        for reason, count in self.passages.items():
            yield f"cluster|passages|{name}|{reason}", count
        for what, names in self._names.items():
            yield from histogram_numbers(names, f"cluster|{what}_us|{name}", getattr(self, what))


class LastError(NamedTuple):
    """An exchange that ended badly."""

    ended_at: float
    """In seconds of the monotonic clock."""
    id: str
    method: str
    target: str
    route: str
    backend: str
    """Those that were tried, in turn, with commas between them."""
    status: int
    end: str


def is_bad(exchange: Exchange) -> bool:
    """Return whether an exchange is kept among the last errors."""
    return exchange.error is not None and exchange.end_reason not in _UNREMARKABLE


def last_error(exchange: Exchange) -> LastError:
    """Return what is kept of an exchange that ended badly."""
    request = exchange.request
    method = target = ""
    if request is not None:
        method = request.method[:_MOST_SHOWN].decode("latin-1")
        target = request.target[:_MOST_SHOWN].decode("latin-1")
    return LastError(
        exchange.ended_at,
        exchange.id.decode("latin-1"),
        method,
        target,
        NO_NAME if exchange.route is None else exchange.route.name,
        exchange.backend_names(),
        exchange.status,
        exchange.end_reason,
    )


class Figures:
    """All of these, by name."""

    def __init__(self) -> None:
        self._routes: dict[str, RouteFigures] = {}
        self._clusters: dict[str, ClusterFigures] = {}
        self.errors: deque[LastError] = deque(maxlen=MOST_ERRORS)

    def of_route(self, route: Any) -> RouteFigures:
        """Return those of a route.

        :param route: None for what came to no route.
        """
        return _of(self._routes, route, RouteFigures)

    def of_cluster(self, cluster: Any) -> ClusterFigures:
        """Return those of a cluster.

        :param cluster: None for what came to no cluster.
        """
        return _of(self._clusters, cluster, ClusterFigures)

    def numbers(self) -> dict[str, int]:
        """Return all numbers that are not 0, by flat names."""
        found: dict[str, int] = {}
        for route in self._routes.values():
            found.update(route.numbers())
        for cluster in self._clusters.values():
            found.update(cluster.numbers())
        return found


def _of(known: dict[str, _Kind], named: Any, make: Callable[[str], _Kind]) -> _Kind:
    name = NO_NAME if named is None else named.name
    found = known.get(name)
    if found is None and len(known) >= MOST_NAMES:
        name = OTHERS
        found = known.get(name)
    if found is None:
        found = known[name] = make(name)
    return found
