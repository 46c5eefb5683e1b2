"""A worker as the supervisor sees it: a process, and a connection to it."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, connectionDone
from twisted.python.failure import Failure

from txproxy.observe.log import Logger
from txproxy.supervisor import messages
from txproxy.supervisor.child import fork
from txproxy.supervisor.memory import Verdict, verdict_of
from txproxy.supervisor.messages import Channel, names
from txproxy.supervisor.place import MakeProxy, Place
from txproxy.supervisor.worker import Worker

log = Logger()

_MOST_MESSAGES = 20_000
"""That a worker may send between two looks at it, which are a second apart."""
_PATIENCE_LOOKS = 10
"""After so many looks in a row at which a worker had not read what was sent to it, it is given up."""


class MemberChannel(Channel):
    """The supervisor's end of a connection to a worker.

    :param member: the worker.
    """

    understood = names(
        messages.Ready, messages.Failed, messages.Leaving, messages.Counted, messages.Found, messages.Swept
    )

    def __init__(self, member: Member) -> None:
        super().__init__()
        self._member = member
        self._messages = 0
        self._is_full = False
        self._full_looks = 0

    def connectionMade(self) -> None:
        """See ``Protocol``."""
        super().connectionMade()
        transport: Any = self.transport
        transport.registerProducer(self, True)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See ``Protocol``."""
        super().connectionLost(reason)
        self._member.is_lost()

    def ampBoxReceived(self, box: Any) -> None:  # noqa: N802 - Twisted's name
        """See ``BoxDispatcher``."""
        self._messages += 1
        if self._messages > _MOST_MESSAGES:
            self.refuse("it sends without end")
        elif self.is_open:
            super().ampBoxReceived(box)

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """See ``IFileDescriptorReceiver``: nobody asked for any."""
        os.close(descriptor)

    def look(self) -> None:
        """Take note that a second has passed."""
        self._messages = 0
        self._full_looks = self._full_looks + 1 if self._is_full else 0
        if self._full_looks >= _PATIENCE_LOOKS:
            self.refuse("it does not read what it is told")

    def pauseProducing(self) -> None:
        """See ``IPushProducer``: the worker does not read."""
        self._is_full = True

    def resumeProducing(self) -> None:
        """See ``IPushProducer``."""
        self._is_full = False

    def stopProducing(self) -> None:
        """See ``IPushProducer``."""

    @messages.Ready.responder
    def ready(self) -> dict[str, Any]:
        """See the message; likewise the others."""
        self._member.has_begun()
        return {}

    @messages.Failed.responder
    def failed(self, reason: str) -> dict[str, Any]:
        """See the message."""
        self._member.reason = " ".join(reason[:1000].split())
        return {}

    @messages.Leaving.responder
    def leaving(self) -> dict[str, Any]:
        """See the message."""
        self._member.leaves()
        return {}

    @messages.Counted.responder
    def counted(self, numbers: object) -> dict[str, Any]:
        """See the message."""
        if isinstance(numbers, dict):
            self._member.crew.counted(self._member, numbers)
        return {}

    @messages.Found.responder
    def found(self, verdict: object) -> dict[str, Any]:
        """See the message."""
        known = verdict_of(verdict)
        if known is not None:
            self._member.crew.found(self._member, known)
        return {}

    @messages.Swept.responder
    def swept(self, urls: object) -> Any:
        """See the message."""
        texts = [url for url in urls if isinstance(url, str)] if isinstance(urls, list) else []
        counted: Deferred[int] = self._member.crew.swept(self._member, texts)
        return counted.addCallback(lambda count: {"count": count})

    def __repr__(self) -> str:
        return repr(self._member)


class Member:
    """One worker.

    :param number: its place, from 0.
    :param crew: is told what it says and what becomes of it: a ``Supervisor``.
    :param began_at: when it was started, in seconds.
    :param generation: how many configurations came before the one that it serves.
    """

    def __init__(self, number: int, crew: Any, began_at: float, generation: int) -> None:
        self.number = number
        self.crew = crew
        self.began_at = began_at
        self.generation = generation
        self.pid = 0
        self.channel = MemberChannel(self)
        self.is_ready = False
        self.is_leaving = False
        """It serves no new connections."""
        self.is_out_of_reach = False
        """The connection to it is gone; the process should be, too."""
        self.reason = ""
        """Why it could not begin."""

    @property
    def serves(self) -> bool:
        """Whether it serves, as far as we know."""
        return self.is_ready and not self.is_leaving and not self.is_out_of_reach

    def has_begun(self) -> None:
        """Take note that it serves."""
        if not self.is_ready:
            self.is_ready = True
            self.crew.began(self)

    def leaves(self) -> None:
        """Take note that it stops."""
        if not self.is_leaving:
            self.is_leaving = True
            self.crew.left(self)

    def is_lost(self) -> None:
        """Take note that the connection to it is gone."""
        self.is_out_of_reach = True
        self.crew.lost(self)

    def hear(self, verdict: Verdict) -> None:
        """Tell it what another one has found out."""
        self.channel.tell(messages.Heard, verdict=list(verdict))

    def __repr__(self) -> str:
        return f"worker {self.number + 1} (process {self.pid})"


class Launcher:
    """Starts the processes of workers and finds out how they end.

    :param reactor: of the supervisor.
    :param make_proxy: see ``place``.
    """

    def __init__(self, reactor: Any, make_proxy: MakeProxy) -> None:
        self._reactor = reactor
        self._make_proxy = make_proxy

    def launch(self, member: Member, place: Place) -> None:
        """Start the process of a member and connect to it.

        :raises OSError: if the system has no room for another process.
        """
        ours, theirs = socket.socketpair()

        def work() -> int:
            ours.close()
            place.close_others()
            return Worker(place, theirs, self._reactor, self._make_proxy).run()

        with ours, theirs:
            member.pid = fork(self._reactor, work)
            ours.setblocking(False)
            factory: Any = Factory.forProtocol(lambda: member.channel)
            factory.noisy = False
            try:
                self._reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, factory)
            except BaseException:
                # Nobody would ever ask how it has ended.
                self.kill(member.pid)
                os.waitpid(member.pid, 0)
                raise

    def status_of(self, pid: int) -> str:
        """Return how a process has ended, in words; empty if it has not."""
        try:
            found, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return "ended"  # Somebody else was told how.
        if not found:
            return ""
        if os.WIFSIGNALED(status):
            return f"was killed by {_name_of(os.WTERMSIG(status))}"
        return f"ended with status {os.WEXITSTATUS(status)}"

    def kill(self, pid: int) -> None:
        """End a process at once."""
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
