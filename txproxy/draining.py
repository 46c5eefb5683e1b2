"""What is to come to an end in time: listeners that accept no more, tunnels whose way is gone, clusters of no use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred

from txproxy.config.model import ProxySettings
from txproxy.downstream.site import Site
from txproxy.errors import ShuttingDown
from txproxy.exchange import Exchange, Passage
from txproxy.observe.log import Logger
from txproxy.policy.deadlines import NEVER, Deadlines
from txproxy.upstream.roster import Roster

log = Logger()

_LOOK_S = 1.0
"""How often it is looked whether a cluster can be stopped."""


class Draining:
    """Sites that get no new connections: what is idle is closed, what is under way has its time to finish.

    :param sites: see there.
    :param proxy: says how long that is.
    :param call_later: the reactor's.
    """

    def __init__(self, sites: Iterable[Site], proxy: ProxySettings, call_later: Callable[..., Any]) -> None:
        self.done: Deferred[None] = Deferred()
        """Fires when no connection is left."""
        self._sites = list(sites)
        self._deadlines = [
            call_later(proxy.shutdown_timeout_s, self._cut, False),
            call_later(proxy.tunnel_shutdown_timeout_s, self._cut, True),
        ]
        for site in self._sites:
            site.when_empty = self._look
            site.drain()
        self._look()

    def cut_short(self) -> None:
        """End what is under way at once."""
        self._cancel()
        self._cut()

    def _look(self) -> None:
        if not self.done.called and not any(site.connections for site in self._sites):
            self._cancel()
            self.done.callback(None)

    def _cancel(self) -> None:
        for deadline in self._deadlines:
            if deadline.active():
                deadline.cancel()

    def _cut(self, tunnels: bool | None = None) -> None:
        busy = sum(site.cut(ShuttingDown(), tunnels) for site in self._sites)
        if busy:
            log.warn("{busy} exchanges were cut by the end of the time for a graceful stop", busy=busy)


class Farewells:
    """Tunnels that were opened on a way that is gone, on listeners that stay: each has its time to come to an end.

    :param clock: the monotonic clock, in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.deadline = self.look_at = NEVER
        self._deadlines: Deadlines | None = None
        self._clock = clock
        self._until: dict[Exchange, float] = {}
        """By exchange when it is cut, if it is a tunnel by then."""

    def __len__(self) -> int:
        return len(self._until)

    def say(self, leaving: Iterable[Exchange], deadlines: Deadlines, patience_s: float) -> None:
        """Give exchanges their time; those that have had one before keep it, and all others have no end set.

        :param leaving: all that are to leave, whether they are tunnels already or may become one.
        :param deadlines: the wheel that watches them.
        :param patience_s: seconds that they have.
        """
        self._deadlines = deadlines
        until = self._clock() + patience_s
        self._until = {exchange: self._until.get(exchange, until) for exchange in leaving}
        self._plan()

    def deadline_passed(self) -> None:
        """Cut what has had its time."""
        now = self._clock()
        over = [exchange for exchange, until in self._until.items() if until <= now]
        cut = 0
        for exchange in over:
            del self._until[exchange]
            # What turned out to be no tunnel has its usual deadlines, as any exchange.
            if not exchange.ended and (exchange.is_tunnel or isinstance(exchange, Passage)):
                exchange.client.cut(ShuttingDown())
                cut += 1
        if cut:
            log.warn("{cut} tunnels were cut: the configuration has changed, and their time is over", cut=cut)
        self._plan()

    def _plan(self) -> None:
        self._until = {exchange: until for exchange, until in self._until.items() if not exchange.ended}
        self.deadline = min(self._until.values(), default=NEVER)
        if self.deadline < self.look_at and self._deadlines is not None:
            self._deadlines.watch(self)


class Remains:
    """All that is left of configurations that are served no more.

    :param reactor: provides IReactorTime.
    :param clock: the monotonic clock, in seconds.
    """

    def __init__(self, reactor: Any, clock: Callable[[], float]) -> None:
        self._reactor = reactor
        self._draining: list[Draining] = []
        self._farewells = Farewells(clock)
        self._retiring: dict[Roster, Any] = {}
        """Clusters whose backends are checked still, for requests that wait for the result."""

    def drain(self, sites: Iterable[Site], proxy: ProxySettings) -> None:
        """Let listeners go that accept no more; see ``Draining``."""
        draining = Draining(sites, proxy, self._reactor.callLater)
        if not draining.done.called:
            self._draining.append(draining)
            draining.done.addCallback(lambda _: self._draining.remove(draining))

    def let_go(self, leaving: Iterable[Exchange], deadlines: Deadlines, proxy: ProxySettings) -> None:
        """Let tunnels go on listeners that stay; see ``Farewells``."""
        self._farewells.say(leaving, deadlines, proxy.tunnel_shutdown_timeout_s)

    def retire(self, rosters: Iterable[Roster]) -> None:
        """Let clusters go that get no more requests: those that they have are completed."""
        for roster in rosters:
            self._retiring.pop(roster, None)
            roster.wind_down()
            if roster.cluster.is_awaited:
                self._retiring[roster] = self._reactor.callLater(_LOOK_S, self.retire, (roster,))
            else:
                roster.stop()

    def ends(self) -> list[Deferred[None]]:
        """Return for all listeners that are being drained what fires when they have no connection left."""
        return [draining.done for draining in self._draining]

    def cut_short(self) -> None:
        """End what is under way on listeners that are being drained."""
        for draining in list(self._draining):
            draining.cut_short()

    def stop(self) -> None:
        """Leave no call behind: no request is left."""
        while self._retiring:
            roster, call = self._retiring.popitem()
            call.cancel()
            roster.stop()
