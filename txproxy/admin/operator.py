"""Whoever carries out what is asked of the admin interface: one process by itself, or a supervisor with its workers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from pydantic import ValidationError
from twisted.internet.defer import Deferred

from txproxy.admin.report import Report, Reporter
from txproxy.admin.urls import normal_prefix, normal_url
from txproxy.cache.store import Purge
from txproxy.observe.log import LEVELS, set_level
from txproxy.upstream.roster import AlreadyThere, Roster

ORDERS = ("drain", "maintain", "serve")
PURGES = ("url", "prefix", "tag", "all")
_STEPS = 10
"""Of a purge in one turn of the reactor: about 2 ms."""


class Conflict(Exception):
    """It cannot be done as things are; the text says why."""


class Reloaded(NamedTuple):
    """What became of a reload."""

    ok: bool
    errors: tuple[str, ...] = ()
    """Why the configuration before stays; each as ``txproxy check`` says it."""
    summary: str = ""
    """What has changed."""


class Operator(Protocol):
    """What can be asked. Every answer may be a Deferred of it, which fails as is said here."""

    @property
    def is_ready(self) -> bool:
        """Whether requests are served and more may come."""

    @property
    def is_stopping(self) -> bool:
        """Whether it was told to stop; requests may be served still."""

    def report(self) -> Report | Deferred[Report]:
        """Return how everything is."""

    def order(self, cluster: str, backend: str, order: str) -> Any:
        """Order a backend to drain, to be maintained or to serve.

        :param backend: its name, or its entry's in the configuration.
        :param order: one of ``ORDERS``.
        :raises KeyError: there is no such cluster or backend.
        :raises Conflict: the proxy is stopping; likewise below.
        """

    def set_weight(self, cluster: str, backend: str, weight: int) -> Any:
        """Change a backend's share of the requests.

        :raises KeyError: there is no such cluster or backend.
        :raises ValueError: it is not a valid weight.
        """

    def add(self, cluster: str, address: str, weight: int, max_connections: int | None, backup: bool) -> Any:
        """Add a backend; see ``Roster.add``.

        :raises KeyError: there is no such cluster.
        :raises ValueError: it is not valid.
        :raises Conflict: it is there already.
        """

    def remove(self, cluster: str, backend: str) -> Any:
        """Let a backend go for good; what is under way there is completed.

        :raises KeyError: there is no such cluster or backend.
        """

    def purge(self, kind: str, value: str) -> Any:
        """Remove replies from the cache, and return how many are gone.

        :param kind: one of ``PURGES``.
        :param value: a URL, the beginning of URLs, or a tag.
        :raises ValueError: it is not valid.
        :raises Conflict: there is no cache.
        """

    def reload(self) -> Any:
        """Read the configuration again and serve it; return a ``Reloaded``."""

    def set_level(self, level: str) -> Any:
        """Change what the application log shows, until the configuration asks for another level.

        :raises ValueError: there is no such level.
        """


class LocalOperator:
    """Carries out what is asked in this process.

    :param service: the proxy: a ``ProxyService``.
    :param call_later: the reactor's.
    """

    def __init__(self, service: Any, call_later: Any) -> None:
        self._service = service
        self._call_later = call_later
        self._reporter = Reporter(service)

    @property
    def is_ready(self) -> bool:
        """See ``Operator``; likewise the others."""
        return bool(self._service.running)

    @property
    def is_stopping(self) -> bool:
        """See ``Operator``."""
        return not self._service.running

    def report(self) -> Report:
        """See ``Operator``."""
        return self._reporter.report()

    def order(self, cluster: str, backend: str, order: str) -> None:
        """See ``Operator``."""
        if order not in ORDERS:
            raise ValueError(f"no order: {order!r}")
        getattr(self._roster(cluster), order)(backend)

    def set_weight(self, cluster: str, backend: str, weight: int) -> None:
        """See ``Operator``."""
        self._roster(cluster).set_weight(backend, weight)

    def add(self, cluster: str, address: str, weight: int, max_connections: int | None, backup: bool) -> None:
        """See ``Operator``."""
        try:
            self._roster(cluster).add(address, weight, max_connections, backup)
        except AlreadyThere as error:
            raise Conflict(str(error)) from None
        except ValidationError as error:
            raise ValueError(said_of(error)) from None

    def remove(self, cluster: str, backend: str) -> None:
        """See ``Operator``."""
        self._roster(cluster).remove(backend)

    def _roster(self, cluster: str) -> Roster:
        if self.is_stopping:
            raise Conflict("the proxy is stopping")
        roster = self._service.clusters.get(cluster)
        if roster is None:
            raise KeyError(f"there is no cluster {cluster}")
        found: Roster = roster
        return found

    def purge(self, kind: str, value: str) -> Deferred[int]:
        """See ``Operator``."""
        what = meant_by(kind, value)
        assembled = self._service.assembled
        if assembled is None:
            raise Conflict("the proxy is stopping")
        if assembled.cache is None:
            raise Conflict("no route has a cache")
        if what.kind != "url":
            return purge_gently(assembled.cache, what, self._call_later)
        done: Deferred[int] = Deferred()
        assembled.cache.sweep_url(what.value, done.callback)
        return done

    def reload(self) -> Reloaded:
        """See ``Operator``."""
        if self.is_stopping:
            raise Conflict("the proxy is stopping")
        is_served = self._service.reload()
        result = self._service.last_reload
        if result is None:
            return Reloaded(is_served, summary="there is no file; certificates are read anew")
        return Reloaded(is_served, result.errors, result.summary)

    def set_level(self, level: str) -> None:
        """See ``Operator``."""
        check_level(level)
        set_level(level)


def purge_gently(engine: Any, what: Purge, call_later: Any) -> Deferred[int]:
    """Purge a little at a time, so that other requests have their turn; return how many replies are gone.

    :param engine: a ``CacheEngine``.
    :param call_later: the reactor's.
    """
    done: Deferred[int] = Deferred()

    def go_on(purging: Iterator[int], count: int) -> None:
        for _ in range(_STEPS):
            removed = next(purging, None)
            if removed is None:
                done.callback(count)
                return
            count += removed
        call_later(0, go_on, purging, count)

    go_on(engine.purging(what), 0)
    return done


def meant_by(kind: str, value: str) -> Purge:
    """Return what is to be purged.

    :param kind: one of ``PURGES``.
    :raises ValueError: the value is not valid.
    """
    if kind == "url":
        return Purge(kind, normal_url(value))
    if kind == "prefix":
        return Purge(kind, normal_prefix(value))
    if kind == "tag":
        tag = value.encode()
        if not tag or not value.isprintable() or b"," in tag or tag != tag.strip():
            raise ValueError(f"{value[:100]!r} is not a tag (allowed: text without commas)")
        return Purge(kind, tag)
    if kind != "all":
        raise ValueError(f"{kind!r} cannot be purged (allowed: {', '.join(PURGES)})")
    return Purge("all")


def check_level(level: str) -> None:
    """Refuse what is not a level of the log.

    :raises ValueError: with what is allowed.
    """
    if level not in LEVELS:
        raise ValueError(f"{level!r} is not a level (allowed: {', '.join(LEVELS)})")


def said_of(error: ValidationError) -> str:
    """Return in one line what is wrong with the settings of a backend."""
    return "; ".join(
        f"{'.'.join(map(str, each['loc']))}: {each['msg'].removeprefix('Value error, ')}" for each in error.errors()
    )
