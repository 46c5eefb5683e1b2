"""The proxy as a service: what ``twistd txproxy``, a ``.tac`` file and other applications start and stop."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.internet.error import CannotListenError

from txproxy.application_log import start_logging
from txproxy.config.load import Loaded
from txproxy.config.model import Config
from txproxy.config.problems import ConfigError, Problem
from txproxy.observe.log import Logger
from txproxy.options import Options, load
from txproxy.ports import Given
from txproxy.privileges import acting_as
from txproxy.proxy import ProxyService
from txproxy.reload import Source
from txproxy.signals import Signals
from txproxy.supervisor.member import Launcher
from txproxy.supervisor.mode import is_supervised, workers_of
from txproxy.supervisor.supervisor import Supervisor
from txproxy.supervisor.tools import SupervisorTools
from txproxy.surroundings import Surroundings

__all__ = ["Options", "ProxyService", "build", "makeService", "make_service"]

log = Logger()


def build(config: Config | Loaded, reactor: Any) -> ProxyService:
    """Return the service for a configuration, for embedding in another application.

    :param config: what ``txproxy.config.load`` returns, with the users' functions in it; or a model without any.
    :param reactor: the one to run on.
    """
    if isinstance(config, Loaded):
        return ProxyService(config.config, reactor, config.functions)
    return ProxyService(config, reactor)


def make_service(options: Mapping[str, Any], reactor: Any, given: Given | None = None) -> IService:
    """Return the service that a command line asks for, signals included.

    :param options: see ``configure``; and ``demo``.
    :param given: has listening sockets that need not be bound; see ``txproxy.ports``.
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
    loaded = load(options)
    source = None
    if options.get("config") is not None:
        path = os.path.abspath(options["config"])  # twistd may change to another folder.
        source = Source(path, partial(load, {**options, "config": path}))
    service: Any
    if demo is None and is_supervised(loaded.config):
        launcher = Launcher(reactor, _worker_of)
        service = Supervisor(loaded, SupervisorTools(reactor, launcher, workers_of, source, given))
    else:
        service = ProxyService(loaded.config, reactor, loaded.functions, given=given, source=source)
    if demo is not None:
        demo.show(service)
        service = demo.around(service)
    Signals(service, reactor).install()
    return service


def _worker_of(config: Config, reactor: Any, functions: Mapping[str, Callable[..., Any]], given: Given) -> ProxyService:
    return ProxyService(config, reactor, functions, given=given)


def makeService(options: Mapping[str, Any]) -> IService:
    """Return the service for ``twistd txproxy``; its name is Twisted's choice."""
    from twisted.internet import reactor  # the application's, which is installed by now

    try:
        surroundings = Surroundings(os.environ)
        service: Any = make_service(options, reactor, surroundings.given)
        with acting_as(service.config.proxy.user, service.config.proxy.group):
            service.log_file = start_logging(service.config.log.path, twistd=True)
    except (ConfigError, OSError, ValueError) as error:
        raise SystemExit(str(error)) from None
    surroundings.look_after(service, reactor)
    if type(reactor).__module__ != "txproxy.net.epoll":
        reactor.callWhenRunning(
            log.info, "`twistd --reactor=txproxy` or `txproxy run` serve the same with a faster reactor"
        )
    command = _Command()
    service.setServiceParent(command)
    # twistd has no word for a service that finds out that it cannot serve after it was started.
    reactor.addSystemEventTrigger("after", "shutdown", _remember_status, service)
    return command


def _remember_status(service: Any) -> None:
    status = getattr(service, "exit_status", 0)
    if status:
        atexit.register(os._exit, status)


class _Command(MultiService):
    """Says in one line why the proxy does not start; twistd would print where in Twisted that was found out."""

    def privilegedStartService(self) -> None:
        """Bind the ports."""
        try:
            super().privilegedStartService()
        except (CannotListenError, ConfigError, OSError) as error:
            raise SystemExit(f"txproxy: {error}") from None
