"""The supervisor: binds the ports and reads the certificates, and has workers serve them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall

from txproxy.admin.desk import Desk, Move
from txproxy.announcing import READY, announce, announce_listeners
from txproxy.cluster_assembly import sticky_key
from txproxy.config.changes import changes, left_for_a_restart
from txproxy.config.load import Loaded
from txproxy.config.model import Config
from txproxy.config.problems import ConfigError
from txproxy.notify import Notifier
from txproxy.observe.counters import Counters
from txproxy.observe.log import Logger, set_level
from txproxy.privileges import acting_as
from txproxy.reload import ReloadResult
from txproxy.supervisor import messages
from txproxy.supervisor.crew import Crew, CrewTools
from txproxy.supervisor.numbers import last_lines
from txproxy.supervisor.operator import SupervisorOperator
from txproxy.supervisor.place import Place, shared_out
from txproxy.supervisor.rolling import Rolling
from txproxy.supervisor.sockets import Sockets
from txproxy.supervisor.tools import SupervisorTools
from txproxy.tls_assembly import SharedTls, TlsSection, make_sections

log = Logger()

Awaiting = Deferred[ReloadResult | None]
"""Fires with what became of a reload; None if there is no file."""

_OVERTIME_S = 10.0
"""Beyond the time for a graceful stop; then what still runs is killed."""


class Supervisor(Service):
    """Serves nothing itself: it has workers.

    :param loaded: the configuration that they serve, and users' functions.
    :param tools: see there.
    """

    name = "txproxy"

    def __init__(self, loaded: Loaded, tools: SupervisorTools) -> None:
        self.config = loaded.config
        self.log_file: Any = None
        """The application log, if it is ours to reopen."""
        self.exit_status = 0
        """Not 0 if no worker could begin."""
        self.upgrade: Callable[[], None] | None = None
        """Begins to replace the process by a new one, where that can be."""
        self.when_bound: Callable[[], None] | None = None
        """Called once all ports are open."""
        self.when_ready: Callable[[], None] | None = None
        """Called once all workers serve."""
        self.notifier = Notifier({})
        """Tells systemd of reloads, if it is to be told."""
        self.last_reload: ReloadResult | None = None
        """What became of the last attempt to serve another configuration; None if there was none."""
        self.clocks = tools.clocks
        self.started_at = self.loaded_at = tools.clocks.wall()
        """When it was made, and since when the present configuration is served, in seconds since 1970."""
        self.is_serving = False
        """All workers have begun to serve, and none was told to stop for good."""
        self._loaded = loaded
        self._tools = tools
        self._reactor = tools.reactor
        self._sockets = Sockets(tools.given)
        self._sections: dict[str, TlsSection] = {}
        self._crew = Crew(
            CrewTools(
                tools.reactor,
                tools.launcher,
                self._place,
                self._all_serve,
                self._none_can_begin,
                self._all_have_ended,
            )
        )
        self.operator = SupervisorOperator(self, self._crew)
        """What operators can ask, from Python too; see ``txproxy.admin.operator``."""
        self.admin = Desk(self.operator, tools.reactor, tools.given)
        """The interface for operators, if the configuration asks for one."""
        self._level = ""
        """What the operator wants of the log; empty for what the configuration says."""
        self._rolling: Rolling | None = None
        self._awaiting: tuple[list[Awaiting], list[Awaiting]] = ([], [])
        """Those that wait for the end of a reload, and of the one after it."""
        self._is_wanted_again = False
        self._keeps_files = False
        self._stopped: Deferred[None] | None = None
        self._deadline: IDelayedCall | None = None

    # The beginning.

    def privilegedStartService(self) -> None:
        """Bind the ports and read the certificates, while the process may still be allowed to."""
        if self._sockets.all():
            return
        self._sections = self._read_certificates(self.config)
        self._sockets.open(self.config, self._tools.count(self.config))
        try:
            self.admin.open(self.config.admin)
        except Exception:
            self._sockets.close()
            raise
        if self.when_bound is not None:
            self.when_bound()

    def startService(self) -> None:
        """Begin to serve.

        :raises twisted.internet.error.CannotListenError: if an address cannot be bound.
        :raises ConfigError: if a section of TLS has no certificate that can be used.
        """
        if self.running:
            return
        set_level(self.config.log.level)
        self.privilegedStartService()
        super().startService()
        sticky_key()  # From here on it is the same in all workers.
        announce(self.config, self._sockets.addresses(self.config), self._sections)
        # Not before the reactor runs: twistd may still become another process.
        self._reactor.callWhenRunning(self._start_all)

    def _start_all(self) -> None:
        if self._stopped is None:
            count = self._tools.count(self.config)
            log.info("starting {count} {workers}", count=count, workers="worker" if count == 1 else "workers")
            self._crew.clusters = self.config.clusters
            self._crew.resize(count)

    def _read_certificates(self, config: Config) -> dict[str, TlsSection]:
        counters = Counters()
        sections = make_sections(config, self._reactor, self.clocks, counters.tls, self._sections)
        self._crew.totals.add(counters.numbers())
        return sections

    def _place(self, number: int, is_checking: bool) -> Place:
        sockets = self._sockets.of(number)
        crew, source = self._crew, self._tools.source
        return Place(
            number=number,
            config=shared_out(self.config, self._tools.count(self.config)),
            functions=self._loaded.functions,
            load=None if source is None else source.load,
            sockets=sockets,
            tls={name: SharedTls(each.settings, each.tls, each.keeper) for name, each in self._sections.items()},
            is_checking=is_checking,
            verdicts=crew.verdicts.standing(self._reactor.seconds()),
            orders=list(crew.orders),
            level=self._level,
            log_file=self.log_file,
            close_others=partial(self._close_others, [each for _, each in sockets]),
        )

    def _close_others(self, mine: list[Any]) -> None:
        self._sockets.close_others(mine)
        self.admin.close_copies()

    def _all_serve(self) -> None:
        self.is_serving = self._stopped is None
        log.info(READY)
        if self.when_ready is not None:
            self.when_ready()

    def _none_can_begin(self) -> None:
        self.exit_status = 1
        self._reactor.stop()

    # What the operator wants.

    def numbers(self) -> dict[str, int]:
        """Return what all workers have counted, those that are gone included; the names are those of ``Counters``."""
        return self._crew.totals.numbers()

    def set_level(self, level: str) -> None:
        """Show so much in the application log, here and in all workers, until the configuration asks for another level.

        :param level: of the log.
        """
        self._level = level
        set_level(level)
        self._crew.tell_all(messages.SetLevel, level=level)

    def reopen_logs(self) -> None:
        """Open the logs anew: their files were moved away."""
        if self.log_file is not None:
            try:
                with acting_as(self.config.proxy.user, self.config.proxy.group):
                    self.log_file.reopen()
            except OSError as reason:
                log.error("the application log cannot be opened anew: {reason}", reason=reason)
        self._crew.tell_all(messages.ReopenLogs)

    # Another configuration.

    @property
    def path(self) -> str:
        """Of the file with the configuration; empty if there is none."""
        return "" if self._tools.source is None else self._tools.source.path

    def reloaded(self) -> Awaiting:
        """Reload, and return what became of it; None if there is no file."""
        done: Awaiting = Deferred()
        self._awaiting[self._rolling is not None].append(done)
        self.reload()
        return done

    def reload(self) -> None:
        """Read the configuration again and have all workers serve it, one after the other; or say what is wrong.

        One that comes while another is under way follows it.
        """
        source = self._tools.source
        if self._stopped is not None:
            return
        if source is None:
            log.info("reading the certificates anew; there is no file with a configuration that could have changed")
            self._crew.tell_all(messages.ReloadCertificates)
            self.notifier.ready()
            self._tell_awaiting()
            return
        if self._rolling is not None:
            self._is_wanted_again = True
            return
        self.notifier.reloading()
        try:
            loaded = source.load()
            sections = self._read_certificates(loaded.config)
            opened = self._sockets.open(loaded.config, self._tools.count(loaded.config))
            try:
                move = self.admin.prepare(loaded.config.admin)
            except Exception:
                self._sockets.drop(opened)
                raise
        except Exception as error:
            reasons = str(error).splitlines()
            if not isinstance(error, ConfigError | CannotListenError | OSError):
                log.failure("the configuration could not be changed")
                reasons = [f"{type(error).__name__}: {error}"]
            self._refuse(reasons)
            self._tell_awaiting()
            return

        def adopt() -> None:
            self._adopt(loaded, sections)

        # The first worker may find something out before it has answered that it serves it.
        self._crew.clusters = {**self.config.clusters, **loaded.config.clusters}
        self._rolling = Rolling(self._crew, opened, self._tools.count(loaded.config), adopt)
        self._rolling.begin().addCallback(self._rolled, self.config, opened, move).addErrback(self._failed)

    def _adopt(self, loaded: Loaded, sections: dict[str, TlsSection]) -> None:
        """Have those who begin from here on serve another configuration."""
        before, config = self.config, loaded.config
        for key in left_for_a_restart(before, config):
            if key != "proxy.workers":
                log.warn("{key} has changed, which takes effect at the next start", key=key)
        of_start = {"user": before.proxy.user, "group": before.proxy.group}
        self.config = config.model_copy(update={"proxy": config.proxy.model_copy(update=of_start)})
        self._loaded, self._sections = loaded, sections
        if config.log.level != before.log.level:  # Else the operator may have changed it meanwhile.
            self._level = ""
            set_level(config.log.level)
        if self.log_file is not None and before.log.path != config.log.path:
            try:
                with acting_as(self.config.proxy.user, self.config.proxy.group):
                    self.log_file.move(config.log.path)
            except OSError as reason:
                log.error("the application log stays where it is: {reason}", reason=reason)
        for remark in loaded.remarks:
            log.warn("{remark}", remark=remark)

    def _rolled(self, errors: list[str], before: Config, opened: list[Any], move: Move) -> None:
        self._rolling = None
        self._crew.clusters = self.config.clusters
        if errors or self._stopped is not None:
            move.change.abandon()
        else:
            self.admin.commit(move)
        if self._stopped is not None:
            self._tell_awaiting()
            return
        if errors:
            self._sockets.drop(opened)
            self._refuse(errors)
        else:
            config = self.config
            names = {each.name for each in opened}
            new_ones = [each for each in config.listeners if each.name in names]
            announce_listeners(new_ones, self._sockets.addresses(config))
            self._crew.verdicts.keep_only(config.clusters)
            self._crew.orders.keep_only(config.clusters)
            self._sockets.forget(config)
            self._sockets.keep(self._tools.count(config))
            said = "; ".join(changes(before, config)) or "nothing has changed"
            log.info("reloaded {path}: {said}", path=self.path, said=said)
            self.loaded_at = self.clocks.wall()
            self.last_reload = ReloadResult(self.loaded_at, True, (), said)
            self.notifier.ready()
        self._tell_awaiting()
        if self._is_wanted_again:
            self._is_wanted_again = False
            self.reload()

    def _failed(self, failure: Any) -> None:
        log.failure("the configuration could not be changed", failure)
        self._rolling = None
        self.notifier.ready()
        self._tell_awaiting()

    def _tell_awaiting(self) -> None:
        told, following = self._awaiting
        self._awaiting = (following, [])
        for each in told:
            each.callback(self.last_reload)

    def _refuse(self, errors: list[str]) -> None:
        self._sockets.keep(self._tools.count(self.config))  # Some may have been bound for workers that will not come.
        for error in errors:
            log.error("{error}", error=error)
        log.error("{path} is not served: the configuration before it stays", path=self.path)
        self.last_reload = ReloadResult(self.clocks.wall(), False, tuple(errors))
        self.notifier.ready(f"serves what it was told before: {errors[0]}")

    # Replacing the whole by another process.

    def sockets(self) -> list[Any]:
        """Return what listens: each address as the configuration has it, as often as it has sockets."""
        return self._sockets.all() + self.admin.ports.sockets()

    def own_files(self) -> None:
        """Remove the files of its unix sockets at the end, also of those that another process has bound."""
        self._sockets.own_files()
        self.admin.ports.own_files()

    def hand_over(self) -> None:
        """Stop gracefully, and leave the files of unix sockets: another process has the sockets too."""
        self._keeps_files = True
        self.admin.hand_over()
        self._reactor.stop()

    # The end.

    def stopService(self) -> Deferred[None]:
        """Have all workers stop.

        :return: fires when they have ended.
        """
        super().stopService()
        if self._stopped is not None:
            return self._stopped
        self._stopped = Deferred()
        self.is_serving = False
        self._sockets.close(not self._keeps_files)
        proxy = self.config.proxy
        self._kill_in(max(proxy.shutdown_timeout_s, proxy.tunnel_shutdown_timeout_s) + _OVERTIME_S)
        self._crew.stop()
        return self._stopped

    def cut_short(self) -> None:
        """End what is under way at once, if the service is stopping."""
        if self._stopped is not None and self._crew.members:
            self._crew.tell_all(messages.CutShort)
            self._kill_in(_OVERTIME_S)

    def _kill_in(self, seconds: float) -> None:
        self._forget_deadline()
        self._deadline = self._reactor.callLater(seconds, self._crew.kill_all)

    def _forget_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()

    def _all_have_ended(self) -> None:
        assert self._stopped is not None
        self._forget_deadline()
        for line in last_lines(self.numbers(), bool(self._sections)):
            log.info("{line}", line=line)
        # Until then operators can see what is left.
        self.admin.stop().addBoth(lambda _: None).chainDeferred(self._stopped)
