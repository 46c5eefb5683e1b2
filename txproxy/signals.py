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
    """Stops, reloads, reopens logs and replaces the process.

    :param service: has ``cut_short``, ``reload``, ``reopen_logs`` and ``upgrade``.
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
        self._reactor.addSystemEventTrigger("before", "shutdown", self._stops)
        self._reactor.addSystemEventTrigger("after", "shutdown", self._forget_signal)

    def _take_over(self) -> None:
        handlers = {
            signal.SIGTERM: self._stop,
            signal.SIGINT: self._stop,
            signal.SIGHUP: self._service.reload,
            signal.SIGUSR1: self._service.reopen_logs,
            signal.SIGUSR2: self._upgrade,
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

    def _stops(self) -> None:
        self._stopping = True

    def _upgrade(self) -> None:
        if self._service.upgrade is None:
            log.error("no upgrade in place: only `txproxy run` can do it")
        else:
            self._service.upgrade()
