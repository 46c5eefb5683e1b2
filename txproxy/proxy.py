"""One process that serves a configuration: it begins, follows another configuration, and stops well."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.task import LoopingCall

from txproxy.admin.desk import Desk
from txproxy.admin.operator import LocalOperator
from txproxy.announcing import READY, addresses_of, allow_descriptors, announce, announce_listeners, url_of_first
from txproxy.application_log import LogFile
from txproxy.assembly import Assembled, Clocks, assemble
from txproxy.config.address import Address
from txproxy.config.changes import changes, left_for_a_restart
from txproxy.config.model import Config
from txproxy.config.problems import ConfigError
from txproxy.draining import Remains
from txproxy.notify import Notifier
from txproxy.observe.log import Logger, set_level
from txproxy.ports import Given, Ports
from txproxy.reload import Reload, ReloadResult, Source, wanted
from txproxy.upstream.roster import Roster

log = Logger()


class ProxyService(Service):
    """Listens, serves, and stops without losing what is under way.

    :param config: what to serve.
    :param reactor: the one to run on.
    :param functions: users' functions, by the reference that the configuration has for them.
    :param clocks: where the time comes from.
    :param given: has listening sockets that need not be bound; see ``txproxy.ports``.
    :param source: where the configuration came from, to be read again by ``reload``; None if it cannot be.
    """

    name = "txproxy"

    def __init__(
        self,
        config: Config,
        reactor: Any,
        functions: Mapping[str, Callable[..., Any]] | None = None,
        clocks: Clocks | None = None,
        given: Given | None = None,
        source: Source | None = None,
    ) -> None:
        self.config = config
        self.ports = Ports(reactor, given)
        """What listens, by the listener's name; empty while the service is not running."""
        self.log_file: LogFile | None = None
        """Of the application log, if it is ours to reopen."""
        self.upgrade: Callable[[], None] | None = None
        """Begins to replace the process by a new one, where that can be."""
        self.assembled: Assembled | None = None
        self._reactor = reactor
        self._functions = functions or {}
        self.clocks = clocks or Clocks()
        self._ticker: LoopingCall | None = None
        self._remains = Remains(reactor, self.clocks.monotonic)
        self._source = source
        self.operator = LocalOperator(self, reactor.callLater)
        """What operators can ask, from Python too; see ``txproxy.admin.operator``."""
        self.admin = Desk(self.operator, reactor, given)
        """The interface for operators, if the configuration asks for one."""
        self.leaving: Assembled | None = None
        """What was served, while it is coming to its end."""
        self.started_at = self.loaded_at = self.clocks.wall()
        """When it was made, and since when the present configuration is served, in seconds since 1970."""
        self.previous: Any = None
        """What another process has made before, to be used again at the start; see ``assemble``."""
        self.last_reload: ReloadResult | None = None
        """What became of the last attempt to serve another configuration; None if there was none."""
        self.when_listening: Callable[[str], None] | None = None
        """Told the URL of the first listener once it accepts."""
        self.when_bound: Callable[[], None] | None = None
        """Called once all ports are open."""
        self.when_ready: Callable[[], None] | None = None
        """Called once it serves."""
        self.notifier = Notifier({})
        """Tells systemd of reloads, if it is to be told."""
        self.when_assembled: Callable[[Assembled], None] | None = None
        """Told of what serves from now on, before it begins to."""
        self.is_worker = False
        """One of several processes: their supervisor says what is to be said for all of them."""

    @property
    def clusters(self) -> Mapping[str, Roster]:
        """The clusters by name, to ask for their backends' state and to change them while they serve.

        Empty while the service is not running. See ``txproxy.upstream.roster.Roster``.
        """
        return {} if self.assembled is None else self.assembled.rosters

    @property
    def path(self) -> str:
        """Of the file with the configuration; empty if there is none."""
        return "" if self._source is None else self._source.path

    def privilegedStartService(self) -> None:
        """Bind the ports, while the process may still be allowed to."""
        self._listen()

    def startService(self) -> None:
        """Begin to serve.

        :raises twisted.internet.error.CannotListenError: if an address cannot be bound.
        """
        if self.running:
            return
        set_level(self.config.log.level)
        self._listen()
        super().startService()
        assembled = self.assembled
        assert assembled is not None
        self._ticker = LoopingCall(self._tick, assembled)
        self._ticker.clock = self._reactor
        self._ticker.start(assembled.deadlines.tick_s, now=False)
        assembled.start()
        if self.is_worker:
            return
        announce(assembled.config, addresses_of(self.ports), assembled.tls)
        log.info(READY)
        if self.when_listening is not None:
            self.when_listening(url_of_first(assembled.config, self.ports))
        if self.when_ready is not None:
            self.when_ready()

    def _listen(self) -> None:
        if self.assembled is not None:
            return
        config = self.config
        allow_descriptors(config)
        assembled = assemble(config, self._functions, self._reactor, self.clocks, previous=self.previous)
        if self.when_assembled is not None:
            self.when_assembled(assembled)
        try:
            change = self.ports.prepare(wanted(assembled))
            try:
                self.admin.open(config.admin)
            except Exception:
                change.abandon()
                raise
            change.commit()
        except Exception:
            if assembled.access_log is not None:
                assembled.access_log.close()
            raise
        for port in self.ports.values():
            assembled.gate.add_port(port)
        self.assembled = assembled
        if self.when_bound is not None:
            self.when_bound()

    def _tick(self, assembled: Assembled) -> None:
        now = self.clocks.monotonic()
        assembled.counters.loop_lag.ticked(now, assembled.deadlines.tick_s)
        # Deadlines hold while the proxy is stopping too.
        for item in assembled.deadlines.due(now):
            try:
                item.deadline_passed()  # type: ignore[attr-defined]
            except Exception:
                log.failure("a deadline of {item} could not be acted on", item=item)

    def stopService(self) -> Deferred[None]:
        """Accept no more, finish what is under way, and cut what is left when the time is over.

        :return: fires when nothing is left.
        """
        super().stopService()
        assembled = self.assembled
        if assembled is None:
            return succeed(None)
        self.assembled, self.leaving = None, assembled
        assembled.wind_down()
        self._remains.drain(assembled.sites.values(), self.config.proxy)
        done = DeferredList([self.ports.stop(), *self._remains.ends()])
        done.addCallback(lambda _: self._stopped(assembled))
        # Until then operators can see what is left.
        return done.addCallback(lambda _: self.admin.stop())

    def _stopped(self, assembled: Assembled) -> None:
        self._remains.stop()
        if self._ticker is not None and self._ticker.running:
            self._ticker.stop()
        say = log.debug if self.is_worker else log.info
        for cluster in assembled.clusters.values():
            for backend in cluster.backends:
                say("backend {name}: {pool}", name=backend.name, pool=backend.pool.summary())
        assembled.stop()
        assembled.ending.stop()
        if assembled.tls:
            say("{summary}", summary=assembled.counters.tls.summary())
        say("stopped: {summary}", summary=assembled.counters.summary())
        if assembled.access_log is not None:
            assembled.access_log.close()
        self.leaving = None

    def cut_short(self) -> None:
        """End what is under way at once, if the service is stopping."""
        if self.assembled is None:
            self._remains.cut_short()

    def reload(self) -> bool:
        """Read the configuration again and serve it, if there is nothing wrong with it; else say what.

        A service that was not made of a file reads its certificates anew, as a reload of one does too.

        :return: whether the configuration that there is now is the one that is served.
        """
        if not self.running:
            return False
        self.notifier.reloading()
        is_served = self._reload()
        result = self.last_reload
        stale = not is_served and result is not None
        self.notifier.ready(f"serves what it was told before: {result.errors[0]}" if stale else "")  # type: ignore[union-attr]
        return is_served

    def _reload(self) -> bool:
        source = self._source
        if source is None:
            log.info("reading the certificates anew; there is no file with a configuration that could have changed")
            self.reload_certificates()
            return True
        begun = self.clocks.monotonic()
        try:
            loaded = source.load()
            said = self.change(loaded.config, loaded.functions)
        except (ConfigError, CannotListenError, OSError) as error:
            self._refused(source, tuple(str(error).splitlines()))
        except Exception as error:
            log.failure("the configuration could not be changed")
            self._refused(source, (f"{type(error).__name__}: {error}",))
        else:
            for remark in loaded.remarks:
                log.warn("{remark}", remark=remark)
            summary = "; ".join(said) or "nothing has changed"
            log.info(
                "reloaded {path} in {took_ms:.0f} ms: {said}",
                path=source.path,
                took_ms=1e3 * (self.clocks.monotonic() - begun),
                said=summary,
            )
            self.loaded_at = self.clocks.wall()
            self.last_reload = ReloadResult(self.loaded_at, True, (), summary)
            return True
        return False

    def _refused(self, source: Source, errors: tuple[str, ...]) -> None:
        for error in errors:
            log.error("{error}", error=error)
        log.error("{path} is not served: the configuration before it stays", path=source.path)
        self.last_reload = ReloadResult(self.clocks.wall(), False, errors)

    def change(self, config: Config, functions: Mapping[str, Callable[..., Any]] | None = None) -> list[str]:
        """Serve another configuration from here on, without losing anything that is under way.

        What is the same in both goes on as it is, with its connections; listeners that are gone are drained.

        :param config: what to serve.
        :param functions: users' functions, by the reference that the configuration has for them.
        :return: what is different, in words.
        :raises ConfigError: if it cannot be served; nothing has changed then, as with the other two.
        :raises twisted.internet.error.CannotListenError: if an address cannot be bound.
        :raises OSError: if a log cannot be opened.
        :raises ValueError: if the service is not running.
        """
        old, before = self.assembled, self.config
        if old is None or not self.running:
            raise ValueError("the service is not running")
        new = assemble(config, functions or {}, self._reactor, self.clocks, previous=old)
        try:
            move = self.admin.prepare(config.admin)
            try:
                reload = Reload(old, new, self.ports)
            except Exception:
                move.change.abandon()
                raise
        except Exception:
            if new.access_log is not None and new.access_log is not old.access_log:
                new.access_log.close()
            raise
        self.config, self.assembled, self._functions = config, new, functions or {}
        if config.log.level != before.log.level:  # Else the operator may have changed it meanwhile.
            set_level(config.log.level)
        if self.when_assembled is not None:
            self.when_assembled(new)
        outcome = reload.commit()
        self.admin.commit(move)
        if old.access_log is not None and old.access_log is not new.access_log:
            old.access_log.let_go()
        self._follow_log(before.log.path, config.log.path)
        if config.proxy.max_connections != before.proxy.max_connections:
            allow_descriptors(config)
        if not self.is_worker:
            new_ones = [each for each in config.listeners if each.name in outcome.opened]
            announce_listeners(new_ones, addresses_of(self.ports))
        self._remains.let_go(reload.leaving(), new.deadlines, config.proxy)
        self._remains.drain(outcome.drained, config.proxy)
        self._remains.retire(reload.retired())
        for key in () if self.is_worker else left_for_a_restart(before, config):
            log.warn("{key} has changed, which takes effect at the next start", key=key)
        return changes(before, config)

    def _follow_log(self, before: str, after: str) -> None:
        if before == after:
            return
        if self.log_file is None:
            log.warn("log.path has changed, which takes effect at the next start")
            return
        try:
            self.log_file.move(after)
        except OSError as reason:
            log.error("the application log stays where it is: {reason}", reason=reason)

    def reload_certificates(self) -> None:
        """Read the certificates anew, whether their files have changed or not."""
        if self.assembled is not None:
            self.assembled.reload_certificates()

    def sockets(self) -> list[tuple[Address, socket.socket]]:
        """Return what listens, for a process that is to serve in place of this one."""
        return self.ports.sockets() + self.admin.ports.sockets()

    def own_files(self) -> None:
        """Remove the files of unix sockets at the end, also of those that a process before this one has bound."""
        self.ports.own_files()
        self.admin.ports.own_files()

    def hand_over(self) -> None:
        """Stop the process gracefully: another one has the sockets too, and serves."""
        self.ports.share()
        self.admin.hand_over()
        self._reactor.stop()

    def reopen_logs(self) -> None:
        """Open the logs anew: their files were moved away."""
        if self.log_file is not None:
            try:
                self.log_file.reopen()
            except OSError as reason:
                log.error("the application log cannot be opened anew: {reason}", reason=reason)
        # Standard output is not a file that was moved away.
        if self.assembled is not None and self.assembled.access_log is not None and self.config.log.access != "-":
            self.assembled.ending.flush()
            self.assembled.access_log.reopen()
