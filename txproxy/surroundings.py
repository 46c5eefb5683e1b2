"""What a process was given by whoever started it, and what it owes them: sockets, news, and a place to a successor."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from functools import partial
from typing import Any

from txproxy.inherited import inherited
from txproxy.notify import Notifier
from txproxy.observe.log import Logger
from txproxy.pidfile import PidFile
from txproxy.upgrade import Predecessor, Replaceable, Startup, Upgrade

log = Logger()


class Surroundings:
    """To be made before anything else, for it takes what is told of descriptors out of the environment.

    :param environ: of the process.
    :param pidfile: path of the file that says which process serves; empty for none.
    :raises OSError: a descriptor that the environment tells of is not there, or the file cannot be made.
    :raises ValueError: what it tells is malformed.
    """

    def __init__(self, environ: MutableMapping[str, str], pidfile: str = "") -> None:
        self.startup = Startup.of_this_process(environ)
        self.notifier = Notifier(environ)
        """Tells systemd how the process is."""
        self.given = inherited(environ)
        """The listening sockets that there are already."""
        self._predecessor = Predecessor(environ)
        self._pidfile = PidFile(pidfile)

    def upgrading(self, served: Replaceable, reactor: Any) -> Callable[[], None]:
        """Return what begins to replace the process by a new one, whenever it is called.

        :param served: what is replaced.
        :param reactor: provides IReactorCore, IReactorProcess and IReactorTime.
        """
        return Upgrade(served, reactor, self.startup, self.notifier).begin

    def look_after(self, served: Any, reactor: Any) -> None:
        """Tell all whom it concerns, as soon as the proxy serves.

        :param served: calls its ``when_bound`` once all ports are open (before it forks: sockets that nobody wants must
            not live on in other processes) and its ``when_ready`` once it serves, and tells its ``notifier`` of
            reloads; and see ``Replaceable``.
        :param reactor: provides IReactorCore and IReactorTime.
        """
        served.notifier = self.notifier
        served.when_bound = self.given.settle
        served.when_ready = partial(self._serving, served, reactor)

    def _serving(self, served: Replaceable, reactor: Any) -> None:
        try:
            self._pidfile.write()
        except OSError as reason:
            # It could be made when the process began. Serving is worth more.
            log.error("the process id cannot be written: {reason}", reason=reason)
        reactor.addSystemEventTrigger("before", "shutdown", self.notifier.stopping)
        reactor.callWhenRunning(self._tell, served, reactor)

    def _tell(self, served: Replaceable, reactor: Any) -> None:
        served.own_files()
        self._predecessor.may_go()
        self.notifier.ready()
        self.notifier.watch(reactor)

    def left(self) -> None:
        """Leave nothing behind: the process ends."""
        self._pidfile.remove()
