"""What operators ask of a supervisor: carried out by all of its workers, and told as of one proxy."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from txproxy import __version__
from txproxy.admin.operator import ORDERS, Conflict, Reloaded, check_level, meant_by
from txproxy.admin.report import Report, config_part, routes_part
from txproxy.cache_assembly import uses_cache
from txproxy.observe.merging import merged
from txproxy.reload import ReloadResult
from txproxy.supervisor.crew import Crew
from txproxy.supervisor.memory import Order
from txproxy.supervisor.messages import Refused
from txproxy.upstream.roster import AlreadyThere


class SupervisorOperator:
    """Carries out what is asked in all workers; see ``txproxy.admin.operator.Operator``.

    :param supervisor: whose workers they are: a ``Supervisor``.
    :param crew: the workers.
    """

    def __init__(self, supervisor: Any, crew: Crew) -> None:
        self._supervisor = supervisor
        self._crew = crew

    @property
    def is_ready(self) -> bool:
        """See ``Operator``; likewise the others."""
        return bool(self._supervisor.is_serving)

    @property
    def is_stopping(self) -> bool:
        """See ``Operator``."""
        return not self._supervisor.running

    def report(self) -> Deferred[Report]:
        """See ``Operator``."""
        return self._crew.reports().addCallback(self._of_all)

    def _of_all(self, reports: list[Report]) -> Report:
        supervisor = self._supervisor
        config, now = supervisor.config, supervisor.clocks.wall()
        of_workers: Report = merged(reports, {}) if reports else {
            "workers": [], "listeners": [], "clusters": {}, "cache": None, "certificates": [], "errors": [],
        }  # fmt: skip
        return of_workers | {
            "version": __version__,
            "started_at": supervisor.started_at,
            "now": now,
            "state": "stopping" if self.is_stopping else "ready",
            "config": config_part(config, supervisor.path, supervisor.loaded_at, supervisor.last_reload),
            "routes": routes_part(config),
            "numbers": supervisor.numbers(),
        }

    def order(self, cluster: str, backend: str, order: str) -> Deferred[None]:
        """See ``Operator``."""
        if order not in ORDERS:
            raise ValueError(f"no order: {order!r}")
        return self._ask(cluster, order, backend)

    def set_weight(self, cluster: str, backend: str, weight: int) -> Deferred[None]:
        """See ``Operator``."""
        return self._ask(cluster, "set_weight", backend, weight)

    def add(self, cluster: str, address: str, weight: int, max_connections: int | None, backup: bool) -> Deferred[None]:
        """See ``Operator``."""
        return self._ask(cluster, "add", address, weight, max_connections, backup)

    def remove(self, cluster: str, backend: str) -> Deferred[None]:
        """See ``Operator``."""
        return self._ask(cluster, "remove", backend)

    def _ask(self, cluster: str, call: str, *arguments: Any) -> Deferred[None]:
        self._check_serving()
        return self._crew.order(Order(cluster, call, arguments)).addErrback(_as_told)

    def _check_serving(self) -> None:
        if self.is_stopping:
            raise Conflict("the proxy is stopping")

    def purge(self, kind: str, value: str) -> Deferred[int]:
        """See ``Operator``."""
        what = meant_by(kind, value)
        self._check_serving()
        if not uses_cache(self._supervisor.config):
            raise Conflict("no route has a cache")
        return self._crew.purge(what.kind, what.value)

    def reload(self) -> Deferred[Reloaded]:
        """See ``Operator``."""
        self._check_serving()
        done: Deferred[ReloadResult | None] = self._supervisor.reloaded()

        def tell(result: ReloadResult | None) -> Reloaded:
            if result is None:
                return Reloaded(True, summary="there is no file; certificates are read anew")
            return Reloaded(result.is_served, result.errors, result.summary)

        return done.addCallback(tell)

    def set_level(self, level: str) -> None:
        """See ``Operator``."""
        check_level(level)
        self._supervisor.set_level(level)


def _as_told(failure: Failure) -> Any:
    """Make of what a worker has said what this process would have said itself."""
    value: Any = failure.value
    text = str(value.args[0]) if value.args else ""
    if failure.check(AlreadyThere, Refused):
        raise Conflict(text)
    if failure.check(KeyError):
        # It has come as the text of a KeyError, which is in quotes.
        raise KeyError(text[1:-1] if text[:1] == text[-1:] and text[:1] in "'\"" else text)
    return failure
