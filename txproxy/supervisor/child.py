"""Forks a process in which the reactor is as new."""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from twisted.internet import process

_OURS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD)
_NOT_MEANT = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""A terminal, and some who send signals, send them to all processes of a group: the supervisor passes them on."""


def fork(reactor: Any, work: Callable[[], int]) -> int:
    """Start a process.

    It has a copy of everything here, but a reactor that knows of nothing and has never run, in the same object: users'
    modules may have imported it already. The sockets that the reactor here watches are closed there.

    :param reactor: the one that runs here.
    :param work: is called in the new process, and returns its exit status.
    :return: the id of the new process.
    :raises OSError: if the system has no room for another process.
    """
    _flush()
    # A signal that came between the fork and the first line of the new process would be taken as one for this process.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)
    try:
        pid = os.fork()
        if not pid:
            _live(reactor, work, before)
        return pid
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _live(reactor: Any, work: Callable[[], int], mask: Any) -> None:
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in _OURS:
            signal.signal(number, signal.SIG_IGN if number in _NOT_MEANT else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        random.seed()
        make_new(reactor)
        status = work()
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
    finally:
        # Nothing that stands below on the stack, or waits for the end of the interpreter, is this process's.
        _flush()
        os._exit(status)


def make_new(reactor: Any) -> None:
    """Let a reactor forget everything, without ending what another process goes on to use.

    It becomes the fast one, unless it is asyncio's, which users' functions may need.

    :param reactor: one that has been copied by a fork.
    """
    watched = {id(each): each for each in (*reactor.getReaders(), *reactor.getWriters())}
    for each in watched.values():
        skt = getattr(each, "socket", None)
        if isinstance(skt, socket.socket):
            skt.close()
    # The reactor's own pipes and its epoll instance would stay open, and tell the other process of our affairs.
    for waker in getattr(reactor, "_internalReaders", ()):
        for end in (getattr(waker, "i", None), getattr(waker, "o", None)):
            if isinstance(end, int):
                with suppress(OSError):
                    os.close(end)
    poller: Any = getattr(reactor, "_poller", None)
    if hasattr(poller, "close"):
        poller.close()
    cast(Any, process).reapProcessHandlers.clear()
    vars(reactor).clear()
    if type(reactor).__module__ == "twisted.internet.asyncioreactor":
        import asyncio

        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        reactor.__init__(loop)
        return
    with suppress(ImportError, TypeError):  # No epoll here, or no class that can take its place: it stays what it is.
        from txproxy.net.epoll import DirectEPollReactor

        reactor.__class__ = DirectEPollReactor
    reactor.__init__()


def _flush() -> None:
    """Write what is in buffers: after a fork both processes would."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()  # type: ignore[union-attr]
