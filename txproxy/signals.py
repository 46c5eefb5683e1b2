"""What the process does on a signal.

twistd ends itself a second time with the signal that stopped it, so that its exit status says "killed". A stop that
went well should say 0, so the signals are taken over once the reactor runs.
"""

from __future__ import annotations

import signal
from typing import Any

from txproxy.observe.log import Logger

log = Logger()


class Signals:
    """Stops, reloads certificates and reopens logs.

    :param service: has ``cut_short``, ``reload_certificates`` and ``reopen_logs``.
    :param reactor: the one that runs.
    """

    def __init__(self, service: Any, reactor: Any) -> None:
        self._service = service
        self._reactor = reactor
        self._stopping = False

    def install(self) -> None:
        """Take the signals over now, and again once the reactor has installed handlers of its own."""
        self._take_over()
        self._reactor.callWhenRunning(self._reactor.callLater, 0, self._take_over)
        self._reactor.addSystemEventTrigger("after", "shutdown", self._forget_signal)

    def _take_over(self) -> None:
        handlers = {
            signal.SIGTERM: self._stop,
            signal.SIGINT: self._stop,
            signal.SIGHUP: self._reload,
            signal.SIGUSR1: self._service.reopen_logs,
        }
        for number, handler in handlers.items():
            signal.signal(number, lambda *_, handler=handler: self._reactor.callFromThread(handler))

    def _forget_signal(self) -> None:
        # A signal between the reactor's handlers and ours was taken by the reactor, and twistd would repeat it.
        self._reactor._exitSignal = None

    def _stop(self) -> None:
        if self._stopping:
            log.warn("stopping at once: a second signal came")
            self._service.cut_short()
            return
        self._stopping = True
        log.info("stopping: what is under way may finish")
        self._reactor.stop()

    def _reload(self) -> None:
        log.info("reading the certificates anew; to use a changed configuration, restart the proxy")
        self._service.reload_certificates()
