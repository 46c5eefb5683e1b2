"""A worker: a proxy in a process of its own, with a connection to the supervisor."""

from __future__ import annotations

import gc
import signal
import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from pydantic import ValidationError
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from txproxy.admin.operator import purge_gently, said_of
from txproxy.admin.report import Reporter
from txproxy.cache.store import Purge as What
from txproxy.config.address import parse_address
from txproxy.config.problems import ConfigError
from txproxy.observe.log import LEVELS, Logger, set_level, set_prefix
from txproxy.privileges import drop
from txproxy.supervisor import messages
from txproxy.supervisor.memory import ORDERS, Order, Verdict
from txproxy.supervisor.numbers import Numbers
from txproxy.supervisor.place import MakeProxy, Place, shared_out
from txproxy.supervisor.sockets import Handed
from txproxy.supervisor.worker_channel import WorkerChannel

log = Logger()

_COUNT_EVERY_S = 0.5
_SWEEP_EVERY_S = 0.05
"""Between two messages about URLs that requests have purged, if nobody waits for an answer."""
_LAST_WORDS_S = 2.0
"""How long a worker that ends waits until the supervisor has taken its numbers."""
_VERDICTS = ("up", "down", "ejected")
_BY_ORDER = ("draining", "maintenance")


class Worker:
    """Runs a proxy.

    :param place: what it is given.
    :param connection: to the supervisor.
    :param reactor: as new; see ``child``.
    :param make_proxy: see ``place``.
    """

    def __init__(self, place: Place, connection: socket.socket, reactor: Any, make_proxy: MakeProxy) -> None:
        self._place = place
        self._connection = connection
        self._reactor = reactor
        self._make_proxy = make_proxy
        self.service: Any = None
        self._channel = WorkerChannel(self)
        self._assembled: Any = None
        self._handed = Handed(place.sockets)
        self._numbers = Numbers()
        self._is_checking = place.is_checking
        self._told: dict[tuple[str, str], Verdict] = {}
        """The last verdicts of others, for servers that the DNS has still to name here."""
        self._swept: dict[bytes, None] = {}
        self._ticks = LoopingCall(self._tick)
        self._ticks.clock = reactor
        self._is_stopping = False
        self._status = 0

    def run(self) -> int:
        """Serve until the end; return the exit status."""
        place = self._place
        set_prefix(f"{place.name}: ")
        if place.log_file is not None:
            place.log_file.forked()
        self._reactor.callWhenRunning(self.begin)
        self._reactor.run()
        if place.log_file is not None:
            place.log_file.close()
        return self._status

    def begin(self) -> None:
        """Begin to serve, and say so, or why not."""
        place, reactor = self._place, self._reactor
        self._connection.setblocking(False)
        reactor.adoptStreamConnection(
            self._connection.fileno(), socket.AF_UNIX, Factory.forProtocol(lambda: self._channel)
        )
        self._connection.close()
        # Later than the reactor, which has a handler of its own.
        reactor.callLater(0, signal.signal, signal.SIGTERM, lambda *_: reactor.callFromThread(self.leave))
        self.service = service = self._make_proxy(place.config, reactor, place.functions, self._handed)
        service.is_worker = True
        service.log_file = place.log_file
        service.previous = SimpleNamespace(tls=place.tls)
        service.when_assembled = self._use
        proxy = place.config.proxy
        try:
            if proxy.user or proxy.group:
                # Before anything is opened: logs are to be the user's, and what it may not read is not to be served.
                drop(proxy.user, proxy.group)
            service.startService()
        except Exception as error:
            if not isinstance(error, CannotListenError | ConfigError | LookupError | OSError | RuntimeError):
                log.failure("it cannot begin")  # Nobody has foreseen that, and the supervisor gets but a line.
            self._status = 1
            self._channel.tell(messages.Failed, reason=str(error)[:1000] or type(error).__name__)
            self.stop()
            return
        self._handed.close()
        if place.level:
            set_level(place.level)
        for order in place.orders:
            self._carry_again(order)
        for verdict in place.verdicts:
            self.heard(verdict)
        for section in self._assembled.tls.values():
            section.keeper.look()  # They were read when the supervisor began.
        # What was made so far stays for good: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        self._ticks.start(_COUNT_EVERY_S, now=False)
        self._channel.tell(messages.Ready)

    def _use(self, assembled: Any) -> None:
        """Take note of what serves from here on."""
        self._assembled = assembled
        for name, roster in assembled.rosters.items():
            roster.set_checking(self._is_checking)
            roster.cluster.on_transition = self._teller(name)
        if assembled.cache is not None:
            assembled.cache.sweep_elsewhere = self._sweep_elsewhere

    # Another configuration.

    def take(self, address: str, descriptor: int) -> None:
        """Keep a listening socket for the next configuration."""
        self._handed.add([(parse_address(address), socket.socket(fileno=descriptor))])

    def reload(self, workers: int) -> list[str]:
        """Read the configuration anew and serve it.

        :param workers: how many there are to be.
        :return: why that cannot be; nothing if it is served.
        """
        assert self._place.load is not None
        try:
            if self._is_stopping:
                return ["it is stopping"]
            loaded = self._place.load()
            self.service.change(shared_out(loaded.config, workers), loaded.functions)
        except (CannotListenError, ConfigError, OSError) as error:
            return str(error).splitlines()
        except Exception as error:
            log.failure("the configuration could not be changed")
            return [f"{type(error).__name__}: {error}"]
        finally:
            self._handed.close()
        return []

    # The end.

    def leave(self) -> None:
        """Stop because a signal to this process says so: somebody else is to take its place at once."""
        if not self._is_stopping:
            self._channel.tell(messages.Leaving)
            self.stop()

    def left_alone(self) -> None:
        """Stop because there is no supervisor any more."""
        if not self._is_stopping:
            log.warn("the supervisor is gone: what is under way may finish")
            self.stop()

    def stop(self) -> None:
        """Accept no more, finish what is under way, and end."""
        if self._is_stopping:
            return
        self._is_stopping = True
        stopped: Deferred[Any] = maybeDeferred(self.service.stopService)
        stopped.addErrback(lambda failure: log.failure("it could not be stopped well", failure))
        stopped.addCallback(lambda _: self._say_last_words())

    def _say_last_words(self) -> None:
        if self._ticks.running:
            self._ticks.stop()
        self._flush_swept()
        numbers = {} if self._assembled is None else self._numbers.changed(self._assembled, is_all=True)
        # The answer also says that all that was told before has arrived.
        told = self._channel.ask(messages.Counted, numbers=numbers)
        patience = self._reactor.callLater(_LAST_WORDS_S, told.cancel)

        def end(_result: object) -> None:
            if patience.active():
                patience.cancel()
            self._end()

        told.addBoth(end)

    def _end(self) -> None:
        # A reactor that is just starting cannot be stopped at once.
        self._reactor.callLater(0, self._reactor.stop)

    # Numbers.

    def _tick(self) -> None:
        numbers = self._numbers.changed(self._assembled)
        if numbers:
            self._channel.ask(messages.Counted, numbers=numbers).addErrback(_ignore)
        if self._told and not self._is_checking:
            self._tell_late_ones()

    def report(self) -> dict[str, Any]:
        """Return how everything is but what is counted, which the supervisor is told now."""
        if self._assembled is not None:
            self._assembled.ending.flush()
            numbers = self._numbers.changed(self._assembled, is_all=True)
            self._channel.ask(messages.Counted, numbers=numbers).addErrback(_ignore)
        return Reporter(self.service, self._place.number + 1, counts=False).report()

    def set_level(self, level: str) -> None:
        """Show so much in the application log, until the configuration asks for another level."""
        if level in LEVELS:
            set_level(level)

    # Backends.

    def set_checking(self, on: bool) -> None:
        """Check backends from here on, or leave that to another."""
        self._is_checking = on
        for roster in self.service.clusters.values():
            roster.set_checking(on)

    def _teller(self, cluster: str) -> Callable[[Any, Any], None]:
        def tell(backend: Any, transition: Any) -> None:
            if transition.after not in _VERDICTS:
                return
            if transition.before in _BY_ORDER and not self._is_checking:
                return  # An order comes to all; what checks found meanwhile is known to one.
            health = backend.health
            lasts_s = max(0.0, health.next_change_at - health.since) if transition.after == "ejected" else 0.0
            verdict = Verdict(
                cluster, backend.name, transition.after, transition.reason, max(1, health.ejections), lasts_s
            )
            self._channel.tell(messages.Found, verdict=list(verdict))

        return tell

    def heard(self, verdict: Verdict) -> None:
        """Take over what another worker has found out."""
        self._told[verdict.cluster, verdict.backend] = verdict
        roster = self.service.clusters.get(verdict.cluster)
        if roster is not None:
            roster.told(verdict.backend, verdict.state, verdict.reason, verdict.ejections)

    def _tell_late_ones(self) -> None:
        """Tell servers that the DNS has named here later than elsewhere what was found out of them."""
        for name, cluster in self._assembled.clusters.items():
            if not cluster.members.checking:
                continue
            for backend in cluster.backends:
                verdict = self._told.get((name, backend.name))
                if verdict is not None and backend.health.state == "checking":
                    self.heard(verdict)

    def carry(self, order: Order) -> None:
        """Carry out an order.

        :raises KeyError: there is no such cluster, or no such backend.
        :raises ValueError: it is no order, or not a valid one.
        """
        if order.call not in ORDERS:
            raise ValueError(f"no order: {order.call!r}")
        roster = self.service.clusters.get(order.cluster)
        if roster is None:
            raise KeyError(f"there is no cluster {order.cluster}")
        try:
            getattr(roster, order.call)(*order.arguments)
        except ValidationError as error:
            raise ValueError(said_of(error)) from None

    def _carry_again(self, order: Order) -> None:
        try:
            self.carry(order)
        except (KeyError, ValueError) as error:
            log.debug("an order is void by now: {error}", error=error)

    # The cache.

    def purge(self, kind: str, values: list[bytes]) -> Deferred[int]:
        """Purge in this process; return how many replies are gone.

        :param kind: see ``txproxy.cache.store.Purge``.
        """
        engine: Any = None if self._assembled is None else self._assembled.cache
        done: list[Deferred[int]] = []
        for value in values if engine is not None else ():
            counted: Deferred[int] = Deferred()
            done.append(counted)
            if kind == "url":
                engine.sweep_here(value, counted.callback)
            else:
                purge_gently(engine, What(kind, value), self._reactor.callLater).chainDeferred(counted)
        return DeferredList(done).addCallback(lambda results: sum(count for _, count in results))

    def _sweep_elsewhere(self, url: bytes, done: Callable[[int], None] | None) -> None:
        if done is not None:
            asked = self._channel.ask(messages.Swept, urls=[url.decode("latin-1")])
            asked.addCallbacks(lambda answer: done(answer["count"]), lambda _: done(0))
            return
        if not self._swept:
            self._reactor.callLater(_SWEEP_EVERY_S, self._flush_swept)
        self._swept[url] = None

    def _flush_swept(self) -> None:
        urls, self._swept = [url.decode("latin-1") for url in self._swept], {}
        if urls:
            self._channel.ask(messages.Swept, urls=urls).addErrback(_ignore)


def _ignore(_failure: Failure) -> None:
    """The supervisor is gone; ``left_alone`` sees to that."""
