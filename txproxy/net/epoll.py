"""
The reactor C{txproxy} (C{twistd --reactor=txproxy}): epoll(7) with a direct way from the kernel's event to C{doRead}.

Stock wraps each event in C{log.callWithLogger}, which copies a context dictionary twice and asks for a log prefix,
several microseconds each time. Here that work is done only for a selectable that failed. What changes for an
application: a message that is logged with C{twisted.python.log} from within C{dataReceived} has no connection prefix.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from threading import Thread
from typing import Any

from twisted.internet.error import ConnectionFdescWentAway
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST, installReactor
from twisted.python import log

try:
    from twisted.internet.epollreactor import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPollReactor
except ImportError as error:
    raise ImportError("the txproxy reactor needs epoll(7), which this platform lacks; choose another one") from error

MAX_EVENTS = 512
"""At most so many events are taken from the kernel at a time, which bounds the buffer that is made for each poll."""

THREADS_TIMEOUT = 1.0
"""How long threads of the reactor's pool may take to come to an end when it stops, in seconds."""

_GONE = ConnectionFdescWentAway("File descriptor lost")
_DISCONNECTED = EPOLLHUP | EPOLLERR


class DirectEPollReactor(EPollReactor):
    """
    An C{EPollReactor} that calls C{doRead} and C{doWrite} without a detour and treats failures as stock does.

    Its time is the monotonic clock's: stock's follows the wall clock, so that every timeout and check of a backend
    stands still for as long as somebody sets that back.
    """

    seconds = staticmethod(time.monotonic)
    _is_dispatching = False

    def __init__(self) -> None:
        super().__init__()
        self._closing: list[Any] = []

    def doPoll(self, timeout: float | None) -> None:
        """
        Wait for events and dispatch them.

        @param timeout: how long to wait at most, in seconds; C{None}: until something happens.
        """
        events = self._poller.poll(-1 if timeout is None else timeout, MAX_EVENTS)
        # Looked up per event: an earlier one of the same batch may have removed or replaced the selectable.
        get = self._selectables.get
        self._is_dispatching = True
        try:
            for fd, event in events:
                selectable = get(fd)
                if selectable is None:
                    continue
                if event == EPOLLIN:
                    try:
                        if selectable.fileno() == -1:
                            self._disconnect(selectable, _GONE, False)
                            continue
                        why = selectable.doRead()
                    except BaseException:
                        self._disconnect(selectable, self._log_failure(selectable), False)
                        continue
                    if why:
                        self._disconnect(selectable, why, True)
                else:
                    self._dispatch(selectable, fd, event)
        finally:
            self._is_dispatching = False
        if self._closing:
            self._close_all()

    doIteration = doPoll

    def close_soon(self, transport: Any) -> bool:
        """
        Have a transport's C{close_now} called after the events that are being dispatched now.

        That is a turn earlier than a delayed call would come, and costs less.

        @return: whether it will be called; not if no event is being dispatched.
        """
        if self._is_dispatching:
            self._closing.append(transport)
        return self._is_dispatching

    def _close_all(self) -> None:
        closing, self._closing = self._closing, []
        for transport in closing:
            try:
                transport.close_now()
            except BaseException:
                self._log_failure(transport)

    def _initThreadPool(self) -> None:  # noqa: N802 - Twisted's name
        # What an application has in threads may wait for something that never comes: that holds up no shutdown.
        super()._initThreadPool()
        pool: Any = self.threadpool
        pool.threadFactory = partial(Thread, daemon=True)
        stop = pool.stop

        def stop_in_time() -> None:
            stopping = Thread(target=stop, daemon=True)
            stopping.start()
            stopping.join(THREADS_TIMEOUT)
            if stopping.is_alive():
                log.msg(f"{len(pool.working)} threads are still at work and are left behind")

        pool.stop = stop_in_time

    def _dispatch(self, selectable: Any, fd: int, event: int) -> None:
        """Treat an event that is more than readability; the same decisions as C{_PollLikeMixin._doReadOrWrite}."""
        why: Any = None
        in_read = False
        if event & _DISCONNECTED and not event & EPOLLIN:
            in_read = fd in self._reads
            why = CONNECTION_DONE if in_read else CONNECTION_LOST
        else:
            try:
                if selectable.fileno() == -1:
                    why = _GONE
                else:
                    if event & EPOLLIN:
                        why = selectable.doRead()
                        in_read = True
                    if not why and event & EPOLLOUT:
                        why = selectable.doWrite()
                        in_read = False
            except BaseException:
                why = self._log_failure(selectable)
        if why:
            self._disconnect(selectable, why, in_read)

    def _log_failure(self, selectable: Any) -> BaseException | None:
        failure = sys.exc_info()[1]
        log.callWithLogger(selectable, log.err)
        return failure

    def _disconnect(self, selectable: Any, why: Any, in_read: bool) -> None:
        try:
            self._disconnectSelectable(selectable, why, in_read)
        except BaseException:
            self._log_failure(selectable)


def install() -> DirectEPollReactor:
    """
    Make a L{DirectEPollReactor} the global reactor.

    @return: the reactor.
    @raise twisted.internet.error.ReactorAlreadyInstalledError: if there is one already.
    """
    reactor = DirectEPollReactor()
    installReactor(reactor)
    return reactor
