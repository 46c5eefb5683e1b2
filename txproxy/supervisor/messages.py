"""What a supervisor and its workers say to each other: commands of AMP over a pair of sockets.

Neither trusts the other more than it must: a worker talks to the whole world, and may have been taken over. So what is
said has bounds, and whoever breaks them is cut off.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionClosed
from twisted.internet.protocol import connectionDone
from twisted.protocols import amp
from twisted.python.failure import Failure

from txproxy.observe.log import Logger
from txproxy.upstream.roster import AlreadyThere

log = Logger()

_PIECE = 60_000
"""Bytes in one value; AMP has room for 65535."""
_MOST_BYTES = 16 << 20
"""In one message."""


class Refused(Exception):
    """A worker cannot do what it is asked to; the text says why."""


class Json(amp.Argument):
    """Any value that JSON has. One that does not fit into a value of AMP is cut into several."""

    def toBox(self, name: bytes, strings: Any, objects: Any, proto: Any) -> None:  # noqa: N802 - Twisted's name
        """See ``amp.Argument``."""
        text = json.dumps(objects.pop(name.decode()), separators=(",", ":")).encode()
        for number in range(max(1, -(-len(text) // _PIECE))):
            strings[_piece(name, number)] = text[number * _PIECE : (number + 1) * _PIECE]

    def fromBox(self, name: bytes, strings: Any, objects: Any, proto: Any) -> None:  # noqa: N802 - Twisted's name
        """See ``amp.Argument``. What is no JSON is None."""
        pieces: list[bytes] = []
        while _piece(name, len(pieces)) in strings:
            pieces.append(strings.pop(_piece(name, len(pieces))))
        try:
            objects[name.decode()] = json.loads(b"".join(pieces))
        except (ValueError, RecursionError):
            objects[name.decode()] = None


def _piece(name: bytes, number: int) -> bytes:
    return b"%s.%d" % (name, number) if number else name


class _Told(amp.Command):
    """Needs no answer."""

    requiresAnswer = False  # noqa: N815 - Twisted's name


# What workers say.


class Ready(_Told):
    """It serves."""


class Failed(_Told):
    """It cannot begin to serve."""

    arguments: ClassVar = [(b"reason", amp.Unicode())]


class Leaving(_Told):
    """It was told by a signal to stop, and needs somebody in its place."""


class Counted(amp.Command):
    """What it has counted since it began: numbers by name."""

    arguments: ClassVar = [(b"numbers", Json())]


class Found(_Told):
    """What it has found out of a backend: a ``Verdict``."""

    arguments: ClassVar = [(b"verdict", Json())]


class Swept(amp.Command):
    """Requests have purged URLs: they are to be purged everywhere."""

    arguments: ClassVar = [(b"urls", Json())]
    response: ClassVar = [(b"count", amp.Integer())]


# What the supervisor says.


class Stop(_Told):
    """Accept no more, finish what is under way, and end."""


class CutShort(_Told):
    """End at once what is still under way."""


class ReopenLogs(_Told):
    """The files of the logs were moved away."""


class ReloadCertificates(_Told):
    """Read them anew."""


class Take(amp.Command):
    """Have a listening socket that the next configuration will need."""

    arguments: ClassVar = [(b"address", amp.Unicode()), (b"socket", amp.Descriptor())]


class Reload(amp.Command):
    """Read the configuration anew and serve it; ``errors`` say why that cannot be, if there are any."""

    arguments: ClassVar = [(b"workers", amp.Integer())]
    response: ClassVar = [(b"errors", Json())]


class SetChecking(_Told):
    """Check the backends, or leave that to another worker."""

    arguments: ClassVar = [(b"on", amp.Boolean())]


class Heard(_Told):
    """What another worker has found out of a backend: a ``Verdict``."""

    arguments: ClassVar = [(b"verdict", Json())]


class Carry(amp.Command):
    """Carry an order of the operator out."""

    arguments: ClassVar = [(b"order", Json())]
    errors: ClassVar = {AlreadyThere: b"PRESENT", KeyError: b"UNKNOWN", ValueError: b"INVALID"}


class Purge(amp.Command):
    """Remove replies from the cache."""

    arguments: ClassVar = [(b"kind", amp.Unicode()), (b"values", Json())]
    response: ClassVar = [(b"count", amp.Integer())]


class SetLevel(_Told):
    """Show so much in the application log."""

    arguments: ClassVar = [(b"level", amp.Unicode())]


class Report(amp.Command):
    """Tell how everything is; see ``txproxy.admin.report``. What has been counted is told before."""

    response: ClassVar = [(b"report", Json())]


class Channel(amp.AMP):
    """One end of a connection between the supervisor and a worker."""

    understood: ClassVar[frozenset[bytes]] = frozenset()
    """Names of the commands that may come."""

    def __init__(self) -> None:
        super().__init__()
        self._unparsed = 0
        self.is_open = False

    def makeConnection(self, transport: Any) -> None:
        """See ``IProtocol``; without the line in the log that ``amp.AMP`` has for it."""
        amp.BinaryBoxProtocol.makeConnection(self, transport)

    def connectionMade(self) -> None:
        """See ``Protocol``."""
        self.is_open = True

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See ``Protocol``."""
        self.is_open = False
        amp.BinaryBoxProtocol.connectionLost(self, reason)

    def tell(self, command: type[amp.Command], **arguments: Any) -> None:
        """Say something that needs no answer; it is lost if the other is gone."""
        if self.is_open:
            self.callRemote(command, **arguments)

    def ask(self, command: type[amp.Command], **arguments: Any) -> Deferred[dict[str, Any]]:
        """Say something, and return what is answered.

        The Deferred fails with ``Refused`` if the other is gone or has failed, or with what the command allows.
        """
        if not self.is_open:
            return fail(Refused("it is gone"))
        answered: Deferred[dict[str, Any]] = Deferred()
        asked: Deferred[Any] = self.callRemote(command, **arguments)
        # Of its own Deferred AMP takes a failure for one that nobody has handled.
        asked.addErrback(_as_refused, command).addCallbacks(answered.callback, answered.errback)
        return answered

    def dataReceived(self, data: bytes) -> None:
        """See ``Protocol``."""
        if not self.is_open:
            return
        self._unparsed += len(data)
        if self._unparsed > _MOST_BYTES:
            self.refuse("its message has no end")
            return
        try:
            super().dataReceived(data)
        except Exception as error:
            # An answer to what nobody has asked, a box that is none: there is nothing to be said to that.
            self.refuse(f"it said what cannot be understood ({type(error).__name__})")

    def ampBoxReceived(self, box: Any) -> None:  # noqa: N802 - Twisted's name
        """See ``BoxDispatcher``."""
        self._unparsed = 0
        super().ampBoxReceived(box)

    def locateResponder(self, name: bytes) -> Any:  # noqa: N802 - Twisted's name
        """See ``CommandLocator``: there is no switching to other protocols here."""
        return super().locateResponder(name) if name in self.understood else None

    def unhandledError(self, failure: Failure) -> None:  # noqa: N802 - Twisted's name
        """See ``amp.BinaryBoxProtocol``."""
        self.refuse(f"what it said has failed here: {failure.getErrorMessage()}")

    def refuse(self, why: str) -> None:
        """Cut the other off.

        :param why: what it did.
        """
        log.error("{who} is cut off: {why}", who=self, why=why)
        if self.is_open:
            self.is_open = False
            transport: Any = self.transport
            transport.abortConnection()

    def __repr__(self) -> str:
        return "the other end"


def names(*commands: type[amp.Command]) -> frozenset[bytes]:
    """Return the names of commands."""
    return frozenset(command.commandName for command in commands)


def _as_refused(failure: Failure, command: type[amp.Command]) -> Any:
    if failure.check(KeyError, ValueError) and type(failure.value) in command.errors:
        return failure
    if failure.check(ConnectionClosed):
        raise Refused("it is gone")
    raise Refused(failure.getErrorMessage())
