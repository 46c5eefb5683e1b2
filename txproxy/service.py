"""The proxy as a service: what ``twistd txproxy``, a ``.tac`` file and other applications start and stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.task import LoopingCall

from txproxy.application_log import LogFile, start_logging
from txproxy.assembly import Assembled, Clocks, assemble
from txproxy.config.address import parse_address
from txproxy.config.load import Loaded
from txproxy.config.model import Config, Listener
from txproxy.config.problems import ConfigError, Problem
from txproxy.downstream.site import Site
from txproxy.errors import ShuttingDown
from txproxy.net.limits import raise_descriptor_limit
from txproxy.net.pipes import MOST_PIPES
from txproxy.net.reactor import EagerReactor, SecureReactor
from txproxy.observe.log import Logger, set_level
from txproxy.options import Options, configure
from txproxy.signals import Signals
from txproxy.tls_assembly import expiry_lines
from txproxy.upstream.roster import Roster

__all__ = ["Options", "ProxyService", "build", "makeService", "make_service"]

log = Logger()

_SPARE_DESCRIPTORS = 512
"""Beside two for each client connection: listeners, logs, the reactor's own, idle connections to backends."""


class ProxyService(Service):
    """Listens, serves, and stops without losing what is under way.

    :param config: what to serve.
    :param reactor: the one to run on.
    :param functions: users' functions, by the reference that the configuration has for them.
    :param clocks: where the time comes from.
    """

    name = "txproxy"

    def __init__(
        self,
        config: Config,
        reactor: Any,
        functions: Mapping[str, Callable[..., Any]] | None = None,
        clocks: Clocks | None = None,
    ) -> None:
        self.config = config
        self.ports: dict[str, Any] = {}
        self.log_file: LogFile | None = None
        """Of the application log, if it is ours to reopen."""
        self.assembled: Assembled | None = None
        self._reactor = reactor
        self._functions = functions or {}
        self._clocks = clocks or Clocks()
        self._ticker: LoopingCall | None = None
        self._cut_short: Callable[[], None] | None = None
        self.when_listening: Callable[[str], None] | None = None
        """Told the URL of the first listener once it accepts."""

    @property
    def clusters(self) -> Mapping[str, Roster]:
        """The clusters by name, to ask for their backends' state and to change them while they serve.

        Empty while the service is not running. See ``txproxy.upstream.roster.Roster``.
        """
        return {} if self.assembled is None else self.assembled.rosters

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
        self._announce(assembled)

    def _listen(self) -> None:
        if self.assembled is not None:
            return
        config = self.config
        pipes = any(listener.protocol == "tcp" for listener in config.listeners)
        wanted = 2 * config.proxy.max_connections + _SPARE_DESCRIPTORS + 2 * MOST_PIPES * pipes
        limit = raise_descriptor_limit(wanted)
        if limit < wanted:
            log.warn(
                "only {limit} descriptors may be open, {wanted} are needed for max_connections = {most}",
                limit=limit,
                wanted=wanted,
                most=config.proxy.max_connections,
            )
        assembled = assemble(config, self._functions, self._reactor, self._clocks)
        try:
            for listener in config.listeners:
                reactor = EagerReactor(self._reactor)
                if listener.tls:
                    reactor = SecureReactor(self._reactor, assembled.tls[listener.tls].tls)
                factory = assembled.factories[listener.name]
                port = _listen_on(reactor, listener.address, factory, config.proxy.backlog)
                self.ports[listener.name] = port
                assembled.gate.add_port(port)
        except Exception:
            # Nothing is left half open: the ports before the one that failed are closed again.
            for port in self.ports.values():
                port.stopListening()
            self.ports.clear()
            if assembled.access_log is not None:
                assembled.access_log.close()
            raise
        self.assembled = assembled

    def _announce(self, assembled: Assembled) -> None:
        for listener in self.config.listeners:
            log.info(
                "listening on {scheme}://{address} ({name})",
                scheme=_scheme(listener),
                address=shown_address(self.ports[listener.name]),
                name=listener.name,
            )
        for settings in self.config.routes:
            log.info(
                "route {name}: {hosts}{path} to {target}",
                name=settings.name,
                hosts=",".join(settings.hosts),
                path=settings.path,
                target=settings.cluster or settings.choose,
            )
        for name, cluster in self.config.clusters.items():
            log.info("cluster {name}: {count} backends", name=name, count=len(cluster.backends))
        for line in expiry_lines(assembled.tls):
            log.info("{line}", line=line)
        log.info("txproxy is ready")
        if self.when_listening is not None:
            first = self.config.listeners[0]
            self.when_listening(f"{'https' if first.tls else 'http'}://{_reachable(self.ports[first.name])}")

    def _tick(self, assembled: Assembled) -> None:
        # Deadlines hold while the proxy is stopping too.
        for item in assembled.deadlines.due(self._clocks.monotonic()):
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
        self.assembled = None
        assembled.wind_down()
        stopped = [port.stopListening() for port in self.ports.values()]
        self.ports.clear()
        sites = list(assembled.sites.values())
        drained = self._drain(sites)
        done = DeferredList([*(each for each in stopped if each is not None), drained])
        return done.addCallback(lambda _: self._stopped(assembled))

    def _drain(self, sites: list[Site]) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        proxy = self.config.proxy

        def empty() -> None:
            if not done.called and not any(site.connections for site in sites):
                cancel()
                done.callback(None)

        def cancel() -> None:
            for deadline in deadlines:
                if deadline.active():
                    deadline.cancel()

        def cut(tunnels: bool | None = None) -> None:
            busy = sum(site.cut(ShuttingDown(), tunnels) for site in sites)
            if busy:
                log.warn("{busy} exchanges were cut by the end of the time for a graceful stop", busy=busy)

        def cut_all() -> None:
            cancel()
            cut()

        deadlines = [
            self._reactor.callLater(proxy.shutdown_timeout_s, cut, False),
            self._reactor.callLater(proxy.tunnel_shutdown_timeout_s, cut, True),
        ]
        self._cut_short = cut_all
        for site in sites:
            site.when_empty = empty
            site.drain()
        empty()
        return done

    def _stopped(self, assembled: Assembled) -> None:
        self._cut_short = None
        if self._ticker is not None and self._ticker.running:
            self._ticker.stop()
        for cluster in assembled.clusters.values():
            for backend in cluster.backends:
                log.info("backend {name}: {pool}", name=backend.name, pool=backend.pool.summary())
        assembled.stop()
        assembled.ending.stop()
        if assembled.tls:
            log.info("{summary}", summary=assembled.counters.tls.summary())
        log.info("stopped: {summary}", summary=assembled.counters.summary())
        if assembled.access_log is not None:
            assembled.access_log.close()

    def cut_short(self) -> None:
        """End what is under way at once, if the service is stopping."""
        if self._cut_short is not None:
            self._cut_short()

    def reload_certificates(self) -> None:
        """Read the certificates anew, whether their files have changed or not."""
        if self.assembled is not None:
            self.assembled.reload_certificates()

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


def _scheme(listener: Listener) -> str:
    """Return how the URL of a listener begins."""
    if listener.protocol == "tcp":
        return "tls" if listener.tls else "tcp"
    return "https" if listener.tls else "http"


def _listen_on(reactor: Any, text: str, factory: Any, backlog: int) -> Any:
    address = parse_address(text)
    if address.kind == "unix":
        return reactor.listenUNIX(address.path, factory, backlog=backlog)
    return reactor.listenTCP(address.port, factory, backlog=backlog, interface=address.host)


def shown_address(port: Any) -> str:
    """Return the address that a port listens on, with the number that the system chose."""
    address = port.getHost()
    name = getattr(address, "name", None)
    if name is not None:
        return f"unix:{name.decode() if isinstance(name, bytes) else name}"
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{host}:{address.port}"


def _reachable(port: Any) -> str:
    shown = shown_address(port)
    return shown.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]")


def build(config: Config | Loaded, reactor: Any) -> ProxyService:
    """Return the service for a configuration, for embedding in another application.

    :param config: what ``txproxy.config.load`` returns, with the users' functions in it; or a model without any.
    :param reactor: the one to run on.
    """
    if isinstance(config, Loaded):
        return ProxyService(config.config, reactor, config.functions)
    return ProxyService(config, reactor)


def make_service(options: Mapping[str, Any], reactor: Any) -> IService:
    """Return the service that a command line asks for, signals included.

    :param options: see ``configure``; and ``demo``.
    :raises ConfigError: with every error in the configuration.
    """
    demo = None
    if options["demo"]:
        if options["backends"] or options["backend-port"] is not None:
            place = Problem("command line", 0, "--backend", "the demo brings its own backends (leave it out)")
            raise ConfigError((place,))
        from txproxy.demo import Demo  # only here, for it needs twisted.web

        demo = Demo(reactor)
        options = {**options, "backends": demo.addresses}
    config, functions = configure(options)
    service: Any = ProxyService(config, reactor, functions)
    if demo is not None:
        demo.show(service)
        service = demo.around(service)
    Signals(service, reactor).install()
    return service


def makeService(options: Mapping[str, Any]) -> IService:
    """Return the service for ``twistd txproxy``; its name is Twisted's choice."""
    from twisted.internet import reactor  # the application's, which is installed by now

    try:
        service: Any = make_service(options, reactor)
        service.log_file = start_logging(service.config.log.path, twistd=True)
    except (ConfigError, OSError) as error:
        raise SystemExit(str(error)) from None
    if type(reactor).__module__ != "txproxy.net.epoll":
        reactor.callWhenRunning(
            log.info, "`twistd --reactor=txproxy` or `txproxy run` serve the same with a faster reactor"
        )
    command = _Command()
    service.setServiceParent(command)
    return command


class _Command(MultiService):
    """Says in one line why the proxy does not start; twistd would print where in Twisted that was found out."""

    def privilegedStartService(self) -> None:
        """Bind the ports."""
        try:
            super().privilegedStartService()
        except (CannotListenError, ConfigError, OSError) as error:
            raise SystemExit(f"txproxy: {error}") from None
